//! A storage in memory, which fails and forgets as a disk does.
//!
//! ```text
//!            append               seal                crash
//!  present   abc ──▶ abcdef       abcdef              abcdef, abc, abXdef or nothing: by the seed
//!  durable   (no file)            abcdef ───────────▶ abcdef
//! ```
//!
//! Each file has two contents: what a reader sees, and what a crash leaves for certain. What lies between them is
//! decided by a seed. A file that was published is never torn: it has the old bytes or the new ones.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::checkpoint::scratch::Scratch;
use crate::checkpoint::storage::{CheckpointFiles, CheckpointStorage, LogStorage, StoredFile};
use crate::state::StateDisk;

/// Keeps checkpoints in memory, for tests and simulations. Its clones are the same storage, so a process that is
/// started again opens what the one before has left.
///
/// # Examples
/// What was not published before a crash is not there afterwards:
/// ```
/// use squall::checkpoint::{CheckpointError, CheckpointStore, MemoryStorage, TaskName};
/// use squall::ids::CheckpointId;
///
/// let storage = MemoryStorage::new();
/// let mut store = CheckpointStore::open(Box::new(storage.clone()), "orders", 2)?;
/// let epoch = store.begin_epoch()?;
/// store.append(CheckpointId { epoch, number: 1 }, &TaskName::new("count", 0), b"state")?;
///
/// storage.crash();
/// let mut store = CheckpointStore::open(Box::new(storage), "orders", 2)?;
/// assert!(store.latest().is_none());
/// assert_eq!(store.begin_epoch()?, epoch + 1);
/// # Ok::<(), CheckpointError>(())
/// ```
/// A full disk fails a checkpoint, and no more than that:
/// ```
/// use squall::checkpoint::{CheckpointError, CheckpointStore, MemoryStorage, TaskName};
/// use squall::ids::CheckpointId;
///
/// let storage = MemoryStorage::new();
/// let mut store = CheckpointStore::open(Box::new(storage.clone()), "orders", 2)?;
/// let epoch = store.begin_epoch()?;
/// let (first, second) = (CheckpointId { epoch, number: 1 }, CheckpointId { epoch, number: 2 });
/// let task = TaskName::new("count", 0);
///
/// storage.fill_after(3);
/// let full = store.append(first, &task, b"state").expect_err("the disk is full");
/// assert!(full.to_string().ends_with("free some space there"), "{full}");
/// store.discard(first);
///
/// storage.heal();
/// store.append(second, &task, b"state")?;
/// # Ok::<(), CheckpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStorage(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    files: BTreeMap<String, MemoryFile>,
    /// Operations so far, failed ones included.
    operations: u64,
    fault: Option<Fault>,
    /// Bytes that can still be written.
    space: Option<u64>,
    /// How often each fault had an effect: see [`MemoryStorage::faults`].
    faults: BTreeMap<&'static str, u64>,
    /// Decides what failures and crashes leave behind.
    rng: StdRng,
    /// Directories beside this one on the same machine, in which write-ahead logs are kept.
    logs: BTreeMap<String, MemoryStorage>,
    /// The disk of the machine on which tasks keep state that is not in memory.
    state: StateDisk,
}

/// What is done with a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageOperation {
    /// A file is written to.
    Append,
    /// A file is made durable (`fsync`).
    Seal,
    /// A small file is written and renamed, durably.
    Publish,
    /// A file is read.
    Read,
    /// Names are listed.
    List,
    /// Files are deleted, durably.
    Delete,
}

impl StorageOperation {
    /// What is counted when such an operation fails.
    fn failed(self) -> &'static str {
        match self {
            StorageOperation::Append => "append failed",
            StorageOperation::Seal => "seal failed",
            StorageOperation::Publish => "publish failed",
            StorageOperation::Read => "read failed",
            StorageOperation::List => "list failed",
            StorageOperation::Delete => "delete failed",
        }
    }
}

#[derive(Debug, Default)]
struct MemoryFile {
    present: Option<Vec<u8>>,
    durable: Option<Vec<u8>>,
    phase: Phase,
}

