//! The counters of all workers as those of one topology.
//!
//! 1. The counters of a dead worker still count. `master::counts` decides how the messages that it had
//!    open are counted.
//! 2. Latencies are sent as the number of times each value was seen. So percentiles are computed over all
//!    messages, and are not means of percentiles.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::metrics::{Distribution, MetricTotals, distribution_of, merge_counts};
use crate::runtime::{ComponentStats, ComponentTimes, LatencyStats, ReplayCounts, TopologyStats};

/// Bytes of an error text in a message that would be too large otherwise.
const TEXT_MAX: usize = 1 << 10;

/// What one worker counts, since it was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// As [`TopologyStats::emitted`].
    pub emitted: u64,
    /// As [`TopologyStats::acked`].
    pub acked: u64,
    /// As [`TopologyStats::failed`].
    pub failed: u64,
    /// As [`TopologyStats::waiting`].
    pub waiting: u64,
    /// As [`TopologyStats::failed_unanchored`].
    pub failed_unanchored: u64,
    /// As [`TopologyStats::given_up`].
    pub given_up: u64,
    /// As [`TopologyStats::pending`].
    pub pending: u64,
    /// Spout executors that may still emit. Read before the counters: if it is 0, no message was
    /// emitted after them but replays.
    pub live_spouts: u64,
    /// As [`TopologyStats::dead_letters`].
    pub dead_letters: u64,
    /// As [`TopologyStats::replays`]; their sum is [`TopologyStats::replayed`].
    pub replays: ReplayCounts,
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
    /// As [`ComponentStats::emitted`].
    pub emitted: u64,
    /// As [`ComponentStats::transferred`].
    pub transferred: u64,
    /// As [`ComponentStats::executed`].
    pub executed: u64,
    /// As [`ComponentStats::acked`].
    pub acked: u64,
    /// As [`ComponentStats::failed`].
    pub failed: u64,
    /// As [`ComponentStats::errors`].
    pub errors: u64,
    /// As [`ComponentStats::restarts`].
    pub restarts: u64,
    /// As [`ComponentStats::queued`].
    pub queued: u64,
    /// Nanoseconds in user code, over all its executors.
    pub busy: u64,
    /// Nanoseconds without credit, over all its executors.
    pub blocked: u64,
    /// The last error.
    pub last_error: Option<String>,
    /// What its tasks registered, summed over them.
    pub metrics: MetricTotals,
}

impl WorkerStats {
    /// The counters of a worker, made from the statistics of its runtime.
    pub fn new(
        live_spouts: u64,
        stats: TopologyStats,
        times: &[ComponentTimes],
        latencies: Vec<(u64, u64)>,
    ) -> WorkerStats {
        let time_of = |id: &SmolStr| times.iter().find(|times| times.id == *id).cloned().unwrap_or_default();
        let counts = |component: ComponentStats| {
            let ComponentTimes { busy, blocked, .. } = time_of(&component.id);
            ComponentCounts {
                emitted: component.emitted,
                transferred: component.transferred,
                executed: component.executed,
                acked: component.acked,
                failed: component.failed,
                errors: component.errors,
                restarts: component.restarts,
                queued: component.queued,
                busy,
                blocked,
                last_error: component.last_error,
                metrics: component.metrics,
                id: component.id,
            }
        };
        WorkerStats {
            emitted: stats.emitted,
            acked: stats.acked,
            failed: stats.failed,
            waiting: stats.waiting,
            failed_unanchored: stats.failed_unanchored,
            given_up: stats.given_up,
            pending: stats.pending,
            live_spouts,
            dead_letters: stats.dead_letters,
            replays: stats.replays,
            latencies,
            components: stats.components.into_iter().map(counts).collect(),
        }
    }

