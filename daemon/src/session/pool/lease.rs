//! The right to a session, and its end. A session that several shims have is given
//! back by the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::Found;
use super::asking::{PoolMessage, Returned};
use crate::session::handle::SessionHandle;

/// A shim's right to a session.
#[derive(Debug)]
pub(crate) struct Lease {
    session: SessionHandle,
    using: Arc<Use>,
    found: Found,
    warm: bool,
}

/// The use of a session, by one shim or by several; its end gives it back.
#[derive(Debug)]
pub(super) struct Use {
    number: u64,
    spoiled: AtomicBool,
    kept: AtomicBool,
    permit: Option<mpsc::OwnedPermit<PoolMessage>>,
}

impl Use {
    /// Begins a use; `permit` is the place of the message that ends it.
    pub(super) fn new(number: u64, reusable: bool, permit: mpsc::OwnedPermit<PoolMessage>) -> Self {
        Self {
            number,
            spoiled: AtomicBool::new(!reusable),
            kept: AtomicBool::new(false),
            permit: Some(permit),
        }
    }
}

impl Lease {
    /// Makes one.
    pub(super) fn new(session: SessionHandle, using: Arc<Use>, found: Found, warm: bool) -> Self {
        Self {
            session,
            using,
            found,
            warm,
        }
    }

    /// Returns the session.
    pub(crate) fn session(&self) -> &SessionHandle {
        &self.session
    }

    /// Says where the session came from.
    pub(crate) fn found(&self) -> Found {
        self.found
    }

    /// Says whether the session was there already.
    pub(crate) fn is_warm(&self) -> bool {
        self.warm
    }

    /// Declares the session unfit for another shim: it ends with the lease.
    pub(crate) fn spoil(&mut self) {
        self.using.spoiled.store(true, Ordering::Relaxed);
    }

    /// Leaves the session behind for the same shim and the next daemon.
    pub(crate) fn keep(&mut self) {
        self.using.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let state = match (*self.kept.get_mut(), *self.spoiled.get_mut()) {
                (true, _) => Returned::Kept,
                (false, true) => Returned::Spoiled,
                (false, false) => Returned::Clean,
            };
            let number = self.number;
            drop(permit.send(PoolMessage::Returned { number, state }));
        }
    }
}
