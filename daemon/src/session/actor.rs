//! The session actor: one upstream MCP session, opened, kept, re-opened, ended.
//!
//! Its loop awaits only its own mailbox and its tasks; exchanges run beside it.
//! Invariants: nothing overtakes `initialize` and `notifications/initialized`;
//! notifications stay in order; a message that the server refused because it lost
//! the session is sent again once, after one re-opening for all.

mod closing;
mod losing;
mod opening;
mod renewing;
mod sent;
mod sharing;
mod signed_out;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::audience::{Inbox, Replies};
use super::connect::Opened;
use super::connections::{Connections, Freshness};
use super::exchange::{self, ExchangeEnd, Inbound, Outbound, OutboundKind};
use super::handle::{Keep, SessionHandle, SessionMessage, SessionState, stopping};
use super::kept::{Claimed, KeptSessions, LeaseToken, Note};
use super::listener::{self, ListenEnd, Place};
use super::phase::{Open, Phase, TaskEnd};
use super::restore::restore;
use super::{Handshake, Server, SessionKey};
use crate::upstream::UpstreamError;

/// Messages kept while the session is being opened; further ones are not taken.
const MAX_PARKED: usize = 256;

/// How long DELETE and what precedes it may take at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client says once it has the answer to `initialize`.
pub(crate) const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What a session is made with.
#[derive(Debug, Clone)]
pub(crate) struct SessionDeps {
    /// For building clients, and to know when to.
    pub(crate) connections: Arc<Connections>,
    /// The server.
    pub(crate) server: Arc<Server>,
    /// For noting what outlives the daemon.
    pub(crate) kept: Arc<KeptSessions>,
    /// Largest message from the server, in bytes.
    pub(crate) max_message: usize,
}

/// Starts a session, which opens itself, or goes on with an earlier daemon's.
pub(crate) fn spawn(
    key: &SessionKey,
    handshake: Arc<Handshake>,
    claimed: Option<Claimed>,
    deps: SessionDeps,
    tasks: &TaskTracker,
) -> SessionHandle {
    let lease = claimed.as_ref().map(|claimed| claimed.lease.clone());
    let first_id = claimed.as_ref().map_or(0, Claimed::first_id);
    let (handle, ends) = SessionHandle::new(lease.unwrap_or_else(LeaseToken::new), first_id);
    if claimed.as_ref().is_some_and(|claimed| claimed.clean) {
        // What the server has asked its clients was not written down.
        ends.inbox.note_roots();
    }
    let session = Session {
        key: key.clone(),
        handshake,
        next_id: ends.next_id,
        inbox: ends.inbox,
        state: ends.state,
        phase: Phase::Opening,
        generation: 0,
        opened_once: false,
        parked: VecDeque::new(),
        notifications: VecDeque::new(),
        notifying: false,
        saying: 0,
        tasks: JoinSet::new(),
        sent: sent::Sent::default(),
        lost_generation: 0,
        exchanges: HashMap::new(),
        freshness: Freshness::default(),
        lease: ends.lease,
        keeping: ends.keeping,
        epoch: claimed.as_ref().map_or(0, Claimed::epoch),
        note: None,
        deps,
    };
    let span = tracing::info_span!(parent: None, "session", server = %key.spec.url);
    tasks.spawn(
        session
            .run(claimed, ends.messages, ends.closing)
            .instrument(span),
    );
    handle
}

