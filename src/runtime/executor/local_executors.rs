//! The executors of this process as the end of the topology needs them: in the order of the graph.
//!
//! The coordinator of this process, or the master in another process, decides about the end. It reads
//! [`EndProgress`] from here, and decides on [`EndCommand`]s, which are carried out here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::api::{CounterId, StopReason};
use crate::runtime::end_sequence::{EndCommand, EndProgress};
use crate::runtime::flow::checkpoint::CheckpointReport;
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::message::{CheckpointCommand, ExecutorCommand};
use crate::runtime::flow::run_queue::{RunQueue, Urgency};
use crate::runtime::lifecycle::Lifecycle;

/// The executors of this process, to which the commands go.
pub struct LocalExecutors {
    /// All spout executors.
    pub spouts: Vec<InboxSender>,
    /// The bolt executors, by component, in the order of the graph.
    pub bolts: Vec<Vec<InboxSender>>,
    /// The ackers.
    pub ackers: Vec<InboxSender>,
    lifecycle: Arc<Lifecycle>,
    run_queue: Arc<RunQueue>,
    /// Whether the embedder wants spouts to emit.
    wanted_active: AtomicBool,
    /// The last round of `Finish` commands, and to how many bolt executors it was sent.
    round: AtomicU64,
    asked: AtomicU64,
}

impl LocalExecutors {
    /// Of a process that has received no command yet.
    pub fn new(
        spouts: Vec<InboxSender>,
        bolts: Vec<Vec<InboxSender>>,
        ackers: Vec<InboxSender>,
        lifecycle: Arc<Lifecycle>,
        run_queue: Arc<RunQueue>,
    ) -> LocalExecutors {
        let (round, asked) = (AtomicU64::new(0), AtomicU64::new(0));
        let wanted_active = AtomicBool::new(false);
        LocalExecutors { spouts, bolts, ackers, lifecycle, run_queue, wanted_active, round, asked }
    }

    fn all(&self) -> impl Iterator<Item = &InboxSender> {
        self.spouts.iter().chain(self.bolts.iter().flatten()).chain(&self.ackers)
    }

    /// Sends a command about checkpoints to all executors of tasks.
    pub fn command_tasks(&self, command: impl Fn() -> CheckpointCommand) {
        let tasks = self.spouts.iter().chain(self.bolts.iter().flatten());
        tasks.for_each(|executor| executor.send_control(command(), Urgency::Now));
    }

    /// Sends a command about checkpoints to all executors of spouts.
    pub fn command_spouts(&self, command: impl Fn() -> CheckpointCommand) {
        self.spouts.iter().for_each(|spout| spout.send_control(command(), Urgency::Now));
    }

    /// Notes whether the embedder wants spouts to emit.
    pub fn want_active(&self, active: bool) {
        // Relaxed: it orders nothing.
        self.wanted_active.store(active, Ordering::Relaxed);
    }

    /// Has all spouts emit nothing, or go on if the embedder wants them to.
    pub fn rest_spouts(&self, rests: bool) {
        let goes_on = !rests && self.wanted_active.load(Ordering::Relaxed);
        let command = if goes_on { ExecutorCommand::Activate } else { ExecutorCommand::Deactivate };
        self.spouts.iter().for_each(|spout| spout.send_control(command, Urgency::Now));
    }

    /// How many executors of tasks there are.
    pub fn task_executors(&self) -> usize {
        self.spouts.len() + self.bolts.iter().map(Vec::len).sum::<usize>()
    }

    /// How far this process has come with the end. Answers are read before `at_rest`: an executor counts
    /// what it sends as outstanding before it answers, so an answer that is seen here implies that.
    pub fn progress(&self) -> EndProgress {
        let round = self.round.load(Ordering::SeqCst);
        let asked = self.asked.load(Ordering::SeqCst);
        let answered = self.lifecycle.finished.load(Ordering::SeqCst) as u64;
        let closed = self.lifecycle.closed.load(Ordering::SeqCst) as u64;
        let at_rest = self.lifecycle.rest.is_at_rest();
        let pending: i64 = self.spouts.iter().map(|spout| spout.gauges.published(CounterId::PENDING)).sum();
        EndProgress {
            at_rest,
            activity: self.lifecycle.rest.activity(),
            live_spouts: self.lifecycle.rest.live_spouts() as u64,
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
        self.bolts.iter().flatten().filter(|bolt| bolt.gauges.published(CounterId::HELD) > 0)
    }

    /// Carries out a command.
    pub fn carry_out(&self, command: EndCommand) {
        match command {
            EndCommand::Drain => {
                self.spouts.iter().for_each(|spout| spout.send_control(ExecutorCommand::Drain, Urgency::Now));
            }
            EndCommand::AskHolders { round } => self.ask(round, self.holders().collect()),
            EndCommand::Finish { round, place } => {
                self.ask(round, self.bolts.get(place).into_iter().flatten().collect());
            }
            EndCommand::Close => {
                self.all().for_each(|executor| executor.send_control(ExecutorCommand::Close, Urgency::Now));
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
        whom.into_iter().for_each(|bolt| bolt.send_control(ExecutorCommand::Finish, Urgency::Now));
    }
}

/// The way to the master, for a coordinator that reports.
pub trait MasterHandle: Send + Sync {
    /// Reports progress: this process is at rest, or an executor answered or closed.
    fn look(&self, seen: &EndProgress);
    /// A component asks for an orderly end of the topology.
    fn drain(&self);
    /// A component cannot continue: the topology must end in order, and the run has failed.
    fn stop(&self, reason: &StopReason);
    /// Something has happened to a checkpoint.
    fn checkpoint(&self, report: CheckpointReport);
}
