//! Where tuples are processed.

use crate::api::check::Check;
use crate::api::context::TaskContext;
use crate::api::error::TaskError;
use crate::api::event_timer::EventTimer;
use crate::api::input::Input;
use crate::api::outputs::Outputs;
use crate::api::streams::Streams;
use crate::api::timer::Timer;
use crate::ids::CheckpointId;
use crate::tuple::Timestamp;

/// Processes tuples. One instance per task; every method is called by one thread at a time.
///
/// Acking is automatic: what `execute` emits is anchored to its input, and the input is acked when
/// `execute` returns `Ok` and failed when it returns `Err` or panics. A bolt that needs the input longer
/// *holds* it ([`Outputs::hold`]) and acks or fails it later.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// struct Split;
///
/// impl Bolt for Split {
///     fn declare(&self) -> Streams {
///         Streams::new(["word"])
///     }
///
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         for word in input.str("line")?.split_whitespace() {
///             out.emit([word])?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Bolt: Send {
    /// Processes one tuple. Must not wait; a bolt that has to wait is declared `blocking` and gets a
    /// thread of its own.
    ///
    /// # Errors
    /// An error fails the input, is counted and reported, and the bolt goes on with the next tuple. After
    /// a panic the instance is dropped and built again. In both cases what the call emitted is taken back, and
    /// held tuples that it acked fail. The component's [`on_error`](crate::config::OnError) may ask for the
    /// call to be made again instead.
    ///
    /// # Examples
    /// A field that is missing or of another type fails the tuple, by `?`:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// # struct Double;
    /// # impl Bolt for Double {
    /// #     fn declare(&self) -> Streams { Streams::new(["n"]) }
    /// fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///     out.emit([input.i64("n")? * 2])?;
    ///     Ok(())
    /// }
    /// # }
    /// # let mut double = BoltHarness::new(Double);
    /// # double.execute(TestTuple::new([21]).fields(["n"]));
    /// # double.execute(TestTuple::new(["x"]).fields(["n"]));
    /// # assert_eq!((double.take_rows("default"), double.failed().len()), (vec![vec![Value::from(42)]], 1));
    /// ```
    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError>;

    /// The streams that the bolt emits to; by default none. Called before the topology starts, on an
    /// instance that is not prepared.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # struct Sort;
    /// # impl Bolt for Sort {
    /// fn declare(&self) -> Streams {
    ///     Streams::new(["line"]).stream("rejected", ["line", "why"])
    /// }
    /// #     fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// # }
    /// # assert!(Sort.declare().get("rejected").is_some());
    /// ```
    fn declare(&self) -> Streams {
        Streams::none()
    }

    /// Refuses settings that cannot work in this topology: a field that no input has, a tick that is
    /// missing. Called while the topology is validated, on an instance that is not prepared. By default
    /// nothing is refused.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::Feeder;
    /// struct Keep {
    ///     field: String,
    /// }
    ///
    /// impl Bolt for Keep {
    ///     fn check(&self, check: &mut Check<'_>) {
    ///         check.require_field("field", &self.field);
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    ///
    /// let mut builder = TopologyBuilder::new("logs");
    /// builder.spout("lines", Feeder::new(["line"]).spout());
    /// builder.bolt("keep", || Keep { field: "lien".to_owned() }).shuffle("lines");
    /// let errors = builder.build().unwrap_err().to_string();
    /// assert!(errors.contains("`lines.default` has no field `lien`"), "{errors}");
    /// ```
    fn check(&self, _check: &mut Check<'_>) {}

    /// Called once, before the other calls of a running task.
    ///
    /// Where a run goes back to an earlier checkpoint, or begins with a savepoint, an instance is prepared and dropped
    /// before anything is started, to find out which states are registered. So what is visible outside belongs into
    /// [`init_state`](Bolt::init_state).
    ///
    /// # Errors
    /// An error fails the task. It is built and prepared again after growing pauses.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// use squall::metrics::Counter;
    ///
    /// #[derive(Default)]
    /// struct Count {
    ///     seen: Counter,
    /// }
    ///
    /// impl Bolt for Count {
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.seen = context.counter("seen");
    ///         Ok(())
    ///     }
    ///
    ///     fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         self.seen.add(1);
    ///         Ok(())
    ///     }
    /// }
    /// # let mut count = BoltHarness::new(Count::default());
    /// # count.execute(TestTuple::new([1]));
    /// # assert_eq!(count.counter("seen"), 1);
    /// ```
    fn prepare(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// The state of the task is there: as a checkpoint had it, as an earlier instance of this run left it, or empty.
    /// Called after `prepare`, before everything else.
    ///
    /// # Errors
    /// As for `prepare`.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # struct Totals { kept: OperatorState<i64>, total: i64 }
    /// # impl Bolt for Totals {
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///     self.total = self.kept.items(out)?.iter().sum();
    ///     Ok(())
    /// }
    /// # }
    /// ```
    fn init_state(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// A checkpoint of an `exactly-once` topology is taken: everything that was executed so far belongs to it,
    /// nothing that comes later. The state is kept as this call leaves it. A sink makes durable what it wrote, so
    /// that it can be committed later, whatever happens. `flush` was called before. The call may come again for the same
    /// checkpoint, if another task of the executor has panicked.
    ///
    /// # Errors
    /// An error fails the checkpoint, and what the call changed is taken back. The run goes on, and the next
    /// checkpoint is taken later.
    ///
    /// # Examples
    /// See [`TwoPhaseSink`](crate::api::TwoPhaseSink).
    fn pre_commit(&mut self, _checkpoint: CheckpointId, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// The checkpoint is complete and durable: what a sink pre-committed for it, and for earlier ones, is to become
    /// visible. Calls for some checkpoints may be left out, and a call may come again: after a restore it comes for the
    /// checkpoint that was restored, because nobody knows whether it came before. Nothing should be emitted here: what is
    /// may be lost.
    ///
    /// # Errors
    /// The call is made again after a pause that grows, until it succeeds.
    ///
    /// # Examples
    /// See [`TwoPhaseSink`](crate::api::TwoPhaseSink).
    fn committed(&mut self, _checkpoint: CheckpointId, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// Whether the instance has data that the runtime does not keep for it, as an open file with rows that no
    /// checkpoint has. If such an instance is lost in an `exactly-once` topology, because it panics, all tasks go back
    /// to the last checkpoint. By default it has none: its data is in state, which outlives the instance.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # struct Rows { open: Vec<String> }
    /// # impl Bolt for Rows {
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// fn keeps_data(&self) -> bool {
    ///     !self.open.is_empty()
    /// }
    /// # }
    /// # assert!(!Rows { open: Vec::new() }.keeps_data());
    /// ```
    fn keeps_data(&self) -> bool {
        false
    }

    /// Called once per `tick` period of the component, if it has one. What it emits is not anchored.
    ///
    /// # Errors
    /// Errors are counted and reported, and what the call emitted is taken back.
    ///
    /// # Examples
    /// A bolt that emits at each tick how many tuples it executed since the tick before:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// struct PerTick(i64);
    ///
    /// impl Bolt for PerTick {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["count"])
    ///     }
    ///
    ///     fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         self.0 += 1;
    ///         Ok(())
    ///     }
    ///
    ///     fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         out.emit([std::mem::take(&mut self.0)])?;
    ///         Ok(())
    ///     }
    /// }
    /// # let mut per_tick = BoltHarness::new(PerTick(0));
    /// # per_tick.execute_all([1, 2].map(|n| TestTuple::new([n])));
    /// # per_tick.tick();
    /// # assert_eq!(per_tick.take_rows("default"), [[Value::from(2)]]);
    /// ```
    /// The topology sets the period: `builder.bolt("per-tick", || PerTick(0)).tick(seconds)`.
    fn tick(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// Called when a timer is due, with the key that it was set for. The timer is cleared before. What it emits
    /// is not anchored. [`Timer`] has an example.
    ///
    /// Timers that are not due when the input ends are not waited for, and none is called after
    /// [`finish`](Bolt::finish), which sees what their keys have.
    ///
    /// # Errors
    /// Errors are counted and reported, and what the call did is taken back. The call is made again as the
    /// component's [`on_error`](crate::config::OnError) says. After the last time, the timer is given up, and
    /// counts as a lost tuple (`failed_unanchored`).
    fn timer(&mut self, _timer: Timer, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// Called when the watermark of the task has reached the time of a timer in event time, with the key that it was set
    /// for and that time. The timer is cleared before. What it emits is not anchored. [`EventTimer`] has an example.
    ///
    /// All timers that the watermark has reached are called, in the order of their times, before the next tuple is
    /// executed. When the input ends, event time ends: all timers that are still set are called before
    /// [`finish`](Bolt::finish).
    ///
    /// # Errors
    /// As [`timer`](Bolt::timer). While a call waits to be made again, the task executes no tuple, and its watermark is
    /// not passed on.
    fn event_timer(
        &mut self,
        _timer: EventTimer,
        _at: Timestamp,
        _out: &mut Outputs<'_>,
    ) -> Result<(), TaskError> {
        Ok(())
    }

    /// Called when the task has executed all waiting tuples, and at least once for each batch it
    /// took: the place to write a group of held tuples and ack them together.
    ///
    /// # Errors
    /// Errors are counted and reported.
    ///
    /// # Examples
    /// A bolt that writes in groups. It acks a tuple only when its group is written, so nothing is lost:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// struct Store {
    ///     group: Vec<HeldTuple>,
    /// }
    ///
    /// impl Bolt for Store {
    ///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         self.group.push(out.hold(input));
    ///         Ok(())
    ///     }
    ///
    ///     fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         // Here the group is written, in one call of the database.
    ///         self.group.drain(..).for_each(|held| out.ack(held));
    ///         Ok(())
    ///     }
    /// }
    /// # let mut store = BoltHarness::new(Store { group: Vec::new() });
    /// # store.execute_all([1, 2].map(|n| TestTuple::new([n])));
    /// # assert!(store.acked().is_empty());
    /// # store.flush();
    /// # assert_eq!(store.acked(), [0, 1]);
    /// ```
    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// Bounded input has ended, and everything upstream has finished: emit what is still kept, ack
    /// what is still held. If a message fails here and is replayed, more input and another call follow.
    ///
    /// # Errors
    /// Errors are counted and reported.
    ///
    /// # Examples
    /// A total that is emitted when all input was processed:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// struct Sum(i64);
    ///
    /// impl Bolt for Sum {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["sum"])
    ///     }
    ///
    ///     fn execute(&mut self, input: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         self.0 += input.i64("n")?;
    ///         Ok(())
    ///     }
    ///
    ///     fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         out.emit([self.0])?;
    ///         Ok(())
    ///     }
    /// }
    /// # let mut sum = BoltHarness::new(Sum(0));
    /// # sum.execute_all([20, 22].map(|n| TestTuple::new([n]).fields(["n"])));
    /// # sum.finish();
    /// # assert_eq!(sum.take_rows("default"), [[Value::from(42)]]);
    /// ```
    fn finish(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// The last call, when the topology ends in order. Not called when the process is killed.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::BoltHarness;
    /// # use std::path::{Path, PathBuf};
    /// struct Scratch {
    ///     file: PathBuf,
    /// }
    ///
    /// impl Bolt for Scratch {
    ///     fn cleanup(&mut self) {
    ///         // Nothing can be done here about an error: the topology is over.
    ///         let _ = std::fs::remove_file(&self.file);
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # let mut scratch = BoltHarness::new(Scratch { file: file.path().to_owned() });
    /// # scratch.cleanup();
    /// # assert!(!file.path().exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn cleanup(&mut self) {}
}
