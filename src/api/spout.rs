//! Where streams begin.
//!
//! One file, because it is one trait; three quarters of it are examples.

use std::time::Duration;

use crate::api::check::Check;
use crate::api::context::TaskContext;
use crate::api::error::TaskError;
use crate::api::failure::Failure;
use crate::api::positions::Positions;
use crate::api::spout_outputs::SpoutOutputs;
use crate::api::streams::Streams;
use crate::ids::MessageId;

/// The result of a call of [`Spout::next_tuple`].
///
/// # Examples
/// A spout that queries its source at most once a second:
/// ```
/// use squall::prelude::*;
/// use std::time::Duration;
///
/// fn status_of(rows: usize, is_at_end: bool) -> SpoutStatus {
///     match (rows, is_at_end) {
///         (1.., _) => SpoutStatus::Emitted,
///         (0, false) => SpoutStatus::IdleFor(Duration::from_secs(1)),
///         (0, true) => SpoutStatus::Exhausted,
///     }
/// }
/// # assert_eq!(status_of(3, true), SpoutStatus::Emitted);
/// # assert_eq!(status_of(0, false), SpoutStatus::IdleFor(Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SpoutStatus {
    /// Something was emitted, and more may be available at once.
    Emitted,
    /// Nothing to emit now. The runtime calls `next_tuple` again after a pause that grows while the
    /// spout stays idle, from 0.1 ms to 10 ms.
    Idle,
    /// Nothing to emit before this much time has passed. Less than 50 µs counts as 50 µs.
    IdleFor(Duration),
    /// The source has ended. `next_tuple` is not called again until a message fails, but `ack` and
    /// `fail` still are; `fail` may emit the failed message again.
    Exhausted,
}

/// A source of tuples. One instance per task; every method is called by one thread at a time.
///
/// # Examples
/// A spout that emits three numbers, and each of them again until it is acked:
/// ```
/// use squall::prelude::*;
///
/// struct CountToThree {
///     next: i64,
///     again: Vec<i64>,
/// }
///
/// impl Spout for CountToThree {
///     fn declare(&self) -> Streams {
///         Streams::new(["n"])
///     }
///
///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
///         let n = match self.again.pop() {
///             Some(n) => n,
///             None if self.next < 3 => {
///                 self.next += 1;
///                 self.next
///             }
///             None => return Ok(SpoutStatus::Exhausted),
///         };
///         out.emit_tracked([n], MessageId(n as u64))?;
///         Ok(SpoutStatus::Emitted)
///     }
///
///     fn fail(&mut self, id: MessageId, failure: &Failure, _out: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
///         if !failure.is_final {
///             self.again.push(id.0 as i64);
///         }
///         Ok(())
///     }
/// }
/// ```
/// After a failure, `next_tuple` of an exhausted spout is called again, so that it can emit what it kept.
pub trait Spout: Send {
    /// Emits the next tuple, if there is one. Must not wait; a spout that has to wait is declared
    /// `blocking` and gets a thread of its own. Called only while the task has fewer open messages than
    /// `max_spout_pending`, its links have credit, and the topology is active.
    ///
    /// # Errors
    /// Errors are counted and reported, and the next call follows after a pause. What the call emitted
    /// before the error stays emitted.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # struct Lines(std::io::Lines<&'static [u8]>);
    /// # impl Spout for Lines {
    /// #     fn declare(&self) -> Streams { Streams::new(["line"]) }
    /// fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///     let Some(line) = self.0.next() else { return Ok(SpoutStatus::Exhausted) };
    ///     out.emit([line?])?;
    ///     Ok(SpoutStatus::Emitted)
    /// }
    /// # }
    /// # use std::io::BufRead;
    /// # let mut lines = SpoutHarness::new(Lines(b"one\ntwo".lines()));
    /// # assert_eq!(lines.run(9), Some(SpoutStatus::Exhausted));
    /// # assert_eq!(lines.take_rows("default").len(), 2);
    /// ```
    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError>;

    /// The streams that the spout emits to; by default none. Called before the topology starts, on an
    /// instance that is not opened.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # struct Words;
    /// # impl Spout for Words {
    /// fn declare(&self) -> Streams {
    ///     Streams::new(["word"])
    /// }
    /// #     fn next_tuple(&mut self, _: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> { Ok(SpoutStatus::Idle) }
    /// # }
    /// # assert_eq!(Words.declare().get("default").map(|stream| stream.fields.len()), Some(1));
    /// ```
    fn declare(&self) -> Streams {
        Streams::none()
    }

