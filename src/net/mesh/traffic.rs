//! What comes and goes over links that are up.

use bytes::BytesMut;

use super::super::connection::{Connection, Role};
use super::super::counts::{NetCounts, count};
use super::super::fault::LinkFault;
use super::super::frame::{self, Frame, FrameKind, HEADER, Lane, unsequenced};
use super::super::payload::{CREDITS_MAX, STATUS_MAX, Taken, bye_frame, credit_frame, credits, told_reason};
use super::super::peer::Peer;
use super::super::receiver::Admission;
use super::super::{Application, PayloadKind};
use super::{ConnId, Mesh, list};
use crate::clock::Time;
use crate::ids::WorkerId;

/// What follows from a frame for the connection.
enum Next {
    /// Another one.
    Frame,
    /// The peer ended it, for this reason.
    Bye(String),
}

impl Mesh {
    /// Takes payloads out of `input`.
    pub(super) fn read_payloads(
        &mut self,
        conn: ConnId,
        worker: WorkerId,
        input: &mut BytesMut,
        now: Time,
        app: &mut dyn Application,
    ) {
        self.read_frames(conn, worker, input, now, app, payload_frame);
    }

    /// Takes what the receiving side answers out of `input`.
    pub(super) fn read_answers(
        &mut self,
        conn: ConnId,
        worker: WorkerId,
        input: &mut BytesMut,
        now: Time,
        app: &mut dyn Application,
    ) {
        self.read_frames(conn, worker, input, now, app, answer_frame);
    }

    fn read_frames(
        &mut self,
        conn: ConnId,
        worker: WorkerId,
        input: &mut BytesMut,
        now: Time,
        app: &mut dyn Application,
        read: impl Fn(Frame, &mut Reading<'_>) -> Result<Next, LinkFault>,
    ) {
        let Some(peer) = self.peers.get_mut(&worker) else { return };
        let counts = &mut self.counts;
        let mut reading = Reading { worker, peer, counts, now, app };
        let ended = loop {
            match frame::take(input, self.options.frame_max) {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    reading.counts.frames_in += 1;
                    reading.counts.bytes_in += (HEADER + frame.payload.len()) as u64;
                    match read(frame, &mut reading) {
                        Ok(Next::Frame) => {}
                        Ok(Next::Bye(why)) => break Ok(why),
                        Err(fault) => break Err(fault),
                    }
                }
                Err(error) => break Err(LinkFault::from(error)),
            }
        };
        input.clear();
        match ended {
            Ok(why) => self.end(conn, format!("the peer closed: {why}"), None, now, app),
            Err(fault) => self.fault(conn, &fault, now, app),
        }
    }

    /// A peer did something wrong on a link that was up.
    pub(super) fn fault(&mut self, conn: ConnId, fault: &LinkFault, now: Time, app: &mut dyn Application) {
        count(&mut self.counts.bad_frames, fault.name());
        let why = fault.to_string();
        let bye = bye_frame(&why);
        self.end(conn, why, Some(bye), now, app);
    }

    /// When a connection has something to say next. A connection whose last words are not written
    /// yet says nothing.
    pub(super) fn says_at(&self, connection: &Connection) -> Time {
        let (Role::Sends { peer: worker } | Role::Receives { peer: worker }) = connection.role else {
            return Time::NEVER;
        };
        let Some(peer) = self.peers.get(&worker).filter(|_| connection.is_quiet()) else {
            return Time::NEVER;
        };
        if connection.status_due {
            return Time::ZERO;
        }
        let heartbeat = connection.beat_at.after(self.options.heartbeat);
        match connection.role {
            Role::Receives { .. } => heartbeat.min(peer.receiver.tell_at().unwrap_or(Time::NEVER)),
            Role::Sends { .. } | Role::Dialing { .. } | Role::Answering { .. } | Role::Closing => heartbeat,
        }
    }

