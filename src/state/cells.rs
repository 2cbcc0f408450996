//! The cells of each kind of state, and the logs by which a call is undone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use rustc_hash::FxBuildHasher;

use crate::state::columns::{Column, Log, NO_KEY_PLACE};
use crate::state::encoding::{EncodingError, decode};
use crate::state::placed_values::PlacedValues;
use crate::state::stored::{SnapshotTime, Written};
use crate::state::tracked_cells::{SnapshotCells, TrackedCells};
use crate::state::value::StateValue;

/// The date of an entry whose state had a time to live when the snapshot was written, and has none now.
type Date = i64;

/// One value for each key.
pub(crate) struct ValueCells<T> {
    cells: TrackedCells<T, PlacedValues<T>>,
    /// Places with what they held before.
    log: Log<(u32, Option<T>)>,
}

impl<T> Default for ValueCells<T> {
    fn default() -> ValueCells<T> {
        ValueCells { cells: TrackedCells::default(), log: Log::default() }
    }
}

impl<T: StateValue> ValueCells<T> {
    #[inline]
    pub(crate) fn get(&self, place: u32) -> Option<&T> {
        self.cells.get(place)
    }

    /// Writes or removes the value.
    #[inline]
    pub(crate) fn set(&mut self, call: u64, place: u32, value: Option<T>) {
        self.cells.note_change(place);
        let old = self.cells.all().replace(place, value);
        self.log.push(call, (place, old));
    }

    /// The value, to be changed in place. A copy of the old value is kept until the call is over.
    #[inline]
    pub(crate) fn change(&mut self, call: u64, place: u32, first: impl FnOnce() -> T) -> &mut T {
        // A place that the call has changed last is in the log already.
        let is_logged = self.log.last(call).is_some_and(|(logged, _)| *logged == place);
        if !is_logged {
            self.cells.note_change(place);
        }
        let value = self.cells.get(place);
        let is_new = value.is_none();
        if !is_logged {
            self.log.push(call, (place, value.cloned()));
        }
        if is_new {
            self.cells.all().replace(place, Some(first()));
        }
        self.cells.all().present(place)
    }
}

impl<T: StateValue> Column for ValueCells<T> {
    fn undo(&mut self, call: u64) {
        while let Some((place, value)) = self.log.pop(call) {
            self.cells.all().replace(place, value);
        }
    }

    fn is_used(&self, place: u32) -> bool {
        self.get(place).is_some()
    }

    fn cells(&mut self) -> &mut dyn SnapshotCells {
        &mut self.cells
    }

    fn restore(
        &mut self,
        place: u32,
        value: Option<Written<'_>>,
        _time: SnapshotTime,
    ) -> Result<(), EncodingError> {
        let read = |value| match value {
            Written::Plain(bytes) => decode(bytes),
            Written::Dated(bytes) => decode(bytes).map(|(_, value): (Date, T)| value),
        };
        let value = value.map(read).transpose()?;
        self.cells.all().replace(place, value);
        Ok(())
    }

    fn clear(&mut self) {
        *self = ValueCells::default();
    }
}

type Entries<K, V> = HashMap<K, V, FxBuildHasher>;

/// A map for each key.
pub(crate) struct MapCells<K, V> {
    cells: TrackedCells<Box<Entries<K, V>>>,
    log: Log<(u32, MapChange<K, V>)>,
}

/// What a change of a map overwrote.
enum MapChange<K, V> {
    Entry(K, Option<V>),
    Whole(Box<Entries<K, V>>),
}

impl<K, V> Default for MapCells<K, V> {
    fn default() -> MapCells<K, V> {
        MapCells { cells: TrackedCells::default(), log: Log::default() }
    }
}

impl<K: StateValue + Eq + Hash, V: StateValue> MapCells<K, V> {
    pub(crate) fn map(&self, place: u32) -> Option<&Entries<K, V>> {
        self.cells.get(place).map(Box::as_ref)
    }

