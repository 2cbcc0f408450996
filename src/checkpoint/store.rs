//! Writes checkpoints, publishes them, finds them again, and deletes those that are no longer wanted.
//!
//! One file, because what is published decides what may be deleted.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fmt, io};

use bytes::Bytes;

use crate::checkpoint::catalog::Catalog;
use crate::checkpoint::epoch::EpochRecord;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::left_behind::LeftBehind;
use crate::checkpoint::manifest::{MANIFEST_MAX, Manifest, SnapshotFile};
use crate::checkpoint::names::{TaskName, manifest_name, manifest_of, snapshot_of};
use crate::checkpoint::savepoint;
use crate::checkpoint::scratch::Scratch;
use crate::checkpoint::snapshot_files::SnapshotFiles;
use crate::checkpoint::storage::CheckpointStorage;
use crate::checkpoint::stored::StoredSnapshots;
use crate::ids::CheckpointId;

/// The checkpoints of one topology.
///
/// # Examples
/// A checkpoint of one task is written, published, and read by the next start of the topology:
/// ```
/// use std::collections::BTreeMap;
/// use squall::checkpoint::{
///     CheckpointError, CheckpointStore, EventTimeEntry, Manifest, MemoryStorage, RunState, TaskEntry,
///     TaskName,
/// };
/// use squall::ids::CheckpointId;
///
/// let storage = MemoryStorage::new();
/// let mut store = CheckpointStore::open(Box::new(storage.clone()), "orders", 2)?;
/// let checkpoint = CheckpointId { epoch: store.begin_epoch()?, number: 1 };
/// let task = TaskName::new("count", 0);
/// store.append(checkpoint, &task, b"first chunk")?;
/// store.append(checkpoint, &task, b"second chunk")?;
/// let file = store.seal(checkpoint, &task)?;
///
/// let (positions, states, names_keys) = (BTreeMap::new(), Vec::new(), false);
/// let event_time = EventTimeEntry::default();
/// let files = file.into_iter().collect();
/// let component = "count".into();
/// let count =
///     TaskEntry { component, task_index: 0, tasks: 1, files, positions, states, names_keys, event_time };
/// let topology = "orders".into();
/// let (key_groups, taken_at, run, txid) = (1024, 0, RunState::Running, 1);
/// store.publish(Manifest { checkpoint, topology, key_groups, taken_at, run, txid, tasks: vec![count] })?;
///
/// storage.crash();
/// let mut store = CheckpointStore::open(Box::new(storage), "orders", 2)?;
/// let latest = store.latest().expect("it was published").clone();
/// let chunks = store.read(&latest.tasks[0].files[0])?;
/// assert_eq!(chunks, ["first chunk", "second chunk"]);
/// # Ok::<(), CheckpointError>(())
/// ```
pub struct CheckpointStore {
    catalog: Catalog,
    /// Manifests to keep.
    retain: usize,
    /// Those that are retained, oldest first.
    manifests: Vec<Manifest>,
    /// The checkpoint that the topology goes back to. Later ones are not looked at, and are given up by the next
    /// epoch; then this is `None`.
    back_to: Option<CheckpointId>,
    /// What the last epoch has given up.
    given_up: Vec<CheckpointId>,
    /// The epoch that this store has begun.
    epoch: Option<u64>,
    files: SnapshotFiles,
    /// Whether workers write snapshot files, too. Then those are found by their names.
    has_workers: bool,
    /// A checkpoint whose publication failed, and that may be there all the same.
    undecided: Option<CheckpointId>,
    /// Manifests to delete. They are deleted before any file of `garbage`.
    stale_manifests: BTreeSet<String>,
    /// Snapshot files to delete.
    garbage: BTreeSet<String>,
    /// Why something was not deleted.
    deletion_error: Option<CheckpointError>,
    /// What is not restored, on purpose.
    left_behind: LeftBehind,
}

impl CheckpointStore {
    /// Reads what is there, and changes nothing. `retain` is how many checkpoints are kept, at least 1.
    ///
    /// # Errors
    /// When the storage fails; when a manifest is damaged, newer than this squall, or of another topology.
    pub fn open(
        storage: Box<dyn CheckpointStorage>,
        topology: &str,
        retain: usize,
    ) -> Result<CheckpointStore, CheckpointError> {
        let mut store = CheckpointStore::new(storage, topology, retain);
        let record = store.catalog.read_epoch()?;
        store.manifests = store.catalog.read_manifests(&record, None)?;
        Ok(store)
    }

