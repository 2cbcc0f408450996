//! The names of the files of a store.
//!
//! A name states what is in the file, so that whatever a crash left behind can be told from files that are in use,
//! and from files of somebody else, without reading it. The name of a component may have dashes; it stands between
//! parts that have none.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::ids::{CheckpointId, is_legal_name};

/// The file that states which epoch is current.
pub(crate) const EPOCH: &str = "EPOCH";

/// One task, by its component and its place among that component's tasks.
///
/// # Examples
/// ```
/// use squall::checkpoint::TaskName;
///
/// assert_eq!(TaskName::new("count", 3).to_string(), "count-3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskName {
    /// The component.
    pub component: SmolStr,
    /// The task among the component's, from 0.
    pub task_index: u32,
}

impl TaskName {
    /// The task of a component with this index.
    pub fn new(component: impl Into<SmolStr>, task_index: u32) -> TaskName {
        TaskName { component: component.into(), task_index }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.component, self.task_index)
    }
}

/// The snapshot file that a task writes for a checkpoint.
pub(super) fn snapshot_name(checkpoint: CheckpointId, task: &TaskName) -> String {
    format!("snapshot-{checkpoint}-{task}")
}

/// The manifest of a checkpoint.
pub(super) fn manifest_name(checkpoint: CheckpointId) -> String {
    format!("manifest-{checkpoint}.json")
}

/// The checkpoint whose manifest has this name.
pub(crate) fn manifest_of(name: &str) -> Option<CheckpointId> {
    let (checkpoint, rest) = checkpoint_of(name.strip_prefix("manifest-")?.strip_suffix(".json")?)?;
    (rest.is_empty() && manifest_name(checkpoint) == name).then_some(checkpoint)
}

/// The checkpoint for which the snapshot file of this name was written.
pub(super) fn snapshot_of(name: &str) -> Option<CheckpointId> {
    let (checkpoint, rest) = checkpoint_of(name.strip_prefix("snapshot-")?)?;
    let (component, index) = rest.strip_prefix('-')?.rsplit_once('-')?;
    let task = TaskName::new(component, index.parse().ok()?);
    (is_legal_name(component) && snapshot_name(checkpoint, &task) == name).then_some(checkpoint)
}

/// `2-7`, and what follows it.
fn checkpoint_of(text: &str) -> Option<(CheckpointId, &str)> {
    let (epoch, rest) = text.split_once('-')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    Some((CheckpointId { epoch: epoch.parse().ok()?, number: number.parse().ok()? }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_back_its_checkpoint() {
        let checkpoint = CheckpointId { epoch: 2, number: 17 };
        for component in ["count", "a-1", "1-2-3", "x.y_z", "-", "--9", &"x".repeat(64)] {
            let name = snapshot_name(checkpoint, &TaskName::new(component, 4));
            assert_eq!((snapshot_of(&name), manifest_of(&name)), (Some(checkpoint), None), "{name}");
        }
        let name = manifest_name(checkpoint);
        assert_eq!((manifest_of(&name), snapshot_of(&name)), (Some(checkpoint), None));
    }

    #[test]
    fn names_of_others_are_left_alone() {
        let check = |name: &str| assert_eq!((snapshot_of(name), manifest_of(name)), (None, None), "{name}");
        check("");
        check("EPOCH");
        check("notes.json");
        check("manifest-1.json");
        check("manifest-01-2.json");
        check("manifest-+1-2.json");
        check("manifest-1-2-3.json");
        check("manifest-1-2.json.bak");
        check("snapshot-1-2");
        check("snapshot-1-2-count");
        check("snapshot-1-2-count-00");
        check("snapshot-1-2-count-4294967296");
        check("snapshot-1-2-../etc-0");
        check("snapshot-99999999999999999999-2-count-0");
    }
}
