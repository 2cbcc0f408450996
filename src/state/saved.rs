//! The states of a task, read from its snapshots without the types of the component.
//!
//! Values stay the bytes that they are in the checkpoint; `json` shows them. Of each snapshot only what is left in the
//! end is in memory, so this takes about what the state takes in the task.
//!
//! A snapshot has no time to live, but only the dates from which it counts. So entries that have expired since the
//! snapshot was written are here, too.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::state::error::StateError;
use crate::state::records::{StateColumn, damaged};
use crate::state::registry::StateKind;
use crate::state::sequence::{Changes, SnapshotSequence};
use crate::state::stored::Written;
use crate::text::shown;
use crate::tuple::Value;

/// Reads the snapshots of a task: those of a full one, then those of the deltas that followed.
#[derive(Default)]
pub(crate) struct SavedStateReader {
    sequence: SnapshotSequence,
    saved: SavedStates,
}

/// The states of a task, as its last snapshot has them.
#[derive(Default)]
struct SavedStates {
    states: Vec<SavedState>,
    /// For each state of the snapshot that is being read, its number among `states`.
    found: Vec<usize>,
    /// Whether keys count, and values are not kept.
    is_without_values: bool,
}

/// What a state has.
#[derive(Debug)]
pub(crate) struct SavedState {
    pub(crate) name: SmolStr,
    pub(crate) kind: StateKind,
    /// By key, in its order. A state without keys has the key of 0 values, if it has something.
    pub(crate) values: BTreeMap<Box<[Value]>, SavedValue>,
}

/// The bytes of what a state has for a key: a `Written` that owns them.
#[derive(Debug)]
pub(crate) enum SavedValue {
    Plain(Box<[u8]>),
    Dated(Box<[u8]>),
}

impl SavedValue {
    pub(crate) fn written(&self) -> Written<'_> {
        match self {
            SavedValue::Plain(bytes) => Written::Plain(bytes),
            SavedValue::Dated(bytes) => Written::Dated(bytes),
        }
    }
}

impl From<Written<'_>> for SavedValue {
    fn from(written: Written<'_>) -> SavedValue {
        match written {
            Written::Plain(bytes) => SavedValue::Plain(bytes.into()),
            Written::Dated(bytes) => SavedValue::Dated(bytes.into()),
        }
    }
}

impl SavedStateReader {
    /// Reads which keys each state has. Their values have no bytes.
    pub(crate) fn without_values() -> SavedStateReader {
        let saved = SavedStates { is_without_values: true, ..SavedStates::default() };
        SavedStateReader { sequence: SnapshotSequence::default(), saved }
    }

    /// Reads a chunk: whole records.
    pub(crate) fn read(&mut self, chunk: &[u8]) -> Result<(), StateError> {
        self.sequence.read(chunk, &mut self.saved)
    }

    /// All chunks were read.
    pub(crate) fn finish(self) -> Result<Vec<SavedState>, StateError> {
        self.sequence.finish()?;
        Ok(self.saved.states)
    }
}

impl Changes for SavedStates {
    fn begin(&mut self, states: Vec<StateColumn>) -> Result<(), StateError> {
        self.found = states.iter().map(|state| self.find(state)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn forget(&mut self, key: &[Value]) -> Result<(), StateError> {
        self.states.iter_mut().for_each(|state| drop(state.values.remove(key)));
        Ok(())
    }

    fn set(&mut self, state: u64, key: &[Value], value: Option<Written<'_>>) -> Result<(), StateError> {
        let found = usize::try_from(state).ok().and_then(|state| self.found.get(state));
        let Some(number) = found else {
            return Err(damaged(format!("it has no state {state}")));
        };
        let state = &mut self.states[*number];
        if state.kind.is_keyed() == key.is_empty() {
            return Err(damaged(format!("a key of state `{}` is none", shown(&state.name))));
        }
        let value = value.map(|value| if self.is_without_values { Written::Plain(&[]) } else { value });
        match (value, state.values.get_mut(key)) {
            (Some(value), Some(old)) => *old = value.into(),
            (Some(value), None) => drop(state.values.insert(key.into(), value.into())),
            (None, _) => drop(state.values.remove(key)),
        }
        Ok(())
    }
}

impl SavedStates {
    /// The number of a state, which is added if it is new.
    fn find(&mut self, column: &StateColumn) -> Result<usize, StateError> {
        let kind = StateKind::ALL.into_iter().find(|kind| kind.to_string() == column.kind);
        let Some(kind) = kind else {
            let (name, kind) = (shown(&column.name), shown(&column.kind));
            return Err(damaged(format!(
                "state `{name}` is of kind `{kind}`, which this squall does not know"
            )));
        };
        match self.states.iter().position(|state| state.name == column.name) {
            Some(at) if self.states[at].kind == kind => Ok(at),
            Some(at) => {
                let (name, old) = (shown(&column.name), self.states[at].kind);
                Err(damaged(format!("state `{name}` is {old} in one snapshot, and {kind} in the next")))
            }
            None => {
                let name = column.name.as_str().into();
                self.states.push(SavedState { name, kind, values: BTreeMap::new() });
                Ok(self.states.len() - 1)
            }
        }
    }
}
