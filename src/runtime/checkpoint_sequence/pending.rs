//! The checkpoints that have begun and are not complete, oldest first. A part of `checkpoint_sequence`.
//!
//! ```text
//!   begins ─▶ tasks take their parts ─▶ the oldest, with all parts: published ─▶ complete
//!                   └─ too long, or refused: dropped, and with it all that began later
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
    /// The parts that tasks have taken.
    pub entries: BTreeMap<TaskName, TaskEntry>,
    /// Whether all have, and it is being published.
    is_publishing: bool,
}

impl Pending {
    /// The parts, in the order of the tasks.
    pub fn tasks(&self) -> Vec<TaskEntry> {
        self.entries.values().cloned().collect()
    }
}

/// Those that have begun and are not complete, oldest first. Only the oldest is published.
#[derive(Default)]
pub struct PendingCheckpoints(VecDeque<Pending>);

impl PendingCheckpoints {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One begins, after all others.
    pub fn begins(&mut self, checkpoint: CheckpointId, now: Time, timeout: Duration, is_last: bool) {
        self.0.push_back(Pending {
            checkpoint,
            begun_at: now,
            deadline: now.after(timeout),
            is_last,
            entries: BTreeMap::new(),
            is_publishing: false,
        });
    }

    /// The place of one that takes parts.
    pub fn place_of(&self, checkpoint: CheckpointId) -> Option<usize> {
        self.0.iter().position(|pending| pending.checkpoint == checkpoint && !pending.is_publishing)
    }

    /// The parts of the one before this place, if that is pending, too.
    pub fn before(&self, place: usize) -> Option<&BTreeMap<TaskName, TaskEntry>> {
        place.checked_sub(1).map(|before| &self.0[before].entries)
    }

    /// A task has taken its part of the one at this place.
    pub fn takes(&mut self, place: usize, task: TaskName, entry: TaskEntry) {
        self.0[place].entries.insert(task, entry);
    }

    /// Whether a part of one is missing, of this many.
    pub fn lacks_parts(&self, tasks: usize) -> bool {
        self.0.iter().any(|pending| pending.entries.len() < tasks)
    }

    /// The place of the first that takes parts, or has all and waits for the one before.
    pub fn first_taken(&self) -> Option<usize> {
        self.0.iter().position(|pending| !pending.is_publishing)
    }

    /// The oldest, if it has all of this many parts: it is being published from now on.
    pub fn take_publishable(&mut self, tasks: usize) -> Option<&Pending> {
        let oldest = self.0.front_mut()?;
        if oldest.is_publishing || oldest.entries.len() < tasks {
            return None;
        }
        oldest.is_publishing = true;
        Some(oldest)
    }

    /// Whether this one is being published.
    pub fn is_publishing(&self, checkpoint: CheckpointId) -> bool {
        self.0.front().is_some_and(|oldest| oldest.is_publishing && oldest.checkpoint == checkpoint)
    }

    /// The oldest is complete.
    pub fn completes(&mut self) -> Option<Pending> {
        self.0.pop_front()
    }

    /// When the first takes too long.
    pub fn deadline(&self) -> Time {
        self.first_taken().map_or(Time::NEVER, |place| self.0[place].deadline)
    }

    /// The place of the first that takes too long.
    pub fn first_late(&self, now: Time) -> Option<usize> {
        self.first_taken().filter(|place| now >= self.0[*place].deadline)
    }

    /// What the one at this place lacks: some of the tasks that have not taken part, if there are any.
    pub fn lacks<'a>(&self, place: usize, tasks: impl Iterator<Item = &'a TaskName>) -> String {
        let missing = tasks.filter(|task| !self.0[place].entries.contains_key(task));
        let missing: Vec<String> = missing.take(MISSING_SHOWN).map(ToString::to_string).collect();
        match missing.is_empty() {
            true => "the one before it was not published".to_owned(),
            false => format!("{} had not taken part", missing.join(", ")),
        }
    }

    /// Drops the one at this place, and all later ones. Returns which.
    pub fn drop_from(&mut self, first: usize) -> impl Iterator<Item = CheckpointId> + use<> {
        self.0.split_off(first.min(self.0.len())).into_iter().map(|pending| pending.checkpoint)
    }
}
