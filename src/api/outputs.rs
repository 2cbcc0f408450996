//! Where components emit: [`Outputs`] for bolts, [`SpoutOutputs`] for spouts.
//!
//! An emit writes its values straight into the *stage* of its stream, the batch under
//! construction; nothing is allocated and nothing is routed per tuple. The runtime routes a stage
//! when it is full or the executor has run out of input.
//!
//! One file, because both types write to the same [`OutputState`] and must agree on the state of a stage
//! and its anchors between two emits; a third of it is examples.

use std::sync::Arc;

use ::serde::Serialize;
use smol_str::SmolStr;

use crate::api::error::{EmitError, TaskError};
use crate::api::failure::FailureCause;
use crate::api::hooks::TaskHook;
use crate::api::input::{HeldTuple, HoldRegistry, Input};
use crate::api::streams::StreamDeclaration;
use crate::ids::{DEFAULT_STREAM, MessageId, RootId, TaskId};
use crate::logging::panics::guarded;
use crate::tuple::codec::DEPTH_MAX;
use crate::tuple::{
    self, Anchor, Attempt, BatchLimits, IntoValue, MessageIndex, TupleBatch, Value, ValueError,
};

/// Something that can be emitted: arrays and Rust tuples of types that convert into [`Value`],
/// slices and vectors of values. A `u64` or a `SystemTime` may not fit into a value; the emit then
/// fails.
///
/// # Examples
/// ```
/// # use squall::prelude::*;
/// fn all_the_same(out: &mut Outputs<'_>) -> Result<(), EmitError> {
///     out.emit(("storm", 1))?;
///     out.emit([Value::from("storm"), Value::from(1)])?;
///     out.emit(vec![Value::from("storm"), Value::from(1)])?;
///     out.emit(("storm", 1_u64)) // an `EmitError::Value` above `i64::MAX`
/// }
/// ```
pub trait Values {
    /// Appends the values to a row under construction.
    ///
    /// # Errors
    /// When one does not fit into a value. The caller then removes what was appended.
    ///
    /// # Examples
    /// A type of the program's own that can be emitted:
    /// ```
    /// use squall::prelude::*;
    /// use squall::tuple::ValueError;
    ///
    /// struct Point {
    ///     x: f64,
    ///     y: f64,
    /// }
    ///
    /// impl Values for Point {
    ///     fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
    ///         row.extend([Value::from(self.x), Value::from(self.y)]);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut row = Vec::new();
    /// Point { x: 1.0, y: -1.0 }.push_into(&mut row)?;
    /// assert_eq!(row, [Value::from(1.0), Value::from(-1.0)]);
    /// # Ok::<(), ValueError>(())
    /// ```
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError>;
}

impl<T: IntoValue, const N: usize> Values for [T; N] {
    #[inline]
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        let mut refused = None;
        // `extend` with an iterator of known length writes each value to its final place. `push` would
        // build each value on the stack first, and reading it back at once stalls the processor.
        row.extend(self.into_iter().map(|value| value.into_value(&mut refused)));
        refused.map_or(Ok(()), Err)
    }
}

impl Values for Vec<Value> {
    #[inline]
    fn push_into(mut self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        row.append(&mut self);
        Ok(())
    }
}

impl Values for &[Value] {
    #[inline]
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        row.extend_from_slice(self);
        Ok(())
    }
}

impl Values for Input<'_> {
    /// All values of the input, moved if this task is its only reader.
    #[inline]
    fn push_into(mut self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        for index in 0..self.len() {
            row.push(self.take(index));
        }
        Ok(())
    }
}

macro_rules! values_for_tuples {
    ($(($($t:ident)*))*) => {
        $(impl<$($t: IntoValue),*> Values for ($($t,)*) {
            #[inline]
            #[allow(non_snake_case, reason = "the type parameters double as variable names")]
            fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
                let ($($t,)*) = self;
                let mut refused = None;
                $(row.extend(std::iter::once_with(|| $t.into_value(&mut refused)));)*
                refused.map_or(Ok(()), Err)
            }
        })*
    };
}

values_for_tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H)
}

/// The batch under construction of one output stream.
pub struct Stage {
    /// Name, fields and kind of the stream.
    pub stream: StreamDeclaration,
    /// Tuples emitted and not yet routed. Emits append to it; [`OutputCollector::route`] empties it.
    pub batch: TupleBatch,
    /// The sizes at which the batch is full and is routed.
    full_at: BatchLimits,
    /// On a direct stream, the target of each tuple of the batch.
    pub direct: Vec<TaskId>,
    /// Tuples emitted since the executor last took this number.
    pub emitted: u64,
}

