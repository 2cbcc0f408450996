//! A state from its snapshots.
//!
//! 1. What is restored is what the last snapshot has (`sequence`).
//! 2. A state of the checkpoint that the component does not register is an error, so nothing is lost unnoticed.
//!    A registered state that the checkpoint lacks begins empty. What is left behind on purpose is not looked at.
//! 3. A state may have got a time to live since, or lost it, or have another: see `expiring`. What has expired by now
//!    is not restored.
//! 4. Keys that have nothing in the end have no place.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::ids::is_reserved_name;
use crate::state::columns::NO_KEY_PLACE;
use crate::state::encoding::EncodingError;
use crate::state::error::{NamedState, StateError};
use crate::state::keys::{hash_of, shown_key};
use crate::state::parts::Parts;
use crate::state::records::{StateColumn, damaged};
use crate::state::registry::{OperatorSharing, shown_type};
use crate::state::sequence::{Changes, SnapshotSequence};
use crate::state::snapshots::Kept;
use crate::state::stored::Written;
use crate::text::shown;
use crate::tuple::Value;

/// What of the state of several tasks belongs to one.
pub(crate) trait StateShare {
    /// Whether this key does.
    fn has_key(&self, key: &[Value]) -> bool;
    /// Whether the operator state of the task with this index does, where each task keeps its own.
    fn has_operator_state_of(&self, task: u32) -> bool;
    /// Whether the nth item of all does, where they are dealt out.
    fn has_item(&self, nth: usize) -> bool;
}

/// What of snapshots a task takes.
#[derive(Clone, Copy)]
pub(crate) struct Taking<'s> {
    /// What belongs to it of the state of another number of tasks. `None`: its number of tasks is as it was.
    pub(crate) share: Option<&'s dyn StateShare>,
    /// The states that are left behind.
    pub(crate) left_behind: &'s BTreeSet<SmolStr>,
}

/// A state that is being restored.
pub(super) struct Restore<'t> {
    sequence: SnapshotSequence,
    restored: Restored<'t>,
}

/// What is taken of a task's state, if its component had another number of tasks.
#[derive(Clone, Copy)]
struct Taken<'t> {
    share: &'t dyn StateShare,
    has_operator_state: bool,
}

/// What was restored so far.
struct Restored<'t> {
    kept: Kept<'t>,
    /// The states of the snapshot that is being read, with the number that each has in the task. `None`: it is left
    /// behind.
    found: Vec<Option<(u32, StateColumn)>>,
    left_behind: &'t BTreeSet<SmolStr>,
    /// What is taken. `None`: all of it.
    taken: Option<Taken<'t>>,
    /// With a share: the last value of each operator state, to be added at the end to what other tasks had.
    operator: BTreeMap<u32, Vec<u8>>,
}

impl<'t> Restore<'t> {
    /// Restores what the task with this index kept. `kept` must have a column for each state; with a share, what other
    /// tasks had is there already, and otherwise it must be empty.
    pub(super) fn new(kept: Kept<'t>, taking: Taking<'t>, task: u32) -> Restore<'t> {
        let taken =
            taking.share.map(|share| Taken { share, has_operator_state: share.has_operator_state_of(task) });
        let left_behind = taking.left_behind;
        let restored = Restored { kept, found: Vec::new(), left_behind, taken, operator: BTreeMap::new() };
        Restore { sequence: SnapshotSequence::default(), restored }
    }

    /// Reads a chunk: whole records.
    pub(super) fn read(&mut self, chunk: &[u8]) -> Result<(), StateError> {
        self.sequence.read(chunk, &mut self.restored)?;
        let Kept { parts, spill } = &mut self.restored.kept;
        if let Some(spill) = spill.as_mut().filter(|spill| spill.is_over()) {
            spill.evict(parts);
            spill.check_room()?;
        }
        Ok(())
    }

    /// All chunks were read.
    pub(super) fn finish(mut self) -> Result<(), StateError> {
        self.sequence.finish()?;
        for (position, value) in std::mem::take(&mut self.restored.operator) {
            self.restored.append(position, &value)?;
        }
        Ok(())
    }
}

