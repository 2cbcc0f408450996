//! A process's access to the ensemble.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use slog::Logger;

use crate::clock::Clock;
use crate::cluster::coordination::error::{CoordinationError, check_size};
use crate::cluster::coordination::node::{Node, Version};
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::service::{self, Coordination, Notify};
use crate::cluster::coordination::zookeeper::inbox::Message;
use crate::cluster::coordination::zookeeper::keeper::Keeper;
use crate::cluster::coordination::zookeeper::operation::{Job, Operation, Outcome};
use crate::cluster::coordination::zookeeper::seen::Seen;
use crate::cluster::coordination::zookeeper::settings::Settings;
use crate::cluster::coordination::zookeeper::tls::Tls;
use crate::config::ZooKeeperOptions;
use crate::files;

/// Bytes of the longest password.
const PASSWORD_MAX: u64 = 4096;
/// How long dropping a client waits until its session is closed.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A client of a real ZooKeeper. It connects in the background, and again whenever its connection is lost. Dropping it
/// closes its session, so that what it holds vanishes at once.
pub struct ZooKeeperClient {
    messages: Sender<Message>,
    seen: Arc<Seen>,
    /// How long a call may take.
    call_timeout: Duration,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An option cannot be used.
    #[error("{0}")]
    Option(String),
    /// The system refuses a thread.
    #[error("cannot start the thread that speaks with ZooKeeper")]
    Thread(#[source] std::io::Error),
}

impl ZooKeeperClient {
    /// Starts a client. It waits for no connection.
    ///
    /// # Errors
    /// When an option cannot be used, or the system refuses a thread.
    pub fn open(
        options: &ZooKeeperOptions,
        clock: &Clock,
        logger: &Logger,
        seed: u64,
    ) -> Result<ZooKeeperClient, OpenError> {
        ZooKeeperClient::start(options, clock, logger, seed, false)
    }

    /// The same, for somebody who only looks: it makes nothing by itself, not even the root.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_for_reading(
        options: &ZooKeeperOptions,
        clock: &Clock,
        logger: &Logger,
        seed: u64,
    ) -> Result<ZooKeeperClient, OpenError> {
        ZooKeeperClient::start(options, clock, logger, seed, true)
    }

    fn start(
        options: &ZooKeeperOptions,
        clock: &Clock,
        logger: &Logger,
        seed: u64,
        only_reads: bool,
    ) -> Result<ZooKeeperClient, OpenError> {
        if let Some(problem) = options.problems().into_iter().next() {
            return Err(OpenError::Option(problem.to_string()));
        }
        let root = options.root.parse();
        let root = root.map_err(|error| OpenError::Option(format!("`zookeeper.root`: {error}")))?;
        let tls =
            options.tls.as_ref().map(|tls| Tls::load(tls, clock)).transpose().map_err(OpenError::Option)?;
        let password =
            options.password_file.as_deref().map(read_password).transpose().map_err(OpenError::Option)?;
        let settings = Settings { options: options.clone(), root, tls, password, seed, only_reads };
        let (messages, inbox) = channel();
        let seen = Arc::new(Seen::new(options.session_timeout));
        let own = (messages.clone(), inbox);
        let keeper = Keeper::new(settings, own, clock.clone(), logger.clone(), Arc::clone(&seen));
        thread::Builder::new()
            .name("squall-zookeeper".to_owned())
            .spawn(move || keeper.run())
            .map_err(OpenError::Thread)?;
        // Long enough for a session that is lost and the next one that begins.
        let call_timeout = options.session_timeout.saturating_add(options.connect_timeout);
        Ok(ZooKeeperClient { messages, seen, call_timeout })
    }

    /// The same client, whose calls may take so long. Otherwise that is the time-out of a session and of connecting.
    #[must_use]
    pub fn with_call_timeout(mut self, call_timeout: Duration) -> ZooKeeperClient {
        self.call_timeout = call_timeout;
        self
    }

    /// The member that this client is connected to, as the options name it; `None` without a session.
    pub fn server(&self) -> Option<String> {
        self.seen.server()
    }

    fn ask(&self, operation: Operation) -> Result<Outcome, CoordinationError> {
        let (job, waiter) = Job::new(operation);
        // If the keeper has ended, the job is dropped, and the waiter sees that.
        let _ = self.messages.send(Message::Job(job));
        waiter.wait(self.call_timeout, || self.seen.why_away())
    }
}

/// The password of a file that nobody else may read; a line break at its end is not part of it.
fn read_password(path: &Path) -> Result<Vec<u8>, String> {
    let key = "zookeeper.password_file";
    let failed = |why: String| format!("{key}: {}: {why}", path.display());
    let mut password = files::read_private(path, PASSWORD_MAX).map_err(|error| failed(error.to_string()))?;
    while password.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        password.pop();
    }
    match password.is_empty() {
        true => Err(failed("it is empty".to_owned())),
        false => Ok(password),
    }
}

impl Coordination for ZooKeeperClient {
    fn create(&self, path: &NodePath, data: &[u8]) -> Result<Version, CoordinationError> {
        check_size(path, data)?;
        match self.ask(Operation::Create { path: path.clone(), data: data.to_vec() })? {
            Outcome::Written(version) => Ok(version),
            _ => Ok(Version(0)),
        }
    }

    fn get(&self, path: &NodePath) -> Result<Option<Node>, CoordinationError> {
        match self.ask(Operation::Get { path: path.clone() })? {
            Outcome::Node(node) => Ok(node),
            _ => Ok(None),
        }
    }

    fn set(&self, path: &NodePath, data: &[u8], expected: Version) -> Result<Version, CoordinationError> {
        check_size(path, data)?;
        match self.ask(Operation::Set { path: path.clone(), data: data.to_vec(), expected })? {
            Outcome::Written(version) => Ok(version),
            _ => Ok(expected),
        }
    }

    fn delete(&self, path: &NodePath, expected: Version) -> Result<(), CoordinationError> {
        self.ask(Operation::Delete { path: path.clone(), expected }).map(drop)
    }

    fn children(&self, path: &NodePath) -> Result<Option<Vec<String>>, CoordinationError> {
        match self.ask(Operation::Children { path: path.clone() })? {
            Outcome::Children(names) => Ok(names),
            _ => Ok(None),
        }
    }

    fn catch_up(&self) -> Result<(), CoordinationError> {
        self.ask(Operation::CatchUp).map(drop)
    }

    fn hold(&self, path: &NodePath, data: &[u8]) -> Result<(), CoordinationError> {
        check_size(path, data)?;
        self.ask(Operation::Hold { path: path.clone(), data: data.to_vec() }).map(drop)
    }

    fn release(&self, path: &NodePath) -> Result<(), CoordinationError> {
        self.ask(Operation::Release { path: path.clone() }).map(drop)
    }

    fn watch(&self, path: &NodePath, notify: &Arc<Notify>) {
        // If the keeper has ended, there is nothing to be notified of.
        let _ = self.messages.send(Message::Watch(path.clone(), Arc::downgrade(notify)));
    }

    fn session(&self) -> service::Session {
        self.seen.session()
    }
}

impl Drop for ZooKeeperClient {
    fn drop(&mut self) {
        let (ended, closed) = channel();
        if self.messages.send(Message::End(ended)).is_ok() {
            // An error: the keeper has ended, or it takes too long. Then the session ends by its time-out.
            let _ = closed.recv_timeout(CLOSE_MAX);
        }
    }
}

impl fmt::Debug for ZooKeeperClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeperClient").field("session", &self.session()).finish_non_exhaustive()
    }
}
