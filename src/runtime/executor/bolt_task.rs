//! One task of a bolt: its instance, its outputs, and what calls into it.
//!
//! If the instance is `None`, it is not built yet, or user code panicked and the task waits for its next
//! instance. Everything that outlives an instance (emitted tuples, held tuples, counts) is kept in the
//! task.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::{
    Bolt, CounterId, FailedHold, FailureCause, InputKeys, OutputCollector, OutputState, Outputs, SourceMeta,
    TaskContext, TaskError,
};
use crate::clock::Time;
use crate::config::{AfterRetries, OnError};
use crate::ids::{CheckpointId, DEAD_LETTER_STREAM};
use crate::logging::panics::{catch_unwind, guarded};
use crate::runtime::executor::call_error::CallError;
use crate::runtime::executor::step::{ExecutorHandles, StepContext, TaskParts};
use crate::runtime::executor::task_snapshots::TaskCheckpoints;
use crate::runtime::executor::user_code::{Restart, call_hooks, drop_broken, drop_left};
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::routing::emitter::Emitter;
use crate::state::TaskState;
use crate::topology::graph::BoltFactory;
use crate::tuple::{Anchor, Value};

/// The tuple in hand, for which a call failed and is made again.
#[derive(Clone, Copy, Debug)]
struct CallRetry {
    /// Its number in the batch in hand.
    tuple: u32,
    /// How often the call was made again, the next time included.
    number: u32,
    /// When the call is made again.
    due: Time,
}

/// One task of a bolt.
pub struct BoltTask {
    /// The instance; `None` before it is built and after it panicked.
    pub bolt: Option<Box<dyn Bolt>>,
    factory: BoltFactory,
    pub context: TaskContext,
    /// Which values of a tuple are its key.
    pub keys: InputKeys,
    pub state: OutputState,
    pub emitter: Emitter,
    pub restart: Restart,
    tick: Option<Duration>,
    pub next_tick: Time,
    pub on_error: Option<OnError>,
    retry: Option<CallRetry>,
    /// When the call of a timer in event time is made again that has failed. Until then no tuple is executed.
    pub(super) timer_retry: Option<Time>,
    /// Whether `flush` is due, because a tuple was executed since the last `flush`.
    pub executed: bool,
    /// Whether `finish` was called, and no tuple was executed since. Then no timer is called: what it emits could
    /// come to a bolt that has finished, too.
    pub has_finished: bool,
    /// Tuples executed in this step.
    pub executed_now: u64,
    /// The stage of the dead-letter stream, if the stream has subscribers.
    pub dead_letter_stage: Option<usize>,
    pub checkpoints: TaskCheckpoints,
}

impl BoltTask {
    /// A task that is not built yet.
    pub fn new(
        factory: BoltFactory,
        parts: TaskParts,
        tick: Option<Duration>,
        on_error: Option<OnError>,
    ) -> BoltTask {
        let TaskParts { context, mut state, emitter, local_task } = parts;
        let dead_letter_stage = state.stages.iter().position(|stage| stage.stream.name == DEAD_LETTER_STREAM);
        let dead_letter_stage = dead_letter_stage.filter(|stage| emitter.has_subscribers(*stage));
        if dead_letter_stage.is_some() || on_error.is_some_and(|it| it.then == AfterRetries::Stop) {
            state.holds.keep_failed();
        }
        state.atomic = true;
        state.store = TaskState::new(context.states().clone(), context.clock().clone());
        let keys = InputKeys::new(&context);
        let checkpoints = TaskCheckpoints::new(&context, local_task);
        emitter.errors.lifecycle.unopened.fetch_add(1, Ordering::Relaxed);
        BoltTask {
            keys,
            bolt: None,
            factory,
            context,
            state,
            emitter,
            restart: Restart::new(),
            tick,
            next_tick: Time::NEVER,
            on_error,
            retry: None,
            timer_retry: None,
            executed: false,
            has_finished: false,
            executed_now: 0,
            dead_letter_stage,
            checkpoints,
        }
    }

