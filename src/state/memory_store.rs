//! A store that keeps everything in memory, and a backend of such stores: for tests of this module, whose thousands of cases
//! would take too long with `redb`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::state::key_store::{
    KeyStore, StateBackend, StoreChanges, StoreError, StoreView, ViewOf, ViewedKey,
};

/// The disk under the stores of a test: whether it can be read and written now.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryBackend {
    is_full: Arc<AtomicBool>,
    is_unreadable: Arc<AtomicBool>,
}

impl MemoryBackend {
    /// From now on nothing can be written, or it can again.
    pub(super) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// From now on nothing can be read, or it can again.
    pub(super) fn set_unreadable(&self, is_unreadable: bool) {
        self.is_unreadable.store(is_unreadable, Ordering::Relaxed);
    }

    fn check_write(&self) -> Result<(), StoreError> {
        let is_full = self.is_full.load(Ordering::Relaxed);
        if is_full { Err(StoreError::new("no space left on device")) } else { Ok(()) }
    }

    fn check_read(&self) -> Result<(), StoreError> {
        let is_unreadable = self.is_unreadable.load(Ordering::Relaxed);
        if is_unreadable { Err(StoreError::new("input/output error")) } else { Ok(()) }
    }
}

impl StateBackend for MemoryBackend {
    fn open(&self, _memory: usize) -> Result<Box<dyn KeyStore>, StoreError> {
        self.check_write()?;
        let (entries, changes) = (BTreeMap::new(), BTreeMap::new());
        Ok(Box::new(MemoryStore { entries, changes, disk: self.clone() }))
    }
}

struct MemoryStore {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The changed keys by the number of the snapshot after which they changed.
    changes: BTreeMap<u32, BTreeSet<Vec<u8>>>,
    disk: MemoryBackend,
}

impl KeyStore for MemoryStore {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.disk.check_read()?;
        Ok(self.entries.get(key).cloned())
    }

    fn write(&mut self, snapshot: u32, changes: &StoreChanges) -> Result<(), StoreError> {
        self.disk.check_write()?;
        self.changes.retain(|number, _| *number >= snapshot);
        for (key, change) in changes {
            if change.is_changed {
                self.changes.entry(snapshot).or_default().insert(key.clone());
            }
            match &change.entry {
                Some(entry) => drop(self.entries.insert(key.clone(), entry.clone())),
                None => drop(self.entries.remove(key)),
            }
        }
        Ok(())
    }

    fn view(&mut self, of: ViewOf<'_>) -> Result<Box<dyn StoreView>, StoreError> {
        self.disk.check_read()?;
        let shown = |(key, entry): (&Vec<u8>, &Vec<u8>)| (key.clone(), Some(entry.clone()));
        let shown: Vec<_> = match of {
            ViewOf::Everything => self.entries.iter().map(shown).collect(),
            ViewOf::KeysAfter(last) => {
                self.entries.iter().filter(|(key, _)| &***key > last).map(shown).collect()
            }
            ViewOf::ChangesAfter(number) => {
                let changed = self.changes.get(&number).into_iter().flatten();
                changed.map(|key| (key.clone(), self.entries.get(key).cloned())).collect()
            }
        };
        Ok(Box::new(MemoryView(shown.into_iter())))
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.disk.check_write()?;
        self.entries.clear();
        self.changes.clear();
        Ok(())
    }
}

struct MemoryView(std::vec::IntoIter<ViewedKey>);

impl StoreView for MemoryView {
    fn next(&mut self) -> Result<Option<ViewedKey>, StoreError> {
        Ok(self.0.next())
    }
}
