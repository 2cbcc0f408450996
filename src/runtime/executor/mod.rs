//! Executors: state machines that are stepped.
//!
//! `step` does a bounded amount of work and returns; it never waits. The same code is stepped by
//! the driver threads of a worker, by the dedicated thread of a blocking component, and by the
//! seeded simulation; time, randomness and peers are handed in.
//!
//! * [`spout`], [`bolt`]: user code and what surrounds it.
//! * [`acker`]: the shell around `runtime::acker`.
//! * `runtime::coordinator` is the fourth kind: it ends the topology.

pub mod acker;
pub mod bolt;
pub mod bolt_task;
mod in_hand;
pub mod spout;
pub mod spout_task;
pub mod step;
mod tuple_loop;
mod user_code;

use crate::runtime::coordinator::Coordinator;
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
    Coordinator(Box<Coordinator>),
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
