//! The timers of a task: which is due next, and the calls for them.

use crate::clock::Time;
use crate::state::error::StateError;
use crate::state::stored::Due;
use crate::state::task_state::{PresentKey, TaskState};
use crate::state::timer_cells::TimerCells;

impl TaskState {
    /// Sets the timer of the present key to a time of the clock that the timer follows.
    pub(crate) fn set_timer(&mut self, timer: u32, at: Time) -> Result<(), StateError> {
        let (call, place) = (self.call(), self.place_to_change(timer)?);
        self.column::<TimerCells>(timer)?.set(call, place, Some(Due { at, failures: 0 }));
        Ok(())
    }

    /// Clears the timer of the present key.
    pub(crate) fn clear_timer(&mut self, timer: u32) -> Result<(), StateError> {
        if let Some(place) = self.place(timer)? {
            let call = self.call();
            self.removes(place);
            self.column::<TimerCells>(timer)?.set(call, place, None);
        }
        Ok(())
    }

    /// The time that the timer of the present key is set to.
    pub(crate) fn timer(&mut self, timer: u32) -> Result<Option<Time>, StateError> {
        let place = self.place(timer)?;
        let cells = self.column::<TimerCells>(timer)?;
        Ok(place.and_then(|place| cells.get(place)).map(|due| due.at))
    }

    /// When the next timer is due; [`Time::NEVER`] if none is set.
    pub(crate) fn next_due(&self) -> Time {
        self.first_due(&self.timers).map_or(Time::NEVER, |(due, ..)| due)
    }

    /// The timer that was due first, with the place of its key.
    pub(crate) fn due_timer(&self, now: Time) -> Option<(u32, u32)> {
        let first = self.first_due(&self.timers).filter(|(due, ..)| *due <= now);
        first.map(|(_, timer, place)| (timer, place))
    }

    /// The first of these timers: when it is due, its number, and the place of its key.
    pub(super) fn first_due(&self, timers: &[u32]) -> Option<(Time, u32, u32)> {
        let first = |timer: &u32| {
            let (due, place) = self.columns[*timer as usize].next_due()?;
            Some((due, *timer, place))
        };
        timers.iter().filter_map(first).min()
    }

    /// Begins the call of a timer that is due: its key is that of the call, and the timer is cleared.
    pub(crate) fn begin_timer(&mut self, timer: u32, place: u32) {
        self.present = PresentKey::Known(place);
        let call = self.call();
        self.removes(place);
        if let Ok(cells) = self.column::<TimerCells>(timer) {
            cells.set(call, place, None);
        }
    }

    /// How often the call of a timer that is set has failed.
    pub(crate) fn timer_failures(&mut self, timer: u32, place: u32) -> u32 {
        let due = self.column::<TimerCells>(timer).ok().and_then(|cells| cells.get(place));
        due.map_or(0, |due| due.failures)
    }

    /// Sets a timer whose call has failed to a later time, or clears it.
    pub(crate) fn set_failed_timer(&mut self, timer: u32, place: u32, due: Option<Due>) {
        let call = self.call();
        self.removes(place);
        if let Ok(cells) = self.column::<TimerCells>(timer) {
            cells.set(call, place, due);
        }
        self.commit();
    }
}