    /// Keeps copies of held tuples from now on: there will be checkpoints.
    pub fn enable_checkpoints(&mut self, key_groups: u32) {
        self.state.holds.keep_copies();
        self.checkpoints.enable(&self.context, key_groups);
    }

    /// Drops the instance, and everything that was emitted, held and kept.
    pub fn halt(&mut self, now: Time) {
        drop_broken(self.bolt.take(), &self.emitter.errors, now);
        self.emitter.drop_all(&mut self.state, now);
        self.checkpoints.clear();
        (self.retry, self.timer_retry) = (None, None);
        (self.executed, self.has_finished) = (false, false);
        self.next_tick = Time::NEVER;
        self.restart.begin_anew();
    }

    /// Everything that was executed so far is to belong to the checkpoint: calls `flush` and `pre_commit`.
    pub fn prepare_snapshot(&mut self, checkpoint: CheckpointId, handles: &ExecutorHandles, now: Time) {
        self.end_calls(handles, now);
        let result = self.call(handles, now, true, |bolt, out| bolt.pre_commit(checkpoint, out));
        if let Err(error) = result {
            self.checkpoints.refuse(checkpoint, &error.why, &handles.coordinator);
        }
        self.emitter.route_stages(&mut self.state);
    }

    /// The checkpoint is complete. Returns whether the bolt has committed what belongs to it. One that was given up has
    /// not, because nobody else can do it.
    pub fn commit(&mut self, checkpoint: CheckpointId, handles: &ExecutorHandles, now: Time) -> bool {
        self.bolt.is_some()
            && self.call(handles, now, true, |bolt, out| bolt.committed(checkpoint, out)).is_ok()
    }

    /// Calls into the instance, if there is one. If the call fails and is atomic, what it did is taken back. If
    /// it panics, the instance is dropped.
    ///
    /// # Errors
    /// Why the call failed. It was reported.
    pub(super) fn call(
        &mut self,
        handles: &ExecutorHandles,
        now: Time,
        atomic: bool,
        then: impl FnOnce(&mut dyn Bolt, &mut Outputs<'_>) -> Result<(), TaskError>,
    ) -> Result<(), CallError> {
        let Some(bolt) = &mut self.bolt else { return Ok(()) };
        self.state.anchor = Anchor::NONE;
        self.state.extra_anchors.clear();
        self.state.atomic = atomic;
        self.state.begin_call();
        let mut out = Outputs::new(&mut self.state, &mut self.emitter);
        let result = catch_unwind(AssertUnwindSafe(|| then(&mut **bolt, &mut out)));
        self.state.atomic = true;
        let failed = match &result {
            Ok(Ok(())) => {
                self.state.finish_call(&mut self.emitter);
                return Ok(());
            }
            Ok(Err(error)) => CallError::returned(error),
            Err(panic) => CallError::panicked(&**panic),
        };
        if atomic {
            self.take_back(&failed.why, now);
        } else {
            self.state.repair();
            self.state.finish_call(&mut self.emitter);
        }
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.emitter.report_loss(&error),
            Err(_) => {
                if !atomic {
                    // It may have emitted a part of what it was to emit.
                    handles.lost(&failed.why);
                }
                self.break_down(&failed.why, handles, now);
            }
        }
        Err(failed)
    }

    /// Takes back what a call did that has failed for this reason. Dropping what it wrote may panic.
    pub fn take_back(&mut self, why: &str, now: Time) {
        let (state, emitter) = (&mut self.state, &mut self.emitter);
        if let Err(panic) = guarded(|| state.take_back(emitter, why)) {
            self.emitter.errors.report_text(&format!("what a failed call had written {panic}"), now);
        }
    }

