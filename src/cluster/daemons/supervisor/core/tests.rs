//! The core of a supervisor on a host of its own: a disk, processes, and a service that are changed by random histories.
//! One file, because the world in which the histories happen is that of the single cases, too.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::cluster::access::TopologyAccess;
use crate::cluster::control::LogSpec;
use crate::cluster::coordination::Version;
use crate::cluster::daemons::supervisor::actions::{Exit, FoundChild, Order};
use crate::cluster::daemons::supervisor::child::Role;
use crate::cluster::daemons::supervisor::local_record::KnownTopology;
use crate::cluster::daemons::supervisor::readings::FoundTopology;
use crate::cluster::schedule::{Placement, Slot};
use crate::cluster::topologies::{
    AssignmentRecord, BlobHash, MasterRecord, MasterReport, SpecRecord, StateRecord, TopologyBegin,
    TopologyPhase, Wanted,
};
use crate::config::{LogFileOptions, NetOptions, WorkerOptions};
use crate::ids::WorkerId;
use crate::topology::assignment::Assignment;

const ME: &str = "host-1";
const TICK: Duration = Duration::from_millis(100);

fn settings() -> HostSettings {
    HostSettings {
        id: ME.to_owned(),
        net: NetOptions::default(),
        worker: WorkerOptions::default(),
        secrets: Default::default(),
        log: LogSpec::default(),
        log_files: LogFileOptions::default(),
    }
}

fn topology(number: u64) -> TopologyId {
    TopologyId::new("words", number).expect("an id")
}

fn child(number: u64, role: Role) -> ChildId {
    ChildId { topology: topology(number), role }
}

fn worker(number: u64, worker: u16) -> ChildId {
    child(number, Role::Worker(WorkerId(worker)))
}

fn master(number: u64) -> ChildId {
    child(number, Role::Master)
}

fn found(number: u64, change: u64, roles: &BTreeSet<Role>) -> FoundTopology {
    let id = topology(number);
    let spec = SpecRecord {
        epoch: 1,
        id: id.clone(),
        change: 1,
        owner: String::new(),
        access: TopologyAccess::default(),
        submitted_at: String::new(),
        source: BlobHash::of(b""),
        generation: 1,
        spreads: false,
        run: "0".repeat(32),
        begin: TopologyBegin::default(),
        wanted: Wanted::Active,
        savepoint: None,
        log: None,
        upgrade: None,
        dropped: Vec::new(),
        ended: None,
    };
    let slots = roles.iter().filter_map(|role| match role {
        Role::Master => None,
        Role::Worker(worker) => Some((*worker, Slot { host: ME.into(), number: worker.0 })),
    });
    let assignment =
        serde_json::json!({ "version": change, "workers": 4, "threads": 1, "shape": [], "worker_of": [] });
    let assignment: Assignment = serde_json::from_value(assignment).expect("it is one");
    let assignment = AssignmentRecord {
        epoch: 1,
        id,
        change,
        source: BlobHash::of(b""),
        generation: 1,
        is_upgrade: false,
        placement: Some(Placement { assignment, slots: slots.collect() }),
        needs: Vec::new(),
        master: roles.contains(&Role::Master).then(|| ME.to_owned()),
        short: None,
    };
    FoundTopology { spec, assignment, master: None, state: None }
}

/// A process of a child.
#[derive(Clone, Debug)]
struct Process {
    /// Which life of the supervisor has started it.
    life: u32,
    /// Whether it has the lock of its directory.
    has_lock: bool,
    hangs: bool,
    /// How it has ended, if its supervisor was not notified of that yet.
    ended: Option<Exit>,
}

#[derive(Clone, Debug, Default)]
struct Directory {
    order: Option<Order>,
    report: Option<MasterReport>,
    alive: Option<i64>,
}

/// A host and its service.
struct World {
    now: Time,
    core: SupervisorCore,
    life: u32,
    saved: LocalRecord,
    directories: BTreeMap<ChildId, Directory>,
    processes: BTreeMap<ChildId, Vec<Process>>,
    // The service.
    catalog_next: u64,
    assigned: BTreeMap<u64, FoundTopology>,
    is_away: bool,
    /// The service has an old copy of its data.
    is_old: bool,
    /// What the core has read and could believe.
    believed: BTreeMap<u64, FoundTopology>,
    saves_fail: bool,
    starts_fail: bool,
    /// After so many more actions the supervisor is killed.
    dies_after: Option<usize>,
    /// What was noted, in order.
    notes: Vec<Note>,
    /// How often each child was started.
    starts: BTreeMap<ChildId, u32>,
}

