//! Logs: `slog`, to a terminal or as JSON lines, with a level per component.
//!
//! ```text
//!   Logger --> level of the component --> bounded channel --> thread "squall-log" --> writer
//!              (caller's thread, before       full: dropped        formats
//!               anything is formatted)        and counted
//! ```
//!
//! The data path must not wait for whoever reads the log, so records pass through a bounded channel
//! to a thread that formats and writes them. What does not fit is dropped, and the next record that
//! fits is preceded by one that says how many were lost.
//!
//! 1. A record belongs to the component that its key [`COMPONENT_KEY`] names: in the record itself
//!    or in the logger it was written to. A task's logger carries the key from the start.
//! 2. [`Levels`] can be replaced while the program runs; the next record goes by the new ones.
//! 3. Dropping [`Logging`] writes what the channel holds.
//!
//! There is no global logger, and no bridge from the `log` crate.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use slog::{Drain, FilterLevel, FnValue, KV, Key, Level, Logger, OwnedKVList, Record, Serializer, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};
use slog_term::{FullFormat, PlainDecorator, RecordDecorator, ThreadSafeTimestampFn};

use crate::clock::Clock;

/// The key under which a record names its component.
pub const COMPONENT_KEY: &str = "component";
/// Records that wait for the log's thread; more are dropped and counted.
pub const RECORDS_WAITING_MAX: usize = 4096;

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people: time, level, message, fields.
    #[default]
    Terminal,
    /// A JSON object on a line of its own, with `ts` (RFC 3339, UTC), `level`, `msg` and the fields.
    Json,
}

/// Which records are written: a level for all, and one for each component that has its own.
///
/// # Examples
/// ```
/// use squall::logging::Levels;
///
/// let levels: Levels = "warn,count=debug,print=off".parse().unwrap();
/// assert_eq!(levels.to_string(), "warn,count=debug,print=off");
/// assert!("loud".parse::<Levels>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    default: FilterLevel,
    /// Few, so a list; at most one for each component.
    components: Vec<(String, FilterLevel)>,
}

impl Default for Levels {
    fn default() -> Levels {
        Levels::all(FilterLevel::Info)
    }
}

impl Levels {
    /// The same level for everything.
    pub fn all(level: FilterLevel) -> Levels {
        Levels { default: level, components: Vec::new() }
    }

    /// The level of a component, or of what belongs to none.
    pub fn level_of(&self, component: Option<&str>) -> FilterLevel {
        let own = self.components.iter().find(|(id, _)| Some(id.as_str()) == component);
        own.map_or(self.default, |&(_, level)| level)
    }

    /// Whether no component could be concerned by a record of that level.
    fn none_accepts(&self, level: Level) -> bool {
        !self.default.accepts(level) && !self.components.iter().any(|(_, own)| own.accepts(level))
    }
}

/// Why a text is no [`Levels`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LevelsError {
    /// Not one of the levels.
    #[error("`{0}` is no log level (off, critical, error, warn, info, debug, trace)")]
    UnknownLevel(String),
    /// An `=` with nothing before it.
    #[error("`{0}` names no component before the `=`")]
    NoComponent(String),
    /// Two levels for the same thing.
    #[error("two levels for {0}")]
    Twice(String),
}

impl FromStr for Levels {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<Levels, LevelsError> {
        let mut default = None;
        let mut components: Vec<(String, FilterLevel)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None if default.is_some() => return Err(LevelsError::Twice("everything".to_owned())),
                None => default = Some(parse_level(part)?),
                Some(("", _)) => return Err(LevelsError::NoComponent(part.to_owned())),
                Some((id, _)) if components.iter().any(|(other, _)| other == id) => {
                    return Err(LevelsError::Twice(format!("component `{id}`")));
                }
                Some((id, level)) => components.push((id.to_owned(), parse_level(level)?)),
            }
        }
        Ok(Levels { default: default.unwrap_or(FilterLevel::Info), components })
    }
}

fn parse_level(name: &str) -> Result<FilterLevel, LevelsError> {
    name.trim().parse().map_err(|()| LevelsError::UnknownLevel(name.trim().to_owned()))
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self.default))?;
        self.components.iter().try_for_each(|(id, level)| write!(f, ",{id}={}", name_of(*level)))
    }
}

fn name_of(level: FilterLevel) -> &'static str {
    match level {
        FilterLevel::Off => "off",
        FilterLevel::Critical => "critical",
        FilterLevel::Error => "error",
        FilterLevel::Warning => "warn",
        FilterLevel::Info => "info",
        FilterLevel::Debug => "debug",
        FilterLevel::Trace => "trace",
    }
}

/// Changes levels while the program runs. Clones change the same log.
#[derive(Clone, Debug)]
pub struct LevelControl(Arc<ArcSwap<Levels>>);

