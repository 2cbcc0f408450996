//! What an executor of a spout does about event time: it continues `spout`.

use crate::checkpoint::EventTimeEntry;
use crate::event_time::NO_WATERMARK;
use crate::runtime::executor::event_times::restore_source;
use crate::runtime::executor::spout::SpoutExecutor;
use crate::runtime::executor::spout_task::SpoutTask;
use crate::runtime::executor::step::{StepContext, StepOutcome};

impl SpoutExecutor {
    /// Lets those behind know how far event time is in what the tasks have emitted and sent. Returns whether the executor
    /// that is chained behind has something to do because of it.
    pub(super) fn pass_time(&mut self, cx: &StepContext<'_>, outcome: StepOutcome) -> bool {
        // While a barrier is being passed on, nothing else is.
        let Some(times) = self.times.as_mut().filter(|_| self.opened && self.begun.is_empty()) else {
            return false;
        };
        if !times.looks(cx.now, outcome == StepOutcome::Idle) && !times.sends_again() {
            return false;
        }
        if self.next.as_ref().is_some_and(|next| next.has_leftovers() || next.is_time_pending()) {
            return false;
        }
        let has_room = |task: &SpoutTask| task.in_flight() < task.pending_limit.size();
        let has_room = self.tasks.iter().all(has_room);
        let could_emit = self.active && outcome != StepOutcome::Blocked && has_room;
        for task in &mut self.tasks {
            let has_ended = task.has_ended();
            if let Some(emitted) = &mut task.emitter.times {
                emitted.source.set_ended(has_ended);
            }
        }
        let again = times.take_again();
        let emitters = self.tasks.iter_mut().map(|task| &mut task.emitter);
        let mark = times.read(emitters, cx.now, could_emit);
        let mark = mark.and_then(|mark| times.next(mark, cx.now, outcome == StepOutcome::Idle));
        if again.is_none() && mark.is_none() {
            return false;
        }
        self.tasks.iter_mut().for_each(|task| task.emitter.flush());
        for mark in again.into_iter().chain(mark) {
            if let Some(task) = self.tasks.first_mut() {
                task.emitter.outgoing.send_time(mark);
            }
        }
        match (&mut self.next, mark) {
            (Some(next), Some(mark)) => {
                next.take_time_in_chain(mark);
                true
            }
            _ => false,
        }
    }

    /// Begins anew with what a checkpoint has.
    pub(super) fn restore_time(&mut self, restored: Option<&EventTimeEntry>) {
        let Some(times) = &mut self.times else { return };
        times.restore(NO_WATERMARK);
        self.tasks.iter_mut().for_each(|task| restore_source(&mut task.emitter, restored));
    }
}
