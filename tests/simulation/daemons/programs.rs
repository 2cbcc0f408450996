//! What topologies of the simulated cluster are made of, and where their checkpoints are.
//!
//! Each topology has one task that keeps something: it is in worker 0, and counts what it has read. A checkpoint has how
//! far it has read, and how much it has counted. What it counts in vain is what it goes back behind.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use squall::checkpoint::{Manifest, RunState, TaskName};
use squall::cluster::operations::{Operations, UpgradeRequest};
use squall::cluster::topologies::{BlobHash, SpecRecord, TopologyId, Upgrade};
use squall::ids::{CheckpointId, WorkerId};
use squall::testing::cores::{
    CheckpointOrder, CheckpointReport, FromWorker, MasterEvent, Parts, StorageError, StoreJob, TaskPart,
};

use crate::daemons::processes::{Master, Worker};
use crate::daemons::world::{World, source_of};
use crate::kit::lock;

/// How long an upgrade may take.
const UPGRADE_SECONDS: u64 = 15;

/// What becomes of a topology when it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    #[default]
    Good,
    /// Its master finds that it cannot begin.
    Unfit,
    /// Its workers end as soon as they are started.
    Crashes,
    /// Its tasks are never opened, so they take no part in a checkpoint.
    NeverOpens,
    /// A task of it cannot go on.
    Stops,
}

const BAD: [Program; 4] = [Program::Unfit, Program::Crashes, Program::NeverOpens, Program::Stops];

/// The checkpoints of a topology, as a directory that all hosts have.
#[derive(Default)]
pub struct Checkpoints {
    /// Of the master that has opened it last. Those before cannot write any more.
    pub epoch: u64,
    latest: Option<Manifest>,
    /// How far each has read, and what it has counted.
    contents: BTreeMap<CheckpointId, (u64, u64)>,
}

/// What the leaders have written about upgrades, by topology and generation.
#[derive(Default)]
pub struct Judged {
    pub accepted: BTreeSet<(TopologyId, u64)>,
    pub rolled_back: BTreeSet<(TopologyId, u64)>,
    /// The topologies whose spouts were ever to rest: an upgrade that never ran has nothing to open.
    pub rested: BTreeSet<TopologyId>,
}

fn task() -> TaskName {
    TaskName::new("count", 0)
}

/// What a topology in this number of workers has that takes part in checkpoints.
pub fn parts(workers: usize) -> Parts {
    let tasks = BTreeMap::from([(task(), 1)]);
    Parts { topology: "any".into(), tasks, key_groups: 16, answerers: workers }
}

impl Judged {
    /// A leader has written a spec.
    pub fn wrote(&mut self, id: &TopologyId, record: &serde_json::Value) -> Result<(), String> {
        if record["wanted"] == "inactive" {
            self.rested.insert(id.clone());
        }
        let Some(generation) = record["upgrade"]["generation"].as_u64() else { return Ok(()) };
        let outcome = &record["upgrade"]["outcome"];
        let key = (id.clone(), generation);
        if outcome == "accepted" {
            self.accepted.insert(key.clone());
        } else if !outcome["rolled-back"].is_null() {
            self.rolled_back.insert(key.clone());
        }
        match self.accepted.contains(&key) && self.rolled_back.contains(&key) {
            true => Err(format!("generation {generation} of {id} was accepted and rolled back")),
            false => Ok(()),
        }
    }
}

impl World {
    pub fn program_of(&self, hash: &BlobHash) -> Program {
        self.programs.get(hash).copied().unwrap_or_default()
    }

    /// Puts another topology in the place of one that runs, which is bad quite often.
    pub fn upgrade(&mut self, leader: &dyn Operations, name: &str, workers: u16) {
        let program = match self.rng.random_bool(0.5) {
            true => Program::Good,
            false => BAD[self.rng.random_range(0..BAD.len())],
        };
        let version = self.rng.random_range(0..4);
        let source = source_of(name, workers, &format!("# {program:?} {version}"));
        let bytes = serde_json::to_vec(&source).expect("it is JSON");
        let hash = BlobHash::of(&bytes);
        self.programs.insert(hash.clone(), program);
        if leader.put_blob(&hash, &bytes).is_err() {
            return;
        }
        let request = UpgradeRequest {
            source: hash,
            timeout_seconds: UPGRADE_SECONDS,
            allow_dropped_state: Vec::new(),
            dry_run: false,
        };
        match leader.upgrade(name, &request) {
            Ok(upgraded) => {
                self.log(|| format!("upgraded to {program:?}: {upgraded:?}"));
                self.cover(&format!("an upgrade to {program:?}"));
            }
            Err(error) => self.log(|| format!("not upgraded: {error}")),
        }
    }

