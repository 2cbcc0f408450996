//! Handshakes, from either side, until the connection is up. Then both sides send their status at once.
//!
//! The dialer sends HELLO, the answering side CHALLENGE, the dialer PROOF, the answering side WELCOME
//! with the last sequences it has taken. Either side may send REFUSED instead.

use bytes::BytesMut;
use rand::RngExt as _;

use super::super::application::{Application, Direction, LinkState};
use super::super::connection::{ConnId, DialStep, Role};
use super::super::counts::count;
use super::super::fault::LinkFault;
use super::super::frame::{self, Frame, FrameError, FrameKind, HEADER};
use super::super::handshake::{
    Answering, Dialing, HANDSHAKE_BYTES_MAX, Hello, NOT_YET, Nonce, Refusal, Refused, TIMED_OUT,
};
use super::super::members::Endpoint;
use super::super::payload::{CREDITS_MAX, Taken, bye_frame, credit_frame};
use super::super::peer::DialState;
use super::state::Mesh;
use crate::clock::Time;
use crate::ids::{Incarnation, WorkerId};

impl Mesh {
    /// Whether a connection is up: its handshake is done, and it has not ended.
    pub fn is_link(&self, conn: ConnId) -> bool {
        let connection = self.connections.get(&conn);
        connection.is_some_and(|c| matches!(c.role, Role::Sends { .. } | Role::Receives { .. }))
    }

    /// The connection that [`Action::Dial`](super::Action::Dial) asked for was made. Sends HELLO.
    pub fn dialed(&mut self, conn: ConnId, now: Time) {
        let nonce = self.rng.random();
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Role::Dialing { peer, deadline, step: step @ DialStep::Connecting } = &mut connection.role else {
            return;
        };
        let Some(known) = self.peers.get(peer) else { return };
        let to = Endpoint { worker: *peer, incarnation: known.incarnation.unwrap_or_default() };
        let (dialing, hello) = Dialing::new(&self.own, to, nonce);
        *step = DialStep::Greeted(dialing);
        *deadline = now.after(known.handshake_timeout(self.options.handshake_timeout));
        connection.received_at = now;
        self.queue_frame(conn, hello);
    }

