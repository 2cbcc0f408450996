//! Which target a tuple goes to.
//!
//! A [`TargetSelector`] carries out a grouping for one emitting task and one subscriber. It works on
//! positions in the subscriber's list of tasks. It has no access to queues: loads are passed in, and
//! `subscription` sends the tuples.
//!
//! Fields grouping uses *key groups*: the hash of the key picks one of a fixed number of groups, and a
//! table maps the group to the task that owns it. Rescaling then moves groups, not keys. Groups are spread
//! over tasks by Flink's formula (`KeyGroupRangeAssignment`).

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::api::CustomGrouping;
use crate::ids::TaskId;
use crate::logging::panics::guarded;
use crate::tuple::hash::{stable_hash, stable_hash_all};
use crate::tuple::{TupleBatch, Value};

/// Picks targets, by their position in the list of the subscriber's tasks.
pub enum TargetSelector {
    /// Whole batches go to the first task: it is the only one, or the grouping is global.
    First,
    /// Whole batches go to this task of the bolt that is chained behind the executor.
    Chained {
        /// The task.
        task: TaskId,
        /// Its number among the tasks of its executor.
        local_task: u32,
    },
    /// Whole batches go to every task.
    All,
    /// The target is chosen for each tuple.
    Each(TupleSelector),
}

/// Picks the target of one tuple.
pub enum TupleSelector {
    /// Evenly, or by load.
    Shuffle(Shuffle),
    /// By key group.
    Fields(KeyGroups),
    /// One of two tasks by key: the one that this emitter has sent fewer tuples to.
    PartialKey(PartialKey),
    /// A random one.
    Random(Box<StdRng>),
    /// The emitting task names it.
    Direct,
    /// The user's own grouping chooses.
    Custom(CustomSelector),
}

/// A custom grouping with its targets.
pub struct CustomSelector {
    /// The user's object, until it is dropped.
    grouping: Option<Box<dyn CustomGrouping>>,
    /// The subscriber's tasks.
    targets: Vec<TaskId>,
    /// The tasks it chose last; kept to save the allocation.
    chosen: Vec<TaskId>,
}

impl Drop for CustomSelector {
    /// The grouping is dropped only with its task, so a panic in its drop is ignored.
    fn drop(&mut self) {
        let grouping = self.grouping.take();
        let _ = guarded(|| drop(grouping));
    }
}

impl CustomSelector {
    /// A grouping that has been prepared for these tasks.
    pub fn new(grouping: Box<dyn CustomGrouping>, targets: Vec<TaskId>) -> CustomSelector {
        CustomSelector { grouping: Some(grouping), targets, chosen: Vec::new() }
    }

    /// Calls the grouping and returns the positions of the targets it chose; `None` if it panicked. The
    /// second value is a fault to report: the grouping panicked, or chose a task that is no target.
    #[cold]
    pub fn choose(&mut self, tuple: &[Value]) -> (Option<Vec<usize>>, Option<String>) {
        let CustomSelector { grouping, targets, chosen } = self;
        chosen.clear();
        let Some(grouping) = grouping else { return (None, None) };
        if let Err(panic) = guarded(|| grouping.choose(tuple, targets, chosen)) {
            return (None, Some(format!("grouping {panic}")));
        }
        let position = |task: &TaskId| targets.iter().position(|target| target == task);
        let positions: Vec<usize> = chosen.iter().filter_map(position).collect();
        let strangers = positions.len() < chosen.len();
        let fault = strangers.then(|| "grouping chose a task that is no target".to_owned());
        (Some(positions), fault)
    }
}

/// Which task owns each key group: `group → position of the task`.
#[derive(Clone, Debug)]
pub struct KeyGroups {
    /// Where the key's fields stand in the tuple.
    pub positions: Vec<usize>,
    /// The owner of each group.
    pub table: Arc<[u32]>,
}

impl KeyGroups {
    /// Spreads `groups` evenly over `tasks`, in contiguous ranges.
    pub fn new(positions: Vec<usize>, groups: u32, tasks: usize) -> KeyGroups {
        let owner = |group: u32| KeyGroups::owner_of(group, groups, tasks as u32);
        KeyGroups { positions, table: (0..groups).map(owner).collect() }
    }

