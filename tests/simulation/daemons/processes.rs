//! Masters and workers as processes of hosts, and the connections between them. A master is the core of squall's with a
//! shell as `appointed` and `LinkedProcesses` have it; a worker is what `WorkerLink` does, around a topology that never
//! ends by itself.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt as _;
use squall::checkpoint::LeftBehind;
use squall::clock::Time;
use squall::cluster::topologies::{
    AssignmentRecord, BlobHash, MasterReport, Outcome, StateRecord, TopologyId, TopologyPhase,
    UpgradeVerdict, Wanted, WorkerOrder,
};
use squall::config::CheckpointOptions;
use squall::ids::{Incarnation, WorkerId};
use squall::net::{Endpoint, Members};
use squall::runtime::StopReason;
use squall::testing::cores::{
    Appointment, Arrival, Beat, CheckpointOrder, ChildId, CoreOptions, EndCommand, EndProgress, Exit,
    FromWorker, Known, LifeLog, LogSpec, MasterAction, MasterCore, MasterEvent, Order, Places, Role, Sources,
    Start, StartedAt, ToWorker, Welcome, outlives_its_master,
};

use crate::daemons::hosts::push;
use crate::daemons::plan::Defect;
use crate::daemons::programs::{Program, parts};
use crate::daemons::world::{World, worker_options};
use crate::kit::lock;

pub type Pid = u64;

/// How long a connection and a handshake may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A connection over which nothing comes for so long is given up.
const DEAD_AFTER: Duration = Duration::from_secs(5);
/// How long a master that is not the first waits for workers that run.
const GRACE: Duration = Duration::from_secs(5);
/// Why a topology cannot go on that stops.
pub const STOPS: &str = "it stops";
/// How often orders are read.
const LOOK: Duration = Duration::from_millis(150);

/// A process of a host.
pub struct Process {
    pub host: usize,
    pub child: ChildId,
    /// The directory that it was started in.
    pub instance: u64,
    pub stopped_until: Time,
    begins_at: Time,
    pub what: What,
}

pub enum What {
    /// It has not taken its directory yet.
    Spawned,
    Master(Box<Master>),
    Worker(Box<Worker>),
}

pub struct Master {
    pub core: MasterCore,
    pub epoch: u64,
    known: Known,
    start: Box<Start>,
    pub address: SocketAddr,
    /// What it runs, and where, as it has read it last.
    assignment: AssignmentRecord,
    /// The generation with which it began.
    pub generation: u64,
    pub is_upgrade: bool,
    on_trial: bool,
    /// Another one has its checkpoints.
    is_replaced: bool,
    /// Why it refuses the topology, which is on trial.
    refuses: Option<String>,
    pub source: BlobHash,
    /// With which it has opened the checkpoints.
    pub store_epoch: u64,
    wanted: Wanted,
    reported: Option<MasterReport>,
    look_at: Time,
    pub inbox: VecDeque<MasterEvent>,
    fresh: BTreeMap<WorkerId, Pid>,
    pub running: BTreeMap<Endpoint, Pid>,
    /// The report of the end that could not be written yet.
    ended: Option<MasterReport>,
}

impl Master {
    /// The generation whose workers are where they should be.
    fn reached(&self) -> u64 {
        self.core.moved_to().unwrap_or(self.generation)
    }
}

pub struct Worker {
    /// Where it was started, and for what.
    started: StartedAt,
    order: WorkerOrder,
    order_at: Time,
    known: Known,
    pub epoch: u64,
    /// The highest epoch of which a message was obeyed.
    obeyed: u64,
    pub connection: Option<Pid>,
    /// Since when nothing comes over the connection.
    cut_since: Option<Time>,
    awaits: Option<(Pid, Time)>,
    welcome: Option<(Time, Pid, Welcome)>,
    dial_at: Time,
    life: LifeLog,
    pub program: Program,
    pub is_halted: bool,
    /// What the task has read since the begin, if it is here, and what it has counted.
    pub read: u64,
    pub counted: u64,
    pub kept: Vec<FromWorker>,
    beat_at: Time,
    listens_at: Option<Time>,
    closes_at: Option<Time>,
    is_draining: bool,
    round: u64,
}

impl Master {
    pub fn id(&self) -> &TopologyId {
        &self.known.id
    }
}

impl Worker {
    pub fn number(&self) -> WorkerId {
        self.order.worker
    }