impl World {
    fn new() -> World {
        World {
            now: Time::ZERO,
            core: SupervisorCore::new(settings(), LocalRecord::default(), Time::ZERO),
            life: 0,
            saved: LocalRecord::default(),
            directories: BTreeMap::new(),
            processes: BTreeMap::new(),
            catalog_next: 1,
            assigned: BTreeMap::new(),
            is_away: false,
            is_old: false,
            believed: BTreeMap::new(),
            saves_fail: false,
            starts_fail: false,
            dies_after: None,
            notes: Vec::new(),
            starts: BTreeMap::new(),
        }
    }

    /// A world in which these roles of topology 1 run.
    fn with(roles: &[Role]) -> World {
        let mut world = World::new();
        world.assign(1, roles.iter().copied().collect());
        world.ticks(5);
        world
    }

    fn assign(&mut self, number: u64, roles: BTreeSet<Role>) {
        self.catalog_next = self.catalog_next.max(number + 1);
        let before = self.assigned.get(&number);
        let change = before.map_or(1, |before| before.assignment.change + 1);
        let (master, state) = before.map(|it| (it.master.clone(), it.state.clone())).unwrap_or_default();
        self.assigned.insert(number, FoundTopology { master, state, ..found(number, change, &roles) });
    }

    /// The roles of a topology that the service assigns to this host.
    fn wanted(assigned: &BTreeMap<u64, FoundTopology>) -> BTreeSet<ChildId> {
        let of = |(number, found): (&u64, &FoundTopology)| {
            let workers = found.assignment.workers_on(ME).map(Role::Worker);
            let master = found.assignment.has_master_on(ME).then_some(Role::Master);
            workers.chain(master).map(|role| child(*number, role)).collect::<Vec<_>>()
        };
        assigned.iter().flat_map(of).collect()
    }

    fn reading(&self) -> Event {
        if self.is_away {
            return Event::Away;
        }
        if self.is_old {
            return Event::Read(Reading::default());
        }
        let listed = self.assigned.keys().map(|number| topology(*number)).collect();
        let here = self.assigned.iter().filter(|(_, found)| {
            found.assignment.has_master_on(ME) || found.assignment.workers_on(ME).next().is_some()
        });
        let topologies = here.map(|(number, found)| (topology(*number), Ok(found.clone()))).collect();
        Event::Read(Reading { catalog_next: self.catalog_next, listed, topologies })
    }

    /// Some time passes: processes take their locks, give signs of life and end, and the supervisor acts.
    fn tick(&mut self) {
        self.now = self.now.after(TICK);
        for (id, processes) in &mut self.processes {
            for index in 0..processes.len() {
                let is_taken = processes.iter().any(|process| process.has_lock && process.ended.is_none());
                let process = &mut processes[index];
                if process.ended.is_some() {
                    continue;
                }
                match (process.has_lock, self.directories.get_mut(id)) {
                    (true, Some(directory)) if !process.hangs => {
                        directory.alive = Some(self.now.0.cast_signed());
                    }
                    (true, _) => {}
                    (false, Some(_)) if !is_taken => process.has_lock = true,
                    // It was one too many, or its directory is gone.
                    (false, _) => process.ended = Some(exit(false)),
                }
            }
        }
        let reading = self.reading();
        if let Event::Read(_) = &reading
            && !self.is_old
        {
            self.believed = self.assigned.clone();
        }
        self.core.handle(reading, self.now);
        self.notify();
        self.act();
    }

    fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    /// The supervisor finds out what its children have done.
    fn notify(&mut self) {
        for (id, processes) in &mut self.processes {
            // The parent of what an earlier life has started is another process, which reaps it.
            let holder_ended = processes.iter().any(|process| process.has_lock && process.ended.is_some());
            let own_ended =
                processes.iter().find(|process| process.life == self.life && process.ended.is_some());
            let ended = own_ended.cloned().or_else(|| {
                processes.iter().find(|process| process.has_lock && process.ended.is_some()).cloned()
            });
            processes.retain(|process| process.ended.is_none());
            let is_taken = processes.iter().any(|process| process.has_lock);
            let is_watched = holder_ended || ended.as_ref().is_some_and(|process| process.life == self.life);
            if let Some(report) = self.directories.get(id).and_then(|directory| directory.report.clone()) {
                self.core.handle(Event::Reported(id.topology.clone(), report), self.now);
            }
            if let Some(Process { ended: Some(exit), .. }) = ended
                && is_watched
                && !is_taken
            {
                let exit = if processes.is_empty() { exit } else { Exit { is_done: false, ..exit } };
                self.core.handle(Event::Exited(id.clone(), exit), self.now);
            }
            let alive = self.directories.get(id).and_then(|directory| directory.alive);
            self.core.handle(Event::Alive(id.clone(), alive), self.now);
        }
    }

