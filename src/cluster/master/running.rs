//! The handle by which an embedder controls a topology that runs in worker processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use rand::TryRng as _;
use rand::rngs::SysRng;
use slog::Logger;

use crate::api::WorkerResources;
use crate::checkpoint::CheckpointStore;
use crate::clock::{Clock, Time};
use crate::cluster::control::Start;
use crate::cluster::master::core::Core;
use crate::cluster::master::counts::Sources;
use crate::cluster::master::events::{CoreOptions, Event};
use crate::cluster::master::inputs::{RereadInput, sources, stdin_reader};
use crate::cluster::master::options::WorkersOptions;
use crate::cluster::master::run::{Shared, WorkerEvent};
use crate::cluster::master::shell::{Shell, StoreThread};
use crate::cluster::master::store::MasterStore;
use crate::cluster::source::TopologySource;
use crate::cluster::stats::{WorkersStats, shapes};
use crate::components::standard;
use crate::ids::{CheckpointId, Incarnation, WorkerId};
use crate::net::{Members, Secret};
use crate::runtime::checkpoint_actions::Parts;
use crate::runtime::checkpoint_start::{checkpoint_directory, open_directory};
use crate::runtime::registration_trial::Trial;
use crate::runtime::reporting::Reporter;
use crate::runtime::{CheckpointStartError, Savepoint, SavepointError, TakeCheckpointError, host_name};
use crate::topology::assignment::place;
use crate::topology::graph::Topology;

/// Why workers could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartWorkersError {
    /// The options ask for 0 workers.
    #[error("a topology runs in at least one worker")]
    NoWorkers,
    /// The master's thread could not be started.
    #[error("cannot start the thread that watches the workers")]
    Thread(#[source] io::Error),
    /// The system has no random bytes for the secret of the run.
    #[error("the operating system has no randomness")]
    Randomness,
    /// The directory of the checkpoints has a name that is not UTF-8, so workers cannot be told of it.
    #[error("the name of the directory for checkpoints, `{0}`, is not UTF-8: choose another `storage`")]
    DirectoryName(String),
    /// The topology cannot begin with its checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointStartError),
}

/// A topology that runs in worker processes. Dropping the handle kills it.
///
/// Has the methods of [`RunningTopology`](crate::runtime::RunningTopology), which runs in this process.
/// A worker that dies is replaced without any call of the embedder.
///
/// # Examples
/// ```no_run
/// use squall::cluster::{RunningWorkers, TopologySource, WorkersOptions};
/// use squall::prelude::Registry;
///
/// // Each worker runs this program again, so its `main` must pass the same registry to
/// // `squall::cli::run`.
/// let registry = Registry::with_standard();
/// let (source, topology) =
///     TopologySource::record(&squall::cli::Files, "topologies/word_count.toml", &registry, &[])?;
/// let running = RunningWorkers::start(topology, source, WorkersOptions::new(3))?;
/// let stats = running.join();
/// assert_eq!(stats.topology.failed, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RunningWorkers {
    shared: Arc<Shared>,
    wishes: Sender<Event>,
    thread: Option<JoinHandle<()>>,
    reporter: Reporter,
}

