//! The worker's end: one thread moves lines between the worker and its master, whichever that is, and connects again
//! when the connection breaks or another master has begun.
//!
//! The worker itself reads and writes a socket pair, as it does with a parent. It notices nothing of all this.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slog::{Logger, debug, error, info, warn};

use crate::clock::{Clock, Time};
use crate::cluster::control::{FromWorker, Lines, ToWorker, line, parse};
use crate::cluster::link::arrival::{Introduction, StartedAt, Welcome, boot_id};
use crate::cluster::link::connection::LinkConnection;
use crate::cluster::link::hello::{HandshakeLine, Known, handshake_line, read_handshake};
use crate::cluster::link::living::{LifeLog, outlives_its_master};
use crate::cluster::link::log_reader::LogReader;
use crate::cluster::link::resend::Resend;
use crate::cluster::topologies::{LifeSign, MasterPlace, ORDER_FILE, WorkerOrder, read_order};
use crate::config::NetOptions;
use crate::logging::LevelControl;
use crate::net::tls::Tls;
use crate::text::shown;

/// How long a connection and a handshake may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// The pauses between attempts: each is random, up to a bound that doubles.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often the order is read.
const ORDER_EVERY: Duration = Duration::from_millis(200);
/// How long the thread waits for something to do.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// The master is told so often what was taken, if nothing else tells it.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// The worker's end of its control channel. When the process ends, the thread ends with it.
#[derive(Debug)]
pub struct WorkerLink {
    flushes: Sender<Flush>,
}

/// A request to say when the master has taken everything that the worker had written before.
struct Flush {
    done: Sender<()>,
    /// Set when the socket pair was found empty.
    is_read: bool,
}

impl WorkerLink {
    /// Starts the thread. `pair` is its end of the socket pair. When the worker must end, the thread logs why, and
    /// closes the pair. `levels`: those of the
    /// logger.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(
        directory: &Path,
        order: WorkerOrder,
        known: Known,
        pair: UnixStream,
        seed: u64,
        (logger, levels): (Logger, LevelControl),
    ) -> io::Result<WorkerLink> {
        pair.set_nonblocking(true)?;
        let clock = Clock::real();
        let alive = LifeSign::open(directory)?;
        let tls = order.net.tls.as_ref().map(|paths| Tls::load(paths, &clock)).transpose();
        let tls = tls.map_err(io::Error::other)?;
        let mut rng = StdRng::seed_from_u64(seed);
        let (flushes, flushed) = channel();
        let thread = LinkThread {
            directory: directory.to_owned(),
            known,
            process: rng.next_u64(),
            rng,
            tls,
            started: StartedAt { host: order.host.clone(), change: order.change },
            order,
            order_at: clock.now(),
            pair,
            pair_lines: Lines::default(),
            pair_out: Vec::new(),
            alive,
            logs: LogReader::new(directory),
            logs_read: channel(),
            life: LifeLog::default(),
            resend: Resend::default(),
            connection: None,
            epoch: 0,
            dial_at: Time::ZERO,
            pause: PAUSE_MIN,
            told_at: Time::ZERO,
            is_reported: false,
            flushed,
            flushing: Vec::new(),
            clock,
            logger,
            levels,
        };
        thread::Builder::new().name("squall-link".to_owned()).spawn(move || thread.run())?;
        Ok(WorkerLink { flushes })
    }

    /// Waits until the master has taken everything that the worker has written, at most for this time.
    pub fn flush(&self, at_most: Duration) {
        let (done, wait) = channel();
        if self.flushes.send(Flush { done, is_read: false }).is_ok() {
            let _ = wait.recv_timeout(at_most);
        }
    }
}

struct LinkThread {
    directory: PathBuf,
    known: Known,
    process: u64,
    rng: StdRng,
    tls: Option<Tls>,
    /// Where this process was started, and for what: its order may say something else by now.
    started: StartedAt,
    order: WorkerOrder,
    order_at: Time,
    pair: UnixStream,
    pair_lines: Lines,
    pair_out: Vec<u8>,
    alive: LifeSign,
    logs: LogReader,
    /// Messages with pieces of logs, from the threads that read them.
    logs_read: (Sender<FromWorker>, Receiver<FromWorker>),
    life: LifeLog,
    /// What was said with the master of `epoch`.
    resend: Resend,
    connection: Option<LinkConnection>,
    /// The epoch of the master that was obeyed last; 0: none.
    epoch: u64,
    dial_at: Time,
    pause: Duration,
    told_at: Time,
    /// Whether it was logged that there is no connection.
    is_reported: bool,
    flushed: Receiver<Flush>,
    flushing: Vec<Flush>,
    clock: Clock,
    logger: Logger,
    /// What this process logs, which its order may change.
    levels: LevelControl,
}

/// Why the worker must end.
struct End(String);

