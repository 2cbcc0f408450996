//! What the processes of a host have in common.

use crate::cluster::control::LogSpec;
use crate::config::{LogFileOptions, NetOptions, WorkerOptions};

/// What does not change while a supervisor runs.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The id of the supervisor.
    pub id: String,
    /// `[net]`, for the processes of this host.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker: WorkerOptions,
    /// What they log.
    pub log: LogSpec,
    /// `log_max` and `log_keep` of `[supervisor]`.
    pub log_files: LogFileOptions,
}
