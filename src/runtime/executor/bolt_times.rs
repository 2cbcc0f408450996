//! What an executor of a bolt does about event time: it continues `bolt`.
//!
//! ```text
//!   marks of all links ─▶ EventTimes ─▶ pending ─▶ timers of the tasks ─▶ flush ─▶ mark on all links, and along the chain
//!                                        └ meanwhile nothing else is taken       (with `event_time`: a mark of its own)
//! ```
//!
//! 1. A watermark goes on when all timers that it reaches were called, and behind everything that they emitted.
//! 2. When bolts are asked to finish, time ends: all timers are called first.
//! 3. After a restore, tasks have the watermark that they had. The timers that it reaches are called, and those behind learn
//!    it, as if it had just come.

use crate::checkpoint::EventTimeEntry;
use crate::event_time::{Advance, END_OF_TIME, NO_WATERMARK, TimeMark};
use crate::ids::LinkId;
use crate::runtime::executor::bolt::{BoltExecutor, is_built};
use crate::runtime::executor::event_times::{EventTimes, restore_source};
use crate::runtime::executor::step::{StepContext, StepOutcome};

/// So many calls of timers in a step; the others are made in the next.
const TIMERS_PER_STEP: usize = 256;

impl BoltExecutor {
    /// Something has come of event time, over a link.
    pub(super) fn take_time(&mut self, link: LinkId, mark: TimeMark) {
        self.processed += 1;
        if let Some(times) = &mut self.times {
            times.take(link, mark);
        }
    }

    /// The same from the executor that this one is chained behind.
    pub fn take_time_in_chain(&mut self, mark: TimeMark) {
        if let Some(times) = &mut self.times {
            times.take_from(0, mark);
        }
    }

    /// Whether the executor has something of event time that it has not passed on.
    pub(super) fn is_time_pending(&self) -> bool {
        self.times.as_ref().is_some_and(EventTimes::is_pending)
    }

    /// Passes on what has come of event time, along the chain. `at_once`: nothing else comes for now. Returns how the step
    /// ends, if something is left; then nothing else may be taken.
    pub fn pass_time(&mut self, cx: &StepContext<'_>, at_once: bool) -> Option<StepOutcome> {
        if self.times.is_some()
            && let Some(outcome) = self.pass_own_time(cx, at_once)
        {
            return Some(outcome);
        }
        self.next.as_mut().and_then(|next| next.measured(cx, |next| next.pass_time(cx, at_once)))
    }

    fn pass_own_time(&mut self, cx: &StepContext<'_>, at_once: bool) -> Option<StepOutcome> {
        let times = self.times.as_ref()?;
        let looks = times.looks(cx.now, at_once);
        if !times.is_pending() && !looks && !times.sends_again() {
            return None;
        }
        let Advance { watermark, becomes_idle } = times.pending();
        if let Some(watermark) = watermark {
            self.tasks.iter_mut().for_each(|task| task.state.store.set_watermark(watermark));
            if let Some(outcome) = self.call_event_timers(cx) {
                return Some(outcome);
            }
        }
        if looks {
            // Times are read when tuples are routed.
            for task in &mut self.tasks {
                task.emitter.route_stages(&mut task.state);
                if let Some(next) = &mut self.next {
                    next.take_over(&mut task.emitter.outgoing.chained, cx);
                }
            }
        }
        let times = self.times.as_mut()?;
        if let Some(mark) = times.take_again()
            && let Some(task) = self.tasks.first_mut()
        {
            task.emitter.outgoing.send_time(mark);
        }
        let emitters = self.tasks.iter_mut().map(|task| &mut task.emitter);
        let read = match watermark == Some(END_OF_TIME) {
            true => times.end_read(),
            false if looks => times.read(emitters, cx.now, true),
            false => times.read_before(),
        };
        let marks = match read {
            Some(mark) => [Some(mark), None],
            None => [watermark.map(TimeMark::Watermark), becomes_idle.then_some(TimeMark::Idle)],
        };
        let at_once = at_once || read.is_none() || watermark == Some(END_OF_TIME);
        for mark in marks.into_iter().flatten() {
            let is_due = self.times.as_ref().is_some_and(|times| times.is_due(mark, cx.now, at_once));
            if is_due && let Some(outcome) = self.send_time(mark, cx, at_once) {
                return Some(outcome);
            }
        }
        if let Some(times) = &mut self.times {
            times.passed_on();
        }
        None
    }

    /// Sends everything that was emitted so far, and then the mark. Returns how the step ends if that cannot be done yet.
    fn send_time(&mut self, mark: TimeMark, cx: &StepContext<'_>, at_once: bool) -> Option<StepOutcome> {
        for task in &mut self.tasks {
            task.end_calls(&self.handles, cx.now);
            if let Some(next) = &mut self.next {
                next.take_over(&mut task.emitter.outgoing.chained, cx);
            }
        }
        if self.next.as_ref().is_some_and(|next| next.has_leftovers()) {
            return Some(StepOutcome::Worked);
        }
        let mark = self.times.as_mut()?.next(mark, cx.now, at_once)?;
        self.tasks.iter_mut().for_each(|task| task.emitter.flush());
        if let Some(task) = self.tasks.first_mut() {
            task.emitter.outgoing.send_time(mark);
        }
        if let Some(next) = &mut self.next {
            next.take_time_in_chain(mark);
        }
        None
    }

    /// Calls the timers that the watermark has reached. Returns how the step ends if some are left.
    fn call_event_timers(&mut self, cx: &StepContext<'_>) -> Option<StepOutcome> {
        let mut left = TIMERS_PER_STEP;
        for at in 0..self.tasks.len() {
            while self.tasks[at].has_due_event_timer() {
                if self.is_blocked(cx.now) {
                    return Some(StepOutcome::Blocked);
                }
                let task = &mut self.tasks[at];
                if !is_built(task) || task.waits_for_retry(cx.now) {
                    return Some(StepOutcome::Idle);
                }
                if left == 0 || cx.is_over() {
                    return Some(StepOutcome::Worked);
                }
                left -= 1;
                if !task.call_event_timer(&self.handles, cx) {
                    return Some(StepOutcome::Idle);
                }
            }
        }
        None
    }

    /// Begins anew with what a checkpoint has.
    pub(super) fn restore_time(&mut self, restored: Option<&EventTimeEntry>) {
        let Some(times) = &mut self.times else { return };
        let watermark = restored.and_then(|restored| restored.watermark).unwrap_or(NO_WATERMARK);
        times.restore(watermark);
        self.tasks.iter_mut().for_each(|task| restore_source(&mut task.emitter, restored));
    }
}
