//! Where a topology keeps what it writes for itself: a directory for each topology below the user's state directory.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

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
