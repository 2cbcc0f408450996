//! A savepoint that somebody wants of a topology, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A savepoint that somebody wants. A master takes it up if it is not answered, so a wish is answered once, and a
/// savepoint whose answer was lost with its master is taken again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavepointWish {
    /// From 1; one more with each savepoint that is wanted of the topology.
    pub number: u64,
    /// Its directory on the hosts, an absolute path. `None`: a new one, beside the directory of the checkpoints.
    pub directory: Option<String>,
    /// Whether the topology ends with it.
    pub stops: bool,
}

/// What came of a savepoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavepointAnswer {
    /// The number of the wish.
    pub number: u64,
    /// The savepoint, if it was taken.
    pub taken: Option<TakenSavepoint>,
    /// Why it was not taken. Then the topology goes on.
    pub failure: Option<String>,
}

/// A savepoint that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakenSavepoint {
    /// The checkpoint that it is a copy of.
    pub checkpoint: String,
    /// Its directory on the hosts.
    pub directory: String,
}
