//! Order statistics of durations. Nothing is averaged: one slow round must not
//! move a figure.

use std::time::Duration;

/// Returns the value below which `percent` of the values lie; 0 of nothing.
pub(crate) fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    // Rounded, so that the median of an odd number is its middle.
    let index = (last * percent + 50) / 100;
    sorted.get(index).copied().unwrap_or_default()
}

/// Returns the median.
pub(crate) fn median(values: &[Duration]) -> Duration {
    percentile(values, 50)
}

/// Milliseconds, for printing and comparing.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
