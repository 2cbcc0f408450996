//! The coordinator's half for checkpoints in one worker of several: the master decides, and this carries it out.
//!
//! An order goes to all executors of the worker, and what they answer goes to the master as one report, when all have
//! answered. What is restored is read by this worker itself, and only for its own tasks.

use std::sync::Arc;

use crate::runtime::executor::checkpoints::StorageSender;
use crate::runtime::executor::executor_answers::ExecutorAnswers;
use crate::runtime::executor::local_executors::LocalExecutors;
use crate::runtime::flow::checkpoint::{CheckpointEvent, CheckpointOrder, CheckpointReport, StorageJob};
use crate::runtime::flow::message::CheckpointCommand;

/// The coordinator's half for checkpoints in one worker of several. It begins with executors that are halted.
pub struct WorkerCheckpoints {
    storage: StorageSender,
    executors: Arc<LocalExecutors>,
    answers: ExecutorAnswers,
    /// The recovery of the last order. What was read for an earlier one is dropped.
    recovery: u64,
}

impl WorkerCheckpoints {
    /// Of a worker with these executors, which writes to this storage.
    pub fn new(storage: StorageSender, executors: Arc<LocalExecutors>) -> WorkerCheckpoints {
        let answers = ExecutorAnswers::of(executors.task_executors());
        WorkerCheckpoints { storage, executors, answers, recovery: 0 }
    }

    /// Carries out what the master wants.
    pub fn carry_out(&mut self, order: CheckpointOrder) {
        match order {
            CheckpointOrder::Halt { recovery } => {
                self.recovery = recovery;
                self.answers.begin_halt();
                self.executors.command_tasks(|| CheckpointCommand::Halt);
            }
            CheckpointOrder::Restore { recovery, checkpoint } => {
                self.recovery = recovery;
                self.answers.begin_restore(checkpoint);
                self.storage.send(StorageJob::LoadShare { recovery, checkpoint });
            }
            CheckpointOrder::Resume => self.executors.command_tasks(|| CheckpointCommand::Resume),
            CheckpointOrder::Begin(barrier) => {
                self.executors.command_spouts(|| CheckpointCommand::Begin(barrier));
            }
            CheckpointOrder::Commit(checkpoint) => {
                self.answers.begin_commit(checkpoint);
                self.executors.command_tasks(|| CheckpointCommand::Committed(checkpoint));
                // The files of the checkpoint are written; those of earlier ones are not needed any more.
                self.storage.send(StorageJob::Discard(checkpoint));
            }
            CheckpointOrder::Discard(checkpoint) => self.storage.send(StorageJob::Discard(checkpoint)),
        }
    }

    /// Takes an event. Returns what the master has to know of it.
    pub fn take(&mut self, event: CheckpointEvent) -> Option<CheckpointReport> {
        match event {
            CheckpointEvent::Taken { checkpoint, part, file } => {
                Some(CheckpointReport::Taken { checkpoint, part, file })
            }
            CheckpointEvent::Refused { checkpoint, why } => {
                Some(CheckpointReport::Refused { checkpoint, why })
            }
            CheckpointEvent::ShareLoaded { recovery, .. } if recovery != self.recovery => None,
            CheckpointEvent::ShareLoaded { result: Ok(restored), .. } => {
                let recovery = self.recovery;
                self.executors.command_tasks(|| CheckpointCommand::Restore(recovery, Arc::clone(&restored)));
                None
            }
            CheckpointEvent::ShareLoaded { result: Err(error), .. } => {
                Some(CheckpointReport::NotRestored(error))
            }
            CheckpointEvent::Halted => self.answers.halted().then_some(CheckpointReport::Halted),
            CheckpointEvent::Restored => self.answers.restored().then_some(CheckpointReport::Restored),
            CheckpointEvent::Committed(checkpoint) => {
                self.answers.committed(checkpoint).then_some(CheckpointReport::Committed(checkpoint))
            }
            CheckpointEvent::Lost { component, why } => Some(CheckpointReport::Lost { component, why }),
            // The master knows that it activates, and publishes itself.
            CheckpointEvent::Activated
            | CheckpointEvent::Published(..)
            | CheckpointEvent::Loaded(_)
            | CheckpointEvent::SavepointWanted { .. }
            | CheckpointEvent::CheckpointWanted(_)
            | CheckpointEvent::Exported(..) => None,
        }
    }
}
