//! Where threads that want a checkpoint now wait for the answer.

use std::time::Duration;

use crate::ids::CheckpointId;
use crate::runtime::answers::{Answers, NoAnswer};

/// Why there is no checkpoint that was taken on demand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeCheckpointError {
    /// The topology takes no checkpoints.
    #[error("only a topology with `delivery = \"exactly-once\"` takes checkpoints")]
    NoCheckpoints,
    /// It did not become complete, for this reason. The run goes on.
    #[error("the checkpoint could not be taken: {0}")]
    Failed(String),
    /// It was not complete in time. It is still taken, unless it takes longer than `[topology.checkpoint] timeout`.
    #[error("the checkpoint was not complete after {0:?}")]
    TimedOut(Duration),
    /// The run ended before it was taken.
    #[error("the run ended before the checkpoint was taken")]
    Ended,
}

/// Where threads wait. Any number of them may.
#[derive(Debug, Default)]
pub struct CheckpointDesk(Answers);

impl CheckpointDesk {
    /// Asks by passing on the number of the question, and waits for the answer: at most for so long, or until the run has
    /// ended.
    pub fn ask(
        &self,
        ask: impl FnOnce(u64),
        at_most: Duration,
        has_ended: impl Fn() -> bool,
    ) -> Result<CheckpointId, TakeCheckpointError> {
        match self.0.ask(ask, Some(at_most), has_ended) {
            Ok(answer) => answer.map_err(TakeCheckpointError::Failed),
            Err(NoAnswer::TimedOut) => Err(TakeCheckpointError::TimedOut(at_most)),
            Err(NoAnswer::Ended) => Err(TakeCheckpointError::Ended),
        }
    }

    /// Answers this question and all before it that are open.
    pub fn answer(&self, upto: u64, answer: &Result<CheckpointId, String>) {
        self.0.answer(upto, answer);
    }
}
