//! Executors of other workers, as the executors of this one see them.
//!
//! ```text
//!   emitter, acker ─▶ Address::There ─▶ payload (bytes) ─▶ Outlet      implemented by `net`
//!   inboxes, links ◀─ Ingress ◀── payload (bytes) ◀─────────────────── told by `net`
//! ```
//!
//! Nothing here knows of connections. What is handed to an [`Outlet`] either reaches the incarnation
//! of the worker it was meant for, once, or that incarnation is gone, and `Ingress::workers_lost` is
//! called. Everything that follows from a loss follows from that call.

pub mod ingress;
pub mod payload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use smol_str::SmolStr;

use crate::clock::Time;
use crate::ids::{LinkId, Touched, WorkerId};
use crate::runtime::link::Charge;
use crate::runtime::message::Tracking;
use crate::runtime::queue::{Gauges, InboxSender};
use crate::runtime::run_queue::Urgency;
use crate::topology::plan::ExecutorId;

/// Free bytes before a payload, for the header of its frame.
pub const HEADROOM: usize = 20;

/// What a payload is, which decides its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadKind {
    /// Records for an acker; control lane.
    Acks,
    /// Outcomes for a spout; control lane.
    Outcomes,
    /// A batch of tuples; data lane, under credit.
    Data,
}

/// The way to one other worker.
pub trait Outlet: Send + Sync {
    /// Takes a payload for the incarnation that is current: [`HEADROOM`] free bytes and then the
    /// payload; of data, the credit it was charged, as (link, tuples, bytes). Never blocks.
    fn send(&self, kind: PayloadKind, bytes: Vec<u8>, credit: Option<(LinkId, u32, u32)>, now: Time);

    /// Says that there is credit to give back; see [`CreditReturns`].
    fn poke(&self);

    /// The longest payload that may be sent.
    fn payload_max(&self) -> usize;
}

/// An executor, wherever it is.
#[derive(Clone)]
pub enum Address {
    /// In this worker.
    Here(InboxSender),
    /// In another.
    There(Arc<RemoteExecutor>),
}

impl Address {
    /// Which executor.
    pub fn executor(&self) -> ExecutorId {
        match self {
            Address::Here(inbox) => inbox.executor,
            Address::There(remote) => remote.executor,
        }
    }

    /// What the executor shows of itself; of a remote one, what its worker last said.
    pub fn gauges(&self) -> &Arc<Gauges> {
        match self {
            Address::Here(inbox) => &inbox.gauges,
            Address::There(remote) => &remote.gauges,
        }
    }

    /// The bit of its worker, if that is another one.
    pub fn touched(&self) -> Touched {
        match self {
            Address::Here(_) => Touched::NONE,
            Address::There(remote) => Touched::worker(remote.worker),
        }
    }

    /// Sends ack records or outcomes. Commands never cross: each worker is told by whoever started it.
    pub fn send_tracking(&self, message: Tracking, urgency: Urgency, now: Time) {
        match self {
            Address::Here(inbox) => inbox.send_control(message.into(), urgency),
            Address::There(remote) => remote.send_tracking(&message, now),
        }
    }
}

/// The other workers in which an edge that closes a cycle is full. The ingress writes it, spouts read
/// it at every step.
#[derive(Debug)]
pub struct CyclesElsewhere {
    /// By worker, as it last said.
    full: Vec<AtomicBool>,
    /// How many of them are.
    count: AtomicUsize,
}

impl CyclesElsewhere {
    /// None of so many workers says so.
    pub fn new(workers: usize) -> CyclesElsewhere {
        let full = (0..workers).map(|_| AtomicBool::new(false)).collect();
        CyclesElsewhere { full, count: AtomicUsize::new(0) }
    }

