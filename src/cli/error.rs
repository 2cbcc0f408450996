//! How commands end.

use std::io;

/// How a command that could do its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum CommandOutcome {
    /// All is well: exit code 0.
    Done,
    /// The answer is a bad one, and the command has said so: exit code 1.
    Failed,
    /// That is not how it is used, and the command has said so: exit code 2.
    Misused,
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
    /// Whoever read stdout has gone. Not an error: they have what they wanted.
    #[error("stdout is closed")]
    NobodyReads,
    /// The operating system refused something.
    #[error("cannot {action}")]
    Io {
        /// What was tried, as in "write x.toml".
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The command refuses, for the reason given.
    #[error("{0}")]
    Refused(String),
    /// The topology could not be started.
    #[error("cannot start the topology")]
    Start(#[from] crate::runtime::StartError),
    /// The workers of the topology could not be started.
    #[error("cannot start the workers of the topology")]
    StartWorkers(#[from] crate::cluster::StartWorkersError),
}

impl CommandError {
    /// For `map_err` on file operations.
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> CommandError {
        let action = action.into();
        move |source| CommandError::Io { action, source }
    }
}
