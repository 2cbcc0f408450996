//! The cells of states with a time to live. A state without one has the plain cells of `cells`, and costs nothing of
//! what is here.
//!
//! 1. Each use gets the time of its call, so all uses of a call see the same entries.
//! 2. A call that fails takes back the deadlines that it moved, like everything else: the logs have them.
//! 3. What a call finds expired it treats as absent, and may write over. It is removed between calls (see `expiry`), as
//!    a change that is not logged and that the next delta has.

use std::borrow::Borrow;
use std::hash::Hash;

use crate::clock::Time;
use crate::state::columns::{Column, Log};
use crate::state::encoding::EncodingError;
use crate::state::expiring::{
    CallTime, Deadlines, Expiring, ExpiringEntries, ExpiringList, ExpiringMap, Perishable,
};
use crate::state::expiry::Expiry;
use crate::state::stored::{SnapshotTime, Written};
use crate::state::tracked_cells::{Next, SnapshotCells, TrackedCells};
use crate::state::ttl::Ttl;
use crate::state::value::StateValue;

/// The cells of a column, and when they are to be looked at.
struct ExpiringCells<C> {
    cells: TrackedCells<C>,
    expiry: Expiry,
}

impl<C: Perishable> ExpiringCells<C> {
    fn new(ttl: Ttl) -> ExpiringCells<C> {
        ExpiringCells { cells: TrackedCells::default(), expiry: Expiry::new(ttl) }
    }

    #[inline]
    fn get(&self, place: u32) -> Option<&C> {
        self.cells.get(place)
    }

    /// The deadline of what is written now, or read if reads begin the time to live anew. `None` if they do not.
    #[inline]
    fn deadline_of_read(&self, now: Time) -> Option<Time> {
        self.expiry.ttl().is_refreshed_by_reads().then(|| self.expiry.deadline(now))
    }

    /// The cell of a place, in which a call writes something. Returns the deadline of that, too.
    #[inline]
    fn write(&mut self, place: u32, now: Time) -> (&mut Option<C>, Time) {
        let deadline = self.expiry.deadline(now);
        self.cells.note_change(place);
        self.expiry.written(place, deadline);
        (self.cells.cell(place), deadline)
    }

    /// The cell of a place, of which a call removes something.
    fn remove(&mut self, place: u32) -> &mut Option<C> {
        self.cells.note_change(place);
        self.cells.cell(place)
    }

    /// The cell of a place, to which an undone call puts something back.
    fn put_back(&mut self, place: u32) -> &mut Option<C> {
        self.cells.cell(place)
    }

    fn restore(&mut self, place: u32, now: Time, cell: Option<C>) {
        let next = cell.as_ref().and_then(|cell| cell.look(now).next);
        *self.cells.cell(place) = cell.filter(|_| next.is_some());
        if let Some(next) = next {
            self.expiry.written(place, next);
        }
    }

    /// What was written before there was a watermark counts from the first one.
    fn begin_event_time(&mut self, now: Time) {
        let deadline = self.expiry.deadline(now);
        self.cells.all().iter_mut().flatten().for_each(|cell| cell.set_deadlines(deadline));
    }

    /// Removes what has expired from the places that are due, and appends those that are empty then.
    fn remove_expired(&mut self, now: Time, emptied: &mut Vec<u32>) {
        for _ in 0..self.expiry.take_looks() {
            let Some(place) = self.expiry.take_due(now) else { return };
            let Some(look) = self.cells.get(place).map(|cell| cell.look(now)) else { continue };
            if look.has_expired {
                self.cells.note_change(place);
                let cell = self.cells.cell(place);
                match cell {
                    Some(cell) if look.next.is_some() => cell.remove_expired(now),
                    _ => {
                        *cell = None;
                        emptied.push(place);
                    }
                }
            }
            if let Some(next) = look.next {
                self.expiry.look_again(place, now, next);
            }
        }
    }
}

/// A snapshot has dates from which times to live count, not deadlines.
impl<C: Perishable> SnapshotCells for ExpiringCells<C> {
    fn begin(&mut self, full: bool) {
        self.cells.begin(full);
    }

    fn abandon(&mut self) {
        self.cells.abandon();
    }

    fn write_next(&mut self, time: SnapshotTime, out: &mut Vec<u8>) -> Next {
        self.cells.write_next(time.dated_before(self.expiry.ttl().period()), out)
    }

    fn write_cell(&self, place: u32, time: SnapshotTime, out: &mut Vec<u8>) -> Result<bool, EncodingError> {
        self.cells.write_cell(place, time.dated_before(self.expiry.ttl().period()), out)
    }
}

