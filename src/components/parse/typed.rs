//! Text to typed values.

use jiff::fmt::strtime;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::tuple::{Timestamp, Value};

/// What the text of a field is read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text, as it is.
    #[default]
    String,
    /// A whole number.
    I64,
    /// A number.
    F64,
    /// `true` or `false`.
    Bool,
    /// A point in time, by `time_format`.
    Timestamp,
}

impl FieldType {
    /// Reads a text; `time_format` is strftime's, RFC 3339 without.
    ///
    /// # Errors
    /// When the text is none of the type.
    pub(super) fn read(self, text: &str, time_format: Option<&str>) -> Result<Value, String> {
        let wrong = |wanted: &str| format!("\"{}\" is no {wanted}", shortened(text));
        match self {
            FieldType::String => Ok(Value::str(text)),
            FieldType::I64 => text.parse().map(Value::I64).map_err(|_| wrong("i64")),
            FieldType::F64 => text.parse().map(Value::F64).map_err(|_| wrong("f64")),
            FieldType::Bool => text.parse().map(Value::Bool).map_err(|_| wrong("bool")),
            FieldType::Timestamp => read_time(text, time_format).ok_or_else(|| wrong("timestamp")),
        }
    }

    /// Makes a value that has a type already fit.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn convert(self, value: Value, time_format: Option<&str>) -> Result<Value, String> {
        match (self, value) {
            (_, Value::Null) => Ok(Value::Null),
            (FieldType::F64, Value::I64(n)) => Ok(Value::F64(n as f64)),
            (FieldType::I64, n @ Value::I64(_)) => Ok(n),
            (FieldType::F64, x @ Value::F64(_)) => Ok(x),
            (FieldType::Bool, b @ Value::Bool(_)) => Ok(b),
            (_, Value::Str(text)) => self.read(&text, time_format),
            (FieldType::String, other) => Ok(Value::from(other.to_string())),
            (_, other) => Err(format!("{other} is of type {}", other.value_type())),
        }
    }
}

fn read_time(text: &str, format: Option<&str>) -> Option<Value> {
    let time: jiff::Timestamp = match format {
        Some(format) => strtime::parse(format, text).ok()?.to_timestamp().ok()?,
        None => text.parse().ok()?,
    };
    i64::try_from(time.as_nanosecond()).ok().map(|nanos| Value::Timestamp(Timestamp(nanos)))
}

/// The beginning of a text, for an error message.
fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 40;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_their_types() {
        let check = |wanted: FieldType, text: &str, value: Option<Value>| {
            assert_eq!(wanted.read(text, None).ok(), value, "{wanted:?} {text}");
        };
        check(FieldType::String, "x", Some("x".into()));
        check(FieldType::I64, "-7", Some((-7).into()));
        check(FieldType::I64, "7.5", None);
        check(FieldType::F64, "7.5", Some(7.5.into()));
        check(FieldType::Bool, "true", Some(true.into()));
        check(FieldType::Bool, "1", None);
        check(FieldType::Timestamp, "1970-01-01T00:00:01Z", Some(Timestamp(1_000_000_000).into()));
        check(FieldType::Timestamp, "yesterday", None);
    }

    #[test]
    fn times_have_formats_with_zones() {
        let read = FieldType::Timestamp.read("10/Oct/2000:13:55:36 -0700", Some("%d/%b/%Y:%H:%M:%S %z"));
        assert_eq!(read.map(|time| time.to_string()), Ok("2000-10-10T20:55:36Z".to_owned()));
    }
}
