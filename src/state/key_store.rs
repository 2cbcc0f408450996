//! Where the state of keys is kept that is not in memory: the store of a task.
//!
//! A store is working storage. It holds what a task has put out of memory, is empty when the task begins, and is of
//! no use to anybody after the process has ended: what survives is the checkpoint. So a store never waits for a disk
//! to have written anything.
//!
//! [`StateBackend`] opens the store of a task. `redb_store` has the one that `backend = "redb"` uses, on a simulated disk in
//! simulations; the backend `memory` has none.

use std::collections::BTreeMap;

/// Why a store could not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{why}")]
pub(crate) struct StoreError {
    pub(super) why: String,
    /// Whether no other attempt can succeed.
    pub(crate) is_permanent: bool,
}

impl StoreError {
    pub(crate) fn new(why: impl ToString) -> StoreError {
        StoreError { why: why.to_string(), is_permanent: false }
    }

    /// What waiting cannot mend.
    pub(crate) fn permanent(why: impl ToString) -> StoreError {
        StoreError { why: why.to_string(), is_permanent: true }
    }
}

/// What becomes of the entry of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreChange {
    /// The bytes that are kept for the key; `None` if nothing is kept any more.
    pub(crate) entry: Option<Vec<u8>>,
    /// Whether the state of the key has changed since the last snapshot began.
    pub(crate) is_changed: bool,
}

/// Changes by the bytes of their keys.
pub(crate) type StoreChanges = BTreeMap<Vec<u8>, StoreChange>;

/// Keeps bytes by key, for one task. Calls may read and write a disk.
pub(crate) trait KeyStore: Send {
    /// What is kept for a key.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Carries out all of these changes, or none of them if there is an error. Those that are marked as changed are
    /// noted under the number of the last snapshot that has begun. What is noted under earlier numbers is forgotten.
    fn write(&mut self, snapshot: u32, changes: &StoreChanges) -> Result<(), StoreError>;

    /// What is kept now, whatever is written later.
    fn view(&mut self, of: ViewOf<'_>) -> Result<Box<dyn StoreView>, StoreError>;

    /// Forgets everything.
    fn clear(&mut self) -> Result<(), StoreError>;
}

/// What a view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewOf<'k> {
    /// All keys.
    Everything,
    /// The keys whose bytes come after these.
    KeysAfter(&'k [u8]),
    /// The keys whose changes were noted under this number.
    ChangesAfter(u32),
}

/// The bytes of a key, and its entry. In a view of changes, the entry of a key that has nothing any more is `None`.
pub(crate) type ViewedKey = (Vec<u8>, Option<Vec<u8>>);

/// The entries of a store at one time, in the order of the bytes of their keys.
pub(crate) trait StoreView: Send {
    /// The next key with its entry.
    fn next(&mut self) -> Result<Option<ViewedKey>, StoreError>;
}

/// Opens the stores of tasks: the backend of a component's state.
pub(crate) trait StateBackend: Send + Sync {
    /// An empty store for a task, which keeps up to `memory` bytes in memory besides what is on disk.
    fn open(&self, memory: usize) -> Result<Box<dyn KeyStore>, StoreError>;
}
