//! The nodes that this process holds, and how each session makes them.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::zookeeper::connection::{Failure, Request};
use crate::cluster::coordination::zookeeper::inbox::Inbox;
use crate::cluster::coordination::zookeeper::session::Session;

/// How often a node that changes while it is made is looked at again.
const ROUNDS: usize = 8;

/// The nodes that this process holds, with the data that it wants them to have.
#[derive(Debug, Default)]
pub(super) struct Held {
    nodes: BTreeMap<NodePath, Vec<u8>>,
    /// Those of `nodes` that are to be released: no session makes them again.
    to_release: BTreeSet<NodePath>,
    /// Those of `nodes` that could not be made again, for example because their parent is gone.
    missing: BTreeSet<NodePath>,
}

impl Held {
    /// The nodes that a new session makes.
    pub fn paths(&self) -> Vec<NodePath> {
        self.nodes.keys().filter(|path| !self.to_release.contains(*path)).cloned().collect()
    }

    /// The nodes that could not be made again so far.
    pub fn missing(&self) -> Vec<NodePath> {
        self.missing.difference(&self.to_release).cloned().collect()
    }

    /// The node is released once there is a session, and not made until then.
    pub fn mark_for_release(&mut self, path: &NodePath) {
        if self.nodes.contains_key(path) {
            self.to_release.insert(path.clone());
        }
    }

    fn forget(&mut self, path: &NodePath) -> Option<Vec<u8>> {
        self.to_release.remove(path);
        self.missing.remove(path);
        self.nodes.remove(path)
    }

    /// Makes the node again in a new session. `Failure::Exists`: another process has it; then it is not held any more.
    /// After any other failure it is to be tried again.
    pub fn hold_again(
        &mut self,
        path: &NodePath,
        session: &mut Session,
        inbox: &mut Inbox,
    ) -> Result<(), Failure> {
        let Some(data) = self.nodes.get(path).cloned() else { return Ok(()) };
        let held = make(path, &data, &[&data], session, inbox);
        match &held {
            Ok(()) => _ = self.missing.remove(path),
            Err(Failure::Exists) => _ = self.forget(path),
            Err(_) => _ = self.missing.insert(path.clone()),
        }
        held
    }

    /// Makes the node, or replaces its data. `Failure::Exists`: another process has it.
    pub fn hold(
        &mut self,
        path: &NodePath,
        data: &[u8],
        session: &mut Session,
        inbox: &mut Inbox,
    ) -> Result<(), Failure> {
        let before = self.nodes.get(path).cloned();
        let own: Vec<&[u8]> = before.as_deref().into_iter().chain([data]).collect();
        make(path, data, &own, session, inbox)?;
        self.to_release.remove(path);
        self.missing.remove(path);
        self.nodes.insert(path.clone(), data.to_vec());
        Ok(())
    }

    /// Deletes the node if it is this process's own.
    pub fn release(
        &mut self,
        path: &NodePath,
        session: &mut Session,
        inbox: &mut Inbox,
    ) -> Result<(), Failure> {
        self.mark_for_release(path);
        let deleted = delete(path, self.nodes.get(path), session, inbox);
        // If the session was lost, the next one goes on with it.
        if !matches!(deleted, Err(Failure::Lost(_))) {
            self.forget(path);
        }
        deleted
    }
}

/// Deletes the node if it belongs to this session, or has the data `own` and belongs to an earlier one.
fn delete(
    path: &NodePath,
    own: Option<&Vec<u8>>,
    session: &mut Session,
    inbox: &mut Inbox,
) -> Result<(), Failure> {
    for _ in 0..ROUNDS {
        let Some(found) = session.find(inbox, path)? else { return Ok(()) };
        let is_own = found.held_by == session.number()
            || (found.held_by != 0 && own.is_some_and(|own| *own == found.data));
        if !is_own {
            return Ok(());
        }
        let request = Request::Delete { path: session.absolute(path), expected: found.version };
        match session.call(inbox, request) {
            Ok(_) | Err(Failure::Missing) => return Ok(()),
            Err(Failure::Changed) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Changed)
}

/// Makes a held node with these data. A node that has data of `own` and belongs to another session was left behind by an
/// earlier session of this process: it would vanish with that session, so it is deleted and made again.
fn make(
    path: &NodePath,
    data: &[u8],
    own: &[&[u8]],
    session: &mut Session,
    inbox: &mut Inbox,
) -> Result<(), Failure> {
    let absolute = session.absolute(path);
    for _ in 0..ROUNDS {
        let request = Request::Create { path: absolute.clone(), data: data.to_vec(), is_held: true };
        match session.call(inbox, request) {
            Err(Failure::Exists) => {}
            made => return made.map(|_| ()),
        }
        let Some(found) = session.find(inbox, path)? else { continue };
        let request = if found.held_by == session.number() {
            if found.data == data {
                return Ok(());
            }
            Request::Set { path: absolute.clone(), data: data.to_vec(), expected: Some(found.version) }
        } else if found.held_by != 0 && own.contains(&&*found.data) {
            Request::Delete { path: absolute.clone(), expected: found.version }
        } else {
            return Err(Failure::Exists);
        };
        let was_set = matches!(request, Request::Set { .. });
        match session.call(inbox, request) {
            Ok(_) if was_set => return Ok(()),
            Ok(_) | Err(Failure::Missing | Failure::Changed) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Exists)
}
