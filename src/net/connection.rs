//! One connection: its role, and what is to be written on it.
//!
//! The next frame comes from one of three queues, in this order: frames of the mesh itself (`urgent`),
//! the control lane, the data lane. A frame that was written in part is finished first. So an ack
//! record waits for one frame of tuples at most, however many are queued.
//!
//! The order is computed from the state alone. [`Connection::chunks`] and [`Connection::wrote`] compute
//! the same order as long as no other call comes between them.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::counts::NetCounts;
use super::frame::Lane;
use super::handshake::{Answering, Dialing};
use super::sender::Sender;
use crate::clock::Time;
use crate::ids::WorkerId;

/// Slices that are offered for one write at most.
pub const SLICES_MAX: usize = 64;
/// Bytes that are offered for one write at most.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// The number of a connection. A mesh never uses a number again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The state of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub role: Role,
    /// When bytes last came in. After `silence` without any, the connection is closed.
    pub received_at: Time,
    /// How many bytes came in that are not a whole frame yet.
    pub unread: usize,
    /// When a heartbeat was last queued, or the connection was made.
    pub beat_at: Time,
    /// A heartbeat is to be queued, although the interval is not over: the connection has just come up,
    /// or the application asked for one. Reset when the heartbeat is queued.
    pub status_due: bool,
    /// `queue_due` skipped this connection, because earlier frames of the mesh were not written. It is
    /// served as soon as they are.
    pub is_passed_over: bool,
    /// Bytes of the handshake that were read so far.
    pub handshake_bytes: usize,
    /// It is in the mesh's list of connections with something to write.
    pub is_listed: bool,
    /// Frames of the mesh itself, in order. `queue_frame` appends; `wrote` drops what was written whole.
    urgent: VecDeque<Vec<u8>>,
    /// The frame that was written in part: its queue, and how many of its bytes were written.
    begun: Option<(Source, usize)>,
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Role {
    /// This worker dialed; the handshake is not done.
    Dialing { peer: WorkerId, deadline: Time, step: DialStep },
    /// This worker accepted it; the handshake is not done.
    Answering { deadline: Time, step: Option<Answering> },
    /// It is up, and carries payloads to the peer.
    Sends { peer: WorkerId },
    /// It is up, and carries payloads from the peer.
    Receives { peer: WorkerId },
    /// The mesh has ended it; a last frame may wait to be written.
    Closing,
}

/// How far a dialer has got.
#[derive(Debug)]
pub(super) enum DialStep {
    /// The transport is not up.
    Connecting,
    /// HELLO was queued.
    Greeted(Dialing),
    /// PROOF was queued.
    Proved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Urgent,
    Lane(Lane),
}

const SOURCES: [Source; 3] = [Source::Urgent, Source::Lane(Lane::Control), Source::Lane(Lane::Data)];

impl Connection {
    pub fn new(role: Role, now: Time) -> Connection {
        Connection {
            role,
            received_at: now,
            unread: 0,
            beat_at: now,
            status_due: false,
            is_passed_over: false,
            handshake_bytes: 0,
            is_listed: false,
            urgent: VecDeque::new(),
            begun: None,
        }
    }

    /// Queues a frame of the mesh itself, which has no lane.
    pub fn queue_frame(&mut self, frame: Vec<u8>) {
        self.urgent.push_back(frame);
    }

    /// Whether all frames of the mesh itself are written. Until then `queue_due` queues no more, so that
    /// frames which a peer does not read do not pile up.
    pub fn is_quiet(&self) -> bool {
        self.urgent.is_empty()
    }

    /// Drops what is queued, and queues a last frame, unless another frame was written in part: the
    /// peer would take the last frame for the rest of that one.
    pub fn finish(&mut self, last: Option<Vec<u8>>) {
        self.urgent.clear();
        if self.begun.take().is_none() {
            self.urgent.extend(last);
        }
        self.role = Role::Closing;
    }

    fn queue<'a>(&'a self, source: Source, sender: Option<&'a Sender>) -> impl Iterator<Item = &'a [u8]> {
        let urgent = (source == Source::Urgent).then(|| self.urgent.iter().map(Vec::as_slice));
        let lane = match source {
            Source::Urgent => None,
            Source::Lane(lane) => sender.map(|sender| sender.unwritten(lane)),
        };
        urgent.into_iter().flatten().chain(lane.into_iter().flatten())
    }

    /// The frames to write, in order. Of a frame that was written in part, only the rest.
    fn output<'a>(&'a self, sender: Option<&'a Sender>) -> impl Iterator<Item = &'a [u8]> {
        let rest = move |(source, written): (Source, usize)| {
            self.queue(source, sender).next().map(|frame| &frame[written..])
        };
        let begun = self.begun.and_then(rest);
        let is_begun = move |source| self.begun.is_some_and(|(begun, _)| begun == source);
        let queues = SOURCES.into_iter();
        let whole =
            queues.flat_map(move |source| self.queue(source, sender).skip(usize::from(is_begun(source))));
        begun.into_iter().chain(whole)
    }

    /// Appends the slices to write next, within [`SLICES_MAX`] and [`CHUNK_BYTES_MAX`].
    pub fn chunks<'a>(&'a self, sender: Option<&'a Sender>, into: &mut Vec<IoSlice<'a>>) {
        let mut room = CHUNK_BYTES_MAX;
        for frame in self.output(sender).take(SLICES_MAX) {
            let slice = &frame[..frame.len().min(room)];
            into.push(IoSlice::new(slice));
            room -= slice.len();
            if room == 0 {
                return;
            }
        }
    }

    /// The first `bytes` bytes of what `chunks` appended were written. Drops frames of the mesh that
    /// were written whole, and advances the sender over its frames, which it keeps until they are taken.
    pub fn wrote(&mut self, mut bytes: usize, mut sender: Option<&mut Sender>, counts: &mut NetCounts) {
        counts.bytes_out += bytes as u64;
        while bytes > 0 {
            let (source, written) = self.begun.take().unwrap_or_else(|| self.next_source(sender.as_deref()));
            let frame = self.queue(source, sender.as_deref()).next();
            let left = frame.expect("no more is written than was offered").len() - written;
            if bytes < left {
                self.begun = Some((source, written + bytes));
                return;
            }
            bytes -= left;
            counts.frames_out += 1;
            match (source, sender.as_deref_mut()) {
                (Source::Urgent, _) => drop(self.urgent.pop_front()),
                (Source::Lane(lane), Some(sender)) => counts.resent += u64::from(sender.wrote_one(lane)),
                (Source::Lane(_), None) => {}
            }
        }
    }

    fn next_source(&self, sender: Option<&Sender>) -> (Source, usize) {
        let has_frame = |source: &Source| self.queue(*source, sender).next().is_some();
        (SOURCES.into_iter().find(has_frame).unwrap_or(Source::Urgent), 0)
    }
}
