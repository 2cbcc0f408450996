//! What a state has for one key, found without the rest of the state in memory.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use smol_str::SmolStr;

use crate::cli::state::contents::{ReadError, StateOfTask};
use crate::state::{SavedValue, StateKind, TakeSaved, Written};
use crate::tuple::Value;

/// A key as the command line has it: a JSON array that is not empty. `None`: the state has no keys.
type WantedKey<'k> = Option<&'k Json>;

/// Keeps what one state has for the keys that look like this in JSON. JSON has fewer types than keys have, so several
/// may.
pub(super) struct Lookup<'k> {
    name: &'k str,
    key: WantedKey<'k>,
    state: Option<usize>,
    states: usize,
    kind: Option<StateKind>,
    found: BTreeMap<Box<[Value]>, SavedValue>,
}

impl<'k> Lookup<'k> {
    pub(super) fn new(name: &'k str, key: WantedKey<'k>) -> Lookup<'k> {
        Lookup { name, key, state: None, states: 0, kind: None, found: BTreeMap::new() }
    }

    /// The entry of the key, which was read from this task: that of the same types before one that looks the same in JSON.
    pub(super) fn entry(self, task: u32) -> Option<(StateOfTask, Box<[Value]>, SavedValue)> {
        let Lookup { name, key, kind, mut found, .. } = self;
        let exact = key.and_then(|key| serde_json::from_value::<Vec<Value>>(key.clone()).ok());
        let exact = exact.and_then(|exact| found.remove_entry(&exact[..]));
        let (key, value) = exact.or_else(|| found.pop_first())?;
        Some((StateOfTask { task, name: name.into(), kind: kind? }, key, value))
    }
}

impl TakeSaved for Lookup<'_> {
    type Error = ReadError;

    fn add_state(&mut self, name: &SmolStr, kind: StateKind) {
        if *name == self.name {
            (self.state, self.kind) = (Some(self.states), Some(kind));
        }
        self.states += 1;
    }

    fn set(&mut self, state: usize, key: &[Value], value: Option<Written<'_>>) -> Result<(), ReadError> {
        if self.state == Some(state) && is_key(key, self.key) {
            match value {
                Some(value) => drop(self.found.insert(key.into(), value.into())),
                None => drop(self.found.remove(key)),
            }
        }
        Ok(())
    }
}

/// Whether a key looks like this in JSON.
fn is_key(key: &[Value], wanted: WantedKey<'_>) -> bool {
    let Some(wanted) = wanted else { return key.is_empty() };
    let is_value = |(value, wanted): (&Value, &Json)| match (value, wanted) {
        // Most keys are text, and most are not the one that is wanted.
        (Value::Str(text), Json::String(wanted)) => **text == **wanted,
        (value, wanted) => json!(value) == *wanted,
    };
    wanted.as_array().is_some_and(|wanted| wanted.len() == key.len() && key.iter().zip(wanted).all(is_value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Timestamp;

    #[test]
    fn a_key_is_found_by_what_json_shows_of_it() {
        let keys = [
            Value::from("the"),
            Value::from(7),
            Value::from("7"),
            Value::from(1.5),
            Value::Timestamp(Timestamp(17)),
            Value::Bytes([0xff].as_slice().into()),
            Value::Null,
        ];
        let check = |key: Json, expected: Option<&str>| {
            let mut lookup = Lookup::new("counts", Some(&key));
            lookup.add_state(&"others".into(), StateKind::Value);
            lookup.add_state(&"counts".into(), StateKind::Value);
            let mut set = |state: usize, key: &Value, text: Option<&str>| {
                let value = text.map(|text| Written::Plain(text.as_bytes()));
                assert!(lookup.set(state, std::slice::from_ref(key), value).is_ok());
            };
            for key in &keys {
                set(0, key, Some("of another state"));
                set(1, key, Some("an old one"));
                set(1, key, Some(&key.to_string()));
            }
            let gone = Value::from("gone");
            set(1, &gone, Some("an old one"));
            set(1, &gone, None);
            let found =
                lookup.entry(0).map(|(_, _, value)| String::from_utf8_lossy(value.bytes()).into_owned());
            assert_eq!(found.as_deref(), expected, "{key}");
        };
        check(json!(["the"]), Some("the"));
        check(json!([7]), Some("7"));
        check(json!(["7"]), Some("7"));
        check(json!([1.5]), Some("1.5"));
        check(json!(["1970-01-01T00:00:00.000000017Z"]), Some("1970-01-01T00:00:00.000000017Z"));
        check(json!(["ff"]), Some("ff"));
        check(json!([null]), Some("null"));
        check(json!(["teh"]), None);
        check(json!([7.0]), None);
        check(json!(["the", "the"]), None);
        check(json!(["gone"]), None);
    }

    /// A time and the text of that time look the same in JSON.
    #[test]
    fn the_key_of_the_same_types_comes_first() {
        let time = Value::Timestamp(Timestamp(17));
        let text = Value::from(time.to_string());
        let key = json!([time.to_string()]);
        let found = |keys: &[&Value]| {
            let mut lookup = Lookup::new("counts", Some(&key));
            lookup.add_state(&"counts".into(), StateKind::Value);
            for key in keys {
                let set = lookup.set(0, std::slice::from_ref(*key), Some(Written::Plain(&[])));
                assert!(set.is_ok());
            }
            lookup.entry(0).map(|(_, key, _)| key[0].clone())
        };
        assert_eq!(found(&[&time, &text]), Some(text.clone()));
        assert_eq!(found(&[&time]), Some(time.clone()));
    }

    #[test]
    fn an_operator_state_has_the_key_of_no_values() {
        let mut lookup = Lookup::new("all", None);
        lookup.add_state(&"all".into(), StateKind::Operator);
        assert!(lookup.set(0, &[], Some(Written::Plain(&[7]))).is_ok());
        assert!(lookup.entry(0).is_some_and(|(state, key, value)| {
            state.kind == StateKind::Operator && key.is_empty() && value.bytes() == [7]
        }));
    }
}
