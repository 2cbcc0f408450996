//! Room for what is made of the files of a checkpoint, by a restore or by somebody who looks at them, until that is over.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes that are written once and read until the process ends: a file without a name, so that nothing is left of it, or
/// memory in tests.
#[derive(Debug)]
pub struct Scratch(Place);

#[derive(Debug)]
enum Place {
    File(File),
    Memory(Mutex<Vec<u8>>),
}

impl Scratch {
    /// In a file, which is empty.
    pub fn file(file: File) -> Scratch {
        Scratch(Place::File(file))
    }

    /// In a file in this directory, which the system may delete.
    ///
    /// # Errors
    /// When there can be no file.
    pub(crate) fn in_directory(directory: &Path) -> io::Result<Scratch> {
        tempfile::tempfile_in(directory).map(Scratch::file)
    }

    /// In memory.
    pub fn memory() -> Scratch {
        Scratch(Place::Memory(Mutex::default()))
    }

    /// Writes bytes to this place in it, where nothing was written before and everything before it was.
    ///
    /// # Errors
    /// When the disk fails, or is full.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Place::File(file) => file.write_all_at(bytes, offset),
            Place::Memory(written) => {
                // Nothing that holds the lock can panic half-way.
                written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Reads what was written at this place.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Place::File(file) => file.read_exact_at(bytes, offset),
            Place::Memory(written) => {
                let written = written.lock().unwrap_or_else(PoisonError::into_inner);
                let at = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
                let read = written.get(at..).and_then(|rest| rest.get(..bytes.len()));
                bytes.copy_from_slice(read.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}
