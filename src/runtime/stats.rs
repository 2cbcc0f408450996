//! What a running topology says about itself.

use std::time::Duration;

use smol_str::SmolStr;

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

/// A snapshot of a topology.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopologyStats {
    /// Time since the start.
    pub elapsed: Duration,
    /// Messages that spouts emitted, replays not counted; untracked tuples of spouts count here.
    pub emitted: u64,
    /// Messages acked.
    pub acked: u64,
    /// Messages failed for good: they failed and were not emitted again.
    pub failed: u64,
    /// Messages emitted again after a failure.
    pub replayed: u64,
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
}
