//! How a topology goes, as its master reports it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::coordination::Record;
use crate::cluster::topologies::savepoint::SavepointAnswer;
use crate::cluster::topologies::upgrade::UpgradeVerdict;

/// What a topology does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TopologyPhase {
    /// Not all of its workers were up yet, or it is on trial as an upgrade, and not up yet.
    #[default]
    Starting,
    /// Its workers were all up, and spouts may emit.
    Active,
    /// Its workers were all up, and spouts rest.
    Inactive,
    /// It is ending.
    Ending,
    /// It has ended.
    Ended,
}

/// How a topology has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Why it could not go on, if it failed.
    pub failure: Option<String>,
    /// Whether its end was cut short, so that work may be undone.
    pub cut_short: bool,
    /// How many messages were completed.
    pub completed: u64,
    /// How many messages failed and were not emitted again.
    pub failed: u64,
    /// How many messages were lost because workers died; a lower bound.
    pub lost: u64,
    /// How often workers were started again.
    pub restarts: u64,
    /// When it ended, for people.
    pub ended_at: String,
}

/// How a topology goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    /// The epoch of the master that reports it.
    pub epoch: u64,
    /// The generation that the master runs.
    pub generation: u64,
    /// What it does.
    pub phase: TopologyPhase,
    /// How it has ended, if it has.
    pub outcome: Option<Outcome>,
    /// What came of the savepoint that was answered last.
    pub savepoint: Option<SavepointAnswer>,
    /// Of a generation that is on trial as an upgrade: how that goes.
    pub verdict: Option<UpgradeVerdict>,
}

impl Record for StateRecord {
    const KIND: &'static str = "state";
    const VERSION: u32 = 1;
}
