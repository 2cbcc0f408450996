//! Counts what is outstanding in a worker, and decides who wakes the coordinator when the worker comes to
//! rest.
//!
//! 1. `outstanding` counts every data batch, message of ack records and message of outcomes. It counts
//!    them from before they are sent until the step that processed them has sent everything that followed
//!    from them. So while anything is on its way, `outstanding` is above zero.
//! 2. `live_spouts` counts spout executors that may still emit. If both counts are zero, the worker is *at
//!    rest*: only time-outs, replays and the coordinator can cause new tuples. A spout leaves this count
//!    only after its last tuples were counted as outstanding. It is counted again before the message that
//!    revived it counts as processed.
//! 3. The thread that brings `outstanding` to zero while no spout is live wakes the coordinator. A spout
//!    executor wakes it whenever it changes `live_spouts`. Every access is sequentially consistent, so the
//!    last of them sees the other count at zero, or the coordinator sees both at zero when it is woken.
//! 4. [`Rest::is_at_rest`] reads one count after the other. Between the two reads, a message may revive a
//!    spout and be processed, so that both reads find zero. But such a message raises `activity` before it
//!    leaves `outstanding`. Therefore `activity` is read before and after, and must be unchanged.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/runtime_models.rs`): hence `super::sync`, and nothing else from the crate.

use super::sync::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// The counts of a worker that decide whether it is at rest.
#[derive(Debug, Default)]
pub struct Rest {
    /// Batches and tree messages that were sent, or are about to be, and were not processed yet.
    outstanding: AtomicI64,
    /// Spout executors that may still emit.
    live_spouts: AtomicUsize,
    /// Grows with every step that processed something, so that a change between two reads is noticed.
    activity: AtomicU64,
}

impl Rest {
    /// Counts a message that is about to be sent.
    #[inline]
    pub fn sending(&self) {
        // SeqCst: counted before it can be processed, so that the count does not reach 0 too early.
        self.outstanding.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that a batch that was counted is not sent after all. This wakes nobody. It happens only to
    /// batches for other workers, and with several workers the master asks for their rest at intervals.
    #[inline]
    pub fn not_sent(&self) {
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
    }

    /// Notes that this many messages were processed, and that everything which followed from them was sent.
    /// Returns whether nothing is outstanding now and no spout can emit: then the caller must wake the
    /// coordinator.
    #[inline]
    #[must_use]
    pub fn processed(&self, messages: i64) -> bool {
        // SeqCst, and before the count is lowered: a thread that sees the lower count sees this, too.
        self.activity.fetch_add(1, Ordering::SeqCst);
        let left = self.outstanding.fetch_sub(messages, Ordering::SeqCst) - messages;
        debug_assert!(left >= 0, "more messages were processed than sent");
        left == 0 && self.live_spouts.load(Ordering::SeqCst) == 0
    }

    /// Counts a spout executor that may emit from now on. The coordinator must be woken after this.
    pub fn count_live_spout(&self) {
        self.live_spouts.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that a spout executor emits nothing more, unless it is revived. The coordinator must be
    /// woken after this.
    pub fn spout_rests(&self) {
        self.live_spouts.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether nothing is outstanding and no spout can emit.
    pub fn is_at_rest(&self) -> bool {
        let activity = self.activity();
        // The spouts first: what a spout emitted was counted before the spout left `live_spouts`.
        self.live_spouts.load(Ordering::SeqCst) == 0
            && self.outstanding.load(Ordering::SeqCst) == 0
            && self.activity() == activity
    }

    /// Whether anything is on its way.
    pub fn has_outstanding(&self) -> bool {
        self.outstanding.load(Ordering::SeqCst) != 0
    }

    /// Spout executors that may still emit.
    pub fn live_spouts(&self) -> usize {
        self.live_spouts.load(Ordering::SeqCst)
    }

    /// If this is equal at two times at rest, nothing was processed in between.
    pub fn activity(&self) -> u64 {
        self.activity.load(Ordering::SeqCst)
    }
}
