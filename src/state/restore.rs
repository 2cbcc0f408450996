//! A state from its snapshots.
//!
//! 1. What is restored is what the last snapshot has: a full one comes first, and each delta follows the one that
//!    it names.
//! 2. A state of the checkpoint that the component does not register is an error, so nothing is lost unnoticed.
//!    A registered state that the checkpoint lacks begins empty.
//! 3. Keys that have nothing in the end have no place.

use crate::state::columns::{Column, NO_KEY_PLACE};
use crate::state::encoding::EncodingError;
use crate::state::error::StateError;
use crate::state::keys::{KeyTable, hash_of, shown_key};
use crate::state::records::{Begin, Record, Records, StateColumn, damaged};
use crate::state::registry::{Registration, shown_type};
use crate::state::stored::WallOffset;
use crate::text::shown;
use crate::tuple::Value;

/// A state that is being restored.
pub(super) struct Restore<'t> {
    columns: &'t mut [Box<dyn Column>],
    states: &'t [Registration],
    keys: &'t mut KeyTable,
    wall: WallOffset,
    /// The snapshot that is being read.
    snapshot: Option<Snapshot>,
    /// The last one that was read whole.
    complete: Option<u32>,
    /// The key of the record in hand.
    key: Vec<Value>,
}

struct Snapshot {
    number: u32,
    /// Its states, with the number that each has in the task.
    states: Vec<(u32, StateColumn)>,
    /// Read so far.
    records: u64,
}

impl<'t> Restore<'t> {
    /// These must be empty, and have a column for each state.
    pub(super) fn new(
        columns: &'t mut [Box<dyn Column>],
        states: &'t [Registration],
        keys: &'t mut KeyTable,
        wall: WallOffset,
    ) -> Restore<'t> {
        Restore { columns, states, keys, wall, snapshot: None, complete: None, key: Vec::new() }
    }

    /// Reads a chunk: whole records.
    pub(super) fn read(&mut self, chunk: &[u8]) -> Result<(), StateError> {
        let mut records = Records::new(chunk);
        while let Some(record) = records.next(&mut self.key)? {
            match (record, self.snapshot.take()) {
                (Record::Begin(begin), None) => self.begin(begin)?,
                (Record::Begin(_), Some(_)) => return Err(damaged("a snapshot begins within another")),
                (_, None) => return Err(damaged("a record stands outside of a snapshot")),
                (Record::End { records }, Some(snapshot)) => {
                    if records != snapshot.records {
                        let Snapshot { number, records: read, .. } = snapshot;
                        let why = format!("snapshot {number} has {read} of {records} records");
                        return Err(damaged(why));
                    }
                    self.complete = Some(snapshot.number);
                }
                (record, Some(mut snapshot)) => {
                    snapshot.records += 1;
                    self.change(record, &snapshot)?;
                    self.snapshot = Some(snapshot);
                }
            }
        }
        Ok(())
    }

    /// All chunks were read.
    pub(super) fn finish(self) -> Result<(), StateError> {
        match (self.snapshot, self.complete) {
            (Some(snapshot), _) => Err(damaged(format!("snapshot {} has no end", snapshot.number))),
            (None, None) => Err(damaged("it has no snapshot")),
            (None, Some(_)) => Ok(()),
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<(), StateError> {
        if begin.after != self.complete {
            let text = |number: Option<u32>| number.map_or("none".to_owned(), |number| number.to_string());
            let (after, complete) = (text(begin.after), text(self.complete));
            let why = format!("snapshot {} follows {after}, and here it follows {complete}", begin.number);
            return Err(damaged(why));
        }
        let states = begin.states.into_iter().map(|state| self.find(state)).collect::<Result<_, _>>()?;
        self.snapshot = Some(Snapshot { number: begin.number, states, records: 0 });
        Ok(())
    }

    /// The number of a state in the task.
    fn find(&self, state: StateColumn) -> Result<(u32, StateColumn), StateError> {
        let Some(at) = self.states.iter().position(|registered| registered.name == state.name) else {
            return Err(StateError::NotRegistered { state: shown(&state.name).into() });
        };
        let registered = &self.states[at];
        if registered.kind.to_string() != state.kind {
            let old = shown(shown_type(&state.kind, &state.of));
            return Err(StateError::KindChanged {
                state: registered.name.clone(),
                old: old.into(),
                new: registered.shown().into(),
            });
        }
        Ok((at as u32, state))
    }

    fn change(&mut self, record: Record<'_>, snapshot: &Snapshot) -> Result<(), StateError> {
        let (state, value) = match record {
            Record::Forget => return self.forget(),
            Record::Value { state, value } => (state, Some(value)),
            Record::Remove { state } => (state, None),
            Record::Begin(_) | Record::End { .. } => return Err(damaged("a snapshot has no such record")),
        };
        let found = usize::try_from(state).ok().and_then(|state| snapshot.states.get(state));
        let Some((state, column)) = found else {
            return Err(damaged(format!("it has no state {state}")));
        };
        if self.states[*state as usize].kind.is_keyed() == self.key.is_empty() {
            return Err(damaged(format!("a key of state `{}` is none", shown(&column.name))));
        }
        let Some(place) = self.place(value.is_some()) else { return Ok(()) };
        self.columns[*state as usize]
            .restore(place, value, self.wall)
            .map_err(|error| self.unreadable(*state, column, &error))?;
        self.free_if_unused(place);
        Ok(())
    }

    /// The place of the key in hand. It gets one if it has none and must have one.
    fn place(&mut self, must_have: bool) -> Option<u32> {
        if self.key.is_empty() {
            return Some(NO_KEY_PLACE);
        }
        let hash = hash_of(self.key.iter());
        let found = self.keys.find(hash, |key| key.values() == self.key);
        found.or_else(|| must_have.then(|| self.keys.insert(hash, &self.key)))
    }

    fn forget(&mut self) -> Result<(), StateError> {
        if self.key.is_empty() {
            return Err(damaged("a key that is forgotten is none"));
        }
        let Some(place) = self.place(false) else { return Ok(()) };
        for (column, state) in self.columns.iter_mut().zip(self.states) {
            if state.kind.is_keyed() {
                column
                    .restore(place, None, self.wall)
                    .map_err(|error| damaged(format!("a key cannot be forgotten: {error}")))?;
            }
        }
        self.free_if_unused(place);
        Ok(())
    }

    fn free_if_unused(&mut self, place: u32) {
        if !self.key.is_empty() && !self.columns.iter().any(|column| column.is_used(place)) {
            self.keys.remove(place);
        }
    }

    fn unreadable(&self, state: u32, column: &StateColumn, error: &EncodingError) -> StateError {
        let registered = &self.states[state as usize];
        StateError::Unreadable {
            state: registered.name.clone(),
            key: shown_key(&self.key),
            old: shown(shown_type(&column.kind, &column.of)).into(),
            new: registered.shown().into(),
            why: shown(error).into(),
        }
    }
}
