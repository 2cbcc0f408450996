//! A cluster: the service, nimbuses, hosts, processes, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use slog::{Discard, Logger, o};
use squall::clock::{Clock, Time};
use squall::cluster::TopologySource;
use squall::cluster::blobs::BlobStore;
use squall::cluster::coordination::{
    Coordination as _, Lose, MemoryClient, MemoryOptions, MemoryService, MemorySnapshot, NodePath, Record,
    decode_record,
};
use squall::cluster::daemons::belonging::Belonging;
use squall::cluster::topologies::{AssignmentRecord, BlobHash, ClusterKey, TopologyId, TopologyNodes};
use squall::config::WorkerOptions;
use squall::ids::WorkerId;
use squall::prelude::Registry;
use squall::testing::cores::{ChildId, Role};
use squall::topology::declare::MemorySource;
use tempfile::TempDir;

use crate::daemons::door::Books;
use crate::daemons::hosts::{Directory, Host};
use crate::daemons::nimbuses::NimbusHost;
use crate::daemons::plan::{Defect, Fault, Plan};
use crate::daemons::processes::{Link, Pid, Process, worker_of};
use crate::daemons::programs::{Checkpoints, Program};
use crate::is_shown;
use crate::kit::lock;
use crate::scenario::mixed;

/// The world looks so often at what is due.
pub const TICK: Duration = Duration::from_millis(50);
const NIMBUSES: usize = 3;
const HOSTS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// A directory that no supervisor has made.
const STRANGER: &str = "stranger-7";

pub fn no_log() -> Logger {
    Logger::root(Discard, o!())
}

/// `[worker]` of all hosts: shorter times than by default, so that seeds are short.
pub fn worker_options() -> WorkerOptions {
    WorkerOptions {
        start_timeout: Duration::from_secs(10),
        restart_max: Duration::from_secs(4),
        restart_reset: Duration::from_secs(10),
        ..WorkerOptions::default()
    }
}

/// The blob of a topology.
pub fn source(name: &str, workers: u16) -> TopologySource {
    source_of(name, workers, "")
}

/// The same with another line, so that it is another one.
pub fn source_of(name: &str, workers: u16, line: &str) -> TopologySource {
    let text = format!(
        "{line}
         topology = {{ name = '{name}', workers = {workers}, delivery = 'exactly-once' }}
         spout.lines = {{ type = 'generate', config.fields.line = 'to be' }}
         bolt.split = {{ type = 'split', parallelism = 3, inputs = ['lines'] }}"
    );
    let files = MemorySource::new().file("t.toml", text);
    let recorded = TopologySource::record(&files, "t.toml", &Registry::with_standard(), &[]);
    recorded.expect("it is valid").0
}

/// What ends a fault.
enum Undo {
    HealNimbus(usize),
    HealSupervisor(usize),
    ServiceBack,
    ServiceHasRoom,
    Join(usize, usize),
    DiskHasRoom(usize),
    MarkHasRoom(usize),
    StartNimbus(usize),
    HostUp(usize),
    Restore(MemorySnapshot),
}

pub struct World {
    pub plan: Plan,
    pub rng: StdRng,
    pub clock: Clock,
    pub service: MemoryService,
    observer: MemoryClient,
    /// Removed at the end.
    _disks: TempDir,
    pub blobs: BlobStore,
    pub key: ClusterKey,
    pub source: TopologySource,
    pub registry: Registry,
    pub books: Arc<Mutex<Books>>,
    pub defect: Option<Defect>,
    pub nimbuses: Vec<NimbusHost>,
    pub hosts: Vec<Host>,
    pub processes: BTreeMap<Pid, Process>,
    pub exits: BTreeMap<Pid, i32>,
    pub links: BTreeMap<(Pid, Pid), Link>,
    /// Which process was started as which incarnation, by the master of which epoch.
    pub lives: BTreeMap<(TopologyId, u64, WorkerId, u32), Pid>,
    /// What blobs are that operators have put. Others are good.
    pub programs: BTreeMap<BlobHash, Program>,
    pub checkpoints: BTreeMap<TopologyId, Checkpoints>,
    pub pids: Pid,
    pub starts: u64,
    /// The hosts that cannot reach each other.
    pub cuts: BTreeSet<(usize, usize)>,
    /// The children that nobody may touch while the data are lost.
    pub lost: BTreeSet<(usize, ChildId)>,
    snapshots: Vec<(u64, MemorySnapshot)>,
    undo: Vec<(Time, Undo)>,
    pub is_healed: bool,
    has_faults: bool,
    /// The time of the tick before.
    pub stepped_at: Time,
    /// What the operator was answered: the ids that names have, and what must end.
    pub acked: BTreeMap<String, TopologyId>,
    pub to_end: BTreeSet<TopologyId>,
}

