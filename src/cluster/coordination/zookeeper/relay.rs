//! A loopback relay between the client of the crate and a member of the ensemble.
//!
//! ```text
//!   crate ──TCP on 127.0.0.1──▶ Relay: thread "squall-zk-relay" ──TCP or TLS──▶ member
//! ```
//!
//! The crate dials its server itself, blocks while that server is frozen, dials again without a pause, and knows no
//! TLS. Through the relay, squall chooses the member, encrypts, and cuts the connection whenever it wants to.
//!
//! 1. A relay carries one connection. When either end closes it, or TLS fails, the relay is over, and reports why.
//! 2. It accepts a connection of this process only. Otherwise any process of this machine could speak with the
//!    ensemble by the certificate of this one.
//! 3. It reads the first answer of the member as it passes: how long the session lasts without a sign of life. The crate
//!    does not give that away.
//! 4. It holds at most [`HELD_MAX`] bytes in each direction, and reads no more until they are written.
//! 5. After the end the listener stays open, without accepting, until the crate has given up: what it dials then waits,
//!    while a refused connection would make it dial again at once.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::clock::{Clock, Time};
use crate::net::transfer::Received;
use crate::net::transport::Transport;
use crate::text::shown;

/// Bytes that wait in one direction.
const HELD_MAX: usize = 256 << 10;
/// Bytes of the first answer that say how long the session lasts: length, protocol version, time-out in
/// milliseconds, number of the session.
const GREETING_BYTES: usize = 4 + 4 + 4 + 8;

/// What a relay reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RelayEvent {
    /// The member has begun a session.
    Greeted(Greeting),
    /// The connection is over, for this reason. Reported once.
    Ended(String),
}

/// The session that a member has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// How long it lasts without a sign of life. Zero: the member refuses the session.
    pub timeout: Duration,
    /// Its number, which is the owner of what is held in it.
    pub session: i64,
}

/// A relay that runs. Dropping it cuts the connection.
#[derive(Debug)]
pub(super) struct Relay {
    listener: Arc<TcpListener>,
    /// An eventfd. Readable: cut the connection.
    cut: Arc<OwnedFd>,
}

impl Relay {
    /// Starts a relay to a member. `events` is called by the thread of the relay.
    ///
    /// # Errors
    /// When the system refuses a socket or a thread.
    pub fn start(
        member: TcpStream,
        transport: Transport,
        accept_within: Duration,
        clock: &Clock,
        events: impl Fn(RelayEvent) + Send + 'static,
    ) -> io::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        member.set_nonblocking(true)?;
        member.set_nodelay(true)?;
        let listener = Arc::new(listener);
        let cut = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let running = Running {
            listener: Arc::clone(&listener),
            cut: Arc::clone(&cut),
            member,
            transport,
            upwards: Waiting::default(),
            downwards: Waiting::default(),
            greeting: Some(Vec::new()),
        };
        let (clock, by) = (clock.clone(), clock.now().after(accept_within));
        let thread = thread::Builder::new().name("squall-zk-relay".to_owned());
        thread.spawn(move || running.run(&clock, by, &events))?;
        Ok(Relay { listener, cut })
    }

    /// Where the crate has to connect to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The listener, for whoever waits until the crate has given up.
    pub fn listener(&self) -> Arc<TcpListener> {
        Arc::clone(&self.listener)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // If the counter is full, the eventfd is readable already.
        let _ = rustix::io::write(&self.cut, &1_u64.to_ne_bytes());
    }
}

/// Bytes on their way in one direction.
#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    /// No more will come.
    has_ended: bool,
}

impl Waiting {
    fn has_room(&self) -> bool {
        !self.has_ended && self.bytes.len() < HELD_MAX
    }
}

struct Running {
    listener: Arc<TcpListener>,
    cut: Arc<OwnedFd>,
    member: TcpStream,
    transport: Transport,
    /// To the member.
    upwards: Waiting,
    /// To the crate.
    downwards: Waiting,
    /// What has come of the first answer; `None` once it was reported.
    greeting: Option<Vec<u8>>,
}

impl Running {
    /// Relays until the end, and reports it before the connections are closed: then the reason comes before what
    /// follows from it.
    fn run(mut self, clock: &Clock, accept_by: Time, events: &impl Fn(RelayEvent)) {
        let accepted = self.accept(clock, accept_by);
        let ended = match &accepted {
            Ok(Some(client)) => self.carry(client, events),
            Ok(None) => Ok(()),
            Err(why) => Err(why.clone()),
        };
        events(RelayEvent::Ended(ended.err().unwrap_or_else(|| "it was cut".to_owned())));
    }

