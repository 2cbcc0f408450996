//! Keys that leave memory: that memory is bounded, what snapshots have of them, and what a disk does that fails. The
//! tests of calls, snapshots and restores in general run with such keys, too (`States::of_seed`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize, Serializer};

use super::tests::{BRIEF, States, begin_call};
use crate::clock::Clock;
use crate::state::records::{Record, Records};
use crate::state::{
    MemoryBackend, RedbBackend, SnapshotKind, StateBackend, StateError, StateKind, StateRegistry, StateValue,
    TaskState, TimerCells, Ttl, ValueCells,
};
use crate::tuple::Value;

const MEMORY: usize = 64 << 10;

/// A task that counts by key, and may set a timer for each key.
struct Counts<T = i64> {
    state: TaskState,
    clock: Clock,
    calls: u64,
    of: std::marker::PhantomData<T>,
}

impl<T: StateValue> Counts<T> {
    fn new(backend: Arc<dyn StateBackend>) -> Counts<T> {
        let (registry, clock) = (StateRegistry::default(), Clock::simulated());
        registry.register::<ValueCells<T>>("counts", StateKind::Value).expect("a new name");
        registry.register::<TimerCells>("timer", StateKind::Timer).expect("a new name");
        let mut state = TaskState::new(registry, clock.clone());
        state.set_backend(backend, MEMORY);
        state.take_registered();
        state.open_store().expect("it can be opened");
        Counts { state, clock, calls: 0, of: std::marker::PhantomData }
    }

    fn begin(&mut self, key: impl Into<Value>) {
        self.calls += 1;
        begin_call(&mut self.state, self.calls, key);
    }

    fn set(&mut self, key: impl Into<Value>, value: T) -> Result<(), StateError> {
        self.begin(key);
        let call = self.state.call();
        let place = self.state.place_to_change(0)?;
        self.state.column::<ValueCells<T>>(0)?.set(call, place, Some(value));
        self.state.commit();
        Ok(())
    }

    fn get(&mut self, key: impl Into<Value>) -> Result<Option<T>, StateError> {
        self.begin(key);
        let Some(place) = self.state.place(0)? else { return Ok(None) };
        Ok(self.state.column::<ValueCells<T>>(0)?.get(place).cloned())
    }

    fn save(&mut self, full: bool) -> Result<(SnapshotKind, Vec<u8>), StateError> {
        let (kind, mut bytes) = (self.state.begin_snapshot(full), Vec::new());
        while !self.state.write_snapshot(1 << 10, &mut bytes)? {}
        Ok((kind, bytes))
    }

    fn resident(&self) -> usize {
        self.state.keys.len()
    }
}

fn backend() -> Arc<MemoryBackend> {
    Arc::new(MemoryBackend::default())
}

/// The numbers of records that forget a key, and of values.
fn records(bytes: &[u8]) -> (u32, u32) {
    let (mut records, mut key, mut found) = (Records::new(bytes), Vec::new(), (0, 0));
    while let Some(record) = records.next(&mut key).expect("it is whole") {
        match record {
            Record::Begin(_) | Record::End { .. } => {}
            Record::Forget => found.0 += 1,
            Record::Value { .. } => found.1 += 1,
            Record::Remove { .. } => panic!("a key is always written whole"),
        }
    }
    found
}

/// As many keys as memory may have, by what each takes at least.
const MOST: usize = MEMORY / 128;

#[test]
fn memory_has_a_bounded_number_of_keys_whatever_comes() {
    let mut counts = Counts::<i64>::new(backend());
    for n in 0..20_000 {
        counts.set(n, n).expect("there is room");
        assert!(counts.resident() <= MOST, "{} keys at {n}", counts.resident());
    }
    assert_eq!(counts.state.key_count(), 20_000);
    let random = &mut StdRng::seed_from_u64(1);
    for _ in 0..5_000 {
        let n = random.random_range(0..20_000);
        assert_eq!(counts.get(n), Ok(Some(n)));
        assert!(counts.resident() <= MOST);
    }
    let (_, snapshot) = counts.save(true).expect("it can be written");
    assert!(records(&snapshot).1 >= 20_000);
    let mut restored = Counts::<i64>::new(backend());
    restored.state.restore([&*snapshot]).expect("it is whole");
    restored.begin(0);
    assert!(restored.resident() <= MOST, "{}", restored.resident());
    assert_eq!(restored.state.key_count(), 20_000);
    assert!((0..20_000).all(|n| restored.get(n) == Ok(Some(n))));
}

