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
    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError>;

    /// The streams it emits to. Called before the topology starts, on an instance that is not
    /// opened; by default none.
    fn declare(&self) -> Streams {
        Streams::none()
    }

    /// Looks at what surrounds the component, and refuses settings that cannot work there: a field
    /// that no input has, a tick that is missing. Called while the topology is validated, on an
    /// instance that is not opened. By default nothing is refused.
    fn check(&self, _check: &mut Check<'_>) {}

    /// Called once before anything else.
    ///
    /// # Errors
    /// Fail the task, which is built again and opened with back-off.
    fn open(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// Whether the input has an end. A message of such a spout that fails again and again is given up
    /// after ten replays if `max_replays` is not set, so that the run ends; one of an endless input is
    /// replayed as often as it fails. Asked once, after `open`. A spout that has returned
    /// [`SpoutStatus::Exhausted`] counts as one whose input has an end, whatever this says.
    fn is_bounded(&self) -> bool {
        false
    }

    /// The whole tree of this message was processed. It will not come again.
    ///
    /// # Errors
    /// Are counted and reported.
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
    fn activate(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// The topology became inactive: `next_tuple` rests, `ack` and `fail` go on.
    ///
    /// # Errors
    /// Are counted and reported.
    fn deactivate(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// The last call, when the topology ends in order. Not called when the process is killed.
    fn close(&mut self) {}
}