    /// Adds the counters of another incarnation or worker.
    pub fn add(&mut self, other: &WorkerStats) {
        self.emitted += other.emitted;
        self.acked += other.acked;
        self.failed += other.failed;
        self.waiting += other.waiting;
        self.failed_unanchored += other.failed_unanchored;
        self.given_up += other.given_up;
        self.pending += other.pending;
        self.live_spouts += other.live_spouts;
        self.dead_letters += other.dead_letters;
        self.replays.add(&other.replays);
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
    pub fn bury(&mut self) -> u64 {
        let failed_for_good = self.failed.min(self.given_up);
        let open = self.pending + self.waiting + self.failed - failed_for_good;
        self.pending = 0;
        self.failed = failed_for_good;
        self.waiting = 0;
        self.failed = failed_for_good;
        self.emitted = self.emitted.saturating_sub(open);
        self.live_spouts = 0;
        for component in &mut self.components {
            component.queued = 0;
            component.metrics.forget_gauges();
        }
        open
    }
}

impl ComponentCounts {
    fn add(&mut self, other: &ComponentCounts) {
        self.emitted += other.emitted;
        self.transferred += other.transferred;
        self.executed += other.executed;
        self.acked += other.acked;
        self.failed += other.failed;
        self.errors += other.errors;
        self.restarts += other.restarts;
        self.queued += other.queued;
        self.busy += other.busy;
        self.blocked += other.blocked;
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

/// A component as the plan knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentShape {
    /// Its id.
    pub id: SmolStr,
    /// Whether it is a spout.
    pub is_spout: bool,
    /// Tasks.
    pub tasks: usize,
    /// Executors.
    pub executors: usize,
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

/// What all workers counted, as the statistics of a topology with these components.
pub fn topology_stats(sum: &WorkerStats, shapes: &[ComponentShape], elapsed: Duration) -> TopologyStats {
    TopologyStats {
        elapsed,
        emitted: sum.emitted,
        acked: sum.acked,
        failed: sum.failed,
        waiting: sum.waiting,
        failed_unanchored: sum.failed_unanchored,
        given_up: sum.given_up,
        replayed: sum.replays.total(),
        replays: sum.replays,
        pending: sum.pending,
        dead_letters: sum.dead_letters,
        complete_latency: latency_stats(&sum.latencies),
        components: shapes.iter().map(|shape| component_stats(sum, shape, elapsed)).collect(),
        ..TopologyStats::default()
    }
}

fn component_stats(sum: &WorkerStats, shape: &ComponentShape, elapsed: Duration) -> ComponentStats {
    let none = ComponentCounts::default();
    let counts = sum.components.iter().find(|counts| counts.id == shape.id).unwrap_or(&none);
    let share =
        |nanos: u64| nanos as f64 / (elapsed.as_nanos().max(1) as f64 * shape.executors.max(1) as f64);
    ComponentStats {
        id: shape.id.clone(),
        is_spout: shape.is_spout,
        tasks: shape.tasks,
        emitted: counts.emitted,
        transferred: counts.transferred,
        executed: counts.executed,
        acked: counts.acked,
        failed: counts.failed,
        errors: counts.errors,
        restarts: counts.restarts,
        queued: counts.queued,
        busy: share(counts.busy),
        blocked: share(counts.blocked),
        last_error: counts.last_error.clone(),
        metrics: counts.metrics.clone(),
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
    use crate::api::FailureCause;
    use crate::metrics::MetricValue;

    fn counts(id: &str, executed: u64) -> ComponentCounts {
        ComponentCounts { id: id.into(), executed, queued: 1, busy: 500, ..ComponentCounts::default() }
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
        let latency = topology_stats(&sum, &[], Duration::from_secs(1)).complete_latency;
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
        *other.replays.of_mut(FailureCause::Lost) = 7;
        sum.add(&other);
        sum.add(&WorkerStats { components: vec![counts("a", 0)], ..WorkerStats::default() });
        let shape =
            |id: &str, executors| ComponentShape { id: id.into(), is_spout: false, tasks: 4, executors };
        let shapes = [shape("a", 3), shape("b", 1), shape("nowhere", 1)];
        let stats = topology_stats(&sum, &shapes, Duration::from_nanos(1000));
        let of: Vec<_> = stats.components.iter().map(|c| (&*c.id, c.executed, c.queued, c.busy)).collect();
        assert_eq!(of, [("a", 7, 3, 0.5), ("b", 5, 1, 0.5), ("nowhere", 0, 0, 0.0)]);
        assert_eq!(stats.components[0].last_error.as_deref(), Some("task 2: no"));
        assert_eq!((stats.replayed, stats.replays.of(FailureCause::Lost)), (7, 7));
    }

    #[test]
    fn the_dead_have_nothing_in_hand() {
        let mut stats = WorkerStats {
            emitted: 5,
            pending: 1,
            failed: 4,
            given_up: 1,
            live_spouts: 1,
            components: vec![counts("a", 3)],
            ..WorkerStats::default()
        };
        let metrics = &mut stats.components[0].metrics;
        metrics.add(&"seen".into(), &MetricValue::Loss(7));
        metrics.add(&"open".into(), &MetricValue::Gauge(2));
        assert_eq!(stats.bury(), 4, "the pending one, and three that waited to be emitted again");
        let metrics = &stats.components[0].metrics;
        assert_eq!((metrics.losses(), metrics.get("open")), (7, None), "a gauge is of the living");
        assert_eq!((stats.emitted, stats.pending, stats.failed, stats.live_spouts), (1, 0, 1, 0));
        assert_eq!((stats.components[0].executed, stats.components[0].queued), (3, 0));
    }
}
