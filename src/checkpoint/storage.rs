//! What keeps the bytes of checkpoints.

use std::io::{self, Read};
use std::sync::Arc;

use crate::checkpoint::scratch::Scratch;

/// Keeps the bytes of checkpoints: a directory, or memory in tests, or an object store.
///
/// Names are flat: letters, digits, and `_.-`. All calls are made by the one thread that has the store. They may
/// wait for a disk or a network.
///
/// A file is written in one of two ways. [`append`](Self::append) and [`seal`](Self::seal) are for large files
/// that nothing names until they are durable. [`publish`](Self::publish) is for the small ones by which everything
/// else is found.
///
/// Two starts of a topology must not write to one place at the same time. An implementation refuses the second when it
/// is opened, as [`DirectoryStorage`](crate::checkpoint::DirectoryStorage) does by a lock. The workers of one start
/// may append and seal, each its own files.
pub trait CheckpointStorage: Send {
    /// Appends to a file, and begins it at the first call. A name that exists already, because it was sealed or
    /// because an earlier process began it, is an error. After an error, nothing more is appended to this file.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file that was appended to durable: its bytes, and that it exists. Nothing is appended afterwards.
    /// After an error the file counts as lost, and is never synced again: the kernel may report a failed write
    /// once only.
    fn seal(&mut self, name: &str) -> io::Result<()>;

    /// Nothing more is appended to a file that was begun, and it is not sealed. It stays until it is deleted.
    fn abandon(&mut self, name: &str);

    /// Writes a file in one step, durably: after a crash at any moment, the name has the old bytes or the new ones.
    /// An error leaves open which of them.
    fn publish(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// All bytes of a small file. `ErrorKind::NotFound` if it is not there, `ErrorKind::FileTooLarge` if it is longer
    /// than the limit.
    fn read(&mut self, name: &str, limit: u64) -> io::Result<Vec<u8>>;

    /// Opens large files to be read, a piece at a time and by other threads.
    fn files(&self) -> Arc<dyn CheckpointFiles>;

    /// The names of all files, in no particular order.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// Deletes files, durably when it returns. One that is not there is no error. If one cannot be deleted, the
    /// others are deleted all the same, and the first error is returned.
    fn delete(&mut self, names: &[String]) -> io::Result<()>;

    /// What a message calls this place.
    fn location(&self) -> String;
}

/// Opens the files of a [`CheckpointStorage`] to be read, from whichever thread. It may outlive the storage.
pub trait CheckpointFiles: Send + Sync {
    /// Opens a file at its begin. `ErrorKind::NotFound` if it is not there. A file that was opened can be read to its end,
    /// or reading fails, whatever becomes of it meanwhile.
    fn open(&self, name: &str) -> io::Result<StoredFile>;

    /// Room for what a restore makes of the files, as much as these take. `ErrorKind::Unsupported` if there is none: then
    /// files are read more often.
    fn scratch(&self) -> io::Result<Scratch> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A file that was opened to be read. Nothing is appended to it any more.
pub struct StoredFile {
    /// Its bytes, from the first on.
    pub input: Box<dyn Read + Send>,
    /// How many there are.
    pub len: u64,
}

/// A storage in which a write-ahead log can be kept: files that are appended to after they were made durable.
pub(crate) trait LogStorage: CheckpointStorage {
    /// Makes durable what a file has that this process appends to, and that the file exists. More may be appended
    /// afterwards. After an error nothing more is, and what was appended since the last sync counts as lost: the kernel
    /// may report a failed write once only.
    fn sync(&mut self, name: &str) -> io::Result<()>;
}
