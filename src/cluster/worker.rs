//! What a worker process does.
//!
//! ```text
//!   main thread:  stdin = control ─▶ Start ─▶ topology ─▶ WorkerRuntime ─▶ commands, one by one
//!   "squall-control": Beat every `worker.heartbeat`, and whatever else is to be said ─▶ parent
//!   "squall-stats":   Stats every `worker.stats_interval`, LinkDown                    ─▶ parent
//! ```
//!
//! The part that runs executors and speaks to peers is a [`WorkerRuntime`]; here is everything
//! between it and the parent.
//!
//! 1. A worker dies with its parent, in three ways: the kernel kills it (`PR_SET_PDEATHSIG`); it sees
//!    that its parent is another already; its control channel ends, whereupon it exits at once.
//! 2. Beats have a thread of their own that computes nothing and takes no lock of the runtime's: a
//!    busy worker is not a dead one.
//! 3. SIGINT and SIGTERM are the parent's to answer: a terminal and a supervisor send them to all
//!    processes of a group, and a worker that obeyed would take its tuples with it. Its parent drains.
//! 4. Its stdin is the control channel until that was taken over; then it is empty, or what came with
//!    [`Start`](ToWorker::Start).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use slog::{Logger, o};

use crate::api::WorkerResources;
use crate::clock::{Clock, Time};
use crate::cluster::control::{Beat, ControlError, FromWorker, LogSpec, Start, ToWorker, line, read};
use crate::cluster::stats::WorkerStats;
use crate::cluster::stdout::SharedStdout;
use crate::components::print::{PRINT_RESOURCE, PrintTarget};
use crate::config::{NetOptions, WorkerOptions};
use crate::ids::{Incarnation, WorkerId};
use crate::logging::Logging;
use crate::net::{Members, Secret};
use crate::runtime::ending::Snapshot;
use crate::topology::assignment::Assignment;
use crate::topology::graph::Topology;
use crate::topology::registry::Registry;

/// How often links that are down for too long are reported.
const COMPLAIN_EACH: Duration = Duration::from_secs(1);
/// How long executors may take to close.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// The part of a worker that runs executors and speaks to peers. All calls are short and may come
/// from several threads at once, but commands come one after another, in the order of the parent.
pub trait WorkerRuntime: Send + Sync {
    /// Where peers may dial it.
    fn address(&self) -> SocketAddr;
    /// Who takes part now. A version that was seen comes again when an address becomes known.
    fn members(&self, members: &Members);
    /// Lets spouts emit (again). The first time, it opens and prepares all tasks.
    fn activate(&self);
    /// Lets spouts rest.
    fn deactivate(&self);
    /// Spouts emit no more. May come before [`WorkerRuntime::activate`], and twice.
    fn drain(&self);
    /// Asks executors that hold tuples to finish; reported as the round of the next snapshot.
    fn ask_holders(&self, round: u64);
    /// Asks the executors of the bolt at this place to finish; reported as the round.
    fn finish(&self, round: u64, place: usize);
    /// Closes all executors.
    fn close(&self);
    /// How far it has come.
    fn snapshot(&self) -> Snapshot;
    /// Its counters.
    fn stats(&self) -> WorkerStats;
    /// Waits until all executors have closed, at most so long; says whether they have.
    fn wait_closed(&self, at_most: Duration) -> bool;
}

/// What a runtime is started with.
pub struct WorkerSpec {
    /// What runs, all of it.
    pub topology: Topology,
    /// Which part of it runs here.
    pub assignment: Assignment,
    /// Who this is.
    pub worker: WorkerId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// How many workers there are.
    pub workers: u16,
    /// Names the run.
    pub run: [u8; 16],
    /// What the workers of the run know and nobody else does.
    pub secret: Secret,
    /// Who takes part at the start.
    pub members: Members,
    /// `[net]`.
    pub net: NetOptions,
    /// `[worker]`.
    pub options: WorkerOptions,
    /// Where to log; records name the worker already.
    pub logger: Logger,
    /// Objects that tasks find by `TaskContext::resources`.
    pub resources: WorkerResources,
}

/// Starts the runtime of a worker. What is wrong is told to the parent, for people.
pub type StartRuntime = dyn Fn(WorkerSpec, Reports) -> Result<Arc<dyn WorkerRuntime>, String>;