    pub fn incarnation(&self) -> Option<u32> {
        self.life.living.as_ref().map(|living| living.incarnation.0)
    }
}

/// What a master and a process have to say to each other. It outlives connections.
#[derive(Default)]
pub struct Link {
    is_connected: bool,
    up: VecDeque<(Time, FromWorker)>,
    down: VecDeque<(Time, ToWorker)>,
}

impl World {
    pub fn spawn(&mut self, host: usize, child: ChildId, instance: u64) -> Pid {
        self.pids += 1;
        let begins_at = self.soon();
        let process =
            Process { host, child, instance, stopped_until: Time::ZERO, begins_at, what: What::Spawned };
        self.processes.insert(self.pids, process);
        self.pids
    }

    /// A process is gone. What it had to say to others is lost.
    pub fn end_process(&mut self, pid: Pid, code: i32) {
        let Some(process) = self.processes.remove(&pid) else { return };
        self.buried(pid, &process, code);
    }

    fn buried(&mut self, pid: Pid, process: &Process, code: i32) {
        self.exits.insert(pid, code);
        let directory = self.hosts[process.host].directories.get_mut(&process.child);
        if let Some(directory) = directory.filter(|directory| directory.occupant == Some(pid)) {
            directory.occupant = None;
        }
        let links: Vec<(Pid, Pid)> =
            self.links.keys().filter(|(master, worker)| *master == pid || *worker == pid).copied().collect();
        links.into_iter().for_each(|link| self.cut_link(link, true));
    }

    /// The connection of a link is gone. `ends`: and so is what both sides had to say.
    fn cut_link(&mut self, link: (Pid, Pid), ends: bool) {
        let (master, worker) = link;
        if let Some(What::Worker(of)) = self.processes.get_mut(&worker).map(|process| &mut process.what)
            && ends
            && let Some(link) = self.links.get_mut(&link)
        {
            of.kept.extend(link.up.drain(..).map(|(_, message)| message));
        }
        if let Some(link) = self.links.get_mut(&link)
            && std::mem::take(&mut link.is_connected)
            && let Some(What::Master(of)) = self.processes.get_mut(&master).map(|process| &mut process.what)
            && let Some((who, _)) = of.running.iter().find(|(_, pid)| **pid == worker)
        {
            of.inbox.push_back(MasterEvent::Closed(*who));
        }
        if ends {
            self.links.remove(&link);
        }
    }

    pub fn step_process(&mut self, pid: Pid) {
        let now = self.clock.now();
        let Some(mut process) = self.processes.remove(&pid) else { return };
        let mut code = None;
        if now >= process.stopped_until && now >= process.begins_at {
            code = match &mut process.what {
                What::Spawned => match self.begin(pid, &process) {
                    Ok(what) => {
                        process.what = what;
                        None
                    }
                    Err(code) => Some(code),
                },
                What::Master(_) => self.step_master(pid, &mut process),
                What::Worker(_) => self.step_worker(pid, &mut process),
            };
        }
        match code {
            None => drop(self.processes.insert(pid, process)),
            Some(code) => {
                self.log(|| format!("process {pid} of {} ends with {code}", process.child));
                self.buried(pid, &process, code);
            }
        }
    }