/// How far the writing of a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It is appended to.
    #[default]
    Begun,
    /// It was appended to, and an operation failed.
    GivenUp,
    /// It was sealed or published.
    Whole,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    /// The number of the operation, by [`Disk::operations`].
    at: u64,
    /// From that number on the first of this kind fails.
    only: Option<StorageOperation>,
    /// Those after it fail, too.
    goes_on: bool,
    kind: ErrorKind,
}

impl Default for MemoryStorage {
    fn default() -> MemoryStorage {
        MemoryStorage::new()
    }
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> MemoryStorage {
        MemoryStorage::seeded(0)
    }

    /// An empty storage. The seed decides what is left behind by operations that fail, and by crashes.
    pub fn seeded(seed: u64) -> MemoryStorage {
        MemoryStorage(Arc::new(Mutex::new(Disk {
            files: BTreeMap::new(),
            operations: 0,
            fault: None,
            space: None,
            faults: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            logs: BTreeMap::new(),
            state: StateDisk::seeded(seed),
        })))
    }

    /// The machine crashes. What was not durable is there, or is not; what was appended and not sealed may also be
    /// cut, or have other bytes.
    pub fn crash(&self) {
        let mut disk = self.disk();
        let Disk { files, rng, faults, logs, .. } = &mut *disk;
        logs.values().for_each(MemoryStorage::crash);
        for file in files.values_mut() {
            let (is_lost, is_synced) = (rng.random_bool(0.5), file.present == file.durable);
            if !is_lost {
                let synced = file.durable.as_ref().map_or(0, Vec::len);
                file.durable = match file.phase {
                    Phase::Begun | Phase::GivenUp => {
                        file.present.take().map(|bytes| torn(bytes, synced, rng, faults))
                    }
                    Phase::Whole => file.present.take(),
                };
            }
            if !is_synced {
                *faults.entry(if is_lost { "write lost" } else { "write kept" }).or_default() += 1;
            }
            file.present.clone_from(&file.durable);
            file.phase = Phase::Whole;
        }
        files.retain(|_, file| file.present.is_some());
    }

    /// The n-th operation from now, counted from 1, fails. It may have been done in part, or wholly.
    pub fn fail_operation(&self, n: u64, kind: ErrorKind) {
        let mut disk = self.disk();
        disk.fault = Some(Fault { at: disk.operations + n, only: None, goes_on: false, kind });
    }

    /// The n-th operation from now, counted from 1, and all after it fail until [`heal`](Self::heal).
    pub fn fail_from(&self, n: u64, kind: ErrorKind) {
        let mut disk = self.disk();
        disk.fault = Some(Fault { at: disk.operations + n, only: None, goes_on: true, kind });
    }

    /// The next operation of this kind fails. It may have been done in part, or wholly.
    ///
    /// # Examples
    /// ```
    /// use std::io::ErrorKind;
    /// use squall::checkpoint::{CheckpointError, CheckpointStore, MemoryStorage, StorageOperation, TaskName};
    /// use squall::ids::CheckpointId;
    ///
    /// let storage = MemoryStorage::new();
    /// let mut store = CheckpointStore::open(Box::new(storage.clone()), "orders", 2)?;
    /// let (checkpoint, task) = (CheckpointId { epoch: store.begin_epoch()?, number: 1 }, TaskName::new("count", 0));
    /// storage.fail_next(StorageOperation::Seal, ErrorKind::Other);
    /// store.append(checkpoint, &task, b"state")?;
    /// assert!(store.seal(checkpoint, &task).is_err());
    /// assert_eq!(storage.faults().get("seal failed"), Some(&1));
    /// # Ok::<(), CheckpointError>(())
    /// ```
    pub fn fail_next(&self, operation: StorageOperation, kind: ErrorKind) {
        let mut disk = self.disk();
        disk.fault = Some(Fault { at: disk.operations + 1, only: Some(operation), goes_on: false, kind });
    }

