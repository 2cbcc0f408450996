//! What is found by its name: the epoch, and the manifests.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use bytes::Bytes;
use smol_str::SmolStr;

use crate::checkpoint::epoch::{EPOCH_MAX, EpochRecord};
use crate::checkpoint::error::{CheckpointError, damaged};
use crate::checkpoint::manifest::{MANIFEST_MAX, Manifest, SnapshotFile};
use crate::checkpoint::names::{EPOCH, manifest_name, manifest_of};
use crate::checkpoint::storage::CheckpointStorage;
use crate::checkpoint::stored::StoredSnapshots;
use crate::ids::CheckpointId;

/// The storage of a topology, and what its small files state.
pub(super) struct Catalog {
    pub(super) storage: Box<dyn CheckpointStorage>,
    /// What is of another topology is refused.
    pub(super) topology: SmolStr,
}

impl Catalog {
    /// Takes the next epoch. What counts stays as it is. Manifests are checked as by
    /// [`read_manifests`](Self::read_manifests).
    pub(super) fn claim(&mut self, until: Option<CheckpointId>) -> Result<EpochRecord, CheckpointError> {
        let mut record = self.read_epoch()?;
        self.read_manifests(&record, until)?;
        let published = self.ids(&record)?.last().map_or(0, |checkpoint| checkpoint.epoch);
        let highest = record.epoch.max(published);
        record.epoch = highest
            .checked_add(1)
            .ok_or_else(|| damaged("it states the highest epoch that can be").of(EPOCH, self.location()))?;
        self.write_epoch(&record)?;
        Ok(record)
    }

    pub(super) fn read_epoch(&mut self) -> Result<EpochRecord, CheckpointError> {
        let bytes = match self.storage.read(EPOCH, EPOCH_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(EpochRecord::new(self.topology.clone()));
            }
            Err(error) => return Err(self.failed_read(EPOCH, error)),
        };
        let record = EpochRecord::decode(&bytes).map_err(|flaw| flaw.of(EPOCH, self.location()))?;
        self.check_topology(EPOCH, &record.topology)?;
        Ok(record)
    }

    pub(super) fn write_epoch(&mut self, record: &EpochRecord) -> Result<(), CheckpointError> {
        self.storage.publish(EPOCH, &record.encode()).map_err(self.failed("write", EPOCH))
    }

    /// The checkpoints that count, by the names of their manifests.
    pub(super) fn ids(&mut self, record: &EpochRecord) -> Result<BTreeSet<CheckpointId>, CheckpointError> {
        let names = self.storage.list().map_err(self.failed("list", "manifest-*.json"))?;
        let ids = names.iter().filter_map(|name| manifest_of(name));
        Ok(ids.filter(|id| record.counts(*id)).collect())
    }

    /// The manifests that count, oldest first; those after `until` are not looked at.
    pub(super) fn read_manifests(
        &mut self,
        record: &EpochRecord,
        until: Option<CheckpointId>,
    ) -> Result<Vec<Manifest>, CheckpointError> {
        let ids = self.ids(record)?.into_iter().filter(|id| until.is_none_or(|until| *id <= until));
        ids.map(|id| self.read_manifest(id)).collect()
    }

    pub(super) fn read_manifest(&mut self, checkpoint: CheckpointId) -> Result<Manifest, CheckpointError> {
        let name = manifest_name(checkpoint);
        let bytes = self.storage.read(&name, MANIFEST_MAX).map_err(|error| self.failed_read(&name, error))?;
        let decoded = Manifest::decode_of(checkpoint, &bytes);
        let manifest = decoded.map_err(|flaw| flaw.of(&name, self.location()))?;
        self.check_topology(&name, &manifest.topology)?;
        Ok(manifest)
    }

    /// Snapshot files that a manifest names, to be read.
    pub(super) fn snapshots(&self, files: &[SnapshotFile]) -> StoredSnapshots {
        StoredSnapshots::new(self.storage.files(), &self.location(), files)
    }

    /// The chunks of a snapshot file, all of which were checked.
    pub(super) fn read_snapshot(&self, file: &SnapshotFile) -> Result<Vec<Bytes>, CheckpointError> {
        let mut chunks = Vec::new();
        self.snapshots(std::slice::from_ref(file)).for_each_chunk(|chunk| {
            chunks.push(Bytes::copy_from_slice(chunk));
            Ok::<(), CheckpointError>(())
        })?;
        Ok(chunks)
    }

    pub(super) fn check_topology(&self, file: &str, found: &SmolStr) -> Result<(), CheckpointError> {
        self.check_topology_in(file, &self.location(), found)
    }

    /// Refuses a file in this place, if it is of another topology.
    pub(super) fn check_topology_in(
        &self,
        file: &str,
        location: &str,
        found: &SmolStr,
    ) -> Result<(), CheckpointError> {
        if *found == self.topology {
            return Ok(());
        }
        let (file, location) = (file.to_owned(), location.to_owned());
        let (expected, found) = (self.topology.clone(), found.clone());
        Err(CheckpointError::ForeignTopology { file, location, expected, found })
    }

    /// Refuses when a later epoch than this one has begun.
    pub(super) fn check_epoch(&mut self, own: u64) -> Result<(), CheckpointError> {
        let current = self.read_epoch()?.epoch;
        let location = self.location();
        match current.cmp(&own) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(CheckpointError::Fenced { location, epoch: own, current }),
            Ordering::Less => {
                let flaw = format!("epoch {own} was begun and is not in it, so it was removed or replaced");
                Err(damaged(flaw).of(EPOCH, location))
            }
        }
    }

    /// What a message calls the storage.
    pub(super) fn location(&self) -> String {
        self.storage.location()
    }

    /// The error about an operation of the storage.
    pub(super) fn failed(
        &self,
        action: &'static str,
        file: &str,
    ) -> impl FnOnce(io::Error) -> CheckpointError + use<> {
        let (file, location) = (file.to_owned(), self.location());
        move |source| CheckpointError::Io { action, file, location, source }
    }

    /// The error about a small file that could not be read. One that is too long was not written by squall.
    fn failed_read(&self, file: &str, error: io::Error) -> CheckpointError {
        match error.kind() {
            ErrorKind::FileTooLarge => damaged(error.to_string()).of(file, self.location()),
            _ => self.failed("read", file)(error),
        }
    }
}
