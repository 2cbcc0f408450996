//! Rows as state keeps them: the codec of tuples, one row after the other.
//!
//! ```text
//!  rows    (length(4, little endian) · row)*
//!  row     a list of its values, in the codec of single values, which has a version
//! ```

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::TaskError;
use crate::tuple::Value;
use crate::tuple::codec::{decode_value, encode_value};

/// Rows that are shared by their copies, and written as one string of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeptRows(Arc<Vec<u8>>);

impl KeptRows {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes they take.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When a value nests too deep, or the row is larger than 4 GiB. Then nothing is added.
    pub(super) fn push(&mut self, row: Vec<Value>) -> Result<(), TaskError> {
        let mut bytes = Vec::new();
        encode_value(&Value::list(row), &mut bytes)?;
        let len = u32::try_from(bytes.len()).map_err(|_| TaskError::new("a row is larger than 4 GiB"))?;
        let rows = Arc::make_mut(&mut self.0);
        rows.extend_from_slice(&len.to_le_bytes());
        rows.extend_from_slice(&bytes);
        Ok(())
    }

    /// All rows. `None`: these are no rows.
    pub(super) fn to_rows(&self) -> Option<Vec<Vec<Value>>> {
        let (mut rows, mut rest) = (Vec::new(), self.0.as_slice());
        while !rest.is_empty() {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let (row, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rows.push(decode_value(row).ok()?.as_list()?.to_vec());
            rest = after;
        }
        Some(rows)
    }
}

impl Serialize for KeptRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeptRows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeptRows, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = KeptRows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("rows")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<KeptRows, E> {
                self.visit_byte_buf(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<KeptRows, E> {
                let rows = KeptRows(Arc::new(bytes));
                rows.to_rows().map(|_| rows).ok_or_else(|| E::custom("these are no rows"))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Timestamp;

    #[test]
    fn rows_outlive_the_process() {
        let rows = vec![
            vec![Value::Null, Value::from("text"), Value::from(-7), Value::from(f64::NAN)],
            vec![
                Value::Timestamp(Timestamp(1)),
                Value::bytes(&b"\xff"[..]),
                Value::list([Value::from(true)]),
            ],
        ];
        let mut kept = KeptRows::default();
        rows.iter().for_each(|row| kept.push(row.clone()).expect("it is not deep"));
        let bytes = rmp_serde::to_vec_named(&kept).expect("it can be written");
        let read: KeptRows = rmp_serde::from_slice(&bytes).expect("it can be read");
        assert_eq!((read.to_rows(), read), (Some(rows), kept));
        let cut = rmp_serde::to_vec_named(&KeptRows(Arc::new(vec![9, 0, 0, 0, 1]))).expect("bytes");
        assert!(rmp_serde::from_slice::<KeptRows>(&cut).is_err());
    }

    /// The bytes of the first release that kept rows.
    #[test]
    fn rows_of_the_first_release_are_read() {
        let bytes = b"\xc4\x09\x05\x00\x00\x00\x01\x07\x02\x81\x00";
        let read: KeptRows = rmp_serde::from_slice(bytes).expect("it can be read");
        assert_eq!(read.to_rows(), Some(vec![vec![Value::from(1), Value::Null]]));
    }
}
