//! Another topology in the place of one that runs, and what came of it.
//!
//! ```text
//!   pending ── the master of the generation reports that it is up ─────────────────▶ accepted
//!      └────── the master refuses it, or it is not up in time, or it is stopped ───▶ rolled back: the next generation
//! ```
//!
//! 1. Only nimbus writes what came of it, once, into the spec.
//! 2. A generation that began as an upgrade is on trial until its master has read that it was accepted. On trial it
//!    publishes no checkpoint, so a roll back and a checkpoint of what is rolled back exclude each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What came of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeOutcome {
    /// It is not known yet.
    Pending,
    /// The new topology is up, and stays.
    Accepted,
    /// The topology before runs again, in the next generation. The text is the reason.
    RolledBack(String),
}

/// What a master reports of a generation that began as an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeVerdict {
    /// It is not up yet. The text is what it waits for.
    Waits(String),
    /// It is up.
    Up,
    /// It cannot run, for this reason, and processes nothing.
    Refused(String),
}

/// What the topology leaves behind of the checkpoint with which a generation begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedState {
    /// The generation.
    pub generation: u64,
    /// As `COMPONENT` or `COMPONENT.STATE`.
    pub names: Vec<String>,
}
