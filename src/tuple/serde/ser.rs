//! Serializes Rust types into values.

use std::fmt::Display;

use ::serde::ser::{self, Serialize, Serializer};
use smol_str::SmolStr;

use super::error::SerdeError;
use super::value::{TIMESTAMP, VALUE};
use crate::tuple::value::{Map, Timestamp, Value};

/// Writes anything serializable as a value.
///
/// # Errors
/// When an integer is beyond the range of an `i64`, a map key is neither text, integer, bool nor time, or
/// the type's own `Serialize` fails.
///
/// # Examples
/// ```
/// use squall::tuple::serde::{from_value, to_value};
///
/// let value = to_value(&vec![("a", 1), ("b", 2)])?;
/// assert_eq!(value.to_string(), r#"[["a", 1], ["b", 2]]"#);
/// assert_eq!(from_value::<Vec<(String, u8)>>(&value)?, [("a".into(), 1), ("b".into(), 2)]);
/// # Ok::<(), squall::tuple::serde::SerdeError>(())
/// ```
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, SerdeError> {
    value.serialize(ValueSerializer::new())
}

/// Writes one [`Value`].
pub(super) struct ValueSerializer {
    /// Whether types with two forms are asked for the readable one. False inside values and timestamps,
    /// which must pass through unchanged.
    human_readable: bool,
}

impl ValueSerializer {
    pub(super) fn new() -> ValueSerializer {
        ValueSerializer { human_readable: true }
    }

    const EXACT: ValueSerializer = ValueSerializer { human_readable: false };
}

fn integer<N: Copy + Display + TryInto<i64>>(n: N) -> Result<Value, SerdeError> {
    let range = || SerdeError::mismatch(format_args!("{n} is beyond the range of an i64"));
    n.try_into().map(Value::I64).map_err(|_| range())
}

macro_rules! integers {
    ($($method:ident($type:ty))*) => {
        $(fn $method(self, v: $type) -> Result<Value, SerdeError> {
            integer(v)
        })*
    };
}

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = SerdeError;
    type SerializeSeq = ListWriter;
    type SerializeTuple = ListWriter;
    type SerializeTupleStruct = ListWriter;
    type SerializeTupleVariant = ListWriter;
    type SerializeMap = MapWriter;
    type SerializeStruct = MapWriter;
    type SerializeStructVariant = MapWriter;

    integers! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
    }

    fn is_human_readable(&self) -> bool {
        self.human_readable
    }

    fn serialize_bool(self, v: bool) -> Result<Value, SerdeError> {
        Ok(v.into())
    }

    fn serialize_f32(self, v: f32) -> Result<Value, SerdeError> {
        Ok(v.into())
    }

    fn serialize_f64(self, v: f64) -> Result<Value, SerdeError> {
        Ok(v.into())
    }

    fn serialize_char(self, v: char) -> Result<Value, SerdeError> {
        Ok(Value::str(v.encode_utf8(&mut [0; 4])))
    }

    fn serialize_str(self, v: &str) -> Result<Value, SerdeError> {
        Ok(v.into())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<Value, SerdeError> {
        Ok(v.into())
    }

    fn serialize_none(self) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, SerdeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, SerdeError> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, SerdeError> {
        match name {
            VALUE => value.serialize(ValueSerializer::EXACT),
            TIMESTAMP => match value.serialize(ValueSerializer::EXACT)? {
                Value::I64(nanoseconds) => Ok(Value::Timestamp(Timestamp(nanoseconds))),
                other => Ok(other),
            },
            _ => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, SerdeError> {
        Ok(in_variant(Some(variant), to_value(value).map_err(|error| error.inside(variant))?))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<ListWriter, SerdeError> {
        Ok(ListWriter { values: Vec::with_capacity(len.unwrap_or(0)), variant: None })
    }

    fn serialize_tuple(self, len: usize) -> Result<ListWriter, SerdeError> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<ListWriter, SerdeError> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<ListWriter, SerdeError> {
        Ok(ListWriter { values: Vec::with_capacity(len), variant: Some(variant) })
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<MapWriter, SerdeError> {
        Ok(MapWriter::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<MapWriter, SerdeError> {
        Ok(MapWriter::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<MapWriter, SerdeError> {
        Ok(MapWriter { variant: Some(variant), ..MapWriter::default() })
    }
}

/// A map from the name of an enum's variant to its content.
fn in_variant(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(name) => Value::map([(name, value)]),
        None => value,
    }
}

/// A map key as text.
pub(super) fn key_text<T: Serialize + ?Sized>(key: &T) -> Result<SmolStr, SerdeError> {
    match to_value(key)? {
        Value::Str(text) => Ok(SmolStr::new(text)),
        value @ (Value::I64(_) | Value::Bool(_) | Value::Timestamp(_)) => {
            Ok(SmolStr::from(value.to_string()))
        }
        other => {
            Err(SerdeError::mismatch(format_args!("a map key cannot be of type {}", other.value_type())))
        }
    }
}

/// Collects a list.
pub(super) struct ListWriter {
    values: Vec<Value>,
    variant: Option<&'static str>,
}

impl ListWriter {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        let value = to_value(value).map_err(|error| error.inside(self.values.len()))?;
        self.values.push(value);
        Ok(())
    }

    fn finish(self) -> Result<Value, SerdeError> {
        Ok(in_variant(self.variant, self.values.into()))
    }
}

/// Collects a map.
#[derive(Default)]
pub(super) struct MapWriter {
    map: Map,
    key: SmolStr,
    variant: Option<&'static str>,
}

impl MapWriter {
    fn insert<T: Serialize + ?Sized>(&mut self, key: SmolStr, value: &T) -> Result<(), SerdeError> {
        let value = to_value(value).map_err(|error| error.inside(&key))?;
        self.map.insert(key, value);
        Ok(())
    }

    fn finish(self) -> Result<Value, SerdeError> {
        Ok(in_variant(self.variant, self.map.into()))
    }
}

/// Implements the traits by which `serde` writes a sequence, all in the same way.
macro_rules! by_position {
    ($writer:ty, $ok:ty, $finish:ident: $($trait:ident::$method:ident)*) => {
        $(impl ser::$trait for $writer {
            type Ok = $ok;
            type Error = SerdeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
                self.push(value)
            }

            fn end(self) -> Result<$ok, SerdeError> {
                self.$finish()
            }
        })*
    };
}

pub(super) use by_position;

by_position!(ListWriter, Value, finish: SerializeSeq::serialize_element SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field);

impl ser::SerializeMap for MapWriter {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerdeError> {
        self.key = key_text(key)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        let key = std::mem::take(&mut self.key);
        self.insert(key, value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}

impl ser::SerializeStruct for MapWriter {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.insert(SmolStr::new_static(key), value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}

impl ser::SerializeStructVariant for MapWriter {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.insert(SmolStr::new_static(key), value)
    }

    fn end(self) -> Result<Value, SerdeError> {
        self.finish()
    }
}
