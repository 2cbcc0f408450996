//! The stable 64-bit hash of values.
//!
//! Fields grouping, key groups and, later, keyed state rest on it, so it is the same on every
//! machine, in every release and for every build: XXH3 (a published algorithm) over a defined
//! form of the value. Golden values in the tests hold it in place.
//!
//! A scalar's form is its bytes, little endian; the type is the seed, so that `1`, `1.0` and
//! `true` differ. Text has seed 0: `stable_hash("storm")` is plain `xxh3_64(b"storm")`. Lists and
//! maps fold the hashes of their parts.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::value::canonical_bits;
use super::{Value, ValueType};

/// The hash of one value.
#[inline]
pub fn stable_hash(value: &Value) -> u64 {
    let seed = value.value_type() as u64;
    match value {
        Value::Str(s) => xxh3_64(s.as_bytes()),
        Value::Null => xxh3_64_with_seed(&[], seed),
        Value::Bool(b) => xxh3_64_with_seed(&[u8::from(*b)], seed),
        Value::I64(n) => xxh3_64_with_seed(&n.to_le_bytes(), seed),
        Value::F64(x) => xxh3_64_with_seed(&canonical_bits(*x).to_le_bytes(), seed),
        Value::Bytes(b) => xxh3_64_with_seed(b, seed),
        Value::Timestamp(t) => xxh3_64_with_seed(&t.0.to_le_bytes(), seed),
        Value::List(l) => l.iter().fold(seed, |acc, v| combine(acc, stable_hash(v))),
        Value::Map(m) => {
            m.iter().fold(seed, |acc, (k, v)| combine(combine(acc, xxh3_64(k.as_bytes())), stable_hash(v)))
        }
    }
}

/// The hash of several values in order, as fields grouping takes it. Of a single value it is that
/// value's own hash.
#[inline]
pub fn stable_hash_all<'a>(values: impl IntoIterator<Item = &'a Value>) -> u64 {
    let mut values = values.into_iter();
    let first = values.next().map_or(ValueType::List as u64, stable_hash);
    values.fold(first, |acc, v| combine(acc, stable_hash(v)))
}

/// Folds one more hash in; order matters.
fn combine(acc: u64, next: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&acc.to_le_bytes());
    bytes[8..].copy_from_slice(&next.to_le_bytes());
    xxh3_64(&bytes)
}
