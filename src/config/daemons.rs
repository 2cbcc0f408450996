//! `[cluster]` and `[supervisor]`: the daemons of a cluster. `[nimbus]` is in `nimbus`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::endpoint::Endpoint;
use crate::config::host::HostOptions;
use crate::config::limits;
use crate::config::problems::{OptionProblem, Problems};
use crate::config::process_limits::ProcessLimits;
use crate::config::units::show_size;
use crate::ids::is_node_name;

/// `[cluster]`: what all daemons of a cluster have alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterOptions {
    /// `blobs`: the directory with what topologies are made of, which all nimbuses and supervisors see. `None`: below the
    /// user's state directory.
    pub blobs: Option<PathBuf>,
    /// `key_file`: the key that all hosts of the cluster have. `None`: below the user's state directory.
    pub key_file: Option<PathBuf>,
}

/// `[supervisor]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisorOptions {
    /// `id`: how this host is called in the cluster. `None`: by its own name.
    pub id: Option<String>,
    /// `directory`: where it remembers which cluster it belongs to and which processes it has started. `None`: below the
    /// user's state directory.
    pub directory: Option<PathBuf>,
    /// `rack`, `slots`, `cpu`, `memory`: what the host offers.
    pub host: HostOptions,
    /// `blobs_from`: the nimbuses that are asked for what topologies are made of. Empty: it is read from `cluster.blobs`.
    pub blobs_from: Vec<String>,
    /// `token_file`: the file with the token by which this supervisor asks them. Nobody else may read it.
    pub token_file: Option<PathBuf>,
    /// `log_max` and `log_keep`: how long the log files of a process may be.
    pub log_files: LogFileOptions,
    /// `limits`: what these processes may use.
    pub limits: ProcessLimits,
}

/// How long the files `worker.log` and `output` of a process may be, and how many earlier ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFileOptions {
    /// `log_max`: the bytes of such a file from which on it is begun anew.
    pub max: u64,
    /// `log_keep`: how many earlier files are kept beside each.
    pub keep: u32,
}

impl Default for LogFileOptions {
    fn default() -> LogFileOptions {
        LogFileOptions { max: 10 << 20, keep: 5 }
    }
}

impl Default for SupervisorOptions {
    fn default() -> SupervisorOptions {
        let host = HostOptions::default();
        SupervisorOptions {
            id: None,
            directory: None,
            host,
            blobs_from: Vec::new(),
            token_file: None,
            log_files: LogFileOptions::default(),
            limits: ProcessLimits::default(),
        }
    }
}

impl SupervisorOptions {
    /// Everything that is wrong with these options.
    pub fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = Problems(id_problems("supervisor.id", self.id.as_deref()));
        let (key, max) = ("supervisor.slots", limits::HOST_SLOTS_MAX);
        if !(1..=max).contains(&self.host.slots) {
            let message = format!("`{key}` must be from 1 to {max}, not {}", self.host.slots);
            problems.add(key, None, message, "it is how many workers the host may run");
        }
        let (key, max) = ("supervisor.memory", limits::HOST_MEMORY_MAX);
        if self.host.resources.memory > max {
            let message = format!("`{key}` must be at most {}", show_size(max));
            problems.add(key, None, message, "it is the memory of the host that workers may use");
        }
        for (nimbus, error) in
            self.blobs_from.iter().filter_map(|text| Some((text, text.parse::<Endpoint>().err()?)))
        {
            let key = "supervisor.blobs_from";
            problems.add(key, None, format!("`{key}`: \"{nimbus}\" is not the address of a nimbus"), error);
        }
        let (key, least, most) = ("supervisor.log_max", limits::LOG_SIZE_MIN, limits::LOG_SIZE_MAX);
        if !(least..=most).contains(&self.log_files.max) {
            let message = format!("`{key}` must be from {} to {}", show_size(least), show_size(most));
            problems.add(
                key,
                None,
                message,
                "it is the size from which on a log file of a process is begun anew",
            );
        }
        let (key, max) = ("supervisor.log_keep", limits::LOG_FILES_MAX);
        if self.log_files.keep > max {
            let message = format!("`{key}` must be at most {max}, not {}", self.log_files.keep);
            problems.add(key, None, message, "it is how many earlier files are kept of each log file");
        }
        problems.0.extend(self.limits.problems());
        problems.0
    }
}

/// Characters of the longest id of a daemon.
const ID_MAX: usize = 40;

/// Whether a daemon may be called so: a name of a node, with room for what nimbus appends to its own.
pub fn is_daemon_id(id: &str) -> bool {
    is_node_name(id) && id.len() <= ID_MAX
}

/// What is wrong with the id of a daemon.
pub(super) fn id_problems(key: &'static str, id: Option<&str>) -> Vec<OptionProblem> {
    let mut problems = Problems::default();
    if let Some(id) = id.filter(|id| !is_daemon_id(id)) {
        let message = format!("`{key}`: \"{id}\" is not a name");
        let help = format!("use 1 to {ID_MAX} letters, digits, `_`, `.` or `-`");
        problems.add(key, None, message, help);
    }
    problems.0
}
