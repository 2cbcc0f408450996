//! Descriptors that rows are written to as they are: standard output, a pipe, a terminal, a device.
//!
//! A stream is not squall's own. Other processes may write to it, and whoever started squall may
//! have set it to non-blocking, or redirected it to a file.
//!
//! 1. [`Stream::write`](Write::write) writes everything, or up to the first error. Where the
//!    descriptor is non-blocking and takes nothing, it waits with `poll`. A reader that does not
//!    read makes the caller wait, as a blocking descriptor does.
//! 2. Rows of several writers never stand in one another. The tasks of a process write one after
//!    another: one lock per file (device and inode), since a task may have opened it anew. Worker
//!    processes take a record lock of the file besides, because a pipe keeps writes in one piece up
//!    to 4 KiB only. The kernel frees the record lock of a process that dies. Where the file cannot
//!    be locked, rows are written all the same.
//! 3. The number of bytes that [`write_counted`] reports after an error is exact. So a row that was
//!    written in part is continued and never written again.
//! 4. A standard stream that was closed when squall was started is an error, and not `/dev/null`.
//!
//! The table of locks is global, because the files are.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, fcntl_lock, fstat};
use rustix::io::Errno;

use crate::components::standard;

/// Of each file that a stream of this process leads to, by device and inode.
static LOCKS: Mutex<Vec<(FileKey, Weak<Mutex<()>>)>> = Mutex::new(Vec::new());

type FileKey = (u64, u64);

/// A descriptor that rows are written to.
#[derive(Debug)]
pub struct Stream {
    descriptor: Descriptor,
    /// Held while something is written.
    lock: Arc<Mutex<()>>,
}

#[derive(Debug)]
enum Descriptor {
    Output,
    Error,
    Own(OwnedFd),
}

impl Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Descriptor::Output => rustix::stdio::stdout(),
            Descriptor::Error => rustix::stdio::stderr(),
            Descriptor::Own(fd) => fd.as_fd(),
        }
    }
}

/// How far a write came.
#[derive(Debug)]
pub struct Unwritten {
    /// Bytes that were written.
    pub written: usize,
    /// Why the others were not.
    pub error: io::Error,
}

impl Stream {
    /// Standard output.
    pub fn stdout() -> Stream {
        Stream::new(Descriptor::Output)
    }

    /// Standard error.
    pub fn stderr() -> Stream {
        Stream::new(Descriptor::Error)
    }

    /// A descriptor that was opened for writing.
    pub fn of(descriptor: OwnedFd) -> Stream {
        Stream::new(Descriptor::Own(descriptor))
    }

    fn new(descriptor: Descriptor) -> Stream {
        let lock = lock_of(descriptor.as_fd());
        Stream { descriptor, lock }
    }

    /// Whether it is a standard stream that was closed when squall was started.
    pub fn was_closed(&self) -> bool {
        match self.descriptor {
            Descriptor::Output => standard::closed().output,
            Descriptor::Error => standard::closed().error,
            Descriptor::Own(_) => false,
        }
    }

