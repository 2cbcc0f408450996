//! Values of tuples as state: with their types, in an order, and as bytes in snapshots.

use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tuple::Value;
use crate::tuple::codec::{decode_value, encode_value};

/// A value that state keeps. As text, some types would be lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept(pub(super) Value);

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        encode_value(&self.0, &mut bytes).map_err(S::Error::custom)?;
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kept, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Kept;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a value")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Kept, E> {
                decode_value(bytes).map(Kept).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(Bytes).map_err(D::Error::custom)
    }
}