    /// Opens the store to go back to a checkpoint, which becomes the latest one, and changes nothing yet.
    /// [`begin_epoch`](Self::begin_epoch) gives up all later ones. Their manifests are not looked at, so a damaged one
    /// is no obstacle.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`CheckpointError::Unknown`] when there is no such checkpoint.
    pub fn open_at(
        storage: Box<dyn CheckpointStorage>,
        topology: &str,
        retain: usize,
        checkpoint: CheckpointId,
    ) -> Result<CheckpointStore, CheckpointError> {
        let mut store = CheckpointStore::new(storage, topology, retain);
        let record = store.catalog.read_epoch()?;
        let there = store.catalog.ids(&record)?;
        if !there.contains(&checkpoint) {
            let (location, there) = (store.catalog.location(), there.into_iter().collect());
            return Err(CheckpointError::Unknown { checkpoint, location, there });
        }
        store.manifests = store.catalog.read_manifests(&record, Some(checkpoint))?;
        store.back_to = Some(checkpoint);
        Ok(store)
    }

    fn new(storage: Box<dyn CheckpointStorage>, topology: &str, retain: usize) -> CheckpointStore {
        CheckpointStore {
            catalog: Catalog { storage, topology: topology.into() },
            retain: retain.max(1),
            manifests: Vec::new(),
            back_to: None,
            given_up: Vec::new(),
            epoch: None,
            files: SnapshotFiles::default(),
            has_workers: false,
            undecided: None,
            stale_manifests: BTreeSet::new(),
            garbage: BTreeSet::new(),
            deletion_error: None,
            left_behind: LeftBehind::default(),
        }
    }

