//! One connection of the crate `zookeeper`, used for one session at most. The only file that names the crate.
//!
//! ```text
//!   keeper ──(number, Request)──▶ thread "squall-zk-calls": ZooKeeper ──▶ relay ──▶ member
//!      ▲                              │
//!      └── Answered(number, …) ◀──────┘   Lost · Changed · Closed ◀── closures that the crate calls
//! ```
//!
//! 1. The crate's object lives on a thread of its own, which makes one call at a time. A call that is never answered
//!    blocks that thread and nothing else.
//! 2. Closures that the crate calls send one message and do nothing else: the crate deadlocks if they call it, and
//!    its threads end if they panic.
//! 3. After the first sign of a lost connection the object is not used any more. The crate would connect again by
//!    itself, without watches and authentication, and without a word if the session is a new one.
//! 4. Dropping the object waits for an answer of the server, so it is dropped by its own thread. That thread also
//!    keeps the listener of the relay open until the crate has given up.
//!
//! What the crate offers beside this (recipes, caches, `ensure_path`, watches for one event, removal of watches) is
//! not used, because it fails in ways that cannot be mended from outside.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use zookeeper::{
    Acl, AddWatchMode, CreateMode, Stat, WatchedEvent, WatchedEventType, ZkError, ZkState, ZooKeeper,
};

use crate::cluster::coordination::zookeeper::relay::Relay;

/// Longer than the crate waits until it notices that it cannot connect, beside the time-out of the session.
const GIVES_UP_AFTER: Duration = Duration::from_secs(10);

/// What is asked of the server. Paths are absolute.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// Authenticate as a user.
    Login { user: String, password: Vec<u8> },
    /// Make a node. `is_held`: it vanishes with the session.
    Create { path: String, data: Vec<u8>, is_held: bool },
    /// Read a node.
    Get { path: String },
    /// Write a node that has this version; `None`: any.
    Set { path: String, data: Vec<u8>, expected: Option<i32> },
    /// Delete a node that has this version.
    Delete { path: String, expected: i32 },
    /// The names of the children of a node.
    Children { path: String },
    /// Report changes of a node and of everything below it.
    Watch { path: String },
    /// Answer, and nothing else.
    Beat { path: String },
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done.
    Done,
    /// It was done, and the node has this version.
    Written(i32),
    /// The node.
    Node(Found),
    /// The names of the children.
    Children(Vec<String>),
}

/// A node, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub data: Vec<u8>,
    pub version: i32,
    /// The session that holds it; 0: none.
    pub held_by: i64,
}

/// Why the server did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Exists,
    Missing,
    Changed,
    NotEmpty,
    NoChildren,
    /// This user may not do it.
    Refused(&'static str),
    /// There was no answer, and there will be none.
    Lost(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Exists => "the node exists already",
            Failure::Missing => "there is no such node",
            Failure::Changed => "the node was changed by somebody else",
            Failure::NotEmpty => "the node has children",
            Failure::NoChildren => "the node is held by a process, so it cannot have children",
            Failure::Refused(why) => why,
            Failure::Lost(why) => why,
        })
    }
}

/// What a connection reports.
#[derive(Clone, Debug)]
pub(super) enum ConnectionEvent {
    /// The answer to the request with this number.
    Answered(u64, Result<Answer, Failure>),
    /// The connection is lost, or its session is over.
    Lost(String),
    /// The node at this absolute path may have changed.
    Changed(String),
    /// The session was closed, or cannot be.
    Closed,
}

/// A connection. When it is dropped, its session is closed, if the relay still carries it.
#[derive(Debug)]
pub(super) struct Connection {
    calls: Sender<(u64, Request)>,
}

impl Connection {
    /// Connects through a relay. Errors of connecting are reported as [`ConnectionEvent::Lost`]. `is_user`: nodes are
    /// made for the user that will log in, and for nobody else.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn open(
        relay: &Relay,
        timeout: Duration,
        is_user: bool,
        events: impl Fn(ConnectionEvent) + Clone + Send + 'static,
    ) -> io::Result<Connection> {
        let (address, listener) = (relay.address()?.to_string(), relay.listener());
        let (calls, requests) = channel();
        thread::Builder::new().name("squall-zk-calls".to_owned()).spawn(move || {
            let acl = if is_user { Acl::creator_all() } else { Acl::open_unsafe() };
            match connect(&address, timeout, &events) {
                Ok((client, closed)) => {
                    serve(&client, &requests, acl, &events);
                    end(client, &closed, listener, timeout, &events);
                }
                Err(why) => {
                    events(ConnectionEvent::Lost(why));
                    events(ConnectionEvent::Closed);
                }
            }
        })?;
        Ok(Connection { calls })
    }

    /// Sends a request. Its answer is reported with this number.
    pub fn send(&self, number: u64, request: Request) {
        // If its thread has ended, it has reported that the connection is lost.
        let _ = self.calls.send((number, request));
    }
}

