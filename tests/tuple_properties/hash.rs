use proptest::prelude::*;
use squall::Value;
use squall::tuple::hash::{stable_hash, stable_hash_all};

use crate::values::any_value;

/// The same value, built anew: nothing is shared with the original.
fn rebuilt(value: &Value) -> Value {
    match value {
        Value::F64(x) if x.is_nan() => Value::F64(f64::from_bits(x.to_bits() ^ 1 | 2)),
        Value::F64(0.0) => Value::F64(-0.0),
        Value::Str(s) => Value::from(s.to_string()),
        Value::Bytes(b) => Value::from(b.to_vec()),
        Value::List(l) => Value::list(l.iter().map(rebuilt)),
        Value::Map(m) => Value::map(m.iter().rev().map(|(k, v)| (k.as_str(), rebuilt(v)))),
        scalar => scalar.clone(),
    }
}

proptest! {
    #[test]
    fn equal_values_have_equal_hashes(value in any_value()) {
        prop_assert_eq!(&rebuilt(&value), &value);
        prop_assert_eq!(stable_hash(&rebuilt(&value)), stable_hash(&value));
    }

    #[test]
    fn different_values_have_different_hashes(a in any_value(), b in any_value()) {
        prop_assert_eq!(a == b, stable_hash(&a) == stable_hash(&b));
    }

    #[test]
    fn one_value_hashes_as_itself_and_several_by_order(a in any_value(), b in any_value()) {
        prop_assert_eq!(stable_hash_all([&a]), stable_hash(&a));
        prop_assert_eq!(stable_hash_all([&a, &b]) == stable_hash_all([&b, &a]), a == b);
    }
}
