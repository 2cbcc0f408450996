//! What the fuzz targets do with their input; `tests/fuzz_corpus.rs` does the same with each file
//! of the corpus, on every run of the tests.
//!
//! A body takes any bytes and panics on a defect. An error that squall returns is no defect.

mod acker;
mod api;
mod net;
#[path = "../../tests/net_kit/mod.rs"]
mod net_kit;
mod topology;

pub use acker::acker_ops;
pub use api::api_request;
pub use net::{frame_decode, handshake, resume, session};
pub use topology::topology_toml;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall::Fields;
use squall::tuple::codec::{self, ALLOCATION_FACTOR, VERSION};
use squall::tuple::hash::stable_hash;
use squall::tuple::serde::{from_row, from_value, to_row, to_value};
use squall::tuple::{Timestamp, Value};

/// Bytes from a peer: they decode to a batch that encodes to the same bytes, or to an error.
pub fn tuple_codec(data: &[u8]) {
    let mut again = vec![];
    if let Ok(batch) = codec::decode(data) {
        codec::encode(&batch, &mut again).expect("what was read keeps the rules");
        // An older version is read and not written.
        if data[0] == codec::BATCH_VERSION {
            assert_eq!(again, data, "a batch has one form");
        }
        assert!(batch.charge() <= ALLOCATION_FACTOR * data.len());
        assert_eq!(batch.heap, batch.rows.values().iter().map(Value::heap_size).sum::<usize>());
    }
    if let Ok(value) = codec::decode_value(data) {
        again.clear();
        codec::encode_value(&value, &mut again).expect("what was read is not too deep");
        assert_eq!(again, data, "a value has one form");
    }
}

/// Values, from JSON and from the codec, into Rust types and back.
pub fn value_serde(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        check_value(&value);
        let json = serde_json::to_vec(&value).expect("a value can be written");
        let back: Value = serde_json::from_slice(&json).expect("and read");
        assert_eq!(back, value, "what came from JSON returns from it");
    }
    if let Ok(value) = codec::decode_value(&[&[VERSION], data].concat()) {
        check_value(&value);
        let json = serde_json::to_string(&value).expect("a value can be written");
        // JSON's reader nests less deep than ours.
        let _ = serde_json::from_str::<Value>(&json);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Circle(f64),
    Line(i8, char),
    Square { side: Option<u32> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u16,
    at: Timestamp,
    name: Option<String>,
    shapes: Vec<Shape>,
    rest: Value,
}

fn check_value(value: &Value) {
    assert_eq!(to_value(value).as_ref(), Ok(value));
    assert_eq!(from_value::<Value>(value).as_ref(), Ok(value));
    assert_eq!(stable_hash(&value.clone()), stable_hash(value));
    assert_eq!(value.cmp(value), std::cmp::Ordering::Equal);
    let _ = (value.to_string(), format!("{value:?}"));
    check_type::<Shape>(value);
    check_type::<Record>(value);
    check_type::<(i64, String)>(value);
    check_type::<BTreeMap<u32, Vec<bool>>>(value);
    let _ = (from_value::<Vec<u8>>(value), from_value::<f32>(value));
    let fields = Fields::from(["id", "at", "name", "shapes", "rest"]);
    let row = vec![value.clone(); fields.len()];
    let _ = from_row::<Record>(&fields, &row);
    let _ = to_row(&fields, value);
}

/// What can be read as a type, can be written and read again.
fn check_type<T: Serialize + DeserializeOwned>(value: &Value) {
    if let Ok(thing) = from_value::<T>(value) {
        let written = to_value(&thing).expect("what was read can be written");
        let again: T = from_value(&written).expect("and read");
        assert_eq!(to_value(&again), Ok(written));
    }
}
