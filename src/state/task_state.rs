//! The state of one task, and the call that uses it.

use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use crate::clock::{Clock, Time};
use crate::state::columns::{Column, NO_KEY_PLACE};
use crate::state::error::StateError;
use crate::state::expiring::CallTime;
use crate::state::key_store::StateBackend;
use crate::state::keys::{Key, KeyTable, hash_of};
use crate::state::keys_ahead::KeysAhead;
use crate::state::registry::{Registration, StateDescription, StateKind, StateRegistry};
use crate::state::snapshot_times::SnapshotTimes;
use crate::state::snapshots::Snapshots;
use crate::state::spill::Spill;
use crate::state::stored::SnapshotTime;
use crate::tuple::Value;

/// The key of the present call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PresentKey {
    /// There is none.
    #[default]
    None,
    /// It has a place.
    Known(u32),
    /// Nothing is kept for it; its values stand in `new_key`.
    New,
    /// The store could not be read, so it is not known what is kept for it. Its values stand in `new_key`.
    Unknown,
}

/// The state of one task. The executor owns it and lends it to user code inside the outputs.
#[derive(Default)]
pub struct TaskState {
    registry: StateRegistry,
    /// In the order of the registry.
    pub(super) columns: Vec<Box<dyn Column>>,
    /// The numbers of those that are timers.
    pub(super) timers: Vec<u32>,
    /// The same of those in event time.
    pub(super) event_timers: Vec<u32>,
    /// How far event time has come: see `task_event_time`.
    pub(super) watermark: Time,
    pub(super) event_now: Time,
    /// The numbers of those whose entries expire.
    pub(super) expiring: Vec<u32>,
    /// The last call that asked for the time, and the time then.
    timed: CallTime,
    clock: Option<Clock>,
    /// What each column is of.
    pub(super) states: Vec<Registration>,
    pub(super) keys: KeyTable,
    pub(super) snapshots: Snapshots,
    /// Where keys go that leave memory, and how many bytes it may take. `None`: they stay.
    pub(super) backend: Option<(Arc<dyn StateBackend>, usize)>,
    /// Keys that are not in memory. `None`: all are.
    pub(super) spill: Option<Box<Spill>>,
    pub(super) present: PresentKey,
    /// Whether the store has failed in the present call.
    pub(super) store_failed: bool,
    /// Why the present key is unknown.
    pub(super) unknown: Option<StateError>,
    /// The values of a present key that has no place, and their hash.
    pub(super) new_key: Vec<Value>,
    /// The key of the present call, if that was asked for and the table has no values of it to show.
    shown_key: OnceCell<Key>,
    /// Whether a call begins with more than to note its number: a key was shown, or keys may be out of memory.
    pub(super) needs_care: Cell<bool>,
    pub(super) hash: u64,
    /// The present call. No two calls of the task have the same number.
    call: u64,
    /// Whether it has changed something.
    changed: bool,
    /// Places in which the present call may have written the first value or removed the last one.
    pub(super) checked: Vec<u32>,
    takes_keys: bool,
    /// Whether the bolt named the key of the present call, and whether it ever named a new one.
    pub(super) is_named: bool,
    pub(super) names_keys: bool,
    /// Where the key stands in the rows that the task is executing; empty if it has none.
    positions: Vec<usize>,
    /// The places of the keys of the rows that come next.
    ahead: KeysAhead,
}

impl TaskState {
    /// The state of a task whose component registers here. Its timers follow this clock.
    pub fn new(registry: StateRegistry, clock: Clock) -> TaskState {
        TaskState { registry, clock: Some(clock), ..TaskState::default() }
    }

    /// Makes columns for states that were registered since the last call. To be called after `prepare`.
    pub(crate) fn take_registered(&mut self) {
        for state in self.registry.since(self.columns.len()) {
            match state.kind {
                StateKind::Timer => self.timers.push(self.columns.len() as u32),
                StateKind::EventTimer => self.event_timers.push(self.columns.len() as u32),
                StateKind::Value | StateKind::Map | StateKind::List | StateKind::Operator => {}
            }
            if state.ttl.is_some() {
                self.expiring.push(self.columns.len() as u32);
            }
            self.columns.push((state.make)());
            self.states.push(state);
        }
        self.takes_keys = self.registry.takes_keys();
    }

