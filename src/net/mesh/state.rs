//! The state of a mesh, and its connections: how they begin, get something to write, and end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::super::application::{Application, Direction, LinkState};
use super::super::connection::{ConnId, Connection, Role};
use super::super::counts::{NetCounts, count};
use super::super::handshake::Refusal;
use super::super::members::{Identity, Secret};
use super::super::peer::Peer;
use crate::clock::Time;
use crate::config::NetOptions;
use crate::config::net::FRAME_MAX_RANGE;
use crate::ids::{Incarnation, LinkId, WorkerId};

/// Accepted connections that have said nothing of use yet.
pub const UNPROVEN_MAX: usize = 64;
/// Accepted connections, for each peer, whose HELLO names this run and a member, and that have not
/// proven it: one, and one before it whose end was not noticed.
const GREETED_PER_PEER: usize = 2;

/// What whoever drives a mesh must do for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to an address, then call [`Mesh::dialed`], or [`Mesh::closed`] if it fails.
    Dial {
        /// The connection to be.
        conn: ConnId,
        /// Whom it is to reach.
        peer: WorkerId,
        /// Where.
        address: SocketAddr,
    },
    /// Write once what [`Mesh::chunks`] still has, without waiting, close the connection, and call
    /// [`Mesh::closed`]. It may be closed already; then there is nothing to do.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why, for the log.
        why: String,
    },
}

/// All links of one worker.
pub struct Mesh {
    pub(super) own: Identity,
    pub(super) secret: Secret,
    pub(super) options: NetOptions,
    pub(super) rng: StdRng,
    /// Of the members that were set last.
    pub(super) version: u64,
    /// The life of this worker that replaced this one.
    pub(super) fenced_by: Option<Incarnation>,
    /// The worker ends: nobody is dialed or let in any more.
    pub(super) is_over: bool,
    pub(super) peers: BTreeMap<WorkerId, Peer>,
    pub(super) connections: BTreeMap<ConnId, Connection>,
    pub(super) next_connection: u64,
    /// Accepted connections that have not said HELLO, and those that have and must prove it. When one
    /// more comes than may, the oldest goes: a peer needs a moment only, so a crowd of strangers that
    /// says nothing, or cannot name the run, does not keep it out.
    pub(super) silent: BTreeSet<ConnId>,
    pub(super) greeted: BTreeSet<ConnId>,
    pub(super) actions: Vec<Action>,
    pub(super) ready: Vec<ConnId>,
    pub(super) counts: NetCounts,
    /// Room for totals of credit.
    pub(super) totals: Vec<(LinkId, u64, u64)>,
}

impl Mesh {
    /// A mesh without members. `seed` is for nonces and jitter: from the system's generator in
    /// production, any number in a simulation.
    ///
    /// # Panics
    /// When `frame_max` is out of its range.
    pub fn new(identity: Identity, secret: Secret, options: NetOptions, seed: u64) -> Mesh {
        assert!(FRAME_MAX_RANGE.contains(&options.frame_max), "frame_max is checked where it is read");
        Mesh {
            own: identity,
            secret,
            options,
            rng: StdRng::seed_from_u64(seed),
            version: 0,
            fenced_by: None,
            is_over: false,
            peers: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 1,
            silent: BTreeSet::new(),
            greeted: BTreeSet::new(),
            actions: Vec::new(),
            ready: Vec::new(),
            counts: NetCounts::default(),
            totals: Vec::new(),
        }
    }

    /// An accepted connection has said HELLO, and may be a peer's.
    pub(super) fn greeted(&mut self, conn: ConnId) {
        self.silent.remove(&conn);
        if self.greeted.len() >= GREETED_PER_PEER * self.peers.len() {
            let oldest = self.greeted.pop_first();
            self.crowd_out(oldest);
        }
        self.greeted.insert(conn);
    }

    /// Closes a connection that has not proven who it is, to make room.
    pub(super) fn crowd_out(&mut self, conn: Option<ConnId>) {
        let Some(conn) = conn else { return };
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.role = Role::Closing;
            connection.finish(None);
            self.counts.crowded_out += 1;
            let why = "too many connections have not proven who they are".to_owned();
            self.actions.push(Action::Close { conn, why });
        }
    }

    pub(super) fn connect(&mut self, role: Role, now: Time) -> ConnId {
        let conn = ConnId(self.next_connection);
        self.next_connection += 1;
        self.connections.insert(conn, Connection::new(role, now));
        conn
    }

    /// Ends a connection; `last` is written if the stream stands at the end of a frame.
    pub(super) fn end(
        &mut self,
        conn: ConnId,
        why: String,
        last: Option<Vec<u8>>,
        now: Time,
        app: &mut dyn Application,
    ) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let role = std::mem::replace(&mut connection.role, Role::Closing);
        if !matches!(role, Role::Closing) {
            connection.finish(last);
            self.unlink(conn, role, why.clone(), now, app);
            self.actions.push(Action::Close { conn, why });
        }
    }

    /// What a connection was for goes on without it.
    pub(super) fn unlink(
        &mut self,
        conn: ConnId,
        role: Role,
        why: String,
        now: Time,
        app: &mut dyn Application,
    ) {
        let down = LinkState::Down { why };
        match role {
            Role::Dialing { peer, .. } => self.schedule_redial(peer, now),
            Role::Sends { peer } => {
                self.schedule_redial(peer, now);
                app.link(peer, Direction::To, down, now);
            }
            Role::Receives { peer: worker } => {
                if let Some(peer) = self.peers.get_mut(&worker) {
                    peer.from = None;
                }
                app.link(worker, Direction::From, down, now);
            }
            Role::Answering { .. } => {
                self.silent.remove(&conn);
                self.greeted.remove(&conn);
            }
            Role::Closing => {}
        }
    }

    pub(super) fn schedule_redial(&mut self, worker: WorkerId, now: Time) {
        if let Some(peer) = self.peers.get_mut(&worker) {
            peer.dial.schedule_redial(&self.options, &mut self.rng, now);
        }
    }

    pub(super) fn list(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            list(conn, connection, &mut self.ready);
        }
    }

    pub(super) fn say(&mut self, conn: ConnId, frame: Vec<u8>) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.say(frame);
            list(conn, connection, &mut self.ready);
        }
    }

    pub(super) fn refuse(&mut self, conn: ConnId, refusal: Refusal, now: Time, app: &mut dyn Application) {
        count(&mut self.counts.refused, refusal.name());
        self.end(conn, format!("refused: {refusal}"), Some(refusal.frame()), now, app);
    }
}

/// Notes that a connection has something to write.
pub(super) fn list(conn: ConnId, connection: &mut Connection, ready: &mut Vec<ConnId>) {
    if !std::mem::replace(&mut connection.is_listed, true) {
        ready.push(conn);
    }
}
