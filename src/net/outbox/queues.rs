//! The queues between the threads that send and the one that writes, and who wakes whom.
//!
//! ```text
//!   executor ── push ─▶ queue of the peer ─▶ take ── poller
//!        └── the poller's state: something was pushed; if the poller waits for that: wake it
//! ```
//!
//! Waking the poller is a system call, so nobody does it for a poller that is at work: it looks again
//! before it sleeps. Nor for one that lingers, which will look by itself very soon: then what several
//! executors push in the meantime is one write. Only what is urgent ends that wait; a queue with
//! [`MUCH`] is. The state is one atomic that both sides change by read-modify-write only:
//!
//! 1. Who pushes, puts the item first and then sets `DIRTY`, and `URGENT` if it is. Who is the first
//!    to set `DIRTY` of a poller `ASLEEP`, or `URGENT` of one that is `LINGERING`, wakes it: one wake
//!    for each wait at most.
//! 2. The poller clears the state before it looks into the queues, so what it does not find there
//!    will be announced again.
//! 3. It sleeps only if it can turn the cleared state into `ASLEEP`, and lingers only if nothing is
//!    `URGENT`. After that the push that should, wakes it.
//! 4. What is in a queue when it is taken, is taken; a push that comes later is in the next take.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/net_models.rs`): hence `super::sync`, and nothing else from the crate.

use super::sync::{AtomicU8, AtomicU64, Mutex, Ordering, PoisonError};

/// Something was pushed since the poller looked.
const DIRTY: u8 = 1;
/// Something was pushed since the poller looked that should not wait.
const URGENT: u8 = 2;
/// The poller waits to be woken.
const ASLEEP: u8 = 4;
/// The poller waits for a short time, and to be woken for what is urgent.
const LINGERING: u8 = 8;

/// So many bytes for a peer are a good write by themselves: more of them are not worth a wait.
pub const MUCH: u64 = 32 << 10;

/// What the time of the oldest item is when there is none.
const NO_TIME: u64 = u64::MAX;

/// A queue for each peer, and the state of the poller.
pub struct Queues<T> {
    peers: Box<[Queue<T>]>,
    /// Bits. Pushers set `DIRTY` and `URGENT`; the poller sets the other two and clears all.
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
        Queues { peers: (0..peers).map(|_| queue()).collect(), poller: AtomicU8::new(0) }
    }

    /// Peers.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Puts an item of so many bytes (1 at least) into the queue of a peer.
    pub fn push(&self, peer: usize, item: T, bytes: u64, sent_at: u64) -> Wake {
        let queue = &self.peers[peer];
        let queued = {
            let mut items = queue.items.lock().unwrap_or_else(PoisonError::into_inner);
            if items.is_empty() {
                queue.oldest.store(sent_at, Ordering::Relaxed);
            }
            items.push(item);
            // Relaxed: the announcement publishes it to the poller, others only show it.
            queue.bytes.fetch_add(bytes.max(1), Ordering::Relaxed) + bytes.max(1)
        };
        self.announce(queued >= MUCH)
    }

    /// Says that the poller has something to look for, here or elsewhere.
    pub fn announce(&self, is_urgent: bool) -> Wake {
        let said = if is_urgent { DIRTY | URGENT } else { DIRTY };
        // Release, so that the poller, which acquires this, finds what was put down before; acquire,
        // so that a wait that this ends is a wait that has begun.
        let before = self.poller.fetch_or(said, Ordering::AcqRel);
        let is_first = |of: u8| said & of != 0 && before & of == 0;
        let ends_sleep = before & ASLEEP != 0 && is_first(DIRTY);
        let ends_lingering = before & LINGERING != 0 && is_first(URGENT);
        if ends_sleep || ends_lingering { Wake::Needed } else { Wake::NotNeeded }
    }

    /// Whether anything was pushed since the last look. The poller calls it before it takes.
    pub fn look(&self) -> bool {
        self.poller.swap(0, Ordering::AcqRel) & DIRTY != 0
    }

    /// Whether anything was pushed since the last look that should not wait.
    pub fn is_urgent(&self) -> bool {
        self.poller.load(Ordering::Relaxed) & URGENT != 0
    }

    /// Asks, as the last thing before a short wait, whether the poller may wait. `false`: there is
    /// something urgent. What else there is, the poller must look for when it has waited.
    pub fn linger(&self) -> bool {
        let lingering = |state: u8| (state & URGENT == 0).then_some(state | LINGERING);
        self.poller.fetch_update(Ordering::AcqRel, Ordering::Acquire, lingering).is_ok()
    }

    /// Asks, as the last thing before waiting, whether the poller may wait. `false`: something was
    /// pushed since the last look.
    pub fn fall_asleep(&self) -> bool {
        self.poller.compare_exchange(0, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
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
