//! Sums the gauges of the executors of a process, and the metrics that its components registered.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::{ComponentInfo, ComponentStats, FailureCause, LatencyStats, ReplayCounts, TopologyStats};
use crate::clock::Time;
use crate::metrics::MetricTotals;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::worker::Worker;
use crate::topology::graph::Component;

/// What the executors of a component in this process count in time; see
/// [`RunningShare::times`](crate::runtime::RunningShare::times).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentTimes {
    /// The component.
    pub id: SmolStr,
    /// Nanoseconds in user code, over all its executors here.
    pub busy: u64,
    /// Nanoseconds without credit, over all its executors here.
    pub blocked: u64,
}

impl Worker {
    /// Nanoseconds per component, in the order of [`TopologyStats::components`].
    pub fn times(&self) -> Vec<ComponentTimes> {
        let sum = |id: &str, of: fn(&Gauges) -> &AtomicU64| self.sum(id, |g| of(g).load(Ordering::Relaxed));
        let times = |info: &ComponentInfo| ComponentTimes {
            id: info.id.clone(),
            busy: sum(&info.id, |gauges| &gauges.busy),
            blocked: sum(&info.id, |gauges| &gauges.blocked),
        };
        self.components.iter().map(times).collect()
    }

    /// Completion latencies in rising order: nanoseconds, and how many messages had this latency.
    pub fn latency_counts(&self) -> Vec<(u64, u64)> {
        let histogram = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
    }

    /// Sums the gauges of the executors.
    pub fn stats(&self) -> TopologyStats {
        let elapsed = self.clock.now().since(Time::ZERO);
        let mut stats = TopologyStats {
            elapsed,
            complete_latency: self.complete_latency(),
            ended: self.lifecycle.has_ended(),
            cut_short: self.lifecycle.cut_short.load(Ordering::SeqCst),
            stopped: self.lifecycle.stopped().cloned(),
            ..TopologyStats::default()
        };
        let mut metrics = self.metrics.totals();
        for info in self.components.iter() {
            let component = self.component_stats(info, elapsed, &mut metrics);
            stats.dead_letters += self.sum(&info.id, |gauges| gauges.dead_letters.load(Ordering::Relaxed));
            stats.failed_unanchored +=
                self.sum(&info.id, |gauges| gauges.failed_unanchored.load(Ordering::Relaxed));
            if component.is_spout {
                let mut replays = ReplayCounts::default();
                for cause in FailureCause::ALL {
                    *replays.of_mut(cause) =
                        self.sum(&info.id, |gauges| gauges.replayed[cause.index()].load(Ordering::Relaxed));
                }
                let replayed = replays.total();
                stats.replays.add(&replays);
                stats.replayed += replayed;
                stats.emitted += component.emitted.saturating_sub(replayed);
                stats.acked += component.acked;
                let waiting = self.sum_signed(&info.id, |gauges| gauges.waiting.load(Ordering::Relaxed));
                let lost = self.sum_signed(&info.id, |gauges| gauges.lost.load(Ordering::Relaxed));
                stats.waiting += waiting;
                stats.failed += lost.saturating_sub(waiting);
                stats.given_up += self.sum(&info.id, |gauges| gauges.given_up.load(Ordering::Relaxed));
                stats.pending += self.sum_signed(&info.id, |gauges| gauges.pending.load(Ordering::Relaxed));
            }
            stats.components.push(component);
        }
        stats
    }

    fn gauges_of(&self, component: &str) -> impl Iterator<Item = &Gauges> {
        self.entries()
            .filter(move |executor| executor.address.component == component)
            .map(|executor| &*executor.address.gauges)
    }

    fn sum(&self, component: &str, of: impl Fn(&Gauges) -> u64) -> u64 {
        self.gauges_of(component).map(of).sum()
    }

    fn sum_signed(&self, component: &str, of: impl Fn(&Gauges) -> i64) -> u64 {
        self.gauges_of(component).map(of).sum::<i64>().max(0) as u64
    }

    fn component_stats(
        &self,
        info: &ComponentInfo,
        elapsed: Duration,
        metrics: &mut BTreeMap<SmolStr, MetricTotals>,
    ) -> ComponentStats {
        let sum =
            |of: fn(&Gauges) -> &AtomicU64| self.sum(&info.id, |gauges| of(gauges).load(Ordering::Relaxed));
        let executors = self.gauges_of(&info.id).count().max(1) as f64;
        let share = |nanos: u64| nanos as f64 / (elapsed.as_nanos().max(1) as f64 * executors);
        let lock = |gauges: &Gauges| gauges.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ComponentStats {
            id: info.id.clone(),
            is_spout: self.topology.component(&info.id).is_some_and(Component::is_spout),
            tasks: info.tasks.len(),
            emitted: sum(|gauges| &gauges.emitted),
            transferred: sum(|gauges| &gauges.transferred),
            executed: sum(|gauges| &gauges.executed),
            acked: sum(|gauges| &gauges.acked),
            failed: sum(|gauges| &gauges.failed),
            errors: sum(|gauges| &gauges.errors),
            restarts: sum(|gauges| &gauges.restarts),
            queued: self.sum_signed(&info.id, |gauges| gauges.queued.load(Ordering::Relaxed)),
            busy: share(sum(|gauges| &gauges.busy)),
            blocked: share(sum(|gauges| &gauges.blocked)),
            last_error: self.gauges_of(&info.id).find_map(lock),
            metrics: metrics.remove(&info.id).unwrap_or_default(),
        }
    }

    fn complete_latency(&self) -> LatencyStats {
        let histogram = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        LatencyStats {
            count: histogram.len(),
            p50: Duration::from_nanos(histogram.value_at_quantile(0.50)),
            p99: Duration::from_nanos(histogram.value_at_quantile(0.99)),
            max: Duration::from_nanos(histogram.max()),
        }
    }
}
