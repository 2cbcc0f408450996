//! The queues between the threads that send and the one that writes, and who wakes whom.
//!
//! ```text
//!   executor ── push ─▶ queue of the peer ─▶ take ── poller
//!        └── the poller's state: Clean ─▶ Dirty ◀─ Asleep: this push wakes it
//! ```
//!
//! Waking the poller is a system call, so nobody does it for a poller that is at work: it looks again
//! before it sleeps. The state is one atomic that both sides change by read-modify-write only:
//!
//! 1. Who pushes, puts the item first and then sets `Dirty`. If that replaces `Asleep`, the pusher
//!    wakes the poller: one wake for each sleep at most.
//! 2. The poller takes `Dirty` back to `Clean` before it looks into the queues, so what it does not
//!    find there will be announced again.
//! 3. It sleeps only if it can turn `Clean` into `Asleep`. After that every push wakes it.
//! 4. What is in a queue when it is taken, is taken; a push that comes later is in the next take.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/net_models.rs`): hence `super::sync`, and nothing else from the crate.

use super::sync::{AtomicU8, AtomicU64, Mutex, Ordering, PoisonError};

/// Nothing was pushed since the poller looked.
const CLEAN: u8 = 0;
/// Something was pushed since the poller looked.
const DIRTY: u8 = 1;
/// Nothing was pushed since the poller looked, and it waits to be woken.
const ASLEEP: u8 = 2;

/// What the time of the oldest item is when there is none.
const NO_TIME: u64 = u64::MAX;

/// A queue for each peer, and the state of the poller.
pub struct Queues<T> {
    peers: Box<[Queue<T>]>,
    /// `CLEAN`, `DIRTY` or `ASLEEP`. Pushers set `DIRTY`, the poller the other two.
    poller: AtomicU8,
}

struct Queue<T> {
    /// In the order of the pushes.
    items: Mutex<Vec<T>>,
    /// Bytes of `items`. Written under their lock; read without it, by the poller (0: nothing to
    /// take) and as a gauge.
    bytes: AtomicU64,
    /// When the first of `items` was sent. A gauge, written under their lock.
    oldest: AtomicU64,
}

/// Whether the one who pushed has to wake the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// It sleeps, and nobody else wakes it.
    Needed,
    /// It is awake, or is being woken.
    NotNeeded,
}

impl<T> Queues<T> {
    /// Empty queues for so many peers, and a poller that is awake.
    pub fn new(peers: usize) -> Queues<T> {
        let queue = || Queue {
            items: Mutex::new(Vec::new()),
            bytes: AtomicU64::new(0),
            oldest: AtomicU64::new(NO_TIME),
        };
        Queues { peers: (0..peers).map(|_| queue()).collect(), poller: AtomicU8::new(CLEAN) }
    }

    /// Peers.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Puts an item of so many bytes (1 at least) into the queue of a peer.
    pub fn push(&self, peer: usize, item: T, bytes: u64, sent_at: u64) -> Wake {
        let queue = &self.peers[peer];
        {
            let mut items = queue.items.lock().unwrap_or_else(PoisonError::into_inner);
            if items.is_empty() {
                queue.oldest.store(sent_at, Ordering::Relaxed);
            }
            items.push(item);
            // Relaxed: the announcement publishes it to the poller, others only show it.
            queue.bytes.fetch_add(bytes.max(1), Ordering::Relaxed);
        }
        self.announce()
    }

    /// Says that the poller has something to look for, here or elsewhere.
    pub fn announce(&self) -> Wake {
        // Release, so that the poller, which acquires this, finds what was put down before; acquire,
        // so that a sleep that this ends is a sleep that has begun.
        match self.poller.swap(DIRTY, Ordering::AcqRel) {
            ASLEEP => Wake::Needed,
            _ => Wake::NotNeeded,
        }
    }

    /// Whether anything was pushed since the last look. The poller calls it before it takes.
    pub fn look(&self) -> bool {
        self.poller.swap(CLEAN, Ordering::AcqRel) == DIRTY
    }

    /// Asks, as the last thing before waiting, whether the poller may wait. `false`: something was
    /// pushed since the last look.
    pub fn fall_asleep(&self) -> bool {
        self.poller.compare_exchange(CLEAN, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Moves all that is queued for a peer to `taken`, which is empty and keeps its room.
    pub fn take(&self, peer: usize, taken: &mut Vec<T>) {
        debug_assert!(taken.is_empty(), "what was taken before would stand in the queue again");
        let queue = &self.peers[peer];
        // What a look announced is seen here, because the look acquired it.
        if queue.bytes.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut items = queue.items.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *items, taken);
        queue.bytes.store(0, Ordering::Relaxed);
        queue.oldest.store(NO_TIME, Ordering::Relaxed);
    }

    /// Bytes that are queued for a peer.
    pub fn bytes(&self, peer: usize) -> u64 {
        self.peers[peer].bytes.load(Ordering::Relaxed)
    }

    /// When the first of what is queued for a peer was sent.
    pub fn oldest(&self, peer: usize) -> Option<u64> {
        Some(self.peers[peer].oldest.load(Ordering::Relaxed)).filter(|at| *at != NO_TIME)
    }
}