    fn act(&mut self) {
        for _ in 0..1000 {
            let actions = self.core.decide(self.now);
            if actions.is_empty() {
                return;
            }
            for action in actions {
                let event = self.perform(action);
                if let Some(left) = &mut self.dies_after {
                    match left.checked_sub(1) {
                        Some(less) => *left = less,
                        None => return self.kill_supervisor(),
                    }
                }
                if let Some(event) = event {
                    self.core.handle(event, self.now);
                }
            }
        }
        panic!("the core never rests");
    }

    fn kill_supervisor(&mut self) {
        self.dies_after = None;
        self.life += 1;
        self.core = SupervisorCore::new(settings(), self.saved.clone(), self.now);
    }

    fn holder(&mut self, id: &ChildId) -> Option<&mut Process> {
        let processes = self.processes.get_mut(id)?;
        processes.iter_mut().find(|process| process.has_lock && process.ended.is_none())
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Save(_) if self.saves_fail => Some(Event::Saved(Err("the disk is full".to_owned()))),
            Action::Save(record) => {
                self.saved = record.clone();
                Some(Event::Saved(Ok(record)))
            }
            Action::Find(id) => {
                let is_running = self.holder(&id).is_some();
                let directory = self.directories.get(&id).cloned().unwrap_or_default();
                let Directory { order, report, alive } = directory;
                Some(Event::Found(id, Ok(FoundChild { is_running, order, report, alive })))
            }
            Action::Start(id, preparation) => {
                assert!(self.saved.child(&id).is_some(), "{id} is started and not known");
                if self.starts_fail || self.holder(&id).is_some() {
                    return Some(Event::Started(id, Err("it is not to be".to_owned())));
                }
                let life = self.life;
                let processes = self.processes.entry(id.clone()).or_default();
                let of_this_life = processes.iter().filter(|one| one.life == life && one.ended.is_none());
                assert_eq!(of_this_life.count(), 0, "{id} is started twice");
                processes.push(Process { life, has_lock: false, hangs: false, ended: None });
                let directory = self.directories.entry(id.clone()).or_default();
                (directory.alive, directory.report) = (None, None);
                if let Some(preparation) = preparation {
                    directory.order = Some(preparation.order);
                }
                assert!(directory.order.is_some(), "{id} is started without an order");
                *self.starts.entry(id.clone()).or_default() += 1;
                Some(Event::Started(id, Ok(())))
            }
            Action::Order(id, order) => {
                self.directories.get_mut(&id).expect("its directory is there").order = Some(order);
                Some(Event::Ordered(id, Ok(())))
            }
            Action::Kill(id) => {
                self.check_kill(&id);
                if let Some(process) = self.holder(&id) {
                    process.ended = Some(exit(false));
                } else if let Some(processes) = self.processes.get_mut(&id) {
                    let life = self.life;
                    let own = processes.iter_mut().filter(|process| process.life == life);
                    own.for_each(|process| process.ended = Some(exit(false)));
                }
                None
            }
            Action::Examine(id) => Some(Event::Examined(id, false)),
            Action::Remove(id) => {
                let is_leaving = self.saved.child(&id).is_some_and(|known| known.is_leaving);
                let is_wanted = World::wanted(&self.believed).contains(&id);
                assert!(is_leaving || !is_wanted, "the directory of {id} is removed");
                if self.holder(&id).is_some() {
                    return Some(Event::Removed(id, Err("it is taken".to_owned())));
                }
                self.directories.remove(&id);
                Some(Event::Removed(id, Ok(())))
            }
            Action::Publish(write) => Some(self.publish(write)),
            Action::Note(note) => {
                self.notes.push(note);
                None
            }
        }
    }

    /// Only what is not assigned, silent, or not the master any more is killed.
    fn check_kill(&mut self, id: &ChildId) {
        let is_wanted = World::wanted(&self.believed).contains(id);
        let hangs = self.processes.get(id).is_some_and(|all| all.iter().any(|process| process.hangs));
        let order = self.directories.get(id).and_then(|directory| directory.order.clone());
        let epoch = match order {
            Some(Order::Master(order)) => order.epoch,
            _ => u64::MAX,
        };
        let found = self.believed.get(&id.topology.number()).and_then(|found| found.master.as_ref());
        let is_superseded = found.is_some_and(|(record, _)| record.epoch > epoch);
        let is_leaving = self.saved.child(id).is_some_and(|known| known.is_leaving);
        assert!(!is_wanted || hangs || is_superseded || is_leaving, "{id} is killed");
    }

    fn publish(&mut self, write: Write) -> Event {
        let number = write.topology().number();
        let Some(found) = self.assigned.get_mut(&number).filter(|_| !self.is_away) else {
            return Event::NotWritten(write, "the service is away".to_owned());
        };
        let version = |before: Option<Version>| Version(before.map_or(0, |version| version.0 + 1));
        let master = found.master.as_ref().map(|(_, version)| *version);
        let state = found.state.as_ref().map(|(_, version)| *version);
        let id = write.topology().clone();
        match write.clone() {
            Write::Epoch { epoch, expected, .. } if expected == master => {
                let token = epoch.to_string();
                let record = MasterRecord { epoch, supervisor: ME.to_owned(), token, address: None };
                let before = found.master.replace((record.clone(), version(master)));
                assert!(before.is_none_or(|(before, _)| before.epoch < epoch), "epochs rise");
                Event::Written(id, Written::Epoch(record, version(master)))
            }
            Write::Address { record, expected, .. } if expected == master => {
                found.master = Some((record.clone(), version(master)));
                Event::Written(id, Written::Address(record, version(master)))
            }
            Write::State { record, expected, .. } if expected == state => {
                found.state = Some((record.clone(), version(state)));
                Event::Written(id, Written::State(record, version(state)))
            }
            write => Event::NotWritten(write, "it was changed".to_owned()),
        }
    }

    /// The process of a child ends.
    fn ends(&mut self, id: &ChildId, is_done: bool) {
        if let Some(process) = self.holder(id) {
            process.ended = Some(exit(is_done));
        }
    }

    /// A master reports.
    fn reports(&mut self, number: u64, phase: TopologyPhase) {
        let id = master(number);
        if self.holder(&id).is_none() {
            return;
        }
        let Some(directory) = self.directories.get_mut(&id) else { return };
        let Some(Order::Master(order)) = &directory.order else { return };
        let state = StateRecord {
            epoch: order.epoch,
            generation: 1,
            phase,
            outcome: None,
            savepoint: None,
            verdict: None,
        };
        let address = (phase != TopologyPhase::Ended).then(|| ([127, 0, 0, 1], 7000).into());
        directory.report = Some(MasterReport { address, state });
    }

    fn running(&self) -> BTreeSet<ChildId> {
        let runs = |processes: &Vec<Process>| processes.iter().any(|process| process.ended.is_none());
        self.processes.iter().filter(|(_, processes)| runs(processes)).map(|(id, _)| id.clone()).collect()
    }

    fn started(&self, id: &ChildId) -> u32 {
        self.starts.get(id).copied().unwrap_or(0)
    }

    fn order_of_worker(&self, id: &ChildId) -> Option<(u64, String)> {
        match self.directories.get(id)?.order.as_ref()? {
            Order::Worker(order) => order.master.map(|place| (place.epoch, place.address.to_string())),
            Order::Master(_) => None,
        }
    }

    fn epoch_of_master(&self, number: u64) -> Option<u64> {
        match self.directories.get(&master(number))?.order.as_ref()? {
            Order::Master(order) => Some(order.epoch),
            Order::Worker(_) => None,
        }
    }
}

