//! What the scheduler sees: hosts, topologies, and where they run now.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::config::{HostOptions, Resources};
use crate::ids::WorkerId;
use crate::secrets::SecretName;
use crate::topology::{Assignment, Topology};

/// A place for one worker on a host. Slots are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// The id of the host.
    pub host: SmolStr,
    /// Its number on the host.
    pub number: u16,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.number)
    }
}

/// What the scheduler may do with a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostState {
    /// It may run workers.
    #[default]
    Open,
    /// It failed too often ([`Blacklist`](crate::cluster::schedule::Blacklist)): what runs there stays, and a new worker
    /// comes there only if there is no other place for its topology.
    Blacklisted,
    /// It is to be emptied: no new worker comes there, and what runs there moves as soon as there is another place.
    Draining,
}

/// A host that is there. One that is not in the view is gone, and so are its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id, unique in the cluster.
    pub id: SmolStr,
    /// The rack that it is in.
    pub rack: SmolStr,
    /// How many workers it may run.
    pub slots: u16,
    /// Its processor time and memory.
    pub resources: Resources,
    /// The secrets that it has. `None`: nobody knows, so it counts as a host that has all.
    pub secrets: Option<BTreeSet<SecretName>>,
    /// What the scheduler may do with it.
    pub state: HostState,
    /// The numbers of slots that have workers of topologies that are not among the demands.
    pub taken: Vec<u16>,
}

impl Host {
    /// An open host.
    pub fn new(id: &str, options: &HostOptions) -> Host {
        Host {
            id: SmolStr::new(id),
            rack: SmolStr::new(&options.rack),
            slots: options.slots,
            resources: options.resources,
            secrets: None,
            state: HostState::Open,
            taken: Vec::new(),
        }
    }

    /// The secrets of a topology that the host does not have.
    pub fn lacks<'t>(&self, topology: &'t Topology) -> impl Iterator<Item = &'t SecretName> {
        let has = |name: &SecretName| self.secrets.as_ref().is_none_or(|secrets| secrets.contains(name));
        topology.secrets().filter(move |name| !has(name))
    }
}

/// What an owner of topologies is guaranteed, whatever others run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarantee {
    /// The owner, as [`Demand::owner`] has it.
    pub owner: SmolStr,
    /// How much.
    pub resources: Resources,
}

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The hosts that are there. Their order does not matter.
    pub hosts: Vec<Host>,
    /// What owners are guaranteed.
    pub guarantees: Vec<Guarantee>,
}

/// Where a topology runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Which worker runs which executor.
    pub assignment: Assignment,
    /// The slot of each worker in use, by worker.
    pub slots: Vec<(WorkerId, Slot)>,
}

impl Placement {
    /// The slot of a worker, if it is in use.
    pub fn slot_of(&self, worker: WorkerId) -> Option<&Slot> {
        self.slots.iter().find(|(of, _)| *of == worker).map(|(_, slot)| slot)
    }
}

/// A topology that is to run. What it needs and how it is placed is in its options
/// ([`SchedulingOptions`](crate::config::SchedulingOptions), [`Resources`] of its components).
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The topology.
    pub topology: &'a Topology,
    /// Whose it is. Guarantees are given to owners.
    pub owner: &'a str,
    /// When it was submitted: of two topologies of one owner with the same priority, the one with the smaller number
    /// goes first.
    pub submitted: u64,
    /// Whether its workers are spread anew, as if an operator asked for it. Otherwise they stay where they are.
    pub rebalance: bool,
    /// Whether all its workers may begin anew. Only then must a host have the secrets for what runs there already: a worker
    /// that goes on has read them.
    pub begins_anew: bool,
    /// Where it runs now.
    pub current: Option<&'a Placement>,
}

impl<'a> Demand<'a> {
    /// A topology that does not run yet, of nobody in particular.
    pub fn new(topology: &'a Topology) -> Demand<'a> {
        Demand { topology, owner: "", submitted: 0, rebalance: false, begins_anew: false, current: None }
    }
}
