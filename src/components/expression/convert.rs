//! Values of tuples to values of expressions and back.

use rhai::{Dynamic, ImmutableString, Map};

use crate::tuple::{Timestamp, Value};

pub(super) fn to_dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(b) => Dynamic::from_bool(*b),
        Value::I64(n) => Dynamic::from_int(*n),
        Value::F64(x) => Dynamic::from_float(*x),
        Value::Str(s) => Dynamic::from(ImmutableString::from(s.as_str())),
        Value::Bytes(bytes) => Dynamic::from_blob(bytes.to_vec()),
        Value::List(list) => Dynamic::from_array(list.iter().map(to_dynamic).collect()),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| (key.as_str().into(), to_dynamic(value)));
            Dynamic::from_map(entries.collect::<Map>())
        }
        Value::Timestamp(t) => Dynamic::from(*t),
    }
}

/// The value, or the name of a type that cannot be one.
pub(super) fn to_value(dynamic: Dynamic) -> Result<Value, &'static str> {
    if dynamic.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(b) = dynamic.as_bool() {
        return Ok(Value::Bool(b));
    }
    if let Ok(n) = dynamic.as_int() {
        return Ok(Value::I64(n));
    }
    if let Ok(x) = dynamic.as_float() {
        return Ok(Value::F64(x));
    }
    if let Ok(c) = dynamic.as_char() {
        return Ok(Value::str(c.encode_utf8(&mut [0; 4])));
    }
    if dynamic.is_string() {
        let text = dynamic.into_immutable_string().expect("it was a string a line above");
        return Ok(Value::str(text.as_str()));
    }
    container_value(dynamic)
}

/// The values that own others, and the rare ones.
fn container_value(dynamic: Dynamic) -> Result<Value, &'static str> {
    if dynamic.is_array() {
        let array = dynamic.into_array()?;
        let values: Result<Vec<Value>, _> = array.into_iter().map(to_value).collect();
        return values.map(Value::list);
    }
    if dynamic.is_map() {
        let map = dynamic.try_cast::<Map>().ok_or("map")?;
        let entries: Result<Vec<_>, _> =
            map.into_iter().map(|(key, value)| Ok((key, to_value(value)?))).collect();
        return entries.map(Value::map);
    }
    if dynamic.is_blob() {
        return dynamic.into_blob().map(Value::from);
    }
    match dynamic.try_cast_result::<Timestamp>() {
        Ok(t) => Ok(Value::Timestamp(t)),
        Err(other) => Err(other.type_name()),
    }
}
