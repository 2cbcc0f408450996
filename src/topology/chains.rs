//! Which neighbours run fused: without a queue between them, in one executor.
//!
//! ```text
//!   lines ──▶ split ──fields──▶ count ──▶ print         components
//!   └── one executor ──┘        └── one executor ──┘    executors
//! ```
//!
//! Where a bolt is chained behind its producer, each task of the producer hands its tuples to one task of the
//! bolt, which executes them in the same step. That costs no queue, no credit and no record for an acker.
//! But both share a core, and each task of the bolt gets the tuples of one task, however uneven these are.
//!
//! A bolt may be chained behind its producer if all of this holds:
//!
//! 1. The bolt has one input, and no other bolt takes anything of its producer but dead letters. The input is
//!    not on a cycle.
//! 2. Both have as many tasks and as many executors.
//! 3. The grouping leaves it open which task gets a tuple (shuffle, local-or-shuffle, none), or there is only
//!    one task to choose from (global, all, fields, partial-key). A grouping in which the emitter or the user
//!    decides (direct, custom) may decide that nobody gets a tuple, so it stays.
//! 4. Neither waits in its calls (`blocking`).
//! 5. Neither has `chain = "off"`, nor has the topology, which counts for those that do not set it. Neither is in a
//!    group of components that must not share a worker (`scheduling.exclusive`).
//! 6. The chain is not longer than [`CHAIN_MAX`].
//!
//! Of these, only as many are chained as leave enough executors to schedule ([`Scale::executors_wanted`]): a
//! chain saves work, but what runs in one executor cannot run on two cores. While there are too few executors,
//! the longest chain is cut in half. Where the topology runs on several workers, each gets something to do.
//!
//! All of it follows from the topology and the scale, so every worker finds the same chains.

use std::collections::{BTreeMap, BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::config::limits::CHAIN_MAX;
use crate::config::{AutoOr, ChainMode, TopologyOptions};
use crate::ids::DEAD_LETTER_STREAM;
use crate::topology::graph::{Component, Grouping, Topology};
use crate::topology::order::Edge;
use crate::topology::queue_shares::Crew;

/// Where several threads share the executors, so many for each: with fewer, threads run out of work while
/// another has too much. See docs/performance.md, "Chains".
const EXECUTORS_PER_THREAD: u64 = 2;

/// Where a topology runs: what decides how many executors it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Workers.
    pub workers: u32,
    /// Driver threads of each.
    pub threads: u32,
}

impl Scale {
    /// The scale that the options set. Where they leave the number of threads to the machine, it is taken as one, as in a
    /// simulation, unless [`TopologyOptions::resolve_threads`] was called.
    pub fn of(options: &TopologyOptions) -> Scale {
        let threads = match options.threads {
            AutoOr::Fixed(threads) => threads,
            AutoOr::Auto => 1,
        };
        Scale { workers: options.workers, threads }
    }

    /// How many executors should be scheduled, so that chains cost no core its work: one for each worker that
    /// has one thread, `EXECUTORS_PER_THREAD` for each thread where there are several.
    pub fn executors_wanted(self) -> u64 {
        let each = if self.threads <= 1 { 1 } else { u64::from(self.threads) * EXECUTORS_PER_THREAD };
        u64::from(self.workers) * each
    }
}

impl Topology {
    /// The bolts that run fused with their producer, as positions in [`Topology::components`]: each bolt with
    /// the producer that it is chained behind.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::topology::declare::parse_str;
    ///
    /// let text = "
    ///     [topology]
    ///     name = 'words'
    ///     [spout.lines]
    ///     type = 'generate'
    ///     config.fields = { line = 'to be' }
    ///     [bolt.split]
    ///     type = 'split'
    ///     inputs = ['lines']
    ///     [bolt.count]
    ///     type = 'count'
    ///     config.by = ['word']
    ///     parallelism = 4
    ///     inputs = [{ from = 'split', grouping = 'fields', fields = ['word'] }]
    /// ";
    /// let topology = parse_str("words", text, &Registry::with_standard()).unwrap();
    /// assert_eq!(topology.chains(), [(1, 0)].into(), "`split` behind `lines`; `count` has more tasks");
    /// ```
    pub fn chains(&self) -> BTreeMap<usize, usize> {
        self.chains_at(Scale::of(self.options()))
    }

