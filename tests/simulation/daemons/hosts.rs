//! Hosts: a supervisor, which is killed and started again, and the private directories with their processes. The core of
//! the supervisor, its registration and what it reads and writes are those of squall; what is done for the core is done
//! here as `Children` does it with real processes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use squall::clock::Time;
use squall::cluster::coordination::{Coordination as _, MemoryClient, Notice, Notify, Version};
use squall::cluster::daemons::belonging::Belonging;
use squall::cluster::daemons::{HostSettings, Supervisor, SupervisorRecord, SupervisorState};
use squall::cluster::topologies::{BlobHash, MasterRecord, MasterReport, topologies_node};
use squall::config::{HostOptions, LogFileOptions, NetOptions};
use squall::testing::cores::{
    Action, ChildExit, ChildId, FoundChild, HostEvent, HostNote, LocalRecord, LogSpec, Order, Preparation,
    Reading, Role, SupervisorCore, Write, Written, read_topologies, write,
};

use crate::daemons::plan::{Defect, Fault};
use crate::daemons::processes::Pid;
use crate::daemons::world::{World, no_log, worker_options};
use crate::kit::lock;

/// How often a supervisor looks at what its children have written.
const LOOK: Duration = Duration::from_millis(250);

/// A private directory.
#[derive(Debug, Default)]
pub struct Directory {
    /// Which one of all that were ever made by this name.
    pub instance: u64,
    pub occupant: Option<Pid>,
    pub order: Option<Order>,
    pub run: String,
    /// The source whose program is known.
    pub source: Option<BlobHash>,
    pub report: Option<MasterReport>,
    pub alive: Option<i64>,
}

/// A host.
pub struct Host {
    pub id: String,
    pub is_up: bool,
    pub supervisor: Option<Box<HostSupervisor>>,
    pub record: LocalRecord,
    pub directories: BTreeMap<ChildId, Directory>,
    pub mark: PathBuf,
    pub is_full: bool,
    /// By how much its wall clock is wrong.
    pub wall_offset: i64,
    pub restart_at: Option<Time>,
}

/// A supervisor that runs.
pub struct HostSupervisor {
    pub client: MemoryClient,
    daemon: Supervisor,
    core: SupervisorCore,
    pub state: Option<SupervisorState>,
    /// What the thread of the service has for that of the processes, and when it gets there.
    to_core: VecDeque<(Time, HostEvent)>,
    to_service: VecDeque<(Time, Write)>,
    next_step: Time,
    free_at: Time,
    noticed: Arc<AtomicBool>,
    _notify: Arc<Notify>,
    /// The process of each child, and whether this supervisor has started it.
    table: BTreeMap<ChildId, (Pid, bool)>,
    looked_at: Option<Time>,
    pub stopped_until: Time,
    silent: BTreeSet<ChildId>,
}

