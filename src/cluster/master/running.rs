//! A topology that runs in worker processes, as its embedder holds it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::api::{MetricsReporting, TopologyStats};
use crate::clock::{Clock, Time};
use crate::cluster::control::{LogSpec, Start};
use crate::cluster::master::core::Core;
use crate::cluster::master::events::{CoreOptions, Event};
use crate::cluster::master::inputs::sources;
use crate::cluster::master::shell::Shell;
use crate::cluster::processes::Executable;
use crate::cluster::source::TopologySource;
use crate::cluster::stats::{ComponentShape, ProcessStats, WorkersStats, topology_stats};
use crate::components::print::PrintStyle;
use crate::components::standard;
use crate::config::{NetOptions, WorkerOptions};
use crate::ids::{Incarnation, WorkerId};
use crate::net::{Members, Secret};
use crate::runtime::reporting::{Reported, Reporter};
use crate::topology::assignment::place;
use crate::topology::graph::Topology;
use crate::topology::plan::{ACKER_COMPONENT, Part, Plan};

/// Events that are remembered; the oldest go first.
const HISTORY_MAX: usize = 1 << 16;

/// The address by which one worker dials another, when it is not the one that is listened at: for
/// address translation, and for proxies of tests. From, to, and where that one listens.
pub type DialThrough = Arc<dyn Fn(WorkerId, WorkerId, SocketAddr) -> SocketAddr + Send + Sync>;
/// Takes the lines that workers write.
pub type OutputLines = Arc<dyn Fn(WorkerId, &str) + Send + Sync>;

/// What workers are started with.
#[derive(Clone)]
pub struct WorkersOptions {
    /// How many. At most as many are started as have something to do.
    pub workers: u16,
    /// Which program they run. It must call `squall::cli::run` with the components of the topology.
    pub executable: Executable,
    /// `[net]`.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker: WorkerOptions,
    /// Where the master logs.
    pub logger: slog::Logger,
    /// What the workers log, and how.
    pub log: LogSpec,
    /// Where the workers' logs and complaints go, line by line; `None`: to the master's logger.
    pub stderr: Option<OutputLines>,
    /// How `print` bolts show rows.
    pub print: PrintStyle,
    /// Where rows go, line by line; `None`: they are written to this process's stdout by the workers
    /// themselves, which is a lot faster.
    pub stdout: Option<OutputLines>,
    /// Whether workers may read this process's stdin; otherwise theirs is empty. What a worker has
    /// read and not processed is gone with it, and counts as lost: a replacement goes on where it
    /// stopped.
    pub stdin: bool,
    /// Addresses as one worker should dial another; `None`: those that they listen at.
    pub dial_through: Option<DialThrough>,
    /// Who is told of the counters of all workers while they run.
    pub metrics: Option<MetricsReporting>,
}

impl WorkersOptions {
    /// So many workers of this program, no logs of the master's own.
    pub fn new(workers: u16) -> WorkersOptions {
        WorkersOptions {
            workers,
            executable: Executable::This,
            net: NetOptions::default(),
            worker: WorkerOptions::default(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            log: LogSpec::default(),
            stderr: None,
            print: PrintStyle::default(),
            stdout: None,
            stdin: false,
            dial_through: None,
            metrics: None,
        }
    }
}

/// Why workers could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartWorkersError {
    /// None were asked for.
    #[error("a topology runs in at least one worker")]
    NoWorkers,
    /// The master's thread could not be started.
    #[error("cannot start the thread that watches the workers")]
    Thread(#[source] io::Error),
    /// There is no randomness for the secret of the run.
    #[error("the operating system has no randomness")]
    Randomness,
}

/// Something that happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerEvent {
    /// When, since the start of the run.
    pub at: Duration,
    /// To whom.
    pub worker: WorkerId,
    /// In which life.
    pub incarnation: Incarnation,
    /// What.
    pub kind: WorkerEventKind,
}

/// What happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEventKind {
    /// Its process was started, with this pid.
    Started(u32),
    /// It listens: it takes part from here on.
    Listening,
    /// It is to be killed, for this reason.
    Replaced(String),
    /// Its process has ended, like this.
    Died(String),
    /// The connection by which it sends to this peer is up.
    LinkUp(WorkerId),
    /// It is down.
    LinkDown(WorkerId),
}

/// A topology that runs in worker processes. Dropped, it is killed.
///
/// Mirrors [`RunningTopology`](crate::runtime::RunningTopology), which runs in this process. A worker
/// that dies is replaced; nothing of that is to be done by the holder.
///
/// # Examples
/// ```no_run
/// use squall::cluster::{RunningWorkers, TopologySource, WorkersOptions};
/// use squall::prelude::Registry;
///
/// // The same program is started again as each worker, so its `main` must hand the same registry to
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

/// What the handle and the master's thread share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) run: Mutex<Run>,
    on_end: Condvar,
    name: String,
    shapes: Vec<ComponentShape>,
}