    /// The same, for a run at another scale than that of the options.
    pub fn chains_at(&self, scale: Scale) -> BTreeMap<usize, usize> {
        let edges = self.edges();
        let cycles = self.cycle_edges();
        let letters =
            |edge: &Edge| self.components()[edge.to].inputs[edge.input].stream == DEAD_LETTER_STREAM;
        let mut consumers = vec![0; self.components().len()];
        edges.iter().filter(|edge| !letters(edge)).for_each(|edge| consumers[edge.from] += 1);
        let mut found = BTreeMap::new();
        for edge in edges.iter().filter(|edge| !letters(edge) && !cycles.contains(&(edge.from, edge.to))) {
            let inputs = self.components()[edge.to].inputs.len();
            if inputs == 1 && consumers[edge.from] == 1 && self.may_be_chained(edge) {
                found.insert(edge.to, edge.from);
            }
        }
        self.cut_long(&mut found);
        self.cut_for_cores(&mut found, scale);
        found
    }

    fn crew_of(&self, component: usize) -> Crew {
        Crew::of(&self.components()[component].options, self.options())
    }

    /// Whether this component may be part of a chain.
    pub(crate) fn allows_chain(&self, component: &Component) -> bool {
        let options = &component.options;
        let is_on = options.chain.unwrap_or(self.options().chain) == ChainMode::Auto;
        is_on && !options.blocking && !options.wal && !self.options().scheduling.is_exclusive(&component.id)
    }

    /// Whether the two components of an edge and its grouping allow it.
    fn may_be_chained(&self, edge: &Edge) -> bool {
        let (from, to) = (&self.components()[edge.from], &self.components()[edge.to]);
        let (producer, consumer) = (self.crew_of(edge.from), self.crew_of(edge.to));
        let grouping_allows = match self.components()[edge.to].inputs[edge.input].grouping {
            Grouping::Shuffle | Grouping::LocalOrShuffle | Grouping::None => true,
            Grouping::Global | Grouping::All | Grouping::Fields(_) | Grouping::PartialKey(_) => {
                consumer.tasks == 1
            }
            Grouping::Direct | Grouping::Custom(..) => false,
        };
        producer == consumer && grouping_allows && self.allows_chain(from) && self.allows_chain(to)
    }

    /// Cuts chains that are too long.
    fn cut_long(&self, chains: &mut BTreeMap<usize, usize>) {
        let mut length = vec![1; self.components().len()];
        for at in self.topological_order() {
            let Some(producer) = chains.get(&at) else { continue };
            if length[*producer] == CHAIN_MAX {
                chains.remove(&at);
            } else {
                length[at] = length[*producer] + 1;
            }
        }
    }

