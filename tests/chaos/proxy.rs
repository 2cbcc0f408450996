//! A TCP proxy between two workers, which does to their bytes what a bad network does.
//!
//! ```text
//!   worker X ──dials──▶ listener │ pump forward  ──▶ │ ──▶ worker Y
//!                          ◀──── │ pump backward ◀── │ ◀──
//! ```
//!
//! There is one for each ordered pair of workers. Each direction has a [`Mode`] that can be changed
//! while bytes flow. A proxy sits above TCP: it cannot lose or repeat a segment, but it can lose the
//! bytes of a stream, change them, hold them back, and end the stream in each way that there is.
//!
//! 1. What it does besides passing bytes on is counted, so that a run can say that it happened; and
//!    for each mode that was set it is known whether it has met anything ([`Proxy::has_struck`]).
//! 2. No pump waits for longer than [`LOOK_EACH`] without looking at its mode.
//! 3. Dropped, it closes everything and joins its threads.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use socket2::SockRef;

use crate::kit::lock;

/// How long a pump may be without a look at its mode.
const LOOK_EACH: Duration = Duration::from_millis(10);
/// Bytes read in one go.
const PIECE: usize = 64 << 10;
/// Bytes that a delay may hold back; then nothing more is read.
const HELD_MAX: usize = 4 << 20;

/// One way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who dialed.
    Forward,
    /// To who dialed.
    Backward,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// With a RST, whatever is under way.
    Reset,
    /// With a FIN in both directions.
    Finish,
}

/// What happens to the bytes of one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// They pass after so long, give or take.
    Delay {
        /// The mean.
        mean: Duration,
        /// How far from it a piece may be. Pieces never overtake each other.
        jitter: Duration,
    },
    /// Connections end, new ones at once.
    Refuse(Cut),
    /// They are taken and thrown away. A connection that lost bytes is cut when this ends: TCP would
    /// deliver them late or not at all, but never go on behind a hole.
    Blackhole,
    /// One byte in so many, on average, becomes another.
    Flip {
        /// Bytes between two of them.
        every: usize,
    },
    /// A connection lives for at most so many bytes, then it is cut amid a piece.
    Truncate {
        /// At most.
        after: usize,
    },
    /// At most so many pass in a second.
    Slow {
        /// Bytes.
        per_second: u64,
    },
    /// Nothing is read, so that buffers fill up, and what was read before stays where it is.
    Clog,
}

/// What proxies did.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that were made.
    pub connections: AtomicU64,
    /// Bytes that were passed on, both ways.
    pub passed: AtomicU64,
    /// Bytes that were thrown away.
    pub swallowed: AtomicU64,
    /// Bytes that became others.
    pub flipped: AtomicU64,
    /// Connections that were cut amid a piece.
    pub truncated: AtomicU64,
    /// Connections that were cut otherwise, or refused.
    pub cut: AtomicU64,
    /// Pieces that were held back.
    pub delayed: AtomicU64,
    /// Pieces that took their time.
    pub slowed: AtomicU64,
    /// Looks at a stream that was not to be read, or not yet.
    pub clogged: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// A proxy to one target.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    /// Forward, backward.
    ways: Mutex<[WayState; 2]>,
    counts: Arc<Counts>,
    /// Says to all pumps that were started before it was raised that their connection is over.
    cuts: Mutex<(u64, Cut)>,
    stopped: AtomicBool,
    random: Mutex<StdRng>,
    pumps: Mutex<Vec<JoinHandle<()>>>,
}

/// What is done to one way, over all of its connections.
#[derive(Clone, Copy, Debug)]
struct WayState {
    mode: Mode,
    /// Whether this mode has met a byte or a connection since it was set.
    has_struck: bool,
    /// Bytes until the next one is flipped, once that was drawn. Not of a connection: the first byte
    /// that is hit ends its connection, and few connections live for as many bytes as lie between two.
    flip_in: Option<usize>,
}

impl WayState {
    fn begin(mode: Mode) -> WayState {
        WayState { mode, has_struck: false, flip_in: None }
    }
}