/// What a runtime has to say to the parent. Clones say it to the same one. Never blocks.
#[derive(Clone)]
pub struct Reports {
    say: Sender<Saying>,
    now: Arc<Mutex<Beat>>,
    links: Arc<Mutex<Links>>,
}

/// What is to be said by the control thread.
enum Saying {
    Message(Box<FromWorker>),
    /// The beat has changed in a way that the parent waits for.
    BeatNow,
    /// Everything that was said before is to be written; then this is closed.
    Flush(Sender<()>),
}

/// Peers, and since when their connection is down; `None`: it is up.
#[derive(Default)]
struct Links {
    peers: BTreeMap<WorkerId, Option<Time>>,
}

impl Reports {
    fn new(say: Sender<Saying>) -> Reports {
        Reports { say, now: Arc::default(), links: Arc::default() }
    }

    /// How far the worker is from rest: to be called whenever it comes to rest or a spout of it
    /// starts or stops to live; cheap enough to be called more often.
    pub fn progress(&self, at_rest: bool, live_spouts: u64) {
        let news = {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            let news = (at_rest && !now.at_rest) || (live_spouts == 0) != (now.live_spouts == 0);
            (now.at_rest, now.live_spouts) = (at_rest, live_spouts);
            news
        };
        if news {
            self.say(Saying::BeatNow);
        }
    }

    /// A component asks for an orderly end of the topology.
    pub fn drain_requested(&self) {
        self.message(FromWorker::DrainRequested);
    }

    /// The connection by which this worker sends to a peer came up, or went down.
    pub fn link(&self, peer: WorkerId, up: bool, now: Time) {
        let changed = {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            let before = links.peers.insert(peer, if up { None } else { Some(now) });
            if let (Some(Some(since)), false) = (before, up) {
                // It was down already, since then.
                links.peers.insert(peer, Some(since));
            }
            let count = links.peers.values().filter(|down| down.is_none()).count();
            self.now.lock().unwrap_or_else(PoisonError::into_inner).links_up = count as u16;
            before.is_none_or(|before| before.is_none() != up)
        };
        if changed {
            self.message(FromWorker::Link { peer, up });
        }
    }

    /// The worker cannot go on; the parent is told why. The process is to end after that.
    pub fn fatal(&self, message: String) {
        self.message(FromWorker::Fatal { message });
        self.flush();
    }

    fn message(&self, message: FromWorker) {
        self.say(Saying::Message(Box::new(message)));
    }

    fn say(&self, saying: Saying) {
        // Without the control thread there is no parent to tell either.
        let _ = self.say.send(saying);
    }

    /// Waits until everything was written.
    fn flush(&self) {
        let (done, wait) = channel();
        self.say(Saying::Flush(done));
        let _ = wait.recv_timeout(CLOSE_MAX);
    }

    /// New peers: those that were replaced begin anew, and are not down for as long as their
    /// predecessors were.
    fn members(&self, before: &Members, after: &Members, now: Time) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for member in &after.members {
            let same = before.members.iter().any(|old| old == member);
            if let (false, Some(Some(since))) = (same, links.peers.get_mut(&member.worker)) {
                *since = now;
            }
        }
    }

    /// The peers that are known to listen, and whose connection is down for that long.
    fn down_for(&self, members: &Members, longer: Duration, now: Time) -> Vec<(WorkerId, Duration)> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let listening = members.members.iter().filter(|member| member.address.is_some());
        let down = listening.filter_map(|member| {
            let since = (*links.peers.get(&member.worker)?)?;
            Some((member.worker, now.since(since)))
        });
        down.filter(|(_, time)| *time >= longer).collect()
    }
}

