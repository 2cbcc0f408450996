//! One topology while a plan is made: what it asks for, what it would like to keep, and what it gets.

use std::collections::{BTreeMap, HashSet};

use crate::cluster::schedule::ledger::{Held, Place};
use crate::cluster::schedule::view::Demand;
use crate::config::Resources;
use crate::ids::WorkerId;
use crate::topology::plan::{ExecutorPlan, Part};
use crate::topology::{Assignment, Plan, Scale, Topology};

/// A topology that is to be placed.
pub(super) struct Task<'a> {
    /// Its position among the demands.
    pub at: usize,
    pub demand: &'a Demand<'a>,
    /// Whether it has hosts of its own, and uses no others.
    pub isolated: bool,
    favor: HashSet<&'a str>,
    avoid: HashSet<&'a str>,
}

impl<'a> Task<'a> {
    pub fn new(at: usize, demand: &'a Demand<'a>) -> Task<'a> {
        let scheduling = &demand.topology.options().scheduling;
        Task {
            at,
            demand,
            isolated: scheduling.isolate.is_some(),
            favor: scheduling.favor.iter().map(String::as_str).collect(),
            avoid: scheduling.avoid.iter().map(String::as_str).collect(),
        }
    }

    pub fn topology(&self) -> &'a Topology {
        self.demand.topology
    }

    /// How much it wants a host: 0 it favors it, 2 it avoids it.
    pub fn wants(&self, host: &str) -> u8 {
        match (self.favor.contains(host), self.avoid.contains(host)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        }
    }
}

/// What a topology would like to keep: its assignment, and the slots of those workers whose slots are free for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Preferred {
    pub assignment: Option<Assignment>,
    pub slots: BTreeMap<WorkerId, Place>,
}

/// What a topology gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub plan: Plan,
    pub assignment: Assignment,
    pub held: Held,
}

impl Placed {
    pub fn new(
        task: &Task<'_>,
        plan: Plan,
        assignment: Assignment,
        slots: &BTreeMap<WorkerId, Place>,
    ) -> Placed {
        let mut loads: BTreeMap<WorkerId, Resources> = BTreeMap::new();
        for executor in &plan.executors {
            let load = loads.entry(assignment.worker_of(executor.id)).or_insert(Resources::NONE);
            *load += need(task.topology(), executor);
        }
        let held = loads.into_iter().map(|(worker, load)| (worker, (slots[&worker], load))).collect();
        Placed { plan, assignment, held }
    }
}

/// What an executor needs: what its tasks need. An acker needs what a task needs about which nothing is said.
pub(super) fn need(topology: &Topology, executor: &ExecutorPlan) -> Resources {
    let each = match executor.part {
        Part::Component(at) => topology.components()[at].options.resources,
        Part::Acker => Resources::default(),
    };
    each.times(u64::from(executor.tasks.end - executor.tasks.start))
}

/// What a whole topology needs, with one acker if these are automatic.
pub(super) fn need_of_all(topology: &Topology) -> Resources {
    let plan = Plan::local(topology);
    plan.executors.iter().fold(Resources::NONE, |sum, executor| sum + need(topology, executor))
}

/// What the workers of an earlier assignment need now, of those that have slots.
pub(super) fn held_before(
    task: &Task<'_>,
    assignment: &Assignment,
    slots: &BTreeMap<WorkerId, Place>,
) -> Held {
    let topology = task.topology();
    let scale = Scale { workers: assignment.workers().into(), ..Scale::of(topology.options()) };
    let plan = Plan::new(topology, scale, u32::from(assignment.workers()));
    let mut held = Held::new();
    let components = (0..topology.components().len()).map(Part::Component);
    for (at, part) in components.chain([Part::Acker]).enumerate() {
        for (executor, home) in plan.executors_of(part).iter().zip(assignment.places_of(at)) {
            if let Some(place) = slots.get(home) {
                held.entry(*home).or_insert((*place, Resources::NONE)).1 += need(topology, executor);
            }
        }
    }
    held
}
