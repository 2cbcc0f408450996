//! A topology in this process.

use std::time::Duration;

use crate::api::WorkerResources;
use crate::runtime::TopologyStats;
use crate::topology::graph::Topology;

/// What a local run is started with.
#[derive(Clone)]
pub struct LocalOptions {
    /// Where the runtime and the components log.
    pub logger: slog::Logger,
    /// Objects that tasks find by `TaskContext::resources`.
    pub resources: WorkerResources,
}

/// Why a topology could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A driver thread could not be started.
    #[error("cannot start a driver thread")]
    Thread(#[source] std::io::Error),
}

/// A topology that runs in this process.
pub struct RunningTopology {}

impl RunningTopology {
    /// Starts a topology on driver threads of this process.
    pub fn start(_topology: Topology, _options: LocalOptions) -> Result<RunningTopology, StartError> {
        todo!()
    }

    /// A snapshot of its counters.
    pub fn stats(&self) -> TopologyStats {
        todo!()
    }

    /// Waits until it has ended, at most so long; says whether it has.
    pub fn wait(&self, _at_most: Duration) -> bool {
        todo!()
    }

    /// Asks for an orderly end: spouts stop, what is in flight is processed, at most for
    /// `drain_timeout`. Returns at once.
    pub fn drain(&self) {
        todo!()
    }

    /// Ends it at once; what is in flight is lost. Returns at once.
    pub fn kill(&self) {
        todo!()
    }

    /// Lets spouts emit (again).
    pub fn activate(&self) {
        todo!()
    }

    /// Lets spouts rest; what is in flight goes on.
    pub fn deactivate(&self) {
        todo!()
    }

    /// Waits for the end and returns the final counters.
    pub fn join(self) -> TopologyStats {
        todo!()
    }
}
