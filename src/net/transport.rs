//! Bytes between a socket and the mesh, with TLS or without.
//!
//! Payloads are views of the buffer they were read into, and a view keeps its whole buffer alive. So a
//! small read is copied to a buffer of its own size, and only a read that fills at least a quarter of
//! the large buffer keeps that buffer. Then a view of a few bytes never keeps more than [`READ_MAX`]
//! alive. If views are dropped in order, all of them together keep at most a few times their own size.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;

use bytes::{Bytes, BytesMut};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::tls::TlsSession;
use super::transfer::{READ_MAX, Received, Sent};

/// A read of fewer bytes is copied out of the shared buffer.
const KEPT_MIN: usize = READ_MAX / 4;

/// How the bytes of a connection travel.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Not encrypted.
    Plain,
    /// Encrypted. Boxed, because it is large and rare.
    Tls(Box<TlsSession>),
}

impl Transport {
    /// Appends what the socket has to `input`: about [`READ_MAX`] bytes at most, or `missing` if that
    /// is more. `missing` is how many bytes the frame at the start of `input` still needs. `spare` is a
    /// buffer that all connections of a thread share.
    ///
    /// # Errors
    /// Errors of the socket and of TLS. The connection cannot be used any more.
    pub(crate) fn read(
        &mut self,
        socket: &mut (impl Read + Write + AsFd),
        input: &mut BytesMut,
        spare: &mut Vec<u8>,
        missing: usize,
    ) -> io::Result<Received> {
        match self {
            Transport::Plain => read_plain(socket, input, spare, missing),
            Transport::Tls(session) => session.read(socket, input),
        }
    }

    /// Writes to the socket. With TLS, what is written may come from earlier `chunks` that the session
    /// still holds. Returns how many bytes of `chunks` were taken.
    ///
    /// # Errors
    /// Errors of the socket and of TLS. The connection cannot be used any more.
    pub(crate) fn write(&mut self, socket: &mut impl Write, chunks: &[IoSlice<'_>]) -> io::Result<Sent> {
        match self {
            Transport::Plain => write_plain(socket, chunks),
            Transport::Tls(session) => session.write(socket, chunks),
        }
    }

    /// Whether it holds bytes for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        matches!(self, Transport::Tls(session) if session.wants_write())
    }

    /// Ends the TLS session in order, if there is one and the socket takes its last record.
    pub(crate) fn close(&mut self, socket: &mut impl Write) {
        if let Transport::Tls(session) = self {
            session.close(socket);
        }
    }
}

/// Reads into spare capacity, which need not be zeroed first: rustix adds only what the kernel filled.
fn read_plain(
    socket: &impl AsFd,
    input: &mut BytesMut,
    spare: &mut Vec<u8>,
    missing: usize,
) -> io::Result<Received> {
    let is_long = input.len() >= KEPT_MIN;
    let mut buffer = if is_long {
        // The beginning of a long frame is alone in its buffer: the buffer grows without a copy into
        // the shared one.
        Vec::from(std::mem::take(input))
    } else {
        let mut buffer = std::mem::take(spare);
        buffer.clear();
        buffer.reserve(input.len() + READ_MAX);
        buffer.extend_from_slice(input);
        input.clear();
        buffer
    };
    buffer.reserve(READ_MAX.max(missing));
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        (near, far)
    }

    fn read(socket: &mut UnixStream, input: &mut BytesMut, spare: &mut Vec<u8>, missing: usize) -> Received {
        Transport::Plain.read(socket, input, spare, missing).unwrap()
    }

    #[test]
    fn reads_say_whether_there_is_more() {
        let (mut near, mut far) = pair();
        let (mut input, mut spare) = (BytesMut::new(), Vec::new());
        assert_eq!(read(&mut near, &mut input, &mut spare, 0), Received::Drained);
        far.write_all(b"hello").unwrap();
        assert_eq!(read(&mut near, &mut input, &mut spare, 0), Received::Drained);
        assert_eq!(&input[..], b"hello");
        drop(far);
        assert_eq!(read(&mut near, &mut input, &mut spare, 0), Received::Ended);
        assert_eq!(&input[..], b"hello", "what had come before stays");
    }

    /// A view of 5 bytes would otherwise keep 128 KiB alive for as long as a slow task has it.
    #[test]
    fn a_small_read_is_kept_in_a_buffer_of_its_size() {
        let (mut near, mut far) = pair();
        let (mut input, mut spare) = (BytesMut::new(), Vec::new());
        far.write_all(b"hello").unwrap();
        let _ = read(&mut near, &mut input, &mut spare, 0);
        assert!(input.capacity() < 1024, "{}", input.capacity());
        assert!(spare.capacity() >= READ_MAX, "the large one is used again");
    }

    #[test]
    fn a_large_read_is_not_copied() {
        let (mut near, mut far) = pair();
        let (mut input, mut spare) = (BytesMut::new(), Vec::with_capacity(READ_MAX));
        let buffer = spare.as_ptr();
        far.write_all(&vec![7; KEPT_MIN]).unwrap();
        let _ = read(&mut near, &mut input, &mut spare, 0);
        assert_eq!((input.len(), input.as_ptr()), (KEPT_MIN, buffer));
    }

    /// Bytes come in pieces of all sizes, and frames are taken out of the front now and then, some of
    /// which stay alive.
    #[test]
    fn nothing_is_lost_between_reads() {
        let bytes: Vec<u8> =
            (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for take_at in [10_usize, 1000, 100_000, 1_000_000] {
            let (mut near, mut far) = pair();
            let (mut input, mut spare) = (BytesMut::new(), Vec::new());
            let (mut left, mut taken, mut kept) = (&bytes[..], Vec::new(), Vec::new());
            let mut piece = 1;
            while taken.len() < bytes.len() {
                piece = piece * 3 % 100_003 + 1;
                match far.write(&left[..piece.min(left.len())]) {
                    Ok(written) => left = &left[written..],
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                let missing = take_at.saturating_sub(input.len());
                assert_ne!(read(&mut near, &mut input, &mut spare, missing), Received::Ended);
                while input.len() >= take_at || (left.is_empty() && !input.is_empty()) {
                    let frame = input.split_to(input.len().min(take_at)).freeze();
                    taken.extend_from_slice(&frame);
                    kept.push(frame);
                    kept.truncate(3);
                }
            }
            assert!(taken == bytes, "frames of {take_at}");
        }
    }

    #[test]
    fn writes_say_when_the_socket_is_full() {
        let (mut near, mut far) = pair();
        let (chunk, mut transport) = (vec![1; 300_000], Transport::Plain);
        let mut written = 0;
        loop {
            let sent = transport.write(&mut near, &[IoSlice::new(&chunk), IoSlice::new(&chunk)]).unwrap();
            written += sent.bytes;
            if sent.is_blocked {
                break;
            }
            assert_eq!(sent.bytes, 600_000);
        }
        assert_eq!(transport.write(&mut near, &[]).unwrap(), Sent { bytes: 0, is_blocked: false });
        let (mut input, mut spare) = (BytesMut::new(), Vec::new());
        while read(&mut far, &mut input, &mut spare, 0) == Received::More {}
        assert_eq!(input.len(), written);
        drop(far);
        assert!(transport.write(&mut near, &[IoSlice::new(&chunk)]).is_err());
    }
}
