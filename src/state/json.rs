//! What is kept as JSON, without the types of the component.
//!
//! MessagePack describes itself, so nothing but the kind of a state is needed. Structs and maps become objects, in the
//! order in which they were written; entries of a map state are sorted, because a hash map has no order. Keys of
//! objects are text, so numbers and booleans become text. A map with any other key, or with two keys of the same
//! text, becomes a list of pairs. Bytes become lower-case hex. NaN and infinities become null. A timer is an object:
//! when it is due, and how often its call has failed. A state with a time to live is shown as one without: the dates
//! of its entries are left out.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json, json};

use crate::state::encoding::{EncodingError, decode};
use crate::state::registry::StateKind;
use crate::state::stored::Written;
use crate::tuple::{Timestamp, Value};

/// How deep a value may nest. Readers of JSON have such limits, too.
const DEPTH_MAX: usize = 128;

/// What a state of this kind has for a key.
pub(crate) fn value_in_json(kind: StateKind, written: Written<'_>) -> Result<Json, EncodingError> {
    match written {
        Written::Plain(bytes) => plain_in_json(kind, bytes),
        Written::Dated(bytes) => dated_in_json(kind, bytes),
    }
}

fn plain_in_json(kind: StateKind, bytes: &[u8]) -> Result<Json, EncodingError> {
    let self_described = || read::<Described>(bytes, DEPTH_MAX).map(|Described(value)| value);
    match kind {
        StateKind::Timer | StateKind::EventTimer => {
            let (due, failures): (i64, u32) = decode(bytes)?;
            // The end of time stands for a timer that is never due.
            let due = (due != i64::MAX).then_some(Timestamp(due));
            Ok(json!({ "due": due, "failures": failures }))
        }
        StateKind::Map => Ok(sorted(self_described()?)),
        StateKind::Value | StateKind::List | StateKind::Operator => self_described(),
    }
}

/// The same for a state with a time to live. The array of a date and what it belongs to is one level more.
fn dated_in_json(kind: StateKind, bytes: &[u8]) -> Result<Json, EncodingError> {
    match kind {
        StateKind::Timer | StateKind::EventTimer => {
            Err(EncodingError::new("a timer has no time to live".to_owned()))
        }
        StateKind::Value => read::<Dated>(bytes, DEPTH_MAX + 1).map(|(_, Described(value))| value),
        StateKind::Map => read::<DatedMap>(bytes, DEPTH_MAX + 1).map(|DatedMap(map)| sorted(map)),
        StateKind::List | StateKind::Operator => {
            let items: Vec<Dated> = read(bytes, DEPTH_MAX + 1)?;
            Ok(items.into_iter().map(|(_, Described(item))| item).collect())
        }
    }
}

/// A key: a list with its values.
pub(crate) fn key_in_json(key: &[Value]) -> Json {
    key.iter().map(|value| json!(value)).collect()
}

/// Reads what takes up all of the input.
fn read<'de, T: Deserialize<'de>>(mut bytes: &[u8], depth_max: usize) -> Result<T, EncodingError> {
    let unreadable = |error: rmp_serde::decode::Error| EncodingError::new(error.to_string());
    let mut deserializer = rmp_serde::Deserializer::new(&mut bytes);
    deserializer.set_max_depth(depth_max);
    let value = T::deserialize(&mut deserializer).map_err(unreadable)?;
    match bytes.len() {
        0 => Ok(value),
        more => Err(EncodingError::new(format!("{more} bytes follow the value"))),
    }
}

/// The entries of a map, by their keys.
fn sorted(map: Json) -> Json {
    match map {
        Json::Object(mut entries) => {
            entries.sort_keys();
            Json::Object(entries)
        }
        Json::Array(mut pairs) => {
            pairs.sort_by_cached_key(Json::to_string);
            Json::Array(pairs)
        }
        other => other,
    }
}

/// A value as its own bytes describe it.
struct Described(Json);

impl<'de> Deserialize<'de> for Described {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Described, D::Error> {
        deserializer.deserialize_any(DescribedVisitor).map(Described)
    }
}

struct DescribedVisitor;

