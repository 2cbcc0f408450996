//! Answers about a cluster as a whole: its nimbuses, its hosts, and what is assigned to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::platform::Platform;
use crate::cluster::problem::ProblemInfo;
use crate::config::Resources;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterInfo {
    /// Its id.
    pub id: String,
    /// The nimbus that leads.
    pub leader: Option<String>,
    /// How often a nimbus has begun to lead.
    pub epoch: u64,
    /// All nimbuses.
    pub nimbuses: Vec<NimbusInfo>,
    /// All supervisors, by id.
    pub supervisors: Vec<SupervisorInfo>,
    /// The hosts whose supervisors are not there, if something is wanted of them, or should run there.
    pub missing: Vec<HostInfo>,
}

/// One nimbus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NimbusInfo {
    /// Its id.
    pub id: String,
    /// Where its API is reached.
    pub address: String,
}

/// One supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SupervisorInfo {
    /// Its host.
    #[serde(flatten)]
    pub host: HostInfo,
    /// The rack that it is in.
    pub rack: String,
    /// How many workers it may run.
    pub slots: u16,
    /// How many are assigned to it.
    pub used: u16,
    /// Its processor time and memory.
    pub resources: Resources,
    /// Which programs it can run.
    pub platform: Platform,
    /// When it was started, for people.
    pub started_at: String,
}

/// A host, what is wanted of it, and what runs there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostInfo {
    /// The id of its supervisor.
    pub id: String,
    /// Whether its supervisor is there.
    pub is_there: bool,
    /// Since when it is to be empty, for people; null: it is not.
    pub drained_since: Option<String>,
    /// For how many seconds it is blacklisted from now on, because its supervisor went away too often; null: it is not.
    pub blacklisted_for: Option<u64>,
    /// What is assigned to it, by topology.
    pub runs: Vec<HostedInfo>,
    /// Which of its processes do not run as they should, as its supervisor reports.
    #[serde(default)]
    pub problems: Vec<ProblemInfo>,
    /// How many problems it has beside these.
    #[serde(default)]
    pub problems_left_out: u32,
}

/// What a topology has on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostedInfo {
    /// The topology.
    pub topology: String,
    /// Its workers there.
    pub workers: Vec<u16>,
    /// Whether its master is there.
    pub master: bool,
    /// What the topology lacks, and why it does not move from a host that is to be empty.
    pub short: Option<String>,
}
