//! The counters of a link's credit, and the rule that decides which release wakes a waiting producer.
//!
//! ```text
//!   producer ── charge ─▶ tuples, bytes ◀── release ── consumer
//!       └── wait ──────────▶ waited ◀──── half is back: look, and wake the producer if it is set
//! ```
//!
//! 1. A producer that found no credit calls [`Credit::wait`], then looks at the counters once more, and
//!    sleeps only if there is still no credit. A release lowers the counters before it reads `waited`.
//!    Every access is sequentially consistent, so either the producer sees the credit, or the release
//!    sees that the producer waits.
//! 2. The release that clears `waited` wakes the producer. So each wait causes at most one wake.
//! 3. A release lowers both counters before it reads either. So if several releases run at the same time,
//!    the last one to lower a counter sees the sum of all, and cannot miss that half of the credit is back.
//! 4. Only what was charged is released, once: the counters never go below zero.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/runtime_models.rs`): hence `super::sync`, and nothing else from the crate.

use super::sync::{AtomicBool, AtomicUsize, Ordering};

/// Credit in tuples and bytes, with a reserve in bytes beyond it.
#[derive(Debug)]
pub struct Credit {
    /// Tuples that may be on their way.
    pub tuples_max: usize,
    /// Bytes that may be on their way.
    pub bytes_max: usize,
    /// Bytes that may be on their way on a link that may use the reserve.
    reserve: usize,
    /// Tuples on their way.
    tuples: AtomicUsize,
    /// Bytes on their way.
    bytes: AtomicUsize,
    /// Set by a producer that waits for credit, cleared by the release that wakes it.
    waited: AtomicBool,
}

impl Credit {
    /// With all its credit: `tuples_max` and `bytes_max`, or `reserve` bytes if the reserve may be used.
    pub fn new(tuples_max: usize, bytes_max: usize, reserve: usize) -> Credit {
        let (tuples, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Credit { tuples_max, bytes_max, reserve, tuples, bytes, waited: AtomicBool::new(false) }
    }

    /// Takes credit for a batch, even if there is none left.
    #[inline]
    pub fn charge(&self, tuples: usize, bytes: usize) {
        self.tuples.fetch_add(tuples, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Gives credit back; returns whether the producer waits for it and must be woken.
    ///
    /// # Panics
    /// When more is given back than was taken.
    #[inline]
    #[must_use]
    pub fn release(&self, tuples: usize, bytes: usize) -> bool {
        let tuples_before = self.tuples.fetch_sub(tuples, Ordering::SeqCst);
        let bytes_before = self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        assert!(tuples_before >= tuples && bytes_before >= bytes, "more credit was released than charged");
        // Read again, and not computed: another release may have run between the two subtractions.
        let half_back = self.tuples.load(Ordering::SeqCst) <= self.tuples_max / 2
            && self.bytes.load(Ordering::SeqCst) <= self.bytes_max / 2;
        let half_reserve = self.reserve / 2;
        let reserve_back = bytes_before > half_reserve && bytes_before - bytes <= half_reserve;
        // The load saves the exchange if nobody waits.
        (half_back || reserve_back)
            && self.waited.load(Ordering::SeqCst)
            && self.waited.swap(false, Ordering::SeqCst)
    }

    /// Whether there is credit left.
    #[inline]
    pub fn has_credit(&self) -> bool {
        self.tuples.load(Ordering::SeqCst) < self.tuples_max
            && self.bytes.load(Ordering::SeqCst) < self.bytes_max
    }

    /// Whether there is credit left if the reserve may be used.
    #[inline]
    pub fn has_reserve(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) < self.reserve
    }

    /// Notes that the producer waits. The producer must look at the credit once more before it sleeps.
    #[inline]
    pub fn wait(&self) {
        self.waited.store(true, Ordering::SeqCst);
    }

    /// Tuples on their way.
    #[inline]
    pub fn in_flight(&self) -> usize {
        // Relaxed: for statistics.
        self.tuples.load(Ordering::Relaxed)
    }
}
