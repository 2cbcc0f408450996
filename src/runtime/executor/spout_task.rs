//! One task of a spout: its instance, its open messages, and the pauses between its calls.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::{
    CounterId, OpenMessages, OutputState, Positions, Spout, SpoutOutputs, SpoutStatus, TaskContext, TaskError,
};
use crate::checkpoint::EventTimeEntry;
use crate::clock::Time;
use crate::config::ReplayOptions;
use crate::config::limits::REPLAYS_WAITING_MAX;
use crate::ids::{CheckpointId, TaskId};
use crate::logging::panics::{catch_unwind, guarded, text_of};
use crate::runtime::acking::backoff::Backoff;
use crate::runtime::acking::pending_limit::PendingLimit;
use crate::runtime::executor::bolt::BoltExecutor;
use crate::runtime::executor::idle_pause::IdlePause;
use crate::runtime::executor::spout_positions::SpoutCheckpoints;
use crate::runtime::executor::step::{ExecutorHandles, StepContext, TUPLES_PER_LOOK, TaskParts};
use crate::runtime::executor::user_code::{Restart, call_hooks, drop_broken, drop_left};
use crate::runtime::flow::checkpoint::Restored;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::routing::emitter::Emitter;
use crate::text::shown;
use crate::topology::graph::SpoutFactory;

/// While a consumer keeps a tuple waiting for longer than this, the tree clock stands still.
pub const STARVED_AFTER: Duration = Duration::from_millis(100);

/// How often the tree clock is advanced while messages are open, at the least.
pub const TREE_CLOCK_PERIOD: Duration = Duration::from_millis(50);

/// One task of a spout.
pub struct SpoutTask {
    /// The instance; `None` before it is built and after it panicked.
    pub spout: Option<Box<dyn Spout>>,
    factory: SpoutFactory,
    pub(super) context: TaskContext,
    pub state: OutputState,
    pub emitter: Emitter,
    pub restart: Restart,
    pub(super) pending_limit: PendingLimit,
    /// Failed messages that may not be replayed yet.
    pub backoff: Backoff,
    /// Whether the topology is ending, so that nothing is replayed.
    pub(super) draining: bool,
    /// Whether `next_tuple` returned `Exhausted`. A failure or a new instance resets it.
    pub(super) exhausted: bool,
    /// Whether it returned an error that ends the run: `next_tuple` is not called any more.
    stopped: bool,
    /// `next_tuple` is not called before this time.
    pub idle: IdlePause,
    /// Whether the last call of `activate` or `deactivate` was `activate`.
    activated: bool,
    /// Messages acked and failed in this step.
    pub(super) acked_now: u64,
    pub(super) failed_now: u64,
    /// Those of them that had used up `max_replays`.
    pub(super) given_up_now: u64,
    pub checkpoints: SpoutCheckpoints,
}

/// Why a task stopped emitting in this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The budget or the time of the step is used up.
    Turn,
    /// It has nothing to emit, or may not emit.
    Rest,
    /// No credit.
    Credit,
}

impl SpoutTask {
    /// A task that is not built yet.
    pub fn new(
        factory: SpoutFactory,
        parts: TaskParts,
        pending_limit: PendingLimit,
        replay: ReplayOptions,
    ) -> SpoutTask {
        let TaskParts { context, mut state, emitter, .. } = parts;
        if emitter.pending.is_none() {
            state.messages = OpenMessages::untracked();
        }
        let checkpoints = SpoutCheckpoints::new(&context);
        emitter.errors.lifecycle.unopened.fetch_add(1, Ordering::Relaxed);
        SpoutTask {
            spout: None,
            factory,
            context,
            state,
            emitter,
            restart: Restart::new(),
            pending_limit,
            backoff: Backoff::new(replay),
            draining: false,
            exhausted: false,
            stopped: false,
            idle: IdlePause::default(),
            activated: false,
            acked_now: 0,
            failed_now: 0,
            given_up_now: 0,
            checkpoints,
        }
    }

    /// The next instance begins with this, after the recovery with this number.
    pub fn restore(&mut self, recovery: u64, restored: &Arc<Restored>) {
        self.context = self.context.after_recovery(recovery);
        self.checkpoints.restore(restored);
    }

    pub fn id(&self) -> TaskId {
        self.context.task()
    }

    pub fn in_flight(&self) -> usize {
        let open = self.state.messages.ids.len();
        self.emitter.pending.as_ref().map_or(0, |pending| pending.in_flight() + open)
    }

