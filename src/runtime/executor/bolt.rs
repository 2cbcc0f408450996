//! Tasks of a bolt, stepped together.
//!
//! A step takes control messages first, then data while there is credit downstream, and ends by
//! sending what was emitted and acked (see `emitter`). A batch that cannot be finished for want of
//! credit or time stays in hand and is gone on with.
//!
//! User code may fail in three ways, none of which ends the process: an `Err` fails the tuple; a
//! panic fails the tuple and costs the instance, which is built again after a pause; a call that
//! does not return is named by the watchdog. While one task of an executor waits to be built, the
//! executor takes no data. A task whose `prepare` failed for good is not waited for: the run is ending,
//! and what is still sent to it fails.
//!
//! One file, because a step is one protocol: how far a batch in hand has come decides what credit,
//! acks, dead letters and rebuilding may do.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::{
    Bolt, FailureCause, Input, OutputState, Outputs, Route, SourceMeta, TaskContext, TaskError,
};
use crate::clock::Time;
use crate::ids::DEAD_LETTER_STREAM;
use crate::logging::panics::catch_unwind;
use crate::runtime::emitter::Emitter;
use crate::runtime::executor::in_hand::InHand;
use crate::runtime::executor::{
    Common, Fate, Restart, Step, StepContext, StepOutcome, TUPLES_PER_LOOK, WAITED_AFTER, call_hooks,
    drop_broken, drop_left, end_instance, panic_text,
};
use crate::runtime::link::Link;
use crate::runtime::message::{Control, Incoming};
use crate::runtime::queue::{Gauges, count};
use crate::runtime::run_queue::Urgency;
use crate::text::shown;
use crate::topology::graph::BoltFactory;
use crate::tuple::{Anchor, Rows, Value};

/// After a call that waited, so many calls are each followed by sending their results.
const WATCHED_CALLS: u32 = 64;

/// One task of a bolt.
pub struct BoltTask {
    /// The instance; `None` before it is built and after it broke.
    bolt: Option<Box<dyn Bolt>>,
    factory: BoltFactory,
    context: TaskContext,
    state: OutputState,
    emitter: Emitter,
    restart: Restart,
    tick: Option<Duration>,
    next_tick: Time,
    /// Whether `flush` is due: something was executed since.
    executed: bool,
    /// Tuples executed in this step.
    executed_now: u64,
    /// The stage of the dead-letter stream, if somebody takes it.
    dead_letter_stage: Option<usize>,
}

impl BoltTask {
    /// A task that is not built yet.
    pub fn new(
        factory: BoltFactory,
        context: TaskContext,
        state: OutputState,
        emitter: Emitter,
        tick: Option<Duration>,
    ) -> BoltTask {
        let dead_letter_stage = state.stages.iter().position(|stage| stage.stream.name == DEAD_LETTER_STREAM);
        let dead_letter_stage = dead_letter_stage.filter(|stage| emitter.has_subscribers(*stage));
        BoltTask {
            bolt: None,
            factory,
            context,
            state,
            emitter,
            restart: Restart::new(),
            tick,
            next_tick: Time::NEVER,
            executed: false,
            executed_now: 0,
            dead_letter_stage,
        }
    }

    /// Calls into the instance, if there is one; a panic costs it. Says whether the call succeeded.
    fn call(
        &mut self,
        common: &Common,
        now: Time,
        then: impl FnOnce(&mut dyn Bolt, &mut Outputs<'_>) -> Result<(), TaskError>,
    ) -> bool {
        let Some(bolt) = &mut self.bolt else { return true };
        self.state.anchor = Anchor::NONE;
        self.state.extra_anchors.clear();
        let mut out = Outputs::new(&mut self.state, &mut self.emitter);
        match catch_unwind(AssertUnwindSafe(|| then(&mut **bolt, &mut out))) {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                self.emitter.report_loss(&error);
                false
            }
            Err(panic) => {
                self.break_down(&panic_text(&*panic), common, now);
                false
            }
        }
    }