    /// Takes the directory, and reads the order in it.
    fn begin(&mut self, pid: Pid, process: &Process) -> Result<What, i32> {
        let now = self.clock.now();
        let ports = self.free_port(process.host);
        let is_locked = self.defect != Some(Defect::NoOccupancy);
        let directory = self.hosts[process.host].directories.get_mut(&process.child);
        let directory = directory.filter(|directory| directory.instance == process.instance).ok_or(1)?;
        if directory.occupant.is_some() {
            if is_locked {
                return Err(1);
            }
            let why = format!("two processes have the directory of {}", process.child);
            self.books_wrong(why);
            return Err(1);
        }
        directory.occupant = Some(pid);
        let known = Known {
            id: process.child.topology.clone(),
            run: directory.run.clone(),
            secret: self.key.secret_of(&process.child.topology, &directory.run),
        };
        match directory.order.clone().ok_or(1)? {
            Order::Worker(order) => Ok(What::Worker(Box::new(Worker {
                started: StartedAt { host: order.host.clone(), change: order.change },
                order: *order,
                order_at: now,
                known,
                epoch: 0,
                obeyed: 0,
                connection: None,
                cut_since: None,
                awaits: None,
                welcome: None,
                dial_at: now,
                life: LifeLog::default(),
                program: Program::Good,
                is_halted: false,
                read: 0,
                counted: 0,
                kept: Vec::new(),
                beat_at: now,
                listens_at: None,
                closes_at: None,
                is_draining: false,
                round: 0,
            }))),
            Order::Master(order) => {
                let address = SocketAddr::from(([10, 0, 0, process.host as u8], ports));
                let placement = order.assignment.placement.as_ref().ok_or(1)?;
                let assignment = placement.assignment.version;
                let workers = placement.assignment.used_workers().len();
                let (epoch, grace) = match self.defect {
                    Some(Defect::NoEpoch) => (1, GRACE),
                    _ => (order.epoch, GRACE),
                };
                let on_trial = order.assignment.is_on_trial(&order.spec);
                let store = self.checkpoints.entry(process.child.topology.clone()).or_default();
                store.epoch += 1;
                let store_epoch = store.epoch;
                let interval = Duration::from_secs(3);
                let checkpoint = CheckpointOptions { interval, ..CheckpointOptions::default() };
                let holds = on_trial && self.defect != Some(Defect::PublishesOnTrial);
                let options = CoreOptions {
                    sources: vec![Sources::ReadAgain; workers],
                    worker: order.worker.clone(),
                    link_lost: Duration::from_secs(10),
                    bolts: 1,
                    drain_timeout: Duration::from_secs(30),
                    start_inactive: order.spec.wanted != Wanted::Active,
                    checkpoints: Some((checkpoint, parts(workers), store_epoch)),
                    first_recovery: order.epoch << 40,
                    appointment: Some(Appointment { epoch, grace, assignment, on_trial: holds }),
                };
                let start = Start {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    source: self.source.clone(),
                    assignment: placement.assignment.clone(),
                    worker: WorkerId(0),
                    incarnation: Incarnation(0),
                    workers: workers as u16,
                    run: [0; 16],
                    secret: known.secret.clone(),
                    members: Members { version: 0, members: Vec::new() },
                    net: order.net.clone(),
                    worker_options: order.worker.clone(),
                    secrets: Default::default(),
                    log: LogSpec::default(),
                    print: Default::default(),
                    checkpoints: None,
                    left_behind: LeftBehind::default(),
                    stdin: false,
                    closed: Default::default(),
                };
                let mut inbox = VecDeque::from([MasterEvent::Tick]);
                inbox.extend(order.spec.wanted.is_end().then(|| wish(order.spec.wanted)));
                self.cover(if order.epoch > 1 { "a later master" } else { "a first master" });
                let source = order.assignment.source.clone();
                let is_unfit = self.program_of(&source) == Program::Unfit;
                let mut master = Master {
                    core: MasterCore::new(options),
                    epoch: order.epoch,
                    known,
                    start: Box::new(start),
                    address,
                    assignment: order.assignment.clone(),
                    generation: order.assignment.generation,
                    is_upgrade: order.assignment.is_upgrade,
                    on_trial,
                    is_replaced: false,
                    refuses: None,
                    source,
                    store_epoch,
                    wanted: order.spec.wanted,
                    reported: None,
                    look_at: now,
                    inbox,
                    fresh: BTreeMap::new(),
                    running: BTreeMap::new(),
                    ended: None,
                };
                if is_unfit {
                    self.ends(&mut master, Some("it does not fit".to_owned()), false);
                }
                Ok(What::Master(Box::new(master)))
            }
        }
    }

    /// A port that no master of this host has. There are few, so they are used again soon.
    fn free_port(&mut self, host: usize) -> u16 {
        let used: Vec<u16> = self
            .processes
            .values()
            .filter(|process| process.host == host)
            .filter_map(|process| match &process.what {
                What::Master(master) => Some(master.address.port()),
                _ => None,
            })
            .collect();
        let first = self.rng.random_range(0..4);
        (first..first + 64).map(|port| 7000 + port).find(|port| !used.contains(port)).expect("some are free")
    }

    /// A sign of life, with the time of the host's wall clock.
    fn gives_sign(&mut self, pid: Pid, process: &Process) {
        let offset = self.hosts[process.host].wall_offset;
        let stamp = self.clock.wall_nanos().wrapping_add(offset);
        let directory = self.hosts[process.host].directories.get_mut(&process.child);
        if let Some(directory) = directory.filter(|directory| directory.occupant == Some(pid)) {
            directory.alive = Some(stamp);
        }
    }

