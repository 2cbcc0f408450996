//! One connection: what it is for, and what is to be written on it.
//!
//! Three queues feed it, in this order at each end of a frame: what the mesh itself says (`urgent`),
//! the control lane, the data lane. A frame that was begun is finished first. So an ack waits for one
//! frame of tuples at most, however many are queued.
//!
//! The order depends on the state alone. [`Connection::chunks`] and [`Connection::wrote`] agree on it
//! as long as nothing happens in between.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::counts::NetCounts;
use super::frame::Lane;
use super::handshake::{Answering, Dialing};
use super::sender::Sender;
use crate::clock::Time;
use crate::ids::WorkerId;

/// Slices that are offered for one write.
pub const SLICES_MAX: usize = 64;
/// Bytes that are offered for one write.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// A connection, by a number that is never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A connection, and how far it has got.
#[derive(Debug)]
pub(super) struct Connection {
    pub role: Role,
    /// When bytes last came in.
    pub heard_at: Time,
    /// Bytes that came in and are no whole frame yet.
    pub unread: usize,
    /// When a heartbeat was last queued, or the connection was made.
    pub beat_at: Time,
    /// The application asked for a heartbeat that could not be queued yet.
    pub status_due: bool,
    /// It was not asked what to say, because earlier words were not written. Once they are, it is.
    pub is_passed_over: bool,
    /// Bytes of the handshake so far.
    pub handshake_bytes: usize,
    /// It stands in the mesh's list of connections with something to write.
    pub is_listed: bool,
    urgent: VecDeque<Vec<u8>>,
    /// The frame that was written in part: where from, and how many bytes of it.
    begun: Option<(Source, usize)>,
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Role {
    /// This worker dialed; the handshake goes on.
    Dialing { peer: WorkerId, deadline: Time, step: DialStep },
    /// Somebody dialed this worker; the handshake goes on.
    Answering { deadline: Time, step: Option<Answering> },
    /// The link to the peer is up.
    Sends { peer: WorkerId },
    /// The link from the peer is up.
    Receives { peer: WorkerId },
    /// The mesh is done with it; a last frame may wait to be written.
    Closing,
}

/// How far a dialer has got.
#[derive(Debug)]
pub(super) enum DialStep {
    /// The transport is not up.
    Connecting,
    /// HELLO was said.
    Greeted(Dialing),
    /// PROOF was said.
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
            heard_at: now,
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

    /// Queues a frame of no lane.
    pub fn say(&mut self, frame: Vec<u8>) {
        self.urgent.push_back(frame);
    }

    /// Whether all that the mesh said is written. It says no more before: what a peer does not read
    /// must not pile up.
    pub fn is_quiet(&self) -> bool {
        self.urgent.is_empty()
    }

    /// Gives up what is queued, for a last frame if the stream stands at the end of one.
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

    /// What to write, in order; the first without the bytes that were written of it.
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

    /// Appends what to write next.
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

    /// So many of those bytes were written.
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
