//! Tasks of a bolt, stepped together, and the bolts that are chained behind them.
//!
//! A step first takes control messages, then data while there is credit downstream. It ends by sending
//! what was emitted and acked (see `emitter`). If credit or time runs out within a batch, the executor
//! keeps the batch in hand, and the next step continues at the same tuple.
//!
//! User code may fail in three ways, none of which ends the process. An `Err` fails the tuple. A panic
//! fails the tuple, and the instance is dropped and built again after a pause. With `on_error.retry`, the
//! call is first made again for the same tuple, after a pause. A call that does not return is reported by
//! the watchdog. While one task of an executor waits to be built or to make a call again, the executor
//! takes no data. If `prepare` of a task failed for good, the executor does not wait for that task: the
//! run is ending, and tuples that are still sent to the task fail.
//!
//! `bolt_inputs` has where batches come from, `bolt_chain` the bolts that are chained behind this one and stepped with
//! it, and `bolt_checkpoints` how a barrier is passed on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::CounterId;
use crate::clock::Time;
use crate::runtime::executor::aligned_inputs::AlignedInputs;
use crate::runtime::executor::batch_cursor::BatchCursor;
use crate::runtime::executor::bolt_task::BoltTask;
use crate::runtime::executor::checkpoints::ExecutorCheckpoints;
use crate::runtime::executor::event_times::EventTimes;
use crate::runtime::executor::step::{
    ExecutorHandles, Step, StepContext, StepOutcome, TUPLES_PER_LOOK, WAITED_AFTER,
};
use crate::runtime::executor::tuple_loop::execute_chunk;
use crate::runtime::executor::user_code::{call_hooks, end_instance};
use crate::runtime::flow::charge::Charge;
use crate::runtime::flow::link::Link;
use crate::runtime::flow::message::{Control, ExecutorCommand, Loss};
use crate::runtime::flow::run_queue::Urgency;

/// After a call that waited, this many calls each end the step, so that their results are sent at once.
const WATCHED_CALLS: u32 = 64;

/// The batch in hand, and where it came from.
pub(super) struct InHand {
    pub(super) cursor: BatchCursor,
    pub(super) origin: Origin,
}

pub(super) enum Origin {
    /// From another executor, through the inbox. It holds credit.
    Queue { link: Arc<Link>, charge: Charge },
    /// From the executor that this one is chained behind.
    Chain,
    /// From a checkpoint: a tuple that the bolt held when it was taken.
    Restored,
}

/// An executor of a bolt.
pub struct BoltExecutor {
    pub(super) handles: ExecutorHandles,
    pub(super) tasks: Vec<BoltTask>,
    pub(super) in_hand: Option<InHand>,
    /// Links to executors of the same cycle. Tuples from outside the cycle are taken only while all
    /// these links have credit.
    pub(super) cycle_links: Vec<Arc<Link>>,
    /// Whether tasks may be built: set by the first activate.
    pub(super) opened: bool,
    /// Batches processed in this step whose results were not sent yet. They count as outstanding until
    /// the end of the step.
    pub(super) processed: i64,
    /// Whether `finish` is to be called, as soon as all tasks that keep state have an instance.
    pub(super) finish_asked: bool,
    /// Whether `finish` was called in this step.
    has_finished: bool,
    closed: bool,
    blocked_since: Option<Time>,
    /// Of a blocking component: when its last call returned.
    called_at: Time,
    /// Of a blocking component: how many more calls each end the step (see [`WATCHED_CALLS`]).
    watched: u32,
    /// Of a bolt in a chain: batches that were handed over, to execute after the one in hand.
    pub(super) handed_over: VecDeque<BatchCursor>,
    /// How many batches that were handed over, with the one in hand, have edges and count as outstanding.
    /// They are the first.
    pub(super) kept: usize,
    /// How long the calls into this executor and those behind it took in this step. Of a bolt in a chain.
    pub(super) spent: Duration,
    /// Its part in checkpoints, where there are any.
    pub(super) checkpoints: Option<ExecutorCheckpoints>,
    /// Where there are checkpoints: its inputs, of the first executor of a chain.
    pub(super) inputs: Option<AlignedInputs>,
    /// Event time, where there is any.
    pub(super) times: Option<EventTimes>,
    /// The executor that is chained behind this one.
    pub(super) next: Option<Box<BoltExecutor>>,
}

