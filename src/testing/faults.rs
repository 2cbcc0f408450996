//! Crashes, losses and failures for simulated topologies.
//!
//! A [`FaultPlan`] states which batches are lost, which tasks crash and what happens to ack records; the
//! runtime asks [`ActiveFaults`] at those points. [`fail_nth`] and [`panic_nth`] wrap one bolt instead.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use smol_str::SmolStr;

use crate::api::{Bolt, Check, Input, Outputs, Streams, TaskContext, TaskError};
use crate::checkpoint::{CheckpointStorage, MemoryStorage};
use crate::runtime::{AckRecords, CheckpointDefect, Fate, Faults};
use crate::state::{RedbBackend, StateBackend};
use crate::testing::defective_state::{DefectiveBackend, StateDefect};
use crate::testing::defective_storage::{DefectiveStorage, StoreDefect};
use crate::topology::TopologyErrors;
use crate::topology::graph::{BoltFactory, Constructor, Topology};
use crate::tuple::TupleBatch;

/// The faults to inject. An empty plan injects none.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    drop_share: f64,
    crash_share: f64,
    lose_acks_share: f64,
    duplicate_inits: bool,
    complete_early: bool,
    checkpoint_defect: Option<CheckpointDefect>,
    store_defect: Option<StoreDefect>,
    state_defect: Option<StateDefect>,
    /// The fate of the n-th batch (from 1) that a component takes, counted over all its tasks. These
    /// happen even after `heal_after`.
    at: BTreeMap<(SmolStr, u64), Fate>,
    /// The number of batches after which random faults stop; the topology must then recover.
    heal_after: Option<u64>,
}

impl FaultPlan {
    /// A plan without faults.
    pub fn new() -> FaultPlan {
        FaultPlan::default()
    }

    /// Each batch is lost with this probability.
    #[must_use]
    pub fn drop_batches(mut self, probability: f64) -> FaultPlan {
        self.drop_share = probability;
        self
    }

    /// With this probability a task crashes as it takes a batch. It is built again after a pause.
    #[must_use]
    pub fn crash_tasks(mut self, probability: f64) -> FaultPlan {
        self.crash_share = probability;
        self
    }

    /// Each set of ack records that is sent to an acker is lost as a whole with this probability.
    #[must_use]
    pub fn lose_acks(mut self, probability: f64) -> FaultPlan {
        self.lose_acks_share = probability;
        self
    }

