//! The resource-aware strategy, second half: which workers come out of a packing, and what is tried when it fails.
//!
//! 1. What runs stays where it is, as long as it fits and is allowed. Only what has no place is placed.
//! 2. If that fails, the largest executors are placed first; then executors that would run fused are placed one by one,
//!    because a chain may be larger than any host; and at last the whole topology is placed anew.
//! 3. It is placed as a whole or not at all: a part of a topology processes nothing.
//!
//! `workers` is not a number of workers here, as in Storm: there are as many as hosts are needed. It decides, as
//! elsewhere, which executors run fused. If more workers come out of it than were expected, fewer executors are fused,
//! and the packing is made again.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::schedule::ledger::{Ledger, Place, Reach};
use crate::cluster::schedule::packing::{Packing, Rules};
use crate::cluster::schedule::shortage::Shortage;
use crate::cluster::schedule::task::{Placed, Preferred, Task};
use crate::cluster::schedule::units::{Unit, UnitOrder, in_order, units};
use crate::config::limits;
use crate::ids::WorkerId;
use crate::topology::plan::{ExecutorId, Part};
use crate::topology::{Assignment, Plan, Scale};

/// Places a topology where there is room.
///
/// # Errors
/// What is short.
pub(super) fn pack(
    ledger: &Ledger<'_>,
    task: &Task<'_>,
    preferred: &Preferred,
    reach: Reach,
) -> Result<Placed, Shortage> {
    let rules = Rules::of(task.topology());
    let attempt = Attempt { ledger, task, rules: &rules, preferred, reach };
    let keeps = !preferred.slots.is_empty() && !task.demand.rebalance;
    let mut first = None;
    for keep in [true, false].into_iter().skip(usize::from(!keeps)) {
        for fused in [true, false] {
            for order in [UnitOrder::Connections, UnitOrder::Largest] {
                match attempt.at_scale(keep, fused, order) {
                    Some(Ok(placed)) => return Ok(placed),
                    // What the smallest piece lacks says most, of the placement that moves least.
                    Some(Err(shortage)) if first.as_ref().is_none_or(|(of, _)| *of == (keep, !fused)) => {
                        first = Some(((keep, fused), shortage));
                    }
                    _ => {}
                }
            }
        }
    }
    Err(first.expect("there was an attempt").1)
}

struct Attempt<'a> {
    ledger: &'a Ledger<'a>,
    task: &'a Task<'a>,
    rules: &'a Rules,
    preferred: &'a Preferred,
    reach: Reach,
}

