//! When to try again: delays between the attempts to get a broken stream back,
//! and between attempts to say what a server had no time for. Pure but for the
//! dice; waits for nothing itself.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use reqwest_eventsource::retry::{ExponentialBackoff, RetryPolicy as _};

use crate::upstream::UpstreamError;

/// First delay before a broken stream is opened again, unless the server says.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Longest delay of our own between attempts, which never end.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A server that asks for no delay and ends its streams at once would be asked
/// again without pause.
const SHORTEST_ASKED: Duration = Duration::from_millis(50);

/// What a server asks for is respected (2025-11-25, Transports > Sending
/// Messages), but for a number that cannot be meant.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// How much later than asked a stream may be opened again.
const ASKED_JITTER: Duration = Duration::from_millis(100);

/// A stream that lived this long was established.
const ESTABLISHED: Duration = Duration::from_secs(5);

/// Times that a message is said to a server that has no time for it.
const MAX_TIMES: u32 = 3;

/// First delay before such a message is said again; it doubles.
const FIRST_BUSY_DELAY: Duration = Duration::from_millis(500);

/// The waits before what is safe to repeat is said again for lack of an answer.
pub(crate) const REPEAT_DELAYS: [Duration; 2] =
    [Duration::from_millis(10), Duration::from_millis(500)];

/// The delays between attempts to get one stream back. Grows from attempt to
/// attempt, and begins anew only after a stream that was established.
#[derive(Debug)]
pub(super) struct Reconnect {
    backoff: ExponentialBackoff,
    last: Option<(usize, Duration)>,
    asked: bool,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            backoff: ExponentialBackoff::new(FIRST_DELAY, 2.0, Some(LONGEST_DELAY), None),
            last: None,
            asked: false,
        }
    }
}

impl Reconnect {
    /// Notes the delay that the server asks for (`retry`).
    pub(super) fn asked(&mut self, retry: Duration) {
        self.asked = true;
        self.backoff
            .set_reconnection_time(retry.clamp(SHORTEST_ASKED, LONGEST_ASKED));
    }

    /// Notes a stream that was open for this long and brought something or not.
    pub(super) fn had_stream(&mut self, brought_something: bool, lived: Duration) {
        if brought_something || lived >= ESTABLISHED {
            self.last = None;
        }
    }

    /// Returns how long to wait before the next attempt.
    pub(super) fn delay(&mut self) -> Duration {
        let delay = self
            .backoff
            .retry(&reqwest_eventsource::Error::StreamEnded, self.last)
            .unwrap_or(LONGEST_DELAY);
        let first = self.last.is_none();
        self.last = Some((self.last.map_or(0, |(count, _)| count + 1), delay));
        if first && self.asked {
            delay + ASKED_JITTER.mul_f64(dice())
        } else {
            jittered(delay)
        }
    }

    /// The same after a failure that may say itself how long to wait.
    pub(super) fn delay_after(&mut self, error: &UpstreamError) -> Duration {
        let delay = self.delay();
        match error {
            UpstreamError::Busy {
                retry_after: Some(asked),
                ..
            } => delay.max(jittered((*asked).min(LONGEST_ASKED))),
            _ => delay,
        }
    }
}

/// Says whether a refusal to open a stream will not change by asking again.
pub(super) fn is_final(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Status { status, .. } | UpstreamError::JsonRpc { status, .. } => {
            (300..500).contains(status) && *status != 408
        }
        UpstreamError::Unauthorized(_)
        | UpstreamError::NotSignedIn { .. }
        | UpstreamError::NoToken(_)
        | UpstreamError::NotMcp { .. }
        | UpstreamError::Redirected(_)
        | UpstreamError::Protocol(_)
        | UpstreamError::Here(_) => true,
        _ => false,
    }
}

/// Counts how often a server has refused one message for lack of time.
#[derive(Debug, Default)]
pub(super) struct BusyTimes(u32);

