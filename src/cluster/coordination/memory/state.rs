//! The service and its clients as one value: what the mutex of `MemoryService` guards.
//!
//! The service's side (nodes, sessions, requests under way) and the clients' sides (what each process knows of its
//! session, what it holds, what it is to be notified of) are kept apart: a client learns of a fault when it calls or
//! beats, not before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::memory::node::KeptNode;
use crate::cluster::coordination::memory::options::{Lose, MemoryOptions};
use crate::cluster::coordination::memory::tree::{Actor, Change, SessionId, Tree, with_parent};
use crate::cluster::coordination::node::Version;
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::service::{Notice, Notify};

/// Everything.
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) options: MemoryOptions,
    pub(super) data: Data,
    pub(super) is_away: bool,
    pub(super) is_full: bool,
    next_session: u64,
    /// Requests whose connection was lost, which arrive yet.
    under_way: Vec<(Actor, Change)>,
    pub(super) clients: Vec<Client>,
}

/// What is on the service's disk.
#[derive(Clone)]
pub(super) struct Data {
    /// Shared with the views of clients that lag, and with snapshots.
    pub(super) tree: Arc<Tree>,
    /// When each session gave a sign of life last.
    sessions: BTreeMap<SessionId, Time>,
}

/// A process.
pub(super) struct Client {
    pub(super) user: Option<String>,
    pub(super) is_dead: bool,
    pub(super) is_cut: bool,
    /// The session that this process believes to go on.
    pub(super) session: Option<SessionId>,
    /// How many it has begun.
    pub(super) number: u64,
    pub(super) proven_at: Time,
    /// What it holds, and makes again with each session.
    pub(super) held: BTreeMap<NodePath, Vec<u8>>,
    /// Those of them that could not be made in this session yet.
    pub(super) unmade: BTreeSet<NodePath>,
    /// What its reads see, while it lags.
    pub(super) view: Option<Arc<Tree>>,
    pub(super) lag: bool,
    pub(super) faults: VecDeque<(Lose, bool)>,
    /// What is to be handed over, oldest first. Each stands in it once, so it is bounded by the number of nodes.
    pub(super) notices: Vec<Notice>,
    pub(super) watches: Vec<(NodePath, Weak<Notify>)>,
    read_again_at: Time,
    /// How long its calls would have taken.
    pub(super) spent: Duration,
}

impl Data {
    pub(super) fn new() -> Data {
        Data { tree: Arc::new(Tree::new()), sessions: BTreeMap::new() }
    }

    /// Adds a node that was kept. Fails with its path if it cannot be there.
    pub(super) fn put(&mut self, node: KeptNode) -> Result<(), String> {
        Arc::make_mut(&mut self.tree).put(node)
    }
}

impl State {
    pub(super) fn new(clock: Clock, options: MemoryOptions) -> State {
        State {
            clock,
            options,
            data: Data::new(),
            is_away: false,
            is_full: false,
            next_session: 1,
            under_way: Vec::new(),
            clients: Vec::new(),
        }
    }

    pub(super) fn add_client(&mut self, user: Option<&str>) -> usize {
        self.clients.push(Client {
            user: user.map(str::to_owned),
            is_dead: false,
            is_cut: false,
            session: None,
            number: 0,
            proven_at: Time::ZERO,
            held: BTreeMap::new(),
            unmade: BTreeSet::new(),
            view: None,
            lag: false,
            faults: VecDeque::new(),
            notices: Vec::new(),
            watches: Vec::new(),
            read_again_at: Time::ZERO,
            spent: Duration::ZERO,
        });
        self.clients.len() - 1
    }

    // ---- The service ----

    /// Ends the sessions that were silent for too long. Time does not count while the service is away, and none ends
    /// while it cannot write that down.
    pub(super) fn expire_silent(&mut self) {
        if self.is_away || self.is_full {
            return;
        }
        let (now, timeout) = (self.clock.now(), self.options.session_timeout);
        let is_over = |beat_at: &Time| now >= beat_at.after(timeout);
        let over =
            self.data.sessions.iter().filter(|(_, beat_at)| is_over(beat_at)).map(|(session, _)| *session);
        for session in over.collect::<Vec<_>>() {
            self.end_session(session);
        }
    }

    /// Ends a session: what it holds vanishes, and what it has sent is not done any more.
    pub(super) fn end_session(&mut self, session: SessionId) {
        if self.data.sessions.remove(&session).is_none() {
            return;
        }
        self.under_way.retain(|(actor, _)| actor.session != session);
        for path in self.data.tree.held_by(session) {
            Arc::make_mut(&mut self.data.tree).remove(&path);
            self.notify_changed(with_parent(&path));
        }
    }

    /// Begins again with these data, as a service that was stopped and started. All of its sessions get their whole
    /// time-out anew. Processes learn of it when they call or beat.
    pub(super) fn restart_with(&mut self, data: Data) {
        self.data = data;
        self.under_way.clear();
        self.renew_all();
    }

    pub(super) fn renew_all(&mut self) {
        let now = self.clock.now();
        self.data.sessions.values_mut().for_each(|beat_at| *beat_at = now);
    }

    /// Makes a change, and notes whom to notify of it.
    pub(super) fn commit(&mut self, actor: &Actor, change: Change) -> Result<Version, CoordinationError> {
        if self.is_full {
            return Err(CoordinationError::Away("it cannot write to its disk, which is full".to_owned()));
        }
        let changed = change.changed();
        let version = Arc::make_mut(&mut self.data.tree).change(actor, change)?;
        self.notify_changed(changed);
        Ok(version)
    }

    /// Notes a request that arrives later.
    pub(super) fn send_late(&mut self, actor: Actor, change: Change) {
        self.under_way.push((actor, change));
    }

