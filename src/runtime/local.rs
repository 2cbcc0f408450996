//! A topology that runs completely in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::TopologyStats;
use crate::api::{MetricsReporting, WorkerResources};
use crate::clock::Clock;
use crate::ids::CheckpointId;
use crate::metrics::MetricsRegistry;
use crate::runtime::assemble::setup::{CheckpointSetup, WorkerSetup};
use crate::runtime::assemble::{AssembleError, assemble};
use crate::runtime::checkpoint_desk::TakeCheckpointError;
use crate::runtime::checkpoint_start::{
    CheckpointBegin, CheckpointStartError, OpenedCheckpoints, open_directory, wal_directory,
};
use crate::runtime::end_sequence::EndCommand;
use crate::runtime::flow::checkpoint::CheckpointEvent;
use crate::runtime::flow::message::EndRequest;
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::process::{ProcessError, host_name};
use crate::runtime::registration_trial::Trial;
use crate::runtime::reporting::{Reported, Reporter};
use crate::runtime::savepoint_desk::{Savepoint, SavepointError};
use crate::runtime::scheduler::Scheduler;
use crate::runtime::user_directory::state_backend;
use crate::runtime::worker::Worker;
use crate::topology::graph::Topology;
use crate::wal::WalPlace;

/// What a local run is started with.
#[derive(Clone)]
pub struct LocalOptions {
    /// Where the runtime and the components log.
    pub logger: slog::Logger,
    /// Objects that tasks find by `TaskContext::resources`.
    pub resources: WorkerResources,
    /// The reporter that gets the counters while the topology runs.
    pub metrics: Option<MetricsReporting>,
    /// What becomes of checkpoints of an earlier run, if the topology is exactly-once.
    pub checkpoints: CheckpointBegin,
    /// What of the checkpoint is left behind: `COMPONENT`, if the topology does not have it any more, or `COMPONENT.STATE`
    /// for one state of a component, also written `COMPONENT:STATE`, which is clear if a name has a dot. Otherwise what
    /// does not fit the topology is an error.
    pub allow_dropped_state: Vec<String>,
}

impl Default for LocalOptions {
    /// No logs, no resources, no reporter; a topology that is exactly-once begins at the beginning.
    fn default() -> LocalOptions {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let checkpoints = CheckpointBegin::default();
        let (resources, allow_dropped_state) = (WorkerResources::default(), Vec::new());
        LocalOptions { logger, resources, metrics: None, checkpoints, allow_dropped_state }
    }
}

/// Why a topology could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A thread could not be started.
    #[error("cannot start a thread to run the topology on")]
    Thread(#[source] std::io::Error),
    /// A resource or a worker hook of the topology failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The topology is meant for several worker processes, and this would run it in one.
    #[error(
        "topology `{topology}` has `workers = {workers}`, and `RunningTopology` runs in this process alone: \
         register it by `Registry::topology` and run it by `squall::cli::run` or `RunningWorkers`, or set \
         `workers` to 1"
    )]
    Workers {
        /// Its name.
        topology: SmolStr,
        /// How many it is meant for.
        workers: u32,
    },
    /// User code panicked that is called before anything runs.
    #[error("cannot build the topology")]
    Assemble(#[from] AssembleError),
    /// The topology cannot begin with its checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointStartError),
}

impl StartError {
    /// Whether no other attempt can succeed: the user code that failed returned `TaskError::fatal`.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, StartError::Process(error) if error.is_fatal())
    }
}

