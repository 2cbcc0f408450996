//! A storage of checkpoints that deceives the start that uses it, as if squall had a defect.

use std::io;
use std::sync::Arc;

use crate::checkpoint::{CheckpointFiles, CheckpointStorage, EPOCH, MemoryStorage, manifest_of};

/// A defect of squall that a storage can simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreDefect {
    /// A start does not find that a later one has begun.
    FenceForgotten,
    /// A start does not find the latest manifest, if there are several.
    ManifestStale,
}

/// The storage, as one start sees it.
pub struct DefectiveStorage {
    storage: MemoryStorage,
    defect: StoreDefect,
    /// What this start wrote into [`EPOCH`] last.
    epoch: Option<Vec<u8>>,
    /// The manifest that is not found, once that was decided.
    hidden: Option<Option<String>>,
}

impl DefectiveStorage {
    /// A view of this storage with a defect.
    pub fn new(storage: MemoryStorage, defect: StoreDefect) -> DefectiveStorage {
        DefectiveStorage { storage, defect, epoch: None, hidden: None }
    }
}

impl CheckpointStorage for DefectiveStorage {
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.storage.append(name, bytes)
    }

    fn seal(&mut self, name: &str) -> io::Result<()> {
        self.storage.seal(name)
    }

    fn abandon(&mut self, name: &str) {
        self.storage.abandon(name);
    }

    fn publish(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.storage.publish(name, bytes)?;
        if name == EPOCH {
            self.epoch = Some(bytes.to_vec());
        }
        Ok(())
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        match &self.epoch {
            Some(epoch) if name == EPOCH && self.defect == StoreDefect::FenceForgotten => Ok(epoch.clone()),
            _ => self.storage.read(name, limit),
        }
    }

    fn files(&self) -> Arc<dyn CheckpointFiles> {
        self.storage.files()
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut names = self.storage.list()?;
        if self.defect == StoreDefect::ManifestStale {
            let hidden = self.hidden.get_or_insert_with(|| {
                let mut manifests: Vec<&String> =
                    names.iter().filter(|name| manifest_of(name).is_some()).collect();
                manifests.sort_by_key(|name| manifest_of(name));
                manifests.pop().filter(|_| !manifests.is_empty()).cloned()
            });
            names.retain(|name| Some(name) != hidden.as_ref());
        }
        Ok(names)
    }

    fn delete(&mut self, names: &[String]) -> io::Result<()> {
        self.storage.delete(names)
    }

    fn location(&self) -> String {
        self.storage.location()
    }
}