    /// Says what is due on all links that are up: what was taken, credit, heartbeats.
    pub(super) fn say_due(&mut self, now: Time, app: &mut dyn Application) {
        let Mesh { connections, peers, counts, ready, totals, options, .. } = self;
        for (conn, connection) in connections.iter_mut().filter(|(_, connection)| connection.is_quiet()) {
            let (worker, is_receiver) = match connection.role {
                Role::Sends { peer } => (peer, false),
                Role::Receives { peer } => (peer, true),
                Role::Dialing { .. } | Role::Answering { .. } | Role::Closing => continue,
            };
            let Some(peer) = peers.get_mut(&worker) else { continue };
            if is_receiver {
                totals.clear();
                app.credits(worker, totals);
                if !totals.is_empty() || peer.receiver.tell_at().is_some_and(|at| at <= now) {
                    let taken = peer.receiver.tell().map(|taken| taken.frame(FrameKind::Taken));
                    let credit = totals.chunks(CREDITS_MAX).map(credit_frame);
                    taken.into_iter().chain(credit).for_each(|frame| connection.say(frame));
                }
            }
            let is_due = connection.beat_at.after(options.heartbeat) <= now;
            if std::mem::take(&mut connection.status_due) || is_due {
                connection.beat_at = now;
                connection.say(heartbeat(worker, app));
                counts.heartbeats_out += 1;
            }
            if !connection.is_quiet() {
                list(*conn, connection, ready);
            }
        }
    }
}

fn heartbeat(worker: WorkerId, app: &mut dyn Application) -> Vec<u8> {
    unsequenced(FrameKind::Heartbeat, |out| {
        let start = out.len();
        app.own_status(worker, out);
        assert!(out.len() - start <= STATUS_MAX, "a status has at most {STATUS_MAX} bytes");
    })
}

/// What reading a frame may touch.
struct Reading<'a> {
    worker: WorkerId,
    peer: &'a mut Peer,
    counts: &'a mut NetCounts,
    now: Time,
    app: &'a mut dyn Application,
}

/// A frame from the side that sends payloads.
fn payload_frame(frame: Frame, reading: &mut Reading<'_>) -> Result<Next, LinkFault> {
    let kind = match frame.kind {
        FrameKind::Acks => PayloadKind::Acks,
        FrameKind::Outcomes => PayloadKind::Outcomes,
        FrameKind::Data => PayloadKind::Data,
        _ => return common_frame(&frame, reading),
    };
    let lane = if kind == PayloadKind::Data { Lane::Data } else { Lane::Control };
    match reading.peer.receiver.admit(lane, frame.sequence)? {
        Admission::Duplicate => reading.counts.duplicates += 1,
        Admission::Next => {
            let bytes = frame.payload.len();
            reading.app.payload(reading.worker, kind, frame.payload, reading.now)?;
            reading.peer.receiver.take(lane, bytes, reading.now);
        }
    }
    Ok(Next::Frame)
}

/// A frame from the side that takes payloads.
fn answer_frame(frame: Frame, reading: &mut Reading<'_>) -> Result<Next, LinkFault> {
    let unreadable = LinkFault::Unreadable { kind: frame.kind };
    match frame.kind {
        FrameKind::Taken => {
            let taken = Taken::decode(&frame.payload).ok_or(unreadable)?;
            let settled = reading.peer.sender.taken(taken)?;
            if settled > 0 {
                reading.peer.dial.progress();
                reading.app.settled(reading.worker, settled);
            }
            Ok(Next::Frame)
        }
        FrameKind::Credit => {
            for (link, tuples, bytes) in credits(&frame.payload).ok_or(unreadable)? {
                let (tuples, bytes) = reading.peer.sender.credit(link, tuples, bytes)?;
                if (tuples, bytes) != (0, 0) {
                    reading.app.credit(reading.worker, link, tuples, bytes);
                }
            }
            Ok(Next::Frame)
        }
        _ => common_frame(&frame, reading),
    }
}

/// A frame that either side may send.
fn common_frame(frame: &Frame, reading: &mut Reading<'_>) -> Result<Next, LinkFault> {
    match frame.kind {
        FrameKind::Heartbeat if frame.payload.len() > STATUS_MAX => {
            Err(LinkFault::Unreadable { kind: frame.kind })
        }
        FrameKind::Heartbeat => {
            reading.counts.heartbeats_in += 1;
            reading.app.status(reading.worker, &frame.payload, reading.now);
            Ok(Next::Frame)
        }
        FrameKind::Bye => Ok(Next::Bye(told_reason(&frame.payload))),
        kind => Err(LinkFault::Misplaced { kind }),
    }
}