impl RunningWorkers {
    /// Starts the workers of a topology, which must be the one that `source` describes: a document, or a
    /// topology that the registry builds. The program must run its workers by `squall::cli::run` or
    /// `squall::cli::run_worker`. Returns before the workers are up.
    ///
    /// # Errors
    /// When no worker is asked for, or the system refuses a thread or random bytes. If a worker cannot
    /// be started later, the run ends, and [`WorkersStats::failure`] holds the reason.
    pub fn start(
        mut topology: Topology,
        source: TopologySource,
        options: WorkersOptions,
    ) -> Result<RunningWorkers, StartWorkersError> {
        if options.workers == 0 {
            return Err(StartWorkersError::NoWorkers);
        }
        topology.options.resolve_threads();
        let (plan, assignment) = place(&topology, options.workers, None);
        let used = assignment.used_workers();
        let workers = used.last().map_or(1, |last| last.0 + 1);
        let reader = options.stdin.then(|| stdin_reader(&topology, &plan, &assignment)).flatten();
        let input = reader.and_then(|reader| RereadInput::new(reader, io::stdin()));
        let reads_once = reader.filter(|_| input.is_none());
        let mut sources = sources(&topology, &plan, &assignment, workers, reads_once);
        let opened = match topology.options().delivery.is_exactly_once() {
            true => {
                // What a worker had open when it died is emitted again after the checkpoint.
                sources.fill(Sources::None);
                let holder = format!("process {} on {}", std::process::id(), host_name());
                let directory = checkpoint_directory(&topology)?;
                let unnamed = || StartWorkersError::DirectoryName(directory.display().to_string());
                let directory = directory.to_str().ok_or_else(unnamed)?.to_owned();
                let trial = Trial { resources: WorkerResources::default(), workers: options.workers };
                let (begin, dropped) = (options.checkpoints.clone(), &options.allow_dropped_state);
                let opened = open_directory(&topology, begin, dropped, &holder, &trial)?;
                opened.warn_of_given_up(&options.logger);
                Some((directory, opened))
            }
            false => None,
        };
        let start = Start {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source,
            assignment,
            worker: WorkerId(0),
            incarnation: Incarnation(0),
            workers,
            run: random()?,
            secret: Secret::new(random()?),
            members: Members::default(),
            net: options.net.clone(),
            worker_options: options.worker.clone(),
            log: options.log.clone(),
            print: options.print,
            checkpoints: opened.as_ref().map(|(directory, _)| directory.clone()),
            left_behind: opened
                .as_ref()
                .map(|(_, opened)| opened.store.left_behind().clone())
                .unwrap_or_default(),
            stdin: options.stdin,
            closed: standard::closed(),
        };
        let core = Core::new(CoreOptions {
            sources,
            worker: options.worker.clone(),
            link_lost: options.net.link_lost,
            bolts: topology.components().iter().filter(|component| !component.is_spout()).count(),
            drain_timeout: topology.options().drain_timeout,
            start_inactive: topology.options().start_inactive,
            checkpoints: opened.as_ref().map(|(_, opened)| {
                let parts = Parts::new(&topology, &plan, usize::from(workers));
                (topology.options().checkpoint_at_pace(), parts, opened.epoch)
            }),
            first_recovery: first_recovery(start.run),
        });
        let shared = Arc::new(Shared::new(core, topology.name().to_owned(), shapes(&topology, &plan)));
        let (wishes, happenings) = channel();
        let (metrics, logger) = (options.metrics.clone(), options.logger.clone());
        let store = opened.map(|(_, opened)| start_store(opened.store, &logger, &wishes)).transpose();
        let store = store.map_err(StartWorkersError::Thread)?;
        let shell = Shell::new(Arc::clone(&shared), start, options, input, wishes.clone(), store);
        let thread = thread::Builder::new()
            .name("squall-master".to_owned())
            .spawn(move || shell.run(&happenings))
            .map_err(StartWorkersError::Thread)?;
        // If this fails, the handle is dropped, which kills what was started.
        let reporter = Reporter::idle();
        let mut running = RunningWorkers { shared, wishes, thread: Some(thread), reporter };
        let reported = Arc::clone(&running.shared);
        running.reporter = Reporter::start(metrics, reported, logger).map_err(StartWorkersError::Thread)?;
        Ok(running)
    }

    /// A snapshot of the counters of all workers, and of the workers themselves.
    pub fn stats(&self) -> WorkersStats {
        self.shared.stats()
    }

