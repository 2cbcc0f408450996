//! The cells of a timer: when it is due for each key, and which key is next.

use std::any::Any;
use std::collections::BTreeSet;

use crate::clock::Time;
use crate::state::cells::cell;
use crate::state::columns::{Column, Log};

/// A timer that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: Time,
    /// How often its call has failed.
    pub(crate) failures: u32,
}

/// When a timer is due, for each key.
#[derive(Default)]
pub(crate) struct TimerCells {
    cells: Vec<Option<Due>>,
    /// The same, in the order of time.
    due: BTreeSet<(Time, u32)>,
    log: Log<(u32, Option<Due>)>,
}

impl TimerCells {
    pub(crate) fn get(&self, place: u32) -> Option<Due> {
        self.cells.get(place as usize).copied().flatten()
    }

    /// Sets or clears the timer of a key.
    pub(crate) fn set(&mut self, call: u64, place: u32, due: Option<Due>) {
        let old = self.write(place, due);
        self.log.push(call, (place, old));
    }

    fn write(&mut self, place: u32, due: Option<Due>) -> Option<Due> {
        let old = std::mem::replace(cell(&mut self.cells, place), due);
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

    fn next_due(&self) -> Option<(Time, u32)> {
        self.due.first().copied()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