impl World {
    pub fn new(plan: Plan, defect: Option<Defect>) -> World {
        let clock = Clock::simulated();
        let service = MemoryService::new(clock.clone(), MemoryOptions::default());
        let shared = Path::new("/dev/shm");
        let disks = match shared.is_dir() {
            true => tempfile::tempdir_in(shared),
            false => tempfile::tempdir(),
        };
        let disks = disks.expect("a directory");
        let directory = |name: String| {
            let path = disks.path().join(name);
            std::fs::create_dir_all(&path).expect("it is made");
            path
        };
        let host = |id: &&str| Host {
            id: (*id).to_owned(),
            is_up: true,
            supervisor: None,
            record: Default::default(),
            directories: BTreeMap::from([(stranger(), Directory::default())]),
            mark: directory(format!("supervisor-{id}")),
            is_full: false,
            wall_offset: 0,
            restart_at: None,
        };
        let hosts = HOSTS.iter().map(host).collect();
        let nimbuses = (0..NIMBUSES).map(|i| NimbusHost::new(i, directory(format!("nimbus-{i}")))).collect();
        let mut world = World {
            rng: StdRng::seed_from_u64(mixed(plan.seed, 12)),
            observer: service.client(),
            blobs: BlobStore::new(disks.path().join("blobs")),
            key: ClusterKey::new(&[7; 32]),
            source: source("any", 1),
            registry: Registry::with_standard(),
            books: Arc::default(),
            nimbuses,
            hosts,
            processes: BTreeMap::new(),
            exits: BTreeMap::new(),
            links: BTreeMap::new(),
            lives: BTreeMap::new(),
            programs: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            pids: 0,
            starts: 0,
            cuts: BTreeSet::new(),
            lost: BTreeSet::new(),
            snapshots: Vec::new(),
            undo: Vec::new(),
            is_healed: false,
            has_faults: false,
            stepped_at: Time::ZERO,
            acked: BTreeMap::new(),
            to_end: BTreeSet::new(),
            plan,
            clock,
            service,
            _disks: disks,
            defect,
        };
        (0..NIMBUSES).for_each(|i| world.start_nimbus(i));
        (0..HOSTS.len()).for_each(|h| world.start_supervisor(h));
        world
    }

    // ---- Chance, and what is noted ----

    /// When something arrives that is sent now.
    pub fn soon(&mut self) -> Time {
        let max = self.plan.delay_max.as_millis() as u64;
        // Most of it is fast.
        let max = if self.rng.random_bool(0.8) { max / 8 + 1 } else { max };
        self.later_by(max)
    }

    pub fn later(&mut self) -> Time {
        self.later_by(self.plan.down_max.as_millis() as u64)
    }

    pub fn later_by(&mut self, max_ms: u64) -> Time {
        let ms = self.rng.random_range(0..=max_ms);
        self.clock.now().after(Duration::from_millis(ms))
    }

    pub fn is_on(&self, fault: Fault) -> bool {
        self.has_faults && !self.is_healed && self.plan.faults.contains(&fault)
    }

    pub fn cover(&self, what: &str) {
        lock(&self.books).coverage.add(what, 1);
    }

    pub fn books_wrong(&self, what: String) {
        let at = self.clock.now().since(Time::ZERO);
        lock(&self.books).wrong.push(format!("{at:.2?}: {what}"));
    }

    pub fn log(&self, what: impl FnOnce() -> String) {
        if is_shown() {
            eprintln!("{:>10.2?} {}", self.clock.now().since(Time::ZERO), what());
        }
    }

    pub fn are_cut(&self, one: usize, other: usize) -> bool {
        self.cuts.contains(&(one.min(other), one.max(other)))
    }