struct Session {
    key: SessionKey,
    handshake: Arc<Handshake>,
    deps: SessionDeps,
    next_id: Arc<AtomicU64>,
    inbox: Inbox,
    state: watch::Sender<SessionState>,
    phase: Phase,
    /// Counts openings, so that what belongs to an earlier one is recognised.
    generation: u64,
    opened_once: bool,
    parked: VecDeque<Outbound>,
    notifications: VecDeque<Outbound>,
    notifying: bool,
    /// Notifications on their way, cancellations too: said before the session ends.
    saying: usize,
    tasks: JoinSet<TaskEnd>,
    /// Which requests went out, where their answers come on the session's stream.
    sent: sent::Sent,
    /// The opening up to which requests were reported lost: they are not sent
    /// again, whatever else becomes of them.
    lost_generation: u64,
    /// Requests by their task, for the case that it panics.
    exchanges: HashMap<tokio::task::Id, (u64, Replies)>,
    /// How fresh the connections in use are.
    freshness: Freshness,
    lease: LeaseToken,
    /// Whether it is left behind at its end, and for whom.
    keeping: Arc<OnceLock<Keep>>,
    /// How many daemons had the session before.
    epoch: u64,
    /// What is written down, if the session can outlive the daemon.
    note: Option<Note>,
}

