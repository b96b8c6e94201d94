//! One message to the server and what comes back for it.
//!
//! Everything that is read goes to the relay that sent the message. An exchange of
//! a request that is still wanted ends with [`Inbound::Ended`], unless the actor
//! goes on with it or its answer comes on the session's stream. Says again only
//! what the server did not handle because it had no time; a stream that ends too
//! early is read on by [`answer`].

mod answer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Server;
use super::audience::Replies;
use super::authorize::Renewals;
use super::lists::Asked;
use super::reconnect::BusyTimes;
use super::waiting::{WORTH_SAYING, Waiting};
use crate::http::Payload;
use crate::jsonrpc::{self, Envelope, RequestId, Unusable};
use crate::oauth::token_source::TokenSource;
use crate::upstream::sse::Addressed;
use crate::upstream::{HttpSse, PostReply, StreamableHttp, UpstreamError};
use answer::Unwanted;

/// How long a cancelled request may still take to end (a disconnect is not a
/// cancellation: 2025-11-25, Transports > Sending Messages).
const AFTER_CANCEL: Duration = Duration::from_secs(5);

/// How long a server may take to accept a notification or a response.
const UNANSWERED_TIMEOUT: Duration = Duration::from_secs(10);

/// A message for the server.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The message, ids replaced by ours.
    pub(crate) message: Bytes,
    /// What it is; a request has its id.
    pub(crate) kind: OutboundKind,
    /// Who hears what comes back.
    pub(crate) replies: Replies,
    /// What becomes of it.
    pub(crate) fate: Fate,
    /// What has to be sent before it: a cancellation must not overtake its request.
    pub(crate) after: Option<CancellationToken>,
    /// Whether it was refused before, because the session was gone.
    pub(crate) resent: bool,
    /// How long to wait first, since it is said again.
    pub(crate) delay: Duration,
    /// The list that it asks for, if that may be answered from here.
    pub(crate) list: Option<Arc<Asked>>,
}

impl Outbound {
    /// Makes one that nobody cancels and nothing precedes.
    pub(crate) fn new(message: Bytes, kind: OutboundKind, replies: Replies) -> Self {
        Self {
            message,
            kind,
            replies,
            fate: Fate::default(),
            after: None,
            resent: false,
            delay: Duration::ZERO,
            list: None,
        }
    }
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
    /// The same, for those that wait for this one.
    pub(crate) _over: Option<Arc<DropGuard>>,
}

/// What a message for the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutboundKind {
    /// A request with this id of ours.
    Request(u64),
    /// A notification: sent in order with other notifications.
    Notification,
    /// A response to a request that the server made in this opening of the session.
    Response(u64),
}

/// What a session tells the relay that uses it.
#[derive(Debug, Clone)]
pub(crate) enum Inbound {
    /// The server says something.
    Message(Envelope),
    /// It asks something, in this opening of the session.
    Asked(Envelope, u64),
    /// The exchange of this request is over. If it is still unanswered, the
    /// error says why, or the server just did not answer.
    Ended(u64, Option<UpstreamError>),
    /// The answer to this request is still waited for, in vain if the relay has
    /// it already: then the relay cancels this.
    Waiting(u64, CancellationToken),
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
    /// The server does not know the session; it did not handle the message, and
    /// said this.
    SessionGone(Outbound, UpstreamError),
    /// The server has lost the session and this request, which it may have
    /// handled; the relay has still to hear why.
    SessionLost(Outbound, UpstreamError),
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
    /// Returns the tokens that it sends.
    pub(super) fn tokens(&self) -> Option<&TokenSource> {
        match self {
            Self::StreamableHttp(endpoint) => endpoint.tokens(),
            Self::HttpSse(endpoint) => endpoint.tokens(),
        }
    }

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

/// Sends one message and relays what comes back. `lost`: the session is.
pub(crate) async fn run(
    upstream: Upstream,
    outbound: Outbound,
    lost: CancellationToken,
    server: Arc<Server>,
) -> ExchangeEnd {
    let _sent = outbound.fate.sent.clone().drop_guard();
    if let Some(after) = &outbound.after {
        // What has not been sent by then will not be handled before either.
        drop(tokio::time::timeout(AFTER_CANCEL, after.cancelled()).await);
    }
    if !outbound.delay.is_zero() && !pause(&outbound, outbound.delay).await {
        return ExchangeEnd::Done;
    }
    let posted = tokio::select! {
        posted = post(&upstream, &outbound, &server) => posted,
        () = cancelled_for_long(&outbound.fate.cancelled) => { outbound.replies.unheard(); None }
    };
    let Some(posted) = posted else {
        return ExchangeEnd::Done;
    };
    let OutboundKind::Request(id) = outbound.kind else {
        match posted {
            Err(UpstreamError::SessionGone(said)) => {
                return ExchangeEnd::SessionGone(outbound, *said);
            }
            Err(error) => {
                tracing::debug!(%error, "the server refused a message that has no answer")
            }
            Ok(_) => {}
        }
        return ExchangeEnd::Done;
    };
    let error = match posted {
        Err(UpstreamError::SessionGone(said)) => {
            return ExchangeEnd::SessionGone(outbound, *said);
        }
        Err(error) => Some(error),
        Ok(PostReply::Accepted) if matches!(upstream, Upstream::HttpSse(_)) => {
            return ExchangeEnd::Done;
        }
        Ok(PostReply::Accepted) => Some(UpstreamError::Protocol(
            "it accepted a request without answering it".into(),
        )),
        Ok(PostReply::Json(body)) => relay_body(body, &outbound.replies).await,
        Ok(PostReply::Events(events)) => {
            match answer::relay(id, events, &upstream, &outbound, &lost).await {
                Ok(error) => error,
                Err(Unwanted) => return ExchangeEnd::Done,
            }
        }
    };
    let error = error.inspect(|error| outbound.replies.broke_off(error));
    if let Some(error @ UpstreamError::SessionLost(_)) = error {
        return ExchangeEnd::SessionLost(outbound, error);
    }
    // A relay that has gone needs no answer.
    drop(outbound.replies.send(Inbound::Ended(id, error)).await);
    ExchangeEnd::Done
}

/// Posts a message, again if the server has no time for it or wants another token. `None`: nobody
/// wants that any more.
async fn post(
    upstream: &Upstream,
    outbound: &Outbound,
    server: &Arc<Server>,
) -> Option<Result<PostReply, UpstreamError>> {
    let mut busy = BusyTimes::default();
    let mut renewals = match outbound.kind {
        OutboundKind::Request(_) => Renewals::of_request(),
        _ => Renewals::of_others(),
    };
    loop {
        let payload = Payload::new(outbound.message.clone(), outbound.fate.sent.clone());
        let posted = match outbound.kind {
            OutboundKind::Request(_) => upstream.post(payload).await,
            // Nothing waits for its reply, but others wait for their turn.
            _ => post_bounded(upstream, payload).await,
        };
        let posted = match posted {
            Err(error @ UpstreamError::Unauthorized(_)) => {
                match renewals.next(upstream.tokens(), error).await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                }
            }
            posted => posted,
        };
        let refused = match posted {
            Ok(reply) => return Some(Ok(reply)),
            Err(error) => error,
        };
        let delay = match busy.next(refused.clone()) {
            Ok(delay) => delay,
            Err(error) => return Some(Err(error)),
        };
        tracing::info!(?delay, "the server has no time for a message");
        let _waiting = (delay >= WORTH_SAYING).then(|| Waiting::begin(server, &refused, delay));
        if !pause(outbound, delay).await {
            return None;
        }
    }
}