impl Stage {
    /// Whether the stage has to be routed now.
    #[inline]
    fn is_full(&self) -> bool {
        self.full_at.reached(&self.batch)
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

/// The outputs of a task: its stages, and the anchors of the tuple that `execute` is called with. The
/// executor owns it and lends it to user code inside [`Outputs`].
pub struct OutputState {
    /// The component, for error messages.
    pub component: SmolStr,
    /// One per declared stream, in the order of declaration.
    pub stages: Vec<Stage>,
    /// The index of the stream `default` in `stages`.
    default_stage: Option<usize>,
    /// Whether the topology tracks tuple trees at all.
    pub tracked: bool,
    /// The most bytes of one tuple.
    pub tuple_size_max: usize,
    /// The first anchor of the tuple that is executed. The executor writes it before each `execute`;
    /// emits copy it.
    pub anchor: Anchor,
    /// The second and further anchors of that tuple.
    pub extra_anchors: Vec<Anchor>,
    /// Whether the bolt has held that tuple; the executor then does not ack it.
    pub held: bool,
    /// How many tuples were held since the executor last took this number.
    pub held_count: u64,
    /// Held tuples add themselves here when they are dropped; the executor then fails them.
    pub holds: Arc<HoldRegistry>,
    /// The task's hooks; usually none.
    pub hooks: Vec<Box<dyn TaskHook>>,
}

impl OutputState {
    /// The state of a task that emits to `streams`. A stage is routed when it has `batch_tuples` tuples
    /// or `batch_bytes` bytes.
    pub fn new(
        component: SmolStr,
        streams: impl IntoIterator<Item = StreamDeclaration>,
        tracked: bool,
        (batch_tuples, batch_bytes): (u32, usize),
        tuple_size_max: usize,
    ) -> OutputState {
        let stages: Vec<Stage> = streams
            .into_iter()
            .map(|stream| {
                let batch = TupleBatch::new(stream.fields.len());
                let full_at = BatchLimits::new(batch_tuples, batch_bytes, stream.fields.len());
                Stage { stream, batch, full_at, direct: Vec::new(), emitted: 0 }
            })
            .collect();
        let default_stage = stages.iter().position(|stage| stage.stream.name == DEFAULT_STREAM);
        OutputState {
            component,
            stages,
            default_stage,
            tracked,
            tuple_size_max,
            anchor: Anchor::NONE,
            extra_anchors: Vec::new(),
            held: false,
            held_count: 0,
            holds: Arc::default(),
            hooks: Vec::new(),
        }
    }

    #[inline]
    fn stage_of(&self, stream: &str) -> Result<usize, EmitError> {
        self.stages
            .iter()
            .position(|stage| stage.stream.name == stream)
            .ok_or_else(|| self.unknown_stream(stream))
    }

    #[inline]
    fn default_stage(&self) -> Result<usize, EmitError> {
        self.default_stage.ok_or_else(|| self.unknown_stream(DEFAULT_STREAM))
    }

    #[cold]
    fn unknown_stream(&self, stream: &str) -> EmitError {
        let declared: Vec<_> = self.stages.iter().map(|stage| stage.stream.name.as_str()).collect();
        EmitError::UnknownStream {
            component: self.component.clone(),
            stream: SmolStr::new(stream),
            declared: if declared.is_empty() { "none".to_owned() } else { declared.join(", ") },
        }
    }

    /// Appends one row with this anchor to a stage. On an error the stage is unchanged.
    #[inline]
    fn push_row(&mut self, index: usize, values: impl Values, anchor: Anchor) -> Result<(), EmitError> {
        let stage = &mut self.stages[index];
        let batch = &mut stage.batch;
        let rows = batch.rows.owned();
        let start = rows.len();
        let pushed = values.push_into(rows);
        let heap = row_size(&rows[start..]);
        let found = rows.len() - start;
        let heap = match (pushed, heap) {
            (Ok(()), Some(heap)) if found == batch.arity as usize && heap <= self.tuple_size_max => heap,
            (pushed, heap) => {
                rows.truncate(start);
                return Err(self.refused(index, found, heap, pushed.err()));
            }
        };
        batch.heap += heap;
        batch.len += 1;
        stage.emitted += 1;
        if self.tracked {
            batch.note_anchor(anchor.root, anchor.message, anchor.attempt);
        }
        Ok(())
    }

    #[cold]
    fn refused(
        &self,
        index: usize,
        found: usize,
        heap: Option<usize>,
        value: Option<ValueError>,
    ) -> EmitError {
        let stage = &self.stages[index];
        let (component, stream) = (self.component.clone(), stage.stream.name.clone());
        let expected = stage.stream.fields.len();
        if found != expected {
            let fields = stage.stream.fields.to_string();
            return EmitError::Arity { component, stream, expected, found, fields };
        }
        match (value, heap) {
            (Some(error), _) => EmitError::Value { component, stream, error },
            (None, Some(size)) => EmitError::Oversize { component, stream, size, limit: self.tuple_size_max },
            (None, None) => EmitError::Depth { component, stream, limit: DEPTH_MAX },
        }
    }

    /// Emits a row that the system makes, with the anchors of the tuple that is executed.
    ///
    /// # Errors
    /// When the row is too large.
    pub(crate) fn push_anchored(&mut self, index: usize, row: Vec<Value>) -> Result<(), EmitError> {
        let anchor = self.anchor;
        self.push_row(index, row, anchor)?;
        note_extras(self, index);
        Ok(())
    }

    /// Removes the incomplete row that a panic of user code left behind.
    pub(crate) fn repair(&mut self) {
        for stage in &mut self.stages {
            let whole = stage.batch.len() * stage.batch.arity as usize;
            stage.batch.rows.owned().truncate(whole);
        }
        self.held = false;
    }

    /// Tuples emitted to all streams since the last call.
    pub(crate) fn take_emitted(&mut self) -> u64 {
        self.stages.iter_mut().map(|stage| std::mem::take(&mut stage.emitted)).sum()
    }

    /// Calls the emit hooks for the row just written.
    #[cold]
    fn run_emit_hooks(&mut self, route: &mut dyn OutputCollector, index: usize, targets: &[TaskId]) {
        let OutputState { stages, hooks, .. } = self;
        let stage = &stages[index];
        if let Some(last) = stage.batch.len().checked_sub(1) {
            let row = stage.batch.row(last);
            call_hooks(hooks, route, |hook| hook.emit(&stage.stream.name, row, targets));
        }
    }
}

/// Bytes held outside the values of a row, unless one nests deeper than a tuple may.
#[inline]
fn row_size(row: &[Value]) -> Option<usize> {
    let mut size = 0;
    // A loop, because only a link-time optimizer inlines the sum of an iterator of options.
    for value in row {
        size += value.size_within_depth()?;
    }
    Some(size)
}

/// Calls each hook of a task. A panic of a hook is reported; it fails neither the tuple nor the task.
fn call_hooks(
    hooks: &mut [Box<dyn TaskHook>],
    route: &mut dyn OutputCollector,
    mut call: impl FnMut(&mut dyn TaskHook),
) {
    for hook in hooks {
        if let Err(panic) = guarded(|| call(&mut **hook)) {
            route.report(&TaskError::new(format!("hook {panic}")));
        }
    }
}

/// What the outputs call in the runtime. Implemented by `runtime::emitter`, never by users.
pub trait OutputCollector {
    /// Sends the tuples in the stage of stream `index` to their targets and empties the stage.
    fn route(&mut self, index: usize, stage: &mut Stage);
    /// The same for a stage with one tuple; appends the tasks that it was sent to.
    fn route_one(&mut self, index: usize, stage: &mut Stage, targets: &mut Vec<TaskId>);
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
    /// Opens a message of a spout. Returns its place in the open block.
    fn open_message(&mut self, id: MessageId) -> (RootId, MessageIndex, Attempt);
    /// Takes back the message opened last, because its tuple was refused: nothing was sent for it, so it
    /// is neither acked nor failed.
    fn withdraw_message(&mut self, root: RootId, id: MessageId);
    /// Counts and, within the limit, logs an error of user code.
    fn report(&mut self, error: &TaskError);
    /// Ends the topology in order, as SIGTERM would.
    fn request_drain(&mut self);
}

/// Where a bolt emits, acks and reports.
///
/// # Examples
/// ```
/// # use squall::prelude::*;
/// # use squall::testing::{BoltHarness, TestTuple};
/// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
///     for word in input.str("line")?.split(' ') {
///         out.emit([word])?;
///     }
///     Ok(())
/// };
/// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["word"]), execute));
/// # bolt.execute(TestTuple::new(["to be"]).fields(["line"]));
/// # assert_eq!(bolt.take_rows("default").len(), 2);
/// ```
pub struct Outputs<'a> {
    state: &'a mut OutputState,
    route: &'a mut dyn OutputCollector,
}

impl<'a> Outputs<'a> {
    /// For the runtime, which owns both halves.
    pub fn new(state: &'a mut OutputState, route: &'a mut dyn OutputCollector) -> Outputs<'a> {
        Outputs { state, route }
    }

