//! What the server says unasked: the GET stream of Streamable HTTP, or the one
//! stream of HTTP+SSE.
//!
//! It goes to the relays that have the session, through the [`Inbox`]. What nobody
//! can be asked is answered here: pings with a result, other requests with an error.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::audience::Inbox;
use super::cursor::Cursor;
use super::exchange::{Inbound, Upstream, read, skipped};
use super::reconnect::{Reconnect, is_final};
use crate::jsonrpc;
use crate::upstream::sse::{EventStream, StreamEvent};
use crate::upstream::{StreamableHttp, UpstreamError};

/// Why listening ended.
#[derive(Debug)]
pub(crate) enum ListenEnd {
    /// The server offers no stream; the session goes on without.
    Unsupported,
    /// The session is gone.
    SessionLost(UpstreamError),
}

/// How far a session's own stream has been read, whoever reads it.
pub(super) type Place = Arc<Mutex<Cursor>>;

/// Keeps the GET stream of a session open.
pub(super) async fn keep_listening(
    endpoint: StreamableHttp,
    inbox: Inbox,
    place: Place,
) -> ListenEnd {
    let mut reconnect = Reconnect::default();
    loop {
        let last_event = lock(&place).last_event().map(str::to_owned);
        let delay = match endpoint.listen(last_event.as_deref()).await {
            Ok(None) => return ListenEnd::Unsupported,
            Err(UpstreamError::SessionGone) => {
                return ListenEnd::SessionLost(UpstreamError::SessionGone);
            }
            // A server may not have noticed yet that the last stream is gone.
            Err(error) if is_final(&error) && error.http_status() != Some(409) => {
                tracing::debug!(%error, "no stream for what the server says unasked");
                return ListenEnd::Unsupported;
            }
            Err(error) => {
                tracing::debug!(%error, "the listening stream could not be opened");
                reconnect.delay_after(&error)
            }
            Ok(Some(mut events)) => {
                let began = Instant::now();
                let upstream = Upstream::StreamableHttp(endpoint.clone());
                let error = relay_all(&mut events, &upstream, &inbox, &place).await;
                tracing::debug!(%error, "the listening stream ended");
                lock(&place).tell(&mut reconnect, began.elapsed());
                reconnect.delay()
            }
        };
        tokio::time::sleep(delay).await;
    }
}

/// Reads the stream of an HTTP+SSE session until it ends, and the session with it.
pub(crate) async fn listen_http_sse(
    mut events: EventStream,
    upstream: Upstream,
    inbox: Inbox,
) -> ListenEnd {
    let error = relay_all(&mut events, &upstream, &inbox, &Place::default()).await;
    ListenEnd::SessionLost(match error {
        UpstreamError::Interrupted(cause) => UpstreamError::SessionLost(cause),
        error => error,
    })
}

/// Relays events to the end of a stream. Returns why it ended.
async fn relay_all(
    events: &mut EventStream,
    upstream: &Upstream,
    inbox: &Inbox,
    place: &Mutex<Cursor>,
) -> UpstreamError {
    loop {
        let event = match events.next().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => return error,
            None => return UpstreamError::Interrupted("its stream ended".into()),
        };
        match event {
            StreamEvent::Event {
                name,
                data,
                id,
                retry,
            } => {
                lock(place).note(id, retry);
                for message in read(&name, data) {
                    relay_one(message, upstream, inbox).await;
                }
            }
            StreamEvent::Skipped { message, why } => {
                if let Some(skipped) = skipped(message, why, upstream).await {
                    relay_one(skipped, upstream, inbox).await;
                }
            }
        }
    }
}

fn lock(place: &Mutex<Cursor>) -> std::sync::MutexGuard<'_, Cursor> {
    place
        .lock()
        .expect("nothing panics while it holds the lock")
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