    pub fn read<R: Record>(&self, path: &NodePath) -> Option<R> {
        let node = self.observer.get(path).ok().flatten()?;
        decode_record(path, &node.data).ok()
    }

    /// Every node, with its version and its data.
    pub fn tree(&self) -> BTreeMap<String, (i32, Vec<u8>)> {
        let mut tree = BTreeMap::new();
        let mut left = vec![NodePath::root()];
        while let Some(path) = left.pop() {
            let children = self.observer.children(&path).ok().flatten().unwrap_or_default();
            left.extend(children.iter().filter_map(|name| path.child(name).ok()));
            if let Ok(Some(node)) = self.observer.get(&path) {
                tree.insert(path.to_string(), (node.version.0, node.data));
            }
        }
        tree
    }

    // ---- Time ----

    pub fn tick(&mut self) {
        self.observer.beat();
        self.service.step();
        self.undo_due();
        if self.has_faults && !self.is_healed {
            let per_tick = TICK.as_secs_f64();
            if self.rng.random_bool((per_tick / self.plan.pause.as_secs_f64()).min(1.0)) {
                self.fault();
            }
            if self.rng.random_bool((per_tick / self.plan.operator.as_secs_f64()).min(1.0)) {
                self.operate();
            }
            if self.rng.random_bool(0.01) {
                self.take_snapshot();
            }
        }
        (0..NIMBUSES).for_each(|i| self.step_nimbus(i));
        for h in 0..HOSTS.len() {
            let host = &mut self.hosts[h];
            if host.restart_at.is_some_and(|at| self.clock.now() >= at) {
                host.restart_at = None;
                if host.is_up && host.supervisor.is_none() {
                    self.start_supervisor(h);
                }
            }
            self.step_supervisor(h);
        }
        let pids: Vec<Pid> = self.processes.keys().copied().collect();
        pids.into_iter().for_each(|pid| self.step_process(pid));
        self.stepped_at = self.clock.now();
        self.clock.advance(TICK);
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.clock.now().after(time);
        while self.clock.now() < until && lock(&self.books).wrong.is_empty() {
            self.tick();
        }
    }

    /// Everything that is wrong so far.
    pub fn verdict(&self) -> Result<(), String> {
        let wrong = &lock(&self.books).wrong;
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n  ")) }
    }

    /// The cluster forms, and the first topologies are submitted.
    pub fn warm_up(&mut self) {
        self.has_faults = false;
        self.run_for(Duration::from_secs(1));
        for _ in 0..self.rng.random_range(1..12) {
            self.operate();
        }
        let more = self.rng.random_range(0..6_000);
        self.run_for(Duration::from_millis(more));
        self.has_faults = true;
    }

    // ---- Faults ----

    fn take_snapshot(&mut self) {
        let epoch = lock(&self.books).begun;
        if !lock(&self.books).is_lost {
            self.snapshots.push((epoch, self.service.snapshot()));
        }
    }

