//! One connection as the poller drives it: what the system last said of its socket, and the bytes
//! that are no whole frame yet.
//!
//! The system tells changes only (edge-triggered), so what it said is remembered until a read or a
//! write finds the opposite:
//!
//! 1. `readable` ends when a read finds less than there was room for. If the peer has closed, the end
//!    is still to be read, and nobody will say so again: then it ends with the read after that.
//! 2. `writable` ends when a write takes less than was offered.

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
    /// What was read and is not taken.
    pub input: BytesMut,
    /// TCP has not connected yet.
    pub is_connecting: bool,
    pub readable: bool,
    pub writable: bool,
    /// The peer will send no more than what can be read.
    pub is_ending: bool,
    /// The mesh has something to write.
    pub has_output: bool,
    /// Its handshake was done.
    pub was_link: bool,
}

/// Who is at the other end, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FarEnd {
    /// A worker that this one dialed.
    Dialed(WorkerId, SocketAddr),
    /// Whoever connected from there.
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

    /// Reads once. `lacks`: bytes until the frame that has begun is whole. `Ok(false)`: the peer has
    /// closed.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub fn read(&mut self, spare: &mut Vec<u8>, lacks: usize) -> io::Result<bool> {
        match self.transport.read(&mut self.socket, &mut self.input, spare, lacks)? {
            Received::More => {}
            Received::Drained => self.readable = std::mem::take(&mut self.is_ending),
            Received::Ended => return Ok(false),
        }
        Ok(true)
    }

    /// Writes once; says how many bytes of `chunks` were taken.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub fn write(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = self.transport.write(&mut self.socket, chunks)?;
        self.writable = !sent.is_blocked;
        Ok(sent.bytes)
    }
}
