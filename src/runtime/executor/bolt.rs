//! Tasks of a bolt, stepped together.
//!
//! A step first takes control messages, then data while there is credit downstream. It ends by sending
//! what was emitted and acked (see `emitter`). If credit or time runs out within a batch, the executor
//! keeps the batch in hand, and the next step continues at the same tuple.
//!
//! User code may fail in three ways, none of which ends the process. An `Err` fails the tuple. A panic
//! fails the tuple, and the instance is dropped and built again after a pause. A call that does not
//! return is reported by the watchdog. While one task of an executor waits to be built, the executor
//! takes no data. If `prepare` of a task failed for good, the executor does not wait for that task: the
//! run is ending, and tuples that are still sent to the task fail.
//!
//! One file, because a step is one protocol: the position in the batch in hand decides what may be done
//! about credit, acks, dead letters and rebuilding.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Time;
use crate::runtime::executor::batch_cursor::BatchCursor;
use crate::runtime::executor::bolt_task::BoltTask;
use crate::runtime::executor::step::{
    ExecutorHandles, Step, StepContext, StepOutcome, TUPLES_PER_LOOK, WAITED_AFTER,
};
use crate::runtime::executor::tuple_loop::execute_chunk;
use crate::runtime::executor::user_code::{call_hooks, end_instance};
use crate::runtime::faults::Fate;
use crate::runtime::flow::gauges::count;
use crate::runtime::flow::link::Link;
use crate::runtime::flow::message::{Control, ExecutorCommand, Incoming};
use crate::runtime::flow::run_queue::Urgency;

/// After a call that waited, this many calls each end the step, so that their results are sent at once.
const WATCHED_CALLS: u32 = 64;

/// An executor of a bolt.
pub struct BoltExecutor {
    handles: ExecutorHandles,
    tasks: Vec<BoltTask>,
    cursor: Option<BatchCursor>,
    /// Links to executors of the same cycle. Tuples from outside the cycle are taken only while all
    /// these links have credit.
    cycle_links: Vec<Arc<Link>>,
    /// Whether tasks may be built: set by the first activate.
    opened: bool,
    /// Batches processed in this step whose results were not sent yet. They count as outstanding until
    /// the end of the step.
    processed: i64,
    finish_asked: bool,
    blocked_since: Option<Time>,
    /// Of a blocking component: when its last call returned.
    called_at: Time,
    /// Of a blocking component: how many more calls each end the step (see [`WATCHED_CALLS`]).
    watched: u32,
}

impl BoltExecutor {
    /// An executor of these tasks, none of which is built yet.
    pub fn new(handles: ExecutorHandles, tasks: Vec<BoltTask>, cycle_links: Vec<Arc<Link>>) -> BoltExecutor {
        BoltExecutor {
            handles,
            tasks,
            cursor: None,
            cycle_links,
            opened: false,
            processed: 0,
            finish_asked: false,
            blocked_since: None,
            called_at: Time::ZERO,
            watched: 0,
        }
    }

