//! What the daemon holds, as `status` shows it: the very values that the code
//! uses, so that status cannot disagree with behaviour.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use mcp_remote_proto::v1::{self, ServerState, ServerStatus, StatusResponse};

use super::Api;
use super::servers::shown_url;
use crate::oauth::token_source::{AuthState, TokenSource};
use crate::server_url::shown;
use crate::session::Server;
use crate::session::server::Facts;
use crate::upstream::{TransportKind, UpstreamError};

/// Returns the state of everything, or of one server.
pub(super) fn now(api: &Api, server: &str) -> StatusResponse {
    // As the URL parser writes it, and with or without a final slash.
    let wanted = url::Url::parse(server).map_or_else(|_| server.to_owned(), |url| shown(&url));
    let wanted = wanted.trim_end_matches('/');
    let mut servers = all(api);
    servers.retain(|known| {
        let is_named = known.names.iter().any(|name| name == server);
        wanted.is_empty() || is_named || known.url.trim_end_matches('/') == wanted
    });
    StatusResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(api.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        started_by: api.config.started_by.as_str().into(),
        socket: api.socket.clone(),
        servers,
        shims: *api.shims.borrow(),
        health: health(api),
    }
}

/// Every server that is known, in use or from earlier days or from the configuration.
fn all(api: &Api) -> Vec<ServerStatus> {
    let grants: Vec<TokenSource> = api.authority.sources();
    let known = api.servers.all();
    let mut all: Vec<ServerStatus> = known.iter().map(|server| one(server, &grants)).collect();
    for (name, entry) in &api.settings.now().servers {
        let Some(url) = shown_url(entry) else {
            continue;
        };
        let server = api.servers.find(&url);
        let place =
            server.and_then(|server| known.iter().position(|one| Arc::ptr_eq(one, &server)));
        let unused = || ServerStatus {
            url: url.shown().to_owned(),
            state: ServerState::Idle.into(),
            ..ServerStatus::default()
        };
        let place = place.unwrap_or_else(|| {
            all.push(unused());
            all.len() - 1
        });
        let status = &mut all[place];
        status.names.push(name.clone());
        let is_open = status.sessions_idle + status.sessions_leased > 0;
        if !entry.is_enabled() && !is_open {
            status.set_state(ServerState::Disabled);
        }
        if let Some(trouble) = &entry.trouble {
            status.last_error.clone_from(trouble);
        }
    }
    all.sort_by(|one, other| (&one.url, &one.names).cmp(&(&other.url, &other.names)));
    all
}

fn health(api: &Api) -> Vec<String> {
    let mut sentences: Vec<String> = api.settings.problem().into_iter().collect();
    sentences.extend(api.settings.warnings());
    if !api.servers.are_kept() {
        sentences
            .push("nothing is kept across restarts, since the storage failed: see the log".into());
    }
    sentences
}

/// Compares but for what changes with time alone.
pub(super) fn differs(a: &StatusResponse, b: &StatusResponse) -> bool {
    a.servers != b.servers || a.shims != b.shims || a.health != b.health
}

fn one(server: &Server, grants: &[TokenSource]) -> ServerStatus {
    let facts = server.facts();
    let percentiles = server.percentiles();
    let state = state(server, &facts);
    ServerStatus {
        url: server.shown.clone(),
        state: state.into(),
        transport: facts
            .transport
            .map(TransportKind::as_str)
            .unwrap_or_default()
            .into(),
        last_error: facts
            .last_error
            .as_ref()
            .map(UpstreamError::to_string)
            .unwrap_or_default(),
        protocol_version: facts.protocol_version,
        server_name: facts.name,
        server_version: facts.version,
        sessions_idle: server.idle.load(Relaxed),
        sessions_leased: server.leased.load(Relaxed),
        shims: server.shims.load(Relaxed),
        calls: server.calls.load(Relaxed),
        errors: server.errors.load(Relaxed),
        p50_us: percentiles.map(|(p50, _)| p50),
        p99_us: percentiles.map(|(_, p99)| p99),
        last_used_unix_ms: facts.last_used_unix_ms,
        names: Vec::new(),
        auth: grants
            .iter()
            .filter(|source| source.identity().server.shown() == server.shown)
            .filter_map(grant)
            .collect(),
    }
}

/// Says how a grant stands; `None`: nobody is signed in, and nobody has to.
fn grant(source: &TokenSource) -> Option<v1::AuthStatus> {
    let status = source.status().borrow().clone();
    let state = match status.state {
        AuthState::Anonymous => return None,
        AuthState::SignedIn => v1::AuthState::SignedIn,
        AuthState::Expired => v1::AuthState::Expired,
        AuthState::SigningIn => v1::AuthState::SigningIn,
        AuthState::NeedsLogin => v1::AuthState::NeedsLogin,
    };
    let since_epoch = |time: Option<SystemTime>| {
        let time = time?.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(time.as_millis()).ok()
    };
    let ms = |time| since_epoch(time).unwrap_or_default();
    Some(v1::AuthStatus {
        state: state.into(),
        issuer: status.issuer.unwrap_or_default(),
        scopes: status
            .scope
            .map(|scope| scope.to_string())
            .unwrap_or_default(),
        expires_at_unix_ms: ms(status.expires_at),
        last_refresh_unix_ms: ms(status.last_refresh),
        next_refresh_unix_ms: ms(status.next_refresh),
        sign_in_url: status
            .sign_in
            .map(|pending| pending.url.as_str().to_owned())
            .unwrap_or_default(),
        identity: source.hash().short().to_owned(),
        last_error: status.trouble.unwrap_or_default(),
    })
}

fn state(server: &Server, facts: &Facts) -> ServerState {
    match &facts.last_error {
        _ if server.is_connecting() => ServerState::Connecting,
        Some(UpstreamError::Unauthorized(_) | UpstreamError::NotSignedIn { .. }) => {
            ServerState::NeedsLogin
        }
        Some(UpstreamError::SessionGone(_) | UpstreamError::SessionLost(_)) => {
            ServerState::SessionLost
        }
        Some(
            UpstreamError::Unreachable(_) | UpstreamError::TimedOut(_) | UpstreamError::Busy { .. },
        ) => ServerState::BackingOff,
        Some(_) if server.idle.load(Relaxed) + server.leased.load(Relaxed) == 0 => {
            ServerState::BackingOff
        }
        _ if server.idle.load(Relaxed) + server.leased.load(Relaxed) > 0 => ServerState::Ready,
        _ => ServerState::Idle,
    }
}
