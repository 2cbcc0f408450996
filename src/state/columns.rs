//! What all states have in common, whatever they hold.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Time;

/// What a call overwrote in a column, oldest first. The entries of earlier calls are forgotten when the next call
/// writes, so a call that succeeds has nothing to do.
pub(crate) struct Log<E> {
    /// The call that wrote last.
    call: u64,
    entries: Vec<E>,
}

impl<E> Default for Log<E> {
    fn default() -> Log<E> {
        Log { call: 0, entries: Vec::new() }
    }
}

impl<E> Log<E> {
    /// Adds an entry of this call.
    #[inline]
    pub(super) fn push(&mut self, call: u64, entry: E) {
        if self.call != call {
            self.call = call;
            self.entries.clear();
        }
        self.entries.push(entry);
    }

    /// The last entry of this call.
    #[inline]
    pub(super) fn last(&self, call: u64) -> Option<&E> {
        self.entries.last().filter(|_| self.call == call)
    }

    /// Takes the last entry of this call.
    pub(super) fn pop(&mut self, call: u64) -> Option<E> {
        if self.call == call { self.entries.pop() } else { None }
    }
}

/// The cells of one state, one for each place of the key table.
pub(crate) trait Column: Any + Send {
    /// Puts back what this call overwrote, newest first.
    fn undo(&mut self, call: u64);
    /// Whether there is something in the cell of a place.
    fn is_used(&self, place: u32) -> bool;
    /// The earliest time at which a timer of the column is due, and the place of its key.
    fn next_due(&self) -> Option<(Time, u32)> {
        None
    }
    /// Whether something is kept that belongs to no key.
    fn keeps_without_key(&self) -> bool {
        false
    }
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