    // ---- Masters ----

    fn step_master(&mut self, pid: Pid, process: &mut Process) -> Option<i32> {
        let now = self.clock.now();
        let host = process.host;
        let What::Master(mut master) = std::mem::replace(&mut process.what, What::Spawned) else {
            return None;
        };
        if master.refuses.is_some() {
            let is_due = now >= master.look_at;
            let mut code = None;
            if is_due {
                master.look_at = now.after(LOOK);
                self.gives_sign(pid, process);
                code = self.look_at_order(process, &mut master);
            }
            process.what = What::Master(master);
            return code;
        }
        if let Some(report) = &master.ended {
            // It must be known, so this waits until it can be written.
            let is_full = self.hosts[host].is_full;
            let directory = self.hosts[host].directories.get_mut(&process.child);
            let done = match directory {
                None => true,
                Some(directory) if !is_full => {
                    directory.report = Some(report.clone());
                    true
                }
                Some(_) => false,
            };
            self.gives_sign(pid, process);
            process.what = What::Master(master);
            return done.then_some(0);
        }
        let links: Vec<(Pid, Pid)> =
            self.links.range((pid, 0)..(pid + 1, 0)).map(|(link, _)| *link).collect();
        for link in links {
            while let Some(message) = self.next_up(link, host) {
                let who = master.running.iter().find(|(_, worker)| **worker == link.1).map(|(who, _)| *who);
                master.inbox.extend(who.map(|who| MasterEvent::Message(who, message)));
            }
        }
        if now >= master.core.deadline() {
            master.inbox.push_back(MasterEvent::Tick);
        }
        while let Some(event) = master.inbox.pop_front() {
            for action in master.core.on(event, now) {
                self.perform_master(pid, host, &mut master, action);
            }
        }
        self.check_listeners(&process.child, &master);
        if master.is_replaced {
            return Some(1);
        }
        let mut code = None;
        if master.ended.is_none() && master.refuses.is_none() && now >= master.look_at {
            master.look_at = now.after(LOOK);
            self.gives_sign(pid, process);
            code = self.look_at_order(process, &mut master);
        }
        process.what = What::Master(master);
        code
    }

    fn look_at_order(&mut self, process: &Process, master: &mut Master) -> Option<i32> {
        let is_full = self.hosts[process.host].is_full;
        let verdict = match &master.refuses {
            Some(why) => Some(UpgradeVerdict::Refused(why.clone())),
            None if !master.on_trial => None,
            None if master.core.trial_is_passed() => Some(UpgradeVerdict::Up),
            None => Some(UpgradeVerdict::Waits(String::new())),
        };
        let (epoch, generation) = (master.epoch, master.reached());
        let phase = match &master.refuses {
            Some(_) => TopologyPhase::Starting,
            None => master.core.phase(),
        };
        let state = StateRecord { epoch, generation, phase, verdict, ..StateRecord::default() };
        let address = master.refuses.is_none().then_some(master.address);
        let report = MasterReport { address, state };
        let directory = self.hosts[process.host].directories.get_mut(&process.child)?;
        if master.reported.as_ref() != Some(&report) && !is_full {
            directory.report = Some(report.clone());
            master.reported = Some(report);
        }
        let Some(Order::Master(order)) = &directory.order else { return None };
        let version = |of: &AssignmentRecord| of.placement.as_ref().map(|it| it.assignment.version);
        let placed = version(&order.assignment);
        if order.epoch != master.epoch || (placed.is_some() && placed != version(&master.assignment)) {
            return Some(1);
        }
        if order.assignment.change != master.assignment.change {
            master.assignment = order.assignment.clone();
            let (generation, hosts) = (master.assignment.generation, master.assignment.hosts());
            master.inbox.push_back(MasterEvent::Placed(Places { generation, hosts }));
        }
        let is_accepted = master.on_trial && !order.assignment.is_on_trial(&order.spec);
        let wanted = order.spec.wanted;
        if is_accepted {
            master.on_trial = false;
            master.inbox.push_back(MasterEvent::Accepted);
            self.cover("an upgrade is accepted");
            self.log(|| format!("generation {} of {} is accepted", master.generation, master.known.id));
        }
        if wanted != master.wanted {
            master.wanted = wanted;
            master.inbox.push_back(wish(wanted));
        }
        if wanted == Wanted::Killed
            && let Some(why) = master.refuses.take()
        {
            master.on_trial = false;
            self.ends(master, Some(why), false);
        }
        None
    }

