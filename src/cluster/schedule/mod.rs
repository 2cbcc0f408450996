//! Which host runs which worker of which topology. Pure: no I/O, no clock, no thread, no chance.
//!
//! ```text
//!   hosts: rack, slots, cpu, memory ─┐                        ┌─▶ slot and executors of each worker
//!   topologies, by priority ─────────┼─▶ plan ── ledger ──────┼─▶ what moves, and why
//!   where they run now ──────────────┘    even · packing      └─▶ what is short, and where
//! ```
//!
//! [`plan`] is a function of what it is handed: nimbus calls it for a cluster, and `squall plan` for a file of hosts.
//!
//! * `view`: what goes in. `shortage`, `moves`: what comes out, with the types below.
//! * `order`: which topology goes first, and which may be evicted. `planner`: topology by topology.
//! * `ledger`: who has what, while a plan is made. `task`: one topology, while a plan is made.
//! * `even`: Storm's even strategy. `units`, `host_order`, `packing`, `resource_aware`: its resource-aware one.
//! * [`Blacklist`]: which hosts failed too often.
//!
//! 1. No slot has two workers, and no host has more workers than slots.
//! 2. The resource-aware strategy promises nothing that a host does not have. The even strategy counts slots only, so it
//!    may; then the host says so.
//! 3. A topology runs as a whole or not at all.
//! 4. What can stay stays: the next plan of the same cluster moves nothing, a host that is gone moves what was on it.
//! 5. The same input gives the same plan.
//! 6. A new worker comes to a host only if the host has the secrets of its topology. What runs there stays if the host
//!    has lost one, unless the topology begins anew.

mod blacklist;
mod even;
mod host_order;
mod ledger;
mod moves;
mod order;
mod packing;
mod planner;
mod resource_aware;
mod shortage;
mod task;
mod units;
mod view;

use smol_str::SmolStr;

use crate::cluster::schedule::planner::Planner;
use crate::cluster::schedule::task::Placed;
use crate::config::{Resources, SchedulingStrategy};
use crate::ids::WorkerId;
use crate::topology::Plan;
use crate::topology::plan::ExecutorId;

pub use blacklist::{Blacklist, BlacklistOptions};
pub use moves::{Move, MoveReason};
pub use shortage::{HostShortage, Lack, Resource, Shortage, Stays};
pub use view::{ClusterView, Demand, Guarantee, Host, HostState, Placement, Slot};

/// Where everything runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPlan {
    /// The topologies, in the order of the demands.
    pub topologies: Vec<TopologyPlan>,
    /// The hosts, in the order of the view.
    pub hosts: Vec<HostPlan>,
}

impl ClusterPlan {
    /// Whether every topology has what it asks for, and no host is promised more than it has.
    pub fn fits(&self) -> bool {
        self.topologies.iter().all(|topology| topology.shortage.is_none())
            && self.hosts.iter().all(|host| host.shortages().is_empty())
    }
}

/// Where one topology runs.
#[derive(Clone, Debug, PartialEq)]
pub struct TopologyPlan {
    /// Its name.
    pub name: SmolStr,
    /// Its executors and tasks. `None` if it does not run.
    pub plan: Option<Plan>,
    /// Its workers with their executors and slots. `None` if it does not run.
    pub placement: Option<Placement>,
    /// The same, worker by worker; empty if it does not run.
    pub workers: Vec<WorkerPlan>,
    /// What changes against where it runs now; empty for a topology that did not run.
    pub moves: Vec<Move>,
    /// What it lacks, if it does not run, or has fewer workers than it asks for.
    pub shortage: Option<Shortage>,
    /// Why it keeps workers on hosts that are draining, if it does.
    pub stays: Option<Stays>,
    /// The topology that it was evicted for, if it does not run because of that.
    pub evicted_for: Option<SmolStr>,
}

/// One worker of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPlan {
    /// Its number.
    pub worker: WorkerId,
    /// Where it runs.
    pub slot: Slot,
    /// What it runs.
    pub executors: Vec<ExecutorId>,
    /// What these need.
    pub needs: Resources,
}

/// What is promised on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// The host.
    pub host: Host,
    /// How many of its slots have workers.
    pub workers: u16,
    /// What the workers need.
    pub promised: Resources,
    /// The topology that has the host for itself.
    pub isolated_for: Option<SmolStr>,
}

impl HostPlan {
    /// What the workers need more than the host has. Only the even strategy promises so much.
    pub fn shortages(&self) -> Vec<HostShortage> {
        let (promised, has) = (self.promised, self.host.resources);
        let of = |resource, needed, free| HostShortage { host: self.host.id.clone(), resource, needed, free };
        let cpu = (promised.cpu > has.cpu).then(|| of(Resource::Cpu, promised.cpu.0, has.cpu.0));
        let memory =
            (promised.memory > has.memory).then(|| of(Resource::Memory, promised.memory, has.memory));
        [cpu, memory].into_iter().flatten().collect()
    }
}

