//! Where streams begin.

use std::time::Duration;

use crate::api::check::Check;
use crate::api::context::TaskContext;
use crate::api::error::TaskError;
use crate::api::failure::Failure;
use crate::api::outputs::SpoutOutputs;
use crate::api::streams::Streams;
use crate::ids::MessageId;

/// What a call of [`Spout::next_tuple`] came to.
///
/// # Examples
/// A spout whose source is asked at most once a second:
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
    /// Something was emitted; there may be more at once.
    Emitted,
    /// Nothing to emit now. The runtime asks again after a pause that grows while the spout stays
    /// idle, from 0.1 ms to 10 ms.
    Idle,
    /// Nothing to emit before this much time has passed. Less than 50 µs counts as 50 µs.
    IdleFor(Duration),
    /// The source has ended. The spout is not asked again, but `ack` and `fail` still come; a
    /// failed message may be emitted again from there.
    Exhausted,
}

/// A source of tuples. One instance per task; every method is called by one thread at a time.
///
/// # Examples
/// A spout that counts to three, each number until it is acked:
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
/// An exhausted spout is asked again after a failure, so that it can send what it has kept.
pub trait Spout: Send {
    /// Emits the next tuple, if there is one. Must not wait; a spout that has to is declared
    /// `blocking` and gets a thread of its own. Called only while there is room: below
    /// `max_spout_pending`, with credit downstream, and while the topology is active.
    ///
    /// # Errors
    /// Are counted, reported, and followed by a pause; what was emitted before stays emitted.
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

    /// The streams it emits to. Called before the topology starts, on an instance that is not
    /// opened; by default none.
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

    /// Looks at what surrounds the component, and refuses settings that cannot work there: a field
    /// that no input has, a tick that is missing. Called while the topology is validated, on an
    /// instance that is not opened. By default nothing is refused.
    ///
    /// # Examples
    /// A spout that reads standard input, which one task alone can do:
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

    /// Called once before anything else.
    ///
    /// # Errors
    /// Fail the task, which is built again and opened with back-off.
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

    /// Whether the input has an end. A message of such a spout that fails again and again is given up
    /// after ten replays if `max_replays` is not set, so that the run ends; one of an endless input is
    /// replayed as often as it fails. Asked once, after `open`. A spout that has returned
    /// [`SpoutStatus::Exhausted`] counts as one whose input has an end, whatever this says.
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

    /// The whole tree of this message was processed. It will not come again.
    ///
    /// # Errors
    /// Are counted and reported.
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

    /// The tree of this message failed. To replay it, keep it and emit it again with the same id,
    /// here or in `next_tuple`, which is called again even after `Exhausted`.
    ///
    /// The call comes when the message may be replayed: after a pause that grows with its failures
    /// (`[topology.replay]`), at once for the first loss of a worker, when the message is given up, and
    /// while the topology drains, when nothing is replayed any more.
    ///
    /// # Errors
    /// Are counted and reported.
    ///
    /// # Examples
    /// Emitted again at once, with the same id, until it is given up:
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

    /// The topology became active (also right after `open`).
    ///
    /// # Errors
    /// Are counted and reported.
    ///
    /// # Examples
    /// A connection that is there only while the topology is active:
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

    /// The topology became inactive: `next_tuple` rests, `ack` and `fail` go on.
    ///
    /// # Errors
    /// Are counted and reported.
    ///
    /// # Examples
    /// See [`activate`](Spout::activate); a topology is told by whoever runs it:
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
