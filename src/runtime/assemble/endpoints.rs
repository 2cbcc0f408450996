//! The addresses of all executors of the topology, and the inboxes of those in this worker.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::runtime::assemble::blueprint::Blueprint;
use crate::runtime::assemble::setup::Share;
use crate::runtime::executor::checkpoints::StorageSender;
use crate::runtime::flow::credit_returns::CreditReturns;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::inbox::{Inbox, InboxSender, inbox};
use crate::runtime::flow::outlet::Outlet;
use crate::runtime::flow::run_queue::RunQueue;
use crate::runtime::remote::address::{Address, RemoteExecutor};
use crate::runtime::remote::ingress::PeerWorker;
use crate::topology::plan::ExecutorId;

/// Where each executor is reached.
pub struct Endpoints {
    /// By executor id, wherever the executor runs. The coordinator is not among them.
    addresses: Vec<Address>,
    /// The executor that ends the topology. Every worker has one.
    pub coordinator: InboxSender,
    /// The executor that writes checkpoints, if there is one.
    pub storage: Option<StorageSender>,
}

/// The inboxes of this worker that no executor has taken yet: by executor id, then the coordinator's, then that of
/// the executor that writes checkpoints.
pub struct Inboxes(Vec<Option<Inbox>>);

impl Inboxes {
    /// Takes the inbox of an executor.
    pub fn take(&mut self, id: ExecutorId) -> Inbox {
        self.0[id.index()].take().expect("each executor is made once")
    }
}

impl Endpoints {
    /// An inbox for each executor of this worker, and the way to each of the others.
    pub fn new(blueprint: &Blueprint, run_queue: &Arc<RunQueue>) -> (Endpoints, Inboxes) {
        let executors = &blueprint.plan.executors;
        let mut addresses = Vec::new();
        let mut inboxes = Vec::new();
        for executor in executors {
            let name = SmolStr::new(blueprint.part_name(executor.part));
            let address = match blueprint.share().and_then(|share| share.elsewhere(executor.id)) {
                Some((worker, outlet)) => {
                    inboxes.push(None);
                    let gauges = Arc::new(Gauges::new());
                    let remote =
                        RemoteExecutor { executor: executor.id, worker, component: name, gauges, outlet };
                    Address::There(Arc::new(remote))
                }
                None => {
                    let (address, inbox) =
                        inbox(executor.id, blueprint.plan.head_of(executor.id), name, run_queue);
                    inboxes.push(Some(inbox));
                    Address::Here(address)
                }
            };
            addresses.push(address);
        }
        let coordinator_id = ExecutorId(executors.len() as u32);
        let (coordinator, its_inbox) =
            inbox(coordinator_id, coordinator_id, SmolStr::new("__coordinator"), run_queue);
        inboxes.push(Some(its_inbox));
        let storage = blueprint.setup.checkpoints.as_ref().map(|_| {
            let id = ExecutorId(executors.len() as u32 + 1);
            let (address, its_inbox) = inbox(id, id, SmolStr::new("__checkpoints"), run_queue);
            inboxes.push(Some(its_inbox));
            StorageSender { inbox: address, queue: Arc::default() }
        });
        (Endpoints { addresses, coordinator, storage }, Inboxes(inboxes))
    }

    /// Where an executor is reached.
    pub fn address(&self, id: ExecutorId) -> &Address {
        &self.addresses[id.index()]
    }

    /// The sender to an executor that runs in this worker.
    pub fn local(&self, id: ExecutorId) -> Option<&InboxSender> {
        match self.address(id) {
            Address::Here(inbox) => Some(inbox),
            Address::There(_) => None,
        }
    }

    /// The sender to an executor of this worker that is being built.
    pub fn own(&self, id: ExecutorId) -> &InboxSender {
        self.local(id).expect("only executors of this worker are made")
    }
}

/// The other workers that have executors.
pub fn peers(share: Option<&Share>) -> Vec<Option<PeerWorker>> {
    let Some(share) = share else { return Vec::new() };
    let peer = |outlet: &Option<Arc<dyn Outlet>>| {
        outlet.as_ref().map(|outlet| PeerWorker {
            outlet: Arc::clone(outlet),
            returns: Arc::new(CreditReturns::new(Arc::clone(outlet))),
            wire: Arc::new(Gauges::new()),
            wires_there: Arc::new(Gauges::new()),
        })
    };
    share.outlets.iter().map(peer).collect()
}