/// Plans where topologies run.
///
/// Of equal hosts the first of the view is taken, and of equal topologies the first of the demands.
///
/// # Panics
/// When the view has two hosts of one id.
///
/// # Examples
/// ```
/// use squall::cluster::schedule::{ClusterView, Demand, Host, plan};
/// use squall::config::HostOptions;
/// use squall::prelude::*;
/// use squall::topology::declare::parse_str;
///
/// let text = "
///     [topology]
///     name = 'words'
///     workers = 2
///     [spout.lines]
///     type = 'generate'
///     config.fields = { line = 'to be' }
///     [bolt.split]
///     type = 'split'
///     parallelism = 3
///     inputs = ['lines']
/// ";
/// let words = parse_str("words", text, &Registry::with_standard())?;
/// let hosts = ["a", "b", "c"].map(|id| Host::new(id, &HostOptions::default()));
/// let view = ClusterView { hosts: hosts.into(), guarantees: Vec::new() };
///
/// let first = plan(&view, &[Demand::new(&words)]);
/// let slots: Vec<_> = first.topologies[0].workers.iter().map(|it| it.slot.to_string()).collect();
/// assert_eq!(slots, ["a:0", "b:0"]);
///
/// // Host `a` is gone: what ran there moves, and the rest stays.
/// let view = ClusterView { hosts: view.hosts[1..].into(), ..view };
/// let current = first.topologies[0].placement.as_ref();
/// let second = plan(&view, &[Demand { current, ..Demand::new(&words) }]);
/// let moves = &second.topologies[0].moves;
/// assert_eq!(moves.len(), 1);
/// assert_eq!(moves[0].why.to_string(), "the host is gone");
/// assert_eq!(moves[0].to.as_ref().unwrap().to_string(), "c:0");
/// # Ok::<(), squall::topology::TopologyErrors>(())
/// ```
pub fn plan(view: &ClusterView, demands: &[Demand<'_>]) -> ClusterPlan {
    let mut ids: Vec<&str> = view.hosts.iter().map(|host| host.id.as_str()).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "a host is in the view once");
    let mut planner = Planner::new(view, demands);
    planner.run();
    let hosts = view.hosts.iter().enumerate().map(|(at, host)| HostPlan {
        host: host.clone(),
        workers: host.slots - planner.ledger.free_slots(at),
        promised: planner.ledger.used(at),
        isolated_for: planner.ledger.isolated_by(at).map(|topology| name(demands, topology)),
    });
    let topologies = (0..demands.len()).map(|at| topology_plan(&planner, view, demands, at));
    ClusterPlan { topologies: topologies.collect(), hosts: hosts.collect() }
}

fn name(demands: &[Demand<'_>], topology: usize) -> SmolStr {
    SmolStr::new(demands[topology].topology.name())
}

fn topology_plan(
    planner: &Planner<'_>,
    view: &ClusterView,
    demands: &[Demand<'_>],
    at: usize,
) -> TopologyPlan {
    let demand = &demands[at];
    let placed = planner.placed[at].as_ref();
    let placement = placed.map(|placed| placement(view, placed));
    let before = demand.current.map_or(0, |current| current.assignment.used_workers().len());
    let after = placed.map_or(0, |placed| placed.held.len());
    let evicted_for = planner.evicted_for[at].map(|topology| name(demands, topology));
    let is_even = demand.topology.options().scheduling.strategy == SchedulingStrategy::Even;
    let why = |slot: &Slot| {
        let host = view.hosts.iter().position(|host| host.id == slot.host);
        let is_there = |host: &usize| slot.number < view.hosts[*host].slots;
        let Some(host) = host.filter(is_there) else { return MoveReason::HostGone };
        let isolated_for = planner.left_for[at].get(&host).map(|topology| name(demands, *topology));
        match (&evicted_for, isolated_for, view.hosts[host].state) {
            (_, Some(other), _) => MoveReason::HostIsolatedFor(other),
            (Some(other), ..) => MoveReason::EvictedFor(other.clone()),
            (.., HostState::Draining) => MoveReason::HostDraining,
            _ if demand.begins_anew && planner.ledger.lacks_secret(at, host) => MoveReason::HostLacksSecret,
            _ if demand.rebalance => MoveReason::Rebalance,
            _ if is_even && before != after && after > 0 => {
                MoveReason::WorkersChanged { from: before, to: after }
            }
            _ => MoveReason::NoRoom,
        }
    };
    let moves = moves::moves(demand, placed.map(|placed| &placed.plan).zip(placement.as_ref()), why);
    TopologyPlan {
        name: name(demands, at),
        plan: placed.map(|placed| placed.plan.clone()),
        workers: placed.map_or_else(Vec::new, |placed| workers(view, placed)),
        placement,
        moves,
        shortage: planner.shortages[at].clone(),
        stays: placed.and_then(|placed| stays(planner, view, placed, at)),
        evicted_for: evicted_for.filter(|_| placed.is_none()),
    }
}

fn stays(planner: &Planner<'_>, view: &ClusterView, placed: &Placed, at: usize) -> Option<Stays> {
    let shortage = planner.stays[at].clone()?;
    let hosts = placed.held.values().map(|(place, _)| &view.hosts[place.host]);
    let mut hosts: Vec<SmolStr> =
        hosts.filter(|host| host.state == HostState::Draining).map(|host| host.id.clone()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    Some(Stays { hosts, shortage })
}

fn placement(view: &ClusterView, placed: &Placed) -> Placement {
    let slots = placed.held.iter().map(|(worker, (place, _))| {
        (*worker, Slot { host: view.hosts[place.host].id.clone(), number: place.slot })
    });
    Placement { assignment: placed.assignment.clone(), slots: slots.collect() }
}

fn workers(view: &ClusterView, placed: &Placed) -> Vec<WorkerPlan> {
    let worker = |(worker, (place, needs)): (&WorkerId, &(ledger::Place, Resources))| WorkerPlan {
        worker: *worker,
        slot: Slot { host: view.hosts[place.host].id.clone(), number: place.slot },
        executors: placed.assignment.executors_on(*worker).collect(),
        needs: *needs,
    };
    placed.held.iter().map(worker).collect()
}

#[cfg(test)]
mod tests;
