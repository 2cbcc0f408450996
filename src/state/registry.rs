//! The states that a component has registered.

use std::any::{TypeId, type_name};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol_str::SmolStr;

use crate::state::columns::Column;
use crate::state::error::StateError;

/// The longest name of a state.
const NAME_MAX: usize = 64;

/// How a state is organised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// One value for each key.
    Value,
    /// A map for each key.
    Map,
    /// A list for each key.
    List,
    /// One list of the task, without a key.
    Operator,
    /// A timer for each key.
    Timer,
}

impl StateKind {
    /// Whether it is kept by key.
    pub fn is_keyed(self) -> bool {
        match self {
            StateKind::Value | StateKind::Map | StateKind::List | StateKind::Timer => true,
            StateKind::Operator => false,
        }
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateKind::Value => "value",
            StateKind::Map => "map",
            StateKind::List => "list",
            StateKind::Operator => "operator",
            StateKind::Timer => "timer",
        })
    }
}

/// One state.
#[derive(Clone)]
pub(super) struct Registration {
    pub(super) name: SmolStr,
    pub(super) kind: StateKind,
    cells: TypeId,
    cells_name: &'static str,
    /// Makes the column that the state is kept in.
    pub(super) make: fn() -> Box<dyn Column>,
}

impl Registration {
    /// `value<i64>`.
    fn shown(&self) -> String {
        match self.cells_name.split_once('<') {
            Some((_, of)) => format!("{}<{of}", self.kind),
            None => self.kind.to_string(),
        }
    }
}

/// The states of one task, in the order of their registration. Filled by `prepare`; its clones are the same
/// registry.
#[derive(Clone, Default)]
pub struct StateRegistry(Arc<Mutex<Registered>>);

#[derive(Default)]
struct Registered {
    states: Vec<Registration>,
    names_keys: bool,
}

impl StateRegistry {
    /// Registers a state, or finds the one that was registered under this name before. Returns its number.
    pub(crate) fn register<C: Column + Default>(
        &self,
        name: &str,
        kind: StateKind,
    ) -> Result<u32, StateError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
            return Err(StateError::Name { name: name.chars().take(NAME_MAX).collect() });
        }
        let new = Registration {
            name: SmolStr::new(name),
            kind,
            cells: TypeId::of::<C>(),
            cells_name: type_name::<C>(),
            make: || Box::new(C::default()),
        };
        let mut registered = self.registered();
        let states = &mut registered.states;
        let Some(at) = states.iter().position(|state| state.name == new.name) else {
            states.push(new);
            return Ok(states.len() as u32 - 1);
        };
        let old = &states[at];
        if (old.kind, old.cells) != (new.kind, new.cells) {
            let state = old.name.clone();
            return Err(StateError::Retyped { state, old: old.shown(), new: new.shown() });
        }
        Ok(at as u32)
    }

    /// The component names its keys itself.
    pub(crate) fn name_keys(&self) {
        self.registered().names_keys = true;
    }

    /// Whether calls get the key that their input was grouped by.
    pub(super) fn takes_keys(&self) -> bool {
        let registered = self.registered();
        !registered.names_keys && registered.states.iter().any(|state| state.kind.is_keyed())
    }

    /// The states from this number on.
    pub(super) fn since(&self, number: usize) -> Vec<Registration> {
        self.registered().states.get(number..).unwrap_or_default().to_vec()
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        // Nothing that holds the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
