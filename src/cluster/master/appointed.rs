//! The main function of a master that a supervisor has started: `squall master --directory DIR`.
//!
//! ```text
//!   order.json ─▶ this thread ── wishes ──▶ "squall-master": shell ⇄ core ──▶ LinkedProcesses ══▶ workers
//!   report.json ◀─────┘ looks several times a second
//! ```
//!
//! 1. It does what its order wants, and reports how that goes. It knows nothing of nimbus or ZooKeeper.
//! 2. It ends when the topology has ended, with code 0, or when its order names another epoch or another assignment of
//!    executors, with code 1: then its supervisor starts the next one.
//! 3. It answers observers (`link::observers`), so that neither the thread that decides nor that of the connections has
//!    to. One answer is for all who ask within a while.
//! 4. If the topology cannot begin, that is its end, with the reason in the report.
//! 5. Unless it is on trial as an upgrade. Then its failure is no end: the master reports that it refuses the topology, and
//!    waits until nimbus has placed the one before. It reports, too, when the topology is up, and publishes checkpoints
//!    when it has read that it was accepted.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use std::{io, thread};

use rand::TryRng as _;
use rand::rngs::SysRng;
use slog::{Logger, error, info, o, warn};

use crate::clock::{Clock, Time};
use crate::cluster::link::Known;
use crate::cluster::master::core::Core;
use crate::cluster::master::events::{Appointment, Event, Places};
use crate::cluster::master::linked_processes::LinkedProcesses;
use crate::cluster::master::observer_desk::ObserverDesk;
use crate::cluster::master::options::WorkersOptions;
use crate::cluster::master::preparation::{Prepared, RunIdentity, prepare};
use crate::cluster::master::run::Shared;
use crate::cluster::master::running::start_store;
use crate::cluster::master::shell::Shell;
use crate::cluster::master::wished_savepoints::WishedSavepoints;
use crate::cluster::signals;
use crate::cluster::source::TopologySource;
use crate::cluster::stats::shapes;
use crate::cluster::topologies::{
    AssignmentRecord, LifeSign, MasterOrder, MasterReport, ORDER_FILE, Occupancy, OccupancyError, OrderError,
    Outcome, REPORT_FILE, SOURCE_FILE, SavepointAnswer, StateRecord, TopologyPhase, UpgradeVerdict, Wanted,
    read_order, read_secret, start_process_log, write_order,
};
use crate::files::read_regular;
use crate::logging::LevelControl;
use crate::net::tls::Tls;
use crate::text::shown;
use crate::topology::registry::Registry;
use crate::tuple::Timestamp;

/// How often the master looks at its order and at how the topology goes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a master that is not the first waits for workers that run.
const GRACE: Duration = Duration::from_secs(5);
/// What the trial of an upgrade waits for is reported at most this often: each report is a write to ZooKeeper.
const WAITS_EVERY: Duration = Duration::from_secs(2);
/// Bytes of the largest source of a topology.
const SOURCE_MAX: u64 = 64 << 20;