    /// Lets the late requests arrive. Nobody waits for their answers.
    pub(super) fn arrive(&mut self) {
        if self.is_away {
            return;
        }
        for (actor, change) in std::mem::take(&mut self.under_way) {
            let _ = self.commit(&actor, change);
        }
    }

    fn notify_changed(&mut self, paths: Vec<NodePath>) {
        let is_served = |client: &Client, sessions: &BTreeMap<SessionId, Time>| {
            !client.is_cut && client.session.is_some_and(|session| sessions.contains_key(&session))
        };
        for client in self.clients.iter_mut().filter(|client| is_served(client, &self.data.sessions)) {
            for path in &paths {
                client.notify(Notice::Changed(path.clone()));
            }
        }
    }

    // ---- The side of a client ----

    pub(super) fn client(&mut self, id: usize) -> &mut Client {
        &mut self.clients[id]
    }

    /// Sends a request that is answered: the session goes on, or a new one begins.
    pub(super) fn reach(&mut self, id: usize) -> Result<Actor, CoordinationError> {
        self.expire_silent();
        let now = self.clock.now();
        let unreachable = match &self.clients[id] {
            client if client.is_dead => Some("this process has ended"),
            client if client.is_cut => Some("nothing of it is reached"),
            _ if self.is_away => Some("none of its members is there"),
            _ => None,
        };
        if let Some(why) = unreachable {
            self.lose(id);
            return Err(CoordinationError::Away(why.to_owned()));
        }
        let goes_on = self.clients[id].session.and_then(|session| self.data.sessions.get_mut(&session));
        match goes_on {
            Some(beat_at) => *beat_at = now,
            None => {
                self.lose(id);
                self.begin_session(id, now)?;
            }
        }
        let client = self.client(id);
        client.proven_at = now;
        Ok(client.actor().expect("its session goes on, or was begun"))
    }

    /// The process finds out that its connection is lost. It does not use that session any more.
    pub(super) fn lose(&mut self, id: usize) {
        let client = self.client(id);
        if client.session.take().is_some() {
            client.notify(Notice::SessionLost);
        }
    }

    fn begin_session(&mut self, id: usize, now: Time) -> Result<(), CoordinationError> {
        if self.is_full {
            return Err(CoordinationError::Away("it begins no session while its disk is full".to_owned()));
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.data.sessions.insert(session, now);
        let client = self.client(id);
        client.session = Some(session);
        client.number += 1;
        client.read_again(now);
        client.unmade = client.held.keys().cloned().collect();
        self.make_unmade(id);
        Ok(())
    }

    /// Makes the nodes that a process holds and that were not made in its session yet. What cannot be made is tried
    /// again with the next beat.
    pub(super) fn make_unmade(&mut self, id: usize) {
        let Some(actor) = self.client(id).actor() else { return };
        let mut has_written = false;
        for path in std::mem::take(&mut self.client(id).unmade) {
            let Some(data) = self.client(id).held.get(&path).cloned() else { continue };
            match self.make_held(&actor, &path, &data) {
                Ok(made) => has_written |= made,
                Err(CoordinationError::Exists(_)) => {
                    let client = self.client(id);
                    client.held.remove(&path);
                    client.notify(Notice::HeldByOther(path));
                }
                Err(_) => drop(self.client(id).unmade.insert(path)),
            }
        }
        if has_written {
            self.refresh_view(id);
        }
    }

    /// Makes a held node of a session, in place of one with these data that an earlier session has left behind.
    /// Returns whether that was needed.
    pub(super) fn make_held(
        &mut self,
        actor: &Actor,
        path: &NodePath,
        data: &[u8],
    ) -> Result<bool, CoordinationError> {
        if let Some(node) = self.data.tree.stored(path).filter(|node| node.owner.is_some()) {
            let (is_ours, has_data) = (node.owner == Some(actor.session), node.data == data);
            let expected = Version(node.version);
            if is_ours && has_data {
                return Ok(false);
            }
            if is_ours {
                let set = Change::Set { path: path.clone(), data: data.to_vec(), expected };
                return self.commit(actor, set).map(|_| true);
            }
            if has_data {
                self.commit(actor, Change::Delete { path: path.clone(), expected })?;
            }
        }
        let create = Change::Create { path: path.clone(), data: data.to_vec(), is_held: true };
        self.commit(actor, create).map(|_| true)
    }

    /// What this process reads from now on is at least what is true now.
    pub(super) fn refresh_view(&mut self, id: usize) {
        let tree = Arc::clone(&self.data.tree);
        let client = self.client(id);
        client.view = client.lag.then_some(tree);
    }

    /// What this process reads.
    pub(super) fn view(&self, id: usize) -> Arc<Tree> {
        Arc::clone(self.clients[id].view.as_ref().unwrap_or(&self.data.tree))
    }

    /// Asks the process to read everything again, if that is due.
    pub(super) fn read_again_if_due(&mut self, id: usize) {
        let (now, period) = (self.clock.now(), self.options.reread_period);
        let client = self.client(id);
        if now >= client.read_again_at.after(period) {
            client.read_again(now);
        }
    }
}

impl Client {
    pub(super) fn actor(&self) -> Option<Actor> {
        Some(Actor { session: self.session?, user: self.user.clone() })
    }

    fn read_again(&mut self, now: Time) {
        self.read_again_at = now;
        self.notify(Notice::ReadAgain);
    }

    /// Notes a notice. One that waits already is not noted twice, but moves to the end, so that a session that was
    /// begun comes after one that was lost.
    fn notify(&mut self, notice: Notice) {
        if self.is_dead {
            return;
        }
        self.notices.retain(|waiting| *waiting != notice);
        self.notices.push(notice);
    }
}
