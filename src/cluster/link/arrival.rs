//! What a process that connects has to say once it has proven who it is, and what it is answered.

use serde::{Deserialize, Serialize};

use crate::cluster::link::living::Living;
use crate::ids::WorkerId;

/// The first line after the handshake, from the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Introduction {
    /// Its process id, and the host that this holds for, so that a master on that host can look at the process.
    pub pid: u32,
    /// The boot of its host, which no other host has.
    pub boot: String,
    /// The epoch of the master that it was connected with before; 0: none.
    pub epoch: u64,
    /// How many lines of that master it has taken.
    pub taken: u64,
    /// Where it was started, and for what.
    #[serde(default)]
    pub started: StartedAt,
    /// What it runs; `None`: it waits for what to run.
    pub living: Option<Living>,
}

/// Where a process was started, and for what. One of an earlier version does not say so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedAt {
    /// The id of its supervisor. Empty: it does not say so.
    pub host: String,
    /// The change of the assignment that was known there; 0: it does not say so.
    pub change: u64,
}

/// The answer of the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// The process waits for its start.
    Fresh,
    /// The same process was here before: both go on after the lines that they have taken.
    Again {
        /// How many lines of the worker the master has taken.
        taken: u64,
    },
    /// The master takes over the worker as it runs.
    Adopted,
    /// The process must end, for this reason.
    Fenced(String),
}

/// A process that has proven who it is, as the core of the master sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// The number of its worker.
    pub worker: WorkerId,
    /// Which process: a number that it has drawn.
    pub process: u64,
    /// Where it was started, and for what.
    pub started: StartedAt,
    /// What it runs; `None`: it waits for what to run.
    pub living: Option<Living>,
}

/// The id of this boot of this host: another host has another one.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
