//! Chains of bolts: it continues `bolt`.
//!
//! Which bolts are chained: see `topology::chains`. The first executor of a chain is stepped, as
//! any other. It owns the second, which owns the third. Each has an inbox for commands, and gauges. A batch
//! that a task hands over is executed by its counterpart in the next executor, in the same step and on the
//! same thread.
//!
//! ```text
//!   head.step ── execute ─▶ stage ─ route ─▶ take_over ── execute ─▶ stage ─ route ─▶ take_over …
//!        │                                       └ what is left: edges, outstanding, `resume` in the next step
//!        └─ end: end_chain (calls of `flush`, batches sent) ─▶ give_acks ─▶ ack records sent ─▶ conclude_chain
//! ```
//!
//! 1. A batch that is handed over and executed in the same step has no edges, and does not count as
//!    outstanding: nobody outside the step can see it.
//! 2. What a step leaves behind, because a bolt of the chain broke, a link became full or the step took long,
//!    gets edges and counts as outstanding. The chain takes no more input until that is executed.
//! 3. The whole chain sends one ack record per tree and step. If the record of a bolt went alone, it could be
//!    lost while the record of its producer arrives, and the tree would look complete.

use std::time::Duration;

use crate::clock::Time;
use crate::runtime::executor::batch_cursor::BatchCursor;
use crate::runtime::executor::bolt::{BoltExecutor, InHand, Origin, is_built};
use crate::runtime::executor::step::{StepContext, StepOutcome, TUPLES_PER_LOOK};
use crate::runtime::faults::Fate;
use crate::runtime::flow::message::TaskBatch;
use crate::runtime::routing::emitter::Emitter;

/// What an executor does behind another in a chain.
impl BoltExecutor {
    /// Executes batches that the executor before this one in the chain handed over.
    pub fn take_over(&mut self, batches: &mut Vec<TaskBatch>, cx: &StepContext<'_>) {
        if !batches.is_empty() {
            self.handed_over.extend(batches.drain(..).map(BatchCursor::new));
            self.measured(cx, |next| next.execute_handed_over(cx));
        }
    }

    /// Executes what was handed over, until a task breaks, a link is full, or the time of the step is used up.
    fn execute_handed_over(&mut self, cx: &StepContext<'_>) {
        while !cx.is_over() {
            if self.in_hand.is_none() {
                let Some(mut cursor) = self.handed_over.pop_front() else { return };
                let is_lost = self.fate(&cursor.input, cx.now) == Fate::Drop;
                if is_lost && self.kept == 0 {
                    // Its tuples get edges that nobody takes, as if it had been sent and lost.
                    cursor.draw_edges(&mut self.tasks[cursor.input.local_task as usize].emitter);
                }
                self.in_hand = Some(InHand { cursor, origin: Origin::Chain });
                if is_lost {
                    self.release_batch();
                    continue;
                }
            }
            if self.is_blocked(cx.now) || self.next.as_ref().is_some_and(|next| next.has_leftovers()) {
                return;
            }
            let (_, alive) = self.execute(cx, TUPLES_PER_LOOK);
            if !alive {
                return;
            }
        }
    }

    /// Whether batches that were handed over wait in the chain, from this executor on.
    pub fn has_leftovers(&self) -> bool {
        let own = self.in_hand.is_some() || !self.handed_over.is_empty();
        own || self.next.as_ref().is_some_and(|next| next.has_leftovers())
    }

    /// Whether all tasks of this executor have an instance, or will never have one.
    pub(super) fn is_built(&self) -> bool {
        self.tasks.iter().all(is_built)
    }

    /// Whether all tasks of the chain, from this executor on, have an instance and do not wait to make a call
    /// again.
    pub(super) fn can_execute(&self, now: Time) -> bool {
        let own = self.is_built() && !self.tasks.iter().any(|task| task.waits_for_retry(now));
        own && self.next.as_ref().is_none_or(|next| next.can_execute(now))
    }

    /// The outcome of a step that has nothing else to do, as far as what it left behind in the chain decides.
    /// Without credit, the release of credit wakes the chain; without an instance, its timer does.
    pub fn outcome_of_leftovers(&mut self, now: Time) -> StepOutcome {
        match () {
            () if !self.has_leftovers() || !self.can_execute(now) => StepOutcome::Idle,
            () if self.is_blocked(now) => StepOutcome::Blocked,
            () => StepOutcome::Worked,
        }
    }

    /// Continues with what earlier steps left behind in the chain, from this executor on. The last executor is
    /// the first, so that the others find room.
    pub fn resume(&mut self, cx: &StepContext<'_>) {
        self.measured(cx, |own| {
            if let Some(next) = &mut own.next {
                next.resume(cx);
            }
            own.execute_handed_over(cx);
        });
    }

    /// Ends the step of an executor that is chained behind another, and of those behind it. What they note for
    /// ackers is kept for [`give_acks`](BoltExecutor::give_acks).
    pub fn end_chain(&mut self, cx: &StepContext<'_>, flush: bool) {
        self.measured(cx, |own| own.end_calls(cx));
        self.send(flush);
    }

    /// Gives edges to what this step left behind, and counts it as outstanding.
    pub(super) fn keep_leftovers(&mut self) {
        let mut kept = self.kept;
        if let Some(InHand { cursor, origin: Origin::Chain }) = &mut self.in_hand {
            let emitter = &mut self.tasks[cursor.input.local_task as usize].emitter;
            if kept == 0 {
                cursor.draw_edges(emitter);
                emitter.outgoing.rest.sending();
                self.kept += 1;
            } else {
                cursor.split_run(emitter);
                kept -= 1;
            }
        }
        for cursor in self.handed_over.iter_mut().skip(kept) {
            let emitter = &mut self.tasks[cursor.input.local_task as usize].emitter;
            cursor.draw_edges(emitter);
            emitter.outgoing.rest.sending();
            self.kept += 1;
        }
    }

    /// Gives the ack records of the task `at` to the task before it in the chain.
    pub fn give_acks(&mut self, at: usize, to: &mut Emitter) {
        to.outgoing.acks.absorb(&mut self.tasks[at].emitter.outgoing.acks);
    }

    /// Publishes the counts of an executor that is chained behind another, and of those behind it. Their ack
    /// records must have been sent. Returns how long the calls into them took.
    pub fn conclude_chain(&mut self, now: Time) -> Duration {
        let spent = std::mem::take(&mut self.spent);
        self.conclude(now, spent);
        spent
    }

    /// Calls, and notes how long that took.
    pub(super) fn measured<T>(
        &mut self,
        cx: &StepContext<'_>,
        call: impl FnOnce(&mut BoltExecutor) -> T,
    ) -> T {
        let before = cx.clock.now();
        let result = call(self);
        self.spent += cx.clock.now().since(before);
        result
    }
}
