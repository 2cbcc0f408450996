//! `[cluster]`, `[nimbus]` and `[supervisor]`: the daemons of a cluster.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::host::HostOptions;
use crate::config::limits;
use crate::config::problems::{OptionProblem, Problems};
use crate::config::units::show_size;
use crate::ids::is_node_name;

/// `[cluster]`: what all daemons of a cluster have alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterOptions {
    /// `blobs`: the directory with what topologies are made of, which all nimbuses and supervisors see. `None`: below the
    /// user's state directory.
    pub blobs: Option<PathBuf>,
}

/// `[nimbus]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NimbusOptions {
    /// `id`: how this nimbus is called. `None`: as its host.
    pub id: Option<String>,
    /// `directory`: where it remembers which cluster it belongs to. `None`: below the user's state directory.
    pub directory: Option<PathBuf>,
    /// `supervisor_timeout`: what runs on a host is placed elsewhere when its supervisor was missing for so long.
    pub supervisor_timeout: Duration,
}

impl Default for NimbusOptions {
    fn default() -> NimbusOptions {
        NimbusOptions { id: None, directory: None, supervisor_timeout: Duration::from_secs(30) }
    }
}

/// `[supervisor]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisorOptions {
    /// `id`: how this host is called in the cluster. `None`: by its own name.
    pub id: Option<String>,
    /// `directory`: where it remembers which cluster it belongs to. `None`: below the user's state directory.
    pub directory: Option<PathBuf>,
    /// `rack`, `slots`, `cpu`, `memory`: what the host offers.
    pub host: HostOptions,
}

impl NimbusOptions {
    /// Everything that is wrong with these options.
    pub fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = Problems(id_problems("nimbus.id", self.id.as_deref()));
        let (key, timeout) = ("nimbus.supervisor_timeout", self.supervisor_timeout);
        problems.period(key, timeout, limits::SUPERVISOR_TIMEOUT_MIN, limits::DURATION_MAX);
        problems.0
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
        problems.0
    }
}

/// Characters of the longest id of a daemon.
const ID_MAX: usize = 40;

/// Whether a daemon may be called so: a name of a node, with room for what nimbus appends to its own.
pub fn is_daemon_id(id: &str) -> bool {
    is_node_name(id) && id.len() <= ID_MAX
}

fn id_problems(key: &'static str, id: Option<&str>) -> Vec<OptionProblem> {
    let mut problems = Problems::default();
    if let Some(id) = id.filter(|id| !is_daemon_id(id)) {
        let message = format!("`{key}`: \"{id}\" is not a name");
        let help = format!("use 1 to {ID_MAX} letters, digits, `_`, `.` or `-`");
        problems.add(key, None, message, help);
    }
    problems.0
}
