//! What the thread of the master's end is to do, and what it has for other threads.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::cluster::link::arrival::Welcome;
use crate::cluster::log_pieces::LogPiece;

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Command {
    Welcome(u64, Welcome),
    Send(u64, Vec<u8>),
    Fence(u64),
    /// Sends this line to the observers on these connections.
    Answer(Vec<u64>, Arc<[u8]>),
    /// A piece of the log of this process was read, for the question with this number.
    LogRead(u64, Result<LogPiece, String>),
    End,
}

#[derive(Debug)]
pub(super) struct Commands {
    waiting: Mutex<Vec<Command>>,
    pub(super) wake: OwnedFd,
    /// The process ids of those that run on this host.
    pub(super) pids: Mutex<BTreeMap<u64, u32>>,
    /// The connections of observers that have asked and were not answered: at most one question each.
    pub(super) asked: Mutex<Vec<u64>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Commands {
    /// Nothing is to be done yet.
    ///
    /// # Errors
    /// When the system refuses a descriptor.
    pub(super) fn new() -> io::Result<Commands> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Commands { waiting: Mutex::default(), wake, pids: Mutex::default(), asked: Mutex::default() })
    }

    pub(super) fn push(&self, command: Command) {
        lock(&self.waiting).push(command);
        // If the counter is full, the eventfd is readable already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// What is to be done now.
    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *lock(&self.waiting))
    }
}
