//! The cells of each kind of state, and the logs by which a call is undone.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;

use rustc_hash::FxBuildHasher;

use crate::state::columns::{Column, Log, StateValue};

/// Grows a column so that it has a cell for the place, and returns the cell.
#[inline]
pub(super) fn cell<T>(cells: &mut Vec<Option<T>>, place: u32) -> &mut Option<T> {
    let at = place as usize;
    if at >= cells.len() {
        cells.resize_with(at + 1, || None);
    }
    &mut cells[at]
}

/// One value for each key.
pub(crate) struct ValueCells<T> {
    cells: Vec<Option<T>>,
    /// Places with what they held before.
    log: Log<(u32, Option<T>)>,
}

impl<T> Default for ValueCells<T> {
    fn default() -> ValueCells<T> {
        ValueCells { cells: Vec::new(), log: Log::default() }
    }
}

impl<T: StateValue> ValueCells<T> {
    #[inline]
    pub(crate) fn get(&self, place: u32) -> Option<&T> {
        self.cells.get(place as usize)?.as_ref()
    }

    /// Writes or removes the value.
    #[inline]
    pub(crate) fn set(&mut self, call: u64, place: u32, value: Option<T>) {
        let cell = cell(&mut self.cells, place);
        self.log.push(call, (place, std::mem::replace(cell, value)));
    }

    /// The value, to be changed in place. A copy of the old value is kept until the call is over.
    #[inline]
    pub(crate) fn change(&mut self, call: u64, place: u32, first: impl FnOnce() -> T) -> &mut T {
        let cell = cell(&mut self.cells, place);
        // A place that the call has changed last is in the log already.
        if self.log.last(call).is_none_or(|(logged, _)| *logged != place) {
            self.log.push(call, (place, cell.clone()));
        }
        cell.get_or_insert_with(first)
    }
}

impl<T: StateValue> Column for ValueCells<T> {
    fn undo(&mut self, call: u64) {
        while let Some((place, value)) = self.log.pop(call) {
            self.cells[place as usize] = value;
        }
    }

    fn is_used(&self, place: u32) -> bool {
        self.get(place).is_some()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

type Entries<K, V> = HashMap<K, V, FxBuildHasher>;

/// A map for each key.
pub(crate) struct MapCells<K, V> {
    cells: Vec<Option<Box<Entries<K, V>>>>,
    log: Log<(u32, MapChange<K, V>)>,
}

/// What a change of a map overwrote.
enum MapChange<K, V> {
    Entry(K, Option<V>),
    Whole(Box<Entries<K, V>>),
}

impl<K, V> Default for MapCells<K, V> {
    fn default() -> MapCells<K, V> {
        MapCells { cells: Vec::new(), log: Log::default() }
    }
}

impl<K: StateValue + Eq + Hash, V: StateValue> MapCells<K, V> {
    pub(crate) fn map(&self, place: u32) -> Option<&Entries<K, V>> {
        self.cells.get(place as usize)?.as_deref()
    }

    /// Writes or removes an entry, and returns whether there was one.
    pub(crate) fn set(&mut self, call: u64, place: u32, key: K, value: Option<V>) -> bool {
        let (cell, logged) = (cell(&mut self.cells, place), key.clone());
        let old = match value {
            Some(value) => cell.get_or_insert_default().insert(key, value),
            None => cell.as_mut().and_then(|map| map.remove(&key)),
        };
        if cell.as_ref().is_some_and(|map| map.is_empty()) {
            *cell = None;
        }
        let was = old.is_some();
        self.log.push(call, (place, MapChange::Entry(logged, old)));
        was
    }

    pub(crate) fn clear(&mut self, call: u64, place: u32) {
        if let Some(map) = cell(&mut self.cells, place).take() {
            self.log.push(call, (place, MapChange::Whole(map)));
        }
    }
}

impl<K: StateValue + Eq + Hash, V: StateValue> Column for MapCells<K, V> {
    fn undo(&mut self, call: u64) {
        while let Some((place, change)) = self.log.pop(call) {
            let cell = cell(&mut self.cells, place);
            match change {
                MapChange::Whole(map) => *cell = Some(map),
                MapChange::Entry(key, Some(value)) => {
                    cell.get_or_insert_default().insert(key, value);
                }
                MapChange::Entry(key, None) => {
                    if let Some(map) = cell {
                        map.remove(&key);
                    }
                    if cell.as_ref().is_some_and(|map| map.is_empty()) {
                        *cell = None;
                    }
                }
            }
        }
    }

    fn is_used(&self, place: u32) -> bool {
        self.map(place).is_some()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// A list for each key.
pub(crate) struct ListCells<T> {
    cells: Vec<Option<Vec<T>>>,
    log: Log<(u32, ListChange<T>)>,
}

/// What a change of a list overwrote.
enum ListChange<T> {
    Pushed,
    Whole(Option<Vec<T>>),
}

impl<T> Default for ListCells<T> {
    fn default() -> ListCells<T> {
        ListCells { cells: Vec::new(), log: Log::default() }
    }
}

impl<T: StateValue> ListCells<T> {
    pub(crate) fn items(&self, place: u32) -> &[T] {
        self.cells.get(place as usize).and_then(Option::as_deref).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, call: u64, place: u32, item: T) {
        cell(&mut self.cells, place).get_or_insert_default().push(item);
        self.log.push(call, (place, ListChange::Pushed));
    }

    /// Replaces the list; an empty one is removed.
    pub(crate) fn set(&mut self, call: u64, place: u32, items: Vec<T>) {
        let items = if items.is_empty() { None } else { Some(items) };
        let old = std::mem::replace(cell(&mut self.cells, place), items);
        self.log.push(call, (place, ListChange::Whole(old)));
    }
}

impl<T: StateValue> Column for ListCells<T> {
    fn undo(&mut self, call: u64) {
        while let Some((place, change)) = self.log.pop(call) {
            let cell = cell(&mut self.cells, place);
            match change {
                ListChange::Whole(items) => *cell = items,
                ListChange::Pushed => {
                    if let Some(items) = cell {
                        items.pop();
                    }
                    if cell.as_ref().is_some_and(Vec::is_empty) {
                        *cell = None;
                    }
                }
            }
        }
    }

    fn is_used(&self, place: u32) -> bool {
        !self.items(place).is_empty()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// One list of the task, in the first cell. It keeps no place in use for a key.
pub(crate) struct OperatorCells<T>(ListCells<T>);

impl<T> Default for OperatorCells<T> {
    fn default() -> OperatorCells<T> {
        OperatorCells(ListCells::default())
    }
}

impl<T> OperatorCells<T> {
    pub(crate) fn list(&mut self) -> &mut ListCells<T> {
        &mut self.0
    }
}

impl<T: StateValue> Column for OperatorCells<T> {
    fn undo(&mut self, call: u64) {
        self.0.undo(call);
    }

    fn is_used(&self, _place: u32) -> bool {
        false
    }

    fn keeps_without_key(&self) -> bool {
        self.0.cells.iter().any(Option::is_some)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