/// While a checkpoint is read, keys count with their own bytes, too.
#[test]
fn long_keys_leave_memory_while_they_are_restored() {
    let key = |n: i64| format!("{n}-{}", "x".repeat(2_000));
    let mut counts = Counts::<i64>::new(backend());
    for n in 0..500 {
        counts.set(key(n), n).expect("there is room");
    }
    let (_, snapshot) = counts.save(true).expect("it can be written");
    let mut restored = Counts::<i64>::new(backend());
    restored.state.restore([&*snapshot]).expect("it is whole");
    assert_eq!(restored.state.key_count(), 500);
    assert!(restored.resident() <= MEMORY / 2_000 + 1, "{}", restored.resident());
    assert!((0..500).all(|n| restored.get(key(n)) == Ok(Some(n))));
}

#[test]
fn a_key_that_grows_counts_with_what_it_takes() {
    let mut counts = Counts::<String>::new(backend());
    // Each key grows to about 4 KiB, so 16 of them are more than there is room for.
    for length in (0..4096).step_by(16) {
        for key in 0..16 {
            counts.set(key, "x".repeat(length)).expect("there is room");
        }
    }
    counts.begin(99);
    assert!(counts.resident() < 16, "{}", counts.resident());
}

#[test]
fn large_values_count_from_the_first_on() {
    let mut counts = Counts::<String>::new(backend());
    for key in 0..200 {
        counts.set(key, "x".repeat(4096)).expect("there is room");
        assert!(counts.resident() <= 1 + MEMORY / 4096, "{}", counts.resident());
    }
    assert!((0..200).all(|key| counts.get(key).is_ok_and(|value| value.is_some_and(|it| it.len() == 4096))));
}

/// What it had before must not come back with the checkpoint.
#[test]
fn a_key_that_expires_while_a_snapshot_is_written_is_forgotten() {
    for full in [false, true] {
        let ttl = Ttl::after_write(BRIEF);
        let mut states = States::with(ttl, Clock::simulated(), Some(backend()));
        let save = |states: &mut States, full| {
            states.state.begin_snapshot(full);
            if states.state.key_count() == 1 {
                states.clock.advance(BRIEF * 2);
                states.state.remove_expired(states.clock.now());
            }
            let mut bytes = Vec::new();
            while !states.state.write_snapshot(1, &mut bytes).expect("it can be written") {}
            bytes
        };
        for key in [1, 2] {
            begin_call(&mut states.state, key as u64, key);
            states.write_plain(Some(key));
            states.state.commit();
        }
        let mut chain = vec![save(&mut states, true)];
        begin_call(&mut states.state, 3, 2);
        states.write_plain(None);
        states.state.commit();
        begin_call(&mut states.state, 4, 1);
        states.write_plain(None);
        states.write_brief(7);
        states.state.commit();
        let last = save(&mut states, full);
        assert_eq!(states.state.key_count(), 0);
        if full {
            chain.clear();
        }
        chain.push(last);
        let mut restored = States::with(ttl, states.clock.clone(), Some(backend()));
        restored.state.restore(chain.iter().map(Vec::as_slice)).expect("they are whole");
        assert_eq!(restored.state.key_count(), 0, "full: {full}");
    }
}

