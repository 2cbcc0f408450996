//! Where an executor of a bolt takes batches from, and how it ends with one: it continues `bolt`.

use std::sync::Arc;

use crate::clock::Time;
use crate::runtime::executor::aligned_inputs::{AlignedInputs, Arrival};
use crate::runtime::executor::batch_cursor::BatchCursor;
use crate::runtime::executor::bolt::{BoltExecutor, InHand, Origin};
use crate::runtime::faults::Fate;
use crate::runtime::flow::inbox::Taken;
use crate::runtime::flow::link::Link;
use crate::runtime::flow::message::{Incoming, TaskBatch};
use crate::runtime::flow::run_queue::Urgency;

/// Whether tuples from outside may enter the cycle that has these links: those of an executor to others of the cycle, none
/// if it is part of no cycle. Links that lack credit are marked as waited for, and then looked at once more, because
/// credit that returned before the mark wakes nobody.
fn may_enter(cycle_links: &[Arc<Link>]) -> bool {
    let enough = || cycle_links.iter().all(|link| link.has_credit());
    if enough() {
        return true;
    }
    cycle_links.iter().filter(|link| !link.has_credit()).for_each(|link| link.wait());
    enough()
}

impl BoltExecutor {
    /// Takes the next batch, or what comes of event time, if there is something that may be taken. What comes from within
    /// the cycle goes first.
    pub(super) fn take_batch(&mut self, now: Time) -> bool {
        if let Some(input) = self.tasks.iter_mut().find_map(|task| task.checkpoints.take_held()) {
            self.in_hand = Some(InHand { cursor: BatchCursor::new(input), origin: Origin::Restored });
            return true;
        }
        self.take_ahead();
        let (next, is_skipped) = match &mut self.inputs {
            Some(inputs) => {
                let next = inputs.next(&self.handles.inbox, || may_enter(&self.cycle_links));
                let (ignored, is_skipped) = inputs.take_defect();
                self.processed += ignored;
                (next, is_skipped)
            }
            None => (self.take_unaligned(), false),
        };
        let Some(arrival) = next else { return false };
        let Incoming { input, link, charge, .. } = match arrival {
            Arrival::Batch(incoming) => incoming,
            Arrival::Time(link, mark) => {
                self.take_time(link, mark);
                return true;
            }
        };
        let fate = if is_skipped { Fate::Drop } else { self.fate(&input, now) };
        self.in_hand =
            Some(InHand { cursor: BatchCursor::new(input), origin: Origin::Queue { link, charge } });
        if fate == Fate::Drop {
            self.release_batch();
        }
        true
    }

    /// Whether no batch waits, neither in the inbox nor taken out of it before its turn.
    pub(super) fn has_no_data(&self) -> bool {
        self.handles.inbox.has_no_data() && self.inputs.as_ref().is_none_or(AlignedInputs::has_none_ahead)
    }

    /// The next batch where there are no checkpoints, and so no barriers.
    fn take_unaligned(&self) -> Option<Arrival> {
        let inbox = &self.handles.inbox;
        let enter = || if may_enter(&self.cycle_links) { inbox.take_data() } else { None };
        match inbox.take_cycle().or_else(enter)? {
            Taken::Batch(incoming) => Some(Arrival::Batch(incoming)),
            Taken::Time(link, mark) => Some(Arrival::Time(link.id, mark)),
            Taken::Barrier(..) => {
                debug_assert!(false, "barriers come where there are checkpoints");
                None
            }
        }
    }

    /// What a test wants to become of a batch. A task that is to crash does so here.
    pub(super) fn fate(&mut self, input: &TaskBatch, now: Time) -> Fate {
        let task = &mut self.tasks[input.local_task as usize];
        let Some(faults) = &self.handles.faults else { return Fate::Deliver };
        let fate = faults.fate(task.context.component(), task.context.task_index(), &input.batch);
        match (fate, &task.emitter.outgoing.audit) {
            (Fate::Crash, _) => task.break_down("crashed by a test", &self.handles, now),
            (Fate::Drop, Some(audit)) => audit.lost(&input.batch),
            (Fate::Drop, None) | (Fate::Deliver, _) => {}
        }
        fate
    }

    /// Ends with the batch that is done. Releases its credit, and wakes the producer if it waits for that.
    pub(super) fn release_batch(&mut self) {
        let Some(InHand { cursor, origin }) = self.in_hand.take() else { return };
        drop(cursor);
        match origin {
            Origin::Queue { link, charge } => {
                self.processed += 1;
                if link.release(charge) {
                    self.handles.run_queue.wake(link.producer, Urgency::Soon);
                }
            }
            Origin::Chain if self.kept > 0 => {
                self.kept -= 1;
                self.processed += 1;
            }
            Origin::Chain | Origin::Restored => {}
        }
    }
}