    fn owner_of(group: u32, groups: u32, tasks: u32) -> u32 {
        (u64::from(group) * u64::from(tasks) / u64::from(groups)) as u32
    }

    /// The position of the task that owns a key with this hash.
    pub fn owner(hash: u64, groups: u32, tasks: u32) -> u32 {
        KeyGroups::owner_of(KeyGroups::group(hash, groups as usize) as u32, groups, tasks)
    }

    /// The group of a hash: its high bits, so that any number of groups is filled evenly.
    #[inline]
    fn group(hash: u64, groups: usize) -> usize {
        ((u128::from(hash) * groups as u128) >> 64) as usize
    }

    /// The position of the task that owns a tuple's key.
    #[inline]
    pub fn choose(&self, tuple: &[Value]) -> usize {
        self.owner_of_hash(hash_key(&self.positions, tuple)) as usize
    }

    #[inline]
    fn owner_of_hash(&self, hash: u64) -> u32 {
        self.table[KeyGroups::group(hash, self.table.len())]
    }

    /// The positions of the tasks that own the keys of the tuples of a batch.
    pub fn choose_all(&self, batch: &TupleBatch, owners: &mut Vec<u32>) {
        owners.clear();
        let rows = (0..batch.len()).map(|tuple| batch.row(tuple));
        match self.positions[..] {
            [only] => owners.extend(rows.map(|row| self.owner_of_hash(stable_hash(&row[only])))),
            _ => owners.extend(rows.map(|row| self.owner_of_hash(hash_key(&self.positions, row)))),
        }
    }
}

#[inline]
fn hash_key(positions: &[usize], tuple: &[Value]) -> u64 {
    match positions {
        [only] => stable_hash(&tuple[*only]),
        several => stable_hash_all(several.iter().map(|position| &tuple[*position])),
    }
}

/// Partial key grouping (Nasir et al., "The power of both choices", ICDE 2015): two candidate
/// tasks per key, and the tuple goes to the one this emitter has sent less to.
#[derive(Clone, Debug)]
pub struct PartialKey {
    positions: Vec<usize>,
    sent: Vec<u64>,
}

impl PartialKey {
    /// Over this many tasks.
    pub fn new(positions: Vec<usize>, tasks: usize) -> PartialKey {
        PartialKey { positions, sent: vec![0; tasks] }
    }

    /// The position of the task for a tuple.
    pub fn choose(&mut self, tuple: &[Value]) -> usize {
        let tasks = self.sent.len();
        let hash = hash_key(&self.positions, tuple);
        let first = KeyGroups::group(hash, tasks);
        // The second candidate comes from other bits of the hash and is never the first.
        let step = 1 + KeyGroups::group(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15), tasks - 1);
        let second = (first + step) % tasks;
        let chosen = if self.sent[first] <= self.sent[second] { first } else { second };
        self.sent[chosen] += 1;
        chosen
    }
}

/// Shuffle grouping, as Storm's `LoadAwareShuffleGrouping`. A ring of slots is walked in a shuffled order,
/// and each target has a share of the slots. At each refresh a target's share falls by ten points if the
/// target is loaded, and grows by one point if not. With equal loads the distribution is exactly even. In
/// addition, a target without credit is skipped while another target has credit.
#[derive(Debug)]
pub struct Shuffle {
    /// 0 to 100 per target.
    weights: Vec<u8>,
    ring: Vec<u32>,
    position: usize,
    /// The target that was last chosen in place of one without credit.
    instead: usize,
    rng: Box<StdRng>,
}

/// Slots per target in the ring, and the minimum for the whole ring.
const RING_PER_TARGET: usize = 5;
const RING_MIN: usize = 1000;
/// By how much a weight falls or grows at a refresh.
const WEIGHT_LOSS: u8 = 10;
const WEIGHT_GAIN: u8 = 1;
const WEIGHT_MAX: u8 = 100;
/// A target counts as loaded if its load is this much above that of the least loaded target.
const LOAD_MARGIN: f32 = 0.05;

impl Shuffle {
    /// Over this many targets. The seed decides the order of the ring.
    pub fn new(targets: usize, seed: u64) -> Shuffle {
        let mut shuffle = Shuffle {
            weights: vec![WEIGHT_MAX; targets],
            ring: Vec::new(),
            position: 0,
            instead: 0,
            rng: Box::new(StdRng::seed_from_u64(seed)),
        };
        shuffle.rebuild();
        shuffle
    }