    /// The checkpoints, oldest first.
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
    }

    /// The last checkpoint, from which the topology goes on.
    pub fn latest(&self) -> Option<&Manifest> {
        self.manifests.last()
    }

    /// The checkpoint whose publication failed with [`CheckpointError::Undecided`], as long as it may be there.
    pub fn undecided(&self) -> Option<CheckpointId> {
        self.undecided
    }

    /// The last checkpoint. If there is one of which nobody knows whether it is there, it is taken back first.
    ///
    /// # Errors
    /// When it cannot be taken back now.
    pub fn settle(&mut self) -> Result<Option<&Manifest>, CheckpointError> {
        if let Some(checkpoint) = self.undecided {
            self.discard(checkpoint);
        }
        match self.undecided {
            None => Ok(self.latest()),
            Some(checkpoint) => {
                let source = io::Error::other("it could not be taken back yet");
                Err(self.undecided_error(checkpoint, source))
            }
        }
    }

    /// Why files are still there that were to be deleted, for a warning. The next publication tries again. Returns
    /// an error once.
    pub fn take_deletion_error(&mut self) -> Option<CheckpointError> {
        self.deletion_error.take()
    }

    /// Begins the epoch of a start of the topology, and returns its number, which is higher than any before. It is
    /// durable. From now on, no earlier epoch can publish. Call [`latest`](Self::latest) afterwards: a checkpoint
    /// may have been published since this store was opened.
    ///
    /// Deletes what earlier epochs wrote and did not publish, and the checkpoints after the one that the store was
    /// [opened at](Self::open_at). These count until one durable write, and not any more after it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when another start begins an epoch at the same time.
    pub fn begin_epoch(&mut self) -> Result<u64, CheckpointError> {
        self.abandon();
        let claim = self.catalog.claim(self.back_to)?;
        self.manifests = self.catalog.read_manifests(&claim, self.back_to)?;
        let mut given_up = self.catalog.ids(&claim)?;
        given_up.retain(|id| self.back_to.is_some_and(|back_to| *id > back_to));
        self.catalog.check_epoch(claim.epoch)?;
        let kept = self.manifests.iter().map(|manifest| manifest.checkpoint).collect();
        self.catalog.write_epoch(&EpochRecord { since: claim.epoch, kept, ..claim.clone() })?;
        self.back_to = None;
        self.given_up = given_up.into_iter().collect();
        self.epoch = Some(claim.epoch);
        self.delete_unnamed(claim.epoch);
        Ok(claim.epoch)
    }

    /// The checkpoints that [`begin_epoch`](Self::begin_epoch) gave up, because the store was
    /// [opened at](Self::open_at) an earlier one.
    pub fn given_up(&self) -> &[CheckpointId] {
        &self.given_up
    }

    /// Gives all checkpoints up, for a fresh start that was asked for, and deletes them. None of them counts from
    /// the moment this returns, even if files could not be deleted. Epochs go on rising;
    /// [`begin_epoch`](Self::begin_epoch) comes next.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn clear(&mut self) -> Result<(), CheckpointError> {
        self.abandon();
        let claim = self.catalog.claim(None)?;
        let cleared = EpochRecord { since: claim.epoch, kept: Vec::new(), ..claim };
        self.catalog.write_epoch(&cleared)?;
        self.manifests.clear();
        self.delete_unnamed(cleared.epoch);
        Ok(())
    }

    /// Copies a checkpoint that is published to a directory, which must be empty or not there: as a savepoint.
    ///
    /// # Errors
    /// When the checkpoint is not there, or cannot be read or written.
    pub fn export(&mut self, checkpoint: CheckpointId, directory: &Path) -> Result<(), CheckpointError> {
        match self.manifests.iter().find(|manifest| manifest.checkpoint == checkpoint) {
            Some(manifest) => savepoint::export(&mut self.catalog, manifest, directory),
            None => {
                let there = self.manifests.iter().map(|manifest| manifest.checkpoint).collect();
                Err(CheckpointError::Unknown { checkpoint, location: self.catalog.location(), there })
            }
        }
    }

    /// Copies the checkpoint of a savepoint to here, where no checkpoint counts. [`begin_epoch`](Self::begin_epoch)
    /// comes next.
    ///
    /// # Errors
    /// When it cannot be read or written, or is of another topology.
    pub fn import(&mut self, directory: &Path) -> Result<(), CheckpointError> {
        self.abandon();
        self.manifests = vec![savepoint::import(&mut self.catalog, directory)?];
        Ok(())
    }

    /// Workers write snapshot files to the same place, each by a [`WorkerStore`](crate::checkpoint::WorkerStore).
    /// This store then finds by their names the files that are to be deleted.
    #[must_use]
    pub fn with_workers(mut self) -> CheckpointStore {
        self.has_workers = true;
        self
    }

    /// The run leaves this behind.
    #[must_use]
    pub fn leaving_behind(mut self, left_behind: LeftBehind) -> CheckpointStore {
        self.left_behind = left_behind;
        self
    }

    /// What the run leaves behind.
    pub fn left_behind(&self) -> &LeftBehind {
        &self.left_behind
    }

    /// Appends a chunk to what a task keeps in a checkpoint.
    ///
    /// # Errors
    /// When the storage fails; then the checkpoint cannot be published, and is to be discarded. When the checkpoint
    /// is not of the current epoch.
    pub fn append(
        &mut self,
        checkpoint: CheckpointId,
        task: &TaskName,
        chunk: &[u8],
    ) -> Result<(), CheckpointError> {
        self.check_own(checkpoint)?;
        self.files.append(&mut self.catalog, checkpoint, task, chunk)
    }

    /// Makes durable what a task keeps in a checkpoint. `None`: it appended nothing, so there is no file.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn seal(
        &mut self,
        checkpoint: CheckpointId,
        task: &TaskName,
    ) -> Result<Option<SnapshotFile>, CheckpointError> {
        self.check_own(checkpoint)?;
        self.files.seal(&mut self.catalog, checkpoint, task)
    }

    /// Publishes a checkpoint, whose files were sealed. Afterwards it is durable, and the latest. Then deletes
    /// checkpoints that are too many, and files that no retained manifest names; if that fails, it is tried again
    /// at the next publication ([`take_deletion_error`](Self::take_deletion_error)).
    ///
    /// # Errors
    /// [`CheckpointError::Undecided`] when the checkpoint may be there or not, and [`CheckpointError::Fenced`] when a
    /// later epoch has begun, which alone knows whether the checkpoint counts. After any other error it is not there:
    /// when the number is not above the last, the manifest cannot be right, or the storage fails.
    pub fn publish(&mut self, manifest: Manifest) -> Result<(), CheckpointError> {
        let checkpoint = manifest.checkpoint;
        let own = self.check_own(checkpoint)?;
        let name = manifest_name(checkpoint);
        let bytes = self.checked_bytes(&manifest, &name)?;
        self.settle_other(checkpoint, own)?;
        self.catalog.check_epoch(own)?;
        self.stale_manifests.remove(&name);
        if let Err(source) = self.catalog.storage.publish(&name, &bytes) {
            return Err(self.after_failed_publish(checkpoint, own, source));
        }
        match self.catalog.check_epoch(own) {
            Ok(()) => {}
            Err(error @ CheckpointError::Fenced { .. }) => return Err(error),
            Err(error) => {
                self.undecided = Some(checkpoint);
                return Err(self.undecided_error(checkpoint, io::Error::other(error)));
            }
        }
        self.undecided = None;
        self.manifests.push(manifest);
        self.retire(checkpoint);
        self.delete_garbage(own);
        Ok(())
    }

    /// Deletes the files of a checkpoint that was given up. If that fails, it is tried again at the next
    /// publication. One that is published stays.
    pub fn discard(&mut self, checkpoint: CheckpointId) {
        let Some(own) = self.epoch else { return };
        // The files of an earlier one go, too, so its manifest has to go before them.
        if let Some(undecided) = self.undecided.filter(|undecided| *undecided <= checkpoint) {
            self.stale_manifests.insert(manifest_name(undecided));
        }
        self.give_up_files(checkpoint);
        self.delete_garbage(own);
    }

    /// The files of a task, which a manifest names, to be read a chunk at a time, also by another thread. Nothing is read
    /// yet.
    pub fn snapshots(&self, files: &[SnapshotFile]) -> StoredSnapshots {
        self.catalog.snapshots(files)
    }

    /// Room for what is made of the files, until the restore is over.
    ///
    /// # Errors
    /// When there is none.
    pub fn scratch(&self) -> io::Result<Scratch> {
        self.catalog.storage.files().scratch()
    }

    /// The chunks of a file, all of which were checked, in memory: [`snapshots`](Self::snapshots) is for what may be
    /// large.
    ///
    /// # Errors
    /// When the storage fails; when the file is missing, damaged, or newer than this squall.
    pub fn read(&self, file: &SnapshotFile) -> Result<Vec<Bytes>, CheckpointError> {
        self.catalog.read_snapshot(file)
    }
}

