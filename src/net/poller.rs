//! The thread that serves all sockets of a worker. This is the only file that uses `mio`.
//!
//! ```text
//!            ┌──────────── one round ─────────────┐
//!   sockets ─┤ events · commands · outbox · accept │
//!            │ read · tick · dial, close · write   ├─▶ sleep until the next event, push or deadline
//!   Waker ───┤                                     │
//!   timer ───┴─────────── busy: again, at once ────┘
//! ```
//!
//! [`Mesh`] makes all decisions. The poller passes it bytes and the time, and performs its actions.
//! Reading comes before the tick. Otherwise a worker that was stopped for a while would close
//! connections as silent although bytes of their peers wait in its sockets.
//!
//! 1. Only the poll waits. Sockets never block, and upcalls of the application must not.
//! 2. A round reads each connection once and writes a bounded number of bytes to each. So a peer that
//!    sends or reads as fast as it can delays the others by one such piece of work.
//! 3. A fault on a connection closes that connection. When the system refuses descriptors or memory,
//!    the poller pauses and tries again. Only a poll that fails ends the thread.
//! 4. Before members are set, the outbox is emptied into the mesh. The mesh drops what is for peers that
//!    were replaced and reports it as lost. What is pushed later goes to the next incarnation.
//! 5. No lock is held while the mesh or the application runs.
//! 6. After a take, the poller lingers: for the time of `net.linger` it does not take what executors
//!    push, unless a push is urgent. So under load one write carries what many steps sent. When nothing
//!    was taken for that time, the next push is taken at once.

mod channel;
mod handle;
mod linger;
mod logged_application;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slog::{Logger, error, warn};

use super::application::{Application, Direction};
use super::connection::{CHUNK_BYTES_MAX, ConnId, SLICES_MAX};
use super::members::{Identity, Members, Secret};
use super::mesh::{Action, Mesh};
use super::outbound::Outbound;
use super::outbox::Outbox;
use super::tls::Tls;
use super::transport::Transport;
use crate::clock::{Clock, Time};
use crate::config::NetOptions;
use crate::ids::WorkerId;
use channel::{Channel, FarEnd};
use handle::{Command, Mailbox};
use linger::Linger;
use logged_application::LoggedApplication;

pub use handle::{NetStatus, ORDERLY_END, PeerStatus, PollerHandle};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const TIMER: Token = Token(2);
/// The token of a connection is its number plus this.
const FIRST_CONNECTION: usize = 3;
/// Events that one poll returns at most; the next poll returns the rest.
const EVENTS_MAX: usize = 1024;
/// Connections that are accepted in one round at most.
const ACCEPTS_MAX: usize = 32;
/// After this many bytes to one connection, a round goes on to the next connection.
const WRITE_MAX: usize = 2 * CHUNK_BYTES_MAX;
/// The pause before the next accept after the system had no descriptor or memory for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);
/// That is logged once in this time at most.
const EXHAUSTED_EVERY: Duration = Duration::from_secs(10);

/// What a poller is made of, besides the application.
#[derive(Debug)]
pub struct Wire {
    /// Who this worker is.
    pub identity: Identity,
    /// What proves it.
    pub secret: Secret,
    /// `[net]`.
    pub options: NetOptions,
    /// For nonces and jitter: from the system's generator.
    pub seed: u64,
    /// What executors send. An outbox has one poller.
    pub outbox: Arc<Outbox>,
    /// The source of the time.
    pub clock: Clock,
    /// Where connections and their failures are logged.
    pub log: Logger,
}

/// The state of the thread. Only this thread uses it, but for the outbox and the mailbox.
pub struct Poller {
    worker: WorkerId,
    poll: Poll,
    listener: TcpListener,
    mesh: Mesh,
    app: LoggedApplication,
    options: NetOptions,
    tls: Option<Tls>,
    outbox: Arc<Outbox>,
    mailbox: Arc<Mailbox>,
    clock: Clock,
    members: Members,
    channels: BTreeMap<ConnId, Channel<TcpStream>>,
    /// The listener may have connections to accept. Set by its event, reset when accept would block.
    is_accepting: bool,
    /// After the system ran out of resources: when to accept again, and when to log that again.
    accept_at: Time,
    exhausted_log_at: Time,
    linger: Linger,
    /// This round left work that needs no event: the next poll does not wait.
    is_busy: bool,
    is_over: bool,
    /// A buffer for reading, shared by all connections.
    spare: Vec<u8>,
    taken: Vec<Outbound>,
    ready: Vec<ConnId>,
    gone: Vec<(ConnId, String)>,
}

