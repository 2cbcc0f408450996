//! The outcomes and errors of commands.

use std::io;

/// The outcome of a command that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum CommandOutcome {
    /// All is well: exit code 0.
    Done,
    /// The result is negative, and the command has reported it: exit code 1.
    Failed,
    /// The usage is wrong, and the command has reported it: exit code 2.
    Misused,
    /// An upgrade was rolled back, and the command has reported why: exit code 5.
    RolledBack,
}

impl CommandOutcome {
    /// [`CommandOutcome::Done`] if so.
    pub(super) fn done_if(good: bool) -> CommandOutcome {
        if good { CommandOutcome::Done } else { CommandOutcome::Failed }
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum CommandError {
    /// The reader of stdout has closed the pipe. The program does not treat this as an error.
    #[error("stdout is closed")]
    NobodyReads,
    /// A call to the operating system failed.
    #[error("cannot {action}")]
    Io {
        /// The action that failed, as in "write x.toml".
        action: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The command refuses, for the reason given.
    #[error("{0}")]
    Refused(String),
    /// There is no such topology in the cluster: exit code 3.
    #[error("{0}")]
    Missing(String),
    /// No nimbus answers, or none leads: exit code 4.
    #[error("{0}")]
    Unreachable(String),
    /// Checkpoints could not be read.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    /// The API of a nimbus does not start.
    #[error(transparent)]
    Api(#[from] crate::cluster::api::StartApiError),
    /// The topology could not be started.
    #[error("cannot start the topology")]
    Start(#[from] crate::runtime::StartError),
    /// This process could not be a worker.
    #[error("this worker cannot go on")]
    Worker(#[from] crate::cluster::worker::WorkerError),
    /// This process could not be a master.
    #[error("this master cannot go on")]
    Master(#[from] crate::cluster::master::AppointedError),
    /// The workers of the topology could not be started.
    #[error("cannot start the workers of the topology")]
    StartWorkers(#[from] crate::cluster::StartWorkersError),
}

impl CommandError {
    /// The exit code of a command that ends with this error.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            CommandError::Missing(_) => 3,
            CommandError::Unreachable(_) => 4,
            _ => 1,
        }
    }

    /// For `map_err` on file operations.
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> CommandError {
        let action = action.into();
        move |source| CommandError::Io { action, source }
    }
}