    /// The next message of a worker that has come.
    fn next_up(&mut self, link: (Pid, Pid), host: usize) -> Option<FromWorker> {
        let now = self.clock.now();
        let other = self.processes.get(&link.1)?.host;
        let is_cut = self.are_cut(host, other);
        let of = self.links.get_mut(&link)?;
        if !of.is_connected || is_cut || of.up.front().is_none_or(|(due, _)| *due > now) {
            return None;
        }
        of.up.pop_front().map(|(_, message)| message)
    }

    /// A master listens to one process of each worker.
    fn check_listeners(&mut self, child: &ChildId, master: &Master) {
        let mut before: Option<WorkerId> = None;
        for who in master.running.keys() {
            if before == Some(who.worker) {
                self.books_wrong(format!("the master of {} has two lives of {}", child.topology, who.worker));
            }
            before = Some(who.worker);
        }
    }

    fn perform_master(&mut self, pid: Pid, host: usize, master: &mut Master, action: MasterAction) {
        match action {
            MasterAction::Start(who, members) => {
                let Some(worker) = master.fresh.remove(&who.worker) else {
                    let exit = Exit::NotStarted("its process has gone".to_owned());
                    return master.inbox.push_back(MasterEvent::Exited(who, exit));
                };
                self.runs(pid, master, who, worker);
                let key = (master.known.id.clone(), master.epoch, who.worker, who.incarnation.0);
                if self.lives.insert(key, worker).is_some_and(|before| before != worker) {
                    self.books_wrong(format!("{} of {} is two processes", who, master.known.id));
                }
                let (worker_id, incarnation) = (who.worker, who.incarnation);
                let start = Start { worker: worker_id, incarnation, members, ..(*master.start).clone() };
                self.send_down((pid, worker), ToWorker::Start(Box::new(start)));
            }
            MasterAction::Send(who, message) => {
                if let Some(worker) = master.running.get(&who) {
                    self.send_down((pid, *worker), message);
                }
            }
            MasterAction::Examine(who) => master.inbox.push_back(MasterEvent::Examined(who, false)),
            MasterAction::Kill(who) => {
                self.cover("a master gives up a worker");
                if let Some(worker) = master.running.remove(&who) {
                    self.cut_link((pid, worker), true);
                }
                master.inbox.push_back(MasterEvent::Exited(who, Exit::Fenced));
            }
            MasterAction::Welcome(who, worker, welcome) => {
                match &welcome {
                    Welcome::Fresh => {
                        let before = master.fresh.insert(who.worker, worker);
                        if let Some(before) = before.filter(|before| *before != worker) {
                            self.cut_link((pid, before), true);
                        }
                    }
                    Welcome::Adopted => {
                        self.cover("a worker is adopted");
                        self.runs(pid, master, who, worker);
                    }
                    Welcome::Fenced(_) => self.cover("a worker is fenced"),
                    Welcome::Again { .. } => {}
                }
                self.welcome((pid, worker), welcome);
            }
            MasterAction::Done => {
                if master.core.is_fenced() {
                    self.cover("a master finds a later one at its checkpoints");
                    master.is_replaced = true;
                    return;
                }
                let stopped = master.core.stopped().map(ToString::to_string);
                let failure = master.core.failure().map(str::to_owned).or(stopped);
                self.log(|| format!("{} has ended at its master {pid}: {failure:?}", master.known.id));
                let is_cut_short = master.core.is_cut_short();
                self.ends(master, failure, is_cut_short);
            }
            MasterAction::Note(note) => self.log(|| format!("master {pid} on {host}: {note:?}")),
            MasterAction::Store(job) => self.store(master, job),
            MasterAction::AnswerSavepoint(_) | MasterAction::AnswerCheckpoint(..) => {}
        }
    }