    /// The n-th batch (from 1) that the component takes is lost.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::testing::{FaultPlan, FixedSpout, SimulatedTopology, SimulationOptions};
    /// use std::time::Duration;
    ///
    /// let mut builder = TopologyBuilder::new("numbers");
    /// builder.options(|options| options.message_timeout = Some(Duration::from_secs(5)));
    /// builder.spout("numbers", || FixedSpout::new(["n"], (0..10).map(|n| vec![Value::from(n)])));
    /// builder.bolt_fn("sink", Streams::none(), |_, _| Ok(())).shuffle("numbers");
    /// let faults = FaultPlan::new().drop_batch("sink", 1);
    /// let options = SimulationOptions::seeded(1).faults(faults);
    /// let mut topology = SimulatedTopology::start(builder.build()?, options);
    /// let stats = topology.run_to_end(Duration::from_secs(60))?;
    /// assert_eq!(stats.acked, 10, "what was lost is replayed after its time-out");
    /// assert!(stats.replayed > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn drop_batch(mut self, component: &str, n: u64) -> FaultPlan {
        self.at.insert((SmolStr::new(component), n), Fate::Drop);
        self
    }

    /// The task that takes the n-th batch (from 1) of the component crashes.
    ///
    /// # Examples
    /// A bolt that keeps its state only in memory loses that state with the task:
    /// ```
    /// use squall::prelude::*;
    /// use squall::testing::{Capture, FaultPlan, FixedSpout, SimulatedTopology, SimulationOptions};
    ///
    /// let capture = Capture::new();
    /// let mut builder = TopologyBuilder::new("numbers");
    /// builder.options(|options| options.queue.batch = 1);
    /// builder.spout("numbers", || FixedSpout::new(["n"], (0..10).map(|n| vec![Value::from(n)])));
    /// let count = || {
    ///     let mut count = 0;
    ///     bolt_fn(Streams::new(["count"]), move |_, out| {
    ///         count += 1;
    ///         Ok(out.emit([count])?)
    ///     })
    /// };
    /// builder.bolt("count", count).shuffle("numbers");
    /// builder.bolt("sink", capture.bolt()).global("count");
    /// let faults = FaultPlan::new().crash_at("count", 4);
    /// let options = SimulationOptions::seeded(1).faults(faults);
    /// let mut topology = SimulatedTopology::start(builder.build()?, options);
    /// topology.run_to_end(std::time::Duration::from_secs(60))?;
    /// assert_eq!(topology.fault_counts().tasks_crashed, 1);
    /// let counts: Vec<i64> = capture.rows().iter().filter_map(|row| row[0].as_i64()).collect();
    /// assert_eq!(counts[..4], [1, 2, 3, 1], "it counts from 1 again");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn crash_at(mut self, component: &str, n: u64) -> FaultPlan {
        self.at.insert((SmolStr::new(component), n), Fate::Crash);
        self
    }

    /// Every init reaches its acker twice, as over a network that duplicates.
    #[must_use]
    pub fn duplicate_inits(mut self) -> FaultPlan {
        self.duplicate_inits = true;
        self
    }

    /// Ackers complete each block as soon as they get its init. This simulates a defect of the tracking,
    /// which the simulation must detect.
    #[must_use]
    pub fn complete_early(mut self) -> FaultPlan {
        self.complete_early = true;
        self
    }

    /// An executor with several inputs passes a barrier on when it has come over the first of them. This, like those
    /// that follow, simulates a defect of squall, which the simulation must detect. A plan has one of them.
    #[must_use]
    pub fn pass_barriers_early(mut self) -> FaultPlan {
        self.checkpoint_defect = Some(CheckpointDefect::BarrierEarly);
        self
    }

    /// Of the batches that an executor holds while it aligns barriers, the first is skipped.
    #[must_use]
    pub fn skip_held_batch(mut self) -> FaultPlan {
        self.checkpoint_defect = Some(CheckpointDefect::HeldBatchSkipped);
        self
    }

    /// What is in flight when a barrier overtakes, or goes round in a cycle, is not part of the checkpoint.
    #[must_use]
    pub fn forget_in_flight(mut self) -> FaultPlan {
        self.checkpoint_defect = Some(CheckpointDefect::InFlightForgotten);
        self
    }

    /// Tasks commit a checkpoint before its manifest is durable. In one process only.
    #[must_use]
    pub fn commit_before_durable(mut self) -> FaultPlan {
        self.checkpoint_defect = Some(CheckpointDefect::CommitBeforeDurable);
        self
    }

    /// Bolts begin without a watermark after a restore.
    #[must_use]
    pub fn forget_watermarks(mut self) -> FaultPlan {
        self.checkpoint_defect = Some(CheckpointDefect::WatermarkForgotten);
        self
    }

    /// The write-ahead log of a spout is truncated when a checkpoint begins, and not when it is complete.
    #[must_use]
    pub fn truncate_logs_early(mut self) -> FaultPlan {
        self.checkpoint_defect = Some(CheckpointDefect::LogTruncatedEarly);
        self
    }

    /// A source that is read into a write-ahead log is acknowledged before the log has what was read.
    #[must_use]
    pub fn acknowledge_before_logged(mut self) -> FaultPlan {
        self.checkpoint_defect = Some(CheckpointDefect::AckedBeforeLogged);
        self
    }

    /// Checkpoints do not have what has changed in keys that have left memory.
    #[must_use]
    pub fn forget_changes_on_disk(mut self) -> FaultPlan {
        self.state_defect = Some(StateDefect::ChangesForgotten);
        self
    }

    /// A task that goes back finds what it had kept on disk.
    #[must_use]
    pub fn keep_state_on_disk(mut self) -> FaultPlan {
        self.state_defect = Some(StateDefect::NotCleared);
        self
    }

    /// A start publishes checkpoints though a later start has begun.
    #[must_use]
    pub fn forget_fence(mut self) -> FaultPlan {
        self.store_defect = Some(StoreDefect::FenceForgotten);
        self
    }

    /// A start goes on from the checkpoint before the latest, if there is one.
    #[must_use]
    pub fn restore_stale_manifest(mut self) -> FaultPlan {
        self.store_defect = Some(StoreDefect::ManifestStale);
        self
    }

    /// Random faults stop after so many batches over all components.
    #[must_use]
    pub fn heal_after(mut self, batches: u64) -> FaultPlan {
        self.heal_after = Some(batches);
        self
    }

    /// The storage of checkpoints as a start sees it.
    pub(crate) fn storage(&self, storage: MemoryStorage) -> Box<dyn CheckpointStorage> {
        match self.store_defect {
            None => Box::new(storage),
            Some(defect) => Box::new(DefectiveStorage::new(storage, defect)),
        }
    }

    /// Where tasks keep state that is not in memory, as a start sees it.
    pub(crate) fn state_backend(&self, storage: &MemoryStorage) -> Arc<dyn StateBackend> {
        let backend: Arc<dyn StateBackend> = Arc::new(RedbBackend::simulated(storage.state_disk()));
        match self.state_defect {
            None => backend,
            Some(defect) => Arc::new(DefectiveBackend { backend, defect }),
        }
    }

    /// Starts the plan; `seed` decides the random faults.
    pub(crate) fn start(self, seed: u64) -> Arc<ActiveFaults> {
        let random = StdRng::seed_from_u64(seed ^ 0x5eed_fa17);
        Arc::new(ActiveFaults {
            plan: self,
            state: Mutex::new(State { random, taken: BTreeMap::new(), batches: 0 }),
            counts: Counts::default(),
        })
    }
}

