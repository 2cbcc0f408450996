//! Tasks of a spout, stepped together.
//!
//! A step takes outcomes first (so acks are never behind tuples), lets time-outs pass, and then
//! calls `next_tuple` while there is room: the topology is active, the task's window is open, there
//! is credit downstream and no edge that closes a cycle is full. It ends by sending what was
//! emitted (see `emitter`); batches under construction leave as soon as the spout pauses.
//!
//! The spout is told of a failure when the message may be replayed (see `backoff`). A message that waits
//! takes no room of the window, so that the others go on; it keeps the executor live, so that bounded
//! input ends after it.
//!
//! One file, because a step is one protocol: what outcomes, time-outs and panics do to the open
//! messages decides what `next_tuple` may be asked for.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::api::{
    Failure, FailureCause, OutputState, ReplayCounts, Spout, SpoutOutputs, SpoutStatus, TaskContext,
    TaskError,
};
use crate::clock::Time;
use crate::config::ReplayOptions;
use crate::config::limits::REPLAYS_WAITING_MAX;
use crate::ids::{MessageId, RootId, TaskId};
use crate::logging::panics::catch_unwind;
use crate::runtime::acker::Outcome;
use crate::runtime::backoff::Backoff;
use crate::runtime::emitter::Emitter;
use crate::runtime::executor::{
    Common, Restart, Step, StepContext, StepOutcome, TUPLES_PER_LOOK, call_hooks, drop_broken, drop_left,
    end_instance, panic_text,
};
use crate::runtime::link::Link;
use crate::runtime::message::Control;
use crate::runtime::pending::{FailedMessage, TreeClock};
use crate::runtime::queue::{Gauges, count};
use crate::runtime::remote::CyclesElsewhere;
use crate::runtime::run_queue::Urgency;
use crate::runtime::window::Window;
use crate::topology::graph::SpoutFactory;

/// No pause is shorter. A schedule that is finer than this would make a batch of every tuple and keep
/// all cores spinning; rounded up, it makes bursts, and the cores sleep between them.
const PAUSE_MIN: Duration = Duration::from_micros(50);
/// A spout that says `Idle` is asked again after this, then after twice as long, and so on.
const IDLE_PAUSE_MIN: Duration = Duration::from_micros(100);
/// The longest such pause.
const IDLE_PAUSE_MAX: Duration = Duration::from_millis(10);
/// A consumer that keeps tuples waiting for longer makes the tree clock stand still.
pub const STARVED_AFTER: Duration = Duration::from_millis(100);
/// A cycle that has been full for so long is reported.
const STALLED_CYCLE_AFTER: Duration = Duration::from_secs(10);
/// How often the tree clock is looked at while messages are open.
const TREE_CLOCK_PERIOD: Duration = Duration::from_millis(50);

/// Completion latencies in nanoseconds, of all spouts of a worker.
pub type Latencies = Arc<Mutex<Histogram<u64>>>;

/// One task of a spout.
pub struct SpoutTask {
    /// The instance; `None` before it is built and after it broke.
    spout: Option<Box<dyn Spout>>,
    factory: SpoutFactory,
    context: TaskContext,
    state: OutputState,
    emitter: Emitter,
    restart: Restart,
    window: Window,
    /// Failed messages that may not be replayed yet.
    backoff: Backoff,
    /// Whether the topology is ending, so that nothing is replayed.
    draining: bool,
    exhausted: bool,
    /// Whether it returned an error that ends the run: it is asked for nothing more.
    stopped: bool,
    /// Not to be asked before this.
    idle_until: Time,
    idle_pause: Duration,
    /// Whether the instance knows that the topology is active.
    activated: bool,
    /// Messages acked and failed in this step.
    acked_now: u64,
    failed_now: u64,
    /// Those of them that had used up `max_replays`.
    given_up_now: u64,
}

/// Why a task stopped emitting in this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// It could go on.
    Turn,
    /// Nothing to emit, or nobody allowed to.
    Rest,
    /// No credit.
    Credit,
}

impl SpoutTask {
    /// A task that is not built yet.
    pub fn new(
        factory: SpoutFactory,
        context: TaskContext,
        state: OutputState,
        emitter: Emitter,
        window: Window,
        replay: ReplayOptions,
    ) -> SpoutTask {
        SpoutTask {
            spout: None,
            factory,
            context,
            state,
            emitter,
            restart: Restart::new(),
            window,
            backoff: Backoff::new(replay),
            draining: false,
            exhausted: false,
            stopped: false,
            idle_until: Time::ZERO,
            idle_pause: IDLE_PAUSE_MIN,
            activated: false,
            acked_now: 0,
            failed_now: 0,
            given_up_now: 0,
        }
    }

