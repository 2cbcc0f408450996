//! What is to be written about topologies, given what was read. Pure.
//!
//! | wanted | where it runs now | state | what is written |
//! |---|---|---|---|
//! | anything | anywhere | ended | the assignment is deleted |
//! | drained, killed | nowhere | not ended | that it has ended, into the spec, and the assignment is deleted: there is no master that could report it |
//! | killed | the host of the master is gone, or the master does not run there | not ended | the same, as a failure |
//! | killed | elsewhere | not ended | nothing: it is not placed anew |
//! | active, inactive, drained | anywhere | not ended | the plan, if it differs from where it runs |
//!
//! 1. A topology whose blob cannot be used stays where it is, its slots are taken, and its assignment says why.
//! 2. A drained topology is placed anew when hosts are lost, because it still has work to do. If there is no room, it has
//!    ended.
//! 3. Each change of where something runs has a higher number, and so has each change of which worker runs which
//!    executor: two workers that were given different assignments never exchange a tuple.
//! 4. Each new generation of the spec is such a change, too, even if everything stays where it is, unless it only spreads
//!    the workers over the hosts: then those that stay go on. An assignment has the source that it was made of, so it
//!    changes together with that.
//! 5. The end that is decided here stands in the spec, which only leaders write. So one that was stopped right before that
//!    write, and goes on when its successor has placed the topology, cannot write it any more.
//! 6. What comes of an upgrade is decided before, by `trial`: its generation is placed as any other is.
//! 7. From what these decisions lead to, nothing more is decided.

use std::collections::BTreeMap;

use crate::cluster::coordination::encode_record;
use crate::cluster::daemons::nimbus::lacked_secrets::lacked_secrets;
use crate::cluster::schedule::{
    ClusterView, Demand, Host, HostState, Move, Placement, Slot, TopologyPlan, plan,
};
use crate::cluster::topologies::{
    AssignmentRecord, Outcome, SpecRecord, StateRecord, TopologyId, TopologyNodes, TopologyPhase, Wanted,
};
use crate::config::{Resources, SchedulingStrategy};
use crate::ids::WorkerId;
use crate::topology::Topology;

/// Why a topology that was just submitted has no place.
pub(super) const NOT_PLACED_YET: &str = "it was not placed yet";

/// What was read about a topology.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub spec: &'a SpecRecord,
    pub assignment: Option<&'a AssignmentRecord>,
    pub state: Option<&'a StateRecord>,
    /// What it is, or why that cannot be found out.
    pub topology: Result<&'a Topology, &'a str>,
    /// Why its master does not run where it is assigned.
    pub master_problem: Option<&'a str>,
}

impl<'a> Known<'a> {
    /// A topology of which nothing else is known: no master has reported anything, and none is missed.
    pub(super) fn new(
        spec: &'a SpecRecord,
        assignment: Option<&'a AssignmentRecord>,
        topology: Result<&'a Topology, &'a str>,
    ) -> Known<'a> {
        Known { spec, assignment, state: None, topology, master_problem: None }
    }
}

/// Something that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// The topology has ended like this, and there is nobody else who could write that.
    End(TopologyId, Outcome),
    /// Its assignment is to be deleted.
    Unassign(TopologyId),
    /// Its assignment is to be this one.
    Assign(AssignmentRecord),
}

/// What is to be done about one topology.
enum Course<'a> {
    Changes(Vec<Change>),
    Stays { short: Option<String> },
    Plan(&'a Topology),
}

