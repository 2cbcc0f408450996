//! Handles by which a bolt reaches its state.
//!
//! A handle is made in `prepare`, by the [`TaskContext`](crate::api::TaskContext), and is a name and a type. The
//! state itself belongs to the runtime: it outlives the instance of the bolt, and what a call changed is taken
//! back if the call fails.
//!
//! State is kept **by key**: the fields that the input of the call is grouped by, or the key that the bolt names
//! by [`Outputs::set_key`](crate::api::Outputs::set_key). So each call sees only what belongs to its key.
//!
//! A state with a time to live has the same handle, because its bolt uses it in the same way. It has a column of
//! another type. A change first tries the column without one, so a state without a time to live pays nothing for the
//! others. What returns a reference cannot try one after the other, and asks first, which is a comparison in a
//! task in which nothing expires.
//!
//! One file, because the four handles are one idea: most of it is their examples.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use crate::api::error::TaskError;
use crate::api::outputs::Outputs;
use crate::state::{
    CallTime, ExpiringListCells, ExpiringMapCells, ExpiringValueCells, ListCells, MapCells, OperatorCells,
    StateError, StateValue, TaskState, ValueCells,
};
use crate::tuple::Value;

/// The number of a handle that was not registered.
const UNREGISTERED: u32 = u32::MAX;

/// A place that nothing is in.
const NO_PLACE: u32 = u32::MAX;

macro_rules! handle {
    ($handle:ident<$($of:ident),+>) => {
        impl<$($of),+> $handle<$($of),+> {
            pub(super) fn new(state: u32) -> Self {
                $handle { state, of: PhantomData }
            }
        }

        impl<$($of),+> Clone for $handle<$($of),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($of),+> Copy for $handle<$($of),+> {}

        /// A handle of nothing, to begin with: `prepare` replaces it.
        impl<$($of),+> Default for $handle<$($of),+> {
            fn default() -> Self {
                $handle::new(UNREGISTERED)
            }
        }

        impl<$($of),+> fmt::Debug for $handle<$($of),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($handle)).field(&self.state).finish()
            }
        }
    };
}