/// Why a master did not do what it was started for. Its supervisor starts the next one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppointedError {
    /// Another process has its directory, or it is gone.
    #[error(transparent)]
    Occupied(#[from] OccupancyError),
    /// Its order or its secret cannot be read, or its report cannot be written.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// There is no order.
    #[error("the directory `{0}` has no order: a supervisor starts masters, nobody else")]
    NoOrder(String),
    /// The system refuses something that it needs.
    #[error("a master cannot begin")]
    Io(#[from] io::Error),
    /// Another process is to be the master, or the topology is placed in another way.
    #[error("this master ends: {0}")]
    Replaced(&'static str),
}

/// Runs the master whose order is in this directory, to the end of its topology.
///
/// # Errors
/// When another process has to go on.
pub fn run_appointed(directory: &Path, registry: &Registry) -> Result<(), AppointedError> {
    let _occupancy = Occupancy::take(directory)?;
    signals::leave_to_parent()?;
    signals::survive_file_size_limit()?;
    let order = read(directory)?;
    let log = start_process_log(directory, &order.log, order.log_files)?;
    let logger = log.logger.new(o!("topology" => order.spec.id.to_string(), "epoch" => order.epoch));
    let life_sign = LifeSign::open(directory)?;
    life_sign.give();
    info!(logger, "a master begins");
    let mut desk = Desk {
        directory,
        epoch: order.epoch,
        assignment: order.assignment.clone(),
        on_trial: order.assignment.is_on_trial(&order.spec),
        reported: None,
        wanted: order.spec.wanted,
        logger: logger.clone(),
        levels: log.levels.clone(),
    };
    match Begun::new(directory, registry, &order, &logger) {
        Ok(begun) => {
            let ended = begun.run_to_end(&mut desk, &order, &life_sign);
            if let Err(why) = &ended {
                warn!(logger, "{}", why);
            }
            ended
        }
        Err(Unfit::Topology(why)) => {
            error!(logger, "the topology cannot begin"; "because" => &why);
            let outcome = Outcome { failure: Some(why), ended_at: now(), ..Outcome::default() };
            desk.end(outcome, order.savepoint.clone(), &life_sign)
        }
        Err(Unfit::System(error)) => {
            error!(logger, "the master cannot begin"; "because" => shown(&error));
            Err(error.into())
        }
    }
}

fn read(directory: &Path) -> Result<MasterOrder, AppointedError> {
    let order = read_order(directory, ORDER_FILE)?;
    order.ok_or_else(|| AppointedError::NoOrder(directory.display().to_string()))
}

fn now() -> String {
    Timestamp(Clock::real().wall_nanos()).to_string()
}

/// Why a master could not begin.
enum Unfit {
    /// The next one could not, either.
    Topology(String),
    /// The system refuses something.
    System(io::Error),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Unfit {
        Unfit::System(error)
    }
}

/// A master that has begun.
struct Begun {
    shared: Arc<Shared>,
    wishes: Sender<Event>,
    thread: thread::JoinHandle<()>,
    desk_of_observers: ObserverDesk,
    report: MasterReport,
    savepoints: WishedSavepoints,
    /// When it was last reported what the trial waits for.
    waits_since: Time,
}

impl Begun {
    fn new(
        directory: &Path,
        registry: &Registry,
        order: &MasterOrder,
        logger: &Logger,
    ) -> Result<Begun, Unfit> {
        let unfit = |why: &str| Unfit::Topology(why.to_owned());
        let bytes = read_regular(&directory.join(SOURCE_FILE), SOURCE_MAX)?;
        let source: TopologySource =
            serde_json::from_slice(&bytes).map_err(|error| Unfit::Topology(shown(error)))?;
        let mut topology = source.load(registry).map_err(|errors| Unfit::Topology(errors.render(false)))?;
        // Workers are processes of the same program.
        let source = source.with_program(None);
        topology.options.resolve_threads();
        let placement = order.assignment.placement.as_ref().ok_or_else(|| unfit("it is placed nowhere"))?;
        let assignment = placement.assignment.clone();
        let version = assignment.version;
        let plan =
            assignment.plan(&topology).ok_or_else(|| unfit("its placement is that of another topology"))?;
        let run = u128::from_str_radix(&order.spec.run, 16).map_err(|_| unfit("its run has no name"))?;
        let begin = order.spec.begin.to_checkpoint_begin().map_err(|error| Unfit::Topology(shown(error)))?;
        let secret = read_secret(directory).map_err(|error| Unfit::System(io::Error::other(error)))?;
        let on_trial = order.assignment.is_on_trial(&order.spec);
        let appointment = Appointment { epoch: order.epoch, grace: GRACE, assignment: version, on_trial };
        // Above all recoveries of the masters before.
        let first_recovery = (order.epoch << 40) | (run as u64 >> 32);
        let identity = RunIdentity {
            run: run.to_be_bytes(),
            secret: secret.clone(),
            first_recovery,
            appointment: Some(appointment),
            dropped: dropped_by(order),
        };
        let options = WorkersOptions {
            net: order.net.clone(),
            worker: order.worker.clone(),
            logger: logger.clone(),
            log: order.log.clone(),
            checkpoints: begin,
            allow_dropped_state: order.spec.begin.allow_dropped_state.clone(),
            ..WorkersOptions::new(assignment.workers())
        };
        let prepared = prepare(&topology, (&plan, assignment), source, &options, None, identity)
            .map_err(|error| Unfit::Topology(shown(&error)))?;
        let Prepared { start, mut core, store } = prepared;
        core.start_inactive = order.spec.wanted != Wanted::Active || was_stopped(order);
        let (wishes, happenings) = channel();
        let tls = order.net.tls.as_ref().map(|paths| Tls::load(paths, &Clock::real())).transpose();
        let tls = tls.map_err(|error| Unfit::System(io::Error::other(error)))?;
        let known = Known { id: order.spec.id.clone(), run: order.spec.run.clone(), secret };
        let seed = SysRng.try_next_u64().map_err(|error| Unfit::System(io::Error::other(error)))?;
        let linked = LinkedProcesses::listen(
            start,
            order.net.listen,
            tls,
            known,
            (order.epoch, seed),
            directory,
            wishes.clone(),
        )?;
        let (address, observers) = (linked.address(), linked.observers());
        let store = store.map(|store| start_store(store, logger, &wishes)).transpose()?;
        let shared =
            Arc::new(Shared::new(Core::new(core), topology.name().to_owned(), shapes(&topology, &plan)));
        let shell = Shell::new(Arc::clone(&shared), logger.clone(), Box::new(linked), wishes.clone(), store);
        let thread =
            thread::Builder::new().name("squall-master".to_owned()).spawn(move || shell.run(&happenings))?;
        let savepoints = WishedSavepoints::new(
            &topology,
            &order.spec,
            order.savepoint.clone(),
            (Arc::clone(&shared), wishes.clone()),
            logger.clone(),
        );
        let savepoint = order.savepoint.clone();
        let generation = order.assignment.generation;
        let state = StateRecord { epoch: order.epoch, generation, savepoint, ..StateRecord::default() };
        let report = MasterReport { address: Some(address), state };
        let desk_of_observers = ObserverDesk::new(observers, order.epoch);
        Ok(Begun { shared, wishes, thread, desk_of_observers, report, savepoints, waits_since: Time::ZERO })
    }

    /// Follows the order and reports, until the topology has ended.
    fn run_to_end(
        mut self,
        desk: &mut Desk<'_>,
        order: &MasterOrder,
        life_sign: &LifeSign,
    ) -> Result<(), AppointedError> {
        if order.spec.wanted.is_end() {
            self.wish(order.spec.wanted);
        }
        if was_stopped(order) {
            // Another run may go on from the savepoint already, so nothing may be processed here any more.
            info!(desk.logger, "the topology was stopped with a savepoint by the master before");
            self.wish(Wanted::Killed);
        }
        let mut wish = order.spec.savepoint.clone();
        loop {
            let has_ended = self.shared.wait(LOOK_EVERY);
            life_sign.give();
            self.desk_of_observers.answer(&self.shared);
            if has_ended {
                break;
            }
            if let Err(error) = self.savepoints.follow(wish.as_ref()) {
                warn!(desk.logger, "a savepoint cannot be begun yet"; "because" => shown(&error));
            }
            self.look(desk);
            self.report.state.savepoint = self.savepoints.answer().cloned();
            desk.report(&self.report);
            let order = match read(desk.directory) {
                Ok(order) => order,
                Err(error) => {
                    slog::debug!(desk.logger, "the order cannot be read"; "because" => shown(&error));
                    continue;
                }
            };
            desk.check_place(&order)?;
            self.follow(desk, &order.assignment);
            if desk.on_trial && !order.assignment.is_on_trial(&order.spec) {
                info!(desk.logger, "the upgrade is accepted"; "generation" => desk.assignment.generation);
                desk.on_trial = false;
                // After the end nobody takes it, and there is nothing to do.
                let _ = self.wishes.send(Event::Accepted);
            }
            if *desk.levels.get() != order.log.levels {
                desk.levels.set(order.log.levels.clone());
                info!(desk.logger, "other records are logged from here on"; "levels" => %order.log.levels);
            }
            wish = order.spec.savepoint;
            if order.spec.wanted != desk.wanted {
                desk.wanted = order.spec.wanted;
                self.wish(desk.wanted);
            }
        }
        let _ = self.thread.join();
        self.savepoints.finish();
        if self.shared.lock().core.is_fenced() {
            return Err(AppointedError::Replaced("another master has taken over its checkpoints"));
        }
        let stats = self.shared.stats();
        let topology = &stats.topology;
        let outcome = Outcome {
            failure: stats.failure.clone().or_else(|| topology.stopped.as_ref().map(ToString::to_string)),
            cut_short: topology.cut_short,
            completed: topology.acked,
            failed: topology.failed + topology.given_up,
            lost: topology.lost,
            restarts: stats.processes.restarts,
            ended_at: now(),
        };
        info!(desk.logger, "the topology has ended"; "completed" => outcome.completed, "lost" => outcome.lost,
            "cut_short" => outcome.cut_short);
        desk.end(outcome, self.savepoints.answer().cloned(), life_sign)
    }

    /// Takes note of where workers run by now. Those that move begin anew there, and the others go on.
    fn follow(&self, desk: &mut Desk<'_>, assignment: &AssignmentRecord) {
        if assignment.change == desk.assignment.change {
            return;
        }
        let generation = assignment.generation;
        info!(desk.logger, "workers are placed in another way, and those that do not move go on"; "generation" => generation);
        // After the end nobody takes it, and there is nothing to do.
        let _ = self.wishes.send(Event::Placed(Places { generation, hosts: assignment.hosts() }));
        desk.assignment = assignment.clone();
    }

    /// Takes note of how the topology goes.
    fn look(&mut self, desk: &Desk<'_>) {
        let (run, now) = (self.shared.lock(), self.shared.clock.now());
        self.report.state.phase = run.core.phase();
        self.report.state.generation = run.core.moved_to().unwrap_or(self.report.state.generation);
        let verdict = &mut self.report.state.verdict;
        let is_new = now.since(self.waits_since) >= WAITS_EVERY;
        match (desk.on_trial, run.core.trial_is_passed()) {
            (false, _) => *verdict = None,
            (true, true) => *verdict = Some(UpgradeVerdict::Up),
            (true, false) if is_new || !matches!(verdict, Some(UpgradeVerdict::Waits(_))) => {
                self.waits_since = now;
                *verdict = Some(UpgradeVerdict::Waits(run.core.trial_waits_for()));
            }
            (true, false) => {}
        }
    }

    fn wish(&self, wanted: Wanted) {
        let event = match wanted {
            Wanted::Active => Event::Activate,
            Wanted::Inactive => Event::Deactivate,
            Wanted::Drained => Event::Drain,
            Wanted::Killed => Event::Kill,
        };
        // After the end nobody takes it, and there is nothing to do.
        let _ = self.wishes.send(event);
    }
}

/// The version of the assignment of executors, if there is one.
fn placed(assignment: &AssignmentRecord) -> Option<u64> {
    assignment.placement.as_ref().map(|placement| placement.assignment.version)
}

/// What the generation that is placed, and those before it, leave behind.
fn dropped_by(order: &MasterOrder) -> Vec<(u64, Vec<String>)> {
    let dropped = order.spec.dropped.iter();
    let so_far = dropped.filter(|dropped| dropped.generation <= order.assignment.generation);
    so_far.map(|dropped| (dropped.generation, dropped.names.clone())).collect()
}

/// Whether a master before has stopped the topology with a savepoint, and did not come to the end.
fn was_stopped(order: &MasterOrder) -> bool {
    let (Some(wish), Some(answer)) = (&order.spec.savepoint, &order.savepoint) else { return false };
    wish.stops && answer.number == wish.number && answer.taken.is_some()
}

/// Where a master reports.
struct Desk<'d> {
    directory: &'d Path,
    epoch: u64,
    /// What it runs, and where. The assignment of executors is always that with which it began.
    assignment: AssignmentRecord,
    /// Whether its generation is on trial as an upgrade.
    on_trial: bool,
    reported: Option<MasterReport>,
    wanted: Wanted,
    logger: Logger,
    /// What this process logs, which its order may change.
    levels: LevelControl,
}

impl Desk<'_> {
    /// Writes a report, if it differs from the one before. If that fails, the next one is written.
    fn report(&mut self, report: &MasterReport) -> bool {
        if self.reported.as_ref() == Some(report) {
            return true;
        }
        match write_order(self.directory, REPORT_FILE, report) {
            Ok(()) => self.reported = Some(report.clone()),
            Err(error) => warn!(self.logger, "the report cannot be written"; "because" => shown(&error)),
        }
        self.reported.as_ref() == Some(report)
    }

    /// Whether this process is still to be the master of what it began with.
    fn check_place(&self, order: &MasterOrder) -> Result<(), AppointedError> {
        if order.epoch != self.epoch {
            return Err(AppointedError::Replaced("another process is to be the master"));
        }
        let now = placed(&order.assignment);
        match now.is_some() && now != placed(&self.assignment) {
            true => Err(AppointedError::Replaced("executors are placed in another way")),
            false => Ok(()),
        }
    }

    /// The run is over. Reports the end, or, if it failed on trial, that this topology is refused.
    fn end(
        &mut self,
        outcome: Outcome,
        savepoint: Option<SavepointAnswer>,
        life_sign: &LifeSign,
    ) -> Result<(), AppointedError> {
        match outcome.failure {
            Some(why) if self.on_trial && self.wanted != Wanted::Killed => {
                self.refuse(why, savepoint, life_sign)
            }
            _ => {
                self.report_end(outcome, savepoint);
                Ok(())
            }
        }
    }

    /// Reports that the topology is refused, and waits until the one before is placed, or it is killed.
    fn refuse(
        &mut self,
        why: String,
        savepoint: Option<SavepointAnswer>,
        life_sign: &LifeSign,
    ) -> Result<(), AppointedError> {
        warn!(self.logger, "the upgrade is refused"; "because" => &why);
        let verdict = Some(UpgradeVerdict::Refused(why.clone()));
        let (epoch, generation) = (self.epoch, self.assignment.generation);
        let state = StateRecord { epoch, generation, savepoint, verdict, ..StateRecord::default() };
        let report = MasterReport { address: None, state };
        loop {
            life_sign.give();
            self.report(&report);
            if let Ok(order) = read(self.directory) {
                self.check_place(&order)?;
                // One that is drained is rolled back first.
                if order.spec.wanted == Wanted::Killed {
                    let outcome = Outcome { failure: Some(why), ended_at: now(), ..Outcome::default() };
                    self.report_end(outcome, report.state.savepoint);
                    return Ok(());
                }
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Reports the end. It must be known, so this waits until it can be written.
    fn report_end(&mut self, outcome: Outcome, savepoint: Option<SavepointAnswer>) {
        let (epoch, phase) = (self.epoch, TopologyPhase::Ended);
        let generation = self.assignment.generation;
        let outcome = Some(outcome);
        let state = StateRecord { epoch, generation, phase, outcome, savepoint, verdict: None };
        let report = MasterReport { address: None, state };
        while !self.report(&report) {
            thread::sleep(Duration::from_secs(1));
        }
    }
}
