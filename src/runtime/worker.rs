//! All executors of a process, what they share, and how an executor is stepped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::ComponentInfo;
use crate::clock::{Clock, Time};
use crate::metrics::MetricsRegistry;
use crate::runtime::end_sequence::CLOSE_MAX;
use crate::runtime::executor::Executor;
use crate::runtime::executor::checkpoint_coordinator::SharedCounts;
use crate::runtime::executor::latencies::Latencies;
use crate::runtime::executor::local_executors::LocalExecutors;
use crate::runtime::executor::step::{StepContext, StepOutcome};
use crate::runtime::flow::checkpoint::CheckpointEvent;
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::message::ExecutorCommand;
use crate::runtime::flow::run_queue::{RunQueue, Urgency};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::process::Process;
use crate::runtime::savepoint_desk::SavepointDesk;
use crate::topology::graph::Topology;
use crate::topology::plan::{ExecutorId, Part};

/// An executor as the worker knows it: what it is part of, and how it is reached.
pub struct ExecutorEntry {
    /// What it is part of; `None` for the coordinator, and for the executor that writes checkpoints.
    pub part: Option<Part>,
    /// Its inbox.
    pub address: InboxSender,
}

/// An executor that is stepped for itself, with those that are chained behind it.
pub struct HostedExecutor {
    /// The executor, then those of its chain. Never empty.
    pub chain: Vec<ExecutorEntry>,
    /// Whether it has a thread of its own.
    pub blocking: bool,
    /// The state machine. Locked by the thread that steps it. The run queue ensures that only one thread
    /// steps it at a time, so no thread ever waits for the lock.
    body: Mutex<Executor>,
    /// The earliest timer set for it that has not fired.
    armed: AtomicU64,
}

impl HostedExecutor {
    /// An executor that has not been stepped, with the entries of its chain.
    pub fn new(chain: Vec<ExecutorEntry>, blocking: bool, body: Executor) -> HostedExecutor {
        let armed = AtomicU64::new(Time::NEVER.0);
        HostedExecutor { chain, blocking, body: Mutex::new(body), armed }
    }

    /// Its id.
    pub fn id(&self) -> ExecutorId {
        self.chain[0].address.executor
    }

    /// Its components, for people: `lines -> split` if it is a chain.
    pub fn components(&self) -> SmolStr {
        let names: Vec<&str> = self.chain.iter().map(|entry| entry.address.component.as_str()).collect();
        SmolStr::new(names.join(" -> "))
    }
}

/// A process's share of a topology, which may be all of it.
pub struct Worker {
    /// What runs.
    pub topology: Topology,
    /// How components see each other.
    pub components: Arc<Vec<ComponentInfo>>,
    /// The executors that are stepped here, by id; then the coordinator, and the one that writes checkpoints, if there
    /// is one. None stands for an executor of another worker, and for one that is chained behind another.
    pub executors: Vec<Option<HostedExecutor>>,
    /// The executors as the end of the topology needs them.
    pub local_executors: Arc<LocalExecutors>,
    /// The inbox of the coordinator.
    pub coordinator: InboxSender,
    /// How checkpoints have gone so far, if any are taken.
    pub checkpoint_counts: Option<SharedCounts>,
    /// Where a thread waits that wants a savepoint.
    pub savepoints: Arc<SavepointDesk>,
    /// The runnable executors.
    pub run_queue: Arc<RunQueue>,
    /// The time.
    pub clock: Clock,
    /// What is outstanding, and the state of the topology's end.
    pub lifecycle: Arc<Lifecycle>,
    /// Completion latencies.
    pub latencies: Latencies,
    /// Metrics that components registered.
    pub metrics: MetricsRegistry,
    /// Where the runtime logs.
    pub logger: slog::Logger,
    /// Resources and worker hooks of this process. Dropped last, after the instances of all tasks.
    pub process: Process,
}

impl Worker {
    /// The executors that are stepped in this process.
    pub fn hosted(&self) -> impl Iterator<Item = &HostedExecutor> {
        self.executors.iter().flatten()
    }

    /// All executors of this process, those that are part of no component included.
    pub fn entries(&self) -> impl Iterator<Item = &ExecutorEntry> {
        self.hosted().flat_map(|executor| &executor.chain)
    }

