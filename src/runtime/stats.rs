//! The statistics of a process: what its executors count, and the metrics that its components registered.
//!
//! [`component_stats`] and [`topology_stats`] are the only places where counters become statistics. For
//! several processes the parent calls them, too, with the sums over all workers.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::{
    ComponentInfo, ComponentStats, CounterId, CounterValues, EventTime, LatencyStats, ReplayCounts,
    TopologyStats,
};
use crate::clock::Time;
use crate::metrics::MetricTotals;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::worker::Worker;
use crate::topology::graph::Component;

/// A component as the plan knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentShape {
    /// Its id.
    pub id: SmolStr,
    /// Whether it is a spout.
    pub is_spout: bool,
    /// Tasks.
    pub tasks: usize,
    /// The component that it is chained behind.
    pub chained_behind: Option<SmolStr>,
    /// Executors that count; in one process of several, those that run there.
    pub executors: usize,
}

/// What executors of a component counted, as its statistics. `elapsed`: the time since the start.
pub fn component_stats(
    shape: ComponentShape,
    counters: CounterValues,
    last_error: Option<String>,
    metrics: MetricTotals,
    elapsed: Duration,
) -> ComponentStats {
    let of_all = elapsed.as_nanos().max(1) as f64 * shape.executors.max(1) as f64;
    let share = |time: CounterId| counters.count(time) as f64 / of_all;
    ComponentStats {
        id: shape.id,
        is_spout: shape.is_spout,
        tasks: shape.tasks,
        chained_behind: shape.chained_behind,
        emitted: counters.count(CounterId::EMITTED),
        transferred: counters.count(CounterId::TRANSFERRED),
        executed: counters.count(CounterId::EXECUTED),
        acked: counters.count(CounterId::ACKED),
        failed: counters.count(CounterId::FAILED),
        errors: counters.count(CounterId::ERRORS),
        restarts: counters.count(CounterId::RESTARTS),
        queued: counters.count(CounterId::QUEUED),
        busy: share(CounterId::BUSY),
        blocked: share(CounterId::BLOCKED),
        event_time: EventTime::of(&counters),
        counters,
        last_error,
        metrics,
    }
}

/// The total of a topology with these components.
pub fn total_of(components: &[ComponentStats]) -> CounterValues {
    let mut total = CounterValues::default();
    components.iter().for_each(|component| total.add_component(component.is_spout, &component.counters));
    total
}

/// The total of a topology, as its statistics, without components, latencies, and the end.
pub fn topology_stats(total: CounterValues, elapsed: Duration) -> TopologyStats {
    let replays = ReplayCounts::among(&total);
    let waiting = total.count(CounterId::WAITING);
    TopologyStats {
        elapsed,
        emitted: total.count(CounterId::EMITTED).saturating_sub(replays.total()),
        acked: total.count(CounterId::ACKED),
        failed: total.count(CounterId::UNREPLAYED).saturating_sub(waiting),
        waiting,
        failed_unanchored: total.count(CounterId::FAILED_UNANCHORED),
        given_up: total.count(CounterId::GIVEN_UP),
        replayed: replays.total(),
        replays,
        pending: total.count(CounterId::PENDING),
        dead_letters: total.count(CounterId::DEAD_LETTERS),
        counters: total,
        ..TopologyStats::default()
    }
}

/// The counters of some executors, summed.
pub fn counted<'a>(executors: impl Iterator<Item = &'a Gauges>) -> CounterValues {
    let mut sum = CounterValues::default();
    executors.for_each(|gauges| sum.add(&gauges.counters()));
    sum
}

impl Worker {
    /// Completion latencies in rising order: nanoseconds, and how many messages had this latency.
    pub fn latency_counts(&self) -> Vec<(u64, u64)> {
        let histogram = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
    }

    /// The statistics of the executors that run here.
    pub fn stats(&self) -> TopologyStats {
        let elapsed = self.clock.now().since(Time::ZERO);
        let mut metrics = self.metrics.totals();
        let stats = |info: &ComponentInfo| {
            let metrics = metrics.remove(&info.id).unwrap_or_default();
            let (counters, last_error) = (counted(self.gauges_of(&info.id)), self.last_error_of(&info.id));
            component_stats(self.shape_of(info), counters, last_error, metrics, elapsed)
        };
        let components: Vec<ComponentStats> = self.components.iter().map(stats).collect();
        let total = total_of(&components);
        let checkpoints = self.checkpoint_counts.as_ref().map(|counts| {
            let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.at(self.clock.now())
        });
        TopologyStats {
            checkpoints,
            complete_latency: self.complete_latency(),
            components,
            ended: self.lifecycle.has_ended(),
            cut_short: self.lifecycle.cut_short.load(Ordering::SeqCst),
            stopped: self.lifecycle.stopped().cloned(),
            ..topology_stats(total, elapsed)
        }
    }

    fn shape_of(&self, info: &ComponentInfo) -> ComponentShape {
        ComponentShape {
            id: info.id.clone(),
            is_spout: self.topology.component(&info.id).is_some_and(Component::is_spout),
            tasks: info.tasks.len(),
            chained_behind: self.chained_behind(&info.id),
            executors: self.gauges_of(&info.id).count(),
        }
    }

    fn chained_behind(&self, component: &str) -> Option<SmolStr> {
        let neighbours = self.hosted().flat_map(|executor| executor.chain.windows(2));
        let mut pairs = neighbours.map(|pair| [&pair[0].address.component, &pair[1].address.component]);
        pairs.find(|[_, chained]| *chained == component).map(|[before, _]| before.clone())
    }

    fn gauges_of(&self, component: &str) -> impl Iterator<Item = &Gauges> {
        self.entries()
            .filter(move |executor| executor.address.component == component)
            .map(|executor| &*executor.address.gauges)
    }

    fn last_error_of(&self, component: &str) -> Option<String> {
        let lock = |gauges: &Gauges| gauges.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.gauges_of(component).find_map(lock)
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