    /// Emits to the default stream, anchored to the current input. In `tick` and `finish` there is no
    /// input, and the tuple is not anchored.
    ///
    /// # Errors
    /// When the component has no default stream, the number of values is not that of its fields,
    /// the tuple is too large, or it nests too deep.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     out.emit((input.str("word")?, 1))?;
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["word", "count"]), execute));
    /// # bolt.execute(TestTuple::new(["storm"]).fields(["word"]));
    /// # assert_eq!(bolt.take_rows("default"), [[Value::from("storm"), Value::from(1)]]);
    /// ```
    #[inline]
    pub fn emit(&mut self, values: impl Values) -> Result<(), EmitError> {
        let index = self.state.default_stage()?;
        self.emit_at(index, values)
    }

    /// Emits to a named stream, anchored to the current input.
    ///
    /// # Errors
    /// As [`emit`](Outputs::emit).
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     match input.str("line")?.split_once('=') {
    ///         Some((key, value)) => out.emit((key, value))?,
    ///         None => out.emit_to("rejected", [input.str("line")?])?,
    ///     }
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["key", "value"]).stream("rejected", ["line"]), execute));
    /// # bolt.execute(TestTuple::new(["no pair"]).fields(["line"]));
    /// # assert_eq!(bolt.take_rows("rejected"), [[Value::from("no pair")]]);
    /// ```
    pub fn emit_to(&mut self, stream: &str, values: impl Values) -> Result<(), EmitError> {
        let index = self.state.stage_of(stream)?;
        self.emit_at(index, values)
    }

    /// Emits a struct to the default stream, its fields matched by name.
    ///
    /// # Errors
    /// As [`emit`](Outputs::emit), and when a field of the stream is missing in the struct.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// #[derive(serde::Serialize)]
    /// struct Hit {
    ///     path: String,
    ///     status: u16,
    /// }
    ///
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     out.emit_struct(&Hit { path: input.str("path")?.to_owned(), status: 200 })?;
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["status", "path"]), execute));
    /// # bolt.execute(TestTuple::new(["/"]).fields(["path"]));
    /// # assert_eq!(bolt.take_rows("default"), [[Value::from(200), Value::from("/")]]);
    /// ```
    pub fn emit_struct(&mut self, value: &impl Serialize) -> Result<(), EmitError> {
        let index = self.state.default_stage()?;
        let row = struct_row(self.state, index, value)?;
        self.emit_at(index, row)
    }

    /// Emits to a named stream and returns the tasks that the tuple is sent to.
    ///
    /// # Errors
    /// As [`emit`](Outputs::emit).
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let tasks = out.emit_for_targets("default", input)?;
    ///     assert_eq!(tasks.len(), 1, "a shuffled tuple goes to one task");
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["word"]), execute));
    /// # bolt.execute(TestTuple::new(["storm"]));
    /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
    /// ```
    pub fn emit_for_targets(&mut self, stream: &str, values: impl Values) -> Result<Vec<TaskId>, EmitError> {
        let index = self.state.stage_of(stream)?;
        emit_for_targets(self.state, self.route, index, values, None)
    }

    /// Emits to a direct stream, to the task named.
    ///
    /// # Errors
    /// As [`emit`](Outputs::emit), and when the stream is not direct or the task does not take it.
    ///
    /// # Examples
    /// A bolt gets targets from its [context](crate::api::TaskContext::tasks_of), or from its input:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     out.emit_direct(input.source_task(), "answers", ["yes"])?;
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none().direct_stream("answers", ["text"]), execute));
    /// # bolt.execute(TestTuple::new(["ready?"]).task(TaskId(7)));
    /// # assert_eq!(bolt.take_emitted()[0].direct, Some(TaskId(7)));
    /// ```
    pub fn emit_direct(&mut self, task: TaskId, stream: &str, values: impl Values) -> Result<(), EmitError> {
        let anchor = self.state.anchor;
        emit_direct(self.state, self.route, task, stream, values, anchor)
    }

    /// Emits to a named stream, anchored to these held tuples instead of the current input. The new
    /// tuple belongs to the trees of all of them and keeps these trees open.
    ///
    /// # Errors
    /// As [`emit`](Outputs::emit).
    ///
    /// # Examples
    /// Two tuples become one, which is anchored to both:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// fn emit_sum(a: HeldTuple, b: HeldTuple, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///     out.emit_anchored("default", &[&a, &b], [a.i64("n")? + b.i64("n")?])?;
    ///     out.ack(a);
    ///     out.ack(b);
    ///     Ok(())
    /// }
    /// # let mut first = None;
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["sum"]), move |input, out| {
    /// #     let held = out.hold(input);
    /// #     match first.take() {
    /// #         Some(first) => emit_sum(first, held, out),
    /// #         None => Ok(first = Some(held)),
    /// #     }
    /// # }));
    /// # bolt.execute_all([1, 2].map(|n| TestTuple::new([n]).fields(["n"])));
    /// # assert_eq!((bolt.take_emitted()[0].anchors.len(), bolt.acked()), (2, &[0, 1][..]));
    /// ```
    pub fn emit_anchored(
        &mut self,
        stream: &str,
        anchors: &[&HeldTuple],
        values: impl Values,
    ) -> Result<(), EmitError> {
        let index = self.state.stage_of(stream)?;
        let mut all: Vec<Anchor> = Vec::new();
        for held in anchors {
            let mut own = held.anchors().borrow_mut();
            own.iter_mut().for_each(|anchor| self.route.renew_edge(anchor));
            all.extend_from_slice(&own);
        }
        let first = if all.is_empty() { Anchor::NONE } else { all.remove(0) };
        let outer_anchor = std::mem::replace(&mut self.state.anchor, first);
        let outer_extras = std::mem::replace(&mut self.state.extra_anchors, all);
        let result = self.emit_at(index, values);
        self.state.anchor = outer_anchor;
        self.state.extra_anchors = outer_extras;
        result
    }

    /// Emits to a named stream without anchor: if the tuple is lost, it is not replayed.
    ///
    /// # Errors
    /// As [`emit`](Outputs::emit).
    ///
    /// # Examples
    /// The loss of a statistics tuple must not cause a replay of the payment:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     out.emit([input.i64("amount")?])?;
    ///     out.emit_unanchored("statistics", ["a payment"])?;
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["amount"]).stream("statistics", ["what"]), execute));
    /// # bolt.execute(TestTuple::new([7]).fields(["amount"]));
    /// # let emitted = bolt.take_emitted();
    /// # assert_eq!((&emitted[0].anchors[..], emitted[1].anchors.len()), (&[0][..], 0));
    /// ```
    pub fn emit_unanchored(&mut self, stream: &str, values: impl Values) -> Result<(), EmitError> {
        self.emit_anchored(stream, &[], values)
    }

    /// Keeps the current input beyond `execute`. What this call emits afterwards is still anchored to
    /// it.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let held = out.hold(input);
    ///     // Kept as long as it takes, for instance until a database has stored it. Then:
    ///     out.ack(held);
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["word"]), execute));
    /// # bolt.execute(TestTuple::new(["storm"]));
    /// # assert_eq!(bolt.acked(), [0]);
    /// ```
    pub fn hold(&mut self, input: Input<'_>) -> HeldTuple {
        self.state.held = true;
        self.state.held_count += 1;
        let (values, meta) = input.into_parts();
        let mut anchors = Vec::new();
        if self.state.anchor.root.is_tracked() {
            for anchor in std::iter::once(&self.state.anchor).chain(&self.state.extra_anchors) {
                anchors.push(Anchor { edge: self.route.keep_edge(anchor.root), ..*anchor });
            }
        }
        HeldTuple::new(values, meta, anchors, Arc::clone(&self.state.holds))
    }

    /// Acks the held tuple, and consumes it.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// /// Settles a group of rows that a database has stored or not.
    /// fn settle(rows: Vec<HeldTuple>, is_stored: bool, out: &mut Outputs<'_>) {
    ///     for row in rows {
    ///         if is_stored { out.ack(row) } else { out.fail(row) }
    ///     }
    /// }
    /// # for is_stored in [true, false] {
    /// #     let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), move |input, out| {
    /// #         let row = out.hold(input);
    /// #         Ok(settle(vec![row], is_stored, out))
    /// #     }));
    /// #     bolt.execute(TestTuple::new([1]));
    /// #     assert_eq!((bolt.acked().len(), bolt.failed().len()), if is_stored { (1, 0) } else { (0, 1) });
    /// # }
    /// ```
    pub fn ack(&mut self, held: HeldTuple) {
        self.route.ack(&held.settle());
        call_hooks(&mut self.state.hooks, self.route, |hook| hook.bolt_ack());
    }

    /// Fails the held tuple, and so its message. Consumes it.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let held = out.hold(input);
    ///     out.fail(held);
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["word"]), execute));
    /// # bolt.execute(TestTuple::new(["storm"]));
    /// # assert_eq!(bolt.failed().len(), 1);
    /// ```
    pub fn fail(&mut self, held: HeldTuple) {
        self.route.fail(&held.settle(), FailureCause::Failed);
        call_hooks(&mut self.state.hooks, self.route, |hook| hook.bolt_fail());
    }

    /// Restarts the `message_timeout` of the tree of a held tuple.
    ///
    /// # Examples
    /// A bolt that works on a tuple for a long time restarts the time-out after each part:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let held = out.hold(input);
    ///     for _part in 0..3 {
    ///         out.reset_timeout(&held);
    ///     }
    ///     out.ack(held);
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["word"]), execute));
    /// # bolt.execute(TestTuple::new(["a film"]));
    /// # assert_eq!(bolt.timeouts_reset(), [0, 0, 0]);
    /// ```
    pub fn reset_timeout(&mut self, held: &HeldTuple) {
        self.route.reset_timeout(&held.anchors().borrow());
    }

    /// Reports an error without failing a tuple. It is always counted, and logged within the limit.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let line = input.str("line")?;
    ///     if line.is_empty() {
    ///         out.report_error(TaskError::new("an empty line"));
    ///         return Ok(());
    ///     }
    ///     out.emit([line])?;
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["line"]), execute));
    /// # bolt.execute(TestTuple::new([""]).fields(["line"]));
    /// # assert_eq!((bolt.errors(), bolt.acked()), (&["an empty line".to_owned()][..], &[0][..]));
    /// ```
    pub fn report_error(&mut self, error: impl Into<TaskError>) {
        self.route.report(&error.into());
    }

    /// Ends the topology in order: spouts stop, everything in flight is processed.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     if input.str("line")? == "quit" {
    ///         out.request_drain();
    ///     }
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["word"]), execute));
    /// # bolt.execute(TestTuple::new(["quit"]).fields(["line"]));
    /// # assert!(bolt.drain_requested());
    /// ```
    pub fn request_drain(&mut self) {
        self.route.request_drain();
    }

    /// How often the message of the current input was replayed; 0 for the first time.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     if out.attempt() > 0 {
    ///         out.emit_to("again", [input.str("line")?])?;
    ///     }
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none().stream("again", ["line"]), execute));
    /// # bolt.execute(TestTuple::new(["x"]).fields(["line"]).attempt(2));
    /// # assert_eq!(bolt.take_rows("again").len(), 1);
    /// ```
    pub fn attempt(&self) -> u32 {
        self.state.anchor.attempt.replays()
    }

    #[inline]
    fn emit_at(&mut self, index: usize, values: impl Values) -> Result<(), EmitError> {
        let anchor = self.state.anchor;
        self.state.push_row(index, values, anchor)?;
        let state = &mut *self.state;
        if state.stages[index].stream.direct || !state.hooks.is_empty() || !state.extra_anchors.is_empty() {
            emit_rare(state, self.route, index)?;
        }
        let stage = &mut state.stages[index];
        if stage.is_full() {
            self.route.route(index, stage);
        }
        Ok(())
    }
}

