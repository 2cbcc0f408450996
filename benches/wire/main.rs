//! What the way between two processes costs, without executors: batches of tuples over loopback.
//!
//! ```text
//! cargo bench --bench wire -- bare|link [--mode raw|views|decoded] [--ready] [--batch 100] [--bytes 100]
//!                             [--warmup S] [--seconds S] [--in-flight 4096]
//! ```
//!
//! * `bare`: length-prefixed frames, written directly on mio; what squall is measured against.
//! * `topology`: the same tuples through executors, from one worker process to another; or words
//!   counted by several workers (`--words`), or latency at a rate (`--rate`).
//! * `link`: the same batches over squall's own outbox, poller, mesh, and poller.
//!
//! The program runs itself a second time as the sender; the receiver counts, in intervals of a
//! second, and prints one JSON line with their median. A payload is one batch in the codec that squall
//! uses (`squall::tuple::codec`), so what is compared is the way to the peer and nothing else. What
//! the receiver does with a payload is its mode:
//!
//! * `raw`: nothing; the bytes are counted.
//! * `views`: finds each tuple's text and checks that it is one, where it lies.
//! * `decoded`: makes a [`TupleBatch`] of it, as squall's receiver must.
//!
//! The sender encodes each batch anew, as squall must; with `--ready` it sends the same encoded
//! bytes over and over, which is the most that a receiver can be given. `raw` is always ready.

mod bare;
mod figures;
mod link;
mod topology;

use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode};

use clap::{Parser, ValueEnum};
use squall::Value;
use squall::tuple::{Rows, TupleBatch, codec};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The first byte of a text of 64 bytes or more, in squall's codec.
const TEXT: u8 = 0x05;

/// How batches travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    Bare,
    Link,
    /// A topology of squall in worker processes.
    Topology,
}

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Raw,
    Views,
    Decoded,
}

#[derive(Parser, Clone)]
struct Options {
    /// How batches travel.
    #[arg(value_enum)]
    way: Way,
    /// What the receiver does with them.
    #[arg(long, value_enum, default_value = "decoded")]
    mode: Mode,
    /// Send the same encoded bytes over and over.
    #[arg(long)]
    ready: bool,
    /// Tuples in a batch.
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
    /// Of `link`: tuples that may be on their way; the credit of a link of squall is 4096.
    #[arg(long, default_value_t = 4096)]
    in_flight: u64,
    /// Of `topology`: workers; 0: all in this process.
    #[arg(long, default_value_t = 2)]
    workers: u16,
    /// Of `topology`: at-most-once or at-least-once.
    #[arg(long, default_value = "at-most-once")]
    delivery: String,
    /// Of `topology`: count words instead of moving texts.
    #[arg(long)]
    words: bool,
    /// Of `topology --words`: the text.
    #[arg(long, default_value = "topologies/data/founding_documents.txt")]
    text: String,
    /// Of `topology --words`: executors of each bolt.
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// Of `topology`: tuples per second, whose latency is measured; 0: as many as possible.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Of `topology`: changes a key of the document, as `squall run --set` does.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Of `topology`: microseconds of `net.linger`.
    #[arg(long)]
    linger: Option<u64>,
    /// The receiver's address: this process is the sender.
    #[arg(long, hide = true)]
    to: Option<SocketAddr>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn is_ready(&self) -> bool {
        self.ready || self.mode == Mode::Raw
    }
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // A worker process of `topology` is this program, too.
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return topology::worker();
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wire: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    let options = Options::parse();
    if !(66..=129).contains(&options.bytes) {
        return Err("--bytes: a text of 64 to 127 bytes, with a byte each for tag and length".into());
    }
    match (options.way, options.to) {
        (Way::Bare, None) => bare::receive(&options),
        (Way::Bare, Some(address)) => bare::send(&options, address),
        (Way::Link, None) => link::receive(&options),
        (Way::Link, Some(address)) => link::send(&options, address),
        (Way::Topology, _) => topology::measure(&options),
    }
}

/// The sending process, ended with this one.
struct Sender(Child);

impl Sender {
    fn start(to: SocketAddr) -> Result<Sender, Failure> {
        let arguments = std::env::args().skip(1).chain(["--to".into(), to.to_string()]);
        Ok(Sender(Command::new(std::env::current_exe()?).args(arguments).spawn()?))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A batch of texts, no two of them alike.
fn batch_of(options: &Options) -> TupleBatch {
    let width = options.bytes - 2;
    let texts = (0..options.batch).map(|n| Value::from(format!("{n:0>width$}").as_str()));
    TupleBatch { len: options.batch, rows: Rows::Owned(texts.collect()), ..TupleBatch::new(1) }
}

/// Does with a payload what the mode says; returns its tuples.
fn work_on(payload: &[u8], options: &Options) -> Result<u64, Failure> {
    match options.mode {
        Mode::Raw => Ok(u64::from(options.batch)),
        Mode::Views => view(payload),
        Mode::Decoded => {
            let batch = codec::decode(payload)?;
            std::hint::black_box(&batch);
            Ok(u64::from(batch.len))
        }
    }
}

/// Finds the texts of an untracked batch where they lie. It knows no form but the one that its own
/// sender writes, as one who frames by hand would.
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
