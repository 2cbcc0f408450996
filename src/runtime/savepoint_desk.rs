//! Where a thread that wants a savepoint waits for the answer, and those that want a checkpoint.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::ids::CheckpointId;
use crate::runtime::answers::{Answers, NoAnswer};
use crate::runtime::checkpoint_desk::CheckpointDesk;

/// Why there is no savepoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavepointError {
    /// The topology takes no checkpoints.
    #[error("a savepoint is a checkpoint, and only a topology with `delivery = \"exactly-once\"` takes any")]
    NoCheckpoints,
    /// It could not be taken, for this reason. The run goes on.
    #[error("the savepoint could not be taken: {0}")]
    Failed(String),
    /// The run ended before it was taken.
    #[error("the run ended before the savepoint was taken")]
    Ended,
}

/// A savepoint that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savepoint {
    /// The checkpoint that it is a copy of.
    pub checkpoint: CheckpointId,
    /// Where it is.
    pub directory: PathBuf,
}

/// Where a thread waits that wants a savepoint. One waits at a time.
#[derive(Debug, Default)]
pub struct SavepointDesk {
    turn: Mutex<()>,
    answers: Answers,
    /// Where threads wait that want a checkpoint.
    pub checkpoints: CheckpointDesk,
}

impl SavepointDesk {
    /// Asks, and waits for the answer, or until the run has ended.
    pub fn ask(
        &self,
        directory: PathBuf,
        ask: impl FnOnce(PathBuf),
        has_ended: impl Fn() -> bool,
    ) -> Result<Savepoint, SavepointError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match self.answers.ask(|_| ask(directory.clone()), None, has_ended) {
            Ok(Ok(checkpoint)) => Ok(Savepoint { checkpoint, directory }),
            Ok(Err(why)) => Err(SavepointError::Failed(why)),
            // Nobody waits only for so long.
            Err(NoAnswer::Ended | NoAnswer::TimedOut) => Err(SavepointError::Ended),
        }
    }

    /// Answers the thread that waits, if one does.
    pub fn answer(&self, answer: &Result<CheckpointId, String>) {
        self.answers.answer(u64::MAX, answer);
    }
}
