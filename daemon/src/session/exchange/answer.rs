//! The stream of events that carries the answer to one request.
//!
//! A stream that ends before the answer is read on where it stopped, if the
//! server gave its events ids (2025-11-25, Transports > Resumability and
//! Redelivery); nothing is sent to the server a second time for it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AFTER_CANCEL, Inbound, Outbound, Upstream, cancelled_for_long, pause, read, skipped};
use crate::jsonrpc::Kind;
use crate::session::authorize;
use crate::session::cursor::Cursor;
use crate::session::reconnect::{Reconnect, is_final};
use crate::upstream::sse::{EventStream, StreamEvent};
use crate::upstream::{StreamableHttp, UpstreamError};

/// How long a stream may stay open after its answer: its end is waited for,
/// since a connection can only be used again once the response is read.
const AFTER_ANSWER: Duration = Duration::from_secs(1);

/// Times that a server may say that somebody else reads the stream: it may not
/// have noticed yet that our connection is broken.
const MAX_CONFLICTS: u32 = 3;

/// How long a server that was working on a request may be out of reach. What it
/// knew of the request has most likely gone with it.
const UNREACHABLE_LIMIT: Duration = Duration::from_secs(10);

/// How a stream ended.
enum End {
    /// There is nothing more to read; if no answer came, this is why.
    Over(Option<UpstreamError>),
    /// It ended or broke before the answer.
    Early(UpstreamError),
    /// It goes on, but nobody waits for the answer any more.
    Unwanted,
}

/// Nobody waits any more for an answer that may still be under way.
pub(super) struct Unwanted;

/// Relays the events until after the answer, over as many streams as it takes.
/// Returns why there is no answer.
pub(super) async fn relay(
    id: u64,
    events: EventStream,
    upstream: &Upstream,
    outbound: &Outbound,
    lost: &CancellationToken,
) -> Result<Option<UpstreamError>, Unwanted> {
    let mut reader = Reader {
        upstream,
        outbound,
        id,
        id_text: id.to_string(),
        cursor: Cursor::default(),
    };
    let began = Instant::now();
    let ended = match reader.read(events).await {
        End::Over(error) => Ok(error),
        End::Unwanted => Err(Unwanted),
        End::Early(error) => match upstream {
            Upstream::StreamableHttp(endpoint) if reader.cursor.last_event().is_some() => {
                // Kept out of the usual exchange, which is small.
                Box::pin(reader.resume(endpoint, error, began.elapsed(), lost)).await
            }
            _ => Ok(Some(error)),
        },
    };
    ended.inspect_err(|_| outbound.replies.unheard())
}

struct Reader<'a> {
    upstream: &'a Upstream,
    outbound: &'a Outbound,
    id: u64,
    id_text: String,
    cursor: Cursor,
}