    /// Asks for what the bolt still has. If that fails, it is lost: at least a tuple counts.
    fn finish(&mut self, common: &Common, now: Time) {
        let before = self.emitter.unanchored_now;
        let succeeded = self.call(common, now, |bolt, out| bolt.finish(out));
        if !succeeded && self.emitter.unanchored_now == before {
            self.emitter.unanchored_now += 1;
        }
    }

    /// Drops a broken instance and plans the next one.
    fn break_down(&mut self, why: &str, common: &Common, now: Time) {
        self.emitter.errors.report_text(why, now);
        self.state.repair();
        drop_broken(self.bolt.take(), &self.emitter.errors, now);
        self.restart.broke(now, &common.errors);
    }

    /// Builds and prepares the instance if it is due; says whether there is one.
    fn ensure_built(&mut self, common: &Common, now: Time) -> bool {
        if self.bolt.is_some() {
            return true;
        }
        let (factory, context) = (&self.factory, &self.context);
        let (hooks, errors) = (&mut self.state.hooks, &self.emitter.errors);
        let build = || -> Result<Box<dyn Bolt>, TaskError> {
            call_hooks(hooks, errors, now, |hook| hook.prepare(context));
            let mut bolt = factory()?;
            bolt.prepare(context)?;
            Ok(bolt)
        };
        match self.restart.build(build, &self.emitter.errors, common, now) {
            Ok(Some(bolt)) => {
                self.bolt = Some(bolt);
                if self.next_tick == Time::NEVER {
                    self.next_tick = self.tick.map_or(Time::NEVER, |tick| now.after(tick));
                }
            }
            Ok(None) => {}
            Err(why) => self.break_down(&why, common, now),
        }
        self.bolt.is_some()
    }

    fn tick_if_due(&mut self, common: &Common, now: Time) {
        let Some(tick) = self.tick else { return };
        if self.next_tick > now || self.bolt.is_none() {
            return;
        }
        // Missed periods are not made up for, as with Storm's ticks behind a full queue.
        self.next_tick = self.next_tick.after(tick).max(now);
        self.call(common, now, |bolt, out| bolt.tick(out));
    }

    /// What was dropped while held fails.
    fn fail_abandoned(&mut self) {
        for settled in self.state.holds.take_abandoned() {
            self.emitter.fail(&settled.anchors, FailureCause::Abandoned);
        }
    }

    /// Sends what was emitted so far, because the next call may wait for long; says whether the task
    /// emits at all.
    fn send_emitted(&mut self) -> bool {
        if self.emitter.streams.is_empty() {
            return false;
        }
        self.emitter.route_stages(&mut self.state);
        self.emitter.flush();
        self.emitter.send_acks();
        true
    }

    /// Ends a step: see `emitter` for the order.
    fn end_step(&mut self, common: &Common, now: Time, send: bool) {
        if self.executed {
            self.executed = false;
            self.call(common, now, |bolt, out| bolt.flush(out));
        }
        self.fail_abandoned();
        self.emitter.route_stages(&mut self.state);
        if send {
            self.emitter.flush();
        }
        self.emitter.send_acks();
        self.publish_counts(&common.address.gauges);
    }
}

impl BoltTask {
    /// Hands the counts of the step to the executor's gauges.
    fn publish_counts(&mut self, gauges: &Gauges) {
        let emitter = &mut self.emitter;
        let failed = std::mem::take(&mut emitter.failed_now);
        let settled_later = std::mem::take(&mut emitter.acked_later) as i64;
        let held = std::mem::take(&mut self.state.held_count) as i64;
        let executed = std::mem::take(&mut self.executed_now) as i64;
        count(&gauges.transferred, std::mem::take(&mut emitter.wires.transferred));
        count(&gauges.emitted, self.state.take_emitted());
        count(&gauges.executed, executed as u64);
        count(&gauges.failed, failed + std::mem::take(&mut emitter.failed_later));
        count(&gauges.failed_unanchored, emitter.take_unanchored());
        // What is held is acked when it is let go, perhaps many steps later.
        let acked = executed - failed as i64 - held + settled_later;
        gauges.acked.fetch_add(acked as u64, Ordering::Relaxed);
    }
}

