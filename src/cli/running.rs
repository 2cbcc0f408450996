//! A topology that runs, in this process or in worker processes, with the same methods for the loop of
//! `run`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::{ProcessStats, RunningWorkers};
use crate::ids::CheckpointId;
use crate::runtime::{RunningTopology, Savepoint, SavepointError, TakeCheckpointError, TopologyStats};

/// A topology that runs.
pub(super) enum Running {
    /// In this process.
    Here(RunningTopology),
    /// In worker processes.
    InWorkers(RunningWorkers),
}

/// The counters of a run, while it runs or at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct RunStats {
    /// The counters of the topology.
    pub(super) topology: TopologyStats,
    /// The counters of its worker processes, if it has any.
    pub(super) processes: Option<ProcessStats>,
    /// Why the run was given up, if it was.
    pub(super) failure: Option<String>,
}

impl Running {
    /// A snapshot.
    pub(super) fn stats(&self) -> RunStats {
        match self {
            Running::Here(running) => RunStats { topology: running.stats(), ..RunStats::default() },
            Running::InWorkers(running) => {
                let stats = running.stats();
                RunStats {
                    topology: stats.topology,
                    processes: Some(stats.processes),
                    failure: stats.failure,
                }
            }
        }
    }

    /// Waits for the end for a limited time. Returns whether the topology has ended.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        match self {
            Running::Here(running) => running.wait(at_most),
            Running::InWorkers(running) => running.wait(at_most),
        }
    }

    /// Begins an orderly end.
    pub(super) fn drain(&self) {
        match self {
            Running::Here(running) => running.drain(),
            Running::InWorkers(running) => running.drain(),
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        match self {
            Running::Here(running) => running.kill(),
            Running::InWorkers(running) => running.kill(),
        }
    }

    /// Takes a savepoint; `stops`: the run ends with it.
    pub(super) fn savepoint(&self, directory: PathBuf, stops: bool) -> Result<Savepoint, SavepointError> {
        match self {
            Running::Here(running) => running.savepoint(directory, stops),
            Running::InWorkers(running) => running.savepoint(directory, stops),
        }
    }

    /// Takes a checkpoint that begins now, and waits for it, at most for so long.
    pub(super) fn checkpoint(&self, at_most: Duration) -> Result<CheckpointId, TakeCheckpointError> {
        match self {
            Running::Here(running) => running.checkpoint(at_most),
            Running::InWorkers(running) => running.checkpoint(at_most),
        }
    }

    /// Waits for the end of the topology and of its threads and processes. Returns the final counters.
    pub(super) fn join(self) -> RunStats {
        match self {
            Running::Here(running) => RunStats { topology: running.join(), ..RunStats::default() },
            Running::InWorkers(running) => {
                let stats = running.join();
                RunStats {
                    topology: stats.topology,
                    processes: Some(stats.processes),
                    failure: stats.failure,
                }
            }
        }
    }
}
