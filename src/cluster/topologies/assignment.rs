//! Where a topology runs.

use serde::{Deserialize, Serialize};

use crate::cluster::blob_hash::BlobHash;
use crate::cluster::coordination::Record;
use crate::cluster::schedule::Placement;
use crate::cluster::topologies::id::TopologyId;
use crate::cluster::topologies::spec::SpecRecord;
use crate::config::Resources;
use crate::ids::WorkerId;

/// Where the workers of a topology run, and its master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignmentRecord {
    /// The epoch of the nimbus that has written this.
    pub epoch: u64,
    /// The topology.
    pub id: TopologyId,
    /// From 1; one more with each change of where something runs.
    pub change: u64,
    /// The blob of the topology that is placed. Masters read the topology from it, and not from the spec: it fits the
    /// placement.
    pub source: BlobHash,
    /// The generation of the spec that is placed.
    pub generation: u64,
    /// Whether this generation began as an upgrade: until the spec has that it was accepted, it is on trial.
    pub is_upgrade: bool,
    /// Which worker runs which executor, and on which host. `None`: it runs nowhere, for example because there is no
    /// room.
    pub placement: Option<Placement>,
    /// What the tasks of each worker are counted with. A nimbus of an earlier version does not say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<(WorkerId, Resources)>,
    /// The id of the supervisor that runs the master. `None` exactly if there is no placement.
    pub master: Option<String>,
    /// Why it runs nowhere, or with fewer workers than it asks for. For people.
    pub short: Option<String>,
}

impl AssignmentRecord {
    /// The workers that a supervisor runs.
    pub fn workers_on<'a>(&'a self, supervisor: &'a str) -> impl Iterator<Item = WorkerId> + 'a {
        let slots = self.placement.iter().flat_map(|placement| &placement.slots);
        slots.filter(move |(_, slot)| slot.host == supervisor).map(|(worker, _)| *worker)
    }

    /// What the tasks of a worker are counted with.
    pub fn needs_of(&self, worker: WorkerId) -> Option<Resources> {
        self.needs.iter().find(|(of, _)| *of == worker).map(|(_, needs)| *needs)
    }

    /// Whether what is placed is on trial. A spec that was read at another time than the assignment may have another
    /// upgrade already; then it is not known, so it is.
    pub fn is_on_trial(&self, spec: &SpecRecord) -> bool {
        self.is_upgrade && !spec.has_accepted(self.generation)
    }

    /// The id of the supervisor of each worker.
    pub fn hosts(&self) -> Vec<(WorkerId, String)> {
        let slots = self.placement.iter().flat_map(|placement| &placement.slots);
        slots.map(|(worker, slot)| (*worker, slot.host.to_string())).collect()
    }

    /// Whether a supervisor runs the master.
    pub fn has_master_on(&self, supervisor: &str) -> bool {
        self.master.as_deref() == Some(supervisor)
    }
}

impl Record for AssignmentRecord {
    const KIND: &'static str = "assignment";
    const VERSION: u32 = 1;
    /// Room for some ten thousand executors.
    const BYTES_MAX: usize = 512 * 1024;
}
