//! The coordinator's half for checkpoints: carries out what the sequence decides, and tells it what came of that.

use std::sync::{Arc, Mutex, PoisonError};

use slog::Logger;

use crate::api::StopReason;
use crate::clock::Time;
use crate::ids::{CheckpointId, TaskId};
use crate::runtime::checkpoint_actions::{CheckpointAction, CheckpointCounts, loss_of};
use crate::runtime::checkpoint_sequence::CheckpointSequence;
use crate::runtime::end_sequence::EndCommand;
use crate::runtime::executor::checkpoints::StorageSender;
use crate::runtime::executor::executor_answers::ExecutorAnswers;
use crate::runtime::executor::local_executors::LocalExecutors;
use crate::runtime::executor::step::StepContext;
use crate::runtime::faults::CheckpointDefect;
use crate::runtime::flow::checkpoint::{CheckpointEvent, StorageJob};
use crate::runtime::flow::message::CheckpointCommand;
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::savepoint_desk::SavepointDesk;

/// What stands in the place of a component in the reason of a run that fails because of its checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// The only answerer of the sequence: see `Parts::answerers`.
const THIS_PROCESS: usize = 0;

/// The counts of checkpoints, for statistics.
pub type SharedCounts = Arc<Mutex<CheckpointCounts>>;

/// The coordinator's half for checkpoints. It begins with executors that are halted.
pub struct CheckpointCoordinator {
    /// What decides.
    pub sequence: CheckpointSequence,
    /// The way to the executor that writes checkpoints.
    pub storage: StorageSender,
    /// The executors that are told what to do.
    pub executors: Arc<LocalExecutors>,
    /// What they have answered.
    pub answers: ExecutorAnswers,
    /// The number of the last recovery.
    pub recovery: u64,
    /// The life of the topology, which ends with an error when checkpoints fail for good.
    pub lifecycle: Arc<Lifecycle>,
    /// Where the counts are shown.
    pub counts: SharedCounts,
    /// Who waits for a savepoint.
    pub savepoints: Arc<SavepointDesk>,
    /// The defect that a test has planted.
    pub defect: Option<CheckpointDefect>,
    /// Says what was given up, and why tasks go back.
    pub logger: Logger,
}

impl CheckpointCoordinator {
    /// Whether the run ends because of an error.
    pub fn is_stopped(&self) -> bool {
        self.lifecycle.stopped().is_some()
    }

    /// Passes an event to the sequence.
    pub fn take(&mut self, event: CheckpointEvent, now: Time) {
        match event {
            CheckpointEvent::Activated => self.sequence.activate(now),
            CheckpointEvent::Taken { checkpoint, part, file } => self.sequence.taken(checkpoint, *part, file),
            CheckpointEvent::Refused { checkpoint, why } => self.sequence.refused(checkpoint, &why, now),
            CheckpointEvent::Published(checkpoint, result) => {
                self.sequence.published(checkpoint, result, now);
            }
            CheckpointEvent::SavepointWanted { directory, stops } => {
                self.sequence.want_savepoint(directory, stops);
            }
            CheckpointEvent::CheckpointWanted(question) => self.sequence.want_checkpoint(question),
            CheckpointEvent::Exported(checkpoint, result) => self.sequence.exported(checkpoint, result, now),
            CheckpointEvent::Loaded(result) => self.sequence.loaded(result.map(|loaded| *loaded), now),
            CheckpointEvent::Halted if self.answers.halted() => self.sequence.halted(THIS_PROCESS),
            CheckpointEvent::Restored if self.answers.restored() => self.sequence.restored(THIS_PROCESS, now),
            CheckpointEvent::Committed(checkpoint) if self.answers.committed(checkpoint) => {
                self.sequence.committed(THIS_PROCESS, checkpoint);
            }
            CheckpointEvent::Halted | CheckpointEvent::Restored | CheckpointEvent::Committed(_) => {}
            CheckpointEvent::ShareLoaded { .. } => {
                debug_assert!(false, "one worker of several reads a share, and this is the only one");
            }
            CheckpointEvent::Lost { component, why } => self.sequence.lost(loss_of(&component, &why), now),
        }
    }