fn exit(is_done: bool) -> Exit {
    Exit { is_done, how: "as a test wants it".to_owned() }
}

const MASTER: Role = Role::Master;
const W0: Role = Role::Worker(WorkerId(0));
const W1: Role = Role::Worker(WorkerId(1));

#[test]
fn what_is_assigned_runs_and_what_is_not_is_gone() {
    let mut world = World::with(&[MASTER, W0, W1]);
    assert_eq!(world.running(), [master(1), worker(1, 0), worker(1, 1)].into());
    assert_eq!(world.epoch_of_master(1), Some(1));
    world.assign(1, [W1].into());
    world.ticks(5);
    assert_eq!(world.running(), [worker(1, 1)].into());
    assert_eq!(world.started(&worker(1, 1)), 1, "it was left alone");
    world.assigned.clear();
    world.ticks(5);
    assert_eq!((world.running().len(), world.directories.len()), (0, 0));
    assert_eq!(world.saved.topologies.len(), 0);
}

#[test]
fn a_worker_finds_its_master_by_its_order() {
    let mut world = World::with(&[MASTER, W0]);
    assert_eq!(world.order_of_worker(&worker(1, 0)), None);
    world.reports(1, TopologyPhase::Starting);
    world.ticks(3);
    assert_eq!(world.order_of_worker(&worker(1, 0)), Some((1, "127.0.0.1:7000".to_owned())));
    // The next process of the master has not said where it is: the last place stays.
    world.ends(&master(1), false);
    world.ticks(3);
    assert_eq!(world.epoch_of_master(1), Some(2));
    assert_eq!(world.order_of_worker(&worker(1, 0)), Some((1, "127.0.0.1:7000".to_owned())));
    world.reports(1, TopologyPhase::Active);
    world.ticks(3);
    assert_eq!(world.order_of_worker(&worker(1, 0)), Some((2, "127.0.0.1:7000".to_owned())));
    let state = world.assigned[&1].state.as_ref().map(|(state, _)| (state.epoch, state.phase));
    assert_eq!(state, Some((2, TopologyPhase::Active)));
}

