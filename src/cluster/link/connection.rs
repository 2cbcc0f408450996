//! One connection: a socket that never waits, plain or with TLS, and the lines on it.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::{Clock, Time};
use crate::cluster::control::{ControlError, Lines};
use crate::net::tls::Tls;
use crate::net::transfer::Received;
use crate::net::transport::Transport;

/// Bytes that may come before a connection has proven who it is.
const UNPROVEN_MAX: usize = 4 << 10;
/// Who waits for a line looks so often at the time.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A connection.
#[derive(Debug)]
pub struct LinkConnection {
    socket: TcpStream,
    transport: Transport,
    input: BytesMut,
    spare: Vec<u8>,
    lines: Lines,
    /// Bytes that may still come before the other side has proven who it is; `None`: it has.
    unproven: Option<usize>,
    out: Vec<u8>,
    is_blocked: bool,
}

impl LinkConnection {
    /// Of a socket that is connected.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(socket: TcpStream, transport: Transport) -> io::Result<LinkConnection> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let (input, lines) = (BytesMut::new(), Lines::default());
        let unproven = Some(UNPROVEN_MAX);
        Ok(LinkConnection {
            socket,
            transport,
            input,
            spare: Vec::new(),
            lines,
            unproven,
            out: Vec::new(),
            is_blocked: false,
        })
    }

    /// Connects to a peer at this address. Waits for that, at most for this time.
    ///
    /// # Errors
    /// Why there is no connection, for people.
    pub fn dial(address: SocketAddr, tls: Option<&Tls>, at_most: Duration) -> Result<LinkConnection, String> {
        let socket = TcpStream::connect_timeout(&address, at_most).map_err(|error| error.to_string())?;
        let transport = match tls {
            None => Transport::Plain,
            Some(tls) => {
                let session = tls.dial(address.ip()).map_err(|error| error.to_string())?;
                Transport::Tls(Box::new(session))
            }
        };
        LinkConnection::new(socket, transport).map_err(|error| error.to_string())
    }

    /// Writes what is to be written, and waits for the next line until the deadline.
    ///
    /// # Errors
    /// Why none has come, for people.
    pub fn next_line(&mut self, clock: &Clock, deadline: Time) -> Result<Vec<u8>, String> {
        let begun = clock.now();
        loop {
            self.write().map_err(|error| error.to_string())?;
            if let Some(line) = self.line().map_err(|error| error.to_string())? {
                return Ok(line);
            }
            if clock.now() >= deadline {
                return Err(format!("it does not answer within {:.1?}", deadline.since(begun)));
            }
            let mut fds = [PollFd::from_borrowed_fd(self.fd(), self.wants())];
            let _ = poll(&mut fds, Some(&TICK));
            let goes_on = self.read().map_err(|error| error.to_string())?;
            if !goes_on {
                return match self.line() {
                    Ok(Some(line)) => Ok(line),
                    _ => Err("it has closed the connection".to_owned()),
                };
            }
        }
    }

    /// The other side may send as much again as before it had proven who it is.
    pub fn may_send_a_little(&mut self) {
        self.unproven = Some(UNPROVEN_MAX);
    }

    /// The other side has proven who it is: it may send more.
    pub fn is_proven(&mut self) {
        self.unproven = None;
    }

    /// The socket, to be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What it waits for.
    pub fn wants(&self) -> PollFlags {
        match self.transport.wants_write() || !self.out.is_empty() {
            true => PollFlags::IN | PollFlags::OUT,
            false => PollFlags::IN,
        }
    }

    /// Bytes to be written: more can be appended.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether much waits to be written, so that nothing should be appended for now.
    pub fn is_full(&self) -> bool {
        self.is_blocked && self.out.len() > 256 << 10
    }

    /// Reads what is there. Returns whether the connection goes on.
    ///
    /// # Errors
    /// When it cannot be used any more.
    pub fn read(&mut self) -> io::Result<bool> {
        loop {
            let received = self.transport.read(&mut self.socket, &mut self.input, &mut self.spare, 0)?;
            if let Some(left) = &mut self.unproven {
                *left = left.checked_sub(self.input.len()).ok_or_else(|| {
                    let why = "it sends too much before it has proven who it is";
                    io::Error::new(io::ErrorKind::InvalidData, why)
                })?;
            }
            self.lines.push(&self.input);
            self.input.clear();
            match received {
                Received::More => {}
                Received::Drained => return Ok(true),
                Received::Ended => return Ok(false),
            }
        }
    }

    /// The next line that has come, without its end.
    ///
    /// # Errors
    /// When it is too long.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, ControlError> {
        self.lines.take()
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// When it cannot be used any more.
    pub fn write(&mut self) -> io::Result<()> {
        loop {
            let sent = self.transport.write(&mut self.socket, &[IoSlice::new(&self.out)])?;
            self.out.drain(..sent.bytes);
            self.is_blocked = sent.is_blocked;
            if self.out.is_empty() || sent.is_blocked || sent.bytes == 0 {
                return Ok(());
            }
        }
    }

    /// Writes what can be written at once, and ends the connection in order.
    pub fn close(mut self) {
        // The other side sees the end in any case.
        let _ = self.write();
        self.transport.close(&mut self.socket);
    }
}
