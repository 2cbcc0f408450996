//! The state of the machine, and how a checkpoint is taken, published and committed: see the [module](super).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::checkpoint::{Manifest, RunState, SnapshotFile, TaskEntry, TaskName};
use crate::clock::Time;
use crate::config::CheckpointOptions;
use crate::ids::CheckpointId;
use crate::runtime::checkpoint_actions::{CheckpointAction, CheckpointCounts, Parts};
use crate::runtime::checkpoint_sequence::pending::{Pending, PendingCheckpoints};
use crate::runtime::end_sequence::EndProgress;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::checkpoint::{StorageError, TaskPart};
use crate::runtime::savepoints::Savepoints;
use crate::runtime::wanted_checkpoints::WantedCheckpoints;
use crate::state::SnapshotKind;

/// The pause after a checkpoint that did not become complete, if the interval is shorter or the run is ending.
pub(super) const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Who has answered: see [`Parts::answerers`].
pub(super) type Answers = BTreeSet<usize>;

/// What comes when all have committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitsBefore {
    /// The end: the checkpoint is the last, or was the last of the run that is continued.
    End,
    /// The end of a run that is stopped with this savepoint.
    Stop,
}

pub(super) enum Phase {
    /// The latest checkpoint is being read.
    Loading,
    /// Executors take what was restored.
    Restoring { answers: Answers },
    /// Executors do what they are there for, and checkpoints are taken.
    Running,
    /// A checkpoint is complete, and the run goes on only when executors have committed it.
    Committing { checkpoint: CheckpointId, why: CommitsBefore, answers: Answers },
    /// It is noted in the store that the last checkpoint is committed.
    Closing,
    /// The last checkpoint is committed.
    Over,
    /// Executors halt, and then begin again at this time at the earliest.
    Halting { answers: Answers, not_before: Time },
    /// The run has failed.
    Failed,
}

/// The machine. See the [module](super).
pub struct CheckpointSequence {
    pub(super) options: CheckpointOptions,
    pub(super) parts: Parts,
    pub(super) phase: Phase,
    /// What the caller has not been asked to do yet.
    pub(super) actions: VecDeque<CheckpointAction>,
    /// The checkpoint that was begun last.
    pub(super) begun: CheckpointId,
    pub(super) begun_at: Time,
    /// Those that have begun and are not complete.
    pub(super) pending: PendingCheckpoints,
    /// Not before this does the next one begin.
    pub(super) not_before: Time,
    /// How many checkpoints have become complete: the transaction id of the last batch.
    pub(super) txid: u64,
    /// The files of the latest complete checkpoint.
    pub(super) entries: BTreeMap<TaskName, TaskEntry>,
    /// Whether the next one may have only what has changed since the one that was begun last.
    pub(super) changes_suffice: bool,
    /// Whether the topology was activated.
    pub(super) active: bool,
    /// Whether the topology has ended, so that the next checkpoint is the last.
    pub(super) has_finished: bool,
    /// Whether it had ended when the checkpoint was taken that tasks began with.
    pub(super) ended_before: bool,
    /// Whether bolts finish.
    pub(super) is_finishing: bool,
    /// Whether the run ends because of an error.
    pub(super) is_stopped: bool,
    /// How often in a row the latest checkpoint could not be read.
    pub(super) failed_loads: u32,
    /// How often tasks went back since a checkpoint became complete.
    pub(super) repeated: u32,
    /// The savepoint that somebody wants.
    pub(super) savepoints: Savepoints,
    /// The checkpoints that somebody wants now.
    pub(super) wanted: WantedCheckpoints,
    /// How checkpoints have gone so far.
    pub counts: CheckpointCounts,
}

impl CheckpointSequence {
    /// Of a process that has this epoch. Its executors are halted.
    pub fn new(options: CheckpointOptions, parts: Parts, epoch: u64) -> CheckpointSequence {
        CheckpointSequence {
            options,
            parts,
            phase: Phase::Loading,
            actions: VecDeque::from([CheckpointAction::Load]),
            begun: CheckpointId { epoch, number: 0 },
            begun_at: Time::ZERO,
            pending: PendingCheckpoints::default(),
            not_before: Time::ZERO,
            txid: 0,
            entries: BTreeMap::new(),
            changes_suffice: false,
            active: false,
            has_finished: false,
            ended_before: false,
            is_finishing: false,
            is_stopped: false,
            failed_loads: 0,
            repeated: 0,
            savepoints: Savepoints::default(),
            wanted: WantedCheckpoints::default(),
            counts: CheckpointCounts::default(),
        }
    }

