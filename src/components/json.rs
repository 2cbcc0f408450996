//! Values as JSON and back.
//!
//! Bytes become hex text and points in time RFC 3339 text, as when they are shown; NaN and the
//! infinities, which JSON cannot express, become null. Back, a number without fraction and exponent is an
//! integer, and one that does not fit 64 bits is an error: as a double it would be another number.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use crate::tuple::{Fields, Value};

/// Appends a value.
pub(super) fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(b) => text.push_str(if *b { "true" } else { "false" }),
        Value::I64(n) => push(text, n),
        Value::F64(x) if x.is_finite() => push(text, format_args!("{x:?}")),
        Value::F64(_) => text.push_str("null"),
        Value::Str(s) => write_str(text, s),
        Value::Bytes(_) | Value::Timestamp(_) => push(text, format_args!("\"{value}\"")),
        Value::List(list) => {
            text.push('[');
            for (index, value) in list.iter().enumerate() {
                separate(text, index);
                write_value(text, value);
            }
            text.push(']');
        }
        Value::Map(map) => write_entries(text, map.iter()),
    }
}

/// Appends a row as an object, keys in the order of the fields.
pub(super) fn write_row(text: &mut String, fields: &Fields, row: &[Value]) {
    write_entries(text, fields.iter().zip(row));
}

/// Appends a quoted string.
pub(super) fn write_str(text: &mut String, s: &str) {
    text.push('"');
    for c in s.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => push(text, format_args!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// An object whose values are read when they are asked for.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// When it is not JSON, or no object; the error names the place.
    pub(super) fn read(text: &'a str) -> Result<Object<'a>, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value of a key; `a.b` is the `b` of the `a`, unless there is a key `a.b`. Of a key that is
    /// given twice the last value counts.
    pub(super) fn lookup(&self, key: &str) -> Option<&'a RawValue> {
        let own = |key: &str| self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value);
        own(key).or_else(|| {
            let (first, rest) = key.split_once('.')?;
            Object::read(own(first)?.get()).ok()?.lookup(rest)
        })
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'de>, D::Error> {
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A JSON value as ours.
///
/// # Errors
/// When a number does not fit: an integer 64 bits, any other a double.
pub(super) fn to_value(json: &RawValue) -> Result<Value, String> {
    let text = json.get();
    match text.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => number(text),
        Some(b'"') => text_of(json).map(Value::str),
        Some(b'{' | b'[') => {
            first_misfit(text)?;
            let json: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(container(&json))
        }
        Some(b't') => Ok(Value::Bool(true)),
        Some(b'f') => Ok(Value::Bool(false)),
        _ => Ok(Value::Null),
    }
}

/// A JSON value as text: a string without its quotes, anything else as it is written.
///
/// # Errors
/// When a string is malformed, which reading the line has excluded but for lone surrogates.
pub(super) fn text_of(json: &RawValue) -> Result<Cow<'_, str>, String> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    match json.get() {
        text if text.starts_with('"') => {
            serde_json::from_str(text).map(|Text(text)| text).map_err(|error| error.to_string())
        }
        other => Ok(Cow::Borrowed(other)),
    }
}

/// A number as it is written: without fraction and exponent an integer.
fn number(text: &str) -> Result<Value, String> {
    if is_integer(text) {
        return text.parse().map(Value::I64).map_err(|_| misfit(text, "i64"));
    }
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(Value::F64(x)),
        _ => Err(misfit(text, "f64")),
    }
}

fn is_integer(number: &str) -> bool {
    number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

fn misfit(number: &str, wanted: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let (shown, more) = if number.len() > SHOWN_MAX { (&number[..SHOWN_MAX], "…") } else { (number, "") };
    format!("the number {shown}{more} does not fit an {wanted}")
}

/// Looks at the numbers of a valid text that is read by `serde_json`, which makes doubles of integers
/// that are too large.
fn first_misfit(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        let end = if rest.starts_with('"') {
            end_of_string(rest)
        } else {
            let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(rest.len());
            number(&rest[..end])?;
            end
        };
        rest = &rest[end..];
    }
    Ok(())
}