/// What only few emits need after the row was written: the error on a direct stream, hooks, anchors
/// beyond the first.
#[cold]
fn emit_rare(
    state: &mut OutputState,
    route: &mut dyn OutputCollector,
    index: usize,
) -> Result<(), EmitError> {
    let stage = &mut state.stages[index];
    if stage.stream.direct {
        drop_last_row(stage);
        let (component, stream) = (state.component.clone(), stage.stream.name.clone());
        return Err(EmitError::Direct { component, stream, direct: true });
    }
    note_extras(state, index);
    state.run_emit_hooks(route, index, &[]);
    Ok(())
}

/// Notes the second and further anchors for the row just written.
fn note_extras(state: &mut OutputState, index: usize) {
    let batch = &mut state.stages[index].batch;
    let tuple = batch.len - 1;
    batch.extras.extend(state.extra_anchors.iter().map(|anchor| (tuple, Anchor { edge: 0, ..*anchor })));
}

fn drop_last_row(stage: &mut Stage) {
    let batch = &mut stage.batch;
    batch.len -= 1;
    batch.heap -= batch.row(batch.len()).iter().map(Value::heap_size).sum::<usize>();
    let keep = batch.len() * batch.arity as usize;
    batch.rows.owned().truncate(keep);
    stage.emitted -= 1;
    if batch.msgs.pop().is_some()
        && let Some(run) = batch.runs.last_mut()
    {
        run.len -= 1;
        if run.len == 0 {
            batch.runs.pop();
        }
    }
}

