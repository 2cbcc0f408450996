//! Rust types to values and rows, and back, through `serde`.
//!
//! User code can emit a struct instead of values by position. A struct becomes a row by its field
//! names, so the order of a stream's fields and of a struct's members may differ; inside a value a
//! struct is a map. The forms are those of JSON, so that data of JSON files, TOML documents and Rust
//! code looks alike:
//!
//! | Rust | value |
//! |---|---|
//! | `()`, unit struct, `None` | null; `Some(x)` is `x` |
//! | integers | i64; beyond its range an error |
//! | `f32`, `f64` | f64 |
//! | `char`, `str` | string |
//! | `serde`'s bytes | bytes; a plain `Vec<u8>` is a sequence, but reads bytes too |
//! | sequence, tuple, tuple struct | list |
//! | struct, map | map; keys that are integers, bools or times are written as text |
//! | newtype struct | what it holds |
//! | enum | the variant's name, or a map from it to what it holds |
//! | [`Timestamp`], [`Value`] | themselves, whatever they stand in |
//!
//! **Time.** A [`Timestamp`] stays a timestamp. Any type that `serde` reads from an RFC 3339 string
//! (`jiff::Timestamp`, `chrono::DateTime`) can be read from a timestamp value, and a [`Timestamp`]
//! can be read from such a string or from an integer of nanoseconds.
//!
//! **JSON.** [`Value`] itself is `Serialize` and `Deserialize`. In human-readable formats a
//! timestamp is an RFC 3339 string and bytes are lower-case hex, as [`Display`]
//! shows them. Both are read back as strings, because types are not guessed. JSON has no NaN and no
//! infinities: they become null. [`codec`](super::codec) is lossless.
//!
//! Readers may borrow: a `&str` member of the struct points into the row.
//!
//! [`Display`]: std::fmt::Display
//! [`Timestamp`]: super::Timestamp

mod de;
mod error;
mod row;
mod ser;
mod value;

use ::serde::{Deserialize, Serialize};

use super::fields::Fields;
use super::value::Value;

pub use error::SerdeError;
pub use ser::to_value;

/// Reads anything deserializable from a value.
///
/// # Errors
/// When the value does not have the shape, type or range of `T`; the error shows the place.
pub fn from_value<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T, SerdeError> {
    T::deserialize(de::ValueDeserializer(value))
}

/// Writes a struct as a row in the order of the fields. A map is written by its keys, a sequence or
/// tuple by position. A member left out by `skip_serializing_if` is null.
///
/// # Errors
/// When a member of the struct is no field, a field has no member, or a member does not fit a
/// [`Value`] (see [`to_value`]).
///
/// # Examples
/// ```
/// use serde::{Deserialize, Serialize};
/// use squall::Fields;
/// use squall::tuple::serde::{from_row, to_row};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Count {
///     word: String,
///     count: u32,
/// }
///
/// let fields = Fields::from(["count", "word"]);
/// let seen = Count { word: "storm".into(), count: 3 };
/// let row = to_row(&fields, &seen)?;
/// assert_eq!(row, [3.into(), "storm".into()]);
/// assert_eq!(from_row::<Count>(&fields, &row)?, seen);
/// # Ok::<(), squall::tuple::serde::SerdeError>(())
/// ```
pub fn to_row<T: Serialize + ?Sized>(fields: &Fields, value: &T) -> Result<Vec<Value>, SerdeError> {
    value.serialize(row::RowSerializer(fields))
}

/// Reads a struct from a row by field names, or a sequence or tuple by position. Fields without a member
/// in the struct are skipped; an `Option` member without a field is `None`.
///
/// # Errors
/// When a member has no field, or a field does not have the type or range of its member.
pub fn from_row<'a, T: Deserialize<'a>>(fields: &'a Fields, row: &'a [Value]) -> Result<T, SerdeError> {
    T::deserialize(de::RowDeserializer { fields, row })
}

#[cfg(test)]
mod tests;
