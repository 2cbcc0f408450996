//! Values as JSON and back.
//!
//! Bytes become hex text and points in time RFC 3339 text, as when they are shown; NaN and the
//! infinities, which JSON cannot say, become null. Back, a number without fraction that fits 64
//! bits is an integer.

use std::fmt::Write as _;

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

/// Reads a value.
///
/// # Errors
/// When the text is not JSON; says where.
pub(super) fn read(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// A JSON value as ours.
pub(super) fn to_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => match n.as_i64() {
            Some(n) => Value::I64(n),
            None => n.as_f64().map_or(Value::Null, Value::F64),
        },
        serde_json::Value::String(s) => Value::str(s),
        serde_json::Value::Array(list) => Value::list(list.iter().map(to_value)),
        serde_json::Value::Object(map) => Value::map(map.iter().map(|(key, json)| (key, to_value(json)))),
    }
}

/// The value of a key of an object; `a.b` is the `b` of the `a`, unless there is a key `a.b`.
pub(super) fn lookup<'a>(object: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    object.get(key).or_else(|| {
        let (first, rest) = key.split_once('.')?;
        lookup(object.get(first)?, rest)
    })
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
            let read = read(&text).expect("it is JSON");
            to_value(&read)
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
}