impl World {
    pub fn start_supervisor(&mut self, h: usize) {
        let now = self.clock.now();
        self.starts += 1;
        let host = &self.hosts[h];
        let me = SupervisorRecord {
            token: format!("{:016x}", self.starts),
            ..SupervisorRecord::new(&host.id, &HostOptions::default())
        };
        let belonging = Belonging::read(&host.mark).expect("its mark can be read");
        let daemon = Supervisor::new(belonging, me, no_log()).expect("its id is a name");
        let client = self.service.client();
        let noticed = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&noticed);
        let notify: Arc<Notify> = Arc::new(move |_: Notice| flag.store(true, Ordering::Relaxed));
        for node in daemon.watched().into_iter().chain([topologies_node()]) {
            client.watch(&node, &notify);
        }
        let settings = HostSettings {
            id: host.id.clone(),
            net: NetOptions::default(),
            worker: worker_options(),
            secrets: Default::default(),
            log: LogSpec::default(),
            log_files: LogFileOptions::default(),
        };
        let record = match self.defect {
            Some(Defect::NoLocalRecord) => LocalRecord::default(),
            _ => host.record.clone(),
        };
        let supervisor = HostSupervisor {
            client,
            daemon,
            core: SupervisorCore::new(settings, record, now),
            state: None,
            to_core: VecDeque::new(),
            to_service: VecDeque::new(),
            next_step: now,
            free_at: now,
            noticed,
            _notify: notify,
            table: BTreeMap::new(),
            looked_at: None,
            stopped_until: Time::ZERO,
            silent: BTreeSet::new(),
        };
        self.hosts[h].supervisor = Some(Box::new(supervisor));
    }

    /// Its processes live on.
    pub fn kill_supervisor(&mut self, h: usize) {
        if let Some(supervisor) = self.hosts[h].supervisor.take() {
            supervisor.client.die();
        }
    }

    pub fn step_supervisor(&mut self, h: usize) {
        let now = self.clock.now();
        let Some(mut sup) = self.hosts[h].supervisor.take() else { return };
        if now >= sup.stopped_until {
            sup.client.beat();
            self.speak(h, &mut sup);
            if !self.keep(h, &mut sup) {
                self.cover("a supervisor died midway");
                self.log(|| format!("supervisor {h} dies midway"));
                sup.client.die();
                self.hosts[h].restart_at = Some(self.later());
                return;
            }
        }
        self.hosts[h].supervisor = Some(sup);
    }

    /// The thread that speaks with the service.
    fn speak(&mut self, h: usize, sup: &mut HostSupervisor) {
        let now = self.clock.now();
        if now < sup.free_at {
            return;
        }
        if sup.noticed.swap(false, Ordering::Relaxed) || now >= sup.next_step {
            let state = sup.daemon.step(&sup.client);
            sup.next_step = now.after(state.next_step());
            let believes =
                state == SupervisorState::Registered || self.defect == Some(Defect::BelievesLostData);
            sup.state = Some(state);
            let event = match believes.then(|| read_topologies(&sup.client, &self.hosts[h].id)) {
                Some(Ok(Some(reading))) => HostEvent::Read(reading),
                // A service without a catalog has nothing, for who believes it.
                Some(Ok(None)) if self.defect == Some(Defect::BelievesLostData) => {
                    let catalog_next = self.hosts[h].record.catalog_next;
                    HostEvent::Read(Reading { catalog_next, ..Reading::default() })
                }
                Some(Ok(None) | Err(_)) | None => HostEvent::Away,
            };
            let due = self.soon();
            push(&mut sup.to_core, due, event);
        }
        while sup.to_service.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, wanted)) = sup.to_service.pop_front() else { break };
            let token = self.rng.random();
            let written = match sup.state {
                Some(SupervisorState::Registered) => {
                    write(&sup.client, &self.hosts[h].id, token, &wanted).map_err(|error| error.to_string())
                }
                _ => Err("it does not belong to the cluster".to_owned()),
            };
            let event = match written {
                Ok(written) => {
                    if let Written::State(record, _) = &written {
                        lock(&self.books).state(wanted.topology(), record.phase);
                    }
                    HostEvent::Written(wanted.topology().clone(), written)
                }
                Err(why) => {
                    self.cover("a write of a supervisor was refused");
                    match (self.defect, &wanted) {
                        (Some(Defect::NoClaim), Write::Epoch { topology, epoch, .. }) => {
                            let record = MasterRecord {
                                epoch: *epoch,
                                supervisor: self.hosts[h].id.clone(),
                                token: String::new(),
                                address: None,
                            };
                            let written = Written::Epoch(record, Version(0));
                            HostEvent::Written(topology.clone(), written)
                        }
                        _ => HostEvent::NotWritten(wanted, why),
                    }
                }
            };
            let due = self.soon();
            push(&mut sup.to_core, due, event);
        }
        sup.free_at = now.after(sup.client.take_spent());
    }

    /// The thread of the processes. Returns whether the supervisor lives on.
    fn keep(&mut self, h: usize, sup: &mut HostSupervisor) -> bool {
        let now = self.clock.now();
        let mut is_due = sup.core.next_due(self.stepped_at).is_some_and(|due| due <= now);
        while sup.to_core.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, event)) = sup.to_core.pop_front() else { break };
            let event = match event {
                HostEvent::Read(mut reading) if self.defect == Some(Defect::LeavesOrphans) => {
                    self.without_leaving(h, &mut reading);
                    HostEvent::Read(reading)
                }
                event => event,
            };
            sup.core.handle(event, now);
            is_due = true;
        }
        let ended: Vec<ChildId> = sup
            .table
            .iter()
            .filter(|(_, (pid, _))| !self.processes.contains_key(pid))
            .map(|(child, _)| child.clone())
            .collect();
        for child in ended {
            self.reap(h, sup, &child);
            is_due = true;
        }
        if sup.looked_at.is_none_or(|at| now.since(at) >= LOOK) {
            sup.looked_at = Some(now);
            let running: Vec<ChildId> = sup.core.running().collect();
            running.iter().for_each(|child| self.look_at(h, sup, child));
            is_due = true;
        }
        let midway = self.is_on(Fault::SupervisorKilledMidway);
        while is_due {
            let actions = sup.core.decide(now);
            is_due = !actions.is_empty();
            for action in actions {
                if midway && self.rng.random_bool(0.004) {
                    return false;
                }
                if let Some(event) = self.perform(h, sup, action) {
                    sup.core.handle(event, now);
                }
            }
        }
        true
    }

    /// What is not in a reading was in the one before: so it stays.
    fn without_leaving(&self, h: usize, reading: &mut Reading) {
        for id in self.hosts[h].record.topologies.keys() {
            reading.topologies.entry(id.clone()).or_insert_with(|| Err("left as it is".to_owned()));
        }
    }

    fn reap(&mut self, h: usize, sup: &mut HostSupervisor, child: &ChildId) {
        let now = self.clock.now();
        let Some((pid, is_own)) = sup.table.remove(child) else { return };
        let code = self.exits.get(&pid).copied();
        let occupant = self.hosts[h].directories.get(child).and_then(|directory| directory.occupant);
        if let Some(occupant) = occupant {
            self.cover("another process was there first");
            sup.table.insert(child.clone(), (occupant, false));
            return;
        }
        self.look_at(h, sup, child);
        let exit = match code.filter(|_| is_own) {
            Some(code) => ChildExit { is_done: code == 0, how: format!("exit code {code}") },
            None => ChildExit { is_done: false, how: "unknown".to_owned() },
        };
        sup.core.handle(HostEvent::Exited(child.clone(), exit), now);
    }

    fn look_at(&mut self, h: usize, sup: &mut HostSupervisor, child: &ChildId) {
        let now = self.clock.now();
        let directory = self.hosts[h].directories.get(child);
        let alive = directory.and_then(|directory| directory.alive);
        sup.core.handle(HostEvent::Alive(child.clone(), alive), now);
        let report = directory.and_then(|directory| directory.report.clone());
        let report = report.filter(|_| self.defect != Some(Defect::NoReports));
        if child.role == Role::Master
            && let Some(report) = report
        {
            sup.core.handle(HostEvent::Reported(child.topology.clone(), report), now);
        }
    }

    fn perform(&mut self, h: usize, sup: &mut HostSupervisor, action: Action) -> Option<HostEvent> {
        match action {
            Action::Save(record) => {
                if self.hosts[h].is_full {
                    self.cover("a local record was not saved");
                    return Some(HostEvent::Saved(Err("the disk is full".to_owned())));
                }
                self.hosts[h].record = record.clone();
                Some(HostEvent::Saved(Ok(record)))
            }
            Action::Find(child) => {
                let found = self.find(h, sup, &child);
                Some(HostEvent::Found(child, Ok(found)))
            }
            Action::Start(child, preparation) => {
                let started = self.start_child(h, sup, &child, preparation.as_deref());
                Some(HostEvent::Started(child, started))
            }
            Action::Order(child, order) => {
                let is_full = self.hosts[h].is_full;
                let directory = self.hosts[h].directories.get_mut(&child);
                let written = match directory.filter(|_| !is_full) {
                    Some(directory) => {
                        directory.order = Some(order);
                        Ok(())
                    }
                    None => Err("it cannot be written".to_owned()),
                };
                Some(HostEvent::Ordered(child, written))
            }
            Action::Kill(child) => {
                if self.lost.contains(&(h, child.clone())) && !sup.silent.contains(&child) {
                    self.books_wrong(format!("{child} is killed while the data are lost"));
                }
                sup.silent.remove(&child);
                if let Some((pid, _)) = sup.table.get(&child) {
                    self.end_process(*pid, -9);
                }
                None
            }
            Action::Examine(child) => {
                sup.silent.insert(child.clone());
                Some(HostEvent::Examined(child, false))
            }
            Action::Remove(child) => {
                if self.lost.contains(&(h, child.clone())) {
                    self.books_wrong(format!("{child} is removed while the data are lost"));
                }
                let removed = match self.hosts[h].directories.get(&child) {
                    Some(directory) if directory.occupant.is_some() => Err("it is taken".to_owned()),
                    _ => {
                        self.hosts[h].directories.remove(&child);
                        Ok(())
                    }
                };
                Some(HostEvent::Removed(child, removed))
            }
            Action::Publish(write) => {
                let due = self.soon();
                push(&mut sup.to_service, due, write);
                None
            }
            Action::Note(note) => {
                self.note(h, &note);
                None
            }
        }
    }

    fn note(&self, h: usize, note: &HostNote) {
        let what = match note {
            HostNote::Adopted(_) => "a supervisor adopts",
            HostNote::Exited(..) => "a child is started again",
            HostNote::Done(_) => "a child is done",
            HostNote::Silent(..) => "a child is silent",
            HostNote::Leaves(_) => "a child leaves",
            HostNote::Removed(_) => "a directory is removed",
            HostNote::Over(_) => "a supervisor sees an end",
            HostNote::OlderData(_) => "a supervisor sees older data",
            HostNote::Failed(..) => "a child could not be started",
            _ => "a note",
        };
        self.cover(what);
        self.log(|| format!("{}: {note}", self.hosts[h].id));
    }

    fn find(&mut self, h: usize, sup: &mut HostSupervisor, child: &ChildId) -> FoundChild {
        let Some(directory) = self.hosts[h].directories.get(child) else { return FoundChild::default() };
        let occupant = directory.occupant.filter(|_| self.defect != Some(Defect::NoOccupancy));
        if let Some(pid) = occupant {
            sup.table.insert(child.clone(), (pid, false));
        }
        FoundChild {
            is_running: occupant.is_some(),
            order: directory.order.clone(),
            report: directory.report.clone(),
            alive: directory.alive,
        }
    }

    fn start_child(
        &mut self,
        h: usize,
        sup: &mut HostSupervisor,
        child: &ChildId,
        preparation: Option<&Preparation>,
    ) -> Result<(), String> {
        self.starts += 1;
        let instance = self.starts;
        let is_locked = self.defect != Some(Defect::NoOccupancy);
        let host = &mut self.hosts[h];
        let occupant = host.directories.get(child).and_then(|directory| directory.occupant);
        if occupant.is_some() && is_locked {
            return Err("another process has its directory".to_owned());
        }
        if let Some(preparation) = preparation {
            if host.is_full {
                return Err("the disk is full".to_owned());
            }
            // A worker reads its source only to learn which program it runs, and remembers that.
            let is_master = matches!(preparation.order, Order::Master(_));
            let is_known =
                host.directories.get(child).is_some_and(|it| it.source.as_ref() == Some(&preparation.source));
            if is_master || !is_known {
                self.blobs.get(&preparation.source).map_err(|error| error.to_string())?;
            }
            let new = || Directory { instance, ..Directory::default() };
            let directory = host.directories.entry(child.clone()).or_insert_with(new);
            directory.run.clone_from(&preparation.run);
            directory.source = Some(preparation.source.clone());
            directory.order = Some(preparation.order.clone());
        }
        let Some(directory) = host.directories.get_mut(child) else {
            return Err("there is no directory".to_owned());
        };
        (directory.alive, directory.report) = (None, None);
        let instance = directory.instance;
        let pid = self.spawn(h, child.clone(), instance);
        sup.table.insert(child.clone(), (pid, true));
        Ok(())
    }
}

/// Adds something to a queue, whose times only rise.
pub fn push<T>(queue: &mut VecDeque<(Time, T)>, due: Time, what: T) {
    let last = queue.back().map_or(Time::ZERO, |(due, _)| *due);
    queue.push_back((due.max(last), what));
}
