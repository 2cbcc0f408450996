//! Where tuples are processed.

use crate::api::check::Check;
use crate::api::context::TaskContext;
use crate::api::error::TaskError;
use crate::api::input::Input;
use crate::api::outputs::Outputs;
use crate::api::streams::Streams;

/// Processes tuples. One instance per task; every method is called by one thread at a time.
///
/// Acking is automatic: what `execute` emits is anchored to its input, and the input is acked when
/// it returns `Ok` and failed when it returns `Err` or panics. A bolt that needs more than that
/// *holds* the input ([`Outputs::hold`]) and acks or fails it later.
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
    /// Processes one tuple. Must not wait; a bolt that has to is declared `blocking` and gets a
    /// thread of its own.
    ///
    /// # Errors
    /// Fail the input, are counted and reported. The bolt goes on with the next tuple. After a
    /// panic it is dropped and built again.
    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError>;

    /// The streams it emits to. Called before the topology starts, on an instance that is not
    /// prepared; by default none.
    fn declare(&self) -> Streams {
        Streams::none()
    }

    /// Looks at what surrounds the component, and refuses settings that cannot work there: a field
    /// that no input has, a tick that is missing. Called while the topology is validated, on an
    /// instance that is not prepared. By default nothing is refused.
    fn check(&self, _check: &mut Check<'_>) {}

    /// Called once before anything else.
    ///
    /// # Errors
    /// Fail the task, which is built again and prepared with back-off.
    fn prepare(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// Called each `tick` period of the component, if it has one. What it emits is not anchored.
    ///
    /// # Errors
    /// Are counted and reported.
    fn tick(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// Called when the task has executed what was waiting, and at least once for each batch it
    /// took: the place to write a group of held tuples and ack them together.
    ///
    /// # Errors
    /// Are counted and reported.
    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// Bounded input has ended, and everything upstream has finished: emit what is still kept, ack
    /// what is still held. Should a held tuple be failed here and replayed, more input and a
    /// second call follow.
    ///
    /// # Errors
    /// Are counted and reported.
    fn finish(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    /// The last call, when the topology ends in order. Not called when the process is killed.
    fn cleanup(&mut self) {}
}
