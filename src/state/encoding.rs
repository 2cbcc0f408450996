//! The bytes of a value that is kept: MessagePack, with the names of fields.
//!
//! The names stand beside the values, so a struct that gained a field with `#[serde(default)]` reads what was
//! written before, and a field that was removed is skipped.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a value could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EncodingError(String);

impl EncodingError {
    pub(super) fn new(text: String) -> EncodingError {
        EncodingError(text)
    }
}

/// Appends the bytes of a value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodingError> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut serializer).map_err(|error| EncodingError(error.to_string()))
}

/// Reads a value that takes up all of the input.
pub(crate) fn decode<T: DeserializeOwned>(input: &[u8]) -> Result<T, EncodingError> {
    let mut left = input;
    let value = rmp_serde::from_read(&mut left).map_err(|error| EncodingError(error.to_string()))?;
    if !left.is_empty() {
        return Err(EncodingError(format!("{} bytes follow the value", left.len())));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize)]
    struct Before {
        orders: u64,
        nick: String,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct After {
        orders: u64,
        #[serde(default)]
        cents: i64,
    }

    #[test]
    fn a_field_may_be_added_with_a_default_and_another_removed() {
        let mut bytes = Vec::new();
        encode(&Before { orders: 3, nick: "al".into() }, &mut bytes).expect("it can be written");
        assert_eq!(decode::<After>(&bytes).expect("it fits"), After { orders: 3, cents: 0 });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut bytes = Vec::new();
        encode("text", &mut bytes).expect("it can be written");
        assert!(decode::<i64>(&bytes).is_err(), "another type");
        bytes.push(1);
        assert_eq!(
            decode::<String>(&bytes).map_err(|error| error.to_string()),
            Err("1 bytes follow the value".into())
        );
        assert!(decode::<String>(&bytes[..3]).is_err(), "cut off");
    }
}