fn struct_row(state: &OutputState, index: usize, value: &impl Serialize) -> Result<Vec<Value>, EmitError> {
    let stream = &state.stages[index].stream;
    tuple::serde::to_row(&stream.fields, value).map_err(|error| EmitError::Struct {
        component: state.component.clone(),
        stream: stream.name.clone(),
        reason: error.to_string(),
    })
}

fn emit_direct(
    state: &mut OutputState,
    route: &mut dyn OutputCollector,
    task: TaskId,
    stream: &str,
    values: impl Values,
    anchor: Anchor,
) -> Result<(), EmitError> {
    let index = state.stage_of(stream)?;
    if !state.stages[index].stream.direct {
        let (component, stream) = (state.component.clone(), SmolStr::new(stream));
        return Err(EmitError::Direct { component, stream, direct: false });
    }
    if !route.is_direct_target(index, task) {
        return Err(EmitError::NotATarget {
            component: state.component.clone(),
            stream: SmolStr::new(stream),
            task,
        });
    }
    state.push_row(index, values, anchor)?;
    state.stages[index].direct.push(task);
    note_extras(state, index);
    state.run_emit_hooks(route, index, &[task]);
    let stage = &mut state.stages[index];
    if stage.is_full() {
        route.route(index, stage);
    }
    Ok(())
}