impl LevelControl {
    /// The levels now.
    pub fn get(&self) -> Arc<Levels> {
        self.0.load_full()
    }

    /// Goes by other levels from the next record on.
    pub fn set(&self, levels: Levels) {
        self.0.store(Arc::new(levels));
    }
}

/// A running log. Dropping it writes what waits; records that come later are lost.
pub struct Logging {
    /// Where to log.
    pub logger: Logger,
    /// Where to change levels.
    pub levels: LevelControl,
    _written_on_drop: AsyncGuard,
}

impl Logging {
    /// Starts the log's thread. `color` is for [`LogFormat::Terminal`]; the writer is told what to
    /// write one record at a time.
    pub fn start(
        levels: Levels,
        format: LogFormat,
        color: bool,
        writer: impl Write + Send + 'static,
    ) -> Logging {
        let writer = BufWriter::new(writer);
        let (queue, guard) = match format {
            LogFormat::Terminal => queue(terminal_drain(writer, color)),
            LogFormat::Json => queue(json_drain(writer)),
        };
        let levels = LevelControl(Arc::new(ArcSwap::from_pointee(levels)));
        let drain = LevelFilter { levels: levels.clone(), queue };
        // A log that cannot be written is no reason to stop: whoever closed it knows.
        Logging { logger: Logger::root(drain.ignore_res(), o!()), levels, _written_on_drop: guard }
    }
}

fn queue<D: Drain + Send + 'static>(drain: D) -> (Async, AsyncGuard) {
    Async::new(drain.ignore_res())
        .chan_size(RECORDS_WAITING_MAX)
        .overflow_strategy(OverflowStrategy::DropAndReport)
        .thread_name("squall-log".to_owned())
        .build_with_guard()
}

