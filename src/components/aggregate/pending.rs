//! What tuples have added up to and the store does not have yet.

use serde::{Deserialize, Serialize};

use crate::api::MapKey;
use crate::components::aggregate::function::Part;
use crate::ids::CheckpointId;

/// What waits for a key to be put into the store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Of the tuples since the last checkpoint.
    pub(super) open: Option<Part>,
    /// Whether the total with that was emitted.
    #[serde(default)]
    pub(super) is_emitted: bool,
    /// Of earlier ones that are not known to be in the store, in the order of their ids.
    pub(super) batches: Vec<Batch>,
}

/// What a batch has for a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) txid: u64,
    pub(super) checkpoint: CheckpointId,
    pub(super) part: Part,
}

/// A batch that is to be put, or that part of it whose keys a task has.
#[derive(Default)]
pub(super) struct Due {
    /// The last of its checkpoints: batches of several tasks may have one id.
    pub(super) checkpoint: CheckpointId,
    pub(super) parts: Vec<(MapKey, Part)>,
}
