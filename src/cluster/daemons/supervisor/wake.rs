//! How the thread of the processes of a supervisor is woken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes a thread that waits in [`Children::wait`](super::Children::wait).
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// One that has not been used.
    ///
    /// # Errors
    /// When the system gives no descriptor.
    pub fn new() -> io::Result<Wake> {
        Ok(Wake(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Wakes.
    pub fn wake(&self) {
        // If the counter is full, the eventfd is readable already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes note of having been woken.
    pub(super) fn clear(&self) {
        // An error means that nobody has woken it.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Wake {
    /// What is readable when somebody has woken it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