fn emit_for_targets(
    state: &mut OutputState,
    route: &mut dyn OutputCollector,
    index: usize,
    values: impl Values,
    message: Option<Anchor>,
) -> Result<Vec<TaskId>, EmitError> {
    // Earlier tuples are routed first, to keep the order of the stream.
    if !state.stages[index].batch.is_empty() {
        route.route(index, &mut state.stages[index]);
    }
    let anchor = message.unwrap_or(state.anchor);
    state.push_row(index, values, anchor)?;
    if state.stages[index].stream.direct {
        return emit_rare(state, route, index).map(|()| Vec::new());
    }
    note_extras(state, index);
    let hook_row = (!state.hooks.is_empty()).then(|| state.stages[index].batch.row(0).to_vec());
    let mut targets = Vec::new();
    route.route_one(index, &mut state.stages[index], &mut targets);
    if let Some(row) = hook_row {
        let stream = state.stages[index].stream.name.clone();
        call_hooks(&mut state.hooks, route, |hook| hook.emit(&stream, &row, &targets));
    }
    Ok(targets)
}

/// Where a spout emits.
///
/// # Examples
/// ```
/// # use squall::prelude::*;
/// # use squall::testing::SpoutHarness;
/// # struct Words;
/// # impl Spout for Words {
/// #     fn declare(&self) -> Streams { Streams::new(["word"]) }
/// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
///     out.emit_tracked(["storm"], MessageId(7))?;
///     Ok(SpoutStatus::Emitted)
/// }
/// # }
/// # let mut words = SpoutHarness::new(Words);
/// # assert_eq!(words.next(), Some(SpoutStatus::Emitted));
/// # assert_eq!(words.take_emitted()[0].anchors, [7]);
/// ```
pub struct SpoutOutputs<'a> {
    state: &'a mut OutputState,
    route: &'a mut dyn OutputCollector,
}

