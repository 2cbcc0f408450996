//! What all executors of a worker share while they run.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;

use crate::api::{ComponentInfo, WorkerContext};
use crate::metrics::MetricsRegistry;
use crate::runtime::acking::ack_buffer::AckerTable;
use crate::runtime::assemble::blueprint::{Blueprint, component_infos};
use crate::runtime::errors::Throttle;
use crate::runtime::executor::checkpoint_coordinator::SharedCounts;
use crate::runtime::executor::latencies::Latencies;
use crate::runtime::flow::run_queue::RunQueue;
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::remote::cycles_elsewhere::CyclesElsewhere;
use crate::runtime::savepoint_desk::SavepointDesk;

/// What all executors of a worker share while they run. Each gets clones of what it needs.
pub struct WorkerState {
    /// The runnable executors.
    pub run_queue: Arc<RunQueue>,
    /// What is outstanding, and the state of the topology's end.
    pub lifecycle: Arc<Lifecycle>,
    /// Which incarnations of the other workers are current. The ingress raises it, executors read it.
    pub membership: Arc<AtomicU64>,
    /// The other workers in which a cycle of the topology is full.
    pub cycles_elsewhere: Arc<CyclesElsewhere>,
    /// Which ackers each spout task uses.
    pub acker_table: Arc<AckerTable>,
    /// By component: how many errors may be logged.
    pub throttles: Vec<Arc<Throttle>>,
    /// How components see each other.
    pub components: Arc<Vec<ComponentInfo>>,
    /// How user code sees the process.
    pub worker: WorkerContext,
    /// Completion latencies.
    pub latencies: Latencies,
    /// Metrics that components register.
    pub metrics: MetricsRegistry,
    /// How checkpoints have gone so far.
    pub checkpoint_counts: SharedCounts,
    /// Where a thread waits that wants a savepoint.
    pub savepoints: Arc<SavepointDesk>,
}

impl WorkerState {
    /// Of a worker in which nothing has run yet.
    pub fn new(blueprint: &Blueprint) -> WorkerState {
        let options = blueprint.topology.options();
        let throttle = || Arc::new(Throttle::new(options.errors.limit, options.errors.interval));
        let (membership, workers) =
            blueprint.share().map_or((0, 0), |share| (share.membership, share.outlets.len()));
        WorkerState {
            // Two executors more than in the plan: the coordinator, and the one that writes checkpoints.
            run_queue: Arc::new(RunQueue::new(blueprint.plan.executors.len() + 2)),
            lifecycle: Arc::new(Lifecycle::default()),
            membership: Arc::new(AtomicU64::new(membership)),
            cycles_elsewhere: Arc::new(CyclesElsewhere::new(workers)),
            acker_table: Arc::new(blueprint.acker_table()),
            throttles: blueprint.topology.components().iter().map(|_| throttle()).collect(),
            components: Arc::new(component_infos(&blueprint.topology, &blueprint.plan)),
            worker: blueprint.worker_context(),
            latencies: Arc::new(Mutex::new(Histogram::new(3).expect("three digits are in range"))),
            metrics: MetricsRegistry::default(),
            checkpoint_counts: SharedCounts::default(),
            savepoints: Arc::default(),
        }
    }
}
