//! A topology in one thread, in simulated time, in an order that a seed decides.
//!
//! The executors are those of production; only the scheduler differs. At each turn the seed chooses one
//! of the runnable executors and its budget, so that many seeds cover many interleavings. Time
//! advances only when nothing is runnable, and then straight to the next timer, so a simulated hour of
//! waiting takes no real time.
//!
//! 1. The same topology, seed and calls give the same run, step by step ([`fingerprint`]).
//! 2. An audit that does not use the XOR counts the tuples of every tree (`runtime::audit`). If a tree
//!    is acked while one of its tuples is in flight or was lost, [`check`] and [`run_to_end`] fail.
//!
//! [`fingerprint`]: SimulatedTopology::fingerprint
//! [`check`]: SimulatedTopology::check
//! [`run_to_end`]: SimulatedTopology::run_to_end

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use xxhash_rust::xxh3::Xxh3;

use crate::api::WorkerResources;
use crate::checkpoint::MemoryStorage;
use crate::clock::{Clock, Time};
use crate::metrics::MetricsRegistry;
use crate::runtime::TopologyStats;
use crate::runtime::simulated::{ExecutorCommand, SimulatedSetup, SimulatedWorker};
use crate::testing::faults::{ActiveFaults, FaultPlan};
use crate::topology::graph::Topology;
use crate::topology::plan::ExecutorId;
use crate::wal::WalPlace;

/// Steps that may follow each other at one point in time; more is reported as a topology that never rests.
const STEPS_WITHOUT_REST_MAX: u64 = 5_000_000;
/// The budgets of a step; each turn draws one of them.
const BUDGETS: [u32; 5] = [1, 3, 17, 256, 2048];

/// How a simulation is set up.
#[derive(Clone)]
pub struct SimulationOptions {
    /// The seed of all random choices.
    pub seed: u64,
    /// The faults to inject.
    pub faults: FaultPlan,
    /// Where components and runtime log; nowhere by default.
    pub logger: slog::Logger,
    /// Objects that tasks find by `TaskContext::resources`.
    pub resources: WorkerResources,
    /// Where the checkpoints of a topology that is exactly-once are kept. If there are some, the topology goes on from
    /// the latest, as another process would.
    pub checkpoints: MemoryStorage,
    /// How long after the begin of simulated dates, 2026-01-01T00:00:00Z, the topology starts. For a restart after some
    /// time in which nothing ran: timers and times to live go on by the wall clock.
    pub starts_after: Duration,
}

impl Default for SimulationOptions {
    fn default() -> SimulationOptions {
        SimulationOptions::seeded(1)
    }
}

impl SimulationOptions {
    /// Options without faults; the seed decides the order of steps.
    pub fn seeded(seed: u64) -> SimulationOptions {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let checkpoints = MemoryStorage::seeded(seed);
        let (faults, resources) = (FaultPlan::new(), WorkerResources::default());
        SimulationOptions { seed, faults, logger, resources, checkpoints, starts_after: Duration::ZERO }
    }

    /// Sets where checkpoints are kept.
    #[must_use]
    pub fn checkpoints(mut self, storage: MemoryStorage) -> SimulationOptions {
        self.checkpoints = storage;
        self
    }

    /// Sets how long after the begin of simulated dates the topology starts.
    #[must_use]
    pub fn starts_after(mut self, time: Duration) -> SimulationOptions {
        self.starts_after = time;
        self
    }

    /// Sets the faults to inject.
    #[must_use]
    pub fn faults(mut self, faults: FaultPlan) -> SimulationOptions {
        self.faults = faults;
        self
    }
}

/// Why a simulated run failed. Each error names the seed, with which the run can be repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// A tree was acked before all of it was processed.
    #[error("seed {seed}: {}", found.join("; "))]
    FalseAck {
        /// The seed of the run.
        seed: u64,
        /// The trees.
        found: Vec<String>,
    },
    /// The topology did not end in time.
    #[error("seed {seed}: the topology has not ended after {after:?}: {stats:?}")]
    Unfinished {
        /// The seed of the run.
        seed: u64,
        /// Simulated time.
        after: Duration,
        /// The counters at that time.
        stats: Box<TopologyStats>,
    },
    /// At the end, some messages are neither acked nor failed.
    #[error("seed {seed}: {emitted} messages emitted, but {acked} acked and {failed} failed")]
    Unaccounted {
        /// The seed of the run.
        seed: u64,
        /// Messages emitted.
        emitted: u64,
        /// Messages acked.
        acked: u64,
        /// Messages failed for good.
        failed: u64,
    },
}

/// How often each fault of a plan occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Batches that were lost before their task took them.
    pub batches_lost: u64,
    /// Tasks that crashed as they took a batch.
    pub tasks_crashed: u64,
    /// Inits that reached their acker twice.
    pub inits_repeated: u64,
    /// Sets of ack records that were lost on their way to an acker.
    pub acks_lost: u64,
}

