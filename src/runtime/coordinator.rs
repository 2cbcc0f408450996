//! Ends a topology in order: when its input has ended, or when it is asked to.
//!
//! ```text
//!            at rest, messages open and held        all answered
//!   Running ───────────────────────────────▶ Asking ────────────▶ Running
//!      │
//!      │ at rest, no message open            all components done, still at rest
//!      └─────────────────────▶ Finishing(0..n) ─────────────────────▶ Closing ──▶ Ended
//!                                  │ something failed: back to Running  ▲
//!                                  ▼                                    │ deadline
//!                               Running ────────────────────────────────┘
//! ```
//!
//! *At rest* is defined in `lifecycle`. Components finish one after another in the order of the
//! graph, each after everything its predecessors emitted while finishing was processed. Executors
//! that hold tuples at rest are asked to finish first, or their messages would stay open for ever.
//!
//! A drain has a deadline; when it passes, everything is closed as it is and the run counts as cut
//! short. So does one whose executors do not answer the close.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Time;
use crate::runtime::executor::{Step, StepContext, StepOutcome};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::message::Control;
use crate::runtime::queue::{Inbox, InboxSender};
use crate::runtime::run_queue::{RunQueue, Urgency};

/// How long executors may take to answer a close.
const CLOSE_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Holders were asked to let go; so many were asked.
    Asking(usize),
    /// The component at this place of the order is finishing.
    Finishing(usize),
    /// All are closing; the deadline.
    Closing(Time),
    Ended,
}

/// Whom the coordinator commands.
pub struct Subordinates {
    /// All spout executors.
    pub spouts: Vec<InboxSender>,
    /// The bolt executors, by component, in the order of the graph.
    pub bolts: Vec<Vec<InboxSender>>,
    /// The ackers.
    pub ackers: Vec<InboxSender>,
}

impl Subordinates {
    fn all(&self) -> impl Iterator<Item = &InboxSender> {
        self.spouts.iter().chain(self.bolts.iter().flatten()).chain(&self.ackers)
    }
}

/// The executor that ends the topology.
pub struct Coordinator {
    inbox: Inbox,
    lifecycle: Arc<Lifecycle>,
    run_queue: Arc<RunQueue>,
    subordinates: Subordinates,
    drain_timeout: Duration,
    phase: Phase,
    drain_deadline: Time,
    /// The activity at the time holders were last asked: asked once per standstill.
    asked_at: u64,
}

impl Coordinator {
    /// A coordinator of a topology that runs.
    pub fn new(
        inbox: Inbox,
        lifecycle: Arc<Lifecycle>,
        run_queue: Arc<RunQueue>,
        subordinates: Subordinates,
        drain_timeout: Duration,
    ) -> Coordinator {
        Coordinator {
            inbox,
            lifecycle,
            run_queue,
            subordinates,
            drain_timeout,
            phase: Phase::Running,
            drain_deadline: Time::NEVER,
            asked_at: u64::MAX,
        }
    }

    /// Looks at how far the end has come.
    pub fn step(&mut self, cx: &StepContext<'_>) -> Step {
        self.take_control(cx.now);
        if cx.now >= self.drain_deadline
            && matches!(self.phase, Phase::Running | Phase::Asking(_) | Phase::Finishing(_))
        {
            self.lifecycle.cut_short.store(true, Ordering::SeqCst);
            self.close(cx.now);
        }
        while self.advance(cx.now) {}
        let (outcome, wake_at) = match self.phase {
            Phase::Ended => (StepOutcome::Closed, Time::NEVER),
            Phase::Closing(deadline) => (StepOutcome::Idle, deadline),
            Phase::Running | Phase::Asking(_) | Phase::Finishing(_) => {
                (StepOutcome::Idle, self.drain_deadline)
            }
        };
        Step { outcome, wake_at }
    }