#[test]
fn a_master_gets_a_new_order_when_what_is_wanted_changes() {
    let mut world = World::with(&[MASTER]);
    let wanted = |world: &World| match &world.directories[&master(1)].order {
        Some(Order::Master(order)) => order.spec.wanted,
        other => panic!("{other:?}"),
    };
    assert_eq!(wanted(&world), Wanted::Active);
    world.assigned.get_mut(&1).expect("it is there").spec.wanted = Wanted::Drained;
    world.tick();
    assert_eq!(wanted(&world), Wanted::Drained);
    assert_eq!(world.started(&master(1)), 1);
}

#[test]
fn what_ends_is_started_again_at_once_and_then_with_pauses_that_double() {
    let mut world = World::with(&[W0]);
    let id = worker(1, 0);
    let mut ticks_to_start = Vec::new();
    for _ in 0..8 {
        world.ends(&id, false);
        let before = world.started(&id);
        let mut ticks = 0;
        while world.started(&id) == before {
            world.tick();
            ticks += 1;
        }
        ticks_to_start.push(ticks);
        world.ticks(2);
    }
    assert_eq!(ticks_to_start, [1, 2, 2, 3, 5, 9, 17, 33], "pauses of 0, 50, 100, 200 … ms");
    // It has run long enough to be one that ends for the first time.
    world.ticks(601);
    world.ends(&id, false);
    let before = world.started(&id);
    world.tick();
    assert_eq!(world.started(&id), before + 1);
}

#[test]
fn what_is_done_is_not_started_again_for_its_assignment() {
    let mut world = World::with(&[W0]);
    world.ends(&worker(1, 0), true);
    world.ticks(50);
    assert_eq!(world.started(&worker(1, 0)), 1);
    world.kill_supervisor();
    world.ticks(50);
    assert_eq!(world.started(&worker(1, 0)), 1, "the next supervisor knows it, too");
    world.assign(1, [W0].into());
    world.ticks(5);
    assert_eq!(world.started(&worker(1, 0)), 2);
}

#[test]
fn a_topology_that_has_ended_is_not_started_again() {
    let mut world = World::with(&[MASTER, W0]);
    world.reports(1, TopologyPhase::Ended);
    world.ends(&master(1), false);
    world.ends(&worker(1, 0), false);
    world.ticks(50);
    assert_eq!(world.running(), [].into());
    let state = world.assigned[&1].state.as_ref().map(|(state, _)| state.phase);
    assert_eq!(state, Some(TopologyPhase::Ended), "the end is published");
    world.kill_supervisor();
    world.ticks(50);
    assert_eq!((world.started(&master(1)), world.started(&worker(1, 0))), (1, 1));
    // The assignment is deleted.
    world.assigned.clear();
    world.ticks(5);
    assert_eq!(world.directories.len(), 0);
}

/// The supervisor was killed after its master had reported the end, and before it was published.
#[test]
fn an_end_that_was_not_published_is_published_by_the_next_supervisor() {
    let mut world = World::with(&[MASTER]);
    world.reports(1, TopologyPhase::Ended);
    world.ends(&master(1), false);
    world.kill_supervisor();
    world.processes.clear();
    world.ticks(5);
    assert_eq!(world.started(&master(1)), 1);
    assert_eq!(world.assigned[&1].state.as_ref().map(|(state, _)| state.phase), Some(TopologyPhase::Ended));
}

#[test]
fn while_the_service_is_away_nothing_is_stopped_and_workers_are_started_again() {
    let mut world = World::with(&[MASTER, W0]);
    world.is_away = true;
    world.assigned.clear();
    world.ticks(50);
    assert_eq!(world.running(), [master(1), worker(1, 0)].into());
    world.ends(&worker(1, 0), false);
    world.ends(&master(1), false);
    world.ticks(5);
    assert_eq!(world.running(), [worker(1, 0)].into(), "no epoch can be begun");
    // The next supervisor does the same, by its local record.
    world.ends(&worker(1, 0), false);
    world.kill_supervisor();
    world.processes.clear();
    world.ticks(5);
    assert_eq!(world.running(), [worker(1, 0)].into());
}

