//! Since when the input of an executor has been waiting. The executor and its producers write it.
//!
//! ```text
//!   producer ── put the batch into the lane ─▶ note its time, if none is noted ─▶ wake the executor
//!   executor ── no batch in hand or in a lane: note that none waits ─▶ look into the lanes once more
//! ```
//!
//! 1. A batch that lies in a lane has a time noted. The producer notes one after the batch is in the
//!    lane, and the executor looks into the lanes after it noted that nothing waits. So the executor
//!    finds the batch, or the producer finds that no time is noted.
//! 2. A producer may be so late that the executor has processed its batch already; then a time is noted
//!    though nothing waits. The producer wakes the executor after this, and a step that finds nothing
//!    notes so.
//! 3. While a batch is in hand, its own time is noted: a producer changes none that is noted.
//!
//! Times are nanoseconds, as in `clock::Time`. This file is compiled a second time with the types of
//! loom, which tries all interleavings (`tests/runtime_models.rs`): hence `super::sync`, and nothing else
//! from the crate.

use super::sync::{AtomicU64, Ordering};

/// The time that is noted when nothing waits.
pub const NOTHING_WAITS: u64 = u64::MAX;

/// When the batch in hand, or the oldest that waits, was sent.
#[derive(Debug)]
pub struct WaitingSince(AtomicU64);

impl Default for WaitingSince {
    fn default() -> WaitingSince {
        WaitingSince(AtomicU64::new(NOTHING_WAITS))
    }
}

impl WaitingSince {
    /// The time that is noted, or [`NOTHING_WAITS`].
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Overwrites the time. Called by the executor when it takes a batch, and by the ingress for what
    /// another worker reports about its executors.
    #[inline]
    pub fn set(&self, since: u64) {
        self.0.store(since, Ordering::SeqCst);
    }

    /// For a producer: puts a batch into a lane, and notes its time if no time is noted. The producer must
    /// wake the executor after this.
    #[inline]
    pub fn put(&self, sent_at: u64, put: impl FnOnce()) {
        put();
        // After the batch is in the lane: see the first rule.
        let _ = self.0.compare_exchange(NOTHING_WAITS, sent_at, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// For the executor, when no batch is in hand and none was in the lanes when it looked.
    #[inline]
    pub fn note_empty(&self, now: u64, is_empty: impl FnOnce() -> bool) {
        self.0.store(NOTHING_WAITS, Ordering::SeqCst);
        // A batch that arrived between the executor's look and the store would be missed, so look again.
        if !is_empty() {
            self.0.store(now, Ordering::SeqCst);
        }
    }
}
