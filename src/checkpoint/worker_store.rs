//! The store of a worker, which writes and reads what its tasks keep, and decides nothing.

use std::{fmt, io};

use bytes::Bytes;
use smol_str::SmolStr;

use crate::checkpoint::catalog::Catalog;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::left_behind::LeftBehind;
use crate::checkpoint::manifest::{Manifest, SnapshotFile};
use crate::checkpoint::names::TaskName;
use crate::checkpoint::scratch::Scratch;
use crate::checkpoint::snapshot_files::SnapshotFiles;
use crate::checkpoint::storage::CheckpointStorage;
use crate::checkpoint::stored::StoredSnapshots;
use crate::ids::CheckpointId;

/// What one of several workers needs of the checkpoints of its topology. It writes snapshot files, and reads those that
/// a manifest names. Another process, the master, has the [`CheckpointStore`](crate::checkpoint::CheckpointStore): it
/// begins epochs, publishes, and deletes.
///
/// # Examples
/// ```
/// use std::collections::BTreeMap;
/// use squall::checkpoint::{
///     CheckpointError, CheckpointStore, EventTimeEntry, Manifest, MemoryStorage, RunState, TaskEntry,
///     TaskName, WorkerStore,
/// };
/// use squall::ids::CheckpointId;
///
/// let storage = MemoryStorage::new();
/// let mut master = CheckpointStore::open(Box::new(storage.clone()), "orders", 2)?.with_workers();
/// let checkpoint = CheckpointId { epoch: master.begin_epoch()?, number: 1 };
///
/// let mut worker = WorkerStore::new(Box::new(storage), "orders");
/// let task = TaskName::new("count", 0);
/// worker.append(checkpoint, &task, b"state")?;
/// let file = worker.seal(checkpoint, &task)?;
///
/// let (positions, states, names_keys) = (BTreeMap::new(), Vec::new(), false);
/// let event_time = EventTimeEntry::default();
/// let files = file.into_iter().collect();
/// let component = "count".into();
/// let count =
///     TaskEntry { component, task_index: 0, tasks: 1, files, positions, states, names_keys, event_time };
/// let (topology, key_groups, taken_at, run, txid) = ("orders".into(), 1024, 0, RunState::Running, 1);
/// master.publish(Manifest { checkpoint, topology, key_groups, taken_at, run, txid, tasks: vec![count] })?;
///
/// let manifest = worker.manifest(checkpoint)?;
/// assert_eq!(worker.read(&manifest.tasks[0].files[0])?, ["state"]);
/// # Ok::<(), CheckpointError>(())
/// ```
pub struct WorkerStore {
    catalog: Catalog,
    files: SnapshotFiles,
    /// What is not restored, on purpose.
    left_behind: LeftBehind,
}

impl WorkerStore {
    /// The store of a worker of this topology. Reads nothing yet.
    pub fn new(storage: Box<dyn CheckpointStorage>, topology: impl Into<SmolStr>) -> WorkerStore {
        let catalog = Catalog { storage, topology: topology.into() };
        WorkerStore { catalog, files: SnapshotFiles::default(), left_behind: LeftBehind::default() }
    }

    /// The run leaves this behind.
    #[must_use]
    pub fn leaving_behind(mut self, left_behind: LeftBehind) -> WorkerStore {
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
    /// When the storage fails; then the checkpoint cannot be published.
    pub fn append(
        &mut self,
        checkpoint: CheckpointId,
        task: &TaskName,
        chunk: &[u8],
    ) -> Result<(), CheckpointError> {
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
        self.files.seal(&mut self.catalog, checkpoint, task)
    }

    /// A checkpoint was published or given up, and those before it are over, too: nothing more is written for them. The
    /// master deletes the files that are not needed.
    pub fn forget(&mut self, checkpoint: CheckpointId) {
        for name in self.files.give_up(checkpoint) {
            self.catalog.storage.abandon(&name);
        }
    }

    /// The manifest of a checkpoint that the master has published.
    ///
    /// # Errors
    /// When the storage fails; when the manifest is missing, damaged, newer than this squall, or of another topology.
    pub fn manifest(&mut self, checkpoint: CheckpointId) -> Result<Manifest, CheckpointError> {
        self.catalog.read_manifest(checkpoint)
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

impl fmt::Debug for WorkerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerStore").field("location", &self.catalog.location()).finish_non_exhaustive()
    }
}
