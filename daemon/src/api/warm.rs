//! Servers that are kept connected: a session for the client that used each last is
//! opened when the daemon starts, and again whenever there is none.
//!
//! Nobody is asked to sign in for it: that waits for somebody who wants something.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mcp_remote_proto::v1;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::Api;
use super::configured::For;
use super::relay::deps;
use crate::configuration::{Configuration, Entry};
use crate::relay::{self, RelayDeps};
use crate::session::waiting::Waiting;
use crate::session::{Handshake, Server, jittered};
use crate::upstream::UpstreamError;

/// How often a session that nobody uses is asked whether it still is one: servers
/// forget those that are silent for some tens of minutes.
const PING_INTERVAL: Duration = Duration::from_secs(240);

/// The pause after a first failure; each further one doubles it.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The longest pause.
const MAX_DELAY: Duration = Duration::from_secs(300);

/// A server that is being kept connected, until this is dropped.
struct Kept {
    entry: Entry,
    _end: DropGuard,
}

/// Keeps connected what the configuration of the moment says, until the daemon stops.
pub(crate) async fn keep(api: Api) {
    let mut configurations = api.settings.follow();
    let mut kept: HashMap<String, Kept> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let configuration = configurations.borrow_and_update().clone();
        kept.retain(|name, known| {
            let now = wanted(&configuration, name);
            now == Some(&known.entry)
        });
        for (name, entry) in &configuration.servers {
            if !kept.contains_key(name) && wanted(&configuration, name).is_some() {
                let end = CancellationToken::new();
                let known = Kept {
                    entry: entry.clone(),
                    _end: end.clone().drop_guard(),
                };
                kept.insert(name.clone(), known);
                tasks.spawn(until(end, keep_one(api.clone(), name.clone())));
            }
        }
        tokio::select! {
            changed = configurations.changed() => if changed.is_err() { return },
            Some(_ended) = tasks.join_next() => {}
            () = api.stop.cancelled() => return,
        }
    }
}

fn wanted<'a>(configuration: &'a Configuration, name: &str) -> Option<&'a Entry> {
    let entry = configuration.servers.get(name)?;
    (entry.is_kept_warm() && entry.trouble.is_none()).then_some(entry)
}

async fn until(end: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = end.cancelled() => {}
    }
}

async fn keep_one(api: Api, name: String) {
    let span = tracing::info_span!("warm", server = %name);
    async {
        match prepare(&api, name.clone()).await {
            Ok(deps) => stay_connected(&deps).await,
            // A change of the configuration tries again.
            Err(sentence) => tracing::error!("{sentence}"),
        }
    }
    .instrument(span)
    .await;
}

async fn prepare(api: &Api, name: String) -> Result<RelayDeps, String> {
    let open = v1::Open {
        name,
        ..v1::Open::default()
    };
    let mut opening = api.opening(open, For::Use)?;
    deps(api, &mut opening).await
}

async fn stay_connected(deps: &RelayDeps) {
    let mut failures = 0;
    loop {
        if has_nothing_to_do(&deps.server) {
            tokio::time::sleep(PING_INTERVAL).await;
            continue;
        }
        let handshake = deps.server.facts().client;
        let handshake = handshake.unwrap_or_else(|| Arc::new(Handshake::of_daemon()));
        match relay::warm(deps, &handshake).await {
            Ok(session) => {
                failures = 0;
                // One that ends while it is in use is its user's to replace.
                drop(tokio::time::timeout(PING_INTERVAL, session.gone()).await);
                // A server that ends sessions at once is not asked in a circle.
                tokio::time::sleep(FIRST_DELAY).await;
            }
            Err(error) => {
                pause(deps, &error, failures).await;
                failures += 1;
            }
        }
    }
}

/// Says whether all sessions are in use: then the server is connected to, and
/// another one would be of no use.
fn has_nothing_to_do(server: &Server) -> bool {
    server.leased.get() > 0 && server.idle.get() == 0
}

async fn pause(deps: &RelayDeps, error: &UpstreamError, failures: u32) {
    let delay = FIRST_DELAY
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(MAX_DELAY);
    let asked = match error {
        UpstreamError::Busy { retry_after, .. } => retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    };
    match error {
        UpstreamError::Unauthorized(refusal) => match &deps.spec.tokens {
            // As soon as somebody has signed in.
            Some(tokens) => tokens.replaced(refusal.token.as_ref()).await,
            // Its headers are refused, and stay what they are.
            None => std::future::pending().await,
        },
        UpstreamError::NotSignedIn { .. } => {
            let tokens = deps.spec.tokens.as_ref();
            let refused = tokens.and_then(|tokens| tokens.current());
            let signed_in = async {
                match tokens {
                    Some(tokens) => tokens.replaced(refused.as_ref()).await,
                    None => std::future::pending().await,
                }
            };
            drop(tokio::time::timeout(MAX_DELAY, signed_in).await);
        }
        _ => {
            let delay = jittered(delay).max(asked.min(MAX_DELAY));
            let _waiting = Waiting::begin(&deps.server, error, delay);
            tokio::time::sleep(delay).await;
        }
    }
}