/// A topology that runs in this process. Dropped, it is killed.
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::runtime::{LocalOptions, RunningTopology};
/// use squall::topology::TopologyBuilder;
///
/// struct Three(u64);
/// impl Spout for Three {
///     fn declare(&self) -> Streams {
///         Streams::new(["n"])
///     }
///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
///         if self.0 == 3 {
///             return Ok(SpoutStatus::Exhausted);
///         }
///         self.0 += 1;
///         out.emit_tracked([self.0 as i64], MessageId(self.0))?;
///         Ok(SpoutStatus::Emitted)
///     }
/// }
///
/// struct Drop;
/// impl Bolt for Drop {
///     fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         Ok(())
///     }
/// }
///
/// let mut builder = TopologyBuilder::new("three");
/// builder.spout("three", || Three(0));
/// builder.bolt("drop", || Drop).shuffle("three");
/// let topology = builder.build()?;
/// let running = RunningTopology::start(topology, LocalOptions::default())?;
/// let stats = running.join();
/// assert_eq!((stats.emitted, stats.acked, stats.failed), (3, 3, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RunningTopology {
    worker: Arc<Worker>,
    scheduler: Arc<Scheduler>,
    reporter: Reporter,
}

impl Reported for Arc<Worker> {
    fn topology_name(&self) -> &str {
        self.topology.name()
    }

    fn counters(&self) -> TopologyStats {
        self.stats()
    }

    fn wait_for_end(&self, at_most: Duration) -> bool {
        self.lifecycle.wait(at_most)
    }
}

