//! Which process of which topology: the children of a supervisor.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cluster::topologies::TopologyId;
use crate::ids::WorkerId;
use crate::text::shown;

/// What a process is to its topology. Its private directory is called so: `master`, `worker-3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Role {
    /// The process that decides.
    Master,
    /// A worker.
    Worker(WorkerId),
}

/// Why a text is no [`Role`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no child of a supervisor: `master` and `worker-3` are", shown(.0))]
pub struct RoleError(String);

impl Role {
    /// The command of squall that is such a process.
    pub fn command(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Worker(_) => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Master => f.write_str("master"),
            Role::Worker(worker) => write!(f, "worker-{worker}"),
        }
    }
}

impl FromStr for Role {
    type Err = RoleError;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<Role, RoleError> {
        let worker = text.strip_prefix("worker-").and_then(|number| number.parse().ok());
        let role =
            if text == "master" { Some(Role::Master) } else { worker.map(|n| Role::Worker(WorkerId(n))) };
        role.filter(|role| role.to_string() == text).ok_or_else(|| RoleError(text.to_owned()))
    }
}

impl TryFrom<String> for Role {
    type Error = RoleError;

    fn try_from(text: String) -> Result<Role, RoleError> {
        text.parse()
    }
}

impl From<Role> for String {
    fn from(role: Role) -> String {
        role.to_string()
    }
}

/// A child: at most one process at a time, in one private directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId {
    /// Its topology.
    pub topology: TopologyId,
    /// What it is to it.
    pub role: Role,
}

impl ChildId {
    /// Its private directory below that of all topologies.
    pub fn directory(&self, topologies: &Path) -> PathBuf {
        topologies.join(self.topology.to_string()).join(self.role.to_string())
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topology, self.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_as_it_is_written() {
        for role in [Role::Master, Role::Worker(WorkerId(0)), Role::Worker(WorkerId(u16::MAX))] {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        for text in ["", "worker", "worker-", "worker-01", "worker-65536", "worker-+1", "../master", "Master"]
        {
            assert!(text.parse::<Role>().is_err(), "{text}");
        }
    }
}
