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

pub mod credit;
pub mod ingress;
pub mod payload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use smol_str::SmolStr;

use crate::clock::Time;
use crate::ids::{LinkId, Touched, WorkerId};
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

    /// Says that there is credit to give back; see [`credit::CreditReturns`].
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
