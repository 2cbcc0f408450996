//! What metrics came to: values that can be added up over tasks, incarnations of a worker, and workers.
//!
//! Counters and losses are summed. Gauges are summed over what runs now. Histograms travel as how
//! often each value was recorded, so that the quantiles of the sum are those of all values, not means
//! of quantiles.
//!
//! 1. A component has at most [`METRICS_MAX`] totals, so that a program which registers a metric for
//!    each key it sees fills neither the memory nor the messages of a worker. What is beyond is left
//!    out, except losses: they are added to [`OTHER_LOSSES`].
//! 2. Totals are sorted by name, then by kind. The same name may stand for metrics of two kinds, if
//!    two tasks of a component disagree.

use hdrhistogram::Histogram as Hdr;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::distribution::Distribution;

/// Metrics of a task, and of a component in the statistics.
pub const METRICS_MAX: usize = 256;
/// Where losses are counted that have no metric of their own because there are too many.
pub const OTHER_LOSSES: &str = "other_losses";

/// A metric of a component at one moment, summed over its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricTotal {
    /// The name it was registered by.
    pub name: SmolStr,
    /// Its kind and value.
    pub value: MetricValue,
}

/// The value of a metric at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MetricValue {
    /// Of a counter.
    Counter(u64),
    /// Of a counter of losses; above 0, the exit code of a run is 1.
    Loss(u64),
    /// Of a gauge.
    Gauge(i64),
    /// Of a histogram.
    Histogram(ValueCounts),
}

impl MetricValue {
    fn kind(&self) -> u8 {
        match self {
            MetricValue::Counter(_) => 0,
            MetricValue::Loss(_) => 1,
            MetricValue::Gauge(_) => 2,
            MetricValue::Histogram(_) => 3,
        }
    }

    /// Adds a value of the same kind.
    fn add(&mut self, other: &MetricValue) {
        match (self, other) {
            (MetricValue::Counter(own), MetricValue::Counter(more))
            | (MetricValue::Loss(own), MetricValue::Loss(more)) => *own = own.saturating_add(*more),
            (MetricValue::Gauge(own), MetricValue::Gauge(more)) => *own = own.saturating_add(*more),
            (MetricValue::Histogram(own), MetricValue::Histogram(more)) => *own = own.merged(more),
            (own, more) => unreachable!("totals are looked up by kind: {own:?}, {more:?}"),
        }
    }

    /// Whether anything was counted, set or recorded.
    pub fn is_used(&self) -> bool {
        match self {
            MetricValue::Counter(sum) | MetricValue::Loss(sum) => *sum > 0,
            MetricValue::Gauge(value) => *value != 0,
            MetricValue::Histogram(counts) => !counts.is_empty(),
        }
    }
}

/// Recorded values, each with how often it was recorded; rising. The values are the representatives
/// of HdrHistogram with three significant digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueCounts(Vec<(u64, u64)>);

impl ValueCounts {
    /// All that a histogram holds.
    pub(super) fn of(hdr: &Hdr<u64>) -> ValueCounts {
        let pairs = hdr.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()));
        ValueCounts(pairs.collect())
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn merged(&self, other: &ValueCounts) -> ValueCounts {
        ValueCounts(merge_counts(&self.0, &other.0))
    }

    /// The distribution of these values.
    pub fn distribution(&self) -> Distribution {
        distribution_of(&self.0)
    }
}

/// The distribution of values, each with how often it was recorded.
pub fn distribution_of(counts: &[(u64, u64)]) -> Distribution {
    let mut hdr = Hdr::<u64>::new(3).expect("three digits are within HdrHistogram's range");
    for (value, count) in counts {
        // An auto-resizing histogram refuses only what does not fit 64 bits' worth of buckets.
        let _ = hdr.record_n(*value, *count);
    }
    Distribution::of(&hdr)
}

/// Two rising lists of values and how often they were seen, as one.
pub fn merge_counts(left: &[(u64, u64)], right: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    let mut all: Vec<(u64, u64)> = Vec::with_capacity(left.len() + right.len());
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some((l, _)), Some((r, _))) if l <= r => left.next(),
            (Some(_), None) => left.next(),
            (_, Some(_)) => right.next(),
            (None, None) => return all,
        };
        let Some((value, count)) = next else { return all };
        match all.last_mut() {
            Some(last) if last.0 == value => last.1 = last.1.saturating_add(count),
            _ => all.push((value, count)),
        }
    }
}

/// The metrics of a component at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetricTotals(Vec<MetricTotal>);

impl MetricTotals {
    /// Those totals, by name.
    pub fn iter(&self) -> impl Iterator<Item = &MetricTotal> {
        self.0.iter()
    }

