//! Where a worker comes from: its control channel, its parent, and what is to be its stdin.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{FileType, fstat};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::cluster::control::ControlError;

/// Why a worker did not even begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Its stdin is no control channel.
    #[error("nobody has told this worker what to do")]
    ByHand,
    /// The system refuses what it needs.
    #[error("cannot begin as a worker")]
    Io(#[from] io::Error),
    /// The parent says nothing sensible.
    #[error("the parent cannot be understood")]
    Control(#[from] ControlError),
}

/// The control channel, which is stdin.
pub(super) fn take_control() -> Result<UnixStream, WorkerError> {
    let stdin = io::stdin();
    let is_socket = fstat(&stdin).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
    if !is_socket || sockopt::socket_domain(&stdin) != Ok(AddressFamily::UNIX) {
        return Err(WorkerError::ByHand);
    }
    Ok(UnixStream::from(stdin.as_fd().try_clone_to_owned()?))
}

/// Lets the kernel kill this process when the thread that started it ends, and looks whether that
/// has happened already.
pub(super) fn die_with_parent(control: &UnixStream) -> Result<(), WorkerError> {
    // The socket pair was made by the parent, and remembers by whom.
    let parent = sockopt::socket_peercred(control).map_err(io::Error::from)?.pid;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    match getppid() {
        Some(now) if now == parent => Ok(()),
        _ => Err(WorkerError::ByHand),
    }
}

/// What comes along with the first byte: a descriptor to be stdin, or nothing. The byte stays.
pub(in crate::cluster) fn take_stdin(control: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC;
    rustix::io::retry_on_intr(|| recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut rights, flags))?;
    let descriptor = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor)
}

/// Puts the worker's own stdin in the place of the control channel.
pub(super) fn become_stdin(stdin: Option<OwnedFd>) -> io::Result<()> {
    let stdin = match stdin {
        Some(stdin) => stdin,
        None => File::open("/dev/null")?.into(),
    };
    Ok(rustix::stdio::dup2_stdin(stdin)?)
}
