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
use crate::cluster::topologies::state::Outcome;
use crate::cluster::topologies::upgrade::{DroppedState, UpgradeOutcome};

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
    /// From 1; one more whenever workers are to begin anew or to move, as after a change of the source.
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
    /// The upgrade that was wanted last.
    pub upgrade: Option<Upgrade>,
    /// What generations leave behind, oldest first: of upgrades that were not rolled back.
    pub dropped: Vec<DroppedState>,
    /// How it has ended, if a nimbus has found that no master is there that could report its end.
    pub ended: Option<Outcome>,
}

/// Another topology in the place of one that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgrade {
    /// The generation that has the new topology.
    pub generation: u64,
    /// The blob of the topology before, to which it is rolled back.
    pub before: BlobHash,
    /// How long it may take until it is up, in milliseconds. A nimbus that begins to lead begins this time anew.
    pub timeout_ms: u64,
    /// What came of it.
    pub outcome: UpgradeOutcome,
}

impl SpecRecord {
    /// The upgrade of which is not known yet what comes of it.
    pub fn pending_upgrade(&self) -> Option<&Upgrade> {
        self.upgrade.as_ref().filter(|upgrade| upgrade.outcome == UpgradeOutcome::Pending)
    }

    /// Whether this generation of the spec began as an upgrade.
    pub fn is_upgrade(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.generation == self.generation)
    }

    /// Whether an upgrade that this generation began as was accepted.
    pub fn has_accepted(&self, generation: u64) -> bool {
        let is_accepted =
            |it: &Upgrade| it.generation == generation && it.outcome == UpgradeOutcome::Accepted;
        self.upgrade.as_ref().is_some_and(is_accepted)
    }
}

impl Record for SpecRecord {
    const KIND: &'static str = "spec";
    const VERSION: u32 = 1;
}
