//! The stable 64-bit hash of values.
//!
//! Fields grouping, key groups and, later, keyed state depend on it, so it is the same on every
//! machine, in every release and for every build: XXH3 (a published algorithm) over a defined
//! form of the value. Tests compare it with golden values.
//!
//! A scalar's form is its bytes, little endian; the type is the seed, so that `1`, `1.0` and
//! `true` differ. Text has seed 0: `stable_hash("storm")` is plain `xxh3_64(b"storm")`. Lists and
//! maps combine the hashes of their parts, one after another, with the hash of their length.

use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::value::{Value, canonical_bits};

/// The seed of each type. The numbers are explicit, because they must never change, like the hash itself.
mod seed {
    pub const NULL: u64 = 9;
    pub const BOOL: u64 = 1;
    pub const I64: u64 = 2;
    pub const F64: u64 = 3;
    pub const BYTES: u64 = 5;
    pub const LIST: u64 = 6;
    pub const MAP: u64 = 7;
    pub const TIMESTAMP: u64 = 8;
}

/// The hash of one value. Equal values have equal hashes: `-0.0` hashes as `0.0`, and every NaN as
/// every other.
#[inline]
pub fn stable_hash(value: &Value) -> u64 {
    match value {
        Value::Str(s) => xxh3_64(s.as_bytes()),
        Value::Null => xxh3_64_with_seed(&[], seed::NULL),
        Value::Bool(b) => xxh3_64_with_seed(&[u8::from(*b)], seed::BOOL),
        Value::I64(n) => xxh3_64_with_seed(&n.to_le_bytes(), seed::I64),
        Value::F64(x) => xxh3_64_with_seed(&canonical_bits(*x).to_le_bytes(), seed::F64),
        Value::Bytes(b) => xxh3_64_with_seed(b, seed::BYTES),
        Value::Timestamp(t) => xxh3_64_with_seed(&t.0.to_le_bytes(), seed::TIMESTAMP),
        Value::List(l) => {
            l.iter().fold(of_length(l.len(), seed::LIST), |acc, v| combine(acc, stable_hash(v)))
        }
        Value::Map(m) => m.iter().fold(of_length(m.len(), seed::MAP), |acc, (k, v)| {
            combine(combine(acc, xxh3_64(k.as_bytes())), stable_hash(v))
        }),
    }
}

/// The hash of several values in order, as fields grouping uses it. For a single value it is the hash of
/// that value; for none, the hash of the empty list.
#[inline]
pub fn stable_hash_all<'a>(values: impl IntoIterator<Item = &'a Value>) -> u64 {
    let mut values = values.into_iter();
    let first = values.next().map_or(of_length(0, seed::LIST), stable_hash);
    values.fold(first, |acc, v| combine(acc, stable_hash(v)))
}

impl Hash for Value {
    /// By the stable hash, so that it agrees with fields grouping.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(stable_hash(self));
    }
}

fn of_length(len: usize, seed: u64) -> u64 {
    xxh3_64_with_seed(&(len as u64).to_le_bytes(), seed)
}

/// Combines the hash so far with one more; the order matters.
fn combine(acc: u64, next: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&acc.to_le_bytes());
    bytes[8..].copy_from_slice(&next.to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Timestamp;

    /// These values were recorded once and must not change: a change would route every keyed stream
    /// differently and lose every keyed state. A different hash needs a new name.
    #[test]
    fn golden_values() {
        let check = |value: Value, golden: u64| {
            let hash = stable_hash(&value);
            assert_eq!(hash, golden, "{value:?}: {hash:#018x}");
        };
        check("storm".into(), 0x8a5e_0a95_70a5_cbef);
        check("".into(), 0x2d06_8005_38d3_94c2);
        check("a string of more than twenty-three bytes".into(), 0x0fdc_5e75_349f_be14);
        check(Value::Null, 0x8e1a_eea8_bc92_8d25);
        check(false.into(), 0x5eaa_c1f7_b17e_f730);
        check(true.into(), 0x0e08_a51c_8536_156c);
        check(0.into(), 0x13c3_c355_e8de_d66a);
        check(1.into(), 0x40ec_3339_838d_6d11);
        check(Value::I64(-1), 0x69ac_43b1_fe16_8c79);
        check(Value::I64(i64::MIN), 0x3662_2007_84b0_cf9e);
        check(Value::I64(i64::MAX), 0x826a_9ba2_806c_ee57);
        check(0.0.into(), 0xd4eb_d778_23c7_899a);
        check(1.0.into(), 0x0a87_05fb_c29c_ca53);
        check(f64::NAN.into(), 0xed9b_08ad_428a_5479);
        check(f64::NEG_INFINITY.into(), 0xfd04_d20e_a45b_e7d7);
        check(Value::bytes([]), 0x388e_c5bd_0562_e095);
        check(Value::bytes(*b"storm"), 0xe656_765f_51cf_fd8b);
        check(Timestamp(0).into(), 0xd4de_9565_d931_ff62);
        check(Timestamp(1_000_000_000).into(), 0x733f_3764_1a85_2900);
        check(Value::list([]), 0x24be_2e3d_e199_f4e0);
        check(Value::list([1.into(), "a".into()]), 0x830c_92fb_5f4c_62a3);
        check(Value::list([Value::list([1.into()]), Value::Null]), 0x505c_1f5a_be3a_c3cb);
        check(Value::map::<&str>([]), 0x473e_2c8c_d5d4_6be9);
        check(Value::map([("b", 2.into()), ("a", Value::list([]))]), 0x538e_bd88_67df_d639);
    }

    #[test]
    fn golden_values_of_several() {
        let check = |values: &[Value], golden: u64| {
            let hash = stable_hash_all(values);
            assert_eq!(hash, golden, "{values:?}: {hash:#018x}");
        };
        check(&[], 0x24be_2e3d_e199_f4e0);
        check(&["storm".into()], 0x8a5e_0a95_70a5_cbef);
        check(&["storm".into(), 7.into()], 0x04d1_b67d_15db_d11a);
        check(&[7.into(), "storm".into()], 0x3cdd_75a6_3b2c_9335);
    }

    #[test]
    fn equal_values_hash_alike() {
        let check = |a: Value, b: Value| {
            assert_eq!(a, b);
            assert_eq!(stable_hash(&a), stable_hash(&b), "{a:?}, {b:?}");
        };
        check(0.0.into(), Value::F64(-0.0));
        check(f64::NAN.into(), Value::F64(-f64::NAN));
        check(f64::NAN.into(), Value::F64(f64::from_bits(0x7ff0_0000_0000_0001)));
        check(Value::bytes(vec![1, 2]), Value::bytes([1, 2]));
        check("x".repeat(40).into(), Value::from("x".repeat(40).as_str()));
        check(Value::map([("a", 1.into()), ("b", 2.into())]), Value::map([("b", 2.into()), ("a", 1.into())]));
    }

    #[test]
    fn types_and_shapes_hash_apart() {
        let values = [
            Value::Null,
            "".into(),
            Value::bytes([]),
            Value::list([]),
            Value::list([Value::Null]),
            Value::list([Value::list([])]),
            Value::map::<&str>([]),
            0.into(),
            0.0.into(),
            false.into(),
            Timestamp(0).into(),
            Value::list(["a".into(), "b".into()]),
            Value::list(["b".into(), "a".into()]),
            Value::list([Value::list(["a".into()]), "b".into()]),
            Value::list(["a".into(), Value::list(["b".into()])]),
            Value::map([("a", "b".into())]),
        ];
        let mut hashes: Vec<u64> = values.iter().map(stable_hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), values.len());
    }
}
