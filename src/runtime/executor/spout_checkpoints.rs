//! What an executor of a spout does about checkpoints, as a continuation of `spout`: it takes the positions of its
//! tasks, and sends the barrier.
//!
//! A task that panics takes its position with it, so all tasks of the topology go back to the latest checkpoint.

use crate::clock::Time;
use crate::runtime::executor::bolt::BoltExecutor;
use crate::runtime::executor::checkpoints::ExecutorCheckpoints;
use crate::runtime::executor::spout::SpoutExecutor;
use crate::runtime::executor::spout_task::SpoutTask;
use crate::runtime::executor::step::{Step, StepContext, StepOutcome};
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::message::CheckpointCommand;

impl SpoutExecutor {
    /// Carries out a command about checkpoints.
    pub(super) fn take_checkpoint_command(&mut self, command: CheckpointCommand, now: Time) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        match command {
            CheckpointCommand::Halt => {
                let outstanding = checkpoints.halt();
                self.handles.processed(outstanding);
                self.begun.clear();
                self.tasks.iter_mut().for_each(|task| task.halt(now));
                self.restore_time(None);
            }
            CheckpointCommand::Restore(recovery, restored) => {
                checkpoints.begin_restore(restored.checkpoint, &self.handles.lifecycle.rest);
                self.tasks.iter_mut().for_each(|task| task.restore(recovery, &restored));
                let component = self.tasks.first().map(|task| task.context.component().to_owned());
                self.restore_time(component.and_then(|it| restored.event_times.get(it.as_str())));
            }
            CheckpointCommand::Resume => checkpoints.resume(),
            CheckpointCommand::Begin(barrier) => self.begun.push_back(barrier),
            CheckpointCommand::Committed(checkpoint) => checkpoints.commits(checkpoint),
        }
    }

    /// Whether no executor of the chain is halted.
    pub(super) fn chain_runs(&self) -> bool {
        let own = self.checkpoints.as_ref().is_none_or(ExecutorCheckpoints::runs);
        own && self.next.as_ref().is_none_or(|next| next.chain_runs())
    }

    /// Whether this executor is halted.
    pub(super) fn is_halted(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(ExecutorCheckpoints::drops)
    }

    /// The step of a chain in which an executor is halted.
    pub(super) fn step_halted(&mut self, cx: &StepContext<'_>, processed: i64) -> Step {
        if let Some(next) = &mut self.next {
            next.conclude_chain(cx.now);
        }
        self.note_live();
        self.handles.processed(processed);
        self.send_answers();
        Step { outcome: StepOutcome::Idle, wake_at: Time::NEVER }
    }

    /// Sends the answers of the chain to the coordinator.
    fn send_answers(&mut self) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.send_answers(&self.handles.coordinator);
        }
        if let Some(next) = &mut self.next {
            next.send_answers();
        }
    }

    /// Sends the barriers that are due, in their order. Returns `false` if one has to wait.
    pub(super) fn pass_barriers(&mut self, cx: &StepContext<'_>) -> bool {
        while let Some(barrier) = self.begun.front().copied() {
            if !self.pass_barrier(barrier, cx) {
                return false;
            }
        }
        true
    }

    /// Takes the positions of all tasks, and sends the barrier. Returns `false` if something has to be executed first,
    /// in a later step.
    fn pass_barrier(&mut self, barrier: Barrier, cx: &StepContext<'_>) -> bool {
        if self.tasks.iter().any(|task| task.spout.is_none() && !task.restart.is_over()) {
            // A task is not built yet. It wakes the executor.
            return false;
        }
        if self.next.as_ref().is_some_and(|next| next.must_wait(barrier)) {
            return false;
        }
        for task in &mut self.tasks {
            task.emitter.route_stages(&mut task.state);
            if let Some(next) = &mut self.next {
                next.take_over(&mut task.emitter.outgoing.chained, cx);
            }
        }
        let is_ready =
            |next: &mut Box<BoltExecutor>| !next.has_leftovers() && next.prepare_chain(barrier, cx);
        if !self.next.as_mut().is_none_or(is_ready) {
            return false;
        }
        for task in &mut self.tasks {
            task.emitter.flush();
            task.take_positions(barrier.checkpoint, &self.handles, cx.now);
        }
        if let Some(task) = self.tasks.first_mut() {
            task.emitter.outgoing.send_barrier(barrier);
        }
        if let Some(next) = &mut self.next {
            next.pass_along(barrier);
        }
        self.begun.pop_front();
        true
    }

    /// What ends a step about checkpoints: see [`BoltExecutor::end_checkpoints`].
    pub(super) fn end_checkpoints(&mut self, cx: &StepContext<'_>) -> (bool, Time) {
        let now = cx.now;
        if let Some(checkpoints) = &mut self.checkpoints {
            let is_built = |task: &SpoutTask| task.spout.is_some() || task.restart.is_over();
            if self.opened && self.tasks.iter().all(is_built) {
                self.handles.processed(checkpoints.end_restore());
            }
            if let Some(checkpoint) = checkpoints.due_commit(now) {
                self.tasks.iter_mut().for_each(|task| task.commit(checkpoint, &self.handles, now));
                checkpoints.committed(true, now);
            }
            checkpoints.send_answers(&self.handles.coordinator);
        }
        self.next.as_mut().map_or((false, Time::NEVER), |next| next.end_checkpoints(cx))
    }
}
