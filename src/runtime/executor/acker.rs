//! The executor of an acker: applies the ack records it receives, and sends the outcomes to the spouts,
//! at most one message per spout task and step.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Time;
use crate::ids::{SLOTS_MAX, TaskId, WorkerId};
use crate::runtime::acking::acker::{Acker, Outcome};
use crate::runtime::acking::records::AckRecords;
use crate::runtime::executor::step::{ExecutorHandles, Step, StepContext, StepOutcome};
use crate::runtime::flow::message::{Control, ExecutorCommand, Loss, TreeMessage};
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::remote::address::Address;

/// An acker task.
pub struct AckerExecutor {
    handles: ExecutorHandles,
    /// Which of the topology's ackers it is.
    index: usize,
    acker: Acker,
    /// The executor of each spout task.
    spouts: BTreeMap<TaskId, Address>,
    /// Outcomes of this step, by spout task; sent and cleared when the step ends.
    outcomes: BTreeMap<TaskId, Vec<Outcome>>,
}

impl AckerExecutor {
    /// An acker without entries.
    pub fn new(handles: ExecutorHandles, index: usize, spouts: BTreeMap<TaskId, Address>) -> AckerExecutor {
        AckerExecutor { handles, index, acker: Acker::new(SLOTS_MAX), spouts, outcomes: BTreeMap::new() }
    }

    /// Applies all records that have arrived.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        let mut processed = 0;
        let mut closed = false;
        while let Ok(control) = self.handles.inbox.control.try_recv() {
            match control {
                Control::Tree(TreeMessage::Acks(records)) => {
                    processed += 1;
                    self.apply(records);
                }
                Control::Loss(Loss::Worker { worker, next, membership }) => {
                    let ran = self.spouts_of(worker);
                    let outcomes = self.acker.lose_worker(worker, next, membership, &ran);
                    outcomes.into_iter().for_each(|outcome| self.note(Some(outcome)));
                }
                Control::Command(ExecutorCommand::Crash) => self.lose_everything(),
                Control::Command(ExecutorCommand::Close) => closed = true,
                Control::Tree(TreeMessage::Outcomes(_))
                | Control::Loss(Loss::Acker { .. })
                | Control::Command(
                    ExecutorCommand::Activate
                    | ExecutorCommand::Deactivate
                    | ExecutorCommand::Drain
                    | ExecutorCommand::Finish,
                )
                | Control::End(_)
                | Control::Checkpoint(_)
                | Control::CheckpointEvent(_)
                | Control::CheckpointOrder(_)
                | Control::Storage(_) => {}
            }
        }
        self.send_outcomes(cx.now);
        self.handles.processed(processed);
        if closed {
            self.handles.lifecycle.closed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            self.handles.coordinator.wake(Urgency::Now);
        }
        Step { outcome: if closed { StepOutcome::Closed } else { StepOutcome::Idle }, wake_at: Time::NEVER }
    }

    /// The spout tasks that run in another worker.
    fn spouts_of(&self, worker: WorkerId) -> Vec<TaskId> {
        let is_there = |address: &Address| match address {
            Address::There(remote) => remote.worker == worker,
            Address::Here(_) => false,
        };
        self.spouts.iter().filter(|(_, address)| is_there(address)).map(|(task, _)| *task).collect()
    }

    /// Applies the records of one step. The order of the loops matters: see the lists of [`AckRecords`].
    fn apply(&mut self, mut records: AckRecords) {
        if let Some(faults) = &self.handles.faults {
            faults.tamper(&mut records);
        }
        for (root, touched) in records.touched {
            let outcome = self.acker.touch(root, touched, records.membership);
            self.note(outcome);
        }
        for (root, message, report) in records.fails {
            let outcome = self.acker.fail(root, message, report);
            self.note(outcome);
        }
        records.forgets.into_iter().for_each(|root| self.acker.forget(root));
        for (root, xor) in records.inits {
            let outcome = self.acker.init(root, xor);
            self.note(outcome);
        }
        for (root, xor) in records.acks {
            let outcome = self.acker.ack(root, xor);
            self.note(outcome);
        }
        for root in records.resets {
            let outcome = self.acker.reset(root);
            self.note(outcome);
        }
    }

    /// Adds an outcome to those that are sent at the end of the step.
    fn note(&mut self, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return };
        self.outcomes.entry(outcome.root().task()).or_default().push(outcome);
    }

    fn send_outcomes(&mut self, now: Time) {
        for (task, outcomes) in std::mem::take(&mut self.outcomes) {
            if let Some(spout) = self.spouts.get(&task) {
                self.handles.lifecycle.rest.sending();
                spout.send_tree_message(TreeMessage::Outcomes(outcomes), Urgency::WhenDone, now);
            }
        }
    }

    /// A test crashes the acker: it starts again without entries, and notifies the spouts of this worker,
    /// which fail at once the blocks that it kept. (Spouts of other workers are not notified. In production
    /// an acker is lost only with its worker, and then their own ingress notifies them.)
    fn lose_everything(&mut self) {
        self.acker = Acker::new(SLOTS_MAX);
        self.outcomes.clear();
        let mut notified = BTreeSet::new();
        for spout in self.spouts.values() {
            if let Address::Here(inbox) = spout
                && notified.insert(inbox.executor)
            {
                inbox.send_control(Loss::Acker { acker: self.index }, Urgency::WhenDone);
            }
        }
    }
}
