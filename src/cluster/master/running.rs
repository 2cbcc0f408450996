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

use crate::checkpoint::CheckpointStore;
use crate::clock::{Clock, Time};
use crate::cluster::master::child_processes::ChildProcesses;
use crate::cluster::master::core::Core;
use crate::cluster::master::events::Event;
use crate::cluster::master::inputs::{RereadInput, stdin_reader};
use crate::cluster::master::options::WorkersOptions;
use crate::cluster::master::preparation::{Prepared, RunIdentity, StartWorkersError, prepare};
use crate::cluster::master::run::{Shared, WorkerEvent};
use crate::cluster::master::shell::{Shell, StoreThread};
use crate::cluster::master::store::MasterStore;
use crate::cluster::source::TopologySource;
use crate::cluster::stats::{WorkersStats, shapes};
use crate::ids::{CheckpointId, Incarnation, WorkerId};
use crate::net::Secret;
use crate::runtime::reporting::Reporter;
use crate::runtime::{Savepoint, SavepointError, TakeCheckpointError};
use crate::topology::assignment::place;
use crate::topology::graph::Topology;

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
        let reader = options.stdin.then(|| stdin_reader(&topology, &plan, &assignment)).flatten();
        let input = reader.and_then(|reader| RereadInput::new(reader, io::stdin()));
        let reads_once = reader.filter(|_| input.is_none());
        let run = random()?;
        let identity = RunIdentity {
            run,
            secret: Secret::new(random()?),
            first_recovery: first_recovery(run),
            appointment: None,
            dropped: Vec::new(),
        };
        let prepared = prepare(&topology, (&plan, assignment), source, &options, reads_once, identity)?;
        let Prepared { start, core, store } = prepared;
        let shared =
            Arc::new(Shared::new(Core::new(core), topology.name().to_owned(), shapes(&topology, &plan)));
        let (wishes, happenings) = channel();
        let (metrics, logger) = (options.metrics.clone(), options.logger.clone());
        let store = store.map(|store| start_store(store, &logger, &wishes)).transpose();
        let store = store.map_err(StartWorkersError::Thread)?;
        let children = ChildProcesses::new(start, options, input, wishes.clone());
        let shell =
            Shell::new(Arc::clone(&shared), logger.clone(), Box::new(children), wishes.clone(), store);
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
pub(super) fn start_store(
    store: CheckpointStore,
    logger: &Logger,
    events: &Sender<Event>,
) -> io::Result<StoreThread> {
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
