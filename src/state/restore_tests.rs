//! Snapshots of one state: what is in them, what is restored from them, and what errors show.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use smol_str::SmolStr;

use super::tests::{Model, States, begin_call};
use crate::clock::{Clock, Time};
use crate::state::records::{Begin, Record, Records, StateColumn, write_begin, write_end, write_value};
use crate::state::stored::Written;
use crate::state::{
    Column, Due, ListCells, MapCells, MemoryBackend, OperatorCells, RedbBackend, SnapshotKind, StateBackend,
    StateError, StateKind, StateRegistry, StateShare, StateValue, TakeChunk, Taking, TaskState, TimerCells,
    ValueCells,
};
use crate::tuple::Value;

/// A task with one state.
struct One<C> {
    state: TaskState,
    calls: u64,
    of: PhantomData<C>,
}

impl<C: Column + Default> One<C> {
    fn new(name: &str, kind: StateKind) -> One<C> {
        One::with_clock(name, kind, Clock::simulated())
    }

    fn with_clock(name: &str, kind: StateKind, clock: Clock) -> One<C> {
        let registry = StateRegistry::default();
        registry.register::<C>(name, kind).expect("a new name");
        let mut state = TaskState::new(registry, clock);
        state.take_registered();
        One { state, calls: 0, of: PhantomData }
    }

    fn place(&mut self, key: impl Into<Value>) -> Option<u32> {
        self.calls += 1;
        begin_call(&mut self.state, self.calls, key);
        self.state.place(0).expect("there is a key")
    }

    /// A call that changes a key.
    fn call(&mut self, key: impl Into<Value>, change: impl FnOnce(&mut C, u64, u32)) {
        self.place(key);
        let (call, place) = (self.state.call(), self.state.place_to_change(0).expect("there is a key"));
        self.state.removes(place);
        change(self.state.column(0).expect("it is one"), call, place);
        self.state.commit();
    }

    fn save(&mut self, full: bool) -> (SnapshotKind, Vec<u8>) {
        let (kind, mut bytes) = (self.state.begin_snapshot(full), Vec::new());
        while !self.state.write_snapshot(1 << 20, &mut bytes).expect("it can be written") {}
        (kind, bytes)
    }
}

impl<T: StateValue + Debug> One<ValueCells<T>> {
    fn set(&mut self, key: impl Into<Value>, value: Option<T>) {
        self.call(key, |cells, call, place| cells.set(call, place, value));
    }

    fn get(&mut self, key: impl Into<Value>) -> Option<T> {
        let place = self.place(key)?;
        self.state.column::<ValueCells<T>>(0).expect("it is one").get(place).cloned()
    }
}

/// The number of records of keys that are forgotten, values, and values that are removed.
fn records(bytes: &[u8]) -> (u32, u32, u32) {
    let (mut records, mut key) = (Records::new(bytes), Vec::new());
    let (mut forgotten, mut values, mut removed) = (0, 0, 0);
    while let Some(record) = records.next(&mut key).expect("it is whole") {
        match record {
            Record::Begin(_) | Record::End { .. } => {}
            Record::Forget => forgotten += 1,
            Record::Value { .. } => values += 1,
            Record::Remove { .. } => removed += 1,
        }
    }
    (forgotten, values, removed)
}

#[test]
fn a_delta_has_each_changed_key_once() {
    let mut counts = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    (0..100).for_each(|key| counts.set(key, Some(0)));
    let (kind, full) = counts.save(false);
    assert_eq!((kind, records(&full)), (SnapshotKind::Full, (0, 100, 0)));
    (0..1_000).for_each(|n| counts.set(7, Some(n)));
    let (kind, delta) = counts.save(false);
    assert_eq!((kind, records(&delta)), (SnapshotKind::Delta, (0, 1, 0)));
    assert_eq!(records(&counts.save(false).1), (0, 0, 0), "nothing has changed");
    assert_eq!(records(&counts.save(true).1), (0, 100, 0), "a full one has all");
}

