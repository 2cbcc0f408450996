//! A store in memory that outlives the processes that use it, and that breaks at any of its calls.
//!
//! *Plain*: it has nothing but entries, and a call that breaks may have put half of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::{BackingMap, MapKey, MapOpening, MapWriter, StateStore, Stored, TaskError};
use crate::tuple::Value;

/// How much of a call is done when it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Nothing,
    /// Of a plain store. Of others: everything.
    Half,
    Everything,
}

#[derive(Default)]
pub(super) struct StoreState {
    pub(super) entries: HashMap<MapKey, Stored>,
    pub(super) writers: BTreeMap<u32, MapWriter>,
    /// What another instance puts just before the next claim.
    pub(super) put_before_claim: Option<MapWriter>,
    is_plain: bool,
    /// The calls so far.
    pub(super) calls: usize,
    /// At this call it breaks.
    pub(super) breaks_at: Option<(usize, Done)>,
    /// It answers nobody.
    pub(super) is_away: bool,
    /// Every value that was put for a key.
    pub(super) values: BTreeSet<(MapKey, Value)>,
    /// The ids of batches in the order in which they came, with their tasks.
    pub(super) put: Vec<(u32, u64)>,
}

#[derive(Clone, Default)]
pub(super) struct TestStore(Arc<Mutex<StoreState>>);

fn away() -> TaskError {
    TaskError::new("the store is away")
}

impl TestStore {
    pub(super) fn plain() -> TestStore {
        let store = TestStore::default();
        store.lock().is_plain = true;
        store
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, StoreState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The totals by the first field of their keys.
    pub(super) fn totals(&self) -> BTreeMap<String, i64> {
        let state = self.lock();
        let total = |(key, stored): (&MapKey, &Stored)| {
            (key[0].to_string(), stored.value.as_i64().unwrap_or_else(|| panic!("{stored}")))
        };
        state.entries.iter().map(total).collect()
    }

    fn call<T>(
        &self,
        does: impl FnOnce(&mut StoreState, Done) -> Result<T, TaskError>,
    ) -> Result<T, TaskError> {
        let state = &mut *self.lock();
        state.calls += 1;
        let breaks = state.breaks_at.filter(|(at, _)| *at == state.calls).map(|(_, done)| done);
        if state.is_away || breaks == Some(Done::Nothing) {
            state.is_away = true;
            return Err(away());
        }
        let done = does(state, breaks.unwrap_or(Done::Everything));
        if breaks.is_some() {
            state.is_away = true;
            return Err(away());
        }
        done
    }
}

impl StoreState {
    fn put(&mut self, entries: &[(MapKey, Stored)], done: Done) {
        let count = if self.is_plain && done == Done::Half { entries.len() / 2 } else { entries.len() };
        self.values.extend(entries[..count].iter().map(|(key, stored)| (key.clone(), stored.value.clone())));
        self.entries.extend(entries[..count].iter().cloned());
    }
}

impl BackingMap for TestStore {
    fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Option<Stored>>, TaskError> {
        self.call(|state, _| Ok(keys.iter().map(|key| state.entries.get(key).cloned()).collect()))
    }

    fn multi_put(&mut self, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        self.call(|state, done| {
            state.put(entries, done);
            Ok(())
        })
    }

    fn writers(&mut self) -> Result<Option<Vec<MapWriter>>, TaskError> {
        self.call(|state, _| Ok((!state.is_plain).then(|| state.writers.values().copied().collect())))
    }

    fn claim(&mut self, found: Option<&MapWriter>, writer: &MapWriter) -> Result<bool, TaskError> {
        self.call(|state, _| {
            if let Some(zombie) = state.put_before_claim.take() {
                state.writers.insert(zombie.task, zombie);
            }
            let is_same = state.is_plain || state.writers.get(&writer.task) == found;
            if is_same {
                state.writers.insert(writer.task, *writer);
            }
            Ok(is_same)
        })
    }

    fn put_as(&mut self, writer: &MapWriter, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        self.call(|state, done| {
            if !state.is_plain {
                let found = state.writers.get(&writer.task).filter(|found| found.is_same_instance(writer));
                found.ok_or_else(|| writer.taken_over())?;
                state.writers.insert(writer.task, *writer);
            }
            state.put.push((writer.task, writer.txid));
            state.put(entries, done);
            Ok(())
        })
    }
}

impl StateStore for TestStore {
    fn open(&self, _: &MapOpening<'_>) -> Result<Box<dyn BackingMap>, TaskError> {
        Ok(Box::new(self.clone()))
    }
}
