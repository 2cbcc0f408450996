//! Executors to workers: where each part of a plan runs.
//!
//! ```text
//!   executor    lines   split  split  split   count  count   __acker
//!   worker      0       1      2      1       2      0       0
//!               └────────── the acker stands where the spout does ──┘
//! ```
//!
//! Plan and placement are worked out together, because automatic ackers are one for each worker
//! that has spouts: spouts first, then the number of ackers is known, then everything else.
//!
//! 1. Even: the workers in use have as many executors as each other, or one more. There are as many
//!    workers in use as asked for, but not more than there are executors of spouts and bolts: a
//!    process that held an acker alone would only add a way over the network.
//! 2. Ackers stand with spouts. Automatic ones are one for each worker with spouts, on that worker,
//!    so that neither an init nor an outcome crosses the network. A fixed number is dealt to the
//!    workers with spouts as far as evenness allows.
//!    Executors that are chained behind others stand with these, and do not count.
//! 3. Each component is spread over as many workers as it can be within 1 and 2.
//! 4. Stable: what was placed before stays, unless evenness asks for its move; then as few executors
//!    move as can be. An assignment in which nothing had to change comes back as it was.
//! 5. Deterministic: the same arguments give the same assignment, in every process.
//!
//! What a move costs (the state of its tasks) and which worker is near which is not looked at here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::AutoOr;
use crate::ids::WorkerId;
use crate::topology::chains::Scale;
use crate::topology::graph::{Component, Topology};
use crate::topology::plan::{ExecutorId, Part, Plan};

/// Which worker runs which executor. Its version is sent in every handshake, so that two workers
/// with different assignments never exchange a tuple.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// From 1; one more whenever anything about it changes.
    pub version: u64,
    /// Workers that were asked for; some may have nothing to do.
    pub(super) workers: u16,
    /// Driver threads of each worker, as the chains were worked out for.
    pub(super) threads: u32,
    /// Executors of each component, then of the ackers, in the order of the plan. Shows whether a
    /// plan is the one that was placed, and which executor of an earlier plan is which of a later.
    pub(super) shape: Vec<u32>,
    /// By executor.
    pub(super) worker_of: Vec<WorkerId>,
}

impl Assignment {
    /// The worker that runs an executor.
    ///
    /// # Panics
    /// When the assignment has no such executor.
    pub fn worker_of(&self, executor: ExecutorId) -> WorkerId {
        self.worker_of[executor.index()]
    }

    /// The executors that a worker runs, by id; none for one that there is not.
    pub fn executors_on(&self, worker: WorkerId) -> impl Iterator<Item = ExecutorId> + use<'_> {
        let all = self.worker_of.iter().enumerate();
        all.filter(move |(_, of)| **of == worker).map(|(index, _)| executor(index))
    }

    /// How many executors are placed.
    pub fn executor_count(&self) -> usize {
        self.worker_of.len()
    }

    fn scale(&self) -> Scale {
        Scale { workers: self.workers.into(), threads: self.threads }
    }

    /// The workers that were asked for.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// The workers that have something to do, by id. The others need not be started.
    pub fn used_workers(&self) -> Vec<WorkerId> {
        let mut used = self.worker_of.clone();
        used.sort_unstable();
        used.dedup();
        used
    }

    /// Whether a worker runs a spout.
    pub fn has_spouts(&self, topology: &Topology, plan: &Plan, worker: WorkerId) -> bool {
        let is_spout = |part| matches!(part, Part::Component(at) if topology.components()[at].is_spout());
        self.executors_on(worker).any(|executor| is_spout(plan.executors[executor.index()].part))
    }

    /// The plan that was placed, if it is one of this topology: how a worker, which is sent the
    /// assignment, finds the plan of its parent.
    pub fn plan(&self, topology: &Topology) -> Option<Plan> {
        let sound = self.worker_of.iter().all(|worker| worker.0 < self.workers);
        // The numbers of spouts do not depend on that of ackers, which come last.
        let scale = self.scale();
        let with_any = Plan::new(topology, scale, 1);
        let mut with_spouts: Vec<WorkerId> = (0..topology.components().len())
            .filter(|at| topology.components()[*at].is_spout())
            .flat_map(|at| with_any.executors_of(Part::Component(at)))
            .filter_map(|spout| self.worker_of.get(spout.id.index()).copied())
            .collect();
        with_spouts.sort_unstable();
        with_spouts.dedup();
        let plan = Plan::new(topology, scale, with_spouts.len() as u32);
        let fits = self.shape == shape(topology, &plan) && self.worker_of.len() == plan.executors.len();
        let home = |executor: ExecutorId| self.worker_of.get(executor.index());
        let together = plan
            .executors
            .iter()
            .all(|executor| executor.behind.is_none_or(|before| home(before) == home(executor.id)));
        (sound && fits && together).then_some(plan)
    }
}