impl Shared {
    fn mode(&self, way: Way) -> Mode {
        lock(&self.ways)[way as usize].mode
    }

    /// Notes that a mode did what it says, if it is still the mode of this way.
    fn note_strike(&self, way: Way, mode: Mode) {
        let state = &mut lock(&self.ways)[way as usize];
        state.has_struck |= state.mode == mode;
    }

    /// How a connection that began after so many cuts is to end, if it is.
    fn verdict(&self, cuts_before: u64, way: Way) -> Option<Cut> {
        if self.stopped.load(Ordering::Relaxed) {
            return Some(Cut::Finish);
        }
        let (cuts, how) = *lock(&self.cuts);
        match self.mode(way) {
            Mode::Refuse(how) => Some(how),
            _ => (cuts > cuts_before).then_some(how),
        }
    }
}

impl Proxy {
    /// A proxy on loopback that passes everything on to `target`. The seed says which bytes are hit.
    pub fn start(target: SocketAddr, seed: u64, counts: Arc<Counts>) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            ways: Mutex::new([WayState::begin(Mode::Pass); 2]),
            counts,
            cuts: Mutex::new((0, Cut::Finish)),
            stopped: AtomicBool::new(false),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            pumps: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let listener = thread::spawn(move || accept_all(&listener, &accepting));
        Proxy { address, shared, listener: Some(listener) }
    }

    /// Where to dial it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections that are made from now on lead.
    pub fn lead_to(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// What happens to bytes of this way from now on.
    pub fn set(&self, way: Way, mode: Mode) {
        lock(&self.shared.ways)[way as usize] = WayState::begin(mode);
    }

    /// Whether a mode that was set has done to some byte or connection what it says.
    pub fn has_struck(&self) -> bool {
        lock(&self.shared.ways).iter().any(|way| way.has_struck)
    }

    /// Lets everything pass.
    pub fn heal(&self) {
        *lock(&self.shared.ways) = [WayState::begin(Mode::Pass); 2];
    }

    /// Ends the connections that there are. New ones are welcome.
    pub fn cut(&self, how: Cut) {
        let cuts = &mut *lock(&self.shared.cuts);
        *cuts = (cuts.0 + 1, how);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        for pump in std::mem::take(&mut *lock(&self.shared.pumps)) {
            let _ = pump.join();
        }
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((near, _)) = listener.accept() {
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let cuts_before = lock(&shared.cuts).0;
        let ways = [Way::Forward, Way::Backward];
        let refused = ways.map(|way| Some((way, shared.verdict(cuts_before, way)?)));
        if let Some((way, how)) = refused.into_iter().flatten().next() {
            add(&shared.counts.cut, 1);
            shared.note_strike(way, Mode::Refuse(how));
            end(&near, how);
            continue;
        }
        let target = *lock(&shared.target);
        let Ok(far) = TcpStream::connect_timeout(&target, Duration::from_millis(500)) else {
            end(&near, Cut::Reset);
            continue;
        };
        add(&shared.counts.connections, 1);
        for stream in [&near, &far] {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_write_timeout(Some(LOOK_EACH));
        }
        let connection = Arc::new(Connection { near, far, ended: AtomicBool::new(false), cuts_before });
        let mut pumps = lock(&shared.pumps);
        pumps.retain(|pump| !pump.is_finished());
        for way in [Way::Forward, Way::Backward] {
            let (shared, connection) = (Arc::clone(shared), Arc::clone(&connection));
            let seed = lock(&shared.random).random();
            pumps.push(thread::spawn(move || Pump::new(&shared, &connection, way, seed).run()));
        }
    }
}

/// Sets how a stream ends when its last owner lets go of it, and lets go of it for others.
fn end(stream: &TcpStream, how: Cut) {
    match how {
        Cut::Reset => drop(SockRef::from(stream).set_linger(Some(Duration::ZERO))),
        Cut::Finish => drop(stream.shutdown(Shutdown::Both)),
    }
}

#[derive(Debug)]
struct Connection {
    /// To who dialed.
    near: TcpStream,
    far: TcpStream,
    /// Raised by the pump that ends it, for the other one.
    ended: AtomicBool,
    cuts_before: u64,
}

impl Connection {
    fn end(&self, how: Cut) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            end(&self.near, how);
            end(&self.far, how);
        }
    }
}