impl fmt::Debug for CheckpointStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checkpoints: Vec<CheckpointId> =
            self.manifests.iter().map(|manifest| manifest.checkpoint).collect();
        f.debug_struct("CheckpointStore")
            .field("topology", &self.catalog.topology)
            .field("location", &self.catalog.location())
            .field("epoch", &self.epoch)
            .field("checkpoints", &checkpoints)
            .finish_non_exhaustive()
    }
}

/// The epoch of this store.
impl CheckpointStore {
    /// Ends the epoch of this store, and forgets what it has begun. The files are deleted as those of any earlier
    /// epoch.
    fn abandon(&mut self) {
        self.epoch = None;
        self.undecided = None;
        self.files = SnapshotFiles::default();
        self.stale_manifests.clear();
        self.garbage.clear();
    }

    /// Refuses a checkpoint that is not of the epoch of this store, which it returns.
    fn check_own(&self, checkpoint: CheckpointId) -> Result<u64, CheckpointError> {
        let location = || self.catalog.location();
        match self.epoch {
            None => Err(CheckpointError::NoEpoch { location: location() }),
            Some(own) if own == checkpoint.epoch => Ok(own),
            Some(current) => {
                Err(CheckpointError::Fenced { location: location(), epoch: checkpoint.epoch, current })
            }
        }
    }
}

/// Publication and deletion.
impl CheckpointStore {
    /// The bytes of a manifest that may be published.
    fn checked_bytes(&self, manifest: &Manifest, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let checkpoint = manifest.checkpoint;
        self.catalog.check_topology(name, &manifest.topology)?;
        let other = self.undecided.filter(|undecided| *undecided != checkpoint);
        let published = self.latest().map(|latest| latest.checkpoint);
        if let Some(last) = published.max(other).filter(|last| *last >= checkpoint) {
            let location = self.catalog.location();
            return Err(CheckpointError::OutOfOrder { checkpoint, last, location });
        }
        manifest.check().map_err(|flaw| CheckpointError::Invalid { checkpoint, flaw })?;
        let bytes = manifest.encode();
        if bytes.len() as u64 > MANIFEST_MAX {
            let flaw = format!("its manifest has {} bytes, and may have {MANIFEST_MAX}", bytes.len());
            return Err(CheckpointError::Invalid { checkpoint, flaw });
        }
        Ok(bytes)
    }

    /// Takes back a publication of another checkpoint that may be there.
    fn settle_other(&mut self, checkpoint: CheckpointId, own: u64) -> Result<(), CheckpointError> {
        let Some(other) = self.undecided.filter(|undecided| *undecided != checkpoint) else { return Ok(()) };
        self.stale_manifests.insert(manifest_name(other));
        self.catalog.check_epoch(own)?;
        self.delete_manifests().map_err(|source| self.undecided_error(other, source))
    }

