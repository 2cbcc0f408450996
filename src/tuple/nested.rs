//! The insides of list and map values: shared, and dropped without recursion.
//!
//! User code may nest values to any depth. An emit refuses values deeper than
//! [`DEPTH_MAX`](super::codec::DEPTH_MAX), but these values have to be dropped, too. The drop that the
//! compiler generates recurses once per level and overflows the stack at some ten thousand levels. So the
//! last owner of a list or map first takes the nested lists and maps out of it, and drops them one by one.
//! The depth that an emit checks is computed here as well.

use std::ops::Deref;
use std::sync::Arc;

use super::codec::DEPTH_MAX;
use super::value::{Map, SharedList, SharedMap, Value};

impl Deref for SharedList {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

impl Deref for SharedMap {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.0
    }
}

impl From<Vec<Value>> for SharedList {
    fn from(values: Vec<Value>) -> SharedList {
        SharedList(values.into())
    }
}

impl FromIterator<Value> for SharedList {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> SharedList {
        SharedList(values.into_iter().collect())
    }
}

impl From<Map> for SharedMap {
    fn from(map: Map) -> SharedMap {
        SharedMap(Arc::new(map))
    }
}

impl Drop for SharedList {
    fn drop(&mut self) {
        drop_nested(take_nested(self).collect());
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        drop_nested(take_nested_values(self).collect());
    }
}

fn is_nested(value: &&mut Value) -> bool {
    matches!(value, Value::List(_) | Value::Map(_))
}

/// Takes the lists and maps out of a list that has no other owner.
fn take_nested(list: &mut SharedList) -> impl Iterator<Item = Value> {
    let values = Arc::get_mut(&mut list.0).into_iter().flatten();
    values.filter(is_nested).map(std::mem::take)
}

/// Takes the lists and maps out of a map that has no other owner.
fn take_nested_values(map: &mut SharedMap) -> impl Iterator<Item = Value> {
    let values = Arc::get_mut(&mut map.0).into_iter().flat_map(Map::values_mut);
    values.filter(is_nested).map(std::mem::take)
}

/// Drops lists and maps of any depth. Each contains no other lists or maps when it is dropped.
fn drop_nested(mut left: Vec<Value>) {
    while let Some(mut value) = left.pop() {
        match &mut value {
            Value::List(list) => left.extend(take_nested(list)),
            Value::Map(map) => left.extend(take_nested_values(map)),
            _ => {}
        }
    }
}

impl Value {
    /// The [`heap_size`](Value::heap_size) of the value; `None` if it nests deeper than a tuple may.
    pub(crate) fn size_within_depth(&self) -> Option<usize> {
        if self.is_inline() { Some(0) } else { measure(self, DEPTH_MAX) }
    }
}

/// The bytes that a list or map holds outside itself; `None` if it nests deeper than so many levels.
fn measure(value: &Value, depth: usize) -> Option<usize> {
    let below = |value: &Value| measure(value, depth.checked_sub(1)?);
    match value {
        Value::List(_) | Value::Map(_) if depth == 0 => None,
        Value::List(list) => list.iter().map(|value| Some(size_of::<Value>() + below(value)?)).sum(),
        Value::Map(map) => {
            map.iter().map(|(key, value)| Some(2 * size_of::<Value>() + key.len() + below(value)?)).sum()
        }
        flat => Some(flat.heap_size()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deep(levels: usize, lists: bool) -> Value {
        around(Value::from("x".repeat(100)), levels, lists)
    }

    fn around(innermost: Value, levels: usize, lists: bool) -> Value {
        let mut value = innermost;
        for level in 0..levels {
            value = if lists || level % 2 == 0 { Value::list([value]) } else { Value::map([("k", value)]) };
        }
        value
    }

    /// If this test fails, dropping a value that a component built can end the process.
    #[test]
    fn values_of_any_depth_are_dropped() {
        for lists in [true, false] {
            let innermost = Value::list([1.into()]);
            let holders = || match &innermost {
                Value::List(list) => Arc::strong_count(&list.0),
                _ => unreachable!("it is a list"),
            };
            let value = around(innermost.clone(), 300_000, lists);
            let shared = value.clone();
            drop(value);
            assert_eq!(holders(), 2, "the other holder keeps it");
            drop(shared);
            assert_eq!(holders(), 1, "everything down to the innermost was dropped");
        }
    }

    #[test]
    fn what_others_share_stays() {
        let inner = deep(3, true);
        let outer = Value::list([inner.clone(), Value::map([("k", inner.clone())])]);
        drop(outer);
        assert_eq!(inner, deep(3, true));
    }

    #[test]
    fn size_and_depth_are_measured_together() {
        for lists in [true, false] {
            let check = |levels, fits: bool| {
                let value = deep(levels, lists);
                assert_eq!(value.size_within_depth(), fits.then(|| value.heap_size()), "{levels}");
            };
            check(0, true);
            check(DEPTH_MAX, true);
            check(DEPTH_MAX + 1, false);
        }
    }
}
