//! Frames that come in over connections that are up.
//!
//! On a connection that this worker dialed, the peer answers with TAKEN and CREDIT. On a connection that
//! the peer dialed, it sends payloads. Heartbeats and BYE come on both; any other frame is a fault.

use bytes::BytesMut;

use super::super::application::Application;
use super::super::connection::ConnId;
use super::super::counts::{NetCounts, count};
use super::super::fault::LinkFault;
use super::super::frame::{self, Frame, FrameKind, HEADER, lane_of};
use super::super::handshake::Refused;
use super::super::payload::{STATUS_MAX, Taken, bye_frame, credits, reason_from};
use super::super::peer::Peer;
use super::super::receiver::Admission;
use super::state::Mesh;
use crate::clock::Time;
use crate::ids::WorkerId;

/// What the reader does after a frame.
enum Next {
    /// It reads the next frame.
    Frame,
    /// It stops: the peer ended the connection, for this reason.
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

    /// Takes the answers of the side that receives payloads out of `input`.
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

    /// A peer broke the protocol on a connection that was up: counts it and ends the connection.
    pub(super) fn fault(&mut self, conn: ConnId, fault: &LinkFault, now: Time, app: &mut dyn Application) {
        count(&mut self.counts.bad_frames, fault.name());
        let why = fault.to_string();
        let bye = bye_frame(&why);
        self.end(conn, why, Some(bye), now, app);
    }
}

/// The state that reading a frame may change.
struct Reading<'a> {
    worker: WorkerId,
    peer: &'a mut Peer,
    counts: &'a mut NetCounts,
    now: Time,
    app: &'a mut dyn Application,
}

impl Reading<'_> {
    fn refused(&mut self, payload: &[u8]) -> String {
        let refused = Refused::decode(payload);
        count(&mut self.counts.refused_by_peer, refused.name());
        refused.reason
    }
}

/// A frame from the side that sends payloads.
fn payload_frame(frame: Frame, reading: &mut Reading<'_>) -> Result<Next, LinkFault> {
    let Some(kind) = frame.kind.payload() else {
        return match frame.kind {
            // The dialer's handshake timed out while WELCOME was on its way.
            FrameKind::Refused => Ok(Next::Bye(reading.refused(&frame.payload))),
            _ => common_frame(&frame, reading),
        };
    };
    let lane = lane_of(kind);
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
            for total in credits(&frame.payload).ok_or(unreadable)? {
                let more = reading.peer.sender.credit(total)?;
                if !more.is_zero() {
                    reading.app.credit(reading.worker, more);
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
        FrameKind::Bye => Ok(Next::Bye(reason_from(&frame.payload))),
        kind => Err(LinkFault::Misplaced { kind }),
    }
}