    /// Does what a master wants done with the checkpoints of its topology.
    pub fn store(&mut self, master: &mut Master, job: StoreJob) {
        let id = master.id().clone();
        let store = self.checkpoints.entry(id.clone()).or_default();
        let is_over = (store.epoch != master.store_epoch).then(|| StorageError {
            why: "a later start of the topology has taken over".to_owned(),
            is_permanent: true,
        });
        let store_is_over = is_over.is_some();
        let event = match job {
            StoreJob::Load => {
                let latest = store.latest.clone().map(Box::new);
                Some(MasterEvent::Loaded(is_over.map_or(Ok(latest), Err)))
            }
            StoreJob::Publish(manifest) => {
                let checkpoint = manifest.checkpoint;
                if is_over.is_none() {
                    let is_noted_end = manifest.run == RunState::Committed;
                    let before = store.latest.replace(*manifest).map(|before| before.checkpoint);
                    if let Some(same) = before.filter(|_| is_noted_end) {
                        // It states that the one before is committed, and no task takes part.
                        let contents = store.contents.get(&same).copied().unwrap_or_default();
                        store.contents.insert(checkpoint, contents);
                    }
                    self.published(master, &id, (before, checkpoint));
                }
                Some(MasterEvent::Published(checkpoint, is_over.map_or(Ok(()), Err)))
            }
            StoreJob::Export(checkpoint, _) => {
                Some(MasterEvent::Exported(checkpoint, Err("there is no disk".to_owned())))
            }
            StoreJob::Discard(_) => None,
        };
        if store_is_over {
            master.inbox.push_back(MasterEvent::Fenced);
        }
        master.inbox.extend(event);
    }

    fn published(
        &mut self,
        master: &Master,
        id: &TopologyId,
        (before, checkpoint): (Option<CheckpointId>, CheckpointId),
    ) {
        self.cover("a checkpoint is published");
        let store = &self.checkpoints[id];
        let contents = |of: &CheckpointId| store.contents.get(of).copied().unwrap_or_default();
        let ((read, counted), (read_before, _)) =
            (contents(&checkpoint), before.as_ref().map_or((0, 0), contents));
        if read != counted {
            self.books_wrong(format!("{id} has read {read} in {checkpoint}, and counted {counted}"));
        }
        if read < read_before {
            self.books_wrong(format!("{id} had read {read_before}, and has read {read} in {checkpoint}"));
        }
        if master.is_upgrade {
            let key = (id.clone(), master.generation);
            if !lock(&self.books).judged.accepted.contains(&key) {
                self.books_wrong(format!(
                    "a checkpoint of generation {} of {id} is published on trial",
                    key.1
                ));
            }
            self.cover("a checkpoint of an upgrade is published");
        }
        let has_rested = lock(&self.books).judged.rested.contains(id);
        if self.program_of(&master.source) != Program::Good && !has_rested {
            self.books_wrong(format!("a checkpoint of a bad topology {id} is published"));
        }
    }

    /// A worker does what its master wants done about a checkpoint.
    pub fn order_checkpoint(&mut self, id: &TopologyId, worker: &mut Worker, order: CheckpointOrder) {
        let has_task = worker.number() == WorkerId(0);
        let report = match order {
            CheckpointOrder::Halt { .. } => {
                worker.is_halted = true;
                Some(CheckpointReport::Halted)
            }
            CheckpointOrder::Restore { checkpoint, .. } => {
                let contents = checkpoint.and_then(|of| self.checkpoints.get(id)?.contents.get(&of).copied());
                (worker.read, worker.counted) = contents.unwrap_or_default();
                Some(CheckpointReport::Restored)
            }
            CheckpointOrder::Resume => {
                worker.is_halted = false;
                None
            }
            CheckpointOrder::Begin(barrier) if has_task && worker.program != Program::NeverOpens => {
                let more = self.rng.random_range(0..100);
                worker.read += more;
                worker.counted += more;
                let part = serde_json::json!({
                    "task": task(), "kind": "Full", "states": [], "positions": {}, "names_keys": false,
                    "has_in_flight": false,
                });
                let part: TaskPart = serde_json::from_value(part).expect("it is one");
                let store = self.checkpoints.entry(id.clone()).or_default();
                store.contents.insert(barrier.checkpoint, (worker.read, worker.counted));
                let (checkpoint, part) = (barrier.checkpoint, Box::new(part));
                Some(CheckpointReport::Taken { checkpoint, part, file: None })
            }
            CheckpointOrder::Commit(checkpoint) => Some(CheckpointReport::Committed(checkpoint)),
            CheckpointOrder::Begin(_) | CheckpointOrder::Discard(_) => None,
        };
        worker.kept.extend(report.map(FromWorker::Checkpoint));
    }

    /// What of a topology that runs is not what must come of its upgrades.
    pub fn upgrade_unsettled(&self, id: &TopologyId, spec: &SpecRecord) -> Result<(), String> {
        if let Some(Upgrade { generation, .. }) = spec.pending_upgrade() {
            return Err(format!("it is not known what comes of its upgrade to generation {generation}"));
        }
        match self.program_of(&spec.source) {
            Program::Good => Ok(()),
            Program::NeverOpens | Program::Stops if lock(&self.books).judged.rested.contains(id) => Ok(()),
            bad => Err(format!("{id} is {bad:?}, and was not rolled back")),
        }
    }
}