#[test]
fn a_key_that_changes_while_a_delta_is_written_is_in_it_once() {
    let mut counts = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    (0..100).for_each(|key| counts.set(key, Some(0)));
    counts.save(false);
    (0..100).for_each(|key| counts.set(key, Some(1)));
    counts.state.begin_snapshot(false);
    let (mut delta, mut n) = (Vec::new(), 0);
    while !counts.state.write_snapshot(15, &mut delta).expect("it can be written") {
        n += 1;
        counts.set(n * 3 % 100, Some(n)); // Some are written by now, and some are not.
    }
    assert!(n > 40, "{n} slices");
    assert_eq!(records(&delta), (0, 100, 0));
}

#[test]
fn a_key_that_has_nothing_in_the_end_has_no_place() {
    let state = |name: &str, kind: &str| StateColumn {
        name: name.to_owned(),
        kind: kind.to_owned(),
        of: String::new(),
    };
    let states = vec![state("list", "list"), state("map", "map"), state("value", "value")];
    let (key, empty_list, empty_map, one) = (&[Value::from(1)], &[0x90][..], &[0x80][..], &[1][..]);
    let mut bytes = Vec::new();
    let mut write = |state, value: Option<&[u8]>| {
        write_value(state, key, value.map(Written::Plain), &mut bytes).expect("it can be written")
    };
    write(0, Some(empty_list));
    write(1, Some(empty_map));
    write(2, Some(one));
    write(2, None);
    let mut whole = Vec::new();
    write_begin(&Begin { number: 1, after: None, states }, false, &mut whole).expect("it can be written");
    whole.extend(bytes);
    write_end(4, &mut whole).expect("it can be written");
    let mut restored = States::new();
    restored.state.restore([&*whole]).expect("it is whole");
    assert_eq!((restored.kept(), restored.state.key_count()), (Model::default(), 0));
}

#[test]
fn keys_that_come_and_go_between_snapshots_are_in_none() {
    let mut counts = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    counts.set("stays", Some(1));
    counts.set("goes", Some(1));
    let (_, full) = counts.save(false);
    counts.set("goes", None);
    for n in 0..1_000 {
        counts.set(n, Some(n)); // Takes the place of the key that has gone.
        counts.set(n, None);
    }
    let (_, delta) = counts.save(false);
    assert_eq!(records(&delta), (1, 0, 0));
    let mut restored = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    restored.state.restore([&*full, &*delta]).expect("it is whole");
    assert_eq!((restored.get("stays"), restored.state.key_count()), (Some(1), 1));
}

#[test]
fn a_place_that_another_key_takes_while_it_is_pending_is_written_for_the_first() {
    let mut counts = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    counts.set("first", Some(1));
    let (_, full) = counts.save(false);
    counts.set("first", Some(2));
    let kind = counts.state.begin_snapshot(false);
    counts.set("first", None);
    counts.set("second", Some(3));
    counts.set("first", Some(4));
    let mut delta = Vec::new();
    while !counts.state.write_snapshot(1, &mut delta).expect("it can be written") {}
    let (_, next) = counts.save(false);
    let mut restored = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    restored.state.restore([&*full, &*delta]).expect("it is whole");
    assert_eq!((kind, restored.get("first"), restored.get("second")), (SnapshotKind::Delta, Some(2), None));
    restored.state.restore([&*full, &*delta, &*next]).expect("it is whole");
    assert_eq!((restored.get("first"), restored.get("second")), (Some(4), Some(3)));
}

