//! [`Value`] and [`Timestamp`] in formats of other crates, such as JSON.
//!
//! Both are serialized as a newtype struct with a special name. Only squall's own serializers check this
//! name, and then pass the value through unchanged. Every other format ignores the newtype and serializes
//! what is inside, so the values are readable in JSON.

use std::fmt;
use std::marker::PhantomData;

use ::serde::de::{
    Deserialize, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use ::serde::ser::{Serialize, Serializer};
use smol_str::SmolStr;

use crate::tuple::value::{Map, Timestamp, Value};

pub(super) const VALUE: &str = "squall::Value";
pub(super) const TIMESTAMP: &str = "squall::Timestamp";

/// The most elements that are reserved because the input announces them.
const RESERVE_MAX: usize = 1024;

/// What is inside a value's newtype.
struct Inside<'a>(&'a Value);

/// What is inside a timestamp's newtype.
struct Nanoseconds(Timestamp);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(VALUE, &Inside(self))
    }
}

impl Serialize for Inside<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::I64(n) => serializer.serialize_i64(*n),
            Value::F64(x) => serializer.serialize_f64(*x),
            Value::Str(s) => serializer.serialize_str(s),
            bytes @ Value::Bytes(_) if serializer.is_human_readable() => serializer.collect_str(bytes),
            Value::Bytes(b) => serializer.serialize_bytes(b),
            Value::List(l) => serializer.collect_seq(l.iter()),
            Value::Map(m) => serializer.collect_map(m.iter().map(|(key, value)| (key.as_str(), value))),
            Value::Timestamp(t) => t.serialize(serializer),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(TIMESTAMP, &Nanoseconds(*self))
    }
}

impl Serialize for Nanoseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&self.0)
        } else {
            serializer.serialize_i64(self.0.0)
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_newtype_struct(VALUE, ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inside: D) -> Result<Value, D::Error> {
        inside.deserialize_any(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inside: D) -> Result<Value, D::Error> {
        Value::deserialize(inside)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
        i64::try_from(v).map(Value::I64).map_err(|_| E::custom(format!("{v} is beyond the range of an i64")))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E: Error>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_byte_buf<E: Error>(self, v: Vec<u8>) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values: Vec<Value> = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(RESERVE_MAX));
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::from(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = entries.next_entry::<SmolStr, Value>()? {
            map.insert(key, value);
        }
        Ok(Value::from(map))
    }

    /// Called only by squall's own deserializer, for a timestamp.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (IgnoredAny, nanoseconds) = data.variant_seed(PhantomData)?;
        Ok(Value::Timestamp(Timestamp(nanoseconds.newtype_variant()?)))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// From an RFC 3339 string, or from an integer: nanoseconds since 1970.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        deserializer.deserialize_newtype_struct(TIMESTAMP, TimestampVisitor)
    }
}

struct TimestampVisitor;

impl<'de> Visitor<'de> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a timestamp, as an RFC 3339 string or in nanoseconds since 1970")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inside: D) -> Result<Timestamp, D::Error> {
        // Formats that are not self-describing hold what a compact serializer wrote.
        if inside.is_human_readable() { inside.deserialize_any(self) } else { inside.deserialize_i64(self) }
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Timestamp, E> {
        Ok(Timestamp(v))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Timestamp, E> {
        let range = || E::custom(format!("{v} ns is after the year 2262"));
        i64::try_from(v).map(Timestamp).map_err(|_| range())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        let time: jiff::Timestamp =
            text.parse().map_err(|error| E::custom(format!("`{text}` is no RFC 3339 time: {error}")))?;
        let range = |_| E::custom(format!("{text} is not between the years 1677 and 2262"));
        i64::try_from(time.as_nanosecond()).map(Timestamp).map_err(range)
    }
}