impl Changes for Restored<'_> {
    type Error = StateError;

    fn begin(&mut self, states: Vec<StateColumn>) -> Result<(), StateError> {
        let registered = self.kept.parts.states;
        let is_unknown = |state: &&StateColumn| {
            let is_of = |name: &SmolStr| *name == state.name;
            !self.left_behind.iter().any(is_of) && !registered.iter().any(|known| is_of(&known.name))
        };
        let unknown: Box<[_]> = states.iter().filter(is_unknown).map(StateColumn::named).collect();
        if !unknown.is_empty() {
            let of_bolt = registered.iter().filter(|state| !is_reserved_name(&state.name));
            let registered = of_bolt.map(|state| NamedState::new(&state.name, &state.shown())).collect();
            return Err(StateError::NotRegistered { states: unknown, registered });
        }
        self.found = states.into_iter().map(|state| self.find(state)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn forget(&mut self, key: &[Value]) -> Result<(), StateError> {
        if self.taken.is_some_and(|taken| !taken.share.has_key(key)) {
            return Ok(());
        }
        let Some(place) = self.place(key, false)? else { return Ok(()) };
        let Parts { columns, states, times, .. } = &mut self.kept.parts;
        for (column, state) in columns.iter_mut().zip(*states) {
            if state.kind.is_keyed() {
                column
                    .restore(place, None, times.of(state))
                    .map_err(|error| damaged(format!("a key cannot be forgotten: {error}")))?;
            }
        }
        self.restored(key, place, 0);
        Ok(())
    }

    fn set(&mut self, state: u64, key: &[Value], value: Option<Written<'_>>) -> Result<(), StateError> {
        let found = usize::try_from(state).ok().and_then(|state| self.found.get(state));
        let Some(found) = found else {
            return Err(damaged(format!("it has no state {state}")));
        };
        let Some((number, column)) = found else { return Ok(()) };
        let number = *number;
        if self.kept.parts.states[number as usize].kind.is_keyed() == key.is_empty() {
            return Err(damaged(format!("a key of state `{}` is none", shown(&column.name))));
        }
        match self.taken {
            Some(taken) if key.is_empty() => {
                // Only what stands there in the end counts. Operator state has no time to live.
                match value {
                    Some(Written::Plain(bytes))
                        if taken.has_operator_state
                            || self.kept.parts.states[number as usize].sharing != OperatorSharing::Own =>
                    {
                        self.operator.insert(state as u32, bytes.to_vec());
                    }
                    _ => _ = self.operator.remove(&(state as u32)),
                }
                return Ok(());
            }
            Some(taken) if !taken.share.has_key(key) => return Ok(()),
            Some(_) | None => {}
        }
        let Some(place) = self.place(key, value.is_some())? else { return Ok(()) };
        let Parts { columns, states, times, .. } = &mut self.kept.parts;
        let time = times.of(&states[number as usize]);
        let restored = columns[number as usize].restore(place, value, time);
        restored.map_err(|error| self.unreadable(state as usize, key, &error))?;
        let bytes = value.map_or(0, |value| match value {
            Written::Plain(bytes) | Written::Dated(bytes) => bytes.len(),
        });
        self.restored(key, place, bytes);
        Ok(())
    }
}

impl Restored<'_> {
    /// Adds items to an operator state, by its position in the snapshot.
    fn append(&mut self, position: u32, value: &[u8]) -> Result<(), StateError> {
        let Some(Some((number, _))) = self.found.get(position as usize) else { return Ok(()) };
        let appended = self.kept.parts.columns[*number as usize].append(value);
        appended.map_err(|error| self.unreadable(position as usize, &[], &error))
    }

    /// The number of a state in the task; `None` if it is left behind.
    fn find(&self, state: StateColumn) -> Result<Option<(u32, StateColumn)>, StateError> {
        let states = self.kept.parts.states;
        let found = states.iter().position(|registered| registered.name == state.name);
        let Some(at) = found.filter(|_| !self.left_behind.iter().any(|left| *left == state.name)) else {
            return Ok(None);
        };
        let registered = &states[at];
        if registered.kind.to_string() != state.kind {
            return Err(StateError::KindChanged {
                state: registered.name.clone(),
                old: shown(shown_type(&state.kind, &state.of)).into(),
                new: registered.shown().into(),
            });
        }
        Ok(Some((at as u32, state)))
    }

    /// The place of a key. It gets one if it has none and must have one.
    fn place(&mut self, key: &[Value], must_have: bool) -> Result<Option<u32>, StateError> {
        if key.is_empty() {
            return Ok(Some(NO_KEY_PLACE));
        }
        let (hash, Kept { parts, spill }) = (hash_of(key.iter()), &mut self.kept);
        let mut found = parts.keys.find(hash, key);
        if found.is_none()
            && let Some(spill) = spill
        {
            found = spill.find_to_use(hash, key, parts)?;
        }
        Ok(found.or_else(|| {
            must_have.then(|| {
                let place = parts.keys.insert(hash, key);
                if let Some(spill) = spill {
                    spill.add(place);
                }
                place
            })
        }))
    }

    /// What a key has in a place was restored, from so many bytes. The place is freed if that is nothing.
    fn restored(&mut self, key: &[Value], place: u32, bytes: usize) {
        if key.is_empty() {
            return;
        }
        let Kept { parts, spill } = &mut self.kept;
        if parts.columns.iter().any(|column| column.is_used(place)) {
            if let Some(spill) = spill {
                // The entry of a key has its values with each of its states.
                let of_key: usize = key.iter().map(Value::heap_size).sum();
                spill.restored(place, bytes + of_key);
            }
        } else if let Some(key) = parts.keys.remove(place)
            && let Some(spill) = spill
        {
            spill.removed(place, &key, parts);
        }
    }

    /// The error about a state that was found, by its position in the snapshot.
    fn unreadable(&self, state: usize, key: &[Value], error: &EncodingError) -> StateError {
        let Some(Some((number, column))) = self.found.get(state) else {
            return damaged(format!("it has no state {state}"));
        };
        let registered = &self.kept.parts.states[*number as usize];
        StateError::Unreadable {
            state: registered.name.clone(),
            key: shown_key(key),
            old: shown(shown_type(&column.kind, &column.of)).into(),
            new: registered.shown().into(),
            why: shown(error).into(),
        }
    }
}