    /// The value of a metric; the first, where a name has two kinds.
    pub fn get(&self, name: &str) -> Option<&MetricValue> {
        self.0.iter().find(|total| total.name == name).map(|total| &total.value)
    }

    /// The sum of all losses.
    pub fn losses(&self) -> u64 {
        let loss = |total: &MetricTotal| if let MetricValue::Loss(sum) = total.value { sum } else { 0 };
        self.0.iter().map(loss).fold(0, u64::saturating_add)
    }

    /// Adds a value to the total of its name and kind.
    pub fn add(&mut self, name: &SmolStr, value: &MetricValue) {
        match self.place(name, value) {
            Ok(at) => self.0[at].value.add(value),
            Err(at) if self.0.len() < METRICS_MAX || name == OTHER_LOSSES => {
                self.0.insert(at, MetricTotal { name: name.clone(), value: value.clone() });
            }
            Err(_) if value.kind() == MetricValue::Loss(0).kind() => {
                self.add(&SmolStr::new_static(OTHER_LOSSES), value);
            }
            Err(_) => {}
        }
    }

    /// Adds those of another task, incarnation or worker.
    pub fn add_all(&mut self, other: &MetricTotals) {
        other.iter().for_each(|total| self.add(&total.name, &total.value));
    }

    /// Leaves out what is only true while its task runs.
    pub fn forget_gauges(&mut self) {
        self.0.retain(|total| !matches!(total.value, MetricValue::Gauge(_)));
    }

    /// Leaves out everything but losses, for a message that would be too large otherwise.
    pub fn keep_losses_only(&mut self) {
        self.0.retain(|total| matches!(total.value, MetricValue::Loss(_)));
    }

    fn place(&self, name: &SmolStr, value: &MetricValue) -> Result<usize, usize> {
        let key = |total: &MetricTotal| (total.name.clone(), total.value.kind());
        self.0.binary_search_by_key(&(name.clone(), value.kind()), key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(of: &[(&str, MetricValue)]) -> MetricTotals {
        let mut totals = MetricTotals::default();
        of.iter().for_each(|(name, value)| totals.add(&SmolStr::new(name), value));
        totals
    }

    #[test]
    fn counts_are_merged_by_value() {
        let check = |left: &[(u64, u64)], right: &[(u64, u64)], expected: &[(u64, u64)]| {
            assert_eq!(merge_counts(left, right), expected);
            assert_eq!(merge_counts(right, left), expected);
        };
        check(&[], &[], &[]);
        check(&[(1, 2)], &[], &[(1, 2)]);
        check(&[(1, 2), (5, 1)], &[(1, 3), (2, 1), (9, 9)], &[(1, 5), (2, 1), (5, 1), (9, 9)]);
    }

    #[test]
    fn each_kind_adds_up_in_its_own_way() {
        use MetricValue::{Counter, Gauge, Histogram, Loss};
        let counts = |pairs: &[(u64, u64)]| Histogram(ValueCounts(pairs.to_vec()));
        let check = |value: MetricValue, more: MetricValue, expected: MetricValue| {
            assert_eq!(totals(&[("m", value), ("m", more)]), totals(&[("m", expected)]));
        };
        check(Counter(3), Counter(4), Counter(7));
        check(Counter(u64::MAX), Counter(4), Counter(u64::MAX));
        check(Loss(1), Loss(0), Loss(1));
        check(Gauge(5), Gauge(-7), Gauge(-2));
        check(counts(&[(1, 99)]), counts(&[(1, 1), (500, 2)]), counts(&[(1, 100), (500, 2)]));
        let both = totals(&[("m", Gauge(1)), ("m", Counter(2)), ("a", Loss(3)), ("m", Counter(1))]);
        let all: Vec<_> = both.iter().map(|total| (&*total.name, total.value.clone())).collect();
        assert_eq!(all, [("a", Loss(3)), ("m", Counter(3)), ("m", Gauge(1))]);
        assert_eq!(both.losses(), 3);
    }

    #[test]
    fn a_component_has_a_bounded_number_and_no_loss_is_left_out() {
        let mut totals = MetricTotals::default();
        for n in 0..METRICS_MAX + 10 {
            totals.add(&SmolStr::new(format!("count{n:05}")), &MetricValue::Counter(1));
            totals.add(&SmolStr::new(format!("loss{n:05}")), &MetricValue::Loss(1));
        }
        assert_eq!(totals.0.len(), METRICS_MAX + 1);
        assert_eq!(totals.losses(), METRICS_MAX as u64 + 10);
        let named = METRICS_MAX as u64 / 2;
        assert_eq!(totals.get(OTHER_LOSSES), Some(&MetricValue::Loss(METRICS_MAX as u64 + 10 - named)));
    }
}