    /// Cuts chains in half, the longest first, until there are enough executors to schedule.
    fn cut_for_cores(&self, chains: &mut BTreeMap<usize, usize>, scale: Scale) {
        let next: BTreeMap<usize, usize> = chains.iter().map(|(to, from)| (*from, *to)).collect();
        let heads = (0..self.components().len()).filter(|at| !chains.contains_key(at));
        let mut scheduled = 0;
        let mut longest_first = BinaryHeap::new();
        for head in heads {
            scheduled += self.crew_of(head).executors;
            let members = std::iter::successors(Some(head), |at| next.get(at).copied());
            let members: Vec<usize> = members.collect();
            longest_first.push((members.len(), members));
        }
        while scheduled < scale.executors_wanted()
            && let Some((length @ 2.., mut first)) = longest_first.pop()
        {
            let second = first.split_off(length.div_ceil(2));
            chains.remove(&second[0]);
            scheduled += self.crew_of(second[0]).executors;
            longest_first.extend([first, second].map(|half| (half.len(), half)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::graph::testing::topology;
    use crate::tuple::Fields;

    /// Of a topology of a spout `a` and bolts `b` and `c`, each of which takes the one before, after a change.
    fn chains(change: impl FnOnce(&mut Topology)) -> Vec<(usize, usize)> {
        let mut topology = topology(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]);
        change(&mut topology);
        topology.chains().into_iter().collect()
    }

    #[test]
    fn neighbours_that_may_are_chained() {
        assert_eq!(chains(|_| {}), [(1, 0), (2, 1)]);
        assert_eq!(chains(|t| t.components[1].options.parallelism = 2), []);
        assert_eq!(chains(|t| t.components[2].options.parallelism = 2), [(1, 0)]);
        assert_eq!(chains(|t| t.components[2].options.tasks = Some(2)), [(1, 0)]);
        assert_eq!(chains(|t| t.components[2].options.blocking = true), [(1, 0)]);
        assert_eq!(chains(|t| t.components[1].options.chain = Some(ChainMode::Off)), []);
        assert_eq!(chains(|t| t.components[2].options.chain = Some(ChainMode::Off)), [(1, 0)]);
        assert_eq!(chains(|t| t.options.chain = ChainMode::Off), []);
        let all_but_one = |t: &mut Topology| {
            t.options.chain = ChainMode::Off;
            t.components[0].options.chain = Some(ChainMode::Auto);
            t.components[1].options.chain = Some(ChainMode::Auto);
        };
        assert_eq!(chains(all_but_one), [(1, 0)]);
    }

    #[test]
    fn parallelism_counts_after_the_cap() {
        let capped = |t: &mut Topology| {
            t.components[1].options.parallelism = 3;
            t.options.max_task_parallelism = Some(1);
        };
        assert_eq!(chains(capped), [(1, 0), (2, 1)]);
        assert_eq!(chains(|t| (0..3).for_each(|at| t.components[at].options.parallelism = 4)).len(), 2);
    }

    #[test]
    fn the_grouping_must_leave_the_choice() {
        let word = || Fields::from(["value"]);
        let check = |grouping: Grouping, with_one: bool, with_two: bool| {
            for (tasks, expected) in [(1, with_one), (2, with_two)] {
                let change = |t: &mut Topology| {
                    t.components[1].options.parallelism = tasks;
                    t.components[2].options.parallelism = tasks;
                    t.components[2].inputs[0].grouping = grouping.clone();
                };
                let found = chains(change).contains(&(2, 1));
                assert_eq!(found, expected, "{grouping} to {tasks}");
            }
        };
        check(Grouping::Shuffle, true, true);
        check(Grouping::LocalOrShuffle, true, true);
        check(Grouping::None, true, true);
        check(Grouping::Fields(word()), true, false);
        check(Grouping::PartialKey(word()), true, false);
        check(Grouping::Global, true, false);
        check(Grouping::All, true, false);
        check(Grouping::Direct, false, false);
    }

    #[test]
    fn a_fork_or_a_junction_ends_a_chain() {
        let fork = topology(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b"])]);
        assert_eq!(fork.chains(), [(3, 1)].into());
        let junction = topology(&[("a", &[]), ("b", &[]), ("c", &["a", "b"]), ("d", &["c"])]);
        assert_eq!(junction.chains(), [(3, 2)].into());
    }

    #[test]
    fn dead_letters_are_neither_a_fork_nor_a_chain() {
        let mut with_letters = topology(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("letters", &["b"])]);
        with_letters.components[3].inputs[0].stream = DEAD_LETTER_STREAM.into();
        assert_eq!(with_letters.chains(), [(1, 0), (2, 1)].into());
    }

    #[test]
    fn a_cycle_is_not_chained_within() {
        let mut cycle = topology(&[("a", &[]), ("b", &["a", "c"]), ("c", &["b"]), ("d", &["c"])]);
        cycle.components[1].inputs[1].feedback = true;
        assert_eq!(cycle.chains(), [].into(), "`c` has two consumers, `b` has two inputs");
        let mut alone = topology(&[("a", &[]), ("b", &["a", "c"]), ("c", &["b"])]);
        alone.components[1].inputs[1].feedback = true;
        assert_eq!(alone.chains(), [].into(), "`c` has one input, but it is on the cycle");
    }

    #[test]
    fn every_worker_and_every_thread_gets_something_to_do() {
        let on = |workers, threads, parallelism| {
            let change = |t: &mut Topology| {
                t.options.workers = workers;
                t.options.threads = AutoOr::Fixed(threads);
                (0..3).for_each(|at| t.components[at].options.parallelism = parallelism);
            };
            chains(change)
        };
        assert_eq!(on(1, 1, 1), [(1, 0), (2, 1)]);
        assert_eq!(on(2, 1, 1), [(1, 0)]);
        assert_eq!(on(3, 1, 1), []);
        assert_eq!(on(9, 1, 1), []);
        assert_eq!(on(4, 1, 4), [(1, 0), (2, 1)]);
        assert_eq!(on(1, 2, 1), [], "three executors are not many for two threads");
        assert_eq!(on(1, 2, 2), [(1, 0)], "four are left");
        assert_eq!(on(1, 2, 4), [(1, 0), (2, 1)]);
        assert_eq!(on(2, 2, 4), [(1, 0)]);
        assert_eq!(chains(|t| t.options.threads = AutoOr::Auto), [(1, 0), (2, 1)], "as one thread");
    }

    #[test]
    fn a_long_chain_is_cut() {
        let ids: Vec<String> = (0..CHAIN_MAX * 2 + 1).map(|at| format!("c{at}")).collect();
        let inputs: Vec<Vec<&str>> = (0..ids.len())
            .map(|at| at.checked_sub(1).map(|before| ids[before].as_str()).into_iter().collect())
            .collect();
        let components: Vec<(&str, &[&str])> =
            ids.iter().zip(&inputs).map(|(id, inputs)| (id.as_str(), &inputs[..])).collect();
        let chains = topology(&components).chains();
        let heads: Vec<usize> = (0..ids.len()).filter(|at| !chains.contains_key(at)).collect();
        assert_eq!(heads, [0, CHAIN_MAX, CHAIN_MAX * 2]);
    }
}
