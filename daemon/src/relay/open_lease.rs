//! A lease on a session that has been opened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::RelayDeps;
use crate::jsonrpc::Kind;
use crate::session::actor::INITIALIZED;
use crate::session::{
    AcquireError, Found, Handshake, Inbound, InitializeResult, Lease, LeaseToken, Membership,
    Outbound, OutboundKind, Replies, SessionHandle,
};
use crate::upstream::UpstreamError;

/// How long a server may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects without a client, to see who answers (`Purpose::CHECK`). A session
/// that was there already is asked whether it still is.
pub(crate) async fn check(
    deps: RelayDeps,
) -> Result<(Arc<InitializeResult>, bool, LeaseToken), UpstreamError> {
    let handshake = Arc::new(Handshake::of_daemon());
    let (inbox, inbound) = mpsc::channel(1);
    let (mut open, news) = acquire(&deps, &handshake, None, inbox.clone()).await?;
    let initialized = Bytes::from_static(INITIALIZED);
    open.session().initialized(initialized).await;
    if open.is_warm()
        && let Err(error) = ping(&open, Replies::to(inbox), inbound, news).await
    {
        open.spoil();
        deps.server.failed(&error);
        return Err(error);
    }
    let lease = open.session().lease().clone();
    Ok((open.result.clone(), open.is_warm(), lease))
}

/// Makes sure that there is an open session for clients that come with this
/// handshake, and gives it back. Never begins to sign in.
pub(crate) async fn warm(
    deps: &RelayDeps,
    handshake: &Arc<Handshake>,
) -> Result<SessionHandle, UpstreamError> {
    let (inbox, inbound) = mpsc::channel(1);
    let (mut open, news) = acquire(deps, handshake, None, inbox.clone()).await?;
    let initialized = Bytes::from_static(INITIALIZED);
    open.session().initialized(initialized).await;
    // It was in nobody's use, so nobody has found out whether it still is one.
    if open.is_warm()
        && let Err(error) = ping(&open, Replies::to(inbox), inbound, news).await
    {
        open.spoil();
        deps.server.failed(&error);
        return Err(error);
    }
    Ok(open.session().clone())
}

async fn ping(
    open: &OpenLease,
    replies: Replies,
    mut inbound: mpsc::Receiver<Box<Inbound>>,
    mut news: News,
) -> Result<(), UpstreamError> {
    let id = open.session().next_id();
    open.membership.own(id);
    let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).into();
    let outbound = Outbound::new(message, OutboundKind::Request(id), replies);
    open.session().send(outbound).await?;
    let answer = async {
        loop {
            let said = tokio::select! {
                Some(said) = inbound.recv() => *said,
                Some(said) = self::news(&mut news) => Arc::unwrap_or_clone(said),
                else => return Ok(()),
            };
            match said {
                Inbound::Message(envelope) if envelope.kind() == Kind::Response => return Ok(()),
                Inbound::Ended(_, Some(error)) | Inbound::Lost { error, .. } => return Err(error),
                _ => {}
            }
        }
    };
    let timed_out = |_| UpstreamError::TimedOut(PING_TIMEOUT);
    tokio::time::timeout(PING_TIMEOUT, answer)
        .await
        .map_err(timed_out)?
}

/// What a shared session says to one relay, besides the answers to its POSTs.
pub(super) type News = Option<mpsc::Receiver<Arc<Inbound>>>;

/// Leases a session, waits until it is open, and listens to it.
pub(super) async fn acquire(
    deps: &RelayDeps,
    handshake: &Arc<Handshake>,
    lease: Option<LeaseToken>,
    inbox: mpsc::Sender<Box<Inbound>>,
) -> Result<(OpenLease, News), UpstreamError> {
    // Whose session it is stands in the key.
    deps.spec.prepare().await?;
    let key = handshake.key(deps.spec.clone(), deps.reuse);
    let lease = deps
        .pool
        .acquire(
            key,
            handshake.clone(),
            deps.server.clone(),
            &deps.terms,
            lease,
        )
        .await;
    let lease = lease.map_err(|error| match error {
        AcquireError::Opening(error) => error,
        error => UpstreamError::Here(error.to_string()),
    })?;
    let result = lease.session().established().await?;
    deps.server.answered_by(&result);
    let (membership, news) = lease.session().attach(inbox);
    let open = OpenLease {
        membership,
        lease,
        result,
    };
    Ok((open, news))
}

/// Waits for what a shared session says; for ever in one of its own. `None`: it
/// says no more.
pub(super) async fn news(news: &mut News) -> Option<Arc<Inbound>> {
    match news {
        Some(news) => news.recv().await,
        None => std::future::pending().await,
    }
}

/// A lease on a session that has been opened, and a place among its listeners.
#[derive(Debug)]
pub(super) struct OpenLease {
    membership: Membership,
    lease: Lease,
    result: Arc<InitializeResult>,
}

impl OpenLease {
    /// Returns the session.
    pub(super) fn session(&self) -> &SessionHandle {
        self.lease.session()
    }

    /// Returns the server's answer to `initialize`.
    pub(super) fn result(&self) -> &Arc<InitializeResult> {
        &self.result
    }

    /// Returns the place among those that listen to it.
    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Says whether others may have the session too.
    pub(super) fn is_shared(&self) -> bool {
        self.membership.is_shared()
    }

    /// Says where the session came from.
    pub(super) fn found(&self) -> Found {
        self.lease.found()
    }

    /// Says whether the session was there already.
    pub(super) fn is_warm(&self) -> bool {
        self.lease.is_warm()
    }

    /// Leaves the session behind for the same shim and the next daemon.
    pub(super) fn keep(&mut self) {
        self.lease.keep();
    }

    /// Declares the session unfit for another shim.
    pub(super) fn spoil(&mut self) {
        self.lease.spoil();
    }
}