/// Where the string ends with which a valid text begins.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A value whose numbers fit.
fn container(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => match n.as_i64() {
            Some(n) => Value::I64(n),
            None => n.as_f64().map_or(Value::Null, Value::F64),
        },
        serde_json::Value::String(s) => Value::str(s),
        serde_json::Value::Array(list) => Value::list(list.iter().map(container)),
        serde_json::Value::Object(map) => Value::map(map.iter().map(|(key, json)| (key, container(json)))),
    }
}

/// Appends an object.
pub(super) fn write_entries<'a>(text: &mut String, entries: impl Iterator<Item = (&'a SmolStr, &'a Value)>) {
    text.push('{');
    for (index, (key, value)) in entries.enumerate() {
        separate(text, index);
        write_str(text, key);
        text.push(':');
        write_value(text, value);
    }
    text.push('}');
}

fn separate(text: &mut String, index: usize) {
    if index > 0 {
        text.push(',');
    }
}

fn push(text: &mut String, what: impl std::fmt::Display) {
    write!(text, "{what}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Timestamp;

    #[test]
    fn values_are_written_as_json_and_read_back() {
        let check = |value: Value, json: &str| {
            let mut text = String::new();
            write_value(&mut text, &value);
            assert_eq!(text, json);
            let read: &RawValue = serde_json::from_str(&text).expect("it is JSON");
            to_value(read).expect("it fits")
        };
        assert_eq!(check(Value::Null, "null"), Value::Null);
        assert_eq!(check(true.into(), "true"), true.into());
        assert_eq!(check(i64::MIN.into(), "-9223372036854775808"), i64::MIN.into());
        assert_eq!(check(1.0.into(), "1.0"), 1.0.into());
        assert_eq!(check(1e300.into(), "1e300"), 1e300.into());
        assert_eq!(check(f64::NAN.into(), "null"), Value::Null);
        assert_eq!(check("a\"\\\n\u{1}ü".into(), r#""a\"\\\n\u0001ü""#), "a\"\\\n\u{1}ü".into());
        assert_eq!(check(Value::bytes(&b"\x0f"[..]), r#""0f""#), "0f".into());
        assert_eq!(check(Timestamp(0).into(), r#""1970-01-01T00:00:00Z""#), "1970-01-01T00:00:00Z".into());
        let nested = Value::map([("k", Value::list([1.into(), Value::map([("x", Value::Null)])]))]);
        assert_eq!(check(nested.clone(), r#"{"k":[1,{"x":null}]}"#), nested);
    }

    #[test]
    fn numbers_are_exact_or_do_not_fit() {
        let read = |text: &str| to_value(serde_json::from_str(text).expect("it is JSON"));
        let misfit =
            |number: &str, wanted: &str| Err(format!("the number {number} does not fit an {wanted}"));
        assert_eq!(read("9007199254740993"), Ok(9_007_199_254_740_993_i64.into()));
        assert_eq!(read("9223372036854775807"), Ok(i64::MAX.into()));
        assert_eq!(read("-9223372036854775808"), Ok(i64::MIN.into()));
        assert_eq!(read("9223372036854775808"), misfit("9223372036854775808", "i64"));
        assert_eq!(read("18446744073709551615"), misfit("18446744073709551615", "i64"));
        assert_eq!(read("1.0"), Ok(1.0.into()));
        assert_eq!(read("1e2"), Ok(100.0.into()));
        assert_eq!(read("1e999"), misfit("1e999", "f64"));
        let nested = r#"[{"18446744073709551615": "\\\"18446744073709551615"}, -7, 1.5e3]"#;
        assert!(read(nested).is_ok());
        assert_eq!(read(r#"{"a": [1, 18446744073709551615]}"#), misfit("18446744073709551615", "i64"));
    }
}