    /// How often each fault had an effect so far: `append failed` and so on for each [`StorageOperation`];
    /// `disk full`; of failed publications, those that were `published all the same`; and of what was not durable
    /// when the machine crashed, `write lost`, `write kept`, and of the latter `write cut` and `bit flipped`.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.disk().faults.clone()
    }

    /// The disk is full after so many bytes, until [`heal`](Self::heal). What is deleted makes no room.
    pub fn fill_after(&self, bytes: u64) {
        self.disk().space = Some(bytes);
    }

    /// Ends all faults, also those of write-ahead logs and of the disk for state.
    pub fn heal(&self) {
        let mut disk = self.disk();
        (disk.fault, disk.space) = (None, None);
        disk.state.heal();
        disk.logs.values().for_each(MemoryStorage::heal);
    }

    /// The disk on which tasks of the same machine keep state that is not in memory.
    pub fn state_disk(&self) -> StateDisk {
        self.disk().state.clone()
    }

    /// Where the write-ahead log of this name is kept: that of the spout `requests` and its first task is `requests-0`. It
    /// crashes and heals with this storage, and has faults of its own.
    pub fn log(&self, name: &str) -> MemoryStorage {
        let mut disk = self.disk();
        let seed = disk.rng.random();
        let new = || MemoryStorage::seeded(seed);
        disk.logs.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// The names of the write-ahead logs that were opened.
    pub fn logs(&self) -> Vec<String> {
        self.disk().logs.keys().cloned().collect()
    }

    /// Changes a file behind squall's back.
    #[cfg(test)]
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let file = disk.files.get_mut(name).expect("the file is there");
        change(file.present.as_mut().expect("the file is there"));
        file.durable.clone_from(&file.present);
    }

    /// How many operations there were, failed ones included.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // Nothing that holds the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Counts an operation. `Err`: it fails, in whatever state it leaves the file.
    fn begin(&mut self, operation: StorageOperation) -> Result<(), io::Error> {
        self.operations += 1;
        let fails = |fault: &Fault| match (fault.only, fault.goes_on) {
            (Some(only), _) => only == operation && self.operations >= fault.at,
            (None, true) => self.operations >= fault.at,
            (None, false) => self.operations == fault.at,
        };
        let Some(fault) = self.fault.filter(fails) else { return Ok(()) };
        if fault.only.is_some() {
            self.fault = None;
        }
        self.count(operation.failed());
        Err(fault.kind.into())
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Has a file that was begun written to the disk (`fsync`). Returns the file, whether it got there, which it may
    /// although the call fails, and what the call returned.
    fn sync(&mut self, name: &str) -> io::Result<(&mut MemoryFile, bool, io::Result<()>)> {
        let synced = self.begin(StorageOperation::Seal);
        let reaches_the_disk = synced.is_ok() || self.rng.random_bool(0.5);
        let file = self.files.get_mut(name).filter(|file| file.phase == Phase::Begun);
        let file = file.ok_or(ErrorKind::NotFound)?;
        if reaches_the_disk {
            file.durable.clone_from(&file.present);
        }
        Ok((file, reaches_the_disk, synced))
    }

    /// Takes room for bytes. `Err`: only so many have room.
    fn take_space(&mut self, bytes: usize) -> Result<(), usize> {
        let Some(space) = &mut self.space else { return Ok(()) };
        let room = usize::try_from(*space).unwrap_or(usize::MAX);
        *space = space.saturating_sub(bytes as u64);
        if room < bytes {
            self.count("disk full");
            return Err(room);
        }
        Ok(())
    }

    /// The file that is appended to, which begins if nothing has this name.
    fn open_file(&mut self, name: &str) -> io::Result<&mut MemoryFile> {
        let file = self.files.entry(name.to_owned()).or_default();
        if file.present.is_none() {
            file.present = Some(Vec::new());
            file.phase = Phase::Begun;
        }
        match file.phase {
            Phase::Begun => Ok(file),
            Phase::GivenUp | Phase::Whole => Err(ErrorKind::AlreadyExists.into()),
        }
    }
}