    /// What a worker says. Called by one thread.
    pub fn note(&self, worker: WorkerId, full: bool) {
        let Some(before) = self.full.get(worker.index()) else { return };
        // SeqCst, as everything that decides whether a spout may emit.
        match (before.swap(full, Ordering::SeqCst), full) {
            (false, true) => _ = self.count.fetch_add(1, Ordering::SeqCst),
            (true, false) => _ = self.count.fetch_sub(1, Ordering::SeqCst),
            (false, false) | (true, true) => {}
        }
    }

    /// Whether any does.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }
}

/// An executor of another worker.
pub struct RemoteExecutor {
    /// Which.
    pub executor: ExecutorId,
    /// Where it runs.
    pub worker: WorkerId,
    /// Its component, for messages to people.
    pub component: SmolStr,
    /// What its worker last said of it; only `waiting_since` is kept.
    pub gauges: Arc<Gauges>,
    /// The way there.
    pub outlet: Arc<dyn Outlet>,
}

impl RemoteExecutor {
    fn send_tracking(&self, message: &Tracking, now: Time) {
        let (kind, bytes) = match message {
            Tracking::Acks(records) => (PayloadKind::Acks, payload::encode_acks(self.executor, records)),
            Tracking::Outcomes(outcomes) => {
                (PayloadKind::Outcomes, payload::encode_outcomes(self.executor, outcomes))
            }
        };
        self.outlet.send(kind, bytes, None, now);
    }
}

/// Credit of a link whose producer is in another worker, to be given back.
///
/// It is told in lots: each telling wakes two threads and is a write and a read, and a producer that
/// has most of its credit does not wait for the rest. What is not told is less than a lot, and less
/// than what is out; so a producer that waits for credit has more than that to come, and is told.
#[derive(Debug, Default)]
pub struct Returned {
    id: LinkId,
    /// What is told at once.
    lot: Charge,
    tuples: AtomicU64,
    bytes: AtomicU64,
    /// What was told of `tuples` and `bytes`.
    told_tuples: AtomicU64,
    told_bytes: AtomicU64,
    /// It stands in [`CreditReturns::due`].
    is_due: AtomicBool,
}

/// What a worker owes one incarnation of another in credit.
pub struct CreditReturns {
    outlet: Arc<dyn Outlet>,
    /// Those of which a lot is untold.
    due: Mutex<Vec<Arc<Returned>>>,
    all: Mutex<Vec<Arc<Returned>>>,
}

impl CreditReturns {
    /// Nothing is owed yet.
    pub fn new(outlet: Arc<dyn Outlet>) -> CreditReturns {
        CreditReturns { outlet, due: Mutex::default(), all: Mutex::default() }
    }

    /// The account of one link, which tells so much at once.
    pub fn account(&self, id: LinkId, lot: Charge) -> Arc<Returned> {
        let returned = Arc::new(Returned { id, lot, ..Returned::default() });
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&returned));
        returned
    }

    /// Notes that a batch of a link was processed.
    pub fn give_back(&self, returned: &Arc<Returned>, charge: Charge) {
        returned.tuples.fetch_add(charge.tuples as u64, Ordering::SeqCst);
        returned.bytes.fetch_add(charge.bytes as u64, Ordering::SeqCst);
        if returned.has_lot() && !returned.is_due.swap(true, Ordering::SeqCst) {
            self.due.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(returned));
            self.outlet.poke();
        }
    }

    /// Totals of the links of which a lot was untold, as (link, tuples, bytes).
    pub fn take_due(&self, into: &mut Vec<(LinkId, u64, u64)>) {
        let due = std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
        for returned in due {
            // Cleared before the totals are read, so that what comes later is noted again.
            returned.is_due.store(false, Ordering::SeqCst);
            into.push(returned.tell());
        }
    }

    /// Totals of the links of which anything is untold.
    pub fn take_untold(&self, into: &mut Vec<(LinkId, u64, u64)>) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        into.extend(
            all.iter().filter(|returned| returned.untold() != (0, 0)).map(|returned| returned.tell()),
        );
    }

    /// Totals of all links that ever gave something back.
    pub fn all(&self, into: &mut Vec<(LinkId, u64, u64)>) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        into.extend(all.iter().map(|returned| returned.tell()).filter(|(_, tuples, _)| *tuples > 0));
    }
}

