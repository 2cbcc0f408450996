//! The state of a mesh, and the life cycle of its connections: they begin, get frames to write, and end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::super::application::{Application, Direction, LinkState};
use super::super::connection::{ConnId, Connection, Role};
use super::super::counts::{NetCounts, count};
use super::super::handshake::Refusal;
use super::super::members::{Identity, Secret};
use super::super::outbound::LinkCredit;
use super::super::peer::Peer;
use crate::clock::Time;
use crate::config::NetOptions;
use crate::config::net::FRAME_MAX_RANGE;
use crate::ids::{Incarnation, WorkerId};

/// How many accepted connections may be open that have not sent an acceptable HELLO.
pub const UNPROVEN_MAX: usize = 64;
/// How many accepted connections, for each peer, may have sent a HELLO that names this run and a
/// member, and no PROOF yet: one, and an older one whose end was not noticed.
const GREETED_PER_PEER: usize = 2;

/// What the driver of a mesh must do for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to an address, then call [`Mesh::dialed`], or [`Mesh::closed`] if it fails.
    Dial {
        /// The number of the new connection.
        conn: ConnId,
        /// The worker to reach.
        peer: WorkerId,
        /// Its address.
        address: SocketAddr,
    },
    /// Write once, without waiting, what [`Mesh::chunks`] still has. Then close the connection and call
    /// [`Mesh::closed`]. If the connection is closed already, there is nothing to do.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why, for the log.
        why: String,
    },
}

/// All connections of one worker.
pub struct Mesh {
    pub(super) own: Identity,
    pub(super) secret: Secret,
    pub(super) options: NetOptions,
    pub(super) rng: StdRng,
    /// The version of the members that were set last. Older lists are ignored.
    pub(super) version: u64,
    /// The incarnation of this worker that replaced this one. Set once; then `is_over` is set, too.
    pub(super) fenced_by: Option<Incarnation>,
    /// The worker ends: it neither dials nor accepts any more. Never reset.
    pub(super) is_over: bool,
    pub(super) peers: BTreeMap<WorkerId, Peer>,
    pub(super) connections: BTreeMap<ConnId, Connection>,
    pub(super) next_connection: u64,
    /// Accepted connections that have not sent HELLO (`silent`), and those that have and must send
    /// PROOF (`greeted`). When one of these sets is full, its oldest connection is closed. A real peer
    /// needs only a moment for its handshake, so strangers that send nothing, or that cannot name the
    /// run, do not keep it out.
    pub(super) silent: BTreeSet<ConnId>,
    pub(super) greeted: BTreeSet<ConnId>,
    pub(super) actions: Vec<Action>,
    /// Connections that got something to write since [`Mesh::ready`] was last called, each once.
    pub(super) ready: Vec<ConnId>,
    pub(super) counts: NetCounts,
    /// A buffer for totals of credit, kept for its capacity.
    pub(super) totals: Vec<LinkCredit>,
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

    /// An accepted connection has sent an acceptable HELLO, so it may be a peer's.
    pub(super) fn greeted(&mut self, conn: ConnId) {
        self.silent.remove(&conn);
        if self.greeted.len() >= GREETED_PER_PEER * self.peers.len() {
            let oldest = self.greeted.pop_first();
            self.crowd_out(oldest);
        }
        self.greeted.insert(conn);
    }

    /// Closes an accepted connection that has not sent PROOF, to make room for another.
    pub(super) fn crowd_out(&mut self, conn: Option<ConnId>) {
        let Some(conn) = conn else { return };
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.role = Role::Closing;
            connection.finish(None);
            self.counts.crowded_out += 1;
            let why = "too many connections have not completed the handshake".to_owned();
            self.actions.push(Action::Close { conn, why });
        }
    }

    pub(super) fn connect(&mut self, role: Role, now: Time) -> ConnId {
        let conn = ConnId(self.next_connection);
        self.next_connection += 1;
        self.connections.insert(conn, Connection::new(role, now));
        conn
    }

    /// Ends a connection. `last` is its last frame; it is written only if no other frame was written
    /// in part.
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

    /// Takes an ended connection out of the state of its peer: schedules the next dial, and notifies the
    /// application.
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

    pub(super) fn queue_frame(&mut self, conn: ConnId, frame: Vec<u8>) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.queue_frame(frame);
            list(conn, connection, &mut self.ready);
        }
    }

    pub(super) fn refuse(&mut self, conn: ConnId, refusal: Refusal, now: Time, app: &mut dyn Application) {
        count(&mut self.counts.refused, refusal.name());
        self.end(conn, format!("refused: {refusal}"), Some(refusal.frame()), now, app);
    }
}

/// Lists a connection as having something to write, unless it is listed already.
pub(super) fn list(conn: ConnId, connection: &mut Connection, ready: &mut Vec<ConnId>) {
    if !std::mem::replace(&mut connection.is_listed, true) {
        ready.push(conn);
    }
}
