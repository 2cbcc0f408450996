//! Where bolts emit, ack and report.

use std::sync::Arc;

use ::serde::Serialize;

use crate::api::batch::Batch;
use crate::api::error::{EmitError, TaskError};
use crate::api::input::{HeldTuple, Input};
use crate::api::stage::OutputCollector;
use crate::api::stages::{
    Origin, OutputState, Settlement, emit_direct, emit_for_targets, emit_row, struct_row,
};
use crate::api::values::Values;
use crate::ids::TaskId;
use crate::state::TaskState;
use crate::tuple::{Anchor, Value, ValueError};

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
    pub(super) state: &'a mut OutputState,
    route: &'a mut dyn OutputCollector,
}

impl<'a> Outputs<'a> {
    /// For the runtime, which owns both halves.
    pub fn new(state: &'a mut OutputState, route: &'a mut dyn OutputCollector) -> Outputs<'a> {
        Outputs { state, route }
    }

    /// The batch that ends now: in `pre_commit`, and in the `flush` before it. Elsewhere `None`. [`Batch`] has an example.
    pub fn batch(&self) -> Option<Batch> {
        self.state.batch
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
        emit_for_targets(self.state, self.route, index, values, Origin::Input)
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
        emit_direct(self.state, self.route, task, stream, values, Origin::Input)
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
        self.with_anchors(first, all, |out| out.emit_at(index, values))
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

    /// Acks the held tuple, and consumes it. If the present call fails after this, the held tuple fails.
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
        self.state.settle(self.route, held, Settlement::Ack);
    }

    /// Fails the held tuple, and so its message. Consumes it. If the message is not replayed any more and a
    /// bolt takes the stream `dead-letter` of this one, the tuple goes there instead. The reason is not part
    /// of that letter: give it by [`fail_with`](Outputs::fail_with).
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
        self.state.settle(self.route, held, Settlement::Fail);
    }

    /// Fails the held tuple as [`fail`](Outputs::fail) does, with the reason that its dead letter has in `error`.
    /// The reason is not logged: report it by [`report_error`](Outputs::report_error), too, if it belongs there.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// /// Settles a row that a database may have refused.
    /// fn settle(row: HeldTuple, refusal: Option<String>, out: &mut Outputs<'_>) {
    ///     match refusal {
    ///         Some(why) => out.fail_with(row, why),
    ///         None => out.ack(row),
    ///     }
    /// }
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), |input, out| {
    /// #     let row = out.hold(input);
    /// #     Ok(settle(row, Some("there is such a row".to_owned()), out))
    /// # }));
    /// # bolt.execute(TestTuple::new([1]));
    /// # assert_eq!(bolt.failed().len(), 1);
    /// ```
    pub fn fail_with(&mut self, held: HeldTuple, why: impl Into<String>) {
        self.state.settle(self.route, held, Settlement::FailWith(why.into()));
    }

    /// Names the key of this call: which values of the task's state the call sees. It replaces the key that the
    /// input was grouped by, until the call ends or names another key.
    ///
    /// # Errors
    /// When a value does not fit into the types that tuples have.
    ///
    /// # Examples
    /// Money that goes from one account to another. Both states are changed, or none if the call fails:
    /// ```
    /// # use squall::prelude::*;
    /// fn transfer(
    ///     balances: ValueState<i64>,
    ///     input: Input<'_>,
    ///     out: &mut Outputs<'_>,
    /// ) -> Result<(), TaskError> {
    ///     let cents = input.i64("cents")?;
    ///     out.set_key([input.str("from")?])?;
    ///     balances.update(out, |balance| *balance -= cents)?;
    ///     out.set_key([input.str("to")?])?;
    ///     balances.update(out, |balance| *balance += cents)?;
    ///     Ok(())
    /// }
    /// ```
    pub fn set_key(&mut self, key: impl Values) -> Result<(), ValueError> {
        self.state.store.note_named();
        self.state.store.set_key(|row| key.push_into(row))
    }

    /// Names the key of this call: the values of a row at these positions.
    pub(crate) fn set_key_of(&mut self, row: &[Value], positions: &[usize]) {
        self.state.store.note_named();
        self.state.store.set_key_of(row, positions);
    }

    /// The key of this call; empty if it has none.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// # let execute = |_: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    /// assert!(out.key().is_empty());
    /// out.set_key(("ann", 7))?;
    /// assert_eq!(out.key(), [Value::from("ann"), Value::from(7)]);
    /// # Ok(())
    /// # };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
    /// # bolt.execute(TestTuple::new([1]));
    /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
    /// ```
    pub fn key(&self) -> &[Value] {
        self.state.store.key()
    }

    /// The state of the task, for handles.
    pub(crate) fn state(&mut self) -> &mut TaskState {
        &mut self.state.store
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
        self.route.report(error.into());
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
        emit_row(self.state, self.route, index, values, Origin::Input)
    }
}
