//! The cells of a column, and which of them the next snapshot must have.
//!
//! A snapshot is written in slices, and calls go on between the slices. What is written is nevertheless what the
//! cells held when the snapshot began:
//!
//! 1. A cell has a stamp, which says after the begin of which snapshot it was changed. Stamps are 1 and 2 by turns: when
//!    a snapshot begins, only the stamp of the one before is left, because a snapshot that is complete has taken the
//!    older ones away. The first change of a cell after a snapshot began adds its place to `changed`, which is what
//!    the next delta writes. Before the first snapshot nothing is stamped: it is a full one.
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
use crate::state::placed_values::Cells;
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
    /// Begins a snapshot, of everything or of what changed since the one before. It costs the same, however much
    /// there is.
    fn begin(&mut self, full: bool);
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

/// The stamp of a place that was not changed, or whose stamp a snapshot has taken away.
const NO_STAMP: u8 = 0;

/// Cells, one for each place.
pub(super) struct TrackedCells<C, S = Vec<Option<C>>> {
    cells: S,
    /// The stamp of what changes now: 1 or 2; none if no snapshot has begun since the column was cleared.
    stamp: u8,
    /// The stamp of each place. May be shorter than the cells.
    stamps: Vec<u8>,
    /// Places whose stamp is `stamp`.
    changed: LongList<u32>,
    /// Whether the last snapshot that has begun is not complete, so that older stamps may be left.
    is_incomplete: bool,
    pending: Pending,
    /// What pending cells held before they were changed.
    copies: LongList<(u32, Option<C>)>,
}

impl<C, S: Cells<C>> Default for TrackedCells<C, S> {
    fn default() -> TrackedCells<C, S> {
        TrackedCells {
            cells: S::default(),
            stamp: NO_STAMP,
            stamps: Vec::new(),
            changed: LongList::default(),
            is_incomplete: false,
            pending: Pending::Nothing,
            copies: LongList::default(),
        }
    }
}

impl<C: Stored> TrackedCells<C> {
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
}

impl<C: Stored, S: Cells<C>> TrackedCells<C, S> {
    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&C> {
        self.cells.value(place)
    }

    /// All cells. If one is about to be changed, and not to be put back or restored, `note_change` comes first.
    #[inline]
    pub(super) fn all(&mut self) -> &mut S {
        &mut self.cells
    }

    /// Notes that a call is about to change the cell. As long as there are no snapshots there are no stamps, so the
    /// comparison is all that this costs.
    #[inline]
    pub(super) fn note_change(&mut self, place: u32) {
        if self.stamp(place) != self.stamp {
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
            self.stamps.resize(at + 1, NO_STAMP);
        }
        self.stamps[at] = self.stamp;
        self.changed.push(place);
    }

    #[inline]
    fn stamp(&self, place: u32) -> u8 {
        self.stamps.get(place as usize).copied().unwrap_or(NO_STAMP)
    }

    /// The stamp of what changed between the begin of the snapshot before and that of the last one.
    fn last_stamp(&self) -> u8 {
        other_stamp(self.stamp)
    }

    /// Whether the snapshot in progress must still write the cell, which was not changed since it began.
    fn is_pending(&self, place: u32) -> bool {
        match &self.pending {
            Pending::Nothing => false,
            Pending::All { next, end } => (*next..*end).contains(&place),
            Pending::Changed(_) => self.stamp(place) == self.last_stamp(),
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

/// The stamps are 1 and 2 by turns.
fn other_stamp(stamp: u8) -> u8 {
    if stamp == 1 { 2 } else { 1 }
}

impl<C: Stored, S: Cells<C>> SnapshotCells for TrackedCells<C, S> {
    fn begin(&mut self, full: bool) {
        let changed = std::mem::take(&mut self.changed);
        // A column of which no snapshot has anything is written whole: it stamped no changes. So is one whose last
        // snapshot was given up.
        self.pending = if full || self.stamp == NO_STAMP || self.is_incomplete {
            Pending::All { next: 0, end: self.cells.end().max(self.stamps.len() as u32) }
        } else {
            Pending::Changed(changed.into_items())
        };
        if self.is_incomplete {
            self.stamps.clear();
        }
        self.is_incomplete = true;
        self.copies = LongList::default();
        self.stamp = other_stamp(self.stamp);
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
            match self.stamps.get_mut(place as usize) {
                // It was changed, so its copy is written, or was.
                Some(stamp) if *stamp == self.stamp => return Next::Nothing,
                Some(stamp) if *stamp != NO_STAMP => *stamp = NO_STAMP,
                Some(_) | None => {}
            }
            written(place, self.get(place), out)
        } else {
            self.abandon();
            self.is_incomplete = false;
            return Next::Complete;
        };
        match next {
            // A full snapshot goes into a column that is empty.
            Next::Removed(_) if self.is_full() => Next::Nothing,
            next => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::placed_values::PlacedValues;

    type Numbers = TrackedCells<i64, PlacedValues<i64>>;

    fn set(cells: &mut Numbers, place: u32, value: Option<i64>) {
        cells.note_change(place);
        cells.all().replace(place, value);
    }

    /// The places that a snapshot has: those with a value, and those without.
    fn written(cells: &mut Numbers, full: bool) -> (Vec<u32>, Vec<u32>) {
        cells.begin(full);
        let (mut values, mut removed) = (Vec::new(), Vec::new());
        loop {
            match cells.write_next(SnapshotTime::default(), &mut Vec::new()) {
                Next::Complete => return (values, removed),
                Next::Nothing => {}
                Next::Value(place) => values.push(place),
                Next::Removed(place) => removed.push(place),
                Next::Failed(place, error) => panic!("{place}: {error}"),
            }
        }
    }

    /// There are two stamps, so a stamp that a snapshot left behind would hide a change two snapshots later.
    #[test]
    fn no_stamp_outlasts_the_next_snapshot() {
        // Behind all cells, and in one of them.
        for place in [0, 1_000] {
            for kinds in [[true, true], [true, false], [false, true], [false, false]] {
                let mut cells = Numbers::default();
                set(&mut cells, 0, Some(7));
                assert_eq!(written(&mut cells, true), (vec![0], vec![]));
                set(&mut cells, place, None);
                kinds.into_iter().for_each(|full| drop(written(&mut cells, full)));
                set(&mut cells, place, Some(8));
                assert_eq!(written(&mut cells, false), (vec![place], vec![]), "{kinds:?}");
                assert_eq!(written(&mut cells, false), (vec![], vec![]), "{kinds:?}");
            }
        }
    }

    #[test]
    fn a_snapshot_that_was_given_up_is_followed_by_a_full_one() {
        for given_up in 1..4 {
            let mut cells = Numbers::default();
            (0..3).for_each(|place| set(&mut cells, place, Some(1)));
            assert_eq!(written(&mut cells, true), (vec![0, 1, 2], vec![]));
            for _ in 0..given_up {
                set(&mut cells, 1, Some(2));
                cells.begin(false);
                cells.abandon();
            }
            assert_eq!(written(&mut cells, false), (vec![0, 1, 2], vec![]), "{given_up}");
            set(&mut cells, 1, Some(3));
            assert_eq!(written(&mut cells, false), (vec![1], vec![]), "{given_up}");
        }
    }
}
