//! Reading in a directory of checkpoints: the names in it, and its files.
//!
//! Files are opened relative to the open directory and without following links, so a symbolic link that somebody put
//! in place of a file is an error. The directory itself may be one.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::checkpoint::scratch::Scratch;
use crate::checkpoint::storage::{CheckpointFiles, StoredFile};
use crate::files::refuse_directory;
use crate::text::shown;

/// What messages call a directory.
pub(super) fn location_of(path: &Path) -> String {
    format!("the directory `{}`", shown(path.display()))
}

pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The names in a directory. Those that are not UTF-8 are none of squall's.
pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        names.extend(
            entry.file_name().to_str().ok().filter(|name| ![".", ".."].contains(name)).map(str::to_owned),
        );
    }
    Ok(names)
}

/// Opens the files of a directory.
#[derive(Clone, Debug)]
pub(super) struct DirectoryFiles(pub(super) Arc<OwnedFd>);

impl CheckpointFiles for DirectoryFiles {
    fn open(&self, name: &str) -> io::Result<StoredFile> {
        let (file, len) = open_file(&self.0, name)?;
        Ok(StoredFile { input: Box::new(file), len })
    }

    /// A file without a name, so that nothing is left of it.
    fn scratch(&self) -> io::Result<Scratch> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, ".", flags, Mode::from_raw_mode(0o600))?;
        Ok(Scratch::file(file.into()))
    }
}

/// Opens a regular file to be read, and returns it with its length.
fn open_file(directory: &OwnedFd, name: &str) -> io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(error) => return Err(explain_link(error)),
    };
    let metadata = file.metadata()?;
    refuse_directory(&metadata)?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok((file, metadata.len()))
}

/// All bytes of a regular file. `ErrorKind::FileTooLarge` if it is longer than the limit.
pub(super) fn read_file(directory: &OwnedFd, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let (file, len) = open_file(directory, name)?;
    let too_long = || io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes"));
    if len > limit {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).map_err(|_| too_long())?);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
}

/// Opening a symbolic link with `O_NOFOLLOW` fails as a loop of links does.
pub(super) fn explain_link(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => io::Error::new(ErrorKind::InvalidInput, "it is a symbolic link; remove it"),
        error => error.into(),
    }
}
