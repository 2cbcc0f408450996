//! What squall's wire is measured against: length-prefixed frames written directly on mio, from one
//! process to another over loopback, without handshake, checksum, sequence or credit.
//!
//! ```text
//! cargo bench --bench bare -- [--mode decoded] [--ready] [--batch 100] [--bytes 100]
//!                             [--warmup S] [--seconds S]
//! ```
//!
//! The program runs itself a second time as the sender; the receiver counts, in intervals of a
//! second, and prints one JSON line with their median. A frame is its length (`u32`, little endian)
//! and one batch in the codec that squall uses (`squall::tuple::codec`), so that what is compared is
//! the way to the peer and nothing else. What the receiver does with a frame is its mode:
//!
//! * `raw`: nothing; the bytes are counted.
//! * `views`: finds each tuple's text and checks that it is one, where it lies.
//! * `decoded`: makes a [`TupleBatch`] of it, as squall's receiver must.
//!
//! The sender encodes each batch anew, as squall must; with `--ready` it sends the same encoded
//! frames over and over, which is the most that a receiver can be given. `raw` is always ready.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use squall::Value;
use squall::tuple::{Rows, TupleBatch, codec};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that one system call reads or writes at most.
const BUFFER: usize = 256 << 10;
/// Bytes of a frame's length.
const PREFIX: usize = 4;
/// The first byte of a text of 64 bytes or more, in squall's codec.
const TEXT: u8 = 0x05;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Raw,
    Views,
    Decoded,
}

#[derive(Parser, Clone)]
struct Options {
    /// What the receiver does with a frame.
    #[arg(long, value_enum, default_value = "decoded")]
    mode: Mode,
    /// Send the same encoded frames over and over.
    #[arg(long)]
    ready: bool,
    /// Tuples in a frame.
    #[arg(long, default_value_t = 100)]
    batch: u32,
    /// Bytes of a tuple on the wire: one text, with its tag and its length.
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// Seconds before the first interval.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Intervals of a second.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The receiver's address: this process is the sender.
    #[arg(long, hide = true)]
    to: Option<SocketAddr>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    if !(66..=129).contains(&options.bytes) {
        return Err("--bytes: a text of 64 to 127 bytes, with a byte each for tag and length".into());
    }
    match options.to {
        Some(address) => send(&options, address),
        None => receive(&options),
    }
}

// ---- The sender ----

