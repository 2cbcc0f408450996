//! How all tasks go back to the latest checkpoint, and begin with it: see `checkpoint_sequence`.

use std::time::Duration;

use crate::checkpoint::{Manifest, RunState};
use crate::clock::Time;
use crate::config::doubled;
use crate::runtime::checkpoint_actions::CheckpointAction;
use crate::runtime::checkpoint_sequence::machine::{Answers, CheckpointSequence, CommitsBefore, Phase};
use crate::runtime::checkpoint_sequence::pending::PendingCheckpoints;
use crate::runtime::flow::checkpoint::{Loaded, StorageError};

/// So often may tasks go back to the same checkpoint. Then the run ends.
pub(super) const RECOVERIES_MAX: u32 = 10;

/// The pause before the second time that tasks go back to the same checkpoint. Each is twice the one before.
const RECOVERY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RECOVERY_PAUSE_MAX: Duration = Duration::from_secs(10);

impl CheckpointSequence {
    /// The latest checkpoint was read, or could not be.
    pub fn loaded(&mut self, result: Result<Loaded, StorageError>, now: Time) {
        if !matches!(self.phase, Phase::Loading) {
            return;
        }
        match result {
            Ok(Loaded { manifest, restored }) => {
                self.take_manifest(manifest);
                self.phase = Phase::Restoring { answers: Answers::new() };
                self.actions.push_back(CheckpointAction::Restore(restored));
            }
            Err(StorageError { why, is_permanent: true }) => self.fail(why),
            Err(StorageError { why, is_permanent: false }) => {
                self.failed_loads += 1;
                let pause = doubled(RECOVERY_PAUSE_MIN, self.failed_loads, RECOVERY_PAUSE_MAX);
                let answers = (0..self.parts.answerers).collect();
                self.phase = Phase::Halting { answers, not_before: now.after(pause) };
                self.actions.push_back(CheckpointAction::Wait(why));
            }
        }
    }

    fn take_manifest(&mut self, manifest: Option<Manifest>) {
        self.changes_suffice = false;
        self.txid = manifest.as_ref().map_or(0, |manifest| manifest.txid);
        self.counts.stats.txid = self.txid;
        self.ended_before = false;
        self.entries.clear();
        let Some(manifest) = manifest else { return };
        let latest = self.counts.stats.latest.replace(manifest.checkpoint);
        if manifest.checkpoint.epoch == self.begun.epoch && latest < Some(manifest.checkpoint) {
            // It became complete while all began to go back.
            self.counts.stats.completed += 1;
            self.repeated = 0;
        }
        if manifest.checkpoint.epoch < self.begun.epoch {
            self.counts.stats.resumed_from = Some(manifest.checkpoint);
        }
        self.ended_before = manifest.run != RunState::Running;
        self.has_finished = self.ended_before;
        for entry in manifest.tasks {
            self.entries.insert(entry.task(), entry);
        }
    }

    /// All executors of this answerer have taken what was restored.
    pub fn restored(&mut self, who: usize, now: Time) {
        let Phase::Restoring { answers } = &mut self.phase else { return };
        answers.insert(who);
        if answers.len() == self.parts.answerers {
            self.phase = Phase::Running;
            self.failed_loads = 0;
            self.not_before = now.after(self.options.interval);
            self.actions.push_back(CheckpointAction::Resume);
            if let Some(checkpoint) = self.counts.stats.latest.filter(|_| self.has_finished) {
                // The topology had ended. All commit what they restored, and that is all that is left.
                self.phase =
                    Phase::Committing { checkpoint, why: CommitsBefore::End, answers: Answers::new() };
            }
        }
    }

    /// A worker could not read what is to be restored: all halt once more, and it is tried again later.
    pub fn not_restored(&mut self, error: StorageError, now: Time) {
        if !matches!(self.phase, Phase::Restoring { .. }) {
            return;
        }
        if error.is_permanent {
            return self.fail(error.why);
        }
        self.failed_loads += 1;
        let pause = doubled(RECOVERY_PAUSE_MIN, self.failed_loads, RECOVERY_PAUSE_MAX);
        self.phase = Phase::Halting { answers: Answers::new(), not_before: now.after(pause) };
        self.actions.push_back(CheckpointAction::Wait(error.why.clone()));
        self.actions.push_back(CheckpointAction::Halt(error.why));
    }

    /// A task has lost what no other has: all go back to the latest checkpoint.
    pub fn lost(&mut self, why: String, now: Time) {
        let is_over =
            matches!(self.phase, Phase::Halting { .. } | Phase::Failed | Phase::Closing | Phase::Over);
        if is_over || self.is_stopped {
            // All go back already, or nothing is left to go back for.
            return;
        }
        self.repeated += 1;
        if self.repeated > RECOVERIES_MAX {
            self.fail(format!(
                "{why}; all tasks went back to the same checkpoint {RECOVERIES_MAX} times before"
            ));
            return;
        }
        let pause = match self.repeated {
            1 => Duration::ZERO,
            repeated => doubled(RECOVERY_PAUSE_MIN, repeated - 1, RECOVERY_PAUSE_MAX),
        };
        self.go_back(why, now.after(pause));
    }

    /// A worker has died. Its next incarnation begins halted, and all the others go back, too.
    pub fn left(&mut self, who: usize, why: &str, now: Time) {
        match &mut self.phase {
            Phase::Halting { answers, .. } => _ = answers.remove(&who),
            Phase::Failed | Phase::Closing | Phase::Over => {}
            Phase::Loading | Phase::Restoring { .. } | Phase::Running | Phase::Committing { .. } => {
                self.go_back(why.to_owned(), now)
            }
        }
    }

    fn go_back(&mut self, why: String, not_before: Time) {
        self.counts.stats.recoveries += 1;
        // One that is being published may become complete: what is read afterwards shows it.
        self.drop_pending(None, &why);
        self.pending = PendingCheckpoints::default();
        let went_back = format!("all tasks went back: {why}");
        self.savepoints.interrupt(&went_back, &mut self.actions);
        self.wanted.interrupt(&went_back, &mut self.actions);
        self.has_finished = false;
        self.is_finishing = false;
        self.phase = Phase::Halting { answers: Answers::new(), not_before };
        self.actions.push_back(CheckpointAction::Halt(why));
    }

    /// All executors of this answerer have halted.
    pub fn halted(&mut self, who: usize) {
        if let Phase::Halting { answers, .. } = &mut self.phase {
            answers.insert(who);
        }
    }

    /// Whether all executors have halted, and it is to be found out whether anything is on its way.
    pub fn waits_for_rest(&self) -> bool {
        matches!(&self.phase, Phase::Halting { answers, .. } if answers.len() == self.parts.answerers)
    }
}
