//! The ack records of one task, combined per tree until the end of its step.
//!
//! Combining saves messages, but it is also needed for correctness. The edges that a task consumed and
//! the edges that it created for them must reach the acker as *one* XOR. Sent as two records, the first
//! could complete the tree before the second arrives.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::ids::{RootId, TaskId, WorkerSet};
use crate::runtime::acking::records::{AckRecords, FailureReport};
use crate::tuple::{Anchor, MessageIndex};

/// Ack records under construction.
#[derive(Debug, Default)]
pub struct AckBuffer {
    /// The XOR of the tree noted last, kept out of `xors`: tuples of a tree come in runs, so most edges
    /// need no look-up.
    last: (RootId, u64),
    xors: FxHashMap<RootId, u64>,
    /// Which trees sent tuples to other workers, and to which. Empty in a single process.
    touched: FxHashMap<RootId, WorkerSet>,
    rest: AckRecords,
}

impl AckBuffer {
    /// Notes an edge that was created or consumed.
    #[inline]
    pub fn xor(&mut self, root: RootId, edge: u64) {
        if self.last.0 != root {
            self.spill();
            self.last.0 = root;
        }
        self.last.1 ^= edge;
    }

    /// Notes that the tree sends tuples to another worker.
    pub fn touch(&mut self, root: RootId, touched: WorkerSet) {
        let noted = self.touched.entry(root).or_default();
        *noted = noted.union(touched);
    }

    #[inline]
    fn spill(&mut self) {
        let (root, xor) = std::mem::take(&mut self.last);
        if xor != 0 {
            *self.xors.entry(root).or_default() ^= xor;
        }
    }

    /// Whether a block is complete already, as far as this step knows: none of its tuples is left, and nothing
    /// failed. Such a block is nobody else's, so it is reported to no acker.
    pub fn is_settled(&mut self, root: RootId) -> bool {
        self.spill();
        let is_open = self.xors.get(&root).is_some_and(|xor| *xor != 0);
        !is_open && self.touched.is_empty() && self.rest.fails.is_empty()
    }

    /// Notes that a block was closed: the XOR of its edges so far becomes its init.
    pub fn init(&mut self, root: RootId) {
        self.spill();
        let xor = self.xors.remove(&root).unwrap_or(0);
        self.rest.inits.push((root, xor));
    }

    /// Notes that the message of this anchor failed.
    pub fn fail(&mut self, root: RootId, message: MessageIndex, report: FailureReport) {
        self.rest.fails.push((root, message, report));
    }

    /// Notes that the time-out of this anchor's tree restarts.
    pub fn reset(&mut self, anchor: &Anchor) {
        self.rest.resets.push(anchor.root);
    }

    /// Notes that the spout ended a block without its acker, for example because it expired.
    pub fn forget(&mut self, root: RootId) {
        self.rest.forgets.push(root);
    }

    /// Takes over what another task noted in the same step, so that both are sent as one record.
    pub fn absorb(&mut self, other: &mut AckBuffer) {
        if other.is_empty() {
            return;
        }
        other.spill();
        other.xors.drain().for_each(|(root, xor)| self.xor(root, xor));
        other.touched.drain().for_each(|(root, touched)| self.touch(root, touched));
        self.rest.absorb(std::mem::take(&mut other.rest));
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.last.1 == 0 && self.xors.is_empty() && self.touched.is_empty() && self.rest.is_empty()
    }

    /// Takes everything, as one set of records for each acker that has any.
    pub fn take(&mut self, ackers: &AckerTable) -> Vec<(usize, AckRecords)> {
        self.spill();
        self.rest.acks.extend(self.xors.drain().filter(|(_, xor)| *xor != 0));
        self.rest.touched.extend(self.touched.drain());
        let all = std::mem::take(&mut self.rest);
        if ackers.count == 1 {
            return if all.is_empty() { Vec::new() } else { vec![(0, all)] };
        }
        let mut split: Vec<AckRecords> = (0..ackers.count).map(|_| AckRecords::default()).collect();
        let acker = |root: RootId| ackers.acker_of(root);
        all.touched.into_iter().for_each(|record| split[acker(record.0)].touched.push(record));
        all.fails.into_iter().for_each(|record| split[acker(record.0)].fails.push(record));
        all.forgets.into_iter().for_each(|record| split[acker(record)].forgets.push(record));
        all.inits.into_iter().for_each(|record| split[acker(record.0)].inits.push(record));
        all.acks.into_iter().for_each(|record| split[acker(record.0)].acks.push(record));
        all.resets.into_iter().for_each(|record| split[acker(record)].resets.push(record));
        split.into_iter().enumerate().filter(|(_, records)| !records.is_empty()).collect()
    }
}

/// Which of the topology's ackers keeps a tree: the same table in every worker.
#[derive(Debug, Default)]
pub struct AckerTable {
    /// Ackers of the topology.
    pub count: usize,
    /// By spout task: its ackers, which are those of its own worker if that worker has any.
    by_task: BTreeMap<TaskId, Box<[usize]>>,
}

impl AckerTable {
    /// The ackers of each spout task, none of them empty.
    pub fn new(count: usize, by_task: BTreeMap<TaskId, Box<[usize]>>) -> AckerTable {
        AckerTable { count, by_task }
    }

    /// The acker of a tree. A root of no spout of the topology gets acker 0, which refuses it.
    pub fn acker_of(&self, root: RootId) -> usize {
        let own = self.by_task.get(&root.task());
        own.map_or(0, |ackers| ackers[root.slot() as usize % ackers.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ackers(count: usize) -> AckerTable {
        AckerTable::new(count, BTreeMap::from([(TaskId(1), (0..count).collect())]))
    }

    fn root(slot: u32) -> RootId {
        RootId::new(TaskId(1), slot, 1)
    }

    #[test]
    fn edges_of_a_tree_reach_the_acker_as_one() {
        let mut buffer = AckBuffer::default();
        for (slot, edge) in [(0, 0b001), (1, 0b111), (0, 0b010), (0, 0b100), (2, 5), (2, 5)] {
            buffer.xor(root(slot), edge);
        }
        let mut taken = buffer.take(&ackers(1));
        let mut acks = taken.remove(0).1.acks;
        acks.sort();
        assert_eq!(acks, [(root(0), 0b111), (root(1), 0b111)], "tree 2 opened and closed here");
        assert!(buffer.is_empty() && buffer.take(&ackers(1)).is_empty());
    }

    #[test]
    fn an_init_takes_its_edges_with_it_even_when_there_are_none() {
        let mut buffer = AckBuffer::default();
        buffer.xor(root(0), 9);
        buffer.init(root(0));
        buffer.init(root(1));
        let records = buffer.take(&ackers(1)).remove(0).1;
        assert_eq!(records.inits, [(root(0), 9), (root(1), 0)]);
        assert!(records.acks.is_empty());
    }

    #[test]
    fn each_acker_gets_the_slots_that_are_its_own() {
        let mut buffer = AckBuffer::default();
        (0..6).for_each(|slot| buffer.xor(root(slot), 1));
        let taken = buffer.take(&ackers(3));
        assert_eq!(taken.iter().map(|(acker, _)| *acker).collect::<Vec<_>>(), [0, 1, 2]);
        for (acker, records) in taken {
            assert_eq!(records.acks.len(), 2);
            assert!(records.acks.iter().all(|(root, _)| root.slot() as usize % 3 == acker));
        }
    }
}
