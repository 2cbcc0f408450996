//! Checkpoints of a topology in several workers: what the sequence decides becomes orders to all workers.
//!
//! 1. A worker that is up is halted until it is told to begin, also after its process was replaced. So it answers by
//!    coming up.
//! 2. If a worker dies, all tasks go back. What is read then was written by all: tasks that still have their state
//!    restore it, too, because it has gone on since the checkpoint.
//! 3. Nothing is restored before all workers have halted and two waves have found that nothing is on its way, in a
//!    worker or between two. What was on its way from before can so reach nobody.

use std::path::PathBuf;
use std::sync::Arc;

use super::state::Core;
use crate::api::CheckpointStats;
use crate::checkpoint::Manifest;
use crate::clock::Time;
use crate::cluster::control::ToWorker;
use crate::cluster::master::checkpoints::MasterCheckpoints;
use crate::cluster::master::events::{MasterAction, Note, StoreJob};
use crate::ids::CheckpointId;
use crate::runtime::checkpoint_actions::{CheckpointAction, loss_of};
use crate::runtime::end_sequence::EndCommand;
use crate::runtime::flow::checkpoint::{CheckpointOrder, CheckpointReport, Loaded, Restored, StorageError};

impl Core {
    /// How checkpoints have gone so far, if the topology takes any.
    pub fn checkpoint_stats(&self, now: Time) -> Option<CheckpointStats> {
        self.checkpoints.as_ref().map(|checkpoints| checkpoints.sequence.counts.at(now))
    }

