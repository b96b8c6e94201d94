//! Who waits before trying a server again, and until when: what status shows as
//! backing off with the time of the next attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Server;
use crate::upstream::UpstreamError;

/// A shorter wait is over before anybody has read of it.
pub(crate) const WORTH_SAYING: Duration = Duration::from_secs(1);

/// An attempt that failed and will be made again by itself; dropping it ends the
/// waiting, whatever the reason.
#[derive(Debug)]
pub(crate) struct Waiting {
    server: Arc<Server>,
    number: u64,
}

/// What is known of one.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(super) number: u64,
    /// Why the last one failed.
    pub(crate) error: UpstreamError,
    /// When the next one begins, in ms since the epoch.
    pub(crate) at_unix_ms: u64,
}

impl Waiting {
    /// Notes that `server` will be tried again after `delay`.
    pub(crate) fn begin(server: &Arc<Server>, error: &UpstreamError, delay: Duration) -> Self {
        let at = SystemTime::now() + delay;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_unix_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        Self {
            server: server.clone(),
            number: server.begin_waiting(error, at_unix_ms),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.server.end_waiting(self.number);
    }
}