    /// Carries out everything that is due. Returns whether executors were halted, so that the end of the topology is
    /// as far away as at its begin.
    pub fn advance(&mut self, cx: &StepContext<'_>) -> bool {
        let mut halted = false;
        loop {
            let at_rest = !self.lifecycle.rest.has_outstanding();
            let Some(action) = self.sequence.next(at_rest, cx.now, cx.clock.wall_nanos()) else { break };
            halted |= matches!(action, CheckpointAction::Halt(_));
            self.carry_out(action, cx);
        }
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.sequence.counts;
        halted
    }

    fn commit(&mut self, checkpoint: CheckpointId) {
        self.answers.begin_commit(checkpoint);
        self.executors.command_tasks(|| CheckpointCommand::Committed(checkpoint));
    }

    fn carry_out(&mut self, action: CheckpointAction, cx: &StepContext<'_>) {
        match action {
            CheckpointAction::Load => self.storage.send(StorageJob::Load),
            CheckpointAction::Restore(restored) => {
                self.answers.begin_restore(restored.checkpoint);
                // No other run has the same, because two do not begin at one time.
                let recovery = cx.clock.wall_nanos().cast_unsigned().max(self.recovery + 1);
                self.recovery = recovery;
                self.executors.command_tasks(|| CheckpointCommand::Restore(recovery, Arc::clone(&restored)));
            }
            CheckpointAction::Resume => {
                if self.sequence.only_commits() {
                    self.executors.carry_out(EndCommand::Drain);
                }
                self.executors.command_tasks(|| CheckpointCommand::Resume);
            }
            CheckpointAction::Begin(barrier) => {
                self.executors.command_spouts(|| CheckpointCommand::Begin(barrier));
            }
            CheckpointAction::Publish(manifest) => {
                if self.defect == Some(CheckpointDefect::CommitBeforeDurable) {
                    self.commit(manifest.checkpoint);
                }
                self.storage.send(StorageJob::Publish(manifest));
            }
            CheckpointAction::Commit(checkpoint) => self.commit(checkpoint),
            CheckpointAction::Export(checkpoint, directory) => {
                self.storage.send(StorageJob::Export { checkpoint, directory });
            }
            CheckpointAction::AnswerSavepoint(answer) => self.savepoints.answer(&answer),
            CheckpointAction::AnswerCheckpoint(upto, answer) => {
                self.savepoints.checkpoints.answer(upto, &answer);
            }
            CheckpointAction::Rest(rests) => self.executors.rest_spouts(rests),
            CheckpointAction::GiveUp(checkpoint, why) => {
                slog::warn!(self.logger, "a checkpoint was given up: {}", why; "checkpoint" => %checkpoint);
                self.storage.send(StorageJob::Discard(checkpoint));
            }
            CheckpointAction::Halt(why) => {
                let latest =
                    self.sequence.counts.stats.latest.map_or("the begin".to_owned(), |id| id.to_string());
                slog::warn!(
                    self.logger, "all tasks go back to the latest checkpoint: {}", why; "latest_so_far" => latest
                );
                self.answers.begin_halt();
                self.executors.command_tasks(|| CheckpointCommand::Halt);
            }
            CheckpointAction::Wait(why) => {
                slog::warn!(self.logger, "the latest checkpoint cannot be read; trying again: {}", why);
            }
            CheckpointAction::Fail(error) => {
                slog::error!(self.logger, "the run ends: {}", error);
                let component = CHECKPOINTS.into();
                // An earlier reason stays.
                let _ = self.lifecycle.stop(StopReason { component, task: TaskId(0), error });
            }
        }
    }
}