/// Works out the plan of a topology for so many workers, and which worker runs which executor.
///
/// What `previous` assigns is kept as far as possible, see the module.
///
/// # Panics
/// Without any worker.
pub fn place(topology: &Topology, workers: u16, previous: Option<&Assignment>) -> (Plan, Assignment) {
    assert!(workers > 0, "a topology runs in at least one worker");
    let scale = Scale { workers: workers.into(), ..Scale::of(topology.options()) };
    if let Some(previous) = previous.filter(|previous| previous.scale() == scale)
        && let Some(plan) = previous.plan(topology)
    {
        return (plan, previous.clone());
    }
    let mut placing = Placing::new(topology, scale);
    if let Some(previous) = previous {
        placing.keep(previous);
    }
    placing.place_spouts();
    placing.place_fixed_ackers();
    placing.place_bolts();
    placing.even_out();
    let with_spouts = placing.workers_with_spouts().count() as u32;
    let plan = Plan::new(topology, scale, with_spouts);
    let assignment = Assignment {
        version: previous.map_or(1, |previous| previous.version + 1),
        workers,
        threads: scale.threads,
        shape: shape(topology, &plan),
        worker_of: placing.into_places(&plan, previous),
    };
    (plan, assignment)
}

/// Which ackers may follow the messages of a spout's executor, as positions among the executors of
/// [`Part::Acker`]: those on its own worker, or all if there is none. Empty if nothing is tracked.
pub fn ackers_for(plan: &Plan, assignment: &Assignment, spout: ExecutorId) -> Vec<usize> {
    let home = assignment.worker_of(spout);
    let ackers = plan.executors_of(Part::Acker);
    let is_near = |index: &usize| assignment.worker_of(ackers[*index].id) == home;
    let near: Vec<usize> = (0..ackers.len()).filter(is_near).collect();
    if near.is_empty() { (0..ackers.len()).collect() } else { near }
}

/// Executors of each part.
pub(super) fn shape(topology: &Topology, plan: &Plan) -> Vec<u32> {
    let components = (0..topology.components().len()).map(Part::Component);
    components.chain([Part::Acker]).map(|part| plan.executors_of(part).len() as u32).collect()
}

fn executor(index: usize) -> ExecutorId {
    ExecutorId(u32::try_from(index).expect("executors are numbered by u32"))
}

/// A placement in the making. A *part* is a component, or after all of them the ackers, here as a
/// number; an executor is named by its number in its part.
struct Placing {
    /// Executors of each part. Automatic ackers are none here: they follow from where spouts are. Nor are
    /// executors that are chained behind others.
    sizes: Vec<u32>,
    /// Of each component that is chained: the producer.
    chains: BTreeMap<usize, usize>,
    /// Whether each part is a spout.
    is_spout: Vec<bool>,
    /// Whether each worker with spouts has an acker of its own.
    automatic: bool,
    /// The workers in use.
    on: Vec<Share>,
}

/// What one worker has.
#[derive(Clone, Default)]
struct Share {
    /// Executors by part, those of a part as they were put.
    executors: BTreeMap<usize, Vec<u32>>,
    /// How many these are, those of spouts, and both with the automatic acker.
    placed: u32,
    spouts: u32,
    load: u32,
}

impl Share {
    fn count(&self, part: usize) -> usize {
        self.executors.get(&part).map_or(0, Vec::len)
    }
}

impl Placing {
    fn new(topology: &Topology, scale: Scale) -> Placing {
        let mut sizes = shape(topology, &Plan::new(topology, scale, 1));
        let ackers = sizes.len() - 1;
        let automatic = sizes[ackers] > 0 && topology.options().ackers == AutoOr::Auto;
        if automatic {
            sizes[ackers] = 0;
        }
        let chains = topology.chains_at(scale);
        chains.keys().for_each(|chained| sizes[*chained] = 0);
        let users: u32 = sizes[..ackers].iter().sum();
        let in_use = scale.workers.min(users).max(1) as usize;
        let is_spout = topology.components().iter().map(Component::is_spout).chain([false]).collect();
        Placing { sizes, chains, is_spout, automatic, on: vec![Share::default(); in_use] }
    }

    fn ackers(&self) -> usize {
        self.sizes.len() - 1
    }