#[test]
fn a_slice_keeps_to_its_budget() {
    let mut counts = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    (0..5_000).for_each(|key| counts.set(key, Some(key)));
    counts.state.begin_snapshot(true);
    (0..5_000).for_each(|key| counts.set(key, Some(0))); // All are copied now.
    let (mut slices, mut is_complete) = (0, false);
    while !is_complete {
        let mut slice = Vec::new();
        is_complete = counts.state.write_snapshot(1_000, &mut slice).expect("it can be written");
        assert!(slice.len() < 1_030, "{} bytes", slice.len());
        slices += 1;
    }
    assert!(slices > 50, "{slices} slices");
    (0..5_000).for_each(|key| counts.set(key, None));
    counts.set(0, Some(1));
    counts.state.begin_snapshot(true);
    let (mut slices, mut slice) = (1, Vec::new());
    while !counts.state.write_snapshot(1_000, &mut slice).expect("it can be written") {
        slices += 1;
    }
    assert!(slices >= 5, "places without a key count, too: {slices} slices");
}

#[test]
fn a_state_that_is_registered_later_is_in_the_next_delta() {
    let registry = StateRegistry::default();
    registry.register::<ValueCells<i64>>("first", StateKind::Value).expect("a new name");
    let mut task = TaskState::new(registry.clone(), Clock::simulated());
    task.take_registered();
    let save = |task: &mut TaskState| {
        let (mut bytes, kind) = (Vec::new(), task.begin_snapshot(false));
        while !task.write_snapshot(64, &mut bytes).expect("it can be written") {}
        (kind, bytes)
    };
    let (_, full) = save(&mut task);
    let second = registry.register::<OperatorCells<i64>>("second", StateKind::Operator).expect("a new name");
    task.take_registered();
    task.begin_call(1);
    task.column::<OperatorCells<i64>>(second).expect("it is one").list().push(1, 0, 8);
    let (kind, delta) = save(&mut task);
    let mut restored = TaskState::new(registry, Clock::simulated());
    restored.take_registered();
    restored.restore([&*full, &*delta]).expect("it is whole");
    let items = restored.column::<OperatorCells<i64>>(second).expect("it is one").list().items(0).to_vec();
    assert_eq!((kind, items), (SnapshotKind::Delta, vec![8]));
}

#[test]
fn a_state_that_the_checkpoint_lacks_is_empty() {
    let mut old = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    old.set("storm", Some(3));
    let (_, bytes) = old.save(true);
    let registry = StateRegistry::default();
    registry.register::<MapCells<i64, i64>>("new", StateKind::Map).expect("a new name");
    let counts = registry.register::<ValueCells<i64>>("counts", StateKind::Value).expect("a new name");
    let mut task = TaskState::new(registry, Clock::simulated());
    task.take_registered();
    task.restore([&*bytes]).expect("it fits");
    assert_eq!(task.column::<ValueCells<i64>>(counts).expect("it is one").get(0), Some(&3));
    let described: Vec<_> = task.described().into_iter().map(|state| state.name).collect();
    assert_eq!(described, ["new", "counts"]);
}

#[test]
fn timers_follow_the_wall_clock() {
    let clock = Clock::simulated();
    let mut old = One::<TimerCells>::with_clock("timer", StateKind::Timer, clock.clone());
    clock.advance(Duration::from_secs(10));
    for (key, seconds) in [(1, 20), (2, 600)] {
        let at = clock.now().after(Duration::from_secs(seconds));
        old.call(key, |cells, call, place| cells.set(call, place, Some(Due { at, failures: 2 })));
    }
    old.call(3, |cells, call, place| cells.set(call, place, Some(Due { at: Time::NEVER, failures: 0 })));
    let (_, bytes) = old.save(true);

    let later = Clock::simulated();
    later.advance(Duration::from_secs(100));
    let mut new = One::<TimerCells>::with_clock("timer", StateKind::Timer, later.clone());
    new.state.restore([&*bytes]).expect("it fits");
    let (timer, place) = new.state.due_timer(later.now()).expect("it was due when nothing ran");
    assert_eq!((new.place(1), new.state.timer_failures(timer, place)), (Some(place), 2));
    new.state.set_failed_timer(timer, place, None);
    assert_eq!(new.state.next_due(), Time::ZERO.after(Duration::from_secs(610)));
    let never = new.place(3).expect("it has a timer");
    let due = new.state.column::<TimerCells>(timer).expect("it is one").get(never);
    assert_eq!(due, Some(Due { at: Time::NEVER, failures: 0 }));
}