    /// Writes or removes an entry, and returns whether there was one.
    pub(crate) fn set(&mut self, call: u64, place: u32, key: K, value: Option<V>) -> bool {
        self.cells.note_change(place);
        let (cell, logged) = (self.cells.cell(place), key.clone());
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

    /// An entry, to be changed in place. A copy of the old value is kept until the call is over.
    #[inline]
    pub(crate) fn change(&mut self, call: u64, place: u32, key: K, first: impl FnOnce() -> V) -> &mut V {
        self.cells.note_change(place);
        match self.cells.cell(place).get_or_insert_default().entry(key) {
            Entry::Occupied(entry) => {
                let (logged, old) = (entry.key().clone(), entry.get().clone());
                self.log.push(call, (place, MapChange::Entry(logged, Some(old))));
                entry.into_mut()
            }
            Entry::Vacant(entry) => {
                self.log.push(call, (place, MapChange::Entry(entry.key().clone(), None)));
                entry.insert(first())
            }
        }
    }

    pub(crate) fn clear(&mut self, call: u64, place: u32) {
        self.cells.note_change(place);
        if let Some(map) = self.cells.cell(place).take() {
            self.log.push(call, (place, MapChange::Whole(map)));
        }
    }
}

impl<K: StateValue + Eq + Hash, V: StateValue> Column for MapCells<K, V> {
    fn undo(&mut self, call: u64) {
        while let Some((place, change)) = self.log.pop(call) {
            let cell = self.cells.cell(place);
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

    fn cells(&mut self) -> &mut dyn SnapshotCells {
        &mut self.cells
    }

    fn restore(
        &mut self,
        place: u32,
        value: Option<Written<'_>>,
        _time: SnapshotTime,
    ) -> Result<(), EncodingError> {
        type Dated<K, V> = Entries<K, (Date, V)>;
        let without_date = |(key, (_, value))| (key, value);
        let read = |value| match value {
            Written::Plain(bytes) => decode::<Box<Entries<K, V>>>(bytes),
            Written::Dated(bytes) => decode::<Dated<K, V>>(bytes)
                .map(|dated| Box::new(dated.into_iter().map(without_date).collect())),
        };
        let map = value.map(read).transpose()?;
        *self.cells.cell(place) = map.filter(|map| !map.is_empty());
        Ok(())
    }

    fn clear(&mut self) {
        *self = MapCells::default();
    }
}

/// A list for each key.
pub(crate) struct ListCells<T> {
    cells: TrackedCells<Vec<T>>,
    log: Log<(u32, ListChange<T>)>,
}

/// What a change of a list overwrote.
enum ListChange<T> {
    Pushed,
    Whole(Option<Vec<T>>),
}

impl<T> Default for ListCells<T> {
    fn default() -> ListCells<T> {
        ListCells { cells: TrackedCells::default(), log: Log::default() }
    }
}

impl<T: StateValue> ListCells<T> {
    pub(crate) fn items(&self, place: u32) -> &[T] {
        self.cells.get(place).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, call: u64, place: u32, item: T) {
        self.cells.note_change(place);
        self.cells.cell(place).get_or_insert_default().push(item);
        self.log.push(call, (place, ListChange::Pushed));
    }

    /// Replaces the list; an empty one is removed.
    pub(crate) fn set(&mut self, call: u64, place: u32, items: Vec<T>) {
        let items = if items.is_empty() { None } else { Some(items) };
        self.cells.note_change(place);
        let old = std::mem::replace(self.cells.cell(place), items);
        self.log.push(call, (place, ListChange::Whole(old)));
    }
}

impl<T: StateValue> Column for ListCells<T> {
    fn undo(&mut self, call: u64) {
        while let Some((place, change)) = self.log.pop(call) {
            let cell = self.cells.cell(place);
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

    fn cells(&mut self) -> &mut dyn SnapshotCells {
        &mut self.cells
    }

    fn restore(
        &mut self,
        place: u32,
        value: Option<Written<'_>>,
        _time: SnapshotTime,
    ) -> Result<(), EncodingError> {
        let read = |value| match value {
            Written::Plain(bytes) => decode::<Vec<T>>(bytes),
            Written::Dated(bytes) => {
                decode::<Vec<(Date, T)>>(bytes).map(|dated| dated.into_iter().map(|(_, item)| item).collect())
            }
        };
        let items = value.map(read).transpose()?;
        *self.cells.cell(place) = items.filter(|items| !items.is_empty());
        Ok(())
    }

    fn clear(&mut self) {
        *self = ListCells::default();
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
        self.0.is_used(NO_KEY_PLACE)
    }

    fn cells(&mut self) -> &mut dyn SnapshotCells {
        self.0.cells()
    }

    fn restore(
        &mut self,
        place: u32,
        value: Option<Written<'_>>,
        time: SnapshotTime,
    ) -> Result<(), EncodingError> {
        self.0.restore(place, value, time)
    }

    fn append(&mut self, value: &[u8]) -> Result<(), EncodingError> {
        let items: Vec<T> = decode(value)?;
        if !items.is_empty() {
            self.0.cells.cell(NO_KEY_PLACE).get_or_insert_default().extend(items);
        }
        Ok(())
    }

    fn keep_items(&mut self, is_kept: &dyn Fn(usize) -> bool) {
        let Some(items) = self.0.cells.cell(NO_KEY_PLACE).take() else { return };
        let kept = items.into_iter().enumerate().filter(|(nth, _)| is_kept(*nth)).map(|(_, item)| item);
        let kept: Vec<T> = kept.collect();
        if !kept.is_empty() {
            *self.0.cells.cell(NO_KEY_PLACE) = Some(kept.into_iter().collect());
        }
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
