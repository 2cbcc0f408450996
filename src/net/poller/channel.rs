//! One connection as the poller drives it: the readiness of its socket, and the bytes that are not a
//! whole frame yet.
//!
//! The system reports readiness only when it changes (edge-triggered). So it is kept here until a read
//! or a write shows that the socket is not ready any more:
//!
//! 1. `readable` is reset when a read returns fewer bytes than there was room for. If the peer has
//!    closed, the end of the stream is still to be read, and no event will report that again. So in
//!    that case `readable` stays set for one more read.
//! 2. `writable` is reset when a write takes fewer bytes than were offered.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bytes::BytesMut;

use super::super::transfer::Received;
use super::super::transport::Transport;
use crate::ids::WorkerId;

/// A socket and its state.
pub(super) struct Channel<S> {
    pub socket: S,
    pub transport: Transport,
    pub far_end: FarEnd,
    /// Bytes that were read and that the mesh has not taken yet.
    pub input: BytesMut,
    /// TCP has not connected yet.
    pub is_connecting: bool,
    /// A read may find something. Set by events, reset by `read`.
    pub readable: bool,
    /// A write may take something. Set by events, reset by `write`.
    pub writable: bool,
    /// The system reported the end of the stream or an error. The peer sends nothing beyond what can be
    /// read now.
    pub is_ending: bool,
    /// The mesh has something to write.
    pub has_output: bool,
    /// Its handshake was done once. The end of a connection without one is logged as a failure.
    pub was_link: bool,
}

/// Who is at the other end, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FarEnd {
    /// A worker that this one dialed.
    Dialed(WorkerId, SocketAddr),
    /// An unknown peer that connected from this address.
    Accepted(SocketAddr),
}

impl<S: Read + Write + AsFd> Channel<S> {
    pub fn new(socket: S, transport: Transport, far_end: FarEnd) -> Channel<S> {
        Channel {
            socket,
            transport,
            far_end,
            input: BytesMut::new(),
            is_connecting: matches!(far_end, FarEnd::Dialed(..)),
            readable: false,
            writable: false,
            is_ending: false,
            has_output: false,
            was_link: false,
        }
    }

    pub fn wants_read(&self) -> bool {
        self.readable && !self.is_connecting
    }

    pub fn wants_write(&self) -> bool {
        self.writable && !self.is_connecting && (self.has_output || self.transport.wants_write())
    }

    /// Reads once. `missing` is how many bytes the frame at the start of `input` still needs. `Ok(false)`:
    /// the peer has closed.
    ///
    /// # Errors
    /// Why the connection cannot be used any more.
    pub fn read(&mut self, spare: &mut Vec<u8>, missing: usize) -> io::Result<bool> {
        match self.transport.read(&mut self.socket, &mut self.input, spare, missing)? {
            Received::More => {}
            Received::Drained => self.readable = std::mem::take(&mut self.is_ending),
            Received::Ended => return Ok(false),
        }
        Ok(true)
    }

    /// Writes once. Returns how many bytes of `chunks` were taken.
    ///
    /// # Errors
    /// Why the connection cannot be used any more.
    pub fn write(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = self.transport.write(&mut self.socket, chunks)?;
        self.writable = !sent.is_blocked;
        Ok(sent.bytes)
    }
}