    fn workers_with_spouts(&self) -> impl Iterator<Item = usize> {
        (0..self.on.len()).filter(|worker| self.on[*worker].spouts > 0)
    }

    fn put(&mut self, part: usize, executor: u32, worker: usize) {
        let share = &mut self.on[worker];
        share.executors.entry(part).or_default().push(executor);
        share.placed += 1;
        share.spouts += u32::from(self.is_spout[part]);
        self.weigh(worker);
    }

    /// Takes the last executor of a part away from a worker that has one.
    fn take(&mut self, part: usize, worker: usize) -> u32 {
        let share = &mut self.on[worker];
        let of_part = share.executors.get_mut(&part).expect("the caller saw one");
        let executor = of_part.pop().expect("the caller saw one");
        if of_part.is_empty() {
            share.executors.remove(&part);
        }
        share.placed -= 1;
        share.spouts -= u32::from(self.is_spout[part]);
        self.weigh(worker);
        executor
    }

    fn weigh(&mut self, worker: usize) {
        let share = &mut self.on[worker];
        share.load = share.placed + u32::from(self.automatic && share.spouts > 0);
    }

    /// Puts what an earlier assignment placed on workers that are still there where it was. An
    /// acker that has no spouts beside it any more is placed anew.
    fn keep(&mut self, previous: &Assignment) {
        if previous.shape.len() != self.sizes.len() {
            return;
        }
        let mut places = previous.worker_of.iter();
        for (part, size) in previous.shape.iter().enumerate() {
            for (executor, place) in (0..*size).zip(places.by_ref()) {
                let stays = place.index() < self.on.len() && executor < self.sizes[part];
                let is_stray =
                    part == self.ackers() && self.on.get(place.index()).is_none_or(|s| s.spouts == 0);
                if stays && !is_stray {
                    self.put(part, executor, place.index());
                }
            }
        }
    }

    /// The executors of a part that have no worker yet.
    fn missing(&self, part: usize) -> Vec<u32> {
        let mut missing = vec![true; self.sizes[part] as usize];
        let placed = self.on.iter().filter_map(|share| share.executors.get(&part)).flatten();
        placed.for_each(|executor| missing[*executor as usize] = false);
        (0..self.sizes[part]).filter(|executor| missing[*executor as usize]).collect()
    }

    /// Spouts go where the least is.
    fn place_spouts(&mut self) {
        for part in (0..self.sizes.len()).filter(|part| self.is_spout[*part]).collect::<Vec<_>>() {
            for executor in self.missing(part) {
                let share = |worker: &usize| (self.on[*worker].load, self.on[*worker].count(part));
                let worker = (0..self.on.len()).min_by_key(share).expect("there is a worker");
                self.put(part, executor, worker);
            }
        }
    }

    /// Ackers of a fixed number go to workers with spouts while these have room.
    fn place_fixed_ackers(&mut self) {
        let part = self.ackers();
        for executor in self.missing(part) {
            let room = self.room();
            let share = |worker: &usize| (self.on[*worker].count(part), self.on[*worker].load);
            let near = self.workers_with_spouts().filter(|worker| room.is_on(&self.on[*worker]));
            let worker = near.min_by_key(share).or_else(|| {
                (0..self.on.len()).filter(|worker| room.is_on(&self.on[*worker])).min_by_key(share)
            });
            self.put(part, executor, worker.expect("there is room for every executor"));
        }
    }

    /// Each bolt goes where fewest of it are, and among these where there is most room: so that
    /// there is some left on as many workers as can be for those that follow (Gale and Ryser).
    fn place_bolts(&mut self) {
        let bolts: Vec<usize> = (0..self.ackers()).filter(|part| !self.is_spout[*part]).collect();
        for part in bolts {
            for executor in self.missing(part) {
                let room = self.room();
                let share = |worker: &usize| (self.on[*worker].count(part), self.on[*worker].load);
                let with_room = (0..self.on.len()).filter(|worker| room.is_on(&self.on[*worker]));
                let worker = with_room.min_by_key(share).expect("there is room for every executor");
                self.put(part, executor, worker);
            }
        }
    }

    /// How much a worker may have so that all are even in the end.
    fn room(&self) -> Room {
        let automatic = if self.automatic { self.workers_with_spouts().count() as u32 } else { 0 };
        let all = self.sizes.iter().sum::<u32>() + automatic;
        let workers = self.on.len() as u32;
        let floor = all / workers;
        let above = self.on.iter().filter(|share| share.load > floor).count() as u32;
        Room { floor, may_exceed: above < all % workers }
    }