impl Session {
    async fn run(
        mut self,
        claimed: Option<Claimed>,
        mut messages: tokio::sync::mpsc::Receiver<SessionMessage>,
        closing: CancellationToken,
    ) {
        match claimed {
            Some(claimed) => self.resume(claimed),
            None => self.open(),
        }
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                // While messages wait for the session, their senders do too.
                message = messages.recv(), if self.parked.len() < MAX_PARKED => match message {
                    Some(SessionMessage::Send(outbound)) => self.send(*outbound),
                    Some(SessionMessage::Done(outbound)) => self.say_done(*outbound),
                    Some(SessionMessage::Initialized(notification)) => self.client_initialized(notification),
                    Some(SessionMessage::Silent) => self.silent(),
                    Some(SessionMessage::SignedOut(ended)) => self.signed_out(ended),
                    None => break,
                },
                Some(end) = self.tasks.join_next_with_id() => {
                    if !self.task_ended(end) {
                        return;
                    }
                }
            }
        }
        if tokio::time::timeout(CLOSE_TIMEOUT, self.end())
            .await
            .is_err()
        {
            tracing::debug!("the server did not confirm the end of a session in time");
        }
        if self.note.is_some() {
            self.deps.kept.ended(&self.lease).await;
        }
    }

    fn send(&mut self, outbound: Outbound) {
        self.check_sign_in();
        self.check_connections();
        match &self.phase {
            Phase::Ready(_) => self.dispatch(outbound),
            Phase::Opening | Phase::Initializing(_) => self.parked.push_back(outbound),
            Phase::Lost => {
                self.parked.push_back(outbound);
                self.open();
            }
            Phase::Uninitialized(_) => {
                // A client that skips the notification still means it.
                self.parked.push_back(outbound);
                self.initialize(Bytes::from_static(INITIALIZED));
            }
        }
    }

    /// Tells the relay that a message is not sent, or will not be answered.
    fn refuse(&mut self, outbound: Outbound, error: UpstreamError) {
        outbound.fate.sent.cancel();
        if let OutboundKind::Request(id) = outbound.kind {
            self.tasks.spawn(async move {
                drop(outbound.replies.send(Inbound::Ended(id, Some(error))).await);
                TaskEnd::Aside
            });
        }
    }

    fn client_initialized(&mut self, notification: Bytes) {
        if matches!(self.phase, Phase::Uninitialized(_)) {
            self.initialize(notification);
        }
    }

    fn initialize(&mut self, notification: Bytes) {
        let Phase::Uninitialized(open) = std::mem::replace(&mut self.phase, Phase::Opening) else {
            return;
        };
        let (upstream, generation) = (open.upstream.clone(), self.generation);
        let inbox = self.inbox.of_opening(generation);
        let switched_on = self.switched_on();
        self.tasks.spawn(async move {
            let posted = exchange::post_initialized(&upstream, notification).await;
            let error = posted.err();
            if !switched_on.is_empty() {
                restore(&upstream, switched_on, &inbox).await;
            }
            TaskEnd::Initialized { generation, error }
        });
        self.phase = Phase::Initializing(open);
    }

    fn dispatch(&mut self, mut outbound: Outbound) {
        let Phase::Ready(open) = &self.phase else {
            return self.parked.push_back(outbound);
        };
        if matches!(outbound.kind, OutboundKind::Response(to) if to != self.generation) {
            // The session that asked is gone; in this one the id means another request.
            return;
        }
        let lists = self.inbox.lists();
        outbound.replies = outbound.replies.of_opening(self.generation, lists);
        let asked = outbound.list.as_ref();
        if let Some(page) = asked.and_then(|asked| lists.answer(asked)) {
            return self.answer_here(outbound, &page);
        }
        // A cancellation waits for its request alone.
        let in_order = outbound.kind == OutboundKind::Notification && outbound.after.is_none();
        if in_order && self.notifying {
            if self.notifications.len() < MAX_PARKED {
                self.notifications.push_back(outbound);
            } else {
                tracing::warn!(
                    "dropped a notification: the server does not accept the earlier ones"
                );
            }
            return;
        }
        let (generation, kind, upstream) = (self.generation, outbound.kind, open.upstream.clone());
        let (replies, lost) = (outbound.replies.clone(), open.lost.clone());
        let server = self.deps.server.clone();
        let task = self.tasks.spawn(async move {
            let end = exchange::run(upstream, outbound, lost, server).await;
            TaskEnd::Exchange {
                generation,
                kind,
                in_order,
                end,
            }
        });
        match kind {
            OutboundKind::Request(id) => {
                if self.answers_come_on_stream() {
                    self.sent.note(id);
                }
                self.exchanges.insert(task.id(), (id, replies));
            }
            OutboundKind::Notification => {
                self.notifying |= in_order;
                self.saying += 1;
            }
            OutboundKind::Response(_) => {}
        }
    }

    /// Handles the end of a task; false if the session has ended with it.
    fn task_ended(
        &mut self,
        end: Result<(tokio::task::Id, TaskEnd), tokio::task::JoinError>,
    ) -> bool {
        let end = match end {
            Ok((task, end)) => {
                self.exchanges.remove(&task);
                end
            }
            Err(error) => {
                tracing::error!(%error, "a part of a session panicked");
                if let Some((id, replies)) = self.exchanges.remove(&error.id()) {
                    self.tasks.spawn(async move {
                        let error = UpstreamError::Interrupted("an internal error".into());
                        drop(replies.send(Inbound::Ended(id, Some(error))).await);
                        TaskEnd::Aside
                    });
                }
                self.notifying = false;
                // Without this an opening that panicked would never end.
                return !matches!(self.phase, Phase::Opening | Phase::Initializing(_))
                    || self.opening_failed(stopping());
            }
        };
        match end {
            TaskEnd::Opened(opened) => match *opened {
                Ok(opened) => self.opened(opened),
                Err(error) => return self.opening_failed(error),
            },
            TaskEnd::Initialized { generation, error } if generation == self.generation => {
                self.initialized(error)
            }
            TaskEnd::Exchange {
                generation,
                kind,
                in_order,
                end,
            } => self.exchange_ended(generation, kind, in_order, end),
            TaskEnd::Listening { generation, end } if generation == self.generation => {
                self.listening_ended(end)
            }
            TaskEnd::Renewed { generation, client } if generation == self.generation => {
                self.renewed(*client)
            }
            TaskEnd::Initialized { .. }
            | TaskEnd::Renewed { .. }
            | TaskEnd::Listening { .. }
            | TaskEnd::Aside => {}
        }
        true
    }

    fn opened(&mut self, opened: Opened) {
        self.note = opened.note;
        let result = Arc::new(opened.result);
        self.inbox.lists().opened(result.reply());
        tracing::info!(name = %result.server_name, version = result.version.as_str(), transport = result.transport.as_str(), "session opened");
        self.decide_sharing(&opened.upstream);
        let listening = CancellationToken::new();
        if let Some(stream) = opened.stream {
            let inbox = self.inbox.of_opening(self.generation);
            let upstream = opened.upstream.clone();
            let relaying = listener::listen_on(stream, opened.early, upstream, inbox);
            self.listen(listening.clone(), relaying);
        }
        let lost = CancellationToken::new();
        let open = Open {
            upstream: opened.upstream,
            place: Place::default(),
            _lost_guard: lost.clone().drop_guard(),
            lost,
            _listening_guard: listening.clone().drop_guard(),
            listening,
        };
        self.phase = match opened.initialized {
            true => Phase::Initializing(open),
            false => Phase::Uninitialized(open),
        };
        self.state.send_replace(SessionState::Ready(result));
        if opened.initialized {
            self.initialized(None);
        } else if self.opened_once || !self.parked.is_empty() {
            // Its client was initialized before the session was lost.
            self.initialize(Bytes::from_static(INITIALIZED));
        }
        self.opened_once = true;
    }

    fn listen(
        &mut self,
        ended: CancellationToken,
        listening: impl Future<Output = ListenEnd> + Send + 'static,
    ) {
        let generation = self.generation;
        self.tasks.spawn(async move {
            tokio::select! {
                end = listening => TaskEnd::Listening { generation, end },
                () = ended.cancelled() => TaskEnd::Aside,
            }
        });
    }

    /// Returns whether the session lives on.
    fn opening_failed(&mut self, error: UpstreamError) -> bool {
        tracing::warn!(%error, "the session could not be opened");
        while let Some(outbound) = self.parked.pop_front() {
            self.refuse(outbound, error.clone());
        }
        self.phase = Phase::Lost;
        if self.opened_once {
            self.state.send_replace(SessionState::Lost(error));
        } else {
            self.state.send_replace(SessionState::Failed(error));
        }
        self.opened_once
    }

    fn initialized(&mut self, error: Option<UpstreamError>) {
        let Phase::Initializing(open) = std::mem::replace(&mut self.phase, Phase::Lost) else {
            return;
        };
        match error {
            Some(error) if is_unheard(&error) => {
                return self.still_uninitialized(open, &error);
            }
            // Servers exist that refuse it and work; what follows will tell.
            Some(error) => {
                tracing::debug!(%error, "the server refused notifications/initialized");
            }
            None => {}
        }
        self.note_initialized();
        self.notifying = false;
        self.ready(open);
    }

    /// The next message is preceded by another try.
    fn still_uninitialized(&mut self, open: Open, error: &UpstreamError) {
        tracing::debug!(%error, "the server has not heard notifications/initialized");
        self.phase = Phase::Uninitialized(open);
        while let Some(outbound) = self.parked.pop_front() {
            self.refuse(outbound, error.clone());
        }
    }

    fn exchange_ended(
        &mut self,
        generation: u64,
        kind: OutboundKind,
        in_order: bool,
        end: ExchangeEnd,
    ) {
        if kind == OutboundKind::Notification {
            self.saying -= 1;
        }
        if in_order && generation == self.generation {
            self.notifying = false;
        }
        match end {
            ExchangeEnd::Done => {}
            ExchangeEnd::SessionLost(outbound, error) => {
                if generation == self.generation && self.is_in_use() {
                    self.listening_ended(ListenEnd::SessionLost(error.clone()));
                }
                self.refuse(outbound, error);
            }
            ExchangeEnd::SessionGone(outbound, said) => {
                self.session_gone(generation, outbound, said);
            }
        }
        if !self.notifying
            && matches!(self.phase, Phase::Ready(_))
            && let Some(next) = self.notifications.pop_front()
        {
            self.dispatch(next);
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Says whether the server has not taken note of a message, and may another time.
fn is_unheard(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Unauthorized(refusal) => refusal.status == 401,
        UpstreamError::NotSignedIn { status, .. } => *status == 401,
        UpstreamError::Unreachable(_) | UpstreamError::NoToken(_) | UpstreamError::Busy { .. } => {
            true
        }
        _ => false,
    }
}
