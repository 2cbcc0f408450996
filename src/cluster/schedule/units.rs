//! What the resource-aware strategy places as one: an executor, with those that are chained behind it; and in which
//! order units are placed.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::cluster::schedule::task::need;
use crate::config::Resources;
use crate::topology::plan::{ExecutorId, Part, has_automatic_ackers};
use crate::topology::{Plan, Topology};

/// An executor and those that run fused with it.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// The first executor of the chain, then those behind it.
    pub members: Vec<ExecutorId>,
    pub need: Resources,
    /// The components of its members; the ackers count as one more component behind all others.
    pub components: Vec<usize>,
    pub has_spout: bool,
}

/// The units of a plan, in its order. Automatic ackers are none: they come with the spouts of a worker.
pub(super) fn units(topology: &Topology, plan: &Plan) -> Vec<Unit> {
    let automatic = has_automatic_ackers(topology);
    let heads = plan.executors.iter().filter(|executor| executor.behind.is_none());
    let placed = heads.filter(|executor| !(automatic && executor.part == Part::Acker));
    let unit = |head: ExecutorId| {
        let (mut members, mut next) = (Vec::new(), Some(head));
        while let Some(member) = next {
            members.push(member);
            next = plan.executors[member.index()].next;
        }
        let of = |member: &ExecutorId| &plan.executors[member.index()];
        let component = |part| match part {
            Part::Component(at) => at,
            Part::Acker => topology.components().len(),
        };
        let is_spout = |part| matches!(part, Part::Component(at) if topology.components()[at].is_spout());
        Unit {
            need: members.iter().fold(Resources::NONE, |sum, member| sum + need(topology, of(member))),
            components: members.iter().map(|member| component(of(member).part)).collect(),
            has_spout: members.iter().any(|member| is_spout(of(member).part)),
            members,
        }
    };
    placed.map(|executor| unit(executor.id)).collect()
}

/// In which order units are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitOrder {
    /// Components with most connections first, an executor of each neighbor behind each of theirs: who exchanges tuples
    /// is placed one after the other, and so near each other. Storm's order.
    Connections,
    /// The most constrained first, then the largest: what is hardest to place.
    Largest,
}

/// Positions of the units, those without `placed`. `constraints` has how many rules each component is subject to.
pub(super) fn in_order(
    topology: &Topology,
    units: &[Unit],
    placed: &[bool],
    (order, constraints, room): (UnitOrder, &[usize], Resources),
) -> Vec<usize> {
    let missing = (0..units.len()).filter(|unit| !placed[*unit]);
    match order {
        UnitOrder::Connections => by_connections(topology, units, missing),
        UnitOrder::Largest => {
            let mut order: Vec<usize> = missing.collect();
            order.sort_by_key(|at| {
                let rules: usize =
                    units[*at].components.iter().map(|component| constraints[*component]).sum();
                Reverse((rules, part_of(units[*at].need, room)))
            });
            order
        }
    }
}

/// How much of the room something takes, of the resource that it takes most of, in millionths.
fn part_of(need: Resources, room: Resources) -> u64 {
    let part = |need: u64, room: u64| (u128::from(need) * 1_000_000 / u128::from(room.max(1))) as u64;
    part(need.cpu.0, room.cpu.0).max(part(need.memory, room.memory))
}

fn by_connections(topology: &Topology, units: &[Unit], missing: impl Iterator<Item = usize>) -> Vec<usize> {
    let parts = topology.components().len() + 1;
    let mut waiting: Vec<VecDeque<usize>> = vec![VecDeque::new(); parts];
    for at in missing {
        waiting[units[at].components[0]].push_back(at);
    }
    // A component that is chained is placed with the first of its chain, so its connections are those of that one.
    let mut head: Vec<usize> = (0..parts).collect();
    for unit in units {
        unit.components.iter().for_each(|component| head[*component] = unit.components[0]);
    }
    let (mut neighbors, mut connections) = (vec![Vec::new(); parts], vec![0_u64; parts]);
    let executors = |at: usize| u64::from(topology.components()[at].options.parallelism);
    for edge in topology.edges() {
        let (from, to) = (head[edge.from], head[edge.to]);
        if from != to {
            neighbors[from].push(to);
            neighbors[to].push(from);
            let pairs = executors(edge.from) * executors(edge.to);
            connections[from] += pairs;
            connections[to] += pairs;
        }
    }
    let mut components: Vec<usize> = (0..parts).collect();
    components.sort_by_key(|component| (Reverse(connections[*component]), *component));
    for list in &mut neighbors {
        list.sort_by_key(|component| (Reverse(connections[*component]), *component));
        list.dedup();
    }
    let mut order = Vec::new();
    for component in components {
        while let Some(unit) = waiting[component].pop_front() {
            order.push(unit);
            order.extend(neighbors[component].iter().filter_map(|neighbor| waiting[*neighbor].pop_front()));
        }
    }
    order
}
