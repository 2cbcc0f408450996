//! Numbers that components and the runtime keep: counters, gauges and histograms.
//!
//! A component registers a metric once, in `open` or `prepare`, and keeps the handle; updating it
//! is an atomic add. The registry is read by the summary, the statistics of workers and tests.
//!
//! Numbers and names are bounded: a task has at most [`METRICS_MAX`] metrics, and a name is cut after
//! [`METRIC_NAME_MAX`] bytes.

mod distribution;
mod totals;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram as Hdr;
use smol_str::SmolStr;

use crate::ids::TaskId;

pub use distribution::Distribution;
pub use totals::{
    METRICS_MAX, MetricTotal, MetricTotals, MetricValue, OTHER_LOSSES, ValueCounts, distribution_of,
    merge_counts,
};

/// Bytes of the name of a metric; a longer name is cut.
pub const METRIC_NAME_MAX: usize = 128;

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
        Distribution::of(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every recorded value, and how often it was recorded.
    fn counts(&self) -> ValueCounts {
        ValueCounts::of(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
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

impl Metric {
    fn value(&self) -> MetricValue {
        match self {
            Metric::Counter(counter) => MetricValue::Counter(counter.get()),
            Metric::Loss(counter) => MetricValue::Loss(counter.get()),
            Metric::Gauge(gauge) => MetricValue::Gauge(gauge.get()),
            Metric::Histogram(histogram) => MetricValue::Histogram(histogram.counts()),
        }
    }
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

/// A task has [`METRICS_MAX`] metrics already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task has at most {METRICS_MAX} metrics")]
pub struct TooManyMetrics;

impl MetricsRegistry {
    /// Registers a metric, or returns the one that stands under that key already, so that a task
    /// that is rebuilt goes on counting. The name is cut after [`METRIC_NAME_MAX`] bytes.
    ///
    /// # Errors
    /// When the task has [`METRICS_MAX`] metrics of other names. [`OTHER_LOSSES`] is always taken.
    pub fn register(&self, key: MetricKey, metric: Metric) -> Result<Metric, TooManyMetrics> {
        let key = MetricKey { name: cut(&key.name), ..key };
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registered) = map.get(&key) {
            return Ok(registered.clone());
        }
        let first = MetricKey { name: SmolStr::default(), ..key.clone() };
        let of_task = map
            .range(first..)
            .take_while(|(other, _)| (&other.component, other.task) == (&key.component, key.task));
        if key.name != OTHER_LOSSES && of_task.take(METRICS_MAX).count() == METRICS_MAX {
            return Err(TooManyMetrics);
        }
        map.insert(key, metric.clone());
        Ok(metric)
    }

    /// Everything registered, by component, task and name.
    pub fn snapshot(&self) -> Vec<(MetricKey, Metric)> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(key, metric)| (key.clone(), metric.clone())).collect()
    }

    /// The metrics of each component, summed over its tasks here.
    pub fn totals(&self) -> BTreeMap<SmolStr, MetricTotals> {
        let mut totals: BTreeMap<SmolStr, MetricTotals> = BTreeMap::new();
        for (key, metric) in self.snapshot() {
            totals.entry(key.component).or_default().add(&key.name, &metric.value());
        }
        totals
    }
}

/// A name without what is beyond [`METRIC_NAME_MAX`].
fn cut(name: &SmolStr) -> SmolStr {
    let mut end = name.len().min(METRIC_NAME_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if end == name.len() { name.clone() } else { SmolStr::new(&name[..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(component: &str, task: u32, name: &str) -> MetricKey {
        MetricKey { component: component.into(), task: TaskId(task), name: name.into() }
    }

    #[test]
    fn a_task_has_a_bounded_number_of_metrics_with_bounded_names() {
        let registry = MetricsRegistry::default();
        let count = |task, name: &str| {
            registry.register(key("c", task, name), Metric::Counter(Counter::default())).map(drop)
        };
        let long = "\u{e4}".repeat(METRIC_NAME_MAX);
        assert_eq!(count(1, &long), Ok(()));
        (1..METRICS_MAX).for_each(|n| assert_eq!(count(1, &format!("n{n}")), Ok(())));
        assert_eq!(count(1, "one more"), Err(TooManyMetrics));
        assert_eq!(count(1, "n7"), Ok(()), "it stands already");
        assert_eq!(count(1, &format!("{long}!")), Ok(()), "cut, it is the same name");
        assert_eq!(count(1, OTHER_LOSSES), Ok(()));
        assert_eq!(count(2, "one more"), Ok(()), "another task");
        let longest = registry.snapshot().iter().map(|(key, _)| key.name.len()).max();
        assert_eq!(longest, Some(METRIC_NAME_MAX));
    }

    #[test]
    fn tasks_add_up() {
        let registry = MetricsRegistry::default();
        for (component, task, n) in [("a", 1, 2), ("a", 2, 3), ("b", 3, 5)] {
            let counter = Counter::default();
            counter.add(n);
            registry.register(key(component, task, "seen"), Metric::Loss(counter)).expect("there is room");
        }
        let totals = registry.totals();
        let losses: Vec<_> = totals.iter().map(|(id, totals)| (&**id, totals.losses())).collect();
        assert_eq!(losses, [("a", 5), ("b", 5)]);
    }
}
