//! What a nimbus has of the coordination service: a client, a look at each of its writes, and a place where the whole
//! process can be stopped between two calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use squall::cluster::coordination::{
    Coordination, CoordinationError, MemoryClient, Node, NodePath, Notify, Session, Version,
};
use squall::cluster::topologies::{TopologyId, TopologyPhase};

use crate::daemons::plan::Defect;
use crate::daemons::programs::Judged;
use crate::kit::lock;
use crate::world::Coverage;

/// What is known of what was written to the service, and what was wrong with it.
#[derive(Default)]
pub struct Books {
    /// The highest epoch whose leader has written everything once.
    pub begun: u64,
    /// The topologies of the catalog, as it was written last.
    pub listed: BTreeSet<TopologyId>,
    /// By number: which topology had it.
    pub numbers: BTreeMap<u64, String>,
    pub next: u64,
    pub ended: BTreeSet<TopologyId>,
    pub judged: Judged,
    /// The topologies whose end a leader has found.
    given_up: BTreeSet<TopologyId>,
    /// Whether the data of the service are lost at the moment.
    pub is_lost: bool,
    pub wrong: Vec<String>,
    pub coverage: Coverage,
}

impl Books {
    /// A state was written.
    pub fn state(&mut self, id: &TopologyId, phase: TopologyPhase) {
        if phase == TopologyPhase::Ended {
            self.ended.insert(id.clone());
        } else if self.ended.contains(id) {
            self.wrong.push(format!("{id} had ended, and is {phase:?} now"));
        }
    }

    fn catalog(&mut self, record: &serde_json::Value) {
        let next = record["next"].as_u64().unwrap_or(0);
        if next < self.next {
            self.wrong.push(format!("the next number was {}, and is {next} now", self.next));
        }
        self.next = next;
        self.listed.clear();
        for (name, id) in record["topologies"].as_object().into_iter().flatten() {
            let Some(id) = id.as_str().and_then(|id| id.parse::<TopologyId>().ok()) else { continue };
            if id.name() != name {
                self.wrong.push(format!("the catalog calls {id} `{name}`"));
            }
            self.listed.insert(id);
        }
    }

    /// A nimbus that leads with this epoch has written a node.
    fn leader_wrote(&mut self, epoch: u64, path: &NodePath, data: &[u8]) {
        let text = path.to_string();
        let Some(rest) = text.strip_prefix("/topologies") else { return };
        if self.is_lost {
            self.wrong.push(format!("epoch {epoch} writes {text} while the data are lost"));
        }
        let record: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
        let mut names = rest.split('/').skip(1);
        let id = names.next().and_then(|name| name.parse::<TopologyId>().ok());
        if epoch < self.begun && id.as_ref().is_none_or(|id| self.listed.contains(id)) {
            self.wrong.push(format!("epoch {epoch} writes {text}, and epoch {} has begun", self.begun));
        }
        match (id, names.next()) {
            (None, _) => self.catalog(&record),
            (Some(id), Some("spec")) if !data.is_empty() => {
                let run = record["run"].as_str().unwrap_or("").to_owned();
                let before = self.numbers.entry(id.number()).or_insert_with(|| run.clone());
                if *before != run {
                    let why = format!("{id} has the number of another run");
                    self.wrong.push(why);
                }
                self.wrong.extend(self.judged.wrote(&id, &record).err());
                match record["ended"].is_null() {
                    true if self.given_up.contains(&id) => {
                        self.wrong.push(format!("a leader has ended {id}, and that was taken back"));
                    }
                    true => {}
                    false => _ = self.given_up.insert(id),
                }
            }
            (Some(id), Some("state")) if !data.is_empty() => {
                self.wrong
                    .push(format!("a leader writes the state of {id}, which is its master's to report"));
            }
            _ => {}
        }
    }
}

/// Where a thread is that does something for a nimbus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gait {
    Runs,
    /// It is stopped between two calls.
    Sleeps,
    Ended,
}

struct Gate {
    gait: Gait,
    /// Before so many calls more it is stopped.
    stops_in: Option<u64>,
}

/// See the module.
pub struct Door {
    pub client: MemoryClient,
    /// The epoch with which it leads.
    pub epoch: AtomicU64,
    books: Arc<Mutex<Books>>,
    gate: Mutex<Gate>,
    turned: Condvar,
    defect: Option<Defect>,
}

