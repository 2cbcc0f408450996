//! What keeps a process of a topology from running, as operators see it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::topologies::TopologyId;

/// A process that does not run as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemInfo {
    /// The topology.
    pub topology: TopologyId,
    /// The id of the supervisor that reports it.
    pub host: String,
    /// Which process: `master`, or `worker-` and its number.
    pub process: String,
    /// What is wrong, for people. It goes on from the name of the process: `cannot be started: ...`.
    pub problem: String,
    /// Since when, by the clock of the host, for people.
    pub since: String,
}

impl fmt::Display for ProblemInfo {
    /// For people. What comes of data is not escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.process.replacen('-', " ", 1);
        write!(f, "{process} on {} {} (since {})", self.host, self.problem, self.since)
    }
}
