//! Looks at the checkpoints in a directory that a run may be using.
//!
//! It takes no lock, writes nothing and deletes nothing, so a directory that cannot be written to is no obstacle.
//! A run may publish and delete checkpoints meanwhile:
//!
//! 1. Files are written once, and what a manifest names is durable before the manifest is there. So what is read is
//!    never half written.
//! 2. A run deletes a manifest before the files that only it named. So a file that is missing is a flaw if the
//!    manifest is still there, and otherwise the checkpoint was deleted ([`CheckpointReader::explain`]).
//! 3. A list of checkpoints is read anew if one of them was deleted meanwhile, at most [`LISTINGS_MAX`] times.
//!
//! Not here: what the chunks of a snapshot file mean (`state`).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::checkpoint::entries::{DirectoryFiles, location_of, names, open_directory, read_file};
use crate::checkpoint::epoch::{EPOCH_MAX, EpochRecord};
use crate::checkpoint::error::{CheckpointError, damaged};
use crate::checkpoint::manifest::{MANIFEST_MAX, Manifest, SnapshotFile};
use crate::checkpoint::names::{EPOCH, manifest_name, manifest_of};
use crate::checkpoint::stored::StoredSnapshots;
use crate::ids::CheckpointId;

/// How often a list is read before checkpoints that were deleted meanwhile are left out of it.
const LISTINGS_MAX: usize = 8;

/// A directory of checkpoints that is only looked at.
#[derive(Debug)]
pub(crate) struct CheckpointReader {
    files: DirectoryFiles,
    location: String,
}

/// A checkpoint in a list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) checkpoint: CheckpointId,
    /// Why the manifest cannot be used, if it cannot.
    pub(crate) manifest: Result<Manifest, CheckpointError>,
}

impl CheckpointReader {
    pub(crate) fn open(path: &Path) -> Result<CheckpointReader, CheckpointError> {
        let location = location_of(path);
        match open_directory(path) {
            Ok(directory) => {
                let files = DirectoryFiles(Arc::new(directory));
                Ok(CheckpointReader { files, location })
            }
            Err(source) => Err(CheckpointError::Unopened { location, source }),
        }
    }

    /// What messages call the directory.
    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    /// The checkpoints that count, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        for _ in 1..LISTINGS_MAX {
            let (listed, is_complete) = self.list_once()?;
            if is_complete {
                return Ok(listed);
            }
        }
        Ok(self.list_once()?.0)
    }

    /// The ids of the checkpoints that count, oldest first.
    pub(crate) fn ids(&self) -> Result<Vec<CheckpointId>, CheckpointError> {
        let epoch = self.read_epoch()?;
        let ids: BTreeSet<CheckpointId> = self.names()?.iter().filter_map(|name| manifest_of(name)).collect();
        let counts = |id: &CheckpointId| epoch.as_ref().is_none_or(|epoch| epoch.counts(*id));
        Ok(ids.into_iter().filter(counts).collect())
    }

    /// The manifest of a checkpoint; of the latest one if none is named.
    pub(crate) fn manifest(&self, wanted: Option<CheckpointId>) -> Result<Manifest, CheckpointError> {
        let mut listed = self.list()?;
        let found = match wanted {
            None => listed.pop(),
            Some(id) => {
                let at = listed.iter().position(|listed| listed.checkpoint == id);
                at.map(|at| listed.swap_remove(at))
            }
        };
        match (found, wanted) {
            (Some(listed), _) => listed.manifest,
            (None, Some(checkpoint)) => {
                let there = listed.iter().map(|listed| listed.checkpoint).collect();
                Err(CheckpointError::Unknown { checkpoint, location: self.location.clone(), there })
            }
            (None, None) => Err(CheckpointError::NoCheckpoints { location: self.location.clone() }),
        }
    }

    /// Files that a manifest names, to be read.
    pub(crate) fn snapshots(&self, files: &[SnapshotFile]) -> StoredSnapshots {
        StoredSnapshots::new(Arc::new(self.files.clone()), &self.location, files)
    }

    /// Reads and checks all files of a checkpoint.
    pub(crate) fn check_files(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        manifest.tasks.iter().try_for_each(|task| self.snapshots(&task.files).check())
    }

    /// The error to report after a file of this checkpoint could not be used: the checkpoint may have been deleted.
    pub(crate) fn explain(&self, checkpoint: CheckpointId, error: CheckpointError) -> CheckpointError {
        match self.ids() {
            Ok(there) if !there.contains(&checkpoint) => {
                CheckpointError::Deleted { checkpoint, location: self.location.clone(), there }
            }
            Ok(_) | Err(_) => error,
        }
    }

    /// The checkpoints that count, and whether all of them are still there.
    fn list_once(&self) -> Result<(Vec<Listed>, bool), CheckpointError> {
        let topology = self.read_epoch()?.map(|epoch| epoch.topology);
        let listed =
            |checkpoint| Listed { checkpoint, manifest: self.read_manifest(checkpoint, topology.as_ref()) };
        let mut listed: Vec<Listed> = self.ids()?.into_iter().map(listed).collect();
        if listed.iter().all(|listed| listed.manifest.is_ok()) {
            return Ok((listed, true));
        }
        let (there, before) = (self.ids()?, listed.len());
        listed.retain(|listed| there.contains(&listed.checkpoint));
        let is_complete = listed.len() == before;
        Ok((listed, is_complete))
    }

    fn names(&self) -> Result<Vec<String>, CheckpointError> {
        names(&self.files.0).map_err(|source| {
            let (file, location) = ("manifest-*.json".to_owned(), self.location.clone());
            CheckpointError::Io { action: "list", file, location, source }
        })
    }

    /// The record of epochs; `None` if the directory has none.
    fn read_epoch(&self) -> Result<Option<EpochRecord>, CheckpointError> {
        match self.read_small(EPOCH, EPOCH_MAX)? {
            None => Ok(None),
            Some(bytes) => {
                let record =
                    EpochRecord::decode(&bytes).map_err(|flaw| flaw.of(EPOCH, self.location.clone()))?;
                Ok(Some(record))
            }
        }
    }

    fn read_manifest(
        &self,
        checkpoint: CheckpointId,
        topology: Option<&SmolStr>,
    ) -> Result<Manifest, CheckpointError> {
        let name = manifest_name(checkpoint);
        let location = || self.location.clone();
        let Some(bytes) = self.read_small(&name, MANIFEST_MAX)? else {
            return Err(damaged("it is missing").of(&name, location()));
        };
        let manifest = Manifest::decode_of(checkpoint, &bytes).map_err(|flaw| flaw.of(&name, location()))?;
        match topology.filter(|topology| **topology != manifest.topology) {
            None => Ok(manifest),
            Some(expected) => {
                let (expected, found) = (expected.clone(), manifest.topology);
                Err(CheckpointError::ForeignTopology { file: name, location: location(), expected, found })
            }
        }
    }

    /// A file that is found by its name; `None` if it is not there. One that is too long was not written by squall.
    fn read_small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
        match read_file(&self.files.0, name, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                Err(damaged(error.to_string()).of(name, self.location.clone()))
            }
            Err(source) => {
                let (file, location) = (name.to_owned(), self.location.clone());
                Err(CheckpointError::Io { action: "read", file, location, source })
            }
        }
    }
}