fn send(options: &Options, to: SocketAddr) -> Result<(), Failure> {
    let mut poll = Poll::new()?;
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    poll.registry().register(&mut stream, Token(0), Interest::WRITABLE)?;
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, None)?;
    let batch = batch_of(options);
    let ready = options.ready || options.mode == Mode::Raw;
    let (mut out, mut written) = (Vec::with_capacity(2 * BUFFER), 0);
    loop {
        if written == out.len() {
            if out.is_empty() || !ready {
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

/// A batch of texts, no two of them alike.
fn batch_of(options: &Options) -> TupleBatch {
    let width = options.bytes - 2;
    let texts = (0..options.batch).map(|n| Value::from(format!("{n:0>width$}").as_str()));
    TupleBatch { len: options.batch, rows: Rows::Owned(texts.collect()), ..TupleBatch::new(1) }
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

// ---- The receiver ----

/// The sending process, ended with this one.
struct Sender(Child);

impl Drop for Sender {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn receive(options: &Options) -> Result<(), Failure> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(8);
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    let address = listener.local_addr()?.to_string();
    let arguments = std::env::args().skip(1).chain(["--to".into(), address]);
    let sender = Sender(Command::new(std::env::current_exe()?).args(arguments).spawn()?);
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
        tuples += match options.mode {
            Mode::Raw => u64::from(options.batch),
            Mode::Views => view(payload)?,
            Mode::Decoded => {
                let batch = codec::decode(payload)?;
                std::hint::black_box(&batch);
                u64::from(batch.len)
            }
        };
        used += PREFIX + length;
    }
    Ok((used, tuples))
}

/// Finds the texts of an untracked batch where they lie. As lax as bare framing is: it knows no
/// form but the one that its own sender writes.
fn view(payload: &[u8]) -> Result<u64, Failure> {
    // Version, arity, how many tuples (one or two bytes), no runs.
    let [1, 1, len @ ..] = payload else { return Err("not an untracked batch of arity 1".into()) };
    let (len, mut rest) = match len {
        [low, high, 0, rest @ ..] if low & 0x80 != 0 => (u64::from(low & 0x7f) | u64::from(*high) << 7, rest),
        [low, 0, rest @ ..] => (u64::from(*low), rest),
        _ => return Err("not an untracked batch of arity 1".into()),
    };
    for _ in 0..len {
        let [TEXT, width, text @ ..] = rest else { return Err("not a text".into()) };
        let (text, after) = text.split_at_checked(usize::from(*width)).ok_or("a text is cut off")?;
        std::hint::black_box(std::str::from_utf8(text)?);
        rest = after;
    }
    if rest.is_empty() { Ok(len) } else { Err("a batch has more than its tuples".into()) }
}

// ---- Figures ----

/// What was received in each second.
struct Intervals {
    wanted: usize,
    /// When the running interval, or the warm-up, ends.
    end: Instant,
    start: Instant,
    tuples: u64,
    bytes: u64,
    /// Tuples and bytes per second; the warm-up is not among them.
    done: Vec<(f64, f64)>,
    is_warm: bool,
    /// Of both processes, when the warm-up was over.
    cpu_start: Duration,
    tuples_all: u64,
    sender: u32,
}

impl Intervals {
    fn new(options: &Options, sender: u32) -> Intervals {
        let start = Instant::now();
        Intervals {
            wanted: options.seconds.round().max(1.0) as usize,
            end: start + Duration::from_secs_f64(options.warmup),
            start,
            tuples: 0,
            bytes: 0,
            done: Vec::new(),
            is_warm: false,
            cpu_start: Duration::ZERO,
            tuples_all: 0,
            sender,
        }
    }

    fn count(&mut self, tuples: u64, bytes: u64) {
        self.tuples += tuples;
        self.bytes += bytes;
        let now = Instant::now();
        if now < self.end {
            return;
        }
        let seconds = (now - self.start).as_secs_f64();
        if self.is_warm {
            self.done.push((self.tuples as f64 / seconds, self.bytes as f64 / seconds));
            self.tuples_all += self.tuples;
        } else {
            self.is_warm = true;
            self.cpu_start = self.cpu();
        }
        (self.tuples, self.bytes) = (0, 0);
        (self.start, self.end) = (now, now + Duration::from_secs(1));
    }

    fn is_done(&self) -> bool {
        self.done.len() == self.wanted
    }

    fn report(mut self, options: &Options) -> serde_json::Value {
        let cpu = (self.cpu() - self.cpu_start).as_nanos() as f64 / self.tuples_all as f64;
        self.done.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (rate, bytes) = self.done[self.done.len() / 2];
        let ready = options.ready || options.mode == Mode::Raw;
        serde_json::json!({
            "peer": "bare",
            "workload": "wire",
            "mode": format!("{:?}", options.mode).to_lowercase(),
            "config": {"batch": options.batch, "bytes": options.bytes, "ready": ready},
            "rate": rate.round(),
            "bytes_per_s": bytes.round(),
            "rate_min": self.done[0].0.round(),
            "rate_max": self.done[self.done.len() - 1].0.round(),
            "intervals": self.done.len(),
            "cpu_ns_per_tuple": (cpu * 10.0).round() / 10.0,
        })
    }

    /// Processor time of receiver and sender.
    fn cpu(&self) -> Duration {
        cpu_time("self") + cpu_time(&self.sender.to_string())
    }
}

/// Processor time of a process, user and system.
fn cpu_time(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Fields 14 and 15, counted from behind the command's closing parenthesis; 100 ticks a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