/// What this release must read for ever: the snapshot of value state `counts` with `storm` = 17, then a delta with
/// `storm` forgotten and `rain` = 4.
const GOLDEN: [&str; 2] = [
    "3b000000010183a66e756d62657201a56166746572c0a67374617465739183a46e616d65a6636f756e7473a46b696e64a576616c7565a474797065a36936340c00000003000107014573746f726d11020000000501",
    "3b000000010183a66e756d62657202a5616674657201a67374617465739183a46e616d65a6636f756e7473a46b696e64a576616c7565a474797065a36936340a000000020107014573746f726d0b0000000300010601447261696e04020000000502",
];

#[test]
fn snapshots_of_earlier_releases_are_read() {
    let mut counts = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    counts.set("storm", Some(17));
    let (_, full) = counts.save(true);
    counts.set("storm", None);
    counts.set("rain", Some(4));
    let (_, delta) = counts.save(false);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!([hex(&full), hex(&delta)], GOLDEN, "if the format changes, its version does");
    let golden = GOLDEN.map(|hex| {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hex");
        (0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>()
    });
    let mut restored = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    restored.state.restore([&*golden[0]]).expect("it is known");
    assert_eq!(restored.get("storm"), Some(17));
    restored.state.restore([&*golden[0], &*golden[1]]).expect("it is known");
    assert_eq!((restored.get("rain"), restored.get("storm")), (Some(4), None));

    let mut later = golden[0].clone();
    later[5] = 3;
    let error = restored.state.restore([&*later]).map_err(|error| error.to_string());
    let expected = "the checkpoint has version 3 of the format of state, which this release does not know";
    assert_eq!(error, Err(expected.to_owned()));
}

/// A value that cannot be written: by an error if it is 1, and by a panic if it is 2.
#[derive(Clone, Debug, Deserialize)]
struct Stubborn(i64);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            1 => Err(serde::ser::Error::custom("one is refused")),
            2 => panic!("a defect of the type"),
            n => serializer.serialize_i64(n),
        }
    }
}

#[test]
fn a_value_that_cannot_be_written_ends_the_snapshot() {
    let mut task = One::<ValueCells<Stubborn>>::new("values", StateKind::Value);
    task.set("good", Some(Stubborn(0)));
    task.save(false);
    task.set("a\nb", Some(Stubborn(1)));
    assert_eq!(task.state.begin_snapshot(false), SnapshotKind::Delta);
    let mut bytes = vec![9];
    let error = task.state.write_snapshot(1 << 20, &mut bytes).map_err(|error| error.to_string());
    let expected = r"state `values` of key `a\nb` cannot be written into a checkpoint: one is refused";
    assert_eq!((error, &*bytes), (Err(expected.to_owned()), &[9][..]));
    assert_eq!(task.state.write_snapshot(1, &mut bytes), Err(StateError::NoSnapshot));
    task.set("a\nb", Some(Stubborn(2)));
    assert_eq!(task.state.begin_snapshot(false), SnapshotKind::Full);
    let write = || task.state.write_snapshot(1 << 20, &mut bytes);
    assert!(catch_unwind(AssertUnwindSafe(write)).is_err());
    assert_eq!(task.state.write_snapshot(1, &mut bytes), Err(StateError::NoSnapshot));
    task.set("a\nb", Some(Stubborn(3)));
    let (kind, bytes) = task.save(false);
    assert_eq!((kind, records(&bytes)), (SnapshotKind::Full, (0, 2, 0)));
}

