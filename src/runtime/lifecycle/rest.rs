//! What is under way in a worker, and who has to wake the coordinator when it comes to rest.
//!
//! 1. `outstanding` counts every data batch, ack record and outcome from before it is sent until
//!    after the step that processed it has sent what came of it. So while anything is under way it
//!    is above zero, and zero is rest.
//! 2. `live_spouts` counts spout executors that may still emit. It and `outstanding` at zero
//!    together mean that only time-outs, replays and the coordinator can bring new tuples. A spout is
//!    taken off this count after what it emitted last was counted, and is counted again before the
//!    message that revived it counts as processed.
//! 3. Whoever brings `outstanding` to zero while no spout is live wakes the coordinator, and a spout
//!    executor wakes it whenever it changes `live_spouts`. Every access is sequentially consistent, so
//!    the last of them to come sees the other count at zero, or the coordinator does when it is woken.
//! 4. Whoever looks for rest looks at one count after the other. A message that is under way at the first
//!    look may revive a spout and be processed before the second look, and both looks find zero. But the
//!    message grows `activity` before it is taken off the count, so that is looked at before and after.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/runtime_models.rs`): hence `super::sync`, and nothing else from the crate.

use super::sync::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// The counts of a worker by which its rest is known.
#[derive(Debug, Default)]
pub struct Rest {
    /// Messages under way.
    outstanding: AtomicI64,
    /// Spout executors that may still emit.
    live_spouts: AtomicUsize,
    /// Grows with every step that processed messages: tells a pause from a standstill.
    activity: AtomicU64,
}

impl Rest {
    /// Counts a message that is about to be sent.
    #[inline]
    pub fn sending(&self) {
        // SeqCst: counted before it can be taken, so that the count never dips to 0 too early.
        self.outstanding.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that a message that was counted is not sent after all. This wakes nobody: it happens to batches
    /// for other workers alone, and with several workers the master asks for their rest at intervals.
    #[inline]
    pub fn not_sent(&self) {
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
    }

    /// Notes that so many messages are processed, and that all that came of them was sent; says whether
    /// that was the last and no spout can emit, so that the coordinator must be woken.
    #[inline]
    #[must_use]
    pub fn processed(&self, messages: i64) -> bool {
        // SeqCst, and before the count goes down: who sees rest sees that something came before it.
        self.activity.fetch_add(1, Ordering::SeqCst);
        let left = self.outstanding.fetch_sub(messages, Ordering::SeqCst) - messages;
        debug_assert!(left >= 0, "more messages were processed than sent");
        left == 0 && self.live_spouts.load(Ordering::SeqCst) == 0
    }

    /// Counts a spout executor that may emit from now on. The coordinator must be woken after this.
    pub fn spout_lives(&self) {
        self.live_spouts.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that a spout executor emits nothing more, unless it is revived. The coordinator must be
    /// woken after this.
    pub fn spout_rests(&self) {
        self.live_spouts.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether nothing is under way and no spout can emit.
    pub fn is_at_rest(&self) -> bool {
        let activity = self.activity();
        // The spouts first: what a spout emitted was counted before it was taken off the live ones.
        self.live_spouts.load(Ordering::SeqCst) == 0
            && self.outstanding.load(Ordering::SeqCst) == 0
            && self.activity() == activity
    }

    /// Spout executors that may still emit.
    pub fn live_spouts(&self) -> usize {
        self.live_spouts.load(Ordering::SeqCst)
    }

    /// Equal at two times at rest: nothing was processed between them.
    pub fn activity(&self) -> u64 {
        self.activity.load(Ordering::SeqCst)
    }
}