    /// The run of a master is over.
    fn ends(&mut self, master: &mut Master, failure: Option<String>, cut_short: bool) {
        if failure.is_some() {
            self.cover("a topology was given up");
        }
        if let Some(why) = &failure
            && master.on_trial
            && master.wanted != Wanted::Killed
            && self.defect != Some(Defect::EndsOnTrial)
        {
            self.cover("a master refuses an upgrade");
            master.refuses = Some(why.clone());
            return;
        }
        let (epoch, generation, phase) = (master.epoch, master.reached(), TopologyPhase::Ended);
        let outcome = Some(Outcome { failure, cut_short, ..Outcome::default() });
        let state = StateRecord { epoch, generation, phase, outcome, ..StateRecord::default() };
        master.ended = Some(MasterReport { address: None, state });
    }

    fn runs(&mut self, pid: Pid, master: &mut Master, who: Endpoint, worker: Pid) {
        let former: Vec<Endpoint> =
            master.running.keys().filter(|other| other.worker == who.worker).copied().collect();
        for former in former {
            if let Some(before) = master.running.remove(&former).filter(|before| *before != worker) {
                self.cut_link((pid, before), true);
            }
        }
        master.running.insert(who, worker);
    }

    fn send_down(&mut self, link: (Pid, Pid), message: ToWorker) {
        let due = self.soon();
        if let Some(link) = self.links.get_mut(&link) {
            push(&mut link.down, due, message);
        }
    }

    fn send_up(&mut self, link: (Pid, Pid), message: FromWorker) -> Option<FromWorker> {
        let due = self.soon();
        match self.links.get_mut(&link) {
            Some(link) => {
                push(&mut link.up, due, message);
                None
            }
            None => Some(message),
        }
    }

    /// Answers a process, if it still waits.
    fn welcome(&mut self, link: (Pid, Pid), welcome: Welcome) {
        let (pid, worker) = link;
        let due = self.soon();
        let Some(What::Worker(of)) = self.processes.get_mut(&worker).map(|process| &mut process.what) else {
            return;
        };
        if of.awaits.is_none_or(|(master, _)| master != pid) {
            return;
        }
        let is_fenced = matches!(welcome, Welcome::Fenced(_));
        of.welcome = Some((due, pid, welcome));
        if !is_fenced {
            self.links.insert(link, Link { is_connected: true, ..Link::default() });
        }
    }

    // ---- Workers ----

    fn step_worker(&mut self, pid: Pid, process: &mut Process) -> Option<i32> {
        let What::Worker(mut worker) = std::mem::replace(&mut process.what, What::Spawned) else {
            return None;
        };
        let code = self.worker_does(pid, process, &mut worker);
        process.what = What::Worker(worker);
        code
    }

    fn worker_does(&mut self, pid: Pid, process: &Process, worker: &mut Worker) -> Option<i32> {
        let now = self.clock.now();
        if now.since(worker.order_at) >= LOOK {
            worker.order_at = now;
            let directory = self.hosts[process.host].directories.get(&process.child);
            if let Some(Order::Worker(order)) = directory.and_then(|directory| directory.order.as_ref()) {
                worker.order.clone_from(order);
            }
        }
        self.look_at_connection(pid, process, worker);
        if worker.connection.is_none()
            && let Some(code) = self.connect(pid, process, worker)
        {
            return Some(code);
        }
        while let Some(message) = self.next_down(pid, process.host, worker) {
            if let Some(code) = self.obey(worker, message) {
                return Some(code);
            }
        }
        self.report(pid, process, worker);
        None
    }

    fn look_at_connection(&mut self, pid: Pid, process: &Process, worker: &mut Worker) {
        let now = self.clock.now();
        let Some(master) = worker.connection else { return };
        let is_newer = worker.order.master.is_some_and(|place| place.epoch > worker.epoch);
        let host = self.processes.get(&master).map(|process| process.host);
        let is_cut = host.is_some_and(|host| self.are_cut(host, process.host));
        worker.cut_since = if is_cut { worker.cut_since.or(Some(now)) } else { None };
        let is_dead = worker.cut_since.is_some_and(|since| now.since(since) >= DEAD_AFTER);
        let link = self.links.get(&(master, pid));
        if is_newer || is_dead || link.is_none_or(|link| !link.is_connected) {
            self.cut_link((master, pid), false);
            (worker.connection, worker.cut_since, worker.dial_at) = (None, None, now);
        }
    }