/// Why a worker did not even begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Its stdin is no control channel.
    #[error("nobody has told this worker what to do")]
    ByHand,
    /// The system refuses what it needs.
    #[error("cannot begin as a worker")]
    Io(#[from] io::Error),
    /// The parent says nothing sensible.
    #[error("the parent cannot be understood")]
    Control(#[from] ControlError),
}

/// Runs a worker process to its end. `registry` holds the component types of the topology, which
/// must be those that the parent has.
///
/// Returns whether it was closed in order. It exits by itself when its parent is gone.
///
/// # Errors
/// When nobody told it what to do.
pub fn run(registry: &Registry, start_runtime: &StartRuntime) -> Result<bool, WorkerError> {
    let control = take_control()?;
    die_with_parent(&control)?;
    let obeyed_by_parent = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&obeyed_by_parent))?;
    }
    let stdin = take_stdin(&control)?;
    let mut commands = BufReader::new(control.try_clone()?);
    let start = match read::<ToWorker>(&mut commands)? {
        Some(ToWorker::Start(start)) => *start,
        Some(_) => return Err(ControlError::Malformed("the first message is not the start".into()).into()),
        // The parent died before it said anything.
        None => return Ok(false),
    };
    rustix::stdio::dup2_stdin(match stdin {
        Some(stdin) => stdin,
        None => File::open("/dev/null")?.into(),
    })
    .map_err(io::Error::from)?;
    let (say, sayings) = channel();
    let reports = Reports::new(say);
    thread::Builder::new().name("squall-control".to_owned()).spawn({
        let (heartbeat, now) = (start.worker_options.heartbeat, Arc::clone(&reports.now));
        move || speak(control, &sayings, heartbeat, &now)
    })?;
    Ok(serve(start, commands, registry, start_runtime, &reports))
}

/// The control channel, which is stdin.
fn take_control() -> Result<UnixStream, WorkerError> {
    let stdin = io::stdin();
    let is_socket = rustix::fs::fstat(&stdin)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket);
    if !is_socket || sockopt::socket_domain(&stdin) != Ok(rustix::net::AddressFamily::UNIX) {
        return Err(WorkerError::ByHand);
    }
    Ok(UnixStream::from(stdin.as_fd().try_clone_to_owned()?))
}

/// Lets the kernel kill this process when the thread that started it ends, and looks whether that
/// has happened already.
fn die_with_parent(control: &UnixStream) -> Result<(), WorkerError> {
    // The socket pair was made by the parent, and remembers by whom.
    let parent = sockopt::socket_peercred(control).map_err(io::Error::from)?.pid;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    match getppid() {
        Some(now) if now == parent => Ok(()),
        _ => Err(WorkerError::ByHand),
    }
}

/// What comes along with the first byte: a descriptor to be stdin, or nothing. The byte stays.
fn take_stdin(control: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC;
    rustix::io::retry_on_intr(|| recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut rights, flags))?;
    let descriptor = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor)
}

