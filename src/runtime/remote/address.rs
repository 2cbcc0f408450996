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

/// Where an executor is reached.
#[derive(Clone)]
pub enum Address {
    /// In this worker.
    Here(InboxSender),
    /// In another worker.
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

    /// The gauges of the executor; of a remote executor, what its worker last reported.
    pub fn gauges(&self) -> &Arc<Gauges> {
        match self {
            Address::Here(inbox) => &inbox.gauges,
            Address::There(remote) => &remote.gauges,
        }
    }

    /// The bit of its worker; empty if it runs in this worker.
    pub fn touched(&self) -> WorkerSet {
        match self {
            Address::Here(_) => WorkerSet::NONE,
            Address::There(remote) => WorkerSet::of(remote.worker),
        }
    }

    /// Sends ack records or outcomes. Commands never go to another worker: the master sends each worker
    /// its commands.
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
    /// What its worker last reported; only `waiting_since` is set. Written by the ingress, read by spouts.
    pub gauges: Arc<Gauges>,
    /// The way to its worker.
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