impl Poller {
    /// Binds the address of `[net]` and starts the thread. Returns the address on which it listens.
    ///
    /// # Errors
    /// When the address cannot or must not be bound, or the files of `[net.tls]` cannot be used.
    pub fn bind(wire: Wire, app: Box<dyn Application + Send>) -> io::Result<(PollerHandle, SocketAddr)> {
        let Wire { identity, secret, options, seed, outbox, clock, log } = wire;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let tls = options.tls.as_ref().map(|paths| Tls::load(paths, &clock)).transpose().map_err(invalid)?;
        let mut listener = TcpListener::from_std(socket::listen(&options)?);
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let linger = Linger::new(options.linger)?;
        poll.registry().register(&mut SourceFd(&linger.timer()), TIMER, Interest::READABLE)?;
        // Waking fails when the poller has ended; then there is no thread to wake.
        let wake = Arc::new(move || drop(waker.wake()));
        outbox.connect(wake).map_err(|_| io::Error::other("the outbox has a poller already"))?;
        let mailbox = Arc::new(Mailbox::default());
        let poller = Poller {
            worker: identity.worker,
            poll,
            listener,
            mesh: Mesh::new(identity, secret, options.clone(), seed),
            app: LoggedApplication::new(app, log),
            options,
            tls,
            outbox: Arc::clone(&outbox),
            mailbox: Arc::clone(&mailbox),
            clock,
            members: Members::default(),
            channels: BTreeMap::new(),
            is_accepting: true,
            accept_at: Time::ZERO,
            exhausted_log_at: Time::ZERO,
            linger,
            is_busy: true,
            is_over: false,
            spare: Vec::new(),
            taken: Vec::new(),
            ready: Vec::new(),
            gone: Vec::new(),
        };
        let thread = thread::Builder::new().name("squall-net".into()).spawn(move || poller.live())?;
        Ok((PollerHandle { mailbox, outbox, thread: Some(thread), address }, address))
    }