/// One value for each key. Registered by [`TaskContext::value_state`](crate::api::TaskContext::value_state).
///
/// # Examples
/// How often each word occurred. The count belongs to the word, because the input is grouped by it:
/// ```
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
///
/// #[derive(Default)]
/// struct Count {
///     counts: ValueState<i64>,
/// }
///
/// impl Bolt for Count {
///     fn declare(&self) -> Streams {
///         Streams::new(["word", "count"])
///     }
///
///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
///         self.counts = context.value_state("counts")?;
///         Ok(())
///     }
///
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let count = self.counts.update(out, |count| {
///             *count += 1;
///             *count
///         })?;
///         out.emit((input.str("word")?, count))?;
///         Ok(())
///     }
/// }
///
/// let options = HarnessOptions { key: Fields::from(["word"]), ..HarnessOptions::default() };
/// let mut count = BoltHarness::start(Box::new(Count::default()), &options)?;
/// count.execute_all(["storm", "rain", "storm"].map(|word| TestTuple::new([word]).fields(["word"])));
/// let counts: Vec<_> = count.take_rows("default").iter().map(|row| row[1].as_i64()).collect();
/// assert_eq!(counts, [Some(1), Some(1), Some(2)]);
/// # Ok::<(), TaskError>(())
/// ```
pub struct ValueState<T> {
    state: u32,
    of: PhantomData<fn() -> T>,
}

handle!(ValueState<T>);

impl<T: StateValue> ValueState<T> {
    /// The value of the key, if there is one.
    ///
    /// # Errors
    /// When the call has no key, or the handle was not registered.
    pub fn get<'o>(&self, out: &'o mut Outputs<'_>) -> Result<Option<&'o T>, StateError> {
        let state = out.state();
        let place = state.place(self.state)?;
        if state.expires(self.state) {
            let (cells, at) = self.expiring(state)?;
            return Ok(place.and_then(|place| cells.get(at, place)));
        }
        let cells = state.column::<ValueCells<T>>(self.state)?;
        Ok(place.and_then(|place| cells.get(place)))
    }

    /// Writes the value of the key.
    ///
    /// # Errors
    /// As [`get`](ValueState::get).
    pub fn set(&self, out: &mut Outputs<'_>, value: T) -> Result<(), StateError> {
        let state = out.state();
        let (call, place) = (state.call(), state.place_to_change(self.state)?);
        if let Ok(cells) = state.column::<ValueCells<T>>(self.state) {
            cells.set(call, place, Some(value));
        } else {
            let (cells, at) = self.expiring(state)?;
            cells.set(at, place, value);
        }
        Ok(())
    }

    /// Changes the value of the key in place. If there is none, `change` gets the default value. A copy of
    /// the old value is kept until a later call writes; what is large and changes in small parts is better kept
    /// in a [`MapState`] or a [`ListState`].
    ///
    /// # Errors
    /// As [`get`](ValueState::get).
    pub fn update<R>(&self, out: &mut Outputs<'_>, change: impl FnOnce(&mut T) -> R) -> Result<R, StateError>
    where
        T: Default,
    {
        let state = out.state();
        let (call, place) = (state.call(), state.place_to_change(self.state)?);
        if let Ok(cells) = state.column::<ValueCells<T>>(self.state) {
            return Ok(change(cells.change(call, place, T::default)));
        }
        self.update_expiring(state, place, change)
    }

    #[cold]
    #[inline(never)]
    fn update_expiring<R>(
        &self,
        state: &mut TaskState,
        place: u32,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, StateError>
    where
        T: Default,
    {
        let (cells, at) = self.expiring(state)?;
        Ok(change(cells.change(at, place, T::default)))
    }

    /// Removes the value of the key.
    ///
    /// # Errors
    /// As [`get`](ValueState::get).
    pub fn clear(&self, out: &mut Outputs<'_>) -> Result<(), StateError> {
        let state = out.state();
        if let Some(place) = state.place(self.state)? {
            let call = state.call();
            state.removes(place);
            if let Ok(cells) = state.column::<ValueCells<T>>(self.state) {
                cells.set(call, place, None);
            } else {
                let (cells, at) = self.expiring(state)?;
                cells.clear_value(at, place);
            }
        }
        Ok(())
    }

    /// Calls `each` with every key of the task that has a value, in no particular order, and a copy of the
    /// value. Within `each`, that key is the key of the call; afterwards, it is the one from before. Keys that
    /// `each` adds may be visited or not. A visit does not begin a time to live anew, not even one after access.
    ///
    /// # Errors
    /// When the handle was not registered, and the first error of `each`.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn emit_all(counts: ValueState<i64>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///     counts.for_each(out, |out, key, count| Ok(out.emit((&key[0], count))?))
    /// }
    /// ```
    pub fn for_each(
        &self,
        out: &mut Outputs<'_>,
        mut each: impl FnMut(&mut Outputs<'_>, &[Value], T) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let _ = self.peek(out.state(), NO_PLACE)?;
        let before = out.key().to_vec();
        let result = self.visit_all(out, &mut each);
        out.set_key(before)?;
        result
    }

    fn visit_all(
        &self,
        out: &mut Outputs<'_>,
        each: &mut impl FnMut(&mut Outputs<'_>, &[Value], T) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let (mut walk, mut key) = (out.state().walk()?, Vec::new());
        while let Some(place) = out.state().next_key(&mut walk, &mut key)? {
            if let Some(value) = self.peek(out.state(), place)? {
                out.set_key(key.as_slice())?;
                each(out, &key, value)?;
            }
        }
        Ok(())
    }

    /// A copy of the value in a place, without beginning its time to live anew.
    fn peek(&self, state: &mut TaskState, place: u32) -> Result<Option<T>, StateError> {
        if let Ok(cells) = state.column::<ValueCells<T>>(self.state) {
            return Ok(cells.get(place).cloned());
        }
        let (cells, at) = self.expiring(state)?;
        Ok(cells.peek(at.now, place).cloned())
    }

    fn expiring<'s>(
        &self,
        state: &'s mut TaskState,
    ) -> Result<(&'s mut ExpiringValueCells<T>, CallTime), StateError> {
        state.expiring_column(self.state)
    }
}

/// A map for each key. Registered by [`TaskContext::map_state`](crate::api::TaskContext::map_state).
///
/// # Examples
/// How often each page was seen by each visitor:
/// ```
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
///
/// #[derive(Default)]
/// struct Pages {
///     pages: MapState<String, u64>,
/// }
///
/// impl Bolt for Pages {
///     fn declare(&self) -> Streams {
///         Streams::new(["visitor", "pages"])
///     }
///
///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
///         self.pages = context.map_state("pages")?;
///         Ok(())
///     }
///
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let page = input.str("page")?;
///         let times = self.pages.get(out, page)?.copied().unwrap_or(0) + 1;
///         self.pages.insert(out, page.to_owned(), times)?;
///         let pages = self.pages.len(out)? as u64;
///         out.emit((input.str("visitor")?, pages))?;
///         Ok(())
///     }
/// }
///
/// let options = HarnessOptions { key: Fields::from(["visitor"]), ..HarnessOptions::default() };
/// let mut pages = BoltHarness::start(Box::new(Pages::default()), &options)?;
/// let visit = |visitor, page| TestTuple::new((visitor, page)).fields(["visitor", "page"]);
/// pages.execute_all([visit("ann", "/"), visit("ann", "/faq"), visit("bob", "/"), visit("ann", "/")]);
/// let counts: Vec<_> = pages.take_rows("default").iter().map(|row| row[1].as_i64()).collect();
/// assert_eq!(counts, [Some(1), Some(2), Some(1), Some(2)]);
/// # Ok::<(), TaskError>(())
/// ```
pub struct MapState<K, V> {
    state: u32,
    of: PhantomData<fn() -> (K, V)>,
}

handle!(MapState<K, V>);

impl<K: StateValue + Eq + Hash, V: StateValue> MapState<K, V> {
    /// An entry of the key's map.
    ///
    /// # Errors
    /// When the call has no key, or the handle was not registered.
    pub fn get<'o, Q>(&self, out: &'o mut Outputs<'_>, entry: &Q) -> Result<Option<&'o V>, StateError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let state = out.state();
        let place = state.place(self.state)?;
        if state.expires(self.state) {
            let (cells, at) = self.expiring(state)?;
            return Ok(place.and_then(|place| cells.get(at, place, entry)));
        }
        let cells = state.column::<MapCells<K, V>>(self.state)?;
        Ok(place.and_then(|place| cells.map(place)).and_then(|map| map.get(entry)))
    }

    /// Writes an entry, and returns whether there was one before.
    ///
    /// # Errors
    /// As [`get`](MapState::get).
    pub fn insert(&self, out: &mut Outputs<'_>, entry: K, value: V) -> Result<bool, StateError> {
        let state = out.state();
        let (call, place) = (state.call(), state.place_to_change(self.state)?);
        if let Ok(cells) = state.column::<MapCells<K, V>>(self.state) {
            return Ok(cells.set(call, place, entry, Some(value)));
        }
        let (cells, at) = self.expiring(state)?;
        Ok(cells.insert(at, place, entry, value))
    }

    /// Changes an entry in place. If there is none, `change` gets what `first` makes. A copy of the old value is kept
    /// until a later call writes.
    ///
    /// # Errors
    /// As [`get`](MapState::get).
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// fn count(pages: MapState<String, u64>, page: &str, out: &mut Outputs<'_>) -> Result<u64, TaskError> {
    ///     Ok(pages.update(out, page.to_owned(), u64::default, |times| {
    ///         *times += 1;
    ///         *times
    ///     })?)
    /// }
    /// ```
    pub fn update<R>(
        &self,
        out: &mut Outputs<'_>,
        entry: K,
        first: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R, StateError> {
        let state = out.state();
        let (call, place) = (state.call(), state.place_to_change(self.state)?);
        if let Ok(cells) = state.column::<MapCells<K, V>>(self.state) {
            return Ok(change(cells.change(call, place, entry, first)));
        }
        let (cells, at) = self.expiring(state)?;
        let mut value = cells.get(at, place, &entry).cloned().unwrap_or_else(first);
        let result = change(&mut value);
        cells.insert(at, place, entry, value);
        Ok(result)
    }

    /// Removes an entry, and returns whether there was one.
    ///
    /// # Errors
    /// As [`get`](MapState::get).
    pub fn remove(&self, out: &mut Outputs<'_>, entry: K) -> Result<bool, StateError> {
        let state = out.state();
        let Some(place) = state.place(self.state)? else { return Ok(false) };
        let call = state.call();
        state.removes(place);
        if let Ok(cells) = state.column::<MapCells<K, V>>(self.state) {
            return Ok(cells.set(call, place, entry, None));
        }
        let (cells, at) = self.expiring(state)?;
        Ok(cells.remove(at, place, entry))
    }

    /// How many entries the key's map has. With a time to live, each is looked at.
    ///
    /// # Errors
    /// As [`get`](MapState::get).
    pub fn len(&self, out: &mut Outputs<'_>) -> Result<usize, StateError> {
        let state = out.state();
        let Some(place) = state.place(self.state)? else { return Ok(0) };
        if let Ok(cells) = state.column::<MapCells<K, V>>(self.state) {
            return Ok(cells.map(place).map_or(0, HashMap::len));
        }
        let (cells, at) = self.expiring(state)?;
        Ok(cells.len(at.now, place))
    }

    /// Whether the key's map has no entry.
    ///
    /// # Errors
    /// As [`get`](MapState::get).
    pub fn is_empty(&self, out: &mut Outputs<'_>) -> Result<bool, StateError> {
        Ok(self.len(out)? == 0)
    }

    /// The entries of the key's map, in no particular order.
    ///
    /// # Errors
    /// As [`get`](MapState::get).
    pub fn entries<'o>(
        &self,
        out: &'o mut Outputs<'_>,
    ) -> Result<impl Iterator<Item = (&'o K, &'o V)> + use<'o, K, V>, StateError> {
        let state = out.state();
        let place = state.place(self.state)?;
        let (plain, expiring) = if state.expires(self.state) {
            let (cells, at) = self.expiring(state)?;
            (None, place.map(|place| cells.entries(at, place)))
        } else {
            let cells = state.column::<MapCells<K, V>>(self.state)?;
            (place.and_then(|place| cells.map(place)), None)
        };
        Ok(plain.into_iter().flatten().chain(expiring.into_iter().flatten()))
    }

    /// Removes all entries of the key's map.
    ///
    /// # Errors
    /// As [`get`](MapState::get).
    pub fn clear(&self, out: &mut Outputs<'_>) -> Result<(), StateError> {
        let state = out.state();
        if let Some(place) = state.place(self.state)? {
            let call = state.call();
            state.removes(place);
            if let Ok(cells) = state.column::<MapCells<K, V>>(self.state) {
                cells.clear(call, place);
            } else {
                let (cells, at) = self.expiring(state)?;
                cells.clear_map(at, place);
            }
        }
        Ok(())
    }

    fn expiring<'s>(
        &self,
        state: &'s mut TaskState,
    ) -> Result<(&'s mut ExpiringMapCells<K, V>, CallTime), StateError> {
        state.expiring_column(self.state)
    }
}

/// A list for each key. Registered by [`TaskContext::list_state`](crate::api::TaskContext::list_state).
///
/// # Examples
/// The last three readings of each sensor:
/// ```
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
///
/// #[derive(Default)]
/// struct Recent {
///     readings: ListState<i64>,
/// }
///
/// impl Bolt for Recent {
///     fn declare(&self) -> Streams {
///         Streams::new(["sum"])
///     }
///
///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
///         self.readings = context.list_state("readings")?;
///         Ok(())
///     }
///
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         self.readings.push(out, input.i64("reading")?)?;
///         let readings = self.readings.items(out)?;
///         let recent = readings[readings.len().saturating_sub(3)..].to_vec();
///         out.emit([recent.iter().sum::<i64>()])?;
///         self.readings.set(out, recent)?;
///         Ok(())
///     }
/// }
///
/// let options = HarnessOptions { key: Fields::from(["sensor"]), ..HarnessOptions::default() };
/// let mut recent = BoltHarness::start(Box::new(Recent::default()), &options)?;
/// let reading = |n: i64| TestTuple::new(("attic", n)).fields(["sensor", "reading"]);
/// recent.execute_all([1, 2, 3, 4].map(reading));
/// let sums: Vec<_> = recent.take_rows("default").iter().map(|row| row[0].as_i64()).collect();
/// assert_eq!(sums, [Some(1), Some(3), Some(6), Some(9)]);
/// # Ok::<(), TaskError>(())
/// ```
pub struct ListState<T> {
    state: u32,
    of: PhantomData<fn() -> T>,
}

handle!(ListState<T>);

impl<T: StateValue> ListState<T> {
    /// The items of the key's list, in the order in which they were pushed.
    ///
    /// # Errors
    /// When the call has no key, or the handle was not registered.
    pub fn items<'o>(&self, out: &'o mut Outputs<'_>) -> Result<&'o [T], StateError> {
        let state = out.state();
        let place = state.place(self.state)?;
        if state.expires(self.state) {
            let (cells, at) = self.expiring(state)?;
            return Ok(place.map_or(&[], |place| cells.items(at, place)));
        }
        let cells = state.column::<ListCells<T>>(self.state)?;
        Ok(place.map_or(&[], |place| cells.items(place)))
    }

    /// Appends an item to the key's list.
    ///
    /// # Errors
    /// As [`items`](ListState::items).
    pub fn push(&self, out: &mut Outputs<'_>, item: T) -> Result<(), StateError> {
        let state = out.state();
        let (call, place) = (state.call(), state.place_to_change(self.state)?);
        if let Ok(cells) = state.column::<ListCells<T>>(self.state) {
            cells.push(call, place, item);
        } else {
            let (cells, at) = self.expiring(state)?;
            cells.push(at, place, item);
        }
        Ok(())
    }

    /// Replaces the key's list. An empty list is the same as none.
    ///
    /// # Errors
    /// As [`items`](ListState::items).
    pub fn set(&self, out: &mut Outputs<'_>, items: Vec<T>) -> Result<(), StateError> {
        let state = out.state();
        let (call, place) = (state.call(), state.place_to_change(self.state)?);
        state.removes(place);
        if let Ok(cells) = state.column::<ListCells<T>>(self.state) {
            cells.set(call, place, items);
        } else {
            let (cells, at) = self.expiring(state)?;
            cells.set(at, place, items);
        }
        Ok(())
    }

    /// Removes all items of the key's list.
    ///
    /// # Errors
    /// As [`items`](ListState::items).
    pub fn clear(&self, out: &mut Outputs<'_>) -> Result<(), StateError> {
        self.set(out, Vec::new())
    }

    fn expiring<'s>(
        &self,
        state: &'s mut TaskState,
    ) -> Result<(&'s mut ExpiringListCells<T>, CallTime), StateError> {
        state.expiring_column(self.state)
    }
}

/// One list of the task, without a key: for what belongs to the task itself.
/// Registered by [`TaskContext::operator_state`](crate::api::TaskContext::operator_state).
///
/// # Examples
/// The largest numbers that a task has seen:
/// ```
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, TestTuple};
///
/// #[derive(Default)]
/// struct Largest {
///     largest: OperatorState<i64>,
/// }
///
/// impl Bolt for Largest {
///     fn declare(&self) -> Streams {
///         Streams::new(["n"])
///     }
///
///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
///         self.largest = context.operator_state("largest")?;
///         Ok(())
///     }
///
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let mut largest = self.largest.items(out)?.to_vec();
///         largest.push(input.i64("n")?);
///         largest.sort_unstable_by(|a, b| b.cmp(a));
///         largest.truncate(2);
///         self.largest.set(out, largest)?;
///         Ok(())
///     }
///
///     fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         for n in self.largest.items(out)?.to_vec() {
///             out.emit([n])?;
///         }
///         Ok(())
///     }
/// }
/// # let mut largest = BoltHarness::new(Largest::default());
/// # largest.execute_all([3, 9, 1, 7].map(|n| TestTuple::new([n]).fields(["n"])));
/// # largest.finish();
/// # assert_eq!(largest.take_rows("default"), [[Value::from(9)], [Value::from(7)]]);
/// ```
pub struct OperatorState<T> {
    state: u32,
    of: PhantomData<fn() -> T>,
}