impl Reader<'_> {
    /// Relays one stream until its end, or until a while after the answer.
    async fn read(&mut self, mut events: EventStream) -> End {
        let mut answered = false;
        let mut deadline: Option<Instant> = None;
        loop {
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = until(deadline) => {
                    return if answered { End::Over(None) } else { End::Unwanted };
                }
                () = self.outbound.fate.cancelled.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + AFTER_CANCEL);
                    continue;
                }
            };
            let messages = match event {
                Some(Ok(StreamEvent::Event {
                    name,
                    data,
                    id,
                    retry,
                })) => {
                    self.cursor.note(id, retry);
                    read(&name, data)
                }
                Some(Ok(StreamEvent::Skipped { message, why })) => {
                    let skipped = skipped(message, why, self.upstream).await;
                    skipped.into_iter().collect()
                }
                Some(Err(_)) | None if answered => return End::Over(None),
                Some(Err(error @ UpstreamError::Interrupted(_))) => return End::Early(error),
                Some(Err(error)) => return End::Over(Some(error)),
                None => {
                    return End::Early(UpstreamError::Interrupted("its stream ended".into()));
                }
            };
            for message in messages {
                if answers(&message, &self.id_text) {
                    answered = true;
                    deadline = Some(Instant::now() + AFTER_ANSWER);
                }
                if self.outbound.replies.send(message).await.is_err() {
                    self.outbound.replies.unheard();
                    return End::Over(None);
                }
            }
            if answered {
                // The answer goes first; by then the end of the stream is usually
                // there, and no timer has to be set for it.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Asks for the rest of the stream until the answer has come, or cannot.
    async fn resume(
        &mut self,
        endpoint: &StreamableHttp,
        mut why: UpstreamError,
        lived: Duration,
        lost: &CancellationToken,
    ) -> Result<Option<UpstreamError>, Unwanted> {
        // Others may find out first; what is read already is read on all the same.
        let session_lost = |why: &str| Ok(Some(UpstreamError::SessionLost(why.into())));
        let mut reconnect = Reconnect::default();
        let mut failures = Failures::default();
        self.cursor.tell(&mut reconnect, lived);
        let mut delay = reconnect.delay();
        loop {
            tracing::debug!(error = %why, ?delay, "a stream ended before its answer, resuming it");
            if !self.is_wanted().await {
                return Err(Unwanted);
            }
            let is_wanted = tokio::select! {
                is_wanted = pause(self.outbound, delay) => is_wanted,
                () = lost.cancelled() => return session_lost("it has ended it meanwhile"),
            };
            if !is_wanted {
                return Err(Unwanted);
            }
            let began = Instant::now();
            let opened = tokio::select! {
                opened = authorize::listen(endpoint, self.cursor.last_event()) => opened,
                () = cancelled_for_long(&self.outbound.fate.cancelled) => return Err(Unwanted),
                () = self.outbound.replies.closed() => return Err(Unwanted),
                () = lost.cancelled() => return session_lost("it has ended it meanwhile"),
            };
            delay = match opened {
                Ok(Some(events)) => match self.read(events).await {
                    End::Over(error) => return Ok(error),
                    End::Unwanted => return Err(Unwanted),
                    End::Early(error) => {
                        why = error;
                        self.cursor.tell(&mut reconnect, began.elapsed());
                        reconnect.delay()
                    }
                },
                Ok(None) => return Ok(Some(not_resumed("it offers no stream to read on"))),
                // Its router may say 404 only because it has no GET.
                Err(UpstreamError::SessionGone(said)) if said.http_status() == Some(404) => {
                    return Ok(Some(not_resumed("it does not know it any more")));
                }
                Err(UpstreamError::SessionGone(_)) => {
                    return session_lost("it does not know it any more");
                }
                Err(error) => {
                    let Some(longest) = failures.longest_delay(&error, began) else {
                        return Ok(Some(not_resumed(&format!("it {error}"))));
                    };
                    why = error;
                    reconnect.delay_after(&why).min(longest)
                }
            };
        }
    }

    /// Asks the relay whether the answer is still to come: it may have come
    /// another way, and then nothing would ever end the waiting.
    async fn is_wanted(&self) -> bool {
        let asked = Inbound::Waiting(self.id, self.outbound.fate.cancelled.clone());
        self.outbound.replies.send(asked).await.is_ok()
    }
}

/// The failures to ask for the rest of a stream.
#[derive(Default)]
struct Failures {
    conflicts: u32,
    unreachable_since: Option<Instant>,
}

impl Failures {
    /// Returns how long to wait at most before asking again after this error, of an
    /// attempt that began then; `None`: asking again is no use.
    fn longest_delay(&mut self, error: &UpstreamError, began: Instant) -> Option<Duration> {
        if !matches!(error, UpstreamError::Unreachable(_)) {
            self.unreachable_since = None;
            let is_conflict = error.http_status() == Some(409) && self.conflicts < MAX_CONFLICTS;
            self.conflicts += u32::from(is_conflict);
            return (is_conflict || !is_final(error)).then_some(Duration::MAX);
        }
        let since = *self.unreachable_since.get_or_insert(began);
        UNREACHABLE_LIMIT
            .checked_sub(since.elapsed())
            .filter(|rest| !rest.is_zero())
    }
}

fn not_resumed(why: &str) -> UpstreamError {
    UpstreamError::Interrupted(format!("its stream ended and could not be resumed, {why}"))
}

/// Says whether a message answers this request, be it in a way of no use.
fn answers(message: &Inbound, id: &str) -> bool {
    match message {
        Inbound::Message(envelope) if envelope.kind() == Kind::Response => {
            envelope.id().is_some_and(|answer| answer.as_json() == id)
        }
        Inbound::Skipped(Some(answer), _) => answer.as_json() == id,
        _ => false,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