impl Returned {
    fn untold(&self) -> (u64, u64) {
        let since = |total: &AtomicU64, told: &AtomicU64| {
            let told = told.load(Ordering::SeqCst);
            total.load(Ordering::SeqCst).saturating_sub(told)
        };
        (since(&self.tuples, &self.told_tuples), since(&self.bytes, &self.told_bytes))
    }

    fn has_lot(&self) -> bool {
        let (tuples, bytes) = self.untold();
        tuples >= self.lot.tuples as u64 || bytes >= self.lot.bytes as u64
    }

    /// The totals, which count as told. Only the thread that tells peers calls this.
    fn tell(&self) -> (LinkId, u64, u64) {
        let (tuples, bytes) = (self.tuples.load(Ordering::SeqCst), self.bytes.load(Ordering::SeqCst));
        self.told_tuples.store(tuples, Ordering::SeqCst);
        self.told_bytes.store(bytes, Ordering::SeqCst);
        (self.id, tuples, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Pokes(AtomicU64);

    impl Outlet for Pokes {
        fn send(&self, _: PayloadKind, _: Vec<u8>, _: Option<(LinkId, u32, u32)>, _: Time) {}

        fn poke(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }

        fn payload_max(&self) -> usize {
            0
        }
    }

    fn told(take: impl FnOnce(&mut Vec<(LinkId, u64, u64)>)) -> Vec<(u32, u64, u64)> {
        let mut told = Vec::new();
        take(&mut told);
        told.into_iter().map(|(id, tuples, bytes)| (id.0, tuples, bytes)).collect()
    }

    /// Workers 3 and 67 shared a bit: when one of them had room again, spouts went on although the
    /// other was full.
    #[test]
    fn each_of_a_thousand_workers_says_for_itself_whether_a_cycle_is_full() {
        let cycles = CyclesElsewhere::new(1024);
        let check = |worker, full, expected| {
            cycles.note(WorkerId(worker), full);
            assert_eq!(cycles.any(), expected, "{worker} {full}");
        };
        check(3, false, false);
        check(3, true, true);
        check(67, true, true);
        check(67, true, true);
        check(3, false, true);
        check(1023, true, true);
        check(67, false, true);
        check(1023, false, false);
        check(5000, true, false);
    }

    #[test]
    fn credit_is_told_in_lots_or_with_other_words() {
        let outlet = Arc::new(Pokes::default());
        let pokes = || outlet.0.load(Ordering::SeqCst);
        let returns = CreditReturns::new(Arc::clone(&outlet) as Arc<dyn Outlet>);
        let [one, two] = [1, 2].map(|id| returns.account(LinkId(id), Charge { tuples: 10, bytes: 100 }));
        let give = |account, tuples, bytes| returns.give_back(account, Charge { tuples, bytes });
        give(&one, 9, 0);
        give(&two, 1, 99);
        assert_eq!((told(|into| returns.take_due(into)), pokes()), (vec![], 0), "neither is a lot");
        give(&one, 1, 0);
        give(&one, 5, 0);
        assert_eq!((told(|into| returns.take_due(into)), pokes()), (vec![(1, 15, 0)], 1), "one poke");
        give(&one, 9, 0);
        assert_eq!(told(|into| returns.take_due(into)), [], "it counts from what was told");
        assert_eq!(told(|into| returns.take_untold(into)), [(1, 24, 0), (2, 1, 99)]);
        assert_eq!((told(|into| returns.take_untold(into)), pokes()), (vec![], 1));
        give(&two, 1, 100);
        assert_eq!((told(|into| returns.all(into)), pokes()), (vec![(1, 24, 0), (2, 2, 199)], 2));
        assert_eq!(told(|into| returns.take_due(into)), [(2, 2, 199)], "again, which does no harm");
    }
}