impl BusyTimes {
    /// Returns how long to wait before the message is said again, if the server
    /// had no time for it and there are attempts left; else the error to report.
    pub(super) fn next(&mut self, error: UpstreamError) -> Result<Duration, UpstreamError> {
        let UpstreamError::Busy {
            status,
            retry_after,
            body,
            ..
        } = error
        else {
            return Err(error);
        };
        self.0 += 1;
        let asked = retry_after.unwrap_or_default();
        // Nobody is kept waiting for longer, nor is the server asked earlier than
        // it said: whoever wants the answer hears when to come back.
        if self.0 < MAX_TIMES && asked <= LONGEST_DELAY {
            let own = FIRST_BUSY_DELAY * 2_u32.pow(self.0 - 1);
            return Ok(jittered(own).max(asked));
        }
        Err(match body {
            Some(body) => UpstreamError::JsonRpc { status, body },
            None => UpstreamError::Busy {
                status,
                retry_after,
                times: self.0,
                body: None,
            },
        })
    }
}

/// Up to a fifth longer, so that many do not come back at once.
pub(crate) fn jittered(delay: Duration) -> Duration {
    delay + delay.mul_f64(0.2 * dice())
}

/// Something between 0 and 1.
fn dice() -> f64 {
    (RandomState::new().hash_one(0) % 1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(delay: Duration) -> u128 {
        delay.as_millis()
    }

    #[test]
    fn delays_grow_to_a_limit_and_begin_anew_after_an_established_stream() {
        let mut reconnect = Reconnect::default();
        for first in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let delay = ms(reconnect.delay());
            assert!((first..=first * 6 / 5).contains(&delay), "{delay}");
        }
        reconnect.had_stream(false, Duration::from_secs(1));
        assert!(ms(reconnect.delay()) >= 30_000, "it was not established");
        reconnect.had_stream(true, Duration::ZERO);
        assert!(ms(reconnect.delay()) <= 600);
        reconnect.delay();
        reconnect.had_stream(false, ESTABLISHED);
        assert!(ms(reconnect.delay()) <= 600);
    }

    #[test]
    fn what_the_server_asks_for_is_respected() {
        for (asked, least) in [(0, 50), (10, 50), (300, 300), (45_000, 45_000)] {
            let mut reconnect = Reconnect::default();
            reconnect.asked(Duration::from_millis(asked));
            for _ in 0..100 {
                let delay = ms(reconnect.delay());
                assert!((least..=least + 100).contains(&delay), "{asked}: {delay}");
                reconnect.had_stream(true, Duration::ZERO);
            }
        }
        let mut reconnect = Reconnect::default();
        reconnect.asked(Duration::MAX);
        assert!(reconnect.delay() <= LONGEST_ASKED + ASKED_JITTER);
    }

    #[test]
    fn a_busy_server_is_asked_three_times() {
        let busy = |seconds| UpstreamError::Busy {
            status: 429,
            retry_after: Some(Duration::from_secs(seconds)),
            times: 1,
            body: None,
        };
        for (seconds, least, most) in [(0, 500, 600), (7, 7000, 7000), (30, 30_000, 30_000)] {
            let mut times = BusyTimes::default();
            let delay = ms(times.next(busy(seconds)).expect("once more"));
            assert!((least..=most).contains(&delay), "{seconds}: {delay}");
            assert!(times.next(busy(seconds)).is_ok());
            let error = times.next(busy(seconds)).expect_err("enough").to_string();
            assert!(error.contains("429 3 times in a row"), "{error}");
        }
        for seconds in [31, u64::MAX] {
            let error = BusyTimes::default().next(busy(seconds));
            let error = error.expect_err("too long to wait").to_string();
            assert!(error.starts_with("answered 429: too many"), "{error}");
        }
        let other = UpstreamError::Interrupted("x".into());
        assert!(BusyTimes::default().next(other).is_err());
    }
}