/// What all these columns do alike; `cell` reads a cell, and `undo` undoes a change.
macro_rules! expiring_column {
    ($cells:ident<$($of:ident),+>, ($($bounds:tt)+), $cell:ident, $undo:ident) => {
        impl<$($of),+> From<Ttl> for $cells<$($of),+>
        where
            $($bounds)+
        {
            fn from(ttl: Ttl) -> Self {
                $cells { kept: ExpiringCells::new(ttl), log: Log::default() }
            }
        }

        impl<$($of),+> Column for $cells<$($of),+>
        where
            $($bounds)+
        {
            fn undo(&mut self, call: u64) {
                while let Some((place, change)) = self.log.pop(call) {
                    $undo(self.kept.put_back(place), change);
                }
            }

            fn is_used(&self, place: u32) -> bool {
                self.kept.get(place).is_some()
            }

            fn next_removal(&self) -> Time {
                self.kept.expiry.next_removal()
            }

            fn remove_expired(&mut self, now: Time, emptied: &mut Vec<u32>) {
                self.kept.remove_expired(now, emptied);
            }

            fn begin_event_time(&mut self, now: Time) {
                self.kept.begin_event_time(now);
            }

            fn cells(&mut self) -> &mut dyn SnapshotCells {
                &mut self.kept
            }

            fn restore(
                &mut self,
                place: u32,
                value: Option<Written<'_>>,
                time: SnapshotTime,
            ) -> Result<(), EncodingError> {
                let deadlines: Deadlines = self.kept.expiry.deadlines(time);
                let cell = value.map(|value| $cell::read(value, deadlines)).transpose()?;
                self.kept.restore(place, time.now(), cell);
                Ok(())
            }

            fn clear(&mut self) {
                *self = Self::from(self.kept.expiry.ttl());
            }
        }
    };
}

// ---- A value ----

/// One value for each key.
pub(crate) struct ExpiringValueCells<T> {
    kept: ExpiringCells<Expiring<T>>,
    log: Log<(u32, ValueChange<T>)>,
}

/// What a change of a value overwrote.
enum ValueChange<T> {
    Whole(Option<Expiring<T>>),
    Deadline(Time),
}

expiring_column!(ExpiringValueCells<T>, (T: StateValue), Expiring, undo_value);

fn undo_value<T>(cell: &mut Option<Expiring<T>>, change: ValueChange<T>) {
    match (change, cell) {
        (ValueChange::Whole(value), cell) => *cell = value,
        (ValueChange::Deadline(deadline), Some(cell)) => cell.deadline = deadline,
        (ValueChange::Deadline(_), None) => {}
    }
}

impl<T: StateValue> ExpiringValueCells<T> {
    pub(crate) fn get(&mut self, at: CallTime, place: u32) -> Option<&T> {
        let deadline = self.kept.deadline_of_read(at.now);
        let is_moved = |value: &Expiring<T>| deadline.is_some_and(|deadline| value.deadline != deadline);
        if self.alive(at.now, place).is_some_and(is_moved)
            && let (Some(value), deadline) = self.kept.write(place, at.now)
        {
            let before = std::mem::replace(&mut value.deadline, deadline);
            self.log.push(at.call, (place, ValueChange::Deadline(before)));
        }
        self.peek(at.now, place)
    }

    /// The value, without beginning its time to live anew.
    pub(crate) fn peek(&self, now: Time, place: u32) -> Option<&T> {
        self.alive(now, place).map(|value| &value.value)
    }

    /// The value with its deadline.
    #[cfg(test)]
    pub(crate) fn dated(&self, now: Time, place: u32) -> Option<(T, Time)> {
        self.alive(now, place).map(|value| (value.value.clone(), value.deadline))
    }

    fn alive(&self, now: Time, place: u32) -> Option<&Expiring<T>> {
        self.kept.get(place).filter(|value| value.is_alive(now))
    }

    pub(crate) fn set(&mut self, at: CallTime, place: u32, value: T) {
        let (cell, deadline) = self.kept.write(place, at.now);
        let old = cell.replace(Expiring { value, deadline });
        self.log.push(at.call, (place, ValueChange::Whole(old)));
    }

    pub(crate) fn clear_value(&mut self, at: CallTime, place: u32) {
        let old = self.kept.remove(place).take();
        self.log.push(at.call, (place, ValueChange::Whole(old)));
    }

