use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use squall::tuple::serde::{from_row, from_value, to_row, to_value};
use squall::{Fields, Timestamp, Value};

use crate::values::any_value;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Nothing,
    One(i32),
    Two(char, String),
    Named { list: Vec<u16>, inner: Option<Box<Kind>> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: i64,
    name: String,
    ratio: f32,
    note: Option<String>,
    at: Timestamp,
    kinds: Vec<Kind>,
    counts: BTreeMap<u32, i8>,
    anything: Value,
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![
        Just(Kind::Nothing),
        any::<i32>().prop_map(Kind::One),
        (any::<char>(), ".{0,8}").prop_map(|(sign, text)| Kind::Two(sign, text)),
    ];
    leaf.prop_recursive(3, 8, 1, |inner| {
        let inner = option::of(inner.prop_map(Box::new));
        (vec(any::<u16>(), 0..4), inner).prop_map(|(list, inner)| Kind::Named { list, inner })
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    let plain = (any::<i64>(), ".{0,30}", -1e9f32..1e9, option::of(".{0,8}"), any::<i64>());
    let nested = (vec(any_kind(), 0..4), btree_map(any::<u32>(), any::<i8>(), 0..4), any_value());
    (plain, nested).prop_map(|((id, name, ratio, note, at), (kinds, counts, anything))| Record {
        id,
        name,
        ratio,
        note,
        at: Timestamp(at),
        kinds,
        counts,
        anything,
    })
}

/// The value as JSON keeps it, where that is not the value itself.
fn in_json(value: &Value) -> Value {
    match value {
        Value::F64(x) if !x.is_finite() => Value::Null,
        Value::Bytes(_) | Value::Timestamp(_) => Value::from(value.to_string()),
        Value::List(l) => Value::list(l.iter().map(in_json)),
        Value::Map(m) => Value::map(m.iter().map(|(k, v)| (k, in_json(v)))),
        same => same.clone(),
    }
}

proptest! {
    #[test]
    fn records_return_from_values_and_rows(record in any_record()) {
        let value = to_value(&record).expect("a record can be written");
        prop_assert_eq!(&from_value::<Record>(&value).expect("and read"), &record);
        let fields = Fields::from(["anything", "at", "counts", "id", "kinds", "name", "note", "ratio"]);
        let row = to_row(&fields, &record).expect("a record can be written");
        prop_assert_eq!(&from_row::<Record>(&fields, &row).expect("and read"), &record);
    }

    #[test]
    fn values_pass_unchanged(value in any_value()) {
        prop_assert_eq!(&to_value(&value).expect("a value can be written"), &value);
        prop_assert_eq!(&from_value::<Value>(&value).expect("and read"), &value);
    }

    #[test]
    fn json_changes_only_what_it_does_not_have(value in any_value()) {
        let json = serde_json::to_string(&value).expect("a value can be written");
        let back: Value = serde_json::from_str(&json).expect("and read");
        prop_assert_eq!(back, in_json(&value));
    }
}