/// Makes the crate's object. The receiver gets a message, or is disconnected, when the crate has given up.
fn connect(
    address: &str,
    timeout: Duration,
    events: &(impl Fn(ConnectionEvent) + Clone + Send + 'static),
) -> Result<(ZooKeeper, Receiver<()>), String> {
    let report = changes(events.clone());
    // The crate panics if it gets no descriptor.
    let made = catch_unwind(AssertUnwindSafe(|| ZooKeeper::connect(address, timeout, report)));
    let client = match made {
        Ok(made) => made.map_err(|error| error.to_string())?,
        Err(_) => return Err("the system gave the client no socket".to_owned()),
    };
    let (gives_up, closed) = channel();
    let events = events.clone();
    client.add_listener(move |state| match state {
        ZkState::Connected => {}
        ZkState::Closed => {
            let _ = gives_up.send(());
            events(ConnectionEvent::Lost("the client has given up".to_owned()));
        }
        state => events(ConnectionEvent::Lost(format!("the client is in the state {state:?}"))),
    });
    Ok((client, closed))
}

/// Reports changes of nodes.
fn changes(events: impl Fn(ConnectionEvent) + Send + 'static) -> impl Fn(WatchedEvent) + Send + 'static {
    move |event: WatchedEvent| {
        let is_change = matches!(
            event.event_type,
            WatchedEventType::NodeCreated
                | WatchedEventType::NodeDeleted
                | WatchedEventType::NodeDataChanged
                | WatchedEventType::NodeChildrenChanged
        );
        if let (true, Some(path)) = (is_change, event.path) {
            events(ConnectionEvent::Changed(path));
        }
    }
}

/// Makes calls until nobody asks for any.
fn serve(
    client: &ZooKeeper,
    requests: &Receiver<(u64, Request)>,
    acl: &[Acl],
    events: &(impl Fn(ConnectionEvent) + Clone + Send + 'static),
) {
    for (number, request) in requests {
        let answer = answer(client, request, acl, events).map_err(failure);
        events(ConnectionEvent::Answered(number, answer));
    }
}

/// Closes the session, and waits until the crate needs the listener no more.
fn end(
    client: ZooKeeper,
    closed: &Receiver<()>,
    listener: Arc<TcpListener>,
    timeout: Duration,
    events: &impl Fn(ConnectionEvent),
) {
    drop(client);
    events(ConnectionEvent::Closed);
    // Ends with an error once the crate's threads have ended, or when they take too long.
    let _ = closed.recv_timeout(timeout.saturating_add(GIVES_UP_AFTER));
    drop(listener);
}

fn answer(
    client: &ZooKeeper,
    request: Request,
    acl: &[Acl],
    events: &(impl Fn(ConnectionEvent) + Clone + Send + 'static),
) -> Result<Answer, ZkError> {
    match request {
        Request::Login { user, password } => {
            let mut secret = user.into_bytes();
            secret.push(b':');
            secret.extend(password);
            client.add_auth("digest", secret).map(|()| Answer::Done)
        }
        Request::Create { path, data, is_held } => {
            let mode = if is_held { CreateMode::Ephemeral } else { CreateMode::Persistent };
            client.create(&path, data, acl.to_vec(), mode).map(|_| Answer::Written(0))
        }
        Request::Get { path } => client.get_data(&path, false).map(|(data, stat)| found(data, &stat)),
        Request::Set { path, data, expected } => {
            client.set_data(&path, data, expected).map(|stat| Answer::Written(stat.version))
        }
        Request::Delete { path, expected } => client.delete(&path, Some(expected)).map(|()| Answer::Done),
        Request::Children { path } => client.get_children(&path, false).map(Answer::Children),
        Request::Watch { path } => {
            let report = changes(events.clone());
            client.add_watch(&path, AddWatchMode::PersistentRecursive, report).map(|()| Answer::Done)
        }
        Request::Beat { path } => client.exists(&path, false).map(|_| Answer::Done),
    }
}

fn found(data: Vec<u8>, stat: &Stat) -> Answer {
    Answer::Node(Found { data, version: stat.version, held_by: stat.ephemeral_owner })
}

fn failure(error: ZkError) -> Failure {
    match error {
        ZkError::NodeExists => Failure::Exists,
        ZkError::NoNode => Failure::Missing,
        ZkError::BadVersion => Failure::Changed,
        ZkError::NotEmpty => Failure::NotEmpty,
        ZkError::NoChildrenForEphemerals => Failure::NoChildren,
        ZkError::NoAuth => Failure::Refused("its access list does not have this user"),
        ZkError::AuthFailed => Failure::Refused("the user was not accepted"),
        ZkError::InvalidACL => Failure::Refused("the server accepts no access list of this user"),
        ZkError::Unimplemented => Failure::Lost(
            "the server does not know this request: ZooKeeper 3.6 or later is needed".to_owned(),
        ),
        error => Failure::Lost(error.to_string()),
    }
}
