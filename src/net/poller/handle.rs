//! The handle by which other threads of a worker use its poller.
//!
//! A call puts a command into the mailbox and wake_ups the outbox, which ends the poller's wait. The poller
//! performs the commands in its next round. Only [`PollerHandle::status`] and
//! [`PollerHandle::stop`] wait for it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::counts::NetCounts;
use super::super::members::Members;
use super::super::outbox::Outbox;
use crate::ids::{Incarnation, WorkerId};

/// The reason in the BYE of a worker that ends in order. Its peers do not log a warning then.
pub const ORDERLY_END: &str = "the worker ends";

/// How often a thread that waits for an answer checks whether the poller still runs.
const RUNNING_CHECKED_EVERY: Duration = Duration::from_millis(100);

/// What other threads request of the poller.
#[derive(Debug)]
pub(super) enum Command {
    /// Set the members that the parent has sent.
    SetMembers(Members),
    /// Send the application's status to all peers now.
    SendStatus,
    /// Send the present status to this channel.
    Report(SyncSender<NetStatus>),
    /// Send BYE with this reason on all connections, close them, and end the thread.
    Stop { why: String },
}

/// Commands that the poller has not taken yet, in the order they were put. They are few and small,
/// because one or two threads put them.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<Vec<Command>>);

impl Mailbox {
    pub fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, command: Command) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(command);
    }
}

/// The connections of a worker at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetStatus {
    /// Totals since the start.
    pub counts: NetCounts,
    /// The incarnation of this worker that has replaced this one, which must end then.
    pub fenced_by: Option<Incarnation>,
    /// All other members, by worker.
    pub peers: Vec<PeerStatus>,
}

/// The connections with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub worker: WorkerId,
    /// Its present incarnation.
    pub incarnation: Incarnation,
    /// Whether the connection to it is up.
    pub is_up_to: bool,
    /// Whether the connection from it is up.
    pub is_up_from: bool,
    /// For how long payloads to it have made no progress. If that is longer than `link_lost`, it should
    /// be reported to the parent.
    pub down_for: Option<Duration>,
    /// Payloads to it that it has not reported as taken.
    pub untaken: u64,
    /// Their bytes.
    pub untaken_bytes: u64,
}

/// A handle of a running poller. Dropping it stops the poller.
pub struct PollerHandle {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) address: SocketAddr,
}

impl PollerHandle {
    /// The address on which the poller accepts connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the members. A list that is older than the last one is ignored.
    pub fn set_members(&self, members: Members) {
        self.send_command(Command::SetMembers(members));
    }

    /// Sends the application's status to all peers now, instead of at the next heartbeat.
    pub fn send_status(&self) {
        self.send_command(Command::SendStatus);
    }

    /// The state of the connections. Waits until the poller answers in its next round, which begins at
    /// once, because the request ends the poll. `None`: the poller has ended.
    pub fn status(&self) -> Option<NetStatus> {
        let (reply, status) = sync_channel(1);
        self.send_command(Command::Report(reply));
        loop {
            match status.recv_timeout(RUNNING_CHECKED_EVERY) {
                Ok(status) => return Some(status),
                Err(RecvTimeoutError::Timeout) if self.is_running() => {}
                Err(_) => return None,
            }
        }
    }

    /// Totals since the start; zeroes once the poller has ended.
    pub fn counts(&self) -> NetCounts {
        self.status().unwrap_or_default().counts
    }

    /// Whether the thread runs. If it has ended and was not stopped, the worker is cut off for good and
    /// must end; the cause is in the log.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Sends the peers BYE with this reason ([`ORDERLY_END`] for an end in order), closes all
    /// connections, and waits for the thread.
    ///
    /// # Errors
    /// When the thread had panicked.
    pub fn stop(mut self, why: &str) -> io::Result<()> {
        self.end(why)
    }

    fn end(&mut self, why: &str) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.send_command(Command::Stop { why: why.to_owned() });
        thread.join().map_err(|_| io::Error::other("the thread of the poller panicked"))
    }

    fn send_command(&self, command: Command) {
        self.mailbox.put(command);
        self.outbox.wake_poller();
    }
}

impl Drop for PollerHandle {
    fn drop(&mut self) {
        // A caller that needs the result uses `stop`. A panic of the poller is in the log.
        let _ = self.end(ORDERLY_END);
    }
}

impl fmt::Debug for PollerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollerHandle").field("address", &self.address).finish_non_exhaustive()
    }
}