    fn accept(&self, clock: &Clock, by: Time) -> Result<Option<TcpStream>, String> {
        loop {
            let left = by.since(clock.now());
            if left.is_zero() {
                return Err("the client did not connect to its relay".to_owned());
            }
            let mut ready =
                [PollFd::new(&self.cut, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
            wait(&mut ready, Some(left))?;
            if !ready[0].revents().is_empty() {
                return Ok(None);
            }
            match self.listener.accept() {
                Ok((client, peer)) if is_own_socket(peer, &client) => return Ok(Some(client)),
                // Somebody else's connection is closed, and the next one is waited for.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(shown(&error)),
            }
        }
    }

    /// Carries bytes in both directions. `Ok` once it is cut.
    fn carry(&mut self, mut client: &TcpStream, events: &impl Fn(RelayEvent)) -> Result<(), String> {
        let failed = |error: io::Error| shown(&error);
        client.set_nonblocking(true).and_then(|()| client.set_nodelay(true)).map_err(failed)?;
        let (mut plain, mut spare) = (Transport::Plain, Vec::new());
        loop {
            if self.wait_for_work(client)? {
                return Ok(());
            }
            if self.upwards.has_room() {
                read(&mut plain, &mut client, &mut self.upwards, &mut spare).map_err(failed)?;
            }
            // Nobody waits for an answer any more, so what is left need not be sent.
            if self.upwards.has_ended {
                return Err("the client closed its connection".to_owned());
            }
            if self.downwards.has_room() {
                let before = self.downwards.bytes.len();
                let of_member = |error: io::Error| format!("the connection to it failed: {error}");
                read(&mut self.transport, &mut self.member, &mut self.downwards, &mut spare)
                    .map_err(of_member)?;
                self.look_for_greeting(before, events);
            }
            write(&mut self.transport, &mut self.member, &mut self.upwards).map_err(failed)?;
            write(&mut plain, &mut client, &mut self.downwards).map_err(failed)?;
            if self.downwards.has_ended && self.downwards.bytes.is_empty() {
                return Err("it closed the connection".to_owned());
            }
        }
    }

    /// Waits until something can be read or written. Returns whether the connection is to be cut.
    fn wait_for_work(&self, client: &TcpStream) -> Result<bool, String> {
        let wanted = |reads: bool, writes: bool| {
            let reads = if reads { PollFlags::IN } else { PollFlags::empty() };
            reads | if writes { PollFlags::OUT } else { PollFlags::empty() }
        };
        let to_member = !self.upwards.bytes.is_empty() || self.transport.wants_write();
        let mut ready = [
            PollFd::new(&self.cut, PollFlags::IN),
            PollFd::new(client, wanted(self.upwards.has_room(), !self.downwards.bytes.is_empty())),
            PollFd::new(&self.member, wanted(self.downwards.has_room(), to_member)),
        ];
        wait(&mut ready, None)?;
        Ok(!ready[0].revents().is_empty())
    }

    /// Reports the session once its description has passed. `from`: where the new bytes begin.
    fn look_for_greeting(&mut self, from: usize, events: &impl Fn(RelayEvent)) {
        let Some(seen) = &mut self.greeting else { return };
        seen.extend(self.downwards.bytes[from..].iter().take(GREETING_BYTES - seen.len()));
        if let Ok(bytes) = <[u8; GREETING_BYTES]>::try_from(&**seen) {
            self.greeting = None;
            events(RelayEvent::Greeted(greeting(bytes)));
        }
    }
}

fn greeting(bytes: [u8; GREETING_BYTES]) -> Greeting {
    let [_, _, _, _, _, _, _, _, timeout @ .., _, _, _, _, _, _, _, _] = bytes;
    let [_, _, _, _, _, _, _, _, _, _, _, _, session @ ..] = bytes;
    let timeout = u64::try_from(i32::from_be_bytes(timeout)).unwrap_or(0);
    Greeting { timeout: Duration::from_millis(timeout), session: i64::from_be_bytes(session) }
}

fn wait(ready: &mut [PollFd<'_>], at_most: Option<Duration>) -> Result<(), String> {
    let at_most = at_most.and_then(|left| Timespec::try_from(left).ok());
    match poll(ready, at_most.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(shown(error)),
    }
}

fn read(
    transport: &mut Transport,
    socket: &mut (impl Read + Write + AsFd),
    into: &mut Waiting,
    spare: &mut Vec<u8>,
) -> io::Result<()> {
    if transport.read(socket, &mut into.bytes, spare, 0)? == Received::Ended {
        into.has_ended = true;
    }
    Ok(())
}

fn write(transport: &mut Transport, socket: &mut impl Write, from: &mut Waiting) -> io::Result<()> {
    loop {
        // Without bytes to write, a TLS session may still have something of its own.
        let sent = transport.write(socket, &[IoSlice::new(&from.bytes)])?;
        let _ = from.bytes.split_to(sent.bytes);
        if sent.is_blocked || from.bytes.is_empty() || sent.bytes == 0 {
            return Ok(());
        }
    }
}

/// Whether the other end of this accepted connection is a socket of this process.
fn is_own_socket(peer: SocketAddr, accepted: &TcpStream) -> bool {
    let Ok(here) = accepted.local_addr() else { return false };
    let Ok(table) = fs::read_to_string("/proc/self/net/tcp") else { return false };
    let Some(inode) = inode_of(&table, peer, here) else { return false };
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return false };
    let wanted = format!("socket:[{inode}]");
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|link| link.as_os_str() == wanted.as_str())
}

/// The inode of the socket with these two addresses, in a table like `/proc/net/tcp`: its columns are number, local
/// address, remote address, state, queues, timer, retransmissions, user, time-out and inode.
fn inode_of(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let (local, remote) = (in_table(local)?, in_table(remote)?);
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let is_it = columns.next()? == local && columns.next()? == remote;
        is_it.then(|| columns.nth(6)?.parse().ok()).flatten()
    })
}

/// An address as such a table has it: `0100007F:1F90` is 127.0.0.1:8080. The kernel prints the address as a number of
/// this machine's byte order.
fn in_table(address: SocketAddr) -> Option<String> {
    match address {
        SocketAddr::V4(address) => {
            Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
        }
        SocketAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;
