//! The store `memory`: for tests, and for runs of one process whose totals end with it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{BackingMap, MapKey, MapOpening, MapWriter, StateStore, Stored, TaskError};

#[derive(Default)]
struct Entries {
    stored: HashMap<MapKey, Stored>,
    writers: BTreeMap<u32, MapWriter>,
}

/// A map in memory. Its clones share what it has.
///
/// # Examples
/// ```
/// use squall::Value;
/// use squall::api::{BackingMap, Stored};
/// use squall::trident::MemoryMap;
///
/// let mut map = MemoryMap::default();
/// let storm = vec![Value::from("storm")];
/// map.multi_put(&[(storm.clone(), Stored { value: Value::from(3), ..Stored::default() })])?;
/// assert_eq!(map.clone().multi_get(&[storm])?[0].as_ref().unwrap().value, Value::from(3));
/// # Ok::<(), squall::prelude::TaskError>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryMap(Arc<Mutex<Entries>>);

impl MemoryMap {
    fn with<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything it has, in the order of its keys.
    ///
    /// # Examples
    /// ```
    /// assert!(squall::trident::MemoryMap::default().entries().is_empty());
    /// ```
    pub fn entries(&self) -> BTreeMap<MapKey, Stored> {
        let all = |entries: &mut Entries| entries.stored.clone();
        self.with(all).into_iter().collect()
    }
}

impl fmt::Debug for MemoryMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

impl BackingMap for MemoryMap {
    fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Option<Stored>>, TaskError> {
        Ok(self.with(|entries| keys.iter().map(|key| entries.stored.get(key).cloned()).collect()))
    }

    fn multi_put(&mut self, put: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        self.with(|entries| entries.stored.extend(put.iter().cloned()));
        Ok(())
    }

    fn writers(&mut self) -> Result<Option<Vec<MapWriter>>, TaskError> {
        Ok(Some(self.with(|entries| entries.writers.values().copied().collect())))
    }

    fn claim(&mut self, found: Option<&MapWriter>, writer: &MapWriter) -> Result<bool, TaskError> {
        Ok(self.with(|entries| {
            let is_same = entries.writers.get(&writer.task) == found;
            if is_same {
                entries.writers.insert(writer.task, *writer);
            }
            is_same
        }))
    }

    fn put_as(&mut self, writer: &MapWriter, put: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        self.with(|entries| {
            let found = entries.writers.get(&writer.task).filter(|found| found.is_same_instance(writer));
            found.ok_or_else(|| writer.taken_over())?;
            entries.stored.extend(put.iter().cloned());
            entries.writers.insert(writer.task, *writer);
            Ok(())
        })
    }
}

/// Settings of [`MemoryStore`]: it has none.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemorySettings {}

/// The store `memory`: one map for all tasks of a process.
///
/// # Examples
/// ```
/// use squall::api::StateStore;
/// assert!(squall::trident::MemoryStore::default().is_local());
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(pub MemoryMap);

impl StateStore for MemoryStore {
    fn open(&self, _: &MapOpening<'_>) -> Result<Box<dyn BackingMap>, TaskError> {
        Ok(Box::new(self.0.clone()))
    }

    fn is_local(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CheckpointId;

    #[test]
    fn a_claim_compares_what_is_there() {
        let mut map = MemoryMap::default();
        let writer =
            MapWriter { task: 0, lineage: 1, owner: 1, txid: 0, checkpoint: CheckpointId::default() };
        let other = MapWriter { owner: 2, ..writer };
        assert_eq!(map.claim(Some(&other), &writer).ok(), Some(false), "nothing is there yet");
        assert_eq!(map.claim(None, &writer).ok(), Some(true));
        assert_eq!(map.claim(None, &other).ok(), Some(false));
        assert_eq!(map.writers().ok().flatten(), Some(vec![writer]));
        assert_eq!(map.claim(Some(&writer), &other).ok(), Some(true));
    }
}