    /// Moves executors from the fullest worker to the emptiest until all are even.
    ///
    /// It ends: a worker with spouts keeps one, so the number of these workers only grows; and
    /// while it is the same, each move makes the sum of the squares of the loads smaller.
    fn even_out(&mut self) {
        while let Some((from, to)) = self.uneven() {
            let part = self.to_move(from, to).expect("the fullest worker has more than one executor");
            let executor = self.take(part, from);
            self.put(part, executor, to);
        }
    }

    /// A worker that should give to another, if there is any.
    fn uneven(&self) -> Option<(usize, usize)> {
        let load = |worker: usize| self.on[worker].load;
        let workers = 0..self.on.len();
        let to = workers.clone().min_by_key(|worker| load(*worker))?;
        let most = workers.clone().map(load).max()?;
        // A worker with a spout and its acker alone has nothing to give. If it is among the
        // fullest, and another has nothing, then so is one with two executors of components.
        let fullest = workers.filter(|worker| load(*worker) == most && self.on[*worker].placed > 1);
        let from = fullest.max_by_key(|from| (self.gives_spout(*from, to), Reverse(*from)));
        from.filter(|_| most - load(to) > 1).map(|from| (from, to))
    }

    /// Whether a spout may move: it takes an acker along, as it were, so that one move does for two.
    fn gives_spout(&self, from: usize, to: usize) -> bool {
        let (from, to) = (&self.on[from], &self.on[to]);
        self.automatic && from.spouts > 1 && to.spouts == 0 && from.load - to.load > 2
    }

    /// Of which part an executor moves: that which gains most by it.
    fn to_move(&self, from: usize, to: usize) -> Option<usize> {
        let spout_first = self.gives_spout(from, to);
        let (from, to) = (&self.on[from], &self.on[to]);
        let may_move = |part: &usize| !self.is_spout[*part] || from.spouts > 1;
        let gain = |part: &usize| {
            let surplus = from.count(*part) as i64 - to.count(*part) as i64;
            let is_first = spout_first && self.is_spout[*part];
            (*part != self.ackers(), is_first, surplus, Reverse(*part))
        };
        from.executors.keys().copied().filter(may_move).max_by_key(gain)
    }

    /// The worker of each executor of the plan.
    fn into_places(mut self, plan: &Plan, previous: Option<&Assignment>) -> Vec<WorkerId> {
        if self.automatic {
            self.place_automatic_ackers(previous);
        }
        let mut by_part: Vec<Vec<WorkerId>> =
            self.sizes.iter().map(|size| vec![WorkerId(0); *size as usize]).collect();
        for (worker, share) in (0..).zip(&self.on) {
            for (part, executors) in &share.executors {
                executors.iter().for_each(|executor| by_part[*part][*executor as usize] = WorkerId(worker));
            }
        }
        let places = (0..by_part.len()).flat_map(|part| by_part[self.head_of(part)].clone());
        let places: Vec<WorkerId> = places.collect();
        debug_assert_eq!(places.len(), plan.executors.len());
        places
    }

    /// The first component of a chain.
    fn head_of(&self, mut part: usize) -> usize {
        while let Some(before) = self.chains.get(&part) {
            part = *before;
        }
        part
    }

    /// One for each worker with spouts, and the one it had before if it can be.
    fn place_automatic_ackers(&mut self, previous: Option<&Assignment>) {
        let part = self.ackers();
        let mut without: Vec<usize> = self.workers_with_spouts().collect();
        self.sizes[part] = without.len() as u32;
        self.automatic = false;
        let same_parts = previous.filter(|previous| previous.shape.len() == self.sizes.len());
        let before = same_parts.map_or(&[][..], |previous| {
            let ackers = previous.shape[part] as usize;
            &previous.worker_of[previous.worker_of.len().saturating_sub(ackers)..]
        });
        for (executor, worker) in (0..self.sizes[part]).zip(before) {
            if let Some(at) = without.iter().position(|with| *with == worker.index()) {
                self.put(part, executor, without.remove(at));
            }
        }
        for (executor, worker) in self.missing(part).into_iter().zip(without) {
            self.put(part, executor, worker);
        }
    }
}

/// How much workers may have.
struct Room {
    /// What every worker has in the end.
    floor: u32,
    /// Whether one more worker may have one more.
    may_exceed: bool,
}

impl Room {
    fn is_on(&self, share: &Share) -> bool {
        share.load < self.floor || (share.load == self.floor && self.may_exceed)
    }
}

#[cfg(test)]
mod tests;
