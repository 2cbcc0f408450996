//! Random calls, some of which fail, against a model that copies everything before each call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value as Json, json};

use crate::clock::Clock;
use crate::state::{
    Due, ListCells, MapCells, OperatorCells, StateError, StateKind, StateRegistry, TaskState, TimerCells,
    ValueCells,
};
use crate::tuple::{Timestamp, Value};

/// What a naive implementation keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    values: BTreeMap<Vec<Value>, i64>,
    maps: BTreeMap<Vec<Value>, BTreeMap<i64, String>>,
    lists: BTreeMap<Vec<Value>, Vec<i64>>,
    all: Vec<i64>,
    /// When they are due by the wall clock, and their failures.
    timers: BTreeMap<Vec<Value>, (i64, u32)>,
}

impl Model {
    /// The keys that have something.
    pub(super) fn keys(&self) -> BTreeSet<&Vec<Value>> {
        let keys = self.values.keys().chain(self.maps.keys()).chain(self.lists.keys());
        keys.chain(self.timers.keys()).collect()
    }

    /// What there is, as somebody sees it who reads a checkpoint without knowing the types.
    pub(super) fn in_json(&self) -> BTreeSet<String> {
        let line = |state: &str, key: &Vec<Value>, value: Json| json!([state, key, value]).to_string();
        let values = self.values.iter().map(|(key, value)| line("value", key, json!(value)));
        let maps = self.maps.iter().map(|(key, map)| line("map", key, json!(map)));
        let lists = self.lists.iter().map(|(key, list)| line("list", key, json!(list)));
        let all = (!self.all.is_empty()).then(|| line("all", &Vec::new(), json!(self.all)));
        let timers = self.timers.iter().map(|(key, (due, failures))| {
            line("timer", key, json!({ "due": Timestamp(*due), "failures": failures }))
        });
        values.chain(maps).chain(lists).chain(all).chain(timers).collect()
    }

    fn remove(&mut self, key: &[Value]) {
        self.values.remove(key);
        self.maps.remove(key);
        self.lists.remove(key);
        self.timers.remove(key);
    }
}

pub(super) struct States {
    pub(super) clock: Clock,
    pub(super) state: TaskState,
    value: u32,
    map: u32,
    list: u32,
    all: u32,
    timer: u32,
}

impl States {
    pub(super) fn new() -> States {
        let registry = StateRegistry::default();
        let value = registry.register::<ValueCells<i64>>("value", StateKind::Value).expect("a new name");
        let map = registry.register::<MapCells<i64, String>>("map", StateKind::Map).expect("a new name");
        let list = registry.register::<ListCells<i64>>("list", StateKind::List).expect("a new name");
        let all = registry.register::<OperatorCells<i64>>("all", StateKind::Operator).expect("a new name");
        let timer = registry.register::<TimerCells>("timer", StateKind::Timer).expect("a new name");
        let clock = Clock::simulated();
        let mut state = TaskState::new(registry, clock.clone());
        state.take_registered();
        States { clock, state, value, map, list, all, timer }
    }

    /// Does something random, to the state and to the model.
    pub(super) fn change(&mut self, model: &mut Model, random: &mut StdRng) {
        let key = random_key(random);
        self.state
            .set_key(|row| {
                row.extend(key.iter().cloned());
                Ok::<(), ()>(())
            })
            .expect("it is written");
        let n = random.random_range(0..5);
        let state = &mut self.state;
        let call = state.call();
        match random.random_range(0..13) {
            0..3 => {
                let place = state.place_to_change(self.value).expect("there is a key");
                *state.column::<ValueCells<i64>>(self.value).expect("it is one").change(call, place, || 0) +=
                    n;
                *model.values.entry(key).or_default() += n;
            }
            3 => {
                if let Some(place) = state.place(self.value).expect("there is a key") {
                    state.removes(place);
                    state.column::<ValueCells<i64>>(self.value).expect("it is one").set(call, place, None);
                }
                model.values.remove(&key);
            }
            4 => {
                let place = state.place_to_change(self.map).expect("there is a key");
                let column = state.column::<MapCells<i64, String>>(self.map).expect("it is one");
                column.set(call, place, n, Some(n.to_string()));
                model.maps.entry(key).or_default().insert(n, n.to_string());
            }
            5 => {
                if let Some(place) = state.place(self.map).expect("there is a key") {
                    state.removes(place);
                    let column = state.column::<MapCells<i64, String>>(self.map).expect("it is one");
                    if n == 0 {
                        column.clear(call, place)
                    } else {
                        let _ = column.set(call, place, n, None);
                    }
                }
                if let Some(map) = model.maps.get_mut(&key) {
                    if n == 0 { map.clear() } else { drop(map.remove(&n)) }
                }
                model.maps.retain(|_, map| !map.is_empty());
            }
            6 => {
                let place = state.place_to_change(self.list).expect("there is a key");
                state.column::<ListCells<i64>>(self.list).expect("it is one").push(call, place, n);
                model.lists.entry(key).or_default().push(n);
            }
            7 => {
                if let Some(place) = state.place(self.list).expect("there is a key") {
                    state.removes(place);
                    let items = (0..n).collect();
                    state.column::<ListCells<i64>>(self.list).expect("it is one").set(call, place, items);
                    model.lists.insert(key, (0..n).collect());
                    model.lists.retain(|_, list| !list.is_empty());
                }
            }
            8 => {
                let due = Due { at: state.now().after(Duration::from_secs(n as u64)), failures: n as u32 };
                let place = state.place_to_change(self.timer).expect("there is a key");
                state.column::<TimerCells>(self.timer).expect("it is one").set(call, place, Some(due));
                model.timers.insert(key, (self.clock.wall_nanos() + n * 1_000_000_000, n as u32));
            }
            9 => {
                if let Some(place) = state.place(self.timer).expect("there is a key") {
                    state.removes(place);
                    state.column::<TimerCells>(self.timer).expect("it is one").set(call, place, None);
                }
                model.timers.remove(&key);
            }
            // The key goes.
            10..12 => {
                if let Some(place) = state.place(self.value).expect("there is a key") {
                    state.removes(place);
                    state.column::<ValueCells<i64>>(self.value).expect("it is one").set(call, place, None);
                    state.column::<MapCells<i64, String>>(self.map).expect("it is one").clear(call, place);
                    state.column::<ListCells<i64>>(self.list).expect("it is one").set(call, place, vec![]);
                    state.column::<TimerCells>(self.timer).expect("it is one").set(call, place, None);
                }
                model.remove(&key);
            }
            _ => {
                let place = state.operator_place_to_change();
                state.column::<OperatorCells<i64>>(self.all).expect("it is one").list().push(call, place, n);
                model.all.push(n);
            }
        }
    }