/// What [`ActiveFaults`] counts: batches taken per component, and over all components.
struct State {
    random: StdRng,
    taken: BTreeMap<SmolStr, u64>,
    batches: u64,
}

/// How often each kind of fault occurred.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub dropped: AtomicU64,
    pub crashed: AtomicU64,
    pub duplicated: AtomicU64,
    pub acks_lost: AtomicU64,
}

/// A plan of a running topology.
pub(crate) struct ActiveFaults {
    plan: FaultPlan,
    state: Mutex<State>,
    pub counts: Counts,
}

impl ActiveFaults {
    fn loses_acks(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let healed = self.plan.heal_after.is_some_and(|after| state.batches > after);
        let chance: f64 = state.random.random();
        !healed && chance < self.plan.lose_acks_share
    }
}

impl Faults for ActiveFaults {
    fn fate(&self, component: &str, _task_index: usize, _batch: &TupleBatch) -> Fate {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.batches += 1;
        let taken = state.taken.entry(SmolStr::new(component)).or_default();
        *taken += 1;
        let nth = *taken;
        let healed = self.plan.heal_after.is_some_and(|after| state.batches > after);
        let chance: f64 = state.random.random();
        let fate = match self.plan.at.get(&(SmolStr::new(component), nth)) {
            Some(fate) => *fate,
            None if healed => Fate::Deliver,
            None if chance < self.plan.drop_share => Fate::Drop,
            None if chance < self.plan.drop_share + self.plan.crash_share => Fate::Crash,
            None => Fate::Deliver,
        };
        match fate {
            Fate::Drop => self.counts.dropped.fetch_add(1, Ordering::Relaxed),
            Fate::Crash => self.counts.crashed.fetch_add(1, Ordering::Relaxed),
            Fate::Deliver => 0,
        };
        fate
    }

    fn tamper(&self, records: &mut AckRecords) {
        if self.plan.lose_acks_share > 0.0 && self.loses_acks() {
            self.counts.acks_lost.fetch_add(1, Ordering::Relaxed);
            *records = AckRecords::default();
        }
        if self.plan.duplicate_inits {
            self.counts.duplicated.fetch_add(records.inits.len() as u64, Ordering::Relaxed);
            let again = records.inits.clone();
            records.inits.extend(again);
        }
        if self.plan.complete_early {
            records.acks.extend(records.inits.iter().copied());
        }
    }

