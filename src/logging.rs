//! Logs: `slog`, for people or as JSON lines, with a level per component.
//!
//! ```text
//!   Logger --> level of the component --> line --> bounded channel --> thread "squall-log" --> writer
//!              (before anything is        bounded,    full: dropped
//!               formatted)                escaped     and counted
//! ```
//!
//! * `levels`: which records are written. `line`: a record as one line. `queue`: lines on their way
//!   to the writer. `panics`: panics as records. `rotation`: log files of bounded size.
//!
//! 1. A record belongs to the component that its key [`COMPONENT_KEY`] names: in the record itself
//!    or in the logger it was written to. A task's logger carries the key from the start.
//! 2. [`Levels`] can be replaced while the program runs; the next record goes by the new ones.
//! 3. A record is one line of bounded length, whatever it is made of, and is written in one piece.
//! 4. Who logs does not wait for who reads. What does not fit is dropped, and the next record that
//!    fits is preceded by one with the number of lost records.
//! 5. Dropping [`Logging`] writes what waits.
//!
//! There is no global logger, and no bridge from the `log` crate.

mod levels;
mod line;
pub mod panics;
mod queue;
mod rotation;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer, b, o};

use crate::clock::Clock;
use crate::logging::line::LineFormat;
use crate::logging::panics::PanicHook;
use crate::logging::queue::{Body, Lines};

pub use levels::{LevelChanges, Levels, LevelsError};
pub use line::LogFormat;
pub use queue::RECORDS_WAITING_MAX;
pub use rotation::{RotatingFile, rotate_by_copy};

/// The key under which a record names its component.
pub const COMPONENT_KEY: &str = "component";

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
    output: Arc<Output>,
    /// The log's thread, if it could be had.
    thread: Option<JoinHandle<()>>,
    panics: Option<PanicHook>,
}

impl Logging {
    /// Starts the log's thread; where it cannot be had, records are written by whoever logs. `color`
    /// is for [`LogFormat::Terminal`]; the writer is handed one record at a time.
    pub fn start(
        levels: Levels,
        format: LogFormat,
        color: bool,
        writer: impl Write + Send + 'static,
    ) -> Logging {
        Logging::start_with(levels, format, color, writer, queue::spawn)
    }

    fn start_with(
        levels: Levels,
        format: LogFormat,
        color: bool,
        writer: impl Write + Send + 'static,
        spawn: impl FnOnce(Body) -> io::Result<JoinHandle<()>>,
    ) -> Logging {
        let (lines, thread) = Lines::start(writer, spawn);
        let output = Arc::new(Output { format: LineFormat { format, color, clock: Clock::real() }, lines });
        let levels = LevelControl(Arc::new(ArcSwap::from_pointee(levels)));
        let drain = LevelFilter { levels: levels.clone(), output: Arc::clone(&output) };
        let logger = Logger::root(drain, o!());
        if let Err(error) = &thread {
            slog::warn!(logger, "the log has no thread of its own, so that who logs may wait"; "error" => %error);
        }
        Logging { logger, levels, output, thread: thread.ok(), panics: None }
    }

    /// Makes panics of this process records of this log, in place of the standard hook's text.
    pub fn log_panics(&mut self) {
        self.panics.get_or_insert_with(|| PanicHook::install(self.logger.clone()));
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        drop(self.panics.take());
        self.output.lines.end(|count| self.output.lost(count));
        if let Some(thread) = self.thread.take() {
            // A panic of the writer has been reported already.
            let _ = thread.join();
        }
    }
}

/// Records to lines, and lines to the writer.
struct Output {
    format: LineFormat,
    lines: Lines,
}

impl Output {
    fn write(&self, record: &Record<'_>, values: &OwnedKVList) {
        self.lines.push(self.format.line(record, values), |count| self.lost(count));
    }

    /// The line with the number of dropped records.
    fn lost(&self, count: u64) -> String {
        let message = format_args!("records were dropped: the log is read too slowly");
        let values = b!("dropped" => count);
        self.format.line(&slog::record!(Level::Warning, "", &message, values), &o!().into())
    }
}

/// Lets a record pass if the level of its component does.
struct LevelFilter {
    levels: LevelControl,
    output: Arc<Output>,
}