fn json_drain<W: Write>(writer: W) -> slog_json::Json<W> {
    let clock = Clock::real();
    slog_json::Json::new(writer)
        .set_flush(true)
        .add_key_value(o!("ts" => FnValue(move |_: &Record<'_>| timestamp(&clock).to_string())))
        .add_key_value(o!("level" => FnValue(|record: &Record<'_>| record.level().as_str())))
        .add_key_value(o!("msg" => FnValue(|record: &Record<'_>| record.msg().to_string())))
        .build()
}

fn terminal_drain<W: Write>(writer: W, color: bool) -> FullFormat<PlainDecorator<W>> {
    let clock = Clock::real();
    FullFormat::new(PlainDecorator::new(writer))
        .use_original_order()
        .use_custom_timestamp(move |out: &mut dyn Write| {
            let local = timestamp(&clock).to_zoned(jiff::tz::TimeZone::system());
            write!(out, "{}", local.strftime("%H:%M:%S%.3f"))
        })
        .use_custom_header_print(
            move |now: &dyn ThreadSafeTimestampFn<Output = io::Result<()>>,
                  line: &mut dyn RecordDecorator,
                  record: &Record<'_>,
                  _: bool| print_header(now, line, record, color),
        )
        .build()
}

/// Writes `10:09:47.123 INFO message`, the level coloured on demand; says that there is a message.
fn print_header(
    now: &dyn ThreadSafeTimestampFn<Output = io::Result<()>>,
    mut line: &mut dyn RecordDecorator,
    record: &Record<'_>,
    color: bool,
) -> io::Result<bool> {
    now(&mut line)?;
    let level = record.level().as_short_str();
    match color {
        true => write!(line, " \x1b[{}m{level}\x1b[0m {}", style_of(record.level()), record.msg())?,
        false => write!(line, " {level} {}", record.msg())?,
    }
    Ok(true)
}

/// The ANSI style of a level.
fn style_of(level: Level) -> &'static str {
    match level {
        Level::Critical => "1;35",
        Level::Error => "1;31",
        Level::Warning => "33",
        Level::Info => "32",
        Level::Debug => "36",
        Level::Trace => "2",
    }
}

fn timestamp(clock: &Clock) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(clock.wall_nanos()))
        .expect("64 bits of nanoseconds since 1970 are within jiff's years")
}

/// Lets a record pass if the level of its component does.
struct LevelFilter {
    levels: LevelControl,
    queue: Async,
}

impl Drain for LevelFilter {
    type Ok = ();
    type Err = slog_async::AsyncError;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Self::Err> {
        let levels = self.levels.0.load();
        if levels.none_accepts(record.level()) {
            return Ok(());
        }
        let component = if levels.components.is_empty() { None } else { component_of(record, values) };
        if levels.level_of(component.as_deref()).accepts(record.level()) {
            self.queue.log(record, values)?;
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        !self.levels.0.load().none_accepts(level)
    }
}

fn component_of(record: &Record<'_>, values: &OwnedKVList) -> Option<String> {
    let mut found = FindComponent(None);
    record.kv().serialize(record, &mut found).ok()?;
    if found.0.is_none() {
        values.serialize(record, &mut found).ok()?;
    }
    found.0
}

/// Keeps the first value of [`COMPONENT_KEY`] that it meets.
struct FindComponent(Option<String>);

impl Serializer for FindComponent {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        if key == COMPONENT_KEY && self.0.is_none() {
            self.0 = Some(value.to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// What was written, readable once the log is dropped.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn written(levels: &str, format: LogFormat, color: bool, log: impl FnOnce(&Logging)) -> String {
        let written = Written::default();
        let logging = Logging::start(levels.parse().unwrap(), format, color, written.clone());
        log(&logging);
        drop(logging);
        written.text()
    }

    #[test]
    fn a_spec_names_levels_for_all_and_for_components() {
        let check = |text: &str, component: Option<&str>, expected: FilterLevel| {
            assert_eq!(text.parse::<Levels>().unwrap().level_of(component), expected, "{text}");
        };
        check("", None, FilterLevel::Info);
        check("WARN", Some("count"), FilterLevel::Warning);
        check("count=debug", None, FilterLevel::Info);
        check("count=debug", Some("count"), FilterLevel::Debug);
        check(" error , count = off", Some("split"), FilterLevel::Error);
    }

    #[test]
    fn a_wrong_spec_says_what_is_wrong() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Levels>().unwrap_err().to_string(), expected);
        };
        check("loud", "`loud` is no log level (off, critical, error, warn, info, debug, trace)");
        check("count=", "`` is no log level (off, critical, error, warn, info, debug, trace)");
        check("=info", "`=info` names no component before the `=`");
        check("info,debug", "two levels for everything");
        check("a=info,a=debug", "two levels for component `a`");
    }

    #[test]
    fn a_component_has_a_level_of_its_own_wherever_it_is_named() {
        let text = written("warn,count=debug", LogFormat::Terminal, false, |logging| {
            let count = logging.logger.new(o!("component" => "count", "task" => 3));
            slog::debug!(count, "by its logger");
            slog::debug!(logging.logger, "by the record"; "component" => "count");
            slog::info!(logging.logger, "of another"; "component" => "split");
            slog::info!(logging.logger, "of nobody");
            slog::warn!(logging.logger, "loud enough");
        });
        let messages: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(
            messages,
            [
                "DEBG by its logger, component: count, task: 3",
                "DEBG by the record, component: count",
                "WARN loud enough"
            ]
        );
    }

    #[test]
    fn levels_change_while_the_log_runs() {
        let text = written("info", LogFormat::Terminal, false, |logging| {
            slog::debug!(logging.logger, "too early");
            logging.levels.set("debug".parse().unwrap());
            slog::debug!(logging.logger, "in time");
            logging.levels.set("off".parse().unwrap());
            slog::crit!(logging.logger, "too late");
        });
        assert!(text.contains("in time") && !text.contains("too"), "{text}");
    }

    #[test]
    fn json_lines_hold_time_level_message_and_fields() {
        let text = written("info", LogFormat::Json, true, |logging| {
            slog::warn!(logging.logger.new(o!("component" => "count")), "a \"b\""; "n" => 7);
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["msg"]), (&"WARNING".into(), &"a \"b\"".into()));
        assert_eq!((&line["component"], &line["n"]), (&"count".into(), &7.into()));
        assert!(line["ts"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
    }

    #[test]
    fn colours_stand_around_the_level_only() {
        let text = written("info", LogFormat::Terminal, true, |logging| {
            slog::error!(logging.logger, "red");
        });
        assert!(text.ends_with(" \u{1b}[1;31mERRO\u{1b}[0m red\n"), "{text:?}");
    }

    #[test]
    fn a_stuck_reader_costs_records_and_not_time() {
        struct Stuck(mpsc::Receiver<()>, Written);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                // Waits until the test has written more than the channel holds.
                let _ = self.0.recv();
                self.1.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (go_on, wait) = mpsc::channel();
        let written = Written::default();
        let stuck = Stuck(wait, written.clone());
        let logging = Logging::start(Levels::default(), LogFormat::Terminal, false, stuck);
        for _ in 0..2 * RECORDS_WAITING_MAX {
            slog::info!(logging.logger, "more than fits");
        }
        drop(go_on);
        // The count comes with the first record that fits again.
        while !written.text().contains("messages due to channel overflow") {
            slog::info!(logging.logger, "after the flood");
            std::thread::yield_now();
        }
        drop(logging);
        assert!(written.text().lines().count() > RECORDS_WAITING_MAX);
    }
}
