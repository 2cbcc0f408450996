//! What is wanted of a topology.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::access::TopologyAccess;
use crate::cluster::blob_hash::BlobHash;
use crate::cluster::coordination::Record;
use crate::cluster::topologies::begin::TopologyBegin;
use crate::cluster::topologies::id::TopologyId;
use crate::cluster::topologies::log_levels::LogLevels;
use crate::cluster::topologies::savepoint::SavepointWish;

/// What somebody wants a topology to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// Run, and spouts emit.
    Active,
    /// Run, and spouts rest.
    Inactive,
    /// End in order: spouts emit no more, and what is in flight is processed.
    Drained,
    /// End without delay.
    Killed,
}

impl Wanted {
    /// Whether the topology is to end.
    pub fn is_end(self) -> bool {
        matches!(self, Wanted::Drained | Wanted::Killed)
    }
}

/// What a topology is made of, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRecord {
    /// The epoch of the nimbus that has written this.
    pub epoch: u64,
    /// The topology.
    pub id: TopologyId,
    /// From 1; one more with each change of what is wanted or of what the topology is made of.
    pub change: u64,
    /// Whose it is; empty: nobody's in particular.
    pub owner: String,
    /// Who else may do something with it.
    pub access: TopologyAccess,
    /// When it was submitted, for people.
    pub submitted_at: String,
    /// The blob with the [`TopologySource`](crate::cluster::TopologySource), as JSON.
    pub source: BlobHash,
    /// From 1; one more whenever all workers are to begin anew, as after a change of the source.
    pub generation: u64,
    /// Whether the workers of this generation are spread anew over the hosts. Otherwise they stay where they can.
    pub spreads: bool,
    /// Names the run: 32 hexadecimal digits, random. All workers and masters of the topology have the same.
    pub run: String,
    /// How it begins.
    pub begin: TopologyBegin,
    /// What is wanted.
    pub wanted: Wanted,
    /// The savepoint that was wanted last.
    pub savepoint: Option<SavepointWish>,
    /// What its processes log for a while.
    pub log: Option<LogLevels>,
}

impl Record for SpecRecord {
    const KIND: &'static str = "spec";
    const VERSION: u32 = 1;
}
