//! All connections of a worker to its peers, as a state machine.
//!
//! A driver calls it in rounds:
//!
//! 1. Read from connections and pass the bytes to [`Mesh::received`].
//! 2. Pass what executors sent to [`Mesh::send`].
//! 3. Call [`Mesh::tick`] once, and perform [`Mesh::actions`].
//! 4. For each connection that [`Mesh::ready`] names, write until [`Mesh::chunks`] is empty or the
//!    transport is full.
//! 5. Sleep until [`Mesh::deadline`] or the next event.
//!
//! Reading comes before the tick. Otherwise a worker that was stopped for a while would close
//! connections as silent although bytes of their peers wait in its sockets.
//!
//! A connection is *up* once its handshake is done. This file holds membership, reading and writing;
//! `state` how connections begin and end; `greeting` the handshake; `traffic` the frames of connections
//! that are up; `timing` what is due by time.

mod greeting;
mod state;
mod timing;
mod traffic;

use std::io::IoSlice;

use bytes::BytesMut;

use super::application::{Application, Direction};
use super::connection::{ConnId, Role};
use super::counts::NetCounts;
use super::frame::{self, HEADER};
use super::handshake::HANDSHAKE_BYTES_MAX;
use super::members::{Member, Members};
use super::outbound::Outbound;
use super::payload::bye_frame;
use super::peer::DialState;
use crate::clock::Time;
use crate::ids::{Incarnation, WorkerId};

pub use state::{Action, Mesh, UNPROVEN_MAX};

impl Mesh {
    // ---- Members ----

    /// Sets the members, as the parent has sent them. If a peer has a newer incarnation, the connections
    /// with the old one end, what was on its way to it is dropped, and the new one is dialed. A list
    /// older than the last one is ignored.
    pub fn set_members(&mut self, members: &Members, now: Time, app: &mut dyn Application) {
        if members.version < self.version || self.is_over {
            return;
        }
        self.version = members.version;
        for member in &members.members {
            if member.worker != self.own.worker {
                self.set_member(member, now, app);
            } else if member.incarnation > self.own.incarnation {
                return self.fence(member.incarnation, now, app);
            }
        }
        let is_member = |worker: &WorkerId| members.members.iter().any(|member| member.worker == *worker);
        let named = self.peers.iter().filter(|(_, peer)| peer.incarnation.is_some());
        let gone: Vec<WorkerId> = named.map(|(worker, _)| *worker).filter(|w| !is_member(w)).collect();
        for worker in gone {
            self.end_incarnation(worker, "the worker is no member any more", now, app);
            self.peers.remove(&worker);
        }
        app.members_set(members.version);
        self.dial_due(now);
    }

    fn set_member(&mut self, member: &Member, now: Time, app: &mut dyn Application) {
        let worker = member.worker;
        match self.peers.entry(worker).or_default().incarnation {
            Some(known) if known > member.incarnation => return,
            Some(known) if known < member.incarnation => {
                let why = format!("worker {worker} was replaced by incarnation {}", member.incarnation);
                app.replaced(worker, member.incarnation);
                self.end_incarnation(worker, &why, now, app);
            }
            Some(_) | None => {}
        }
        let peer = self.peers.entry(worker).or_default();
        peer.incarnation = Some(member.incarnation);
        if member.address.is_none() || peer.address == member.address {
            return;
        }
        peer.address = member.address;
        if let Some(conn) = peer.dial.connection() {
            self.end(conn, "the worker listens at another address now".to_owned(), None, now, app);
        }
        self.peers.entry(worker).or_default().dial.start(now);
    }

    /// Drops all that was kept for the present incarnation of a peer, and reports it as lost.
    fn end_incarnation(&mut self, worker: WorkerId, why: &str, now: Time, app: &mut dyn Application) {
        let Some(peer) = self.peers.get(&worker) else { return };
        for conn in [peer.dial.connection(), peer.from].into_iter().flatten() {
            self.end(conn, why.to_owned(), Some(bye_frame(why)), now, app);
        }
        let Some(peer) = self.peers.get_mut(&worker) else { return };
        let ended = std::mem::take(peer);
        self.counts.lost += ended.sender.untaken();
        app.lost(worker, ended.sender.untaken(), &ended.sender.outstanding());
    }

