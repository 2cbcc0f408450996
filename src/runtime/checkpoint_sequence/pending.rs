//! The checkpoints that have begun and are not complete, oldest first. A part of `checkpoint_sequence`.
//!
//! ```text
//!   begins ─▶ tasks take their parts ─▶ the oldest, with all parts: published ─▶ complete
//!                   └─ too long, or refused: dropped, and with it all that take parts
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::checkpoint::{TaskEntry, TaskName};
use crate::clock::Time;
use crate::ids::CheckpointId;

/// How many tasks are named that had not taken part in a checkpoint.
const MISSING_SHOWN: usize = 3;

/// A checkpoint that has begun and is not complete.
pub struct Pending {
    pub checkpoint: CheckpointId,
    pub begun_at: Time,
    deadline: Time,
    /// Whether it is the last: all bolts had finished when it began.
    pub is_last: bool,
    /// Whether tuples were in flight to a task when it took its part.
    has_in_flight: bool,
    /// The parts that tasks have taken.
    pub entries: BTreeMap<TaskName, TaskEntry>,
}

impl Pending {
    /// The parts, in the order of the tasks.
    pub fn tasks(&self) -> Vec<TaskEntry> {
        self.entries.values().cloned().collect()
    }
}

/// The checkpoints that have begun and are not complete.
#[derive(Default)]
pub struct PendingCheckpoints {
    /// The oldest, if all its parts are durable.
    publishing: Option<Pending>,
    /// The others, oldest first. They are complete together with those before them, or not at all.
    taking: VecDeque<Pending>,
}

impl PendingCheckpoints {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.taking.len() + usize::from(self.publishing.is_some())
    }

    /// One begins, after all others.
    pub fn begins(&mut self, checkpoint: CheckpointId, now: Time, timeout: Duration, is_last: bool) {
        let deadline = now.after(timeout);
        let entries = BTreeMap::new();
        let has_in_flight = false;
        let begins = Pending { checkpoint, begun_at: now, deadline, is_last, has_in_flight, entries };
        self.taking.push_back(begins);
    }

    /// The place of one among those that take parts.
    pub fn place_of(&self, checkpoint: CheckpointId) -> Option<usize> {
        self.taking.iter().position(|pending| pending.checkpoint == checkpoint)
    }

    /// The parts of the one before this place, if that is pending, too.
    pub fn before(&self, place: usize) -> Option<&BTreeMap<TaskName, TaskEntry>> {
        let before = match place.checked_sub(1) {
            Some(before) => self.taking.get(before),
            None => self.publishing.as_ref(),
        };
        before.map(|before| &before.entries)
    }

    /// A task has taken its part of the one at this place. `has_in_flight`: see `TaskPart`.
    pub fn takes(&mut self, place: usize, task: TaskName, entry: TaskEntry, has_in_flight: bool) {
        let pending = &mut self.taking[place];
        pending.has_in_flight |= has_in_flight;
        pending.entries.insert(task, entry);
    }

    /// Whether the oldest was to be the last, and has all of this many parts, and tuples were in flight.
    pub fn last_has_in_flight(&self, tasks: usize) -> bool {
        let is_so =
            |oldest: &Pending| oldest.is_last && oldest.has_in_flight && oldest.entries.len() == tasks;
        self.taking.front().is_some_and(is_so)
    }

    /// Whether a part of one is missing, of this many.
    pub fn lacks_parts(&self, tasks: usize) -> bool {
        self.taking.iter().any(|pending| pending.entries.len() < tasks)
    }

    /// The oldest is being published from now on, if it has all of this many parts, and no other is.
    pub fn publish(&mut self, tasks: usize) -> Option<&Pending> {
        let is_whole = self.taking.front().is_some_and(|oldest| oldest.entries.len() == tasks);
        if self.publishing.is_some() || !is_whole {
            return None;
        }
        self.publishing = self.taking.pop_front();
        self.publishing.as_ref()
    }

    /// The one that is being published, if it is this one. It is pending no more.
    pub fn published(&mut self, checkpoint: CheckpointId) -> Option<Pending> {
        self.publishing.take_if(|oldest| oldest.checkpoint == checkpoint)
    }

    /// When the first of those that take parts takes too long.
    pub fn deadline(&self) -> Time {
        self.taking.front().map_or(Time::NEVER, |first| first.deadline)
    }

    /// What the first of those that take parts lacks: some of the tasks that have not taken part, if there are any.
    pub fn lacks<'a>(&self, tasks: impl Iterator<Item = &'a TaskName>) -> String {
        let first = self.taking.front();
        let missing = tasks.filter(|task| first.is_some_and(|first| !first.entries.contains_key(task)));
        let missing: Vec<String> = missing.take(MISSING_SHOWN).map(ToString::to_string).collect();
        match missing.is_empty() {
            true => "the one before it was not published".to_owned(),
            false => format!("{} had not taken part", missing.join(", ")),
        }
    }

    /// Drops all that take parts. Returns which, oldest first.
    pub fn drop_taking(&mut self) -> impl Iterator<Item = CheckpointId> + use<> {
        std::mem::take(&mut self.taking).into_iter().map(|pending| pending.checkpoint)
    }
}
