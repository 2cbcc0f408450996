//! The address of an executor, wherever it runs: an inbox in this worker, or an outlet to another one.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::clock::Time;
use crate::ids::{WorkerId, WorkerSet};
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::message::TreeMessage;
use crate::runtime::flow::outlet::{Outlet, PayloadKind};
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::remote::payload;
use crate::topology::plan::ExecutorId;

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
    pub fn touched(&self) -> WorkerSet {
        match self {
            Address::Here(_) => WorkerSet::NONE,
            Address::There(remote) => WorkerSet::of(remote.worker),
        }
    }

    /// Sends ack records or outcomes. Commands never cross: each worker is told by whoever started it.
    pub fn send_tree_message(&self, message: TreeMessage, urgency: Urgency, now: Time) {
        match self {
            Address::Here(inbox) => inbox.send_control(message, urgency),
            Address::There(remote) => remote.send_tree_message(&message, now),
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
    fn send_tree_message(&self, message: &TreeMessage, now: Time) {
        let (kind, bytes) = match message {
            TreeMessage::Acks(records) => (PayloadKind::Acks, payload::encode_acks(self.executor, records)),
            TreeMessage::Outcomes(outcomes) => {
                (PayloadKind::Outcomes, payload::encode_outcomes(self.executor, outcomes))
            }
        };
        self.outlet.send(kind, bytes, None, now);
    }
}