    /// Waits until the run has ended, at most for this time. Returns whether it has ended.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.shared.wait(at_most)
    }

    /// Requests an orderly end: spouts emit no more, and what is in flight is processed, at most for
    /// `drain_timeout`. Returns at once.
    pub fn drain(&self) {
        self.wish(Event::Drain);
    }

    /// Requests an end without delay: what is in flight is lost, and the run counts as cut short.
    /// Components are still closed; workers that do not end within 2 s are killed. Returns at once.
    pub fn kill(&self) {
        self.wish(Event::Kill);
    }

    /// Takes a savepoint, as [`RunningTopology::savepoint`](crate::runtime::RunningTopology::savepoint) does. The master
    /// writes it.
    ///
    /// # Errors
    /// When the topology takes no checkpoints, the savepoint cannot be taken, or the run ends before. If the run has not
    /// ended, it goes on.
    pub fn savepoint(&self, directory: PathBuf, stops: bool) -> Result<Savepoint, SavepointError> {
        if self.shared.lock().core.checkpoint_stats(self.shared.clock.now()).is_none() {
            return Err(SavepointError::NoCheckpoints);
        }
        let ask = |directory| self.wish(Event::Savepoint { directory, stops });
        self.shared.savepoints.ask(directory, ask, || self.wait(Duration::ZERO))
    }

    /// Takes a checkpoint now, as [`RunningTopology::checkpoint`](crate::runtime::RunningTopology::checkpoint) does.
    ///
    /// # Errors
    /// As there.
    pub fn checkpoint(&self, at_most: Duration) -> Result<CheckpointId, TakeCheckpointError> {
        if self.shared.lock().core.checkpoint_stats(self.shared.clock.now()).is_none() {
            return Err(TakeCheckpointError::NoCheckpoints);
        }
        let ask = |question| self.wish(Event::CheckpointWanted(question));
        self.shared.savepoints.checkpoints.ask(ask, at_most, || self.wait(Duration::ZERO))
    }

    /// Lets spouts emit (again). The first time, it opens and prepares all tasks.
    pub fn activate(&self) {
        self.wish(Event::Activate);
    }

    /// Lets spouts rest; what is in flight goes on.
    pub fn deactivate(&self) {
        self.wish(Event::Deactivate);
    }

    /// Waits for the end and returns the final counters. All processes are reaped by then.
    pub fn join(mut self) -> WorkersStats {
        while !self.wait(Duration::from_secs(3600)) {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.reporter.join();
        self.stats()
    }

    /// The process ids of the workers that have a process, by worker.
    pub fn worker_pids(&self) -> Vec<Option<u32>> {
        self.shared.lock().pids.clone()
    }

    /// The present incarnation of a worker; the next one, if the worker is waiting to be started again.
    /// `None` if there is no such worker.
    pub fn incarnation(&self, worker: WorkerId) -> Option<Incarnation> {
        self.shared.lock().core.workers().get(worker.index()).map(|record| record.incarnation)
    }

    /// What happened to the workers so far, oldest first; the last 65,536 events.
    pub fn events(&self) -> Vec<WorkerEvent> {
        self.shared.lock().history.iter().cloned().collect()
    }

    /// The time since the start of the run.
    pub fn elapsed(&self) -> Duration {
        self.shared.clock.now().since(Time::ZERO)
    }

    fn wish(&self, event: Event) {
        // After the end no thread receives it, and there is nothing to do.
        let _ = self.wishes.send(event);
    }
}

impl Drop for RunningWorkers {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for RunningWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningWorkers").field("pids", &self.worker_pids()).finish_non_exhaustive()
    }
}

/// Starts the thread that publishes checkpoints.
fn start_store(store: CheckpointStore, logger: &Logger, events: &Sender<Event>) -> io::Result<StoreThread> {
    let (jobs, taken) = channel();
    let (store, events) = (MasterStore::new(store, logger.clone()), events.clone());
    let thread = thread::Builder::new()
        .name("squall-checkpts".to_owned())
        .spawn(move || store.run(&taken, &events, &Clock::real()))?;
    Ok(StoreThread { jobs, thread })
}

/// The number of the first recovery of a run: one that no other run has, with room for those that follow.
fn first_recovery(run: [u8; 16]) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|at| run[at])) >> 1
}

fn random<const N: usize>() -> Result<[u8; N], StartWorkersError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| StartWorkersError::Randomness)?;
    Ok(bytes)
}
