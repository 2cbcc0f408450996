//! Structs to tuples and back, through `serde`.

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;

use super::{Fields, Value};

/// Why a struct and a tuple do not fit.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SerdeError(String);

/// Reads a struct from a row by field names.
pub fn from_row<T: DeserializeOwned>(_fields: &Fields, _row: &[Value]) -> Result<T, SerdeError> {
    Err(SerdeError("not written yet".into()))
}

/// Writes a struct as a row in the order of the fields.
pub fn to_row<T: Serialize>(_fields: &Fields, _value: &T) -> Result<Vec<Value>, SerdeError> {
    Err(SerdeError("not written yet".into()))
}