impl Drain for LevelFilter {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let levels = self.levels.0.load();
        if levels.none_accepts(record.level()) {
            return Ok(());
        }
        let component = if levels.is_for_all() { None } else { component_of(record, values) };
        if levels.level_of(component.as_deref()).accepts(record.level()) {
            self.output.write(record, values);
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
    use std::sync::Mutex;
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::time::Duration;

    use super::*;

    /// How long a test waits for what takes milliseconds unless the code is broken.
    const DEADLINE: Duration = Duration::from_secs(60);

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
        let flood = || {
            let (go_on, wait) = mpsc::channel();
            let written = Written::default();
            let stuck = Stuck(wait, written.clone());
            let logging = Logging::start(Levels::default(), LogFormat::Terminal, false, stuck);
            for _ in 0..2 * RECORDS_WAITING_MAX {
                slog::info!(logging.logger, "more than fits");
            }
            drop(go_on);
            // The count comes with the first record that fits again.
            while !written.text().contains("records were dropped") {
                slog::info!(logging.logger, "after the flood");
                std::thread::yield_now();
            }
            drop(logging);
            assert!(written.text().lines().count() > RECORDS_WAITING_MAX);
        };
        // If a logger waits for the reader, or dropped records are not reported, `flood` does not end.
        let (ended, end) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ended = ended;
            flood();
        });
        let end = end.recv_timeout(DEADLINE);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected), "the flood has not ended");
        thread.join().unwrap();
    }

    /// A file name or a line of data could end a record and begin another, or drive the terminal.
    #[test]
    fn data_forges_no_record_and_drives_no_terminal() {
        let hostile = "\u{1b}[2J\n00:00:00.000 CRIT forged\u{9b}1m\u{7f}\u{202e}";
        let log = |logging: &Logging| {
            let logger = logging.logger.new(o!("file" => hostile));
            slog::error!(logger, "{}", hostile; "value" => hostile);
        };
        let text = written("info", LogFormat::Terminal, false, log);
        let escaped = r"\u{1b}[2J\n00:00:00.000 CRIT forged\u{9b}1m\u{7f}\u{202e}";
        assert_eq!(
            text.split_once(' ').unwrap().1,
            format!("ERRO {escaped}, file: {escaped}, value: {escaped}\n")
        );
        let json = written("info", LogFormat::Json, false, log);
        assert_eq!(json.lines().count(), 1, "{json:?}");
        assert!(!json.trim_end().contains(crate::text::is_to_escape), "{json:?}");
        let record: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&record["msg"], &record["file"], &record["value"]),
            (&hostile.into(), &hostile.into(), &hostile.into())
        );
    }

    /// A line of 6 MB that could not be parsed was logged as 12 MB.
    #[test]
    fn a_record_is_bounded_whatever_it_is_made_of() {
        let huge = "x".repeat(6 << 20);
        for format in [LogFormat::Terminal, LogFormat::Json] {
            let text = written("info", format, false, |logging| {
                slog::error!(logging.logger, "{}", huge; "line" => &huge);
            });
            assert!(text.len() < 4096, "{} bytes", text.len());
            assert_eq!(text.matches(&format!("… ({} bytes more)", (6 << 20) - 1024)).count(), 2, "{text}");
        }
    }

    #[test]
    fn fields_of_json_keep_their_types_and_hide_nothing() {
        let text = written("info", LogFormat::Json, false, |logging| {
            slog::info!(logging.logger, "message"; "msg" => "other", "n" => 1.5, "b" => true, "none" => None::<u8>);
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["msg"], &line["msg_"]), (&"message".into(), &"other".into()));
        assert_eq!(
            (&line["n"], &line["b"], &line["none"]),
            (&1.5.into(), &true.into(), &serde_json::Value::Null)
        );
    }

    /// Under `ulimit -u` the log's thread could not be started, and the logger panicked.
    #[test]
    fn without_a_thread_records_are_written_at_once() {
        let written = Written::default();
        let none = |_: Body| Err(io::Error::new(io::ErrorKind::WouldBlock, "no more threads"));
        let logging =
            Logging::start_with(Levels::default(), LogFormat::Terminal, false, written.clone(), none);
        let text = written.text();
        assert!(
            text.contains("the log has no thread of its own") && text.contains("no more threads"),
            "{text}"
        );
        slog::info!(logging.logger, "at once");
        assert!(written.text().ends_with("INFO at once\n"));
    }

    /// The standard hook wrote raw text between JSON lines, and the runtime reported the panic again.
    #[test]
    fn a_panic_is_one_record_and_a_caught_one_is_its_catchers() {
        let text = written("info", LogFormat::Json, false, |_| {});
        assert_eq!(text, "");
        let written = Written::default();
        let mut logging =
            Logging::start_with(Levels::default(), LogFormat::Json, false, written.clone(), queue::spawn);
        // The hook is the process's own, and tests run side by side: this one looks at its threads.
        logging.log_panics();
        let of_thread = std::thread::Builder::new().name("loud".to_owned()).spawn(|| panic!("one\ntwo"));
        assert!(of_thread.unwrap().join().is_err());
        let caught = panics::catch_unwind(|| panic!("caught")).unwrap_err();
        let caught = panics::text_of(&*caught);
        drop(logging);

        assert!(
            caught.starts_with("panicked at src/logging.rs:") && caught.ends_with(": caught"),
            "{caught}"
        );
        let text = written.text();
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
        let of_thread: Vec<_> = records.iter().filter(|record| record["thread"] == "loud").collect();
        assert_eq!(of_thread.len(), 1, "{text}");
        assert_eq!(of_thread[0]["message"], "one\ntwo");
        assert!(of_thread[0]["at"].as_str().unwrap().starts_with("src/logging.rs:"), "{text}");
        assert!(records.iter().all(|record| record["message"] != "caught"), "{text}");
    }
}
