//! What a step of an executor gets, what it returns, and what all executors of user code have.
//!
//! A step does a bounded amount of work and never waits. Its caller passes in the clock, so production
//! and the simulation step the same code.
//!
//! 1. A step that reaches [`STEP_TIME_MAX`] ends as soon as user code returns. The next step goes on.
//! 2. `Blocked` is not `Idle`: an executor that is `Blocked` has input and lacks credit, an executor
//!    that is `Idle` has no input.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::config::ErrorOptions;
use crate::runtime::faults::Faults;
use crate::runtime::flow::inbox::{Inbox, InboxSender};
use crate::runtime::flow::run_queue::{RunQueue, Urgency};
use crate::runtime::lifecycle::Lifecycle;

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
    /// Whether the step has gone on for so long that others should have a turn.
    pub fn is_over(&self) -> bool {
        self.clock.now().since(self.now) >= STEP_TIME_MAX
    }
}

/// A call that takes longer than this has waited, and what was emitted before it is sent.
pub const WAITED_AFTER: Duration = Duration::from_millis(1);

/// A step ends after this long, if user code returns.
const STEP_TIME_MAX: Duration = Duration::from_millis(5);

/// The clock is looked at after so many tuples.
pub const TUPLES_PER_LOOK: u32 = 64;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum StepOutcome {
    /// There is more to do at once.
    Worked,
    /// Nothing to do until a message or the time `wake_at` comes.
    Idle,
    /// There is work, but no credit for it; credit wakes the executor.
    Blocked,
    /// It was closed and is never to be stepped again.
    Closed,
}

/// What a step came to, and when to step again at the latest ([`Time::NEVER`]: when woken).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// What happened.
    pub outcome: StepOutcome,
    /// When to look again without being woken.
    pub wake_at: Time,
}

/// What every executor of user code has.
pub struct ExecutorHandles {
    /// Its own address, by which it wakes itself.
    pub address: InboxSender,
    /// Its messages.
    pub inbox: Inbox,
    /// How the topology ends.
    pub lifecycle: Arc<Lifecycle>,
    /// Who ends it.
    pub coordinator: InboxSender,
    /// Where producers are woken when credit returns.
    pub run_queue: Arc<RunQueue>,
    /// Which incarnations of the other workers are current.
    pub membership: Arc<AtomicU64>,
    /// How broken tasks come back.
    pub errors: ErrorOptions,
    /// Interference, in tests only.
    pub faults: Option<Arc<dyn Faults>>,
}

impl ExecutorHandles {
    /// Notes that so many messages were processed and everything that came of them was sent.
    pub fn processed(&self, messages: i64) {
        if messages > 0 && self.lifecycle.rest.processed(messages) {
            self.coordinator.wake(Urgency::Now);
        }
    }
}
