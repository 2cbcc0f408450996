//! The main function of a worker process.
//!
//! ```text
//!   main thread:  stdin = control ─▶ Start ─▶ topology ─▶ WorkerRuntime ─▶ commands, one by one
//!   "squall-control": Beat every `worker.heartbeat`, and all other reports ─▶ parent
//!   "squall-stats":   Stats every `worker.stats_interval`, LinkDown        ─▶ "squall-control"
//! ```
//!
//! A [`WorkerRuntime`] runs the executors and the connections to peers. This file holds everything
//! between the runtime and the parent.
//!
//! 1. A worker ends when its parent dies. There are three safeguards: the kernel kills the worker
//!    (`PR_SET_PDEATHSIG`); the worker checks at its start that its parent still lives; and the worker
//!    exits at once when its control channel ends.
//! 2. The thread that sends beats computes nothing and takes no lock of the runtime. So a busy worker
//!    still sends its beats.
//! 3. The signals that drain a run are left to the parent (see [`crate::cluster::signals`]).
//! 4. A worker that a supervisor has started has no parent. Its control channel is one end of a socket pair, and `link`
//!    has the other end.
//! 5. At its start the stdin of a worker is the control channel. After that its stdin is the descriptor
//!    that came with [`Start`](ToWorker::Start), or empty.

pub(super) mod origin;
mod reports;

use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rand::TryRng as _;
use rand::rngs::SysRng;
use slog::{Logger, o};

use crate::api::WorkerResources;
use crate::checkpoint::LeftBehind;
use crate::clock::Clock;
use crate::cluster::control::{ControlError, FromWorker, LogSpec, Start, ToWorker, WorkerFailure, read};
use crate::cluster::link::{Known, WorkerLink};
use crate::cluster::processor::CONTROL_THREAD;
use crate::cluster::signals;
use crate::cluster::stats::WorkerStats;
use crate::cluster::topologies::{
    ORDER_FILE, Occupancy, WorkerOrder, read_order, read_secret, start_process_log,
};
use crate::cluster::worker::origin::{become_stdin, die_with_parent, take_control, take_stdin};
use crate::cluster::worker::reports::send_reports;
use crate::components::print::{PRINT_RESOURCE, PrintTarget};
use crate::components::standard;
use crate::config::NetOptions;
use crate::ids::{Incarnation, WorkerId};
use crate::logging::Logging;
use crate::net::{Members, Secret};
use crate::runtime::end_sequence::{CLOSE_MAX, EndCommand, EndProgress};
use crate::runtime::flow::checkpoint::CheckpointOrder;
use crate::topology::assignment::Assignment;
use crate::topology::graph::Topology;
use crate::topology::registry::Registry;

pub use origin::WorkerError;
pub use reports::Reports;

/// How often connections that are down for too long are reported.
const LINK_REPORT_EACH: Duration = Duration::from_secs(1);

/// The part of a worker that runs executors and the connections to peers. Calls may come from several
/// threads at once. Commands come one after another, in the order in which the parent sent them. All
/// calls are short, except [`WorkerRuntime::wait_closed`].
pub trait WorkerRuntime: Send + Sync {
    /// The address at which peers can dial it.
    fn address(&self) -> SocketAddr;
    /// Sets the members. The same version comes again when an address becomes known.
    fn members(&self, members: &Members);
    /// Lets spouts emit (again). The first time, it opens and prepares all tasks.
    fn activate(&self);
    /// Lets spouts rest.
    fn deactivate(&self);
    /// Carries out a step of the end. The next snapshots carry its round. `Drain` may come before
    /// [`WorkerRuntime::activate`], and twice.
    fn carry_out(&self, command: EndCommand);
    /// Carries out what the master wants done about a checkpoint.
    fn carry_out_order(&self, order: CheckpointOrder);
    /// All workers are about to end: connections that go down from now on are not logged.
    fn leave(&self);
    /// How far the worker is with the end of the topology.
    fn progress(&self) -> EndProgress;
    /// The counters of the worker.
    fn stats(&self) -> WorkerStats;
    /// Why the runtime cannot go on, if it cannot. The process must end then, and is replaced.
    fn failure(&self) -> Option<String>;
    /// Waits until all executors have closed, at most for this time besides the time in which their
    /// threads got no processor, and shuts down the worker hooks of the program. Returns whether all
    /// executors have closed.
    fn wait_closed(&self, at_most: Duration) -> bool;
}

