//! A number that status shows and that rings when it changes.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::changes::Changes;

/// How many of something there are now.
#[derive(Debug)]
pub(crate) struct Count(AtomicU32, Changes);

impl Count {
    /// Begins at none.
    pub(crate) fn new(changes: &Changes) -> Self {
        Self(AtomicU32::new(0), changes.clone())
    }

    /// One more.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.note();
    }

    /// One less.
    pub(crate) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        self.1.note();
    }

    /// Returns the number.
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
