//! One message to the server and what comes back for it.
//!
//! Everything that is read goes to the relay that sent the message; an exchange
//! of a request always ends with [`Inbound::Ended`], so that no request stays
//! without an answer. Repeats nothing.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::http::Payload;
use crate::jsonrpc::{Envelope, Kind, RequestId, Unusable};
use crate::upstream::sse::{EventStream, StreamEvent};
use crate::upstream::{HttpSse, PostReply, StreamableHttp, UpstreamError};

/// How long a stream may stay open after its answer: its end is waited for,
/// since a connection can only be used again once the response is read.
const AFTER_ANSWER: Duration = Duration::from_secs(1);

/// How long a cancelled request may still take to end (a disconnect is not a
/// cancellation: 2025-11-25, Transports > Sending Messages).
const AFTER_CANCEL: Duration = Duration::from_secs(5);

/// How long a server may take to accept a notification or a response.
pub(crate) const UNANSWERED_TIMEOUT: Duration = Duration::from_secs(10);

/// A message for the server.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The message, ids replaced by ours.
    pub(crate) message: Bytes,
    /// What it is; a request has its id.
    pub(crate) kind: OutboundKind,
    /// Who hears what comes back.
    pub(crate) replies: mpsc::Sender<Inbound>,
    /// What becomes of it.
    pub(crate) fate: Fate,
    /// What has to be sent before it: a cancellation must not overtake its request.
    pub(crate) after: Option<CancellationToken>,
    /// Whether it was refused before, because the session was gone.
    pub(crate) resent: bool,
}

/// What becomes of a message: levels that are reached once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    /// It is on its way, or never will be.
    pub(crate) sent: CancellationToken,
    /// Nobody waits for the answer any more.
    pub(crate) cancelled: CancellationToken,
    /// Held until the server has taken the message or never will.
    pub(crate) _under_way: Option<TaskTrackerToken>,
}

/// What a message for the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutboundKind {
    /// A request with this id of ours.
    Request(u64),
    /// A notification: sent in order with other notifications.
    Notification,
    /// A response to one of the server's requests.
    Response,
}

/// What a session tells the relay that uses it.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// The server says something.
    Message(Envelope),
    /// The exchange of this request is over. If it is still unanswered, the
    /// error says why, or the server just did not answer.
    Ended(u64, Option<UpstreamError>),
    /// A message that cannot be passed on came; it answered this id of ours.
    Skipped(Option<RequestId>, UpstreamError),
    /// The session broke. Requests up to this id will not be answered, but for
    /// those that had not gone out.
    Lost {
        error: UpstreamError,
        up_to: u64,
        unsent: Vec<u64>,
    },
}

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum ExchangeEnd {
    /// Everything has been said to the relay.
    Done,
    /// The server does not know the session; it did not handle the message.
    SessionGone(Outbound),
}

/// Where an established session sends its messages.
#[derive(Debug, Clone)]
pub(crate) enum Upstream {
    /// Answers come with the POST.
    StreamableHttp(StreamableHttp),
    /// Answers come on the session's stream.
    HttpSse(HttpSse),
}

impl Upstream {
    /// Posts a message.
    pub(crate) async fn post(
        &self,
        message: impl Into<Payload>,
    ) -> Result<PostReply, UpstreamError> {
        match self {
            Self::StreamableHttp(endpoint) => endpoint.post(message).await.map(|(reply, _)| reply),
            Self::HttpSse(endpoint) => endpoint.post(message).await.map(|()| PostReply::Accepted),
        }
    }
}

