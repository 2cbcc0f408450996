//! What a worker is built with beside its topology.

use std::sync::Arc;

use slog::Logger;
use smol_str::SmolStr;

use crate::api::WorkerResources;
use crate::checkpoint::{CheckpointStore, WorkerStore};
use crate::clock::Clock;
use crate::ids::{Incarnation, WorkerId};
use crate::runtime::audit::Audit;
use crate::runtime::executor::local_executors::MasterHandle;
use crate::runtime::faults::Faults;
use crate::runtime::flow::outlet::Outlet;
use crate::state::StateBackend;
use crate::topology::assignment::Assignment;
use crate::topology::plan::{ExecutorId, Plan};
use crate::wal::WalPlace;

/// What a worker is built with beside its topology.
pub struct WorkerSetup {
    /// The time.
    pub clock: Clock,
    /// The seed of all randomness; `None`: the operating system provides one.
    pub seed: Option<u64>,
    /// Where everything logs.
    pub logger: Logger,
    /// Objects that tasks share.
    pub resources: WorkerResources,
    /// The name of the machine.
    pub host: SmolStr,
    /// Injected faults, in tests only.
    pub faults: Option<Arc<dyn Faults>>,
    /// Checks the ackers, in simulations only.
    pub audit: Option<Arc<Audit>>,
    /// Whether blocking components get threads of their own.
    pub dedicated_threads: bool,
    /// Which part of the topology runs here; `None`: all of it.
    pub share: Option<Share>,
    /// Where checkpoints are kept, if the topology is exactly-once.
    pub checkpoints: Option<CheckpointSetup>,
    /// Where bolts keep state that is not in memory, if they are to.
    pub state_backend: Arc<dyn StateBackend>,
    /// Where the write-ahead logs of spouts are kept, if the topology is exactly-once.
    pub logs: Option<WalPlace>,
}

/// Where the checkpoints of a topology are kept.
pub enum CheckpointSetup {
    /// All of the topology runs in this process.
    Whole {
        /// The store, in which this epoch has begun.
        store: Box<CheckpointStore>,
        /// The epoch: which start of the topology this is.
        epoch: u64,
    },
    /// The worker is one of several.
    Share(WorkerStore),
}

/// A worker's part in a topology that runs in several.
pub struct Share {
    /// Which worker it is.
    pub worker: WorkerId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// All executors of the topology.
    pub plan: Plan,
    /// Where they run.
    pub assignment: Assignment,
    /// The ways to the other workers, by their ids.
    pub outlets: Vec<Option<Arc<dyn Outlet>>>,
    /// The master of the topology, which decides about its end.
    pub master: Arc<dyn MasterHandle>,
    /// The membership at the start.
    pub membership: u64,
}

impl Share {
    /// The worker of an executor and the way there, unless the executor runs in this worker.
    pub fn elsewhere(&self, executor: ExecutorId) -> Option<(WorkerId, Arc<dyn Outlet>)> {
        let worker = self.assignment.worker_of(executor);
        (worker != self.worker).then(|| (worker, self.outlet(worker)))
    }

    fn outlet(&self, worker: WorkerId) -> Arc<dyn Outlet> {
        let outlet = self.outlets.get(worker.index()).and_then(Option::as_ref);
        Arc::clone(outlet.expect("there is a way to every worker with executors"))
    }
}
