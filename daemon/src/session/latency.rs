//! The durations of the newest requests, for medians and tails.

use std::time::Duration;

/// How many requests are remembered: enough for a 99th percentile.
const REMEMBERED: usize = 512;

/// A ring of durations in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    ring: Vec<u32>,
    next: usize,
}

impl Latencies {
    /// Adds one; the oldest makes place.
    pub(crate) fn add(&mut self, duration: Duration) {
        let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        if self.ring.len() < REMEMBERED {
            self.ring.push(micros);
        } else {
            self.ring[self.next] = micros;
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// Returns the median and the 99th percentile in microseconds.
    pub(crate) fn percentiles(&self) -> Option<(u64, u64)> {
        let mut sorted = self.ring.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let at = |percent: usize| u64::from(sorted[(sorted.len() * percent / 100).min(last)]);
        Some((at(50), at(99)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_newest() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), None);
        latencies.add(Duration::from_micros(7));
        assert_eq!(latencies.percentiles(), Some((7, 7)));
        for micros in 0..REMEMBERED as u64 {
            latencies.add(Duration::from_micros(micros));
        }
        assert_eq!(latencies.percentiles(), Some((256, 506)));
    }
}
