//! What a process can do with the tree of nodes, and what it is notified of.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::node::{Node, Version};
use crate::cluster::coordination::path::NodePath;

/// A tree of nodes that all processes of a cluster see.
///
/// Calls wait for the answer, for at most the time-out of a call, and are repeated within that time when the connection
/// was lost. All may be made by any thread, but not by a [`Notify`].
pub trait Coordination: Send + Sync {
    /// Makes a node. Its parent must exist, and must not be a held node.
    ///
    /// # Errors
    /// [`CoordinationError::Exists`], [`Missing`](CoordinationError::Missing) if there is no parent, and those that
    /// any call can return: `Refused`, `TooLarge`, `Away` and `Uncertain`.
    fn create(&self, path: &NodePath, data: &[u8]) -> Result<Version, CoordinationError>;

    /// Reads a node; `None` if there is none.
    ///
    /// # Errors
    /// `Refused` and `Away`.
    fn get(&self, path: &NodePath) -> Result<Option<Node>, CoordinationError>;

    /// Writes a node that has this version. Returns the version that it has then.
    ///
    /// # Errors
    /// [`CoordinationError::Changed`] if it has another version, `Missing`, and those of any call.
    fn set(&self, path: &NodePath, data: &[u8], expected: Version) -> Result<Version, CoordinationError>;

    /// Deletes a node that has this version. `Ok` means that it is gone: if the connection was lost meanwhile, somebody
    /// else may have deleted it. So what two processes compete for is decided by [`set`](Coordination::set).
    ///
    /// # Errors
    /// [`CoordinationError::Changed`], `Missing`, [`NotEmpty`](CoordinationError::NotEmpty) if it has children,
    /// and those of any call.
    fn delete(&self, path: &NodePath, expected: Version) -> Result<(), CoordinationError>;

    /// The names of the children of a node, sorted; `None` if there is no such node.
    ///
    /// # Errors
    /// `Refused` and `Away`.
    fn children(&self, path: &NodePath) -> Result<Option<Vec<String>>, CoordinationError>;

    /// After this, reads of this process see all that any process had written before the call.
    ///
    /// # Errors
    /// `Away`.
    fn catch_up(&self) -> Result<(), CoordinationError>;

    /// Makes a node that exists while this process lives, and keeps it: it is made again with each new session. If
    /// this process holds the node already, its data are replaced. The parent must exist. A held node is written by
    /// `hold` alone: if others write it, the process that holds it does not recognize it in its next session.
    ///
    /// The data must name this process, as 2 of the module says: a node with the same data that an earlier session
    /// has left behind counts as this process's own, and is replaced.
    ///
    /// # Errors
    /// [`CoordinationError::Exists`] if another process has the node, `Missing`, and those of any call. A node that this
    /// call should have made is not held then, but after `Uncertain` it may be, and data that it should have replaced may
    /// stay: [`release`](Self::release) ends both.
    fn hold(&self, path: &NodePath, data: &[u8]) -> Result<(), CoordinationError>;

    /// Deletes a held node, and does not make it again. Does nothing if the node is not held by this process.
    ///
    /// # Errors
    /// Those of any call. The node is not made again, and vanishes with the session at the latest.
    fn release(&self, path: &NodePath) -> Result<(), CoordinationError>;

    /// Notifies of changes of a node and of everything below it, and of the session, for as long as `notify` exists.
    /// The watch is there when a later call of this process has been answered.
    fn watch(&self, path: &NodePath, notify: &Arc<Notify>);

    /// The session as it is now.
    fn session(&self) -> Session;
}

/// Takes notices. It is called on a thread of the coordination, so it returns at once and makes no call of
/// [`Coordination`]. It usually sends the notice to the thread that reads.
pub type Notify = dyn Fn(Notice) + Send + Sync;

/// What a process is notified of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This node may have been made, written or deleted, or a child of it made or deleted.
    Changed(NodePath),
    /// Anything may have changed. Comes when a session begins, and from time to time.
    ReadAgain,
    /// The connection was lost. Held nodes may vanish, and notices are missed, until the next session begins.
    SessionLost,
    /// Another process has made the node that this process held, while its session was lost. It is no longer
    /// held.
    HeldByOther(NodePath),
}

/// A session with the coordination service, as this process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// How many sessions this process has begun. 0: not one yet.
    pub number: u64,
    /// Whether the latest session goes on, as far as this process knows.
    pub is_connected: bool,
    /// When the latest request was sent that has been answered in this session.
    pub proven_at: Time,
    /// After so much silence of this process the service ends the session, and deletes what is held.
    pub timeout: Duration,
}

impl Session {
    /// Until when this process may act on what it holds. Others may take it over a time-out after `proven_at`, so
    /// this process stops earlier, after two thirds of that.
    pub fn good_until(&self) -> Time {
        if self.number == 0 { Time::ZERO } else { self.proven_at.after(self.timeout * 2 / 3) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_good_for_two_thirds_of_its_timeout_and_none_without_one() {
        let session = |number| Session {
            number,
            is_connected: true,
            proven_at: Time::ZERO.after(Duration::from_secs(5)),
            timeout: Duration::from_secs(3),
        };
        assert_eq!(session(1).good_until(), Time::ZERO.after(Duration::from_secs(7)));
        assert_eq!(session(0).good_until(), Time::ZERO);
    }
}
