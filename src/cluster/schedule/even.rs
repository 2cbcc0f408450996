//! The even strategy: as many workers as are asked for, dealt to the hosts in turn. Storm's even scheduler.
//!
//! Which executor runs in which worker is decided by [`place`]; here each worker gets a slot.
//!
//! 1. If there are fewer slots than workers are asked for, there are fewer workers, and each runs more (Storm: a
//!    squeeze). When slots are added, the topology grows again up to what it asks for.
//! 2. A worker whose host is there keeps its slot. A worker whose host is gone gets another slot, and its executors move
//!    with it. Where there is none, the remaining workers share its executors.
//! 3. A new worker goes to the host that has fewest of the topology, and of several to the one with most free slots. For
//!    a topology that runs nowhere this deals them out in turn, the emptiest host first.
//! 4. On a rebalance, workers move from hosts that have at least two more of the topology than another which has a free
//!    slot. No fewer moves would make them even.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::schedule::ledger::{Ledger, Place, Reach};
use crate::cluster::schedule::task::{Placed, Preferred, Task};
use crate::ids::WorkerId;
use crate::topology::{Assignment, Plan, place};

/// How many workers a topology may get.
fn available(ledger: &Ledger<'_>, task: &Task<'_>, preferred: &Preferred, reach: Reach) -> usize {
    let usable = |host: &usize| ledger.may_use(task.at, task.isolated, *host, reach);
    let free: usize =
        (0..ledger.view.hosts.len()).filter(usable).map(|host| usize::from(ledger.free_slots(host))).sum();
    let kept_elsewhere = preferred.slots.values().filter(|place| !usable(&place.host)).count();
    free + kept_elsewhere
}

/// Places a topology on slots that are free. `None` if there is no slot at all.
pub(super) fn place_evenly(
    ledger: &Ledger<'_>,
    task: &Task<'_>,
    preferred: &Preferred,
    reach: Reach,
) -> Option<Placed> {
    let mut kept = preferred.slots.clone();
    kept.retain(|_, place| ledger.may_stay(task.at, task.isolated, place.host, reach));
    let preferred = Preferred { assignment: preferred.assignment.clone(), slots: kept };
    let available = available(ledger, task, &preferred, reach);
    if available == 0 {
        return None;
    }
    let asked = task.topology().options().workers as usize;
    let (mut slots, mut plan, mut assignment) = with_workers(task, &preferred, asked);
    if assignment.used_workers().len() > available {
        (slots, plan, assignment) = with_workers(task, &preferred, available);
    }
    let used = assignment.used_workers();
    let unused = |(worker, place): (&WorkerId, &Place)| (!used.contains(worker)).then_some(*place);
    // Slots that it may keep, where no new worker may come.
    let mut left: Vec<Place> = slots.iter().filter_map(unused).collect();
    slots.retain(|worker, _| used.contains(worker));
    let mut deal = Deal::new(ledger, task, reach, &slots);
    for worker in used {
        let slot = || deal.next().or_else(|| left.pop()).expect("the slots were counted");
        slots.entry(worker).or_insert_with(slot);
    }
    if task.demand.rebalance {
        deal.even_out(&mut slots);
    }
    Some(Placed::new(task, plan, assignment, &slots))
}

/// The plan for so many workers, and the slots of those that keep theirs.
fn with_workers(
    task: &Task<'_>,
    preferred: &Preferred,
    count: usize,
) -> (BTreeMap<WorkerId, Place>, Plan, Assignment) {
    let workers = u16::try_from(count).expect("the limit of workers fits 16 bits");
    let (assignment, slots) = numbered(preferred, count);
    let (plan, assignment) = place(task.topology(), workers, assignment.as_ref());
    (slots, plan, assignment)
}

/// The workers that a topology would have if there were slots for all.
pub(super) fn wanted(task: &Task<'_>) -> usize {
    let workers = u16::try_from(task.topology().options().workers).unwrap_or(u16::MAX);
    place(task.topology(), workers, None).1.used_workers().len()
}