/// A topology under simulation. See the [module](crate::testing) for examples.
pub struct SimulatedTopology {
    worker: SimulatedWorker,
    clock: Clock,
    seed: u64,
    random: StdRng,
    faults: Arc<ActiveFaults>,
    /// Executors that are not stepped before a time.
    stalled: BTreeMap<ExecutorId, Time>,
    trace: Xxh3,
    steps: u64,
}

impl SimulatedTopology {
    /// Starts a topology; nothing has been stepped yet.
    ///
    /// # Panics
    /// When a resource or a worker hook of the topology fails, and when its checkpoints cannot be read.
    pub fn start(topology: Topology, options: SimulationOptions) -> SimulatedTopology {
        let SimulationOptions { seed, faults, logger, resources, checkpoints, starts_after } = options;
        let clock = Clock::simulated_later(starts_after);
        let logs = WalPlace::Memory(checkpoints.clone());
        let state_backend = faults.state_backend(&checkpoints);
        let checkpoints = faults.storage(checkpoints);
        let faults = faults.start(seed);
        let inactive = topology.options().start_inactive;
        let setup = SimulatedSetup {
            clock: clock.clone(),
            seed,
            logger,
            resources,
            faults: Arc::clone(&faults) as Arc<dyn crate::runtime::Faults>,
            audit: Arc::default(),
            checkpoints,
            logs,
            state_backend,
        };
        let worker = SimulatedWorker::new(topology, setup);
        let simulated = SimulatedTopology {
            worker,
            clock,
            seed,
            random: StdRng::seed_from_u64(seed),
            faults,
            stalled: BTreeMap::new(),
            trace: Xxh3::new(),
            steps: 0,
        };
        if !inactive {
            simulated.activate();
        }
        simulated
    }

    /// The simulated time since the start.
    pub fn now(&self) -> Duration {
        self.clock.now().since(Time::ZERO)
    }

