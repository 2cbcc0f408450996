//! The batch under construction of one output stream: a *stage*. And what the runtime does with it.
//!
//! An emit writes its values straight into the stage of its stream; nothing is allocated and nothing is
//! routed per tuple. The runtime routes a stage when it is full or the executor has run out of input.
//!
//! **Calls that are taken back.** What a bolt emitted in a call that fails is removed again. So nothing that
//! was emitted in a call is routed before the call has succeeded. Where a stage becomes full during a call,
//! it is only *cut*; when the call has succeeded, each part is routed as a batch of its own.
//!
//! ```text
//!   | tuples of earlier calls | tuples of this call …        |
//!   0                         call_start       cut       cut  len
//! ```
//!
//! 1. `cuts` is sorted, and empty between calls.
//! 2. `call_start <= len`; it counts only while `call` is the call that is running.

use smol_str::SmolStr;

use crate::api::error::{EmitError, TaskError};
use crate::api::failure::FailureCause;
use crate::api::open_messages::OpenMessages;
use crate::api::streams::StreamDeclaration;
use crate::api::values::Values;
use crate::ids::{MessageId, RootId, TaskId};
use crate::tuple::codec::DEPTH_MAX;
use crate::tuple::{Anchor, BatchLimits, TupleBatch, Value, ValueError};

/// The batch under construction of one output stream.
pub struct Stage {
    /// Name, fields and kind of the stream.
    pub stream: StreamDeclaration,
    /// Tuples emitted and not yet routed. Emits append to it; [`OutputCollector::route`] empties it.
    pub batch: TupleBatch,
    /// On a direct stream, the target of each tuple of the batch.
    pub direct: Vec<TaskId>,
    /// Tuples emitted since the executor last took this number.
    pub emitted: u64,
    /// The sizes at which a batch is full and is routed.
    limits: BatchLimits,
    /// The same, counted from the last cut.
    full_at: BatchLimits,
    /// The call that emitted to the stage last, and how many tuples the stage held before it did.
    call: u64,
    call_start: u32,
    cuts: Vec<Cut>,
}

/// An end of a part that is routed as a batch of its own.
struct Cut {
    at: u32,
    /// Of a part of one tuple whose targets are chosen already: one entry for each subscriber.
    chosen: Option<Vec<Chosen>>,
}

impl Stage {
    pub(super) fn new(stream: StreamDeclaration, (batch_tuples, batch_bytes): (u32, usize)) -> Stage {
        let batch = TupleBatch::new(stream.fields.len());
        let limits = BatchLimits::new(batch_tuples, batch_bytes, stream.fields.len());
        Stage {
            stream,
            batch,
            direct: Vec::new(),
            emitted: 0,
            limits,
            full_at: limits,
            call: 0,
            call_start: 0,
            cuts: Vec::new(),
        }
    }

