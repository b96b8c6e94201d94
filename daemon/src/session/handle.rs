//! A session as others see it: what it is doing, and how it is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::audience::{Inbox, Membership, Sharing};
use super::exchange::{Inbound, Outbound};
use super::kept::LeaseToken;
use super::lists::Lists;
use super::{InitializeResult, ListedTools};
use crate::upstream::UpstreamError;

/// Messages waiting for the actor: it takes them at once, so few are enough.
const MAILBOX: usize = 64;

/// What a session is doing.
#[derive(Debug, Clone)]
pub(crate) enum SessionState {
    /// It is being opened for the first time.
    Connecting,
    /// It is open.
    Ready(Arc<InitializeResult>),
    /// It was open; the next message opens it again.
    Lost(UpstreamError),
    /// It could not be opened; the session has ended.
    Failed(UpstreamError),
}

/// What a session is asked. Boxed, since a channel has room for many at once.
#[derive(Debug)]
pub(super) enum SessionMessage {
    /// Send this.
    Send(Box<Outbound>),
    /// Tell who sent this that it is so already.
    Done(Box<Outbound>),
    /// The client is initialized.
    Initialized(Bytes),
    /// The server did not answer a ping.
    Silent,
    /// Whoever it was opened for signs out: end it at the server, then drop this.
    SignedOut(oneshot::Sender<()>),
}

/// One session, as others see it.
#[derive(Debug, Clone)]
pub(crate) struct SessionHandle {
    mailbox: mpsc::Sender<SessionMessage>,
    state: watch::Receiver<SessionState>,
    next_id: Arc<AtomicU64>,
    inbox: Inbox,
    tools: ListedTools,
    closing: CancellationToken,
    lease: LeaseToken,
    keeping: Arc<OnceLock<Keep>>,
}

/// How a session is left to the next daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// For the shim that has its lease.
    ForItsShim,
    /// For anybody: nothing of a client is left in it.
    Clean,
}

/// What the actor has of it.
#[derive(Debug)]
pub(super) struct ActorEnds {
    pub(super) messages: mpsc::Receiver<SessionMessage>,
    pub(super) state: watch::Sender<SessionState>,
    pub(super) next_id: Arc<AtomicU64>,
    pub(super) inbox: Inbox,
    pub(super) closing: CancellationToken,
    pub(super) lease: LeaseToken,
    pub(super) keeping: Arc<OnceLock<Keep>>,
}

impl SessionHandle {
    /// Makes a handle and what its actor needs.
    pub(super) fn new(lease: LeaseToken, first_id: u64) -> (Self, ActorEnds) {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let (state_tx, state) = watch::channel(SessionState::Connecting);
        let handle = Self {
            mailbox,
            state,
            next_id: Arc::new(AtomicU64::new(first_id)),
            inbox: Inbox::default(),
            tools: ListedTools::default(),
            closing: CancellationToken::new(),
            lease,
            keeping: Arc::default(),
        };
        let ends = ActorEnds {
            messages,
            state: state_tx,
            next_id: handle.next_id.clone(),
            inbox: handle.inbox.clone(),
            closing: handle.closing.clone(),
            lease: handle.lease.clone(),
            keeping: handle.keeping.clone(),
        };
        (handle, ends)
    }

    /// Waits until the session has been opened or could not be.
    pub(crate) async fn established(&self) -> Result<Arc<InitializeResult>, UpstreamError> {
        let mut state = self.state.clone();
        let settled = state
            .wait_for(|state| !matches!(state, SessionState::Connecting))
            .await;
        match settled.map(|state| state.clone()) {
            Ok(SessionState::Ready(result)) => Ok(result),
            Ok(SessionState::Lost(error) | SessionState::Failed(error)) => Err(error),
            Ok(SessionState::Connecting) | Err(_) => Err(stopping()),
        }
    }

    /// Says whether the session is open or may still become so.
    pub(crate) fn is_usable(&self) -> bool {
        let state = matches!(
            *self.state.borrow(),
            SessionState::Ready(_) | SessionState::Connecting
        );
        state && !self.mailbox.is_closed()
    }