    /// Runs the poller, and logs a panic of it.
    fn live(self) {
        let log = self.app.log.clone();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run())) {
            error!(log, "the poller panicked; this worker is cut off");
            resume_unwind(panic);
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_over {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => {
                    error!(self.app.log, "the poll failed; this worker is cut off"; "why" => %error);
                    return;
                }
                Ok(()) => {}
            }
            self.round(&events);
        }
    }

    fn round(&mut self, events: &Events) {
        let now = self.clock.now();
        self.is_busy = false;
        for event in events {
            self.note(event, now);
        }
        // Commands are announced as urgent, so they do not wait for the end of the pause.
        let may_take = self.linger.is_over(now) || self.outbox.is_urgent();
        if may_take && self.outbox.look() {
            self.run_commands(now);
            self.take_outbox();
            self.linger.begin(now);
        }
        self.accept(now);
        self.read(now);
        self.mesh.tick(now, &mut self.app);
        self.act(now);
        self.write(now);
        // A connection that failed in writing may have left an action: to dial again.
        self.act(now);
    }

    /// How long the poll may wait. If it waits, the state of the outbox is set last: from then on
    /// pushers know that they may have to wake the poller.
    fn timeout(&mut self) -> Option<Duration> {
        let paused = if self.is_accepting { self.accept_at } else { Time::NEVER };
        let deadline = self.mesh.deadline().min(paused);
        let now = self.clock.now();
        let wait = deadline.since(now);
        if self.is_busy || wait.is_zero() {
            return Some(Duration::ZERO);
        }
        // If the timer cannot be set, the poller sleeps instead, and the next push wakes it.
        let lingers = !self.linger.is_over(now) && self.linger.set_timer(now);
        let may_wait = if lingers { self.outbox.linger() } else { self.outbox.fall_asleep() };
        if !may_wait {
            return Some(Duration::ZERO);
        }
        (deadline != Time::NEVER).then_some(wait)
    }

    // ---- What has happened ----

    fn note(&mut self, event: &Event, now: Time) {
        match event.token() {
            LISTENER => self.is_accepting = true,
            WAKER => {}
            TIMER => self.linger.clear_timer(),
            Token(number) => {
                let conn = ConnId((number - FIRST_CONNECTION) as u64);
                let Some(channel) = self.channels.get_mut(&conn) else { return };
                // After an error event, the next read or write returns the error.
                let has_failed = event.is_error();
                channel.is_ending |= event.is_read_closed() || has_failed;
                channel.readable |= event.is_readable() || channel.is_ending;
                channel.writable |= event.is_writable() || has_failed;
                if channel.is_connecting && channel.writable {
                    self.finish_connecting(conn, now);
                }
            }
        }
    }

    fn finish_connecting(&mut self, conn: ConnId, now: Time) {
        let Some(channel) = self.channels.get_mut(&conn) else { return };
        match channel.socket.take_error() {
            Ok(Some(error)) | Err(error) => self.lose(conn, &error.to_string(), now),
            Ok(None) if channel.socket.peer_addr().is_ok() => {
                channel.is_connecting = false;
                self.mesh.dialed(conn, now);
            }
            // The socket is not connected yet, although an event came: wait for the next event.
            Ok(None) => channel.writable = false,
        }
    }

    fn run_commands(&mut self, now: Time) {
        for command in self.mailbox.take() {
            match command {
                Command::SetMembers(members) => {
                    self.take_outbox();
                    self.mesh.set_members(&members, now, &mut self.app);
                    if members.version >= self.members.version {
                        self.members = members;
                    }
                }
                Command::SendStatus => self.mesh.send_status(now, &mut self.app),
                // The asking thread may have given up and dropped the receiver.
                Command::Report(reply) => drop(reply.send(self.status(now))),
                Command::Stop { why } => {
                    self.app.is_ending = true;
                    self.take_outbox();
                    self.mesh.close_all(&why, now, &mut self.app);
                    self.is_over = true;
                }
            }
        }
    }

    fn take_outbox(&mut self) {
        let mesh = &mut self.mesh;
        self.outbox.take_all(&mut self.taken, |to, message| mesh.send(to, message));
    }

    fn status(&self, now: Time) -> NetStatus {
        let others = self.members.members.iter().filter(|member| member.worker != self.worker);
        let peers = others.map(|member| {
            let (untaken, untaken_bytes) = self.mesh.untaken(member.worker);
            PeerStatus {
                worker: member.worker,
                incarnation: member.incarnation,
                is_up_to: self.mesh.is_up(member.worker, Direction::To),
                is_up_from: self.mesh.is_up(member.worker, Direction::From),
                down_for: self.mesh.down_since(member.worker).map(|since| now.since(since)),
                untaken,
                untaken_bytes: untaken_bytes as u64,
            }
        });
        NetStatus {
            counts: self.mesh.counts().clone(),
            fenced_by: self.mesh.fenced_by(),
            peers: peers.collect(),
        }
    }

    // ---- Connections ----

    fn accept(&mut self, now: Time) {
        if !self.is_accepting || now < self.accept_at {
            return;
        }
        for _ in 0..ACCEPTS_MAX {
            match self.listener.accept() {
                Ok((socket, address)) => self.let_in(socket, address, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_accepting = false;
                    return;
                }
                Err(error) if socket::is_exhaustion(&error) => return self.pause_accepting(&error, now),
                // The connection failed before it was accepted. There may be another.
                Err(_) => {}
            }
        }
        self.is_busy = true;
    }

    fn pause_accepting(&mut self, error: &io::Error, now: Time) {
        self.accept_at = now.after(EXHAUSTED_PAUSE);
        if now >= self.exhausted_log_at {
            self.exhausted_log_at = now.after(EXHAUSTED_EVERY);
            warn!(self.app.log, "no connection can be accepted; trying again"; "why" => %error);
        }
    }

    fn let_in(&mut self, socket: TcpStream, address: SocketAddr, now: Time) {
        let far_end = FarEnd::Accepted(address);
        let Some(conn) = self.mesh.accepted(now) else {
            let why = "this worker ends";
            return self.app.connection_failed(far_end, why, now);
        };
        let transport = self.tls.as_ref().map(Tls::accept).transpose();
        self.add(conn, far_end, transport.map(|session| (socket, session)), now);
    }

    fn dial(&mut self, conn: ConnId, far_end: FarEnd, address: SocketAddr, now: Time) {
        let connect = || {
            let session = self.tls.as_ref().map(|tls| tls.dial(address.ip())).transpose()?;
            Ok((TcpStream::from_std(socket::connect(address, &self.options)?), session))
        };
        let connected = connect();
        self.add(conn, far_end, connected, now);
    }

    fn add(
        &mut self,
        conn: ConnId,
        far_end: FarEnd,
        made: io::Result<(TcpStream, Option<super::tls::TlsSession>)>,
        now: Time,
    ) {
        let registered = made.and_then(|(mut socket, session)| {
            socket::tune(&socket, &self.options)?;
            let token = Token(FIRST_CONNECTION + conn.0 as usize);
            self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            let transport = session.map_or(Transport::Plain, |session| Transport::Tls(Box::new(session)));
            Ok(Channel::new(socket, transport, far_end))
        });
        match registered {
            Ok(channel) => drop(self.channels.insert(conn, channel)),
            Err(error) => {
                self.app.connection_failed(far_end, &error.to_string(), now);
                self.mesh.closed(conn, &error.to_string(), now, &mut self.app);
            }
        }
    }

    /// Performs the actions of the mesh, until performing them causes no further action.
    fn act(&mut self, now: Time) {
        loop {
            let actions = self.mesh.actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Dial { conn, peer, address } => {
                        self.dial(conn, FarEnd::Dialed(peer, address), address, now);
                    }
                    Action::Close { conn, why } => self.close(conn, &why, now),
                }
            }
        }
    }

    fn close(&mut self, conn: ConnId, why: &str, now: Time) {
        if let Some(channel) = self.channels.get_mut(&conn) {
            let mut chunks = Vec::with_capacity(SLICES_MAX);
            self.mesh.chunks(conn, &mut chunks);
            // The last frame, if the socket takes it without waiting.
            let _ = channel.write(&chunks);
            channel.transport.close(&mut channel.socket);
        }
        self.lose(conn, why, now);
    }

    /// A connection is gone: drops its channel and notifies the mesh.
    fn lose(&mut self, conn: ConnId, why: &str, now: Time) {
        if let Some(channel) = self.channels.remove(&conn)
            && !channel.was_link
        {
            self.app.connection_failed(channel.far_end, why, now);
        }
        self.mesh.closed(conn, why, now, &mut self.app);
    }

    fn lose_all_gone(&mut self, now: Time) {
        for (conn, why) in std::mem::take(&mut self.gone) {
            self.lose(conn, &why, now);
        }
    }

    // ---- Bytes ----

    fn read(&mut self, now: Time) {
        for (conn, channel) in self.channels.iter_mut().filter(|(_, channel)| channel.wants_read()) {
            let missing = self.mesh.missing_bytes(*conn, &channel.input).unwrap_or(0);
            let read = channel.read(&mut self.spare, missing);
            // Bytes that came before the end of the stream are passed on, too.
            self.mesh.received(*conn, &mut channel.input, now, &mut self.app);
            channel.was_link |= self.mesh.is_link(*conn);
            match read {
                Ok(true) => self.is_busy |= channel.readable,
                Ok(false) => self.gone.push((*conn, "the peer has closed the connection".into())),
                Err(error) => self.gone.push((*conn, error.to_string())),
            }
        }
        self.lose_all_gone(now);
    }

    fn write(&mut self, now: Time) {
        self.mesh.ready(&mut self.ready);
        for conn in self.ready.drain(..) {
            if let Some(channel) = self.channels.get_mut(&conn) {
                channel.has_output = true;
            }
        }
        for (conn, channel) in self.channels.iter_mut().filter(|(_, channel)| channel.wants_write()) {
            if let Err(error) = write_channel(*conn, channel, &mut self.mesh) {
                self.gone.push((*conn, error.to_string()));
            }
            self.is_busy |= channel.wants_write();
        }
        self.lose_all_gone(now);
    }
}

/// Writes what the mesh has for a connection, until there is no more, the socket is full, or
/// [`WRITE_MAX`] is reached.
fn write_channel(conn: ConnId, channel: &mut Channel<TcpStream>, mesh: &mut Mesh) -> io::Result<()> {
    let mut written = 0;
    while channel.writable && written < WRITE_MAX {
        let mut chunks = Vec::with_capacity(SLICES_MAX);
        mesh.chunks(conn, &mut chunks);
        channel.has_output = !chunks.is_empty();
        let bytes = channel.write(&chunks)?;
        if bytes == 0 {
            break;
        }
        mesh.wrote(conn, bytes);
        written += bytes;
    }
    Ok(())
}