#[test]
fn errors_name_what_does_not_fit() {
    let mut counts = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    counts.set("st\u{1b}orm", Some(17));
    let (_, bytes) = counts.save(true);
    fn check<C: Column + Default>(name: &str, kind: StateKind, bytes: &[u8], expected: &str) {
        let mut task = One::<C>::new(name, kind);
        let error = task.state.restore([bytes]).expect_err("it does not fit").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let expected = "the checkpoint has state `counts` (value<i64>), which the component does not register: it registers \
                    state `count` (value<i64>)";
    check::<ValueCells<i64>>("count", StateKind::Value, &bytes, expected);
    let expected =
        "state `counts` is value<i64> in the checkpoint, and the component registers it as list<i64>";
    check::<ListCells<i64>>("counts", StateKind::List, &bytes, expected);
    let expected = r"state `counts` of key `st\u{1b}orm` cannot be restored: it is value<i64> in the checkpoint, and value<alloc::string::String> in the component: ";
    check::<ValueCells<String>>("counts", StateKind::Value, &bytes, expected);
    let check = |bytes: &[u8], expected: &str| {
        check::<ValueCells<i64>>("counts", StateKind::Value, bytes, expected);
    };
    check(&[], "the checkpoint is damaged: it has no snapshot");
    check(&bytes[..bytes.len() - 6], "the checkpoint is damaged: snapshot 1 has no end");
    check(&bytes[..bytes.len() - 1], "the checkpoint is damaged: a record is cut off");
    let (_, delta) = counts.save(false);
    check(&delta, "the checkpoint is damaged: snapshot 2 follows 1, and here it follows none");

    let mut all = One::<OperatorCells<i64>>::new("all", StateKind::Operator);
    all.call(1, |cells, call, _| cells.list().push(call, 0, 1));
    let (_, bytes) = all.save(true);
    let error = One::<OperatorCells<String>>::new("all", StateKind::Operator).state.restore([&*bytes]);
    let error = error.expect_err("it does not fit").to_string();
    assert!(error.starts_with("state `all` cannot be restored: it is operator<i64> in"), "{error}");
}

/// Of a task with every kind of state, which has moved to another number of tasks or not, all but one are left behind.
/// The next snapshot does not have them, and a key that had nothing else has no place.
#[test]
fn states_are_left_behind_by_their_names() {
    struct Everything;
    impl StateShare for Everything {
        fn has_key(&self, _: &[Value]) -> bool {
            true
        }
        fn has_operator_state_of(&self, _: u32) -> bool {
            true
        }
        fn has_item(&self, _: usize) -> bool {
            true
        }
    }
    let states =
        [("value", "value"), ("map", "map"), ("list", "list"), ("all", "operator"), ("timer", "timer")];
    let of = |(name, kind): &(&str, &str)| StateColumn {
        name: (*name).to_owned(),
        kind: (*kind).to_owned(),
        of: String::new(),
    };
    let mut whole = Vec::new();
    let begin = Begin { number: 1, after: None, states: states.iter().map(of).collect() };
    write_begin(&begin, false, &mut whole).expect("it can be written");
    let (one, two) = ([Value::from(1)], [Value::from(2)]);
    let written =
        [(0, &one[..], 17), (1, &two, 0x80), (2, &one, 0x90), (3, &[], 0x91), (4, &two, 0xc0), (0, &two, 1)];
    for (state, key, byte) in written {
        let value = Some(Written::Plain(std::slice::from_ref(&byte)));
        write_value(state, key, value, &mut whole).expect("it can be written");
    }
    write_value(0, &two, None, &mut whole).expect("it can be written");
    write_end(7, &mut whole).expect("it can be written");

    let left_behind = ["map", "list", "all", "timer"].map(SmolStr::new_static).into();
    for share in [None, Some(&Everything as &dyn StateShare)] {
        let mut after = One::<ValueCells<i64>>::new("value", StateKind::Value);
        let taking = Taking { share, left_behind: &left_behind };
        let read = |_: u32, take: &mut TakeChunk<'_>| take(&whole);
        after.state.restore_tasks::<StateError>([0], taking, read).expect("it fits");
        assert_eq!((after.get(1), after.place(2)), (Some(17), None));
        let (kind, bytes) = after.save(false);
        assert_eq!((kind, records(&bytes)), (SnapshotKind::Full, (0, 1, 0)));
    }
    // A state of the same name is another one.
    let mut after = One::<ListCells<String>>::new("value", StateKind::List);
    let left_behind = states.map(|(name, _)| SmolStr::new_static(name)).into();
    let taking = Taking { share: None, left_behind: &left_behind };
    let read = |_: u32, take: &mut TakeChunk<'_>| take(&whole);
    after.state.restore_tasks::<StateError>([0], taking, read).expect("it fits");
    assert_eq!(after.place(1), None);
}

/// The checksum of a file stands at its end. If it is wrong, nothing of what was read before counts, wherever it is by then.
#[test]
fn what_was_read_before_an_error_is_dropped() {
    let mut counts = One::<ValueCells<i64>>::new("counts", StateKind::Value);
    (0..2_000).for_each(|key| counts.set(key, Some(key)));
    let (_, bytes) = counts.save(true);
    let nothing = [].into();
    let taking = Taking { share: None, left_behind: &nothing };
    let directory = tempfile::tempdir().expect("a directory");
    let redb = RedbBackend::new(Some(directory.path().to_owned()));
    let backends: [Option<Arc<dyn StateBackend>>; 3] =
        [None, Some(Arc::new(MemoryBackend::default())), Some(Arc::new(redb))];
    for backend in backends {
        let mut restored = One::<ValueCells<i64>>::new("counts", StateKind::Value);
        if let Some(backend) = backend {
            restored.state.set_backend(backend, 8 << 10);
            restored.state.open_store().expect("it can be opened");
        }
        let wrong = |_: u32, take: &mut TakeChunk<'_>| {
            take(&bytes)?;
            Err(StateError::Damaged { why: "the checksum is wrong".into() })
        };
        assert!(restored.state.restore_tasks::<StateError>([0], taking, wrong).is_err());
        assert_eq!((restored.state.key_count(), restored.get(7)), (0, None));
        let right = |_: u32, take: &mut TakeChunk<'_>| take(&bytes);
        restored.state.restore_tasks::<StateError>([0], taking, right).expect("it is whole");
        assert_eq!((restored.state.key_count(), restored.get(7)), (2_000, Some(7)));
    }
}