/// What a crash may leave of bytes, of which so many were synced. Of the others, all, some, or changed ones.
fn torn(
    mut bytes: Vec<u8>,
    synced: usize,
    rng: &mut StdRng,
    faults: &mut BTreeMap<&'static str, u64>,
) -> Vec<u8> {
    if bytes.len() <= synced {
        return bytes;
    }
    let at = rng.random_range(synced..bytes.len());
    match rng.random_range(0..3) {
        0 => {}
        1 => {
            bytes.truncate(at);
            *faults.entry("write cut").or_default() += 1;
        }
        _ => {
            bytes[at] ^= 1 << rng.random_range(0..8);
            *faults.entry("bit flipped").or_default() += 1;
        }
    }
    bytes
}

impl CheckpointStorage for MemoryStorage {
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let failed = disk.begin(StorageOperation::Append).err();
        let room = disk.take_space(bytes.len());
        let (written, error) = match (failed, room) {
            (Some(error), _) => (disk.rng.random_range(0..=bytes.len()), Some(error)),
            (None, Err(room)) => (room, Some(ErrorKind::StorageFull.into())),
            (None, Ok(())) => (bytes.len(), None),
        };
        let file = disk.open_file(name)?;
        file.present.get_or_insert_default().extend_from_slice(&bytes[..written]);
        match error {
            None => Ok(()),
            Some(error) => {
                file.phase = Phase::GivenUp;
                Err(error)
            }
        }
    }

    fn seal(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let (file, reached_the_disk, synced) = disk.sync(name)?;
        file.phase = if reached_the_disk { Phase::Whole } else { Phase::GivenUp };
        synced
    }

    fn abandon(&mut self, name: &str) {
        if let Some(file) = self.disk().files.get_mut(name).filter(|file| file.phase == Phase::Begun) {
            file.phase = Phase::GivenUp;
        }
    }

    fn publish(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let failed = disk.begin(StorageOperation::Publish);
        if disk.take_space(bytes.len()).is_err() {
            return Err(ErrorKind::StorageFull.into());
        }
        let (is_renamed, is_durable) = match failed {
            Ok(()) => (true, true),
            Err(_) => (disk.rng.random_bool(0.5), disk.rng.random_bool(0.5)),
        };
        if is_renamed {
            if failed.is_err() {
                disk.count("published all the same");
            }
            let file = disk.files.entry(name.to_owned()).or_default();
            file.present = Some(bytes.to_vec());
            file.phase = Phase::Whole;
            if is_durable {
                file.durable.clone_from(&file.present);
            }
        }
        failed
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut disk = self.disk();
        disk.begin(StorageOperation::Read)?;
        let bytes = disk.files.get(name).and_then(|file| file.present.clone()).ok_or(ErrorKind::NotFound)?;
        if bytes.len() as u64 > limit { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn files(&self) -> Arc<dyn CheckpointFiles> {
        Arc::new(self.clone())
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.begin(StorageOperation::List)?;
        let files = disk.files.iter().filter(|(_, file)| file.present.is_some());
        Ok(files.map(|(name, _)| name.clone()).collect())
    }

    fn delete(&mut self, names: &[String]) -> io::Result<()> {
        let mut disk = self.disk();
        let failed = disk.begin(StorageOperation::Delete);
        let Disk { files, rng, .. } = &mut *disk;
        for name in names {
            let Some(file) = files.get_mut(name) else { continue };
            if failed.is_ok() || rng.random_bool(0.5) {
                file.present = None;
            }
            if failed.is_ok() {
                file.durable = None;
            }
        }
        files.retain(|_, file| file.present.is_some() || file.durable.is_some());
        failed
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

impl CheckpointFiles for MemoryStorage {
    fn open(&self, name: &str) -> io::Result<StoredFile> {
        let bytes = self.clone().read(name, u64::MAX)?;
        let len = bytes.len() as u64;
        Ok(StoredFile { input: Box::new(Cursor::new(bytes)), len })
    }

    fn scratch(&self) -> io::Result<Scratch> {
        Ok(Scratch::memory())
    }
}

impl LogStorage for MemoryStorage {
    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let (file, _, synced) = disk.sync(name)?;
        if synced.is_err() {
            file.phase = Phase::GivenUp;
        }
        synced
    }
}