    fn id(&self) -> TaskId {
        self.context.task()
    }

    fn in_flight(&self) -> usize {
        self.emitter.pending.as_ref().map_or(0, |pending| pending.in_flight())
    }

    /// Calls into the instance, if there is one; a panic costs it.
    fn call(
        &mut self,
        common: &Common,
        now: Time,
        then: impl FnOnce(&mut dyn Spout, &mut SpoutOutputs<'_>) -> Result<(), TaskError>,
    ) {
        let Some(spout) = &mut self.spout else { return };
        let mut out = SpoutOutputs::new(&mut self.state, &mut self.emitter);
        match catch_unwind(AssertUnwindSafe(|| then(&mut **spout, &mut out))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.report(&error),
            Err(panic) => self.break_down(&panic_text(&*panic), common, now),
        }
    }

    fn report(&mut self, error: &TaskError) {
        self.emitter.report_loss(error);
        self.stopped |= error.is_fatal();
    }

    /// Whether it may be asked for a tuple.
    fn may_emit(&self) -> bool {
        !self.exhausted && !self.stopped && !self.restart.is_over()
    }

    /// Whether it may have something to emit, now or when a failed message has waited long enough.
    fn is_live(&self) -> bool {
        self.may_emit() || self.backoff.len() > 0
    }

    /// Drops a broken instance, forgets the messages that only it knew, and plans the next one.
    fn break_down(&mut self, why: &str, common: &Common, now: Time) {
        self.emitter.errors.report_text(why, now);
        self.state.repair();
        drop_broken(self.spout.take(), &self.emitter.errors, now);
        // What was emitted is routed first, so that its trees are closed properly when forgotten.
        self.emitter.route_stages(&mut self.state);
        let Emitter { pending, wires, .. } = &mut self.emitter;
        if let Some(pending) = pending {
            pending.clear(|root| wires.acks.forget(root));
        }
        self.backoff.clear();
        self.emitter.untracked.clear();
        self.activated = false;
        self.exhausted = false;
        self.restart.broke(now, &common.errors);
    }

    /// Builds and opens the instance if it is due; says whether there is one.
    fn ensure_built(&mut self, common: &Common, now: Time) -> bool {
        if self.spout.is_some() {
            return true;
        }
        let (factory, context) = (&self.factory, &self.context);
        let (hooks, errors) = (&mut self.state.hooks, &self.emitter.errors);
        let build = || -> Result<(Box<dyn Spout>, bool), TaskError> {
            call_hooks(hooks, errors, now, |hook| hook.prepare(context));
            let mut spout = factory()?;
            spout.open(context)?;
            let is_bounded = spout.is_bounded();
            Ok((spout, is_bounded))
        };
        match self.restart.build(build, &self.emitter.errors, common, now) {
            Ok(Some((spout, is_bounded))) => {
                self.spout = Some(spout);
                if is_bounded {
                    self.note_bounded();
                }
                self.idle_until = Time::ZERO;
            }
            Ok(None) => {}
            Err(why) => self.break_down(&why, common, now),
        }
        self.spout.is_some()
    }

    /// Tells the instance whether the topology is active, if it does not know.
    fn tell_active(&mut self, active: bool, common: &Common, now: Time) {
        if self.activated != active && self.spout.is_some() {
            self.activated = active;
            self.call(common, now, |spout, _| if active { spout.activate() } else { spout.deactivate() });
        }
    }

    /// Hands the spout what became of its blocks.
    fn take_outcomes(&mut self, outcomes: Vec<Outcome>, latencies: &Latencies, common: &Common, now: Time) {
        let mut failed = Vec::new();
        let mut acked = Vec::new();
        let Emitter { pending, wires, tree_now, .. } = &mut self.emitter;
        let Some(pending) = pending else { return };
        for outcome in outcomes {
            match outcome {
                Outcome::Complete(root) => {
                    if let Some(audit) = &wires.audit {
                        audit.completed(root);
                    }
                    if let Some((messages, opened_at)) = pending.complete(root, |id| acked.push(id)) {
                        let latency = now.since(opened_at);
                        self.window.note_latency(latency, now);
                        record(latencies, latency, messages);
                    }
                }
                Outcome::Failed { root, message, report } => {
                    failed.extend(pending.fail(root, message, report))
                }
                Outcome::Reset(root) => pending.reset_timeout(root, *tree_now),
                Outcome::Lost(root) => {
                    pending.give_up(root, FailureCause::Lost, |message| failed.push(message));
                }
            }
        }
        self.tell_acked(&acked, common, now);
        self.take_failed(&failed, common, now);
    }

    fn tell_acked(&mut self, acked: &[MessageId], common: &Common, now: Time) {
        self.acked_now += acked.len() as u64;
        // An error over one message must not keep the others from being acked.
        self.call(common, now, |spout, out| {
            for id in acked {
                spout.ack(*id).unwrap_or_else(|error| out.report_error(error));
            }
            Ok(())
        });
        call_hooks(&mut self.state.hooks, &self.emitter.errors, now, |hook| {
            acked.iter().for_each(|id| hook.spout_ack(*id));
        });
    }

    /// Makes failed messages wait, or tells the spout at once where there is nothing to wait for: no
    /// replay follows, or a worker was lost, which is no sign that the message fails again.
    fn take_failed(&mut self, failed: &[FailedMessage], common: &Common, now: Time) {
        for message in failed {
            self.failed_now += 1;
            let is_first_loss = message.cause == FailureCause::Lost && message.failures == 1;
            if message.is_final || self.draining || is_first_loss {
                self.tell_failed(*message, common, now);
            } else {
                self.backoff.add(*message, now, &mut self.emitter.wires.rng);
            }
        }
    }

    fn tell_failed(&mut self, message: FailedMessage, common: &Common, now: Time) {
        let FailedMessage { id, cause, failures, is_final } = message;
        self.given_up_now += u64::from(is_final);
        let failure = Failure { cause, failures, is_final };
        self.call(common, now, |spout, out| spout.fail(id, &failure, out));
        call_hooks(&mut self.state.hooks, &self.emitter.errors, now, |hook| hook.spout_fail(id));
        // It may have kept the message, and is asked again even if it had nothing more.
        self.exhausted = false;
        self.idle_until = Time::ZERO;
    }

    /// Tells the spout of failed messages that have waited long enough.
    fn tell_due(&mut self, common: &Common, now: Time) {
        // A spout that is being built has no messages that wait; see `break_down`.
        while let Some(message) = self.backoff.take_due(now) {
            self.tell_failed(message, common, now);
        }
    }

    /// The topology is ending: nothing is replayed any more, so nothing waits.
    fn drain(&mut self, common: &Common, now: Time) {
        self.draining = true;
        while let Some(message) = self.backoff.take() {
            self.tell_failed(message, common, now);
        }
    }

    /// The input has an end.
    fn note_bounded(&mut self) {
        if let Some(pending) = &mut self.emitter.pending {
            pending.note_bounded();
        }
    }

    /// Fails what the time says, at once.
    fn expire(&mut self, common: &Common, now: Time) {
        let Emitter { pending, wires, tree_now, .. } = &mut self.emitter;
        let Some(pending) = pending else { return };
        let mut failed = Vec::new();
        pending.expire(*tree_now, |message| failed.push(message), |root| wires.acks.forget(root));
        self.take_failed(&failed, common, now);
    }

    /// Fails every block that a lost acker kept.
    fn lose_acker(&mut self, acker: usize, common: &Common, now: Time) {
        // A block under construction is closed first, so that its edges are accounted for.
        self.emitter.route_stages(&mut self.state);
        self.emitter.send_acks();
        let Emitter { pending, wires, acker_table, .. } = &mut self.emitter;
        let Some(pending) = pending else { return };
        let mut failed = Vec::new();
        let kept_there = |root: &RootId| acker_table.acker_of(*root) == acker;
        for root in pending.open_roots().into_iter().filter(kept_there) {
            pending.give_up(root, FailureCause::Lost, |message| failed.push(message));
            wires.acks.forget(root);
        }
        self.take_failed(&failed, common, now);
    }

    /// Calls `next_tuple` while there is room.
    fn emit(&mut self, budget: u32, cx: &StepContext<'_>, common: &Common) -> Pause {
        let mut budget = budget;
        loop {
            if !self.may_emit() || self.idle_until > cx.now || self.spout.is_none() {
                return Pause::Rest;
            }
            if self.backoff.len() >= REPLAYS_WAITING_MAX {
                // So much fails that what is new would only wait, too.
                return Pause::Rest;
            }
            if self.emitter.is_blocked() {
                return Pause::Credit;
            }
            let room = self.window.size().saturating_sub(self.in_flight());
            if room == 0 {
                self.window.note_limited();
                return Pause::Rest;
            }
            if budget == 0 || cx.is_over() {
                return Pause::Turn;
            }
            let calls = budget.min(TUPLES_PER_LOOK).min(u32::try_from(room).unwrap_or(u32::MAX));
            budget -= calls;
            self.emit_chunk(calls, common, cx.now);
        }
    }

    /// At most so many calls of `next_tuple`; fewer when the spout pauses or credit runs out.
    fn emit_chunk(&mut self, calls: u32, common: &Common, now: Time) {
        let Some(mut spout) = self.spout.take() else { return };
        let (state, emitter) = (&mut self.state, &mut self.emitter);
        let run = || -> Result<SpoutStatus, TaskError> {
            for _ in 0..calls {
                let status = spout.next_tuple(&mut SpoutOutputs::new(state, emitter))?;
                if status != SpoutStatus::Emitted || emitter.wires.stalled {
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
                self.note_status(SpoutStatus::IdleFor(common.errors.restart_min), now);
            }
            Err(panic) => self.break_down(&panic_text(&*panic), common, now),
        }
        if !self.emitter.untracked.is_empty() {
            let emitted = std::mem::take(&mut self.emitter.untracked);
            self.tell_acked(&emitted, common, now);
            self.emitter.untracked = emitted;
            self.emitter.untracked.clear();
        }
    }

    fn note_status(&mut self, status: SpoutStatus, now: Time) {
        match status {
            SpoutStatus::Emitted => self.idle_pause = IDLE_PAUSE_MIN,
            SpoutStatus::Idle => {
                self.idle_until = now.after(self.idle_pause);
                self.idle_pause = (self.idle_pause * 2).min(IDLE_PAUSE_MAX);
            }
            SpoutStatus::IdleFor(pause) => {
                self.idle_pause = IDLE_PAUSE_MIN;
                self.idle_until = now.after(pause.max(PAUSE_MIN));
            }
            SpoutStatus::Exhausted => {
                self.exhausted = true;
                self.note_bounded();
            }
        }
    }

    fn end_step(&mut self, flush: bool) {
        self.emitter.route_stages(&mut self.state);
        if flush {
            self.emitter.flush();
        }
        self.emitter.send_acks();
    }

    fn publish_counts(&mut self, gauges: &Gauges) {
        count(&gauges.emitted, self.state.take_emitted());
        count(&gauges.transferred, std::mem::take(&mut self.emitter.wires.transferred));
        count(&gauges.acked, std::mem::take(&mut self.acked_now));
        count(&gauges.failed, std::mem::take(&mut self.failed_now));
        count(&gauges.given_up, std::mem::take(&mut self.given_up_now));
        count(&gauges.failed_unanchored, self.emitter.take_unanchored());
    }
}

impl Drop for SpoutTask {
    /// What was not closed in order is dropped here, and its drop may panic.
    fn drop(&mut self) {
        let now = self.emitter.wires.now;
        drop_left(self.spout.take(), &mut self.state.hooks, &self.emitter.errors, now);
    }
}

fn record(latencies: &Latencies, latency: Duration, messages: usize) {
    let mut histogram = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    // An auto-resizing histogram takes whatever fits 64 bits.
    let _ = histogram.record_n(latency.as_nanos() as u64, messages as u64);
}

/// All edges of the topology that close a cycle.
pub struct Cycles {
    /// Those whose producer is here.
    pub here: Vec<Arc<Link>>,
    /// Other workers that say one of theirs is full.
    pub elsewhere: Arc<CyclesElsewhere>,
}

impl Cycles {
    fn are_full(&self) -> bool {
        self.elsewhere.any() || self.here.iter().any(|link| !link.has_credit())
    }
}

/// An executor of a spout.
pub struct SpoutExecutor {
    common: Common,
    tasks: Vec<SpoutTask>,
    latencies: Latencies,
    /// What everything downstream shows of itself.
    downstream: Vec<Arc<Gauges>>,
    cycles: Cycles,
    tree_clock: TreeClock,
    next_tree_look: Time,
    opened: bool,
    active: bool,
    draining: bool,
    /// Whether this executor is counted among the live spouts.
    live: bool,
    /// Since when a full cycle has held the spout back, and whether that was reported.
    held_back: Option<(Time, bool)>,
    /// The task whose turn is first.
    turn: usize,
    blocked_since: Option<Time>,
}

impl SpoutExecutor {
    /// An executor of these tasks, none of which is built yet. It counts as live.
    pub fn new(
        common: Common,
        tasks: Vec<SpoutTask>,
        latencies: Latencies,
        downstream: Vec<Arc<Gauges>>,
        cycles: Cycles,
    ) -> SpoutExecutor {
        common.lifecycle.live_spouts.fetch_add(1, Ordering::SeqCst);
        SpoutExecutor {
            common,
            tasks,
            latencies,
            downstream,
            cycles,
            tree_clock: TreeClock::new(Time::ZERO),
            next_tree_look: Time::ZERO,
            opened: false,
            active: false,
            draining: false,
            live: true,
            held_back: None,
            turn: 0,
            blocked_since: None,
        }
    }

    /// Does a bounded amount of work.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        self.begin_step(cx.now);
        let (processed, close) = self.take_control(cx.now);
        if close {
            return self.close(processed);
        }
        let mut outcome = StepOutcome::Idle;
        if self.opened {
            for task in &mut self.tasks {
                task.expire(&self.common, cx.now);
                task.tell_due(&self.common, cx.now);
                if task.ensure_built(&self.common, cx.now) {
                    task.tell_active(self.active, &self.common, cx.now);
                }
            }
            outcome = self.emit(cx);
        }
        self.end_step(cx, outcome, processed);
        Step { outcome, wake_at: self.wake_at(cx.now) }
    }

    fn begin_step(&mut self, now: Time) {
        if now >= self.next_tree_look {
            self.next_tree_look = now.after(TREE_CLOCK_PERIOD / 2);
            let starved = self.downstream.iter().any(|gauges| gauges.waiting(now) > STARVED_AFTER);
            let tree_now = self.tree_clock.advance(now, starved);
            self.tasks.iter_mut().for_each(|task| task.emitter.tree_now = tree_now);
        }
        // Acquire, and before anything is sent: see `remote::ingress`.
        let membership = self.common.membership.load(Ordering::Acquire);
        for task in &mut self.tasks {
            task.emitter.wires.now = now;
            task.emitter.wires.membership = membership;
        }
    }

    /// Handles what came over the control lane; returns how many counted messages, and whether to
    /// close.
    fn take_control(&mut self, now: Time) -> (i64, bool) {
        let (mut processed, mut close) = (0, false);
        while let Ok(control) = self.common.inbox.control.try_recv() {
            match control {
                Control::Outcomes(outcomes) => {
                    processed += 1;
                    self.take_outcomes(outcomes, now);
                }
                Control::AckerLost { acker } => {
                    self.tasks.iter_mut().for_each(|task| task.lose_acker(acker, &self.common, now));
                }
                Control::Activate => (self.opened, self.active) = (true, true),
                Control::Deactivate => self.active = false,
                Control::Drain => {
                    self.draining = true;
                    self.tasks.iter_mut().for_each(|task| task.drain(&self.common, now));
                }
                Control::Crash => {
                    for task in &mut self.tasks {
                        task.break_down("crashed by a test", &self.common, now);
                    }
                }
                Control::Close => close = true,
                Control::Acks(_) | Control::Finish | Control::Stop | Control::WorkerLost { .. } => {}
            }
        }
        (processed, close)
    }

    fn take_outcomes(&mut self, outcomes: Vec<Outcome>, now: Time) {
        // One message holds outcomes of one spout task.
        let Some(first) = outcomes.first() else { return };
        let owner = first.root().task();
        if let Some(task) = self.tasks.iter_mut().find(|task| task.id() == owner) {
            task.take_outcomes(outcomes, &self.latencies, &self.common, now);
        }
    }

    fn emit(&mut self, cx: &StepContext<'_>) -> StepOutcome {
        if !self.active || self.draining || self.is_held_back(cx.now) {
            return StepOutcome::Idle;
        }
        let (mut more, mut blocked) = (false, false);
        let tasks = self.tasks.len();
        let share = if cx.may_wait { 1 } else { (cx.budget / tasks as u32).max(TUPLES_PER_LOOK) };
        for offset in 0..tasks {
            let task = &mut self.tasks[(self.turn + offset) % tasks];
            match task.emit(share, cx, &self.common) {
                Pause::Turn => more = true,
                Pause::Credit => blocked = true,
                Pause::Rest => {}
            }
            if cx.may_wait {
                // The next call may wait for as long as it likes: nothing emitted waits with it.
                task.end_step(true);
                self.common.run_queue.hand_over();
            }
        }
        self.turn = (self.turn + 1) % tasks;
        match (more, blocked) {
            (true, _) => StepOutcome::Worked,
            (false, true) => StepOutcome::Blocked,
            (false, false) => StepOutcome::Idle,
        }
    }

    /// Whether a cycle of the topology is full. One that stays so is reported: it makes at least
    /// as many tuples as it takes, or one of its bolts stands still.
    fn is_held_back(&mut self, now: Time) -> bool {
        let full = self.cycles.are_full();
        self.held_back = match self.held_back {
            _ if !full => None,
            None => Some((now, false)),
            Some((since, false)) if now.since(since) >= STALLED_CYCLE_AFTER => {
                let text = "a cycle of the topology has been full for 10 s, and no spout may emit until it \
                            drains: does it emit more tuples than it takes?";
                self.tasks[0].emitter.errors.report_text(text, now);
                Some((since, true))
            }
            held => held,
        };
        full
    }

    fn end_step(&mut self, cx: &StepContext<'_>, outcome: StepOutcome, processed: i64) {
        let gauges = &self.common.address.gauges;
        let (mut pending, mut lost, mut waiting, mut replayed) = (0, 0, 0, ReplayCounts::default());
        for task in &mut self.tasks {
            task.end_step(outcome != StepOutcome::Worked);
            task.publish_counts(gauges);
            waiting += task.backoff.len() as i64;
            if let Some(open) = &task.emitter.pending {
                pending += open.in_flight() as i64;
                lost += open.lost() as i64;
                replayed.add(&open.replayed());
            }
        }
        gauges.pending.store(pending, Ordering::SeqCst);
        gauges.lost.store(lost, Ordering::SeqCst);
        gauges.waiting.store(waiting, Ordering::SeqCst);
        for cause in FailureCause::ALL {
            gauges.replayed[cause.index()].store(replayed.of(cause), Ordering::Relaxed);
        }
        self.note_blocked(outcome == StepOutcome::Blocked, cx.now);
        self.note_live();
        self.common.processed(processed);
        let gauges = &self.common.address.gauges;
        count(&gauges.busy, cx.clock.now().since(cx.now).as_nanos() as u64);
    }

    fn note_blocked(&mut self, blocked: bool, now: Time) {
        if blocked {
            self.blocked_since.get_or_insert(now);
        } else if let Some(since) = self.blocked_since.take() {
            count(&self.common.address.gauges.blocked, now.since(since).as_nanos() as u64);
        }
    }

    /// Keeps the count of spouts that may still emit.
    fn note_live(&mut self) {
        let live = !self.draining && self.tasks.iter().any(SpoutTask::is_live);
        if live == self.live {
            return;
        }
        self.live = live;
        if live {
            self.common.lifecycle.live_spouts.fetch_add(1, Ordering::SeqCst);
        } else {
            self.common.lifecycle.live_spouts.fetch_sub(1, Ordering::SeqCst);
        }
        self.common.coordinator.wake(Urgency::Now);
    }

    fn wake_at(&self, now: Time) -> Time {
        let mut wake_at = Time::NEVER;
        for task in &self.tasks {
            if task.spout.is_none() && self.opened {
                wake_at = wake_at.min(task.restart.due);
            } else if self.active && !self.draining && task.may_emit() && task.idle_until > now {
                wake_at = wake_at.min(task.idle_until);
            }
            wake_at = wake_at.min(task.backoff.next_due());
            if task.in_flight() > 0 {
                wake_at = wake_at.min(now.after(TREE_CLOCK_PERIOD));
            }
        }
        if self.held_back.is_some() { wake_at.min(now.after(IDLE_PAUSE_MAX)) } else { wake_at }
    }

    /// The last step.
    fn close(&mut self, processed: i64) -> Step {
        for task in &mut self.tasks {
            if let Some(spout) = task.spout.take() {
                let (errors, now) = (&task.emitter.errors, task.emitter.wires.now);
                end_instance(spout, errors, now, |spout| spout.close());
                call_hooks(&mut task.state.hooks, errors, now, |hook| hook.cleanup());
            }
            task.publish_counts(&self.common.address.gauges);
        }
        // What still waits is not replayed any more: it has failed.
        self.common.address.gauges.waiting.store(0, Ordering::SeqCst);
        self.common.processed(processed);
        self.common.lifecycle.closed.fetch_add(1, Ordering::SeqCst);
        self.common.coordinator.wake(Urgency::Now);
        Step { outcome: StepOutcome::Closed, wake_at: Time::NEVER }
    }
}
