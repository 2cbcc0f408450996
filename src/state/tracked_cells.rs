//! The cells of a column, and which of them the next snapshot must have.
//!
//! A snapshot is written in slices, and calls go on between the slices. What is written is nevertheless what the
//! cells held when the snapshot began:
//!
//! 1. Snapshots are numbered. A cell has a stamp: the number of the last snapshot that had begun when the cell was
//!    changed. The first change of a cell after a snapshot began adds its place to `changed`, which is what the
//!    next delta writes. Before the first snapshot nothing is stamped: it is a full one.
//! 2. A cell is *pending* while the snapshot must still write it. The first change of a pending cell copies what
//!    it holds, and the copy is written instead (copy on write). A full snapshot has all places from `next` on that
//!    existed when it began; a delta has the places of its list whose stamp is that of the snapshot before.
//! 3. No snapshot begins within a call. So the first change after its begin sees a value that is committed, and if
//!    the call fails, the value is put back without a stamp: the place is written once more than necessary.
//! 4. What had expired when the snapshot began is not written, whether it has been removed or not.
//! 5. A snapshot has each place at most once. So what changes a thousand times is written once; and a cell is
//!    written whole, a map or a list, too.

use crate::state::encoding::EncodingError;
use crate::state::long_list::{Items, LongList};
use crate::state::stored::{SnapshotTime, Stored};

/// What a column does next for a snapshot.
pub(crate) enum Next {
    /// Nothing more: all of the column is written.
    Complete,
    /// A place was visited that the snapshot does not need.
    Nothing,
    /// The cell of the place had a value, which was appended.
    Value(u32),
    /// The cell of the place was empty. Deltas only.
    Removed(u32),
    /// The value of the place could not be written.
    Failed(u32, EncodingError),
}

/// The cells of a column, as the snapshots of a task see them.
pub(crate) trait SnapshotCells {
    /// Begins the snapshot of this number, of everything or of what changed since the one before. It costs the
    /// same, however much there is.
    fn begin(&mut self, number: u32, full: bool);
    /// Gives up a snapshot that is not complete.
    fn abandon(&mut self);
    /// Visits a place of the snapshot that has begun, and appends what its cell held at that time.
    fn write_next(&mut self, time: SnapshotTime, out: &mut Vec<u8>) -> Next;
    /// Appends what the cell of a place holds now, whatever snapshots there are. Returns whether it holds something.
    fn write_cell(&self, place: u32, time: SnapshotTime, out: &mut Vec<u8>) -> Result<bool, EncodingError>;
}

/// What the snapshot in progress must still visit, besides copies.
enum Pending {
    Nothing,
    /// All places in this range.
    All {
        next: u32,
        end: u32,
    },
    /// These places.
    Changed(Items<u32>),
}

/// Cells, one for each place.
pub(super) struct TrackedCells<C> {
    cells: Vec<Option<C>>,
    /// The last snapshot that has begun; 0 if none has, or none since the column was cleared.
    number: u32,
    /// The stamp of each place; 0, and none, if it was not changed or the delta in progress has written it.
    stamps: Vec<u32>,
    /// Places whose stamp is `number`.
    changed: LongList<u32>,
    pending: Pending,
    /// What pending cells held before they were changed.
    copies: LongList<(u32, Option<C>)>,
}

impl<C> Default for TrackedCells<C> {
    fn default() -> TrackedCells<C> {
        TrackedCells {
            cells: Vec::new(),
            number: 0,
            stamps: Vec::new(),
            changed: LongList::default(),
            pending: Pending::Nothing,
            copies: LongList::default(),
        }
    }
}

impl<C: Stored> TrackedCells<C> {
    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&C> {
        self.cells.get(place as usize)?.as_ref()
    }

    /// The cell of a place, whether the column was so long or not. If it is about to be changed, and not to be put
    /// back or restored, `note_change` comes first.
    #[inline]
    pub(super) fn cell(&mut self, place: u32) -> &mut Option<C> {
        let at = place as usize;
        if at >= self.cells.len() {
            self.cells.resize_with(at + 1, || None);
        }
        &mut self.cells[at]
    }

    /// Notes that a call is about to change the cell. As long as there are no snapshots, all stamps are 0 as the
    /// number is, so the comparison is all that this costs.
    #[inline]
    pub(super) fn note_change(&mut self, place: u32) {
        if self.stamp(place) != self.number {
            self.note_first_change(place);
        }
    }

    #[inline(never)]
    fn note_first_change(&mut self, place: u32) {
        if self.is_pending(place) {
            let copy = self.get(place).cloned();
            self.copies.push((place, copy));
        }
        let at = place as usize;
        if at >= self.stamps.len() {
            self.stamps.resize(at + 1, 0);
        }
        self.stamps[at] = self.number;
        self.changed.push(place);
    }

    #[inline]
    fn stamp(&self, place: u32) -> u32 {
        self.stamps.get(place as usize).copied().unwrap_or(0)
    }

    /// Whether the snapshot in progress must still write the cell, which was not changed since it began.
    fn is_pending(&self, place: u32) -> bool {
        match &self.pending {
            Pending::Nothing => false,
            Pending::All { next, end } => (*next..*end).contains(&place),
            Pending::Changed(_) => self.stamp(place) == self.number - 1,
        }
    }

    /// The next place that must be visited.
    fn next_place(&mut self) -> Option<u32> {
        match &mut self.pending {
            Pending::Nothing => None,
            Pending::All { next, end } => {
                let place = *next;
                *next += 1;
                (place < *end).then_some(place)
            }
            Pending::Changed(places) => places.next(),
        }
    }

    fn is_full(&self) -> bool {
        matches!(self.pending, Pending::All { .. })
    }
}

impl<C: Stored> SnapshotCells for TrackedCells<C> {
    fn begin(&mut self, number: u32, full: bool) {
        let changed = std::mem::take(&mut self.changed);
        // A column of which no snapshot has anything is written whole: it stamped no changes.
        self.pending = if full || self.number == 0 {
            Pending::All { next: 0, end: self.cells.len() as u32 }
        } else {
            Pending::Changed(changed.into_items())
        };
        self.copies = LongList::default();
        self.number = number;
    }

    fn abandon(&mut self) {
        self.pending = Pending::Nothing;
        self.copies = LongList::default();
    }

    fn write_cell(&self, place: u32, time: SnapshotTime, out: &mut Vec<u8>) -> Result<bool, EncodingError> {
        let value = self.get(place).filter(|value| value.has_something(time.now()));
        value.map(|value| value.write(time, out)).transpose().map(|written| written.is_some())
    }

    fn write_next(&mut self, time: SnapshotTime, out: &mut Vec<u8>) -> Next {
        let written = |place, value: Option<&C>, out| {
            let value = value.filter(|value| value.has_something(time.now()));
            match value.map(|value| value.write(time, out)) {
                Some(Ok(())) => Next::Value(place),
                Some(Err(error)) => Next::Failed(place, error),
                None => Next::Removed(place),
            }
        };
        let next = if let Some((place, copy)) = self.copies.pop() {
            written(place, copy.as_ref(), out)
        } else if let Some(place) = self.next_place() {
            if self.stamp(place) == self.number {
                return Next::Nothing; // It was changed, so its copy is written, or was.
            }
            if !self.is_full() {
                self.stamps[place as usize] = 0;
            }
            written(place, self.get(place), out)
        } else {
            self.abandon();
            return Next::Complete;
        };
        match next {
            // A full snapshot goes into a column that is empty.
            Next::Removed(_) if self.is_full() => Next::Nothing,
            next => next,
        }
    }
}
