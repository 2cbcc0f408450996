//! The states that a component has registered.

use std::any::{TypeId, type_name};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::state::columns::Column;
use crate::state::error::{NamedState, StateError};
use crate::state::ttl::Ttl;
use crate::text::shown;

/// The longest name of a state.
const NAME_MAX: usize = 64;

/// How a state is organised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// A timer in event time for each key.
    #[serde(rename = "event-timer")]
    EventTimer,
}

impl StateKind {
    /// All kinds.
    pub(crate) const ALL: [StateKind; 6] = [
        StateKind::Value,
        StateKind::Map,
        StateKind::List,
        StateKind::Operator,
        StateKind::Timer,
        StateKind::EventTimer,
    ];

    /// Whether it is kept by key.
    pub fn is_keyed(self) -> bool {
        match self {
            StateKind::Value
            | StateKind::Map
            | StateKind::List
            | StateKind::Timer
            | StateKind::EventTimer => true,
            StateKind::Operator => false,
        }
    }

    /// Whether it has timers, of either kind.
    pub(crate) fn is_timer(self) -> bool {
        match self {
            StateKind::Timer | StateKind::EventTimer => true,
            StateKind::Value | StateKind::Map | StateKind::List | StateKind::Operator => false,
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
            StateKind::EventTimer => "event-timer",
        })
    }
}

/// A state of a task, for people who look at its checkpoints.
///
/// # Examples
/// ```
/// use squall::state::{StateDescription, StateKind};
///
/// let counts: StateDescription = serde_json::from_str(r#"{"name": "counts", "kind": "value", "type": "i64"}"#)?;
/// assert_eq!((counts.name.as_str(), counts.kind), ("counts", StateKind::Value));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDescription {
    /// The name that it is registered by.
    pub name: SmolStr,
    /// How it is organised.
    pub kind: StateKind,
    /// The Rust types of what it holds, as the compiler that built the topology prints them: `i64`, or
    /// `u64, alloc::string::String` for a map. A timer has none.
    #[serde(rename = "type")]
    pub rust_type: String,
}

/// Who gets operator state if the number of tasks has changed at a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OperatorSharing {
    /// The items of all tasks are dealt out in turn.
    #[default]
    Dealt,
    /// Each task keeps its own; what tasks had that are gone goes to others.
    Own,
    /// Each task gets the items of all, and takes what belongs to it.
    ForAll,
}

/// One state.
#[derive(Clone)]
pub(super) struct Registration {
    pub(super) name: SmolStr,
    pub(super) kind: StateKind,
    cells: TypeId,
    cells_name: &'static str,
    /// How long its entries live; `None`: until they are removed.
    pub(super) ttl: Option<Ttl>,
    /// Of operator state: who gets it when the number of tasks has changed.
    pub(super) sharing: OperatorSharing,
    /// Makes the column that the state is kept in.
    pub(super) make: Arc<dyn Fn() -> Box<dyn Column> + Send + Sync>,
}

impl Registration {
    /// Whether its times are event time.
    pub(super) fn is_in_event_time(&self) -> bool {
        self.kind == StateKind::EventTimer || self.ttl.is_some_and(|ttl| ttl.counts_event_time())
    }

    pub(super) fn described(&self) -> StateDescription {
        StateDescription { name: self.name.clone(), kind: self.kind, rust_type: self.of().to_owned() }
    }

    /// The Rust types of what it holds: `i64`. A timer has none.
    pub(super) fn of(&self) -> &'static str {
        let of = self.cells_name.split_once('<').and_then(|(_, of)| of.strip_suffix('>'));
        of.unwrap_or_default()
    }

    pub(super) fn shown(&self) -> String {
        let shown = shown_type(&self.kind.to_string(), self.of());
        self.ttl.map_or_else(|| shown.clone(), |ttl| format!("{shown} with {ttl}"))
    }
}

