//! Percentiles.

use std::time::Duration;

/// The value below which `percent` of the values are (nearest rank); 0 when there are none.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or(0.0)
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// Milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