impl<'de> Visitor<'de> for DescribedVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inside: D) -> Result<Json, D::Error> {
        inside.deserialize_any(DescribedVisitor)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inside: D) -> Result<Json, D::Error> {
        inside.deserialize_any(DescribedVisitor)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Json, E> {
        Ok(v.into())
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Json, E> {
        Ok(v.into())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Json, E> {
        Ok(v.into())
    }

    /// The shortest text that reads as this `f32`, and not the digits of the `f64` that it equals.
    fn visit_f32<E: Error>(self, v: f32) -> Result<Json, E> {
        self.visit_f64(v.to_string().parse().unwrap_or(f64::from(v)))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Json, E> {
        Ok(Number::from_f64(v).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Json, E> {
        Ok(v.into())
    }

    fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<Json, E> {
        Ok(v.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(Described(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Described(key), Described(value))) = entries.next_entry()? {
            pairs.push((key, value));
        }
        Ok(object_or_pairs(pairs))
    }
}

/// A date, and what it belongs to.
type Dated = (i64, Described);

/// A map whose entries have dates, without these.
struct DatedMap(Json);

impl<'de> Deserialize<'de> for DatedMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DatedMap, D::Error> {
        deserializer.deserialize_map(DatedMapVisitor).map(DatedMap)
    }
}

struct DatedMapVisitor;

impl<'de> Visitor<'de> for DatedMapVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map whose entries have dates")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Described(key), (_, Described(value)))) = entries.next_entry::<Described, Dated>()? {
            pairs.push((key, value));
        }
        Ok(object_or_pairs(pairs))
    }
}

fn object_or_pairs(pairs: Vec<(Json, Json)>) -> Json {
    let texts: Option<HashSet<String>> = pairs.iter().map(|(key, _)| text_of(key)).collect();
    match texts.is_some_and(|texts| texts.len() == pairs.len()) {
        true => {
            let entry = |(key, value): (Json, Json)| Some((text_of(&key)?, value));
            Json::Object(pairs.into_iter().filter_map(entry).collect::<Map<_, _>>())
        }
        false => pairs.into_iter().map(|(key, value)| Json::Array(vec![key, value])).collect(),
    }
}

/// A key as the key of an object.
fn text_of(key: &Json) -> Option<String> {
    match key {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(key.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;
    use crate::state::encoding::encode;

    fn bytes_of(value: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes).expect("it can be written");
        bytes
    }

    #[derive(Serialize)]
    enum Shape {
        Empty,
        Circle(f32),
        Square { side: u8 },
    }

    #[derive(Serialize)]
    struct Order {
        z: Option<u64>,
        a: (char, bool),
        shapes: [Shape; 3],
    }

    #[test]
    fn a_value_is_written_as_serde_would_write_it() {
        let check = |value: &dyn erased::Value, expected: Json| {
            let found = value_in_json(StateKind::Value, Written::Plain(&value.bytes()))
                .map_err(|error| error.to_string());
            assert_eq!(found.as_ref().map(Json::to_string), Ok(expected.to_string()));
        };
        check(&7_i8, json!(7));
        check(&u64::MAX, json!(u64::MAX));
        check(&i64::MIN, json!(i64::MIN));
        check(&0.1_f32, json!(0.1));
        check(&0.1_f64, json!(0.1));
        check(&f64::NAN, Json::Null);
        check(&f32::INFINITY, Json::Null);
        check(&"söder\n", json!("söder\n"));
        check(&(), Json::Null);
        let shapes = [Shape::Empty, Shape::Circle(1.5), Shape::Square { side: 2 }];
        let expected = json!({ "z": null, "a": ["x", true], "shapes": ["Empty", { "Circle": 1.5 }, { "Square": { "side": 2 } }] });
        check(&Order { z: None, a: ('x', true), shapes }, expected);
        check(&Value::Bytes([0x0a, 0xff].as_slice().into()), json!("0aff"));
        check(&Value::Timestamp(Timestamp(17)), json!(17));
        check(&[Value::Null, Value::from(1.0)], json!([null, 1.0]));
    }

    /// Lets values of any type stand in one list of cases.
    mod erased {
        pub(super) trait Value {
            fn bytes(&self) -> Vec<u8>;
        }

        impl<T: serde::Serialize> Value for T {
            fn bytes(&self) -> Vec<u8> {
                super::bytes_of(self)
            }
        }
    }

    #[test]
    fn maps_are_objects_where_their_keys_allow_it() {
        let check = |map: Vec<u8>, expected: Json| {
            let found =
                value_in_json(StateKind::Map, Written::Plain(&map)).map_err(|error| error.to_string());
            assert_eq!(found.as_ref().map(Json::to_string), Ok(expected.to_string()));
        };
        check(bytes_of(&BTreeMap::<u8, u8>::new()), json!({}));
        check(bytes_of(&BTreeMap::from([(10, "x"), (2, "y")])), json!({ "10": "x", "2": "y" }));
        check(bytes_of(&BTreeMap::from([(true, 1)])), json!({ "true": 1 }));
        check(
            bytes_of(&BTreeMap::from([((2, "b"), 1), ((1, "a"), 2)])),
            json!([[[1, "a"], 2], [[2, "b"], 1]]),
        );
        let same_text = BTreeMap::from([(Value::from(1), 'a'), (Value::from("1"), 'b')]);
        check(bytes_of(&same_text), json!([["1", "b"], [1, "a"]]));
    }

    #[test]
    fn a_timer_is_due_at_a_date() {
        let json = |bytes: Vec<u8>| {
            value_in_json(StateKind::Timer, Written::Plain(&bytes)).map_err(|error| error.to_string())
        };
        let expected = json!({ "due": "1970-01-01T00:00:00.000000017Z", "failures": 3 });
        assert_eq!(json(bytes_of(&(17_i64, 3_u32))), Ok(expected));
        assert_eq!(json(bytes_of(&(i64::MAX, 0_u32))), Ok(json!({ "due": null, "failures": 0 })));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let check = |bytes: &[u8], expected: &str| {
            let error = value_in_json(StateKind::Value, Written::Plain(bytes))
                .expect_err("it is refused")
                .to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&[], "");
        check(&[7, 7], "1 bytes follow the value");
        check(&[0xdd, 0xff, 0xff, 0xff, 0xff], "");
        check(&[0xc1], "");
        check(&[&[0x91].repeat(DEPTH_MAX + 1)[..], &[7]].concat(), "depth limit exceeded");
        let deep = [&[0x91].repeat(DEPTH_MAX - 2)[..], &[7]].concat();
        assert!(value_in_json(StateKind::Value, Written::Plain(&deep)).is_ok());
        let deep = [&[0x92, 17][..], &deep[..]].concat();
        assert!(value_in_json(StateKind::Value, Written::Dated(&deep)).is_ok());
    }

    #[test]
    fn dates_are_left_out() {
        let check = |kind: StateKind, bytes: Vec<u8>, expected: Json| {
            let found = value_in_json(kind, Written::Dated(&bytes)).map_err(|error| error.to_string());
            assert_eq!(found.as_ref().map(Json::to_string), Ok(expected.to_string()));
        };
        let date = 1_800_000_000_000_000_000_i64;
        check(StateKind::Value, bytes_of(&(date, 7)), json!(7));
        check(StateKind::Value, bytes_of(&(-1_i64, [1, 2])), json!([1, 2]));
        let map = BTreeMap::from([(10, (date, "x")), (2, (date + 1, "y"))]);
        check(StateKind::Map, bytes_of(&map), json!({ "10": "x", "2": "y" }));
        check(StateKind::Map, bytes_of(&BTreeMap::from([((2, "b"), (date, 1))])), json!([[[2, "b"], 1]]));
        check(StateKind::List, bytes_of(&[(date, (3, 4)), (date, (5, 6))]), json!([[3, 4], [5, 6]]));
        check(StateKind::List, bytes_of(&Vec::<(i64, u8)>::new()), json!([]));
    }

    #[test]
    fn what_should_have_dates_and_has_none_is_refused() {
        let check = |kind: StateKind, bytes: Vec<u8>| {
            assert!(value_in_json(kind, Written::Dated(&bytes)).is_err(), "{kind} {bytes:?}");
        };
        check(StateKind::Value, bytes_of(&7));
        check(StateKind::Value, bytes_of(&[7]));
        check(StateKind::Value, bytes_of(&(7, 8, 9)));
        check(StateKind::Value, bytes_of(&("7", 8)));
        check(StateKind::Value, [bytes_of(&(7, 8)), vec![9]].concat());
        check(StateKind::Map, bytes_of(&BTreeMap::from([(1, 2)])));
        check(StateKind::Map, bytes_of(&[(7, 8)]));
        check(StateKind::List, bytes_of(&[7, 8]));
        check(StateKind::Timer, bytes_of(&(7_i64, 0_u32)));
    }
}