    /// Does a bounded amount of work.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        self.begin_step(cx.now);
        if self.take_control(cx.now) {
            return self.close();
        }
        let outcome = if self.opened { self.work(cx) } else { StepOutcome::Idle };
        self.end_step(cx, outcome);
        Step { outcome, wake_at: if self.opened { self.wake_at() } else { Time::NEVER } }
    }

    /// Builds tasks that have no instance, and takes data once all have one.
    fn work(&mut self, cx: &StepContext<'_>) -> StepOutcome {
        let mut all_built = true;
        for task in &mut self.tasks {
            all_built &= task.ensure_built(&self.handles, cx.now) || task.restart.is_over();
        }
        if !all_built {
            return StepOutcome::Idle;
        }
        self.tasks.iter_mut().for_each(|task| task.tick_if_due(&self.handles, cx.now));
        self.take_data(cx)
    }

    fn begin_step(&mut self, now: Time) {
        // Acquire, and before anything is sent: see "A lost worker" in `remote::ingress`.
        let membership = self.handles.membership.load(Ordering::Acquire);
        for task in &mut self.tasks {
            task.emitter.outgoing.now = now;
            task.emitter.outgoing.membership = membership;
        }
    }

    /// Handles what came over the control lane; returns whether to close.
    fn take_control(&mut self, now: Time) -> bool {
        let mut close = false;
        while let Ok(control) = self.handles.inbox.control.try_recv() {
            match control {
                Control::Command(ExecutorCommand::Activate) => self.opened = true,
                Control::Command(ExecutorCommand::Finish) => self.finish_asked = true,
                Control::Command(ExecutorCommand::Close) => close = true,
                Control::Command(ExecutorCommand::Crash) => {
                    for task in &mut self.tasks {
                        task.break_down("crashed by a test", &self.handles, now);
                    }
                }
                Control::Command(ExecutorCommand::Deactivate | ExecutorCommand::Drain)
                | Control::Tree(_)
                | Control::Loss(_)
                | Control::End(_) => {}
            }
        }
        close
    }

    /// Executes tuples until the budget or the time of the step is used up, input or credit runs out, or
    /// a panic breaks the task. Credit is checked before each chunk, and `execute_chunk` ends early when
    /// a link becomes full.
    fn take_data(&mut self, cx: &StepContext<'_>) -> StepOutcome {
        let mut budget = cx.budget;
        loop {
            if self.cursor.is_none() && !self.take_batch(cx.now) {
                return if self.handles.inbox.has_no_data() {
                    StepOutcome::Idle
                } else {
                    StepOutcome::Blocked
                };
            }
            let Some(cursor) = &mut self.cursor else { return StepOutcome::Worked };
            let task = &mut self.tasks[cursor.incoming.local_task as usize];
            if task.emitter.is_blocked() {
                self.blocked_since.get_or_insert(cx.now);
                return StepOutcome::Blocked;
            }
            if let Some(since) = self.blocked_since.take() {
                count(&self.handles.address.gauges.blocked, cx.now.since(since).as_nanos() as u64);
            }
            let before = cursor.tuple;
            let chunk = if cx.may_wait { 1 } else { budget.min(TUPLES_PER_LOOK) };
            let alive = execute_chunk(task, cursor, chunk, &self.handles, cx.now);
            let executed = cursor.tuple - before;
            task.executed_now += u64::from(executed);
            if cx.may_wait && task.send_emitted() {
                self.handles.run_queue.hand_over();
            }
            budget = budget.saturating_sub(executed.max(1));
            if cursor.is_done() {
                self.release_batch();
            }
            if !alive || budget == 0 || cx.is_over() || self.must_send(cx) {
                return StepOutcome::Worked;
            }
        }
    }

    /// Whether the step must end here, so that acks are sent and `flush` is called. Only blocking
    /// components need this. If their calls wait, acks must not wait for the next call. If their calls
    /// return at once, ending the step after each tuple would be slow. So a call that waited ends the
    /// step, and so does each of the next [`WATCHED_CALLS`] calls.
    fn must_send(&mut self, cx: &StepContext<'_>) -> bool {
        if !cx.may_wait {
            return false;
        }
        let now = cx.clock.now();
        let waited = now.since(self.called_at.max(cx.now)) >= WAITED_AFTER;
        self.called_at = now;
        self.watched = if waited { WATCHED_CALLS } else { self.watched.saturating_sub(1) };
        self.watched > 0 || now.since(cx.now) >= WAITED_AFTER
    }

    /// Whether tuples from outside may enter the cycle that this executor is part of. Always true if it is
    /// part of none. Links that lack credit are marked as waited for, and then looked at once more, because
    /// credit that returned before the mark wakes nobody.
    fn may_enter(&self) -> bool {
        let enough = || self.cycle_links.iter().all(|link| link.has_credit());
        if enough() {
            return true;
        }
        self.cycle_links.iter().filter(|link| !link.has_credit()).for_each(|link| link.wait());
        enough()
    }

    /// Takes the next batch, if there is one that may be taken. Batches from within the cycle go first.
    fn take_batch(&mut self, now: Time) -> bool {
        let inbox = &self.handles.inbox;
        let enter = || if self.may_enter() { inbox.take_data() } else { None };
        let next = inbox.take_cycle().or_else(enter);
        let Some(incoming) = next else { return false };
        let task_index = incoming.local_task as usize;
        let fate = match &self.handles.faults {
            None => Fate::Deliver,
            Some(faults) => {
                let context = &self.tasks[task_index].context;
                faults.fate(context.component(), context.task_index(), &incoming.batch)
            }
        };
        match fate {
            Fate::Deliver => {}
            Fate::Crash => self.tasks[task_index].break_down("crashed by a test", &self.handles, now),
            Fate::Drop => {
                if let Some(audit) = &self.tasks[task_index].emitter.outgoing.audit {
                    audit.lost(&incoming.batch);
                }
            }
        }
        self.cursor = Some(BatchCursor::new(incoming));
        if fate == Fate::Drop {
            self.release_batch();
        }
        true
    }

    /// Releases the credit of the batch that is done, and wakes the producer if it waits for that.
    fn release_batch(&mut self) {
        let Some(cursor) = self.cursor.take() else { return };
        let Incoming { batch, link, charge, .. } = cursor.incoming;
        self.processed += 1;
        drop(batch);
        if link.release(charge) {
            self.handles.run_queue.wake(link.producer, Urgency::Soon);
        }
    }

    fn end_step(&mut self, cx: &StepContext<'_>, outcome: StepOutcome) {
        let send = outcome != StepOutcome::Worked || cx.may_wait;
        let finish = std::mem::take(&mut self.finish_asked);
        if let Some(cursor) = &mut self.cursor {
            cursor.split_run(&mut self.tasks[cursor.incoming.local_task as usize].emitter);
        }
        for task in &mut self.tasks {
            if finish {
                task.finish(&self.handles, cx.now);
            }
            task.end_step(&self.handles, cx.now, send);
        }
        let held = self.tasks.iter().map(|task| task.state.holds.held()).sum();
        self.handles.address.gauges.held.store(held, Ordering::SeqCst);
        if self.cursor.is_none() && self.handles.inbox.has_no_data() {
            self.handles.inbox.note_empty(cx.now);
        }
        let processed = std::mem::take(&mut self.processed);
        self.handles.processed(processed);
        if finish {
            self.handles.lifecycle.finished.fetch_add(1, Ordering::SeqCst);
            self.handles.coordinator.wake(Urgency::Now);
        }
        let spent = cx.clock.now().since(cx.now).as_nanos() as u64;
        count(&self.handles.address.gauges.busy, spent);
    }

    fn wake_at(&self) -> Time {
        // While an instance is missing no tick is called, so the time of the next tick does not count.
        let missing = self.tasks.iter().filter(|task| task.bolt.is_none() && !task.restart.is_over());
        let next_build = missing.map(|task| task.restart.due).min();
        next_build.or_else(|| self.tasks.iter().map(|task| task.next_tick).min()).unwrap_or(Time::NEVER)
    }

    /// The last step.
    fn close(&mut self) -> Step {
        for task in &mut self.tasks {
            if let Some(bolt) = task.bolt.take() {
                let (errors, now) = (&task.emitter.errors, task.emitter.outgoing.now);
                end_instance(bolt, errors, now, |bolt| bolt.cleanup());
                call_hooks(&mut task.state.hooks, errors, now, |hook| hook.cleanup());
            }
        }
        self.handles.lifecycle.closed.fetch_add(1, Ordering::SeqCst);
        self.handles.coordinator.wake(Urgency::Now);
        Step { outcome: StepOutcome::Closed, wake_at: Time::NEVER }
    }
}
