//! What the processes of a host have in common.

use crate::cluster::control::LogSpec;
use crate::config::{LogFileOptions, NetOptions, WorkerOptions};
use crate::secrets::SecretDirectory;

/// What does not change while a supervisor runs.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The id of the supervisor.
    pub id: String,
    /// `[net]`, for the processes of this host.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker: WorkerOptions,
    /// Where the secrets of the host are.
    pub secrets: SecretDirectory,
    /// What they log.
    pub log: LogSpec,
    /// `log_max` and `log_keep` of `[supervisor]`.
    pub log_files: LogFileOptions,
}