    /// Waits until what was written is on the disk, where there is one.
    pub fn sync(&self) -> io::Result<()> {
        match rustix::fs::fdatasync(self.descriptor.as_fd()) {
            // Pipes, terminals and devices have nothing to sync.
            Ok(()) | Err(Errno::INVAL | Errno::ROFS | Errno::NOTSUP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.was_closed() {
            return Err(io::Error::new(ErrorKind::NotConnected, "it was closed when squall was started"));
        }
        let _in_process = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let fd = self.descriptor.as_fd();
        let _between_processes = RecordLock::take(fd);
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::write(fd, &bytes[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => written += len,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for_room(fd)?,
                Err(error) if written == 0 => return Err(error.into()),
                // The next call meets the error again, and reports it.
                Err(_) => break,
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all bytes, or returns how many were written before the error.
///
/// # Errors
/// The first error of the writer other than an interruption.
pub fn write_counted(writer: &mut dyn Write, bytes: &[u8]) -> Result<(), Unwritten> {
    let mut written = 0;
    while written < bytes.len() {
        let error = match writer.write(&bytes[written..]) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(len) => {
                written += len;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        return Err(Unwritten { written, error });
    }
    // What a buffer could not pass on may be written in part; nobody knows how much of it.
    writer.flush().map_err(|error| Unwritten { written: 0, error })
}

/// Whether a write, or opening what is written to, cannot succeed later without a change of the
/// topology or of its surroundings by a person. A full disk or a file size limit can.
pub(super) fn is_permanent(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    // By its number only what has no kind of its own: an error that was explained has its kind, and no number.
    let by_number = errno.is_some_and(|errno| {
        matches!(errno, Errno::NAMETOOLONG | Errno::LOOP | Errno::BADF | Errno::NODEV | Errno::OPNOTSUPP)
    });
    by_number
        || matches!(
            error.kind(),
            ErrorKind::InvalidInput
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::NotConnected
                | ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
        )
}

/// Whether a terminal was closed, or the device of another stream is gone. For files this is a
/// fault of the disk or of the network, which may pass.
pub(super) fn is_lost_device(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

fn wait_for_room(fd: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None) {
        // With an error or a hang-up, the next write returns it.
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn lock_of(fd: BorrowedFd<'_>) -> Arc<Mutex<()>> {
    let Ok(stat) = fstat(fd) else { return Arc::default() };
    let key: FileKey = (stat.st_dev, stat.st_ino);
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lock) = locks.iter().find(|(other, _)| *other == key).and_then(|(_, lock)| lock.upgrade()) {
        return lock;
    }
    locks.retain(|(_, lock)| lock.strong_count() > 0);
    let lock = Arc::default();
    locks.push((key, Arc::downgrade(&lock)));
    lock
}

/// A record lock of all of the file, which belongs to the process; or nothing, where there is none to
/// be had.
struct RecordLock<'a>(BorrowedFd<'a>);

impl RecordLock<'_> {
    fn take(fd: BorrowedFd<'_>) -> RecordLock<'_> {
        while fcntl_lock(fd, FlockOperation::LockExclusive) == Err(Errno::INTR) {}
        RecordLock(fd)
    }
}

impl Drop for RecordLock<'_> {
    fn drop(&mut self) {
        let _ = fcntl_lock(self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    /// More than any pipe or socket takes at once.
    const LONG: usize = 4 << 20;

    #[test]
    fn a_nonblocking_descriptor_is_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().expect("there are sockets");
        ours.set_nonblocking(true).expect("it can be set");
        let reader = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).expect("it can be read");
            read
        });
        let bytes: Vec<u8> = (0..LONG).map(|at| (at % 251) as u8).collect();
        let mut stream = Stream::of(ours.into());
        write_counted(&mut stream, &bytes).expect("it is read");
        drop(stream);
        assert!(reader.join().expect("the reader ends") == bytes, "each byte once, in order");
    }

    #[test]
    fn a_reader_that_goes_away_is_an_error_with_what_it_was_sent() {
        let (reader, writer) = rustix::pipe::pipe().expect("there are pipes");
        let reading = thread::spawn(move || {
            let mut start = [0; 1000];
            std::fs::File::from(reader).read_exact(&mut start).expect("it can be read");
        });
        let stopped =
            write_counted(&mut Stream::of(writer), &vec![b'x'; LONG]).expect_err("nobody reads the rest");
        assert_eq!(stopped.error.kind(), ErrorKind::BrokenPipe);
        assert!((1000..LONG).contains(&stopped.written), "{}", stopped.written);
        reading.join().expect("the reader ends");
    }

    #[test]
    fn writers_of_one_file_share_a_lock() {
        let file = tempfile::tempfile().expect("a file");
        let open = || Stream::of(file.try_clone().expect("a copy").into());
        let (first, second) = (open(), open());
        assert!(Arc::ptr_eq(&first.lock, &second.lock));
        let other = Stream::of(tempfile::tempfile().expect("a file").into());
        assert!(!Arc::ptr_eq(&first.lock, &other.lock));
    }

    #[test]
    fn lasting_errors_are_distinguished_from_passing_ones() {
        let check = |errno: Errno, expected| {
            assert_eq!(is_permanent(&io::Error::from(errno)), expected, "{errno:?}");
        };
        check(Errno::NOSPC, false);
        check(Errno::FBIG, false);
        check(Errno::DQUOT, false);
        check(Errno::IO, false);
        check(Errno::MFILE, false);
        check(Errno::ACCESS, true);
        check(Errno::ROFS, true);
        check(Errno::BADF, true);
        check(Errno::NAMETOOLONG, true);
    }
}
