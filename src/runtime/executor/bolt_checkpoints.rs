//! What a chain of bolts does about checkpoints: it continues `bolt`.
//!
//! When a barrier has come over all links of the first executor, it passes along the chain:
//!
//! ```text
//!   first: flush, pre_commit ─▶ what they emitted is executed ─▶ next: flush, pre_commit ─▶ …
//!   then each: send everything, begin the snapshot of its tasks, send the barrier on all its links
//! ```
//!
//! 1. Nothing is executed between a task's `pre_commit` and the begin of its snapshot.
//! 2. A snapshot begins in the step that passes the barrier, and is written in that step and in later ones, while
//!    tuples are executed.
//! 3. If what was emitted cannot be executed now, the barrier waits, and nothing else is taken.
//! 4. If checkpoints overlap, and a snapshot is still being written for the one before, the barrier waits for it. So it
//!    does for a commit that fails again and again: what a sink cannot commit waits in memory.
//! 5. Where links lead back, the barrier waits until the one before has come round, also if that was given up. Meanwhile
//!    what comes round is executed, because the barrier before comes behind it.

use std::time::Duration;

use crate::checkpoint::EventTimeEntry;
use crate::clock::Time;
use crate::runtime::executor::aligned_inputs::{AlignedInputs, Arrival};
use crate::runtime::executor::batch_cursor::BatchCursor;
use crate::runtime::executor::bolt::{BoltExecutor, InHand, Origin, is_built};
use crate::runtime::executor::bolt_task::BoltTask;
use crate::runtime::executor::checkpoints::{ExecutorCheckpoints, QUEUE_LOOK_PERIOD};
use crate::runtime::executor::step::{Step, StepContext, StepOutcome};
use crate::runtime::executor::task_snapshots::HeldRow;
use crate::runtime::faults::CheckpointDefect;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::inbox::Taken;
use crate::runtime::flow::message::{CheckpointCommand, Incoming};
use crate::runtime::flow::run_queue::Urgency;