    /// A newer incarnation of this worker exists: closes all connections and opens none any more.
    fn fence(&mut self, by: Incarnation, now: Time, app: &mut dyn Application) {
        let why = format!("this is {}, which incarnation {by} replaced", self.own.endpoint());
        self.close_all(&why, now, app);
        self.fenced_by = Some(by);
    }

    /// The incarnation that replaced this one, if the members have named a newer one.
    pub fn fenced_by(&self) -> Option<Incarnation> {
        self.fenced_by
    }

    /// Ends all connections for good, and sends the peers a BYE with the reason.
    pub fn close_all(&mut self, why: &str, now: Time, app: &mut dyn Application) {
        self.is_over = true;
        let all: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in all {
            self.end(conn, why.to_owned(), Some(bye_frame(why)), now, app);
        }
    }

    // ---- Payloads and status ----

    /// Queues a payload to a peer. It is kept until the peer has taken it or the peer's incarnation
    /// ends. A payload to a worker that no list of members has named yet waits until one does.
    ///
    /// # Panics
    /// When `to` is this worker: payloads inside a process do not use the wire.
    pub fn send(&mut self, to: WorkerId, message: Outbound) {
        assert_ne!(to, self.own.worker, "payloads to the own worker do not take the wire");
        let peer = self.peers.entry(to).or_default();
        peer.sender.push(message);
        if let DialState::Up(conn) = peer.dial.state {
            self.list(conn);
        }
    }

    /// Sends a heartbeat with the application's status over all connections that are up. One whose
    /// earlier frames are not written yet gets it afterwards.
    pub fn send_status(&mut self, now: Time, app: &mut dyn Application) {
        for connection in self.connections.values_mut() {
            connection.status_due = matches!(connection.role, Role::Sends { .. } | Role::Receives { .. });
        }
        self.queue_due(now, app);
    }

    // ---- Connections ----

    /// A connection was accepted. If too many accepted connections have not sent HELLO, the oldest of
    /// them is closed. `None`: this worker ends, so the new connection must be closed.
    pub fn accepted(&mut self, now: Time) -> Option<ConnId> {
        if self.is_over {
            return None;
        }
        if self.silent.len() >= UNPROVEN_MAX {
            let oldest = self.silent.pop_first();
            self.crowd_out(oldest);
        }
        self.counts.accepted += 1;
        let deadline = now.after(self.options.handshake_timeout);
        let conn = self.connect(Role::Answering { deadline, step: None }, now);
        self.silent.insert(conn);
        Some(conn)
    }

