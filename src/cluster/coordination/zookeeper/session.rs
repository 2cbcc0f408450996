//! One session with the ensemble, over one connection.

use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::zookeeper::connection::{Answer, Connection, Failure, Found, Request};
use crate::cluster::coordination::zookeeper::inbox::{Inbox, Message};
use crate::cluster::coordination::zookeeper::relay::{Greeting, Relay};
use crate::cluster::coordination::zookeeper::servers::Reached;
use crate::net::transport::Transport;

/// Fields are dropped in this order: the relay is cut first, so that dropping the connection waits for nobody.
pub(super) struct Session {
    relay: Relay,
    connection: Connection,
    /// The member, as the options name it.
    pub server: String,
    greeting: Greeting,
    /// The node below which all others are; empty: the root of the ensemble.
    root: String,
    clock: Clock,
    /// The number of the latest request.
    requests: u64,
    /// When the latest request was sent that was answered.
    pub proven_at: Time,
    /// When the latest answer came.
    pub answered_at: Time,
}

/// What a session is begun with.
pub(super) struct Beginning<'b> {
    /// The number of the connection.
    pub number: u64,
    pub reached: Reached,
    pub transport: Transport,
    /// What is asked for; the member may decide on another one.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Nodes are made for the user that will log in.
    pub is_user: bool,
    pub root: &'b NodePath,
    pub clock: &'b Clock,
    /// Where the relay and the connection report.
    pub messages: &'b Sender<Message>,
}

impl Session {
    /// Begins a session through a relay of its own.
    ///
    /// # Errors
    /// Why there is none.
    pub fn begin(beginning: Beginning<'_>, inbox: &mut Inbox) -> Result<Session, String> {
        let Beginning { number, reached, transport, timeout, connect_timeout, clock, .. } = beginning;
        let failed = |error: std::io::Error| error.to_string();
        inbox.begin(number);
        // Before anything can be sent, so that the session is never believed to be younger than it is.
        let sent_at = clock.now();
        let messages = beginning.messages.clone();
        let report = move |event| _ = messages.send(Message::Relay(number, event));
        let relay =
            Relay::start(reached.socket, transport, connect_timeout, clock, report).map_err(failed)?;
        let messages = beginning.messages.clone();
        let report = move |event| _ = messages.send(Message::Connection(number, event));
        let connection = Connection::open(&relay, timeout, beginning.is_user, report).map_err(failed)?;
        let greeting = inbox.greeting(sent_at.after(connect_timeout))?;
        if greeting.timeout.is_zero() {
            return Err("it refuses the session".to_owned());
        }
        Ok(Session {
            relay,
            connection,
            server: reached.name,
            greeting,
            root: if *beginning.root == NodePath::root() {
                String::new()
            } else {
                beginning.root.to_string()
            },
            clock: clock.clone(),
            requests: 0,
            proven_at: sent_at,
            answered_at: clock.now(),
        })
    }

    /// After so much silence of this process the ensemble ends the session.
    pub fn timeout(&self) -> Duration {
        self.greeting.timeout
    }

    /// The number that the ensemble gave the session.
    pub fn number(&self) -> i64 {
        self.greeting.session
    }

    /// The path of a node in the ensemble.
    pub fn absolute(&self, path: &NodePath) -> String {
        match (self.root.as_str(), path.to_string()) {
            ("", path) => path,
            (root, path) if path == "/" => root.to_owned(),
            (root, path) => format!("{root}{path}"),
        }
    }

    /// The node at a path in the ensemble; `None` if it is not below the root, or has no name that squall gives.
    pub fn relative(&self, absolute: &str) -> Option<NodePath> {
        let path = absolute.strip_prefix(&*self.root)?;
        if path.is_empty() { Some(NodePath::root()) } else { path.parse().ok() }
    }

    /// Asks, and waits for the answer. After [`Failure::Lost`] the session must not be used any more.
    pub fn call(&mut self, inbox: &mut Inbox, request: Request) -> Result<Answer, Failure> {
        self.requests += 1;
        let sent_at = self.clock.now();
        self.connection.send(self.requests, request);
        let answer = inbox.answer(self.requests, sent_at.after(self.timeout() / 3));
        let answer = answer.unwrap_or_else(|why| Err(Failure::Lost(why)));
        if !matches!(answer, Err(Failure::Lost(_))) {
            self.proven_at = sent_at;
            self.answered_at = self.clock.now();
        }
        answer
    }

    /// Reads a node.
    pub fn find(&mut self, inbox: &mut Inbox, path: &NodePath) -> Result<Option<Found>, Failure> {
        match self.call(inbox, Request::Get { path: self.absolute(path) }) {
            Ok(Answer::Node(found)) => Ok(Some(found)),
            Ok(_) => Ok(None),
            Err(Failure::Missing) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Closes the session in order, so that what it holds vanishes at once.
    pub fn close(self, inbox: &mut Inbox) {
        let Session { relay, connection, .. } = self;
        drop(connection);
        inbox.closed(self.clock.now().after(self.greeting.timeout / 3));
        drop(relay);
    }
}