impl LinkThread {
    fn run(mut self) {
        loop {
            if let Err(End(why)) = self.step() {
                error!(self.logger, "this worker ends"; "because" => why);
                // The worker reads the end of the pair, and ends.
                return;
            }
        }
    }

    fn step(&mut self) -> Result<(), End> {
        self.look_at_order();
        if self.connection.is_none() {
            self.dial()?;
        }
        self.wait();
        self.read_pair()?;
        self.read_connection()?;
        while let Ok(message) = self.logs_read.1.try_recv() {
            // Who has asked is gone without a connection.
            if self.connection.is_some() {
                self.push(&message)?;
            }
        }
        if self.life.living.is_none() {
            // Who waits for what to run does not hang.
            self.alive.give();
        }
        self.write()?;
        self.settle_flushes();
        Ok(())
    }

    // ---- The order ----

    fn look_at_order(&mut self) {
        let now = self.clock.now();
        if now.since(self.order_at) < ORDER_EVERY {
            return;
        }
        self.order_at = now;
        match read_order::<WorkerOrder>(&self.directory, ORDER_FILE) {
            Ok(Some(order)) => {
                if order.log.levels != self.order.log.levels {
                    self.levels.set(order.log.levels.clone());
                    info!(self.logger, "other records are logged from here on"; "levels" => %order.log.levels);
                }
                self.order = order;
            }
            Ok(None) => {}
            Err(error) => {
                debug!(self.logger, "the order of this worker cannot be read"; "error" => shown(&error))
            }
        }
        if self.order.master.is_some_and(|master| master.epoch > self.epoch) && self.connection.is_some() {
            self.disconnect("another master has begun");
        }
    }

    fn disconnect(&mut self, why: &str) {
        if let Some(connection) = self.connection.take() {
            connection.close();
            debug!(self.logger, "the connection to the master has ended"; "because" => why);
        }
    }

    // ---- Connecting ----

    fn dial(&mut self) -> Result<(), End> {
        let now = self.clock.now();
        let Some(master) = self.order.master.filter(|master| master.epoch >= self.epoch) else {
            return Ok(());
        };
        if now < self.dial_at {
            return Ok(());
        }
        match self.connect(master) {
            Ok((connection, epoch, welcome)) => self.welcomed(connection, epoch, welcome),
            Err(why) => {
                if !std::mem::replace(&mut self.is_reported, true) {
                    warn!(self.logger, "the master cannot be reached; trying again"; "address" => %master.address,
                        "epoch" => master.epoch, "because" => why);
                }
                self.dial_at = self.clock.now().after(self.rng.random_range(Duration::ZERO..self.pause));
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                Ok(())
            }
        }
    }

    /// Connects, and waits for the answer of the master.
    fn connect(&mut self, master: MasterPlace) -> Result<(LinkConnection, u64, Welcome), String> {
        let deadline = self.clock.now().after(CONNECT_MAX);
        let mut connection = LinkConnection::dial(master.address, self.tls.as_ref(), CONNECT_MAX)?;
        let nonce = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        let hello = self.known.hello(self.order.worker, self.process, nonce);
        connection.out().extend_from_slice(&handshake_line(HandshakeLine::Hello(hello.clone())));
        let challenge = match read_handshake(&connection.next_line(&self.clock, deadline)?)? {
            HandshakeLine::Challenge(challenge) => challenge,
            _ => return Err("it does not answer with a challenge".to_owned()),
        };
        let proof = self.known.proof(&hello, &challenge)?;
        challenge.is_not_older_than(self.epoch)?;
        connection.is_proven();
        let introduction = Introduction {
            pid: std::process::id(),
            boot: boot_id(),
            epoch: self.epoch,
            taken: self.resend.taken(),
            started: self.started.clone(),
            living: self.life.living.clone(),
        };
        connection.out().extend_from_slice(&handshake_line(HandshakeLine::Proof(proof)));
        connection.out().extend_from_slice(&line(&introduction));
        let answer = connection.next_line(&self.clock, deadline)?;
        match parse::<Welcome>(&answer) {
            Ok(welcome) => Ok((connection, challenge.epoch, welcome)),
            Err(_) => Err(read_handshake(&answer).err().unwrap_or_else(|| "it does not welcome".to_owned())),
        }
    }

    fn welcomed(&mut self, connection: LinkConnection, epoch: u64, welcome: Welcome) -> Result<(), End> {
        match welcome {
            Welcome::Fenced(why) => {
                return Err(End(format!("its master does not know it any more: {}", shown(why))));
            }
            Welcome::Again { taken } => {
                self.resend.connected(taken).map_err(|error| End(error.to_string()))?;
                // Those that came meanwhile were dropped, and come again only if something changes.
                if let Some(counters) = self.life.stats() {
                    self.push(&counters)?;
                }
            }
            Welcome::Fresh | Welcome::Adopted => {
                let before = std::mem::take(&mut self.resend);
                let counters = self.life.stats();
                let kept: Vec<FromWorker> = before
                    .into_kept()
                    .filter_map(|line| parse(&line).ok())
                    .filter(outlives_its_master)
                    .collect();
                for message in counters.into_iter().chain(kept) {
                    self.push(&message)?;
                }
            }
        }
        if self.epoch != epoch || self.is_reported {
            info!(self.logger, "connected to the master"; "epoch" => epoch);
        }
        (self.epoch, self.is_reported, self.pause) = (epoch, false, PAUSE_MIN);
        self.connection = Some(connection);
        Ok(())
    }

