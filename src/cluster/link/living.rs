//! What a worker that runs has to tell a master that did not start it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::cluster::control::{FromWorker, ToWorker};
use crate::cluster::stats::{WorkerStats, changed};
use crate::ids::Incarnation;
use crate::net::Members;
use crate::runtime::end_sequence::EndCommand;

/// A worker that runs, as it knows itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Living {
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The version of the assignment of executors to workers that it runs by.
    pub assignment: u64,
    /// Where its peers dial it, if it listens by now.
    pub address: Option<SocketAddr>,
    /// The members as it knows them.
    pub members: Members,
    /// Whether its spouts may emit.
    pub active: bool,
    /// Whether they ever could.
    pub was_active: bool,
    /// Whether it was told to close.
    pub closes: bool,
}

/// Follows what passes between a worker and its master, so that the worker can be handed to another master.
#[derive(Debug, Default)]
pub struct LifeLog {
    /// What it runs, once it was told.
    pub living: Option<Living>,
    /// Its last counters, with all latencies.
    stats: Option<WorkerStats>,
}

impl LifeLog {
    /// The worker gets this message.
    pub fn sent(&mut self, message: &ToWorker) {
        if let ToWorker::Start(start) = message {
            self.living = Some(Living {
                incarnation: start.incarnation,
                assignment: start.assignment.version,
                address: None,
                members: start.members.clone(),
                active: false,
                was_active: false,
                closes: false,
            });
        }
        let Some(living) = &mut self.living else { return };
        match message {
            ToWorker::Members(members) => living.members.clone_from(members),
            ToWorker::Activate => (living.active, living.was_active) = (true, true),
            ToWorker::Deactivate => living.active = false,
            ToWorker::Ending(EndCommand::Close) => living.closes = true,
            ToWorker::Start(_)
            | ToWorker::Ending(_)
            | ToWorker::Checkpoint(_)
            | ToWorker::Probe { .. }
            | ToWorker::ReadLog { .. } => {}
        }
    }

    /// The worker sends this message.
    pub fn reported(&mut self, message: &FromWorker) {
        match message {
            FromWorker::Listening { address } => {
                if let Some(living) = &mut self.living {
                    living.address = Some(*address);
                }
            }
            FromWorker::Stats(stats) => {
                let before = self.stats.take().unwrap_or_default();
                let latencies = changed(&before.latencies, &stats.latencies);
                self.stats = Some(WorkerStats { latencies, ..(**stats).clone() });
            }
            FromWorker::Beat(_)
            | FromWorker::Progress { .. }
            | FromWorker::DrainRequested
            | FromWorker::Stopped(_)
            | FromWorker::Checkpoint(_)
            | FromWorker::Link { .. }
            | FromWorker::LinkDown { .. }
            | FromWorker::TooLarge { .. }
            | FromWorker::LogRead { .. }
            | FromWorker::Fatal(_)
            | FromWorker::ClosesLate
            | FromWorker::Ended { .. } => {}
        }
    }

    /// The counters that a master needs that has none of this worker.
    pub fn stats(&self) -> Option<FromWorker> {
        self.stats.clone().map(|stats| FromWorker::Stats(Box::new(stats)))
    }
}

/// Whether a message that no master has taken is of use to another master. What answers a question of the old one is
/// not; beats and counters come again.
pub fn outlives_its_master(message: &FromWorker) -> bool {
    match message {
        FromWorker::DrainRequested
        | FromWorker::Stopped(_)
        | FromWorker::Fatal(_)
        | FromWorker::TooLarge { .. }
        | FromWorker::Ended { .. } => true,
        FromWorker::Listening { .. }
        | FromWorker::Beat(_)
        | FromWorker::Progress { .. }
        | FromWorker::Stats(_)
        | FromWorker::Checkpoint(_)
        | FromWorker::Link { .. }
        | FromWorker::LinkDown { .. }
        | FromWorker::LogRead { .. }
        | FromWorker::ClosesLate => false,
    }
}
