//! Savepoints, and checkpoints that somebody wants now: see `checkpoint_sequence`.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Time;
use crate::ids::CheckpointId;
use crate::runtime::checkpoint_sequence::machine::{CheckpointSequence, CommitsBefore, Phase};

/// Why none is taken any more.
pub(super) const ENDS_ALREADY: &str = "the input has ended, and the run comes to its end";

impl CheckpointSequence {
    /// Somebody wants a savepoint in this directory; `stops`: the run ends with it. The answer is an action.
    pub fn want_savepoint(&mut self, directory: PathBuf, stops: bool) {
        self.savepoints.want(directory, stops, &mut self.actions);
        if self.ends_already() {
            self.savepoints.refuse(ENDS_ALREADY, &mut self.actions);
        }
    }

    /// Somebody wants a checkpoint that begins from now on: the question of this number. The answer is an action.
    pub fn want_checkpoint(&mut self, question: u64) {
        self.wanted.want(question);
        if self.ends_already() {
            self.wanted.refuse(ENDS_ALREADY, &mut self.actions);
        }
    }

    /// Whether no checkpoint is taken any more for whoever asks.
    fn ends_already(&self) -> bool {
        self.has_finished || self.is_stopped || matches!(self.phase, Phase::Over | Phase::Failed)
    }

    /// A savepoint was copied, or could not be. Then the run goes on.
    pub fn exported(&mut self, checkpoint: CheckpointId, result: Result<(), String>, now: Time) {
        if self.savepoints.exported(checkpoint, result, &mut self.actions) {
            self.does_not_stop(now);
        }
    }

    /// No savepoint is taken now, and the run does not stop with one.
    pub(super) fn refuse_savepoint(&mut self, why: &str, now: Time) {
        self.savepoints.refuse(why, &mut self.actions);
        self.does_not_stop(now);
    }

    fn does_not_stop(&mut self, now: Time) {
        if matches!(self.phase, Phase::Committing { why: CommitsBefore::Stop, .. }) {
            self.phase = Phase::Running;
            let pause = if self.has_finished { Duration::ZERO } else { self.options.interval };
            self.not_before = now.after(pause);
        }
    }
}
