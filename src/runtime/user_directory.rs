//! What is below the user's state directory: a directory for each topology, where it keeps what it writes for itself, and
//! one for secrets.

use std::env;
use std::path::{PathBuf, absolute};
use std::sync::Arc;

use crate::config::SecretsOptions;
use crate::secrets::SecretDirectory;
use crate::state::{RedbBackend, StateBackend};
use crate::topology::graph::Topology;

/// The directory in which this user's programs keep their state. `None`: neither `XDG_STATE_HOME` nor `HOME` is set.
pub(crate) fn state_home() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))
}

/// The directory of a topology below the user's state directory. `None`: neither `XDG_STATE_HOME` nor `HOME` is set.
pub fn user_directory(topology: &Topology) -> Option<PathBuf> {
    let name = topology.name();
    // A name may be one or two dots, which are no names for a directory.
    let name = if name.starts_with('.') { format!("_{name}") } else { name.to_owned() };
    Some(directory_of_all()?.join(name))
}

/// The secrets of this host: where `[secrets]` has them, or in `squall/secrets` of the user's state directory. The path is
/// absolute, because other processes get it.
pub(crate) fn secret_directory(options: &SecretsOptions) -> SecretDirectory {
    let own = || Some(directory_of_all()?.join("secrets"));
    let path = options.directory.clone().or_else(own);
    path.map_or_else(SecretDirectory::none, |path| SecretDirectory::new(absolute(&path).unwrap_or(path)))
}

/// The directory of all topologies.
fn directory_of_all() -> Option<PathBuf> {
    Some(state_home()?.join("squall"))
}

/// What keeps state that is not in memory: files in the directory that the topology names, or in that of all topologies.
/// Files have no names there, so a directory for each topology would be left behind empty. Nothing is opened before a task
/// needs it.
pub fn state_backend(topology: &Topology) -> Arc<dyn StateBackend> {
    let own = topology.options().state.directory.clone();
    Arc::new(RedbBackend::new(own.or_else(directory_of_all)))
}
