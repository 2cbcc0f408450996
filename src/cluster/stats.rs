//! The counters of all workers as those of one topology.
//!
//! 1. Counters of a dead worker count on: the last it said are added to what its next life says. What
//!    it did after its last word, at most `worker.stats_interval` ago, is not known to anybody.
//! 2. What is now (messages pending, tuples queued) is of the living only.
//! 3. Latencies travel as how often each value was seen, so that percentiles are those of all
//!    messages, not means of percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::runtime::{ComponentStats, ComponentTimes, LatencyStats, ReplayCounts, TopologyStats};

/// What one worker counts, since it was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// As [`TopologyStats::emitted`].
    pub emitted: u64,
    /// As [`TopologyStats::acked`].
    pub acked: u64,
    /// As [`TopologyStats::failed`].
    pub failed: u64,
    /// As [`TopologyStats::pending`].
    pub pending: u64,
    /// As [`TopologyStats::dead_letters`].
    pub dead_letters: u64,
    /// As [`TopologyStats::replays`]; their sum is [`TopologyStats::replayed`].
    pub replays: ReplayCounts,
    /// Completion latencies: nanoseconds, and how many messages took so long. Rising.
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
}

impl WorkerStats {
    /// What a worker counts, from what its runtime says of its share.
    pub fn new(stats: TopologyStats, times: &[ComponentTimes], latencies: Vec<(u64, u64)>) -> WorkerStats {
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
                id: component.id,
            }
        };
        WorkerStats {
            emitted: stats.emitted,
            acked: stats.acked,
            failed: stats.failed,
            pending: stats.pending,
            dead_letters: stats.dead_letters,
            replays: stats.replays,
            latencies,
            components: stats.components.into_iter().map(counts).collect(),
        }
    }

    /// Adds what another life or worker counted.
    pub fn add(&mut self, other: &WorkerStats) {
        self.emitted += other.emitted;
        self.acked += other.acked;
        self.failed += other.failed;
        self.pending += other.pending;
        self.dead_letters += other.dead_letters;
        self.replays.add(&other.replays);
        self.latencies = merged(&self.latencies, &other.latencies);
        for counts in &other.components {
            match self.components.iter_mut().find(|own| own.id == counts.id) {
                Some(own) => own.add(counts),
                None => self.components.push(counts.clone()),
            }
        }
    }

    /// What remains of a worker that is dead: what it did, not what it had in hand.
    pub fn bury(&mut self) {
        self.pending = 0;
        self.components.iter_mut().for_each(|component| component.queued = 0);
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
    }
}

/// Two rising lists of values and how often they were seen, as one.
fn merged(left: &[(u64, u64)], right: &[(u64, u64)]) -> Vec<(u64, u64)> {
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
            Some(last) if last.0 == value => last.1 += count,
            _ => all.push((value, count)),
        }
    }
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
    /// Worker processes that are meant to be there.
    pub workers: u16,
    /// Those that are up: started, connected to the parent, and running.
    pub up: u16,
    /// How often a worker was started again.
    pub restarts: u64,
    /// Connections between workers that are meant to be there: one for each ordered pair.
    pub links: u32,
    /// Those that are up.
    pub links_up: u32,
}

/// What all workers counted, as the statistics of a topology with these components.
pub fn topology_stats(sum: &WorkerStats, shapes: &[ComponentShape], elapsed: Duration) -> TopologyStats {
    TopologyStats {
        elapsed,
        emitted: sum.emitted,
        acked: sum.acked,
        failed: sum.failed,
        replayed: sum.replays.total(),
        replays: sum.replays,
        pending: sum.pending,
        dead_letters: sum.dead_letters,
        complete_latency: latency_stats(&sum.latencies),
        components: shapes.iter().map(|shape| component_stats(sum, shape, elapsed)).collect(),
        ended: false,
        cut_short: false,
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
    }
}

fn latency_stats(latencies: &[(u64, u64)]) -> LatencyStats {
    let mut histogram = Histogram::<u64>::new(3).expect("three digits are possible");
    for (value, count) in latencies {
        // An auto-resizing histogram takes whatever fits 64 bits.
        let _ = histogram.record_n(*value, *count);
    }
    LatencyStats {
        count: histogram.len(),
        p50: Duration::from_nanos(histogram.value_at_quantile(0.50)),
        p99: Duration::from_nanos(histogram.value_at_quantile(0.99)),
        max: Duration::from_nanos(histogram.max()),
    }
}
