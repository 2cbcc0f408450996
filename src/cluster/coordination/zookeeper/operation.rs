//! What a caller asks of the keeper, and how it waits for the outcome.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::node::{Node, Version};
use crate::cluster::coordination::path::NodePath;

/// A call of `Coordination`.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Create { path: NodePath, data: Vec<u8> },
    Get { path: NodePath },
    Set { path: NodePath, data: Vec<u8>, expected: Version },
    Delete { path: NodePath, expected: Version },
    Children { path: NodePath },
    CatchUp,
    Hold { path: NodePath, data: Vec<u8> },
    Release { path: NodePath },
}

impl Operation {
    /// Whether it changes nothing, so that it does not matter how often it is done.
    fn is_read(&self) -> bool {
        matches!(self, Operation::Get { .. } | Operation::Children { .. } | Operation::CatchUp)
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Written(Version),
    Node(Option<Node>),
    Children(Option<Vec<String>>),
}

/// An operation that a caller waits for.
#[derive(Debug)]
pub(super) struct Job {
    pub operation: Operation,
    ticket: Arc<Mutex<Ticket>>,
    reply: Sender<Result<Outcome, CoordinationError>>,
}

/// How far a job is, for both sides.
#[derive(Debug, Default)]
struct Ticket {
    /// A request was sent for it, so it may have been done. Set by the keeper.
    was_sent: bool,
    /// The caller does not wait any more, so nothing more may be sent. Set by the caller.
    is_given_up: bool,
}

fn lock(ticket: &Mutex<Ticket>) -> MutexGuard<'_, Ticket> {
    ticket.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    /// A job, and what its caller waits with.
    pub fn new(operation: Operation) -> (Job, Waiter) {
        let (reply, outcome) = channel();
        let ticket = Arc::new(Mutex::default());
        let is_read = operation.is_read();
        (Job { operation, ticket: Arc::clone(&ticket), reply }, Waiter { ticket, outcome, is_read })
    }

    /// To be called before a request is sent for it. Returns whether requests were sent before; `None`: nobody waits,
    /// so none may be sent.
    pub fn begin(&self) -> Option<bool> {
        let mut ticket = lock(&self.ticket);
        (!ticket.is_given_up).then(|| std::mem::replace(&mut ticket.was_sent, true))
    }

    /// Hands over what came of it.
    pub fn end(self, outcome: Result<Outcome, CoordinationError>) {
        // The caller may have given up.
        let _ = self.reply.send(outcome);
    }
}

/// The caller's side of a job.
#[derive(Debug)]
pub(super) struct Waiter {
    ticket: Arc<Mutex<Ticket>>,
    outcome: Receiver<Result<Outcome, CoordinationError>>,
    is_read: bool,
}

impl Waiter {
    /// Waits for the outcome. If it does not come in time, the job is given up, and the error says whether it may
    /// have been done. `why` is the reason that the error gives.
    pub fn wait(self, at_most: Duration, why: impl FnOnce() -> String) -> Result<Outcome, CoordinationError> {
        match self.outcome.recv_timeout(at_most) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(CoordinationError::Away("this client was closed".to_owned()));
            }
        }
        let was_sent = {
            let mut ticket = lock(&self.ticket);
            ticket.is_given_up = true;
            ticket.was_sent
        };
        // It may have come at the last moment.
        match self.outcome.try_recv() {
            Ok(outcome) => outcome,
            Err(_) if was_sent && !self.is_read => Err(CoordinationError::Uncertain(why())),
            Err(_) => Err(CoordinationError::Away(why())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get() -> Operation {
        Operation::Get { path: NodePath::root() }
    }

    fn release() -> Operation {
        Operation::Release { path: NodePath::root() }
    }

    fn why() -> String {
        "why".to_owned()
    }

    #[test]
    fn the_outcome_reaches_the_caller() {
        let (job, waiter) = Job::new(get());
        assert_eq!(job.begin(), Some(false));
        assert_eq!(job.begin(), Some(true), "it was sent before");
        job.end(Ok(Outcome::Done));
        assert_eq!(waiter.wait(Duration::from_secs(60), why), Ok(Outcome::Done));
    }

    #[test]
    fn what_was_never_sent_was_certainly_not_done() {
        let (job, waiter) = Job::new(release());
        assert_eq!(waiter.wait(Duration::ZERO, why), Err(CoordinationError::Away(why())));
        assert_eq!(job.begin(), None, "and is not sent later");
    }

    #[test]
    fn a_write_that_was_sent_may_have_been_done() {
        let (job, waiter) = Job::new(release());
        job.begin();
        assert_eq!(waiter.wait(Duration::ZERO, why), Err(CoordinationError::Uncertain(why())));
        let (job, waiter) = Job::new(get());
        job.begin();
        assert_eq!(
            waiter.wait(Duration::ZERO, why),
            Err(CoordinationError::Away(why())),
            "a read does nothing"
        );
    }

    #[test]
    fn a_keeper_that_has_ended_is_an_error() {
        let (job, waiter) = Job::new(get());
        drop(job);
        assert!(matches!(waiter.wait(Duration::from_secs(60), why), Err(CoordinationError::Away(_))));
    }
}
