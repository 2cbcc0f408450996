//! How a worker's queue memory is divided: `queue.memory` is a ceiling.
//!
//! Tuples on their way lie in three kinds of places, and each gets its share beforehand:
//!
//! * a *stage* per output stream of a task: what was emitted in this call and is not routed yet;
//! * a *lane* per pair of tasks between which tuples may pass: the batch under construction;
//! * a *link* per pair of executors: the batches that were sent and are not processed yet. A link may be
//!   overdrawn by the batch that finds it almost full, so its credit is its share less one batch. A
//!   link on a cycle has a reserve of [`RESERVE`] times its credit, and the share of as many links.
//!
//! ```text
//!   memory = (stages + lanes) · batch  +  (links + RESERVE · cycle links) · (credit + batch)
//! ```
//!
//! 1. A batch is closed once it holds half of its share, so a place stays within its share while tuples
//!    are smaller than the other half. With larger tuples, each place may hold one tuple: that is one way
//!    past the ceiling. The other is a single call that emits more than a link's credit, because a call
//!    is never stopped halfway.
//! 2. A topology whose shares would be below [`BATCH_BYTES_MIN`] is refused, as is one of more than
//!    [`LANES_MAX`] lanes: an empty lane costs memory, too.
//! 3. The shares are those of the whole topology, wherever its tasks run, so that both ends of a link
//!    between workers know the same credit.

use std::collections::BTreeSet;

use crate::config::limits::{BATCH_BYTES_MIN, BATCH_HEAP_MAX, LANES_MAX, RESERVE};
use crate::config::{ComponentOptions, TopologyOptions};
use crate::topology::graph::Topology;

/// A credit is worth so many batches at least, so that one can be filled while another is processed.
const CREDIT_IN_BATCHES: u64 = 2;

/// The places of a topology where tuples lie on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePlaces {
    /// Output streams that somebody takes, over all tasks.
    pub stages: u64,
    /// Pairs of tasks between which tuples may pass, for each input by itself.
    pub lanes: u64,
    /// Pairs of executors between which tuples may pass.
    pub links: u64,
    /// Those of them on a cycle.
    pub cycle_links: u64,
}

/// What one component adds to the places of its topology, for each of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crew {
    /// Tasks.
    pub tasks: u64,
    /// Executors.
    pub executors: u64,
}

impl Crew {
    /// Of a component with these options, in a topology with those.
    pub fn of(component: &ComponentOptions, topology: &TopologyOptions) -> Crew {
        let cap = topology.max_task_parallelism.unwrap_or(u32::MAX);
        let tasks = component.task_count().min(cap);
        Crew { tasks: tasks.into(), executors: component.parallelism.min(tasks).into() }
    }
}

/// The places of a topology.
pub fn queue_places(topology: &Topology) -> QueuePlaces {
    let (components, cycles) = (topology.components(), topology.cycle_edges());
    let crews: Vec<Crew> =
        components.iter().map(|component| Crew::of(&component.options, topology.options())).collect();
    let mut places = QueuePlaces::default();
    let mut streams = BTreeSet::new();
    for edge in topology.edges() {
        if streams.insert((edge.from, &components[edge.to].inputs[edge.input].stream)) {
            places.add_stream(crews[edge.from]);
        }
        let on_cycle = cycles.contains(&(edge.from, edge.to));
        places.add_input(crews[edge.from], crews[edge.to], on_cycle);
    }
    places
}

/// Why `queue.memory` cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoShares {
    /// There are more lanes than the limit.
    TooManyLanes,
    /// There is too little memory; so many bytes would do.
    MemoryMin(u64),
}

/// The share of each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueShares {
    /// Bytes at which a stage is routed, or a batch under construction is sent: half of its share.
    pub batch_bytes: usize,
    /// The credit of a link in bytes.
    pub link_bytes: usize,
}

impl QueuePlaces {
    /// Adds one stream that somebody takes.
    pub fn add_stream(&mut self, from: Crew) {
        self.stages = self.stages.saturating_add(from.tasks);
    }