    fn fault(&mut self) {
        let kind = self.plan.faults[self.rng.random_range(0..self.plan.faults.len())];
        let (i, h) = (self.rng.random_range(0..NIMBUSES), self.rng.random_range(0..HOSTS.len()));
        let until = self.later();
        match kind {
            Fault::NimbusKilled => {
                self.kill_nimbus(i);
                self.undo.push((until, Undo::StartNimbus(i)));
            }
            Fault::NimbusEnds => {
                self.end_nimbus(i);
                self.undo.push((until, Undo::StartNimbus(i)));
            }
            Fault::NimbusStopped => self.stop_nimbus(until),
            Fault::SupervisorKilled => {
                self.kill_supervisor(h);
                self.hosts[h].restart_at = Some(until);
            }
            Fault::SupervisorKilledMidway => return,
            Fault::SupervisorStopped => {
                if let Some(supervisor) = &mut self.hosts[h].supervisor {
                    supervisor.stopped_until = until;
                }
            }
            Fault::ProcessKilled | Fault::ProcessStopped => {
                let some = self.processes.keys().copied().collect::<Vec<_>>();
                if some.is_empty() {
                    return;
                }
                let pid = some[self.rng.random_range(0..some.len())];
                self.log(|| format!("{kind:?} {pid}"));
                match self.processes.get_mut(&pid) {
                    Some(process) if kind == Fault::ProcessStopped => process.stopped_until = until,
                    _ => self.end_process(pid, -9),
                }
            }
            Fault::HostLost => {
                self.kill_supervisor(h);
                self.hosts[h].is_up = false;
                self.hosts[h].restart_at = None;
                let there: Vec<Pid> = self
                    .processes
                    .iter()
                    .filter(|(_, process)| process.host == h)
                    .map(|(pid, _)| *pid)
                    .collect();
                there.into_iter().for_each(|pid| self.end_process(pid, -9));
                self.undo.push((until, Undo::HostUp(h)));
            }
            Fault::Cut => match self.rng.random_bool(0.4) {
                true => {
                    self.nimbuses[i].with_client(MemoryClient::cut);
                    self.undo.push((until, Undo::HealNimbus(i)));
                }
                false => {
                    self.with_supervisor(h, MemoryClient::cut);
                    self.undo.push((until, Undo::HealSupervisor(h)));
                }
            },
            // While the whole service is away nothing else is of interest, so it is rare.
            Fault::ServiceAway | Fault::ServiceFull if self.rng.random_bool(0.7) => return,
            Fault::ServiceAway => {
                self.service.set_away(true);
                self.undo.push((until, Undo::ServiceBack));
            }
            Fault::ServiceFull => {
                self.service.set_full(true);
                self.undo.push((until, Undo::ServiceHasRoom));
            }
            Fault::Expired => match self.rng.random_bool(0.4) {
                true => self.nimbuses[i].with_client(MemoryClient::expire),
                false => self.with_supervisor(h, MemoryClient::expire),
            },
            Fault::WriteLost => {
                let lose = [Lose::Request, Lose::Answer, Lose::Late][self.rng.random_range(0..3)];
                let stays = self.rng.random_bool(0.3);
                let lost = move |client: &MemoryClient| client.lose_next(lose, stays);
                match self.rng.random_bool(0.5) {
                    true => {
                        self.nimbuses[i].with_client(lost);
                        self.undo.push((until, Undo::HealNimbus(i)));
                    }
                    false => {
                        self.with_supervisor(h, lost);
                        self.undo.push((until, Undo::HealSupervisor(h)));
                    }
                }
                if self.rng.random_bool(0.5) {
                    self.service.arrive();
                }
            }
            Fault::Lagging => {
                let lags = self.rng.random_bool(0.5);
                match self.rng.random_bool(0.4) {
                    true => self.nimbuses[i].with_client(|client| client.lag(lags)),
                    false => self.with_supervisor(h, |client| client.lag(lags)),
                }
            }
            Fault::HostsCut => self.cut_hosts(h),
            Fault::ClockJump => {
                self.hosts[h].wall_offset += self.rng.random_range(-3_600_000_000_000..3_600_000_000_000);
            }
            Fault::DiskFull => match self.rng.random_bool(0.3) {
                true => {
                    let _ = std::fs::create_dir(self.nimbuses[i].blocked_mark());
                    self.undo.push((until, Undo::MarkHasRoom(i)));
                }
                false => {
                    self.hosts[h].is_full = true;
                    let _ = std::fs::create_dir(self.hosts[h].mark.join("cluster.json.squall-tmp"));
                    self.undo.push((until, Undo::DiskHasRoom(h)));
                }
            },
            Fault::DataLost => {
                if !self.lose_data() {
                    return;
                }
            }
        }
        self.cover(&format!("{kind:?}"));
        self.log(|| format!("{kind:?}: nimbus {i} or host {}", HOSTS[h]));
    }

    /// Some hosts cannot reach some others; each cut heals at a time of its own.
    fn cut_hosts(&mut self, h: usize) {
        for other in 0..HOSTS.len() {
            if other != h && self.rng.random_bool(0.6) {
                let until = self.later();
                self.cuts.insert((h.min(other), h.max(other)));
                self.undo.push((until, Undo::Join(h.min(other), h.max(other))));
            }
        }
    }

    fn with_supervisor(&self, h: usize, act: impl FnOnce(&MemoryClient)) {
        if let Some(supervisor) = &self.hosts[h].supervisor {
            act(&supervisor.client);
        }
    }