    /// Calls `finish`, in which the bolt emits what it still has. If that fails, tuples are lost, and at
    /// least one lost tuple is counted.
    pub fn finish(&mut self, handles: &ExecutorHandles, now: Time) {
        self.has_finished = true;
        let before = self.emitter.unanchored_now;
        let result = self.call(handles, now, false, |bolt, out| bolt.finish(out));
        let Err(error) = result else { return };
        // With checkpoints, all tasks go back after a panic, and `finish` is called again.
        let comes_again = handles.has_checkpoints() && error.cause == FailureCause::Panicked;
        if !comes_again && self.emitter.unanchored_now == before {
            self.emitter.unanchored_now += 1;
        }
    }

    /// Drops a broken instance and schedules the building of the next one.
    pub fn break_down(&mut self, why: &str, handles: &ExecutorHandles, now: Time) {
        self.emitter.errors.report_text(why, now);
        let keeps_data = |bolt: &dyn Bolt| guarded(|| bolt.keeps_data()).unwrap_or(true);
        let is_lost = self.state.holds.held() > 0 || self.bolt.as_deref().is_some_and(keeps_data);
        drop_broken(self.bolt.take(), &self.emitter.errors, now);
        if is_lost && handles.has_checkpoints() {
            handles.lost(why);
            // They come again with the checkpoint, so they do not fail.
            drop(self.state.holds.take_failed());
        }
        self.restart.broke(now, &handles.errors);
    }

    /// The same after a call for a tuple panicked. If the call is made again, the pause is that of the call, and
    /// the next instance is built at once.
    pub fn break_down_in_call(&mut self, why: &str, is_retried: bool, handles: &ExecutorHandles, now: Time) {
        self.break_down(why, handles, now);
        if is_retried {
            self.restart.at_once(now);
        }
    }

    /// Builds and prepares the instance if that is due; returns whether there is an instance.
    pub fn ensure_built(&mut self, handles: &ExecutorHandles, now: Time) -> bool {
        if self.bolt.is_some() {
            return true;
        }
        let (factory, context) = (&self.factory, &self.context);
        let (hooks, errors) = (&mut self.state.hooks, &self.emitter.errors);
        let build = || -> Result<Box<dyn Bolt>, TaskError> {
            call_hooks(hooks, errors, now, |hook| hook.prepare(context));
            let mut bolt = factory()?;
            bolt.prepare(context)?;
            match context.states().in_event_time().filter(|_| !handles.has_event_time) {
                Some(state) => Err(no_event_time(context.component(), &state)),
                None => Ok(bolt),
            }
        };
        match self.restart.build(build, &self.emitter.errors, handles, now) {
            Ok(Some(bolt)) => {
                self.bolt = Some(bolt);
                self.state.store.take_registered();
                match self.state.store.open_store() {
                    Ok(()) => self.begin_with_state(handles, now),
                    Err(error) if error.is_permanent => self.give_up(error.to_string(), now),
                    Err(error) => self.break_down(&error.to_string(), handles, now),
                }
                if self.next_tick == Time::NEVER {
                    self.next_tick = self.tick.map_or(Time::NEVER, |tick| now.after(tick));
                }
            }
            Ok(None) => {}
            Err(why) => self.break_down(&why, handles, now),
        }
        self.bolt.is_some()
    }

    /// Drops the instance, and ends the run for this reason.
    fn give_up(&mut self, why: String, now: Time) {
        self.emitter.errors.report(&TaskError::fatal(why), now);
        drop_broken(self.bolt.take(), &self.emitter.errors, now);
        self.restart.give_up();
    }

    /// Gives the new instance its state. If that fails, the instance is dropped.
    fn begin_with_state(&mut self, handles: &ExecutorHandles, now: Time) {
        if let Err(error) = self.checkpoints.restore_state(&mut self.state.store) {
            return match error.is_permanent {
                true => self.give_up(error.why, now),
                false => self.break_down(&error.why, handles, now),
            };
        }
        let result = self.call(handles, now, true, |bolt, out| bolt.init_state(out));
        if let Err(error) = result
            && self.bolt.is_some()
        {
            drop_broken(self.bolt.take(), &self.emitter.errors, now);
            match error.is_fatal {
                true => self.restart.give_up(),
                false => self.restart.broke(now, &handles.errors),
            }
        }
    }