handle!(OperatorState<T>);

impl<T: StateValue> OperatorState<T> {
    /// The items of the list, in the order in which they were pushed.
    ///
    /// # Errors
    /// When the handle was not registered.
    pub fn items<'o>(&self, out: &'o mut Outputs<'_>) -> Result<&'o [T], StateError> {
        let state = out.state();
        let place = state.operator_place();
        Ok(state.column::<OperatorCells<T>>(self.state)?.list().items(place))
    }

    /// Appends an item.
    ///
    /// # Errors
    /// As [`items`](OperatorState::items).
    pub fn push(&self, out: &mut Outputs<'_>, item: T) -> Result<(), StateError> {
        let state = out.state();
        let (call, place) = (state.call(), state.operator_place_to_change());
        state.column::<OperatorCells<T>>(self.state)?.list().push(call, place, item);
        Ok(())
    }

    /// Replaces the list.
    ///
    /// # Errors
    /// As [`items`](OperatorState::items).
    pub fn set(&self, out: &mut Outputs<'_>, items: Vec<T>) -> Result<(), StateError> {
        let state = out.state();
        let (call, place) = (state.call(), state.operator_place_to_change());
        state.column::<OperatorCells<T>>(self.state)?.list().set(call, place, items);
        Ok(())
    }
}
