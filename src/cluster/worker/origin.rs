//! What a worker gets from its parent at its start: the control channel, the death signal, its stdin.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{FileType, fstat};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::cluster::control::ControlError;
use crate::cluster::topologies::{OccupancyError, OrderError};

/// Why a worker could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Its stdin is not a control channel of its parent: the worker was started by hand.
    #[error("this worker has no parent with a control channel")]
    ByHand,
    /// The system refuses something that the worker needs.
    #[error("cannot begin as a worker")]
    Io(#[from] io::Error),
    /// Another process has its directory, or it is gone.
    #[error(transparent)]
    Occupied(#[from] OccupancyError),
    /// Its order or its secret cannot be read.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The first message of the parent cannot be read.
    #[error("the messages of the parent cannot be read")]
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

/// Lets the kernel kill this process when the thread that started it ends, and checks that the parent has
/// not ended already.
pub(super) fn die_with_parent(control: &UnixStream) -> Result<(), WorkerError> {
    // The parent made the socket pair, so the kernel reports the parent's pid as the peer's.
    let parent = sockopt::socket_peercred(control).map_err(io::Error::from)?.pid;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    match getppid() {
        Some(now) if now == parent => Ok(()),
        _ => Err(WorkerError::ByHand),
    }
}

/// The descriptor for stdin that was sent along with the first byte, if any. The byte is not consumed.
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

/// Replaces the control channel by the worker's own stdin: the given descriptor, or an empty one.
pub(super) fn become_stdin(stdin: Option<OwnedFd>) -> io::Result<()> {
    let stdin = match stdin {
        Some(stdin) => stdin,
        None => File::open("/dev/null")?.into(),
    };
    Ok(rustix::stdio::dup2_stdin(stdin)?)
}
