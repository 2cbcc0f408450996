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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use smol_str::SmolStr;

use crate::clock::Time;
use crate::ids::{LinkId, Touched, WorkerId};
use crate::runtime::message::Control;
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

    /// Sends ack records or outcomes.
    pub fn send_control(&self, control: Control, urgency: Urgency, now: Time) {
        match self {
            Address::Here(inbox) => inbox.send_control(control, urgency),
            Address::There(remote) => remote.send_control(&control, now),
        }
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
    fn send_control(&self, control: &Control, now: Time) {
        let (kind, bytes) = match control {
            Control::Acks(records) => (PayloadKind::Acks, payload::encode_acks(self.executor, records)),
            Control::Outcomes(outcomes) => {
                (PayloadKind::Outcomes, payload::encode_outcomes(self.executor, outcomes))
            }
            // Commands never cross: each worker is told by whoever started it.
            _ => return,
        };
        self.outlet.send(kind, bytes, None, now);
    }
}

/// Credit of a link whose producer is in another worker, to be given back.
#[derive(Debug, Default)]
pub struct Returned {
    id: LinkId,
    tuples: AtomicU64,
    bytes: AtomicU64,
    noted: AtomicBool,
}

/// What a worker owes one incarnation of another in credit.
pub struct CreditReturns {
    outlet: Arc<dyn Outlet>,
    links: Mutex<Vec<Arc<Returned>>>,
    all: Mutex<Vec<Arc<Returned>>>,
}

impl CreditReturns {
    /// Nothing is owed yet.
    pub fn new(outlet: Arc<dyn Outlet>) -> CreditReturns {
        CreditReturns { outlet, links: Mutex::default(), all: Mutex::default() }
    }

    /// The account of one link.
    pub fn account(&self, id: LinkId) -> Arc<Returned> {
        let returned = Arc::new(Returned { id, ..Returned::default() });
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&returned));
        returned
    }

    /// Notes that a batch of a link was processed.
    pub fn give_back(&self, returned: &Arc<Returned>, tuples: usize, bytes: usize) {
        returned.tuples.fetch_add(tuples as u64, Ordering::SeqCst);
        returned.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        if !returned.noted.swap(true, Ordering::SeqCst) {
            self.links.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(returned));
            self.outlet.poke();
        }
    }

    /// Totals of the links that changed since the last call, as (link, tuples, bytes).
    pub fn take(&self, into: &mut Vec<(LinkId, u64, u64)>) {
        let changed = std::mem::take(&mut *self.links.lock().unwrap_or_else(PoisonError::into_inner));
        for returned in changed {
            // Cleared before the totals are read, so that what comes later is noted again.
            returned.noted.store(false, Ordering::SeqCst);
            into.push(returned.totals());
        }
    }

    /// Totals of all links that ever gave something back.
    pub fn all(&self, into: &mut Vec<(LinkId, u64, u64)>) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        into.extend(all.iter().map(|returned| returned.totals()).filter(|(_, tuples, _)| *tuples > 0));
    }
}

impl Returned {
    fn totals(&self) -> (LinkId, u64, u64) {
        (self.id, self.tuples.load(Ordering::SeqCst), self.bytes.load(Ordering::SeqCst))
    }
}
