//! The counters of all workers as those of one topology.
//!
//! 1. The counters of a dead worker still count. `master::counts` decides how the messages that it had
//!    open are counted.
//! 2. Latencies are sent as the number of times each value was seen. So percentiles are computed over all
//!    messages, and are not means of percentiles.
//! 3. Counters are sent by their names, without those that are 0. An unknown name is ignored, as an unknown
//!    field of any message is. It does not occur: a worker of another version refuses to start.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::api::{CounterId, CounterValues};
use crate::metrics::{Distribution, MetricTotals, distribution_of, merge_counts};
use crate::runtime::stats::{component_stats, topology_stats};
use crate::runtime::{ComponentShape, ComponentStats, LatencyStats, TopologyStats};
use crate::topology::graph::Topology;
use crate::topology::plan::{ACKER_COMPONENT, Part, Plan};

/// Bytes of an error text in a message that would be too large otherwise.
const TEXT_MAX: usize = 1 << 10;

/// What one worker counts, since it was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// As [`TopologyStats::counters`]. When the worker dies, its open messages are taken out of this total,
    /// but not out of the counters of its components.
    pub total: CounterValues,
    /// Spout executors that may still emit. Read before the counters: if it is 0, no message was
    /// emitted after them but replays.
    pub live_spouts: u64,
    /// Tasks that were never opened or prepared. `None`: that is not known.
    pub unopened: Option<u64>,
    /// Completion latencies: nanoseconds, and how many messages took that long. In rising order.
    pub latencies: Vec<(u64, u64)>,
    /// Its executors, by component.
    pub components: Vec<ComponentCounts>,
}

/// What a worker counts of one component: of the executors that it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ComponentCounts {
    /// The component's id.
    pub id: SmolStr,
    /// As [`ComponentStats::counters`].
    pub counters: CounterValues,
    /// The last error.
    pub last_error: Option<String>,
    /// What its tasks registered, summed over them.
    pub metrics: MetricTotals,
}

impl WorkerStats {
    /// The counters of a worker, made from the statistics of its runtime.
    pub fn new(live_spouts: u64, stats: TopologyStats, latencies: Vec<(u64, u64)>) -> WorkerStats {
        let counts = |ComponentStats { id, counters, last_error, metrics, .. }| ComponentCounts {
            id,
            counters,
            last_error,
            metrics,
        };
        let components = stats.components.into_iter().map(counts).collect();
        WorkerStats { total: stats.counters, live_spouts, unopened: None, latencies, components }
    }

    /// Its total as statistics: what it counted of messages.
    pub fn messages(&self) -> TopologyStats {
        topology_stats(self.total, Duration::ZERO)
    }

    /// Adds the counters of another incarnation or worker.
    pub fn add(&mut self, other: &WorkerStats) {
        self.total.add(&other.total);
        self.live_spouts += other.live_spouts;
        self.latencies = merge_counts(&self.latencies, &other.latencies);
        for counts in &other.components {
            match self.components.iter_mut().find(|own| own.id == counts.id) {
                Some(own) => own.add(counts),
                None => self.components.push(counts.clone()),
            }
        }
    }

    /// Cuts error texts, for a message that would be too large.
    pub fn shorten_errors(&mut self) {
        for error in self.components.iter_mut().filter_map(|component| component.last_error.as_mut()) {
            error.truncate(error.floor_char_boundary(TEXT_MAX));
        }
    }

    /// Leaves out error texts, and all metrics but losses, for a message that would be too large.
    pub fn keep_losses_only(&mut self) {
        for component in &mut self.components {
            component.last_error = None;
            component.metrics.keep_losses_only();
        }
    }

    /// Leaves out latencies, for a message that would be too large.
    pub fn leave_out_latencies(&mut self) {
        self.latencies = Vec::new();
    }

