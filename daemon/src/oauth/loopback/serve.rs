//! Serves the redirect listener: who may ask what, how long it may take.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Answer, Shared, state_of};
use crate::oauth::pages::{self, Page, Refusal, Verdict};
use crate::secret::Secret;

/// Connections at a time. Past it the oldest goes, so that those who say nothing
/// keep nobody out.
const CONNECTIONS: usize = 64;

/// How long a browser may take to send its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest request that is read, in bytes; codes and states are far shorter.
const MAX_HEAD: usize = 32 * 1024;

/// How long a browser waits to hear what became of its answer: longer than the
/// token endpoint may take.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long pages may still be on their way once nothing is expected any more.
const LAST_PAGES: Duration = Duration::from_secs(5);

/// After an error of accept, which may be a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until told to stop, and then until the pages under way are sent.
pub(super) async fn run(
    shared: Arc<Shared>,
    port: u16,
    listeners: Vec<TcpListener>,
    stop: CancellationToken,
) {
    tracing::debug!(port, "waiting for a sign-in to come back");
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listeners) => match accepted {
                Ok(stream) => {
                    oldest_first.retain(|connection| !connection.is_finished());
                    if oldest_first.len() >= CONNECTIONS
                        && let Some(oldest) = oldest_first.pop_front()
                    {
                        oldest.abort();
                    }
                    oldest_first.push_back(connections.spawn(connection(shared.clone(), port, stream)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the sign-in's listener could not accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listeners);
    let last_pages = async { while connections.join_next().await.is_some() {} };
    drop(tokio::time::timeout(LAST_PAGES, last_pages).await);
    tracing::debug!(port, "no sign-in is waited for any more");
}

/// Cancel safe, as accepting is.
async fn accept(listeners: &[TcpListener]) -> std::io::Result<TcpStream> {
    let accepted = match listeners {
        [one, other] => tokio::select! {
            accepted = one.accept() => accepted,
            accepted = other.accept() => accepted,
        },
        [one] => one.accept().await,
        _ => std::future::pending().await,
    };
    accepted.map(|(stream, _)| stream)
}

async fn connection(shared: Arc<Shared>, port: u16, stream: TcpStream) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(&shared, port, &request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let limit = HEAD_TIMEOUT + VERDICT_TIMEOUT + LAST_PAGES;
    match tokio::time::timeout(limit, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request to the sign-in's listener failed"),
        Err(_) => tracing::debug!("a request to the sign-in's listener took too long"),
    }
}

async fn respond(shared: &Shared, port: u16, request: &Request<Incoming>) -> Page {
    let checked = check(shared, port, request);
    let (answers, query) = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            tracing::debug!(?refusal, "a request was no answer to a sign-in");
            return pages::refusal(refusal);
        }
    };
    match deliver(&answers, query).await {
        Some(verdict) => pages::verdict(&verdict),
        None => pages::refusal(Refusal::Busy),
    }
}

fn check<'a>(
    shared: &Shared,
    port: u16,
    request: &'a Request<Incoming>,
) -> Result<(mpsc::Sender<Answer>, &'a str), Refusal> {
    if !is_ours(shared, port, request.headers()) || is_sent_by_a_page(request.headers()) {
        return Err(Refusal::Foreign);
    }
    let path = request.uri().path();
    if !shared.knows_path(port, path) {
        return Err(Refusal::Path);
    }
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    let query = request.uri().query().unwrap_or_default();
    let state = state_of(query).ok_or(Refusal::State)?;
    let answers = shared
        .find(&state, Some((port, path)))
        .ok_or(Refusal::State)?;
    Ok((answers, query))
}

/// One `Host`, and it is this listener: a name that somebody else points at
/// loopback is not (DNS rebinding).
fn is_ours(shared: &Shared, port: u16, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let host = host.to_str().unwrap_or_default().to_ascii_lowercase();
    let name = match host.rsplit_once(':') {
        Some((name, digits)) if digits.parse() == Ok(port) => name,
        None if port == 80 => host.as_str(),
        _ => return false,
    };
    shared.knows_host(port, name)
}

/// A redirect is a navigation of a whole tab: it has no `Origin`, and browsers
/// that say what they fetch say so (Fetch Metadata).
fn is_sent_by_a_page(headers: &HeaderMap) -> bool {
    let other_than = |name: &str, expected: &str| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes() != expected.as_bytes())
    };
    headers.contains_key(ORIGIN)
        || other_than("sec-fetch-mode", "navigate")
        || other_than("sec-fetch-dest", "document")
}

/// Hands an answer to its sign-in and waits for what becomes of it.
pub(super) async fn deliver(answers: &mpsc::Sender<Answer>, query: &str) -> Option<Verdict> {
    let (verdict, decided) = oneshot::channel();
    let query = Secret::new(query.to_owned());
    answers.try_send(Answer { query, verdict }).ok()?;
    tokio::time::timeout(VERDICT_TIMEOUT, decided)
        .await
        .ok()?
        .ok()
}