#[test]
fn fields_may_come_and_go() {
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Before {
        orders: u64,
        nick: String,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        orders: u64,
        #[serde(default)]
        cents: i64,
    }
    let mut before = One::<ValueCells<Before>>::new("customers", StateKind::Value);
    before.set(1, Some(Before { orders: 3, nick: "al".to_owned() }));
    let (_, bytes) = before.save(true);
    let mut after = One::<ValueCells<After>>::new("customers", StateKind::Value);
    after.state.restore([&*bytes]).expect("it fits");
    assert_eq!(after.get(1), Some(After { orders: 3, cents: 0 }));
}

#[test]
fn states_are_described() {
    let described = States::new().state.described();
    let kinds: Vec<_> = described.iter().map(|state| (&*state.name, state.kind, &*state.rust_type)).collect();
    let expected = [
        ("value", StateKind::Value, "i64"),
        ("map", StateKind::Map, "i64, alloc::string::String"),
        ("list", StateKind::List, "i64"),
        ("all", StateKind::Operator, "i64"),
        ("timer", StateKind::Timer, ""),
        ("brief-value", StateKind::Value, "i64"),
        ("brief-map", StateKind::Map, "i64, alloc::string::String"),
        ("brief-list", StateKind::List, "i64"),
    ];
    assert_eq!(kinds, expected);
}
