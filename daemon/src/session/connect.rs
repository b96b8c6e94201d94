//! Opens a session: finds the transport, shakes hands.
//!
//! The order is the specification's (2025-11-25, Transports > Backwards
//! Compatibility): POST `initialize`; where the answer says that this is no
//! Streamable HTTP endpoint, GET the same URL as HTTP+SSE. The probe for revision
//! 2026-07-28 will stand before both.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::authorize::Renewals;
use super::exchange::{Inbound, Upstream, read};
use super::kept::Note;
use super::listener::Early;
use super::reconnect::{BusyTimes, REPEAT_DELAYS, jittered};
use super::waiting::{WORTH_SAYING, Waiting};
use super::{Handshake, InitializeResult, Server, ServerSpec};
use crate::http::HttpClients;
use crate::jsonrpc::{Envelope, Kind, Unusable};
use crate::upstream::sse::{EventStream, StreamEvent};
use crate::upstream::{HttpSse, PostReply, StreamableHttp, Target, TransportKind, UpstreamError};

/// How long a server may take to answer `initialize`. Some start a container
/// for it; none may hold a client for ever, nor (with one transport to try) longer
/// than the 30 s for which a shim whose client has gone waits for answers.
const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(25);

/// An open session.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Where its messages go.
    pub(crate) upstream: Upstream,
    /// What the server said.
    pub(crate) result: InitializeResult,
    /// The stream that brought the answer, to be read on; that of HTTP+SSE is the
    /// session.
    pub(crate) stream: Option<EventStream>,
    /// What it brought before the answer.
    pub(crate) early: Early,
    /// Whether the server has heard `notifications/initialized`, from an earlier
    /// daemon.
    pub(crate) initialized: bool,
    /// What is written down of it, once it is.
    pub(crate) note: Option<Note>,
}

/// Goes on with a session of an earlier daemon: nothing is asked.
pub(crate) async fn resume(
    clients: &HttpClients,
    spec: &ServerSpec,
    server: &Server,
    note: Note,
    max_message: usize,
) -> Result<Opened, UpstreamError> {
    let (session, result) = note.opened()?;
    let target = spec.target(clients, max_message).await?;
    server.connected(spec, &result);
    let endpoint = StreamableHttp::new(target).within(Some(session), result.version);
    Ok(Opened {
        upstream: Upstream::StreamableHttp(endpoint),
        result,
        stream: None,
        early: Early::default(),
        initialized: note.is_initialized(),
        note: Some(note),
    })
}

/// Opens a session; `id` is the request id of `initialize` in it.
pub(crate) async fn open(
    clients: &HttpClients,
    spec: &ServerSpec,
    server: &Arc<Server>,
    handshake: &Handshake,
    id: u64,
    max_message: usize,
) -> Result<Opened, UpstreamError> {
    let mut failed = Vec::new();
    open_telling(
        clients,
        spec,
        server,
        handshake,
        (id, max_message),
        &mut failed,
    )
    .await
}

/// Does the same, and tells which transports failed and why, in order.
pub(super) async fn open_telling(
    clients: &HttpClients,
    spec: &ServerSpec,
    server: &Arc<Server>,
    handshake: &Handshake,
    (id, max_message): (u64, usize),
    failed: &mut Vec<(TransportKind, UpstreamError)>,
) -> Result<Opened, UpstreamError> {
    let mut end = Instant::now() + INITIALIZE_TIMEOUT;
    let target = spec.target(clients, max_message).await?;
    let transports = server.transports(spec);
    for (at, transport) in transports.iter().enumerate() {
        let message = handshake.message(id);
        match open_patiently(*transport, &target, server, message, id, end).await {
            Ok(opened) => {
                server.connected(spec, &opened.result);
                return Ok(opened);
            }
            Err(error) if at + 1 < transports.len() && says_other_transport(&error) => {
                tracing::debug!(transport = transport.as_str(), %error, "trying the other transport");
                server.forget_transport();
                end = Instant::now() + INITIALIZE_TIMEOUT;
                failed.push((*transport, error));
            }
            Err(error) => {
                failed.push((*transport, error));
                break;
            }
        }
    }
    match failed.first() {
        Some((_, first)) => {
            server.failed(first);
            Err(first.clone())
        }
        None => Err(UpstreamError::Here("no transport is allowed".into())),
    }
}

/// Says whether the server may speak the other transport: any 4xx that is not
/// about credentials or load, or something that is not MCP.
fn says_other_transport(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Status { status, .. } | UpstreamError::JsonRpc { status, .. } => {
            (400..500).contains(status) && !matches!(status, 408 | 429)
        }
        UpstreamError::NotMcp { .. }
        | UpstreamError::Protocol(_)
        | UpstreamError::SessionGone(_) => true,
        _ => false,
    }
}

