//! Ends the topology in this process: the executor around `end_sequence`.
//!
//! If the whole topology runs in this process, the coordinator decides about the end itself. If the worker
//! is one of several, the master decides. The coordinator then reports progress and requests to the
//! master, and the master's commands reach the executors through `LocalExecutors`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Time;
use crate::runtime::end_sequence::{EndCommand, EndProgress, EndSequence};
use crate::runtime::executor::checkpoint_coordinator::CheckpointCoordinator;
use crate::runtime::executor::local_executors::{LocalExecutors, MasterHandle};
use crate::runtime::executor::step::{Step, StepContext, StepOutcome};
use crate::runtime::executor::worker_checkpoints::WorkerCheckpoints;
use crate::runtime::flow::checkpoint::CheckpointEvent;
use crate::runtime::flow::inbox::Inbox;
use crate::runtime::flow::message::{Control, EndRequest};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::starvation::WithheldTime;

enum Role {
    /// The coordinator decides itself. Once executors close, it measures the time that is withheld from
    /// their threads.
    Decides {
        ending: EndSequence,
        withheld: Option<WithheldTime>,
        checkpoints: Option<Box<CheckpointCoordinator>>,
    },
    /// The master decides; the coordinator reports to it.
    Reports { master: Arc<dyn MasterHandle>, checkpoints: Option<Box<WorkerCheckpoints>> },
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
        checkpoints: Option<Box<CheckpointCoordinator>>,
    ) -> EndCoordinator {
        let ending = if checkpoints.is_some() { ending.with_last_checkpoint() } else { ending };
        let role = Role::Decides { ending, withheld: None, checkpoints };
        EndCoordinator { inbox, lifecycle, local_executors, role }
    }

    /// Of one process among several.
    pub fn reporting(
        inbox: Inbox,
        lifecycle: Arc<Lifecycle>,
        local_executors: Arc<LocalExecutors>,
        master: Arc<dyn MasterHandle>,
        checkpoints: Option<Box<WorkerCheckpoints>>,
    ) -> EndCoordinator {
        EndCoordinator { inbox, lifecycle, local_executors, role: Role::Reports { master, checkpoints } }
    }

    fn take(&mut self, request: EndRequest, now: Time) {
        match (request, &mut self.role) {
            (EndRequest::Drain | EndRequest::Stop, Role::Decides { ending, .. }) => ending.drain(now),
            (EndRequest::Kill, Role::Decides { ending, .. }) => ending.kill(),
            (EndRequest::Drain, Role::Reports { master, .. }) => master.drain(),
            (EndRequest::Stop, Role::Reports { master, .. }) => {
                let reason = self.lifecycle.stopped();
                master.stop(reason.expect("it is noted before the coordinator receives the request"));
            }
            // The master ends the worker.
            (EndRequest::Kill, Role::Reports { .. }) => {}
        }
    }

    fn take_checkpoint_event(&mut self, event: CheckpointEvent, now: Time) {
        match &mut self.role {
            Role::Decides { checkpoints: Some(checkpoints), .. } => checkpoints.take(event, now),
            Role::Reports { master, checkpoints: Some(checkpoints) } => {
                if let Some(report) = checkpoints.take(event) {
                    master.checkpoint(report);
                }
            }
            Role::Decides { checkpoints: None, .. } | Role::Reports { checkpoints: None, .. } => {}
        }
    }

    /// Takes requests, then carries out the commands that are due, or reports progress to the master.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        while let Ok(control) = self.inbox.control.try_recv() {
            match control {
                Control::End(request) => self.take(request, cx.now),
                Control::CheckpointEvent(event) => self.take_checkpoint_event(event, cx.now),
                Control::CheckpointOrder(order) => {
                    if let Role::Reports { checkpoints: Some(checkpoints), .. } = &mut self.role {
                        checkpoints.carry_out(order);
                    }
                }
                Control::Tree(_)
                | Control::Loss(_)
                | Control::Command(_)
                | Control::Checkpoint(_)
                | Control::Storage(_) => {
                    debug_assert!(false, "for other executors, not for the coordinator");
                }
            }
        }
        match &mut self.role {
            Role::Decides { ending, withheld, checkpoints } => {
                if let Some(withheld) = withheld {
                    ending.withheld(withheld.look(cx.now));
                }
                loop {
                    let mut progress = self.local_executors.progress();
                    if let Some(checkpoints) = checkpoints {
                        advance_checkpoints(checkpoints, ending, &mut progress, cx);
                    }
                    let command = ending.next(&progress, cx.now);
                    if let Some(checkpoints) = checkpoints
                        && ending.waits_for_last_checkpoint()
                        && checkpoints.sequence.finished(cx.now)
                    {
                        continue;
                    }
                    let Some(command) = command else { break };
                    self.lifecycle.cut_short.fetch_or(ending.is_cut_short(), Ordering::SeqCst);
                    self.local_executors.carry_out(command);
                    if command == EndCommand::Close {
                        *withheld = Some(WithheldTime::new(Arc::clone(&self.lifecycle.threads), cx.now));
                    }
                    if command == EndCommand::End {
                        return Step { outcome: StepOutcome::Closed, wake_at: Time::NEVER };
                    }
                }
                let look_at = match withheld {
                    Some(_) => cx.now.after(WithheldTime::LOOK_PERIOD),
                    None => Time::NEVER,
                };
                let due = checkpoints
                    .as_ref()
                    .map_or(Time::NEVER, |checkpoints| checkpoints.sequence.wake_at(cx.now));
                Step { outcome: StepOutcome::Idle, wake_at: ending.deadline().min(look_at).min(due) }
            }
            Role::Reports { master, .. } => {
                master.look(&self.local_executors.progress());
                Step { outcome: StepOutcome::Idle, wake_at: Time::NEVER }
            }
        }
    }
}

