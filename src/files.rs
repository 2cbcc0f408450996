//! Files that are named in documents and configurations.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Opens a regular file, and nothing else. To open a pipe for reading waits for its writer, so this
/// does not wait, and looks at what it has opened.
///
/// # Errors
/// When it cannot be opened, or is something else; the text names what it is.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    refuse_directory(&metadata)?;
    if !metadata.is_file() {
        let found = match metadata.file_type() {
            kind if kind.is_fifo() => "a pipe",
            kind if kind.is_socket() => "a socket",
            _ => "a device",
        };
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {found}, not a regular file")));
    }
    Ok(file)
}

/// Reads a regular file of at most so many bytes.
///
/// # Errors
/// As [`open_regular`], when reading fails, or when the file is longer.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_at_most(open_regular(path)?, limit)
}

/// Reads an opened file of at most so many bytes.
///
/// # Errors
/// When reading fails, or the file is longer.
pub(crate) fn read_at_most(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Reads a regular file of at most so many bytes that nobody but its owner can read.
///
/// # Errors
/// As [`read_regular`], or when its mode lets others read it.
pub(crate) fn read_private(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_at_most(open_private(path)?, limit)
}

/// Opens a regular file that nobody but its owner can read.
///
/// # Errors
/// As [`open_regular`], or when its mode lets others read it.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let file = open_regular(path)?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let why = format!("others may read it (its mode is {mode:o}): it holds a secret, so use `chmod 600`");
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    Ok(file)
}

/// Writes a file of a directory as a whole and durably: after a crash its name has the old content or the new one.
/// It is written as `unfinished` first; one that an earlier call left behind is removed. Nobody else may be at it.
///
/// # Errors
/// When it cannot be written, synced or renamed. The old content is in place then, unless only the last sync failed.
pub(crate) fn publish(directory: impl AsFd, unfinished: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let directory = directory.as_fd();
    let created = match create_new(directory, unfinished) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_regular(directory, unfinished)? => {
            rustix::fs::unlinkat(directory, unfinished, AtFlags::empty())?;
            create_new(directory, unfinished)
        }
        created => created,
    };
    let mut file = created?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| Ok(rustix::fs::renameat(directory, unfinished, directory, name)?));
    if renamed.is_err() {
        // The next call removes it if this fails.
        let _ = rustix::fs::unlinkat(directory, unfinished, AtFlags::empty());
    }
    renamed?;
    Ok(rustix::fs::fsync(directory)?)
}

/// Makes a file of a directory that is not there yet, for its owner alone.
///
/// # Errors
/// When something of that name is there, or it cannot be made.
pub(crate) fn create_new(directory: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let created = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600));
    created.map(File::from).map_err(io::Error::from)
}

/// Whether a name in a directory is that of a regular file, and not of a symbolic link.
///
/// # Errors
/// When there is nothing of that name.
pub(crate) fn is_regular(directory: impl AsFd, name: &str) -> io::Result<bool> {
    let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
}

/// Makes a directory for this user alone, and those above it.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether something that was opened can be read as a file.
///
/// # Errors
/// When it is a directory.
pub(crate) fn refuse_directory(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_dir() {
        true => Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory, not a file")),
        false => Ok(()),
    }
}

/// Whether waiting cannot mend the error of making a directory, or a file in it. A full disk may have room later.
pub(crate) fn cannot_be_made(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
    )
}

/// Adds to the error of making a file or a directory what the user can do about it, if permissions, or
/// something else of that name, are the reason. It names the nearest directory that exists. `instead` is the
/// way around, as a request: "name another directory".
pub(crate) fn with_remedy(error: io::Error, directory: &Path, instead: &str) -> io::Error {
    let exists = |directory: &&Path| directory.exists();
    let directory = directory.ancestors().find(exists).unwrap_or(Path::new(".")).display();
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => format!("let squall write to the directory `{directory}`"),
        ErrorKind::ReadOnlyFilesystem => {
            format!("mount the file system of the directory `{directory}` for writing")
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
            return io::Error::new(error.kind(), format!("{error}; {instead}"));
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {remedy}, or {instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_permissions_have_a_remedy() {
        let check = |errno: rustix::io::Errno, expected: &str| {
            let error = with_remedy(errno.into(), Path::new("src/cli/not-there"), "name another directory");
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.kind(), io::Error::from(errno).kind());
        };
        check(
            rustix::io::Errno::ACCESS,
            "Permission denied (os error 13); let squall write to the directory `src/cli`, or name \
             another directory",
        );
        check(
            rustix::io::Errno::ROFS,
            "Read-only file system (os error 30); mount the file system of the directory `src/cli` for writing, or \
             name another directory",
        );
        check(rustix::io::Errno::NOTDIR, "Not a directory (os error 20); name another directory");
        check(rustix::io::Errno::ISDIR, "Is a directory (os error 21); name another directory");
        check(rustix::io::Errno::EXIST, "File exists (os error 17); name another directory");
        check(rustix::io::Errno::NOSPC, "No space left on device (os error 28)");
    }
}
