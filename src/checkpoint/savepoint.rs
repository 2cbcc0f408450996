//! Copies of a checkpoint: to a directory of its own, where it is a savepoint, and from there.
//!
//! A savepoint is a directory with one checkpoint: its manifest, and every file that the manifest names. The manifest is
//! written last, so a copy that was interrupted is no checkpoint.

use std::io;
use std::path::Path;

use crate::checkpoint::catalog::Catalog;
use crate::checkpoint::directory::DirectoryStorage;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::manifest::{Manifest, SnapshotFile};
use crate::checkpoint::names::manifest_name;
use crate::checkpoint::reader::CheckpointReader;
use crate::checkpoint::storage::CheckpointStorage;
use crate::checkpoint::stored::StoredSnapshots;

/// Copies a checkpoint that was published to a directory, which must be empty or not there.
pub(super) fn export(
    catalog: &mut Catalog,
    manifest: &Manifest,
    directory: &Path,
) -> Result<(), CheckpointError> {
    let mut target = DirectoryStorage::open(directory, "a run that takes a savepoint")?;
    let location = target.location();
    let failed = |action, file: &str| {
        let (file, location) = (file.to_owned(), location.clone());
        move |source: io::Error| CheckpointError::Io { action, file, location, source }
    };
    if !target.list().map_err(failed("list", "*"))?.is_empty() {
        return Err(CheckpointError::NotEmpty { location });
    }
    for file in manifest.tasks.iter().flat_map(|task| &task.files) {
        copy(&catalog.snapshots(std::slice::from_ref(file)), file, &mut target, &location)?;
    }
    let name = manifest_name(manifest.checkpoint);
    target.publish(&name, &manifest.encode()).map_err(failed("write", &name))
}

/// Copies the checkpoint of a savepoint to a storage that has no checkpoint that counts. Afterwards it counts there.
pub(super) fn import(catalog: &mut Catalog, directory: &Path) -> Result<Manifest, CheckpointError> {
    let savepoint = CheckpointReader::open(directory)?;
    let manifest = savepoint.manifest(None)?;
    let name = manifest_name(manifest.checkpoint);
    catalog.check_topology_in(&name, savepoint.location(), &manifest.topology)?;
    for file in manifest.tasks.iter().flat_map(|task| &task.files) {
        // One that an interrupted copy left is not appended to.
        let name = std::slice::from_ref(&file.name);
        catalog.storage.delete(name).map_err(catalog.failed("delete", &file.name))?;
        let location = catalog.location();
        copy(&savepoint.snapshots(std::slice::from_ref(file)), file, &mut *catalog.storage, &location)?;
    }
    catalog.storage.publish(&name, &manifest.encode()).map_err(catalog.failed("write", &name))?;
    let mut record = catalog.read_epoch()?;
    record.kept = vec![manifest.checkpoint];
    record.epoch = record.epoch.max(manifest.checkpoint.epoch);
    record.since = record.since.max(record.epoch + 1);
    catalog.write_epoch(&record)?;
    Ok(manifest)
}

/// Copies a file to a storage, a piece at a time. If that fails, a part of it may be there, which no manifest names.
fn copy(
    source: &StoredSnapshots,
    file: &SnapshotFile,
    target: &mut dyn CheckpointStorage,
    location: &str,
) -> Result<(), CheckpointError> {
    let name = &file.name;
    let failed = |source| {
        let (file, location) = (name.clone(), location.to_owned());
        CheckpointError::Io { action: "write", file, location, source }
    };
    let copied = source.copy(&mut |piece| target.append(name, piece).map_err(failed));
    copied.inspect_err(|_| target.abandon(name))?;
    target.seal(name).map_err(failed)
}