/// Carries out what is due about checkpoints, and brings the end of the topology in line with it.
fn advance_checkpoints(
    checkpoints: &mut CheckpointCoordinator,
    ending: &mut EndSequence,
    progress: &mut EndProgress,
    cx: &StepContext<'_>,
) {
    if checkpoints.is_stopped() {
        checkpoints.sequence.stop(cx.now);
        ending.skip_last_checkpoint();
    }
    checkpoints.sequence.note_finishing(ending.is_finishing());
    if checkpoints.advance(cx) {
        ending.begin_again();
    }
    let sequence = &checkpoints.sequence;
    if sequence.may_close() {
        ending.last_checkpoint_taken();
    }
    if sequence.has_failed() {
        ending.kill();
    }
    sequence.adjust(progress);
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::runtime::end_sequence::CLOSE_MAX;
    use crate::runtime::flow::inbox::inbox;
    use crate::runtime::flow::run_queue::{RunQueue, Urgency};
    use crate::topology::plan::ExecutorId;

    /// Time in which the process got no processor, here because it was suspended, is not time in which its
    /// executors could close.
    #[test]
    fn the_close_is_not_cut_short_by_time_that_was_withheld() {
        let lifecycle = Arc::new(Lifecycle::default());
        let run_queue = Arc::new(RunQueue::new(2));
        let new = |id, name: &str| inbox(ExecutorId(id), ExecutorId(id), name.into(), &run_queue);
        let ((spout, _spout_inbox), (coordinator, coordinator_inbox)) = (new(0, "spout"), new(1, "end"));
        let (shared, queue) = (Arc::clone(&lifecycle), Arc::clone(&run_queue));
        let executors = Arc::new(LocalExecutors::new(vec![spout], vec![], vec![], shared, queue));
        let ending = EndSequence::new(1, Duration::from_secs(30));
        let mut end =
            EndCoordinator::alone(coordinator_inbox, Arc::clone(&lifecycle), executors, ending, None);
        // A thread that steps executors and sleeps.
        let (wake, sleep) = flume::bounded::<()>(0);
        let (enter, entered) = flume::bounded(0);
        let threads = Arc::clone(&lifecycle.threads);
        let sleeper = thread::spawn(move || {
            let entered = threads.enter();
            let _ = enter.send(());
            let _ = sleep.recv();
            drop(entered);
        });
        entered.recv().expect("the thread runs");

        let clock = Clock::simulated();
        let mut step = || {
            let cx = StepContext { clock: &clock, now: clock.now(), budget: 1, may_wait: false };
            end.step(&cx)
        };
        coordinator.send_control(EndRequest::Drain, Urgency::Now);
        let closing = loop {
            let step = step();
            if step.wake_at != Time::NEVER {
                break step;
            }
        };
        assert_eq!(closing.outcome, StepOutcome::Idle);
        clock.advance(CLOSE_MAX * 10);
        assert_eq!(step().outcome, StepOutcome::Idle, "all of it was withheld but 0.2 s");
        assert!(!lifecycle.cut_short.load(Ordering::SeqCst));
        let mut looks = 0;
        while step().outcome != StepOutcome::Closed {
            clock.advance(WithheldTime::LOOK_PERIOD);
            looks += 1;
        }
        assert!(looks >= 48, "it has its 5 s: {looks}");
        assert!(lifecycle.cut_short.load(Ordering::SeqCst));
        drop(wake);
        sleeper.join().expect("it ends");
    }
}
