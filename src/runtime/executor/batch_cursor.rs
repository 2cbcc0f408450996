//! The batch that a bolt's executor is executing, and the position in it.
//!
//! Its edges are consumed lazily: a chunk is executed first and settled after, so that a run of
//! tuples costs one XOR and not one per tuple.
//!
//! 1. `settled <= tuple`; they are equal whenever a step ends or an anchor is looked up.
//! 2. A run's edge is noted as consumed when its last tuple is settled, not before; a step that ends
//!    inside a run gives the rest an edge of its own.

use crate::runtime::flow::message::Incoming;
use crate::runtime::routing::emitter::Emitter;
use crate::tuple::{Anchor, Value};

/// A batch that is being executed.
pub struct BatchCursor {
    /// The tuples, where they come from, and whose credit they hold.
    pub incoming: Incoming,
    /// The tuple to execute next.
    pub tuple: u32,
    /// The first tuple whose edges were not consumed yet: behind `tuple` only within a chunk.
    settled: u32,
    /// The run it stands in, and how many of that run are left.
    run: usize,
    run_left: u32,
    /// The first of its extra anchors.
    extra: usize,
    /// A copy of the tuple's values, made only when somebody may need them after `execute`.
    pub kept: Vec<Value>,
}

impl BatchCursor {
    /// A batch of which nothing was executed yet.
    pub fn new(incoming: Incoming) -> BatchCursor {
        let run_left = incoming.batch.runs.first().map_or(0, |run| run.len);
        BatchCursor { incoming, tuple: 0, settled: 0, run: 0, run_left, extra: 0, kept: Vec::new() }
    }

    /// Whether all of it was executed.
    pub fn is_done(&self) -> bool {
        self.tuple >= self.incoming.batch.len
    }

    /// The anchor of the tuple that is next. All before it must be settled.
    pub fn anchor(&self) -> Anchor {
        let batch = &self.incoming.batch;
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

    /// The further anchors of the tuple that is next.
    pub fn extras(&self) -> &[(u32, Anchor)] {
        let all = &self.incoming.batch.extras[self.extra..];
        let own = all.iter().take_while(|(tuple, _)| *tuple == self.tuple).count();
        &all[..own]
    }

    /// Copies the values of the tuple that is next.
    pub fn keep_row(&mut self) {
        self.kept.clear();
        self.kept.extend_from_slice(self.incoming.batch.row(self.tuple as usize));
    }

    /// Makes what is left of the run in hand a run of its own, with an edge of its own. The step's ack
    /// record then holds the edge that was taken beside those of what was emitted for it; alone, these
    /// would stand in a record without which the others could add up to 0 (see `runtime::acking::acker`).
    pub fn split_run(&mut self, emitter: &mut Emitter) {
        if let Some(run) = self.incoming.batch.runs.get_mut(self.run)
            && self.run_left < run.len
        {
            emitter.outgoing.renew_edge(run.root, &mut run.edge);
            run.len = self.run_left;
        }
    }

    /// Where the stretch of tuples with one root ends that begins with the tuple that is next.
    pub fn stretch_end(&self) -> u32 {
        if self.incoming.batch.is_tracked() { self.tuple + self.run_left } else { self.incoming.batch.len }
    }

    /// Consumes the edges of all tuples before the one that is next: once for a whole run.
    pub fn settle(&mut self, emitter: &mut Emitter) {
        let mut behind = self.tuple - self.settled;
        self.settled = self.tuple;
        let batch = &self.incoming.batch;
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
                if run.root.is_tracked() {
                    emitter.outgoing.acks.xor(run.root, run.edge);
                }
                self.run += 1;
                self.run_left = batch.runs.get(self.run).map_or(0, |run| run.len);
            }
        }
    }
}
