//! Texts and JSON values to typed values.

use std::num::IntErrorKind;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::components::json;
use crate::event_time::TimeFormat;
use crate::tuple::Value;

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
    /// Reads a text.
    ///
    /// # Errors
    /// When the text is not of the type; the error states the reason if it is not obvious.
    pub(super) fn read(self, text: &str, times: &TimeFormat) -> Result<Value, String> {
        let wrong = |wanted: &str| format!("\"{}\" is no {wanted}", shortened(text));
        match self {
            FieldType::String => Ok(Value::str(text)),
            FieldType::I64 => {
                text.parse().map(Value::I64).map_err(|error: std::num::ParseIntError| match error.kind() {
                    IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
                        format!("{}: it does not fit 64 bits", wrong("i64"))
                    }
                    _ => wrong("i64"),
                })
            }
            FieldType::F64 => match text.parse::<f64>() {
                // An infinity is one only if it is written so.
                Ok(x) if x.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) => {
                    Err(format!("{}: it is too large", wrong("f64")))
                }
                Ok(x) => Ok(Value::F64(x)),
                Err(_) => Err(wrong("f64")),
            },
            FieldType::Bool => text.parse().map(Value::Bool).map_err(|_| wrong("bool")),
            FieldType::Timestamp => times
                .read(text)
                .map(Value::Timestamp)
                .map_err(|why| format!("{}: {}", wrong("timestamp"), shortened(&why))),
        }
    }

    /// Reads a JSON value.
    ///
    /// # Errors
    /// When it does not fit.
    pub(super) fn read_json(self, json: &RawValue, times: &TimeFormat) -> Result<Value, String> {
        let is_number = json.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        match self {
            FieldType::String if json.get() != "null" => json::text_of(json).map(Value::str),
            FieldType::Timestamp if is_number => self.read(&plain(json.get()), times),
            FieldType::F64 if is_number => exact_f64(json),
            _ => match (self, json::to_value(json)?) {
                (_, Value::Null) => Ok(Value::Null),
                (FieldType::I64, n @ Value::I64(_)) => Ok(n),
                (FieldType::Bool, b @ Value::Bool(_)) => Ok(b),
                (_, Value::Str(text)) => self.read(&text, times),
                (_, other) => {
                    Err(format!("{} is of type {}", shortened(&other.to_string()), other.value_type()))
                }
            },
        }
    }
}

/// A JSON number as a double. A fraction is rounded, as it is wherever it is written; an integer that
/// would become another one fails.
fn exact_f64(json: &RawValue) -> Result<Value, String> {
    match json::to_value(json)? {
        Value::I64(n) if i128::from(n) == (n as f64) as i128 => Ok(Value::F64(n as f64)),
        Value::I64(n) => Err(format!("{n} has more digits than an f64 can hold")),
        value => Ok(value),
    }
}

/// A number without its exponent, if it has one.
fn plain(number: &str) -> String {
    match number.parse::<f64>() {
        // Rust writes a double without exponent, by the shortest digits that stand for it.
        Ok(x) if number.contains(['e', 'E']) => x.to_string(),
        _ => number.to_owned(),
    }
}

/// The beginning of a text, for an error message.
fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 200;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Timestamp;

    fn times() -> TimeFormat {
        TimeFormat::new(None, None).unwrap_or_else(|error| panic!("{error:?}"))
    }

    #[test]
    fn texts_are_read_as_their_types() {
        let check = |wanted: FieldType, text: &str, value: Option<Value>| {
            assert_eq!(wanted.read(text, &times()).ok(), value, "{wanted:?} {text}");
        };
        check(FieldType::String, "x", Some("x".into()));
        check(FieldType::I64, "-7", Some((-7).into()));
        check(FieldType::I64, "7.5", None);
        check(FieldType::F64, "7.5", Some(7.5.into()));
        check(FieldType::F64, "inf", Some(f64::INFINITY.into()));
        check(FieldType::Bool, "true", Some(true.into()));
        check(FieldType::Bool, "1", None);
        check(FieldType::Timestamp, "1970-01-01T00:00:01Z", Some(Timestamp(1_000_000_000).into()));
        check(FieldType::Timestamp, "yesterday", None);
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let check = |wanted: FieldType, text: &str, why: &str| {
            assert_eq!(wanted.read(text, &times()), Err(why.to_owned()));
        };
        check(FieldType::I64, "seven", "\"seven\" is no i64");
        check(
            FieldType::I64,
            "9223372036854775808",
            "\"9223372036854775808\" is no i64: it does not fit 64 bits",
        );
        check(FieldType::F64, "1e999", "\"1e999\" is no f64: it is too large");
        check(
            FieldType::Timestamp,
            "2026-11-28T10:00:00",
            "\"2026-11-28T10:00:00\" is no timestamp: has no zone; set `time_zone`",
        );
    }

    #[test]
    fn json_values_are_read_as_their_types() {
        let read = |wanted: FieldType, text: &str| {
            let json: &RawValue = serde_json::from_str(text).expect("it is JSON");
            wanted.read_json(json, &times()).map(|value| value.to_string())
        };
        let check = |wanted: FieldType, text: &str, expected: &str| {
            let (Ok(found) | Err(found)) = read(wanted, text);
            assert_eq!(found, expected, "{wanted:?} {text}");
        };
        check(FieldType::String, "1e2", "1e2");
        check(FieldType::String, "18446744073709551615", "18446744073709551615");
        check(FieldType::String, "\"a\\nb\"", "a\nb");
        check(FieldType::String, r#"{"k": [1]}"#, r#"{"k": [1]}"#);
        check(FieldType::String, "null", "null");
        check(FieldType::F64, "9007199254740992", "9007199254740992");
        check(FieldType::F64, "9007199254740993", "9007199254740993 has more digits than an f64 can hold");
        check(FieldType::I64, "1.0", "1 is of type f64");
        check(FieldType::I64, "18446744073709551615", "the number 18446744073709551615 does not fit an i64");
        check(FieldType::I64, "\"12\"", "12");
        check(FieldType::Timestamp, "1764324000.123", "2025-11-28T10:00:00.123Z");
        check(FieldType::Timestamp, "1.764324e9", "2025-11-28T10:00:00Z");
        check(FieldType::Timestamp, "true", "true is of type bool");
    }
}
