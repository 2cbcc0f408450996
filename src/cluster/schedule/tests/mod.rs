//! Plans of small clusters, and what must hold for all.

#[cfg(test)]
mod eviction;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod resource_aware;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod storm;

use super::*;
use crate::config::{ChainMode, Cpu, Delivery, HostOptions};
use crate::topology::Topology;
use crate::topology::graph::testing;

/// Hosts `h0`, `h1` and so on, with so many slots each.
pub(super) fn hosts(count: usize, slots: u16) -> ClusterView {
    hosts_with(count, slots, Resources::new(4.0, 4 << 30))
}

pub(super) fn hosts_with(count: usize, slots: u16, resources: Resources) -> ClusterView {
    let host = |at| Host::new(&format!("h{at}"), &HostOptions { slots, resources, ..HostOptions::default() });
    ClusterView { hosts: (0..count).map(host).collect(), guarantees: Vec::new() }
}

/// Components by parallelism: the first is a spout, and each takes tuples from the one before. Nothing is fused, and
/// nothing is tracked, so there are these executors and no others.
pub(super) fn topology(name: &str, workers: u32, executors: &[u32]) -> Topology {
    let ids: Vec<String> = (0..executors.len()).map(|at| format!("c{at}")).collect();
    let components: Vec<(&str, Vec<&str>)> = ids
        .iter()
        .enumerate()
        .map(|(at, id)| (id.as_str(), ids[at.saturating_sub(1)..at].iter().map(String::as_str).collect()))
        .collect();
    let components: Vec<(&str, &[&str])> =
        components.iter().map(|(id, inputs)| (*id, inputs.as_slice())).collect();
    let mut topology = testing::topology(&components);
    topology.name = name.into();
    topology.options.workers = workers;
    topology.options.delivery = Delivery::AtMostOnce;
    topology.options.chain = ChainMode::Off;
    for (component, executors) in topology.components.iter_mut().zip(executors) {
        component.options.parallelism = *executors;
    }
    topology
}

/// The same, placed by resources: each executor needs this much.
pub(super) fn packed(name: &str, executors: &[u32], each: Resources) -> Topology {
    let mut topology = topology(name, 1, executors);
    topology.options.scheduling.strategy = SchedulingStrategy::ResourceAware;
    topology.components.iter_mut().for_each(|component| component.options.resources = each);
    topology
}

/// Plans topologies, each where the plan before has it.
pub(super) fn replan(
    view: &ClusterView,
    topologies: &[&Topology],
    before: Option<&ClusterPlan>,
) -> ClusterPlan {
    let demands: Vec<Demand<'_>> = topologies.iter().map(|topology| demand(topology, before)).collect();
    plan(view, &demands)
}

pub(super) fn demand<'a>(topology: &'a Topology, before: Option<&'a ClusterPlan>) -> Demand<'a> {
    let before = before.and_then(|plan| plan.topologies.iter().find(|it| it.name == topology.name));
    Demand { current: before.and_then(|it| it.placement.as_ref()), ..Demand::new(topology) }
}

pub(super) fn of<'a>(plan: &'a ClusterPlan, topology: &str) -> &'a TopologyPlan {
    plan.topologies.iter().find(|it| it.name == topology).unwrap()
}

/// Executors of each worker, the most first.
pub(super) fn shape(topology: &TopologyPlan) -> Vec<usize> {
    let mut shape: Vec<usize> = topology.workers.iter().map(|worker| worker.executors.len()).collect();
    shape.sort_unstable_by(|one, other| other.cmp(one));
    shape
}

/// Workers of a topology by host.
pub(super) fn by_host(topology: &TopologyPlan) -> Vec<(String, usize)> {
    let mut hosts = std::collections::BTreeMap::new();
    for worker in &topology.workers {
        *hosts.entry(worker.slot.host.to_string()).or_insert(0) += 1;
    }
    hosts.into_iter().collect()
}

/// What no plan may break.
pub(super) fn check(view: &ClusterView, demands: &[Demand<'_>], plan: &ClusterPlan) {
    let mut slots = std::collections::BTreeSet::new();
    let mut load: std::collections::BTreeMap<&str, (u16, Resources)> = Default::default();
    for host in &view.hosts {
        slots.extend(host.taken.iter().map(|number| Slot { host: host.id.clone(), number: *number }));
        load.insert(&host.id, (host.taken.len() as u16, Resources::NONE));
    }
    for (demand, topology) in demands.iter().zip(&plan.topologies) {
        assert_eq!(topology.placement.is_some(), topology.plan.is_some());
        assert!(
            topology.placement.is_some() || topology.shortage.is_some(),
            "a reason for {}",
            topology.name
        );
        let Some(placement) = &topology.placement else { continue };
        let executors = topology.plan.as_ref().unwrap();
        assert_eq!(placement.assignment.plan(demand.topology).as_ref(), Some(executors));
        let mut all: Vec<ExecutorId> = Vec::new();
        for worker in &topology.workers {
            assert!(slots.insert(worker.slot.clone()), "{} has two workers", worker.slot);
            let host = view.hosts.iter().find(|host| host.id == worker.slot.host).expect("the host is there");
            assert!(worker.slot.number < host.slots, "{} is no slot", worker.slot);
            assert!(!worker.executors.is_empty());
            all.extend(&worker.executors);
            let load = load.entry(host.id.as_str()).or_insert((0, Resources::NONE));
            *load = (load.0 + 1, load.1 + worker.needs);
        }
        all.sort_unstable();
        let expected: Vec<ExecutorId> = executors.executors.iter().map(|it| it.id).collect();
        assert_eq!(all, expected, "each executor of {} runs once", topology.name);
    }
    for host in &plan.hosts {
        let (workers, promised) = load.get(host.host.id.as_str()).copied().unwrap_or((0, Resources::NONE));
        assert_eq!((host.workers, host.promised), (workers, promised), "the account of {}", host.host.id);
        assert!(host.workers <= host.host.slots);
    }
}
