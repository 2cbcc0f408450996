//! The snapshot files that a process writes, until their checkpoint is published or given up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::checkpoint::catalog::Catalog;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::manifest::SnapshotFile;
use crate::checkpoint::names::{TaskName, snapshot_name};
use crate::checkpoint::snapshot::{CHUNK_MAX, SnapshotWriter};
use crate::ids::{CheckpointId, is_legal_name};

/// The snapshot files that a process writes. They are in the storage of the catalog that is passed to each call.
#[derive(Default)]
pub(super) struct SnapshotFiles {
    /// Files that were begun and not sealed, by their names. `None`: writing failed, or the file was sealed.
    writers: BTreeMap<String, Option<SnapshotWriter>>,
    /// Files that were begun for checkpoints that were neither published nor given up.
    unpublished: BTreeMap<CheckpointId, BTreeSet<String>>,
}

impl SnapshotFiles {
    /// Appends a chunk to what a task keeps in a checkpoint.
    pub(super) fn append(
        &mut self,
        catalog: &mut Catalog,
        checkpoint: CheckpointId,
        task: &TaskName,
        chunk: &[u8],
    ) -> Result<(), CheckpointError> {
        if !is_legal_name(&task.component) {
            let flaw = format!("`{}` is no name for a component", task.component.escape_debug());
            return Err(CheckpointError::Invalid { checkpoint, flaw });
        }
        if chunk.len() > CHUNK_MAX {
            let flaw = format!("a chunk of `{task}` has {} bytes, and may have {CHUNK_MAX}", chunk.len());
            return Err(CheckpointError::Invalid { checkpoint, flaw });
        }
        let name = snapshot_name(checkpoint, task);
        self.unpublished.entry(checkpoint).or_default().insert(name.clone());
        let writer = self.writers.entry(name.clone()).or_insert_with(|| Some(SnapshotWriter::default()));
        let bytes = match writer {
            Some(writer) => writer.chunk(chunk),
            None => return Err(catalog.failed("write", &name)(failed_before())),
        };
        let written = catalog.storage.append(&name, &bytes);
        if written.is_err() {
            self.writers.insert(name.clone(), None);
        }
        written.map_err(catalog.failed("write", &name))
    }

    /// Makes durable what a task keeps in a checkpoint. `None`: it appended nothing, so there is no file.
    pub(super) fn seal(
        &mut self,
        catalog: &mut Catalog,
        checkpoint: CheckpointId,
        task: &TaskName,
    ) -> Result<Option<SnapshotFile>, CheckpointError> {
        let name = snapshot_name(checkpoint, task);
        let mut writer = match self.writers.get_mut(&name) {
            None => return Ok(None),
            // What is left is `None`, so a file whose sealing fails is not written again.
            Some(writer) => match writer.take() {
                Some(writer) => writer,
                None => return Err(catalog.failed("write", &name)(failed_before())),
            },
        };
        let (end, crc32c) = writer.end();
        let sealed = catalog.storage.append(&name, &end).and_then(|()| catalog.storage.seal(&name));
        sealed.map_err(catalog.failed("write", &name))?;
        Ok(Some(SnapshotFile { name, bytes: writer.bytes(), crc32c }))
    }

    /// Forgets the files of this checkpoint and of those before it. Returns their names.
    pub(super) fn give_up(&mut self, checkpoint: CheckpointId) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        while let Some(entry) = self.unpublished.first_entry().filter(|entry| *entry.key() <= checkpoint) {
            names.extend(entry.remove());
        }
        self.writers.retain(|name, _| !names.contains(name));
        names
    }
}

fn failed_before() -> io::Error {
    io::Error::other("an earlier write to it failed, so this checkpoint cannot be completed")
}