#[test]
fn a_delta_has_what_has_changed_in_memory_or_out_of_it() {
    let mut counts = Counts::<i64>::new(backend());
    (0..5_000).for_each(|n| counts.set(n, 0).expect("there is room"));
    let (kind, full) = counts.save(false).expect("it can be written");
    assert_eq!(kind, SnapshotKind::Full);
    // These are out of memory by the time of the next snapshot …
    (0..10).for_each(|n| counts.set(n, 1).expect("there is room"));
    (1_000..5_000).for_each(|n| assert_eq!(counts.get(n), Ok(Some(0))));
    // … and these are in memory.
    (20..30).for_each(|n| counts.set(n, 1).expect("there is room"));
    let (kind, delta) = counts.save(false).expect("it can be written");
    assert_eq!((kind, records(&delta)), (SnapshotKind::Delta, (20, 20)));
    assert_eq!(records(&counts.save(false).expect("it can be written").1), (0, 0), "nothing has changed");
    let mut restored = Counts::<i64>::new(backend());
    restored.state.restore([&*full, &*delta]).expect("they are whole");
    let count = |n: i64| i64::from((0..10).contains(&n) || (20..30).contains(&n));
    assert!((0..5_000).all(|n| restored.get(n) == Ok(Some(count(n)))));
}

#[test]
fn a_key_whose_timer_is_set_stays_in_memory() {
    let mut counts = Counts::<i64>::new(backend());
    for n in 0..1_000 {
        counts.begin(n);
        let place = counts.state.place_to_change(1).expect("there is a key");
        let (call, at) = (counts.state.call(), counts.clock.now().after(Duration::from_secs(n as u64)));
        let due = crate::state::Due { at, failures: 0 };
        counts.state.column::<TimerCells>(1).expect("it is one").set(call, place, Some(due));
        counts.state.commit();
    }
    (1_000..3_000).for_each(|n| counts.set(n, 0).expect("there is room"));
    assert!((1_000..1_100).contains(&counts.resident()), "{}", counts.resident());
    assert_eq!(counts.state.next_due(), counts.clock.now());
}

#[test]
fn a_full_disk_fails_calls_when_too_much_waits_and_loses_nothing() {
    let disk = backend();
    let mut counts = Counts::<i64>::new(disk.clone());
    (0..2_000).for_each(|n| counts.set(n, n).expect("there is room"));
    counts.save(false).expect("it can be written");
    disk.set_full(true);
    let mut kept = BTreeMap::new();
    let mut failed = 0;
    for n in 0..20_000 {
        match counts.set(n, -n) {
            Ok(()) => drop(kept.insert(n, -n)),
            Err(error) => {
                counts.state.undo();
                assert_eq!(error, StateError::Store { why: "no space left on device".into() });
                failed += 1;
            }
        }
        counts.clock.advance(Duration::from_millis(1));
    }
    assert!(failed > 10_000 && kept.len() > 300, "{failed} failed, {} were kept", kept.len());
    let refused = counts.save(false).expect_err("the disk is full");
    assert_eq!(refused, StateError::Store { why: "no space left on device".into() });
    disk.set_full(false);
    counts.clock.advance(Duration::from_secs(10));
    let (kind, snapshot) = counts.save(false).expect("there is room");
    assert_eq!(kind, SnapshotKind::Full, "nothing has the one that was refused");
    let mut restored = Counts::<i64>::new(backend());
    restored.state.restore([&*snapshot]).expect("it is whole");
    for counts in [&mut counts, &mut restored] {
        for n in 0..20_000 {
            let before = Some(n).filter(|n| *n < 2_000);
            assert_eq!(counts.get(n), Ok(kept.get(&n).copied().or(before)), "{n}");
        }
    }
}

#[test]
fn a_key_that_cannot_be_read_fails_its_call_only() {
    let disk = backend();
    let mut counts = Counts::<i64>::new(disk.clone());
    (0..2_000).for_each(|n| counts.set(n, n).expect("there is room"));
    disk.set_unreadable(true);
    let unreadable = Err(StateError::Store { why: "input/output error".into() });
    assert_eq!(counts.get(0), unreadable);
    assert_eq!(counts.set(0, 7), unreadable.map(drop), "it is not taken for a new key");
    assert_eq!(counts.get(1_999), Ok(Some(1_999)), "it is in memory");
    assert!(counts.save(true).is_err());
    disk.set_unreadable(false);
    assert_eq!(counts.get(0), Ok(Some(0)));
}