    /// Whether the last checkpoint is complete and committed.
    pub(super) fn has_committed_all(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.sequence.is_over())
    }

    /// A worker is up, and its executors are halted.
    pub(super) fn halted_by_start(&mut self, worker: usize) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.sequence.halted(worker);
        }
    }

    /// A worker has died.
    pub(super) fn left_by_death(&mut self, worker: usize, why: &str, now: Time) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        checkpoints.is_at_rest = false;
        checkpoints.sequence.left(worker, why, now);
        if self.stopped.is_some() {
            // No checkpoint becomes complete any more, so there is nothing to go back for. The run is continued from
            // the latest.
            self.kill(now);
        }
    }

    pub(super) fn take_report(&mut self, worker: usize, report: CheckpointReport, now: Time) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let sequence = &mut checkpoints.sequence;
        match report {
            CheckpointReport::Halted => sequence.halted(worker),
            CheckpointReport::Restored => sequence.restored(worker, now),
            CheckpointReport::NotRestored(StorageError { why, is_permanent }) => {
                sequence
                    .not_restored(StorageError { why: format!("worker {worker}: {why}"), is_permanent }, now);
            }
            CheckpointReport::Committed(checkpoint) => sequence.committed(worker, checkpoint),
            CheckpointReport::Taken { checkpoint, part, file } => sequence.taken(checkpoint, *part, file),
            CheckpointReport::Refused { checkpoint, why } => sequence.refused(checkpoint, &why, now),
            CheckpointReport::Lost { component, why } => sequence.lost(loss_of(&component, &why), now),
        }
    }

    /// The latest checkpoint was found, or could not be.
    pub(super) fn loaded(&mut self, result: Result<Option<Box<Manifest>>, StorageError>, now: Time) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let loaded = result.map(|manifest| {
            let checkpoint = manifest.as_ref().map(|manifest| manifest.checkpoint);
            // Each worker reads the state of its tasks itself.
            let restored = Arc::new(Restored { checkpoint, ..Restored::default() });
            Loaded { manifest: manifest.map(|manifest| *manifest), restored }
        });
        checkpoints.sequence.loaded(loaded, now);
    }

    /// A checkpoint was published, or could not be.
    pub(super) fn published(
        &mut self,
        checkpoint: CheckpointId,
        result: Result<(), StorageError>,
        now: Time,
    ) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.sequence.published(checkpoint, result, now);
        }
    }

    /// The embedder wants a savepoint.
    pub(super) fn want_savepoint(&mut self, directory: PathBuf, stops: bool) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.sequence.want_savepoint(directory, stops);
        }
    }

    /// The embedder wants a checkpoint now.
    pub(super) fn want_checkpoint(&mut self, question: u64) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.sequence.want_checkpoint(question);
        }
    }

    /// This checkpoint was copied as a savepoint, or could not be.
    pub(super) fn exported(&mut self, checkpoint: CheckpointId, result: Result<(), String>, now: Time) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.sequence.exported(checkpoint, result, now);
        }
    }

    /// Carries out what is due about checkpoints, and brings the end of the topology in line with it.
    pub(super) fn advance_checkpoints(&mut self, now: Time) {
        let Some(mut checkpoints) = self.checkpoints.take() else { return };
        if self.all_were_up && self.wanted_active {
            checkpoints.sequence.activate(now);
        }
        if self.stopped.is_some() {
            checkpoints.sequence.stop(now);
            self.ending.skip_last_checkpoint();
        }
        loop {
            checkpoints.sequence.note_finishing(self.ending.is_finishing());
            // The time at which a checkpoint was taken is stated by the shell.
            while let Some(action) = checkpoints.sequence.next(checkpoints.is_at_rest, now, 0) {
                self.carry_out_checkpoint(action, &mut checkpoints, now);
            }
            if checkpoints.sequence.may_close() {
                self.ending.last_checkpoint_taken();
            }
            if !(self.ending.waits_for_last_checkpoint() && checkpoints.sequence.finished(now)) {
                break;
            }
        }
        self.checkpoints = Some(checkpoints);
    }

    fn carry_out_checkpoint(
        &mut self,
        action: CheckpointAction,
        checkpoints: &mut MasterCheckpoints,
        now: Time,
    ) {
        match action {
            CheckpointAction::Load => {
                checkpoints.is_at_rest = false;
                self.store(StoreJob::Load);
            }
            CheckpointAction::Restore(restored) => {
                let (recovery, checkpoint) = (checkpoints.recovery, restored.checkpoint);
                self.order(CheckpointOrder::Restore { recovery, checkpoint });
            }
            CheckpointAction::Resume => {
                if checkpoints.sequence.only_commits() {
                    self.broadcast(ToWorker::Ending(EndCommand::Drain));
                }
                if self.is_on_trial() {
                    // Whoever waits for the topology waits for its first checkpoint.
                    checkpoints.sequence.hurry(now);
                }
                self.ask_anew(now);
                self.order(CheckpointOrder::Resume);
            }
            CheckpointAction::Begin(barrier) => self.order(CheckpointOrder::Begin(barrier)),
            CheckpointAction::Publish(manifest) => self.publish(manifest),
            CheckpointAction::Commit(checkpoint) => self.order(CheckpointOrder::Commit(checkpoint)),
            CheckpointAction::Export(checkpoint, directory) => {
                self.store(StoreJob::Export(checkpoint, directory));
            }
            CheckpointAction::AnswerSavepoint(answer) => {
                self.actions.push(MasterAction::AnswerSavepoint(answer));
            }
            CheckpointAction::AnswerCheckpoint(upto, answer) => {
                self.actions.push(MasterAction::AnswerCheckpoint(upto, answer));
            }
            CheckpointAction::Rest(rests) => {
                self.rests = rests;
                self.send_active();
            }
            CheckpointAction::GiveUp(checkpoint, why) => {
                self.note(Note::CheckpointGivenUp(checkpoint, why));
                self.order(CheckpointOrder::Discard(checkpoint));
                self.store(StoreJob::Discard(checkpoint));
            }
            CheckpointAction::Halt(why) => {
                self.note(Note::GoingBack(checkpoints.sequence.counts.stats.latest, why));
                (checkpoints.is_at_rest, checkpoints.recovery) = (false, checkpoints.recovery + 1);
                self.drop_held();
                self.ending.begin_again();
                self.ask_anew(now);
                self.order(CheckpointOrder::Halt { recovery: checkpoints.recovery });
            }
            CheckpointAction::Wait(why) => self.note(Note::CheckpointUnread(why)),
            CheckpointAction::Fail(why) => self.give_up(format!("checkpoints: {why}"), now),
        }
    }

    fn order(&mut self, order: CheckpointOrder) {
        self.broadcast(ToWorker::Checkpoint(order));
    }

    pub(super) fn store(&mut self, job: StoreJob) {
        self.actions.push(MasterAction::Store(job));
    }
}