/// What a runtime is started with.
pub struct WorkerSpec {
    /// The whole topology.
    pub topology: Topology,
    /// Which executors run in which worker.
    pub assignment: Assignment,
    /// The number of this worker.
    pub worker: WorkerId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// How many workers there are.
    pub workers: u16,
    /// Names the run.
    pub run: [u8; 16],
    /// The secret that the workers of the run share.
    pub secret: Secret,
    /// The members at the start.
    pub members: Members,
    /// `[net]`.
    pub net: NetOptions,
    /// Where to log; records name the worker already.
    pub logger: Logger,
    /// The directory of the checkpoints, if the topology is exactly-once.
    pub checkpoints: Option<String>,
    /// What of the checkpoint that the run begins with is not restored.
    pub left_behind: LeftBehind,
    /// Objects that tasks find by `TaskContext::resources`.
    pub resources: WorkerResources,
}

/// Starts the runtime of a worker.
pub type StartRuntime = dyn Fn(WorkerSpec, Reports) -> Result<Arc<dyn WorkerRuntime>, WorkerFailure>;

/// Runs a worker process to its end. `registry` holds the component types of the topology, which
/// must be those that the parent has.
///
/// Returns whether it was closed in order. When its parent is gone, the process exits in this call.
///
/// # Errors
/// When there is no parent with a control channel, or no `Start` can be read from it.
pub fn run(registry: &Registry, start_runtime: &StartRuntime) -> Result<bool, WorkerError> {
    let control = take_control()?;
    // As early as possible, because signals to the process group may come at any time.
    signals::leave_to_parent()?;
    signals::survive_file_size_limit()?;
    die_with_parent(&control)?;
    let stdin = take_stdin(&control)?;
    let mut commands = BufReader::new(control.try_clone()?);
    // If there is none, the parent died before it sent anything.
    let Some(start) = first_message(&mut commands)? else { return Ok(false) };
    become_stdin(stdin)?;
    standard::remember(start.closed);
    let logging = start_log(&start);
    let reports = start_reports(control, &start, None)?;
    Ok(serve(start, commands, registry, start_runtime, &reports, &logging))
}

/// Runs a worker process that a supervisor has started, to its end: see `link`. Otherwise as [`run`].
///
/// # Errors
/// When another process has the directory, or there is no order in it.
pub fn run_linked(
    directory: &Path,
    registry: &Registry,
    start_runtime: &StartRuntime,
) -> Result<bool, WorkerError> {
    let _occupancy = Occupancy::take(directory)?;
    signals::leave_to_parent()?;
    signals::survive_file_size_limit()?;
    let order = read_order::<WorkerOrder>(directory, ORDER_FILE)?.ok_or(WorkerError::ByHand)?;
    let logging = start_process_log(directory, &order.log, order.log_files)?;
    let logger = logging.logger.new(o!("worker" => order.worker.0));
    let secret = read_secret(directory)?;
    let secrets = order.secrets.clone();
    let known = Known { id: order.id.clone(), run: order.run.clone(), secret };
    let (control, theirs) = UnixStream::pair()?;
    let seed = SysRng.try_next_u64().map_err(|error| io::Error::other(error.to_string()))?;
    let link = WorkerLink::start(directory, order, known, theirs, seed, (logger, logging.levels.clone()))?;
    let mut commands = BufReader::new(control.try_clone()?);
    let Some(mut start) = first_message(&mut commands)? else { return Ok(false) };
    // The master may be on another host, with other directories.
    start.secrets = secrets;
    let reports = start_reports(control, &start, Some(link))?;
    Ok(serve(start, commands, registry, start_runtime, &reports, &logging))
}

fn first_message(commands: &mut BufReader<UnixStream>) -> Result<Option<Start>, WorkerError> {
    match read::<ToWorker>(commands)? {
        Some(ToWorker::Start(start)) => Ok(Some(*start)),
        Some(_) => Err(ControlError::Malformed("the first message is not the start".into()).into()),
        None => Ok(None),
    }
}

/// Starts the control thread.
fn start_reports(control: UnixStream, start: &Start, link: Option<WorkerLink>) -> io::Result<Reports> {
    let (sender, receiver) = channel();
    let reports = Reports::new(sender, link);
    thread::Builder::new().name(CONTROL_THREAD.to_owned()).spawn({
        let (heartbeat, reports) = (start.worker_options.heartbeat, reports.clone());
        move || {
            if !send_reports(control, &receiver, &reports, heartbeat) {
                std::process::exit(1);
            }
        }
    })?;
    Ok(reports)
}