#[test]
fn older_data_stop_nothing() {
    let mut world = World::with(&[MASTER, W0]);
    world.is_old = true;
    world.ticks(50);
    assert_eq!(world.running(), [master(1), worker(1, 0)].into());
    let notes = world.notes.iter().filter(|note| matches!(note, Note::OlderData(_))).count();
    assert_eq!(notes, 1);
    world.is_old = false;
    world.assigned.clear();
    world.ticks(5);
    assert_eq!(world.running(), [].into());
}

#[test]
fn the_directories_of_a_topology_stay_until_it_is_removed() {
    let mut world = World::with(&[MASTER, W0]);
    world.assign(1, [].into());
    world.ticks(50);
    assert_eq!(world.running(), [].into());
    assert_eq!(world.directories.len(), 2, "for those who want to read what was printed and logged");
    world.assigned.clear();
    world.ticks(50);
    assert_eq!(world.directories.len(), 0);
}

#[test]
fn what_cannot_be_read_is_left_as_it_is() {
    let mut world = World::with(&[W0]);
    let why = "somebody else has written it".to_owned();
    let topologies = [(topology(1), Err(why))].into();
    let listed = [topology(1)].into();
    let reading = Reading { catalog_next: world.catalog_next, listed, topologies };
    for _ in 0..3 {
        world.core.handle(Event::Read(reading.clone()), world.now);
        world.act();
    }
    assert_eq!(world.running(), [worker(1, 0)].into());
    assert_eq!(world.notes.iter().filter(|note| matches!(note, Note::Unreadable(..))).count(), 1);
}

#[test]
fn a_silent_process_is_killed_and_replaced() {
    let mut world = World::with(&[W0]);
    world.ticks(50);
    assert_eq!(world.started(&worker(1, 0)), 1);
    world.holder(&worker(1, 0)).expect("it runs").hangs = true;
    world.ticks(40);
    assert_eq!(world.started(&worker(1, 0)), 2);
}

#[test]
fn a_process_that_never_gives_a_sign_of_life_gets_the_time_to_start() {
    let mut world = World::with(&[]);
    world.assign(1, [W0].into());
    world.tick();
    world.tick();
    world.processes.values_mut().flatten().for_each(|process| process.hangs = true);
    world.directories.values_mut().for_each(|directory| directory.alive = None);
    world.ticks(290);
    assert_eq!(world.started(&worker(1, 0)), 1);
    world.ticks(20);
    assert_eq!(world.started(&worker(1, 0)), 2);
}

#[test]
fn nobody_is_called_silent_for_a_time_in_which_the_supervisor_did_not_run() {
    let mut world = World::with(&[W0]);
    world.holder(&worker(1, 0)).expect("it runs").hangs = true;
    world.now = world.now.after(Duration::from_secs(3600));
    world.ticks(20);
    assert_eq!(world.started(&worker(1, 0)), 1);
    world.ticks(20);
    assert_eq!(world.started(&worker(1, 0)), 2, "it is silent all the same");
}

#[test]
fn a_starved_process_gets_its_time_again() {
    let mut world = World::with(&[W0]);
    let options = settings().worker;
    let id = worker(1, 0);
    let later = world.now.after(options.heartbeat_timeout * 2);
    let child = world.core.child(&id).expect("it is known");
    assert!(child.must_be_examined(&options, later));
    assert!(!child.must_be_examined(&options, later), "once");
    assert_eq!(child.examined(&id, true, &options, later), Some(Note::Starved(id.clone())));
    assert!(!child.must_be_examined(&options, later.after(TICK)));
    assert!(!child.must_be_killed(false));
    let later = later.after(options.heartbeat_timeout);
    assert!(child.must_be_examined(&options, later));
    assert!(matches!(child.examined(&id, false, &options, later), Some(Note::Silent(..))));
    assert!(child.must_be_killed(false) && !child.must_be_killed(false));
}

#[test]
fn nothing_is_started_that_could_not_be_written_down() {
    let mut world = World::new();
    world.saves_fail = true;
    world.assign(1, [MASTER, W0].into());
    world.ticks(50);
    assert_eq!((world.running().len(), world.directories.len()), (0, 0));
    assert_eq!(world.notes.iter().filter(|note| matches!(note, Note::NotSaved(_))).count(), 1);
    world.saves_fail = false;
    world.ticks(15);
    assert_eq!(world.running().len(), 2);
    // What runs is started again all the same.
    world.saves_fail = true;
    world.ends(&worker(1, 0), false);
    world.ticks(5);
    assert_eq!(world.running().len(), 2);
}

/// What a person is shown, without the names of the children.
fn problems(world: &World) -> Vec<String> {
    world.core.problems().into_iter().map(|(_, problem)| problem).collect()
}

