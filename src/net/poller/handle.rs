//! What the rest of a worker holds of its poller.

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

/// What a worker tells its peers when it ends as it should. They do not warn of it.
pub const ORDERLY_END: &str = "the worker ends";

/// How often one who waits for an answer looks whether the poller still runs.
const LIFE_CHECKED_EVERY: Duration = Duration::from_millis(100);

/// What other threads ask of the poller.
#[derive(Debug)]
pub(super) enum Command {
    /// The parent has said who takes part.
    SetMembers(Members),
    /// Peers shall see the application's status now.
    SendStatus,
    /// Somebody wants to know.
    Report(SyncSender<NetStatus>),
    /// End all links with a word to the peers, and the thread.
    Stop { why: String },
}

/// Commands that the poller has not seen yet. Few and small: its callers are one thread or two.
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

/// The links of a worker at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetStatus {
    /// Totals since the start.
    pub counts: NetCounts,
    /// The life of this worker that has replaced this one: it has to end.
    pub fenced_by: Option<Incarnation>,
    /// All other members, by worker.
    pub peers: Vec<PeerStatus>,
}

/// The links with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub worker: WorkerId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Whether the link to it is up.
    pub is_up_to: bool,
    /// Whether the link from it is up.
    pub is_up_from: bool,
    /// For how long payloads to it have got nowhere. Longer than `link_lost`: the parent should know.
    pub down_for: Option<Duration>,
    /// Payloads that it has not taken.
    pub untaken: u64,
    /// Their bytes.
    pub untaken_bytes: u64,
}

/// A poller, from outside. Dropping it stops the poller.
pub struct PollerHandle {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) address: SocketAddr,
}

impl PollerHandle {
    /// Where it accepts peers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says who takes part, from now on. Lists that are older than the last change nothing.
    pub fn set_members(&self, members: Members) {
        self.tell(Command::SetMembers(members));
    }

    /// Shows the application's status to all peers now, instead of with the next heartbeat.
    pub fn send_status(&self) {
        self.tell(Command::SendStatus);
    }

    /// How the links are. Waits for the poller to come round, which it does at once, since it waits
    /// for nothing itself. `None`: it has ended.
    pub fn status(&self) -> Option<NetStatus> {
        let (reply, status) = sync_channel(1);
        self.tell(Command::Report(reply));
        loop {
            match status.recv_timeout(LIFE_CHECKED_EVERY) {
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

    /// Whether the thread runs. Once it does not, though nobody stopped it, the worker is cut off for
    /// good and must end; the log says why.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends all links, tells the peers why ([`ORDERLY_END`], if it is that), and waits for the thread.
    ///
    /// # Errors
    /// When the thread had panicked.
    pub fn stop(mut self, why: &str) -> io::Result<()> {
        self.end(why)
    }

    fn end(&mut self, why: &str) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.tell(Command::Stop { why: why.to_owned() });
        thread.join().map_err(|_| io::Error::other("the thread of the poller panicked"))
    }

    fn tell(&self, command: Command) {
        self.mailbox.put(command);
        self.outbox.poke();
    }
}

impl Drop for PollerHandle {
    fn drop(&mut self) {
        // Whoever wants to know how it ended, calls `stop`; the log knows.
        let _ = self.end(ORDERLY_END);
    }
}

impl fmt::Debug for PollerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollerHandle").field("address", &self.address).finish_non_exhaustive()
    }
}