/// Decides what is to be written, in this order. `hosts`: those that may run workers. `ended_at`: the time, for people.
pub(super) fn decide(epoch: u64, hosts: Vec<Host>, topologies: &[Known<'_>], ended_at: &str) -> Vec<Change> {
    decide_with_moves(epoch, hosts, topologies, ended_at).0
}

/// The same, and what moves of each topology that is planned.
pub(super) fn decide_with_moves(
    epoch: u64,
    hosts: Vec<Host>,
    topologies: &[Known<'_>],
    ended_at: &str,
) -> (Vec<Change>, BTreeMap<TopologyId, Vec<Move>>) {
    let mut view = ClusterView { hosts, guarantees: Vec::new() };
    let mut changes = Vec::new();
    let mut demands = Vec::new();
    let mut planned = Vec::new();
    for known in topologies {
        match course(known, &view.hosts, ended_at) {
            Course::Changes(of) => changes.extend(of),
            Course::Stays { short } => {
                take_slots(&mut view.hosts, known);
                let needs = known.assignment.map(|assignment| assignment.needs.clone()).unwrap_or_default();
                let next = Next { placement: placement_of(known).cloned(), needs, short };
                changes.extend(assign(epoch, known, next, &view.hosts, Made::Before));
            }
            Course::Plan(topology) => {
                let current = placement_of(known);
                let (owner, submitted) = (&*known.spec.owner, known.spec.id.number());
                let rebalance = known.spec.spreads && is_new_generation(known);
                let begins_anew = is_new_generation(known);
                demands.push(Demand { topology, owner, submitted, rebalance, begins_anew, current });
                planned.push(known);
            }
        }
    }
    let plan = plan(&view, &demands);
    let mut moves = BTreeMap::new();
    for ((known, demand), plan) in planned.into_iter().zip(&demands).zip(plan.topologies) {
        moves.insert(known.spec.id.clone(), plan.moves.clone());
        let mut next = Next::of(plan);
        if let (Some(short), Some(lacked)) = (&mut next.short, lacked_secrets(demand.topology, &view.hosts)) {
            short.push_str(&format!("; {lacked}"));
        }
        changes.extend(assign(epoch, known, next, &view.hosts, Made::Now));
    }
    (changes, moves)
}

fn course<'a>(known: &Known<'a>, hosts: &[Host], ended_at: &str) -> Course<'a> {
    let (spec, assignment) = (known.spec, known.assignment);
    let unassign = || assignment.map(|_| Change::Unassign(spec.id.clone()));
    if spec.ended.is_some() || known.state.is_some_and(|state| state.phase == TopologyPhase::Ended) {
        return Course::Changes(unassign().into_iter().collect());
    }
    let end = |failure: Option<String>| {
        let end = Change::End(spec.id.clone(), ended(known.state, failure, ended_at));
        Course::Changes([Some(end), unassign()].into_iter().flatten().collect())
    };
    let master = assignment.and_then(|assignment| assignment.master.as_deref());
    match (spec.wanted, master, known.topology) {
        (Wanted::Killed, None, _) => end(None),
        (Wanted::Drained, None, _) => {
            let why = assignment.and_then(|assignment| assignment.short.as_deref());
            let why = why.unwrap_or("it had no place");
            end(Some(format!("it was to be drained, but ran nowhere: {why}")))
        }
        (Wanted::Killed, Some(master), _) if !hosts.iter().any(|host| host.id == master) => {
            end(Some(format!("it was killed, and host `{master}`, where its master ran, is gone")))
        }
        (Wanted::Killed, Some(master), _) if let Some(why) = known.master_problem => {
            end(Some(format!("it was killed, and its master on host `{master}` {why}")))
        }
        (Wanted::Killed, Some(_), _) => {
            Course::Stays { short: assignment.and_then(|assignment| assignment.short.clone()) }
        }
        (_, _, Err(why)) => Course::Stays { short: Some(why.to_owned()) },
        (_, _, Ok(topology)) => Course::Plan(topology),
    }
}

/// How a topology without a master has ended.
fn ended(before: Option<&StateRecord>, failure: Option<String>, ended_at: &str) -> Outcome {
    // What it had counted is not known.
    let cut_short = before.is_some();
    Outcome { failure, cut_short, ended_at: ended_at.to_owned(), ..Outcome::default() }
}

/// Whether what runs is not what the spec has.
fn is_new_generation(known: &Known<'_>) -> bool {
    known.assignment.is_none_or(|assignment| assignment.generation != known.spec.generation)
}

/// Whether a new generation only spreads what runs, so that workers which stay where they are go on. Another strategy than
/// the even one places executors anew.
fn goes_on(known: &Known<'_>, topology: &Topology) -> bool {
    let is_even = topology.options().scheduling.strategy == SchedulingStrategy::Even;
    // A generation between the two may have been a restart.
    let is_next = |assignment: &AssignmentRecord| {
        assignment.source == known.spec.source && assignment.generation + 1 == known.spec.generation
    };
    is_even && known.spec.spreads && known.assignment.is_some_and(is_next)
}

fn placement_of<'a>(known: &Known<'a>) -> Option<&'a Placement> {
    known.assignment.and_then(|assignment| assignment.placement.as_ref())
}

/// Has nobody else get the slots of a topology that is not planned.
fn take_slots(hosts: &mut [Host], known: &Known<'_>) {
    for (_, slot) in placement_of(known).iter().flat_map(|placement| &placement.slots) {
        if let Some(host) = hosts.iter_mut().find(|host| host.id == slot.host) {
            host.taken.push(slot.number);
        }
    }
}

