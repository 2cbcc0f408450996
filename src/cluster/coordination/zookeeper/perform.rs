//! Operations, as requests to the ensemble.

use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::node::{Node, Version};
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::repeated::{Write, WriteKind, outcome};
use crate::cluster::coordination::zookeeper::connection::{Answer, Failure, Found, Request};
use crate::cluster::coordination::zookeeper::held::Held;
use crate::cluster::coordination::zookeeper::inbox::Inbox;
use crate::cluster::coordination::zookeeper::operation::{Operation, Outcome};
use crate::cluster::coordination::zookeeper::session::Session;

/// The node that is written to catch up. Nobody is shown it.
const CATCH_UP: &str = ".catch-up";

fn catch_up_node() -> NodePath {
    NodePath::root().child(CATCH_UP).expect("it is a name")
}

/// Whether a node is of no interest to anybody else.
pub(super) fn is_ours(path: &NodePath) -> bool {
    path.name() == Some(CATCH_UP)
}

/// Why an operation was not done.
pub(super) enum Problem {
    /// The session was lost. The operation may have been done.
    Lost(String),
    /// The caller gets this error.
    Failed(CoordinationError),
}

/// Does an operation. `was_sent`: it was sent in an earlier session, and its answer was lost.
pub(super) fn perform(
    operation: &Operation,
    was_sent: bool,
    session: &mut Session,
    inbox: &mut Inbox,
    held: &mut Held,
) -> Result<Outcome, Problem> {
    match operation {
        Operation::Create { path, data } => {
            write(&Write { path, kind: WriteKind::Create { data } }, was_sent, session, inbox)
        }
        Operation::Set { path, data, expected } => {
            let kind = WriteKind::Set { data, expected: *expected };
            write(&Write { path, kind }, was_sent, session, inbox)
        }
        Operation::Delete { path, expected } => {
            let kind = WriteKind::Delete { expected: *expected };
            write(&Write { path, kind }, was_sent, session, inbox)
        }
        Operation::Get { path } => {
            let found = session.find(inbox, path).map_err(|failure| problem(failure, path))?;
            Ok(Outcome::Node(found.map(node)))
        }
        Operation::Children { path } => children(path, session, inbox),
        Operation::CatchUp => {
            let done = catch_up(session, inbox);
            done.map(|()| Outcome::Done).map_err(|failure| problem(failure, &catch_up_node()))
        }
        Operation::Hold { path, data } => {
            let done = held.hold(path, data, session, inbox);
            done.map(|()| Outcome::Done).map_err(|failure| problem_of_making(failure, path))
        }
        Operation::Release { path } => {
            let done = held.release(path, session, inbox);
            done.map(|()| Outcome::Done).map_err(|failure| problem(failure, path))
        }
    }
}

fn write(
    write: &Write<'_>,
    was_sent: bool,
    session: &mut Session,
    inbox: &mut Inbox,
) -> Result<Outcome, Problem> {
    let path = session.absolute(write.path);
    let request = match write.kind {
        WriteKind::Create { data } => Request::Create { path, data: data.to_vec(), is_held: false },
        WriteKind::Set { data, expected } => {
            Request::Set { path, data: data.to_vec(), expected: Some(sent(expected)) }
        }
        WriteKind::Delete { expected } => Request::Delete { path, expected: sent(expected) },
    };
    let answer = match (session.call(inbox, request), write.kind) {
        (Ok(Answer::Written(version)), _) => Ok(Version(version)),
        (Ok(_), WriteKind::Delete { expected } | WriteKind::Set { expected, .. }) => Ok(expected),
        (Ok(_), WriteKind::Create { .. }) => Ok(Version(0)),
        (Err(failure), WriteKind::Create { .. }) => Err(problem_of_making(failure, write.path)),
        (Err(failure), _) => Err(problem(failure, write.path)),
    };
    let answer = match answer {
        Ok(version) => Ok(version),
        Err(Problem::Failed(error)) => Err(error),
        Err(lost) => return Err(lost),
    };
    let mut lost = None;
    let version = if was_sent {
        let read = || {
            let found =
                session.find(inbox, write.path).map_err(|failure| match problem(failure, write.path) {
                    Problem::Failed(error) => error,
                    Problem::Lost(why) => {
                        lost = Some(why.clone());
                        CoordinationError::Away(why)
                    }
                });
            Ok(found?.map(node))
        };
        outcome(write, answer, read)
    } else {
        answer
    };
    if let Some(why) = lost {
        return Err(Problem::Lost(why));
    }
    match (version, write.kind) {
        (Ok(_), WriteKind::Delete { .. }) => Ok(Outcome::Done),
        (Ok(version), _) => Ok(Outcome::Written(version)),
        (Err(error), _) => Err(Problem::Failed(error)),
    }
}