#[test]
fn what_cannot_be_started_is_a_problem_until_it_gives_a_sign_of_life() {
    let mut world = World::new();
    world.starts_fail = true;
    world.assign(1, [W0].into());
    world.ticks(20);
    assert_eq!(world.core.problems(), [(worker(1, 0), "cannot be started: it is not to be".to_owned())]);
    world.starts_fail = false;
    while world.running().is_empty() {
        assert_eq!(problems(&world).len(), 1);
        world.tick();
    }
    world.tick();
    assert_eq!(problems(&world).len(), 1, "that it was started shows nothing yet");
    world.ticks(3);
    assert_eq!(problems(&world), [""; 0]);
}

#[test]
fn what_ends_again_and_again_is_a_problem_until_one_lives() {
    let mut world = World::with(&[W0, W1]);
    let ends = |world: &mut World| {
        world.ends(&worker(1, 0), false);
        while world.holder(&worker(1, 0)).is_none() {
            world.tick();
        }
        world.ticks(3);
    };
    ends(&mut world);
    assert_eq!(problems(&world), [""; 0], "one restart is none");
    ends(&mut world);
    let [(id, problem)] = &world.core.problems()[..] else { panic!("{:?}", world.core.problems()) };
    assert_eq!(*id, worker(1, 0));
    assert!(problem.starts_with("ends again and again: as a test wants it; "), "{problem}");
    let before = problems(&world);
    ends(&mut world);
    assert_eq!(problems(&world), before, "its text does not change with each restart");
    world.ticks(590);
    assert_eq!(problems(&world), before, "it has not run for `worker.restart_reset` yet");
    world.ticks(20);
    assert_eq!(problems(&world), [""; 0]);
    // What is not wanted any more is nobody's problem.
    ends(&mut world);
    ends(&mut world);
    assert_eq!(problems(&world).len(), 1);
    world.assign(1, [W1].into());
    world.ticks(3);
    assert_eq!(problems(&world), [""; 0]);
}

#[test]
fn a_process_that_was_killed_because_it_was_silent_is_shown_with_that() {
    let mut world = World::with(&[W0]);
    for _ in 0..2 {
        let before = world.started(&worker(1, 0));
        world.holder(&worker(1, 0)).expect("it runs").hangs = true;
        while world.started(&worker(1, 0)) == before {
            world.tick();
        }
        world.ticks(3);
    }
    let problems = problems(&world);
    assert!(problems[0].contains("it was killed, because it gave no sign of life for "), "{problems:?}");
}

#[test]
fn that_children_cannot_be_written_down_is_the_problem_of_each() {
    let mut world = World::new();
    world.saves_fail = true;
    world.assign(1, [MASTER, W0].into());
    world.ticks(5);
    let seen = problems(&world);
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|problem| problem.ends_with("the disk is full")), "{seen:?}");
    world.saves_fail = false;
    world.ticks(30);
    assert_eq!(problems(&world), [""; 0]);
}

/// The host of a master was changed to another one and back while this host could not reach the service.
#[test]
fn a_master_of_an_older_epoch_is_replaced() {
    let mut world = World::with(&[MASTER]);
    let token = "another".to_owned();
    let record = MasterRecord { epoch: 2, supervisor: "host-2".to_owned(), token, address: None };
    world.assigned.get_mut(&1).expect("it is there").master = Some((record, Version(7)));
    world.ticks(10);
    assert_eq!(world.epoch_of_master(1), Some(3));
    assert_eq!(world.started(&master(1)), 2);
}

#[test]
fn what_is_wanted_again_before_its_directory_was_removed_runs() {
    let mut world = World::with(&[W0]);
    world.assigned.remove(&1);
    world.tick();
    world.assign(1, [W0].into());
    // A topology that comes back has changes that go on.
    world.assigned.get_mut(&1).expect("it is there").assignment.change = 9;
    world.ticks(10);
    assert_eq!(world.running(), [worker(1, 0)].into());
}