    /// The data of the service are gone, or are those of an earlier epoch. Everybody remembers more.
    fn lose_data(&mut self) -> bool {
        let marks =
            self.hosts.iter().map(|host| &host.mark).chain(self.nimbuses.iter().map(|nimbus| &nimbus.mark));
        let epochs = marks.map(|mark| Belonging::read(mark).map_or(0, |belonging| belonging.epoch()));
        let least = epochs.min().unwrap_or(0);
        if least == 0 || lock(&self.books).is_lost || self.observer.catch_up().is_err() {
            return false;
        }
        let latest = self.service.snapshot();
        for h in 0..HOSTS.len() {
            for (id, topology) in &self.hosts[h].record.topologies {
                let nodes = TopologyNodes::of(id);
                let Some(assignment) = self.read::<AssignmentRecord>(&nodes.assignment) else {
                    continue;
                };
                let host = &self.hosts[h].id;
                for (role, child) in &topology.children {
                    let child_id = ChildId { topology: id.clone(), role: *role };
                    let is_assigned = worker_of(&child_id)
                        .is_some_and(|worker| assignment.workers_on(host).any(|there| there == worker));
                    if is_assigned && !child.is_leaving && child.change == assignment.change {
                        self.lost.insert((h, child_id));
                    }
                }
            }
        }
        let older: Vec<usize> =
            (0..self.snapshots.len()).filter(|at| self.snapshots[*at].0 < least).collect();
        match older.is_empty() || self.rng.random_bool(0.4) {
            true => self.service.wipe(),
            false => {
                let at = older[self.rng.random_range(0..older.len())];
                self.service.roll_back(&self.snapshots[at].1);
                self.cover("rolled back");
            }
        }
        lock(&self.books).is_lost = true;
        let until = self.later_by(15_000);
        self.undo.push((until, Undo::Restore(latest)));
        true
    }

    fn undo_due(&mut self) {
        let now = self.clock.now();
        let (due, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = left;
        due.into_iter().for_each(|(_, undo)| self.undo(undo));
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::HealNimbus(i) => self.nimbuses[i].with_client(MemoryClient::heal),
            Undo::HealSupervisor(h) => self.with_supervisor(h, MemoryClient::heal),
            Undo::ServiceBack => self.service.set_away(false),
            Undo::ServiceHasRoom => self.service.set_full(false),
            Undo::Join(one, other) => _ = self.cuts.remove(&(one, other)),
            Undo::DiskHasRoom(h) => {
                self.hosts[h].is_full = false;
                let _ = std::fs::remove_dir(self.hosts[h].mark.join("cluster.json.squall-tmp"));
            }
            Undo::MarkHasRoom(i) => _ = std::fs::remove_dir(self.nimbuses[i].blocked_mark()),
            Undo::StartNimbus(i) => {
                if !self.nimbuses[i].is_running() {
                    self.start_nimbus(i);
                }
            }
            Undo::HostUp(h) => {
                self.hosts[h].is_up = true;
                if self.hosts[h].supervisor.is_none() {
                    self.start_supervisor(h);
                }
            }
            Undo::Restore(latest) => {
                self.service.roll_back(&latest);
                lock(&self.books).is_lost = false;
                self.lost.clear();
            }
        }
    }

    /// All faults end.
    pub fn heal(&mut self) {
        self.log(|| "everything heals".to_owned());
        self.is_healed = true;
        let undo = std::mem::take(&mut self.undo);
        undo.into_iter().for_each(|(_, undo)| self.undo(undo));
        for i in 0..NIMBUSES {
            self.nimbuses[i].goes_on();
            self.nimbuses[i].with_client(|client| client.lag(false));
            self.nimbuses[i].with_client(MemoryClient::heal);
            self.undo(Undo::StartNimbus(i));
        }
        for h in 0..HOSTS.len() {
            self.undo(Undo::HostUp(h));
            if let Some(supervisor) = &mut self.hosts[h].supervisor {
                supervisor.stopped_until = Time::ZERO;
                supervisor.client.lag(false);
                supervisor.client.heal();
            }
        }
        self.processes.values_mut().for_each(|process| process.stopped_until = Time::ZERO);
    }
}

/// A child of nobody.
pub fn stranger() -> ChildId {
    ChildId { topology: STRANGER.parse().expect("an id"), role: Role::Master }
}
