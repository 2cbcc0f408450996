//! The last checkpoint of a run: see `checkpoint_sequence`.
//!
//! It has what bolts have emitted in `finish`. A run that went on from there would call `finish` once more, and emit that
//! twice. So the last checkpoint is published only if nothing is left to do after it: if no tuple was in flight.

use crate::checkpoint::RunState;
use crate::clock::Time;
use crate::runtime::checkpoint_actions::CheckpointAction;
use crate::runtime::checkpoint_sequence::machine::{CheckpointSequence, FAILURE_PAUSE, Phase};
use crate::runtime::checkpoint_sequence::on_demand::ENDS_ALREADY;

impl CheckpointSequence {
    /// All bolts have finished: the next checkpoint that begins is the last. Returns whether that was not known before.
    pub fn finished(&mut self, now: Time) -> bool {
        if self.has_finished {
            return false;
        }
        self.has_finished = true;
        self.not_before = now;
        self.refuse_savepoint(ENDS_ALREADY, now);
        self.wanted.refuse(ENDS_ALREADY, &mut self.actions);
        true
    }

    /// Bolts of a cycle have emitted when the last checkpoint was taken, in `pre_commit`, and what comes of that belongs to
    /// the run. The checkpoint is dropped, and another one is the last. Tuples come to their end in between.
    pub(super) fn take_last_again(&mut self, now: Time) {
        let why = "tuples were in flight, so another one is the last";
        for checkpoint in self.pending.drop_taking() {
            self.actions.push_back(CheckpointAction::GiveUp(checkpoint, why.to_owned()));
        }
        self.changes_suffice = false;
        self.not_before = now.after(self.options.interval.min(FAILURE_PAUSE));
    }

    /// All have committed the last checkpoint: it is published once more, as one of a run of which nothing is left.
    pub(super) fn publish_end(&mut self, wall_nanos: i64) {
        self.begun.number += 1;
        let tasks = std::mem::take(&mut self.entries).into_values().collect();
        self.publish(self.manifest(self.begun, tasks, RunState::Committed, wall_nanos));
        self.phase = Phase::Closing;
    }
}
