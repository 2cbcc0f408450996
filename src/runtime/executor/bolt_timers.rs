//! The calls of timers: it continues `bolt_task`.

use crate::api::{EventTimer, Timer};
use crate::runtime::executor::bolt_task::BoltTask;
use crate::runtime::executor::call_error::CallError;
use crate::runtime::executor::step::{ExecutorHandles, StepContext};
use crate::state::{Due, TaskState};

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
                self.timer_failed((timer, place), &error, handles, cx);
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
        let number = self.state.store.timer_failures(timer, place) + 1;
        self.timer_retry = self.retry_at(number, &error, handles, cx);
        let again = self.timer_retry.map(|_| Due { failures: number, ..TaskState::event_due(at) });
        self.state.store.set_failed_timer(timer, place, again);
        self.timer_given_up(again.is_none(), &error);
        self.timer_retry.is_none()
    }

    /// If a timer is given up, it counts as a lost tuple.
    fn timer_given_up(&mut self, is_given_up: bool, error: &CallError) {
        if is_given_up {
            self.stop_if_asked(error);
            self.emitter.unanchored_now += 1;
        }
    }

    /// The call of a timer failed: it is made again later, or the timer is given up.
    fn timer_failed(
        &mut self,
        (timer, place): (u32, u32),
        error: &CallError,
        handles: &ExecutorHandles,
        cx: &StepContext<'_>,
    ) {
        let number = self.state.store.timer_failures(timer, place) + 1;
        let at = self.retry_at(number, error, handles, cx);
        self.state.store.set_failed_timer(timer, place, at.map(|at| Due { at, failures: number }));
        self.timer_given_up(at.is_none(), error);
    }
}
