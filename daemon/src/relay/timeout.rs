//! Requests that are given up because nothing is heard of them for as long as the
//! user allows (`--request-timeout`); without that they may take for ever
//! (2025-11-25, Lifecycle > Timeouts). `initialize` is no request of a relay and
//! has its own limit.

use std::time::{Duration, Instant};

use super::{Gone, Relay, Sent};
use crate::upstream::UpstreamError;

/// Progress prolongs the time of a request up to this many times.
const MOST_PROLONGED: u32 = 10;

/// When a request began and when it was last heard of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// The beginning.
    pub(super) began: Instant,
    /// The last progress.
    pub(super) heard: Instant,
}

impl Life {
    /// Begins now.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            heard: now,
        }
    }

    /// Returns when it ends if it is allowed to be silent for `idle`, and after how
    /// long that is since the beginning or the last progress. `None`: never.
    fn end(&self, idle: Duration) -> Option<(Instant, Duration)> {
        let in_all = idle.saturating_mul(MOST_PROLONGED);
        let silent = self.heard.checked_add(idle)?;
        match self.began.checked_add(in_all) {
            Some(end) if end < silent => Some((end, in_all)),
            _ => Some((silent, idle)),
        }
    }
}

impl Relay {
    /// Waits until the next request has to be given up; for ever if none has.
    /// Cancel safe.
    pub(super) fn next_timeout(&self) -> impl Future<Output = ()> + 'static {
        let deadline = self.deps.request_timeout.and_then(|idle| {
            let ends = self
                .in_flight
                .lives()
                .filter_map(|(_, life)| life.end(idle));
            ends.map(|(end, _)| end).min()
        });
        async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Gives up the requests whose time has come: the client gets an error, the
    /// server a cancellation.
    pub(super) async fn give_up_silent(&mut self) -> Result<(), Gone> {
        let Some(idle) = self.deps.request_timeout else {
            return Ok(());
        };
        let now = Instant::now();
        let over = self.in_flight.lives().filter_map(|(minted, life)| {
            let (end, after) = life.end(idle)?;
            (end <= now).then_some((minted, after))
        });
        for (minted, after) in over.collect::<Vec<_>>() {
            let Some(id) = self.in_flight.get(minted).map(|entry| entry.id.clone()) else {
                continue;
            };
            let error = UpstreamError::TimedOut(after);
            self.cancel_upstream(minted, "no answer in time").await;
            self.deps.server.unanswered();
            self.deps.server.failed(&error);
            let sent = Sent {
                minted,
                maybe_executed: true,
            };
            self.fault(&id, &error, Some(sent)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_prolongs_a_request_but_not_for_ever() {
        let began = Instant::now();
        let idle = Duration::from_secs(2);
        let end = |heard: u64| {
            let heard = began + Duration::from_secs(heard);
            let (end, after) = Life { began, heard }.end(idle).expect("it ends");
            ((end - began).as_secs(), after.as_secs())
        };
        assert_eq!(end(0), (2, 2));
        assert_eq!(end(5), (7, 2));
        assert_eq!(end(18), (20, 2));
        assert_eq!(end(19), (20, 20));
        assert!(Life::new().end(Duration::MAX).is_none());
    }
}