    /// Whether the part under construction is full.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.full_at.reached(&self.batch)
    }

    /// Writes the values of a row, and returns the bytes that they hold outside. Values that may not be emitted
    /// are removed again. [`add_row`](Stage::add_row) must follow.
    #[inline]
    pub(super) fn write_row(
        &mut self,
        values: impl Values,
        names_task: bool,
        component: &SmolStr,
        size_max: usize,
    ) -> Result<usize, EmitError> {
        let rows = self.batch.rows.owned();
        let start = rows.len();
        let written = values.push_into(rows);
        let has_target = names_task || !self.stream.direct;
        // The usual case takes few instructions, because they are inlined into user code.
        if written.is_ok()
            && has_target
            && rows.len() - start == self.batch.arity as usize
            && rows.iter().skip(start).all(Value::is_inline)
        {
            return Ok(0);
        }
        self.measure_row(start, written.err(), has_target, component, size_max)
    }

    /// What [`write_row`](Stage::write_row) returns, for all rows.
    #[inline(never)]
    fn measure_row(
        &mut self,
        start: usize,
        refused: Option<ValueError>,
        has_target: bool,
        component: &SmolStr,
        size_max: usize,
    ) -> Result<usize, EmitError> {
        let rows = self.batch.rows.owned();
        let found = rows.len() - start;
        let heap: Option<usize> = rows[start..].iter().map(Value::size_within_depth).sum();
        if let Some(heap) = heap
            && refused.is_none()
            && has_target
            && found == self.batch.arity as usize
            && heap <= size_max
        {
            return Ok(heap);
        }
        rows.truncate(start);
        let (component, stream) = (component.clone(), self.stream.name.clone());
        let expected = self.stream.fields.len();
        Err(match (refused, heap) {
            _ if found != expected => {
                let fields = self.stream.fields.to_string();
                EmitError::Arity { component, stream, expected, found, fields }
            }
            (Some(error), _) => EmitError::Value { component, stream, error },
            (None, None) => EmitError::Depth { component, stream, limit: DEPTH_MAX },
            (None, Some(size)) if size > size_max => {
                EmitError::Oversize { component, stream, size, limit: size_max }
            }
            (None, Some(_)) => EmitError::Direct { component, stream, direct: true },
        })
    }

    /// Makes the row just written in this call a tuple.
    #[inline]
    pub(super) fn add_row(&mut self, heap: usize, call: u64, tracked: bool, anchor: Anchor) {
        if self.call != call {
            self.call = call;
            self.call_start = self.batch.len;
        }
        self.batch.heap += heap;
        self.batch.len += 1;
        self.emitted += 1;
        if tracked {
            self.batch.note_anchor(anchor.root, anchor.message, anchor.attempt);
        }
    }

    /// Ends a part with the tuple written last.
    pub(super) fn cut(&mut self) {
        self.cut_at(self.batch.len, None);
    }

    fn cut_at(&mut self, at: u32, chosen: Option<Vec<Chosen>>) {
        self.cuts.push(Cut { at, chosen });
        self.full_at = self.limits.beyond(&self.batch);
    }

    /// Makes a part of the tuple written last alone, whose targets are chosen already.
    pub(super) fn cut_out_last(&mut self, chosen: Vec<Chosen>) {
        self.cut_at(self.batch.len - 1, None);
        self.cut_at(self.batch.len, Some(chosen));
    }

    /// Routes all parts that end with a cut. The tuples after the last cut stay.
    pub(super) fn route_cuts(&mut self, index: usize, route: &mut dyn OutputCollector) {
        self.full_at = self.limits;
        let mut cuts = std::mem::take(&mut self.cuts);
        // From the last to the first, so that each tuple is moved once.
        let mut later: Vec<_> = cuts.iter().rev().map(|cut| self.split_off(cut.at)).collect();
        for cut in cuts.drain(..) {
            match cut.chosen {
                _ if self.batch.is_empty() => {}
                None => route.route(index, self),
                Some(chosen) => route.route_chosen(index, self, &chosen),
            }
            if let Some((mut batch, mut direct)) = later.pop() {
                self.batch.append(&mut batch);
                self.direct.append(&mut direct);
            }
        }
        self.cuts = cuts;
    }

    fn split_off(&mut self, at: u32) -> (TupleBatch, Vec<TaskId>) {
        let direct = self.direct.split_off(self.direct.len().min(at as usize));
        (self.batch.split_off(at), direct)
    }

    /// Removes what was emitted in this call, and a row that was not completed.
    pub(super) fn take_back(&mut self, call: u64) {
        self.truncate(if self.call == call { self.call_start } else { self.batch.len });
        self.cuts.clear();
        self.full_at = self.limits;
    }

    /// Removes the tuples from number `len` on, and a row that was not completed.
    pub(super) fn truncate(&mut self, len: u32) {
        self.emitted -= u64::from(self.batch.len - len);
        self.batch.truncate(len);
        self.direct.truncate(len as usize);
    }

    /// Removes everything.
    pub(super) fn clear(&mut self) {
        self.truncate(0);
        self.cuts.clear();
        self.full_at = self.limits;
    }

    /// An empty batch for the next tuples, with room for as many as this one holds.
    pub fn empty_like(&self) -> TupleBatch {
        let mut batch = TupleBatch::new(self.batch.arity as usize);
        batch.rows.owned().reserve(self.batch.rows.values().len());
        if self.batch.is_tracked() {
            batch.msgs.reserve(self.batch.len());
            batch.runs.reserve(self.batch.runs.len());
        }
        batch
    }
}

/// The targets of one tuple at one subscriber, chosen before the tuple is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// As for every tuple of the stream: there is nothing to choose.
    AsEvery,
    /// The targets at these positions.
    At(Vec<usize>),
    /// None, because the custom grouping panicked; the tuple's messages fail.
    Panicked,
}

/// What the outputs call in the runtime. Implemented by `runtime::emitter`, never by users.
pub trait OutputCollector {
    /// Sends the tuples in the stage of stream `index` to their targets and empties the stage.
    fn route(&mut self, index: usize, stage: &mut Stage);
    /// Chooses the targets of a tuple before it is routed: one entry for each subscriber of the stream. Appends
    /// the tasks to `tasks`.
    fn choose(&mut self, index: usize, row: &[Value], tasks: &mut Vec<TaskId>) -> Vec<Chosen>;
    /// Sends the only tuple in a stage to the targets that were chosen for it, and empties the stage.
    fn route_chosen(&mut self, index: usize, stage: &mut Stage, chosen: &[Chosen]);
    /// Whether a task takes the stream by direct grouping.
    fn is_direct_target(&self, index: usize, task: TaskId) -> bool;
    /// Draws an edge of the tree for a tuple that is held.
    fn keep_edge(&mut self, root: RootId) -> u64;
    /// Replaces the edge of a held tuple by a new one, before something is emitted anchored to it: the
    /// edges created and the edge consumed for it must be in one record (see `runtime::acking::acker`).
    fn renew_edge(&mut self, anchor: &mut Anchor);
    /// Acks the tuple with these anchors.
    fn ack(&mut self, anchors: &[Anchor]);
    /// Fails the tuple with these anchors.
    fn fail(&mut self, anchors: &[Anchor], cause: FailureCause);
    /// Restarts the time-out of the trees of these anchors.
    fn reset_timeout(&mut self, anchors: &[Anchor]);
    /// Opens a message of a spout for which there is no room. Returns the anchor of its tuple.
    fn open_message(&mut self, id: MessageId, open: &mut OpenMessages) -> Anchor;
    /// Whether it matters of which split a tuple is: the spout has event time.
    fn takes_splits(&self) -> bool;
    /// Whether this is the split of what is routed now.
    fn is_in_split(&self, split: &str) -> bool;
    /// What is routed from now on is of this split.
    fn begin_split(&mut self, split: &str);
    /// Nothing more comes of this split.
    fn end_split(&mut self, split: &str);
    /// Counts and, within the limit, logs an error of user code.
    fn report(&mut self, error: TaskError);
    /// Ends the topology in order, as SIGTERM would.
    fn request_drain(&mut self);
}