/// What is known of the run. Written by the master's thread alone.
pub(super) struct Run {
    pub(super) core: Core,
    /// Of the processes that there are, by worker.
    pub(super) pids: Vec<Option<u32>>,
    pub(super) history: VecDeque<WorkerEvent>,
    /// Set by the master's thread as its last act.
    ended_at: Option<Time>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) {
        self.lock().ended_at = Some(self.clock.now());
        self.on_end.notify_all();
    }

    fn stats(&self) -> WorkersStats {
        let run = self.lock();
        let elapsed = run.ended_at.unwrap_or_else(|| self.clock.now()).since(Time::ZERO);
        let mut topology = topology_stats(&run.core.sum(), &self.shapes, elapsed);
        topology.ended = run.ended_at.is_some();
        topology.cut_short = run.core.is_cut_short();
        topology.stopped = run.core.stopped().cloned();
        topology.lost = run.core.lost();
        let lives = run.core.lives();
        let workers = u16::try_from(lives.len()).expect("workers are numbered by u16");
        let up = lives.iter().filter(|life| life.is_up());
        let processes = ProcessStats {
            workers,
            up: up.clone().count() as u16,
            restarts: lives.iter().map(|life| life.restarts).sum(),
            links: u32::from(workers) * u32::from(workers - 1),
            links_up: up.filter_map(|life| life.beat).map(|beat| u32::from(beat.links_up)).sum(),
        };
        let bug =
            || (run.ended_at.is_some() && !run.core.is_done()).then(|| "squall itself panicked".to_owned());
        let failure = run.core.failure().map(str::to_owned).or_else(bug);
        WorkersStats { topology, processes, failure }
    }

    fn wait(&self, at_most: Duration) -> bool {
        let run = self.lock();
        let wait = self.on_end.wait_timeout_while(run, at_most, |run| run.ended_at.is_none());
        wait.unwrap_or_else(PoisonError::into_inner).0.ended_at.is_some()
    }
}

impl Reported for Arc<Shared> {
    fn topology_name(&self) -> &str {
        &self.name
    }

    fn counters(&self) -> TopologyStats {
        self.stats().topology
    }

    fn wait_for_end(&self, at_most: Duration) -> bool {
        self.wait(at_most)
    }
}

impl Run {
    pub(super) fn remember(&mut self, event: WorkerEvent) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }
}

impl RunningWorkers {
    /// Starts the workers of a topology, which must be the one that `source` describes: a document, or a
    /// topology that the registry builds. The program must run its workers by `squall::cli::run` or
    /// `squall::cli::run_worker`. Returns
    /// before they are up.
    ///
    /// # Errors
    /// When there is nothing to start them with. What keeps a worker from starting ends the run, and
    /// is found in [`WorkersStats::failure`].
    pub fn start(
        topology: Topology,
        source: TopologySource,
        options: WorkersOptions,
    ) -> Result<RunningWorkers, StartWorkersError> {
        if options.workers == 0 {
            return Err(StartWorkersError::NoWorkers);
        }
        let (plan, assignment) = place(&topology, options.workers, None);
        let used = assignment.used_workers();
        let workers = used.last().map_or(1, |last| last.0 + 1);
        let sources = sources(&topology, &plan, &assignment, workers, options.stdin);
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
        });
        let shared = Arc::new(Shared {
            clock: Clock::real(),
            run: Mutex::new(Run {
                core,
                pids: vec![None; usize::from(workers)],
                history: VecDeque::new(),
                ended_at: None,
            }),
            on_end: Condvar::new(),
            name: topology.name().to_owned(),
            shapes: shapes(&topology, &plan),
        });
        let (wishes, happenings) = channel();
        let (metrics, logger) = (options.metrics.clone(), options.logger.clone());
        let shell = Shell::new(Arc::clone(&shared), start, options, wishes.clone());
        let thread = thread::Builder::new()
            .name("squall-master".to_owned())
            .spawn(move || shell.run(&happenings))
            .map_err(StartWorkersError::Thread)?;
        // What was started by now is killed if this fails: its handle is dropped.
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

    /// Waits until it has ended, at most so long; says whether it has.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.shared.wait(at_most)
    }

    /// Asks for an orderly end: spouts stop, what is in flight is processed, at most for
    /// `drain_timeout`. Returns at once.
    pub fn drain(&self) {
        self.wish(Event::Drain);
    }

    /// Ends it at once: what is in flight is lost, and the run counts as cut short. Components that
    /// answer are still closed; workers that do not end within 2 s are killed. Returns at once.
    pub fn kill(&self) {
        self.wish(Event::Kill);
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

    /// In which life a worker is; the next one, if it is dead at the moment. `None` if there is no
    /// such worker.
    pub fn incarnation(&self, worker: WorkerId) -> Option<Incarnation> {
        self.shared.lock().core.lives().get(worker.index()).map(|life| life.incarnation)
    }

    /// What happened to the workers so far, oldest first; the last 65,536 events.
    pub fn events(&self) -> Vec<WorkerEvent> {
        self.shared.lock().history.iter().cloned().collect()
    }

    /// Since its start.
    pub fn elapsed(&self) -> Duration {
        self.shared.clock.now().since(Time::ZERO)
    }

    fn wish(&self, event: Event) {
        // After the end there is nobody to wish from.
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

/// The components of a topology, and the system's own, in the order of their statistics.
fn shapes(topology: &Topology, plan: &Plan) -> Vec<ComponentShape> {
    let shape = |id: &str, is_spout, part| ComponentShape {
        id: id.into(),
        is_spout,
        tasks: plan.tasks(part).len(),
        executors: plan.executors_of(part).len(),
    };
    let users = topology.components().iter().enumerate();
    let users = users.map(|(at, component)| shape(&component.id, component.is_spout(), Part::Component(at)));
    let ackers = shape(ACKER_COMPONENT, false, Part::Acker);
    users.chain(Some(ackers).filter(|ackers| ackers.tasks > 0)).collect()
}

fn random<const N: usize>() -> Result<[u8; N], StartWorkersError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| StartWorkersError::Randomness)?;
    Ok(bytes)
}