/// Something that happens to a host.
#[derive(Clone, Debug)]
enum Step {
    Ticks(usize),
    Assign(u64, u8),
    Unassign(u64),
    Away(bool),
    Old(bool),
    End(u64, u8, bool),
    Hang(u64, u8),
    Report(u64, bool),
    KillSupervisor(usize),
    SavesFail(bool),
    StartsFail(bool),
    AnotherMaster(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 1..4_u64;
    prop_oneof![
        6 => (1..12_usize).prop_map(Step::Ticks),
        3 => (number.clone(), 0..8_u8).prop_map(|(number, roles)| Step::Assign(number, roles)),
        1 => number.clone().prop_map(Step::Unassign),
        1 => any::<bool>().prop_map(Step::Away),
        1 => any::<bool>().prop_map(Step::Old),
        3 => (number.clone(), 0..3_u8, proptest::bool::weighted(0.1))
            .prop_map(|(number, role, is_done)| Step::End(number, role, is_done)),
        1 => (number.clone(), 0..3_u8).prop_map(|(number, role)| Step::Hang(number, role)),
        2 => (number.clone(), proptest::bool::weighted(0.1)).prop_map(|(number, ends)| Step::Report(number, ends)),
        3 => (0..8_usize).prop_map(Step::KillSupervisor),
        1 => any::<bool>().prop_map(Step::SavesFail),
        1 => any::<bool>().prop_map(Step::StartsFail),
        1 => number.prop_map(Step::AnotherMaster),
    ]
}

fn role(index: u8) -> Role {
    [MASTER, W0, W1][usize::from(index)]
}

impl World {
    fn take_step(&mut self, step: &Step) {
        match step {
            Step::Ticks(count) => self.ticks(*count),
            Step::Assign(number, roles) => {
                let roles = (0..3).filter(|index| roles & (1 << index) != 0).map(role).collect();
                self.assign(*number, roles);
            }
            // The assignment is deleted, and the topology stays for a while; its records go on where they were.
            Step::Unassign(number) if self.assigned.contains_key(number) => self.assign(*number, [].into()),
            Step::Unassign(_) => {}
            Step::Away(is_away) => self.is_away = *is_away,
            Step::Old(is_old) => self.is_old = *is_old,
            Step::End(number, index, is_done) => self.ends(&child(*number, role(*index)), *is_done),
            Step::Hang(number, index) => {
                if let Some(process) = self.holder(&child(*number, role(*index))) {
                    process.hangs = true;
                }
            }
            Step::Report(number, ends) => {
                self.reports(*number, if *ends { TopologyPhase::Ended } else { TopologyPhase::Active });
            }
            Step::KillSupervisor(after) => self.dies_after = Some(*after),
            Step::SavesFail(fail) => self.saves_fail = *fail,
            Step::StartsFail(fail) => self.starts_fail = *fail,
            Step::AnotherMaster(number) => {
                if let Some(found) = self.assigned.get_mut(number)
                    && let Some((record, version)) = &mut found.master
                {
                    record.epoch += 1;
                    record.supervisor = "host-2".to_owned();
                    version.0 += 1;
                }
            }
        }
    }

    /// What should run when all is well: what is assigned, less what is done or over.
    fn should_run(&self) -> BTreeSet<ChildId> {
        let mut wanted = World::wanted(&self.assigned);
        wanted.retain(|id| {
            let known = &self.saved.topologies[&id.topology];
            let child = &known.children[&id.role];
            !known.is_over && child.done_for != Some(child.change)
        });
        wanted
    }
}

proptest! {
    /// Whatever happens to a host, a child never has two processes, nothing is killed or removed that should not be, and
    /// when it is over, exactly what is assigned runs.
    #[test]
    fn after_any_history_exactly_what_is_assigned_runs(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.take_step(step);
            for processes in world.processes.values() {
                let holders = processes.iter().filter(|process| process.has_lock && process.ended.is_none());
                prop_assert!(holders.count() <= 1);
            }
        }
        (world.is_away, world.is_old, world.saves_fail, world.starts_fail) = (false, false, false, false);
        world.dies_after = None;
        // Longer than the longest pause, and than a start that hangs.
        world.ticks(800);
        let running = world.running();
        let mut expected = world.should_run();
        // What is over or done, and still runs, ends by itself.
        expected.extend(running.iter().filter(|id| World::wanted(&world.assigned).contains(id)).cloned());
        prop_assert_eq!(running, expected);
        // What is not assigned is there until it is removed.
        let there: BTreeSet<ChildId> = world.directories.keys().cloned().collect();
        world.ticks(50);
        prop_assert!(there.is_subset(&world.directories.keys().cloned().collect()));
        let wanted = World::wanted(&world.assigned);
        let known = |world: &World| -> BTreeSet<ChildId> {
            let of = |(id, known): (&TopologyId, &KnownTopology)| {
                let child = |role: &Role| ChildId { topology: id.clone(), role: *role };
                known.children.keys().map(child).collect::<Vec<_>>()
            };
            world.saved.topologies.iter().flat_map(of).collect()
        };
        prop_assert!(wanted.is_subset(&known(&world)));
        world.assigned.clear();
        world.ticks(50);
        prop_assert_eq!(world.running(), BTreeSet::new());
        prop_assert_eq!(world.directories.keys().collect::<Vec<_>>(), Vec::<&ChildId>::new());
        prop_assert_eq!(known(&world), BTreeSet::new());
    }
}