    /// The value, to be changed in place. A copy of the old value is kept until the call is over.
    pub(crate) fn change(&mut self, at: CallTime, place: u32, first: impl FnOnce() -> T) -> &mut T {
        let (cell, deadline) = self.kept.write(place, at.now);
        // A place that the call has changed last is in the log already.
        let is_logged =
            matches!(self.log.last(at.call), Some((logged, ValueChange::Whole(_))) if *logged == place);
        if !is_logged {
            // What has expired is moved, and what is alive is copied.
            let old = if cell.as_ref().is_some_and(|value| value.is_alive(at.now)) {
                cell.clone()
            } else {
                cell.take()
            };
            self.log.push(at.call, (place, ValueChange::Whole(old)));
        }
        let value = cell.get_or_insert_with(|| Expiring { value: first(), deadline });
        value.deadline = deadline;
        &mut value.value
    }
}

// ---- A map ----

/// A map for each key.
pub(crate) struct ExpiringMapCells<K, V> {
    kept: ExpiringCells<ExpiringMap<K, V>>,
    log: Log<(u32, MapChange<K, V>)>,
}

/// What a change of a map overwrote.
enum MapChange<K, V> {
    Entry(K, Option<Expiring<V>>),
    Deadlines(Vec<(K, Time)>),
    Whole(ExpiringMap<K, V>),
}

expiring_column!(
    ExpiringMapCells<K, V>,
    (K: StateValue + Eq + Hash, V: StateValue),
    ExpiringMap,
    undo_map
);

fn undo_map<K: Eq + Hash, V>(cell: &mut Option<ExpiringMap<K, V>>, change: MapChange<K, V>) {
    match change {
        MapChange::Whole(map) => *cell = Some(map),
        MapChange::Entry(key, Some(entry)) => {
            cell.get_or_insert_default().0.insert(key, entry);
        }
        MapChange::Entry(key, None) => {
            if let Some(map) = cell {
                map.0.remove(&key);
            }
        }
        MapChange::Deadlines(before) => {
            for (key, deadline) in before {
                if let Some(entry) = cell.as_mut().and_then(|map| map.0.get_mut(&key)) {
                    entry.deadline = deadline;
                }
            }
        }
    }
    if cell.as_ref().is_some_and(|map| map.0.is_empty()) {
        *cell = None;
    }
}

impl<K: StateValue + Eq + Hash, V: StateValue> ExpiringMapCells<K, V> {
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&mut self, at: CallTime, place: u32, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if let Some(deadline) = self.kept.deadline_of_read(at.now) {
            let found = self.map(place).and_then(|map| map.get_key_value(key));
            let is_moved =
                |(_, entry): &(&K, &Expiring<V>)| entry.is_alive(at.now) && entry.deadline != deadline;
            if let Some((key, entry)) = found.filter(is_moved) {
                let before = vec![(key.clone(), entry.deadline)];
                self.move_deadlines(at, place, before);
            }
        }
        let entry = self.map(place)?.get(key)?;
        entry.is_alive(at.now).then_some(&entry.value)
    }

    /// The entries. Reading them begins the time to live of all anew, if reads do.
    pub(crate) fn entries(&mut self, at: CallTime, place: u32) -> impl Iterator<Item = (&K, &V)> {
        if let Some(deadline) = self.kept.deadline_of_read(at.now) {
            let moved = self.alive(at.now, place).filter(|(_, entry)| entry.deadline != deadline);
            let before: Vec<_> = moved.map(|(key, entry)| (key.clone(), entry.deadline)).collect();
            if !before.is_empty() {
                self.move_deadlines(at, place, before);
            }
        }
        self.alive(at.now, place).map(|(key, entry)| (key, &entry.value))
    }

    /// How many entries there are.
    pub(crate) fn len(&self, now: Time, place: u32) -> usize {
        self.alive(now, place).count()
    }

    /// How many entries take memory.
    #[cfg(test)]
    pub(crate) fn kept_len(&self, place: u32) -> usize {
        self.map(place).map_or(0, ExpiringEntries::len)
    }

    /// The entries with their deadlines.
    #[cfg(test)]
    pub(crate) fn dated(&self, now: Time, place: u32) -> Vec<(K, (V, Time))> {
        let dated = |(key, entry): (&K, &Expiring<V>)| (key.clone(), (entry.value.clone(), entry.deadline));
        self.alive(now, place).map(dated).collect()
    }

    fn alive(&self, now: Time, place: u32) -> impl Iterator<Item = (&K, &Expiring<V>)> {
        self.kept.get(place).into_iter().flat_map(move |map| map.alive(now))
    }

    fn map(&self, place: u32) -> Option<&ExpiringEntries<K, V>> {
        self.kept.get(place).map(|map| &*map.0)
    }

    /// Moves the deadlines of these entries, which are given with those that they have.
    fn move_deadlines(&mut self, at: CallTime, place: u32, before: Vec<(K, Time)>) {
        let (cell, deadline) = self.kept.write(place, at.now);
        for (key, _) in &before {
            if let Some(entry) = cell.as_mut().and_then(|map| map.0.get_mut(key)) {
                entry.deadline = deadline;
            }
        }
        self.log.push(at.call, (place, MapChange::Deadlines(before)));
    }

    /// Writes an entry, and returns whether there was one.
    pub(crate) fn insert(&mut self, at: CallTime, place: u32, key: K, value: V) -> bool {
        let (cell, deadline) = self.kept.write(place, at.now);
        let logged = key.clone();
        let old = cell.get_or_insert_default().0.insert(key, Expiring { value, deadline });
        let was = old.as_ref().is_some_and(|entry| entry.is_alive(at.now));
        self.log.push(at.call, (place, MapChange::Entry(logged, old)));
        was
    }

    /// Removes an entry, and returns whether there was one.
    pub(crate) fn remove(&mut self, at: CallTime, place: u32, key: K) -> bool {
        let cell = self.kept.remove(place);
        let old = cell.as_mut().and_then(|map| map.0.remove(&key));
        if cell.as_ref().is_some_and(|map| map.0.is_empty()) {
            *cell = None;
        }
        let was = old.as_ref().is_some_and(|entry| entry.is_alive(at.now));
        self.log.push(at.call, (place, MapChange::Entry(key, old)));
        was
    }

    pub(crate) fn clear_map(&mut self, at: CallTime, place: u32) {
        if let Some(map) = self.kept.remove(place).take() {
            self.log.push(at.call, (place, MapChange::Whole(map)));
        }
    }
}

