//! How the pool is asked for a session, and what it is told.
//!
//! Invariant: whoever asks has reserved the place of the message that gives the
//! session back, so that it can be given back on any path.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::lease::Lease;
use crate::oauth::token_source::TokenSource;
use crate::session::handle::SessionHandle;
use crate::session::{Handshake, LeaseToken, Outdated, Server, SessionKey, Terms};
use crate::upstream::UpstreamError;

/// How long a shim waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the end of sessions is waited for.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcquireError {
    /// The session that this one waited for could not be opened.
    #[error("{0}")]
    Opening(UpstreamError),
    /// All sessions were in use for too long.
    #[error("all sessions are in use and none became free within {} s", TURN_TIMEOUT.as_secs())]
    Busy,
    /// The daemon stops.
    #[error("the daemon is stopping")]
    Stopping,
}

/// The pool, as others see it.
#[derive(Debug, Clone)]
pub(crate) struct SessionPoolHandle {
    control: mpsc::Sender<PoolMessage>,
    /// Bounds who may hold a reserved place while still asking for another.
    waiting: Arc<Semaphore>,
}

/// What the pool is told.
#[derive(Debug)]
pub(super) enum PoolMessage {
    /// Somebody wants a session.
    Acquire(Box<Wanted>),
    /// Nobody uses this one any more.
    Returned { number: u64, state: Returned },
    /// These are given to nobody any more who comes by the same way.
    Outdated(Outdated),
    /// Whoever these tokens were for signs out: gives their sessions.
    SignedOut(TokenSource, oneshot::Sender<SignedOut>),
}

/// The sessions of somebody who signs out.
#[derive(Debug, Default)]
pub(super) struct SignedOut {
    /// Those that end now.
    pub(super) ending: Vec<SessionHandle>,
    /// Those that shims have.
    pub(super) used: Vec<SessionHandle>,
}

/// In which state a session comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returned {
    /// Nothing of the shim is left in it.
    Clean,
    /// Unfit for another shim.
    Spoiled,
    /// The daemon leaves a shim that stays: it gets the session from the next one.
    Kept,
}

/// A shim that wants a session.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: SessionKey,
    pub(super) handshake: Arc<Handshake>,
    pub(super) server: Arc<Server>,
    pub(super) terms: Terms,
    /// The lease that the shim had from an earlier daemon.
    pub(super) lease: Option<LeaseToken>,
    /// The place of the message that will give the session back.
    pub(super) permit: mpsc::OwnedPermit<PoolMessage>,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// What it gets.
#[derive(Debug)]
pub(super) enum Reply {
    /// A session.
    Lease(Lease),
    /// This one is being opened, and may prove to be for everybody with the key:
    /// ask again then.
    Opening(SessionHandle, SessionKey),
}

impl SessionPoolHandle {
    /// Makes one for a pool that reads the other end of `control`.
    pub(super) fn new(control: mpsc::Sender<PoolMessage>, waiting: usize) -> Self {
        Self {
            control,
            waiting: Arc::new(Semaphore::new(waiting)),
        }
    }

    /// Returns a session for this key: an idle one, one that others have too if it
    /// is for several, or a new one, which opens itself with `handshake`; for a shim
    /// that shows a `lease` of an earlier daemon the session that it had. Waits its
    /// turn if there are too many. Cancel safe.
    pub(crate) async fn acquire(
        &self,
        mut key: SessionKey,
        handshake: Arc<Handshake>,
        server: Arc<Server>,
        terms: &Terms,
        lease: Option<LeaseToken>,
    ) -> Result<Lease, AcquireError> {
        loop {
            let (handshake, server) = (handshake.clone(), server.clone());
            let turn = self.ask(key, handshake, server, terms.clone(), lease.clone());
            let reply = tokio::time::timeout(TURN_TIMEOUT, turn)
                .await
                .map_err(|_| AcquireError::Busy)??;
            match reply {
                Reply::Lease(lease) => return Ok(lease),
                Reply::Opening(session, same) => {
                    // Its failure is everybody's: one attempt is enough to know.
                    session.established().await.map_err(AcquireError::Opening)?;
                    key = same;
                }
            }
        }
    }

    /// Ends the sessions of these tokens at the server. The next person gets none of
    /// them; a shim that had one has another opened.
    pub(crate) async fn sign_out(&self, tokens: &TokenSource) {
        let (reply, found) = oneshot::channel();
        let said = PoolMessage::SignedOut(tokens.clone(), reply);
        drop(self.control.send(said).await);
        let ended = async {
            let SignedOut { ending, used } = found.await.unwrap_or_default();
            join_all(used.iter().map(SessionHandle::sign_out)).await;
            for session in ending {
                session.ended().await;
            }
        };
        // A server that does not answer keeps nobody from signing out.
        drop(tokio::time::timeout(END_TIMEOUT, ended).await);
    }

    /// Ends sessions that are out of date: idle ones now, others when they are given
    /// back.
    pub(crate) async fn end_outdated(&self, outdated: Outdated) {
        drop(self.control.send(PoolMessage::Outdated(outdated)).await);
    }

    async fn ask(
        &self,
        key: SessionKey,
        handshake: Arc<Handshake>,
        server: Arc<Server>,
        terms: Terms,
        lease: Option<LeaseToken>,
    ) -> Result<Reply, AcquireError> {
        let stopping = |_| AcquireError::Stopping;
        let _waiting = self.waiting.acquire().await.map_err(stopping)?;
        let permit = self.control.clone().reserve_owned().await;
        let permit = permit.map_err(|_| AcquireError::Stopping)?;
        let (reply, answer) = oneshot::channel();
        let wanted = Box::new(Wanted {
            key,
            handshake,
            server,
            terms,
            lease,
            permit,
            reply,
        });
        let asked = self.control.send(PoolMessage::Acquire(wanted)).await;
        asked.map_err(|_| AcquireError::Stopping)?;
        answer.await.map_err(|_| AcquireError::Stopping)
    }
}
