//! A process of a child, as the system knows it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

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
    /// Starts one, in a process group of its own. `output` gets its stdout and stderr.
    pub(super) fn start(mut command: Command, output: &Path) -> io::Result<ChildProcess> {
        let output = OpenOptions::new().append(true).create(true).mode(0o600).open(output)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let mut child = command.spawn()?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(ChildProcess { pid: child.id(), pidfd, child: Some(child) }),
            Err(error) => {
                // It cannot be watched.
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

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
