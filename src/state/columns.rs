//! What all states have in common, whatever they hold.

use std::any::Any;

use crate::clock::Time;
use crate::state::encoding::EncodingError;
use crate::state::stored::{SnapshotTime, Written};
use crate::state::tracked_cells::SnapshotCells;

/// The place of states that have no key.
pub(super) const NO_KEY_PLACE: u32 = 0;

/// What a call overwrote in a column, oldest first. The entries of earlier calls are forgotten when the next call
/// writes, so a call that succeeds has nothing to do.
pub(crate) struct Log<E> {
    /// The call that wrote last.
    call: u64,
    entries: Vec<E>,
}

impl<E> Default for Log<E> {
    fn default() -> Log<E> {
        Log { call: 0, entries: Vec::new() }
    }
}

impl<E> Log<E> {
    /// Adds an entry of this call.
    #[inline]
    pub(super) fn push(&mut self, call: u64, entry: E) {
        if self.call != call {
            self.call = call;
            self.entries.clear();
        }
        self.entries.push(entry);
    }

    /// The last entry of this call.
    #[inline]
    pub(super) fn last(&self, call: u64) -> Option<&E> {
        if self.call == call { self.entries.last() } else { None }
    }

    /// Takes the last entry of this call.
    pub(super) fn pop(&mut self, call: u64) -> Option<E> {
        if self.call == call { self.entries.pop() } else { None }
    }
}

/// The cells of one state, one for each place of the key table. A handle knows their type, so it is `Any`.
pub(crate) trait Column: Any + Send {
    /// Puts back what this call overwrote, newest first.
    fn undo(&mut self, call: u64);
    /// Whether there is something in the cell of a place.
    fn is_used(&self, place: u32) -> bool;
    /// The earliest time at which a timer of the column is due, and the place of its key.
    fn next_due(&self) -> Option<(Time, u32)> {
        None
    }
    /// When a task that does nothing else should remove what has expired.
    fn next_removal(&self) -> Time {
        Time::NEVER
    }
    /// Removes some of what has expired, a bounded amount. Between calls only. Appends the places whose cells are
    /// empty then.
    fn remove_expired(&mut self, _now: Time, _emptied: &mut Vec<u32>) {}
    /// The task has its first watermark. What was written before counts from now on.
    fn begin_event_time(&mut self, _now: Time) {}
    /// Whether something is kept that belongs to no key.
    fn keeps_without_key(&self) -> bool {
        false
    }
    /// The cells, for a snapshot.
    fn cells(&mut self) -> &mut dyn SnapshotCells;
    /// Writes what a snapshot has for a place, or that it has nothing. Not undone, and not in the next delta.
    fn restore(
        &mut self,
        place: u32,
        value: Option<Written<'_>>,
        time: SnapshotTime,
    ) -> Result<(), EncodingError>;
    /// Adds the items of another task's operator state. No other state has any.
    fn append(&mut self, _value: &[u8]) -> Result<(), EncodingError> {
        Ok(())
    }
    /// Keeps those items of operator state whose place is kept.
    fn keep_items(&mut self, _is_kept: &dyn Fn(usize) -> bool) {}
    /// Forgets everything.
    fn clear(&mut self);
}
