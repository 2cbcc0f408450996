//! The snapshots of a task in a checkpoint, as files that are read later, by whichever thread restores the task.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;

use crate::checkpoint::error::{CheckpointError, damaged};
use crate::checkpoint::manifest::SnapshotFile;
use crate::checkpoint::names::snapshot_of;
use crate::checkpoint::snapshot_reader::{ReadError, SnapshotReader};
use crate::checkpoint::storage::{CheckpointFiles, StoredFile};

/// The snapshot files of a task, in their order. They are opened one after the other, when they are read, so this costs
/// neither memory nor descriptors. Its clones read the same files.
#[derive(Clone)]
pub struct StoredSnapshots {
    files: Arc<dyn CheckpointFiles>,
    /// What messages call the place.
    location: Arc<str>,
    named: Vec<SnapshotFile>,
}

impl StoredSnapshots {
    /// These files, which a manifest names, in a place that messages call so.
    pub(super) fn new(
        files: Arc<dyn CheckpointFiles>,
        location: &str,
        named: &[SnapshotFile],
    ) -> StoredSnapshots {
        StoredSnapshots { files, location: location.into(), named: named.to_vec() }
    }

    /// Whether there are no files: the task kept nothing.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Reads all files, and keeps nothing of them.
    ///
    /// # Errors
    /// When the storage fails; when a file is missing, damaged, or newer than this squall.
    pub fn check(&self) -> Result<(), CheckpointError> {
        self.named.iter().try_for_each(|file| {
            let checked = self.open(file)?.check();
            checked.map_err(|error| self.error(file, error))
        })
    }

    /// Passes on the chunks of all files. At most one is in memory.
    ///
    /// # Errors
    /// As [`check`](Self::check), and what `take` returns. Chunks may have been passed on by then: what was made of them
    /// does not count.
    pub fn for_each_chunk<E: From<CheckpointError>>(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut chunk = Vec::new();
        for file in &self.named {
            let mut reader = self.open(file)?;
            while reader.next(&mut chunk).map_err(|error| self.error(file, error))? {
                take(&chunk)?;
            }
        }
        Ok(())
    }

    /// Passes on the bytes of the one file that these are, as they stand there.
    ///
    /// # Errors
    /// As [`for_each_chunk`](Self::for_each_chunk).
    pub(super) fn copy(
        &self,
        append: &mut dyn FnMut(&[u8]) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        for file in &self.named {
            let mut failed = None;
            let opened = self.open_file(file)?;
            let tee = Tee { input: opened.input, append: &mut *append, failed: &mut failed };
            let reader = SnapshotReader::new(file, tee, opened.len);
            let copied = reader.map_err(ReadError::Flaw).and_then(|mut reader| reader.check());
            match (failed, copied) {
                (Some(error), _) => return Err(error),
                (None, copied) => copied.map_err(|error| self.error(file, error))?,
            }
        }
        Ok(())
    }

    fn open(&self, file: &SnapshotFile) -> Result<SnapshotReader<Box<dyn Read + Send>>, CheckpointError> {
        let StoredFile { input, len } = self.open_file(file)?;
        SnapshotReader::new(file, input, len).map_err(|flaw| self.error(file, ReadError::Flaw(flaw)))
    }

    fn open_file(&self, file: &SnapshotFile) -> Result<StoredFile, CheckpointError> {
        let opened = match snapshot_of(&file.name) {
            Some(_) => self.files.open(&file.name).map_err(ReadError::Io),
            None => Err(ReadError::Flaw(damaged("it has not the name of a snapshot file"))),
        };
        opened.map_err(|error| self.error(file, error))
    }

    fn error(&self, file: &SnapshotFile, error: ReadError) -> CheckpointError {
        let (name, location) = (&file.name, self.location.to_string());
        match error {
            ReadError::Flaw(flaw) => flaw.of(name, location),
            ReadError::Io(error) if error.kind() == ErrorKind::NotFound => {
                damaged("it is missing").of(name, location)
            }
            ReadError::Io(source) => {
                CheckpointError::Io { action: "read", file: name.clone(), location, source }
            }
        }
    }
}

impl fmt::Debug for StoredSnapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<&str> = self.named.iter().map(|file| &*file.name).collect();
        f.debug_struct("StoredSnapshots").field("location", &self.location).field("named", &named).finish()
    }
}

/// Passes on everything that is read.
struct Tee<'t, R> {
    input: R,
    append: &'t mut dyn FnMut(&[u8]) -> Result<(), CheckpointError>,
    /// Why it could not be passed on.
    failed: &'t mut Option<CheckpointError>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        match (self.append)(&buffer[..read]) {
            Ok(()) => Ok(read),
            Err(error) => {
                *self.failed = Some(error);
                Err(io::Error::other("it could not be copied"))
            }
        }
    }
}
