//! A lease on a session that has been opened.

use std::sync::Arc;

use bytes::Bytes;

use super::RelayDeps;
use crate::session::actor::INITIALIZED;
use crate::session::{Handshake, InitializeResult, Lease, SessionHandle};
use crate::upstream::UpstreamError;

/// Connects without a client, to see who answers (`Purpose::CHECK`).
pub(crate) async fn check(deps: RelayDeps) -> Result<(Arc<InitializeResult>, bool), UpstreamError> {
    let handshake = Arc::new(Handshake::of_daemon());
    let open = acquire(&deps, &handshake).await?;
    open.session()
        .initialized(Bytes::from_static(INITIALIZED))
        .await;
    Ok((open.result.clone(), open.lease.is_warm()))
}

/// Leases a session and waits until it is open.
pub(super) async fn acquire(
    deps: &RelayDeps,
    handshake: &Arc<Handshake>,
) -> Result<OpenLease, UpstreamError> {
    let key = handshake.key(deps.spec.clone());
    let lease = deps
        .pool
        .acquire(key, handshake.clone(), deps.server.clone())
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

    /// Declares the session unfit for another shim.
    pub(super) fn spoil(&mut self) {
        self.lease.spoil();
    }
}
