//! Bytes between a socket and the mesh, plain or through TLS.
//!
//! What is read is handed on as views of the buffer it was read into, so a view keeps its whole
//! buffer alive. Therefore a small read is copied to a buffer of its own size, and only what fills a
//! good part of the large one takes it along: a view of a few bytes never holds more than
//! [`READ_MAX`], and what all views hold is at most a few times what they show if they are let go
//! in order.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;

use bytes::{Bytes, BytesMut};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::tls::TlsSession;

/// Bytes that are read from a socket at once.
pub(super) const READ_MAX: usize = 128 << 10;
/// A read of fewer bytes does not take the buffer along.
const KEPT_MIN: usize = READ_MAX / 4;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Received {
    /// All that was asked for; there may be more.
    More,
    /// All there was. The socket will say when there is more.
    Drained,
    /// The peer has closed.
    Ended,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct Sent {
    /// Bytes of the chunks that were taken.
    pub bytes: usize,
    /// The socket takes no more for now. It will say when it does.
    pub is_blocked: bool,
}

/// How the bytes of a connection travel.
#[derive(Debug)]
pub(super) enum Transport {
    /// As they are.
    Plain,
    /// Encrypted. Boxed, because it is large and rare.
    Tls(Box<TlsSession>),
}

impl Transport {
    /// Appends what the socket has to `input`: about [`READ_MAX`] bytes at most, or `lacks` if that
    /// is more, which is what a frame that has begun still needs. `spare` is a buffer that all
    /// connections of a thread share.
    ///
    /// # Errors
    /// Those of the socket and of TLS: the connection is of no more use.
    pub(super) fn read(
        &mut self,
        socket: &mut (impl Read + Write + AsFd),
        input: &mut BytesMut,
        spare: &mut Vec<u8>,
        lacks: usize,
    ) -> io::Result<Received> {
        match self {
            Transport::Plain => read_plain(socket, input, spare, lacks),
            Transport::Tls(session) => session.read(socket, input),
        }
    }

    /// Writes what the socket takes of `chunks`, or of what was taken before.
    ///
    /// # Errors
    /// Those of the socket and of TLS: the connection is of no more use.
    pub(super) fn write(&mut self, socket: &mut impl Write, chunks: &[IoSlice<'_>]) -> io::Result<Sent> {
        match self {
            Transport::Plain => write_plain(socket, chunks),
            Transport::Tls(session) => session.write(socket, chunks),
        }
    }

    /// Whether it has bytes of its own for the socket.
    pub(super) fn wants_write(&self) -> bool {
        matches!(self, Transport::Tls(session) if session.wants_write())
    }

    /// Says goodbye, if there is a way to say it and the socket takes it.
    pub(super) fn close(&mut self, socket: &mut impl Write) {
        if let Transport::Tls(session) = self {
            session.close(socket);
        }
    }
}

/// Reads into room that nobody has cleared before: the kernel fills it, and rustix knows how far.
fn read_plain(
    socket: &impl AsFd,
    input: &mut BytesMut,
    spare: &mut Vec<u8>,
    lacks: usize,
) -> io::Result<Received> {
    let is_long = input.len() >= KEPT_MIN;
    let mut buffer = if is_long {
        // The beginning of a long frame, alone in its buffer: it grows where it is.
        Vec::from(std::mem::take(input))
    } else {
        let mut buffer = std::mem::take(spare);
        buffer.clear();
        buffer.reserve(input.len() + READ_MAX);
        buffer.extend_from_slice(input);
        input.clear();
        buffer
    };
    buffer.reserve(READ_MAX.max(lacks));
    let room = buffer.capacity() - buffer.len();
    let read = loop {
        match rustix::io::read(socket, spare_capacity(&mut buffer)) {
            Err(Errno::INTR) => {}
            read => break read,
        }
    };
    if is_long || buffer.len() >= KEPT_MIN {
        *input = BytesMut::from(Bytes::from(buffer));
    } else {
        input.extend_from_slice(&buffer);
        *spare = buffer;
    }
    match read {
        Ok(0) => Ok(Received::Ended),
        Ok(bytes) if bytes < room => Ok(Received::Drained),
        Ok(_) => Ok(Received::More),
        Err(Errno::AGAIN) => Ok(Received::Drained),
        Err(error) => Err(error.into()),
    }
}

fn write_plain(socket: &mut impl Write, chunks: &[IoSlice<'_>]) -> io::Result<Sent> {
    let offered: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    if offered == 0 {
        return Ok(Sent { bytes: 0, is_blocked: false });
    }
    loop {
        match socket.write_vectored(chunks) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => return Ok(Sent { bytes, is_blocked: bytes < offered }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Sent { bytes: 0, is_blocked: true });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
