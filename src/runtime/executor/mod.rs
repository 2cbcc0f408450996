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
mod in_hand;
pub mod spout;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::api::{TaskError, TaskHook};
use crate::clock::{Clock, Time};
use crate::config::ErrorOptions;
use crate::logging::panics::{self, catch_unwind, guarded};
use crate::runtime::coordinator::Coordinator;
use crate::runtime::errors::ErrorReporter;
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::message::AckRecords;
use crate::runtime::queue::{Inbox, InboxSender, count};
use crate::runtime::run_queue::{RunQueue, Urgency};
use crate::tuple::TupleBatch;

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
const WAITED_AFTER: Duration = Duration::from_millis(1);
/// A step ends after this long, if user code returns.
const STEP_TIME_MAX: Duration = Duration::from_millis(5);
/// The clock is looked at after so many tuples.
const TUPLES_PER_LOOK: u32 = 64;

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

/// What becomes of a batch that a test interferes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is processed.
    Deliver,
    /// It is lost.
    Drop,
    /// The task dies before it takes the batch.
    Crash,
}

/// Interference for tests: asked for every batch before a task takes it.
pub trait Faults: Send + Sync {
    /// What becomes of a batch for a task of a component.
    fn fate(&self, component: &str, task_index: usize, batch: &TupleBatch) -> Fate;

    /// May change what an acker is told.
    fn tamper(&self, _records: &mut AckRecords) {}
}

/// What every executor of user code has.
pub struct Common {
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

impl Common {
    /// Notes that so many messages were processed and everything that came of them was sent.
    pub fn processed(&self, messages: i64) {
        if messages > 0 && self.lifecycle.processed(messages) {
            self.coordinator.wake(Urgency::Now);
        }
    }
}

/// When a broken task is built again: at once after a long good time, else with growing pauses. One
/// that failed for good is not.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// Not before this.
    pub due: Time,
    pause: Duration,
    built_at: Time,
    /// Whether the task was ever built.
    built: bool,
}

impl Restart {
    /// Of a task that was not built yet.
    pub fn new() -> Restart {
        Restart { due: Time::ZERO, pause: Duration::ZERO, built_at: Time::ZERO, built: false }
    }

    /// The task cannot be built, now or later: the run ends without it.
    fn give_up(&mut self) {
        self.due = Time::NEVER;
    }

    /// Whether the task is never built again.
    pub fn is_over(&self) -> bool {
        self.due == Time::NEVER
    }

    /// The task broke (or could not be built).
    pub fn broke(&mut self, now: Time, options: &ErrorOptions) {
        if self.is_over() {
            return;
        }
        if now.since(self.built_at) > options.restart_max {
            self.pause = Duration::ZERO;
        }
        self.pause = (self.pause * 2).clamp(options.restart_min, options.restart_max);
        self.due = now.after(self.pause);
    }

    /// The task was built; says whether it had been before.
    fn built(&mut self, now: Time) -> bool {
        self.built_at = now;
        std::mem::replace(&mut self.built, true)
    }

    /// Builds an instance if that is due. `None`: it is not, or was in vain, which was reported.
    ///
    /// # Errors
    /// What user code said when it panicked: the task is to break down.
    pub fn build<T>(
        &mut self,
        build: impl FnOnce() -> Result<T, TaskError>,
        errors: &ErrorReporter,
        common: &Common,
        now: Time,
    ) -> Result<Option<T>, String> {
        if self.due > now {
            return Ok(None);
        }
        match catch_unwind(AssertUnwindSafe(build)) {
            Ok(Ok(instance)) => {
                if self.built(now) {
                    count(&common.address.gauges.restarts, 1);
                }
                Ok(Some(instance))
            }
            Ok(Err(error)) => {
                errors.report(&error, now);
                if error.is_fatal() {
                    self.give_up();
                }
                self.broke(now, &common.errors);
                Ok(None)
            }
            Err(panic) => Err(panic_text(&*panic)),
        }
    }
}

/// Drops an instance that broke. If it panics once more, that is reported, too.
pub fn drop_broken<T>(broken: T, errors: &ErrorReporter, now: Time) {
    if catch_unwind(AssertUnwindSafe(|| drop(broken))).is_err() {
        errors.report_text("panicked again while it was dropped", now);
    }
}

/// Calls each hook of a task. A panic of one is reported, and costs the others nothing.
pub fn call_hooks(
    hooks: &mut [Box<dyn TaskHook>],
    errors: &ErrorReporter,
    now: Time,
    mut call: impl FnMut(&mut dyn TaskHook),
) {
    for hook in hooks {
        if let Err(panic) = guarded(|| call(&mut **hook)) {
            errors.report_text(&format!("hook {panic}"), now);
        }
    }
}

/// Drops what is left of a task: an instance that was not closed, and its hooks. Panics are reported.
pub fn drop_left<T>(
    instance: Option<T>,
    hooks: &mut Vec<Box<dyn TaskHook>>,
    errors: &ErrorReporter,
    now: Time,
) {
    if let Err(panic) = guarded(|| drop(instance)) {
        errors.report_text(&format!("dropped, it {panic}"), now);
    }
    for hook in hooks.drain(..) {
        if let Err(panic) = guarded(|| drop(hook)) {
            errors.report_text(&format!("hook, dropped, {panic}"), now);
        }
    }
}

/// The end of an instance: its last call, and its drop. Panics of either are reported.
pub fn end_instance<T: ?Sized>(
    mut instance: Box<T>,
    errors: &ErrorReporter,
    now: Time,
    last: impl FnOnce(&mut T),
) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| last(&mut instance))) {
        errors.report_text(&panic_text(&*panic), now);
    }
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(instance))) {
        errors.report_text(&format!("dropped, it {}", panic_text(&*panic)), now);
    }
}

/// What a panic said.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    panics::text_of(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_slow_down_and_recover() {
        let options = ErrorOptions::default();
        let at = |ms: u64| Time(ms * 1_000_000);
        let mut restart = Restart::new();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            restart.broke(at(0), &options);
            pauses.push(restart.due.since(at(0)).as_millis());
        }
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 30_000);
        assert!(!restart.built(at(0)));
        restart.broke(at(40_000), &options);
        assert_eq!(restart.due, at(40_100), "it was well for longer than the longest pause");
        restart.give_up();
        restart.broke(at(50_000), &options);
        assert!(restart.is_over(), "a test that breaks it does not bring it back");
    }
}
