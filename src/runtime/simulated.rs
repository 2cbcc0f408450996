//! The narrow door through which the simulation reaches into a worker.

use std::sync::Arc;

use crate::api::WorkerResources;
use crate::clock::{Clock, Time};
use crate::metrics::MetricsRegistry;
use crate::runtime::assemble::{Surroundings, assemble};
use crate::runtime::audit::Audit;
pub(crate) use crate::runtime::message::Control;
use crate::runtime::run_queue::Urgency;
use crate::runtime::worker::Worker;
use crate::runtime::{Faults, TopologyStats};
use crate::topology::graph::Topology;
use crate::topology::plan::ExecutorId;

/// A worker without threads: somebody else decides which executor is stepped.
pub(crate) struct SimulatedWorker {
    worker: Worker,
    audit: Arc<Audit>,
}

impl SimulatedWorker {
    /// A worker on a simulated clock, whose randomness comes from the seed.
    pub fn new(
        topology: Topology,
        clock: Clock,
        seed: u64,
        logger: slog::Logger,
        resources: WorkerResources,
        faults: Arc<dyn Faults>,
    ) -> SimulatedWorker {
        let audit = Arc::new(Audit::default());
        let around = Surroundings {
            clock,
            seed: Some(seed),
            logger,
            resources,
            faults: Some(faults),
            audit: Some(Arc::clone(&audit)),
            dedicated_threads: false,
            share: None,
        };
        SimulatedWorker { worker: assemble(topology, around).0, audit }
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
        self.worker.tell_all(|| Control::Deactivate);
    }

    pub fn drain(&self) {
        self.worker.coordinator().send_control(Control::Drain, Urgency::Now);
    }

    pub fn has_ended(&self) -> bool {
        self.worker.lifecycle.has_ended()
    }

    pub fn violations(&self) -> Vec<String> {
        self.audit.violations()
    }

    pub fn executors_of(&self, component: &str) -> Vec<ExecutorId> {
        let slots = self.worker.slots().filter(|slot| slot.component == component);
        slots.map(|slot| slot.address.executor).collect()
    }

    pub fn command(&self, id: ExecutorId, control: Control) {
        self.worker.slot(id).address.send_control(control, Urgency::Now);
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