impl Door {
    pub fn new(client: MemoryClient, books: Arc<Mutex<Books>>, defect: Option<Defect>) -> Door {
        let gate = Mutex::new(Gate { gait: Gait::Runs, stops_in: None });
        Door { client, epoch: AtomicU64::new(0), books, gate, turned: Condvar::new(), defect }
    }

    /// Whoever calls is stopped before the call of this number, from 0.
    pub fn stop_in(&self, calls: u64) {
        let mut gate = lock(&self.gate);
        (gate.stops_in, gate.gait) = (Some(calls), Gait::Runs);
    }

    /// The thread that calls has ended.
    pub fn ended(&self) {
        let mut gate = lock(&self.gate);
        (gate.stops_in, gate.gait) = (None, Gait::Ended);
        self.turned.notify_all();
    }

    /// Lets the thread go on that is stopped.
    pub fn wake(&self) {
        lock(&self.gate).gait = Gait::Runs;
        self.turned.notify_all();
    }

    /// Waits until the thread that calls is stopped or has ended.
    pub fn wait(&self) -> Gait {
        let mut gate = lock(&self.gate);
        while gate.gait == Gait::Runs {
            gate = self.turned.wait(gate).expect("no thread panicked");
        }
        gate.gait
    }

    fn pass(&self) {
        let mut gate = lock(&self.gate);
        let Some(left) = &mut gate.stops_in else { return };
        if *left > 0 {
            *left -= 1;
            return;
        }
        (gate.stops_in, gate.gait) = (None, Gait::Sleeps);
        self.turned.notify_all();
        while gate.gait == Gait::Sleeps {
            gate = self.turned.wait(gate).expect("no thread panicked");
        }
    }

    fn wrote(&self, path: &NodePath, data: &[u8]) {
        lock(&self.books).leader_wrote(self.epoch.load(Ordering::Relaxed), path, data);
    }

    /// The version that a defective nimbus believes to be there.
    fn expected(&self, path: &NodePath, data: &[u8], expected: Version) -> Option<Version> {
        let there = || self.client.get(path).ok().flatten();
        match self.defect {
            Some(Defect::WriteWithoutVersion) if path.to_string().ends_with("/assignment") => {
                there().map(|node| node.version)
            }
            Some(Defect::NoFirstWrites) => {
                let without_epoch = |bytes: &[u8]| {
                    let mut record: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
                    record["epoch"].take();
                    record
                };
                let is_same = there().is_some_and(|node| without_epoch(&node.data) == without_epoch(data));
                (!is_same).then_some(expected)
            }
            _ => Some(expected),
        }
    }
}

impl Coordination for Door {
    fn create(&self, path: &NodePath, data: &[u8]) -> Result<Version, CoordinationError> {
        self.pass();
        let made = self.client.create(path, data)?;
        self.wrote(path, data);
        Ok(made)
    }

    fn get(&self, path: &NodePath) -> Result<Option<Node>, CoordinationError> {
        self.pass();
        self.client.get(path)
    }

    fn set(&self, path: &NodePath, data: &[u8], expected: Version) -> Result<Version, CoordinationError> {
        self.pass();
        let Some(expected) = self.expected(path, data, expected) else { return Ok(expected) };
        let written = self.client.set(path, data, expected);
        if let Err(CoordinationError::Changed(_)) = &written {
            lock(&self.books).coverage.add("a write of a nimbus came too late", 1);
        }
        if written.is_ok() {
            self.wrote(path, data);
        }
        written
    }

    fn delete(&self, path: &NodePath, expected: Version) -> Result<(), CoordinationError> {
        self.pass();
        self.client.delete(path, expected)?;
        self.wrote(path, b"");
        Ok(())
    }

    fn children(&self, path: &NodePath) -> Result<Option<Vec<String>>, CoordinationError> {
        self.pass();
        self.client.children(path)
    }

    fn catch_up(&self) -> Result<(), CoordinationError> {
        self.client.catch_up()
    }

    fn hold(&self, path: &NodePath, data: &[u8]) -> Result<(), CoordinationError> {
        self.client.hold(path, data)
    }

    fn release(&self, path: &NodePath) -> Result<(), CoordinationError> {
        self.client.release(path)
    }

    fn watch(&self, path: &NodePath, notify: &Arc<Notify>) {
        self.client.watch(path, notify);
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}
