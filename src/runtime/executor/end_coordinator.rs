//! Ends the topology in this process: the executor around `end_sequence`.
//!
//! If the whole topology runs in this process, the coordinator decides about the end itself. If the worker
//! is one of several, the master decides. The coordinator then reports progress and requests to the
//! master, and the master's commands reach the executors through `LocalExecutors`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Time;
use crate::runtime::end_sequence::{EndCommand, EndSequence};
use crate::runtime::executor::local_executors::{LocalExecutors, MasterHandle};
use crate::runtime::executor::step::{Step, StepContext, StepOutcome};
use crate::runtime::flow::inbox::Inbox;
use crate::runtime::flow::message::{Control, EndRequest};
use crate::runtime::lifecycle::Lifecycle;

enum Role {
    /// The coordinator decides itself.
    Decides(EndSequence),
    /// The master decides; the coordinator reports to it.
    Reports(Arc<dyn MasterHandle>),
}

/// The executor that ends the topology.
pub struct EndCoordinator {
    inbox: Inbox,
    lifecycle: Arc<Lifecycle>,
    local_executors: Arc<LocalExecutors>,
    role: Role,
}

impl EndCoordinator {
    /// Of a topology that is all in this process.
    pub fn alone(
        inbox: Inbox,
        lifecycle: Arc<Lifecycle>,
        local_executors: Arc<LocalExecutors>,
        ending: EndSequence,
    ) -> EndCoordinator {
        EndCoordinator { inbox, lifecycle, local_executors, role: Role::Decides(ending) }
    }

    /// Of one process among several.
    pub fn reporting(
        inbox: Inbox,
        lifecycle: Arc<Lifecycle>,
        local_executors: Arc<LocalExecutors>,
        master: Arc<dyn MasterHandle>,
    ) -> EndCoordinator {
        EndCoordinator { inbox, lifecycle, local_executors, role: Role::Reports(master) }
    }

    fn take(&mut self, request: EndRequest, now: Time) {
        match (request, &mut self.role) {
            (EndRequest::Drain | EndRequest::Stop, Role::Decides(ending)) => ending.drain(now),
            (EndRequest::Kill, Role::Decides(ending)) => ending.kill(),
            (EndRequest::Drain, Role::Reports(master)) => master.drain(),
            (EndRequest::Stop, Role::Reports(master)) => {
                let reason = self.lifecycle.stopped();
                master.stop(reason.expect("it is noted before the coordinator receives the request"));
            }
            // The master ends the worker.
            (EndRequest::Kill, Role::Reports(_)) => {}
        }
    }

    /// Takes requests, then carries out the commands that are due, or reports progress to the master.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        while let Ok(control) = self.inbox.control.try_recv() {
            match control {
                Control::End(request) => self.take(request, cx.now),
                Control::Tree(_) | Control::Loss(_) | Control::Command(_) => {
                    debug_assert!(false, "for other executors, not for the coordinator");
                }
            }
        }
        match &mut self.role {
            Role::Decides(ending) => {
                while let Some(command) = ending.next(&self.local_executors.progress(), cx.now) {
                    self.lifecycle.cut_short.fetch_or(ending.is_cut_short(), Ordering::SeqCst);
                    self.local_executors.carry_out(command);
                    if command == EndCommand::End {
                        return Step { outcome: StepOutcome::Closed, wake_at: Time::NEVER };
                    }
                }
                Step { outcome: StepOutcome::Idle, wake_at: ending.deadline() }
            }
            Role::Reports(master) => {
                master.look(&self.local_executors.progress());
                Step { outcome: StepOutcome::Idle, wake_at: Time::NEVER }
            }
        }
    }
}
