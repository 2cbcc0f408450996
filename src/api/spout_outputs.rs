//! Where spouts emit and report.

use ::serde::Serialize;

use crate::api::error::{EmitError, TaskError};
use crate::api::stage::OutputCollector;
use crate::api::stages::{Origin, OutputState, emit_direct, emit_for_targets, emit_row, struct_row};
use crate::api::values::Values;
use crate::ids::{MessageId, TaskId};

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
    /// As [`Outputs::emit`](crate::api::Outputs::emit).
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
        self.emit_at(index, values, Origin::Input)
    }

    /// Emits to a named stream, untracked.
    ///
    /// # Errors
    /// As [`Outputs::emit`](crate::api::Outputs::emit).
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
        self.emit_at(index, values, Origin::Input)
    }

    /// Emits to the default stream as the message `id`. When the whole tree of the message was processed,
    /// `ack` is called; when it failed, `fail` is called. In an at-most-once topology nothing is tracked,
    /// and `ack` follows at once.
    ///
    /// # Errors
    /// As [`Outputs::emit`](crate::api::Outputs::emit).
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
        self.emit_at(index, values, Origin::Message(id))
    }

    /// Emits to a named stream as the message `id`.
    ///
    /// # Errors
    /// As [`Outputs::emit`](crate::api::Outputs::emit).
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
        self.emit_at(index, values, Origin::Message(id))
    }

    /// Emits a struct to the default stream as the message `id`, its fields matched by name.
    ///
    /// # Errors
    /// As [`Outputs::emit_struct`](crate::api::Outputs::emit_struct).
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
        self.emit_at(index, row, Origin::Message(id))
    }

    /// Emits to a named stream, tracked if `id` is given, and returns the tasks that the tuple is sent to.
    ///
    /// # Errors
    /// As [`Outputs::emit`](crate::api::Outputs::emit).
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
        emit_for_targets(self.state, self.route, index, values, id.into())
    }

    /// Emits to a direct stream, to the task named, tracked if `id` is given.
    ///
    /// # Errors
    /// As [`Outputs::emit_direct`](crate::api::Outputs::emit_direct).
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
        emit_direct(self.state, self.route, task, stream, values, id.into())
    }

    /// What is emitted from now on is of this split of the input, as a file or a partition. Where the spout has
    /// [`event_time`](crate::config::EventTimeOptions), each split has a watermark of its own, and the least of them is
    /// that of the task: so splits need not be as far as each other. A split that was named and has brought nothing yet
    /// holds the watermark back; so a spout that knows all its splits names them before it emits from the first.
    ///
    /// A spout that names no split has a single one. Without event time this does nothing, and costs next to nothing.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Hours;
    /// # impl Spout for Hours {
    /// #     fn declare(&self) -> Streams { Streams::new(["path", "at"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     out.begin_split("today.log");
    ///     out.begin_split("yesterday.log");
    ///     out.emit(("/", "2026-11-29T10:00:00Z"))?;
    ///     out.end_split("yesterday.log");
    ///     out.begin_split("today.log");
    ///     out.emit(("/", "2026-11-30T10:00:00Z"))?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # let mut hours = SpoutHarness::new(Hours);
    /// # assert_eq!(hours.next(), Some(SpoutStatus::Emitted));
    /// # assert_eq!(hours.take_rows("default").len(), 2);
    /// ```
    pub fn begin_split(&mut self, split: &str) {
        // What was emitted so far is routed as a batch of its own, so only where the split is another.
        if self.route.takes_splits() && !self.route.is_in_split(split) {
            self.state.route_stages(self.route);
            self.route.begin_split(split);
        }
    }

    /// Nothing more comes of this split, for now or ever, so it holds the watermark back no longer. `begin_split` takes
    /// it up again.
    pub fn end_split(&mut self, split: &str) {
        if self.route.takes_splits() {
            self.state.route_stages(self.route);
            self.route.end_split(split);
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
        self.route.report(error.into());
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

    #[inline]
    fn emit_at(&mut self, index: usize, values: impl Values, origin: Origin) -> Result<(), EmitError> {
        emit_row(self.state, self.route, index, values, origin)
    }
}
