//! What must be true some time after everything has healed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use squall::cluster::daemons::SupervisorState;
use squall::cluster::topologies::{
    AssignmentRecord, CatalogRecord, MasterRecord, SpecRecord, StateRecord, TopologyId, TopologyNodes,
    TopologyPhase, topologies_node,
};
use squall::ids::WorkerId;
use squall::testing::cores::{ChildId, Role};

use crate::daemons::processes::{Master, Pid, Process, What};
use crate::daemons::world::{World, stranger};

impl World {
    /// Lets time pass until all is as it must be.
    pub fn settle(&mut self, at_most: Duration) -> Result<(), String> {
        let until = self.clock.now().after(at_most);
        loop {
            self.run_for(Duration::from_secs(1));
            self.verdict()?;
            match self.unsettled() {
                None => return Ok(()),
                Some(why) if self.clock.now() >= until => {
                    return Err(format!("{at_most:?} after the healing: {why}"));
                }
                Some(_) => {}
            }
        }
    }

    /// Lets time pass in which nothing may happen.
    pub fn stays_quiet(&mut self, time: Duration) -> Result<(), String> {
        // What is under way arrives, and the sessions of those that were killed last have ended.
        self.run_for(Duration::from_secs(10));
        let (before, pids) = (self.tree(), self.pids);
        self.run_for(time);
        self.verdict()?;
        let after = self.tree();
        for (path, node) in &after {
            if before.get(path) != Some(node) {
                let shown =
                    |node: &(i32, Vec<u8>)| format!("{}: {}", node.0, String::from_utf8_lossy(&node.1));
                let was = before.get(path).map(shown);
                return Err(format!("node {path} is written again:\n  {was:?}\n  {}", shown(node)));
            }
        }
        if let Some(path) = before.keys().find(|path| !after.contains_key(*path)) {
            return Err(format!("node {path} is gone"));
        }
        if self.pids != pids {
            return Err("processes are started again and again".to_owned());
        }
        match self.unsettled() {
            None => Ok(()),
            Some(why) => Err(format!("it does not last: {why}")),
        }
    }

    /// All masters and all supervisors are killed at once. Others take their places, and the same workers run.
    pub fn survives_masters_and_supervisors(&mut self, at_most: Duration) -> Result<(), String> {
        let workers = |world: &World| -> BTreeSet<Pid> {
            let is_worker = |what: &What| matches!(what, What::Worker(_));
            let found = world.processes.iter().filter(|(_, process)| is_worker(&process.what));
            found.map(|(pid, _)| *pid).collect()
        };
        let before = workers(self);
        let others: Vec<Pid> = self.processes.keys().filter(|pid| !before.contains(*pid)).copied().collect();
        others.into_iter().for_each(|pid| self.end_process(pid, -9));
        for h in 0..self.hosts.len() {
            self.kill_supervisor(h);
            self.start_supervisor(h);
        }
        self.settle(at_most)?;
        match workers(self) == before {
            true => Ok(()),
            false => Err("masters and supervisors were killed, and workers were started again".to_owned()),
        }
    }

    /// Most hosts are emptied and used again, and an operator has all topologies spread over the hosts. Masters go on, and
    /// so do workers that stay where they are.
    pub fn survives_rebalances(&mut self, at_most: Duration) -> Result<(), String> {
        let emptied = self.hosts.len() - 2;
        self.drain_hosts(emptied, true);
        self.settle(at_most)?;
        self.drain_hosts(emptied, false);
        self.settle(at_most)?;
        let running = |world: &World| -> BTreeMap<ChildId, (usize, Pid)> {
            let place = |(pid, process): (&Pid, &Process)| (process.child.clone(), (process.host, *pid));
            world.processes.iter().map(place).collect()
        };
        let before = running(self);
        self.rebalance_all();
        self.settle(at_most)?;
        let after = running(self);
        for (child, (host, pid)) in before {
            let now = after.get(&child);
            match child.role {
                Role::Worker(_) if now.is_none_or(|(now, _)| *now != host) => {
                    self.cover("a worker has moved")
                }
                _ if now == Some(&(host, pid)) => {}
                _ => return Err(format!("process {pid} of {child} on {host} did not go on: {now:?}")),
            }
        }
        Ok(())
    }

    /// Why the cluster is not as it must be.
    fn unsettled(&self) -> Option<String> {
        if self.nimbuses.iter().filter(|nimbus| nimbus.leads().is_some()).count() != 1 {
            return Some("no nimbus leads, or several do".to_owned());
        }
        for host in &self.hosts {
            let state = host.supervisor.as_ref().and_then(|supervisor| supervisor.state.clone());
            if state != Some(SupervisorState::Registered) {
                return Some(format!("the supervisor of {} is {state:?}", host.id));
            }
            if !host.directories.contains_key(&stranger()) {
                return Some(format!("a directory of others is gone at {}", host.id));
            }
        }
        let Some(catalog) = self.read::<CatalogRecord>(&topologies_node()) else {
            return Some("there is no catalog".to_owned());
        };
        for (name, id) in &self.acked {
            if catalog.topologies.get(name) != Some(id) {
                return Some(format!("{id} was submitted, and is not in the catalog"));
            }
        }
        let mut wanted = BTreeSet::new();
        for id in catalog.topologies.values() {
            match self.topology(id, &mut wanted) {
                Ok(()) => {}
                Err(why) => return Some(format!("{id}: {why}")),
            }
        }
        for (pid, process) in &self.processes {
            if !wanted.contains(&(process.host, process.child.clone())) {
                return Some(format!("process {pid} of {} runs on {}", process.child, process.host));
            }
        }
        for host in &self.hosts {
            for child in host.directories.keys().filter(|child| **child != stranger()) {
                // What is in it is there for people while the topology is.
                let is_listed = catalog.topologies.values().any(|id| *id == child.topology);
                if !is_listed {
                    return Some(format!("the directory of {child} is left at {}", host.id));
                }
            }
            if let Some(id) =
                host.record.topologies.keys().find(|id| !catalog.topologies.values().any(|of| of == *id))
            {
                return Some(format!("the record of {} has {id}", host.id));
            }
        }
        let names = self.tree();
        let garbage = names.keys().filter_map(|path| {
            let id: TopologyId = path.strip_prefix("/topologies/")?.parse().ok()?;
            (!catalog.topologies.values().any(|of| *of == id)).then_some(id)
        });
        garbage.into_iter().next().map(|id| format!("nodes of {id} are left"))
    }