    /// Waits until the session is lost, has ended or is about to.
    pub(crate) async fn gone(&self) {
        let mut state = self.state.clone();
        let lost = state
            .wait_for(|state| matches!(state, SessionState::Lost(_) | SessionState::Failed(_)));
        tokio::select! {
            _lost = lost => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// Mints a request id that this session has not had.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Mints only ids of at least this from now on.
    pub(crate) fn mint_beyond(&self, id: u64) {
        self.next_id.fetch_max(id, Ordering::Relaxed);
    }

    /// Returns the tools that may be called twice.
    pub(crate) fn tools(&self) -> &ListedTools {
        &self.tools
    }

    /// Returns the lists that the server gave in it.
    pub(crate) fn lists(&self) -> &Lists {
        self.inbox.lists()
    }

    /// Says whether the session has been opened.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.state.borrow(), SessionState::Ready(_))
    }

    /// Says whether it is being opened for the first time.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(*self.state.borrow(), SessionState::Connecting)
    }

    /// Says who may have the session; only known once it has been opened.
    pub(crate) fn sharing(&self) -> Sharing {
        self.inbox.sharing()
    }

    /// Says whether something is switched on that cannot be switched off again.
    pub(crate) fn is_marked(&self) -> bool {
        self.inbox.switches(|switches| switches.is_marked())
    }

    /// Gives what the server says unasked to this relay from now on, and in a
    /// shared session what is its own, by the second way.
    pub(crate) fn attach(
        &self,
        relay: mpsc::Sender<Box<Inbound>>,
    ) -> (Membership, Option<mpsc::Receiver<Arc<Inbound>>>) {
        self.inbox.attach(relay)
    }

    /// Tells who sent this, which need not go upstream, that it is done.
    pub(crate) async fn done(&self, outbound: Outbound) {
        let done = SessionMessage::Done(Box::new(outbound));
        drop(self.mailbox.send(done).await);
    }

    /// Sends a message. A request that is still wanted gets its answer,
    /// [`Inbound::Ended`] or [`Inbound::Lost`]; one that is cancelled may get
    /// nothing. The error: it was not sent.
    pub(crate) fn send(
        &self,
        outbound: Outbound,
    ) -> impl Future<Output = Result<(), UpstreamError>> {
        // Not within the future, which is part of many others.
        let message = SessionMessage::Send(Box::new(outbound));
        async { self.mailbox.send(message).await.map_err(|_| stopping()) }
    }

    /// Passes on that the client is initialized; the server hears it once.
    pub(crate) async fn initialized(&self, notification: Bytes) {
        drop(
            self.mailbox
                .send(SessionMessage::Initialized(notification))
                .await,
        );
    }

    /// Notes that the server did not answer a ping: its connections are replaced,
    /// and where they are the session, that too.
    pub(crate) async fn is_silent(&self) {
        drop(self.mailbox.send(SessionMessage::Silent).await);
    }

    /// Ends the session at the server, since whoever it was opened for signs out, and
    /// waits for that. The next message opens another.
    pub(crate) async fn sign_out(&self) {
        let (ended, end) = oneshot::channel();
        if self
            .mailbox
            .send(SessionMessage::SignedOut(ended))
            .await
            .is_ok()
        {
            drop(end.await);
        }
    }

    /// Ends the session: DELETE, then nothing.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Waits until the session has ended: it is deleted at the server, if that
    /// could be said.
    pub(crate) async fn ended(&self) {
        // Its actor has the other end.
        drop(self.state.clone().wait_for(|_| false).await);
    }

    /// Ends the session here and leaves it at the server for the next daemon; one
    /// that cannot outlive this daemon ends there too.
    pub(crate) fn leave_behind(&self, keep: Keep) {
        // The first word counts.
        let _said_already = self.keeping.set(keep);
        self.closing.cancel();
    }

    /// Returns what stands for it towards its shim.
    pub(crate) fn lease(&self) -> &LeaseToken {
        &self.lease
    }
}

/// The session does not take messages any more.
pub(super) fn stopping() -> UpstreamError {
    UpstreamError::Here("the session is being closed".into())
}
