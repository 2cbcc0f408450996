//! Why state could not be read or changed.

use smol_str::SmolStr;

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
    /// A name that a state cannot have.
    #[error(
        "`{name}` is no name for a state: it must be 1 to 64 letters, digits, dots, dashes or underscores"
    )]
    Name {
        /// The name, cut where it is long.
        name: String,
    },
}