#[test]
fn a_disk_that_cannot_forget_gives_nothing_back() {
    let disk = backend();
    let mut counts = Counts::<i64>::new(disk.clone());
    (0..2_000).for_each(|n| counts.set(n, n).expect("there is room"));
    disk.set_full(true);
    counts.state.clear();
    assert!(counts.get(0).is_err());
    disk.set_full(false);
    counts.clock.advance(Duration::from_secs(10));
    assert_eq!((counts.get(0), counts.state.key_count()), (Ok(None), 0));
}

/// A number that cannot be written if it is 13, and panics if it is 14.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Stubborn(i64);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, 14, "it does not want to");
        match self.0 {
            13 => Err(serde::ser::Error::custom("it cannot be written")),
            n => serializer.serialize_i64(n),
        }
    }
}

/// Nobody waits for a store because of it.
#[test]
fn what_cannot_be_read_is_no_fault_of_the_store() {
    let mut counts = Counts::<OneWay>::new(backend());
    (0..2_000).for_each(|n| counts.set(n, OneWay).expect("there is room"));
    let error = counts.get(0).expect_err("it is no `OneWay`");
    assert!(matches!(error, StateError::Entry { .. }), "{error}");
    assert!(!counts.state.has_store_failed());
    let disk = backend();
    let mut counts = Counts::<i64>::new(disk.clone());
    (0..2_000).for_each(|n| counts.set(n, n).expect("there is room"));
    disk.set_unreadable(true);
    counts.get(0).expect_err("the disk cannot be read");
    assert!(counts.state.has_store_failed());
}

/// What is written of it cannot be read.
#[derive(Clone, Debug)]
struct OneWay;

impl Serialize for OneWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(1)
    }
}

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<OneWay, D::Error> {
        Err(serde::de::Error::custom("it is written only"))
    }
}

#[test]
fn what_cannot_be_written_stays_in_memory() {
    let mut counts = Counts::<Stubborn>::new(backend());
    (0..2_000).for_each(|n| counts.set(n, Stubborn(n)).expect("there is room"));
    for n in [13, 14, 15] {
        assert_eq!(counts.get(n), Ok(Some(Stubborn(n))));
    }
    assert_eq!(counts.state.key_count(), 2_000);
}

/// Keys that are equal are one key, also when they were out of memory.
#[test]
fn equal_keys_have_one_entry() {
    let mut counts = Counts::<i64>::new(backend());
    counts.set(0.0, 1).expect("there is room");
    counts.set(Value::list([Value::F64(f64::NAN)]), 2).expect("there is room");
    (0..2_000).for_each(|n| counts.set(n, n).expect("there is room"));
    assert_eq!(counts.get(-0.0), Ok(Some(1)));
    assert_eq!(counts.get(Value::list([Value::F64(-f64::NAN)])), Ok(Some(2)));
    assert_eq!(counts.state.key_count(), 2_002);
}

