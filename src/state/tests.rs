//! Random calls, some of which fail, against a model that copies everything before each call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value as Json, json};

use crate::clock::{Clock, Time};
use crate::state::expiring::CallTime;
use crate::state::{
    Due, ExpiringListCells, ExpiringMapCells, ExpiringValueCells, ListCells, MapCells, MemoryBackend,
    OperatorCells, StateBackend, StateKind, StateRegistry, TaskState, TimerCells, Ttl, ValueCells,
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
    /// The states with a time to live, each entry with its deadline by the wall clock.
    brief_values: BTreeMap<Vec<Value>, Dated<i64>>,
    brief_maps: BTreeMap<Vec<Value>, BTreeMap<i64, Dated<String>>>,
    brief_lists: BTreeMap<Vec<Value>, Vec<Dated<i64>>>,
}

type Dated<T> = (T, i64);

impl Model {
    /// The keys that have something.
    pub(super) fn keys(&self) -> BTreeSet<&Vec<Value>> {
        let keys = self.values.keys().chain(self.maps.keys()).chain(self.lists.keys());
        let brief = self.brief_values.keys().chain(self.brief_maps.keys()).chain(self.brief_lists.keys());
        keys.chain(self.timers.keys()).chain(brief).collect()
    }

    /// Without what has expired when the wall clock shows this.
    pub(super) fn at(mut self, wall: i64) -> Model {
        self.brief_values.retain(|_, (_, deadline)| *deadline > wall);
        self.brief_maps.values_mut().for_each(|map| map.retain(|_, (_, deadline)| *deadline > wall));
        self.brief_lists.values_mut().for_each(|list| list.retain(|(_, deadline)| *deadline > wall));
        self.brief_maps.retain(|_, map| !map.is_empty());
        self.brief_lists.retain(|_, list| !list.is_empty());
        self
    }

    /// What there is, as somebody sees it who reads a checkpoint without knowing the types: by state and key.
    pub(super) fn in_json(&self) -> BTreeMap<String, Json> {
        let line = |state: &str, key: &Vec<Value>, value: Json| (json!([state, key]).to_string(), value);
        let values = self.values.iter().map(|(key, value)| line("value", key, json!(value)));
        let maps = self.maps.iter().map(|(key, map)| line("map", key, json!(map)));
        let lists = self.lists.iter().map(|(key, list)| line("list", key, json!(list)));
        let all = (!self.all.is_empty()).then(|| line("all", &Vec::new(), json!(self.all)));
        let timers = self.timers.iter().map(|(key, (due, failures))| {
            line("timer", key, json!({ "due": Timestamp(*due), "failures": failures }))
        });
        let brief_values =
            self.brief_values.iter().map(|(key, (value, _))| line("brief-value", key, json!(value)));
        let brief_maps = self.brief_maps.iter().map(|(key, map)| {
            let map: BTreeMap<i64, &String> = map.iter().map(|(n, (text, _))| (*n, text)).collect();
            line("brief-map", key, json!(map))
        });
        let brief_lists = self.brief_lists.iter().map(|(key, list)| {
            let list: Vec<i64> = list.iter().map(|(n, _)| *n).collect();
            line("brief-list", key, json!(list))
        });
        let brief = brief_values.chain(brief_maps).chain(brief_lists);
        values.chain(maps).chain(lists).chain(all).chain(timers).chain(brief).collect()
    }

    fn remove(&mut self, key: &[Value]) {
        self.values.remove(key);
        self.maps.remove(key);
        self.lists.remove(key);
        self.timers.remove(key);
        self.brief_values.remove(key);
        self.brief_maps.remove(key);
        self.brief_lists.remove(key);
    }
}

/// Begins a call with a key of one value.
pub(super) fn begin_call(state: &mut TaskState, call: u64, key: impl Into<Value>) {
    state.begin_call(call);
    let key = key.into();
    let write = |row: &mut Vec<Value>| {
        row.push(key);
        Ok::<(), ()>(())
    };
    state.set_key(write).expect("it is written");
}

pub(super) struct States {
    pub(super) clock: Clock,
    pub(super) state: TaskState,
    pub(super) value: u32,
    pub(super) map: u32,
    list: u32,
    all: u32,
    timer: u32,
    brief_value: u32,
    brief_map: u32,
    brief_list: u32,
    ttl: Ttl,
    /// So many changes are of keys that are one number.
    numbers_first: u32,
}

impl States {
    pub(super) fn new() -> States {
        States::with(Ttl::after_write(BRIEF), Clock::simulated(), None)
    }

    /// Of three seeds, two keep a few keys in memory only.
    pub(super) fn of_seed(seed: u64, clock: Clock) -> States {
        let backend: Arc<dyn StateBackend> = Arc::new(MemoryBackend::default());
        let mut states =
            States::with(brief_ttl(seed), clock, Some(backend).filter(|_| !seed.is_multiple_of(3)));
        // Keys of all shapes from the start, later, or never.
        states.numbers_first = [0, 0, 100, u32::MAX][(seed / 3 % 4) as usize];
        states
    }