    /// Removes what a dead worker had not completed, and returns how many messages were open: those
    /// pending, and those that had failed and were to be emitted again, by the runtime or by their spout.
    pub fn drop_open(&mut self) -> u64 {
        let TopologyStats { emitted, pending, failed, waiting, given_up, .. } = self.messages();
        let failed_for_good = failed.min(given_up);
        let open = pending + waiting + failed - failed_for_good;
        self.total.forget_levels();
        self.total.set(CounterId::UNREPLAYED, failed_for_good as i64);
        self.total.change(CounterId::EMITTED, -(open.min(emitted) as i64));
        self.live_spouts = 0;
        for component in &mut self.components {
            component.counters.forget_levels();
            component.metrics.forget_gauges();
        }
        open
    }
}

impl ComponentCounts {
    fn add(&mut self, other: &ComponentCounts) {
        self.counters.add(&other.counters);
        if other.last_error.is_some() {
            self.last_error.clone_from(&other.last_error);
        }
        self.metrics.add_all(&other.metrics);
    }
}

/// The entries that have changed in a rising list of values and how often each was seen.
pub fn changes(before: &[(u64, u64)], after: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut before = before.iter().peekable();
    let mut is_new = |pair: &(u64, u64)| {
        while before.next_if(|old| old.0 < pair.0).is_some() {}
        before.peek().is_none_or(|old| **old != *pair)
    };
    after.iter().copied().filter(|pair| is_new(pair)).collect()
}

/// A rising list with changes applied, as [`changes`] returns them.
pub fn changed(before: &[(u64, u64)], changes: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let is_same = |value: u64| changes.binary_search_by_key(&value, |change| change.0).is_err();
    let same: Vec<(u64, u64)> = before.iter().copied().filter(|old| is_same(old.0)).collect();
    merge_counts(&same, changes)
}

/// A topology that runs in worker processes, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkersStats {
    /// All workers together.
    pub topology: TopologyStats,
    /// The processes.
    pub processes: ProcessStats,
    /// Why the run was given up, if it was.
    pub failure: Option<String>,
}

/// The processes of a topology, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStats {
    /// How many worker processes there should be.
    pub workers: u16,
    /// How many of them are up: started, connected to the parent, and running.
    pub up: u16,
    /// How often a worker was started again.
    pub restarts: u64,
    /// How many connections between workers there should be: one for each ordered pair.
    pub links: u32,
    /// How many of these connections are up.
    pub links_up: u32,
}

/// The components of a topology, and the system's own, in the order of their statistics.
pub fn shapes(topology: &Topology, plan: &Plan) -> Vec<ComponentShape> {
    let shape = |id: &str, is_spout, part| ComponentShape {
        id: id.into(),
        is_spout,
        tasks: plan.tasks(part).len(),
        chained_behind: chained_behind(topology, plan, part),
        executors: plan.executors_of(part).len(),
    };
    let users = topology.components().iter().enumerate();
    let users = users.map(|(at, component)| shape(&component.id, component.is_spout(), Part::Component(at)));
    let ackers = shape(ACKER_COMPONENT, false, Part::Acker);
    users.chain(Some(ackers).filter(|ackers| ackers.tasks > 0)).collect()
}

/// The component that the executors of a part are chained behind.
fn chained_behind(topology: &Topology, plan: &Plan, part: Part) -> Option<SmolStr> {
    let before = plan.executors_of(part).first()?.behind?;
    match plan.executors[before.index()].part {
        Part::Component(at) => Some(topology.components()[at].id.clone()),
        Part::Acker => None,
    }
}

/// What all workers counted, as the statistics of a topology with these components.
pub fn stats_of_all(sum: &WorkerStats, shapes: &[ComponentShape], elapsed: Duration) -> TopologyStats {
    let none = ComponentCounts::default();
    let stats = |shape: &ComponentShape| {
        let counts = sum.components.iter().find(|counts| counts.id == shape.id).unwrap_or(&none);
        let ComponentCounts { counters, last_error, metrics, .. } = counts.clone();
        component_stats(shape.clone(), counters, last_error, metrics, elapsed)
    };
    TopologyStats {
        complete_latency: latency_stats(&sum.latencies),
        components: shapes.iter().map(stats).collect(),
        ..topology_stats(sum.total, elapsed)
    }
}

