//! A topology of which something runs on a host, as the core of its supervisor sees it.

use std::collections::BTreeMap;

use crate::clock::Time;
use crate::cluster::daemons::supervisor::actions::{Action, Exit, FoundChild, Note, Order, Preparation};
use crate::cluster::daemons::supervisor::child::{ChildId, Role};
use crate::cluster::daemons::supervisor::local_record::{KnownChild, KnownTopology, LocalRecord};
use crate::cluster::daemons::supervisor::process::{Child, Process};
use crate::cluster::daemons::supervisor::readings::{FoundTopology, Write, Written};
use crate::cluster::daemons::supervisor::settings::HostSettings;
use crate::cluster::topologies::{
    LogLevels, MasterOrder, MasterPlace, MasterRecord, MasterReport, TopologyId, TopologyPhase, WorkerOrder,
};
use crate::config::WorkerOptions;
use crate::ids::WorkerId;

/// What a decision depends on beside the topology.
pub(super) struct Circumstances<'a> {
    pub(super) settings: &'a HostSettings,
    pub(super) is_believed: bool,
    pub(super) saved: &'a LocalRecord,
    pub(super) now: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HostedTopology {
    /// The last reading of it that could be believed.
    found: Option<FoundTopology>,
    /// Where its master was last.
    place: Option<MasterPlace>,
    pub(super) is_over: bool,
    /// Whether the catalog has it, as far as is known.
    pub(super) is_listed: bool,
    /// What the master of this host has reported last.
    report: Option<MasterReport>,
    /// What is being written to the service.
    is_writing: bool,
    /// Not before this time something is written again.
    write_at: Time,
    /// One more with each change of what orders depend on. Orders of children have the one that they were made of.
    revision: u64,
    pub(super) children: BTreeMap<Role, Child>,
}

impl HostedTopology {
    pub(super) fn known(known: &KnownTopology) -> HostedTopology {
        let children = known.children.iter().map(|(role, known)| (*role, Child::new(known.clone())));
        let children = children.collect();
        HostedTopology { is_over: known.is_over, is_listed: true, children, ..HostedTopology::default() }
    }

    pub(super) fn to_known(&self) -> KnownTopology {
        let children = self.children.iter().map(|(role, child)| (*role, child.known.clone()));
        KnownTopology { is_over: self.is_over, children: children.collect() }
    }

    /// The change of the assignment that was seen last.
    pub(super) fn change(&self) -> u64 {
        self.children.values().map(|child| child.known.change).max().unwrap_or(0)
    }

    /// What is assigned to this supervisor now; `None`: nothing.
    pub(super) fn assign(&mut self, id: &TopologyId, found: Option<FoundTopology>, me: &str) -> Vec<Note> {
        let mut wanted: Vec<Role> = Vec::new();
        if let Some(found) = &found {
            wanted.extend(found.assignment.workers_on(me).map(Role::Worker));
            wanted.extend(found.assignment.has_master_on(me).then_some(Role::Master));
        }
        let mut notes = Vec::new();
        for (role, child) in &mut self.children {
            let is_leaving = !wanted.contains(role);
            if is_leaving && !child.known.is_leaving {
                notes.push(Note::Leaves(ChildId { topology: id.clone(), role: *role }));
            }
            child.known.is_leaving = is_leaving;
        }
        let Some(found) = found else { return notes };
        for role in wanted {
            let child = self.children.entry(role).or_insert_with(|| Child::new(KnownChild::default()));
            child.known.change = found.assignment.change;
        }
        if let Some((record, _)) = &found.master
            && let Some(address) = record.address
        {
            self.saw_place(MasterPlace { epoch: record.epoch, address });
        }
        let state = found.state.as_ref().map(|(state, _)| state.phase);
        let has_ended = found.spec.ended.is_some() || state == Some(TopologyPhase::Ended);
        if !self.is_over && has_ended {
            self.is_over = true;
            notes.push(Note::Over(id.clone()));
        }
        self.found = Some(found);
        self.revision += 1;
        notes
    }

    fn saw_place(&mut self, place: MasterPlace) {
        if self.place.is_none_or(|before| before.epoch <= place.epoch) {
            self.place = Some(place);
            self.revision += 1;
        }
    }

    /// What the directory of a child has.
    pub(super) fn found_child(&mut self, id: &ChildId, found: FoundChild, now: Time) -> Vec<Note> {
        if let Some(Order::Worker(order)) = &found.order
            && let Some(place) = order.master
        {
            self.saw_place(place);
        }
        let (is_running, report) = (found.is_running, found.report.clone());
        let Some(child) = self.children.get_mut(&id.role) else { return Vec::new() };
        child.found(found, now);
        let mut notes = Vec::new();
        notes.extend(is_running.then(|| Note::Adopted(id.clone())));
        if report.is_some_and(|report| self.reported(report)) {
            notes.push(Note::Over(id.topology.clone()));
        }
        notes
    }