    /// If there is a backend, memory has a few keys.
    pub(super) fn with(ttl: Ttl, clock: Clock, backend: Option<Arc<dyn StateBackend>>) -> States {
        let registry = StateRegistry::default();
        let value = registry.register::<ValueCells<i64>>("value", StateKind::Value).expect("a new name");
        let map = registry.register::<MapCells<i64, String>>("map", StateKind::Map).expect("a new name");
        let list = registry.register::<ListCells<i64>>("list", StateKind::List).expect("a new name");
        let all = registry.register::<OperatorCells<i64>>("all", StateKind::Operator).expect("a new name");
        let timer = registry.register::<TimerCells>("timer", StateKind::Timer).expect("a new name");
        let brief_value = registry
            .register_expiring::<ExpiringValueCells<i64>>("brief-value", StateKind::Value, ttl)
            .expect("a new name");
        let brief_map = registry
            .register_expiring::<ExpiringMapCells<i64, String>>("brief-map", StateKind::Map, ttl)
            .expect("a new name");
        let brief_list = registry
            .register_expiring::<ExpiringListCells<i64>>("brief-list", StateKind::List, ttl)
            .expect("a new name");
        let mut state = TaskState::new(registry, clock.clone());
        if let Some(backend) = backend {
            state.set_backend(backend, FEW_KEYS);
        }
        state.take_registered();
        state.open_store().expect("it can be opened");
        States {
            clock,
            state,
            value,
            map,
            list,
            all,
            timer,
            brief_value,
            brief_map,
            brief_list,
            ttl,
            numbers_first: 0,
        }
    }