    /// Whether a topology is as it is wanted. Adds what of it must run.
    fn topology(&self, id: &TopologyId, wanted: &mut BTreeSet<(usize, ChildId)>) -> Result<(), String> {
        let nodes = TopologyNodes::of(id);
        let spec = self.read::<SpecRecord>(&nodes.spec).ok_or("it has no spec")?;
        let assignment = self.read::<AssignmentRecord>(&nodes.assignment);
        let state = self.read::<StateRecord>(&nodes.state);
        let has_reported = state.as_ref().is_some_and(|state| state.phase == TopologyPhase::Ended);
        let has_ended = has_reported || spec.ended.is_some();
        if spec.wanted.is_end() || has_ended {
            let outcome = state.as_ref().and_then(|state| state.outcome.as_ref());
            let failure = spec.ended.as_ref().or(outcome).and_then(|outcome| outcome.failure.clone());
            if let Some(failure) = failure {
                self.cover("ended with a failure");
                self.log(|| format!("{id} has failed: {failure}"));
                if !spec.wanted.is_end() {
                    return Err(format!("it was not to end, and has failed: {failure}"));
                }
            }
            if !has_ended || assignment.is_some() {
                return Err(format!("it has not ended: {state:?}, {:?}", spec.wanted));
            }
            return Ok(());
        }
        if self.to_end.contains(id) {
            return Err(format!("its end was taken back: {:?}", spec.wanted));
        }
        self.upgrade_unsettled(id, &spec)?;
        let assignment = assignment.ok_or("it has no assignment")?;
        let placement =
            assignment.placement.as_ref().ok_or_else(|| format!("no place: {:?}", assignment.short))?;
        let at =
            |host: &str| self.hosts.iter().position(|of| of.id == host).ok_or("a host that is not there");
        let record = self.read::<MasterRecord>(&nodes.master).ok_or("it has no master")?;
        let host = assignment.master.as_deref().ok_or("no host has its master")?;
        if record.supervisor != host {
            return Err(format!("its master was begun by {}, and is assigned to {host}", record.supervisor));
        }
        let of_master = ChildId { topology: id.clone(), role: Role::Master };
        let (master_pid, master) = self.master_of(at(host)?, &of_master).ok_or("its master does not run")?;
        if master.epoch != record.epoch || record.address != Some(master.address) {
            return Err(format!("its master has epoch {}, and the record {record:?}", master.epoch));
        }
        wanted.insert((at(host)?, of_master));
        for (worker, slot) in &placement.slots {
            let host = at(&slot.host)?;
            let child = ChildId { topology: id.clone(), role: Role::Worker(*worker) };
            self.worker(host, &child, *worker, (master_pid, master))?;
            wanted.insert((host, child));
        }
        let phase = master.core.phase();
        if !matches!(phase, TopologyPhase::Active | TopologyPhase::Inactive) {
            return Err(format!("its master says that it is {phase:?}"));
        }
        match state {
            Some(state)
                if (state.phase, state.epoch, state.generation) == (phase, record.epoch, spec.generation) =>
            {
                Ok(())
            }
            state => Err(format!("it is {phase:?}, and its state is {state:?}")),
        }
    }

    fn master_of(&self, host: usize, child: &ChildId) -> Option<(Pid, &Master)> {
        self.processes.iter().find_map(|(pid, process)| match &process.what {
            What::Master(master) if process.host == host && process.child == *child => {
                Some((*pid, &**master))
            }
            _ => None,
        })
    }

    fn worker(
        &self,
        host: usize,
        child: &ChildId,
        number: WorkerId,
        (master_pid, master): (Pid, &Master),
    ) -> Result<(), String> {
        let of_child =
            self.processes.iter().filter(|(_, process)| process.host == host && process.child == *child);
        let mut found = of_child.filter_map(|(pid, process)| match &process.what {
            What::Worker(worker) => Some((*pid, worker)),
            _ => None,
        });
        let (pid, worker) = found.next().ok_or_else(|| format!("{child} does not run"))?;
        if found.next().is_some() {
            return Err(format!("{child} runs twice"));
        }
        if worker.connection != Some(master_pid) {
            return Err(format!("{child} is not connected to its master"));
        }
        let record = master.core.workers().get(number.index()).ok_or("its master does not know it")?;
        let is_current = record.is_up() && worker.incarnation() == Some(record.incarnation.0);
        match is_current && master.running.get(&record.endpoint()) == Some(&pid) {
            true => Ok(()),
            false => Err(format!("{child} is not up at its master: {:?}", record.phase)),
        }
    }
}