/// Opens a session, in a few attempts if the server is busy or in trouble:
/// `initialize` may be said again.
async fn open_patiently(
    transport: TransportKind,
    target: &Target,
    server: &Arc<Server>,
    initialize: Bytes,
    id: u64,
    end: Instant,
) -> Result<Opened, UpstreamError> {
    let mut busy = BusyTimes::default();
    let mut renewals = Renewals::of_request();
    let mut delays = REPEAT_DELAYS.iter();
    loop {
        let opening = open_with(transport, target.clone(), initialize.clone(), id);
        let error = match tokio::time::timeout_at(end, opening).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => error,
            Err(_) => return Err(UpstreamError::TimedOut(INITIALIZE_TIMEOUT)),
        };
        let delay = match &error {
            UpstreamError::Unauthorized(_) => {
                renewals.next(target.tokens.as_ref(), error).await?;
                continue;
            }
            UpstreamError::Busy { .. } => busy.next(error.clone())?,
            error if error.may_pass() => match delays.next() {
                Some(delay) => jittered(*delay),
                None => return Err(error.clone()),
            },
            _ => return Err(error),
        };
        if Instant::now() + delay >= end {
            return Err(error);
        }
        tracing::debug!(%error, ?delay, "the session could not be opened, trying again");
        let _waiting = (delay >= WORTH_SAYING).then(|| Waiting::begin(server, &error, delay));
        tokio::time::sleep(delay).await;
    }
}

async fn open_with(
    transport: TransportKind,
    target: Target,
    initialize: Bytes,
    id: u64,
) -> Result<Opened, UpstreamError> {
    match transport {
        TransportKind::StreamableHttp => open_streamable_http(target, initialize, id).await,
        TransportKind::HttpSse => open_http_sse(target, initialize, id).await,
    }
}

async fn open_streamable_http(
    target: Target,
    initialize: Bytes,
    id: u64,
) -> Result<Opened, UpstreamError> {
    let endpoint = StreamableHttp::new(target);
    let (reply, session) = endpoint.post(initialize).await?;
    let mut early = Early::default();
    let (reply, stream) = match reply {
        PostReply::Json(body) => {
            let invalid = |unusable: Unusable| {
                UpstreamError::Protocol(format!("its answer is {}", unusable.error))
            };
            let envelopes: Result<Vec<_>, _> = Envelope::parse_all(body).into_iter().collect();
            let mut envelopes = envelopes.map_err(invalid)?.into_iter();
            (envelopes.find(|envelope| answers(envelope, id)), None)
        }
        PostReply::Events(mut events) => {
            let upstream = Upstream::StreamableHttp(endpoint.opening(session.clone()));
            let reply = answer_on(&mut events, id, &mut early, &upstream).await?;
            (Some(reply), Some(events))
        }
        PostReply::Accepted => (None, None),
    };
    let reply =
        reply.ok_or_else(|| UpstreamError::Protocol("it did not answer initialize".into()))?;
    let result = InitializeResult::read(reply, TransportKind::StreamableHttp)?;
    let upstream = Upstream::StreamableHttp(endpoint.within(session, result.version));
    Ok(Opened {
        upstream,
        result,
        stream,
        early,
        initialized: false,
        note: None,
    })
}

async fn open_http_sse(
    target: Target,
    initialize: Bytes,
    id: u64,
) -> Result<Opened, UpstreamError> {
    let (endpoint, mut events) = HttpSse::connect(target).await?;
    let mut early = Early::default();
    let upstream = Upstream::HttpSse(endpoint.clone());
    let answer = answer_on(&mut events, id, &mut early, &upstream);
    let ((), reply) = tokio::try_join!(endpoint.post(initialize), answer)?;
    let result = InitializeResult::read(reply, TransportKind::HttpSse)?;
    let upstream = Upstream::HttpSse(endpoint.within(result.version));
    Ok(Opened {
        upstream,
        result,
        stream: Some(events),
        early,
        initialized: false,
        note: None,
    })
}

/// Waits for the answer to `initialize`. Before it, a server may only log and
/// ping (Lifecycle > Initialization).
async fn answer_on(
    events: &mut EventStream,
    id: u64,
    early: &mut Early,
    upstream: &Upstream,
) -> Result<Envelope, UpstreamError> {
    while let Some(event) = events.next().await {
        let messages = match event? {
            StreamEvent::Event { name, data, .. } => read(&name, data),
            StreamEvent::Skipped { why, .. } => return Err(why),
        };
        let mut answer = None;
        for message in messages {
            match message {
                Inbound::Message(envelope) if answers(&envelope, id) => answer = Some(envelope),
                Inbound::Skipped(Some(_), why) => return Err(why),
                message => early.take(message, upstream),
            }
        }
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
    Err(UpstreamError::Interrupted("its stream ended".into()))
}

fn answers(envelope: &Envelope, id: u64) -> bool {
    envelope.kind() == Kind::Response
        && envelope
            .id()
            .is_some_and(|answer| answer.as_json() == id.to_string())
}
