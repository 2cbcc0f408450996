//! A record as one line: for people, or as JSON.
//!
//! Messages and values are made of data: of file names, of lines that could not be parsed, of what
//! another program answered. Whatever they hold, a record is one line of bounded length that does
//! nothing to a terminal and cannot be mistaken for two records. Whoever makes an error of data
//! bounds and escapes it there; this is the second line of defence, for what nobody thought of.
//!
//! 1. A message and each value have at most [`SHOWN_MAX`] bytes; what was cut off is counted.
//! 2. In a line for people, control characters and what changes the direction of text are escaped
//!    as in a Rust string. In JSON they are escaped as JSON escapes them, so that a program reads
//!    what was written.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use slog::{KV, Key, Level, OwnedKVList, Record, Serializer};

use crate::clock::Clock;
use crate::text::{SHOWN_MAX, escaped_json, shown};

/// Keys of a JSON record that are not the fields'.
const OWN_KEYS: [&str; 3] = ["ts", "level", "msg"];

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people: time, level, message, fields.
    #[default]
    Terminal,
    /// A JSON object on a line of its own, with `ts` (RFC 3339, UTC), `level`, `msg` and the fields.
    Json,
}

/// How records become lines.
pub(super) struct LineFormat {
    pub format: LogFormat,
    /// Whether the level is coloured, in a line for people.
    pub color: bool,
    pub clock: Clock,
}

impl LineFormat {
    /// The line of a record, with its end.
    pub fn line(&self, record: &Record<'_>, values: &OwnedKVList) -> String {
        let mut fields = Fields { format: self.format, all: Vec::new() };
        // Neither fails: the fields take whatever there is.
        let _ = record.kv().serialize(record, &mut fields);
        let _ = values.serialize(record, &mut fields);
        // The logger's own values come first, in the order in which they were attached.
        let fields = fields.all.into_iter().rev();
        let mut line = match self.format {
            LogFormat::Terminal => self.for_people(record, fields),
            LogFormat::Json => self.in_json(record, fields),
        };
        line.push('\n');
        line
    }

    /// `10:09:47.123 INFO message, key: value`, the level coloured on demand.
    fn for_people(&self, record: &Record<'_>, fields: impl Iterator<Item = (String, Value)>) -> String {
        let now = timestamp(&self.clock).to_zoned(jiff::tz::TimeZone::system());
        let (level, message) = (record.level().as_short_str(), shown(record.msg()));
        let mut line = now.strftime("%H:%M:%S%.3f").to_string();
        let written = match self.color {
            true => write!(line, " \x1b[{}m{level}\x1b[0m {message}", style_of(record.level())),
            false => write!(line, " {level} {message}"),
        };
        written.expect("writing to a string does not fail");
        for (key, value) in fields {
            line.extend([", ", &shown(&key), ": "]);
            match value {
                Value::String(text) => line.push_str(&text),
                other => line.push_str(&other.to_string()),
            }
        }
        line
    }

    fn in_json(&self, record: &Record<'_>, fields: impl Iterator<Item = (String, Value)>) -> String {
        let mut object = Map::new();
        object.insert("ts".to_owned(), json!(timestamp(&self.clock).to_string()));
        object.insert("level".to_owned(), json!(record.level().as_str()));
        object.insert("msg".to_owned(), json!(bounded(record.msg())));
        for (key, value) in fields {
            let suffix = if OWN_KEYS.contains(&key.as_str()) { "_" } else { "" };
            object.insert(format!("{key}{suffix}"), value);
        }
        escaped_json(&Value::Object(object).to_string()).into_owned()
    }
}

/// A text of bounded length.
fn bounded(text: impl fmt::Display) -> String {
    let mut bounded = Bounded { text: String::new(), cut: 0 };
    // Writing to a string does not fail; a `Display` that fails by itself has written less.
    let _ = write!(bounded, "{text}");
    if bounded.cut > 0 {
        let _ = write!(bounded.text, "… ({} bytes more)", bounded.cut);
    }
    bounded.text
}

/// Takes what fits, and counts the bytes of the rest.
struct Bounded {
    text: String,
    cut: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = if self.cut > 0 { 0 } else { SHOWN_MAX - self.text.len() };
        let taken = text.floor_char_boundary(room);
        self.text.push_str(&text[..taken]);
        self.cut += text.len() - taken;
        Ok(())
    }
}

fn timestamp(clock: &Clock) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(clock.wall_nanos()))
        .expect("64 bits of nanoseconds since 1970 are within jiff's years")
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

/// The fields of a record, each of bounded length, newest first.
struct Fields {
    format: LogFormat,
    all: Vec<(String, Value)>,
}

impl Fields {
    fn take(&mut self, key: Key, value: Value) -> slog::Result {
        self.all.push((key.to_string(), value));
        Ok(())
    }
}

/// Numbers stay numbers in JSON.
macro_rules! numbers {
    ($($emit:ident: $number:ty),*) => {
        $(fn $emit(&mut self, key: Key, value: $number) -> slog::Result {
            self.take(key, json!(value))
        })*
    };
}

impl Serializer for Fields {
    numbers!(
        emit_u8: u8, emit_u16: u16, emit_u32: u32, emit_u64: u64, emit_usize: usize,
        emit_i8: i8, emit_i16: i16, emit_i32: i32, emit_i64: i64, emit_isize: isize,
        emit_f32: f32, emit_f64: f64, emit_bool: bool
    );

    fn emit_unit(&mut self, key: Key) -> slog::Result {
        self.take(key, Value::Null)
    }

    fn emit_none(&mut self, key: Key) -> slog::Result {
        self.take(key, Value::Null)
    }

    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        let text = match self.format {
            LogFormat::Terminal => shown(value),
            LogFormat::Json => bounded(value),
        };
        self.take(key, Value::String(text))
    }
}
