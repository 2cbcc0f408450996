//! What a mesh does because time has passed: it closes connections that timed out, dials peers, and
//! sends heartbeats, credit and reports of taken frames.
//!
//! Frames that this file queues are made from the newest state. A connection whose earlier frames are
//! not written yet gets none, so what a slow peer does not read cannot pile up; it is marked
//! `is_passed_over` and served as soon as those frames are written.

use std::net::SocketAddr;

use super::super::application::Application;
use super::super::connection::{ConnId, Connection, DialStep, Role};
use super::super::frame::{FrameKind, unsequenced};
use super::super::handshake::Refusal;
use super::super::outbound::LinkCredit;
use super::super::payload::{CREDITS_MAX, STATUS_MAX, bye_frame, credit_frame};
use super::super::peer::{DialState, Peer};
use super::super::receiver::Receiver;
use super::state::{Action, Mesh, list};
use crate::clock::Time;
use crate::ids::WorkerId;

impl Mesh {
    /// Does what is due: closes connections that timed out, dials, and queues heartbeats, credit and
    /// TAKEN frames. Then it reports each peer's backlog to the application.
    pub fn tick(&mut self, now: Time, app: &mut dyn Application) {
        self.expire(now, app);
        self.dial_due(now);
        self.queue_due(now, app);
        for (worker, peer) in &self.peers {
            let silent = peer.from.and_then(|conn| self.silent_since(conn, now));
            app.backlog(*worker, peer.sender.oldest().into_iter().chain(silent).min());
        }
    }

    /// When bytes last came in on a connection, if that is more than one and a half heartbeats ago.
    /// Payloads may be stuck on such a connection.
    fn silent_since(&self, conn: ConnId, now: Time) -> Option<Time> {
        let received_at = self.connections.get(&conn)?.received_at;
        let late = received_at.after(self.options.heartbeat + self.options.heartbeat / 2);
        (late < now).then_some(received_at)
    }

    fn expire(&mut self, now: Time, app: &mut dyn Application) {
        let is_over = |(_, connection): &(&ConnId, &Connection)| self.expires_at(connection) <= now;
        let over: Vec<ConnId> = self.connections.iter().filter(is_over).map(|(conn, _)| *conn).collect();
        for conn in over {
            match self.connections.get(&conn).map(|connection| &connection.role) {
                Some(Role::Dialing { step: DialStep::Connecting, .. }) => {
                    self.end(conn, "no connection was made in time".to_owned(), None, now, app);
                }
                Some(Role::Dialing { .. } | Role::Answering { .. }) => {
                    self.handshake_was_late(conn);
                    self.refuse(conn, Refusal::TimedOut, now, app);
                }
                Some(Role::Sends { .. } | Role::Receives { .. }) => {
                    self.counts.silences += 1;
                    let why = format!("nothing was received for {:?}", self.options.silence);
                    self.end(conn, why.clone(), Some(bye_frame(&why)), now, app);
                }
                Some(Role::Closing) | None => {}
            }
        }
    }

    fn expires_at(&self, connection: &Connection) -> Time {
        match connection.role {
            Role::Dialing { deadline, .. } | Role::Answering { deadline, .. } => deadline,
            Role::Sends { .. } | Role::Receives { .. } => connection.received_at.after(self.options.silence),
            Role::Closing => Time::NEVER,
        }
    }

    pub(super) fn dial_due(&mut self, now: Time) {
        if self.is_over {
            return;
        }
        let due = |peer: &Peer| match peer.dial.state {
            DialState::Waiting { at } if at <= now => peer.address,
            _ => None,
        };
        let due: Vec<(WorkerId, SocketAddr)> =
            self.peers.iter().filter_map(|(worker, peer)| Some((*worker, due(peer)?))).collect();
        for (worker, address) in due {
            let deadline = now.after(self.options.handshake_timeout);
            let role = Role::Dialing { peer: worker, deadline, step: DialStep::Connecting };
            let conn = self.connect(role, now);
            self.peers.entry(worker).or_default().dial.state = DialState::Busy(conn);
            self.counts.dialed += 1;
            self.actions.push(Action::Dial { conn, peer: worker, address });
        }
    }

