//! Which topology goes first, and which may be evicted for which.
//!
//! The order is that of Storm's resource-aware scheduler (`DefaultSchedulingPriorityStrategy`). Of each owner, the
//! topology with the lowest priority number is considered, the oldest of several. Each gets a score:
//!
//! ```text
//!   (what it asks for + what its owner was given before - what its owner is guaranteed) / what is left
//! ```
//!
//! for processor time and for memory, of which the greater counts. The owner with the least score goes next, and the
//! rest is scored again. A score of 0 or less means that the topology is within the guarantee of its owner.
//!
//! Isolated topologies come before all others, because others are to keep off their hosts.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::cluster::schedule::view::{ClusterView, Demand, HostState};
use crate::config::Resources;

/// A topology, as it is put in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rank {
    /// Its position among the demands.
    pub topology: usize,
    /// Its score when its turn came.
    pub score: f64,
    /// Whether it is within what its owner is guaranteed.
    pub guaranteed: bool,
}

/// The topologies in the order in which they are placed. `needs` has what each asks for.
pub(super) fn order(view: &ClusterView, demands: &[Demand<'_>], needs: &[Resources]) -> Vec<Rank> {
    let guaranteed: BTreeMap<&str, Resources> =
        view.guarantees.iter().map(|guarantee| (guarantee.owner.as_str(), guarantee.resources)).collect();
    let mut by_owner: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, demand) in demands.iter().enumerate() {
        by_owner.entry(demand.owner).or_default().push(at);
    }
    let first = |at: &usize| {
        let demand = &demands[*at];
        (demand.topology.options().scheduling.priority, demand.submitted, *at)
    };
    let owner = |(name, mut topologies): (&str, Vec<usize>)| {
        topologies.sort_by_key(|at| Reverse(first(at)));
        Owner { topologies, guaranteed: guaranteed.get(name).copied(), given: Resources::NONE }
    };
    let mut owners: Vec<Owner> = by_owner.into_iter().map(owner).collect();
    let hosts = view.hosts.iter().filter(|host| host.state != HostState::Draining);
    let mut left = hosts.fold(Resources::NONE, |sum, host| sum + host.resources);
    let mut ranks = Vec::with_capacity(demands.len());
    while !owners.is_empty() {
        // A stable sort: who was ahead stays ahead where scores are equal, as in Storm.
        owners.sort_by(|one, other| score(one, needs, left).total_cmp(&score(other, needs, left)));
        let score = score(&owners[0], needs, left);
        let owner = &mut owners[0];
        let topology = owner.topologies.pop().expect("an owner without topologies was removed");
        owner.given += needs[topology];
        left -= needs[topology];
        ranks.push(Rank { topology, score, guaranteed: owner.guaranteed.is_some() && score <= 0.0 });
        if owner.topologies.is_empty() {
            owners.remove(0);
        }
    }
    ranks.sort_by_key(|rank| demands[rank.topology].topology.options().scheduling.isolate.is_none());
    ranks
}

/// Whether a topology may be evicted for one that goes before it: it is less important, or it is beyond what its owner
/// is guaranteed while the other is within.
pub(super) fn may_evict(demands: &[Demand<'_>], first: Rank, victim: Rank) -> bool {
    let priority = |rank: Rank| demands[rank.topology].topology.options().scheduling.priority;
    priority(victim) > priority(first) || (first.guaranteed && !victim.guaranteed)
}

/// An owner, while topologies are put in order.
struct Owner {
    /// What is not in order yet, the next one last.
    topologies: Vec<usize>,
    guaranteed: Option<Resources>,
    /// What those in order ask for.
    given: Resources,
}

fn score(owner: &Owner, needs: &[Resources], left: Resources) -> f64 {
    let Some(next) = owner.topologies.last() else { return f64::INFINITY };
    let asked = needs[*next] + owner.given;
    let guaranteed = owner.guaranteed.unwrap_or(Resources::NONE);
    let of = |asked: u64, guaranteed: u64, left: u64| (asked as f64 - guaranteed as f64) / left.max(1) as f64;
    let cpu = of(asked.cpu.0, guaranteed.cpu.0, left.cpu.0);
    cpu.max(of(asked.memory, guaranteed.memory, left.memory))
}