impl<'a> SpoutOutputs<'a> {
    /// For the runtime, which owns both halves.
    pub fn new(state: &'a mut OutputState, route: &'a mut dyn OutputCollector) -> SpoutOutputs<'a> {
        SpoutOutputs { state, route }
    }

    /// Emits to the default stream, untracked: neither `ack` nor `fail` is called for it.
    ///
    /// # Errors
    /// As [`Outputs::emit`].
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     fn declare(&self) -> Streams { Streams::new(["word"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.emit(["storm"])?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut words = SpoutHarness::new(Words);
    /// # assert_eq!(words.next(), Some(SpoutStatus::Emitted));
    /// # assert!(words.take_emitted()[0].anchors.is_empty());
    /// ```
    #[inline]
    pub fn emit(&mut self, values: impl Values) -> Result<(), EmitError> {
        let index = self.state.default_stage()?;
        self.emit_at(index, values, Anchor::NONE)
    }

    /// Emits to a named stream, untracked.
    ///
    /// # Errors
    /// As [`Outputs::emit`].
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     fn declare(&self) -> Streams { Streams::none().stream("heartbeat", ["n"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.emit_to("heartbeat", [1])?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut words = SpoutHarness::new(Words);
    /// # assert_eq!(words.next(), Some(SpoutStatus::Emitted));
    /// # assert_eq!(words.take_rows("heartbeat").len(), 1);
    /// ```
    pub fn emit_to(&mut self, stream: &str, values: impl Values) -> Result<(), EmitError> {
        let index = self.state.stage_of(stream)?;
        self.emit_at(index, values, Anchor::NONE)
    }

    /// Emits to the default stream as the message `id`. When the whole tree of the message was processed,
    /// `ack` is called; when it failed, `fail` is called. In an at-most-once topology nothing is tracked,
    /// and `ack` follows at once.
    ///
    /// # Errors
    /// As [`Outputs::emit`].
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     fn declare(&self) -> Streams { Streams::new(["word"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.emit_tracked(["storm"], MessageId(7))?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut words = SpoutHarness::new(Words);
    /// # assert_eq!(words.next(), Some(SpoutStatus::Emitted));
    /// # assert_eq!(words.take_emitted()[0].anchors, [7]);
    /// ```
    #[inline]
    pub fn emit_tracked(&mut self, values: impl Values, id: MessageId) -> Result<(), EmitError> {
        let index = self.state.default_stage()?;
        self.tracked(id, |out, anchor| out.emit_at(index, values, anchor))
    }

    /// Emits to a named stream as the message `id`.
    ///
    /// # Errors
    /// As [`Outputs::emit`].
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     fn declare(&self) -> Streams { Streams::none().stream("rejected", ["word"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.emit_tracked_to("rejected", ["storm"], MessageId(7))?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut words = SpoutHarness::new(Words);
    /// # assert_eq!(words.next(), Some(SpoutStatus::Emitted));
    /// # let emitted = words.take_emitted();
    /// # assert_eq!((emitted[0].stream.as_str(), &emitted[0].anchors[..]), ("rejected", &[7][..]));
    /// ```
    pub fn emit_tracked_to(
        &mut self,
        stream: &str,
        values: impl Values,
        id: MessageId,
    ) -> Result<(), EmitError> {
        let index = self.state.stage_of(stream)?;
        self.tracked(id, |out, anchor| out.emit_at(index, values, anchor))
    }

    /// Emits a struct to the default stream as the message `id`, its fields matched by name.
    ///
    /// # Errors
    /// As [`Outputs::emit_struct`].
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// #[derive(serde::Serialize)]
    /// struct Hit {
    ///     path: &'static str,
    ///     status: u16,
    /// }
    ///
    /// # struct Hits;
    /// # impl Spout for Hits {
    /// #     fn declare(&self) -> Streams { Streams::new(["status", "path"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.emit_struct_tracked(&Hit { path: "/", status: 200 }, MessageId(7))?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut hits = SpoutHarness::new(Hits);
    /// # assert_eq!(hits.next(), Some(SpoutStatus::Emitted));
    /// # assert_eq!(hits.take_rows("default"), [[Value::from(200), Value::from("/")]]);
    /// ```
    pub fn emit_struct_tracked(&mut self, value: &impl Serialize, id: MessageId) -> Result<(), EmitError> {
        let index = self.state.default_stage()?;
        let row = struct_row(self.state, index, value)?;
        self.tracked(id, |out, anchor| out.emit_at(index, row, anchor))
    }

    /// Emits to a named stream, tracked if `id` is given, and returns the tasks that the tuple is sent to.
    ///
    /// # Errors
    /// As [`Outputs::emit`].
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     fn declare(&self) -> Streams { Streams::new(["word"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     let tasks = out.emit_for_targets("default", ["storm"], Some(MessageId(7)))?;
    ///     assert_eq!(tasks.len(), 1, "a shuffled tuple goes to one task");
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut words = SpoutHarness::new(Words);
    /// # assert_eq!(words.next(), Some(SpoutStatus::Emitted));
    /// ```
    pub fn emit_for_targets(
        &mut self,
        stream: &str,
        values: impl Values,
        id: Option<MessageId>,
    ) -> Result<Vec<TaskId>, EmitError> {
        let index = self.state.stage_of(stream)?;
        let emit =
            |out: &mut Self, anchor| emit_for_targets(out.state, out.route, index, values, Some(anchor));
        match id {
            Some(id) => self.tracked(id, emit),
            None => emit(self, Anchor::NONE),
        }
    }

    /// Emits to a direct stream, to the task named, tracked if `id` is given.
    ///
    /// # Errors
    /// As [`Outputs::emit_direct`].
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     fn declare(&self) -> Streams { Streams::none().direct_stream("sorted", ["word"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.emit_direct(TaskId(3), "sorted", ["storm"], Some(MessageId(7)))?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut words = SpoutHarness::new(Words);
    /// # assert_eq!(words.next(), Some(SpoutStatus::Emitted));
    /// # assert_eq!(words.take_emitted()[0].direct, Some(TaskId(3)));
    /// ```
    pub fn emit_direct(
        &mut self,
        task: TaskId,
        stream: &str,
        values: impl Values,
        id: Option<MessageId>,
    ) -> Result<(), EmitError> {
        let emit = |out: &mut Self, anchor| emit_direct(out.state, out.route, task, stream, values, anchor);
        match id {
            Some(id) => self.tracked(id, emit),
            None => emit(self, Anchor::NONE),
        }
    }

    /// Reports an error. It is always counted, and logged within the limit.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     fn declare(&self) -> Streams { Streams::new(["word"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.report_error(TaskError::new("a line of the file is no UTF-8"));
    ///     out.emit(["storm"])?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut words = SpoutHarness::new(Words);
    /// # assert_eq!(words.next(), Some(SpoutStatus::Emitted));
    /// # assert_eq!(words.errors(), ["a line of the file is no UTF-8"]);
    /// ```
    pub fn report_error(&mut self, error: impl Into<TaskError>) {
        self.route.report(&error.into());
    }

    /// Ends the topology in order: spouts stop, everything in flight is processed.
    ///
    /// # Examples
    /// The end of this source ends the topology, although other sources have more:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     fn declare(&self) -> Streams { Streams::new(["word"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.request_drain();
    ///     Ok(SpoutStatus::Exhausted)
    /// }
    /// # }
    /// # let mut words = SpoutHarness::new(Words);
    /// # assert_eq!(words.next(), Some(SpoutStatus::Exhausted));
    /// # assert!(words.drain_requested());
    /// ```
    pub fn request_drain(&mut self) {
        self.route.request_drain();
    }

    /// Opens a message, emits its tuple, and withdraws the message if the tuple is refused.
    #[inline]
    fn tracked<T>(
        &mut self,
        id: MessageId,
        emit: impl FnOnce(&mut Self, Anchor) -> Result<T, EmitError>,
    ) -> Result<T, EmitError> {
        let (root, message, attempt) = self.route.open_message(id);
        let result = emit(self, Anchor { root, edge: 0, message, attempt });
        if result.is_err() {
            self.route.withdraw_message(root, id);
        }
        result
    }

    #[inline]
    fn emit_at(&mut self, index: usize, values: impl Values, anchor: Anchor) -> Result<(), EmitError> {
        self.state.push_row(index, values, anchor)?;
        let state = &mut *self.state;
        if state.stages[index].stream.direct || !state.hooks.is_empty() {
            emit_rare(state, self.route, index)?;
        }
        let stage = &mut state.stages[index];
        if stage.is_full() {
            self.route.route(index, stage);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Fields;

    #[test]
    fn a_row_that_is_taken_back_leaves_nothing() {
        let stream = StreamDeclaration { name: "s".into(), fields: Fields::from(["x"]), direct: true };
        let mut state = OutputState::new("bolt".into(), [stream], true, (10, 10_000), 1000);
        state.push_row(0, ["a".repeat(100)], Anchor::NONE).expect("it fits");
        state.push_row(0, ["b".repeat(500)], Anchor::NONE).expect("it fits");
        drop_last_row(&mut state.stages[0]);
        let batch = &state.stages[0].batch;
        assert_eq!((batch.len, batch.heap, batch.msgs.len(), batch.runs[0].len), (1, 100, 1, 1));
        assert_eq!(state.stages[0].emitted, 1);
    }
}