/// The assignment so far with numbers below `target` for the workers that keep their slots. They keep their numbers,
/// too, if all of them can.
fn numbered(preferred: &Preferred, target: usize) -> (Option<Assignment>, BTreeMap<WorkerId, Place>) {
    let Some(assignment) = &preferred.assignment else { return (None, BTreeMap::new()) };
    let used = assignment.used_workers();
    let kept = |worker: &WorkerId| preferred.slots.contains_key(worker);
    if used.iter().all(|worker| worker.index() < target) {
        return (Some(assignment.clone()), preferred.slots.clone());
    }
    // Those with slots first, in the order in which they should survive.
    let mut order: Vec<WorkerId> = survivors(preferred);
    order.extend(used.iter().copied().filter(|worker| !kept(worker)));
    let number: BTreeMap<WorkerId, WorkerId> = order.iter().copied().zip((0..).map(WorkerId)).collect();
    let slots = preferred.slots.iter().filter_map(|(worker, place)| Some((*number.get(worker)?, *place)));
    let slots = slots.filter(|(worker, _)| worker.index() < target).collect();
    (Some(assignment.renumbered(|worker| number[&worker])), slots)
}

/// The workers that keep their slots, those first that should survive longest if there must be fewer: one of each host
/// before a second one of any.
fn survivors(preferred: &Preferred) -> Vec<WorkerId> {
    let mut on_host: BTreeMap<usize, usize> = BTreeMap::new();
    let mut order: Vec<(usize, WorkerId)> = Vec::new();
    for (worker, place) in &preferred.slots {
        let before = on_host.entry(place.host).or_default();
        order.push((*before, *worker));
        *before += 1;
    }
    order.sort_unstable();
    order.into_iter().map(|(_, worker)| worker).collect()
}

/// How much a host is wanted for the next worker, the least first: favored hosts, then those with fewest workers of the
/// topology, then those with most free slots.
type Turn = (u8, usize, Reverse<usize>, usize);

/// Deals free slots to workers.
struct Deal {
    /// What the topology thinks of each host.
    wanted: Vec<u8>,
    /// Workers of the topology on each host.
    own: Vec<usize>,
    /// The free slots of each host that may be used, the next one last.
    free: Vec<Vec<u16>>,
    turns: BTreeSet<Turn>,
}

impl Deal {
    fn new(ledger: &Ledger<'_>, task: &Task<'_>, reach: Reach, kept: &BTreeMap<WorkerId, Place>) -> Deal {
        let hosts = ledger.view.hosts.len();
        let mut deal = Deal {
            wanted: (0..hosts).map(|host| task.wants(&ledger.host(host).id)).collect(),
            own: vec![0; hosts],
            free: vec![Vec::new(); hosts],
            turns: BTreeSet::new(),
        };
        kept.values().for_each(|place| deal.own[place.host] += 1);
        let taken: BTreeSet<Place> = kept.values().copied().collect();
        for host in (0..hosts).filter(|host| ledger.may_use(task.at, task.isolated, *host, reach)) {
            let free = ledger.free_numbers(host).filter(|slot| !taken.contains(&Place { host, slot: *slot }));
            deal.free[host] = free.collect();
            deal.free[host].reverse();
            deal.turns.extend(deal.turn(host));
        }
        deal
    }

    fn turn(&self, host: usize) -> Option<Turn> {
        let free = self.free[host].len();
        (free > 0).then(|| (self.wanted[host], self.own[host], Reverse(free), host))
    }

    fn next(&mut self) -> Option<Place> {
        let (.., host) = self.turns.pop_first()?;
        let slot = self.free[host].pop()?;
        self.own[host] += 1;
        let turn = self.turn(host);
        self.turns.extend(turn);
        Some(Place { host, slot })
    }

    /// Moves workers until no host has two more than another that has room.
    fn even_out(&mut self, slots: &mut BTreeMap<WorkerId, Place>) {
        while let Some((_, least, _, to)) = self.turns.first().copied() {
            let moves = |(_, place): &(&WorkerId, &Place)| {
                let same = self.wanted[place.host] == self.wanted[to];
                // From a host that is less wanted, a worker moves in any case.
                (same && self.own[place.host] > least + 1) || self.wanted[place.host] > self.wanted[to]
            };
            let fullest = slots.iter().filter(moves).max_by_key(|(worker, place)| {
                (self.wanted[place.host], self.own[place.host], Reverse(place.host), **worker)
            });
            let Some((worker, from)) = fullest.map(|(worker, place)| (*worker, *place)) else { return };
            let place = self.next().expect("the host that is first has a free slot");
            self.turns.retain(|(.., host)| *host != from.host);
            self.own[from.host] -= 1;
            // Its slot is not offered again: a worker that moved does not move back.
            let turn = self.turn(from.host);
            self.turns.extend(turn);
            slots.insert(worker, place);
        }
    }
}