    /// Does something random, to the state and to the model.
    pub(super) fn change(&mut self, model: &mut Model, random: &mut StdRng) {
        let key = if self.numbers_first > 0 {
            self.numbers_first -= 1;
            vec![Value::from(random.random_range(0..9))]
        } else {
            random_key(random)
        };
        self.state
            .set_key(|row| {
                row.extend(key.iter().cloned());
                Ok::<(), ()>(())
            })
            .expect("it is written");
        let n = random.random_range(0..5);
        let kind = random.random_range(0..22);
        if kind >= 13 {
            return self.use_brief(kind, n, key, model);
        }
        let state = &mut self.state;
        let call = state.call();
        match kind {
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
                    let at = CallTime { call, now: self.clock.now() };
                    self.brief_values().clear_value(at, place);
                    self.brief_maps().clear_map(at, place);
                    self.brief_lists().set(at, place, vec![]);
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

    fn brief_values(&mut self) -> &mut ExpiringValueCells<i64> {
        self.state.expiring_column(self.brief_value).expect("it is one").0
    }

    fn brief_maps(&mut self) -> &mut ExpiringMapCells<i64, String> {
        self.state.expiring_column(self.brief_map).expect("it is one").0
    }

    fn brief_lists(&mut self) -> &mut ExpiringListCells<i64> {
        self.state.expiring_column(self.brief_list).expect("it is one").0
    }

    /// A call writes or removes a value without a time to live.
    pub(super) fn write_plain(&mut self, value: Option<i64>) {
        let (call, place) =
            (self.state.call(), self.state.place_to_change(self.value).expect("there is a key"));
        self.state.removes(place);
        self.state.column::<ValueCells<i64>>(self.value).expect("it is one").set(call, place, value);
    }

    /// A call writes a value that has a time to live.
    pub(super) fn write_brief(&mut self, value: i64) {
        let at = CallTime { call: self.state.call(), now: self.clock.now() };
        let place = self.state.place_to_change(self.brief_value).expect("there is a key");
        self.brief_values().set(at, place, value);
    }

    /// Uses a state with a time to live. What is read must be what the model has.
    fn use_brief(&mut self, kind: i32, n: i64, key: Vec<Value>, model: &mut Model) {
        let at = CallTime { call: self.state.call(), now: self.clock.now() };
        let wall = self.clock.wall_nanos();
        let deadline = wall + self.ttl.period().as_nanos() as i64;
        let reads_refresh = self.ttl == Ttl::after_access(self.ttl.period());
        *model = std::mem::take(model).at(wall);
        let state = self.brief_value;
        let is_write = [13, 16, 19].contains(&kind);
        let place = if is_write {
            Some(self.state.place_to_change(state).expect("there is a key"))
        } else {
            self.state.place(state).expect("there is a key")
        };
        if let Some(place) = place.filter(|_| [15, 18, 21].contains(&kind)) {
            self.state.removes(place);
        }
        let Some(place) = place else {
            assert!(!model.keys().contains(&key), "it has no place");
            return;
        };
        match kind {
            13 => {
                *self.brief_values().change(at, place, || 0) += n;
                let value = model.brief_values.entry(key).or_default();
                *value = (value.0 + n, deadline);
            }
            14 => {
                let found = self.brief_values().get(at, place).copied();
                let expected = model.brief_values.get_mut(&key);
                assert_eq!(found, expected.as_ref().map(|value| value.0));
                if let Some(value) = expected.filter(|_| reads_refresh) {
                    value.1 = deadline;
                }
            }
            15 => {
                self.brief_values().clear_value(at, place);
                model.brief_values.remove(&key);
            }
            16 => {
                let map = model.brief_maps.entry(key).or_default();
                let was = map.insert(n, (n.to_string(), deadline)).is_some();
                assert_eq!(self.brief_maps().insert(at, place, n, n.to_string()), was);
            }
            17 if n == 0 => {
                let map = model.brief_maps.get_mut(&key);
                let mut found: Vec<_> = self.brief_maps().entries(at, place).map(|(n, _)| *n).collect();
                found.sort_unstable();
                let expected = map.as_ref().map_or(Vec::new(), |map| map.keys().copied().collect());
                assert_eq!((found.len(), &found), (self.brief_maps().len(at.now, place), &expected));
                let entries = map.into_iter().filter(|_| reads_refresh).flat_map(|map| map.values_mut());
                entries.for_each(|entry| entry.1 = deadline);
            }
            17 => {
                let found = self.brief_maps().get(at, place, &n).cloned();
                let entry = model.brief_maps.get_mut(&key).and_then(|map| map.get_mut(&n));
                assert_eq!(found.as_ref(), entry.as_ref().map(|entry| &entry.0));
                if let Some(entry) = entry.filter(|_| reads_refresh) {
                    entry.1 = deadline;
                }
            }
            18 => {
                let map = model.brief_maps.entry(key).or_default();
                if n == 0 {
                    self.brief_maps().clear_map(at, place);
                    map.clear();
                } else {
                    assert_eq!(self.brief_maps().remove(at, place, n), map.remove(&n).is_some());
                }
            }
            19 => {
                self.brief_lists().push(at, place, n);
                model.brief_lists.entry(key).or_default().push((n, deadline));
            }
            20 => {
                let found = self.brief_lists().items(at, place).to_vec();
                let list = model.brief_lists.entry(key).or_default();
                assert_eq!(found, list.iter().map(|item| item.0).collect::<Vec<_>>());
                list.iter_mut().filter(|_| reads_refresh).for_each(|item| item.1 = deadline);
            }
            _ => {
                self.brief_lists().set(at, place, (0..n).collect());
                model.brief_lists.insert(key, (0..n).map(|n| (n, deadline)).collect());
            }
        }
        *model = std::mem::take(model).at(wall);
    }

    /// All that is kept, in the form of the model.
    pub(super) fn kept(&mut self) -> Model {
        let mut kept = Model::default();
        let mut walk = self.state.walk().expect("it can be read");
        let mut key = Vec::new();
        let ahead = self.clock.wall_nanos() - self.clock.now().0 as i64;
        while let Some(place) = self.state.next_key(&mut walk, &mut key).expect("it can be read") {
            let key = key.clone();
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
            kept.timers.extend(due.map(|due| (key.clone(), (ahead + due.at.0 as i64, due.failures))));
            let (now, wall) = (self.clock.now(), |deadline: Time| ahead + deadline.0 as i64);
            let value = self.brief_values().dated(now, place);
            kept.brief_values.extend(value.map(|(value, deadline)| (key.clone(), (value, wall(deadline)))));
            let map = self.brief_maps().dated(now, place);
            let map = map.into_iter().map(|(n, (text, deadline))| (n, (text, wall(deadline))));
            kept.brief_maps.insert(key.clone(), map.collect());
            let list = self.brief_lists().dated(now, place);
            kept.brief_lists.insert(key, list.into_iter().map(|(n, deadline)| (n, wall(deadline))).collect());
        }
        kept.brief_maps.retain(|_, map| !map.is_empty());
        kept.brief_lists.retain(|_, list| !list.is_empty());
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

/// Memory for a few keys.
pub(super) const FEW_KEYS: usize = 900;

/// The time to live of the states that have one.
pub(super) const BRIEF: Duration = Duration::from_secs(3);

/// One or the other kind.
pub(super) fn brief_ttl(seed: u64) -> Ttl {
    if seed.is_multiple_of(2) { Ttl::after_write(BRIEF) } else { Ttl::after_access(BRIEF) }
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
        let mut states = States::of_seed(seed, Clock::simulated());
        let (mut model, mut calls) = (Model::default(), 0);
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
            if random.random_bool(0.3) {
                states.clock.advance(Duration::from_millis(random.random_range(0..2_000)));
                model = model.at(states.clock.wall_nanos());
                assert_eq!(states.kept(), model, "seed {seed}: what has expired is gone");
            }
            states.state.remove_expired(states.clock.now());
            assert_eq!(states.kept(), model, "seed {seed}: removing changes nothing");
            // What has expired is looked at so late that it has a place until then.
            let keys = model.keys().len();
            assert!(states.state.key_count() >= keys, "seed {seed}");
        }
        states.clock.advance(BRIEF * 2);
        states.state.remove_expired(states.clock.now());
        model = model.at(states.clock.wall_nanos());
        let keys = model.keys().len();
        assert_eq!(
            (states.kept(), states.state.key_count()),
            (model, keys),
            "seed {seed}: nothing is left over"
        );
    }
}