    // ---- Lines ----

    /// Waits until something can be done, for a short time.
    fn wait(&self) {
        let pair = if self.pair_out.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = vec![PollFd::from_borrowed_fd(self.pair.as_fd(), pair)];
        let connection = self.connection.as_ref();
        fds.extend(
            connection.map(|connection| PollFd::from_borrowed_fd(connection.fd(), connection.wants())),
        );
        // What goes wrong is found by the reads that follow.
        let _ = poll(&mut fds, Some(&TICK));
    }

    fn read_pair(&mut self) -> Result<(), End> {
        let mut piece = vec![0; PIECE];
        loop {
            match (&self.pair).read(&mut piece) {
                Ok(0) => return Err(End("the worker has ended".to_owned())),
                Ok(len) => self.pair_lines.push(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(End(error.to_string())),
            }
            while let Some(line) = self.pair_lines.take().map_err(|error| End(error.to_string()))? {
                let message: FromWorker = parse(&line).map_err(|error| End(error.to_string()))?;
                self.life.reported(&message);
                if let FromWorker::Beat(_) = message {
                    self.alive.give();
                }
                // Without a connection they would pile up. The last counters are known, and the next beat comes soon.
                let piles_up = matches!(message, FromWorker::Beat(_) | FromWorker::Stats(_));
                if self.connection.is_some() || !piles_up {
                    self.push(&message)?;
                }
            }
        }
        self.flushing.extend(self.flushed.try_iter());
        Ok(())
    }

    fn push(&mut self, message: &FromWorker) -> Result<(), End> {
        let mut line = line(message);
        line.pop();
        self.resend.push(line).map_err(|error| End(format!("its master takes nothing: {error}")))
    }

    fn read_connection(&mut self) -> Result<(), End> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let goes_on = connection.read();
        loop {
            let Some(connection) = &mut self.connection else { return Ok(()) };
            match connection.line() {
                Ok(None) => break,
                Ok(Some(line)) => {
                    let taken = match self.resend.take(&line) {
                        Ok(taken) => taken.map(parse::<ToWorker>),
                        Err(error) => {
                            self.disconnect(&error.to_string());
                            return Ok(());
                        }
                    };
                    match taken {
                        None => {}
                        Some(Ok(message)) => self.obey(message),
                        Some(Err(error)) => return Err(End(format!("the master sends {error}"))),
                    }
                }
                Err(error) => {
                    self.disconnect(&error.to_string());
                    return Ok(());
                }
            }
        }
        match goes_on {
            Ok(true) => {}
            Ok(false) => self.disconnect("the master has closed it"),
            Err(error) => self.disconnect(&error.to_string()),
        }
        Ok(())
    }

    /// Passes a message of the master on to the worker. About logs it is answered here.
    fn obey(&mut self, mut message: ToWorker) {
        if let ToWorker::ReadLog { question, wish } = message {
            let answers = self.logs_read.0.clone();
            return self.logs.read(wish, move |read| {
                // When the process ends, nobody takes it.
                let _ = answers.send(FromWorker::LogRead { question, read });
            });
        }
        if let ToWorker::Start(start) = &mut message {
            // Addresses and certificates are those of this host; peers must agree on the rest.
            let NetOptions { listen, insecure, tls, .. } = self.order.net.clone();
            (start.net.listen, start.net.insecure, start.net.tls) = (listen, insecure, tls);
        }
        self.life.sent(&message);
        self.pair_out.extend_from_slice(&line(&message));
    }

    fn write(&mut self) -> Result<(), End> {
        while !self.pair_out.is_empty() {
            match (&self.pair).write(&self.pair_out) {
                Ok(written) => _ = self.pair_out.drain(..written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End(error.to_string())),
            }
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if !connection.is_full() {
            self.resend.write(connection.out());
        }
        let now = self.clock.now();
        if now.since(self.told_at) >= TELL_EVERY {
            self.told_at = now;
            self.resend.tell(connection.out());
        }
        if let Err(error) = connection.write() {
            self.disconnect(&error.to_string());
        }
        Ok(())
    }

    fn settle_flushes(&mut self) {
        let is_settled = self.resend.is_settled();
        self.flushing.retain_mut(|flush| {
            // What was written before the request is read in the step after it.
            let was_read = std::mem::replace(&mut flush.is_read, true);
            let is_done = was_read && is_settled;
            if is_done {
                let _ = flush.done.send(());
            }
            !is_done
        });
    }
}