/// Posts a message for whose reply nobody waits for long.
pub(super) async fn post_bounded(
    upstream: &Upstream,
    payload: Payload,
) -> Result<PostReply, UpstreamError> {
    tokio::time::timeout(UNANSWERED_TIMEOUT, upstream.post(payload))
        .await
        .unwrap_or(Err(UpstreamError::TimedOut(UNANSWERED_TIMEOUT)))
}

/// Posts `notifications/initialized`, which everything else waits for.
pub(super) async fn post_initialized(
    upstream: &Upstream,
    notification: Bytes,
) -> Result<(), UpstreamError> {
    let mut busy = BusyTimes::default();
    let mut renewals = Renewals::of_others();
    loop {
        match post_bounded(upstream, notification.clone().into()).await {
            Ok(_) => return Ok(()),
            Err(error @ UpstreamError::Unauthorized(_)) => {
                renewals.next(upstream.tokens(), error).await?;
            }
            Err(error) => tokio::time::sleep(busy.next(error)?).await,
        }
    }
}

/// Waits; false if by then nobody wants the answer any more.
async fn pause(outbound: &Outbound, delay: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(delay) => true,
        () = outbound.fate.cancelled.cancelled() => false,
        () = outbound.replies.closed() => false,
    }
}

async fn relay_body(body: Bytes, replies: &Replies) -> Option<UpstreamError> {
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

/// Reads the messages in an event; none in events that carry none, such as the
/// first of a stream (2025-11-25, Transports > Sending Messages).
pub(crate) fn read(name: &str, data: Bytes) -> Vec<Inbound> {
    if name != "message" || data.iter().all(u8::is_ascii_whitespace) {
        return Vec::new();
    }
    Envelope::parse_all(data).into_iter().map(inbound).collect()
}

/// Turns a message that is too long into what the relay hears. To a request of the
/// server the relay has nothing to say: it is refused here.
pub(super) async fn skipped(
    message: Addressed,
    why: UpstreamError,
    upstream: &Upstream,
) -> Option<Inbound> {
    let refusal = match addressed(message, why) {
        Ok(skipped) => return Some(skipped),
        Err(refusal) => refusal,
    };
    if let Err(error) = post_bounded(upstream, refusal.into()).await {
        tracing::debug!(%error, "a request of the server could not be answered");
    }
    None
}

/// Turns a message that is too long into what the relay hears, or, if it asks
/// something, into what the server hears.
pub(super) fn addressed(message: Addressed, why: UpstreamError) -> Result<Inbound, Bytes> {
    tracing::warn!(error = %why, ?message, "skipped a message of the server");
    match message {
        Addressed::Answer(id) => Ok(Inbound::Skipped(Some(id), why)),
        Addressed::Nobody => Ok(Inbound::Skipped(None, why)),
        Addressed::Request(id) => {
            let sentence = format!("mcp-remote: the server {why}");
            Err(jsonrpc::error_response(Some(&id), -32603, &sentence, None))
        }
    }
}

async fn cancelled_for_long(cancelled: &CancellationToken) {
    cancelled.cancelled().await;
    tokio::time::sleep(AFTER_CANCEL).await;
}
