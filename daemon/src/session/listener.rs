//! What the server says unasked: the GET stream of Streamable HTTP, or the one
//! stream of HTTP+SSE.
//!
//! It goes to the relays that have the session, through the [`Inbox`]. What came
//! before the session was open waits for the first of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::Server;
use super::answers::Answers;
use super::audience::Inbox;
use super::authorize;
use super::cursor::Cursor;
use super::exchange::{Inbound, Upstream, addressed, read};
use super::reconnect::{Reconnect, is_final};
use super::waiting::Waiting;
use crate::jsonrpc::Kind;
use crate::upstream::sse::{EventStream, StreamEvent};
use crate::upstream::{StreamableHttp, UpstreamError};

/// Messages kept from before the answer to `initialize`.
const MAX_EARLY: usize = 64;

/// How long they wait for somebody to hear them.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(5);

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
    server: Arc<Server>,
    inbox: Inbox,
    place: Place,
) -> ListenEnd {
    let mut reconnect = Reconnect::default();
    let mut had_stream = false;
    let mut _waiting = None;
    loop {
        let last_event = lock(&place).last_event().map(str::to_owned);
        let delay = match authorize::listen(&endpoint, last_event.as_deref()).await {
            Ok(None) => return ListenEnd::Unsupported,
            // A router that has no GET says 404 too; the next POST finds a real loss.
            Err(error @ UpstreamError::SessionGone(_)) => {
                return match had_stream {
                    true => ListenEnd::SessionLost(error),
                    false => ListenEnd::Unsupported,
                };
            }
            Err(error) if authorize::replaced(endpoint.tokens(), &error).await => continue,
            // A server may not have noticed yet that the last stream is gone.
            Err(error) if is_final(&error) && error.http_status() != Some(409) => {
                tracing::debug!(%error, "no stream for what the server says unasked");
                return ListenEnd::Unsupported;
            }
            Err(error) => {
                tracing::debug!(%error, "the listening stream could not be opened");
                let delay = reconnect.delay_after(&error);
                // Another failure may be the stream's alone, while calls succeed.
                _waiting = matches!(error, UpstreamError::Unreachable(_))
                    .then(|| Waiting::begin(&server, &error, delay));
                delay
            }
            Ok(Some(mut events)) => {
                had_stream = true;
                _waiting = None;
                server.reached();
                let began = Instant::now();
                let upstream = Upstream::StreamableHttp(endpoint.clone());
                let error =
                    relay_all(&mut events, &upstream, &inbox, &place, Answers::default()).await;
                tracing::debug!(%error, "the listening stream ended");
                lock(&place).tell(&mut reconnect, began.elapsed());
                reconnect.delay()
            }
        };
        tokio::time::sleep(delay).await;
    }
}

/// What a server said before it answered `initialize`, and our answers.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// For who will have the session.
    said: Vec<Inbound>,
    answers: Answers,
}

impl Early {
    /// Takes in what came: answers a request, keeps what else there is room for.
    pub(super) fn take(&mut self, message: Inbound, upstream: &Upstream) {
        match message {
            Inbound::Message(envelope) if envelope.kind() == Kind::Request => {
                self.answers.begin(&envelope, upstream);
            }
            Inbound::Message(envelope) if self.said.len() < MAX_EARLY => {
                self.said.push(Inbound::Message(envelope));
            }
            _ => tracing::warn!("dropped what the server said before it answered initialize"),
        }
    }

    /// Passes it on; returns the answers that are still on their way.
    async fn tell(self, inbox: &Inbox) -> Answers {
        if !self.said.is_empty() {
            // Who opened the session has it in a moment, or has gone.
            drop(tokio::time::timeout(ARRIVAL_TIMEOUT, inbox.attended()).await);
        }
        for message in self.said {
            inbox.deliver(message).await;
        }
        self.answers
    }
}

/// Reads on the stream that brought the answer to `initialize`; that of an HTTP+SSE
/// session is the session.
pub(crate) async fn listen_on(
    mut events: EventStream,
    early: Early,
    upstream: Upstream,
    inbox: Inbox,
) -> ListenEnd {
    let answers = early.tell(&inbox).await;
    let error = relay_all(&mut events, &upstream, &inbox, &Place::default(), answers).await;
    match (&upstream, error) {
        (Upstream::StreamableHttp(_), _) => ListenEnd::Unsupported,
        (Upstream::HttpSse(_), UpstreamError::Interrupted(cause)) => {
            ListenEnd::SessionLost(UpstreamError::SessionLost(cause))
        }
        (Upstream::HttpSse(_), error) => ListenEnd::SessionLost(error),
    }
}

/// Relays events to the end of a stream. Returns why it ended.
async fn relay_all(
    events: &mut EventStream,
    upstream: &Upstream,
    inbox: &Inbox,
    place: &Mutex<Cursor>,
    mut answers: Answers,
) -> UpstreamError {
    let error = loop {
        let event = match events.next().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => break error,
            None => break UpstreamError::Interrupted("its stream ended".into()),
        };
        let messages = match event {
            StreamEvent::Event {
                name,
                data,
                id,
                retry,
            } => {
                lock(place).note(id, retry);
                read(&name, data)
            }
            StreamEvent::Skipped { message, why } => match addressed(message, why) {
                Ok(skipped) => vec![skipped],
                Err(refusal) => {
                    answers.send(refusal, upstream);
                    continue;
                }
            },
        };
        for message in messages {
            if let Some(asked) = inbox.deliver(message).await {
                answers.begin(&asked, upstream);
            }
        }
    };
    // With the stream of HTTP+SSE the session has ended.
    if matches!(upstream, Upstream::StreamableHttp(_)) {
        answers.finish().await;
    }
    error
}

fn lock(place: &Mutex<Cursor>) -> std::sync::MutexGuard<'_, Cursor> {
    place
        .lock()
        .expect("nothing panics while it holds the lock")
}