// ---- A list ----

/// A list for each key.
pub(crate) struct ExpiringListCells<T> {
    kept: ExpiringCells<ExpiringList<T>>,
    log: Log<(u32, ListChange<T>)>,
}

/// What a change of a list overwrote.
enum ListChange<T> {
    Pushed,
    Deadlines(Vec<Time>),
    Whole(Option<ExpiringList<T>>),
}

expiring_column!(ExpiringListCells<T>, (T: StateValue), ExpiringList, undo_list);

fn undo_list<T>(cell: &mut Option<ExpiringList<T>>, change: ListChange<T>) {
    match (change, cell) {
        (ListChange::Whole(list), cell) => *cell = list,
        (ListChange::Pushed, cell) => {
            if let Some(list) = cell {
                list.items.pop();
                list.deadlines.pop();
            }
            if cell.as_ref().is_some_and(|list| list.items.is_empty()) {
                *cell = None;
            }
        }
        (ListChange::Deadlines(deadlines), Some(list)) => list.deadlines = deadlines,
        (ListChange::Deadlines(_), None) => {}
    }
}

impl<T: StateValue> ExpiringListCells<T> {
    /// The items. Reading them begins the time to live of all anew, if reads do.
    pub(crate) fn items(&mut self, at: CallTime, place: u32) -> &[T] {
        if let Some(deadline) = self.kept.deadline_of_read(at.now) {
            // Deadlines ascend, so the first of them is the first to differ.
            let first = |list: &ExpiringList<T>| list.deadlines.get(list.expired(at.now)).copied();
            let is_moved = self.kept.get(place).and_then(first).is_some_and(|first| first != deadline);
            if is_moved && let (Some(list), deadline) = self.kept.write(place, at.now) {
                let before = list.deadlines.clone();
                let expired = list.expired(at.now);
                list.deadlines[expired..].fill(deadline);
                self.log.push(at.call, (place, ListChange::Deadlines(before)));
            }
        }
        let Some(list) = self.kept.get(place) else { return &[] };
        &list.items[list.expired(at.now)..]
    }

    /// The items with their deadlines.
    #[cfg(test)]
    pub(crate) fn dated(&self, now: Time, place: u32) -> Vec<(T, Time)> {
        let Some(list) = self.kept.get(place) else { return Vec::new() };
        let dated = list.items.iter().cloned().zip(list.deadlines.iter().copied());
        dated.skip(list.expired(now)).collect()
    }

    pub(crate) fn push(&mut self, at: CallTime, place: u32, item: T) {
        let (cell, deadline) = self.kept.write(place, at.now);
        let list = cell.get_or_insert_default();
        list.items.push(item);
        list.deadlines.push(deadline);
        self.log.push(at.call, (place, ListChange::Pushed));
    }

    /// Replaces the list; an empty one is removed.
    pub(crate) fn set(&mut self, at: CallTime, place: u32, items: Vec<T>) {
        let old = if items.is_empty() {
            self.kept.remove(place).take()
        } else {
            let (cell, deadline) = self.kept.write(place, at.now);
            cell.replace(ExpiringList { deadlines: vec![deadline; items.len()], items })
        };
        self.log.push(at.call, (place, ListChange::Whole(old)));
    }
}
