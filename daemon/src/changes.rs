//! Says that something which status shows has changed, so that nobody has to look
//! again and again. Carries nothing: whoever hears it reads the values themselves.
//!
//! Costs next to nothing while nobody listens, since every call says it.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// A bell that many ring. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes(Arc<Notify>);

impl Changes {
    /// Says that something has changed.
    pub(crate) fn note(&self) {
        self.0.notify_waiters();
    }

    /// Returns what ends with the next change after this call.
    pub(crate) fn next(&self) -> OwnedNotified {
        self.0.clone().notified_owned()
    }
}