    fn checkpoint_defect(&self) -> Option<CheckpointDefect> {
        self.plan.checkpoint_defect
    }
}

/// What a [`Faulty`] bolt does with its n-th tuple.
#[derive(Clone, Copy, Debug)]
enum Misdeed {
    Fail,
    Panic,
}

/// A bolt that fails or panics at one tuple, and passes every other call to the bolt it wraps.
struct Faulty {
    inner: Box<dyn Bolt>,
    nth: u64,
    executed: Arc<AtomicU64>,
    misdeed: Misdeed,
}

impl Bolt for Faulty {
    fn declare(&self) -> Streams {
        self.inner.declare()
    }

    fn check(&self, check: &mut Check<'_>) {
        self.inner.check(check);
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.inner.prepare(context)
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.executed.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
            match self.misdeed {
                Misdeed::Fail => return Err(TaskError::new("failed by the test")),
                Misdeed::Panic => panic!("by the test"),
            }
        }
        self.inner.execute(input, out)
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.inner.tick(out)
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.inner.flush(out)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.inner.finish(out)
    }

    fn cleanup(&mut self) {
        self.inner.cleanup();
    }
}

/// Makes the n-th tuple (from 1, over all tasks) that a bolt executes fail.
///
/// # Errors
/// When the topology has no such bolt.
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::testing::{FixedSpout, SimulatedTopology, SimulationOptions, fail_nth};
///
/// let mut builder = TopologyBuilder::new("numbers");
/// builder.spout("numbers", || FixedSpout::new(["n"], (0..10).map(|n| vec![Value::from(n)])));
/// builder.bolt_fn("sink", Streams::none(), |_, _| Ok(())).shuffle("numbers");
/// let topology = fail_nth(builder.build()?, "sink", 3)?;
/// let mut topology = SimulatedTopology::start(topology, SimulationOptions::default());
/// let stats = topology.run_to_end(std::time::Duration::from_secs(60))?;
/// assert_eq!((stats.acked, stats.replayed), (10, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fail_nth(topology: Topology, bolt: &str, nth: u64) -> Result<Topology, TopologyErrors> {
    misbehave(topology, bolt, nth, Misdeed::Fail)
}

/// Makes a bolt panic at its n-th tuple (from 1, over all tasks).
///
/// # Errors
/// When the topology has no such bolt.
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::testing::{FixedSpout, SimulatedTopology, SimulationOptions, panic_nth};
///
/// let mut builder = TopologyBuilder::new("numbers");
/// builder.spout("numbers", || FixedSpout::new(["n"], (0..10).map(|n| vec![Value::from(n)])));
/// builder.bolt_fn("sink", Streams::none(), |_, _| Ok(())).shuffle("numbers");
/// let topology = panic_nth(builder.build()?, "sink", 3)?;
/// let mut topology = SimulatedTopology::start(topology, SimulationOptions::default());
/// let stats = topology.run_to_end(std::time::Duration::from_secs(60))?;
/// assert_eq!((stats.acked, stats.replayed), (10, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn panic_nth(topology: Topology, bolt: &str, nth: u64) -> Result<Topology, TopologyErrors> {
    misbehave(topology, bolt, nth, Misdeed::Panic)
}

fn misbehave(topology: Topology, bolt: &str, nth: u64, misdeed: Misdeed) -> Result<Topology, TopologyErrors> {
    let Some(Constructor::Bolt(inner)) =
        topology.component(bolt).map(|component| component.constructor.clone())
    else {
        // There is no such bolt: `with_bolt` returns the error that lists the components.
        return topology.with_bolt(bolt, || -> Faulty { unreachable!("there is no such bolt") });
    };
    let executed = Arc::new(AtomicU64::new(0));
    let factory: BoltFactory = Arc::new(move || {
        let executed = Arc::clone(&executed);
        Ok(Box::new(Faulty { inner: inner()?, nth, executed, misdeed }) as Box<dyn Bolt>)
    });
    topology.with_component(bolt, Constructor::Bolt(factory), None)
}
