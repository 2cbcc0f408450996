//! What an executor publishes for other threads: counters, and how long its input has waited.

mod sync;
mod waiting_since;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use waiting_since::{NOTHING_WAITS, WaitingSince};

use crate::api::{CounterId, CounterValues, FailureCause};
use crate::clock::Time;

const _: () = assert!(NOTHING_WAITS == Time::NEVER.0, "Time::NEVER must mean that nothing waits");

/// What an executor publishes. The executor itself writes these fields, unless a field names another
/// writer. All are statistics except `waiting_since`, `pending` and `held`.
#[derive(Debug, Default)]
pub struct Gauges {
    /// When the batch in hand, or the oldest batch that waits, was sent. Also set by a producer that puts
    /// a batch into an empty inbox. Read by spouts: if it is too long ago, their tree clocks stand still.
    pub waiting_since: WaitingSince,
    /// Tuples emitted.
    pub emitted: AtomicU64,
    /// Copies sent to targets.
    pub transferred: AtomicU64,
    /// Tuples executed.
    pub executed: AtomicU64,
    /// Tuples or messages acked.
    pub acked: AtomicU64,
    /// Tuples or messages failed.
    pub failed: AtomicU64,
    /// Messages emitted again, by the cause of their failure, in the order of [`FailureCause::ALL`].
    pub replayed: [AtomicU64; FailureCause::ALL.len()],
    /// Open messages. The coordinator reads it to decide whether the topology can end.
    pub pending: AtomicI64,
    /// Messages that failed and were not emitted again, including those that wait for their replay.
    pub lost: AtomicI64,
    /// Failed messages that wait for their replay.
    pub waiting: AtomicI64,
    /// Lost tuples that belong to no message: failed without an anchor, or refused when emitted.
    pub failed_unanchored: AtomicU64,
    /// Failures of messages that had used up `max_replays`.
    pub given_up: AtomicU64,
    /// Tuples held by bolts. The coordinator reads it to decide which executors get `Finish` at the end.
    pub held: AtomicI64,
    /// Tuples sent to the dead-letter stream.
    pub dead_letters: AtomicU64,
    /// Errors of user code.
    pub errors: AtomicU64,
    /// Tasks built again.
    pub restarts: AtomicU64,
    /// Tuples in the inbox. Added to by producers.
    pub queued: AtomicI64,
    /// Nanoseconds in user code.
    pub busy: AtomicU64,
    /// Nanoseconds without credit downstream.
    pub blocked: AtomicU64,
    /// The last error, with its task.
    pub last_error: Mutex<Option<String>>,
}

impl Gauges {
    /// Of an executor that has done nothing yet.
    pub fn new() -> Gauges {
        Gauges::default()
    }

    /// For how long the batch in hand, or the oldest batch that waits, has been waiting.
    pub fn waiting(&self, now: Time) -> Duration {
        match self.waiting_since.get() {
            NOTHING_WAITS => Duration::ZERO,
            since => now.since(Time(since)),
        }
    }

    /// All counters at this moment.
    pub fn counters(&self) -> CounterValues {
        let sum = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as i64;
        let level = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
        let mut values = CounterValues::from([
            (CounterId::EMITTED, sum(&self.emitted)),
            (CounterId::TRANSFERRED, sum(&self.transferred)),
            (CounterId::EXECUTED, sum(&self.executed)),
            (CounterId::ACKED, sum(&self.acked)),
            (CounterId::FAILED, sum(&self.failed)),
            (CounterId::ERRORS, sum(&self.errors)),
            (CounterId::RESTARTS, sum(&self.restarts)),
            (CounterId::QUEUED, level(&self.queued)),
            (CounterId::BUSY, sum(&self.busy)),
            (CounterId::BLOCKED, sum(&self.blocked)),
            (CounterId::DEAD_LETTERS, sum(&self.dead_letters)),
            (CounterId::FAILED_UNANCHORED, sum(&self.failed_unanchored)),
            (CounterId::WAITING, level(&self.waiting)),
            (CounterId::UNREPLAYED, level(&self.lost)),
            (CounterId::GIVEN_UP, sum(&self.given_up)),
            (CounterId::HELD, level(&self.held)),
            (CounterId::PENDING, level(&self.pending)),
        ]);
        for cause in FailureCause::ALL {
            values.set(CounterId::replayed(cause), sum(&self.replayed[cause.index()]));
        }
        values
    }

    /// Notes an error for display.
    pub fn set_last_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Adds to a statistic.
pub fn count(counter: &AtomicU64, n: u64) {
    // Relaxed: statistics order nothing.
    if n > 0 {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