/// Of what a placement is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Of what the spec has.
    Now,
    /// It is the one before.
    Before,
}

/// Where a topology is to run.
struct Next {
    placement: Option<Placement>,
    /// What the tasks of each worker are counted with.
    needs: Vec<(WorkerId, Resources)>,
    short: Option<String>,
}

impl Next {
    fn of(plan: TopologyPlan) -> Next {
        let evicted = plan.evicted_for.map(|other| format!("it has to make room for `{other}`"));
        let stays = plan.stays.map(|stays| stays.to_string());
        let short = evicted.or(stays).or_else(|| plan.shortage.map(|shortage| shortage.to_string()));
        let needs = plan.workers.iter().map(|worker| (worker.worker, worker.needs)).collect();
        match plan.placement {
            Some(placement) => Next { placement: Some(placement), needs, short },
            None => {
                let short = short.or_else(|| Some("there is no room".to_owned()));
                Next { placement: None, needs, short }
            }
        }
    }
}

/// The assignment, if it is another one than before.
fn assign(epoch: u64, known: &Known<'_>, next: Next, hosts: &[Host], made: Made) -> Option<Change> {
    let id = &known.spec.id;
    let before = known.assignment;
    let change = before.map_or(0, |before| before.change);
    let runs_before = before.and_then(|before| before.placement.as_ref());
    let (source, generation, is_upgrade) = match (made, before) {
        (Made::Before, Some(before)) => (before.source.clone(), before.generation, before.is_upgrade),
        _ => (known.spec.source.clone(), known.spec.generation, known.spec.is_upgrade()),
    };
    let is_other = before.is_none_or(|before| before.generation != generation || before.source != source);
    let begins_anew = is_other && !known.topology.is_ok_and(|topology| goes_on(known, topology));
    let mut placement = next.placement;
    if let Some(placement) = &mut placement
        && (begins_anew || runs_before.is_none_or(|before| before.assignment != placement.assignment))
    {
        placement.assignment.version = change + 1;
    }
    let master_before = before.and_then(|before| before.master.as_deref());
    let master = placement.as_ref().and_then(|placement| master(placement, master_before, hosts));
    let short = next.short;
    let mut record = AssignmentRecord {
        epoch,
        id: id.clone(),
        change,
        source,
        generation,
        is_upgrade,
        placement,
        needs: next.needs,
        master,
        short,
    };
    if let Err(error) = encode_record(&TopologyNodes::of(id).assignment, &record) {
        (record.placement, record.master, record.short) = (None, None, Some(error.to_string()));
    }
    let moved = is_other
        || before.is_none_or(|before| before.placement != record.placement || before.master != record.master);
    let says_else = before.is_none_or(|before| before.short != record.short);
    record.change += u64::from(moved);
    (moved || says_else).then_some(Change::Assign(record))
}

/// The host of the master: where it is, if that host is there and is not to be empty, or that of the lowest worker whose
/// host is not.
fn master(placement: &Placement, before: Option<&str>, hosts: &[Host]) -> Option<String> {
    let state = |id: &str| hosts.iter().find(|host| host.id == id).map(|host| host.state);
    let is_draining = |id: &str| state(id) == Some(HostState::Draining);
    let stays = before.filter(|before| state(before).is_some());
    let lowest = |may: &dyn Fn(&str) -> bool| {
        let slots = placement.slots.iter().filter(|(_, slot)| may(&slot.host));
        slots.min_by_key(|(worker, _)| *worker).map(|(_, slot)| &*slot.host)
    };
    let open = stays.filter(|before| !is_draining(before)).or_else(|| lowest(&|host| !is_draining(host)));
    open.or(stays).or_else(|| lowest(&|_| true)).map(str::to_owned)
}

/// The slots that topologies have, and one slot 0 of each host that has a master.
pub(super) fn used_slots<'a>(assignments: impl Iterator<Item = &'a AssignmentRecord>) -> Vec<Slot> {
    let mut used = Vec::new();
    for assignment in assignments {
        let slots = assignment.placement.iter().flat_map(|placement| &placement.slots);
        used.extend(slots.map(|(_, slot)| slot.clone()));
        used.extend(assignment.master.iter().map(|host| Slot { host: host.into(), number: 0 }));
    }
    used
}

#[cfg(test)]
#[path = "decision/tests.rs"]
mod tests;