    /// An executor that is stepped in this process.
    pub fn executor(&self, id: ExecutorId) -> &HostedExecutor {
        self.executors[id.index()].as_ref().expect("only executors of this process are stepped")
    }

    /// Steps an executor that was taken from the run queue. Then queues it again if it has more work, and
    /// otherwise sets its timer and makes it idle. Returns when to step it again without a wake.
    pub fn step(&self, id: ExecutorId, budget: u32) -> Time {
        let executor = self.executor(id);
        let step = {
            let mut body = executor.body.lock().unwrap_or_else(PoisonError::into_inner);
            let (clock, now) = (&self.clock, self.clock.now());
            body.step(&StepContext { clock, now, budget, may_wait: executor.blocking })
        };
        match step.outcome {
            StepOutcome::Worked => {
                self.run_queue.done_with_more(id);
                Time::ZERO
            }
            // A closed executor stays in the state Running for ever, so no wake queues it.
            StepOutcome::Closed => Time::NEVER,
            StepOutcome::Idle | StepOutcome::Blocked => {
                if !executor.blocking {
                    self.arm(id, step.wake_at);
                }
                self.run_queue.done(id);
                step.wake_at
            }
        }
    }

    /// Gives up the storage of checkpoints, so that another run may have it. The topology must have ended.
    pub fn close_checkpoints(&self) {
        // The others are not locked: a call into user code that does not return would be waited for.
        let last = self.executors.last().and_then(Option::as_ref);
        let Some(last) = last.filter(|_| self.checkpoint_counts.is_some()) else { return };
        // After an end that was cut short, a write may never return, so it is not waited for without end.
        let deadline = self.clock.now().after(CLOSE_MAX);
        let mut body = loop {
            match last.body.try_lock() {
                Ok(body) => break body,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if !self.lifecycle.cut_short.load(Ordering::SeqCst) => {
                    break last.body.lock().unwrap_or_else(PoisonError::into_inner);
                }
                Err(TryLockError::WouldBlock) if self.clock.now() >= deadline => return,
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        };
        if let Executor::Storage(storage) = &mut *body {
            storage.close();
        }
    }

    /// Sends a command to every executor of a component or acker.
    pub fn command_all(&self, command: ExecutorCommand) {
        let local_executors = self.entries().filter(|executor| executor.part.is_some());
        local_executors.for_each(|executor| executor.address.send_control(command, Urgency::Now));
    }

    /// Has spouts emit nothing until the next `activate`.
    pub fn deactivate(&self) {
        self.local_executors.want_active(false);
        self.command_all(ExecutorCommand::Deactivate);
    }

    /// Lets spouts emit, and has tasks built that were not built yet.
    pub fn activate(&self) {
        self.local_executors.want_active(true);
        // Bolts first, so that they can be prepared before the first tuple arrives.
        let is_spout = |executor: &&ExecutorEntry| self.is_spout(executor);
        let (spouts, others): (Vec<_>, Vec<_>) =
            self.entries().filter(|executor| executor.part.is_some()).partition(is_spout);
        let activate = |executor: &&ExecutorEntry| {
            executor.address.send_control(ExecutorCommand::Activate, Urgency::Now)
        };
        others.iter().chain(&spouts).for_each(activate);
        if self.checkpoint_counts.is_some() {
            self.coordinator.send_control(CheckpointEvent::Activated, Urgency::Now);
        }
    }

    fn is_spout(&self, executor: &ExecutorEntry) -> bool {
        let component = |part| if let Part::Component(index) = part { Some(index) } else { None };
        executor.part.and_then(component).is_some_and(|index| self.topology.components()[index].is_spout())
    }

    /// Sets a timer, unless an earlier timer is set already.
    fn arm(&self, id: ExecutorId, at: Time) {
        let armed = &self.executor(id).armed;
        let set = armed.load(Ordering::Relaxed);
        let still_set = set != Time::NEVER.0 && set > self.clock.now().0;
        if at != Time::NEVER && (!still_set || at.0 < set) {
            armed.store(at.0, Ordering::Relaxed);
            self.run_queue.wake_at(id, at);
        }
    }
}
