//! What a plan changes: which executors move from which slot to which, and why.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use smol_str::SmolStr;

use crate::cluster::schedule::view::{Demand, Placement, Slot};
use crate::topology::plan::{ExecutorId, Part};
use crate::topology::{Plan, Topology};

/// Why executors do not stay where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MoveReason {
    /// The executor did not run before.
    New,
    /// Their host is gone, or has fewer slots.
    HostGone,
    /// Their host is draining.
    HostDraining,
    /// The topology was evicted for this one.
    EvictedFor(SmolStr),
    /// Their host belongs to this topology alone now.
    HostIsolatedFor(SmolStr),
    /// An operator asked for a rebalance.
    Rebalance,
    /// The topology has another number of workers now, and they are to be even.
    WorkersChanged {
        /// How many there were.
        from: usize,
        /// How many there are.
        to: usize,
    },
    /// The topology begins anew, and their host lacks a secret of it.
    HostLacksSecret,
    /// Where they were, there is no room for them any more, or they must be kept apart from others.
    NoRoom,
}

/// Executors that move from one slot to another together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Where they ran. `None`: nowhere.
    pub from: Option<Slot>,
    /// Where they run. `None`: nowhere.
    pub to: Option<Slot>,
    /// How many they are.
    pub executors: usize,
    /// Why.
    pub why: MoveReason,
}

impl fmt::Display for MoveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MoveReason::New => f.write_str("new"),
            MoveReason::HostGone => f.write_str("the host is gone"),
            MoveReason::HostDraining => f.write_str("the host is draining"),
            MoveReason::EvictedFor(other) => write!(f, "evicted for `{other}`"),
            MoveReason::HostIsolatedFor(other) => write!(f, "the host belongs to `{other}` alone"),
            MoveReason::Rebalance => f.write_str("rebalance"),
            MoveReason::WorkersChanged { from, to } => write!(f, "{from} workers became {to}"),
            MoveReason::HostLacksSecret => f.write_str("the host lacks a secret"),
            MoveReason::NoRoom => f.write_str("no room where it was"),
        }
    }
}

/// What changes for a topology. `why` has the reason why something does not stay in a slot.
pub(super) fn moves(
    demand: &Demand<'_>,
    new: Option<(&Plan, &Placement)>,
    why: impl Fn(&Slot) -> MoveReason,
) -> Vec<Move> {
    let Some(current) = demand.current else { return Vec::new() };
    let before = slots_before(demand.topology, current);
    let after =
        new.map(|(plan, placement)| slots_after(demand.topology, plan, placement)).unwrap_or_default();
    let mut counts: BTreeMap<(Option<Slot>, Option<Slot>), usize> = BTreeMap::new();
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(key)));
    for key in keys {
        let (from, to) = (before.get(key), after.get(key));
        if from != to {
            *counts.entry((from.cloned(), to.cloned())).or_default() += 1;
        }
    }
    let reason = |from: &Option<Slot>| from.as_ref().map_or(MoveReason::New, &why);
    let counts = counts.into_iter();
    counts.map(|((from, to), executors)| Move { why: reason(&from), from, to, executors }).collect()
}

/// An executor by its part and its number there: its id may be another in another plan.
type Executor = (usize, usize);

fn slots_before(topology: &Topology, current: &Placement) -> BTreeMap<Executor, Slot> {
    let slots: BTreeMap<_, &Slot> = current.slots.iter().map(|(worker, slot)| (*worker, slot)).collect();
    let mut before = BTreeMap::new();
    for part in 0..=topology.components().len() {
        for (number, home) in current.assignment.places_of(part).iter().enumerate() {
            if let Some(slot) = slots.get(home) {
                before.insert((part, number), (*slot).clone());
            }
        }
    }
    before
}

fn slots_after(topology: &Topology, plan: &Plan, placement: &Placement) -> BTreeMap<Executor, Slot> {
    let slots: BTreeMap<_, &Slot> = placement.slots.iter().map(|(worker, slot)| (*worker, slot)).collect();
    let components = (0..topology.components().len()).map(Part::Component);
    let parts = components.chain([Part::Acker]).enumerate();
    let slot = |executor: ExecutorId| slots[&placement.assignment.worker_of(executor)].clone();
    parts
        .flat_map(|(at, part)| {
            plan.executors_of(part).iter().enumerate().map(move |(n, it)| ((at, n), it.id))
        })
        .map(|(key, executor)| (key, slot(executor)))
        .collect()
}