    /// The clock of the topology.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> TopologyStats {
        self.worker.stats()
    }

    /// The metrics that components registered.
    pub fn metrics(&self) -> &MetricsRegistry {
        self.worker.metrics()
    }

    /// Lets spouts emit. The first call opens and prepares all tasks.
    pub fn activate(&self) {
        self.worker.activate();
    }

    /// Stops spouts from emitting, until [`activate`](SimulatedTopology::activate).
    pub fn deactivate(&self) {
        self.worker.deactivate();
    }

    /// Begins an orderly end: spouts stop, and what is in flight is processed.
    pub fn drain(&self) {
        self.worker.drain();
    }

    /// Asks for a savepoint in this directory. If `stops`, the run ends with it, and is continued by a topology that is
    /// started with the same storage ([`SimulationOptions::checkpoints`]).
    pub fn ask_for_savepoint(&self, directory: PathBuf, stops: bool) {
        self.worker.ask_for_savepoint(directory, stops);
    }

    /// Kills the tasks of a component (`__acker` for the ackers). Their state is lost, and they are
    /// built again after a pause.
    ///
    /// # Panics
    /// When there is no such component.
    pub fn crash(&self, component: &str) {
        let executors = self.worker.executors_of(component);
        assert!(!executors.is_empty(), "the topology has no component `{component}`");
        executors.into_iter().for_each(|id| self.worker.command(id, ExecutorCommand::Crash));
    }

    /// Stops the executors of a component for a time, with the chains that they are part of. What is delivered
    /// to them waits in their inboxes.
    ///
    /// # Panics
    /// When there is no such component.
    pub fn stall(&mut self, component: &str, pause: Duration) {
        let executors = self.worker.executors_of(component);
        assert!(!executors.is_empty(), "the topology has no component `{component}`");
        let until = self.clock.now().after(pause);
        self.stalled.extend(executors.into_iter().map(|id| (self.worker.stepped_for(id), until)));
    }

    /// Stops one executor of a component, counted from 0, with its chain, for a time; the others go on.
    ///
    /// # Panics
    /// When there is no such component, or it has fewer executors.
    pub fn stall_one(&mut self, component: &str, executor: usize, pause: Duration) {
        let executors = self.worker.executors_of(component);
        let id = executors.get(executor).copied();
        let id = id.unwrap_or_else(|| panic!("`{component}` has {} executors", executors.len()));
        self.stalled.insert(self.worker.stepped_for(id), self.clock.now().after(pause));
    }

    /// How often each fault of the plan occurred so far.
    pub fn fault_counts(&self) -> FaultCounts {
        let counts = &self.faults.counts;
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        FaultCounts {
            batches_lost: get(&counts.dropped),
            tasks_crashed: get(&counts.crashed),
            inits_repeated: get(&counts.duplicated),
            acks_lost: get(&counts.acks_lost),
        }
    }

    /// A hash over every step taken: equal for equal runs.
    pub fn fingerprint(&self) -> u64 {
        self.trace.digest()
    }

    /// Steps executors until none is runnable, without advancing time.
    ///
    /// # Panics
    /// When the topology never rests, as with a spout that always emits, without a rate or a limit of
    /// pending messages.
    pub fn run_until_idle(&mut self) {
        let mut steps = 0;
        while self.step_one() {
            steps += 1;
            assert!(steps < STEPS_WITHOUT_REST_MAX, "seed {}: the topology never rests", self.seed);
        }
    }

    /// Advances time by `by`, timer by timer, and steps everything that becomes runnable.
    pub fn advance(&mut self, by: Duration) {
        let target = self.clock.now().after(by);
        self.run_until_idle();
        while !self.worker.has_ended() {
            let now = self.clock.now();
            let next = self.next_event(now);
            if next > target {
                break;
            }
            self.clock.advance(next.since(now));
            self.run_until_idle();
        }
        let rest = target.since(self.clock.now());
        self.clock.advance(rest);
        self.run_until_idle();
    }

    /// Takes up to `steps` steps. Whenever nothing is runnable, time advances to the next timer. Returns
    /// early when there is none, or when the topology has ended.
    pub fn run_steps(&mut self, steps: u64) {
        let target = self.steps + steps;
        while self.steps < target && !self.worker.has_ended() {
            if !self.step_one() {
                let now = self.clock.now();
                let next = self.next_event(now);
                if next == Time::NEVER {
                    return;
                }
                self.clock.advance(next.since(now));
            }
        }
    }

    /// Whether the topology has ended.
    pub fn has_ended(&self) -> bool {
        self.worker.has_ended()
    }

    /// Advances time by 20 ms, so that idle spouts emit what the test fed, and it is processed.
    pub fn settle(&mut self) {
        self.advance(Duration::from_millis(20));
    }

    /// Runs until the topology has ended.
    ///
    /// # Errors
    /// When it has not ended after `at_most` of simulated time, a tree was acked too early, or a
    /// tracked message is neither acked nor failed at the end.
    pub fn run_to_end(&mut self, at_most: Duration) -> Result<TopologyStats, SimulationError> {
        let target = self.clock.now().after(at_most);
        loop {
            self.run_until_idle();
            self.check()?;
            if self.worker.has_ended() {
                return self.account();
            }
            let now = self.clock.now();
            let next = self.next_event(now);
            if next > target {
                let (seed, stats) = (self.seed, Box::new(self.stats()));
                return Err(SimulationError::Unfinished { seed, after: at_most, stats });
            }
            self.clock.advance(next.since(now));
        }
    }

    /// Whether any tree was acked before all of it was processed.
    ///
    /// # Errors
    /// Names the trees.
    pub fn check(&self) -> Result<(), SimulationError> {
        let found = self.worker.violations();
        if found.is_empty() { Ok(()) } else { Err(SimulationError::FalseAck { seed: self.seed, found }) }
    }

    fn account(&self) -> Result<TopologyStats, SimulationError> {
        let stats = self.stats();
        let TopologyStats { emitted, acked, failed, .. } = stats;
        // The sum does not hold for a spout that crashed: it reads its source again and emits the same ids again,
        // which count twice as emitted. With checkpoints no message is acked: the tasks go back together.
        let has_crashed =
            stats.components.iter().any(|component| component.is_spout && component.restarts > 0);
        let has_sum = !has_crashed && stats.checkpoints.is_none() && !stats.cut_short;
        if emitted != acked + failed && has_sum {
            return Err(SimulationError::Unaccounted { seed: self.seed, emitted, acked, failed });
        }
        Ok(stats)
    }

    /// When the next timer expires or the next stalled executor continues.
    fn next_event(&self, now: Time) -> Time {
        let timer = self.worker.next_timer().unwrap_or(Time::NEVER);
        let wake = self.stalled.values().copied().filter(|until| *until > now).min().unwrap_or(Time::NEVER);
        timer.min(wake).max(now)
    }

    /// Steps one runnable executor that the seed chooses. Returns false if none is runnable.
    fn step_one(&mut self) -> bool {
        let now = self.clock.now();
        self.stalled.retain(|_, until| *until > now);
        let mut runnable = self.worker.runnable(now);
        runnable.retain(|id| !self.stalled.contains_key(id));
        if runnable.is_empty() {
            return false;
        }
        let id = runnable[self.random.random_range(0..runnable.len())];
        let budget = BUDGETS[self.random.random_range(0..BUDGETS.len())];
        self.steps += 1;
        self.trace.update(&id.0.to_le_bytes());
        self.trace.update(&budget.to_le_bytes());
        self.trace.update(&now.0.to_le_bytes());
        self.worker.step(id, budget);
        true
    }
}