    /// Refuses settings that cannot work in this topology: a field that no input has, a tick that is
    /// missing. Called while the topology is validated, on an instance that is not opened. By default
    /// nothing is refused.
    ///
    /// # Examples
    /// A spout that reads standard input, which only one task can do:
    /// ```
    /// # use squall::prelude::*;
    /// use squall::api::STANDARD_INPUT;
    ///
    /// struct Keys;
    ///
    /// impl Spout for Keys {
    ///     fn check(&self, check: &mut Check<'_>) {
    ///         check.claim("path", STANDARD_INPUT);
    ///     }
    /// #    fn next_tuple(&mut self, _: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> { Ok(SpoutStatus::Idle) }
    /// }
    ///
    /// let mut builder = TopologyBuilder::new("keys");
    /// builder.spout("keys", || Keys).parallelism(2);
    /// let errors = builder.build().unwrap_err().to_string();
    /// assert!(errors.contains("only one task can use standard input"), "{errors}");
    /// ```
    fn check(&self, _check: &mut Check<'_>) {}

    /// Called once, before the other calls of a running task.
    ///
    /// # Errors
    /// An error fails the task. It is built and opened again after growing pauses.
    ///
    /// # Examples
    /// Each task takes its own share of the files:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{HarnessOptions, SpoutHarness};
    /// struct Files {
    ///     paths: Vec<String>,
    /// }
    ///
    /// impl Spout for Files {
    ///     fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         let paths = context.setting::<Vec<String>>("paths")?.into_iter();
    ///         self.paths = paths.skip(context.task_index()).step_by(context.parallelism()).collect();
    ///         Ok(())
    ///     }
    /// #    fn declare(&self) -> Streams { Streams::new(["path"]) }
    /// #    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    /// #        let Some(path) = self.paths.pop() else { return Ok(SpoutStatus::Exhausted) };
    /// #        out.emit([path])?;
    /// #        Ok(SpoutStatus::Emitted)
    /// #    }
    /// }
    /// # let settings = toml::toml! { paths = ["a", "b", "c"] };
    /// # let options = HarnessOptions { settings, task_index: 1, parallelism: 2, ..HarnessOptions::default() };
    /// # let mut files = SpoutHarness::start(Box::new(Files { paths: Vec::new() }), &options)?;
    /// # let _ = files.run(10);
    /// # assert_eq!(files.take_rows("default"), [[Value::from("b")]]);
    /// # Ok::<(), TaskError>(())
    /// ```
    fn open(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// Whether the input has an end. If it has, a message that keeps failing is given up after ten
    /// replays if `max_replays` is not set, so that the run ends. If it has none, a message is replayed as
    /// often as it fails. Called once, after `open`. The input of a spout that has returned
    /// [`SpoutStatus::Exhausted`] has an end, whatever this method returns.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// struct Lines {
    ///     follows: bool,
    /// }
    ///
    /// impl Spout for Lines {
    ///     fn is_bounded(&self) -> bool {
    ///         !self.follows
    ///     }
    /// #    fn next_tuple(&mut self, _: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> { Ok(SpoutStatus::Idle) }
    /// }
    /// # assert!(Lines { follows: false }.is_bounded());
    /// ```
    fn is_bounded(&self) -> bool {
        false
    }

    /// Whether the spout can go back to a position in its input. A topology that is `exactly-once` needs that of
    /// all its spouts: after a crash they emit again what came after the last checkpoint. By default it cannot.
    ///
    /// # Examples
    /// See [`snapshot`](Spout::snapshot).
    /// ```
    /// # use squall::prelude::*;
    /// struct Clicks;
    ///
    /// impl Spout for Clicks {
    /// #    fn declare(&self) -> Streams { Streams::new(["page"]) }
    ///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///         out.emit(["/index.html"])?;
    ///         Ok(SpoutStatus::Emitted)
    ///     }
    /// }
    ///
    /// let mut builder = TopologyBuilder::new("clicks");
    /// builder.spout("clicks", || Clicks);
    /// builder.options(|options| options.delivery = squall::config::Delivery::ExactlyOnce);
    /// let error = builder.build().unwrap_err().to_string();
    /// assert!(error.contains("cannot go back to a position in its input"), "{error}");
    /// ```
    fn is_rewindable(&self) -> bool {
        false
    }

    /// Writes where the spout stands: what comes next after everything that was emitted so far. Called for each
    /// checkpoint, between two calls of `next_tuple`.
    ///
    /// # Errors
    /// An error fails the checkpoint. The run goes on, and the next checkpoint is taken later.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::api::Positions;
    /// use squall::testing::SpoutHarness;
    ///
    /// #[derive(Default)]
    /// struct Squares {
    ///     next: i64,
    /// }
    ///
    /// impl Spout for Squares {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["square"])
    ///     }
    ///
    ///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///         out.emit([self.next * self.next])?;
    ///         self.next += 1;
    ///         Ok(SpoutStatus::Emitted)
    ///     }
    ///
    ///     fn is_rewindable(&self) -> bool {
    ///         true
    ///     }
    ///
    ///     fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
    ///         positions.set("squares", &self.next)
    ///     }
    ///
    ///     fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
    ///         self.next = positions.get("squares")?.unwrap_or(0);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut squares = SpoutHarness::new(Squares::default());
    /// let _ = squares.run(3);
    /// let positions = squares.snapshot()?;
    ///
    /// let mut again = SpoutHarness::new(Squares::default());
    /// again.restore(&positions)?;
    /// let _ = again.next();
    /// assert_eq!(again.take_rows("default"), [[Value::from(9)]]);
    /// # Ok::<(), TaskError>(())
    /// ```
    fn snapshot(&mut self, _positions: &mut Positions) -> Result<(), TaskError> {
        Ok(())
    }

    /// Goes back to where a checkpoint stood. Called after `open`, before everything else, with the positions of
    /// all tasks of the spout: a task takes those of its own splits. Not called if there is no checkpoint yet; then
    /// the spout begins at the beginning.
    ///
    /// # Errors
    /// As for `open`.
    ///
    /// # Examples
    /// See [`snapshot`](Spout::snapshot).
    fn restore(&mut self, _positions: &Positions) -> Result<(), TaskError> {
        Ok(())
    }

    /// The checkpoint with these positions of this task is complete: what came before them will not be asked for
    /// again. A spout may acknowledge it to its source now. Calls for some checkpoints may be left out.
    ///
    /// # Errors
    /// Errors are counted and reported.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::api::Positions;
    /// # struct Queue { acknowledged: u64 }
    /// # impl Spout for Queue {
    /// #     fn next_tuple(&mut self, _: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> { Ok(SpoutStatus::Idle) }
    /// fn committed(&mut self, positions: &Positions) -> Result<(), TaskError> {
    ///     self.acknowledged = positions.get("orders")?.unwrap_or(self.acknowledged);
    ///     Ok(())
    /// }
    /// # }
    /// # let mut positions = Positions::default();
    /// # positions.set("orders", &7_u64)?;
    /// # let mut queue = Queue { acknowledged: 0 };
    /// # queue.committed(&positions)?;
    /// # assert_eq!(queue.acknowledged, 7);
    /// # Ok::<(), TaskError>(())
    /// ```
    fn committed(&mut self, _positions: &Positions) -> Result<(), TaskError> {
        Ok(())
    }

    /// The whole tree of this message was processed. No further call concerns this message.
    ///
    /// # Errors
    /// Errors are counted and reported.
    ///
    /// # Examples
    /// A job is kept until it is acked:
    /// ```
    /// # use squall::prelude::*;
    /// # use std::collections::BTreeMap;
    /// struct Jobs {
    ///     waiting: Vec<(u64, String)>,
    ///     open: BTreeMap<u64, String>,
    /// }
    ///
    /// impl Spout for Jobs {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["job"])
    ///     }
    ///
    ///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///         let Some((id, job)) = self.waiting.pop() else { return Ok(SpoutStatus::Idle) };
    ///         out.emit_tracked([&*job], MessageId(id))?;
    ///         self.open.insert(id, job);
    ///         Ok(SpoutStatus::Emitted)
    ///     }
    ///
    ///     fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
    ///         self.open.remove(&id.0);
    ///         Ok(())
    ///     }
    /// }
    /// # let mut jobs = Jobs { waiting: Vec::new(), open: BTreeMap::from([(7, "mow the lawn".to_owned())]) };
    /// # jobs.ack(MessageId(7))?;
    /// # assert!(jobs.open.is_empty());
    /// # Ok::<(), TaskError>(())
    /// ```
    fn ack(&mut self, _id: MessageId) -> Result<(), TaskError> {
        Ok(())
    }

    /// The tree of this message failed. To replay the message, emit it again with the same id, here or in
    /// `next_tuple`, which is called again even after `Exhausted`.
    ///
    /// The runtime calls this when the message may be replayed, after a pause that grows with its failures
    /// (`[topology.replay]`). It calls it at once for the first loss of a worker, when the message is given
    /// up, and while the topology drains, when nothing is replayed any more.
    ///
    /// # Errors
    /// Errors are counted and reported.
    ///
    /// # Examples
    /// A message is emitted again at once, with the same id, until it is given up:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # use std::collections::BTreeMap;
    /// struct Orders {
    ///     next: u64,
    ///     open: BTreeMap<MessageId, u64>,
    /// }
    ///
    /// impl Spout for Orders {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["order"])
    ///     }
    ///
    ///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
    ///         self.next += 1;
    ///         self.open.insert(MessageId(self.next), self.next);
    ///         out.emit_tracked([self.next], MessageId(self.next))?;
    ///         Ok(SpoutStatus::Emitted)
    ///     }
    ///
    ///     fn fail(&mut self, id: MessageId, failure: &Failure, out: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
    ///         match self.open.get(&id) {
    ///             Some(order) if !failure.is_final => out.emit_tracked([*order], id)?,
    ///             _ => drop(self.open.remove(&id)),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut orders = SpoutHarness::new(Orders { next: 0, open: BTreeMap::new() });
    /// assert_eq!(orders.next(), Some(SpoutStatus::Emitted));
    /// orders.fail(MessageId(1));
    /// assert_eq!(orders.take_rows("default"), [[Value::from(1)], [Value::from(1)]]);
    /// ```
    fn fail(
        &mut self,
        _id: MessageId,
        _failure: &Failure,
        _out: &mut SpoutOutputs<'_>,
    ) -> Result<(), TaskError> {
        Ok(())
    }

    /// The topology became active. Also called right after `open`.
    ///
    /// # Errors
    /// Errors are counted and reported.
    ///
    /// # Examples
    /// A connection that is open only while the topology is active:
    /// ```
    /// # use squall::prelude::*;
    /// #[derive(Default)]
    /// struct Subscription {
    ///     connection: Option<std::net::UdpSocket>,
    /// }
    ///
    /// impl Spout for Subscription {
    ///     fn activate(&mut self) -> Result<(), TaskError> {
    ///         self.connection = Some(std::net::UdpSocket::bind("127.0.0.1:0")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn deactivate(&mut self) -> Result<(), TaskError> {
    ///         self.connection = None;
    ///         Ok(())
    ///     }
    /// #    fn next_tuple(&mut self, _: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> { Ok(SpoutStatus::Idle) }
    /// }
    /// # let mut subscription = Subscription::default();
    /// # subscription.activate()?;
    /// # assert!(subscription.connection.is_some());
    /// # subscription.deactivate()?;
    /// # assert!(subscription.connection.is_none());
    /// # Ok::<(), TaskError>(())
    /// ```
    fn activate(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// The topology became inactive: `next_tuple` is not called any more, `ack` and `fail` still are.
    ///
    /// # Errors
    /// Errors are counted and reported.
    ///
    /// # Examples
    /// See [`activate`](Spout::activate). The program that runs a topology deactivates and activates it:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{FixedSpout, Capture};
    /// use squall::runtime::{LocalOptions, RunningTopology};
    ///
    /// # let mut builder = TopologyBuilder::new("t");
    /// # builder.spout("numbers", || FixedSpout::new(["n"], [vec![1.into()]]));
    /// # builder.bolt("sink", Capture::new().bolt()).shuffle("numbers");
    /// let running = RunningTopology::start(builder.build()?, LocalOptions::default())?;
    /// running.deactivate();
    /// running.activate();
    /// assert_eq!(running.join().acked, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn deactivate(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// The last call, when the topology ends in order. Not called when the process is killed.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::SpoutHarness;
    /// # use std::path::PathBuf;
    /// struct Cursor {
    ///     position: u64,
    ///     file: PathBuf,
    /// }
    ///
    /// impl Spout for Cursor {
    ///     fn close(&mut self) {
    ///         // The next run goes on from here, or from the beginning if this fails.
    ///         let _ = std::fs::write(&self.file, self.position.to_string());
    ///     }
    /// #    fn next_tuple(&mut self, _: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> { Ok(SpoutStatus::Idle) }
    /// }
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # SpoutHarness::new(Cursor { position: 42, file: file.path().to_owned() }).close();
    /// # assert_eq!(std::fs::read_to_string(file.path())?, "42");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn close(&mut self) {}
}