/// Sends one message and relays what comes back.
pub(crate) async fn run(upstream: Upstream, outbound: Outbound) -> ExchangeEnd {
    let _sent = outbound.fate.sent.clone().drop_guard();
    if let Some(after) = &outbound.after {
        // What has not been sent by then will not be handled before either.
        drop(tokio::time::timeout(AFTER_CANCEL, after.cancelled()).await);
    }
    let payload = Payload::new(outbound.message.clone(), outbound.fate.sent.clone());
    let posting = async {
        match outbound.kind {
            OutboundKind::Request(_) => upstream.post(payload).await,
            // Nothing waits for its reply, but others wait for their turn.
            _ => tokio::time::timeout(UNANSWERED_TIMEOUT, upstream.post(payload))
                .await
                .unwrap_or(Err(UpstreamError::TimedOut(UNANSWERED_TIMEOUT.as_secs()))),
        }
    };
    let posted = tokio::select! {
        posted = posting => posted,
        () = cancelled_for_long(&outbound.fate.cancelled) => return ExchangeEnd::Done,
    };
    let OutboundKind::Request(id) = outbound.kind else {
        match posted {
            Err(UpstreamError::SessionGone) => return ExchangeEnd::SessionGone(outbound),
            Err(error) => {
                tracing::debug!(%error, "the server refused a message that has no answer")
            }
            Ok(_) => {}
        }
        return ExchangeEnd::Done;
    };
    let error = match posted {
        Err(UpstreamError::SessionGone) => return ExchangeEnd::SessionGone(outbound),
        Err(error) => Some(error),
        Ok(PostReply::Accepted) if matches!(upstream, Upstream::HttpSse(_)) => {
            return ExchangeEnd::Done;
        }
        Ok(PostReply::Accepted) => Some(UpstreamError::Protocol(
            "it accepted a request without answering it".into(),
        )),
        Ok(PostReply::Json(body)) => relay_body(body, &outbound.replies).await,
        Ok(PostReply::Events(events)) => relay_events(id, events, &outbound).await,
    };
    // A relay that has gone needs no answer.
    drop(outbound.replies.send(Inbound::Ended(id, error)).await);
    ExchangeEnd::Done
}

async fn relay_body(body: Bytes, replies: &mpsc::Sender<Inbound>) -> Option<UpstreamError> {
    let mut messages = Envelope::parse_all(body);
    if let [Ok(only)] = messages.as_slice()
        && only.is_error()
        && only.id().is_none()
    {
        // The server could not read our id, but we know whom it means.
        return Some(UpstreamError::JsonRpc {
            status: 200,
            body: only.bytes().clone(),
        });
    }
    if messages.len() == 1
        && let Some(Err(unusable)) = messages.pop_if(|only| only.is_err())
    {
        return Some(UpstreamError::Protocol(format!(
            "its answer is {}",
            unusable.error
        )));
    }
    for message in messages {
        drop(replies.send(inbound(message)).await);
    }
    None
}

/// Turns what was read into what the relay hears.
pub(crate) fn inbound(message: Result<Envelope, Unusable>) -> Inbound {
    match message {
        Ok(envelope) => Inbound::Message(envelope),
        Err(unusable) => {
            let why =
                UpstreamError::Protocol(format!("it sent something that is {}", unusable.error));
            Inbound::Skipped(unusable.response_id(), why)
        }
    }
}

/// Relays a stream until its end, or until a while after the answer.
async fn relay_events(
    id: u64,
    mut events: EventStream,
    outbound: &Outbound,
) -> Option<UpstreamError> {
    let id = id.to_string();
    let mut answered = false;
    let mut deadline: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = until(deadline) => return None,
            () = outbound.fate.cancelled.cancelled(), if deadline.is_none() => {
                deadline = Some(Instant::now() + AFTER_CANCEL);
                continue;
            }
        };
        let messages = match event {
            Some(Ok(StreamEvent::Event { name, data, .. })) => read(&name, data),
            Some(Ok(StreamEvent::Skipped { answers, why })) => vec![Inbound::Skipped(answers, why)],
            Some(Err(_)) | None if answered => return None,
            Some(Err(error)) => return Some(error),
            None => return Some(UpstreamError::Interrupted("its stream ended".into())),
        };
        for message in messages {
            if answers(&message, &id) {
                answered = true;
                deadline = Some(Instant::now() + AFTER_ANSWER);
            }
            if outbound.replies.send(message).await.is_err() {
                return None;
            }
        }
        if answered {
            // The answer goes first; by then the end of the stream is usually
            // there, and no timer has to be set for it.
            tokio::task::yield_now().await;
        }
    }
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

/// Reads the messages in an event; none in events that carry none, such as the
/// first of a stream (2025-11-25, Transports > Sending Messages).
pub(crate) fn read(name: &str, data: Bytes) -> Vec<Inbound> {
    if name != "message" || data.iter().all(u8::is_ascii_whitespace) {
        return Vec::new();
    }
    Envelope::parse_all(data).into_iter().map(inbound).collect()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn cancelled_for_long(cancelled: &CancellationToken) {
    cancelled.cancelled().await;
    tokio::time::sleep(AFTER_CANCEL).await;
}
