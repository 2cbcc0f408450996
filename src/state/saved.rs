//! The states of a task, read from its snapshots without the types of the component.
//!
//! Values stay the bytes that they are in the checkpoint; `json` shows them. Whoever reads decides what is kept of them
//! ([`TakeSaved`]).
//!
//! A snapshot has no time to live, but only the dates from which it counts. So entries that have expired since the
//! snapshot was written are here, too.

use smol_str::SmolStr;

use crate::state::error::StateError;
use crate::state::records::{StateColumn, damaged};
use crate::state::registry::StateKind;
use crate::state::sequence::{Changes, SnapshotSequence};
use crate::state::stored::Written;
use crate::text::shown;
use crate::tuple::Value;

/// Gets what snapshots have, in their order. States have numbers, from 0, in the order in which they were registered
/// first.
pub(crate) trait TakeSaved {
    /// Why it could not be taken.
    type Error: From<StateError>;

    /// The state with the next number.
    fn add_state(&mut self, name: &SmolStr, kind: StateKind);

    /// What a state has for a key from now on; `None`: nothing. A state without keys has the key of 0 values.
    fn set(&mut self, state: usize, key: &[Value], value: Option<Written<'_>>) -> Result<(), Self::Error>;
}

/// Reads the snapshots of a task: those of a full one, then those of the deltas that followed.
#[derive(Default)]
pub(crate) struct SavedReader<T> {
    sequence: SnapshotSequence,
    columns: Columns<T>,
}

/// The states that snapshots have, and who gets what is in them.
#[derive(Default)]
struct Columns<T> {
    states: Vec<(SmolStr, StateKind)>,
    /// For each state of the snapshot that is being read, its number among `states`.
    found: Vec<usize>,
    taker: T,
}

impl<T: TakeSaved> SavedReader<T> {
    /// `taker` gets what is read.
    pub(crate) fn new(taker: T) -> SavedReader<T> {
        let columns = Columns { states: Vec::new(), found: Vec::new(), taker };
        SavedReader { sequence: SnapshotSequence::default(), columns }
    }

    /// Reads a chunk: whole records.
    pub(crate) fn read(&mut self, chunk: &[u8]) -> Result<(), T::Error> {
        self.sequence.read(chunk, &mut self.columns)
    }

    /// All chunks were read.
    pub(crate) fn finish(self) -> Result<T, StateError> {
        self.sequence.finish()?;
        Ok(self.columns.taker)
    }
}

impl<T: TakeSaved> Changes for Columns<T> {
    type Error = T::Error;

    fn begin(&mut self, states: Vec<StateColumn>) -> Result<(), T::Error> {
        self.found = states.iter().map(|state| self.find(state)).collect::<Result<_, StateError>>()?;
        Ok(())
    }

    fn forget(&mut self, key: &[Value]) -> Result<(), T::Error> {
        let keyed = (0..self.states.len()).filter(|number| self.states[*number].1.is_keyed());
        let taker = &mut self.taker;
        keyed.into_iter().try_for_each(|number| taker.set(number, key, None))
    }

    fn set(&mut self, state: u64, key: &[Value], value: Option<Written<'_>>) -> Result<(), T::Error> {
        let found = usize::try_from(state).ok().and_then(|state| self.found.get(state));
        let Some(number) = found else {
            return Err(damaged(format!("it has no state {state}")).into());
        };
        let (name, kind) = &self.states[*number];
        if kind.is_keyed() == key.is_empty() {
            return Err(damaged(format!("a key of state `{}` is none", shown(name))).into());
        }
        self.taker.set(*number, key, value)
    }
}

impl<T: TakeSaved> Columns<T> {
    /// The number of a state, which is added if it is new.
    fn find(&mut self, column: &StateColumn) -> Result<usize, StateError> {
        let kind = StateKind::ALL.into_iter().find(|kind| kind.to_string() == column.kind);
        let Some(kind) = kind else {
            let (name, kind) = (shown(&column.name), shown(&column.kind));
            return Err(damaged(format!(
                "state `{name}` is of kind `{kind}`, which this squall does not know"
            )));
        };
        match self.states.iter().position(|(name, _)| *name == column.name) {
            Some(at) if self.states[at].1 == kind => Ok(at),
            Some(at) => {
                let (name, old) = (shown(&column.name), self.states[at].1);
                Err(damaged(format!("state `{name}` is {old} in one snapshot, and {kind} in the next")))
            }
            None => {
                let name: SmolStr = column.name.as_str().into();
                self.taker.add_state(&name, kind);
                self.states.push((name, kind));
                Ok(self.states.len() - 1)
            }
        }
    }
}

/// The bytes of what a state has for a key: a `Written` that owns them.
#[derive(Debug)]
pub(crate) enum SavedValue {
    Plain(Box<[u8]>),
    Dated(Box<[u8]>),
}

impl SavedValue {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            SavedValue::Plain(bytes) | SavedValue::Dated(bytes) => bytes,
        }
    }

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
