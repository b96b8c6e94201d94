//! Whether a lost daemon is replaced though the client is silent: it may wait for
//! what its server says.
//!
//! Knows no daemon. Invariant: daemons that are lost one after the other,
//! with nobody speaking, are replaced a few times only.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long to wait before each try; after them the client has to speak.
const DELAYS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// A stream that lasted this long was no failure.
const SETTLED: Duration = Duration::from_secs(60);

/// When to look for the next daemon.
#[derive(Debug, Default)]
pub(super) struct Comeback {
    due: Option<Instant>,
    tries: usize,
    up_since: Option<Instant>,
}

impl Comeback {
    /// Notes that a daemon has accepted the stream.
    pub(super) fn opened(&mut self, now: Instant) {
        self.due = None;
        self.up_since = Some(now);
    }

    /// Notes that a daemon works: whatever it was before is over.
    pub(super) fn works(&mut self) {
        self.tries = 0;
    }

    /// Notes that a stream has ended, or none could be made, and that the next is
    /// wanted.
    pub(super) fn plan(&mut self, now: Instant) {
        let lasted = self.up_since.take().map(|since| now - since);
        if lasted.is_some_and(|lasted| lasted >= SETTLED) {
            self.tries = 0;
        }
        let delay = DELAYS.get(self.tries);
        self.due = delay.map(|delay| now + *delay);
        self.tries += 1;
    }

    /// Notes that a daemon is being looked for, or that none is wanted.
    pub(super) fn settle(&mut self) {
        self.due = None;
    }

    /// Waits until it is time; for ever if it never will be. Cancel safe.
    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_that_die_in_a_row_are_not_replaced_for_ever() {
        let now = Instant::now();
        let mut comeback = Comeback::default();
        for delay in DELAYS {
            comeback.plan(now);
            assert_eq!(comeback.due, Some(now + delay));
            comeback.opened(now);
        }
        comeback.plan(now);
        assert_eq!(comeback.due, None);
        comeback.works();
        comeback.plan(now);
        assert_eq!(comeback.due, Some(now));
    }

    #[test]
    fn one_that_lived_for_a_while_is_no_failure() {
        let mut now = Instant::now();
        let mut comeback = Comeback::default();
        for _ in 0..5 {
            comeback.plan(now);
            assert_eq!(comeback.due, Some(now));
            comeback.opened(now);
            now += SETTLED;
        }
    }
}
