//! What of a checkpoint is not restored, on purpose.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::ids::CheckpointId;

/// States that a run leaves behind when it begins with a checkpoint. The default leaves nothing behind.
///
/// It holds for that one checkpoint. The next one has what the component registers now, which may be another state of the
/// same name.
///
/// # Examples
/// ```
/// use squall::checkpoint::LeftBehind;
/// use squall::ids::CheckpointId;
///
/// let checkpoint = CheckpointId { epoch: 1, number: 7 };
/// let left = LeftBehind::of(checkpoint, [("count".into(), "totals".into())]);
/// assert_eq!(left.states_of(Some(checkpoint), "count").len(), 1);
/// let next = CheckpointId { epoch: 2, number: 1 };
/// assert!(left.states_of(Some(next), "count").is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    checkpoint: CheckpointId,
    /// By component.
    states: BTreeMap<SmolStr, BTreeSet<SmolStr>>,
}

impl LeftBehind {
    /// Of this checkpoint, these: each a component, and the name of a state.
    pub fn of(checkpoint: CheckpointId, states: impl IntoIterator<Item = (SmolStr, SmolStr)>) -> LeftBehind {
        let mut left = LeftBehind { checkpoint, states: BTreeMap::new() };
        for (component, state) in states {
            left.states.entry(component).or_default().insert(state);
        }
        left
    }

    /// The states of a component that are left behind of a checkpoint.
    pub fn states_of(&self, checkpoint: Option<CheckpointId>, component: &str) -> BTreeSet<SmolStr> {
        match checkpoint == Some(self.checkpoint) {
            true => self.states.get(component).cloned().unwrap_or_default(),
            false => BTreeSet::new(),
        }
    }
}
