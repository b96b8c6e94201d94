//! A lease on a session that has been opened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::RelayDeps;
use crate::jsonrpc::Kind;
use crate::session::actor::INITIALIZED;
use crate::session::{
    Fate, Handshake, Inbound, InitializeResult, Lease, LeaseToken, Outbound, OutboundKind,
    SessionHandle,
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
    let mut open = acquire(&deps, &handshake, None).await?;
    let initialized = Bytes::from_static(INITIALIZED);
    open.session().initialized(initialized).await;
    if open.is_warm()
        && let Err(error) = ping(open.session()).await
    {
        open.spoil();
        deps.server.failed(&error);
        return Err(error);
    }
    let lease = open.session().lease().clone();
    Ok((open.result.clone(), open.is_warm(), lease))
}

async fn ping(session: &SessionHandle) -> Result<(), UpstreamError> {
    let (replies, mut inbound) = mpsc::channel(1);
    session.attach(replies.clone());
    let id = session.next_id();
    let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).into();
    let kind = OutboundKind::Request(id);
    let outbound = Outbound {
        message,
        kind,
        replies,
        fate: Fate::default(),
        after: None,
        resent: false,
        delay: Duration::ZERO,
    };
    session.send(outbound).await?;
    let answer = async {
        while let Some(inbound) = inbound.recv().await {
            match inbound {
                Inbound::Message(envelope) if envelope.kind() == Kind::Response => return Ok(()),
                Inbound::Ended(_, Some(error)) | Inbound::Lost { error, .. } => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    let timed_out = |_| UpstreamError::TimedOut(PING_TIMEOUT);
    tokio::time::timeout(PING_TIMEOUT, answer)
        .await
        .map_err(timed_out)?
}

/// Leases a session and waits until it is open.
pub(super) async fn acquire(
    deps: &RelayDeps,
    handshake: &Arc<Handshake>,
    lease: Option<LeaseToken>,
) -> Result<OpenLease, UpstreamError> {
    let key = handshake.key(deps.spec.clone());
    let lease = deps
        .pool
        .acquire(key, handshake.clone(), deps.server.clone(), lease)
        .await;
    let lease = lease.map_err(|error| UpstreamError::Here(error.to_string()))?;
    let result = lease.session().established().await?;
    Ok(OpenLease { lease, result })
}

/// A lease on a session that has been opened.
#[derive(Debug)]
pub(super) struct OpenLease {
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
