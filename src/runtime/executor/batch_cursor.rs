//! The batch that a bolt's executor is executing, and the position in it.
//!
//! Edges are consumed late: a chunk of tuples is executed first and *settled* afterwards. So a run of
//! tuples costs one XOR and not one XOR per tuple.
//!
//! 1. `settled <= tuple`; they are equal whenever a step ends or an anchor is looked up.
//! 2. A run's edge is noted as consumed when its last tuple is settled, not before; a step that ends
//!    inside a run gives the rest an edge of its own.

use crate::runtime::flow::message::TaskBatch;
use crate::runtime::routing::emitter::Emitter;
use crate::tuple::{Anchor, Value};

/// The edge of tuples that have none: they are not tracked, or they were handed over within a chain and are
/// still executed in the step that emitted them.
const NO_EDGE: u64 = 0;

/// A batch that is being executed.
pub struct BatchCursor {
    /// The tuples and their source.
    pub input: TaskBatch,
    /// The tuple to execute next.
    pub tuple: u32,
    /// The first tuple whose edges were not consumed yet. Less than `tuple` only within a chunk.
    settled: u32,
    /// The run of the first tuple that is not settled, and how many tuples of that run are not settled.
    run: usize,
    run_left: u32,
    /// The first extra anchor of the first tuple that is not settled.
    extra: usize,
}

impl BatchCursor {
    /// A batch of which no tuple was executed yet.
    pub fn new(input: TaskBatch) -> BatchCursor {
        let run_left = input.batch.runs.first().map_or(0, |run| run.len);
        BatchCursor { input, tuple: 0, settled: 0, run: 0, run_left, extra: 0 }
    }

    /// Whether all tuples were executed.
    pub fn is_done(&self) -> bool {
        self.tuple >= self.input.batch.len
    }

    /// The anchor of the next tuple. All tuples before it must be settled.
    pub fn anchor(&self) -> Anchor {
        let batch = &self.input.batch;
        match batch.runs.get(self.run) {
            Some(run) => Anchor {
                root: run.root,
                edge: run.edge,
                message: batch.msgs[self.tuple as usize],
                attempt: run.attempt,
            },
            None => Anchor::NONE,
        }
    }

    /// The further anchors of the next tuple. All tuples before it must be settled.
    pub fn extras(&self) -> &[(u32, Anchor)] {
        let all = &self.input.batch.extras[self.extra..];
        let own = all.iter().take_while(|(tuple, _)| *tuple == self.tuple).count();
        &all[..own]
    }

    /// The values of the next tuple.
    pub fn row(&self) -> &[Value] {
        self.input.batch.row(self.tuple as usize)
    }

    /// Gives edges to tuples that were handed over within a chain, and that the step did not come to. From now
    /// on they are tracked like any others.
    pub fn draw_edges(&mut self, emitter: &mut Emitter) {
        let batch = &mut self.input.batch;
        if let Some(run) = batch.runs.get_mut(self.run) {
            run.len = self.run_left;
        }
        for run in &mut batch.runs[self.run..] {
            run.edge = emitter.outgoing.create_edge(run.root);
        }
        for (_, anchor) in &mut batch.extras[self.extra..] {
            anchor.edge = emitter.outgoing.create_edge(anchor.root);
        }
    }

    /// Called when a step ends within a run: makes the rest of the run a run of its own, with a new edge.
    /// So the step's ack record holds the old edge beside the edges of the tuples that were emitted for it.
    /// Without the old edge, that record could be lost and the other records of the tree could still
    /// XOR to 0 (see "Lost records" in `runtime::acking::acker`).
    pub fn split_run(&mut self, emitter: &mut Emitter) {
        if let Some(run) = self.input.batch.runs.get_mut(self.run)
            && self.run_left < run.len
        {
            emitter.outgoing.renew_edge(run.root, &mut run.edge);
            run.len = self.run_left;
        }
    }

    /// The end of the stretch of tuples with one root that begins with the next tuple.
    pub fn stretch_end(&self) -> u32 {
        if self.input.batch.is_tracked() { self.tuple + self.run_left } else { self.input.batch.len }
    }

    /// Consumes the edges of all executed tuples that are not settled. A run's edge is consumed once, with
    /// the last tuple of the run; extra anchors have an edge for each tuple.
    pub fn settle(&mut self, emitter: &mut Emitter) {
        let mut behind = self.tuple - self.settled;
        self.settled = self.tuple;
        let batch = &self.input.batch;
        while let Some((tuple, anchor)) = batch.extras.get(self.extra)
            && *tuple < self.tuple
        {
            emitter.consume(anchor);
            self.extra += 1;
        }
        while behind > 0
            && let Some(run) = batch.runs.get(self.run)
        {
            let now = behind.min(self.run_left);
            if let Some(audit) = &emitter.outgoing.audit {
                audit.change(run.root, -i64::from(now));
            }
            behind -= now;
            self.run_left -= now;
            if self.run_left == 0 {
                if run.edge != NO_EDGE {
                    emitter.outgoing.acks.xor(run.root, run.edge);
                }
                self.run += 1;
                self.run_left = batch.runs.get(self.run).map_or(0, |run| run.len);
            }
        }
    }
}