    /// What the master of this host reports. Returns whether the topology has ended by that.
    pub(super) fn reported(&mut self, report: MasterReport) -> bool {
        if self.master_epoch() != Some(report.state.epoch) {
            return false;
        }
        let ends = !self.is_over && report.state.phase == TopologyPhase::Ended;
        self.is_over |= ends;
        self.report = Some(report);
        ends
    }

    /// The epoch of the process of the master that this host has or had.
    fn master_epoch(&self) -> Option<u64> {
        match self.children.get(&Role::Master)?.order.as_ref()? {
            Order::Master(order) => Some(order.epoch),
            Order::Worker(_) => None,
        }
    }

    pub(super) fn exited(
        &mut self,
        id: &ChildId,
        exit: &Exit,
        options: &WorkerOptions,
        now: Time,
    ) -> Option<Note> {
        let child = self.children.get_mut(&id.role)?;
        let note = child.exited(id, exit, options, now);
        match (child.known.is_leaving, self.is_over) {
            (true, _) => {
                child.process = Process::Absent(now);
                None
            }
            (false, true) => Some(Note::Done(id.clone())),
            (false, false) => Some(note),
        }
    }

    /// The directory of a child is gone.
    pub(super) fn removed(&mut self, role: Role) {
        match self.children.get_mut(&role) {
            // It was assigned again meanwhile.
            Some(child) if !child.known.is_leaving => *child = Child::new(child.known.clone()),
            _ => _ = self.children.remove(&role),
        }
    }

    pub(super) fn written(&mut self, written: Written) {
        self.is_writing = false;
        let Some(found) = &mut self.found else { return };
        match written {
            Written::Address(record, version) => found.master = Some((record, version)),
            Written::State(record, version) => found.state = Some((record, version)),
            Written::Epoch(record, version) => {
                if let Some(child) = self.children.get_mut(&Role::Master)
                    && child.process == Process::Claiming
                {
                    child.process = Process::Claimed(record.epoch);
                }
                found.master = Some((record, version));
            }
        }
    }

    pub(super) fn not_written(&mut self, write: &Write, at: Time) {
        self.is_writing = false;
        self.write_at = at;
        if matches!(write, Write::Epoch { .. })
            && let Some(child) = self.children.get_mut(&Role::Master)
            && child.process == Process::Claiming
        {
            child.process = Process::Absent(at);
        }
    }

    pub(super) fn decide(&mut self, id: &TopologyId, on: &Circumstances<'_>, actions: &mut Vec<Action>) {
        let roles: Vec<Role> = self.children.keys().copied().collect();
        for role in roles {
            self.decide_child(&ChildId { topology: id.clone(), role }, on, actions);
        }
        actions.extend(self.publish(id, on).map(Action::Publish));
    }

    fn decide_child(&mut self, id: &ChildId, on: &Circumstances<'_>, actions: &mut Vec<Action>) {
        let is_superseded = id.role == Role::Master && self.is_superseded();
        let Some(child) = self.children.get_mut(&id.role) else { return };
        match &child.process {
            Process::Unknown(at) if on.now >= *at => {
                child.process = Process::Asked;
                actions.push(Action::Find(id.clone()));
            }
            // What it has printed and logged is there for people while the topology is.
            Process::Absent(_) if child.known.is_leaving && self.is_listed => {}
            Process::Absent(at) if on.now >= *at => actions.extend(self.next_start(id, on)),
            Process::Claimed(epoch) => {
                let epoch = *epoch;
                actions.extend(self.start_master(id, epoch, on));
            }
            Process::Running(_) => {
                if child.must_be_killed(child.known.is_leaving || is_superseded) {
                    actions.push(Action::Kill(id.clone()));
                } else if child.must_be_examined(&on.settings.worker, on.now) {
                    actions.push(Action::Examine(id.clone()));
                }
                actions.extend(self.renew_order(id, on));
            }
            Process::Unknown(_) | Process::Asked | Process::Absent(_) | Process::Claiming => {}
            Process::Starting | Process::Removing => {}
        }
    }

    /// The next order of a process that runs, if it differs from the one that it has.
    fn renew_order(&mut self, id: &ChildId, on: &Circumstances<'_>) -> Option<Action> {
        let revision = self.revision;
        let child = self.children.get(&id.role)?;
        let is_due = child.order_revision != revision && on.now >= child.order_at;
        if !is_due || child.known.is_leaving {
            return None;
        }
        let order = self.next_order(id, on);
        let child = self.children.get_mut(&id.role)?;
        child.order_revision = revision;
        let order = order.filter(|order| child.order.as_ref() != Some(order))?;
        child.order = Some(order.clone());
        Some(Action::Order(id.clone(), order))
    }