/// Why a pump goes no further.
enum Stop {
    /// The stream it reads has ended in order.
    End,
    /// The connection is to end like this, and this is whose doing it was.
    Cut(Cut),
    Truncated,
    /// Somebody else ended it.
    Gone,
}

/// Passes the bytes of one way on.
struct Pump<'a> {
    shared: &'a Shared,
    connection: &'a Connection,
    way: Way,
    random: StdRng,
    /// What is held back, each with the time it is due.
    held: VecDeque<(Instant, Vec<u8>)>,
    held_bytes: usize,
    /// Bytes until this connection is cut, once that was drawn.
    truncate_in: Option<usize>,
    /// Bytes of this connection were thrown away.
    has_hole: bool,
}

impl<'a> Pump<'a> {
    fn new(shared: &'a Shared, connection: &'a Connection, way: Way, seed: u64) -> Pump<'a> {
        let random = StdRng::seed_from_u64(seed);
        Pump {
            shared,
            connection,
            way,
            random,
            held: VecDeque::new(),
            held_bytes: 0,
            truncate_in: None,
            has_hole: false,
        }
    }

    fn run(mut self) {
        let mut piece = vec![0; PIECE];
        let stop = loop {
            if let Err(stop) = self.turn(&mut piece) {
                break stop;
            }
        };
        match stop {
            // The other way goes on: a half-closed connection is one.
            Stop::End => drop(self.to().shutdown(Shutdown::Write)),
            Stop::Cut(how) => {
                add(&self.shared.counts.cut, 1);
                self.shared.note_strike(self.way, Mode::Refuse(how));
                self.connection.end(how);
            }
            Stop::Truncated => {
                add(&self.shared.counts.truncated, 1);
                self.connection.end(Cut::Reset);
            }
            Stop::Gone => self.connection.end(Cut::Reset),
        }
    }

    fn from(&self) -> &'a TcpStream {
        if self.way == Way::Forward { &self.connection.near } else { &self.connection.far }
    }

    fn to(&self) -> &'a TcpStream {
        if self.way == Way::Forward { &self.connection.far } else { &self.connection.near }
    }

    fn check(&self) -> Result<(), Stop> {
        if self.connection.ended.load(Ordering::Relaxed) {
            return Err(Stop::Gone);
        }
        match self.shared.verdict(self.connection.cuts_before, self.way) {
            Some(how) => Err(Stop::Cut(how)),
            None => Ok(()),
        }
    }

    fn turn(&mut self, piece: &mut [u8]) -> Result<(), Stop> {
        self.check()?;
        let mode = self.shared.mode(self.way);
        if self.has_hole && mode != Mode::Blackhole {
            return Err(Stop::Cut(Cut::Reset));
        }
        if mode != Mode::Clog {
            self.release_due()?;
        }
        if mode == Mode::Clog || self.held_bytes > HELD_MAX {
            add(&self.shared.counts.clogged, 1);
            self.shared.note_strike(self.way, Mode::Clog);
            thread::sleep(LOOK_EACH);
            return Ok(());
        }
        // A slow line is read in pieces of a few milliseconds, so that its senders feel it.
        let most = match mode {
            Mode::Slow { per_second } => ((per_second / 50).max(1) as usize).min(piece.len()),
            _ => piece.len(),
        };
        match self.read(&mut piece[..most])? {
            // It may have changed while there was nothing to read.
            Some(len) => self.pass(self.shared.mode(self.way), &mut piece[..len]),
            None => Ok(()),
        }
    }

    /// Reads what is there, or waits a little for it.
    fn read(&mut self, piece: &mut [u8]) -> Result<Option<usize>, Stop> {
        let due = self.held.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        let wait = due.map_or(LOOK_EACH, |due| due.clamp(Duration::from_millis(1), LOOK_EACH));
        let _ = self.from().set_read_timeout(Some(wait));
        match self.from().read(piece) {
            Ok(0) if self.held.is_empty() => Err(Stop::End),
            // What is held back is still to be delivered.
            Ok(0) => {
                thread::sleep(wait);
                Ok(None)
            }
            Ok(len) => Ok(Some(len)),
            Err(error) if is_passing(&error) => Ok(None),
            Err(_) => Err(Stop::Gone),
        }
    }

    fn pass(&mut self, mode: Mode, piece: &mut [u8]) -> Result<(), Stop> {
        let counts = &self.shared.counts;
        match mode {
            Mode::Blackhole => {
                add(&counts.swallowed, piece.len());
                self.shared.note_strike(self.way, mode);
                self.has_hole = true;
                return Ok(());
            }
            Mode::Flip { every } => self.flip(every, piece),
            Mode::Truncate { after } => {
                let random = &mut self.random;
                let left = self.truncate_in.get_or_insert_with(|| random.random_range(0..after.max(1)));
                if *left < piece.len() {
                    let part = *left;
                    self.shared.note_strike(self.way, mode);
                    self.hold_or_write(Duration::ZERO, &piece[..part])?;
                    return Err(Stop::Truncated);
                }
                *left -= piece.len();
            }
            Mode::Slow { per_second } => {
                add(&counts.slowed, 1);
                self.shared.note_strike(self.way, mode);
                thread::sleep(Duration::from_secs_f64(piece.len() as f64 / per_second as f64));
            }
            Mode::Delay { mean, jitter } => {
                add(&counts.delayed, 1);
                self.shared.note_strike(self.way, mode);
                let spread = jitter.as_nanos() as u64;
                let drawn = Duration::from_nanos(self.random.random_range(0..=2 * spread));
                return self.hold_or_write((mean + drawn).saturating_sub(jitter), piece);
            }
            // The line was clogged while this was being read.
            Mode::Clog => {
                self.hold(Duration::ZERO, piece);
                return Ok(());
            }
            Mode::Pass | Mode::Refuse(_) => {}
        }
        self.hold_or_write(Duration::ZERO, piece)
    }

    fn flip(&mut self, every: usize, piece: &mut [u8]) {
        let random = &mut self.random;
        let state = &mut lock(&self.shared.ways)[self.way as usize];
        if state.mode != (Mode::Flip { every }) {
            return;
        }
        let mut next = state.flip_in.take().unwrap_or_else(|| random.random_range(0..2 * every.max(1)));
        while next < piece.len() {
            piece[next] ^= random.random_range(1..=u8::MAX);
            state.has_struck = true;
            add(&self.shared.counts.flipped, 1);
            next += 1 + random.random_range(0..2 * every.max(1));
        }
        state.flip_in = Some(next - piece.len());
    }

    /// Bytes wait behind those that are held back, whatever the mode is now.
    fn hold_or_write(&mut self, delay: Duration, piece: &[u8]) -> Result<(), Stop> {
        if delay.is_zero() && self.held.is_empty() {
            return self.write(piece);
        }
        self.hold(delay, piece);
        Ok(())
    }

    fn hold(&mut self, delay: Duration, piece: &[u8]) {
        let due = Instant::now() + delay;
        let due = self.held.back().map_or(due, |(last, _)| due.max(*last));
        self.held_bytes += piece.len();
        self.held.push_back((due, piece.to_vec()));
    }

    fn release_due(&mut self) -> Result<(), Stop> {
        while let Some((due, _)) = self.held.front()
            && *due <= Instant::now()
            && let Some((_, piece)) = self.held.pop_front()
        {
            self.held_bytes -= piece.len();
            self.write(&piece)?;
        }
        Ok(())
    }

    fn write(&mut self, mut piece: &[u8]) -> Result<(), Stop> {
        while !piece.is_empty() {
            match self.to().write(piece) {
                Ok(0) => return Err(Stop::Gone),
                Ok(len) => {
                    add(&self.shared.counts.passed, len);
                    piece = &piece[len..];
                }
                Err(error) if is_passing(&error) => self.check()?,
                Err(_) => return Err(Stop::Gone),
            }
        }
        Ok(())
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
