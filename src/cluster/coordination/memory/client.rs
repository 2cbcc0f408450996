//! A process that uses a [`MemoryService`](super::MemoryService), and what a simulation can do to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::coordination::error::{CoordinationError, check_size};
use crate::cluster::coordination::memory::ensemble::Ensemble;
use crate::cluster::coordination::memory::options::Lose;
use crate::cluster::coordination::memory::state::{Client, State};
use crate::cluster::coordination::memory::tree::{Actor, Change};
use crate::cluster::coordination::node::{Node, Version};
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::repeated::{self, Write, WriteKind};
use crate::cluster::coordination::service::{Coordination, Notify, Session};

/// A simulated process. It does nothing by itself: it finds out about its session when it calls, and when the
/// simulation calls [`beat`](MemoryClient::beat).
///
/// When it is dropped, its session ends at once, if the service is reached.
pub struct MemoryClient {
    service: Ensemble,
    id: usize,
}

impl MemoryClient {
    pub(super) fn new(service: Ensemble, id: usize) -> MemoryClient {
        MemoryClient { service, id }
    }

    /// What the real client does on a thread of its own: proves that the process lives, begins a session if the last one
    /// is lost, makes what could not be held before, and hands over notices. To be called a few times in each session
    /// time-out.
    pub fn beat(&self) {
        self.service.with(|state| {
            if state.reach(self.id).is_ok() {
                state.make_unmade(self.id);
                state.read_again_if_due(self.id);
            }
        });
        self.deliver();
    }

    /// Hands over the notices that wait.
    pub fn deliver(&self) {
        self.service.deliver_to(self.id);
    }

    /// The process dies without ending its session. That ends after the time-out. All calls return `Away`.
    pub fn die(&self) {
        self.change(|client| {
            client.is_dead = true;
            client.notices.clear();
            client.watches.clear();
        });
    }

    /// Nothing reaches the service any more, and nothing comes from it. The process finds out when it calls or beats.
    pub fn cut(&self) {
        self.change(|client| client.is_cut = true);
    }

    /// The end of [`cut`](MemoryClient::cut), and of what [`lose_next`](MemoryClient::lose_next) has not done yet. The
    /// connection is a new one, and so is the session.
    pub fn heal(&self) {
        self.service.with(|state| {
            state.client(self.id).faults.clear();
            // A cut that nobody has noticed has broken the connection all the same.
            if state.client(self.id).is_cut {
                state.lose(self.id);
                state.client(self.id).is_cut = false;
            }
        });
    }

    /// The service ends the session now, behind the back of the process.
    pub fn expire(&self) {
        self.service.with(|state| {
            if let Some(session) = state.client(self.id).session {
                state.end_session(session);
            }
        });
        self.service.deliver_at_once();
    }

    /// From now on reads return what is true now, until a write of this process, or `catch_up`, moves that
    /// moment. `false`: reads return what is true when they are made.
    pub fn lag(&self, lag: bool) {
        self.service.with(|state| {
            state.client(self.id).lag = lag;
            state.refresh_view(self.id);
        });
    }

    /// The connection is lost with the next write that has no such fault yet. If the process `stays_cut`, the write
    /// is not repeated until [`heal`](MemoryClient::heal); else the process connects again at once, and finds out.
    pub fn lose_next(&self, lose: Lose, stays_cut: bool) {
        self.change(|client| client.faults.push_back((lose, stays_cut)));
    }

    /// How long the calls since the last time would have taken. Whoever drives the clock may let so much pass.
    pub fn take_spent(&self) -> Duration {
        self.service.with(|state| std::mem::take(&mut state.client(self.id).spent))
    }

    fn change(&self, change: impl FnOnce(&mut Client)) {
        self.service.with(|state| change(state.client(self.id)));
    }

    /// Makes a call that changes nothing.
    fn read<T>(
        &self,
        read: impl FnOnce(&mut State, &Actor) -> Result<T, CoordinationError>,
    ) -> Result<T, CoordinationError> {
        let result = self.service.with(|state| {
            let reached = state.reach(self.id);
            spend(state, self.id, reached.is_ok());
            read(state, &reached?)
        });
        self.service.deliver_at_once();
        result
    }

    /// Makes a call that changes something, and makes it again as long as its answer is lost. `done` does it; its last
    /// argument is whether it was sent before. `late` is what of it may arrive later.
    fn write<T>(
        &self,
        late: &Change,
        mut done: impl FnMut(&mut State, &Actor, bool) -> Result<T, CoordinationError>,
    ) -> Result<T, CoordinationError> {
        let result = self.service.with(|state| {
            let mut was_sent = false;
            // Each round but the last takes one fault, so it ends.
            loop {
                let reached = state.reach(self.id);
                spend(state, self.id, reached.is_ok());
                let actor = match reached {
                    Err(CoordinationError::Away(why)) if was_sent => {
                        let path = late.path();
                        let why = format!("node `{path}` was written when the connection was lost: {why}");
                        return Err(CoordinationError::Uncertain(why));
                    }
                    reached => reached?,
                };
                let Some((lose, stays_cut)) = state.client(self.id).faults.pop_front() else {
                    let result = done(state, &actor, was_sent);
                    state.refresh_view(self.id);
                    return result;
                };
                match lose {
                    Lose::Request => {}
                    Lose::Answer => drop(done(state, &actor, was_sent)),
                    Lose::Late => state.send_late(actor, late.clone()),
                }
                was_sent = true;
                state.lose(self.id);
                state.client(self.id).is_cut |= stays_cut;
            }
        });
        self.service.deliver_at_once();
        result
    }