    /// Calls into the instance, if there is one. If the call panics, the instance is dropped.
    pub(super) fn call(
        &mut self,
        handles: &ExecutorHandles,
        now: Time,
        then: impl FnOnce(&mut dyn Spout, &mut SpoutOutputs<'_>) -> Result<(), TaskError>,
    ) {
        let Some(spout) = &mut self.spout else { return };
        let mut out = SpoutOutputs::new(&mut self.state, &mut self.emitter);
        match catch_unwind(AssertUnwindSafe(|| then(&mut **spout, &mut out))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.report(&error),
            Err(panic) => self.break_down(&text_of(&*panic), handles, now),
        }
    }

    fn report(&mut self, error: &TaskError) {
        self.emitter.report_loss(error);
        self.stopped |= error.is_fatal();
    }

    /// Whether `next_tuple` may be called, now or after a pause.
    pub fn may_emit(&self) -> bool {
        !self.exhausted && !self.stopped && !self.restart.is_over()
    }

    /// Whether it has come to the end of its input, and everything was processed.
    pub fn has_ended(&self) -> bool {
        self.exhausted && self.in_flight() == 0 && self.backoff.len() == 0
    }

    /// Whether it may still emit: new messages, or failed messages after their back-off.
    pub fn is_live(&self) -> bool {
        self.may_emit() || self.backoff.len() > 0
    }

    /// Drops a broken instance, forgets the messages that only it could replay, and schedules the building
    /// of the next instance.
    pub fn break_down(&mut self, why: &str, handles: &ExecutorHandles, now: Time) {
        self.emitter.errors.report_text(why, now);
        if self.spout.is_some() {
            // Its position is lost with it.
            handles.lost(why);
        }
        self.state.repair();
        drop_broken(self.spout.take(), &self.emitter.errors, now);
        // What was emitted is routed first, so that all its edges are noted before its trees are forgotten.
        self.emitter.route_stages(&mut self.state);
        let Emitter { pending, outgoing, .. } = &mut self.emitter;
        if let Some(pending) = pending {
            pending.clear(|root| outgoing.acks.forget(root));
        }
        self.backoff.clear();
        self.state.messages.clear();
        self.activated = false;
        self.exhausted = false;
        self.restart.broke(now, &handles.errors);
    }

    /// Drops the instance, and everything that was emitted and not sent.
    pub fn halt(&mut self, now: Time) {
        drop_broken(self.spout.take(), &self.emitter.errors, now);
        self.emitter.drop_all(&mut self.state, now);
        self.checkpoints.clear();
        (self.activated, self.exhausted) = (false, false);
        self.idle = IdlePause::default();
        self.restart.begin_anew();
    }

    /// Takes the position of the task for a checkpoint.
    pub fn take_positions(&mut self, checkpoint: CheckpointId, handles: &ExecutorHandles, now: Time) {
        let Some(storage) = &handles.storage else { return };
        let mut positions = Positions::default();
        let result = match &mut self.spout {
            Some(spout) => guarded(|| spout.snapshot(&mut positions)),
            None => Ok(Err(TaskError::new("it has no instance"))),
        };
        let positions = match result {
            Ok(Ok(())) => Ok(positions),
            Ok(Err(error)) => {
                self.report(&error);
                Err(shown(&error))
            }
            Err(panic) => {
                self.break_down(&panic, handles, now);
                Err(panic)
            }
        };
        let event_time = EventTimeEntry { watermark: None, latest: self.emitter.latest_times() };
        let positions = positions.map(|positions| (positions, event_time));
        self.checkpoints.take(checkpoint, positions, storage, &handles.coordinator);
    }

    /// The checkpoint is complete.
    pub fn commit(&mut self, checkpoint: CheckpointId, handles: &ExecutorHandles, now: Time) {
        if let Some(positions) = self.checkpoints.committed(checkpoint) {
            self.call(handles, now, |spout, _| spout.committed(&positions));
        }
    }

    /// Builds and opens the instance if that is due; returns whether there is an instance.
    pub fn ensure_built(&mut self, handles: &ExecutorHandles, now: Time) -> bool {
        if self.spout.is_some() {
            return true;
        }
        let positions = self.checkpoints.to_restore();
        let (factory, context) = (&self.factory, &self.context);
        let (hooks, errors) = (&mut self.state.hooks, &self.emitter.errors);
        let build = || -> Result<(Box<dyn Spout>, bool), TaskError> {
            call_hooks(hooks, errors, now, |hook| hook.prepare(context));
            let mut spout = factory()?;
            spout.open(context)?;
            if let Some(positions) = &positions {
                spout.restore(positions)?;
            }
            let is_bounded = spout.is_bounded();
            Ok((spout, is_bounded))
        };
        match self.restart.build(build, &self.emitter.errors, handles, now) {
            Ok(Some((spout, is_bounded))) => {
                self.spout = Some(spout);
                self.checkpoints.end_restore();
                if is_bounded {
                    self.note_bounded();
                }
                self.idle.end();
            }
            Ok(None) => {}
            Err(why) => self.break_down(&why, handles, now),
        }
        self.spout.is_some()
    }

    /// Calls `activate` or `deactivate` if the state of the topology has changed since the last call.
    pub fn call_activate(&mut self, active: bool, handles: &ExecutorHandles, now: Time) {
        if self.activated != active && self.spout.is_some() {
            self.activated = active;
            self.call(handles, now, |spout, _| if active { spout.activate() } else { spout.deactivate() });
        }
    }

    /// The input has an end.
    fn note_bounded(&mut self) {
        if let Some(pending) = &mut self.emitter.pending {
            pending.note_bounded();
        }
    }

    /// Calls `next_tuple` while there are credit, room below the pending limit, and budget. Tuples for the bolt
    /// that is chained behind the spout go to `next`.
    pub fn emit(
        &mut self,
        budget: u32,
        cx: &StepContext<'_>,
        handles: &ExecutorHandles,
        next: &mut Option<Box<BoltExecutor>>,
    ) -> Pause {
        let mut budget = budget;
        loop {
            if !self.may_emit() || self.idle.until > cx.now || self.spout.is_none() {
                return Pause::Rest;
            }
            if self.backoff.len() >= REPLAYS_WAITING_MAX {
                // So many messages fail that new ones would probably fail, too. Bounds the memory.
                return Pause::Rest;
            }
            if self.emitter.is_blocked() {
                return Pause::Credit;
            }
            if let Some(next) = next {
                if next.is_blocked(cx.now) {
                    return Pause::Credit;
                }
                if next.has_leftovers() {
                    // A task broke. The next step waits until it is built, and continues with them.
                    return Pause::Turn;
                }
            }
            let room = self.pending_limit.size().saturating_sub(self.in_flight());
            if room == 0 {
                self.pending_limit.note_limited();
                return Pause::Rest;
            }
            if budget == 0 || cx.is_over() {
                return Pause::Turn;
            }
            let calls = budget.min(TUPLES_PER_LOOK).min(u32::try_from(room).unwrap_or(u32::MAX));
            budget -= self.emit_chunk(calls, handles, cx.now);
            if let Some(next) = next {
                next.take_over(&mut self.emitter.outgoing.chained, cx);
            }
        }
    }

    /// Calls `next_tuple` at most `calls` times, and fewer times if the spout pauses, credit runs out, or a
    /// batch waits to be handed over. Returns how often it was called.
    fn emit_chunk(&mut self, calls: u32, handles: &ExecutorHandles, now: Time) -> u32 {
        let Some(mut spout) = self.spout.take() else { return calls };
        let (state, emitter) = (&mut self.state, &mut self.emitter);
        let mut called = 0;
        let run = || -> Result<SpoutStatus, TaskError> {
            while called < calls {
                called += 1;
                let status = spout.next_tuple(&mut SpoutOutputs::new(state, emitter))?;
                if status != SpoutStatus::Emitted || emitter.outgoing.must_pause {
                    return Ok(status);
                }
            }
            Ok(SpoutStatus::Emitted)
        };
        let result = catch_unwind(AssertUnwindSafe(run));
        self.spout = Some(spout);
        match result {
            Ok(Ok(status)) => self.note_status(status, now),
            Ok(Err(error)) => {
                self.report(&error);
                self.note_status(SpoutStatus::IdleFor(handles.errors.restart_min), now);
            }
            Err(panic) => self.break_down(&text_of(&*panic), handles, now),
        }
        self.ack_at_once(handles, now);
        called
    }

    /// Decides from the result of `next_tuple` when to call it again.
    fn note_status(&mut self, status: SpoutStatus, now: Time) {
        self.idle.note(status, now);
        if status == SpoutStatus::Exhausted {
            self.exhausted = true;
            self.note_bounded();
        }
    }

    /// Closes blocks and sends the ack records. Stages must have been routed.
    pub fn send_acks(&mut self) {
        if let Some(pending) = &mut self.emitter.pending {
            pending.close_open(&mut self.state.messages);
        }
        self.emitter.send_acks();
    }

    /// Sends what was emitted so far, because the next call may wait for long. Such a spout is in no chain.
    pub fn send_emitted(&mut self) {
        self.emitter.route_stages(&mut self.state);
        self.emitter.flush();
        self.send_acks();
    }

    /// Adds the counts of the step to the executor's gauges.
    pub fn publish_counts(&mut self, gauges: &Gauges) {
        gauges.count(CounterId::EMITTED, self.state.take_emitted());
        gauges.count(CounterId::TRANSFERRED, std::mem::take(&mut self.emitter.outgoing.transferred));
        gauges.count(CounterId::ACKED, std::mem::take(&mut self.acked_now));
        gauges.count(CounterId::FAILED, std::mem::take(&mut self.failed_now));
        gauges.count(CounterId::GIVEN_UP, std::mem::take(&mut self.given_up_now));
        gauges.count(CounterId::FAILED_UNANCHORED, self.emitter.take_unanchored());
    }
}

impl Drop for SpoutTask {
    /// Drops an instance that was not closed in order; its drop may panic.
    fn drop(&mut self) {
        let now = self.emitter.outgoing.now;
        drop_left(self.spout.take(), &mut self.state.hooks, &self.emitter.errors, now);
    }
}