    /// When [`Mesh::tick`] has something to do next, if nothing happens before. It may be past.
    pub fn deadline(&self) -> Time {
        let expiries = self.connections.values().map(|connection| self.expires_at(connection));
        let sends = self.connections.values().map(|connection| self.due_at(connection));
        let dials = self.peers.values().filter(|peer| peer.address.is_some() && !self.is_over);
        let dials = dials.map(|peer| match peer.dial.state {
            DialState::Waiting { at } => at,
            DialState::Busy(_) | DialState::Up(_) => Time::NEVER,
        });
        expiries.chain(sends).chain(dials).min().unwrap_or(Time::NEVER)
    }

    /// When a connection has to send something next. `NEVER` while earlier frames of the mesh are not
    /// written.
    fn due_at(&self, connection: &Connection) -> Time {
        let (Role::Sends { peer: worker } | Role::Receives { peer: worker }) = connection.role else {
            return Time::NEVER;
        };
        let Some(peer) = self.peers.get(&worker).filter(|_| connection.is_quiet()) else {
            return Time::NEVER;
        };
        if connection.status_due || connection.is_passed_over {
            return Time::ZERO;
        }
        let heartbeat = connection.beat_at.after(self.options.heartbeat);
        match connection.role {
            Role::Receives { .. } => heartbeat.min(peer.receiver.report_at().unwrap_or(Time::NEVER)),
            Role::Sends { .. } | Role::Dialing { .. } | Role::Answering { .. } | Role::Closing => heartbeat,
        }
    }

    /// Queues what is due on all connections that are up: TAKEN and credit towards a sender of
    /// payloads, heartbeats in both directions.
    ///
    /// With a heartbeat goes all credit that changed since it was last sent; without one, only the
    /// credit that the application wants to be sent now.
    pub(super) fn queue_due(&mut self, now: Time, app: &mut dyn Application) {
        let Mesh { connections, peers, counts, ready, totals, options, .. } = self;
        for (conn, connection) in connections {
            let (worker, is_sender) = match connection.role {
                Role::Sends { peer } => (peer, true),
                Role::Receives { peer } => (peer, false),
                Role::Dialing { .. } | Role::Answering { .. } | Role::Closing => continue,
            };
            let Some(peer) = peers.get_mut(&worker) else { continue };
            connection.is_passed_over = !connection.is_quiet();
            if connection.is_passed_over {
                continue;
            }
            let beats = connection.beat_at.after(options.heartbeat) <= now;
            let beats = std::mem::take(&mut connection.status_due) || beats;
            if !is_sender {
                totals.clear();
                if beats {
                    app.credits_changed(worker, totals);
                } else {
                    app.credits_due(worker, totals);
                }
                queue_taken(connection, &mut peer.receiver, totals, now);
            }
            if beats {
                connection.beat_at = now;
                connection.queue_frame(heartbeat(worker, app));
                counts.heartbeats_out += 1;
            }
            if !connection.is_quiet() {
                list(*conn, connection, ready);
            }
        }
    }
}

/// Queues the credit frames, if there are any, and a TAKEN frame if it is due or if credit is sent.
fn queue_taken(connection: &mut Connection, receiver: &mut Receiver, totals: &[LinkCredit], now: Time) {
    if totals.is_empty() && receiver.report_at().is_none_or(|at| at > now) {
        return;
    }
    if let Some(taken) = receiver.report() {
        connection.queue_frame(taken.frame(FrameKind::Taken));
    }
    totals.chunks(CREDITS_MAX).map(credit_frame).for_each(|frame| connection.queue_frame(frame));
}

fn heartbeat(worker: WorkerId, app: &mut dyn Application) -> Vec<u8> {
    unsequenced(FrameKind::Heartbeat, |out| {
        let start = out.len();
        app.own_status(worker, out);
        assert!(out.len() - start <= STATUS_MAX, "a status has at most {STATUS_MAX} bytes");
    })
}
