//! Errors of user code, and errors of emits.

use std::error::Error;
use std::fmt;

use smol_str::SmolStr;

use crate::ids::TaskId;
use crate::tuple::ValueError;

/// Why a call into user code failed. Any error converts into it with `?`.
///
/// Returned from `Bolt::execute`, it fails the input tuple; returned from `prepare` or `open`, the task
/// is built again after growing pauses. It is counted, and reported with component and task, at most 5
/// times in 10 s (`[topology.errors]`). An error made by [`TaskError::quiet`] is counted and not
/// reported, like Storm's `FailedException`.
///
/// [`TaskError::fatal`] is for errors that no retry can solve: a file that does not exist, a setting that
/// cannot work. It ends the run in order, with exit code 1 and this error as the reason.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// fn execute(input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///     let port: u16 = input.str("port")?.parse()?;
///     if port == 0 {
///         return Err(TaskError::new("there is no port 0"));
///     }
///     out.emit([port])?;
///     Ok(())
/// }
/// # use squall::testing::{BoltHarness, TestTuple};
/// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["port"]), execute));
/// # bolt.execute_all(["80", "0", "x"].map(|port| TestTuple::new([port]).fields(["port"])));
/// # assert_eq!(bolt.errors(), ["there is no port 0", "invalid digit found in string"]);
/// ```
pub struct TaskError {
    source: Box<dyn Error + Send + Sync>,
    reported: bool,
    fatal: bool,
}

impl TaskError {
    /// An error with this message.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::TaskError;
    /// let error = TaskError::new("the row has no key");
    /// assert_eq!(error.to_string(), "the row has no key");
    /// assert!(error.is_reported() && !error.is_fatal());
    /// ```
    pub fn new(message: impl Into<String>) -> TaskError {
        TaskError { source: message.into().into(), reported: true, fatal: false }
    }

    /// An error that no retry can solve. The topology drains as after Ctrl-C, and the run counts as
    /// failed with this error as the reason. Any call into user code may return it.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// let error = TaskError::fatal("no file matches `logs/*.log`");
    /// assert!(error.is_fatal() && error.is_reported());
    /// ```
    pub fn fatal(message: impl Into<String>) -> TaskError {
        TaskError { source: message.into().into(), reported: true, fatal: true }
    }

    /// Whether it ends the run.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::TaskError;
    /// assert!(TaskError::fatal("there is no table `users`").is_fatal());
    /// assert!(!TaskError::new("the database is busy").is_fatal());
    /// ```
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// Whether its cause is that a tuple was refused as it was emitted.
    pub(crate) fn is_refused_emit(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*self.source);
        while let Some(error) = cause {
            if error.is::<EmitError>() {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// An error that fails the tuple and is counted, but not written to the log.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::TaskError;
    /// let error = TaskError::quiet("not yet");
    /// assert!(!error.is_reported());
    /// ```
    pub fn quiet(message: impl Into<String>) -> TaskError {
        TaskError { source: message.into().into(), reported: false, fatal: false }
    }

    /// Whether it belongs in the log.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::TaskError;
    /// assert!(TaskError::new("a bad row").is_reported());
    /// assert!(!TaskError::quiet("a bad row").is_reported());
    /// ```
    pub fn is_reported(&self) -> bool {
        self.reported
    }

    /// The error that user code returned.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::TaskError;
    /// use std::io::{Error, ErrorKind};
    ///
    /// let error = TaskError::from(Error::new(ErrorKind::TimedOut, "no answer"));
    /// let inner = error.inner().downcast_ref::<Error>();
    /// assert_eq!(inner.map(Error::kind), Some(ErrorKind::TimedOut));
    /// ```
    pub fn inner(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.source
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for TaskError {
    fn from(source: E) -> TaskError {
        TaskError { source: Box::new(source), reported: true, fatal: false }
    }
}

impl fmt::Display for TaskError {
    /// The message and the messages of all its causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskError({self})")
    }
}

/// Why a tuple could not be emitted. The tuple was sent to no task.
///
/// # Examples
/// A row that is too large is left out; any other error fails the tuple:
/// ```
/// use squall::prelude::*;
///
/// fn execute(input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///     match out.emit([input.str("line")?]) {
///         Err(EmitError::Oversize { .. }) => Ok(()),
///         other => Ok(other?),
///     }
/// }
/// # use squall::testing::{BoltHarness, TestTuple};
/// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["line"]), execute));
/// # bolt.execute_all(["x".repeat(20 << 20), "y".to_owned()].map(|line| TestTuple::new([line]).fields(["line"])));
/// # assert_eq!((bolt.take_rows("default"), bolt.acked()), (vec![vec![Value::from("y")]], &[0, 1][..]));
/// ```
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmitError {
    /// The component declares no such stream.
    #[error("component `{component}` declares no stream `{stream}` (it declares: {declared})")]
    UnknownStream {
        /// The component that emitted.
        component: SmolStr,
        /// The stream.
        stream: SmolStr,
        /// The declared streams.
        declared: String,
    },
    /// The tuple has more or fewer values than the stream has fields.
    #[error(
        "component `{component}` emitted {found} values to stream `{stream}`, which has {expected} fields ({fields})"
    )]
    Arity {
        /// The component that emitted.
        component: SmolStr,
        /// The stream.
        stream: SmolStr,
        /// Fields declared.
        expected: usize,
        /// Values given.
        found: usize,
        /// The declared names.
        fields: String,
    },
    /// The tuple is larger than `tuple_size_max`.
    #[error(
        "component `{component}` emitted a tuple of {size} bytes to stream `{stream}`; the limit is {limit}"
    )]
    Oversize {
        /// The component that emitted.
        component: SmolStr,
        /// The stream.
        stream: SmolStr,
        /// Bytes of the tuple.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A value does not fit into the types that tuples have.
    #[error("component `{component}`, stream `{stream}`: {error}")]
    Value {
        /// The component that emitted.
        component: SmolStr,
        /// The stream.
        stream: SmolStr,
        /// The mismatch.
        error: ValueError,
    },
    /// A value of the tuple nests deeper than a value may.
    #[error(
        "component `{component}` emitted a tuple to stream `{stream}` in which lists and maps nest deeper than {limit}"
    )]
    Depth {
        /// The component that emitted.
        component: SmolStr,
        /// The stream.
        stream: SmolStr,
        /// Levels allowed.
        limit: usize,
    },
    /// `emit` on a direct stream, or `emit_direct` on a stream that is not direct.
    #[error("component `{component}`: stream `{stream}` is {}, so use {}", if *.direct { "direct" } else { "not direct" }, if *.direct { "`emit_direct`" } else { "`emit`" })]
    Direct {
        /// The component that emitted.
        component: SmolStr,
        /// The stream.
        stream: SmolStr,
        /// Whether the stream is a direct one.
        direct: bool,
    },
    /// `emit_direct` to a task that does not subscribe to the stream with direct grouping.
    #[error("component `{component}`: task {task} does not take stream `{stream}` by direct grouping")]
    NotATarget {
        /// The component that emitted.
        component: SmolStr,
        /// The stream.
        stream: SmolStr,
        /// The task named.
        task: TaskId,
    },
    /// A struct given to `emit_struct` does not fit the stream's fields.
    #[error("component `{component}`, stream `{stream}`: {reason}")]
    Struct {
        /// The component that emitted.
        component: SmolStr,
        /// The stream.
        stream: SmolStr,
        /// The mismatch.
        reason: String,
    },
}
