//! The interface through which the simulation controls a worker.

use std::path::PathBuf;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::api::TopologyStats;
use crate::api::WorkerResources;
use crate::checkpoint::{CheckpointStorage, WorkerStore};
use crate::clock::{Clock, Time};
use crate::metrics::MetricsRegistry;
use crate::runtime::assemble::assemble;
use crate::runtime::assemble::setup::{CheckpointSetup, Share, WorkerSetup};
use crate::runtime::checkpoint_start::{self, CheckpointBegin, OpenedCheckpoints};
use crate::runtime::end_sequence::{EndCommand, EndProgress};
use crate::runtime::faults::Faults;
use crate::runtime::flow::checkpoint::{CheckpointEvent, CheckpointOrder};
use crate::runtime::flow::message::EndRequest;
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::remote::ingress::Ingress;
use crate::runtime::worker::{HostedExecutor, Worker};
use crate::state::StateBackend;
use crate::topology::graph::Topology;
use crate::topology::plan::ExecutorId;
use crate::wal::WalPlace;

pub(crate) use crate::runtime::audit::Audit;
pub(crate) use crate::runtime::flow::message::ExecutorCommand;

/// What a simulated worker is made with beside its topology.
pub(crate) struct SimulatedSetup {
    /// A clock that the simulation advances.
    pub clock: Clock,
    /// The seed of all randomness of the worker.
    pub seed: u64,
    /// Where everything logs.
    pub logger: slog::Logger,
    /// Objects that tasks share.
    pub resources: WorkerResources,
    /// Injected faults.
    pub faults: Arc<dyn Faults>,
    /// Checks the ackers; one for all workers.
    pub audit: Arc<Audit>,
    /// Where checkpoints are kept, if the topology is exactly-once.
    pub checkpoints: Box<dyn CheckpointStorage>,
    /// Where write-ahead logs are kept.
    pub logs: WalPlace,
    /// Where bolts keep state that is not in memory.
    pub state_backend: Arc<dyn StateBackend>,
}

/// A worker without threads: the simulation decides which executor is stepped.
pub(crate) struct SimulatedWorker {
    worker: Worker,
    audit: Arc<Audit>,
}

impl SimulatedWorker {
    /// A worker on a simulated clock, whose randomness comes from the seed.
    ///
    /// # Panics
    /// When a resource or a worker hook of the topology fails, and when its checkpoints cannot be read.
    pub fn new(topology: Topology, setup: SimulatedSetup) -> SimulatedWorker {
        SimulatedWorker::assembled(topology, None, setup).0
    }

    /// One worker of several, and its ingress for what the others send.
    pub fn with_share(topology: Topology, share: Share, setup: SimulatedSetup) -> (SimulatedWorker, Ingress) {
        let (worker, ingress) = SimulatedWorker::assembled(topology, Some(share), setup);
        (worker, ingress.expect("a share has an ingress"))
    }

    fn assembled(
        topology: Topology,
        share: Option<Share>,
        setup: SimulatedSetup,
    ) -> (SimulatedWorker, Option<Ingress>) {
        let SimulatedSetup { clock, seed, logger, resources, faults, audit, checkpoints, .. } = setup;
        let (logs, state_backend) = (setup.logs, setup.state_backend);
        let checkpoints = topology.options().delivery.is_exactly_once().then(|| {
            let storage = checkpoints;
            if share.is_some() {
                return CheckpointSetup::Share(WorkerStore::new(storage, topology.name()));
            }
            let opened =
                checkpoint_start::open(&topology, CheckpointBegin::Resume, &[], storage, &logs, None);
            let OpenedCheckpoints { store, epoch } = opened.unwrap_or_else(|error| panic!("{error}"));
            CheckpointSetup::Whole { store: Box::new(store), epoch }
        });
        let resources = if share.is_some() { resources.for_another_worker() } else { resources };
        let setup = WorkerSetup {
            clock,
            seed: Some(seed),
            logger,
            resources,
            host: SmolStr::new_static("localhost"),
            faults: Some(faults),
            audit: Some(Arc::clone(&audit)),
            dedicated_threads: false,
            share,
            checkpoints,
            state_backend,
            logs: Some(logs),
        };
        let (worker, ingress) = assemble(topology, setup).unwrap_or_else(|error| panic!("{error}"));
        worker.process.begin(&worker.topology).unwrap_or_else(|error| panic!("{error}"));
        (SimulatedWorker { worker, audit }, ingress)
    }

    pub fn stats(&self) -> TopologyStats {
        self.worker.stats()
    }

    pub fn metrics(&self) -> &MetricsRegistry {
        &self.worker.metrics
    }

    pub fn activate(&self) {
        self.worker.activate();
    }

    pub fn deactivate(&self) {
        self.worker.deactivate();
    }

    pub fn drain(&self) {
        self.worker.coordinator.send_control(EndRequest::Drain, Urgency::Now);
    }

    pub fn ask_for_savepoint(&self, directory: PathBuf, stops: bool) {
        let wanted = CheckpointEvent::SavepointWanted { directory, stops };
        self.worker.coordinator.send_control(wanted, Urgency::Now);
    }

    pub fn has_ended(&self) -> bool {
        self.worker.lifecycle.has_ended()
    }

    /// For one worker of several: carries out a command about the end.
    pub fn carry_out(&self, command: EndCommand) {
        self.worker.local_executors.carry_out(command);
    }

    /// For one worker of several: carries out an order about checkpoints.
    pub fn carry_out_order(&self, order: CheckpointOrder) {
        self.worker.coordinator.send_control(order, Urgency::Now);
    }

    /// How far the worker has come with the end.
    pub fn progress(&self) -> EndProgress {
        self.worker.local_executors.progress()
    }

    pub fn violations(&self) -> Vec<String> {
        self.audit.violations()
    }

    pub fn executors_of(&self, component: &str) -> Vec<ExecutorId> {
        let executors = self.worker.entries().filter(|executor| executor.address.component == component);
        executors.map(|executor| executor.address.executor).collect()
    }

    /// The executor that is stepped for an executor: the head of its chain.
    pub fn stepped_for(&self, id: ExecutorId) -> ExecutorId {
        let mut hosted = self.worker.hosted();
        let has =
            |executor: &&HostedExecutor| executor.chain.iter().any(|entry| entry.address.executor == id);
        hosted.find(has).map_or(id, HostedExecutor::id)
    }

    pub fn command(&self, id: ExecutorId, command: ExecutorCommand) {
        let mut executors = self.worker.entries().filter(|executor| executor.address.executor == id);
        let executor = executors.next().expect("only executors of this worker get commands");
        executor.address.send_control(command, Urgency::Now);
    }

    pub fn runnable(&self, now: Time) -> Vec<ExecutorId> {
        self.worker.run_queue.runnable(now)
    }

    pub fn next_timer(&self) -> Option<Time> {
        self.worker.run_queue.next_timer()
    }

    pub fn step(&self, id: ExecutorId, budget: u32) {
        self.worker.run_queue.take_chosen(id);
        self.worker.step(id, budget);
    }
}