    /// When `tick` or a timer is due next, or state that has expired is to be removed.
    pub fn next_call(&self) -> Time {
        let store = &self.state.store;
        let own = if self.has_finished { Time::NEVER } else { store.next_due().min(store.next_removal()) };
        self.next_tick.min(own)
    }

    /// Calls `tick` if it is due and there is an instance.
    pub fn tick_if_due(&mut self, handles: &ExecutorHandles, now: Time) {
        let Some(tick) = self.tick else { return };
        if self.next_tick > now || self.bolt.is_none() {
            return;
        }
        // Missed ticks are skipped, as Storm's ticks are when the queue is full.
        self.next_tick = self.next_tick.after(tick).max(now);
        // What went wrong was reported; the next tick comes by itself.
        let _ = self.call(handles, now, true, |bolt, out| bolt.tick(out));
    }

    /// Decides whether the call that failed for this tuple of the batch in hand is made again. If so, notes when.
    pub fn retries(
        &mut self,
        tuple: u32,
        error: &CallError,
        handles: &ExecutorHandles,
        cx: &StepContext<'_>,
    ) -> bool {
        let made = self.retry.take().filter(|retry| retry.tuple == tuple).map_or(0, |retry| retry.number);
        let number = made + 1;
        let due = self.retry_at(number, error, handles, cx);
        self.retry = due.map(|due| CallRetry { tuple, number, due });
        due.is_some()
    }

    /// When a call that failed is made again, for the `number`th time, and counts that. `None` if it is not.
    pub(super) fn retry_at(
        &self,
        number: u32,
        error: &CallError,
        handles: &ExecutorHandles,
        cx: &StepContext<'_>,
    ) -> Option<Time> {
        let run_stops = error.is_fatal || handles.lifecycle.stopped().is_some();
        // A disk that is full is no fault of the tuple: it waits until the disk has room.
        let waits = OnError { retry: u32::MAX, ..OnError::default() };
        let waits = self.state.store.has_store_failed().then_some(waits);
        let on_error = waits.or(self.on_error).filter(|on_error| number <= on_error.retry && !run_stops)?;
        handles.address.gauges.count(CounterId::CALLS_RETRIED, 1);
        // The pause begins when the call has ended, which may be long after the step began.
        Some(cx.clock.now().after(on_error.pause(number)))
    }

    /// Ends the run if `on_error` asks for that after the last call.
    pub fn stop_if_asked(&self, error: &CallError) {
        if self.on_error.is_some_and(|on_error| on_error.then == AfterRetries::Stop) {
            self.emitter.errors.stop(&error.why);
        }
    }

    /// The calls up to here in the batch in hand succeeded, or are not made again.
    pub fn retries_no_more(&mut self) {
        self.retry = None;
    }

    /// When the call that failed is made again; [`Time::NEVER`] if there is none.
    pub fn retry_due(&self) -> Time {
        self.retry.map(|retry| retry.due).into_iter().chain(self.timer_retry).min().unwrap_or(Time::NEVER)
    }

    /// Whether the task executes no tuple yet, because a call is made again later.
    pub fn waits_for_retry(&self, now: Time) -> bool {
        let timer_waits = self.timer_retry.is_some_and(|due| due > now);
        timer_waits || self.retry.is_some_and(|retry| retry.due > now)
    }

    /// Fails the held tuples that user code failed, or dropped without `ack` or `fail`. Those that are not
    /// replayed any more go to the dead-letter stream instead.
    fn settle_failed(&mut self, handles: &ExecutorHandles) {
        for FailedHold { values, meta, anchors, cause, why } in self.state.holds.take_failed() {
            let error = CallError { why, cause, is_fatal: false };
            if cause == FailureCause::Failed {
                self.stop_if_asked(&error);
            }
            self.state.anchor = anchors.first().copied().unwrap_or(Anchor::NONE);
            self.state.extra_anchors.clear();
            self.state.extra_anchors.extend(anchors.iter().skip(1));
            if self.send_dead_letter(&meta, &values, &error, handles) {
                self.emitter.ack(&anchors);
            } else {
                self.emitter.fail(&anchors, cause);
            }
        }
    }

