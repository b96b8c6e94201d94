//! What the server says unasked: the GET stream of Streamable HTTP, or the one
//! stream of HTTP+SSE.
//!
//! It goes to the relays that have the session, through the [`Inbox`]. What nobody
//! can be asked is answered here: pings with a result, other requests with an error.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use reqwest_eventsource::retry::{ExponentialBackoff, RetryPolicy as _};
use tokio::time::Instant;

use super::audience::Inbox;
use super::exchange::{Inbound, Upstream, read};
use crate::jsonrpc;
use crate::upstream::sse::{EventStream, StreamEvent};
use crate::upstream::{StreamableHttp, UpstreamError};

/// First delay before a broken stream is opened again, unless the server says.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Shortest delay that a server can ask for: one that asks for none and ends its
/// streams at once would be asked again without pause.
const SHORTEST_DELAY: Duration = Duration::from_millis(100);

/// Longest delay between attempts; they never end while the session lives.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A stream that lived this long was established: the next failure begins with
/// the first delay again.
const ESTABLISHED: Duration = Duration::from_secs(10);

/// Why listening ended.
#[derive(Debug)]
pub(crate) enum ListenEnd {
    /// The server offers no stream; the session goes on without.
    Unsupported,
    /// The session is gone.
    SessionLost(UpstreamError),
}

/// Keeps the GET stream of a session open.
pub(crate) async fn keep_listening(endpoint: StreamableHttp, inbox: Inbox) -> ListenEnd {
    let mut backoff = ExponentialBackoff::new(FIRST_DELAY, 2.0, Some(LONGEST_DELAY), None);
    let mut last_event: Option<String> = None;
    let mut last_retry: Option<(usize, Duration)> = None;
    loop {
        let began = Instant::now();
        match endpoint.listen(last_event.as_deref()).await {
            Ok(None) => return ListenEnd::Unsupported,
            Err(UpstreamError::SessionGone) => {
                return ListenEnd::SessionLost(UpstreamError::SessionGone);
            }
            Err(error) if is_final(&error) => {
                tracing::debug!(%error, "no stream for what the server says unasked");
                return ListenEnd::Unsupported;
            }
            Err(error) => tracing::debug!(%error, "the listening stream could not be opened"),
            Ok(Some(mut events)) => {
                let upstream = Upstream::StreamableHttp(endpoint.clone());
                let (error, said) =
                    relay_all(&mut events, &upstream, &inbox, &mut last_event).await;
                tracing::debug!(%error, "the listening stream ended");
                if let Some(retry) = said {
                    backoff.set_reconnection_time(retry.clamp(SHORTEST_DELAY, LONGEST_DELAY));
                }
            }
        }
        if began.elapsed() >= ESTABLISHED {
            last_retry = None;
        }
        let delay = backoff
            .retry(&reqwest_eventsource::Error::StreamEnded, last_retry)
            .unwrap_or(LONGEST_DELAY);
        last_retry = Some((last_retry.map_or(0, |(count, _)| count + 1), delay));
        tokio::time::sleep(jittered(delay)).await;
    }
}

/// Reads the stream of an HTTP+SSE session until it ends, and the session with it.
pub(crate) async fn listen_http_sse(
    mut events: EventStream,
    upstream: Upstream,
    inbox: Inbox,
) -> ListenEnd {
    let (error, _) = relay_all(&mut events, &upstream, &inbox, &mut None).await;
    ListenEnd::SessionLost(error)
}

/// A refusal that will not change by asking again.
fn is_final(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Status { status, .. } | UpstreamError::JsonRpc { status, .. } => {
            (400..500).contains(status) && !matches!(status, 408 | 429)
        }
        UpstreamError::Unauthorized(_)
        | UpstreamError::NotMcp(_)
        | UpstreamError::Redirected(_) => true,
        _ => false,
    }
}

/// Up to a fifth longer, so that many sessions do not come back at once.
fn jittered(delay: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1000;
    delay + delay.mul_f64(0.0002 * random as f64)
}

/// Relays events to the end of a stream. Returns why it ended, and the delay that
/// the server asked for.
async fn relay_all(
    events: &mut EventStream,
    upstream: &Upstream,
    inbox: &Inbox,
    last_event: &mut Option<String>,
) -> (UpstreamError, Option<Duration>) {
    let mut said = None;
    loop {
        let event = match events.next().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => return (error, said),
            None => return (UpstreamError::Interrupted("its stream ended".into()), said),
        };
        match event {
            StreamEvent::Event {
                name,
                data,
                id,
                retry,
            } => {
                said = retry.or(said);
                if id.is_some() {
                    *last_event = id;
                }
                for message in read(&name, data) {
                    relay_one(message, upstream, inbox).await;
                }
            }
            StreamEvent::Skipped { answers, why } => {
                tracing::warn!(error = %why, "skipped an event");
                relay_one(Inbound::Skipped(answers, why), upstream, inbox).await;
            }
        }
    }
}

async fn relay_one(message: Inbound, upstream: &Upstream, inbox: &Inbox) {
    let Some(envelope) = inbox.deliver(message).await else {
        return;
    };
    let id = envelope.id();
    let answer = match (envelope.method(), &id) {
        (Some("ping"), Some(id)) => {
            format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, id.as_json()).into()
        }
        _ => jsonrpc::error_response(
            id.as_ref(),
            -32601,
            "mcp-remote: there is no client, or no telling which, to answer this",
            None,
        ),
    };
    if let Err(error) = upstream.post(answer).await {
        tracing::debug!(%error, "a request of the server could not be answered");
    }
}