    /// Whether each call is to be given the key that its input was grouped by.
    #[inline]
    pub(crate) fn takes_keys(&self) -> bool {
        self.takes_keys
    }

    /// Where the key stands in the rows that come next. To be called only if the state takes keys.
    pub(crate) fn set_positions(&mut self, positions: &[usize]) {
        self.positions.clear();
        self.positions.extend_from_slice(positions);
    }

    /// How many keys have state.
    pub(crate) fn key_count(&self) -> usize {
        self.keys.len() + self.spill.as_ref().map_or(0, |spill| spill.cold())
    }

    /// Whether anything is kept.
    pub(crate) fn keeps_something(&self) -> bool {
        self.key_count() > 0 || self.columns.iter().any(|column| column.keeps_without_key())
    }

    /// A call begins, with this number, and without a key.
    #[inline]
    pub(crate) fn begin_call(&mut self, call: u64) {
        self.call = call;
        self.present = PresentKey::None;
        self.is_named = false;
        self.store_failed = false;
        // One look for all that few calls need.
        if self.needs_care.get() {
            self.begin_with_care();
        }
    }

    #[inline(never)]
    fn begin_with_care(&mut self) {
        self.forget_key();
        self.needs_care.set(self.spill.is_some());
        if self.spill.as_ref().is_some_and(|spill| spill.is_over()) {
            self.evict();
        }
    }

    /// The present call has no key, until it is given one.
    pub(super) fn forget_key(&mut self) {
        self.present = PresentKey::None;
        self.shown_key.take();
    }

    /// Whether the rows that the task is executing have a key.
    #[inline]
    pub(crate) fn rows_have_key(&self) -> bool {
        !self.positions.is_empty()
    }

    /// The same for a row that was not looked up before.
    #[inline]
    pub(crate) fn take_key(&mut self, row: &[Value]) {
        let positions = std::mem::take(&mut self.positions);
        self.look_up_key_of(row, &positions);
        self.positions = positions;
    }

    /// Looks up the keys of rows that are executed next, in this order, each by
    /// [`take_next_key`](Self::take_next_key). They replace those of the last call.
    #[inline]
    pub(crate) fn look_ahead(&mut self, values: &[Value], arity: usize) {
        match self.positions[..] {
            [at] => self.ahead.look_up(&self.keys, values.chunks_exact(arity).map(|row| &row[at])),
            _ => self.ahead.clear(),
        }
    }

    /// Sets the key of the present call: that of the row that is executed. Rows must have one.
    #[inline]
    pub(crate) fn take_next_key(&mut self, row: &[Value]) {
        match self.ahead.next(&self.keys) {
            Some(place) => self.begin_known_key(place),
            None => self.take_key(row),
        }
    }

    /// Sets the key of the present call: the values of a row at these positions, of which there is at least one.
    pub(crate) fn set_key_of(&mut self, row: &[Value], positions: &[usize]) {
        self.forget_key();
        self.look_up_key_of(row, positions);
    }

    /// The same in a call that had no key.
    #[inline]
    fn look_up_key_of(&mut self, row: &[Value], positions: &[usize]) {
        match positions {
            [at] => self.look_up_one(&row[*at]),
            positions => self.look_up_several(row, positions),
        }
    }

    /// The usual case: the key is one value. It is copied only if it is new.
    #[inline]
    fn look_up_one(&mut self, value: &Value) {
        let hash = hash_of(std::iter::once(value));
        match self.keys.find_one(hash, value, |key| key.is_one(value)) {
            Some(place) => self.begin_known_key(place),
            None => self.begin_new_key(hash, std::iter::once(value)),
        }
    }

    fn look_up_several(&mut self, row: &[Value], positions: &[usize]) {
        let values = || positions.iter().map(|at| &row[*at]);
        let hash = hash_of(values());
        match self.keys.find_several(hash, values()) {
            Some(place) => self.begin_known_key(place),
            None => self.begin_new_key(hash, values()),
        }
    }

