//! A share of a topology in this process; the rest of the topology runs in other processes.
//!
//! The master decides when spouts may emit, which other workers there are, and when the topology ends. What
//! other workers send arrives through the [`Ingress`]; what is sent to them goes through outlets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::TopologyStats;
use crate::checkpoint::WorkerStore;
use crate::clock::{Clock, Time};
use crate::runtime::assemble::assemble;
use crate::runtime::assemble::setup::{CheckpointSetup, Share, WorkerSetup};
use crate::runtime::checkpoint_start::wal_directory;
use crate::runtime::end_sequence::{EndCommand, EndProgress};
use crate::runtime::flow::checkpoint::CheckpointOrder;
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::local::{LocalOptions, StartError};
use crate::runtime::process::host_name;
use crate::runtime::remote::ingress::Ingress;
use crate::runtime::scheduler::Scheduler;
use crate::runtime::starvation::WithheldTime;
use crate::runtime::user_directory::state_backend;
use crate::runtime::worker::Worker;
use crate::topology::graph::Topology;
use crate::wal::WalPlace;

/// A share that was built and does not run yet.
pub struct AssembledShare {
    worker: Arc<Worker>,
}

impl AssembledShare {
    /// Builds a share, and the ingress for what other workers send. `checkpoints`: where its tasks write, if the topology
    /// is exactly-once.
    ///
    /// # Errors
    /// When a hook or grouping cannot be built.
    ///
    /// # Panics
    /// Never: a share has an ingress.
    pub fn new(
        topology: Topology,
        share: Share,
        clock: Clock,
        options: LocalOptions,
        checkpoints: Option<WorkerStore>,
    ) -> Result<(AssembledShare, Ingress), StartError> {
        let state_backend = state_backend(&topology);
        let logs = match checkpoints {
            Some(_) => Some(WalPlace::Directory(wal_directory(&topology)?)),
            None => None,
        };
        let setup = WorkerSetup {
            clock,
            seed: None,
            logger: options.logger,
            resources: options.resources,
            host: host_name(),
            faults: None,
            audit: None,
            dedicated_threads: true,
            share: Some(share),
            checkpoints: checkpoints.map(CheckpointSetup::Share),
            state_backend,
            logs,
        };
        let (worker, ingress) = assemble(topology, setup)?;
        let assembled = AssembledShare { worker: Arc::new(worker) };
        Ok((assembled, ingress.expect("a share has an ingress")))
    }

    /// Notes the address at which other workers connect to this one, for tasks and hooks that ask.
    pub fn listens_at(&self, address: SocketAddr) {
        self.worker.process.context().listens_at(address);
    }

    /// Builds its resources, starts its worker hooks, then its threads. No task is opened before the
    /// first activate.
    ///
    /// # Errors
    /// When a resource or a hook fails, or the system refuses a thread.
    pub fn start(self) -> Result<RunningShare, StartError> {
        self.worker.process.begin(&self.worker.topology)?;
        let scheduler = Scheduler::start(Arc::clone(&self.worker)).map_err(StartError::Thread)?;
        Ok(RunningShare { worker: self.worker, _scheduler: scheduler })
    }
}

/// A share that runs.
pub struct RunningShare {
    worker: Arc<Worker>,
    /// Held for the watchdog, which ends when nobody holds the scheduler.
    _scheduler: Arc<Scheduler>,
}

impl RunningShare {
    /// Lets spouts emit (again). The first time, it opens and prepares all tasks.
    pub fn activate(&self) {
        self.worker.activate();
    }

    /// Has spouts emit nothing until the next `activate`. Tuples in flight are still processed.
    pub fn deactivate(&self) {
        self.worker.deactivate();
    }

    /// Carries out a command of the master about the end.
    pub fn carry_out(&self, command: EndCommand) {
        self.worker.local_executors.carry_out(command);
    }

    /// Carries out an order of the master about checkpoints.
    pub fn carry_out_order(&self, order: CheckpointOrder) {
        self.worker.coordinator.send_control(order, Urgency::Now);
    }

    /// How far the share has come with the end.
    pub fn progress(&self) -> EndProgress {
        self.worker.local_executors.progress()
    }

    /// How many of its tasks were never built: they are not activated yet, or cannot be opened or prepared.
    pub fn unopened(&self) -> u64 {
        self.worker.lifecycle.unopened.load(Ordering::Relaxed) as u64
    }

    /// Its counters. They cover only the executors of this worker.
    pub fn stats(&self) -> TopologyStats {
        self.worker.stats()
    }

    /// Completion latencies of messages of the spouts of this worker, in rising order: nanoseconds, and
    /// how many messages had this latency.
    pub fn latency_counts(&self) -> Vec<(u64, u64)> {
        self.worker.latency_counts()
    }

    /// Shuts down the worker hooks. All executors should have closed.
    pub fn end_process(&self) {
        self.worker.process.end();
    }

    /// Measures how much of the time from now on its executors cannot use.
    pub fn withheld_time(&self, now: Time) -> WithheldTime {
        WithheldTime::new(Arc::clone(&self.worker.lifecycle.threads), now)
    }

    /// Waits until it has ended, at most for `at_most`; returns whether it has ended.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.worker.lifecycle.wait(at_most)
    }
}
