//! One target task of a subscription, and the batch under construction for it.

use std::sync::Arc;

use crate::api::SourceMeta;
use crate::ids::{RootId, TaskId, WorkerSet};
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::routing::outgoing::{Outgoing, TupleAnchors};
use crate::tuple::{Anchor, Attempt, BatchLimits, Run, TupleBatch, Value};

/// One task of a subscriber.
pub struct Target {
    /// The task.
    pub task: TaskId,
    /// Its number among the tasks of its executor.
    pub local_task: u32,
    /// The link to its executor, as an index into [`Outgoing::links`].
    pub out_link: usize,
    /// The bit of its worker; empty if it runs in this worker.
    touched: WorkerSet,
    /// The batch under construction.
    batch: TupleBatch,
    /// The sizes at which the batch is sent.
    full_at: BatchLimits,
    /// Number of values of the last batch, for which the next one reserves room.
    values_hint: usize,
}

impl Target {
    /// A target with an empty batch for tuples of `arity` values, which is sent when it is `full_at`.
    pub fn new(
        (task, local_task): (TaskId, u32),
        out_link: usize,
        touched: WorkerSet,
        arity: usize,
        full_at: BatchLimits,
    ) -> Target {
        Target { task, local_task, out_link, touched, batch: TupleBatch::new(arity), full_at, values_hint: 0 }
    }

    /// Whether it runs in this worker.
    pub fn is_here(&self) -> bool {
        self.touched == WorkerSet::NONE
    }

    /// Sends the batch under construction, unless it is empty.
    pub fn send(&mut self, meta: &Arc<SourceMeta>, outgoing: &mut Outgoing, urgency: Urgency) {
        if self.batch.is_empty() {
            return;
        }
        let arity = self.batch.arity as usize;
        self.values_hint = self.batch.rows.values().len();
        let batch = std::mem::replace(&mut self.batch, TupleBatch::new(arity));
        outgoing.send(self.out_link, self.local_task, meta, batch, urgency);
    }

    /// Drops the batch under construction.
    pub fn clear(&mut self) {
        self.batch = TupleBatch::new(self.batch.arity as usize);
    }

    /// Completes the tuple whose values were just appended: adds it to the last run, or begins a run with a
    /// new edge. Sends the batch if it is full.
    #[inline]
    pub fn finish_tuple(
        &mut self,
        heap: usize,
        anchors: &TupleAnchors<'_>,
        meta: &Arc<SourceMeta>,
        outgoing: &mut Outgoing,
    ) {
        let batch = &mut self.batch;
        batch.len += 1;
        batch.heap += heap;
        if let Some((root, message, attempt)) = anchors.first {
            batch.msgs.push(message);
            match batch.runs.last_mut() {
                Some(run) if run.root == root => run.len += 1,
                _ => self.begin_run(root, attempt, outgoing),
            }
            if !anchors.extras.is_empty() || outgoing.audit.is_some() {
                self.note_extras(root, anchors.extras, outgoing);
            }
        }
        if self.full_at.reached(&self.batch) {
            self.send(meta, outgoing, Urgency::Soon);
        }
    }

    /// A function of its own, as [`note_extras`](Target::note_extras) is, so that the compiler inlines
    /// [`finish_tuple`](Target::finish_tuple).
    #[cold]
    fn begin_run(&mut self, root: RootId, attempt: Attempt, outgoing: &mut Outgoing) {
        let edge = outgoing.create_edge_to(root, self.touched);
        self.batch.runs.push(Run { root, edge, len: 1, attempt });
    }

    /// Notes the further anchors of the last tuple, and its copies for an audit.
    #[cold]
    fn note_extras(&mut self, root: RootId, extras: &[(u32, Anchor)], outgoing: &mut Outgoing) {
        for (_, anchor) in extras {
            let edge = outgoing.create_edge_to(anchor.root, self.touched);
            self.batch.extras.push((self.batch.len - 1, Anchor { edge, ..*anchor }));
        }
        if let Some(audit) = &outgoing.audit {
            audit.change(root, 1);
            extras.iter().for_each(|(_, anchor)| audit.change(anchor.root, 1));
        }
    }

    /// The values of the batch. If it is empty, room for as many values as in the last batch is reserved.
    #[inline]
    pub fn rows(&mut self) -> &mut Vec<Value> {
        let hint = self.values_hint;
        let rows = self.batch.rows.owned();
        if rows.capacity() == 0 {
            rows.reserve(hint.max(8));
        }
        rows
    }

    /// Takes a whole batch. The batch under construction is sent first, so that the order is kept.
    pub fn take_whole(&mut self, mut batch: TupleBatch, meta: &Arc<SourceMeta>, outgoing: &mut Outgoing) {
        self.send(meta, outgoing, Urgency::WhenDone);
        for run in &mut batch.runs {
            run.edge = outgoing.create_edge_to(run.root, self.touched);
        }
        for (_, anchor) in &mut batch.extras {
            anchor.edge = outgoing.create_edge_to(anchor.root, self.touched);
        }
        if let Some(audit) = &outgoing.audit {
            audit.created(&batch);
        }
        let full = self.full_at.reached(&batch);
        self.batch = batch;
        if full {
            self.send(meta, outgoing, Urgency::Soon);
        }
    }
}