/// Each key that is there at the begin is visited once, whatever else happens to it on the way.
#[test]
fn a_walk_visits_each_key_once() {
    for seed in 0..20 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut counts = Counts::<i64>::new(backend());
        (0..3_000).for_each(|n| counts.set(n, n).expect("there is room"));
        let (mut visited, mut key) = (BTreeMap::new(), Vec::new());
        counts.begin(0);
        let mut walk = counts.state.walk().expect("it can be read");
        while let Some(place) = counts.state.next_key(&mut walk, &mut key).expect("it can be read") {
            let value = counts.state.column::<ValueCells<i64>>(0).expect("it is one").get(place).copied();
            *visited.entry(key[0].as_i64().expect("it is a number")).or_insert(0) += 1;
            assert_eq!(value, key[0].as_i64().filter(|_| value.is_some()), "seed {seed}");
            // Others are read, changed, and some are added.
            for _ in 0..random.random_range(0..3) {
                let other = random.random_range(0..3_050);
                let call = counts.state.call();
                counts
                    .state
                    .set_key(|row| -> Result<(), ()> {
                        row.push(other.into());
                        Ok(())
                    })
                    .expect("it is written");
                if random.random_bool(0.3) {
                    let place = counts.state.place_to_change(0).expect("there is room");
                    counts.state.column::<ValueCells<i64>>(0).expect("it is one").set(
                        call,
                        place,
                        Some(other),
                    );
                }
            }
        }
        counts.state.commit();
        assert!((0..3_000).all(|n| visited.get(&n) == Some(&1)), "seed {seed}");
        assert!(visited.range(3_000..).all(|(_, times)| *times == 1), "seed {seed}");
        counts.begin(0);
        assert!(counts.resident() <= MOST, "seed {seed}: {}", counts.resident());
    }
}

#[test]
fn a_walk_that_changes_nothing_needs_no_more_memory() {
    let mut counts = Counts::<i64>::new(backend());
    (0..10_000).for_each(|n| counts.set(n, n).expect("there is room"));
    counts.begin(0);
    let (mut walk, mut key, mut sum) = (counts.state.walk().expect("it can be read"), Vec::new(), 0);
    while let Some(place) = counts.state.next_key(&mut walk, &mut key).expect("it can be read") {
        sum += counts.state.column::<ValueCells<i64>>(0).expect("it is one").get(place).copied().unwrap_or(0);
        assert!(counts.resident() <= MOST);
    }
    assert_eq!(sum, (0..10_000).sum::<i64>());
}

/// What has expired leaves the disk, too, although nobody asks for it.
#[test]
fn what_has_expired_is_swept_out() {
    let mut states = States::with(Ttl::after_write(BRIEF), Clock::simulated(), Some(backend()));
    for n in 0..500 {
        begin_call(&mut states.state, n + 1, n as i64);
        states.write_brief(n as i64);
        states.state.commit();
    }
    states.clock.advance(BRIEF * 2);
    let mut steps = 0;
    while states.state.key_count() > 0 {
        let next = states.state.next_removal();
        assert!(next <= states.clock.now().after(BRIEF), "somebody must wake the task");
        states.clock.advance(next.since(states.clock.now()));
        states.state.remove_expired(states.clock.now());
        steps += 1;
        assert!(steps < 100, "{} keys are left", states.state.key_count());
    }
}

#[test]
fn redb_has_what_memory_does_not_have() {
    let directory = tempfile::tempdir().expect("there is room");
    let backend: Arc<dyn StateBackend> = Arc::new(RedbBackend::new(Some(directory.path().to_owned())));
    let mut counts = Counts::<i64>::new(Arc::clone(&backend));
    let (random, mut model) = (&mut StdRng::seed_from_u64(7), BTreeMap::new());
    let mut chain = Vec::new();
    for round in 0..6 {
        for _ in 0..2_000 {
            let key = random.random_range(0..3_000);
            *model.entry(key).or_insert(0) += 1;
            let before = counts.get(key).expect("it can be read").unwrap_or(0);
            counts.set(key, before + 1).expect("there is room");
        }
        let (kind, bytes) = counts.save(round == 0).expect("it can be written");
        if kind == SnapshotKind::Full {
            chain.clear();
        }
        chain.push(bytes);
        assert!(counts.resident() <= MOST);
    }
    let mut restored = Counts::<i64>::new(backend);
    restored.state.restore(chain.iter().map(Vec::as_slice)).expect("it is whole");
    for counts in [&mut counts, &mut restored] {
        assert_eq!(counts.state.key_count(), model.len());
        for (key, count) in &model {
            assert_eq!(counts.get(*key), Ok(Some(*count)));
        }
    }
}
