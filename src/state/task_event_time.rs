//! Event time in the state of a task: its watermark, the timers that follow it, and what expires by it.
//!
//! 1. Timers are due at the watermark, and all of them at the end of time.
//! 2. What expires counts from the watermark, too, but the end of time is no time: it expires nothing, so the last calls
//!    of a bolt see what is left.
//! 3. What was written before there was a watermark counts from the first one.

use crate::clock::Time;
use crate::state::event_clock::{event_clock, timestamp_of};
use crate::state::task_state::TaskState;
use crate::tuple::Timestamp;

impl TaskState {
    /// Event time has come this far. Between calls only. It never goes back.
    pub(crate) fn set_watermark(&mut self, watermark: Timestamp) {
        let now = event_clock(watermark);
        self.watermark = self.watermark.max(now);
        if now != Time::NEVER && now > self.event_now {
            if self.event_now == Time::ZERO {
                self.begin_event_time(now);
            }
            self.event_now = now;
        }
    }

    /// Event time begins anew: no watermark has come yet.
    pub(crate) fn forget_watermark(&mut self) {
        (self.watermark, self.event_now) = (Time::ZERO, Time::ZERO);
    }

    fn begin_event_time(&mut self, now: Time) {
        for state in &self.expiring {
            if self.states[*state as usize].is_in_event_time() {
                self.columns[*state as usize].begin_event_time(now);
            }
        }
    }

    /// How far event time has come. `None`: no watermark has come yet.
    pub(crate) fn watermark(&self) -> Option<Timestamp> {
        (self.watermark > Time::ZERO).then(|| timestamp_of(self.watermark))
    }

    /// The timer in event time that was due first: its number, the place of its key, and the time that it was set to.
    pub(crate) fn due_event_timer(&self) -> Option<(u32, u32, Timestamp)> {
        let (due, timer, place) = self.first_due(&self.event_timers)?;
        (due <= self.watermark).then(|| (timer, place, timestamp_of(due)))
    }
}
