//! The states of a task as tests look at them: read from its snapshots, and kept in memory.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::state::error::StateError;
use crate::state::registry::StateKind;
use crate::state::saved::{SavedReader, SavedValue, TakeSaved};
use crate::state::stored::Written;
use crate::tuple::Value;

/// What a state has.
#[derive(Debug)]
pub(crate) struct SavedState {
    pub(crate) name: SmolStr,
    pub(crate) kind: StateKind,
    /// By key, in its order. A state without keys has the key of 0 values, if it has something.
    pub(crate) values: BTreeMap<Box<[Value]>, SavedValue>,
}

/// Keeps the states of a task in memory.
#[derive(Default)]
pub(crate) struct SavedStateReader(SavedReader<SavedStates>);

#[derive(Default)]
struct SavedStates(Vec<SavedState>);

impl SavedStateReader {
    /// Reads a chunk: whole records.
    pub(crate) fn read(&mut self, chunk: &[u8]) -> Result<(), StateError> {
        self.0.read(chunk)
    }

    /// All chunks were read.
    pub(crate) fn finish(self) -> Result<Vec<SavedState>, StateError> {
        Ok(self.0.finish()?.0)
    }
}

impl TakeSaved for SavedStates {
    type Error = StateError;

    fn add_state(&mut self, name: &SmolStr, kind: StateKind) {
        self.0.push(SavedState { name: name.clone(), kind, values: BTreeMap::new() });
    }

    fn set(&mut self, state: usize, key: &[Value], value: Option<Written<'_>>) -> Result<(), StateError> {
        let values = &mut self.0[state].values;
        match (value, values.get_mut(key)) {
            (Some(value), Some(old)) => *old = value.into(),
            (Some(value), None) => drop(values.insert(key.into(), value.into())),
            (None, _) => drop(values.remove(key)),
        }
        Ok(())
    }
}
