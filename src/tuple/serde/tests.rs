use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use ::serde::de::DeserializeOwned;
use ::serde::{Deserialize, Serialize};

use super::*;
use crate::tuple::Timestamp;

/// Writes, compares, and reads back.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(rust: T, value: impl Into<Value>) {
    let value = value.into();
    assert_eq!(to_value(&rust).expect("it can be written"), value);
    assert_eq!(from_value::<T>(&value).expect("it can be read"), rust);
}

fn read_error<T: DeserializeOwned + Debug>(value: impl Into<Value>) -> String {
    from_value::<T>(&value.into()).expect_err("it cannot be read").to_string()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Empty;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(i64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair(i64, String);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Circle(f64),
    Line(i64, i64),
    Square { side: i64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Visit {
    url: String,
    count: u32,
    at: Timestamp,
    agent: Option<String>,
}

fn visit() -> Visit {
    Visit { url: "/".into(), count: 2, at: Timestamp(1), agent: None }
}

#[test]
fn scalars_keep_their_types() {
    check((), Value::Null);
    check(true, true);
    check(-7i8, -7);
    check(u64::MAX / 2, i64::MAX);
    check(i128::from(i64::MIN), i64::MIN);
    check(1.5f32, 1.5);
    check(2.0f64, 2.0);
    check('ü', "ü");
    check(String::from("storm"), "storm");
    check(Empty, Value::Null);
    check(Wrapped(4), 4);
}

#[test]
fn containers_become_lists_and_maps() {
    check(Some(3), 3);
    check(None::<i64>, Value::Null);
    check(vec![1, 2], Value::list([1.into(), 2.into()]));
    check(vec![1u8, 2], Value::list([1.into(), 2.into()]));
    check((1, "a".to_string()), Value::list([1.into(), "a".into()]));
    check(Pair(1, "a".into()), Value::list([1.into(), "a".into()]));
    check(BTreeMap::from([("a".to_string(), 1)]), Value::map([("a", 1.into())]));
    check(HashMap::from([(7u8, true)]), Value::map([("7", true.into())]));
    check(BTreeMap::from([(Timestamp(0), 1)]), Value::map([("1970-01-01T00:00:00Z", 1.into())]));
    check(BTreeMap::from([(true, ())]), Value::map([("true", Value::Null)]));
}

#[test]
fn enums_are_a_name_or_a_map_from_it() {
    check(Shape::Dot, "Dot");
    check(Shape::Circle(1.0), Value::map([("Circle", 1.0.into())]));
    check(Shape::Line(1, 2), Value::map([("Line", Value::list([1.into(), 2.into()]))]));
    check(Shape::Square { side: 3 }, Value::map([("Square", Value::map([("side", 3.into())]))]));
    check(BTreeMap::from([("x".to_string(), Shape::Dot)]), Value::map([("x", "Dot".into())]));
}

#[test]
fn bytes_and_sequences_of_bytes_both_read_bytes() {
    assert_eq!(from_value::<&[u8]>(&Value::bytes([1, 2])).unwrap(), [1, 2]);
    assert_eq!(from_value::<Vec<u8>>(&Value::bytes([1, 2])).unwrap(), [1, 2]);
    assert_eq!(from_value::<[u8; 2]>(&Value::bytes([1, 2])).unwrap(), [1, 2]);
}

#[test]
fn readers_may_borrow() {
    let value = Value::list(["a".into(), "b".into()]);
    let (first, _): (&str, &str) = from_value(&value).unwrap();
    assert_eq!(first.as_ptr(), value.as_list().unwrap()[0].as_str().unwrap().as_ptr());
}

#[test]
fn values_and_timestamps_stay_what_they_are() {
    let all = Value::list([
        Value::Null,
        1.5.into(),
        Value::bytes([0, 255]),
        Timestamp(5).into(),
        Value::map([("deep", Value::list([Timestamp(-1).into()]))]),
    ]);
    check(all.clone(), all.clone());
    check(vec![all.clone()], Value::list([all.clone()]));
    check(Timestamp(9), Timestamp(9));
    check(Some(Timestamp(9)), Timestamp(9));
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Any {
        key: Value,
    }
    check(Any { key: all.clone() }, Value::map([("key", all)]));
}

#[test]
fn other_crates_times_read_timestamps() {
    let value = Value::from(Timestamp(1_500_000_000));
    assert_eq!(from_value::<String>(&value).unwrap(), "1970-01-01T00:00:01.5Z");
    assert_eq!(from_value::<Timestamp>(&"1970-01-01T00:00:01.5Z".into()).unwrap(), Timestamp(1_500_000_000));
    assert_eq!(from_value::<Timestamp>(&7.into()).unwrap(), Timestamp(7));
    assert!(read_error::<Timestamp>("9999-01-01T00:00:00Z").contains("between the years 1677 and 2262"));
    assert!(read_error::<Timestamp>("yesterday").contains("yesterday"));
}

#[test]
fn what_does_not_fit_says_where_and_why() {
    let range = to_value(&u64::MAX).unwrap_err().to_string();
    assert_eq!(range, "18446744073709551615 is beyond the range of an i64");
    let deep = to_value(&HashMap::from([("n", vec![0, u64::MAX])])).unwrap_err().to_string();
    assert_eq!(deep, "`n.1`: 18446744073709551615 is beyond the range of an i64");
    assert!(to_value(&HashMap::from([(vec![1], 1)])).unwrap_err().to_string().contains("map key"));
    assert_eq!(read_error::<u8>(300), "invalid value: integer `300`, expected u8");
    assert_eq!(read_error::<i64>(1.5), "invalid type: floating point `1.5`, expected i64");
    assert_eq!(
        read_error::<Vec<String>>(Value::list([1.into()])),
        "`0`: invalid type: integer `1`, expected a string"
    );
    assert_eq!(
        read_error::<(i64,)>(Value::list([1.into(), 2.into()])),
        "invalid length 2, expected 1 elements"
    );
    assert!(read_error::<Shape>("Dash").contains("unknown variant `Dash`"));
    assert!(read_error::<Shape>(1).contains("expected a variant of `Shape`"));
}

#[test]
fn rows_go_by_field_names() {
    let fields = Fields::from(["at", "agent", "count", "url"]);
    let row = to_row(&fields, &visit()).unwrap();
    assert_eq!(row, [Timestamp(1).into(), Value::Null, 2.into(), "/".into()]);
    assert_eq!(from_row::<Visit>(&fields, &row).unwrap(), visit());
}

#[test]
fn an_option_may_be_without_its_field_and_a_field_without_its_member() {
    let fields = Fields::from(["url", "count", "at", "more"]);
    let row = ["/".into(), 2.into(), Timestamp(1).into(), "not wanted".into()];
    assert_eq!(from_row::<Visit>(&fields, &row).unwrap(), visit());
    let error = from_row::<Visit>(&Fields::from(["url"]), &["/".into()]).unwrap_err();
    assert_eq!(error.to_string(), "missing field `count`");
    let error = from_row::<Visit>(&fields, &["/".into(), "2".into(), 1.into(), 1.into()]).unwrap_err();
    assert_eq!(error.to_string(), "`count`: invalid type: string \"2\", expected u32");
}

#[test]
fn writing_a_row_leaves_no_field_and_no_member_out() {
    let error = |fields: &Fields| to_row(fields, &visit()).unwrap_err();
    let few = Fields::from(["url", "count", "at"]);
    assert_eq!(error(&few), SerdeError::UnknownField { field: "agent".into(), fields: few.clone() });
    let many = Fields::from(["url", "count", "at", "agent", "extra"]);
    assert_eq!(error(&many), SerdeError::MissingField { field: "extra".into() });
    #[derive(Serialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<i64>,
    }
    assert_eq!(to_row(&Fields::from(["a"]), &Sparse { a: None }).unwrap(), [Value::Null]);
}

#[test]
fn rows_of_maps_tuples_and_nothing() {
    let fields = Fields::from(["a", "b"]);
    let row = [1.into(), "x".into()];
    assert_eq!(to_row(&fields, &(1, "x")).unwrap(), row);
    assert_eq!(from_row::<(i64, String)>(&fields, &row).unwrap(), (1, "x".into()));
    let map = BTreeMap::from([("b", Value::from("x")), ("a", 1.into())]);
    assert_eq!(to_row(&fields, &map).unwrap(), row);
    assert_eq!(from_row::<BTreeMap<&str, Value>>(&fields, &row).unwrap(), map);
    assert_eq!(from_row::<Value>(&fields, &row).unwrap(), Value::map(map));
    assert!(matches!(to_row(&fields, &(1, 2, 3)), Err(SerdeError::Arity { expected: 2, found: 3, .. })));
    assert!(from_row::<(i64,)>(&fields, &row).is_err());
    assert!(matches!(to_row(&fields, "x"), Err(SerdeError::NotARow { .. })));
    assert_eq!(to_row(&Fields::none(), &()).unwrap(), []);
    from_row::<()>(&Fields::none(), &[]).unwrap();
}

#[test]
fn tagged_enums_and_flattened_structs_are_rows() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Event {
        Login { user: String },
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Logged {
        level: i64,
        #[serde(flatten)]
        event: Event,
    }
    let fields = Fields::from(["kind", "level", "user"]);
    let logged = Logged { level: 1, event: Event::Login { user: "ada".into() } };
    let row = to_row(&fields, &logged).unwrap();
    assert_eq!(row, ["Login".into(), 1.into(), "ada".into()]);
    assert_eq!(from_row::<Logged>(&fields, &row).unwrap(), logged);
}

#[test]
fn values_read_well_in_json() {
    let value = Value::map([
        ("null", Value::Null),
        ("int", 1.into()),
        ("float", 1.0.into()),
        ("text", "a\"b".into()),
        ("bytes", Value::bytes([0, 0xab])),
        ("list", Value::list([true.into()])),
        ("time", Timestamp(0).into()),
        ("nan", f64::NAN.into()),
    ]);
    let json = serde_json::to_string(&value).unwrap();
    let shown = r#"{"bytes":"00ab","float":1.0,"int":1,"list":[true],"nan":null,"null":null,"text":"a\"b","time":"1970-01-01T00:00:00Z"}"#;
    assert_eq!(json, shown);
    let back: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(back.as_map().unwrap()["time"], "1970-01-01T00:00:00Z".into());
    assert_eq!(serde_json::to_string(&back).unwrap(), shown);
    let time: Timestamp = serde_json::from_str("\"1970-01-01T00:00:00.000000007Z\"").unwrap();
    assert_eq!(time, Timestamp(7));
    assert!(serde_json::from_str::<Value>("9223372036854775808").is_err());
}