/// Starts the runtime, and carries out commands until the end.
fn serve(
    start: Start,
    mut commands: BufReader<UnixStream>,
    registry: &Registry,
    start_runtime: &StartRuntime,
    reports: &Reports,
    logging: &Logging,
) -> bool {
    let (worker, interval) = (start.worker, start.worker_options.stats_interval);
    let (link_lost, clock) = (start.net.link_lost, Clock::real());
    reports.members(worker, &start.members, clock.now());
    let logger = logging.logger.new(o!("worker" => worker.0));
    let _ = rustix::thread::set_name(&process_name(worker));
    let runtime = match start_with(start, registry, start_runtime, &logger, reports.clone()) {
        Ok(runtime) => runtime,
        Err(failure) => {
            reports.fatal(failure);
            return false;
        }
    };
    reports.message(FromWorker::Listening { address: runtime.address() });
    let counting = thread::Builder::new().name("squall-stats".to_owned()).spawn({
        let (runtime, reports, clock) = (Arc::clone(&runtime), reports.clone(), clock.clone());
        move || count(&*runtime, &reports, &clock, interval, link_lost)
    });
    if let Err(error) = counting {
        reports.fatal(format!("cannot start a thread: {error}").into());
        return false;
    }
    loop {
        match read::<ToWorker>(&mut commands) {
            Ok(Some(ToWorker::Ending(EndCommand::Close))) => close(&*runtime, reports),
            Ok(Some(ToWorker::Ending(EndCommand::End))) => {
                reports.flush();
                return true;
            }
            Ok(Some(ToWorker::Members(now))) => {
                runtime.members(&now);
                reports.members(worker, &now, clock.now());
            }
            Ok(Some(command)) => run_command(command, &*runtime, reports),
            // The parent is gone, or the master listens to another process: exit at once.
            Ok(None) | Err(_) => std::process::exit(1),
        }
    }
}

fn start_log(start: &Start) -> Logging {
    let LogSpec { levels, format, color } = start.log.clone();
    let mut logging = Logging::start(levels, format, color, io::stderr());
    logging.log_panics();
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
) -> Result<Arc<dyn WorkerRuntime>, WorkerFailure> {
    if start.version != env!("CARGO_PKG_VERSION") {
        return Err(format!(
            "this is a worker of squall {}, and its parent is of squall {}",
            env!("CARGO_PKG_VERSION"),
            start.version
        )
        .into());
    }
    let topology = start.source.load(registry).map_err(|errors| errors.render(false))?;
    let resources = WorkerResources::default();
    resources.set(PRINT_RESOURCE, PrintTarget::stdout(start.print));
    resources.set_secrets(start.secrets);
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
        logger: logger.clone(),
        checkpoints: start.checkpoints,
        left_behind: start.left_behind,
        resources,
    };
    start_runtime(spec, reports)
}

fn run_command(command: ToWorker, runtime: &dyn WorkerRuntime, reports: &Reports) {
    match command {
        ToWorker::Activate => runtime.activate(),
        ToWorker::Deactivate => runtime.deactivate(),
        ToWorker::Ending(command) => runtime.carry_out(command),
        ToWorker::Checkpoint(order) => runtime.carry_out_order(order),
        ToWorker::Probe { wave } => {
            reports.message(FromWorker::Progress { wave, progress: runtime.progress() });
        }
        // The caller handles `Members`. `Start` comes once, before the others.
        // `link` answers for a worker that a supervisor has started, and a parent asks nobody.
        ToWorker::ReadLog { .. } => {}
        ToWorker::Members(_) | ToWorker::Start(_) => {}
    }
}

fn close(runtime: &dyn WorkerRuntime, reports: &Reports) {
    runtime.leave();
    runtime.carry_out(EndCommand::Close);
    let closed = runtime.wait_closed(CLOSE_MAX);
    reports.stats(runtime.stats());
    reports.message(FromWorker::Ended { cut_short: !closed });
}

/// The thread of statistics. It also reports connections that are down for too long, and ends the process
/// when the runtime has failed.
fn count(
    runtime: &dyn WorkerRuntime,
    reports: &Reports,
    clock: &Clock,
    interval: Duration,
    link_lost: Duration,
) {
    let mut report_links_at = clock.now().after(LINK_REPORT_EACH);
    loop {
        thread::sleep(interval);
        reports.stats(runtime.stats());
        if clock.now() >= report_links_at {
            report_links_at = clock.now().after(LINK_REPORT_EACH);
            reports.report_links(link_lost, clock.now());
        }
        if let Some(why) = runtime.failure() {
            reports.fatal(why.into());
            std::process::exit(1);
        }
    }
}
