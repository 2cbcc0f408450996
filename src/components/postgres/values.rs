//! Values as PostgreSQL reads them.
//!
//! Parameters are sent as text, which the server reads by the type of the column. So every type of the server can be
//! written, also those that squall does not know (`inet`, enumerations, types of extensions). What is lost or means
//! something else in the type of the column is refused here, before it is sent:
//!
//! | value | columns |
//! |---|---|
//! | null | all |
//! | bool | `bool`, text |
//! | i64 | integers that it fits, `numeric`, text; `float4` and `float8` if they hold it exactly |
//! | f64 | `float8`, `numeric`, text; `float4`, rounded to its precision |
//! | string | all but `bool`, integers, floats and `bytea` |
//! | bytes | `bytea` |
//! | timestamp | `timestamptz`, `timestamp` (in UTC), text; cut to microseconds, which is what PostgreSQL has |
//! | list | arrays, item by item; `json`, `jsonb` |
//! | map | `json`, `jsonb` |
//!
//! Bools and numbers go to `json` and `jsonb`, too. A string there is JSON text.

use std::fmt::Write as _;

use crate::components::json;
use crate::tuple::{Timestamp, Value};

/// A parameter as text; `None` is null.
pub(super) type Parameter = Option<String>;

/// The type of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnType {
    /// Its name, for errors.
    pub(super) name: String,
    pub(super) kind: ColumnKind,
}

/// What matters of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Bool,
    /// With so many bits.
    Integer(u32),
    Float4,
    Float8,
    Numeric,
    Text,
    Bytes,
    Json,
    /// A point in time, with a zone or without one.
    Time,
    Array(Box<ColumnType>),
    /// Anything else: the server reads a text.
    Other,
}

impl ColumnType {
    /// A type by its name in `pg_type`. Of an array or a domain, that of its items or of what it is based on.
    pub(super) fn named(name: &str) -> ColumnType {
        let kind = match name {
            "bool" => ColumnKind::Bool,
            "int2" => ColumnKind::Integer(16),
            "int4" => ColumnKind::Integer(32),
            "int8" => ColumnKind::Integer(64),
            "float4" => ColumnKind::Float4,
            "float8" => ColumnKind::Float8,
            "numeric" => ColumnKind::Numeric,
            "text" | "varchar" | "bpchar" | "name" | "citext" => ColumnKind::Text,
            "bytea" => ColumnKind::Bytes,
            "json" | "jsonb" => ColumnKind::Json,
            "timestamp" | "timestamptz" => ColumnKind::Time,
            _ => ColumnKind::Other,
        };
        ColumnType { name: name.to_owned(), kind }
    }

    /// A value as text of this type.
    ///
    /// # Errors
    /// Why the value does not fit, with both types.
    pub(super) fn parameter(&self, value: &Value) -> Result<Parameter, String> {
        if value.is_null() {
            return Ok(None);
        }
        let text = match &self.kind {
            ColumnKind::Json => json_text(value),
            ColumnKind::Array(item) => self.array(value, item)?,
            _ => self.scalar(value)?,
        };
        if text.contains('\0') {
            return Err(format!("PostgreSQL has no text with a NUL character, as in {}", shown(value)));
        }
        Ok(Some(text))
    }

    fn scalar(&self, value: &Value) -> Result<String, String> {
        use ColumnKind::{Bool, Bytes, Float4, Float8, Integer, Numeric, Other, Text, Time};
        match (value, &self.kind) {
            (Value::Bool(_), Bool | Text) => Ok(value.to_string()),
            (Value::I64(n), Integer(bits)) if fits(*n, *bits) => Ok(n.to_string()),
            (Value::I64(_), Numeric | Text) => Ok(value.to_string()),
            (Value::I64(n), Float8) if value.as_f64().is_some() => Ok(n.to_string()),
            // A float4 has 24 bits.
            (Value::I64(n), Float4) if n.unsigned_abs() <= 1 << 24 => Ok(n.to_string()),
            (Value::F64(x), Float4 | Float8 | Numeric | Text) => Ok(float(*x)),
            (Value::Str(text), Text | Numeric | Time | Other) => Ok(text.as_str().to_owned()),
            (Value::Bytes(_), Bytes) => Ok(format!("\\x{value}")),
            (Value::Timestamp(at), Time) => Ok(micros(*at)),
            (Value::Timestamp(_), Text) => Ok(value.to_string()),
            _ => Err(self.misfit(value)),
        }
    }

