//! The identities that travel with tuples, acks and commands.
//!
//! Every id is a newtype, so that a task cannot be passed where a root is wanted. All of them
//! are `Copy` and at most 64 bits wide, because they stand in every batch and every ack record.
//!
//! 1. A [`TaskId`] is positive and dense: the first task of a topology is 1, as in Storm. Task 0
//!    does not exist.
//! 2. A [`RootId`] is never 0; 0 marks "untracked" inside a batch.
//! 3. An edge id is drawn from a cryptographically strong generator and is never 0: an edge of 0
//!    would be invisible to XOR (see `runtime::acking::acker`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::shown;

/// One task of a component: a positive number, unique in its topology, dense from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u32);

impl TaskId {
    /// The position of this task in tables indexed from 0.
    pub fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// The task at a position of a table indexed from 0.
    pub fn from_index(index: usize) -> TaskId {
        TaskId(u32::try_from(index + 1).expect("a topology has fewer than 2^32 tasks"))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One worker process of a topology, dense from 0. Its place in the assignment, which outlives the
/// process: a restarted worker has the same id and the next [`Incarnation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The position of this worker in tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which process of a worker: from 1, one more with each restart, given by whoever starts it. What
/// comes from an older incarnation than the current one is refused everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// The upper part of a generation: the incarnation, which wraps there.
    pub fn generation_part(self) -> u32 {
        self.0 % INCARNATIONS_MOD
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A checkpoint of a topology: which start of it took it, and which of that start's it is. A later start has a
/// higher epoch, so its checkpoints are greater than all of the starts before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckpointId {
    /// The start of the topology, from 1.
    pub epoch: u64,
    /// The number within the epoch, from 1.
    pub number: u64,
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

/// Why a text is no [`CheckpointId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no checkpoint: write EPOCH-NUMBER as `squall checkpoint list` shows it, for example 2-17",
    shown(text)
)]
pub struct CheckpointIdError {
    text: String,
}

impl FromStr for CheckpointId {
    type Err = CheckpointIdError;

