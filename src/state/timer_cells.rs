//! The cells of a timer: when it is due for each key, and which key is next.

use std::collections::BTreeSet;

use crate::clock::Time;
use crate::state::columns::{Column, Log};
use crate::state::encoding::EncodingError;
use crate::state::stored::{Due, SnapshotTime, Written};
use crate::state::tracked_cells::{SnapshotCells, TrackedCells};

/// When a timer is due, for each key.
#[derive(Default)]
pub(crate) struct TimerCells {
    cells: TrackedCells<Due>,
    /// The same, in the order of time.
    due: BTreeSet<(Time, u32)>,
    log: Log<(u32, Option<Due>)>,
}

impl TimerCells {
    pub(crate) fn get(&self, place: u32) -> Option<Due> {
        self.cells.get(place).copied()
    }

    /// Sets or clears the timer of a key.
    pub(crate) fn set(&mut self, call: u64, place: u32, due: Option<Due>) {
        self.cells.note_change(place);
        let old = self.write(place, due);
        self.log.push(call, (place, old));
    }

    fn write(&mut self, place: u32, due: Option<Due>) -> Option<Due> {
        let old = std::mem::replace(self.cells.cell(place), due);
        if let Some(old) = old {
            self.due.remove(&(old.at, place));
        }
        self.due.extend(due.map(|due| (due.at, place)));
        old
    }
}

impl Column for TimerCells {
    fn undo(&mut self, call: u64) {
        while let Some((place, due)) = self.log.pop(call) {
            self.write(place, due);
        }
    }

    fn is_used(&self, place: u32) -> bool {
        self.get(place).is_some()
    }

    fn cells(&mut self) -> &mut dyn SnapshotCells {
        &mut self.cells
    }

    fn restore(
        &mut self,
        place: u32,
        value: Option<Written<'_>>,
        time: SnapshotTime,
    ) -> Result<(), EncodingError> {
        let due = value.map(|value| Due::read(value, time)).transpose()?;
        self.write(place, due);
        Ok(())
    }

    fn clear(&mut self) {
        *self = TimerCells::default();
    }

    fn next_due(&self) -> Option<(Time, u32)> {
        self.due.first().copied()
    }
}