impl RunningTopology {
    /// Starts a topology on driver threads of this process.
    ///
    /// # Errors
    /// When the system refuses a thread, when a resource, a hook or a grouping fails, and when the
    /// topology is meant for several worker processes
    /// (`workers` above 1). Those are started by `squall::cluster::RunningWorkers`, or by the command
    /// line of a program that registers the topology; to run it here all the same, set `workers` to 1.
    ///
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::runtime::{LocalOptions, RunningTopology};
    /// # use squall::testing::FixedSpout;
    /// let mut builder = TopologyBuilder::new("words");
    /// builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
    /// builder.options(|options| options.workers = 3);
    /// let topology = builder.build()?;
    /// assert!(RunningTopology::start(topology.clone(), LocalOptions::default()).is_err());
    ///
    /// let here = topology.with_options(|options| options.workers = 1)?;
    /// assert_eq!(RunningTopology::start(here, LocalOptions::default())?.join().acked, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(mut topology: Topology, options: LocalOptions) -> Result<RunningTopology, StartError> {
        let workers = topology.options().workers;
        if workers > 1 {
            return Err(StartError::Workers { topology: topology.name().into(), workers });
        }
        let inactive = topology.options().start_inactive;
        topology.options.resolve_threads();
        let mut logs = None;
        let checkpoints = match topology.options().delivery.is_exactly_once() {
            true => {
                let holder = format!("process {} on {}", std::process::id(), host_name());
                let trial = Trial { resources: options.resources.clone(), workers: 1 };
                let dropped = &options.allow_dropped_state;
                let opened = open_directory(&topology, options.checkpoints, dropped, &holder, &trial)?;
                opened.warn_of_given_up(&options.logger);
                let OpenedCheckpoints { store, epoch } = opened;
                logs = Some(WalPlace::Directory(wal_directory(&topology)?));
                Some(CheckpointSetup::Whole { store: Box::new(store), epoch })
            }
            false => None,
        };
        let state_backend = state_backend(&topology);
        let (worker, _) = assemble(
            topology,
            WorkerSetup {
                clock: Clock::real(),
                seed: None,
                logger: options.logger,
                resources: options.resources,
                host: host_name(),
                faults: None,
                audit: None,
                dedicated_threads: true,
                share: None,
                checkpoints,
                state_backend,
                logs,
            },
        )?;
        worker.process.begin(&worker.topology)?;
        let worker = Arc::new(worker);
        let scheduler = Scheduler::start(Arc::clone(&worker)).map_err(StartError::Thread)?;
        let reporter = Reporter::start(options.metrics, Arc::clone(&worker), worker.logger.clone());
        let reporter = match reporter {
            Ok(reporter) => reporter,
            Err(error) => {
                worker.lifecycle.end();
                worker.run_queue.stop();
                return Err(StartError::Thread(error));
            }
        };
        let running = RunningTopology { worker, scheduler, reporter };
        if !inactive {
            running.activate();
        }
        Ok(running)
    }

    /// A snapshot of its counters.
    pub fn stats(&self) -> TopologyStats {
        self.worker.stats()
    }

    /// The metrics that its components registered.
    pub fn metrics(&self) -> &MetricsRegistry {
        &self.worker.metrics
    }

    /// Waits until it has ended, at most for `at_most`; returns whether it has ended.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.worker.lifecycle.wait(at_most)
    }

    /// Asks for an orderly end: spouts stop, what is in flight is processed, at most for
    /// `drain_timeout`. Returns at once.
    pub fn drain(&self) {
        // Tasks that were never built are built now, so that all tasks finish and close in order. Spouts
        // get `Drain` before `Activate`, so they emit nothing.
        self.worker.local_executors.carry_out(EndCommand::Drain);
        self.worker.activate();
        self.worker.coordinator.send_control(EndRequest::Drain, Urgency::Now);
    }

    /// Ends the topology at once: tuples in flight are lost, and the run counts as cut short. Components
    /// that answer are still closed. Returns at once.
    pub fn kill(&self) {
        self.worker.coordinator.send_control(EndRequest::Kill, Urgency::Now);
    }

    /// Takes a savepoint: a checkpoint that is copied to this directory, which must be empty or not there. Waits for it.
    /// It is never deleted, and another run may begin with it ([`CheckpointBegin::Savepoint`]). If `stops`, spouts emit
    /// nothing from now on, and the run ends when the savepoint is there and its sinks have committed it; nothing is
    /// finished, so the run that begins with it goes on where this one stopped.
    ///
    /// # Errors
    /// When the topology takes no checkpoints, the savepoint cannot be taken, or the run ends before. If the run has not
    /// ended, it goes on.
    pub fn savepoint(&self, directory: PathBuf, stops: bool) -> Result<Savepoint, SavepointError> {
        if self.worker.checkpoint_counts.is_none() {
            return Err(SavepointError::NoCheckpoints);
        }
        let ask = |directory| {
            let wanted = CheckpointEvent::SavepointWanted { directory, stops };
            self.worker.coordinator.send_control(wanted, Urgency::Now);
        };
        self.worker.savepoints.ask(directory, ask, || self.worker.lifecycle.has_ended())
    }

    /// Takes a checkpoint now, whatever `interval` and `min_pause` are, and waits until it is complete, at most for so long.
    /// It begins after this call, so it has everything that was processed before. Otherwise it is one like any other: what
    /// was asked for and is not complete in time may become complete later.
    ///
    /// # Errors
    /// When the topology takes no checkpoints, when this one is not complete in time or is given up, and when the run ends
    /// before. If the run has not ended, it goes on.
    pub fn checkpoint(&self, at_most: Duration) -> Result<CheckpointId, TakeCheckpointError> {
        if self.worker.checkpoint_counts.is_none() {
            return Err(TakeCheckpointError::NoCheckpoints);
        }
        let ask = |question| {
            let wanted = CheckpointEvent::CheckpointWanted(question);
            self.worker.coordinator.send_control(wanted, Urgency::Now);
        };
        self.worker.savepoints.checkpoints.ask(ask, at_most, || self.worker.lifecycle.has_ended())
    }

    /// Lets spouts emit (again). The first time, it opens and prepares all tasks.
    pub fn activate(&self) {
        self.worker.activate();
    }

    /// Has spouts emit nothing until the next `activate`. Tuples in flight are still processed.
    pub fn deactivate(&self) {
        self.worker.deactivate();
    }

    /// Waits for the end and returns the final counters.
    pub fn join(mut self) -> TopologyStats {
        while !self.wait(Duration::from_secs(3600)) {}
        self.scheduler.join();
        self.reporter.join();
        self.worker.close_checkpoints();
        self.worker.process.end();
        self.worker.stats()
    }
}

impl Drop for RunningTopology {
    fn drop(&mut self) {
        if !self.worker.lifecycle.has_ended() {
            self.kill();
        }
    }
}