    /// All that is kept, in the form of the model.
    pub(super) fn kept(&mut self) -> Model {
        let mut kept = Model::default();
        let mut from = 0;
        let ahead = self.clock.wall_nanos() - self.clock.now().0 as i64;
        while let Some((place, key)) = self.state.next_key(from..self.state.places()) {
            let key = key.to_vec();
            from = place + 1;
            let value =
                self.state.column::<ValueCells<i64>>(self.value).expect("it is one").get(place).copied();
            kept.values.extend(value.map(|value| (key.clone(), value)));
            let map = self.state.column::<MapCells<i64, String>>(self.map).expect("it is one").map(place);
            let map = map.map(|map| map.iter().map(|(n, text)| (*n, text.clone())).collect());
            kept.maps.extend(map.map(|map| (key.clone(), map)));
            let list =
                self.state.column::<ListCells<i64>>(self.list).expect("it is one").items(place).to_vec();
            if !list.is_empty() {
                kept.lists.insert(key.clone(), list);
            }
            let due = self.state.column::<TimerCells>(self.timer).expect("it is one").get(place);
            kept.timers.extend(due.map(|due| (key, (ahead + due.at.0 as i64, due.failures))));
        }
        let place = self.state.operator_place();
        kept.all = self
            .state
            .column::<OperatorCells<i64>>(self.all)
            .expect("it is one")
            .list()
            .items(place)
            .to_vec();
        kept
    }
}

fn random_key(random: &mut StdRng) -> Vec<Value> {
    let texts = ["a", "b", "a text that does not fit into a value and is shared"];
    match random.random_range(0..3) {
        0 => vec![Value::from(random.random_range(0..4))],
        1 => vec![Value::from(texts[random.random_range(0..3)])],
        _ => vec![Value::from(texts[random.random_range(0..3)]), Value::from(random.random_range(0..2))],
    }
}

#[test]
fn a_call_that_fails_changes_nothing() {
    for seed in 0..200 {
        let random = &mut StdRng::seed_from_u64(seed);
        let (mut states, mut model, mut calls) = (States::new(), Model::default(), 0);
        for _ in 0..60 {
            let mut after = model.clone();
            calls += 1;
            states.state.begin_call(calls);
            for _ in 0..random.random_range(0..8) {
                states.change(&mut after, random);
            }
            if random.random_bool(0.4) {
                states.state.undo();
            } else {
                states.state.commit();
                model = after;
            }
            assert_eq!(states.kept(), model, "seed {seed}");
            let keys = model.keys().len();
            assert_eq!(states.state.key_count(), keys, "seed {seed}: keys without state have no place");
        }
    }
}

#[test]
fn a_name_has_one_type() {
    let registry = StateRegistry::default();
    let first = registry.register::<ValueCells<i64>>("counts", StateKind::Value);
    assert_eq!(first, registry.register::<ValueCells<i64>>("counts", StateKind::Value));
    let text = |error: StateError| error.to_string();
    let other = registry.register::<ValueCells<String>>("counts", StateKind::Value).map_err(text);
    let expected =
        "state `counts` is value<i64>, and is registered once more as value<alloc::string::String>";
    assert_eq!(other, Err(expected.to_owned()));
    let kind = registry.register::<ListCells<i64>>("counts", StateKind::List).map_err(text);
    assert!(kind.is_err_and(|text| text.contains("list<i64>")));
    for name in ["", "a b", "ä", &"x".repeat(65)] {
        let refused = registry.register::<ValueCells<i64>>(name, StateKind::Value);
        assert!(matches!(refused, Err(StateError::Name { .. })), "{name}");
    }
}

#[test]
fn a_call_without_a_key_is_refused() {
    let mut states = States::new();
    states.state.begin_call(1);
    assert_eq!(states.state.place_to_change(states.map), Err(StateError::NoKey { state: "map".into() }));
    assert_eq!(states.state.place(7), Err(StateError::Unregistered));
    assert!(states.state.column::<ValueCells<String>>(states.value).is_err(), "another type");
}
