//! Numbers that components and the runtime keep: counters, gauges and histograms.
//!
//! A component registers a metric once, in `open` or `prepare`, and keeps the handle; updating it
//! is an atomic add. The registry is read by the summary, the progress line and tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram as Hdr;
use smol_str::SmolStr;

use crate::ids::TaskId;

/// A number that only grows. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        // Relaxed: a statistic; nobody orders other memory by it.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// What it was set to last.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A distribution of whole numbers, to three significant digits (HdrHistogram).
#[derive(Clone)]
pub struct Histogram(Arc<Mutex<Hdr<u64>>>);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(Arc::new(Mutex::new(Hdr::new(3).expect("three digits are within HdrHistogram's range"))))
    }
}

impl Histogram {
    /// Records one value.
    pub fn record(&self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records many values at once: cheaper than one by one, for a component that gathers them until
    /// its `flush`.
    pub fn record_all(&self, values: impl IntoIterator<Item = u64>) {
        let mut hdr = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.into_iter().for_each(|value| {
            let _ = hdr.record(value);
        });
    }

    /// Records the same value `n` times.
    pub fn record_n(&self, value: u64, n: u64) {
        let mut hdr = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An auto-resizing histogram refuses only what does not fit 64 bits' worth of buckets.
        let _ = hdr.record_n(value, n);
    }

    /// The value that this share of all recorded ones does not exceed; 1.0 is the largest.
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).value_at_quantile(share)
    }

    /// Forgets what was recorded.
    pub fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }

    /// The distribution so far.
    pub fn summary(&self) -> Distribution {
        let hdr = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Distribution {
            count: hdr.len(),
            mean: hdr.mean(),
            p50: hdr.value_at_quantile(0.50),
            p99: hdr.value_at_quantile(0.99),
            max: hdr.max(),
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

/// What a histogram says, in the unit of what was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Values recorded.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their median.
    pub p50: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

/// A registered metric.
#[derive(Clone, Debug)]
pub enum Metric {
    /// Grows.
    Counter(Counter),
    /// Grows with every piece of input or output that is lost; above 0, the run's exit code is 1.
    Loss(Counter),
    /// Is set.
    Gauge(Gauge),
    /// Is recorded.
    Histogram(Histogram),
}

/// Who a metric belongs to, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricKey {
    /// The component.
    pub component: SmolStr,
    /// The task.
    pub task: TaskId,
    /// The name it was registered by.
    pub name: SmolStr,
}

/// All metrics that components registered. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MetricsRegistry(Arc<Mutex<BTreeMap<MetricKey, Metric>>>);

impl MetricsRegistry {
    /// Registers a metric, or returns the one that stands under that key already, so that a task
    /// that is rebuilt goes on counting.
    pub fn register(&self, key: MetricKey, metric: Metric) -> Metric {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(metric).clone()
    }

    /// Everything registered, by component, task and name.
    pub fn snapshot(&self) -> Vec<(MetricKey, Metric)> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(key, metric)| (key.clone(), metric.clone())).collect()
    }
}
