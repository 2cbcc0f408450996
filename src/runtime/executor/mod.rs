//! Executors: state machines that are stepped.
//!
//! `step` does a bounded amount of work and returns; it never waits for another executor. The same code
//! is stepped by the driver threads of a worker, by the dedicated thread of a blocking component, and by
//! the seeded simulation. Time, randomness and addresses are passed in.
//!
//! * [`spout`] and [`bolt`] are executors of user code. Their tasks are [`spout_task`] and
//!   [`bolt_task`]; `tuple_loop` calls `execute` for each tuple of a batch, and `user_code` catches
//!   panics of user code. `spout_outcomes` continues the task of a spout.
//! * [`acker`] is the shell around `acking::acker`.
//! * [`end_coordinator`] ends the topology, through [`local_executors`].
//! * [`checkpoints`] is what executors of tasks have for checkpoints. `bolt_checkpoints` and `spout_checkpoints`
//!   continue the executors, `task_snapshots` and `spout_positions` are parts of tasks. [`storage`] writes what they
//!   send. [`checkpoint_coordinator`] decides, or the master does, and [`worker_checkpoints`] carries that out.
//! * [`event_times`] is what executors of tasks have for event time. `bolt_times` and `spout_times` continue them.
//! * [`step`] is what all of them have in common.

pub mod acker;
pub mod aligned_inputs;
mod batch_cursor;
pub mod bolt;
mod bolt_chain;
mod bolt_checkpoints;
mod bolt_inputs;
pub mod bolt_task;
mod bolt_timers;
mod bolt_times;
mod call_error;
pub mod checkpoint_coordinator;
pub mod checkpoints;
mod dealing;
pub mod end_coordinator;
pub mod event_times;
pub mod executor_answers;
mod idle_pause;
pub mod latencies;
pub mod local_executors;
pub mod logged_source;
pub mod logged_spout;
pub mod restore_error;
pub mod spout;
mod spout_checkpoints;
mod spout_outcomes;
mod spout_positions;
pub mod spout_task;
mod spout_times;
pub mod step;
pub mod storage;
mod task_share;
mod task_snapshots;
mod tuple_loop;
mod user_code;
pub mod worker_checkpoints;

use crate::runtime::executor::end_coordinator::EndCoordinator;
use crate::runtime::executor::step::{Step, StepContext};
use crate::runtime::executor::storage::StorageExecutor;

/// Any executor of a worker.
pub enum Executor {
    /// Tasks of a spout.
    Spout(Box<spout::SpoutExecutor>),
    /// Tasks of a bolt.
    Bolt(Box<bolt::BoltExecutor>),
    /// An acker.
    Acker(Box<acker::AckerExecutor>),
    /// The one that ends the topology.
    Coordinator(Box<EndCoordinator>),
    /// The one that writes checkpoints.
    Storage(Box<StorageExecutor>),
}

impl Executor {
    /// Does a bounded amount of work.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        match self {
            Executor::Spout(spout) => spout.step(cx),
            Executor::Bolt(bolt) => bolt.step(cx),
            Executor::Acker(acker) => acker.step(cx),
            Executor::Coordinator(coordinator) => coordinator.step(cx),
            Executor::Storage(storage) => storage.step(cx),
        }
    }
}
