//! The disk under the stores of simulated tasks: files in memory, which fail where a test wants it.
//!
//! A file belongs to the store that opened it, and is gone with it, as the file without a name is that a store of
//! production has. A write that fails has been done in part. What was written is there for whoever reads it, because a
//! store reads its own file only as long as its process lives.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;

/// The disk on which simulated tasks keep state that is not in memory (`backend = "redb"`). Its clones are the same disk.
///
/// # Examples
/// ```
/// use squall::checkpoint::MemoryStorage;
///
/// let storage = MemoryStorage::new();
/// let disk = storage.state_disk();
/// disk.fail_next_write();
/// assert!(disk.faults().is_empty(), "nothing was written yet");
/// ```
#[derive(Clone, Debug)]
pub struct StateDisk(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    /// Decides how much of a write that fails is done.
    rng: StdRng,
    next_write_fails: bool,
    next_read_fails: bool,
    is_full: bool,
    written: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl StateDisk {
    /// An empty disk. The seed decides how much of a write that fails is done.
    pub(crate) fn seeded(seed: u64) -> StateDisk {
        StateDisk(Arc::new(Mutex::new(Disk {
            rng: StdRng::seed_from_u64(seed),
            next_write_fails: false,
            next_read_fails: false,
            is_full: false,
            written: 0,
            faults: BTreeMap::new(),
        })))
    }

    /// The next write to a file fails. It may have been done in part.
    pub fn fail_next_write(&self) {
        self.disk().next_write_fails = true;
    }

    /// The next read of a file fails.
    pub fn fail_next_read(&self) {
        self.disk().next_read_fails = true;
    }

    /// Nothing can be written until [`heal`](Self::heal).
    pub fn fill(&self) {
        self.disk().is_full = true;
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut disk = self.disk();
        (disk.next_write_fails, disk.next_read_fails, disk.is_full) = (false, false, false);
    }

    /// How often each fault had an effect so far: `write failed`, `read failed`, `disk full`.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.disk().faults.clone()
    }

    /// Bytes that were written so far.
    pub fn written(&self) -> u64 {
        self.disk().written
    }

    /// A file that is empty.
    pub(super) fn file(&self) -> SimulatedFile {
        SimulatedFile { disk: self.clone(), bytes: Arc::default() }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // Nothing that holds the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// A write of so many bytes begins. `Err`: only so many of them are written, for this reason.
    fn begin_write(&mut self, len: usize) -> Result<(), (usize, io::ErrorKind)> {
        let (fault, kind) = if self.is_full {
            ("disk full", io::ErrorKind::StorageFull)
        } else if std::mem::take(&mut self.next_write_fails) {
            ("write failed", io::ErrorKind::Other)
        } else {
            self.written += len as u64;
            return Ok(());
        };
        *self.faults.entry(fault).or_default() += 1;
        Err((self.rng.random_range(0..=len), kind))
    }
}

/// A file on a [`StateDisk`]. Its clones are the same file.
#[derive(Clone)]
pub(super) struct SimulatedFile {
    disk: StateDisk,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl SimulatedFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        // Nothing that holds the lock can panic half-way.
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file of a simulated store")
    }
}

impl StorageBackend for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        {
            let mut disk = self.disk.disk();
            if std::mem::take(&mut disk.next_read_fails) {
                *disk.faults.entry("read failed").or_default() += 1;
                return Err(io::ErrorKind::Other.into());
            }
        }
        let bytes = self.bytes();
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let read = bytes.get(at..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(read.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.disk.disk().begin_write(0).map_err(|(_, kind)| kind)?;
        self.bytes().resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let begun = self.disk.disk().begin_write(data.len());
        let written = begun.map_or_else(|(written, _)| written, |()| data.len());
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = self.bytes();
        let end = at + written;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at..end].copy_from_slice(&data[..written]);
        begun.map_err(|(_, kind)| kind.into())
    }
}
