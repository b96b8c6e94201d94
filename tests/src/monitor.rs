//! A value that threads change and tests wait on.
//!
//! Owns the only deadline of the test suite. Knows nothing of what it guards.
//! A wait that is not answered in time panics with what was waited for.

use std::fmt::Debug;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it. Generous, since the
/// suite shares a small machine with compilers.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A value behind a lock, with waiters.
#[derive(Debug, Default)]
pub struct Monitor<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Monitor<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            changed: Condvar::new(),
        }
    }

    /// Changes the value and wakes whoever waits on it.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Looks at the value.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Waits until `ready` gives something, or `limit` has passed.
    pub fn poll<R>(
        &self,
        limit: Duration,
        mut ready: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let end = Instant::now() + limit;
        let mut value = self.lock();
        loop {
            if let Some(result) = ready(&mut value) {
                self.changed.notify_all();
                return Some(result);
            }
            let left = end.checked_duration_since(Instant::now())?;
            value = self
                .changed
                .wait_timeout(value, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until `ready` gives something, without end.
    pub fn wait<R>(&self, mut ready: impl FnMut(&mut T) -> Option<R>) -> R {
        let mut value = self.lock();
        loop {
            if let Some(result) = ready(&mut value) {
                self.changed.notify_all();
                return result;
            }
            value = self
                .changed
                .wait(value)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    // A test that panics with the lock held must not hide its own message.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Debug> Monitor<T> {
    /// Waits until `ready` gives something.
    ///
    /// # Panics
    /// After [`PATIENCE`], naming `what` and showing the value.
    pub fn expect<R>(&self, what: &str, ready: impl FnMut(&mut T) -> Option<R>) -> R {
        self.poll(PATIENCE, ready).unwrap_or_else(|| {
            self.look(|value| panic!("waited {PATIENCE:?} for {what}; there is: {value:?}"))
        })
    }
}