    /// Adds one input: tuples from every task of `from` to every task of `to`.
    pub fn add_input(&mut self, from: Crew, to: Crew, on_cycle: bool) {
        let links = from.executors.saturating_mul(to.executors);
        self.lanes = self.lanes.saturating_add(from.tasks.saturating_mul(to.tasks));
        self.links = self.links.saturating_add(links);
        self.cycle_links = self.cycle_links.saturating_add(if on_cycle { links } else { 0 });
    }

    /// Links as their memory counts.
    fn weight(&self) -> u64 {
        let straight = self.links.saturating_sub(self.cycle_links);
        straight.saturating_add(self.cycle_links.saturating_mul(RESERVE as u64))
    }

    /// Batches that the memory must have room for.
    fn batches(&self) -> u64 {
        let in_links = self.weight().saturating_mul(CREDIT_IN_BATCHES + 1);
        self.stages.saturating_add(self.lanes).saturating_add(in_links).max(1)
    }

    /// Whether so much memory can be divided among the places.
    ///
    /// # Errors
    /// When there are too many lanes, or too little memory.
    pub fn check(&self, memory: u64) -> Result<(), NoShares> {
        let needed = self.batches().saturating_mul(BATCH_BYTES_MIN as u64);
        match () {
            () if self.lanes > LANES_MAX => Err(NoShares::TooManyLanes),
            () if needed > memory => Err(NoShares::MemoryMin(needed)),
            () => Ok(()),
        }
    }

    /// Divides so much memory.
    pub fn shares(&self, memory: u64) -> QueueShares {
        let batch = (memory / self.batches()).clamp(BATCH_BYTES_MIN as u64, 2 * BATCH_HEAP_MAX as u64);
        let in_links = memory.saturating_sub(batch.saturating_mul(self.stages.saturating_add(self.lanes)));
        let link = (in_links / self.weight().max(1)).saturating_sub(batch).max(batch);
        let bytes = |share| usize::try_from(share).unwrap_or(usize::MAX);
        QueueShares { batch_bytes: bytes(batch / 2), link_bytes: bytes(link) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(from: u64, to: u64, on_cycle: bool) -> QueuePlaces {
        let crew = |tasks| Crew { tasks, executors: tasks };
        let mut places = QueuePlaces::default();
        places.add_stream(crew(from));
        places.add_input(crew(from), crew(to), on_cycle);
        places
    }

    /// Everything that may lie on its way, tuples being small.
    fn most(places: &QueuePlaces, shares: QueueShares) -> u64 {
        let (batch, link) = (2 * shares.batch_bytes as u64, shares.link_bytes as u64);
        let in_cycles = places.cycle_links * (RESERVE as u64 * link + batch);
        (places.stages + places.lanes) * batch
            + (places.links - places.cycle_links) * (link + batch)
            + in_cycles
    }

    #[test]
    fn the_memory_is_a_ceiling_and_most_of_it_is_used() {
        for memory in [16 << 20, 64 << 20, 1 << 30] {
            for (from, to, on_cycle) in [(1, 1, false), (4, 2, false), (64, 64, false), (2, 2, true)] {
                let places = places(from, to, on_cycle);
                assert_eq!(places.check(memory), Ok(()));
                let most = most(&places, places.shares(memory));
                assert!(most <= memory, "{from} x {to}: {most} of {memory}");
                assert!(most >= memory / 2, "{from} x {to}: {most} of {memory}");
            }
        }
    }

    #[test]
    fn few_tasks_have_batches_of_the_full_size() {
        assert_eq!(places(2, 2, false).shares(64 << 20).batch_bytes, BATCH_HEAP_MAX);
    }

    #[test]
    fn what_cannot_be_divided_is_refused() {
        assert_eq!(places(4096, 4096, false).check(u64::MAX), Err(NoShares::TooManyLanes));
        let places = places(64, 64, false);
        let Err(NoShares::MemoryMin(needed)) = places.check(1 << 20) else { panic!("1 MiB is too little") };
        assert_eq!(places.check(needed), Ok(()));
        assert!(places.check(needed - 1).is_err());
    }
}