    fn take_control(&mut self, now: Time) {
        while let Ok(control) = self.inbox.control.try_recv() {
            match control {
                Control::Drain if self.drain_deadline == Time::NEVER => {
                    self.drain_deadline = now.after(self.drain_timeout);
                    self.subordinates
                        .spouts
                        .iter()
                        .for_each(|spout| spout.send_control(Control::Drain, Urgency::Now));
                }
                Control::Close if !matches!(self.phase, Phase::Closing(_) | Phase::Ended) => {
                    self.lifecycle.cut_short.store(true, Ordering::SeqCst);
                    self.close(now);
                }
                _ => {}
            }
        }
    }

    /// One transition, if it is due.
    fn advance(&mut self, now: Time) -> bool {
        match self.phase {
            Phase::Running if self.lifecycle.is_at_rest() => self.at_rest(),
            Phase::Asking(asked) if self.lifecycle.finished.load(Ordering::SeqCst) >= asked => {
                self.phase = Phase::Running;
                true
            }
            Phase::Finishing(place) => self.finishing(place, now),
            Phase::Closing(deadline) => {
                let closed = self.lifecycle.closed.load(Ordering::SeqCst);
                let late = now >= deadline;
                if closed < self.subordinates.all().count() && !late {
                    return false;
                }
                if late {
                    self.lifecycle.cut_short.store(true, Ordering::SeqCst);
                }
                self.phase = Phase::Ended;
                self.lifecycle.end();
                self.run_queue.stop();
                false
            }
            Phase::Running | Phase::Asking(_) | Phase::Ended => false,
        }
    }

    fn pending(&self) -> i64 {
        self.subordinates.spouts.iter().map(|spout| spout.gauges.pending.load(Ordering::SeqCst)).sum()
    }

    fn at_rest(&mut self) -> bool {
        if self.pending() == 0 {
            self.start_finishing(0);
            return true;
        }
        let activity = self.lifecycle.activity.load(Ordering::SeqCst);
        let holders: Vec<_> = self
            .subordinates
            .bolts
            .iter()
            .flatten()
            .filter(|bolt| bolt.gauges.held.load(Ordering::SeqCst) > 0)
            .cloned()
            .collect();
        if holders.is_empty() || activity == self.asked_at {
            // Something was lost: its time-out brings it back.
            return false;
        }
        self.asked_at = activity;
        self.lifecycle.finished.store(0, Ordering::SeqCst);
        self.phase = Phase::Asking(holders.len());
        holders.iter().for_each(|bolt| bolt.send_control(Control::Finish, Urgency::Now));
        false
    }

    fn start_finishing(&mut self, place: usize) {
        self.lifecycle.finished.store(0, Ordering::SeqCst);
        self.phase = Phase::Finishing(place);
        if let Some(component) = self.subordinates.bolts.get(place) {
            component.iter().for_each(|bolt| bolt.send_control(Control::Finish, Urgency::Now));
        }
    }

    fn finishing(&mut self, place: usize, now: Time) -> bool {
        let asked = self.subordinates.bolts.get(place).map_or(0, Vec::len);
        if self.lifecycle.finished.load(Ordering::SeqCst) < asked || !self.lifecycle.is_at_rest() {
            // A spout that lives again (a failure while finishing) ends the round.
            let alive = self.lifecycle.live_spouts.load(Ordering::SeqCst) > 0;
            if alive && self.lifecycle.finished.load(Ordering::SeqCst) >= asked {
                self.phase = Phase::Running;
            }
            return false;
        }
        if place + 1 < self.subordinates.bolts.len() {
            self.start_finishing(place + 1);
        } else if self.pending() == 0 {
            self.close(now);
        } else {
            self.phase = Phase::Running;
        }
        true
    }

    fn close(&mut self, now: Time) {
        self.phase = Phase::Closing(now.after(CLOSE_MAX));
        self.subordinates.all().for_each(|executor| executor.send_control(Control::Close, Urgency::Now));
    }
}