    /// Takes back a publication that failed, and may be there in spite of it.
    fn after_failed_publish(
        &mut self,
        checkpoint: CheckpointId,
        own: u64,
        source: io::Error,
    ) -> CheckpointError {
        let name = manifest_name(checkpoint);
        self.undecided = Some(checkpoint);
        match self.catalog.check_epoch(own) {
            Ok(()) => {}
            // A later epoch has begun, and has decided. Nothing here may be deleted any more.
            Err(error @ CheckpointError::Fenced { .. }) => return error,
            Err(_) => return self.undecided_error(checkpoint, source),
        }
        match self.catalog.storage.delete(std::slice::from_ref(&name)) {
            Ok(()) => {
                self.undecided = None;
                self.catalog.failed("write", &name)(source)
            }
            Err(_) => self.undecided_error(checkpoint, source),
        }
    }

    /// Finds what is not needed any more, now that this checkpoint is published.
    fn retire(&mut self, published: CheckpointId) {
        let too_many = self.manifests.len().saturating_sub(self.retain);
        for manifest in self.manifests.drain(..too_many) {
            self.stale_manifests.insert(manifest_name(manifest.checkpoint));
            self.garbage.extend(manifest.file_names().map(str::to_owned));
        }
        self.give_up_files(published);
    }

    /// The files of a checkpoint, and of those before it, are garbage, unless a manifest names them: a checkpoint with
    /// a lower number cannot be published any more.
    fn give_up_files(&mut self, checkpoint: CheckpointId) {
        self.garbage.extend(self.files.give_up(checkpoint));
        if !self.has_workers {
            return;
        }
        match self.catalog.storage.list() {
            Ok(names) => {
                let is_over = |name: &String| snapshot_of(name).is_some_and(|of| of <= checkpoint);
                self.garbage.extend(names.into_iter().filter(is_over));
            }
            Err(source) => {
                self.deletion_error = Some(self.catalog.failed("list", "snapshot-*")(source));
            }
        }
    }

    /// Deletes whatever this epoch has found there, and no manifest names.
    fn delete_unnamed(&mut self, own: u64) {
        let names = match self.catalog.storage.list() {
            Ok(names) => names,
            Err(source) => {
                self.deletion_error = Some(self.catalog.failed("list", "snapshot-*")(source));
                return;
            }
        };
        let retained: BTreeSet<CheckpointId> =
            self.manifests.iter().map(|manifest| manifest.checkpoint).collect();
        for name in names {
            if manifest_of(&name).is_some_and(|checkpoint| !retained.contains(&checkpoint)) {
                self.stale_manifests.insert(name);
            } else if snapshot_of(&name).is_some() {
                self.garbage.insert(name);
            }
        }
        self.delete_garbage(own);
    }

    /// Deletes manifests, and when these are gone for certain, files that no retained manifest names.
    fn delete_garbage(&mut self, own: u64) {
        let named: BTreeSet<&str> = self.manifests.iter().flat_map(Manifest::file_names).collect();
        self.garbage.retain(|name| !named.contains(&**name));
        if self.stale_manifests.is_empty() && self.garbage.is_empty() {
            return;
        }
        // Whoever was superseded deletes nothing: a later epoch may use it.
        if let Err(error) = self.catalog.check_epoch(own) {
            self.deletion_error = Some(error);
            return;
        }
        let deleted = self.delete_manifests().and_then(|()| {
            let names: Vec<String> = self.garbage.iter().cloned().collect();
            if names.is_empty() { Ok(()) } else { self.catalog.storage.delete(&names) }
        });
        match deleted {
            Ok(()) => self.garbage.clear(),
            Err(source) => {
                let first =
                    self.stale_manifests.first().or(self.garbage.first()).cloned().unwrap_or_default();
                self.deletion_error = Some(self.catalog.failed("delete", &first)(source));
            }
        }
    }

    fn delete_manifests(&mut self) -> io::Result<()> {
        if self.stale_manifests.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.stale_manifests.iter().cloned().collect();
        self.catalog.storage.delete(&names)?;
        self.stale_manifests.clear();
        if self.undecided.is_some_and(|undecided| names.contains(&manifest_name(undecided))) {
            self.undecided = None;
        }
        Ok(())
    }
}

/// Errors.
impl CheckpointStore {
    fn undecided_error(&self, checkpoint: CheckpointId, source: io::Error) -> CheckpointError {
        CheckpointError::Undecided { checkpoint, location: self.catalog.location(), source }
    }
}
