//! `[state]` and `state` of bolts: where what bolts keep by key is.

use std::fmt;
use std::path::PathBuf;

/// What keeps the state of a task while it runs. What survives the process is the checkpoint, whatever this is.
///
/// # Examples
/// ```
/// use squall::config::StateBackendKind;
/// assert_eq!(StateBackendKind::default().to_string(), "memory");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StateBackendKind {
    /// Memory. The fastest, and the state must fit.
    #[default]
    Memory,
    /// Memory for the keys that are in use, and a file for the others: for state that is larger than memory.
    Redb,
}

impl StateBackendKind {
    /// The names that it has in documents.
    pub(crate) const NAMES: &[&str] = &["memory", "redb"];

    /// The one with this name.
    pub(crate) fn named(name: &str) -> StateBackendKind {
        if name == "redb" { StateBackendKind::Redb } else { StateBackendKind::Memory }
    }
}

impl fmt::Display for StateBackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateBackendKind::Memory => "memory",
            StateBackendKind::Redb => "redb",
        })
    }
}

/// `[state]`: where what bolts keep by key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// `backend`.
    pub backend: StateBackendKind,
    /// `memory`: bytes of state that a task keeps in memory, about, if its backend is not [`StateBackendKind::Memory`].
    pub memory: u64,
    /// `directory`: where the files of backends are. `None`: a directory of its own below the user's state directory,
    /// `$XDG_STATE_HOME/squall/<topology>/state`, or `~/.local/state/squall/<topology>/state` where that variable is
    /// not set.
    pub directory: Option<PathBuf>,
}

impl Default for StateOptions {
    fn default() -> StateOptions {
        StateOptions { backend: StateBackendKind::default(), memory: 64 << 20, directory: None }
    }
}

impl StateOptions {
    /// The backend of a bolt with these options, and the bytes that each of its tasks keeps in memory.
    ///
    /// # Examples
    /// ```
    /// use squall::config::{BoltStateOptions, StateBackendKind, StateOptions};
    ///
    /// let bolt = BoltStateOptions { backend: Some(StateBackendKind::Redb), memory: None };
    /// assert_eq!(StateOptions::default().of_bolt(&bolt), (StateBackendKind::Redb, 64 << 20));
    /// ```
    pub fn of_bolt(&self, bolt: &BoltStateOptions) -> (StateBackendKind, u64) {
        (bolt.backend.unwrap_or(self.backend), bolt.memory.unwrap_or(self.memory))
    }
}

/// `state` of a bolt: what it overrides of [`StateOptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoltStateOptions {
    /// `backend`.
    pub backend: Option<StateBackendKind>,
    /// `memory`.
    pub memory: Option<u64>,
}

/// `mode` of `[state.NAME]`: what is stored beside a value, so that a batch that comes again after a crash is counted once.
///
/// # Examples
/// ```
/// use squall::config::StateMode;
/// assert_eq!(StateMode::default().to_string(), "opaque");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StateMode {
    /// Nothing: a batch may be counted twice.
    NonTransactional,
    /// The last transaction: a batch that comes again is skipped.
    Transactional,
    /// The last transaction, and the value before it: a batch that comes again is counted anew.
    #[default]
    Opaque,
}

impl StateMode {
    /// The names that it has in documents.
    pub(crate) const NAMES: &[&str] = &["non-transactional", "transactional", "opaque"];

    /// The one with this name.
    pub(crate) fn named(name: &str) -> Option<StateMode> {
        match name {
            "non-transactional" => Some(StateMode::NonTransactional),
            "transactional" => Some(StateMode::Transactional),
            "opaque" => Some(StateMode::Opaque),
            _ => None,
        }
    }
}

impl fmt::Display for StateMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateMode::NonTransactional => "non-transactional",
            StateMode::Transactional => "transactional",
            StateMode::Opaque => "opaque",
        })
    }
}
