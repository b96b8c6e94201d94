//! What keeps failures from becoming storms: pauses between attempts, limits on what
//! succeeds in vain, and a memory of what was refused. Pure but for the clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// Sign-ins for the same operation, whatever it lacks each time (Authorization > Scope
/// Challenge Handling asks for a limit).
const MAX_STEP_UPS: u8 = 3;

/// Operations remembered. Past it all are forgotten.
const MAX_OPERATIONS: usize = 256;

/// A pause that doubles with each failure.
#[derive(Debug)]
pub(super) struct Pause {
    first: Duration,
    longest: Duration,
    failures: u32,
    failed: Option<Instant>,
    until: Option<Instant>,
}

impl Pause {
    /// Starts without one.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
            failed: None,
            until: None,
        }
    }

    /// Notes a failure.
    pub(super) fn failed(&mut self) {
        let length = self.first.saturating_mul(1 << self.failures.min(16));
        let now = Instant::now();
        self.failures = self.failures.saturating_add(1);
        self.failed = Some(now);
        self.until = Some(now + length.min(self.longest));
    }

    /// Notes a failure of somebody who asks not to be asked for a while.
    pub(super) fn failed_for(&mut self, asked: Duration) {
        self.failed();
        let asked = Instant::now() + asked.min(self.longest);
        self.until = self.until.max(Some(asked));
    }

    /// Notes that all is well.
    pub(super) fn over(&mut self) {
        self.failures = 0;
        self.failed = None;
        self.until = None;
    }

    /// Returns when the next attempt may be, if that is ahead.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|until| *until > Instant::now())
    }

    /// Says whether whoever asks for it may have the next attempt now: it is over, or
    /// the last failure was so long ago that it may be different now.
    pub(super) fn is_over_after(&self, time: Duration) -> bool {
        self.until().is_none() || self.failed.is_none_or(|failed| failed.elapsed() >= time)
    }
}

/// A limit on how often something is done within a time.
#[derive(Debug)]
pub(super) struct Limit {
    most: usize,
    within: Duration,
    done: VecDeque<Instant>,
}

impl Limit {
    /// Starts with nothing done.
    pub(super) fn new(most: usize, within: Duration) -> Self {
        Self {
            most,
            within,
            done: VecDeque::with_capacity(most),
        }
    }

    /// Notes that it is done.
    pub(super) fn note(&mut self) {
        if self.done.len() >= self.most {
            self.done.pop_front();
        }
        self.done.push_back(Instant::now());
    }

    /// Says whether it may be done once more.
    pub(super) fn allows(&self) -> bool {
        let oldest = self.done.front();
        self.done.len() < self.most || oldest.is_none_or(|done| done.elapsed() >= self.within)
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.done.clear();
    }
}

/// An operation that lacked scopes.
pub(super) type Lack = String;

#[derive(Debug, Default)]
struct Attempts {
    made: u8,
    denied: bool,
}

/// What was done for operations that lacked scopes.
#[derive(Debug, Default)]
pub(super) struct StepUps(HashMap<Lack, Attempts>);

impl StepUps {
    /// Says why somebody is not to be asked again for this.
    pub(super) fn refusal(&self, lack: &Lack) -> Option<String> {
        let attempts = self.0.get(lack)?;
        if attempts.denied {
            return Some("the access that it needs was refused before".into());
        }
        (attempts.made >= MAX_STEP_UPS)
            .then(|| format!("it still asks for more access after {MAX_STEP_UPS} sign-ins"))
    }

    /// Notes that somebody is asked.
    pub(super) fn asked(&mut self, lack: &Lack) {
        if self.0.len() >= MAX_OPERATIONS {
            self.0.clear();
        }
        self.0.entry(lack.clone()).or_default().made += 1;
    }

    /// Notes that somebody said no.
    pub(super) fn denied(&mut self, lack: &Lack) {
        self.0.entry(lack.clone()).or_default().denied = true;
    }

    /// Begins to count anew: somebody has signed in with other scopes. What was denied
    /// still is.
    pub(super) fn count_anew(&mut self) {
        self.0.retain(|_, attempts| attempts.denied);
    }

    /// Forgets everything: somebody asks again of their own accord.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_end_with_success() {
        let second = Duration::from_secs(1);
        let mut pause = Pause::new(second, second * 5);
        let mut lengths = Vec::new();
        for _ in 0..100 {
            pause.failed();
            lengths.push(pause.until().expect("a pause") - Instant::now());
        }
        assert_eq!(lengths[..4], [second, second * 2, second * 4, second * 5]);
        assert_eq!(lengths[99], second * 5);
        tokio::time::advance(second * 6).await;
        assert_eq!(pause.until(), None);
        pause.over();
        pause.failed();
        assert_eq!(pause.until(), Some(Instant::now() + second));
        for (asked, expected) in [
            (Duration::ZERO, second * 2),
            (second * 4, second * 4),
            (Duration::MAX, second * 5),
        ] {
            pause.over();
            pause.failed();
            pause.failed_for(asked);
            assert_eq!(pause.until(), Some(Instant::now() + expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_counts_what_is_not_long_ago() {
        let second = Duration::from_secs(1);
        let mut limit = Limit::new(3, second * 10);
        for _ in 0..3 {
            assert!(limit.allows());
            limit.note();
            tokio::time::advance(second).await;
        }
        assert!(!limit.allows());
        tokio::time::advance(second * 7).await;
        assert!(limit.allows(), "the first was ten seconds ago");
        limit.note();
        assert!(!limit.allows());
        limit.forget();
        assert!(limit.allows());
    }

    #[test]
    fn nobody_is_asked_for_ever() {
        let mut step_ups = StepUps::default();
        let lack = |operation: &str| operation.to_owned();
        for _ in 0..3 {
            assert_eq!(step_ups.refusal(&lack("a")), None);
            step_ups.asked(&lack("a"));
        }
        assert!(step_ups.refusal(&lack("a")).is_some());
        assert_eq!(step_ups.refusal(&lack("b")), None);
        step_ups.asked(&lack("b"));
        step_ups.denied(&lack("b"));
        assert!(step_ups.refusal(&lack("b")).is_some());
        step_ups.forget();
        assert_eq!(step_ups.refusal(&lack("b")), None);
        for at in 0..1000 {
            step_ups.asked(&lack(&at.to_string()));
        }
        assert!(step_ups.0.len() <= MAX_OPERATIONS);
    }
}