    /// A write of one node, whose repetition is decided as that of the real client is.
    fn change_node(&self, write: &Write<'_>) -> Result<Version, CoordinationError> {
        let path = write.path.clone();
        let change = match write.kind {
            WriteKind::Create { data } => Change::Create { path, data: data.to_vec(), is_held: false },
            WriteKind::Set { data, expected } => Change::Set { path, data: data.to_vec(), expected },
            WriteKind::Delete { expected } => Change::Delete { path, expected },
        };
        self.write(&change, |state, actor, was_sent| {
            let answer = state.commit(actor, change.clone());
            let read = || state.data.tree.get(actor.user.as_deref(), write.path);
            if was_sent { repeated::outcome(write, answer, read) } else { answer }
        })
    }
}

impl Coordination for MemoryClient {
    fn create(&self, path: &NodePath, data: &[u8]) -> Result<Version, CoordinationError> {
        check_size(path, data)?;
        self.change_node(&Write { path, kind: WriteKind::Create { data } })
    }

    fn get(&self, path: &NodePath) -> Result<Option<Node>, CoordinationError> {
        self.read(|state, actor| state.view(self.id).get(actor.user.as_deref(), path))
    }

    fn set(&self, path: &NodePath, data: &[u8], expected: Version) -> Result<Version, CoordinationError> {
        check_size(path, data)?;
        self.change_node(&Write { path, kind: WriteKind::Set { data, expected } })
    }

    fn delete(&self, path: &NodePath, expected: Version) -> Result<(), CoordinationError> {
        self.change_node(&Write { path, kind: WriteKind::Delete { expected } }).map(|_| ())
    }

    fn children(&self, path: &NodePath) -> Result<Option<Vec<String>>, CoordinationError> {
        self.read(|state, actor| state.view(self.id).children(actor.user.as_deref(), path))
    }

    fn catch_up(&self) -> Result<(), CoordinationError> {
        self.read(|state, _| {
            state.refresh_view(self.id);
            Ok(())
        })
    }

    fn hold(&self, path: &NodePath, data: &[u8]) -> Result<(), CoordinationError> {
        let create = Change::Create { path: path.clone(), data: data.to_vec(), is_held: true };
        let held = check_size(path, data)
            .and_then(|()| self.write(&create, |state, actor, _| state.make_held(actor, path, data)))
            .map(|_| ());
        self.change(|client| {
            client.unmade.remove(path);
            match held {
                Ok(()) => drop(client.held.insert(path.clone(), data.to_vec())),
                Err(_) => drop(client.held.remove(path)),
            }
        });
        held
    }

    fn release(&self, path: &NodePath) -> Result<(), CoordinationError> {
        let mut was_held = None;
        self.change(|client| was_held = client.held.remove(path));
        let Some(data) = was_held else { return Ok(()) };
        let late = Change::Delete { path: path.clone(), expected: Version(0) };
        self.write(&late, |state, actor, _| {
            let node = state.data.tree.stored(path).filter(|node| node.owner.is_some() && node.data == data);
            let Some(expected) = node.map(|node| Version(node.version)) else { return Ok(()) };
            state.commit(actor, Change::Delete { path: path.clone(), expected }).map(|_| ())
        })
    }

    fn watch(&self, path: &NodePath, notify: &Arc<Notify>) {
        let watch = (path.clone(), Arc::downgrade(notify));
        self.change(|client| {
            client.watches.retain(|(_, notify)| notify.strong_count() > 0);
            client.watches.push(watch);
        });
    }

    fn session(&self) -> Session {
        self.service.with(|state| {
            let timeout = state.options.session_timeout;
            let client = state.client(self.id);
            Session {
                number: client.number,
                is_connected: client.session.is_some(),
                proven_at: client.proven_at,
                timeout,
            }
        })
    }
}

impl Drop for MemoryClient {
    fn drop(&mut self) {
        self.service.with(|state| {
            if let Ok(actor) = state.client(self.id).give_up_all().and_then(|()| state.reach(self.id)) {
                state.end_session(actor.session);
            }
            state.client(self.id).is_dead = true;
        });
        self.service.deliver_at_once();
    }
}

impl Client {
    /// Gives up what it holds and watches. An error, if the process has no session that could be ended.
    fn give_up_all(&mut self) -> Result<(), CoordinationError> {
        self.held.clear();
        self.watches.clear();
        self.session.map(|_| ()).ok_or_else(|| CoordinationError::Away("there is no session".to_owned()))
    }
}

impl fmt::Debug for MemoryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryClient").field("id", &self.id).field("session", &self.session()).finish()
    }
}

/// Counts the time of a call.
fn spend(state: &mut State, id: usize, was_answered: bool) {
    let options = &state.options;
    let spent = if was_answered { options.latency } else { options.call_timeout };
    state.client(id).spent += spent;
}