impl BoltExecutor {
    /// An executor of these tasks, none of which is built yet. Where there are checkpoints it needs `inputs`, if it is
    /// chained behind no other. `next` is chained behind it.
    pub fn new(
        handles: ExecutorHandles,
        tasks: Vec<BoltTask>,
        cycle_links: Vec<Arc<Link>>,
        inputs: Option<AlignedInputs>,
        times: Option<EventTimes>,
        next: Option<Box<BoltExecutor>>,
    ) -> BoltExecutor {
        BoltExecutor {
            checkpoints: handles.storage.clone().map(ExecutorCheckpoints::new),
            inputs,
            handles,
            tasks,
            in_hand: None,
            cycle_links,
            opened: false,
            processed: 0,
            finish_asked: false,
            has_finished: false,
            closed: false,
            blocked_since: None,
            called_at: Time::ZERO,
            watched: 0,
            handed_over: VecDeque::new(),
            kept: 0,
            spent: Duration::ZERO,
            times,
            next,
        }
    }

    /// Does a bounded amount of work. Called for the first executor of a chain.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        // Acquire, and before anything is sent: see "A lost worker" in `remote::ingress`.
        self.begin_step(cx.now, self.handles.membership.load(Ordering::Acquire));
        self.take_control(cx.now);
        if self.is_closing() {
            let outcome = if self.is_closed() { StepOutcome::Closed } else { StepOutcome::Idle };
            return Step { outcome, wake_at: Time::NEVER };
        }
        if !self.chain_runs() {
            return self.step_halted(cx);
        }
        let mut outcome = if self.opened { self.work(cx) } else { StepOutcome::Idle };
        self.end_step(cx, outcome);
        if outcome == StepOutcome::Idle && self.can_execute(cx.now) {
            outcome = self.next.as_mut().map_or(outcome, |next| next.outcome_of_leftovers(cx.now));
        }
        let (more, look_at) = self.end_checkpoints(cx);
        // Without credit, too: the snapshot needs none.
        if more && matches!(outcome, StepOutcome::Idle | StepOutcome::Blocked) {
            outcome = StepOutcome::Worked;
        }
        let wake_at = if self.opened { self.wake_at(cx.now).min(look_at) } else { Time::NEVER };
        Step { outcome, wake_at }
    }

    /// Takes data once all tasks of the chain have an instance.
    fn work(&mut self, cx: &StepContext<'_>) -> StepOutcome {
        if !self.build_and_tick(cx) {
            return StepOutcome::Idle;
        }
        if let Some(next) = &mut self.next {
            next.resume(cx);
        }
        let outcome = self.take_data(cx);
        match outcome {
            // Whoever is behind is to know at once how far event time is, because nothing more comes for now.
            StepOutcome::Idle if !self.is_barrier_passing() => self.pass_time(cx, true).unwrap_or(outcome),
            _ => outcome,
        }
    }

    /// Sets the time and the membership of the step.
    pub fn begin_step(&mut self, now: Time, membership: u64) {
        for task in &mut self.tasks {
            task.emitter.outgoing.now = now;
            task.emitter.outgoing.membership = membership;
        }
        if let Some(next) = &mut self.next {
            next.begin_step(now, membership);
        }
    }

    /// Handles what came over the control lanes of the chain.
    pub fn take_control(&mut self, now: Time) {
        while let Ok(control) = self.handles.inbox.control.try_recv() {
            match control {
                Control::Command(ExecutorCommand::Activate) => self.opened = true,
                Control::Command(ExecutorCommand::Finish) => {
                    self.finish_asked = true;
                    self.times.iter_mut().for_each(EventTimes::end);
                }
                Control::Command(ExecutorCommand::Close) => self.close(),
                Control::Command(ExecutorCommand::Crash) => {
                    for task in &mut self.tasks {
                        task.break_down("crashed by a test", &self.handles, now);
                    }
                }
                Control::Checkpoint(command) => self.take_checkpoint_command(command, now),
                Control::Loss(Loss::Worker { .. }) => {
                    self.times.iter_mut().for_each(EventTimes::send_again);
                }
                Control::Command(ExecutorCommand::Deactivate | ExecutorCommand::Drain)
                | Control::Tree(_)
                | Control::Loss(Loss::Acker { .. })
                | Control::End(_)
                | Control::CheckpointEvent(_)
                | Control::CheckpointOrder(_)
                | Control::Storage(_) => {}
            }
        }
        if let Some(next) = &mut self.next {
            next.take_control(now);
        }
    }

    /// Whether an executor of the chain was closed. Then the chain takes no data any more.
    pub fn is_closing(&self) -> bool {
        self.closed || self.next.as_ref().is_some_and(|next| next.is_closing())
    }

    /// Whether all executors of the chain were closed.
    pub fn is_closed(&self) -> bool {
        self.closed && self.next.as_ref().is_none_or(|next| next.is_closed())
    }

    /// Builds tasks that have no instance, if that is due, and calls `tick` and timers where they are due. Returns
    /// whether the chain may take data: whether all its tasks have an instance, and none waits to make a call again.
    pub fn build_and_tick(&mut self, cx: &StepContext<'_>) -> bool {
        let behind = match &mut self.next {
            Some(next) => next.measured(cx, |next| next.build_and_tick(cx)),
            None => true,
        };
        if !self.opened {
            return false;
        }
        let mut all_built = true;
        let mut waits = false;
        for task in &mut self.tasks {
            all_built &= task.ensure_built(&self.handles, cx.now) || task.restart.is_over();
            waits |= task.waits_for_retry(cx.now);
        }
        self.take_restored();
        if all_built && !self.is_prepared() {
            // Also if another bolt of the chain is missing: held tuples may wait for the tick.
            for task in &mut self.tasks {
                task.tick_if_due(&self.handles, cx.now);
                task.call_due_timers(&self.handles, cx);
            }
        }
        all_built && !waits && behind
    }

    /// Executes tuples until the budget or the time of the step is used up, input or credit runs out, or
    /// a panic breaks a task. Credit is checked before each chunk, and `execute_chunk` ends early when
    /// a link becomes full.
    fn take_data(&mut self, cx: &StepContext<'_>) -> StepOutcome {
        let mut budget = cx.budget;
        self.take_ahead();
        loop {
            if self.next.as_ref().is_some_and(|next| next.has_leftovers()) {
                // Without credit, `is_blocked` is true below. Otherwise the next step continues with them.
                let blocked = self.next.as_mut().is_some_and(|next| next.is_blocked(cx.now));
                return if blocked { StepOutcome::Blocked } else { StepOutcome::Worked };
            }
            if self.in_hand.is_none()
                && !self.is_barrier_passing()
                && let Some(outcome) = self.pass_time(cx, false)
            {
                return outcome;
            }
            if self.barrier_overtakes(cx.now)
                && let Some(outcome) = self.overtake(cx)
            {
                return outcome;
            }
            if self.in_hand.is_none() && self.is_barrier_passing() {
                if !self.barrier_waits() {
                    if !self.pass_barrier(cx) {
                        return StepOutcome::Worked;
                    }
                    continue;
                }
                if !self.waits_for_round() {
                    return StepOutcome::Idle;
                }
            }
            if self.in_hand.is_none() && !self.take_batch(cx.now) {
                if self.is_barrier_passing() && !self.waits_for_round() {
                    continue;
                }
                return if self.has_no_data() { StepOutcome::Idle } else { StepOutcome::Blocked };
            }
            if self.in_hand.is_none() {
                return StepOutcome::Worked;
            }
            if self.is_blocked(cx.now) {
                return StepOutcome::Blocked;
            }
            let chunk = if cx.may_wait { 1 } else { budget.min(TUPLES_PER_LOOK) };
            let (executed, alive) = self.execute(cx, chunk);
            budget = budget.saturating_sub(executed.max(1));
            if !alive || budget == 0 || cx.is_over() || self.must_send(cx) {
                return StepOutcome::Worked;
            }
        }
    }

    /// Executes up to `chunk` tuples of the batch in hand, and hands what they emitted to the next executor of
    /// the chain. Returns how many were executed, and whether the task still has its instance.
    pub(super) fn execute(&mut self, cx: &StepContext<'_>, chunk: u32) -> (u32, bool) {
        let Some(InHand { cursor, .. }) = &mut self.in_hand else { return (0, true) };
        let task = &mut self.tasks[cursor.input.local_task as usize];
        let before = cursor.tuple;
        let alive = execute_chunk(task, cursor, chunk, &self.handles, cx);
        let executed = cursor.tuple - before;
        task.executed_now += u64::from(executed);
        if let Some(next) = &mut self.next {
            next.take_over(&mut task.emitter.outgoing.chained, cx);
        }
        if cx.may_wait && task.send_emitted() {
            self.handles.run_queue.hand_over();
        }
        if cursor.is_done() {
            self.release_batch();
        }
        (executed, alive)
    }

    /// Whether a task of the chain lacks credit. If so, its links are marked: a release wakes the chain.
    pub fn is_blocked(&mut self, now: Time) -> bool {
        let own = match (&self.in_hand, &mut self.tasks[..]) {
            // Only the task in hand of the first executor decides, so that one full link stops one task.
            (Some(InHand { cursor, origin: Origin::Queue { .. } }), tasks) => {
                tasks[cursor.input.local_task as usize].emitter.is_blocked()
            }
            (_, tasks) => tasks.iter_mut().any(|task| task.emitter.is_blocked()),
        };
        if own {
            self.blocked_since.get_or_insert(now);
        } else if let Some(since) = self.blocked_since.take() {
            self.handles.address.gauges.count(CounterId::BLOCKED, now.since(since).as_nanos() as u64);
        }
        let behind = self.next.as_mut().is_some_and(|next| next.is_blocked(now));
        own || behind
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

    fn end_step(&mut self, cx: &StepContext<'_>, outcome: StepOutcome) {
        // What has come of the last batch is sent before that is processed: otherwise it would be on its way, and nothing
        // would be outstanding.
        let is_last = self.in_hand.is_none() && self.has_no_data();
        let send = outcome != StepOutcome::Worked || cx.may_wait || is_last;
        self.end_calls(cx);
        self.send(send);
        self.tasks.iter_mut().for_each(|task| task.emitter.send_acks());
        let spent = cx.clock.now().since(cx.now);
        self.conclude(cx.now, spent);
    }

    /// The calls that end a step: `finish` and `flush`, along the chain.
    pub(super) fn end_calls(&mut self, cx: &StepContext<'_>) {
        // A task that is to be built again has state that `finish` emits.
        let waits_for = |task: &BoltTask| !is_built(task) && task.state.store.keeps_something();
        let can_finish = !self.opened || !self.tasks.iter().any(waits_for);
        // Before that, time ends: all timers are called.
        let can_finish = can_finish && (!self.opened || !self.is_time_pending());
        let finishes = can_finish && std::mem::take(&mut self.finish_asked);
        self.has_finished |= finishes;
        for task in &mut self.tasks {
            if finishes {
                task.finish(&self.handles, cx.now);
            }
            task.end_calls(&self.handles, cx.now);
            if let Some(next) = &mut self.next {
                next.take_over(&mut task.emitter.outgoing.chained, cx);
            }
        }
        if let Some(next) = &mut self.next {
            next.measured(cx, |next| next.end_calls(cx));
        }
    }

    /// Sends what the chain emitted, with `flush` also batches that are not full, and gathers its ack records
    /// in the tasks of this executor.
    pub(super) fn send(&mut self, flush: bool) {
        if let Some(next) = &mut self.next {
            next.send(flush);
        }
        if let Some(InHand { cursor, origin: Origin::Queue { .. } }) = &mut self.in_hand {
            cursor.split_run(&mut self.tasks[cursor.input.local_task as usize].emitter);
        }
        self.keep_leftovers();
        for (at, task) in self.tasks.iter_mut().enumerate() {
            if flush {
                task.emitter.flush();
            }
            if let Some(next) = &mut self.next {
                next.give_acks(at, &mut task.emitter);
            }
        }
    }

    /// Publishes the counts of the step, and that it was processed. `spent` is how long it took, here and in
    /// the executors behind.
    pub(super) fn conclude(&mut self, now: Time, spent: Duration) {
        let behind = self.next.as_mut().map_or(Duration::ZERO, |next| next.conclude_chain(now));
        let gauges = &self.handles.address.gauges;
        self.tasks.iter_mut().for_each(|task| task.publish_counts(gauges));
        let held = self.tasks.iter().map(|task| task.state.holds.held()).sum();
        gauges.publish(CounterId::HELD, held);
        if let Some(times) = &self.times {
            times.publish(gauges);
        }
        let has_input = self.in_hand.is_some() || !self.handed_over.is_empty();
        if self.kept > 0 {
            gauges.waiting_since.put(now.0, || {});
        } else if !has_input && self.handles.inbox.has_no_data() {
            self.handles.inbox.note_empty(now);
        }
        self.handles.processed(std::mem::take(&mut self.processed));
        if std::mem::take(&mut self.has_finished) {
            self.handles.lifecycle.finished.fetch_add(1, Ordering::SeqCst);
            self.handles.coordinator.wake(Urgency::Now);
        }
        gauges.count(CounterId::BUSY, spent.saturating_sub(behind).as_nanos() as u64);
    }

    /// When to step the chain again if nothing wakes it before.
    pub fn wake_at(&self, now: Time) -> Time {
        // While an instance is missing, or a snapshot is about to begin, no tick is called, so its time does not count.
        let missing = self.tasks.iter().filter(|task| task.bolt.is_none() && !task.restart.is_over());
        let next_build = missing.map(|task| task.restart.due).min();
        let next_call = || self.tasks.iter().filter(|_| !self.is_prepared()).map(BoltTask::next_call).min();
        let own = next_build.or_else(next_call);
        // As long as an instance is missing, nothing is committed.
        let built = self.checkpoints.as_ref().filter(|_| self.is_built());
        let commit = built.map_or(Time::NEVER, ExecutorCheckpoints::commit_due);
        // A call that is due and not made waits for another task of the chain, which has a time of its own.
        let retries = self.tasks.iter().filter(|task| task.waits_for_retry(now)).map(BoltTask::retry_due);
        let retry = retries.min().unwrap_or(Time::NEVER);
        let behind = self.next.as_ref().map_or(Time::NEVER, |next| next.wake_at(now));
        // One that is due and has not overtaken waits for something else, which wakes the executor.
        let overtake = self.inputs.as_ref().map(AlignedInputs::overtakes_at).filter(|at| *at > now);
        let emitters = self.tasks.iter().map(|task| &task.emitter);
        let time = self.times.as_ref().map_or(Time::NEVER, |times| times.wake_at(emitters, now));
        let earliest = [retry, commit, behind, time, overtake.unwrap_or(Time::NEVER)].into_iter().min();
        own.into_iter().chain(earliest).min().unwrap_or(Time::NEVER)
    }

    /// Ends the instances of this executor.
    fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        for task in &mut self.tasks {
            if let Some(bolt) = task.bolt.take() {
                let (errors, now) = (&task.emitter.errors, task.emitter.outgoing.now);
                end_instance(bolt, errors, now, |bolt| bolt.cleanup());
                call_hooks(&mut task.state.hooks, errors, now, |hook| hook.cleanup());
            }
        }
        self.handles.lifecycle.closed.fetch_add(1, Ordering::SeqCst);
        self.handles.coordinator.wake(Urgency::Now);
    }
}

/// Whether a task has an instance, or will never have one.
pub(super) fn is_built(task: &BoltTask) -> bool {
    task.bolt.is_some() || task.restart.is_over()
}
