//! How long messages take to complete.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Completion latencies in nanoseconds, of all spouts of a worker.
pub type Latencies = Arc<Mutex<Histogram<u64>>>;

/// Notes that so many messages took so long.
pub fn record(latencies: &Latencies, latency: Duration, messages: usize) {
    let mut histogram = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    // An auto-resizing histogram accepts every 64-bit value, so this does not fail.
    let _ = histogram.record_n(latency.as_nanos() as u64, messages as u64);
}
