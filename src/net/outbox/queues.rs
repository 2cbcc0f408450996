//! The queues from the threads of executors to the poller, and when a push wakes the poller.
//!
//! ```text
//!   executor ── push ─▶ queue of the peer ─▶ take ── poller
//!        └── set bits in the poller's state; if the poller waits for one of them, wake it
//! ```
//!
//! Waking the poller is a system call, so a push wakes it only when it must. A working poller needs no
//! wake: it checks the state before it sleeps. A poller that lingers, which means that it waits for the
//! short time of `net.linger`, needs none either, because it looks into the queues when that time is
//! over; what several executors push meanwhile goes out in one write. Only urgent pushes end that wait:
//! a queue that has reached [`MUCH`], and what the caller marks as urgent. The state is one atomic that
//! both sides change by read-modify-write only:
//!
//! 1. A pusher first puts its item into the queue, then sets `DIRTY`, and `URGENT` if that is so. The
//!    pusher that is the first to set `DIRTY` while the poller is `ASLEEP`, or `URGENT` while it is
//!    `LINGERING`, wakes the poller. So there is at most one wake for each wait.
//! 2. The poller clears the state before it looks into the queues. An item that it does not find there
//!    sets `DIRTY` again later.
//! 3. The poller sleeps only if it can change the state from 0 to `ASLEEP`, and lingers only if `URGENT`
//!    is not set. A push after that wakes it by rule 1.
//! 4. A take moves everything that is in the queue; a later push is in the next take.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/net_models.rs`). So it imports `super::sync` and nothing else from the crate.

use super::sync::{AtomicU8, AtomicU64, Mutex, Ordering, PoisonError};

/// Something was pushed since the poller last looked.
const DIRTY: u8 = 1;
/// Something urgent was pushed since the poller last looked.
const URGENT: u8 = 2;
/// The poller waits to be woken.
const ASLEEP: u8 = 4;
/// The poller waits for the time of `net.linger`; only an urgent push wakes it.
const LINGERING: u8 = 8;

/// A queue with at least this many bytes is urgent: they are worth a write without waiting for more.
pub const MUCH: u64 = 32 << 10;

/// The value of `oldest` when the queue is empty.
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
    /// Bytes of `items`. Written under the lock of `items`. Read without that lock by the poller (0:
    /// nothing to take), and as a gauge.
    bytes: AtomicU64,
    /// When the first of `items` was sent. Written under the lock of `items`; read as a gauge.
    oldest: AtomicU64,
}

/// Whether the pusher has to wake the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// The poller waits, and no other pusher wakes it.
    Needed,
    /// The poller is awake, is being woken by another pusher, or will look soon by itself.
    NotNeeded,
}

impl<T> Queues<T> {
    /// Empty queues for this number of peers, and a poller that is awake.
    pub fn new(peers: usize) -> Queues<T> {
        let queue = || Queue {
            items: Mutex::new(Vec::new()),
            bytes: AtomicU64::new(0),
            oldest: AtomicU64::new(NO_TIME),
        };
        Queues { peers: (0..peers).map(|_| queue()).collect(), poller: AtomicU8::new(0) }
    }

    /// The number of peers.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Puts an item into the queue of a peer. The item counts as `bytes`, and as at least 1.
    pub fn push(&self, peer: usize, item: T, bytes: u64, sent_at: u64) -> Wake {
        let queue = &self.peers[peer];
        let queued = {
            let mut items = queue.items.lock().unwrap_or_else(PoisonError::into_inner);
            if items.is_empty() {
                queue.oldest.store(sent_at, Ordering::Relaxed);
            }
            items.push(item);
            // Relaxed: `announce` publishes the value to the poller; other readers only show it.
            queue.bytes.fetch_add(bytes.max(1), Ordering::Relaxed) + bytes.max(1)
        };
        self.announce(queued >= MUCH)
    }

    /// Notes that there is something for the poller, in these queues or elsewhere.
    pub fn announce(&self, is_urgent: bool) -> Wake {
        let flags = if is_urgent { DIRTY | URGENT } else { DIRTY };
        // Release: the poller acquires this in `look`, so it finds the item that was pushed before.
        // Acquire: pairs with the poller's change to `ASLEEP` or `LINGERING`, so whoever wakes it
        // ends a wait that has begun.
        let before = self.poller.fetch_or(flags, Ordering::AcqRel);
        let is_first = |of: u8| flags & of != 0 && before & of == 0;
        let ends_sleep = before & ASLEEP != 0 && is_first(DIRTY);
        let ends_lingering = before & LINGERING != 0 && is_first(URGENT);
        if ends_sleep || ends_lingering { Wake::Needed } else { Wake::NotNeeded }
    }

    /// Clears the state and returns whether anything was pushed since the last look. The poller calls
    /// this before it takes.
    pub fn look(&self) -> bool {
        self.poller.swap(0, Ordering::AcqRel) & DIRTY != 0
    }

    /// Whether anything urgent was pushed since the last look.
    pub fn is_urgent(&self) -> bool {
        self.poller.load(Ordering::Relaxed) & URGENT != 0
    }

    /// Begins a short wait of the poller; its last call before that wait. `false`: something urgent
    /// was pushed, so the poller must not wait. After the wait the poller must look, because pushes
    /// that are not urgent do not wake it.
    pub fn linger(&self) -> bool {
        let lingering = |state: u8| (state & URGENT == 0).then_some(state | LINGERING);
        self.poller.fetch_update(Ordering::AcqRel, Ordering::Acquire, lingering).is_ok()
    }

    /// Begins a wait of the poller; its last call before that wait. `false`: something was pushed
    /// since the last look, so the poller must not wait.
    pub fn fall_asleep(&self) -> bool {
        self.poller.compare_exchange(0, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Moves everything queued for a peer to `taken`, which must be empty. The two vectors are swapped,
    /// so that both keep their capacity.
    pub fn take(&self, peer: usize, taken: &mut Vec<T>) {
        debug_assert!(taken.is_empty(), "what was taken before would stand in the queue again");
        let queue = &self.peers[peer];
        // Relaxed is enough for items that `look` has announced, because `look` acquires.
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

    /// When the first item queued for a peer was sent.
    pub fn oldest(&self, peer: usize) -> Option<u64> {
        Some(self.peers[peer].oldest.load(Ordering::Relaxed)).filter(|at| *at != NO_TIME)
    }
}