/// The control thread: beats, and passes on what others have to say.
fn speak(mut control: UnixStream, sayings: &Receiver<Saying>, heartbeat: Duration, now: &Mutex<Beat>) {
    let clock = Clock::real();
    let mut next_beat = clock.now();
    loop {
        let written = match sayings.recv_timeout(next_beat.since(clock.now())) {
            Ok(Saying::Message(message)) => control.write_all(&line(&*message)),
            Ok(Saying::Flush(done)) => {
                drop(done);
                Ok(())
            }
            Ok(Saying::BeatNow) | Err(RecvTimeoutError::Timeout) => {
                next_beat = clock.now().after(heartbeat);
                let beat = *now.lock().unwrap_or_else(PoisonError::into_inner);
                control.write_all(&line(&FromWorker::Beat(beat)))
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if written.is_err() {
            // The parent is gone.
            std::process::exit(1);
        }
    }
}

/// From the start to the end.
fn serve(
    start: Start,
    mut commands: BufReader<UnixStream>,
    registry: &Registry,
    start_runtime: &StartRuntime,
    reports: &Reports,
) -> bool {
    let (worker, interval) = (start.worker, start.worker_options.stats_interval);
    let link_lost = start.net.link_lost;
    let members = Arc::new(Mutex::new(start.members.clone()));
    let logging = start_log(&start);
    let _ = rustix::thread::set_name(&process_name(worker));
    let runtime = match start_with(start, registry, start_runtime, &logging.logger, reports.clone()) {
        Ok(runtime) => runtime,
        Err(why) => {
            reports.fatal(why);
            return false;
        }
    };
    reports.message(FromWorker::Listening { address: runtime.address() });
    let counting = thread::Builder::new().name("squall-stats".to_owned()).spawn({
        let (runtime, reports, members) = (Arc::clone(&runtime), reports.clone(), Arc::clone(&members));
        move || count(&*runtime, &reports, &members, interval, link_lost)
    });
    if let Err(error) = counting {
        reports.fatal(format!("cannot start a thread: {error}"));
        return false;
    }
    let clock = Clock::real();
    loop {
        match read::<ToWorker>(&mut commands) {
            Ok(Some(ToWorker::Close)) => return close(&*runtime, reports),
            Ok(Some(ToWorker::Members(now))) => {
                runtime.members(&now);
                let mut members = members.lock().unwrap_or_else(PoisonError::into_inner);
                reports.members(&members, &now, clock.now());
                *members = now;
            }
            Ok(Some(command)) => obey(command, &*runtime, reports),
            // The parent is gone; nobody is left to work for.
            Ok(None) | Err(_) => std::process::exit(1),
        }
    }
}

fn start_log(start: &Start) -> Logging {
    let LogSpec { levels, format, color } = start.log.clone();
    let mut logging = Logging::start(levels, format, color, io::stderr());
    logging.logger = logging.logger.new(o!("worker" => start.worker.0));
    logging
}

fn process_name(worker: WorkerId) -> std::ffi::CString {
    std::ffi::CString::new(format!("squall-worker-{worker}")).expect("a number has no zero byte")
}

fn start_with(
    start: Start,
    registry: &Registry,
    start_runtime: &StartRuntime,
    logger: &Logger,
    reports: Reports,
) -> Result<Arc<dyn WorkerRuntime>, String> {
    if start.version != env!("CARGO_PKG_VERSION") {
        return Err(format!(
            "this is a worker of squall {}, and its parent is of squall {}",
            env!("CARGO_PKG_VERSION"),
            start.version
        ));
    }
    let topology = start.source.load(registry).map_err(|errors| errors.render(false))?;
    let resources = WorkerResources::default();
    resources.set(PRINT_RESOURCE, PrintTarget::new(start.print, SharedStdout));
    let spec = WorkerSpec {
        topology,
        assignment: start.assignment,
        worker: start.worker,
        incarnation: start.incarnation,
        workers: start.workers,
        run: start.run,
        secret: start.secret,
        members: start.members,
        net: start.net,
        options: start.worker_options,
        logger: logger.clone(),
        resources,
    };
    start_runtime(spec, reports)
}

fn obey(command: ToWorker, runtime: &dyn WorkerRuntime, reports: &Reports) {
    match command {
        ToWorker::Activate => runtime.activate(),
        ToWorker::Deactivate => runtime.deactivate(),
        ToWorker::Drain => runtime.drain(),
        ToWorker::AskHolders { round } => runtime.ask_holders(round),
        ToWorker::Finish { round, place } => runtime.finish(round, place),
        ToWorker::Probe { wave } => {
            reports.message(FromWorker::Snapshot { wave, snapshot: runtime.snapshot() });
        }
        // Taken care of by the caller, or not to come again.
        ToWorker::Close | ToWorker::Members(_) | ToWorker::Start(_) => {}
    }
}

fn close(runtime: &dyn WorkerRuntime, reports: &Reports) -> bool {
    runtime.close();
    let closed = runtime.wait_closed(CLOSE_MAX);
    reports.message(FromWorker::Stats(Box::new(runtime.stats())));
    reports.message(FromWorker::Ended { cut_short: !closed });
    reports.flush();
    true
}

/// The thread of statistics: also looks after links that are down.
fn count(
    runtime: &dyn WorkerRuntime,
    reports: &Reports,
    members: &Mutex<Members>,
    interval: Duration,
    link_lost: Duration,
) {
    let clock = Clock::real();
    let mut complain_at = clock.now().after(COMPLAIN_EACH);
    loop {
        thread::sleep(interval);
        reports.message(FromWorker::Stats(Box::new(runtime.stats())));
        let now = clock.now();
        if now >= complain_at {
            complain_at = now.after(COMPLAIN_EACH);
            let members = members.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (peer, time) in reports.down_for(&members, link_lost, now) {
                let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                reports.message(FromWorker::LinkDown { peer, for_ms });
            }
        }
    }
}