    /// Reads one frame of a handshake. Returns whether there was a whole frame, so that the caller
    /// looks for another one.
    pub(super) fn read_greeting(
        &mut self,
        conn: ConnId,
        input: &mut BytesMut,
        now: Time,
        app: &mut dyn Application,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&conn) else { return false };
        let left = HANDSHAKE_BYTES_MAX - connection.handshake_bytes;
        let taken = match left.checked_sub(HEADER) {
            Some(max) => frame::take(input, max),
            None => Err(FrameError::TooLong { length: HEADER, max: left }),
        };
        let greeted = match taken {
            Ok(None) => return false,
            Ok(Some(frame)) => {
                let bytes = HEADER + frame.payload.len();
                connection.handshake_bytes += bytes;
                self.counts.frames_in += 1;
                self.counts.bytes_in += bytes as u64;
                self.greet(conn, &frame, now, app)
            }
            Err(FrameError::TooLong { .. }) => Err(Refusal::TooLong),
            Err(FrameError::Checksum) => Err(Refusal::Malformed { what: "a frame with a wrong checksum" }),
            Err(_) => Err(Refusal::Malformed { what: "no frame of a handshake" }),
        };
        if let Err(refusal) = greeted {
            self.refuse(conn, refusal, now, app);
        }
        true
    }

    fn greet(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        now: Time,
        app: &mut dyn Application,
    ) -> Result<(), Refusal> {
        if frame.kind == FrameKind::Refused {
            self.refused(conn, &frame.payload, now, app);
            return Ok(());
        }
        let unexpected = Err(Refusal::Malformed { what: "a frame that is not the next of a handshake" });
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        match (&connection.role, frame.kind) {
            (Role::Dialing { step: DialStep::Greeted(dialing), .. }, FrameKind::Challenge) => {
                let proof = dialing.prove(&frame.payload, &self.secret)?;
                self.proved(conn, proof);
                Ok(())
            }
            (Role::Dialing { step: DialStep::Proved, peer, .. }, FrameKind::Welcome) => {
                let malformed = Refusal::Malformed { what: "a WELCOME of another length" };
                let taken = Taken::decode(&frame.payload).ok_or(malformed)?;
                self.welcomed(conn, *peer, taken, now, app);
                Ok(())
            }
            (Role::Answering { step: None, .. }, FrameKind::Hello) => self.challenge(conn, &frame.payload),
            (Role::Answering { step: Some(answering), .. }, FrameKind::Proof) => {
                let known = self.known(answering.from().worker);
                let from = answering.check(&frame.payload, &self.secret, known)?;
                self.welcome(conn, from.worker, now, app);
                Ok(())
            }
            _ => unexpected,
        }
    }

    fn known(&self, worker: WorkerId) -> Option<Incarnation> {
        self.peers.get(&worker).and_then(|peer| peer.incarnation)
    }

    /// Handles REFUSED: ends the connection. After "not yet", the next dials come after short pauses.
    /// After "timed out", the next handshake may get more time, as after a time-out on this side.
    fn refused(&mut self, conn: ConnId, payload: &[u8], now: Time, app: &mut dyn Application) {
        let refused = Refused::decode(payload);
        count(&mut self.counts.refused_by_peer, refused.name());
        if refused.code == TIMED_OUT {
            self.handshake_was_late(conn);
        }
        let dialed = self.connections.get(&conn).map(|connection| &connection.role);
        if let (Some(Role::Dialing { peer, .. }), NOT_YET) = (dialed, refused.code)
            && let Some(peer) = self.peers.get_mut(peer)
        {
            peer.dial.expect_soon();
        }
        self.end(conn, format!("the peer refused: {}", refused.reason), None, now, app);
    }

    /// This side or the other has ended a handshake because it took too long.
    pub(super) fn handshake_was_late(&mut self, conn: ConnId) {
        match self.connections.get(&conn).map(|connection| &connection.role) {
            Some(Role::Dialing { peer, step, .. }) => {
                let has_proven = matches!(step, DialStep::Proved);
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.dialed_too_late(has_proven);
                }
            }
            Some(Role::Answering { step: Some(answering), .. }) => {
                if let Some(peer) = self.peers.get_mut(&answering.from().worker) {
                    peer.answered_too_late();
                }
            }
            _ => {}
        }
    }

    fn proved(&mut self, conn: ConnId, proof: Vec<u8>) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && let Role::Dialing { step, .. } = &mut connection.role
        {
            *step = DialStep::Proved;
            self.queue_frame(conn, proof);
        }
    }

    fn challenge(&mut self, conn: ConnId, payload: &[u8]) -> Result<(), Refusal> {
        let hello = Hello::decode(payload)?;
        hello.check(&self.own, self.known(hello.from.worker))?;
        let nonce: Nonce = self.rng.random();
        let (answering, challenge) = Answering::new(&self.own, &hello, payload, nonce, &self.secret);
        let least = self.options.handshake_timeout;
        let longest = self.peers.get(&hello.from.worker).map(|peer| peer.handshake_timeout(least));
        if let Some(connection) = self.connections.get_mut(&conn)
            && let Role::Answering { step, deadline } = &mut connection.role
        {
            *step = Some(answering);
            // Until now the deadline was `least` after the connection was accepted.
            *deadline = deadline.after(longest.unwrap_or(least) - least);
            self.greeted(conn);
            self.queue_frame(conn, challenge);
        }
        Ok(())
    }

    /// A dialing peer proved who it is: the connection from it is up. An older connection from the same
    /// peer ends. Sends WELCOME with what was taken, then all totals of credit, because credit frames
    /// may have been lost with the connection before.
    fn welcome(&mut self, conn: ConnId, worker: WorkerId, now: Time, app: &mut dyn Application) {
        if let Some(older) = self.peers.get(&worker).and_then(|peer| peer.from) {
            self.counts.superseded += 1;
            let why = "the peer has a newer connection".to_owned();
            let bye = bye_frame(&why);
            self.end(older, why, Some(bye), now, app);
        }
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Some(peer) = self.peers.get_mut(&worker) else { return };
        connection.role = Role::Receives { peer: worker };
        connection.status_due = true;
        peer.from = Some(conn);
        peer.handshake_done();
        self.greeted.remove(&conn);
        self.counts.links_up += 1;
        self.counts.reconnects += u64::from(std::mem::replace(&mut peer.was_up, true));
        // WELCOME reports all that was taken, so no TAKEN frame is due.
        peer.receiver.report();
        connection.queue_frame(peer.receiver.taken().frame(FrameKind::Welcome));
        app.link(worker, Direction::From, LinkState::Up, now);
        self.totals.clear();
        app.all_credits(worker, &mut self.totals);
        for totals in self.totals.chunks(CREDITS_MAX) {
            connection.queue_frame(credit_frame(totals));
        }
        self.list(conn);
    }

    /// The dialed peer sent WELCOME: the connection to it is up. `taken` states up to where the peer has
    /// the frames; all later ones are written again.
    ///
    /// Only progress resets the pauses between dials: frames that the peer took, or no frames to send.
    /// Otherwise a payload that the peer cannot take would make this worker dial again and again with the
    /// shortest pauses.
    fn welcomed(
        &mut self,
        conn: ConnId,
        worker: WorkerId,
        taken: Taken,
        now: Time,
        app: &mut dyn Application,
    ) {
        let Some(peer) = self.peers.get_mut(&worker) else { return };
        let resumed: Result<u64, LinkFault> = peer.sender.resume(taken);
        let settled = match resumed {
            Ok(settled) => settled,
            Err(fault) => return self.fault(conn, &fault, now, app),
        };
        peer.dial.state = DialState::Up(conn);
        peer.handshake_done();
        self.counts.links_up += 1;
        self.counts.reconnects += u64::from(std::mem::replace(&mut peer.dial.was_up, true));
        if settled > 0 || peer.sender.untaken() == 0 {
            peer.dial.progress();
        }
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.role = Role::Sends { peer: worker };
            connection.status_due = true;
        }
        self.list(conn);
        app.link(worker, Direction::To, LinkState::Up, now);
        if settled > 0 {
            app.settled(worker, settled);
        }
    }
}