    /// Connects, step by step. Returns a code if the process ends.
    fn connect(&mut self, pid: Pid, process: &Process, worker: &mut Worker) -> Option<i32> {
        let now = self.clock.now();
        if let Some((due, master, welcome)) = worker.welcome.take() {
            if worker.awaits.is_none_or(|(awaited, _)| awaited != master) {
                return None;
            }
            if now < due {
                worker.welcome = Some((due, master, welcome));
            } else {
                worker.awaits = None;
                return self.welcomed(pid, worker, master, &welcome);
            }
        }
        if let Some((_, until)) = worker.awaits {
            if now < until {
                return None;
            }
            (worker.awaits, worker.welcome) = (None, None);
            worker.dial_at = self.soon();
        }
        let place = worker.order.master?;
        if place.epoch < worker.epoch {
            return None;
        }
        if now < worker.dial_at {
            return None;
        }
        worker.dial_at = now.after(Duration::from_millis(self.rng.random_range(20..1000)));
        let of_address = |(pid, process): (&Pid, &Process)| match &process.what {
            What::Master(master) if master.address == place.address => Some(*pid),
            _ => None,
        };
        let found = self.processes.iter().find_map(of_address)?;
        let there = self.processes.get_mut(&found)?;
        let (host, is_stopped) = (there.host, now < there.stopped_until);
        let What::Master(master) = &mut there.what else { return None };
        let hello = worker.known.hello(worker.order.worker, pid, u128::from(pid));
        let Ok(challenge) = master.known.challenge(&hello, master.epoch, u128::from(found)) else {
            self.cover("a master of another topology is at the address");
            return None;
        };
        let living = worker.life.living.clone();
        let is_known = worker.epoch == master.epoch;
        let worker_id = worker.order.worker;
        if self.are_cut(host, process.host) || is_stopped {
            worker.awaits = Some((found, now.after(CONNECT_MAX)));
            return None;
        }
        let proof = worker.known.proof(&hello, &challenge).ok()?;
        if challenge.is_not_older_than(worker.epoch).is_err() {
            self.cover("an older master is at the address");
            return None;
        }
        let What::Master(master) = &mut self.processes.get_mut(&found)?.what else { return None };
        master.known.verify(&hello, &challenge, &proof).ok()?;
        if master.ended.is_some() || master.refuses.is_some() {
            return None;
        }
        match self.links.get_mut(&(found, pid)) {
            Some(link) if is_known => {
                link.is_connected = true;
                worker.connection = Some(found);
                self.cover("a worker connects again");
            }
            _ => {
                let started = worker.started.clone();
                let arrival = Arrival { worker: worker_id, process: pid, started, living };
                master.inbox.push_back(MasterEvent::Arrived(arrival));
                worker.awaits = Some((found, now.after(CONNECT_MAX)));
            }
        }
        None
    }

    fn welcomed(&mut self, pid: Pid, worker: &mut Worker, master: Pid, welcome: &Welcome) -> Option<i32> {
        if let Welcome::Fenced(_) = welcome {
            if self.defect == Some(Defect::IgnoresFence) {
                return None;
            }
            return Some(1);
        }
        let Some(What::Master(of)) = self.processes.get(&master).map(|process| &process.what) else {
            return None;
        };
        (worker.epoch, worker.connection) = (of.epoch, Some(master));
        let counters = worker.life.stats().filter(|_| worker.life.living.is_some());
        let kept = std::mem::take(&mut worker.kept).into_iter().filter(outlives_its_master);
        for message in counters.into_iter().chain(kept) {
            worker.kept.extend(self.send_up((master, pid), message));
        }
        None
    }

    /// The next message of the master that has come.
    fn next_down(&mut self, pid: Pid, host: usize, worker: &Worker) -> Option<ToWorker> {
        let now = self.clock.now();
        let master = worker.connection?;
        let other = self.processes.get(&master)?.host;
        let is_cut = self.are_cut(host, other);
        let link = self.links.get_mut(&(master, pid))?;
        if is_cut || link.down.front().is_none_or(|(due, _)| *due > now) {
            return None;
        }
        link.down.pop_front().map(|(_, message)| message)
    }