    #[inline]
    fn begin_known_key(&mut self, place: u32) {
        self.present = PresentKey::Known(place);
        if let Some(spill) = &mut self.spill {
            spill.touch(place);
        }
    }

    #[cold]
    fn begin_new_key<'v>(&mut self, hash: u64, values: impl Iterator<Item = &'v Value>) {
        self.hash = hash;
        self.new_key.clear();
        self.new_key.extend(values.cloned());
        self.find_cold_key();
    }

    /// Sets the key of the present call by what `write` appends. If that is nothing, the call has no key.
    pub(crate) fn set_key<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<Value>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.new_key.clear();
        self.forget_key();
        write(&mut self.new_key)?;
        if !self.new_key.is_empty() {
            self.hash = hash_of(self.new_key.iter());
            match self.keys.find(self.hash, &self.new_key) {
                Some(place) => self.begin_known_key(place),
                None => self.find_cold_key(),
            }
        }
        Ok(())
    }

    /// The key of the present call; empty if it has none.
    pub(crate) fn key(&self) -> &[Value] {
        match self.present {
            PresentKey::None => &[],
            PresentKey::Known(place) => match self.keys.key(place) {
                Some(Cow::Borrowed(key)) => key.values(),
                Some(Cow::Owned(key)) => {
                    self.needs_care.set(true);
                    self.shown_key.get_or_init(|| key).values()
                }
                None => &[],
            },
            PresentKey::New | PresentKey::Unknown => &self.new_key,
        }
    }

    /// Whether the present call has changed something.
    #[inline]
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The call has succeeded: its changes stay.
    #[inline]
    pub(crate) fn commit(&mut self) {
        self.changed = false;
        if !self.checked.is_empty() {
            self.free_places();
        }
    }

    /// The call has failed: puts back what it changed.
    pub(crate) fn undo(&mut self) {
        self.columns.iter_mut().for_each(|column| column.undo(self.call));
        self.commit();
    }

    /// The number of the present call, for the logs of columns.
    #[inline]
    pub(crate) fn call(&self) -> u64 {
        self.call
    }

    /// Frees the places of keys that have nothing any more.
    #[cold]
    pub(super) fn free_places(&mut self) {
        while let Some(place) = self.checked.pop() {
            let is_used = self.columns.iter().any(|column| column.is_used(place));
            let key = if is_used { None } else { self.keys.remove(place) };
            match (self.spill_parts(), key) {
                (Some((spill, parts)), Some(key)) => spill.removed(place, &key, &parts),
                (Some((spill, mut parts)), None) => spill.measure_new(place, &mut parts),
                (None, Some(key)) => self.snapshots.key_left(place, key),
                (None, None) => {}
            }
        }
    }

    /// The column of a handle.
    #[inline]
    pub(crate) fn column<C: Column>(&mut self, state: u32) -> Result<&mut C, StateError> {
        let column = self.columns.get_mut(state as usize).map(|column| &mut **column as &mut dyn Any);
        match column.and_then(<dyn Any>::downcast_mut) {
            Some(cells) => Ok(cells),
            // Made only where it is needed: an error has to be dropped.
            None => Err(StateError::Unregistered),
        }
    }

    /// Whether a state has a time to live.
    #[inline]
    pub(crate) fn expires(&self, state: u32) -> bool {
        !self.expiring.is_empty() && self.expiring.contains(&state)
    }

    /// The column of a handle whose state has a time to live, and the time of the call.
    #[cold]
    #[inline(never)]
    pub(crate) fn expiring_column<C: Column>(
        &mut self,
        state: u32,
    ) -> Result<(&mut C, CallTime), StateError> {
        let time = match self.states.get(state as usize).is_some_and(Registration::is_in_event_time) {
            true => CallTime { call: self.call, now: self.event_now },
            false => self.call_time(),
        };
        let is_refreshed = |state: &Registration| state.ttl.is_some_and(|ttl| ttl.is_refreshed_by_reads());
        if let PresentKey::Known(place) = self.present
            && self.states.get(state as usize).is_some_and(is_refreshed)
        {
            self.before_change(place);
        }
        self.column(state).map(|cells| (cells, time))
    }

    /// The present call with its time: that of its first use of a state with a time to live.
    fn call_time(&mut self) -> CallTime {
        if self.timed.call != self.call {
            self.timed = CallTime { call: self.call, now: self.now() };
        }
        self.timed
    }

    /// The place of the present key, for reading; `None` if nothing is kept for it.
    #[inline]
    pub(crate) fn place(&self, state: u32) -> Result<Option<u32>, StateError> {
        match self.present {
            PresentKey::Known(place) => Ok(Some(place)),
            PresentKey::New => Ok(None),
            PresentKey::None => Err(self.no_key(state)),
            PresentKey::Unknown => Err(self.unknown.clone().unwrap_or(StateError::Unregistered)),
        }
    }

    /// The place of the present key, for a change. The key gets one if it has none.
    #[inline]
    pub(crate) fn place_to_change(&mut self, state: u32) -> Result<u32, StateError> {
        self.changed = true;
        let place = match self.place(state)? {
            Some(place) => place,
            None => self.new_place()?,
        };
        self.before_change(place);
        Ok(place)
    }

    #[cold]
    fn new_place(&mut self) -> Result<u32, StateError> {
        let room = self.spill.as_ref().map_or(Ok(()), |spill| spill.check_room());
        room.inspect_err(|error| self.note_store_error(error))?;
        let place = self.keys.insert(self.hash, &self.new_key);
        self.names_keys |= self.is_named;
        match &mut self.spill {
            Some(spill) => spill.add(place),
            None => self.snapshots.key_came(place),
        }
        self.present = PresentKey::Known(place);
        self.checked.push(place);
        Ok(place)
    }

    /// The time from which a timer that is set now counts.
    pub(crate) fn now(&self) -> Time {
        self.clock.as_ref().map_or(Time::ZERO, Clock::now)
    }

    /// Notes that the present call removes what a state has in a place.
    pub(crate) fn removes(&mut self, place: u32) {
        self.changed = true;
        self.checked.push(place);
        self.before_change(place);
    }

    /// The place of states without a key, for a change.
    pub(crate) fn operator_place_to_change(&mut self) -> u32 {
        self.changed = true;
        NO_KEY_PLACE
    }

    /// The same for reading.
    pub(crate) fn operator_place(&self) -> u32 {
        NO_KEY_PLACE
    }

    /// Forgets everything that is kept, and a snapshot that is not complete. The columns and the watermark stay.
    pub(crate) fn clear(&mut self) {
        self.columns.iter_mut().for_each(|column| column.clear());
        self.keys = KeyTable::default();
        self.ahead.clear();
        self.snapshots.clear();
        if let Some(spill) = &mut self.spill {
            spill.clear();
        }
        self.forget_key();
        self.checked.clear();
        self.changed = false;
    }

    /// The states that were registered.
    pub(crate) fn described(&self) -> Vec<StateDescription> {
        self.states.iter().map(Registration::described).collect()
    }

    pub(super) fn times(&self) -> SnapshotTimes {
        SnapshotTimes {
            processing: self.clock.as_ref().map_or(SnapshotTime::default(), SnapshotTime::of),
            event: SnapshotTime::of_event_time(self.event_now),
        }
    }

    #[cold]
    fn no_key(&self, state: u32) -> StateError {
        match self.states.get(state as usize) {
            Some(state) => StateError::NoKey { state: state.name.clone() },
            None => StateError::Unregistered,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod snapshot_tests;

#[cfg(test)]
#[path = "spill_tests.rs"]
mod spill_tests;

#[cfg(test)]
#[path = "restore_tests.rs"]
mod restore_tests;

#[cfg(test)]
#[path = "ttl_tests.rs"]
mod ttl_tests;

#[cfg(test)]
#[path = "key_tests.rs"]
mod key_tests;

#[cfg(test)]
#[path = "event_time_tests.rs"]
mod event_time_tests;
