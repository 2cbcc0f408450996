//! The calls of timers: it continues `bolt_task`.

use crate::api::{EventTimer, Timer};
use crate::clock::Time;
use crate::runtime::executor::bolt_task::BoltTask;
use crate::runtime::executor::call_error::CallError;
use crate::runtime::executor::step::{ExecutorHandles, StepContext};
use crate::state::{Due, event_clock};

/// So many calls of timers of a task in a step; the others are made in the next.
const TIMERS_PER_STEP: usize = 256;

impl BoltTask {
    /// Calls timers that are due, a bounded number of them, if there is an instance that has not finished.
    pub fn call_due_timers(&mut self, handles: &ExecutorHandles, cx: &StepContext<'_>) {
        let now = cx.now;
        if self.has_finished {
            return;
        }
        for _ in 0..TIMERS_PER_STEP {
            let Some((timer, place)) = self.state.store.due_timer(now).filter(|_| self.bolt.is_some()) else {
                return;
            };
            let result = self.call(handles, now, true, |bolt, out| {
                out.state().begin_timer(timer, place);
                bolt.timer(Timer::new(timer), out)
            });
            if let Err(error) = result {
                self.timer_failed((timer, place), &error, |again| again, handles, cx);
            }
        }
    }

    /// Whether the watermark has reached a timer, and its call can be made: a task that has finished, or cannot be built,
    /// makes none.
    pub fn has_due_event_timer(&self) -> bool {
        let makes_calls = !self.has_finished && !self.restart.is_over();
        makes_calls && self.state.store.due_event_timer().is_some()
    }

    /// Calls the timer in event time that was due first. Returns whether the next one can be called now.
    pub fn call_event_timer(&mut self, handles: &ExecutorHandles, cx: &StepContext<'_>) -> bool {
        let Some((timer, place, at)) = self.state.store.due_event_timer() else { return false };
        self.timer_retry = None;
        let result = self.call(handles, cx.now, true, |bolt, out| {
            out.state().begin_timer(timer, place);
            bolt.event_timer(EventTimer::new(timer), at, out)
        });
        let Err(error) = result else { return true };
        // It stays set to its time. That it waits keeps the task from all else.
        self.timer_retry = self.timer_failed((timer, place), &error, |_| event_clock(at), handles, cx);
        self.timer_retry.is_none()
    }

    /// The call of a timer failed: the timer is set once more, to what `at` makes of the time at which the call is made
    /// again, or given up. Returns that time. A timer that is given up counts as a lost tuple.
    fn timer_failed(
        &mut self,
        (timer, place): (u32, u32),
        error: &CallError,
        at: impl FnOnce(Time) -> Time,
        handles: &ExecutorHandles,
        cx: &StepContext<'_>,
    ) -> Option<Time> {
        let failures = self.state.store.timer_failures(timer, place) + 1;
        let again = self.retry_at(failures, error, handles, cx);
        let due = again.map(|again| Due { at: at(again), failures });
        self.state.store.set_failed_timer(timer, place, due);
        if again.is_none() {
            self.stop_if_asked(error);
            self.emitter.unanchored_now += 1;
        }
        again
    }
}
