//! Where a thread that wants a savepoint waits for the answer, and those that want a checkpoint.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::ids::CheckpointId;
use crate::runtime::checkpoint_desk::{CheckpointDesk, LOOK_PERIOD};

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
    answer: Mutex<Option<Result<CheckpointId, String>>>,
    on_answer: Condvar,
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
        let lock = || self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        *lock() = None;
        ask(directory.clone());
        loop {
            // Looked at before the answer: what was answered at the end is not missed.
            let ended = has_ended();
            let wait = self.on_answer.wait_timeout_while(lock(), LOOK_PERIOD, |answer| answer.is_none());
            match wait.unwrap_or_else(PoisonError::into_inner).0.take() {
                Some(Ok(checkpoint)) => return Ok(Savepoint { checkpoint, directory }),
                Some(Err(why)) => return Err(SavepointError::Failed(why)),
                None if ended => return Err(SavepointError::Ended),
                None => {}
            }
        }
    }

    /// Answers.
    pub fn answer(&self, answer: Result<CheckpointId, String>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.on_answer.notify_all();
    }
}