    /// Of a topology that runs in several workers, none of which has started: they answer that they have halted when
    /// they are up.
    #[must_use]
    pub fn of_workers(mut self) -> CheckpointSequence {
        self.actions.clear();
        self.phase = Phase::Halting { answers: Answers::new(), not_before: Time::ZERO };
        self
    }

    /// The topology was activated.
    pub fn activate(&mut self, now: Time) {
        if !self.active {
            self.active = true;
            self.not_before = now.after(self.options.interval);
        }
    }

    /// The next checkpoint begins as soon as it can.
    pub fn hurry(&mut self, now: Time) {
        self.not_before = now;
    }

    /// Whether bolts are finishing: then no checkpoint begins.
    pub fn note_finishing(&mut self, is_finishing: bool) {
        self.is_finishing = is_finishing;
    }

    /// The run ends because of an error: what is under way is given up, and no other checkpoint begins.
    pub fn stop(&mut self, now: Time) {
        self.is_stopped = true;
        let why = "the run ends because of an error";
        self.refuse_savepoint(why, now);
        self.wanted.refuse(why, &mut self.actions);
        self.give_up(None, why, now);
    }

    /// Whether the executors do what they are there for: they are not halted, and take nothing that was restored.
    pub fn is_running(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Committing { .. } => true,
            Phase::Loading
            | Phase::Restoring { .. }
            | Phase::Halting { .. }
            | Phase::Closing
            | Phase::Over
            | Phase::Failed => false,
        }
    }

    /// Whether the run has failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed)
    }

    /// Whether the last checkpoint is complete and committed.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether executors may close: the last checkpoint is committed, or it was taken before, and an error keeps a task
    /// from committing it. Then the next start commits it.
    pub fn may_close(&self) -> bool {
        self.is_over() || (self.is_stopped && self.ended_before)
    }

    /// Whether the checkpoint that is restored is the last of a topology that has ended: nothing is left but to commit.
    pub fn only_commits(&self) -> bool {
        self.ended_before
    }

    /// Whether tasks take their parts of a checkpoint: barriers are on their way, or are about to be.
    pub fn is_taking(&self) -> bool {
        self.pending.lacks_parts(self.parts.tasks.len())
    }

    /// What to do next, if anything. `at_rest`: nothing is on its way between executors. The caller calls again until
    /// it returns `None`, after each event and at [`wake_at`](CheckpointSequence::wake_at).
    pub fn next(&mut self, at_rest: bool, now: Time, wall_nanos: i64) -> Option<CheckpointAction> {
        if self.actions.is_empty() {
            self.advance(at_rest, now, wall_nanos);
        }
        self.actions.pop_front()
    }

    fn advance(&mut self, at_rest: bool, now: Time, wall_nanos: i64) {
        match &mut self.phase {
            Phase::Running => self.advance_pending(now, wall_nanos),
            Phase::Committing { answers, why, .. } if answers.len() == self.parts.answerers => match why {
                CommitsBefore::End => self.publish_end(wall_nanos),
                CommitsBefore::Stop => {
                    // The run is continued from it, so nothing states that it has ended.
                    if let Some(savepoint) = self.savepoints.stops(&mut self.actions) {
                        self.counts.stats.stopped_with = Some(savepoint);
                        self.phase = Phase::Over;
                        self.wanted.refuse("the run was stopped with a savepoint", &mut self.actions);
                    }
                }
            },
            Phase::Halting { answers, not_before }
                if answers.len() == self.parts.answerers && at_rest && now >= *not_before =>
            {
                self.phase = Phase::Loading;
                self.actions.push_back(CheckpointAction::Load);
            }
            Phase::Loading
            | Phase::Restoring { .. }
            | Phase::Committing { .. }
            | Phase::Closing
            | Phase::Over
            | Phase::Halting { .. }
            | Phase::Failed => {}
        }
    }

    /// Publishes the oldest checkpoint that is pending, gives up what takes too long, or begins the next one.
    fn advance_pending(&mut self, now: Time, wall_nanos: i64) {
        if self.pending.last_has_in_flight(self.parts.tasks.len()) {
            self.take_last_again(now);
        } else if let Some(oldest) = self.pending.publish(self.parts.tasks.len()) {
            let (checkpoint, tasks) = (oldest.checkpoint, oldest.tasks());
            let run = if oldest.is_last { RunState::Ended } else { RunState::Running };
            let manifest = self.manifest(checkpoint, tasks, run, wall_nanos);
            self.publish(Manifest { txid: self.txid + 1, ..manifest });
        } else if now >= self.pending.deadline() {
            let lacks = self.pending.lacks(self.parts.tasks.keys());
            let why = format!("it was not complete after {:?}: {lacks}", self.options.timeout);
            self.give_up(None, &why, now);
        } else if self.is_due(now) {
            self.begin(now);
        }
    }

    pub(super) fn publish(&mut self, manifest: Manifest) {
        self.actions.push_back(CheckpointAction::Publish(Box::new(manifest)));
    }

    pub(super) fn manifest(
        &self,
        checkpoint: CheckpointId,
        tasks: Vec<TaskEntry>,
        run: RunState,
        wall_nanos: i64,
    ) -> Manifest {
        Manifest {
            checkpoint,
            topology: self.parts.topology.clone(),
            key_groups: self.parts.key_groups,
            taken_at: wall_nanos,
            run,
            txid: self.txid,
            tasks,
        }
    }

    fn is_due(&self, now: Time) -> bool {
        self.may_begin() && (now >= self.not_before || self.savepoints.waits() || self.wanted.waits())
    }

    fn may_begin(&self) -> bool {
        let is_alone = self.has_finished || self.savepoints.is_taken();
        let at_once = if is_alone { 1 } else { self.options.max_concurrent };
        // A topology that has ended may never have been activated.
        (self.active || self.has_finished)
            && !self.is_stopped
            && (self.has_finished || !self.is_finishing)
            && self.pending.len() < at_once as usize
    }

    /// When to call [`next`](CheckpointSequence::next) if nothing happens before. If it is due already and `next` did
    /// nothing, an event will come, and no timer is needed.
    pub fn wake_at(&self, now: Time) -> Time {
        let due = self.due();
        if due > now { due } else { Time::NEVER }
    }

    fn due(&self) -> Time {
        match &self.phase {
            Phase::Running => {
                let next = if self.may_begin() { self.not_before } else { Time::NEVER };
                next.min(self.pending.deadline())
            }
            Phase::Halting { not_before, .. } => *not_before,
            _ => Time::NEVER,
        }
    }

    fn begin(&mut self, now: Time) {
        self.begun.number += 1;
        self.begun_at = now;
        self.not_before = now.after(self.options.interval);
        self.wanted.begins(self.begun);
        let full = self.savepoints.begins(self.begun) || !self.changes_suffice;
        // If this one fails, all later ones do, so what has changed since it is enough for the next.
        self.changes_suffice = true;
        self.pending.begins(self.begun, now, self.options.timeout, self.has_finished);
        let txid = self.txid + self.pending.len() as u64;
        self.actions.push_back(CheckpointAction::Begin(Barrier {
            checkpoint: self.begun,
            full,
            txid,
            last: self.has_finished,
        }));
    }

    /// No checkpoint that takes parts becomes complete, nor does `unpublished`, which was being published: each may have only
    /// what has changed since the one before.
    fn give_up(&mut self, unpublished: Option<CheckpointId>, why: &str, now: Time) {
        if self.drop_pending(unpublished, why) {
            self.changes_suffice = false;
            let pause =
                if self.has_finished { FAILURE_PAUSE } else { self.options.interval.max(FAILURE_PAUSE) };
            self.not_before = now.after(pause);
        }
    }

    /// Forgets these checkpoints. Returns whether there are any.
    pub(super) fn drop_pending(&mut self, unpublished: Option<CheckpointId>, why: &str) -> bool {
        let mut why = why.to_owned();
        let failed = self.counts.stats.failed;
        for checkpoint in unpublished.into_iter().chain(self.pending.drop_taking()) {
            self.counts.stats.failed += 1;
            self.actions.push_back(CheckpointAction::GiveUp(checkpoint, why.clone()));
            self.savepoints.given_up(checkpoint, &why, &mut self.actions);
            self.wanted.given_up(checkpoint, &why, &mut self.actions);
            why = format!("the one before it, {checkpoint}, was given up");
        }
        self.counts.stats.failed > failed
    }

    /// The part of a task is durable.
    pub fn taken(&mut self, checkpoint: CheckpointId, part: TaskPart, file: Option<SnapshotFile>) {
        let Some(tasks) = self.parts.tasks.get(&part.task) else { return };
        let Some(place) = self.pending.place_of(checkpoint) else { return };
        let earlier = match part.kind {
            SnapshotKind::Full => Vec::new(),
            SnapshotKind::Delta => {
                // A task takes its parts in order, so the checkpoint before has what this one goes on from.
                let before = self.pending.before(place).unwrap_or(&self.entries);
                before.get(&part.task).map_or_else(Vec::new, |entry| entry.files.clone())
            }
        };
        let entry = TaskEntry {
            component: part.task.component.clone(),
            task_index: part.task.task_index,
            tasks: *tasks,
            files: earlier.into_iter().chain(file).collect(),
            positions: part.positions.into_json(),
            states: part.states,
            names_keys: part.names_keys,
            event_time: part.event_time,
        };
        self.pending.takes(place, part.task, entry, part.has_in_flight);
    }

    /// A task could not take its part.
    pub fn refused(&mut self, checkpoint: CheckpointId, why: &str, now: Time) {
        // Files are given up with all that were begun before them, so those that take parts fail together. One that is
        // being published is written already.
        if self.pending.place_of(checkpoint).is_some() {
            self.give_up(None, why, now);
        }
    }

    /// The manifest is durable, or could not be written.
    pub fn published(&mut self, checkpoint: CheckpointId, result: Result<(), StorageError>, now: Time) {
        if matches!(self.phase, Phase::Closing) && checkpoint == self.begun {
            // If that failed, the next start is asked to commit once more, and finds nothing to do.
            self.phase = Phase::Over;
            return;
        }
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let Some(Pending { begun_at, is_last, entries, .. }) = self.pending.published(checkpoint) else {
            return;
        };
        match result {
            Ok(()) => {}
            Err(StorageError { why, is_permanent: true }) => return self.fail(why),
            Err(StorageError { why, is_permanent: false }) => {
                return self.give_up(Some(checkpoint), &why, now);
            }
        }
        let written_before: BTreeSet<&str> = names_of(&self.entries).collect();
        let new = entries.values().flat_map(|entry| &entry.files);
        let bytes = new.filter(|file| !written_before.contains(&*file.name)).map(|file| file.bytes).sum();
        self.entries = entries;
        self.txid += 1;
        self.counts.stats.txid = self.txid;
        self.repeated = 0;
        self.counts.completed(checkpoint, now.since(begun_at), bytes, now);
        let next = self.begun_at.after(self.options.interval).max(now.after(self.options.min_pause));
        // A pause that a failure of a later one has asked for stays.
        self.not_before = if self.has_finished { now } else { next.max(self.not_before) };
        let stops = self.savepoints.completed(checkpoint, &mut self.actions);
        self.wanted.completed(checkpoint, &mut self.actions);
        let commits = |why| Phase::Committing { checkpoint, why, answers: Answers::new() };
        self.phase = match (is_last, stops) {
            (true, _) => commits(CommitsBefore::End),
            (false, true) => commits(CommitsBefore::Stop),
            (false, false) => Phase::Running,
        };
        self.actions.push_back(CheckpointAction::Commit(checkpoint));
    }

    pub(super) fn fail(&mut self, why: String) {
        self.savepoints.refuse(&why, &mut self.actions);
        self.wanted.refuse(&why, &mut self.actions);
        self.phase = Phase::Failed;
        self.actions.push_back(CheckpointAction::Fail(why));
    }

    /// All tasks of this answerer have committed a checkpoint.
    pub fn committed(&mut self, who: usize, checkpoint: CheckpointId) {
        if let Phase::Committing { checkpoint: last, answers, .. } = &mut self.phase
            && checkpoint == *last
        {
            answers.insert(who);
        }
    }

    /// Changes the progress of executors to what the end of the topology may see of it.
    pub fn adjust(&self, progress: &mut EndProgress) {
        // No message is open where nothing is tracked. Held tuples take their place: while there are any, the topology
        // does not end.
        progress.pending = progress.holding;
        if self.is_taking() {
            // A barrier is on its way, or about to be. No bolt may finish before it has passed.
            progress.at_rest = false;
        }
        if !self.is_running() || self.only_commits() {
            // Executors are halted: what they have done so far does not count.
            (progress.at_rest, progress.answered) = (false, 0);
        }
    }
}

/// The names of all files of these tasks.
fn names_of(entries: &BTreeMap<TaskName, TaskEntry>) -> impl Iterator<Item = &str> {
    entries.values().flat_map(|entry| &entry.files).map(|file| file.name.as_str())
}

#[cfg(test)]
mod tests;
