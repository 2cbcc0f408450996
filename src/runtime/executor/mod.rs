//! Executors: state machines that are stepped.
//!
//! `step` does a bounded amount of work and returns; it never waits for another executor. The same code
//! is stepped by the driver threads of a worker, by the dedicated thread of a blocking component, and by
//! the seeded simulation. Time, randomness and addresses are passed in.
//!
//! * [`spout`] and [`bolt`] are executors of user code. Their tasks are [`spout_task`] and
//!   [`bolt_task`]; `tuple_loop` calls `execute` for each tuple of a batch, and `user_code` catches
//!   panics of user code.
//! * [`acker`] is the shell around `acking::acker`.
//! * [`end_coordinator`] ends the topology, through [`local_executors`].
//! * [`step`] is what all of them have in common.

pub mod acker;
mod batch_cursor;
pub mod bolt;
pub mod bolt_task;
pub mod end_coordinator;
pub mod local_executors;
pub mod spout;
pub mod spout_task;
pub mod step;
mod tuple_loop;
mod user_code;

use crate::runtime::executor::end_coordinator::EndCoordinator;
use crate::runtime::executor::step::{Step, StepContext};

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
}

impl Executor {
    /// Does a bounded amount of work.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        match self {
            Executor::Spout(spout) => spout.step(cx),
            Executor::Bolt(bolt) => bolt.step(cx),
            Executor::Acker(acker) => acker.step(cx),
            Executor::Coordinator(coordinator) => coordinator.step(cx),
        }
    }
}