/// The version that a server is asked to compare with. It takes -1 for "any version", so a version that no node has is
/// sent as one that it compares.
fn sent(expected: Version) -> i32 {
    if expected.0 < 0 { i32::MIN } else { expected.0 }
}

fn children(path: &NodePath, session: &mut Session, inbox: &mut Inbox) -> Result<Outcome, Problem> {
    let names = match session.call(inbox, Request::Children { path: session.absolute(path) }) {
        Ok(Answer::Children(names)) => names,
        Ok(_) | Err(Failure::Missing) => return Ok(Outcome::Children(None)),
        Err(failure) => return Err(problem(failure, path)),
    };
    // A name that squall does not give belongs to somebody else.
    let is_shown = |name: &String| path.child(name).is_ok_and(|child| !is_ours(&child));
    let mut names: Vec<String> = names.into_iter().filter(is_shown).collect();
    names.sort_unstable();
    Ok(Outcome::Children(Some(names)))
}

/// Writes a node that nobody reads. A member answers a write of a session after it has applied all writes before it.
pub(super) fn catch_up(session: &mut Session, inbox: &mut Inbox) -> Result<(), Failure> {
    let path = session.absolute(&catch_up_node());
    let request = Request::Set { path: path.clone(), data: Vec::new(), expected: None };
    match session.call(inbox, request) {
        Err(Failure::Missing) => {}
        // The node belongs to another user. A write that is refused is ordered among the others, too, and a member
        // answers it in its turn.
        Err(Failure::Refused(_)) => return Ok(()),
        done => return done.map(|_| ()),
    }
    match session.call(inbox, Request::Create { path, data: Vec::new(), is_held: false }) {
        // Another process has made it: this request, too, was answered after all writes before it.
        Ok(_) | Err(Failure::Exists | Failure::Refused(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Makes the node below which all others are, and those above it, if they are missing.
pub(super) fn make_root(root: &NodePath, session: &mut Session, inbox: &mut Inbox) -> Result<(), String> {
    let mut missing = Vec::new();
    let mut next = Some(root.clone());
    while let Some(path) = next.filter(|path| *path != NodePath::root()) {
        match session.call(inbox, Request::Children { path: path.to_string() }) {
            Err(Failure::Missing) => missing.push(path.clone()),
            Ok(_) | Err(Failure::Refused(_)) => break,
            Err(failure) => return Err(failure.to_string()),
        }
        next = path.parent();
    }
    for path in missing.iter().rev() {
        let request = Request::Create { path: path.to_string(), data: Vec::new(), is_held: false };
        match session.call(inbox, request) {
            Ok(_) | Err(Failure::Exists) => {}
            Err(failure) => {
                return Err(format!("the node `{path}` of `zookeeper.root` cannot be made: {failure}"));
            }
        }
    }
    Ok(())
}

fn node(found: Found) -> Node {
    Node { data: found.data, version: Version(found.version), is_held: found.held_by != 0 }
}

fn problem(failure: Failure, path: &NodePath) -> Problem {
    let path = path.clone();
    Problem::Failed(match failure {
        Failure::Lost(why) => return Problem::Lost(why),
        Failure::Exists => CoordinationError::Exists(path),
        Failure::Missing => CoordinationError::Missing(path),
        Failure::Changed => CoordinationError::Changed(path),
        Failure::NotEmpty => CoordinationError::NotEmpty(path),
        Failure::NoChildren => CoordinationError::NoChildren(path),
        Failure::Refused(why) => CoordinationError::Refused(path, why.to_owned()),
    })
}

/// Of a node that is to be made, what is missing, or cannot have children, is its parent.
fn problem_of_making(failure: Failure, path: &NodePath) -> Problem {
    let parent = path.parent().unwrap_or_else(NodePath::root);
    match failure {
        Failure::Missing | Failure::NoChildren => problem(failure, &parent),
        failure => problem(failure, path),
    }
}
