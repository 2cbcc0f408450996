//! A backend of state that deceives the tasks that use it, as if squall had a defect.

use std::sync::Arc;

use crate::state::{KeyStore, StateBackend, StoreChanges, StoreError, StoreView, ViewOf};

/// A defect of squall that a backend can simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDefect {
    /// Keys that left memory with changes are not noted as changed, so the next checkpoint has them as they were.
    ChangesForgotten,
    /// When a task goes back, its store keeps what it had.
    NotCleared,
}

/// A backend with a defect.
pub struct DefectiveBackend {
    /// The backend.
    pub backend: Arc<dyn StateBackend>,
    /// What is wrong with it.
    pub defect: StateDefect,
}

impl StateBackend for DefectiveBackend {
    fn open(&self, memory: usize) -> Result<Box<dyn KeyStore>, StoreError> {
        Ok(Box::new(DefectiveStore { store: self.backend.open(memory)?, defect: self.defect }))
    }
}

struct DefectiveStore {
    store: Box<dyn KeyStore>,
    defect: StateDefect,
}

impl KeyStore for DefectiveStore {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }

    fn write(&mut self, snapshot: u32, changes: &StoreChanges) -> Result<(), StoreError> {
        let mut changes = changes.clone();
        if self.defect == StateDefect::ChangesForgotten {
            changes.values_mut().for_each(|change| change.is_changed = false);
        }
        self.store.write(snapshot, &changes)
    }

    fn view(&mut self, of: ViewOf<'_>) -> Result<Box<dyn StoreView>, StoreError> {
        self.store.view(of)
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        if self.defect == StateDefect::NotCleared { Ok(()) } else { self.store.clear() }
    }
}
