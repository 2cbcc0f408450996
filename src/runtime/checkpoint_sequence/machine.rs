//! The state of the machine, and how a checkpoint is taken, published and committed: see the [module](super).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use crate::checkpoint::{Manifest, RunState, SnapshotFile, TaskEntry, TaskName};
use crate::clock::Time;
use crate::config::CheckpointOptions;
use crate::ids::CheckpointId;
use crate::runtime::checkpoint_actions::{CheckpointAction, CheckpointCounts, Parts};
use crate::runtime::end_sequence::EndProgress;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::checkpoint::{StorageError, TaskPart};
use crate::runtime::savepoints::Savepoints;
use crate::state::SnapshotKind;

/// How many tasks are named that had not taken part in a checkpoint.
const MISSING_SHOWN: usize = 3;

/// The pause after a checkpoint that did not become complete, if the interval is shorter or the run is ending.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Why no savepoint is taken any more.
const ENDS_ALREADY: &str = "the input has ended, and the run comes to its end";

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
    /// Nothing is under way.
    Running,
    /// Tasks take their parts.
    Taking { taken: BTreeMap<TaskName, TaskEntry>, deadline: Time },
    /// All parts are durable.
    Publishing { entries: BTreeMap<TaskName, TaskEntry> },
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
    /// Whether it is the last: all bolts had finished when it began.
    pub(super) is_last: bool,
    /// Not before this does the next one begin.
    pub(super) not_before: Time,
    /// The files of the latest complete checkpoint.
    pub(super) entries: BTreeMap<TaskName, TaskEntry>,
    /// Whether the next one may have only what has changed since then.
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
            is_last: false,
            not_before: Time::ZERO,
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

    /// Whether bolts are finishing: then no checkpoint begins.
    pub fn note_finishing(&mut self, is_finishing: bool) {
        self.is_finishing = is_finishing;
    }

    /// The run ends because of an error: what is under way is given up, and no other checkpoint begins.
    pub fn stop(&mut self, now: Time) {
        self.is_stopped = true;
        self.refuse_savepoint("the run ends because of an error", now);
        if matches!(self.phase, Phase::Taking { .. }) {
            self.give_up("the run ends because of an error".to_owned(), now);
        }
    }

    /// All bolts have finished: the next checkpoint that begins is the last. Returns whether that was not known before.
    pub fn finished(&mut self, now: Time) -> bool {
        if self.has_finished {
            return false;
        }
        self.has_finished = true;
        self.not_before = now;
        self.refuse_savepoint(ENDS_ALREADY, now);
        true
    }

    /// Whether the executors do what they are there for: they are not halted, and take nothing that was restored.
    pub fn is_running(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Taking { .. } | Phase::Publishing { .. } | Phase::Committing { .. } => {
                true
            }
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
        matches!(self.phase, Phase::Taking { .. })
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
        let is_due = self.is_due(now);
        match &mut self.phase {
            Phase::Running if is_due => self.begin(now),
            Phase::Taking { taken, .. } if taken.len() == self.parts.tasks.len() => {
                let entries = std::mem::take(taken);
                self.publish(entries, wall_nanos);
            }
            Phase::Taking { taken, deadline } if now >= *deadline => {
                let missing = self.parts.tasks.keys().filter(|task| !taken.contains_key(task));
                let missing: Vec<String> = missing.take(MISSING_SHOWN).map(ToString::to_string).collect();
                let (timeout, missing) = (self.options.timeout, missing.join(", "));
                self.give_up(
                    format!("it was not complete after {timeout:?}: {missing} had not taken part"),
                    now,
                );
            }
            Phase::Committing { answers, why, .. } if answers.len() == self.parts.answerers => match why {
                CommitsBefore::End => self.publish_end(wall_nanos),
                CommitsBefore::Stop => {
                    // The run is continued from it, so nothing states that it has ended.
                    if let Some(savepoint) = self.savepoints.stops(&mut self.actions) {
                        self.counts.stats.stopped_with = Some(savepoint);
                        self.phase = Phase::Over;
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
            | Phase::Running
            | Phase::Taking { .. }
            | Phase::Publishing { .. }
            | Phase::Committing { .. }
            | Phase::Closing
            | Phase::Over
            | Phase::Halting { .. }
            | Phase::Failed => {}
        }
    }

    fn publish(&mut self, entries: BTreeMap<TaskName, TaskEntry>, wall_nanos: i64) {
        let run = if self.is_last { RunState::Ended } else { RunState::Running };
        self.publish_manifest(&entries, run, wall_nanos);
        self.phase = Phase::Publishing { entries };
    }

    fn publish_manifest(&mut self, entries: &BTreeMap<TaskName, TaskEntry>, run: RunState, wall_nanos: i64) {
        let manifest = Manifest {
            checkpoint: self.begun,
            topology: self.parts.topology.clone(),
            key_groups: self.parts.key_groups,
            taken_at: wall_nanos,
            run,
            tasks: entries.values().cloned().collect(),
        };
        self.actions.push_back(CheckpointAction::Publish(Box::new(manifest)));
    }

    /// All have committed the last checkpoint: it is published once more, as one of a run of which nothing is left.
    fn publish_end(&mut self, wall_nanos: i64) {
        self.begun.number += 1;
        let entries = std::mem::take(&mut self.entries);
        self.publish_manifest(&entries, RunState::Committed, wall_nanos);
        self.phase = Phase::Closing;
    }

    fn is_due(&self, now: Time) -> bool {
        self.may_begin() && (now >= self.not_before || self.savepoints.waits())
    }

    fn may_begin(&self) -> bool {
        // A topology that has ended may never have been activated.
        (self.active || self.has_finished) && !self.is_stopped && (self.has_finished || !self.is_finishing)
    }

    /// When to call [`next`](CheckpointSequence::next) if nothing happens before. If it is due already and `next` did
    /// nothing, an event will come, and no timer is needed.
    pub fn wake_at(&self, now: Time) -> Time {
        let due = self.due();
        if due > now { due } else { Time::NEVER }
    }

    fn due(&self) -> Time {
        match &self.phase {
            Phase::Running if self.may_begin() => self.not_before,
            Phase::Taking { deadline, .. } => *deadline,
            Phase::Halting { not_before, .. } => *not_before,
            _ => Time::NEVER,
        }
    }

    fn begin(&mut self, now: Time) {
        self.begun.number += 1;
        self.begun_at = now;
        self.is_last = self.has_finished;
        self.phase = Phase::Taking { taken: BTreeMap::new(), deadline: now.after(self.options.timeout) };
        let full = self.savepoints.begins(self.begun) || !self.changes_suffice;
        let barrier = Barrier { checkpoint: self.begun, full };
        self.actions.push_back(CheckpointAction::Begin(barrier));
    }

    /// The checkpoint does not become complete.
    fn give_up(&mut self, why: String, now: Time) {
        self.phase = Phase::Running;
        self.counts.stats.failed += 1;
        self.changes_suffice = false;
        let pause = if self.has_finished { FAILURE_PAUSE } else { self.options.interval.max(FAILURE_PAUSE) };
        self.not_before = now.after(pause);
        self.actions.push_back(CheckpointAction::GiveUp(self.begun, why.clone()));
        self.savepoints.given_up(self.begun, &why, &mut self.actions);
    }

    /// Somebody wants a savepoint in this directory; `stops`: the run ends with it. The answer is an action.
    pub fn want_savepoint(&mut self, directory: PathBuf, stops: bool) {
        self.savepoints.want(directory, stops, &mut self.actions);
        if self.has_finished || self.is_stopped || matches!(self.phase, Phase::Over | Phase::Failed) {
            self.savepoints.refuse(ENDS_ALREADY, &mut self.actions);
        }
    }

    /// A savepoint was copied, or could not be. Then the run goes on.
    pub fn exported(&mut self, checkpoint: CheckpointId, result: Result<(), String>, now: Time) {
        if self.savepoints.exported(checkpoint, result, &mut self.actions) {
            self.does_not_stop(now);
        }
    }

    /// No savepoint is taken now, and the run does not stop with one.
    fn refuse_savepoint(&mut self, why: &str, now: Time) {
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

    /// The part of a task is durable.
    pub fn taken(&mut self, checkpoint: CheckpointId, part: TaskPart, file: Option<SnapshotFile>) {
        let Phase::Taking { taken, .. } = &mut self.phase else { return };
        let Some(tasks) = self.parts.tasks.get(&part.task).filter(|_| checkpoint == self.begun) else {
            return;
        };
        let earlier = match part.kind {
            SnapshotKind::Full => Vec::new(),
            SnapshotKind::Delta => {
                self.entries.get(&part.task).map_or_else(Vec::new, |entry| entry.files.clone())
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
        };
        taken.insert(part.task, entry);
    }

    /// A task could not take its part.
    pub fn refused(&mut self, checkpoint: CheckpointId, why: String, now: Time) {
        if matches!(self.phase, Phase::Taking { .. }) && checkpoint == self.begun {
            self.give_up(why, now);
        }
    }

    /// The manifest is durable, or could not be written.
    pub fn published(&mut self, checkpoint: CheckpointId, result: Result<(), StorageError>, now: Time) {
        if checkpoint != self.begun {
            return;
        }
        if matches!(self.phase, Phase::Closing) {
            // If that failed, the next start is asked to commit once more, and finds nothing to do.
            self.phase = Phase::Over;
            return;
        }
        let Phase::Publishing { entries } = &mut self.phase else { return };
        match result {
            Ok(()) => {}
            Err(StorageError { why, is_permanent: true }) => return self.fail(why),
            Err(StorageError { why, is_permanent: false }) => return self.give_up(why, now),
        }
        let written_before: BTreeSet<&str> = names_of(&self.entries).collect();
        let new = entries.values().flat_map(|entry| &entry.files);
        let bytes = new.filter(|file| !written_before.contains(&*file.name)).map(|file| file.bytes).sum();
        self.entries = std::mem::take(entries);
        self.changes_suffice = true;
        self.repeated = 0;
        self.counts.completed(checkpoint, now.since(self.begun_at), bytes, now);
        self.not_before = match self.has_finished {
            true => now,
            false => self.begun_at.after(self.options.interval).max(now.after(self.options.min_pause)),
        };
        let stops = self.savepoints.completed(checkpoint, &mut self.actions);
        let commits = |why| Phase::Committing { checkpoint, why, answers: Answers::new() };
        self.phase = match (self.is_last, stops) {
            (true, _) => commits(CommitsBefore::End),
            (false, true) => commits(CommitsBefore::Stop),
            (false, false) => Phase::Running,
        };
        self.actions.push_back(CheckpointAction::Commit(checkpoint));
    }

    pub(super) fn fail(&mut self, why: String) {
        self.savepoints.refuse(&why, &mut self.actions);
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
