//! Serializes structs, maps and sequences into rows.

use ::serde::ser::{self, Impossible, Serialize, Serializer};
use smol_str::SmolStr;

use super::error::SerdeError;
use super::ser::{by_position, key_text, to_value};
use crate::tuple::fields::Fields;
use crate::tuple::value::Value;

/// Writes a row in the order of the fields.
pub(super) struct RowSerializer<'a>(pub(super) &'a Fields);

/// Collects a row, by name or by position.
pub(super) struct RowWriter<'a> {
    fields: &'a Fields,
    row: Vec<Option<Value>>,
    /// Elements written by position.
    next: usize,
    key: SmolStr,
}

impl<'a> RowWriter<'a> {
    fn new(fields: &'a Fields) -> RowWriter<'a> {
        RowWriter { fields, row: vec![None; fields.len()], next: 0, key: SmolStr::default() }
    }

    fn position(&self, name: &str) -> Result<usize, SerdeError> {
        let unknown = || SerdeError::UnknownField { field: name.into(), fields: self.fields.clone() };
        self.fields.position(name).ok_or_else(unknown)
    }

    fn insert<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), SerdeError> {
        let position = self.position(name)?;
        self.row[position] = Some(to_value(value).map_err(|error| error.inside(name))?);
        Ok(())
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        if let Some(place) = self.row.get_mut(self.next) {
            let name = self.fields.get(self.next).expect("a row is as long as its fields");
            *place = Some(to_value(value).map_err(|error| error.inside(name))?);
        }
        self.next += 1;
        Ok(())
    }

    fn finish(self) -> Result<Vec<Value>, SerdeError> {
        let named = self.row.into_iter().zip(self.fields.iter());
        let missing = |name: &SmolStr| SerdeError::MissingField { field: name.to_string() };
        named.map(|(value, name)| value.ok_or_else(|| missing(name))).collect()
    }

    fn finish_positions(self) -> Result<Vec<Value>, SerdeError> {
        let (expected, found) = (self.row.len(), self.next);
        if expected != found {
            return Err(SerdeError::Arity { expected, found, fields: self.fields.clone() });
        }
        self.finish()
    }
}

macro_rules! not_a_row {
    ($($method:ident($($type:ty),*) => $found:literal;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<Vec<Value>, SerdeError> {
            Err(SerdeError::NotARow { found: $found })
        })*
    };
}

impl<'a> Serializer for RowSerializer<'a> {
    type Ok = Vec<Value>;
    type Error = SerdeError;
    type SerializeSeq = RowWriter<'a>;
    type SerializeTuple = RowWriter<'a>;
    type SerializeTupleStruct = RowWriter<'a>;
    type SerializeTupleVariant = Impossible<Vec<Value>, SerdeError>;
    type SerializeMap = RowWriter<'a>;
    type SerializeStruct = RowWriter<'a>;
    type SerializeStructVariant = Impossible<Vec<Value>, SerdeError>;

    not_a_row! {
        serialize_bool(bool) => "a bool";
        serialize_i8(i8) => "an integer";
        serialize_i16(i16) => "an integer";
        serialize_i32(i32) => "an integer";
        serialize_i64(i64) => "an integer";
        serialize_i128(i128) => "an integer";
        serialize_u8(u8) => "an integer";
        serialize_u16(u16) => "an integer";
        serialize_u32(u32) => "an integer";
        serialize_u64(u64) => "an integer";
        serialize_u128(u128) => "an integer";
        serialize_f32(f32) => "a number";
        serialize_f64(f64) => "a number";
        serialize_char(char) => "a char";
        serialize_str(&str) => "a string";
        serialize_bytes(&[u8]) => "bytes";
        serialize_none() => "nothing";
        serialize_unit_variant(&'static str, u32, &'static str) => "an enum's name";
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<Value>, SerdeError> {
        value.serialize(self)
    }

    /// An empty tuple, for a stream without fields.
    fn serialize_unit(self) -> Result<Vec<Value>, SerdeError> {
        RowWriter::new(self.0).finish()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Vec<Value>, SerdeError> {
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Vec<Value>, SerdeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Vec<Value>, SerdeError> {
        Err(SerdeError::NotARow { found: TAGGED })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<RowWriter<'a>, SerdeError> {
        Ok(RowWriter::new(self.0))
    }

    fn serialize_tuple(self, _: usize) -> Result<RowWriter<'a>, SerdeError> {
        Ok(RowWriter::new(self.0))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<RowWriter<'a>, SerdeError> {
        Ok(RowWriter::new(self.0))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, SerdeError> {
        Err(SerdeError::NotARow { found: TAGGED })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<RowWriter<'a>, SerdeError> {
        Ok(RowWriter::new(self.0))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<RowWriter<'a>, SerdeError> {
        Ok(RowWriter::new(self.0))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, SerdeError> {
        Err(SerdeError::NotARow { found: TAGGED })
    }
}

const TAGGED: &str = "an enum without `#[serde(tag = …)]`";

by_position!(RowWriter<'_>, Vec<Value>, finish_positions: SerializeSeq::serialize_element
    SerializeTuple::serialize_element SerializeTupleStruct::serialize_field);

impl ser::SerializeMap for RowWriter<'_> {
    type Ok = Vec<Value>;
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerdeError> {
        self.key = key_text(key)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        let key = std::mem::take(&mut self.key);
        self.insert(&key, value)
    }

    fn end(self) -> Result<Vec<Value>, SerdeError> {
        self.finish()
    }
}

impl ser::SerializeStruct for RowWriter<'_> {
    type Ok = Vec<Value>;
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.insert(key, value)
    }

    /// A member left out by `skip_serializing_if`.
    fn skip_field(&mut self, key: &'static str) -> Result<(), SerdeError> {
        let position = self.position(key)?;
        self.row[position] = Some(Value::Null);
        Ok(())
    }

    fn end(self) -> Result<Vec<Value>, SerdeError> {
        self.finish()
    }
}
