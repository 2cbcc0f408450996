//! The types that can be kept as state.

use serde::Serialize;
use serde::de::DeserializeOwned;

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
