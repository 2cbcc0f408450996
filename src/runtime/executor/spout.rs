//! Tasks of a spout, stepped together.
//!
//! A step first takes control messages, among them outcomes, then expires messages, and then calls
//! `next_tuple`. It calls `next_tuple` only while the topology is active, the task is below its pending
//! limit, there is credit downstream, and no edge that closes a cycle is full. The step ends by sending
//! what was emitted (see `emitter`). Batches under construction are sent as soon as the spout pauses.
//!
//! `Spout::fail` is called when the message may be replayed (see `backoff`). Until then the message does
//! not count against the pending limit, so that other messages are still emitted. The executor stays
//! live while a message waits, so that bounded input ends only after its replay.
//!
//! One file, because a step is one protocol: what outcomes, time-outs and panics do to the open
//! messages decides whether `next_tuple` may be called.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::{CounterId, FailureCause, ReplayCounts};
use crate::clock::Time;
use crate::runtime::acking::acker::Outcome;
use crate::runtime::acking::tree_clock::TreeClock;
use crate::runtime::executor::bolt::BoltExecutor;
use crate::runtime::executor::checkpoints::ExecutorCheckpoints;
use crate::runtime::executor::event_times::EventTimes;
use crate::runtime::executor::idle_pause::IDLE_PAUSE_MAX;
use crate::runtime::executor::latencies::Latencies;
use crate::runtime::executor::spout_task::{Pause, STARVED_AFTER, SpoutTask, TREE_CLOCK_PERIOD};
use crate::runtime::executor::step::{ExecutorHandles, Step, StepContext, StepOutcome, TUPLES_PER_LOOK};
use crate::runtime::executor::user_code::{call_hooks, end_instance};
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::link::Link;
use crate::runtime::flow::message::{Control, ExecutorCommand, Loss, TreeMessage};
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::remote::cycles_elsewhere::CyclesElsewhere;

/// A cycle that has been full for this long is reported.
const STALLED_CYCLE_AFTER: Duration = Duration::from_secs(10);

/// All edges of the topology that close a cycle.
pub struct Cycles {
    /// The links of those that have an end in this worker.
    pub here: Vec<Arc<Link>>,
    /// The other workers that report that one of their cycles is full.
    pub elsewhere: Arc<CyclesElsewhere>,
}

impl Cycles {
    fn are_full(&self) -> bool {
        self.elsewhere.any() || self.here.iter().any(|link| !link.has_credit())
    }
}

/// An executor of a spout.
pub struct SpoutExecutor {
    pub(super) handles: ExecutorHandles,
    pub(super) tasks: Vec<SpoutTask>,
    latencies: Latencies,
    /// The gauges of all executors downstream: they show whether a tuple is starved.
    downstream: Vec<Arc<Gauges>>,
    cycles: Cycles,
    tree_clock: TreeClock,
    next_tree_look: Time,
    pub(super) opened: bool,
    pub(super) active: bool,
    draining: bool,
    /// Whether this executor is counted among the live spouts.
    live: bool,
    /// Since when a full cycle has held the spout back, and whether that was reported.
    held_back: Option<(Time, bool)>,
    /// The task that emits first in the next step, so that all tasks get their turn.
    turn: usize,
    blocked_since: Option<Time>,
    closed: bool,
    /// Its part in checkpoints, where there are any.
    pub(super) checkpoints: Option<ExecutorCheckpoints>,
    /// Barriers that are to be sent, each in its turn: a link on which one is missing would wait for it.
    pub(super) begun: VecDeque<Barrier>,
    /// Event time, where the component has any.
    pub(super) times: Option<EventTimes>,
    /// The executor that is chained behind this one: see `bolt`.
    pub(super) next: Option<Box<BoltExecutor>>,
}

