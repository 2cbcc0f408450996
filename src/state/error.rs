//! Why state could not be read or changed.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use crate::state::key_store::StoreError;
use crate::text::shown;

/// Why state could not be read or changed.
///
/// # Examples
/// A call without a key fails the tuple, as any error does by `?`:
/// ```
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, TestTuple};
///
/// #[derive(Default)]
/// struct Count(ValueState<i64>);
///
/// impl Bolt for Count {
///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
///         self.0 = context.value_state("counts")?;
///         Ok(())
///     }
///
///     fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         self.0.update(out, |count| *count += 1)?;
///         Ok(())
///     }
/// }
///
/// let mut count = BoltHarness::new(Count::default());
/// count.execute(TestTuple::new(["storm"]).fields(["word"]));
/// let error = &count.errors()[0];
/// assert!(error.starts_with("state `counts` needs a key, and this call has none"), "{error}");
/// ```
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The call has no key: its input is not grouped by fields, or it has no input.
    #[error(
        "state `{state}` needs a key, and this call has none: group the input by fields, or name a key by `Outputs::set_key`"
    )]
    NoKey {
        /// The state.
        state: SmolStr,
    },
    /// The handle was not made by the context of this task, or after `prepare`.
    #[error("a state is used that was not registered in `prepare`, by the context of this task")]
    Unregistered,
    /// A state of this name has another type.
    #[error("state `{state}` is {old}, and is registered once more as {new}")]
    Retyped {
        /// The state.
        state: SmolStr,
        /// What it is.
        old: String,
        /// What was asked for.
        new: String,
    },
    /// A time to live that no state can have.
    #[error(
        "a state cannot have a time to live of {period:?}: it must be more than 0 and at most 36500 days"
    )]
    Ttl {
        /// The time to live.
        period: Duration,
    },
    /// A name that a state cannot have.
    #[error(
        "`{name}` is no name for a state: it must be 1 to 64 letters, digits, dots, dashes or underscores"
    )]
    Name {
        /// The name, cut where it is long.
        name: String,
    },
    /// The checkpoint has states that the component has no more.
    #[error(
        "the checkpoint has {}, which the component does not register: it registers {}",
        listed_states(states),
        listed_states(registered)
    )]
    NotRegistered {
        /// These.
        states: Box<[NamedState]>,
        /// What the component registers.
        registered: Box<[NamedState]>,
    },
    /// A state of this name is of another kind in the checkpoint.
    #[error("state `{state}` is {old} in the checkpoint, and the component registers it as {new}")]
    KindChanged {
        /// The state.
        state: SmolStr,
        /// What it is in the checkpoint.
        old: Box<str>,
        /// What the component registers.
        new: Box<str>,
    },
    /// What the checkpoint has for a key is no value of the type that the component registers.
    #[error(
        "state `{state}`{} cannot be restored: it is {old} in the checkpoint, and {new} in the component: {why}",
        of_key(key)
    )]
    Unreadable {
        /// The state.
        state: SmolStr,
        /// The key, as errors show it; `None` if the state has no keys.
        key: Option<Box<str>>,
        /// What it is in the checkpoint.
        old: Box<str>,
        /// What the component registers.
        new: Box<str>,
        /// What does not fit.
        why: Box<str>,
    },
    /// What the state has for a key could not be written into a checkpoint.
    #[error("state `{state}`{} cannot be written into a checkpoint: {why}", of_key(key))]
    Unwritable {
        /// The state.
        state: SmolStr,
        /// The key, as errors show it; `None` if the state has no keys.
        key: Option<Box<str>>,
        /// Why not.
        why: Box<str>,
    },
    /// The bytes of a checkpoint are not what was written.
    #[error("the checkpoint is damaged: {why}")]
    Damaged {
        /// What is wrong.
        why: Box<str>,
    },
    /// The checkpoint was written by a later release.
    #[error("the checkpoint has version {version} of the format of state, which this release does not know")]
    Version {
        /// The version.
        version: u8,
    },
    /// The state of the key is not in memory, and the store of the backend could not be read or written.
    #[error("the store of the state failed: {why}")]
    Store {
        /// Why.
        why: Box<str>,
    },
    /// What is kept for the key could not be put out of memory, or read again: its bytes are not those of its type.
    #[error("what is kept for the key cannot be read or written: {why}")]
    Entry {
        /// Why.
        why: Box<str>,
    },
    /// A snapshot was to be written, and none has begun, or the last one has failed.
    #[error("no snapshot of the state is being written")]
    NoSnapshot,
}

/// A state as errors show it: ``state `counts` (value<i64>)``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedState {
    /// Its name.
    pub name: Box<str>,
    /// Its kind, and the Rust types of what it holds.
    pub shape: Box<str>,
}

impl NamedState {
    /// Control characters of both are escaped: a checkpoint may have any text.
    pub(super) fn new(name: &str, shape: &str) -> NamedState {
        NamedState { name: shown(name).into(), shape: shown(shape).into() }
    }
}

impl fmt::Display for NamedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state `{}` ({})", self.name, self.shape)
    }
}

fn listed_states(states: &[NamedState]) -> String {
    match states.is_empty() {
        true => "no state".to_owned(),
        false => states.iter().map(NamedState::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl StateError {
    /// What a backend that has a store could not do.
    pub(super) fn store(why: impl fmt::Display) -> StateError {
        StateError::Store { why: shown(why).into() }
    }

    /// What is kept for one key cannot be written or read.
    pub(super) fn entry(why: impl fmt::Display) -> StateError {
        StateError::Entry { why: shown(why).into() }
    }
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> StateError {
        StateError::store(error)
    }
}

fn of_key(key: &Option<Box<str>>) -> String {
    key.as_ref().map_or(String::new(), |key| format!(" of key `{key}`"))
}
