//! Standard output, shared by the workers of a topology.
//!
//! Within a process a lock keeps lines apart; between processes nobody does, and a pipe keeps a write
//! in one piece up to 4 KiB only. So a worker takes a record lock on the file behind its stdout while
//! it writes. The kernel frees the lock of a process that dies.
//!
//! Where the file cannot be locked, lines are written all the same.

use std::io::{self, ErrorKind, Write};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

/// Writes what it is given in one piece.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedStdout;

/// Holds the lock, if there is one to hold.
struct Locked;

impl Locked {
    fn take() -> Locked {
        // A record lock of all of the file; it belongs to the process.
        while fcntl_lock(rustix::stdio::stdout(), FlockOperation::LockExclusive) == Err(Errno::INTR) {}
        Locked
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = fcntl_lock(rustix::stdio::stdout(), FlockOperation::Unlock);
    }
}

impl Write for SharedStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _locked = Locked::take();
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::write(rustix::stdio::stdout(), &bytes[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => written += len,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
