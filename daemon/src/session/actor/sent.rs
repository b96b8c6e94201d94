//! Which requests went out. The relays of a shared session mint ids side by side,
//! so that a lower one may still be on its way here when a higher one has gone. Pure.

use std::collections::BTreeSet;

/// Ids remembered that were passed over; what has not come by then never will.
const MAX_PASSED_OVER: u64 = 256;

/// The ids of the requests that went out.
#[derive(Debug, Default)]
pub(super) struct Sent {
    highest: u64,
    /// Lower ids that did not go out, or not yet.
    passed_over: BTreeSet<u64>,
}

impl Sent {
    /// Notes a request that goes out.
    pub(super) fn note(&mut self, id: u64) {
        if id <= self.highest {
            self.passed_over.remove(&id);
            return;
        }
        let first = (self.highest + 1).max(id.saturating_sub(MAX_PASSED_OVER));
        self.passed_over.extend(first..id);
        while self.passed_over.len() as u64 > MAX_PASSED_OVER {
            self.passed_over.pop_first();
        }
        self.highest = id;
    }

    /// Returns the highest id that went out.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Returns the lower ids that did not.
    pub(super) fn passed_over(&self) -> impl Iterator<Item = u64> {
        self.passed_over.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_passed_over_has_not_gone_out_until_it_does() {
        let mut sent = Sent::default();
        for id in [1, 2, 5] {
            sent.note(id);
        }
        assert_eq!(sent.highest(), 5);
        assert_eq!(sent.passed_over().collect::<Vec<_>>(), [3, 4]);
        sent.note(3);
        assert_eq!(sent.highest(), 5);
        assert_eq!(sent.passed_over().collect::<Vec<_>>(), [4]);
        sent.note(u64::MAX);
        assert_eq!(sent.passed_over().count(), 256);
        assert_eq!(sent.passed_over().last(), Some(u64::MAX - 1));
    }
}