    /// Bytes came in and were appended to `input`, a buffer of this connection alone. Whole frames are
    /// taken out of it; the start of an incomplete frame stays. May end the connection.
    pub fn received(&mut self, conn: ConnId, input: &mut BytesMut, now: Time, app: &mut dyn Application) {
        // Also called when a read found nothing: only new bytes show that the peer is alive.
        if let Some(connection) = self.connections.get_mut(&conn)
            && connection.unread < input.len()
        {
            connection.received_at = now;
        }
        self.read(conn, input, now, app);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.unread = input.len();
        }
    }

    fn read(&mut self, conn: ConnId, input: &mut BytesMut, now: Time, app: &mut dyn Application) {
        loop {
            match self.connections.get(&conn).map(|connection| &connection.role) {
                Some(Role::Dialing { .. } | Role::Answering { .. }) => {
                    if !self.read_greeting(conn, input, now, app) {
                        return;
                    }
                }
                Some(&Role::Sends { peer }) => return self.read_answers(conn, peer, input, now, app),
                Some(&Role::Receives { peer }) => return self.read_payloads(conn, peer, input, now, app),
                Some(Role::Closing) | None => return input.clear(),
            }
        }
    }

    /// How many bytes the frame at the start of `input` still lacks, if that is known, so that the
    /// reader can reserve them. Never more than the limit for a frame of this connection.
    pub fn missing_bytes(&self, conn: ConnId, input: &[u8]) -> Option<usize> {
        let connection = self.connections.get(&conn)?;
        let max = match connection.role {
            Role::Dialing { .. } | Role::Answering { .. } => {
                HANDSHAKE_BYTES_MAX.saturating_sub(connection.handshake_bytes + HEADER)
            }
            Role::Sends { .. } | Role::Receives { .. } => self.options.frame_max,
            Role::Closing => return None,
        };
        frame::missing_bytes(input, max)
    }

    /// The connection is gone: it failed, the peer closed it, or [`Action::Close`] was performed. A
    /// connection that is unknown, or was reported as gone before, changes nothing.
    pub fn closed(&mut self, conn: ConnId, why: &str, now: Time, app: &mut dyn Application) {
        if let Some(connection) = self.connections.remove(&conn) {
            self.unlink(conn, connection.role, why.to_owned(), now, app);
        }
    }

    // ---- Writing ----

    /// Appends what to write on a connection next: at most `SLICES_MAX` slices and
    /// `CHUNK_BYTES_MAX` bytes. Nothing else may be called between this and [`Mesh::wrote`].
    pub fn chunks<'a>(&'a self, conn: ConnId, into: &mut Vec<IoSlice<'a>>) {
        let Some(connection) = self.connections.get(&conn) else { return };
        let peer = match connection.role {
            Role::Sends { peer } => self.peers.get(&peer),
            _ => None,
        };
        connection.chunks(peer.map(|peer| &peer.sender), into);
    }

    /// The first `bytes` bytes of what [`Mesh::chunks`] returned were written.
    ///
    /// # Panics
    /// When it returned fewer bytes.
    pub fn wrote(&mut self, conn: ConnId, bytes: usize) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let peer = match connection.role {
            Role::Sends { peer } => self.peers.get_mut(&peer),
            _ => None,
        };
        connection.wrote(bytes, peer.map(|peer| &mut peer.sender), &mut self.counts);
    }

    /// Appends the connections that got something to write since the last call. A connection that still
    /// had output after its last write is not named again for that: the driver writes on when the
    /// transport has room.
    pub fn ready(&mut self, into: &mut Vec<ConnId>) {
        for conn in self.ready.drain(..) {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.is_listed = false;
                into.push(conn);
            }
        }
    }

    // ---- Looking ----

    /// Takes the actions to be performed since the last call, in order.
    pub fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The counters of this mesh since it was made.
    pub fn counts(&self) -> &NetCounts {
        &self.counts
    }

    /// Whether the connection with a peer in this direction is up.
    pub fn is_up(&self, peer: WorkerId, direction: Direction) -> bool {
        self.peers.get(&peer).is_some_and(|peer| match direction {
            Direction::To => matches!(peer.dial.state, DialState::Up(_)),
            Direction::From => peer.from.is_some(),
        })
    }

    /// Since when payloads to a peer that listens make no progress. A connection that comes up and
    /// breaks again before the peer took anything does not count as progress. `None`: payloads make
    /// progress, or there are none.
    pub fn down_since(&self, peer: WorkerId) -> Option<Time> {
        self.peers.get(&peer)?.dial.down_since
    }

    /// The state of a peer in text, for people who look for the cause of a standstill.
    pub fn describe(&self, peer: WorkerId) -> String {
        let Some(peer) = self.peers.get(&peer) else { return "unknown".to_owned() };
        format!("{peer:?} {:?}", peer.from.map(|conn| &self.connections[&conn]))
    }

    /// How many payloads to a peer it has not reported as taken, and their bytes.
    pub fn untaken(&self, peer: WorkerId) -> (u64, usize) {
        let peer = self.peers.get(&peer);
        peer.map_or((0, 0), |peer| (peer.sender.untaken(), peer.sender.untaken_bytes()))
    }
}
