//! Why a task did not get its state from a checkpoint, for people.

use std::io;

use crate::checkpoint::CheckpointError;
use crate::runtime::flow::checkpoint::{StorageError, named_state};
use crate::state::{NamedState, StateError};
use crate::text::shown;

/// Why a task did not get its state.
#[derive(Debug)]
pub struct RestoreError {
    /// The reason.
    pub why: String,
    /// Whether no other attempt can succeed: not if it was the store of the state that failed.
    pub is_permanent: bool,
}

impl RestoreError {
    pub(super) fn permanent(why: String) -> RestoreError {
        RestoreError { why, is_permanent: true }
    }
}

/// Why the state of a task was not read.
pub(super) enum ReadError {
    /// What was read does not fit what the component registers.
    Misfit(StateError),
    /// A file of the checkpoint could not be read.
    Unread(CheckpointError),
    /// What was dealt out of it could not be read.
    Lost(io::Error),
}

impl From<StateError> for ReadError {
    fn from(error: StateError) -> ReadError {
        ReadError::Misfit(error)
    }
}

impl From<CheckpointError> for ReadError {
    fn from(error: CheckpointError) -> ReadError {
        ReadError::Unread(error)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Lost(error)
    }
}

impl ReadError {
    /// The error of a task of this component.
    pub(super) fn of(self, component: &str) -> RestoreError {
        match self {
            ReadError::Misfit(error) => misfit(component, &error),
            ReadError::Unread(error) => {
                let StorageError { why, is_permanent } = error.into();
                RestoreError { why, is_permanent }
            }
            ReadError::Lost(error) => RestoreError {
                why: format!("what was dealt out of the checkpoint cannot be read: {}", shown(error)),
                is_permanent: false,
            },
        }
    }
}

/// What may be done about a state of a component that does not fit the checkpoint.
const REMEDY: &str = "register it as it was, or leave it behind with";

/// Why the state of a component could not be restored.
pub fn misfit(component: &str, error: &StateError) -> RestoreError {
    let flag = |state: &str| format!("`--allow-dropped-state {}`", named_state(component, state));
    let named = |states: &[NamedState]| match states.is_empty() {
        true => format!("no state of `{component}`"),
        false => listed(states.iter().map(|state| {
            let NamedState { name, shape } = state;
            format!("`{}` ({shape})", named_state(component, name))
        })),
    };
    let why = match error {
        StateError::NotRegistered { states, registered } => format!(
            "the checkpoint has {}, and the topology has {}: {REMEDY} {}",
            named(states),
            named(registered),
            listed(states.iter().map(|state| flag(&state.name)))
        ),
        StateError::KindChanged { state, .. } | StateError::Unreadable { state, .. } => {
            format!("{error}; {REMEDY} {}", flag(state))
        }
        error => error.to_string(),
    };
    RestoreError { why, is_permanent: !matches!(error, StateError::Store { .. }) }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
