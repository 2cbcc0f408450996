//! Bare framing: a length (`u32`, little endian) and a payload, written directly on mio, without
//! handshake, checksum, sequence or credit.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use squall::tuple::{TupleBatch, codec};

use super::figures::Intervals;
use super::{Failure, Options, Sender, batch_of, work_on};

/// Bytes that one system call writes, and about those that one reads.
const BUFFER: usize = 256 << 10;
/// Bytes of a frame's length.
const PREFIX: usize = 4;

pub fn send(options: &Options, to: SocketAddr) -> Result<(), Failure> {
    let mut poll = Poll::new()?;
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    poll.registry().register(&mut stream, Token(0), Interest::WRITABLE)?;
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, None)?;
    let batch = batch_of(options);
    let (mut out, mut written) = (Vec::with_capacity(2 * BUFFER), 0);
    loop {
        if written == out.len() {
            if out.is_empty() || !options.is_ready() {
                fill(&batch, &mut out)?;
            }
            written = 0;
        }
        match stream.write(&out[written..]) {
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => poll.poll(&mut events, None)?,
            // The receiver has measured enough.
            Err(error) if is_end(error.kind()) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected)
}

/// Frames, about as many as one system call takes.
fn fill(batch: &TupleBatch, out: &mut Vec<u8>) -> Result<(), Failure> {
    out.clear();
    while out.len() < BUFFER {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX]);
        codec::encode(batch, out)?;
        let length = u32::try_from(out.len() - start - PREFIX)?;
        out[start..start + PREFIX].copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

pub fn receive(options: &Options) -> Result<(), Failure> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(8);
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    let sender = Sender::start(listener.local_addr()?)?;
    poll.poll(&mut events, None)?;
    let (mut stream, _) = listener.accept()?;
    poll.registry().register(&mut stream, Token(1), Interest::READABLE)?;

    let mut intervals = Intervals::new(options, sender.0.id());
    let (mut buffer, mut held) = (vec![0; 4 * BUFFER], 0);
    while !intervals.is_done() {
        match stream.read(&mut buffer[held..]) {
            Ok(0) => return Err("the sender has gone".into()),
            Ok(bytes) => {
                held += bytes;
                let (used, tuples) = take_frames(&buffer[..held], options)?;
                buffer.copy_within(used..held, 0);
                held -= used;
                intervals.count(tuples, bytes as u64);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => poll.poll(&mut events, None)?,
            Err(error) => return Err(error.into()),
        }
    }
    println!("{}", intervals.report(options));
    Ok(())
}

/// Works on the whole frames at the front of `input`; says how many bytes and tuples they have.
fn take_frames(input: &[u8], options: &Options) -> Result<(usize, u64), Failure> {
    let (mut used, mut tuples) = (0, 0);
    while let Some((prefix, rest)) = input[used..].split_first_chunk::<PREFIX>() {
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > 2 * BUFFER {
            return Err("a frame is too long".into());
        }
        let Some(payload) = rest.get(..length) else { break };
        tuples += work_on(payload, options)?;
        used += PREFIX + length;
    }
    Ok((used, tuples))
}