/// A kind, and what the state holds: `value<i64>`.
pub(super) fn shown_type(kind: &str, of: &str) -> String {
    if of.is_empty() { kind.to_owned() } else { format!("{kind}<{of}>") }
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
        self.add::<C>(name, kind, None, Arc::new(|| Box::new(C::default())))
    }

    /// The same for operator state that is shared in this way.
    pub(crate) fn register_operator<C: Column + Default>(
        &self,
        name: &str,
        sharing: OperatorSharing,
    ) -> Result<u32, StateError> {
        let number = self.register::<C>(name, StateKind::Operator)?;
        self.registered().states[number as usize].sharing = sharing;
        Ok(number)
    }

    /// The same for a state whose entries expire.
    pub(crate) fn register_expiring<C: Column + From<Ttl>>(
        &self,
        name: &str,
        kind: StateKind,
        ttl: Ttl,
    ) -> Result<u32, StateError> {
        if !ttl.is_valid() {
            return Err(StateError::Ttl { period: ttl.period() });
        }
        self.add::<C>(name, kind, Some(ttl), Arc::new(move || Box::new(C::from(ttl))))
    }

    fn add<C: Column>(
        &self,
        name: &str,
        kind: StateKind,
        ttl: Option<Ttl>,
        make: Arc<dyn Fn() -> Box<dyn Column> + Send + Sync>,
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
            ttl,
            sharing: OperatorSharing::default(),
            make,
        };
        let mut registered = self.registered();
        let states = &mut registered.states;
        let Some(at) = states.iter().position(|state| state.name == new.name) else {
            states.push(new);
            return Ok(states.len() as u32 - 1);
        };
        let old = &states[at];
        if (old.kind, old.cells, old.ttl) != (new.kind, new.cells, new.ttl) {
            let state = old.name.clone();
            return Err(StateError::Retyped { state, old: old.shown(), new: new.shown() });
        }
        Ok(at as u32)
    }

    /// Whether all these states of a checkpoint are registered, each as what it is there.
    ///
    /// # Errors
    /// Those that are not, or one that is of another kind.
    pub(crate) fn check(&self, kept: &[&StateDescription]) -> Result<(), StateError> {
        let registered = &self.registered().states;
        let find = |state: &StateDescription| registered.iter().find(|known| known.name == state.name);
        let shape = |state: &StateDescription| shown_type(&state.kind.to_string(), &state.rust_type);
        let unknown = kept.iter().filter(|state| find(state).is_none());
        let states: Box<[_]> = unknown.map(|state| NamedState::new(&state.name, &shape(state))).collect();
        if !states.is_empty() {
            let registered = registered.iter().map(|state| NamedState::new(&state.name, &state.shown()));
            return Err(StateError::NotRegistered { states, registered: registered.collect() });
        }
        for state in kept {
            if let Some(known) = find(state).filter(|known| known.kind != state.kind) {
                let (old, new) = (shown(shape(state)).into(), known.shown().into());
                return Err(StateError::KindChanged { state: known.name.clone(), old, new });
            }
        }
        Ok(())
    }

    /// The first state that counts event time.
    pub(crate) fn in_event_time(&self) -> Option<SmolStr> {
        let registered = self.registered();
        let counts = registered.states.iter().find(|state| state.is_in_event_time());
        counts.map(|state| state.name.clone())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{ListCells, ValueCells};

    #[test]
    fn a_name_has_one_type() {
        let registry = StateRegistry::default();
        let first = registry.register::<ValueCells<i64>>("counts", StateKind::Value);
        assert_eq!(first, registry.register::<ValueCells<i64>>("counts", StateKind::Value));
        let text = |error: StateError| error.to_string();
        let other = registry.register::<ValueCells<String>>("counts", StateKind::Value).map_err(text);
        let expected =
            "state `counts` is value<i64>, and is registered once more as value<alloc::string::String>";
        assert_eq!(other, Err(expected.to_owned()));
        let kind = registry.register::<ListCells<i64>>("counts", StateKind::List).map_err(text);
        assert!(kind.is_err_and(|text| text.contains("list<i64>")));
        for name in ["", "a b", "ä", &"x".repeat(65)] {
            let refused = registry.register::<ValueCells<i64>>(name, StateKind::Value);
            assert!(matches!(refused, Err(StateError::Name { .. })), "{name}");
        }
    }
}