impl Drop for BoltTask {
    /// What was not closed in order is dropped here, and its drop may panic.
    fn drop(&mut self) {
        let now = self.emitter.wires.now;
        drop_left(self.bolt.take(), &mut self.state.hooks, &self.emitter.errors, now);
    }
}

/// Why the inner loop came back.
enum RunEnd {
    /// The batch is done, credit may be missing, or it is time to look at the clock.
    Paused,
    /// User code refused the tuple.
    Failed(TaskError),
}

/// An executor of a bolt.
pub struct BoltExecutor {
    common: Common,
    tasks: Vec<BoltTask>,
    in_hand: Option<InHand>,
    /// Links to executors of the same cycle. What enters the cycle here waits for their credit.
    round: Vec<Arc<Link>>,
    /// Whether tasks may be built: set by the first activate.
    opened: bool,
    /// Messages processed in this step whose results were not sent yet.
    processed: i64,
    finish_asked: bool,
    blocked_since: Option<Time>,
    /// Where calls may wait: when the last one returned.
    called_at: Time,
    /// Where calls may wait: so many more are each followed by sending their results.
    watched: u32,
}

impl BoltExecutor {
    /// An executor of these tasks, none of which is built yet.
    pub fn new(common: Common, tasks: Vec<BoltTask>, round: Vec<Arc<Link>>) -> BoltExecutor {
        BoltExecutor {
            common,
            tasks,
            in_hand: None,
            round,
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

    /// Builds what is missing, and takes data if nothing is.
    fn work(&mut self, cx: &StepContext<'_>) -> StepOutcome {
        let mut all_built = true;
        for task in &mut self.tasks {
            all_built &= task.ensure_built(&self.common, cx.now) || task.restart.is_over();
        }
        if !all_built {
            return StepOutcome::Idle;
        }
        self.tasks.iter_mut().for_each(|task| task.tick_if_due(&self.common, cx.now));
        self.take_data(cx)
    }

    fn begin_step(&mut self, now: Time) {
        // Acquire, and before anything is sent: see `remote::ingress`.
        let membership = self.common.membership.load(Ordering::Acquire);
        for task in &mut self.tasks {
            task.emitter.wires.now = now;
            task.emitter.wires.membership = membership;
        }
    }

    /// Handles what came over the control lane; says whether to close.
    fn take_control(&mut self, now: Time) -> bool {
        let mut close = false;
        while let Ok(control) = self.common.inbox.control.try_recv() {
            match control {
                Control::Activate => self.opened = true,
                Control::Finish => self.finish_asked = true,
                Control::Close => close = true,
                Control::Crash => {
                    for task in &mut self.tasks {
                        task.break_down("crashed by a test", &self.common, now);
                    }
                }
                Control::Acks(_)
                | Control::Outcomes(_)
                | Control::AckerLost { .. }
                | Control::WorkerLost { .. }
                | Control::Deactivate
                | Control::Stop
                | Control::Drain => {}
            }
        }
        close
    }

    fn take_data(&mut self, cx: &StepContext<'_>) -> StepOutcome {
        let mut budget = cx.budget;
        loop {
            if self.in_hand.is_none() && !self.take_batch(cx.now) {
                return if self.common.inbox.has_no_data() {
                    StepOutcome::Idle
                } else {
                    StepOutcome::Blocked
                };
            }
            let Some(hand) = &mut self.in_hand else { return StepOutcome::Worked };
            let task = &mut self.tasks[hand.incoming.local_task as usize];
            if task.emitter.is_blocked() {
                self.blocked_since.get_or_insert(cx.now);
                return StepOutcome::Blocked;
            }
            if let Some(since) = self.blocked_since.take() {
                count(&self.common.address.gauges.blocked, cx.now.since(since).as_nanos() as u64);
            }
            let before = hand.tuple;
            let chunk = if cx.may_wait { 1 } else { budget.min(TUPLES_PER_LOOK) };
            let alive = execute_chunk(task, hand, chunk, &self.common, cx.now);
            let executed = hand.tuple - before;
            task.executed_now += u64::from(executed);
            if cx.may_wait && task.send_emitted() {
                self.common.run_queue.hand_over();
            }
            budget = budget.saturating_sub(executed.max(1));
            if hand.is_done() {
                self.release_batch();
            }
            if !alive || budget == 0 || cx.is_over() || self.must_send(cx) {
                return StepOutcome::Worked;
            }
        }
    }

    /// Whether the step ends here, so that acks are sent and `flush` is called. Where calls wait, that
    /// must not wait for further calls; where they return at once, doing it for each tuple would be
    /// slow. So a call that waited ends the step, and so does each of the next [`WATCHED_CALLS`].
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

    /// Whether what is new may enter the cycle that this executor is part of, if it is. Links that lack
    /// credit are told that somebody waits.
    fn may_enter(&self) -> bool {
        let enough = || self.round.iter().all(|link| link.has_credit());
        if enough() {
            return true;
        }
        self.round.iter().filter(|link| !link.has_credit()).for_each(|link| link.wait());
        enough()
    }

    /// Takes the next batch in hand, if there is one that may be taken.
    fn take_batch(&mut self, now: Time) -> bool {
        let inbox = &self.common.inbox;
        let enter = || if self.may_enter() { inbox.take_data() } else { None };
        let next = inbox.take_round().or_else(enter);
        let Some(incoming) = next else { return false };
        let task_index = incoming.local_task as usize;
        let fate = match &self.common.faults {
            None => Fate::Deliver,
            Some(faults) => {
                let context = &self.tasks[task_index].context;
                faults.fate(context.component(), context.task_index(), &incoming.batch)
            }
        };
        match fate {
            Fate::Deliver => {}
            Fate::Crash => self.tasks[task_index].break_down("crashed by a test", &self.common, now),
            Fate::Drop => {
                if let Some(audit) = &self.tasks[task_index].emitter.wires.audit {
                    audit.lost(&incoming.batch);
                }
            }
        }
        self.in_hand = Some(InHand::new(incoming));
        if fate == Fate::Drop {
            self.release_batch();
        }
        true
    }

    /// Gives back the credit of the batch in hand.
    fn release_batch(&mut self) {
        let Some(hand) = self.in_hand.take() else { return };
        let Incoming { batch, link, charge, .. } = hand.incoming;
        self.processed += 1;
        drop(batch);
        if link.release(charge) {
            self.common.run_queue.wake(link.producer, Urgency::Now);
        }
    }

    fn end_step(&mut self, cx: &StepContext<'_>, outcome: StepOutcome) {
        let send = outcome != StepOutcome::Worked || cx.may_wait;
        let finish = std::mem::take(&mut self.finish_asked);
        if let Some(hand) = &mut self.in_hand {
            hand.split_run(&mut self.tasks[hand.incoming.local_task as usize].emitter);
        }
        for task in &mut self.tasks {
            if finish {
                task.finish(&self.common, cx.now);
            }
            task.end_step(&self.common, cx.now, send);
        }
        let held = self.tasks.iter().map(|task| task.state.holds.held()).sum();
        self.common.address.gauges.held.store(held, Ordering::SeqCst);
        if self.in_hand.is_none() && self.common.inbox.has_no_data() {
            self.common.inbox.note_empty(cx.now);
        }
        let processed = std::mem::take(&mut self.processed);
        self.common.processed(processed);
        if finish {
            self.common.lifecycle.finished.fetch_add(1, Ordering::SeqCst);
            self.common.coordinator.wake(Urgency::Now);
        }
        let spent = cx.clock.now().since(cx.now).as_nanos() as u64;
        count(&self.common.address.gauges.busy, spent);
    }

    fn wake_at(&self) -> Time {
        // While a task is missing nothing else happens here, so a tick that is due does not count.
        let missing = self.tasks.iter().filter(|task| task.bolt.is_none() && !task.restart.is_over());
        let next_build = missing.map(|task| task.restart.due).min();
        next_build.or_else(|| self.tasks.iter().map(|task| task.next_tick).min()).unwrap_or(Time::NEVER)
    }

    /// The last step.
    fn close(&mut self) -> Step {
        for task in &mut self.tasks {
            if let Some(bolt) = task.bolt.take() {
                let (errors, now) = (&task.emitter.errors, task.emitter.wires.now);
                end_instance(bolt, errors, now, |bolt| bolt.cleanup());
                call_hooks(&mut task.state.hooks, errors, now, |hook| hook.cleanup());
            }
        }
        self.common.lifecycle.closed.fetch_add(1, Ordering::SeqCst);
        self.common.coordinator.wake(Urgency::Now);
        Step { outcome: StepOutcome::Closed, wake_at: Time::NEVER }
    }
}

/// Executes at most `chunk` tuples of the batch in hand; says whether the task is still alive.
fn execute_chunk(task: &mut BoltTask, hand: &mut InHand, chunk: u32, common: &Common, now: Time) -> bool {
    let stop_at = (hand.tuple + chunk).min(hand.incoming.batch.len);
    let Some(mut bolt) = task.bolt.take() else {
        if task.restart.is_over() {
            refuse_tuples(task, hand, stop_at);
        }
        return task.restart.is_over();
    };
    let takes_letters = task.dead_letter_stage.is_some();
    task.executed = true;
    while hand.tuple < stop_at {
        let (state, emitter) = (&mut task.state, &mut task.emitter);
        let run = || run_tuples(&mut *bolt, state, emitter, hand, stop_at, takes_letters);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(RunEnd::Paused) => break,
            Ok(RunEnd::Failed(error)) => {
                task.emitter.errors.report(&error, now);
                fail_tuple(task, hand, &shown(&error), FailureCause::Failed, common);
            }
            Err(panic) => {
                let why = panic_text(&*panic);
                task.state.repair();
                fail_tuple(task, hand, &why, FailureCause::Panicked, common);
                task.bolt = Some(bolt);
                task.break_down(&why, common, now);
                return false;
            }
        }
    }
    task.bolt = Some(bolt);
    true
}

/// Executes tuples up to `stop_at`, run by run: what all tuples of a run have in common is done once
/// for the run.
fn run_tuples(
    bolt: &mut dyn Bolt,
    state: &mut OutputState,
    emitter: &mut Emitter,
    hand: &mut InHand,
    stop_at: u32,
    takes_letters: bool,
) -> RunEnd {
    while hand.tuple < stop_at {
        state.anchor = hand.anchor();
        state.extra_anchors.clear();
        let may_be_letter = takes_letters && emitter.is_final(&state.anchor);
        let may_need_row = !state.hooks.is_empty() || may_be_letter;
        let plain = !may_need_row && hand.incoming.batch.extras.is_empty();
        let end = hand.stretch_end().min(stop_at);
        let stretch = if plain { run_plain } else { run_with_care };
        if let Err(error) = stretch(bolt, state, emitter, hand, end) {
            return RunEnd::Failed(error);
        }
        hand.settle(emitter);
        if emitter.wires.stalled {
            break;
        }
    }
    RunEnd::Paused
}

/// The inner loop: nothing here that is not needed for every tuple.
fn run_plain(
    bolt: &mut dyn Bolt,
    state: &mut OutputState,
    emitter: &mut Emitter,
    hand: &mut InHand,
    end: u32,
) -> Result<(), TaskError> {
    while hand.tuple < end {
        execute_next(bolt, state, emitter, hand)?;
        hand.tuple += 1;
        if emitter.wires.stalled {
            break;
        }
    }
    Ok(())
}

/// The same for tuples that somebody may want to see afterwards, or that have several anchors.
fn run_with_care(
    bolt: &mut dyn Bolt,
    state: &mut OutputState,
    emitter: &mut Emitter,
    hand: &mut InHand,
    end: u32,
) -> Result<(), TaskError> {
    while hand.tuple < end {
        hand.keep_row();
        state.extra_anchors.clear();
        state.extra_anchors.extend(hand.extras().iter().map(|(_, anchor)| *anchor));
        execute_next(bolt, state, emitter, hand)?;
        if !state.hooks.is_empty() {
            run_hooks(state, emitter, &hand.kept, true);
        }
        hand.tuple += 1;
        hand.settle(emitter);
        if emitter.wires.stalled {
            break;
        }
    }
    Ok(())
}

#[inline(always)]
fn execute_next(
    bolt: &mut dyn Bolt,
    state: &mut OutputState,
    emitter: &mut Emitter,
    hand: &mut InHand,
) -> Result<(), TaskError> {
    let Incoming { batch, meta, .. } = &mut hand.incoming;
    let meta: &Arc<SourceMeta> = meta;
    let (tuple, arity) = (hand.tuple as usize, batch.arity as usize);
    if let Some(message) = batch.msgs.get(tuple) {
        state.anchor.message = *message;
    }
    state.held = false;
    let row = tuple * arity..(tuple + 1) * arity;
    let input = match &mut batch.rows {
        Rows::Owned(values) => Input::owned(&mut values[row], meta),
        Rows::Shared(values) => Input::shared(&values[row], meta),
    };
    bolt.execute(input, &mut Outputs::new(state, emitter))
}

/// Calls the hooks for the tuple just executed, unless it was held.
#[cold]
fn run_hooks(state: &mut OutputState, emitter: &Emitter, row: &[Value], ok: bool) {
    let held = state.held;
    call_hooks(&mut state.hooks, &emitter.errors, emitter.wires.now, |hook| {
        hook.bolt_execute(row);
        match (held, ok) {
            (true, _) => {}
            (false, true) => hook.bolt_ack(),
            (false, false) => hook.bolt_fail(),
        }
    });
}

/// Deals with a tuple that user code refused: it becomes a dead letter if it is not replayed any more
/// and somebody takes dead letters, else its message fails. A held tuple is left to whoever holds it.
#[cold]
fn fail_tuple(task: &mut BoltTask, hand: &mut InHand, error: &str, cause: FailureCause, common: &Common) {
    hand.settle(&mut task.emitter);
    if !task.state.hooks.is_empty() {
        run_hooks(&mut task.state, &task.emitter, &hand.kept, false);
    }
    if !task.state.held && !send_dead_letter(task, hand, error, common) {
        fail_anchors(&mut task.emitter, hand, cause);
    }
    hand.tuple += 1;
    hand.settle(&mut task.emitter);
}

/// Fails tuples up to `stop_at` for a task that is never built.
#[cold]
fn refuse_tuples(task: &mut BoltTask, hand: &mut InHand, stop_at: u32) {
    while hand.tuple < stop_at {
        fail_anchors(&mut task.emitter, hand, FailureCause::Failed);
        hand.tuple += 1;
        hand.settle(&mut task.emitter);
    }
}

/// Fails the messages that the tuple in hand is anchored to.
fn fail_anchors(emitter: &mut Emitter, hand: &InHand, cause: FailureCause) {
    let extras = hand.extras().iter().map(|(_, anchor)| *anchor);
    emitter.fail_messages(std::iter::once(hand.anchor()).chain(extras), cause);
    emitter.failed_now += 1;
}

/// Says whether the tuple went to the dead-letter stream.
fn send_dead_letter(task: &mut BoltTask, hand: &InHand, error: &str, common: &Common) -> bool {
    let Some(stage) = task.dead_letter_stage.filter(|_| task.emitter.is_final(&task.state.anchor)) else {
        return false;
    };
    let meta = &hand.incoming.meta;
    let values = Value::map(meta.fields.iter().zip(hand.kept.iter().cloned()));
    let letter = vec![
        Value::from(&meta.component),
        Value::from(&meta.stream),
        values,
        Value::from(error),
        Value::from(task.state.anchor.attempt.replays()),
    ];
    let sent = task.state.push_anchored(stage, letter).is_ok();
    if sent {
        count(&common.address.gauges.dead_letters, 1);
    }
    sent
}