    /// Sends a tuple with the present anchors to the dead-letter stream, if it is not replayed any more and
    /// a bolt takes that stream. Returns whether it was sent; then it counts as processed.
    pub fn send_dead_letter(
        &mut self,
        meta: &SourceMeta,
        values: &[Value],
        error: &CallError,
        handles: &ExecutorHandles,
    ) -> bool {
        let is_final = self.emitter.is_final(&self.state.anchor, error.cause);
        let Some(stage) = self.dead_letter_stage.filter(|_| is_final) else { return false };
        let letter = vec![
            Value::from(&meta.component),
            Value::from(&meta.stream),
            Value::map(meta.fields.iter().zip(values.iter().cloned())),
            Value::from(&*error.why),
            Value::from(self.state.anchor.attempt.replays()),
        ];
        let sent = self.state.push_anchored(stage, letter).is_ok();
        if sent {
            handles.address.gauges.count(CounterId::DEAD_LETTERS, 1);
        }
        sent
    }

    /// Sends what was emitted so far, because the next call may wait for long. Returns whether the task
    /// has output streams at all.
    pub fn send_emitted(&mut self) -> bool {
        if self.emitter.streams.is_empty() {
            return false;
        }
        self.emitter.route_stages(&mut self.state);
        self.emitter.flush();
        self.emitter.send_acks();
        true
    }

    /// The last calls of a step: `flush`, and the failure of tuples that were held. What was emitted is then
    /// routed: see `emitter` for the order of all that ends a step. Some of the state that has expired is removed.
    pub fn end_calls(&mut self, handles: &ExecutorHandles, now: Time) {
        if self.executed {
            self.executed = false;
            // What went wrong was reported, and the bolt decides about the tuples that it holds.
            let _ = self.call(handles, now, false, |bolt, out| bolt.flush(out));
        }
        self.settle_failed(handles);
        self.emitter.route_stages(&mut self.state);
        // Dropping what the bolt kept runs code of its type.
        if let Err(panic) = guarded(|| self.state.store.remove_expired(now)) {
            self.emitter.errors.report_text(&format!("what had expired {panic}"), now);
        }
    }

    /// Adds the counts of the step to the executor's gauges.
    pub fn publish_counts(&mut self, gauges: &Gauges) {
        let emitter = &mut self.emitter;
        let failed = std::mem::take(&mut emitter.failed_now);
        let settled_later = std::mem::take(&mut emitter.acked_later) as i64;
        let held = std::mem::take(&mut self.state.held_count) as i64;
        let executed = std::mem::take(&mut self.executed_now) as i64;
        gauges.count(CounterId::TRANSFERRED, std::mem::take(&mut emitter.outgoing.transferred));
        gauges.count(CounterId::EMITTED, self.state.take_emitted());
        gauges.count(CounterId::EXECUTED, executed as u64);
        gauges.count(CounterId::FAILED, failed + std::mem::take(&mut emitter.failed_later));
        gauges.count(CounterId::FAILED_UNANCHORED, emitter.take_unanchored());
        // A held tuple is acked or failed when user code settles it, perhaps many steps later.
        let acked = executed - failed as i64 - held + settled_later;
        gauges.change(CounterId::ACKED, acked);
    }
}

impl Drop for BoltTask {
    /// Drops an instance that was not closed in order; its drop may panic.
    fn drop(&mut self) {
        let now = self.emitter.outgoing.now;
        drop_left(self.bolt.take(), &mut self.state.hooks, &self.emitter.errors, now);
    }
}

/// Nobody would ever call the timer, and nothing would expire.
fn no_event_time(component: &str, state: &str) -> TaskError {
    TaskError::fatal(format!(
        "`{state}` follows event time, and none comes to `{component}`: set `event_time` of a spout or bolt in front of it"
    ))
}