impl BoltExecutor {
    /// Carries out a command about checkpoints.
    pub(super) fn take_checkpoint_command(&mut self, command: CheckpointCommand, now: Time) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        match command {
            CheckpointCommand::Halt => {
                self.processed += checkpoints.halt();
                self.halt(now);
            }
            CheckpointCommand::Restore(recovery, restored) => {
                checkpoints.begin_restore(restored.checkpoint, &self.handles.lifecycle.rest);
                let defect = self.handles.faults.as_ref().and_then(|faults| faults.checkpoint_defect());
                let forgets = defect == Some(CheckpointDefect::WatermarkForgotten);
                let times = |task: &BoltTask| restored.event_times.get(task.context.component());
                self.restore_time(self.tasks.first().and_then(times).filter(|_| !forgets));
                for task in &mut self.tasks {
                    task.checkpoints.forgets_watermark = forgets;
                    task.context = task.context.after_recovery(recovery);
                    task.checkpoints.restore(&restored);
                }
            }
            CheckpointCommand::Resume => checkpoints.resume(),
            CheckpointCommand::Committed(checkpoint) => checkpoints.commits(checkpoint),
            // For spouts.
            CheckpointCommand::Begin(_) => {}
        }
    }

    /// Whether no executor of the chain is halted.
    pub fn chain_runs(&self) -> bool {
        let own = self.checkpoints.as_ref().is_none_or(ExecutorCheckpoints::runs);
        own && self.next.as_ref().is_none_or(|next| next.chain_runs())
    }

    /// Drops everything that this executor has.
    fn halt(&mut self, now: Time) {
        for task in &mut self.tasks {
            task.halt(now);
        }
        // What was handed over has edges and is outstanding only where it was left behind: see `keep_leftovers`.
        self.release_batch();
        while let Some(cursor) = self.handed_over.pop_front() {
            self.in_hand = Some(InHand { cursor, origin: Origin::Chain });
            self.release_batch();
        }
        debug_assert_eq!(self.kept, 0, "everything that was left behind is dropped");
        self.finish_asked = false;
        if let Some(inputs) = &mut self.inputs {
            let (held, barriers) = inputs.clear();
            self.processed += barriers;
            for arrival in held {
                match arrival {
                    Arrival::Batch(incoming) => self.drop_incoming(incoming),
                    Arrival::Time(..) => self.processed += 1,
                }
            }
        }
        self.restore_time(None);
    }

    /// Gives back the credit of a batch that is not executed.
    fn drop_incoming(&mut self, Incoming { link, charge, .. }: Incoming) {
        self.processed += 1;
        if link.release(charge) {
            self.handles.run_queue.wake(link.producer, Urgency::Soon);
        }
    }

    /// The step of a chain in which an executor is halted: what comes is dropped until all tasks of the topology begin
    /// again.
    pub(super) fn step_halted(&mut self, cx: &StepContext<'_>) -> Step {
        if self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.drops()) {
            while let Some(taken) = self.handles.inbox.take_any() {
                match taken {
                    Taken::Batch(incoming) => self.drop_incoming(incoming),
                    Taken::Barrier(..) | Taken::Time(..) => self.processed += 1,
                }
            }
        }
        let has_dropped = self.processed > 0;
        self.conclude(cx.now, Duration::ZERO);
        self.send_answers();
        if has_dropped {
            // The coordinator waits until nothing is on its way any more.
            self.handles.coordinator.wake(Urgency::Now);
        }
        Step { outcome: StepOutcome::Idle, wake_at: Time::NEVER }
    }

    /// Sends the answers of the chain to the coordinator.
    pub fn send_answers(&mut self) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.send_answers(&self.handles.coordinator);
        }
        if let Some(next) = &mut self.next {
            next.send_answers();
        }
    }

    /// Whether a barrier has come over all links and waits to be passed on.
    pub(super) fn is_barrier_passing(&self) -> bool {
        self.inputs.as_ref().is_some_and(|inputs| inputs.passing.is_some())
    }

    /// Whether the barrier that has come over all links has to wait.
    pub(super) fn barrier_waits(&self) -> bool {
        let Some(inputs) = &self.inputs else { return false };
        inputs.passing.is_some_and(|barrier| inputs.is_open() || self.must_wait(barrier))
    }

    /// Whether a barrier waits for the one before to come round, and tuples that come round are executed meanwhile.
    pub(super) fn waits_for_round(&self) -> bool {
        let cannot_commit = self.checkpoints.as_ref().is_some_and(ExecutorCheckpoints::cannot_commit);
        self.inputs.as_ref().is_some_and(|inputs| inputs.passing.is_some() && inputs.is_open())
            && !cannot_commit
    }

    /// Whether a barrier has to wait for a task of the chain, from this executor on: for its snapshot, or its commit.
    ///
    /// * A snapshot that this barrier goes on from is still being written. A full one goes on from nothing, so what is
    ///   still written was given up.
    /// * The task fails again and again to commit an earlier checkpoint.
    pub fn must_wait(&self, barrier: Barrier) -> bool {
        let writes = || self.tasks.iter().any(|task| task.checkpoints.is_writing());
        let cannot_commit = self.checkpoints.as_ref().is_some_and(ExecutorCheckpoints::cannot_commit);
        let own = cannot_commit || (!barrier.full && writes());
        own || self.next.as_ref().is_some_and(|next| next.must_wait(barrier))
    }

    /// Passes on the barrier that has come over all links. Returns whether it was passed on; otherwise something has to
    /// be executed first, in a later step.
    pub(super) fn pass_barrier(&mut self, cx: &StepContext<'_>) -> bool {
        let Some(barrier) = self.inputs.as_ref().and_then(|inputs| inputs.passing) else { return true };
        if !self.prepare_chain(barrier, cx) {
            return false;
        }
        if self.inputs.as_ref().is_some_and(AlignedInputs::leads_back) {
            self.goes_on(barrier);
        } else {
            self.pass_along(barrier);
            self.processed += self.inputs.as_mut().map_or(0, AlignedInputs::passed);
        }
        true
    }

    /// Whether a barrier has waited too long, and is to overtake what it waits for.
    pub(super) fn barrier_overtakes(&mut self, now: Time) -> bool {
        self.inputs.as_mut().is_some_and(|inputs| inputs.look(&self.handles.inbox, now))
    }

    /// Takes everything out of the inbox, as long as a barrier that has gone on is to come over other links: what comes
    /// before it there belongs to the checkpoint.
    pub(super) fn take_ahead(&mut self) {
        let BoltExecutor { inputs, tasks, handles, processed, .. } = self;
        let Some(inputs) = inputs.as_mut().filter(|inputs| inputs.is_open()) else { return };
        let mut record = |Incoming { input, .. }: &Incoming| {
            tasks[input.local_task as usize].checkpoints.add_in_flight(HeldRow::all_of(input, 0));
        };
        *processed += inputs.take_ahead(&handles.inbox, &mut record);
        if !inputs.is_open() {
            tasks.iter_mut().for_each(|task| task.checkpoints.close_in_flight());
        }
    }

    /// A barrier overtakes what waits in front of it: that becomes a part of the snapshots. Returns how the step ends, if
    /// the barrier has to wait all the same.
    pub(super) fn overtake(&mut self, cx: &StepContext<'_>) -> Option<StepOutcome> {
        let barrier = self.inputs.as_mut()?.next_to_overtake(&self.handles.inbox)?;
        if self.must_wait(barrier) {
            return Some(StepOutcome::Idle);
        }
        if !self.prepare_chain(barrier, cx) {
            return Some(StepOutcome::Worked);
        }
        self.goes_on(barrier);
        None
    }

    /// The barrier goes on. What is in flight becomes a part of the snapshots.
    fn goes_on(&mut self, barrier: Barrier) {
        let mut rows: Vec<Vec<HeldRow>> = self.tasks.iter().map(|_| Vec::new()).collect();
        if let Some(InHand { cursor, .. }) = &self.in_hand {
            rows[cursor.input.local_task as usize].extend(HeldRow::all_of(&cursor.input, cursor.tuple));
        }
        for (task, rows) in self.tasks.iter().zip(&mut rows) {
            rows.extend(task.checkpoints.copies_of_held());
        }
        let mut record = |Incoming { input, .. }: &Incoming| {
            rows[input.local_task as usize].extend(HeldRow::all_of(input, 0));
        };
        self.processed += self.inputs.as_mut().map_or(0, |inputs| inputs.goes_on(&mut record));
        self.pass_along(barrier);
        let is_open = self.inputs.as_ref().is_some_and(AlignedInputs::is_open);
        for (task, rows) in self.tasks.iter_mut().zip(rows) {
            task.checkpoints.open_in_flight(rows);
            if !is_open {
                task.checkpoints.close_in_flight();
            }
        }
    }

    /// Has all tasks of the chain, from this executor on, flush and pre-commit. Returns whether all have, and
    /// everything that they emitted was executed.
    pub fn prepare_chain(&mut self, barrier: Barrier, cx: &StepContext<'_>) -> bool {
        if !self.can_execute(cx.now) {
            return false;
        }
        let is_new = |checkpoints: &mut ExecutorCheckpoints| {
            checkpoints.prepared.replace(barrier.checkpoint) != Some(barrier.checkpoint)
        };
        if self.checkpoints.as_mut().is_some_and(is_new) {
            for task in &mut self.tasks {
                task.state.batch = Some(barrier.batch());
                task.prepare_snapshot(barrier.checkpoint, &self.handles, cx.now);
                task.state.batch = None;
            }
        }
        if !self.is_built() {
            // One has panicked. Its state is as before, so the barrier waits for its next instance.
            if let Some(checkpoints) = &mut self.checkpoints {
                checkpoints.prepared = None;
            }
            return false;
        }
        let Some(next) = &mut self.next else { return true };
        for task in &mut self.tasks {
            next.take_over(&mut task.emitter.outgoing.chained, cx);
        }
        !next.has_leftovers() && next.prepare_chain(barrier, cx)
    }

    /// Begins the snapshots of all tasks of the chain, from this executor on, and sends the barrier on all links.
    pub fn pass_along(&mut self, barrier: Barrier) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.prepared = None;
        }
        for task in &mut self.tasks {
            task.emitter.flush();
            let (watermark, latest) = (task.state.store.watermark(), task.emitter.latest_times());
            let event_time = EventTimeEntry { watermark, latest };
            task.checkpoints.begin_snapshot(barrier, event_time, &mut task.state);
        }
        if let Some(task) = self.tasks.first_mut() {
            task.emitter.outgoing.send_barrier(barrier);
        }
        if let Some(next) = &mut self.next {
            next.pass_along(barrier);
        }
    }

    /// Takes the tuples that bolts held when the checkpoint was taken, in an executor that is chained behind another.
    pub(super) fn take_restored(&mut self) {
        if self.checkpoints.is_some() && self.inputs.is_none() {
            for task in &mut self.tasks {
                self.handed_over
                    .extend(std::iter::from_fn(|| task.checkpoints.take_held()).map(BatchCursor::new));
            }
        }
    }

    /// Whether everything is executed that was restored.
    fn is_restore_done(&self) -> bool {
        let waits = self.in_hand.is_some() || !self.handed_over.is_empty();
        self.opened && self.is_built() && !waits && self.tasks.iter().all(|task| !task.checkpoints.has_held())
    }

    /// Whether tasks have pre-committed a checkpoint, and their snapshots have not begun: then no tick and no timer is
    /// called.
    pub(super) fn is_prepared(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.prepared.is_some())
    }

    /// What ends a step about checkpoints: commits what is complete, writes parts of snapshots, and sends the answers.
    /// Returns whether there is more to do now, and when to look again at the latest.
    pub fn end_checkpoints(&mut self, cx: &StepContext<'_>) -> (bool, Time) {
        let now = cx.now;
        let (mut more, mut look_at) = (false, Time::NEVER);
        let is_restoring = self.checkpoints.as_ref().is_some_and(ExecutorCheckpoints::is_restoring);
        let is_restored = is_restoring && self.is_restore_done();
        if let Some(checkpoints) = &mut self.checkpoints {
            if is_restored {
                self.handles.processed(checkpoints.end_restore());
            }
            if let Some(checkpoint) = checkpoints.due_commit(now)
                && self.opened
                && self.tasks.iter().all(is_built)
            {
                let mut succeeded = true;
                for task in &mut self.tasks {
                    succeeded &= task.commit(checkpoint, &self.handles, now);
                }
                // A call may take long, so the pause begins when it has ended.
                checkpoints.committed(succeeded, cx.clock.now());
                // A barrier may have waited for it.
                more |= succeeded;
            }
            for task in self.tasks.iter_mut().filter(|task| task.checkpoints.is_writing()) {
                if checkpoints.storage.queue.is_full() {
                    look_at = now.after(QUEUE_LOOK_PERIOD);
                } else {
                    let (part, store) = (&mut task.checkpoints, &mut task.state.store);
                    more |= part.write_snapshot(store, &checkpoints.storage, &self.handles.coordinator);
                }
            }
            checkpoints.send_answers(&self.handles.coordinator);
        }
        if let Some(next) = &mut self.next {
            let (more_behind, look_at_behind) = next.end_checkpoints(cx);
            (more, look_at) = (more || more_behind, look_at.min(look_at_behind));
        }
        (more, look_at)
    }
}
