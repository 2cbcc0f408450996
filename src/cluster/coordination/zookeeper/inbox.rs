//! What the keeper is sent, by callers, by the relay and by the connection.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use crate::clock::{Clock, Time};
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::service::Notify;
use crate::cluster::coordination::zookeeper::connection::{Answer, ConnectionEvent, Failure};
use crate::cluster::coordination::zookeeper::operation::Job;
use crate::cluster::coordination::zookeeper::relay::{Greeting, RelayEvent};

/// Changes that are remembered until they are passed on. If there are more, everything counts as changed.
const CHANGES_MAX: usize = 10_000;

/// A message to the keeper.
pub(super) enum Message {
    /// A caller waits for this.
    Job(Job),
    /// Somebody wants to be notified of changes.
    Watch(NodePath, Weak<Notify>),
    /// The client is dropped. The sender is dropped once the session is closed.
    End(Sender<()>),
    /// From the connection with this number.
    Connection(u64, ConnectionEvent),
    /// From the relay of the connection with this number.
    Relay(u64, RelayEvent),
}

/// What the keeper acts on, once answers and changes are taken out.
pub(super) enum Task {
    Job(Job),
    Watch(NodePath, Weak<Notify>),
    End(Sender<()>),
    /// The present connection is over.
    Lost(String),
    /// The time has come.
    Due,
}

/// The messages of the keeper. What does not belong to the connection in use is dropped.
pub(super) struct Inbox {
    messages: Receiver<Message>,
    clock: Clock,
    /// The connection in use.
    connection: u64,
    /// What came while an answer was waited for. Each caller waits for its job, so there are as many as callers.
    put_aside: VecDeque<Task>,
    /// Absolute paths of nodes that may have changed.
    changes: BTreeSet<String>,
    /// More have changed than `changes` holds.
    all_changed: bool,
}

/// What has changed.
pub(super) enum Changes {
    /// These absolute paths.
    Some(BTreeSet<String>),
    /// Too many to remember.
    All,
}

/// A message that is waited for.
enum Awaited {
    Answer(u64, Result<Answer, Failure>),
    Greeting(Greeting),
    Closed,
}

impl Inbox {
    pub fn new(messages: Receiver<Message>, clock: Clock) -> Inbox {
        let (put_aside, changes) = (VecDeque::new(), BTreeSet::new());
        Inbox { messages, clock, connection: 0, put_aside, changes, all_changed: false }
    }

    /// Begins with another connection: what still comes of those before does not count.
    pub fn begin(&mut self, connection: u64) {
        self.connection = connection;
        self.put_aside.retain(|task| !matches!(task, Task::Lost(_)));
        self.changes.clear();
        self.all_changed = false;
    }

    /// Waits for the answer to a request. `Err`: why there will be none.
    pub fn answer(&mut self, number: u64, by: Time) -> Result<Result<Answer, Failure>, String> {
        loop {
            match self.await_one(by)? {
                Awaited::Answer(of, answer) if of == number => return Ok(answer),
                _ => {}
            }
        }
    }

    /// Waits until the member has begun a session. `Err`: why it does not.
    pub fn greeting(&mut self, by: Time) -> Result<Greeting, String> {
        loop {
            if let Awaited::Greeting(greeting) = self.await_one(by)? {
                return Ok(greeting);
            }
        }
    }

    /// Waits until the session was closed, or cannot be closed, or the time has come.
    pub fn closed(&mut self, by: Time) {
        while !matches!(self.await_one(by), Ok(Awaited::Closed) | Err(_)) {}
    }

    /// The next task. `Due` if none comes by then.
    pub fn next(&mut self, by: Time) -> Task {
        loop {
            if let Some(task) = self.put_aside.pop_front() {
                return task;
            }
            match self.receive(by) {
                Some(message) => _ = self.sort(message),
                None => return Task::Due,
            }
            // Changes are passed on before anything else is waited for.
            if self.all_changed || !self.changes.is_empty() {
                return self.put_aside.pop_front().unwrap_or(Task::Due);
            }
        }
    }

    /// What has changed since this was called last.
    pub fn take_changes(&mut self) -> Changes {
        let changes = std::mem::take(&mut self.changes);
        if std::mem::take(&mut self.all_changed) { Changes::All } else { Changes::Some(changes) }
    }

    fn await_one(&mut self, by: Time) -> Result<Awaited, String> {
        loop {
            let lost = self.put_aside.iter().position(|task| matches!(task, Task::Lost(_)));
            if let Some(Task::Lost(why)) = lost.and_then(|at| self.put_aside.remove(at)) {
                return Err(why);
            }
            match self.receive(by) {
                Some(message) => {
                    if let Some(awaited) = self.sort(message) {
                        return Ok(awaited);
                    }
                }
                None => return Err("it does not answer".to_owned()),
            }
        }
    }

    fn receive(&mut self, by: Time) -> Option<Message> {
        match self.messages.recv_timeout(by.since(self.clock.now())) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            // The keeper has a sender itself, for its connections.
            Err(RecvTimeoutError::Disconnected) => unreachable!("the keeper holds a sender"),
        }
    }

    /// Puts a message where it belongs. Returns what somebody may be waiting for.
    fn sort(&mut self, message: Message) -> Option<Awaited> {
        let task = match message {
            Message::Job(job) => Task::Job(job),
            Message::Watch(path, notify) => Task::Watch(path, notify),
            Message::End(ended) => Task::End(ended),
            Message::Connection(of, _) | Message::Relay(of, _) if of != self.connection => return None,
            Message::Connection(_, ConnectionEvent::Answered(number, answer)) => {
                return Some(Awaited::Answer(number, answer));
            }
            Message::Connection(_, ConnectionEvent::Closed) => return Some(Awaited::Closed),
            Message::Relay(_, RelayEvent::Greeted(greeting)) => return Some(Awaited::Greeting(greeting)),
            Message::Connection(_, ConnectionEvent::Changed(path)) => {
                self.note_change(path);
                return None;
            }
            Message::Connection(_, ConnectionEvent::Lost(why))
            | Message::Relay(_, RelayEvent::Ended(why)) => Task::Lost(why),
        };
        self.put_aside.push_back(task);
        None
    }

    fn note_change(&mut self, path: String) {
        if self.changes.len() < CHANGES_MAX {
            self.changes.insert(path);
        } else {
            self.all_changed = true;
        }
    }
}