    /// A list as the literal of an array: `{"a","b",NULL}`.
    fn array(&self, value: &Value, item: &ColumnType) -> Result<String, String> {
        let items = value.as_list().ok_or_else(|| self.misfit(value))?;
        let mut text = String::from("{");
        for (at, value) in items.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            // A list in a list is another dimension of the same array.
            if value.as_list().is_some() && item.kind != ColumnKind::Json {
                text.push_str(&self.array(value, item)?);
                continue;
            }
            match item.parameter(value)? {
                None => text.push_str("NULL"),
                Some(item) => {
                    let escaped = item.replace('\\', "\\\\").replace('"', "\\\"");
                    write!(text, "\"{escaped}\"").expect("writing to a string cannot fail");
                }
            }
        }
        text.push('}');
        Ok(text)
    }

    fn misfit(&self, value: &Value) -> String {
        let fits_not = matches!(
            (value, &self.kind),
            (Value::I64(_), ColumnKind::Integer(_) | ColumnKind::Float4 | ColumnKind::Float8)
        );
        let (name, value_type) = (&self.name, value.value_type());
        match fits_not {
            true => format!("the {value_type} {} does not fit {name}", shown(value)),
            false => format!("a value of type {value_type} cannot be written as {name}: {}", shown(value)),
        }
    }
}

fn fits(n: i64, bits: u32) -> bool {
    let unused = 64 - bits;
    (n << unused) >> unused == n
}

/// A double, with all of its digits; the server knows the names of what is no number.
fn float(x: f64) -> String {
    match x {
        x if x.is_nan() => "NaN".to_owned(),
        x if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        x => format!("{x:?}"),
    }
}

/// A point in time in microseconds, as RFC 3339. A column without zone leaves the `Z` out, so it has UTC.
fn micros(at: Timestamp) -> String {
    Timestamp(at.0.div_euclid(1000) * 1000).to_string()
}

/// A string is JSON already.
fn json_text(value: &Value) -> String {
    if let Value::Str(text) = value {
        return text.as_str().to_owned();
    }
    let mut text = String::new();
    json::write_value(&mut text, value);
    text
}

/// The begin of a value, for errors.
pub(super) fn shown(value: &Value) -> String {
    const SHOWN_MAX: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(type_name: &str, value: impl Into<Value>, expected: &str) {
        let value = value.into();
        assert_eq!(ColumnType::named(type_name).parameter(&value), Ok(Some(expected.to_owned())), "{value}");
    }

    fn misfit(type_name: &str, value: impl Into<Value>, why: &str) {
        let value = value.into();
        let error = ColumnType::named(type_name).parameter(&value).expect_err(why);
        assert_eq!(error, why, "{value}");
    }

    #[test]
    fn values_are_texts_that_the_server_reads_as_the_same_value() {
        check("bool", true, "true");
        check("int2", -32768, "-32768");
        check("int8", i64::MIN, "-9223372036854775808");
        check("float8", 0.1, "0.1");
        check("float8", 1, "1");
        check("numeric", 1e300, "1e300");
        check("float8", f64::NAN, "NaN");
        check("float4", f64::NEG_INFINITY, "-Infinity");
        check("text", 7, "7");
        check("text", "it's", "it's");
        check("inet", "10.0.0.1", "10.0.0.1");
        check("bytea", Value::bytes(&b"\x00\xff"[..]), "\\x00ff");
        check("timestamptz", Timestamp(1_500), "1970-01-01T00:00:00.000001Z");
        check("timestamptz", Timestamp(-1), "1969-12-31T23:59:59.999999Z");
        check("jsonb", Value::map([("a", Value::list([1.into(), Value::Null]))]), r#"{"a":[1,null]}"#);
        check("json", "[1]", "[1]");
        assert_eq!(ColumnType::named("int4").parameter(&Value::Null), Ok(None));
    }

    #[test]
    fn a_list_is_an_array() {
        let array = |item: &str| ColumnType {
            name: format!("_{item}"),
            kind: ColumnKind::Array(Box::new(ColumnType::named(item))),
        };
        let list = Value::list(["a\"b".into(), "c\\".into(), Value::Null, "{}".into()]);
        assert_eq!(array("text").parameter(&list), Ok(Some(r#"{"a\"b","c\\",NULL,"{}"}"#.to_owned())));
        let nested = Value::list([Value::list([1.into()]), Value::list([2.into()])]);
        assert_eq!(array("int4").parameter(&nested), Ok(Some(r#"{{"1"},{"2"}}"#.to_owned())));
        assert_eq!(array("int4").parameter(&Value::list([])), Ok(Some("{}".to_owned())));
        let error = array("int2").parameter(&Value::list([70_000.into()]));
        assert_eq!(error, Err("the i64 70000 does not fit int2".to_owned()));
        let error = array("int2").parameter(&1.into());
        assert_eq!(error, Err("a value of type i64 cannot be written as _int2: 1".to_owned()));
    }

    #[test]
    fn what_would_be_another_value_is_refused_with_both_types() {
        misfit("int2", 32768, "the i64 32768 does not fit int2");
        misfit("float8", i64::MAX, "the i64 9223372036854775807 does not fit float8");
        misfit("int4", 1.5, "a value of type f64 cannot be written as int4: 1.5");
        misfit("int4", "7", "a value of type string cannot be written as int4: 7");
        misfit("bool", 1, "a value of type i64 cannot be written as bool: 1");
        misfit(
            "date",
            Timestamp(0),
            "a value of type timestamp cannot be written as date: 1970-01-01T00:00:00Z",
        );
        misfit("text", "a\0", "PostgreSQL has no text with a NUL character, as in a\0");
    }
}
