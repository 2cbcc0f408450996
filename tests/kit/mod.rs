//! What tests of running topologies share: bolts and spouts from closures, a log that can be
//! counted, and waiting on a condition with a deadline.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use squall::api::FnBolt;
use squall::prelude::*;
use squall::runtime::{ComponentStats, TopologyStats};

/// A condition of a real run that has not come true after this long never will.
pub const DEADLINE: Duration = Duration::from_secs(180);
/// More simulated time than any run of these tests needs.
pub const HOUR: Duration = Duration::from_secs(3600);

/// Seconds, for clocks that are moved by whole ones.
pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A lock that a panic of the component under test does not poison for the test.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the condition holds.
///
/// # Panics
/// When it does not hold within [`DEADLINE`].
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The constructor of bolts that are one function; each task has a clone of its own.
pub fn bolt<F>(streams: Streams, execute: F) -> impl Fn() -> FnBolt<F> + Send + Sync + 'static
where
    F: FnMut(Input<'_>, &mut Outputs<'_>) -> Result<(), TaskError> + Clone + Send + Sync + 'static,
{
    move || bolt_fn(streams.clone(), execute.clone())
}

/// What a bolt that is one function without state does.
pub type Execute = fn(Input<'_>, &mut Outputs<'_>) -> Result<(), TaskError>;

/// The constructor of bolts that take everything and do nothing.
pub fn null() -> impl Fn() -> FnBolt<Execute> + Send + Sync + 'static {
    move || bolt_fn(Streams::none(), (|_, _| Ok(())) as Execute)
}

/// Emits what it gets.
pub fn identity(fields: &'static [&'static str]) -> impl Fn() -> FnBolt<Execute> + Send + Sync + 'static {
    move || {
        let streams = Streams::new(fields.iter().copied().collect::<Fields>());
        bolt_fn(streams, (|input, out| Ok(out.emit(input)?)) as Execute)
    }
}

/// Emits `n` from 0 to `count`, field `n`, as messages of those ids, each again until it is acked
/// or has failed for good. Every task emits all of them.
pub struct Numbers {
    next: u64,
    count: u64,
    again: VecDeque<u64>,
}

impl Numbers {
    /// So many; `u64::MAX` never ends.
    pub fn new(count: u64) -> Numbers {
        Numbers { next: 0, count, again: VecDeque::new() }
    }
}

impl Spout for Numbers {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let n = match self.again.pop_front() {
            Some(n) => n,
            None if self.next < self.count => {
                self.next += 1;
                self.next - 1
            }
            None => return Ok(SpoutStatus::Exhausted),
        };
        out.emit_tracked([n as i64], MessageId(n))?;
        Ok(SpoutStatus::Emitted)
    }

    fn fail(&mut self, id: MessageId, failure: &Failure, _: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
        if !failure.is_final {
            self.again.push_back(id.0);
        }
        Ok(())
    }
}

/// The counters of a component.
pub fn of<'a>(stats: &'a TopologyStats, component: &str) -> &'a ComponentStats {
    stats.components.iter().find(|found| found.id == component).expect("the topology has the component")
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// How bad it is.
    pub level: slog::Level,
    /// The message, and then the fields as `key=value`, the record's own and the logger's.
    pub text: String,
}

/// Keeps what is logged.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<LogLine>>>);

impl Log {
    /// A logger that writes here.
    pub fn logger(&self) -> slog::Logger {
        slog::Logger::root(slog::Fuse(self.clone()), slog::o!())
    }

    /// Lines of that level or worse.
    pub fn lines(&self, level: slog::Level) -> Vec<LogLine> {
        lock(&self.0).iter().filter(|line| line.level.is_at_least(level)).cloned().collect()
    }
}

struct KeyValues(String);

impl slog::Serializer for KeyValues {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        self.0.push_str(&format!(" {key}={value}"));
        Ok(())
    }
}

impl slog::Drain for Log {
    type Ok = ();
    type Err = slog::Error;

    fn log(&self, record: &slog::Record<'_>, context: &slog::OwnedKVList) -> Result<(), slog::Error> {
        use slog::KV;
        let mut text = KeyValues(record.msg().to_string());
        record.kv().serialize(record, &mut text)?;
        context.serialize(record, &mut text)?;
        lock(&self.0).push(LogLine { level: record.level(), text: text.0 });
        Ok(())
    }
}
