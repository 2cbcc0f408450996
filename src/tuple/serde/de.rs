//! Deserializes Rust types from values and rows.

use std::fmt::Display;
use std::iter;

use ::serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use ::serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use ::serde::forward_to_deserialize_any;

use super::error::SerdeError;
use super::value::{TIMESTAMP, VALUE};
use crate::tuple::fields::Fields;
use crate::tuple::value::Value;

/// Reads one [`Value`].
#[derive(Clone, Copy)]
pub(super) struct ValueDeserializer<'a>(pub(super) &'a Value);

impl<'de> Deserializer<'de> for ValueDeserializer<'de> {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::I64(n) => visitor.visit_i64(*n),
            Value::F64(x) => visitor.visit_f64(*x),
            Value::Str(s) => visitor.visit_borrowed_str(s),
            Value::Bytes(b) => visitor.visit_borrowed_bytes(b),
            Value::List(l) => read_elements(l.len(), l.iter().enumerate(), visitor),
            Value::Map(m) => visitor.visit_map(Entries::new(m.iter().map(|(k, v)| (k.as_str(), v)))),
            // As text, as in JSON, so that types of other crates can be read from it.
            Value::Timestamp(t) => visitor.visit_string(t.to_string()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        match (name, self.0) {
            (TIMESTAMP, Value::Timestamp(t)) => visitor.visit_i64(t.0),
            (VALUE, Value::Timestamp(t)) => {
                let variant = MapDeserializer::new(iter::once((TIMESTAMP, t.0)));
                visitor.visit_enum(MapAccessDeserializer::new(variant))
            }
            (TIMESTAMP | VALUE, _) => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Bytes(b) => visitor.visit_seq(SeqDeserializer::new(b.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Str(variant) => visitor.visit_enum(BorrowedStrDeserializer::new(variant)),
            Value::Map(m) if m.len() == 1 => {
                let entries = Entries::new(m.iter().map(|(k, v)| (k.as_str(), v)));
                visitor.visit_enum(MapAccessDeserializer::new(entries))
            }
            other => Err(SerdeError::mismatch(format_args!(
                "expected a variant of `{name}`: its name, or a map from it to what it holds; found {}",
                other.value_type()
            ))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct map struct identifier ignored_any
    }
}

/// Lets the visitor read elements, and returns an error if it does not read all.
fn read_elements<'de, V: Visitor<'de>, S: Display>(
    len: usize,
    elements: impl ExactSizeIterator<Item = (S, &'de Value)>,
    visitor: V,
) -> Result<V::Value, SerdeError> {
    let mut elements = Elements { elements };
    let value = visitor.visit_seq(&mut elements)?;
    match elements.elements.len() {
        0 => Ok(value),
        left => Err(SerdeError::invalid_length(len, &format!("{} elements", len - left).as_str())),
    }
}

/// The elements of a list or a row, each with a name for errors.
struct Elements<I> {
    elements: I,
}

impl<'de, S: Display, I: ExactSizeIterator<Item = (S, &'de Value)>> SeqAccess<'de> for &mut Elements<I> {
    type Error = SerdeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SerdeError> {
        let Some((place, value)) = self.elements.next() else { return Ok(None) };
        seed.deserialize(ValueDeserializer(value)).map(Some).map_err(|error| error.inside(place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

/// Entries of a map, or the named values of a row.
struct Entries<'de, I> {
    entries: I,
    entry: Option<(&'de str, &'de Value)>,
}

impl<I> Entries<'_, I> {
    fn new(entries: I) -> Self {
        Entries { entries, entry: None }
    }
}

impl<'de, I: ExactSizeIterator<Item = (&'de str, &'de Value)>> MapAccess<'de> for Entries<'de, I> {
    type Error = SerdeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SerdeError> {
        self.entry = self.entries.next();
        self.entry.map(|(key, _)| seed.deserialize(KeyDeserializer(key))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SerdeError> {
        let (key, value) = self.entry.take().expect("serde asks for a key before its value");
        seed.deserialize(ValueDeserializer(value)).map_err(|error| error.inside(key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// Reads the key of a map: text, or a value that was written as text.
struct KeyDeserializer<'de>(&'de str);

macro_rules! parsed_keys {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            match self.0.parse() {
                Ok(key) => visitor.$visit(key),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for KeyDeserializer<'de> {
    type Error = SerdeError;

    parsed_keys! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i128 visit_i128 deserialize_u128 visit_u128
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_enum(BorrowedStrDeserializer::new(self.0))
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// Reads a row: as a map from the stream's fields, or as a sequence if the type asks for one.
pub(super) struct RowDeserializer<'a> {
    pub(super) fields: &'a Fields,
    pub(super) row: &'a [Value],
}

impl<'a> RowDeserializer<'a> {
    fn named(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a Value)> {
        self.fields.iter().map(|name| name.as_str()).zip(self.row)
    }
}

impl<'de> Deserializer<'de> for RowDeserializer<'de> {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_map(Entries::new(self.named()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        read_elements(self.row.len(), self.named(), visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_some(self)
    }

    /// A tuple of a stream without fields.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        if name == VALUE { self.deserialize_any(visitor) } else { visitor.visit_newtype_struct(self) }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf map struct
        enum identifier ignored_any
    }
}
