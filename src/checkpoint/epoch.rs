//! Which epoch is current, and which checkpoints count.
//!
//! An epoch begins in two steps. The first one, the *claim*, takes the next number; from then on nobody of an
//! earlier epoch may publish. The second one notes which checkpoints were there after the claim. A publication that
//! was under way during the claim is either among them, or does not count; the publisher reads this file once more
//! afterwards, and so notices that it may not rely on it.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::checkpoint::error::Flaw;
use crate::checkpoint::record;
use crate::ids::CheckpointId;

const KIND: &str = "epoch";
/// The longest file.
pub(super) const EPOCH_MAX: u64 = 1 << 20;

/// The content of the file `EPOCH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EpochRecord {
    /// Whose checkpoints these are.
    pub(super) topology: SmolStr,
    /// The highest epoch that was claimed.
    pub(super) epoch: u64,
    /// The checkpoints of this epoch, and of later ones, count.
    pub(super) since: u64,
    /// Of earlier epochs only these count. Some may have been deleted since.
    pub(super) kept: Vec<CheckpointId>,
}

impl EpochRecord {
    /// What holds before the first epoch.
    pub(super) fn new(topology: SmolStr) -> EpochRecord {
        EpochRecord { topology, epoch: 0, since: 0, kept: Vec::new() }
    }

    /// Whether a checkpoint counts.
    pub(super) fn counts(&self, checkpoint: CheckpointId) -> bool {
        checkpoint.epoch >= self.since || self.kept.contains(&checkpoint)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        record::encode(KIND, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<EpochRecord, Flaw> {
        record::decode(KIND, bytes)
    }
}