impl SpoutExecutor {
    /// An executor of these tasks, none of which is built yet. It counts as live, unless it begins halted. `next` is chained behind it.
    pub fn new(
        handles: ExecutorHandles,
        tasks: Vec<SpoutTask>,
        latencies: Latencies,
        downstream: Vec<Arc<Gauges>>,
        cycles: Cycles,
        times: Option<EventTimes>,
        next: Option<Box<BoltExecutor>>,
    ) -> SpoutExecutor {
        // With checkpoints it begins halted.
        let live = handles.storage.is_none();
        if live {
            handles.lifecycle.rest.count_live_spout();
        }
        SpoutExecutor {
            checkpoints: handles.storage.clone().map(ExecutorCheckpoints::new),
            begun: VecDeque::new(),
            handles,
            tasks,
            latencies,
            downstream,
            cycles,
            tree_clock: TreeClock::new(Time::ZERO),
            next_tree_look: Time::ZERO,
            opened: false,
            active: false,
            draining: false,
            live,
            held_back: None,
            turn: 0,
            blocked_since: None,
            closed: false,
            times,
            next,
        }
    }

    /// Does a bounded amount of work.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        self.begin_step(cx.now);
        let processed = self.take_control(cx);
        if self.closed || self.next.as_ref().is_some_and(|next| next.is_closing()) {
            self.handles.processed(processed);
            let is_closed = self.closed && self.next.as_ref().is_none_or(|next| next.is_closed());
            let outcome = if is_closed { StepOutcome::Closed } else { StepOutcome::Idle };
            return Step { outcome, wake_at: Time::NEVER };
        }
        if !self.chain_runs() {
            return self.step_halted(cx, processed);
        }
        let mut outcome = StepOutcome::Idle;
        if self.opened {
            for task in &mut self.tasks {
                task.expire(&self.handles, cx.now);
                task.call_due_fails(&self.handles, cx.now);
                if task.ensure_built(&self.handles, cx.now) {
                    task.call_activate(self.active, &self.handles, cx.now);
                }
            }
            outcome = match self.chain_is_busy(cx) {
                Some(outcome) => outcome,
                None => {
                    let waits = !self.pass_barriers(cx);
                    match &mut self.next {
                        Some(next) if waits => next.outcome_of_leftovers(cx.now),
                        Some(_) | None => self.emit(cx),
                    }
                }
            };
        }
        let settled = self.end_step(cx, outcome, processed);
        if self.pass_time(cx, outcome) && outcome != StepOutcome::Blocked {
            outcome = StepOutcome::Worked;
        }
        if let Some(times) = &self.times {
            times.publish(&self.handles.address.gauges);
        }
        if outcome == StepOutcome::Idle {
            let leftovers = self.next.as_mut().map(|next| next.outcome_of_leftovers(cx.now));
            outcome = match leftovers {
                // There may be room below the pending limit again, and no outcome will come to say so.
                _ if settled => StepOutcome::Worked,
                Some(leftovers) => leftovers,
                None => outcome,
            };
        }
        let (more, look_at) = self.end_checkpoints(cx);
        // Without credit, too: the snapshots behind need none.
        if more && matches!(outcome, StepOutcome::Idle | StepOutcome::Blocked) {
            outcome = StepOutcome::Worked;
        }
        Step { outcome, wake_at: self.wake_at(cx.now).min(look_at) }
    }

    fn begin_step(&mut self, now: Time) {
        if now >= self.next_tree_look {
            self.next_tree_look = now.after(TREE_CLOCK_PERIOD / 2);
            let starved = self.downstream.iter().any(|gauges| gauges.waiting(now) > STARVED_AFTER);
            let tree_now = self.tree_clock.advance(now, starved);
            self.tasks.iter_mut().for_each(|task| task.emitter.tree_now = tree_now);
        }
        // Acquire, and before anything is sent: see "A lost worker" in `remote::ingress`.
        let membership = self.handles.membership.load(Ordering::Acquire);
        for task in &mut self.tasks {
            task.emitter.outgoing.now = now;
            task.emitter.outgoing.membership = membership;
        }
        if let Some(next) = &mut self.next {
            next.begin_step(now, membership);
        }
    }

    /// The executors behind this one continue with what earlier steps left. Returns how the step ends if they cannot take
    /// tuples yet.
    fn chain_is_busy(&mut self, cx: &StepContext<'_>) -> Option<StepOutcome> {
        let next = self.next.as_mut()?;
        if !next.build_and_tick(cx) {
            return Some(StepOutcome::Idle);
        }
        next.resume(cx);
        // As long as a barrier is being passed on, no time is.
        if self.begun.is_empty() { next.pass_time(cx, false) } else { None }
    }

    /// Handles what came over the control lanes of the chain. Returns how many of these messages count as
    /// outstanding until they are processed.
    fn take_control(&mut self, cx: &StepContext<'_>) -> i64 {
        let (mut processed, now) = (0, cx.now);
        while let Ok(control) = self.handles.inbox.control.try_recv() {
            match control {
                Control::Tree(TreeMessage::Outcomes(outcomes)) => {
                    processed += 1;
                    self.take_outcomes(outcomes, now);
                }
                Control::Loss(Loss::Acker { acker }) => {
                    // Open blocks are closed first, so that the acker has their inits before it is to forget
                    // them.
                    self.send(cx, false);
                    self.tasks.iter_mut().for_each(|task| task.lose_acker(acker, &self.handles, now));
                }
                Control::Command(ExecutorCommand::Activate) => (self.opened, self.active) = (true, true),
                Control::Command(ExecutorCommand::Deactivate) => self.active = false,
                Control::Command(ExecutorCommand::Drain) => {
                    self.draining = true;
                    self.tasks.iter_mut().for_each(|task| task.drain(&self.handles, now));
                }
                Control::Command(ExecutorCommand::Crash) => {
                    for task in &mut self.tasks {
                        task.break_down("crashed by a test", &self.handles, now);
                    }
                }
                Control::Command(ExecutorCommand::Close) => self.close(),
                Control::Loss(Loss::Worker { .. }) => {
                    self.times.iter_mut().for_each(EventTimes::send_again);
                }
                Control::Checkpoint(command) => self.take_checkpoint_command(command, now),
                Control::Tree(TreeMessage::Acks(_))
                | Control::Command(ExecutorCommand::Finish)
                | Control::End(_)
                | Control::CheckpointEvent(_)
                | Control::CheckpointOrder(_)
                | Control::Storage(_) => {}
            }
        }
        if let Some(next) = &mut self.next {
            next.take_control(now);
        }
        processed
    }

    fn take_outcomes(&mut self, outcomes: Vec<Outcome>, now: Time) {
        // One message holds outcomes of one spout task.
        let Some(first) = outcomes.first() else { return };
        let owner = first.root().task();
        if let Some(task) = self.tasks.iter_mut().find(|task| task.id() == owner) {
            task.take_outcomes(outcomes, &self.latencies, &self.handles, now);
        }
    }

    /// Lets each task emit its share of the budget. The first task changes with every step.
    fn emit(&mut self, cx: &StepContext<'_>) -> StepOutcome {
        if !self.active || self.draining || self.is_held_back(cx.now) {
            return StepOutcome::Idle;
        }
        let (mut more, mut blocked) = (false, false);
        let tasks = self.tasks.len();
        let share = if cx.may_wait { 1 } else { (cx.budget / tasks as u32).max(TUPLES_PER_LOOK) };
        for offset in 0..tasks {
            let task = &mut self.tasks[(self.turn + offset) % tasks];
            match task.emit(share, cx, &self.handles, &mut self.next) {
                Pause::Turn => more = true,
                Pause::Credit => blocked = true,
                Pause::Rest => {}
            }
            if cx.may_wait {
                // The next call may wait for long, so what was emitted is sent before it.
                task.send_emitted();
                self.handles.run_queue.hand_over();
            }
        }
        self.turn = (self.turn + 1) % tasks;
        match (more, blocked) {
            (true, _) => StepOutcome::Worked,
            (false, true) => StepOutcome::Blocked,
            (false, false) => StepOutcome::Idle,
        }
    }

    /// Whether a cycle of the topology is full. A cycle that stays full is reported, because it then emits
    /// at least as many tuples as it takes, or one of its bolts does not return.
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

    /// Sends what was emitted, with `flush` also batches that are not full, and the ack records: see `emitter`
    /// for the order. Returns whether messages were acked that were complete by then.
    fn send(&mut self, cx: &StepContext<'_>, flush: bool) -> bool {
        for task in &mut self.tasks {
            task.emitter.route_stages(&mut task.state);
        }
        if let Some(next) = &mut self.next {
            self.tasks.iter_mut().for_each(|task| next.take_over(&mut task.emitter.outgoing.chained, cx));
            next.end_chain(cx, flush);
        }
        let mut settled = false;
        for (at, task) in self.tasks.iter_mut().enumerate() {
            if flush {
                task.emitter.flush();
            }
            if let Some(next) = &mut self.next {
                next.give_acks(at, &mut task.emitter);
            }
            task.send_acks();
            settled |= task.take_settled(&self.latencies, &self.handles, cx.clock.now());
        }
        settled
    }

    fn end_step(&mut self, cx: &StepContext<'_>, outcome: StepOutcome, processed: i64) -> bool {
        let settled = self.send(cx, outcome != StepOutcome::Worked);
        let behind = self.next.as_mut().map_or(Duration::ZERO, |next| next.conclude_chain(cx.now));
        let gauges = &self.handles.address.gauges;
        let (mut pending, mut lost, mut waiting, mut replayed) = (0, 0, 0, ReplayCounts::default());
        for task in &mut self.tasks {
            task.publish_counts(gauges);
            waiting += task.backoff.len() as i64;
            pending += task.in_flight() as i64;
            if let Some(open) = &task.emitter.pending {
                lost += open.lost() as i64;
                replayed.add(&open.replayed());
            }
        }
        gauges.publish(CounterId::PENDING, pending);
        gauges.set(CounterId::UNREPLAYED, lost);
        gauges.set(CounterId::WAITING, waiting);
        for cause in FailureCause::ALL {
            gauges.set(CounterId::replayed(cause), replayed.of(cause) as i64);
        }
        self.note_blocked(outcome == StepOutcome::Blocked, cx.now);
        self.note_live();
        self.handles.processed(processed);
        let gauges = &self.handles.address.gauges;
        let spent = cx.clock.now().since(cx.now).saturating_sub(behind);
        gauges.count(CounterId::BUSY, spent.as_nanos() as u64);
        settled
    }

    fn note_blocked(&mut self, blocked: bool, now: Time) {
        if blocked {
            self.blocked_since.get_or_insert(now);
        } else if let Some(since) = self.blocked_since.take() {
            self.handles.address.gauges.count(CounterId::BLOCKED, now.since(since).as_nanos() as u64);
        }
    }

    /// Keeps the count of spouts that may still emit.
    pub(super) fn note_live(&mut self) {
        // While it is halted, it can emit nothing. Before it can, it counts as outstanding.
        let live = !self.draining && !self.is_halted() && self.tasks.iter().any(SpoutTask::is_live);
        if live == self.live {
            return;
        }
        self.live = live;
        if live {
            self.handles.lifecycle.rest.count_live_spout();
        } else {
            self.handles.lifecycle.rest.spout_rests();
        }
        self.handles.coordinator.wake(Urgency::Now);
    }

    fn wake_at(&self, now: Time) -> Time {
        let mut wake_at = Time::NEVER;
        for task in &self.tasks {
            if task.spout.is_none() && self.opened {
                wake_at = wake_at.min(task.restart.due);
            } else if self.active && !self.draining && task.may_emit() && task.idle.until > now {
                wake_at = wake_at.min(task.idle.until);
            }
            wake_at = wake_at.min(task.backoff.next_due());
            if task.in_flight() > 0 {
                wake_at = wake_at.min(now.after(TREE_CLOCK_PERIOD));
            }
        }
        if self.held_back.is_some() {
            wake_at = wake_at.min(now.after(IDLE_PAUSE_MAX));
        }
        let emitters = self.tasks.iter().map(|task| &task.emitter);
        let time = self.times.as_ref().filter(|_| self.active).map(|times| times.wake_at(emitters, now));
        let behind = self.next.as_ref().filter(|_| self.opened).map(|next| next.wake_at(now));
        wake_at.min(time.unwrap_or(Time::NEVER)).min(behind.unwrap_or(Time::NEVER))
    }

    /// Ends the instances of this executor.
    fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        for task in &mut self.tasks {
            if let Some(spout) = task.spout.take() {
                let (errors, now) = (&task.emitter.errors, task.emitter.outgoing.now);
                end_instance(spout, errors, now, |spout| spout.close());
                call_hooks(&mut task.state.hooks, errors, now, |hook| hook.cleanup());
            }
            task.publish_counts(&self.handles.address.gauges);
        }
        // A message that still waits is not replayed any more: it counts as failed.
        self.handles.address.gauges.set(CounterId::WAITING, 0);
        self.handles.lifecycle.closed.fetch_add(1, Ordering::SeqCst);
        self.handles.coordinator.wake(Urgency::Now);
    }
}