fn latency_stats(latencies: &[(u64, u64)]) -> LatencyStats {
    let Distribution { count, p50, p99, max, .. } = distribution_of(latencies);
    let [p50, p99, max] = [p50, p99, max].map(Duration::from_nanos);
    LatencyStats { count, p50, p99, max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CounterInfo, CounterKind, FailureCause};
    use crate::cluster::control::{self, FromWorker};
    use crate::metrics::MetricValue;
    use crate::runtime::flow::gauges::Gauges;
    use crate::runtime::stats::{counted, total_of};

    fn counts(id: &str, executed: i64) -> ComponentCounts {
        let (queued, busy) = ((CounterId::QUEUED, 1), (CounterId::BUSY, 500));
        let counters = CounterValues::from([(CounterId::EXECUTED, executed), queued, busy]);
        ComponentCounts { id: id.into(), counters, ..ComponentCounts::default() }
    }

    #[test]
    fn changes_lead_from_one_list_to_the_other() {
        let check = |before: &[(u64, u64)], after: &[(u64, u64)], expected: &[(u64, u64)]| {
            assert_eq!(changes(before, after), expected);
            assert_eq!(changed(before, expected), after);
        };
        check(&[], &[], &[]);
        check(&[], &[(1, 1)], &[(1, 1)]);
        check(&[(1, 1), (3, 1)], &[(1, 1), (3, 1)], &[]);
        check(
            &[(1, 1), (3, 1), (9, 2)],
            &[(0, 1), (1, 1), (3, 2), (5, 1), (9, 2)],
            &[(0, 1), (3, 2), (5, 1)],
        );
    }

    #[test]
    fn percentiles_are_those_of_all_messages() {
        let of = |latencies: &[(u64, u64)]| WorkerStats {
            latencies: latencies.to_vec(),
            ..WorkerStats::default()
        };
        let mut sum = of(&[(1000, 98)]);
        sum.add(&of(&[(1_000_000, 2)]));
        let latency = stats_of_all(&sum, &[], Duration::from_secs(1)).complete_latency;
        assert_eq!(latency.count, 100);
        let near = |time: Duration, nanos: u64| {
            time.as_nanos().abs_diff(u128::from(nanos)) <= u128::from(nanos / 500)
        };
        assert!(
            near(latency.p50, 1000) && near(latency.p99, 1_000_000) && near(latency.max, 1_000_000),
            "{latency:?}"
        );
    }

    #[test]
    fn workers_add_up_by_component() {
        let mut sum = WorkerStats { components: vec![counts("a", 3)], ..WorkerStats::default() };
        let mut other =
            WorkerStats { components: vec![counts("b", 5), counts("a", 4)], ..WorkerStats::default() };
        other.components[1].last_error = Some("task 2: no".to_owned());
        other.total.set(CounterId::replayed(FailureCause::Lost), 7);
        sum.add(&other);
        sum.add(&WorkerStats { components: vec![counts("a", 0)], ..WorkerStats::default() });
        let shape = |id: &str, executors| ComponentShape {
            id: id.into(),
            is_spout: false,
            tasks: 4,
            chained_behind: None,
            executors,
        };
        let shapes = [shape("a", 3), shape("b", 1), shape("nowhere", 1)];
        let stats = stats_of_all(&sum, &shapes, Duration::from_nanos(1000));
        let of: Vec<_> = stats.components.iter().map(|c| (&*c.id, c.executed, c.queued, c.busy)).collect();
        assert_eq!(of, [("a", 7, 3, 0.5), ("b", 5, 1, 0.5), ("nowhere", 0, 0, 0.0)]);
        assert_eq!(stats.components[0].last_error.as_deref(), Some("task 2: no"));
        assert_eq!((stats.replayed, stats.replays.of(FailureCause::Lost)), (7, 7));
    }

    /// What a worker reports when these executors of a spout and of a bolt run in it.
    fn report(spout: &[Gauges], bolt: &[Gauges]) -> WorkerStats {
        let stats = |id: &str, is_spout, gauges: &[Gauges]| {
            let shape = ComponentShape {
                id: id.into(),
                is_spout,
                tasks: 1,
                chained_behind: None,
                executors: gauges.len(),
            };
            component_stats(shape, counted(gauges.iter()), None, MetricTotals::default(), Duration::ZERO)
        };
        let components = vec![stats("spout", true, spout), stats("bolt", false, bolt)];
        let total = total_of(&components);
        let stats = TopologyStats { components, ..topology_stats(total, Duration::ZERO) };
        let message = control::line(&FromWorker::Stats(Box::new(WorkerStats::new(0, stats, Vec::new()))));
        match control::parse(&message).unwrap() {
            FromWorker::Stats(stats) => *stats,
            other => panic!("{other:?}"),
        }
    }

    /// A counter that was forgotten on the way was 0 in the summary of a run with workers. Each counter has
    /// its own numbers, so none can be taken for another.
    #[test]
    fn each_counter_reaches_the_totals() {
        let number = |counter: CounterId| 10 + counter.index() as i64;
        let gauges = |of_each: i64| {
            let gauges = Gauges::new();
            CounterId::all().for_each(|counter| gauges.change(counter, of_each * number(counter)));
            gauges
        };
        let mut sum = WorkerStats::default();
        sum.add(&report(&[gauges(1), gauges(2)], &[gauges(4)]));
        sum.add(&report(&[gauges(8)], &[gauges(16), gauges(32)]));
        let shape = |id: &str, is_spout| ComponentShape {
            id: id.into(),
            is_spout,
            tasks: 1,
            chained_behind: None,
            executors: 3,
        };
        let shapes = [shape("spout", true), shape("bolt", false)];
        let TopologyStats { counters, components, .. } = stats_of_all(&sum, &shapes, Duration::ZERO);
        for counter in CounterId::all() {
            let CounterInfo { name, is_of_messages, kind, .. } = *counter.info();
            if kind == CounterKind::EventTime {
                // The earliest of all.
                assert_eq!(components[0].counters.get(counter), number(counter), "{name} of the spout");
                assert_eq!(components[1].counters.get(counter), 4 * number(counter), "{name} of the bolt");
                assert_eq!(counters.get(counter), number(counter), "{name}");
                continue;
            }
            assert_eq!(components[0].counters.get(counter), 11 * number(counter), "{name} of the spout");
            assert_eq!(components[1].counters.get(counter), 52 * number(counter), "{name} of the bolt");
            let all = if is_of_messages { 11 } else { 63 };
            assert_eq!(counters.get(counter), all * number(counter), "{name}");
        }
    }

    #[test]
    fn the_dead_have_nothing_in_hand() {
        let mut stats = WorkerStats {
            total: CounterValues::from([
                (CounterId::EMITTED, 5),
                (CounterId::PENDING, 1),
                (CounterId::UNREPLAYED, 4),
                (CounterId::GIVEN_UP, 1),
            ]),
            live_spouts: 1,
            components: vec![counts("a", 3)],
            ..WorkerStats::default()
        };
        let metrics = &mut stats.components[0].metrics;
        metrics.add(&"seen".into(), &MetricValue::Loss(7));
        metrics.add(&"open".into(), &MetricValue::Gauge(2));
        assert_eq!(stats.drop_open(), 4, "the pending one, and three that waited to be emitted again");
        let metrics = &stats.components[0].metrics;
        assert_eq!((metrics.losses(), metrics.get("open")), (7, None), "a gauge is of the living");
        let messages = stats.messages();
        assert_eq!((messages.emitted, messages.pending, messages.failed, stats.live_spouts), (1, 0, 1, 0));
        let counters = &stats.components[0].counters;
        assert_eq!((counters.get(CounterId::EXECUTED), counters.get(CounterId::QUEUED)), (3, 0));
    }
}
