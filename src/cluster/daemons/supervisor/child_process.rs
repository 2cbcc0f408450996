//! A process of a child, as the system knows it.

use std::os::fd::OwnedFd;
use std::process::Child;

use rustix::process::{Signal, pidfd_send_signal};

use crate::cluster::daemons::supervisor::actions::Exit;
use crate::cluster::daemons::supervisor::process_group::wait_with_group;

/// A process that runs, or has ended and was not reaped.
pub(super) struct ChildProcess {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// `None`: another process is its parent.
    pub(super) child: Option<Child>,
}

impl ChildProcess {
    pub(super) fn kill(&self) {
        // An error means that it has ended.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How it has ended. To be called when its pidfd is readable.
    pub(super) fn reap(&mut self) -> Exit {
        match self.child.as_mut().map(wait_with_group) {
            Some(Ok(status)) => Exit { is_done: status.success(), how: status.to_string() },
            Some(Err(error)) => Exit { is_done: false, how: error.to_string() },
            None => {
                let how = "its exit code is not known, because an earlier supervisor has started it";
                Exit { is_done: false, how: how.to_owned() }
            }
        }
    }
}
