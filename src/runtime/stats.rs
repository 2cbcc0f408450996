//! What a running topology says about itself.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::api::{ComponentInfo, FailureCause};
use crate::clock::Time;
use crate::ids::TaskId;
use crate::runtime::queue::Gauges;
use crate::runtime::worker::Worker;
use crate::topology::graph::Component;

/// Counters of one component, summed over its tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComponentStats {
    /// Its id.
    pub id: SmolStr,
    /// Whether it is a spout.
    pub is_spout: bool,
    /// Tasks.
    pub tasks: usize,
    /// Tuples emitted, over all its streams.
    pub emitted: u64,
    /// Tuple copies handed to targets (one per target task).
    pub transferred: u64,
    /// Tuples executed; for a bolt.
    pub executed: u64,
    /// Tuples acked; for a spout, messages acked.
    pub acked: u64,
    /// Tuples failed; for a spout, failures of messages.
    pub failed: u64,
    /// Errors that user code returned or panicked with.
    pub errors: u64,
    /// Times a task was built again after a panic.
    pub restarts: u64,
    /// Tuples waiting in its inboxes.
    pub queued: u64,
    /// How much of the time its tasks were executing, 0 to 1 per task, since the start.
    pub busy: f64,
    /// How much of the time its executors waited for credit downstream, 0 to 1, since the start.
    pub blocked: f64,
    /// The last error reported, with the task it came from.
    pub last_error: Option<String>,
}

/// Completion latency of messages: from the emit by the spout to the ack.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyStats {
    /// Messages measured.
    pub count: u64,
    /// Median.
    pub p50: Duration,
    /// 99 of 100 are at most this.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// Messages emitted again, by why they had failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayCounts([u64; FailureCause::ALL.len()]);

impl ReplayCounts {
    /// Because of this cause.
    pub fn of(&self, cause: FailureCause) -> u64 {
        self.0[cause.index()]
    }

    /// Because of this cause, to be changed.
    pub fn of_mut(&mut self, cause: FailureCause) -> &mut u64 {
        &mut self.0[cause.index()]
    }

    /// Whatever the cause.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &ReplayCounts) {
        self.0.iter_mut().zip(other.0).for_each(|(own, theirs)| *own += theirs);
    }
}

/// Why a run was ended by one of its components: the first error that waiting could not mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReason {
    /// The component.
    pub component: SmolStr,
    /// The task of it.
    pub task: TaskId,
    /// The error, bounded and escaped.
    pub error: String,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, task {}: {}", self.component, self.task, self.error)
    }
}

/// A snapshot of a topology.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopologyStats {
    /// Time since the start.
    pub elapsed: Duration,
    /// Messages that spouts emitted, replays not counted; untracked tuples of spouts count here.
    pub emitted: u64,
    /// Messages acked.
    pub acked: u64,
    /// Messages failed for good: they failed, were not emitted again and do not wait for it.
    pub failed: u64,
    /// Messages that failed and wait for their replay.
    pub waiting: u64,
    /// Tuples lost that no message stands for, so that nothing replays them: a bolt failed a tuple that
    /// was emitted without an anchor (in `tick` and `finish`, or where nothing is tracked), or a tuple
    /// was refused as it was emitted.
    pub failed_unanchored: u64,
    /// Failures of messages that had used up `max_replays`. The rest of `failed` may come again yet.
    pub given_up: u64,
    /// Messages emitted again after a failure.
    pub replayed: u64,
    /// The same by why they had failed.
    pub replays: ReplayCounts,
    /// Messages open.
    pub pending: u64,
    /// Tuples sent to dead-letter streams.
    pub dead_letters: u64,
    /// Completion latency of messages since the start.
    pub complete_latency: LatencyStats,
    /// Per component, in the order of the topology; the system's own come last.
    pub components: Vec<ComponentStats>,
    /// Whether the topology has ended.
    pub ended: bool,
    /// Whether the end was cut short by a deadline or a kill, so that work may be undone.
    pub cut_short: bool,
    /// Why it was ended, if a component returned an error that waiting cannot mend.
    pub stopped: Option<StopReason>,
}

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

    /// Completion latencies: nanoseconds, and how many messages took so long; rising.
    pub fn latency_counts(&self) -> Vec<(u64, u64)> {
        let histogram = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
    }

    /// Sums what the executors show of themselves.
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
        for info in self.components.iter() {
            let component = self.component_stats(info, elapsed);
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
        self.slots().filter(move |slot| slot.component == component).map(|slot| &*slot.address.gauges)
    }

    fn sum(&self, component: &str, of: impl Fn(&Gauges) -> u64) -> u64 {
        self.gauges_of(component).map(of).sum()
    }

    fn sum_signed(&self, component: &str, of: impl Fn(&Gauges) -> i64) -> u64 {
        self.gauges_of(component).map(of).sum::<i64>().max(0) as u64
    }

    fn component_stats(&self, info: &ComponentInfo, elapsed: Duration) -> ComponentStats {
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
