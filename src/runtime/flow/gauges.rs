//! What an executor publishes for other threads: counters, and how long its input has waited.

mod sync;
mod waiting_since;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use waiting_since::{NOTHING_WAITS, WaitingSince};

use crate::api::{COUNTERS, CounterId, CounterValues};
use crate::clock::Time;

const _: () = assert!(NOTHING_WAITS == Time::NEVER.0, "Time::NEVER must mean that nothing waits");

/// What an executor publishes. The executor itself writes its counters, except `queued`, which its
/// producers write, too. All are statistics except `waiting_since`, and the levels that are written by
/// [`Gauges::publish`].
#[derive(Debug)]
pub struct Gauges {
    /// When the batch in hand, or the oldest batch that waits, was sent. Also set by a producer that puts
    /// a batch into an empty inbox. Read by spouts: if it is too long ago, their tree clocks stand still.
    pub waiting_since: WaitingSince,
    /// One for each row of [`COUNTERS`].
    counters: [AtomicI64; COUNTERS.len()],
    /// The last error, with its task.
    pub last_error: Mutex<Option<String>>,
}

impl Gauges {
    /// Of an executor that has done nothing yet.
    pub fn new() -> Gauges {
        Gauges {
            waiting_since: WaitingSince::default(),
            counters: [const { AtomicI64::new(0) }; COUNTERS.len()],
            last_error: Mutex::default(),
        }
    }

    /// For how long the batch in hand, or the oldest batch that waits, has been waiting.
    pub fn waiting(&self, now: Time) -> Duration {
        match self.waiting_since.get() {
            NOTHING_WAITS => Duration::ZERO,
            since => now.since(Time(since)),
        }
    }

    /// Adds to a counter.
    #[inline]
    pub fn count(&self, counter: CounterId, n: u64) {
        if n > 0 {
            self.change(counter, n as i64);
        }
    }

    /// Adds to a counter that may fall.
    #[inline]
    pub fn change(&self, counter: CounterId, by: i64) {
        // Relaxed: statistics order nothing.
        self.counters[counter.index()].fetch_add(by, Ordering::Relaxed);
    }

    /// Sets a counter.
    #[inline]
    pub fn set(&self, counter: CounterId, value: i64) {
        // Relaxed: statistics order nothing.
        self.counters[counter.index()].store(value, Ordering::Relaxed);
    }

    /// Sets a counter that the coordinator reads: `pending` or `held`.
    #[inline]
    pub fn publish(&self, counter: CounterId, value: i64) {
        // SeqCst: stored before the executor counts what it processed as no longer outstanding. So a
        // coordinator that sees a worker at rest reads the value of the last step.
        self.counters[counter.index()].store(value, Ordering::SeqCst);
    }

    /// The value that was [published](Gauges::publish) last.
    pub fn published(&self, counter: CounterId) -> i64 {
        // SeqCst: read after the count of what is outstanding; see `publish`.
        self.counters[counter.index()].load(Ordering::SeqCst)
    }

    /// All counters. Each is read at a moment of its own.
    pub fn counters(&self) -> CounterValues {
        CounterValues::of(|counter| self.counters[counter.index()].load(Ordering::Relaxed))
    }

    /// Notes an error for display.
    pub fn set_last_error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl Default for Gauges {
    fn default() -> Gauges {
        Gauges::new()
    }
}
