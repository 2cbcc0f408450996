//! Where tasks are in their sequences of batches, and whether a store continues these.

use serde::{Deserialize, Serialize};

use crate::api::{MapWriter, TaskError};
use crate::ids::CheckpointId;

/// Where a task is in its sequence of batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sequence {
    pub(super) task: u32,
    pub(super) lineage: i64,
    /// The last batch.
    pub(super) txid: u64,
    /// The checkpoint that this is of.
    pub(super) checkpoint: CheckpointId,
}

/// Refuses a store that does not continue what a checkpoint has of these tasks. `found`: who has put something.
pub(super) fn check_continues(
    sequences: &[Sequence],
    found: &[MapWriter],
    name: &str,
) -> Result<(), TaskError> {
    let refused =
        |why: String| Err(TaskError::fatal(format!("the run does not continue the state `{name}`, {why}")));
    for Sequence { task, lineage, .. } in sequences {
        match found.iter().find(|writer| writer.task == *task) {
            None => {
                return refused(format!(
                    "which has nothing of task {task}: is this another store, or was it emptied? A state of type `memory` \
                     ends with its process"
                ));
            }
            Some(writer) if writer.lineage != *lineage => {
                return refused(format!(
                    "to which a run that began anew, or one with other checkpoints, has written as task {task} since"
                ));
            }
            Some(_) => {}
        }
    }
    let Some(begin) = sequences.iter().map(|sequence| sequence.checkpoint).max() else { return Ok(()) };
    let is_own = |writer: &&MapWriter| sequences.iter().any(|sequence| sequence.lineage == writer.lineage);
    let put = found.iter().filter(is_own).map(|writer| writer.checkpoint).max();
    match put.filter(|put| *put > begin) {
        Some(put) => refused(format!(
            "which has what came up to checkpoint {put} already, and the run begins with checkpoint {begin}: continue from the \
             latest checkpoint, or empty the store and begin anew"
        )),
        None => Ok(()),
    }
}
