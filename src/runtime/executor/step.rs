//! The input and the result of an executor's step, and what all executors of user code have.
//!
//! A step does a bounded amount of work and never waits. Its caller passes in the clock, so production
//! and the simulation step the same code.
//!
//! 1. A step that reaches [`STEP_TIME_MAX`] ends as soon as user code returns. The next step continues.
//! 2. `Blocked` is not `Idle`: an executor that is `Blocked` has input and lacks credit, an executor
//!    that is `Idle` has no input.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::api::{OutputState, TaskContext};
use crate::clock::{Clock, Time};
use crate::config::ErrorOptions;
use crate::runtime::executor::checkpoints::StorageSender;
use crate::runtime::faults::Faults;
use crate::runtime::flow::checkpoint::CheckpointEvent;
use crate::runtime::flow::inbox::{Inbox, InboxSender};
use crate::runtime::flow::run_queue::{RunQueue, Urgency};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::routing::emitter::Emitter;

/// What a step is given.
pub struct StepContext<'a> {
    /// The worker's clock, for steps that must not become too long.
    pub clock: &'a Clock,
    /// When the step began.
    pub now: Time,
    /// Tuples to process at most.
    pub budget: u32,
    /// Whether the executor has a thread of its own, because its calls may wait.
    pub may_wait: bool,
}

impl StepContext<'_> {
    /// Whether the step has run for so long that other executors should have a turn.
    pub fn is_over(&self) -> bool {
        self.clock.now().since(self.now) >= STEP_TIME_MAX
    }
}

/// A call of a blocking bolt that takes at least this long counts as one that waited, and ends its step.
pub const WAITED_AFTER: Duration = Duration::from_millis(1);

/// A step ends after this long, if user code returns.
const STEP_TIME_MAX: Duration = Duration::from_millis(5);

/// The clock is read after this many tuples.
pub const TUPLES_PER_LOOK: u32 = 64;

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum StepOutcome {
    /// There is more to do at once.
    Worked,
    /// There is nothing to do until a message arrives or the time `wake_at` is reached.
    Idle,
    /// There is work, but no credit for it. The release of credit wakes the executor.
    Blocked,
    /// It was closed and is never to be stepped again.
    Closed,
}

/// The result of a step, and when to step again at the latest ([`Time::NEVER`]: only when woken).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// What happened.
    pub outcome: StepOutcome,
    /// When to step the executor again if nothing wakes it before.
    pub wake_at: Time,
}

/// What a task of user code begins with.
pub struct TaskParts {
    /// What its instances are told about it.
    pub context: TaskContext,
    /// Its outputs, with its hooks.
    pub state: OutputState,
    /// The half that sends them.
    pub emitter: Emitter,
    /// Its place among the tasks of its executor.
    pub local_task: u32,
}

/// What every executor of user code has.
pub struct ExecutorHandles {
    /// Its own address, by which it wakes itself.
    pub address: InboxSender,
    /// Its inbox.
    pub inbox: Inbox,
    /// The counts and flags of the topology's end.
    pub lifecycle: Arc<Lifecycle>,
    /// The executor that ends the topology.
    pub coordinator: InboxSender,
    /// Where producers are woken when credit returns.
    pub run_queue: Arc<RunQueue>,
    /// Which incarnations of the other workers are current. Written by the ingress, read at the begin of
    /// each step.
    pub membership: Arc<AtomicU64>,
    /// How broken tasks are restarted.
    pub errors: ErrorOptions,
    /// Whether event time comes to the component, or begins there.
    pub has_event_time: bool,
    /// Injected faults, in tests only.
    pub faults: Option<Arc<dyn Faults>>,
    /// The way to the executor that writes checkpoints, where there is one.
    pub storage: Option<StorageSender>,
}

impl ExecutorHandles {
    /// Whether tasks go back to a checkpoint after a loss.
    pub fn has_checkpoints(&self) -> bool {
        self.storage.is_some()
    }

    /// Where there are checkpoints: a task has lost what no other has, so all go back to the latest.
    pub fn lost(&self, why: &str) {
        if self.has_checkpoints() {
            let (component, why) = (self.address.component.clone(), why.to_owned());
            self.coordinator.send_control(CheckpointEvent::Lost { component, why }, Urgency::Now);
        }
    }

    /// Notes that this many control messages or batches were processed, and that everything that followed
    /// from them was sent. Wakes the coordinator if nothing is outstanding any more.
    pub fn processed(&self, messages: i64) {
        if messages > 0 && self.lifecycle.rest.processed(messages) {
            self.coordinator.wake(Urgency::Now);
        }
    }
}