impl Attempt<'_> {
    /// Packs at a scale at which there are as many workers as come out of it, or at which nothing is fused. `None` if
    /// something would be fused even so.
    fn at_scale(&self, keep: bool, fused: bool, order: UnitOrder) -> Option<Result<Placed, Shortage>> {
        let topology = self.task.topology();
        let asked = Scale::of(topology.options());
        let before = self.preferred.assignment.as_ref().filter(|_| keep);
        // What ran fused before still does.
        let mut workers = before.map_or(asked.workers, |assignment| assignment.workers().into());
        if !fused {
            let executors = Plan::new(topology, asked, 1).executors.len() as u32;
            let enough = executors.min(limits::WORKERS_MAX.into());
            if workers >= enough || topology.chains_at(Scale { workers, ..asked }).is_empty() {
                return None;
            }
            workers = enough;
        }
        loop {
            let scale = Scale { workers, ..asked };
            let plan = Plan::new(topology, scale, 1);
            let units = units(topology, &plan);
            let mut packing = Packing::new((self.ledger, self.task, self.rules), &units, self.reach);
            if keep {
                self.keep(&mut packing, &plan, &units);
            }
            let how = (order, &*self.rules.counts(), packing.room());
            let missing = in_order(topology, &units, &packing.placed, how);
            if let Err(shortage) = packing.pack(&missing) {
                return Some(Err(shortage));
            }
            let used = packing.workers.len() as u32;
            if used <= workers {
                return Some(Ok(self.placed(&packing, &units, scale)));
            }
            workers = used;
        }
    }

    /// Puts what runs where it is.
    fn keep(&self, packing: &mut Packing<'_>, plan: &Plan, units: &[Unit]) {
        let Some(assignment) = &self.preferred.assignment else { return };
        for (at, unit) in units.iter().enumerate() {
            let home = self.home_before(assignment, plan, unit.members[0]);
            if let Some((worker, place)) =
                home.and_then(|home| Some((home, *self.preferred.slots.get(&home)?)))
            {
                packing.keep(at, worker, place);
            }
        }
    }

    /// The worker that an executor of the plan had.
    fn home_before(&self, assignment: &Assignment, plan: &Plan, executor: ExecutorId) -> Option<WorkerId> {
        let part = plan.executors[executor.index()].part;
        let at = match part {
            Part::Component(at) => at,
            Part::Acker => self.task.topology().components().len(),
        };
        let number = executor.index() - plan.executors_of(part)[0].id.index();
        assignment.places_of(at).get(number).copied()
    }

    /// Gives workers their numbers and slots.
    fn placed(&self, packing: &Packing<'_>, units: &[Unit], scale: Scale) -> Placed {
        let names = self.names(packing, scale);
        let count: usize = units.iter().map(|unit| unit.members.len()).sum();
        let (mut homes, mut slots) = (vec![WorkerId(0); count], BTreeMap::new());
        for (packed, (worker, place)) in packing.workers.iter().zip(names) {
            slots.insert(worker, place);
            for member in packed.units.iter().flat_map(|unit| &units[*unit].members) {
                homes[member.index()] = worker;
            }
        }
        let before = self.preferred.assignment.as_ref();
        let (plan, assignment) = Assignment::given(self.task.topology(), scale, &homes, before);
        Placed::new(self.task, plan, assignment, &slots)
    }

    /// The number and the slot of each worker: those it had, or those of a worker that the topology had on its host, or
    /// new ones.
    fn names(&self, packing: &Packing<'_>, scale: Scale) -> Vec<(WorkerId, Place)> {
        let mut names: Vec<Option<(WorkerId, Place)>> = packing
            .workers
            .iter()
            .map(|packed| packed.was.map(|(worker, slot)| (worker, Place { host: packed.host, slot })))
            .collect();
        let mut numbers: BTreeSet<WorkerId> = names.iter().flatten().map(|(worker, _)| *worker).collect();
        let mut taken: BTreeSet<Place> = names.iter().flatten().map(|(_, place)| *place).collect();
        for (name, packed) in names.iter_mut().zip(&packing.workers).filter(|(name, _)| name.is_none()) {
            let before = self.preferred.slots.iter().find(|(worker, place)| {
                place.host == packed.host && !numbers.contains(worker) && !taken.contains(place)
            });
            let (worker, place) = match before {
                Some((worker, place)) => (*worker, *place),
                None => {
                    let unused = |worker: &WorkerId| !numbers.contains(worker);
                    let worker = (0..=u16::MAX).map(WorkerId).find(unused);
                    let host = packed.host;
                    let free = self.ledger.free_numbers(host).map(|slot| Place { host, slot });
                    let free = free.into_iter().find(|place| !taken.contains(place));
                    (worker.expect("there are fewer workers"), free.expect("its slot was counted"))
                }
            };
            numbers.insert(worker);
            taken.insert(place);
            *name = Some((worker, place));
        }
        let mut names: Vec<(WorkerId, Place)> = names.into_iter().flatten().collect();
        if names.iter().any(|(worker, _)| u32::from(worker.0) >= scale.workers) {
            let compact: BTreeMap<WorkerId, WorkerId> =
                numbers.into_iter().zip((0..).map(WorkerId)).collect();
            names.iter_mut().for_each(|(worker, _)| *worker = compact[worker]);
        }
        names
    }
}
