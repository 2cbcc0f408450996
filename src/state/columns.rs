//! What all states have in common, whatever they hold.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The cells of one state, one for each slot of the key table.
pub(crate) trait Column: Any + Send {
    /// Puts back what was overwritten since the last commit, newest first.
    fn undo(&mut self);
    /// Forgets what was overwritten.
    fn commit(&mut self);
    /// Whether there is something in the cell of a slot.
    fn is_used(&self, slot: u32) -> bool;
    /// For the handle, which knows the type of its cells.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// What can be kept as state: any owned serde type that can be copied. It is implemented by itself.
///
/// # Examples
/// ```
/// use serde::{Deserialize, Serialize};
///
/// /// What is known of a customer.
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Customer {
///     orders: u64,
///     cents: i64,
/// }
///
/// fn is_state<T: squall::state::StateValue>() {}
/// is_state::<Customer>();
/// is_state::<Vec<String>>();
/// ```
pub trait StateValue: Serialize + DeserializeOwned + Clone + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + Send + 'static> StateValue for T {}
