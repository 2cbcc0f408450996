//! Carries out the end of a topology in this process: the executor around `ending`.
//!
//! The coordinator of a worker that is one of several does not decide: its commands come from whoever
//! started the worker, and it is asked for snapshots in return.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::StopReason;
use crate::clock::Time;
use crate::runtime::ending::{EndCommand, Ending, Snapshot};
use crate::runtime::executor::{Step, StepContext, StepOutcome};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::message::Control;
use crate::runtime::queue::{Inbox, InboxSender};
use crate::runtime::run_queue::{RunQueue, Urgency};

/// Whom commands go to: the executors of this process.
pub struct Subordinates {
    /// All spout executors.
    pub spouts: Vec<InboxSender>,
    /// The bolt executors, by component, in the order of the graph.
    pub bolts: Vec<Vec<InboxSender>>,
    /// The ackers.
    pub ackers: Vec<InboxSender>,
    lifecycle: Arc<Lifecycle>,
    run_queue: Arc<RunQueue>,
    round: AtomicU64,
    asked: AtomicU64,
}

impl Subordinates {
    /// Of a process that has been asked nothing yet.
    pub fn new(
        spouts: Vec<InboxSender>,
        bolts: Vec<Vec<InboxSender>>,
        ackers: Vec<InboxSender>,
        lifecycle: Arc<Lifecycle>,
        run_queue: Arc<RunQueue>,
    ) -> Subordinates {
        let (round, asked) = (AtomicU64::new(0), AtomicU64::new(0));
        Subordinates { spouts, bolts, ackers, lifecycle, run_queue, round, asked }
    }

    fn all(&self) -> impl Iterator<Item = &InboxSender> {
        self.spouts.iter().chain(self.bolts.iter().flatten()).chain(&self.ackers)
    }

    /// How far this process has come. Answers are read first: what an executor sent before it
    /// answered is counted as under way by then.
    pub fn snapshot(&self) -> Snapshot {
        let round = self.round.load(Ordering::SeqCst);
        let asked = self.asked.load(Ordering::SeqCst);
        let answered = self.lifecycle.finished.load(Ordering::SeqCst) as u64;
        let closed = self.lifecycle.closed.load(Ordering::SeqCst) as u64;
        let at_rest = self.lifecycle.is_at_rest();
        let pending: i64 = self.spouts.iter().map(|spout| spout.gauges.pending.load(Ordering::SeqCst)).sum();
        Snapshot {
            at_rest,
            activity: self.lifecycle.activity.load(Ordering::SeqCst),
            live_spouts: self.lifecycle.live_spouts.load(Ordering::SeqCst) as u64,
            pending: u64::try_from(pending).unwrap_or(0),
            holding: self.holders().count() as u64,
            round,
            asked,
            answered,
            executors: self.all().count() as u64,
            closed,
        }
    }

    fn holders(&self) -> impl Iterator<Item = &InboxSender> {
        self.bolts.iter().flatten().filter(|bolt| bolt.gauges.held.load(Ordering::SeqCst) > 0)
    }

    /// Does what was decided.
    pub fn carry_out(&self, command: EndCommand) {
        match command {
            EndCommand::Drain => {
                self.spouts.iter().for_each(|spout| spout.send_control(Control::Drain, Urgency::Now));
            }
            EndCommand::AskHolders { round } => self.ask(round, self.holders().collect()),
            EndCommand::Finish { round, place } => {
                self.ask(round, self.bolts.get(place).into_iter().flatten().collect());
            }
            EndCommand::Close => {
                self.all().for_each(|executor| executor.send_control(Control::Close, Urgency::Now));
            }
            EndCommand::End => {
                self.lifecycle.end();
                self.run_queue.stop();
            }
        }
    }

    fn ask(&self, round: u64, whom: Vec<&InboxSender>) {
        self.lifecycle.finished.store(0, Ordering::SeqCst);
        self.asked.store(whom.len() as u64, Ordering::SeqCst);
        self.round.store(round, Ordering::SeqCst);
        whom.into_iter().for_each(|bolt| bolt.send_control(Control::Finish, Urgency::Now));
    }
}

/// Who hears that something may be due.
pub trait Superior: Send + Sync {
    /// Nothing is under way here, an executor answered or closed: a look is worth it.
    fn look(&self, seen: &Snapshot);
    /// A component asks for an orderly end of the topology.
    fn drain(&self);
    /// A component cannot go on: the topology is to end in order, and the run has failed.
    fn stop(&self, reason: &StopReason);
}

enum Role {
    /// Decides itself.
    Decides(Ending),
    /// Passes on.
    Reports(Arc<dyn Superior>),
}

/// The executor that ends the topology.
pub struct Coordinator {
    inbox: Inbox,
    lifecycle: Arc<Lifecycle>,
    subordinates: Arc<Subordinates>,
    role: Role,
}

impl Coordinator {
    /// Of a topology that is all in this process.
    pub fn alone(
        inbox: Inbox,
        lifecycle: Arc<Lifecycle>,
        subordinates: Arc<Subordinates>,
        ending: Ending,
    ) -> Coordinator {
        Coordinator { inbox, lifecycle, subordinates, role: Role::Decides(ending) }
    }

    /// Of one process among several.
    pub fn reporting(
        inbox: Inbox,
        lifecycle: Arc<Lifecycle>,
        subordinates: Arc<Subordinates>,
        superior: Arc<dyn Superior>,
    ) -> Coordinator {
        Coordinator { inbox, lifecycle, subordinates, role: Role::Reports(superior) }
    }

    fn take(&mut self, control: Control, now: Time) {
        match (control, &mut self.role) {
            (Control::Drain | Control::Stop, Role::Decides(ending)) => ending.drain(now),
            (Control::Close, Role::Decides(ending)) => ending.kill(),
            (Control::Drain, Role::Reports(superior)) => superior.drain(),
            (Control::Stop, Role::Reports(superior)) => {
                let reason = self.lifecycle.stopped();
                superior.stop(reason.expect("it is noted before the coordinator is told"));
            }
            // Who started the worker ends it; the coordinator ends with the last executor.
            (Control::Close, Role::Reports(_)) => {}
            (
                Control::Acks(_)
                | Control::Outcomes(_)
                | Control::AckerLost { .. }
                | Control::WorkerLost { .. }
                | Control::Activate
                | Control::Deactivate
                | Control::Finish
                | Control::Crash,
                _,
            ) => debug_assert!(false, "for executors, not for the coordinator"),
        }
    }

    /// Looks at how far the end has come.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        while let Ok(control) = self.inbox.control.try_recv() {
            self.take(control, cx.now);
        }
        match &mut self.role {
            Role::Decides(ending) => {
                while let Some(command) = ending.next(&self.subordinates.snapshot(), cx.now) {
                    self.lifecycle.cut_short.fetch_or(ending.is_cut_short(), Ordering::SeqCst);
                    self.subordinates.carry_out(command);
                    if command == EndCommand::End {
                        return Step { outcome: StepOutcome::Closed, wake_at: Time::NEVER };
                    }
                }
                Step { outcome: StepOutcome::Idle, wake_at: ending.deadline() }
            }
            Role::Reports(superior) => {
                superior.look(&self.subordinates.snapshot());
                Step { outcome: StepOutcome::Idle, wake_at: Time::NEVER }
            }
        }
    }
}
