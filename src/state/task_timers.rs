//! The timers of a task: which is due next, and the calls for them.

use crate::clock::Time;
use crate::state::stored::Due;
use crate::state::task_state::{PresentKey, TaskState};
use crate::state::timer_cells::TimerCells;

impl TaskState {
    /// When the next timer is due; [`Time::NEVER`] if none is set.
    pub(crate) fn next_due(&self) -> Time {
        self.timers().map(|(due, ..)| due).min().unwrap_or(Time::NEVER)
    }

    /// The timer that was due first, with the place of its key.
    pub(crate) fn due_timer(&self, now: Time) -> Option<(u32, u32)> {
        let (_, timer, place) = self.timers().filter(|(due, ..)| *due <= now).min()?;
        Some((timer, place))
    }

    /// The first of each timer: when it is due, its number, and the place of its key.
    fn timers(&self) -> impl Iterator<Item = (Time, u32, u32)> {
        self.timers.iter().filter_map(|timer| {
            let (due, place) = self.columns[*timer as usize].next_due()?;
            Some((due, *timer, place))
        })
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