    /// What is to be done about a child without a process.
    fn next_start(&mut self, id: &ChildId, on: &Circumstances<'_>) -> Option<Action> {
        let order = self.next_order(id, on);
        let own_epoch = self.master_epoch().unwrap_or(0);
        let child = self.children.get_mut(&id.role)?;
        if child.known.is_leaving {
            child.process = Process::Removing;
            return Some(Action::Remove(id.clone()));
        }
        let is_saved = on.saved.child(id).is_some_and(|saved| !saved.is_leaving);
        if self.is_over || child.known.done_for == Some(child.known.change) || !is_saved {
            return None;
        }
        match (id.role, &self.found) {
            (Role::Master, Some(found)) if on.is_believed && !self.is_writing && on.now >= self.write_at => {
                let (epoch, expected) = match &found.master {
                    Some((record, version)) => (record.epoch.max(own_epoch), Some(*version)),
                    None => (own_epoch, None),
                };
                child.process = Process::Claiming;
                self.is_writing = true;
                let epoch = epoch + 1;
                Some(Action::Publish(Write::Epoch { topology: id.topology.clone(), epoch, expected }))
            }
            (Role::Master, _) => None,
            (Role::Worker(_), Some(found)) => {
                let (run, source) = (found.spec.run.clone(), found.assignment.source.clone());
                let preparation = order.map(|order| Box::new(Preparation { order, run, source }));
                child.order = preparation.as_ref().map(|preparation| preparation.order.clone());
                child.process = Process::Starting;
                Some(Action::Start(id.clone(), preparation))
            }
            (Role::Worker(_), None) if child.is_prepared => {
                child.process = Process::Starting;
                Some(Action::Start(id.clone(), None))
            }
            (Role::Worker(_), None) => None,
        }
    }

    /// The start of a master whose epoch was begun.
    fn start_master(&mut self, id: &ChildId, epoch: u64, on: &Circumstances<'_>) -> Option<Action> {
        let found = self.found.as_ref()?;
        let child = self.children.get_mut(&id.role)?;
        if child.known.is_leaving || self.is_over {
            child.process = Process::Absent(on.now);
            return None;
        }
        let order = Order::Master(Box::new(master_order(found, epoch, on.settings)));
        let (run, source) = (found.spec.run.clone(), found.assignment.source.clone());
        child.order = Some(order.clone());
        child.process = Process::Starting;
        self.report = None;
        Some(Action::Start(id.clone(), Some(Box::new(Preparation { order, run, source }))))
    }

    /// What the order of a child should be, as far as that is known.
    fn next_order(&self, id: &ChildId, on: &Circumstances<'_>) -> Option<Order> {
        let found = self.found.as_ref()?;
        match id.role {
            Role::Master => {
                let epoch = self.master_epoch()?;
                Some(Order::Master(Box::new(master_order(found, epoch, on.settings))))
            }
            Role::Worker(worker) => {
                Some(Order::Worker(Box::new(self.worker_order(&id.topology, found, worker, on.settings))))
            }
        }
    }

    fn worker_order(
        &self,
        id: &TopologyId,
        found: &FoundTopology,
        worker: WorkerId,
        settings: &HostSettings,
    ) -> WorkerOrder {
        WorkerOrder {
            id: id.clone(),
            run: found.spec.run.clone(),
            worker,
            host: settings.id.clone(),
            change: found.assignment.change,
            master: self.place,
            net: settings.net.clone(),
            needs: found.assignment.needs_of(worker),
            secrets: settings.secrets.clone(),
            log: LogLevels::of(found.spec.log.as_ref(), &settings.log),
            log_files: settings.log_files,
        }
    }

    /// Whether another process of the master was begun after the one that runs here.
    fn is_superseded(&self) -> bool {
        let begun = self.found.as_ref().and_then(|found| found.master.as_ref());
        begun.is_some_and(|(record, _)| self.master_epoch().unwrap_or(0) < record.epoch)
    }

    /// What of the report of the master is not published yet.
    fn publish(&mut self, id: &TopologyId, on: &Circumstances<'_>) -> Option<Write> {
        if !on.is_believed || self.is_writing || on.now < self.write_at {
            return None;
        }
        let (found, report) = (self.found.as_ref()?, self.report.as_ref()?);
        let (record, version) = found.master.as_ref()?;
        if record.epoch != report.state.epoch || record.supervisor != on.settings.id {
            return None;
        }
        let topology = id.clone();
        let write = if report.address.is_some() && report.address != record.address {
            let record = MasterRecord { address: report.address, ..record.clone() };
            Write::Address { topology, record, expected: Some(*version) }
        } else {
            let (state, expected) = match &found.state {
                Some((state, version)) => (Some(state), Some(*version)),
                None => (None, None),
            };
            if state == Some(&report.state) {
                return None;
            }
            Write::State { topology, record: report.state.clone(), expected }
        };
        self.is_writing = true;
        Some(write)
    }
}

fn master_order(found: &FoundTopology, epoch: u64, settings: &HostSettings) -> MasterOrder {
    MasterOrder {
        epoch,
        spec: found.spec.clone(),
        assignment: found.assignment.clone(),
        savepoint: found.state.as_ref().and_then(|(state, _)| state.savepoint.clone()),
        net: settings.net.clone(),
        worker: settings.worker.clone(),
        log: LogLevels::of(found.spec.log.as_ref(), &settings.log),
        log_files: settings.log_files,
    }
}