    /// Reads what `Display` writes, and nothing else.
    ///
    /// # Examples
    /// ```
    /// use squall::ids::CheckpointId;
    ///
    /// assert_eq!("2-17".parse(), Ok(CheckpointId { epoch: 2, number: 17 }));
    /// assert!("2-017".parse::<CheckpointId>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<CheckpointId, CheckpointIdError> {
        let numbers = text.split_once('-').and_then(|(epoch, number)| {
            Some(CheckpointId { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
        });
        let error = || CheckpointIdError { text: text.to_owned() };
        numbers.filter(|id| id.to_string() == text).ok_or_else(error)
    }
}

/// The credit between two executors, in the order of the topology's links: the same number in every
/// worker, because every worker works out the same plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u32);

/// What a spout calls a message it wants tracked: an offset, a sequence number, a key of its own.
///
/// The runtime hands it back in `Spout::ack` or `Spout::fail` and never looks inside. A spout
/// whose messages have richer identities keeps a map from this number to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub u64);

impl From<u64> for MessageId {
    fn from(id: u64) -> MessageId {
        MessageId(id)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A tracked tuple tree, or rather a *block* of up to 64 of them that share one XOR cell.
///
/// The id contains the place of its entry, so that nothing is hashed to find it:
///
/// ```text
///   63            48 47            28 27                         0
///  +----------------+----------------+---------------------------+
///  | spout task (16)| slot (20)      | generation (28)           |
///  +----------------+----------------+---------------------------+
/// ```
///
/// A slot is used again once its block is done; the generation distinguishes late records of the old
/// block from those of the new one. Its upper 8 bits are the incarnation of the spout's worker, its lower
/// 20 count the uses of the slot; both wrap. So a spout that was started again, and knows nothing of
/// what its predecessor used, is still newer to an acker that survived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RootId(pub u64);

/// The largest spout task that a root id can name.
pub const SPOUT_TASK_MAX: u32 = u16::MAX as u32;
/// How many blocks one spout task can have open at once.
pub const SLOTS_MAX: u32 = 1 << 20;
/// Generations wrap at this number.
pub const GENERATION_MOD: u32 = 1 << 28;
/// The part of a generation that counts uses of a slot wraps at this number; what stands above it is
/// the incarnation.
pub const USES_MOD: u32 = 1 << 20;

/// Incarnations, as far as a generation distinguishes them.
pub const INCARNATIONS_MOD: u32 = GENERATION_MOD / USES_MOD;

/// Workers that tuples of a tree were sent to, as bits; worker 32 shares the bit of worker 0, and so
/// on, so "not touched" is certain and "touched" is a maybe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerSet(pub u32);

impl WorkerSet {
    /// No other worker than the spout's.
    pub const NONE: WorkerSet = WorkerSet(0);

    /// This worker only.
    pub fn of(worker: WorkerId) -> WorkerSet {
        WorkerSet(1 << (worker.0 % 32))
    }

    /// The workers that are in either set.
    #[must_use]
    pub fn union(self, other: WorkerSet) -> WorkerSet {
        WorkerSet(self.0 | other.0)
    }

    /// Whether a worker may be in both sets.
    pub fn intersects(self, other: WorkerSet) -> bool {
        self.0 & other.0 != 0
    }

    /// The positions of the bits that are set.
    pub fn bits(self) -> impl Iterator<Item = usize> {
        (0..32).filter(move |bit| self.0 & (1 << bit) != 0)
    }
}

impl RootId {
    /// "Not tracked", inside batches only.
    pub const NONE: RootId = RootId(0);

    /// Puts a root id together. `task` fits 16 bits, `slot` 20 and `generation` 28.
    pub fn new(task: TaskId, slot: u32, generation: u32) -> RootId {
        debug_assert!(task.0 <= SPOUT_TASK_MAX && slot < SLOTS_MAX && generation < GENERATION_MOD);
        RootId((u64::from(task.0) << 48) | (u64::from(slot) << 28) | u64::from(generation))
    }

    /// The spout task whose messages these are.
    pub fn task(self) -> TaskId {
        TaskId((self.0 >> 48) as u32)
    }

    /// The slot of the acker's table.
    pub fn slot(self) -> u32 {
        (self.0 >> 28) as u32 & (SLOTS_MAX - 1)
    }

    /// Which use of the slot this is.
    pub fn generation(self) -> u32 {
        self.0 as u32 & (GENERATION_MOD - 1)
    }

    /// Whether there is a tree at all.
    pub fn is_tracked(self) -> bool {
        self.0 != 0
    }
}

/// The stream that a component emits to when it names none.
pub const DEFAULT_STREAM: &str = "default";
/// The stream of tuples that a bolt gave up on; see `on_error` in `topology`.
pub const DEAD_LETTER_STREAM: &str = "dead-letter";

/// Whether a name may be given to a topology, component, stream or field group:
/// `[A-Za-z0-9_.-]{1,64}`.
pub fn is_legal_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Whether a node of the coordination may have this name: a legal name that leads nowhere else in a path.
pub fn is_node_name(name: &str) -> bool {
    is_legal_name(name) && !matches!(name, "." | "..")
}

/// Whether a component id is reserved for the system's own parts (`__acker` and its like).
pub fn is_reserved_name(name: &str) -> bool {
    name.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_id_gives_back_its_parts() {
        let check = |task, slot, generation| {
            let root = RootId::new(TaskId(task), slot, generation);
            assert_eq!((root.task(), root.slot(), root.generation()), (TaskId(task), slot, generation));
            assert!(root.is_tracked());
        };
        check(1, 0, 0);
        check(1, SLOTS_MAX - 1, 1);
        check(SPOUT_TASK_MAX, 77, GENERATION_MOD - 1);
    }

    #[test]
    fn a_checkpoint_is_read_as_it_is_shown() {
        let check = |text: &str, expected: Option<(u64, u64)>| {
            let expected = expected.map(|(epoch, number)| CheckpointId { epoch, number });
            assert_eq!(text.parse().ok(), expected, "{text}");
        };
        check("1-1", Some((1, 1)));
        check("0-18446744073709551615", Some((0, u64::MAX)));
        for bad in ["", "1", "1-", "-1", "+1-2", "01-2", "1-02", "1-2-3", "1-2 ", "0-18446744073709551616"] {
            check(bad, None);
        }
        let error = "a\nb".parse::<CheckpointId>().map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.starts_with(r"`a\nb` is no checkpoint: write EPOCH-NUMBER")));
    }

    #[test]
    fn names_hold_letters_digits_and_three_signs() {
        for good in ["a", "word-count", "a.b_c-9", &"x".repeat(64)] {
            assert!(is_legal_name(good), "{good}");
        }
        for bad in ["", "a b", "ü", "a/b", &"x".repeat(65)] {
            assert!(!is_legal_name(bad), "{bad}");
        }
    }
}
