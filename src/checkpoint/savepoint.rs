//! Copies of a checkpoint: to a directory of its own, where it is a savepoint, and from there.
//!
//! A savepoint is a directory with one checkpoint: its manifest, and every file that the manifest names. The manifest is
//! written last, so a copy that was interrupted is no checkpoint.

use std::io;
use std::path::Path;

use crate::checkpoint::catalog::Catalog;
use crate::checkpoint::directory::DirectoryStorage;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::names::manifest_name;
use crate::checkpoint::reader::CheckpointReader;
use crate::checkpoint::storage::CheckpointStorage as _;

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
        let bytes = catalog.checked_bytes(file)?;
        target.publish(&file.name, &bytes).map_err(failed("write", &file.name))?;
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
        let bytes = savepoint.checked_bytes(file)?;
        catalog.storage.publish(&file.name, &bytes).map_err(catalog.failed("write", &file.name))?;
    }
    catalog.storage.publish(&name, &manifest.encode()).map_err(catalog.failed("write", &name))?;
    let mut record = catalog.read_epoch()?;
    record.kept = vec![manifest.checkpoint];
    record.epoch = record.epoch.max(manifest.checkpoint.epoch);
    record.since = record.since.max(record.epoch + 1);
    catalog.write_epoch(&record)?;
    Ok(manifest)
}
