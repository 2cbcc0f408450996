//! The parts of a task's state that are in memory, and the bytes of one key of it.

use crate::logging::panics::guarded;
use crate::state::columns::Column;
use crate::state::encoding::EncodingError;
use crate::state::error::StateError;
use crate::state::keys::{Key, KeyTable, shown_key};
use crate::state::records::{Record, Records, key_bytes, read_varint, write_value, write_varint};
use crate::state::registry::Registration;
use crate::state::snapshot_times::SnapshotTimes;
use crate::state::stored::Written;
use crate::text::shown;

/// The parts of a task's state that are in memory.
pub(super) struct Parts<'t> {
    pub(super) columns: &'t mut [Box<dyn Column>],
    pub(super) states: &'t [Registration],
    pub(super) keys: &'t mut KeyTable,
    pub(super) times: SnapshotTimes,
}

impl Parts<'_> {
    /// The bytes of the key in a place. Of no key if there is none.
    pub(super) fn key_bytes(&self, place: u32) -> Result<Vec<u8>, StateError> {
        let key = self.keys.key(place);
        key_bytes(key.as_deref().map_or(&[], Key::values)).map_err(StateError::entry)
    }

    /// The entry of the key in a place: the count of its records, and the records.
    pub(super) fn entry(&mut self, place: u32) -> Result<Vec<u8>, StateError> {
        // Writing a value calls code of its type.
        let written = guarded(|| -> Result<_, StateError> {
            let Some(key) = self.keys.key(place) else { return Ok((Vec::new(), 0)) };
            let (mut records, mut count, mut value) = (Vec::new(), 0, Vec::new());
            for (number, (column, state)) in self.columns.iter_mut().zip(self.states).enumerate() {
                let unwritable = |error: EncodingError| StateError::Unwritable {
                    state: state.name.clone(),
                    key: shown_key(key.values()),
                    why: shown(error).into(),
                };
                value.clear();
                if state.kind.is_keyed()
                    && column
                        .cells()
                        .write_cell(place, self.times.of(state), &mut value)
                        .map_err(unwritable)?
                {
                    let written =
                        if state.ttl.is_some() { Written::Dated(&value) } else { Written::Plain(&value) };
                    write_value(number as u32, key.values(), Some(written), &mut records)
                        .map_err(unwritable)?;
                    count += 1;
                }
            }
            Ok((records, count))
        });
        let (records, count) = written.map_err(StateError::entry)??;
        let mut entry = Vec::with_capacity(records.len() + 2);
        write_varint(count, &mut entry);
        entry.extend_from_slice(&records);
        Ok(entry)
    }

    /// Writes an entry into the cells of a place.
    pub(super) fn load(&mut self, place: u32, entry: &[u8]) -> Result<(), StateError> {
        let damaged = || StateError::entry("it is damaged");
        let (_, records) = read_varint(entry).ok_or_else(damaged)?;
        // Reading a value calls code of its type.
        let read = guarded(|| {
            let (mut records, mut key) = (Records::new(records), Vec::new());
            while let Some(record) = records.next(&mut key)? {
                let Record::Value { state, value } = record else { return Err(damaged()) };
                let column = self.columns.get_mut(state as usize).ok_or_else(damaged)?;
                let registration = self.states.get(state as usize).ok_or_else(damaged)?;
                let restored = column.restore(place, Some(value), self.times.of(registration));
                restored.map_err(StateError::entry)?;
            }
            Ok(())
        });
        read.map_err(StateError::entry)?
    }

    pub(super) fn is_used(&self, place: u32) -> bool {
        self.columns.iter().any(|column| column.is_used(place))
    }

    pub(super) fn has_timer(&self, place: u32) -> bool {
        let mut timers = self.columns.iter().zip(self.states).filter(|(_, it)| it.kind.is_timer());
        timers.any(|(column, _)| column.is_used(place))
    }

    /// Empties the cells of a place, and frees it.
    pub(super) fn empty(&mut self, place: u32) {
        self.keys.remove(place);
        for (column, state) in self.columns.iter_mut().zip(self.states) {
            if state.kind.is_keyed() {
                // Dropping a value calls code of its type. If that panics, the value is gone all the same.
                let _ = guarded(|| column.restore(place, None, self.times.of(state)));
            }
        }
    }
}