    fn obey(&mut self, worker: &mut Worker, message: ToWorker) -> Option<i32> {
        if worker.epoch < worker.obeyed {
            let why = format!(
                "a worker of {} obeys epoch {} after {}",
                worker.known.id, worker.epoch, worker.obeyed
            );
            self.books_wrong(why);
        }
        worker.obeyed = worker.epoch;
        if let (ToWorker::Members(members), Some(living)) = (&message, &worker.life.living)
            && members.version < living.members.version
        {
            let why = format!(
                "a worker of {} gets members {} after {}",
                worker.known.id, members.version, living.members.version
            );
            self.books_wrong(why);
        }
        worker.life.sent(&message);
        match message {
            ToWorker::Start(_) => {
                let master = worker.connection.and_then(|pid| self.processes.get(&pid));
                let source = master.and_then(|process| match &process.what {
                    What::Master(master) => Some(master.source.clone()),
                    _ => None,
                });
                worker.program = source.map_or(Program::Good, |source| self.program_of(&source));
                if worker.program == Program::Crashes {
                    return Some(1);
                }
                worker.is_halted = true;
                worker.listens_at = Some(self.later_by(400));
            }
            ToWorker::Ending(EndCommand::Drain) => worker.is_draining = true,
            ToWorker::Ending(EndCommand::AskHolders { round } | EndCommand::Finish { round, .. }) => {
                worker.round = round;
            }
            ToWorker::Ending(EndCommand::Close) => worker.closes_at = Some(self.later_by(800)),
            ToWorker::Ending(EndCommand::End) => return Some(0),
            ToWorker::Probe { wave } => {
                let rests = worker.is_draining || worker.is_halted;
                let progress = EndProgress {
                    at_rest: rests,
                    live_spouts: u64::from(!worker.is_draining),
                    round: worker.round,
                    asked: u64::from(worker.round > 0),
                    answered: u64::from(worker.round > 0),
                    executors: 1,
                    ..EndProgress::default()
                };
                worker.kept.push(FromWorker::Progress { wave, progress });
            }
            // Nobody asks for logs here.
            ToWorker::ReadLog { .. } => {}
            ToWorker::Checkpoint(order) => {
                let id = worker.known.id.clone();
                // Where spouts rest, nothing is opened that could stop.
                let has_rested = lock(&self.books).judged.rested.contains(&id);
                let stops =
                    worker.program == Program::Stops && order == CheckpointOrder::Resume && !has_rested;
                self.order_checkpoint(&id, worker, order);
                if stops {
                    let (component, task) = ("count".into(), squall::ids::TaskId(1));
                    let reason = StopReason { component, task, error: STOPS.to_owned() };
                    worker.kept.push(FromWorker::Stopped(reason));
                }
            }
            ToWorker::Members(_) | ToWorker::Activate | ToWorker::Deactivate => {}
        }
        None
    }

    /// What the worker has to say.
    fn report(&mut self, pid: Pid, process: &Process, worker: &mut Worker) {
        let now = self.clock.now();
        let options = worker_options();
        if worker.life.living.is_none() {
            self.gives_sign(pid, process);
        }
        if worker.listens_at.is_some_and(|at| now >= at) {
            worker.listens_at = None;
            let address = SocketAddr::from(([10, 0, 1, process.host as u8], (pid % 60_000) as u16 + 1));
            worker.kept.push(FromWorker::Listening { address });
        }
        if worker.closes_at.is_some_and(|at| now >= at) {
            worker.closes_at = None;
            worker.kept.push(FromWorker::Ended { cut_short: false });
        }
        if worker.life.living.is_some() && now.since(worker.beat_at) >= options.heartbeat {
            worker.beat_at = now;
            self.gives_sign(pid, process);
            if worker.connection.is_some() {
                let at_rest = worker.is_draining || worker.is_halted;
                let live_spouts = u64::from(!worker.is_draining);
                let beat = Beat { at_rest, live_spouts, links_up: 0 };
                worker.kept.push(FromWorker::Beat(beat));
            }
        }
        let said = std::mem::take(&mut worker.kept);
        for message in said {
            worker.life.reported(&message);
            let left = match worker.connection {
                Some(master) => self.send_up((master, pid), message),
                None => Some(message),
            };
            worker.kept.extend(left);
        }
    }
}

fn wish(wanted: Wanted) -> MasterEvent {
    match wanted {
        Wanted::Active => MasterEvent::Activate,
        Wanted::Inactive => MasterEvent::Deactivate,
        Wanted::Drained => MasterEvent::Drain,
        Wanted::Killed => MasterEvent::Kill,
    }
}

/// The number of a worker, if it is one.
pub fn worker_of(child: &ChildId) -> Option<WorkerId> {
    match child.role {
        Role::Master => None,
        Role::Worker(worker) => Some(worker),
    }
}
