//! The work that every peer does alike: tuples, text, and when a line is due.
//!
//! A tuple is a short string, kept inline up to 23 bytes, and a *stamp*. The
//! stamp is nothing where throughput is measured, so it costs nothing there, and
//! the scheduled time where latency is. Latency is open loop: a line's stamp is
//! when it should have left, not when it did, so a stall is charged to every
//! line it holds up (no coordinated omission).

use std::{
    fs, io,
    path::Path,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// What `null` and `identity` move.
pub const SOME_DATA: SmolStr = SmolStr::new_inline("some data");

#[derive(Clone, Copy, ValueEnum)]
pub enum Workload {
    /// source -> sink that drops.
    Null,
    /// source -> identity -> sink that drops.
    Identity,
    /// source of lines -> splitter -> counter, as fast as it goes.
    Wordcount,
    /// The same at a fixed rate.
    Latency,
}

/// A workload with all it needs to run.
pub enum Job {
    Null,
    Identity,
    Wordcount(Text),
    /// The rate is in words per second.
    Latency(Text, f64),
}

/// Tasks per component, as in `1/2/2`.
#[derive(Clone, Copy)]
pub struct Tasks {
    pub first: usize,
    pub middle: usize,
    pub last: usize,
}

impl Workload {
    pub fn name(self) -> &'static str {
        match self {
            Workload::Null => "null",
            Workload::Identity => "identity",
            Workload::Wordcount => "wordcount",
            Workload::Latency => "latency",
        }
    }

    /// `null` and `identity` always run one task of each component.
    pub fn tasks(self, asked: Tasks) -> String {
        match self {
            Workload::Null => "1/1".into(),
            Workload::Identity => "1/1/1".into(),
            Workload::Wordcount | Workload::Latency => {
                format!("{}/{}/{}", asked.first, asked.middle, asked.last)
            }
        }
    }

    pub fn sinks(self, asked: usize) -> usize {
        match self {
            Workload::Null | Workload::Identity => 1,
            Workload::Wordcount | Workload::Latency => asked,
        }
    }
}

impl FromStr for Tasks {
    type Err = String;

    fn from_str(asked: &str) -> Result<Self, String> {
        match asked {
            "1/1/1" => Ok(Tasks { first: 1, middle: 1, last: 1 }),
            "1/2/2" => Ok(Tasks { first: 1, middle: 2, last: 2 }),
            _ => Err("expected 1/1/1 or 1/2/2".into()),
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Tuple<S> {
    pub text: SmolStr,
    pub stamp: S,
}

/// What a tuple carries for the latency histogram.
pub trait Stamp: Copy + Send + Serialize + for<'a> Deserialize<'a> + 'static {
    /// The scheduled time, if latency is measured at all.
    fn due(self) -> Option<Duration>;
}

/// The stamp of tuples whose latency nobody asks for.
impl Stamp for () {
    fn due(self) -> Option<Duration> {
        None
    }
}

/// Nanoseconds from the meter's epoch to the scheduled time.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Due(u64);

impl Stamp for Due {
    fn due(self) -> Option<Duration> {
        Some(Duration::from_nanos(self.0))
    }
}

#[derive(Clone)]
pub struct Line {
    pub text: SmolStr,
    words: u64,
}

/// A text in memory. Cloning it shares the lines.
#[derive(Clone)]
pub struct Text {
    lines: Arc<[Line]>,
}

impl Text {
    pub fn load(path: &Path) -> io::Result<Text> {
        let line =
            |text: &str| Line { text: text.into(), words: text.split_ascii_whitespace().count() as u64 };
        let lines: Arc<[Line]> = fs::read_to_string(path)?.lines().map(line).collect();
        if lines.iter().all(|line| line.words == 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "has no words"));
        }
        Ok(Text { lines })
    }
}

/// An endless source of stamped lines.
pub struct Lines<P> {
    text: Text,
    next: usize,
    pace: P,
}

impl<P: Pace> Lines<P> {
    pub fn new(text: Text, pace: P) -> Self {
        Lines { text, next: 0, pace }
    }

    /// The next line, or how long until it is due.
    pub fn next(&mut self) -> Result<Tuple<P::Stamp>, Duration> {
        let line = &self.text.lines[self.next];
        let stamp = self.pace.leave(line.words)?;
        self.next = if self.next + 1 == self.text.lines.len() { 0 } else { self.next + 1 };
        Ok(Tuple { text: line.text.clone(), stamp })
    }
}

/// Decides when a line leaves.
pub trait Pace: Clone + Send + Sync + 'static {
    type Stamp: Stamp;

    /// Lets a line of `words` words leave, or says how long until it may.
    fn leave(&mut self, words: u64) -> Result<Self::Stamp, Duration>;
}

/// A line is always due.
#[derive(Clone)]
pub struct FlatOut;

impl Pace for FlatOut {
    type Stamp = ();

    fn leave(&mut self, _words: u64) -> Result<(), Duration> {
        Ok(())
    }
}

/// A line is due at epoch + words so far / rate, however late the earlier ones left.
#[derive(Clone)]
pub struct Schedule {
    epoch: Instant,
    words: u64,
    rate: f64,
}

impl Schedule {
    pub fn new(epoch: Instant, rate: f64) -> Self {
        Schedule { epoch, words: 0, rate }
    }
}

impl Pace for Schedule {
    type Stamp = Due;

    fn leave(&mut self, words: u64) -> Result<Due, Duration> {
        let due = Duration::from_secs_f64(self.words as f64 / self.rate);
        match due.checked_sub(self.epoch.elapsed()) {
            Some(early) if !early.is_zero() => Err(early),
            _ => {
                self.words += words;
                Ok(Due(due.as_nanos() as u64))
            }
        }
    }
}