    /// The next position.
    #[inline]
    pub fn next(&mut self) -> usize {
        let chosen = self.ring[self.position];
        self.position += 1;
        if self.position == self.ring.len() {
            self.position = 0;
        }
        chosen as usize
    }

    /// The next position of the ring, if it passes `fits`. Otherwise one of the targets that pass, in turn.
    /// If none passes, the next position all the same. The search goes over targets and not over the ring,
    /// because nearly all slots of the ring may belong to one full target.
    #[inline]
    pub fn next_where(&mut self, fits: impl Fn(usize) -> bool) -> usize {
        let first = self.next();
        if fits(first) { first } else { self.next_instead(fits).unwrap_or(first) }
    }

    #[cold]
    fn next_instead(&mut self, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let targets = self.weights.len();
        let mut in_turn = (self.instead + 1..targets).chain(0..=self.instead);
        self.instead = in_turn.find(|position| fits(*position))?;
        Some(self.instead)
    }

    /// Adjusts the shares of all targets to their loads (0 to 1).
    pub fn refresh(&mut self, loads: impl Iterator<Item = f32> + Clone) {
        let least = loads.clone().fold(f32::INFINITY, f32::min);
        let mut changed = false;
        for (weight, load) in self.weights.iter_mut().zip(loads) {
            let before = *weight;
            *weight = if load <= least + LOAD_MARGIN {
                (before + WEIGHT_GAIN).min(WEIGHT_MAX)
            } else {
                before.saturating_sub(WEIGHT_LOSS)
            };
            changed |= *weight != before;
        }
        if changed {
            self.rebuild();
        }
    }

    #[cfg(test)]
    /// The shares of the targets, 0 to 100 each.
    pub fn weights(&self) -> &[u8] {
        &self.weights
    }

    fn rebuild(&mut self) {
        let total: usize = self.weights.iter().map(|weight| usize::from(*weight)).sum();
        let targets = self.weights.len();
        self.ring.clear();
        if total == targets * usize::from(WEIGHT_MAX) || total == 0 {
            // All alike: rounds of a permutation, so that every round is exactly even.
            let mut order: Vec<u32> = (0..targets as u32).collect();
            shuffle_in_place(&mut order, &mut self.rng);
            self.ring = order;
        } else {
            let slots = RING_MIN.max(RING_PER_TARGET * targets);
            for (target, weight) in self.weights.iter().enumerate() {
                let share = usize::from(*weight) * slots / total;
                self.ring.extend(std::iter::repeat_n(target as u32, share));
            }
            shuffle_in_place(&mut self.ring, &mut self.rng);
        }
        self.position = 0;
    }
}

fn shuffle_in_place(items: &mut [u32], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn shares(shuffle: &mut Shuffle, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; shuffle.weights.len()];
        (0..picks).for_each(|_| counts[shuffle.next()] += 1);
        counts
    }

    #[test]
    fn storm_shuffle_two_tasks_get_half_each() {
        let counts = shares(&mut Shuffle::new(2, 1), 100_000);
        assert!(counts.iter().all(|n| (49_000..=51_000).contains(n)), "{counts:?}");
    }

    #[test]
    fn storm_shuffle_six_tasks_are_exactly_even() {
        assert_eq!(shares(&mut Shuffle::new(6, 2), 30_000), [5_000; 6]);
    }

    /// Storm's `ShuffleGroupingTest` also lets 10 threads share one grouping, 50,000 picks for each of
    /// 6 tasks. Nothing is shared here: each emitting task has a grouping of its own, and ten of those
    /// come to the same.
    #[test]
    fn storm_shuffle_ten_emitters_are_exactly_even_together() {
        let mut counts = [0; 6];
        for seed in 0..10 {
            let of_one = shares(&mut Shuffle::new(6, seed), 30_000);
            counts.iter_mut().zip(of_one).for_each(|(all, one)| *all += one);
        }
        assert_eq!(counts, [50_000; 6]);
    }

    #[test]
    fn storm_load_aware_share_follows_the_loads() {
        let mut shuffle = Shuffle::new(2, 3);
        for k in 1..=10 {
            shuffle.refresh([1.0, 0.0].into_iter());
            let share = shares(&mut shuffle, 100_000)[0] as f64 / 100_000.0;
            let expected = f64::from(100 - 10 * k) / f64::from(200 - 10 * k);
            assert!((share - expected).abs() < 0.01, "after {k} refreshes {share}, expected {expected}");
        }
        assert_eq!(shuffle.weights(), [0, 100]);
        for k in 1..=100_u8 {
            shuffle.refresh([0.0, 1.0].into_iter());
            assert_eq!(shuffle.weights(), [k, 100_u8.saturating_sub(k.saturating_mul(10))]);
        }
    }

    #[test]
    fn storm_load_aware_equal_loads_are_near_even() {
        for targets in [7, 1000] {
            let mut shuffle = Shuffle::new(targets, 4);
            shuffle.refresh(std::iter::repeat_n(0.3, targets));
            let counts = shares(&mut shuffle, 5_000 * targets);
            assert!(counts.iter().all(|n| (4_950..=5_050).contains(n)), "{targets}: {counts:?}");
        }
    }

    #[test]
    fn what_a_full_target_does_not_take_goes_round_the_others_with_few_questions() {
        let mut shuffle = Shuffle::new(10, 1);
        // Nearly all of the ring is target 0's, and only targets 3 and 7 have credit.
        for _ in 0..10 {
            shuffle.refresh((0..10).map(|target| if target == 0 { 0.0 } else { 1.0 }));
        }
        let (asked, mut counts) = (Cell::new(0), [0_usize; 10]);
        for _ in 0..1000 {
            let fits = |position| {
                asked.set(asked.get() + 1);
                [3, 7].contains(&position)
            };
            counts[shuffle.next_where(fits)] += 1;
        }
        assert_eq!((counts[3] + counts[7], counts[3].abs_diff(counts[7]) <= 20), (1000, true), "{counts:?}");
        assert!(asked.get() <= 11 * 1000, "{} questions for 1000 tuples", asked.get());
        (0..100).for_each(|_| counts[shuffle.next_where(|_| false)] += 1);
        assert_eq!(counts.iter().sum::<usize>(), 1100, "somebody gets it even if nobody has credit");
    }

    #[test]
    fn a_target_without_credit_is_passed_over_while_another_has_some() {
        let mut shuffle = Shuffle::new(3, 5);
        for _ in 0..100 {
            assert_ne!(shuffle.next_where(|position| position != 1), 1);
        }
        shuffle.next_where(|_| false);
    }

    #[test]
    fn storm_partial_key_alternates_between_two_tasks() {
        let key = [Value::from("key")];
        let mut grouping = PartialKey::new(vec![0], 6);
        let picks: Vec<_> = (0..4).map(|_| grouping.choose(&key)).collect();
        assert_ne!(picks[0], picks[1]);
        assert_eq!((picks[0], picks[1]), (picks[2], picks[3]));
    }

    #[test]
    fn equal_keys_share_a_task_and_bytes_count_by_content() {
        let groups = KeyGroups::new(vec![1], 1024, 7);
        let first = groups.choose(&[Value::Null, Value::from(vec![1, 2, 3])]);
        let second = groups.choose(&[Value::from(5), Value::from(&[1_u8, 2, 3][..])]);
        assert_eq!(first, second);
    }

    #[test]
    fn key_groups_are_even_and_rescaling_moves_whole_groups() {
        for tasks in [1, 2, 3, 7, 128] {
            let groups = KeyGroups::new(vec![0], 1024, tasks);
            let mut owned = vec![0_usize; tasks];
            groups.table.iter().for_each(|task| owned[*task as usize] += 1);
            let (low, high) = (1024 / tasks, 1024_usize.div_ceil(tasks));
            assert!(owned.iter().all(|n| (low..=high).contains(n)), "{tasks}: {owned:?}");
        }
        let keys = (0..10_000).map(|n| [Value::from(n)]);
        let groups = KeyGroups::new(vec![0], 1024, 7);
        let mut counts = [0; 7];
        keys.for_each(|key| counts[groups.choose(&key)] += 1);
        assert!(counts.iter().all(|n| (1_250..=1_600).contains(n)), "{counts:?}");
    }
}
