//! A state with a time to live: what is removed and when, what snapshots have of it, and versions of a component
//! with and without one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::tests::begin_call;
use crate::clock::Clock;
use crate::state::expiring::CallTime;
use crate::state::records::{Record, Records};
use crate::state::stored::Written;
use crate::state::{
    Column, ExpiringListCells, ExpiringMapCells, ExpiringValueCells, ListCells, MapCells, SavedStateReader,
    SnapshotKind, StateKind, StateRegistry, TaskState, Ttl, ValueCells, key_in_json, value_in_json,
};
use crate::tuple::Value;

const MINUTE: Duration = Duration::from_secs(60);

/// A task with one state, whose time to live is 8 minutes.
struct Brief {
    state: TaskState,
    clock: Clock,
    calls: u64,
}

impl Brief {
    fn with<C: Column + From<Ttl>>(kind: StateKind, ttl: Ttl, clock: Clock) -> Brief {
        let registry = StateRegistry::default();
        registry.register_expiring::<C>("counts", kind, ttl).expect("a new name");
        Brief::of(registry, clock)
    }

    fn plain<C: Column + Default>(kind: StateKind, clock: Clock) -> Brief {
        let registry = StateRegistry::default();
        registry.register::<C>("counts", kind).expect("a new name");
        Brief::of(registry, clock)
    }

    fn of(registry: StateRegistry, clock: Clock) -> Brief {
        let mut state = TaskState::new(registry, clock.clone());
        state.take_registered();
        Brief { state, clock, calls: 0 }
    }

    fn counts() -> Brief {
        let ttl = Ttl::after_write(8 * MINUTE);
        Brief::with::<ExpiringValueCells<i64>>(StateKind::Value, ttl, Clock::simulated())
    }

    /// A call with this key.
    fn call<C: Column>(&mut self, key: impl Into<Value>, call: impl FnOnce(&mut C, CallTime, u32)) {
        self.calls += 1;
        begin_call(&mut self.state, self.calls, key);
        let place = self.state.place_to_change(0).expect("there is a key");
        self.state.removes(place);
        let at = CallTime { call: self.calls, now: self.clock.now() };
        call(self.state.column(0).expect("it is one"), at, place);
        self.state.commit();
    }

    fn set(&mut self, key: impl Into<Value>, value: i64) {
        self.call(key, |cells: &mut ExpiringValueCells<i64>, at, place| cells.set(at, place, value));
    }

    fn get(&mut self, key: impl Into<Value>) -> Option<i64> {
        let mut found = None;
        self.call(key, |cells: &mut ExpiringValueCells<i64>, at, place| {
            found = cells.get(at, place).copied();
        });
        found
    }

    fn remove_expired(&mut self) {
        self.state.remove_expired(self.clock.now());
    }

    fn save(&mut self, full: bool) -> (SnapshotKind, Vec<u8>) {
        let (kind, mut bytes) = (self.state.begin_snapshot(full), Vec::new());
        while !self.state.write_snapshot(1 << 20, &mut bytes).expect("it can be written") {}
        (kind, bytes)
    }
}

/// The number of records of keys that are forgotten, values with dates, and values that are removed.
fn records(bytes: &[u8]) -> (u32, u32, u32) {
    let (mut records, mut key) = (Records::new(bytes), Vec::new());
    let (mut forgotten, mut dated, mut removed) = (0, 0, 0);
    while let Some(record) = records.next(&mut key).expect("it is whole") {
        match record {
            Record::Begin(_) | Record::End { .. } => {}
            Record::Forget => forgotten += 1,
            Record::Value { value: Written::Dated(_), .. } => dated += 1,
            Record::Value { value: Written::Plain(_), .. } => panic!("it has no dates"),
            Record::Remove { .. } => removed += 1,
        }
    }
    (forgotten, dated, removed)
}

#[test]
fn an_entry_is_gone_at_its_deadline() {
    let mut counts = Brief::counts();
    counts.set("storm", 1);
    counts.clock.advance(8 * MINUTE - Duration::from_nanos(1));
    assert_eq!(counts.get("storm"), Some(1));
    counts.clock.advance(Duration::from_nanos(1));
    assert_eq!(counts.get("storm"), None, "a read does not begin it anew");
    counts.set("storm", 2);
    counts.clock.advance(7 * MINUTE);
    counts.set("storm", 3);
    counts.clock.advance(7 * MINUTE);
    assert_eq!(counts.get("storm"), Some(3), "a write begins it anew");
}

/// All uses of a call see the same, however long the call takes.
#[test]
fn a_call_has_one_time() {
    let mut counts = Brief::counts();
    counts.set("storm", 1);
    counts.state.begin_call(10);
    let first = counts.state.call_time();
    counts.clock.advance(MINUTE);
    assert_eq!(counts.state.call_time().now, first.now);
    counts.state.begin_call(11);
    assert_eq!(counts.state.call_time().now, counts.clock.now());
}

/// Keys that come once and never again filled the memory.
#[test]
fn keys_that_never_come_again_are_removed_while_others_come() {
    let mut counts = Brief::counts();
    let mut most = 0;
    for key in 0..50_000 {
        counts.set(key, 1);
        counts.set("always", key);
        counts.clock.advance(MINUTE / 60);
        counts.remove_expired();
        most = most.max(counts.state.key_count());
    }
    // 480 keys come in 8 minutes.
    assert!(most < 490, "{most} keys at once");
    assert_eq!(counts.get("always"), Some(49_999));
}

#[test]
fn many_that_expire_at_once_are_removed_step_by_step() {
    let mut counts = Brief::counts();
    (0..10_000).for_each(|key| counts.set(key, 1));
    counts.remove_expired(); // The writes have paid for more looks than there are places.
    counts.save(false);
    counts.clock.advance(8 * MINUTE);
    let mut steps = 0;
    while counts.state.key_count() > 0 {
        let before = counts.state.key_count();
        counts.remove_expired();
        let removed = before - counts.state.key_count();
        assert!((1..=256).contains(&removed), "{removed}");
        steps += 1;
    }
    assert_eq!(steps, 10_000_usize.div_ceil(256));
    assert_eq!(counts.state.next_removal(), crate::clock::Time::NEVER);
    let (kind, delta) = counts.save(false);
    assert_eq!((kind, records(&delta)), (SnapshotKind::Delta, (10_000, 0, 0)));
}

#[test]
fn a_snapshot_has_nothing_that_has_expired() {
    let mut counts = Brief::counts();
    counts.set("old", 1);
    counts.clock.advance(MINUTE);
    counts.set("new", 2);
    assert_eq!(records(&counts.save(true).1), (0, 2, 0));
    counts.set("old", 3);
    counts.clock.advance(7 * MINUTE);
    assert_eq!(records(&counts.save(true).1), (0, 2, 0));
    counts.clock.advance(MINUTE);
    assert_eq!(records(&counts.save(true).1), (0, 0, 0), "both have expired, and are not removed yet");
    counts.set("new", 4);
    counts.set("old", 5);
    counts.clock.advance(8 * MINUTE);
    let (kind, delta) = counts.save(false);
    assert_eq!((kind, records(&delta)), (SnapshotKind::Delta, (0, 0, 2)), "removed before they are");
}

/// The key stays because of another state, so the delta has a record of what was removed; and a snapshot that had begun
/// before has it still.
#[test]
fn what_is_removed_is_in_the_next_delta_and_stays_in_the_snapshot_before() {
    let registry = StateRegistry::default();
    let ttl = Ttl::after_write(8 * MINUTE);
    registry
        .register_expiring::<ExpiringValueCells<i64>>("counts", StateKind::Value, ttl)
        .expect("a new name");
    let stays = registry.register::<ValueCells<i64>>("stays", StateKind::Value).expect("a new name");
    let clock = Clock::simulated();
    let mut task = Brief::of(registry.clone(), clock.clone());
    task.set("storm", 1);
    task.set("rain", 2);
    task.calls += 1;
    task.state.begin_call(task.calls);
    (0..2).for_each(|place| {
        task.state.column::<ValueCells<i64>>(stays).expect("it is one").set(task.calls, place, Some(9));
    });
    let (mut bytes, _) = (Vec::new(), task.state.begin_snapshot(true));
    clock.advance(8 * MINUTE);
    task.remove_expired();
    while !task.state.write_snapshot(1, &mut bytes).expect("it can be written") {}
    let mut before = Brief::of(registry, Clock::simulated());
    before.state.restore([&*bytes]).expect("it fits");
    assert_eq!((before.get("storm"), before.get("rain")), (Some(1), Some(2)), "it is as it was at its begin");
    let (kind, delta) = task.save(false);
    assert_eq!((kind, records(&delta)), (SnapshotKind::Delta, (0, 0, 2)));
}

#[test]
fn the_time_in_which_nothing_runs_counts() {
    let mut counts = Brief::counts();
    counts.set("storm", 1);
    counts.clock.advance(MINUTE);
    counts.set("rain", 2);
    let (_, bytes) = counts.save(true);
    counts.clock.advance(7 * MINUTE); // As the wall clock does.
    let mut later = Brief::with::<ExpiringValueCells<i64>>(
        StateKind::Value,
        Ttl::after_write(8 * MINUTE),
        counts.clock.clone(),
    );
    later.state.restore([&*bytes]).expect("it fits");
    assert_eq!(later.state.key_count(), 1, "what has expired has no place");
    assert_eq!((later.get("storm"), later.get("rain")), (None, Some(2)));
    later.clock.advance(MINUTE);
    assert_eq!(later.get("rain"), None);
}

/// A snapshot has dates, not deadlines: so a new version of the component may have another time to live.
#[test]
fn another_time_to_live_holds_for_what_was_kept_before() {
    let mut counts = Brief::counts();
    counts.set("storm", 1);
    counts.clock.advance(5 * MINUTE);
    let (_, bytes) = counts.save(true);
    for (minutes, left) in [(4, 0), (6, 1), (20, 15)] {
        let clock = Clock::simulated();
        clock.advance(5 * MINUTE);
        let ttl = Ttl::after_access(minutes * MINUTE);
        let mut other = Brief::with::<ExpiringValueCells<i64>>(StateKind::Value, ttl, clock);
        other.state.restore([&*bytes]).expect("it fits");
        let cells = |other: &mut Brief| {
            let now = other.clock.now();
            other.state.column::<ExpiringValueCells<i64>>(0).expect("it is one").peek(now, 0).copied()
        };
        other.clock.advance((left * MINUTE).saturating_sub(Duration::from_nanos(1)));
        assert_eq!(cells(&mut other), (left > 0).then_some(1), "{minutes} minutes");
        other.clock.advance(Duration::from_nanos(1));
        assert_eq!(cells(&mut other), None, "{minutes} minutes");
    }
}

/// If the machine's date is set back while nothing runs, entries live no longer than from the restore on.
#[test]
fn a_date_in_the_future_is_as_good_as_now() {
    let mut counts = Brief::counts();
    counts.clock.advance(1_000 * MINUTE);
    counts.set("storm", 1);
    let (_, bytes) = counts.save(true);
    let mut earlier = Brief::counts();
    earlier.state.restore([&*bytes]).expect("it fits");
    earlier.clock.advance(8 * MINUTE - Duration::from_nanos(1));
    assert_eq!(earlier.get("storm"), Some(1));
    earlier.clock.advance(Duration::from_nanos(1));
    assert_eq!(earlier.get("storm"), None);
}

/// Of each kind: without a time to live before, and with one now; and the other way round.
#[test]
fn a_time_to_live_may_come_and_go() {
    let ttl = Ttl::after_write(8 * MINUTE);
    let at = |task: &Brief| CallTime { call: 7, now: task.clock.now() };
    let clock = Clock::simulated;

    let mut plain = Brief::plain::<ValueCells<i64>>(StateKind::Value, clock());
    plain.call("a", |cells: &mut ValueCells<i64>, at, place| cells.set(at.call, place, Some(1)));
    let mut brief = Brief::with::<ExpiringValueCells<i64>>(StateKind::Value, ttl, clock());
    brief.clock.advance(MINUTE);
    brief.state.restore([&*plain.save(true).1]).expect("it fits");
    brief.clock.advance(8 * MINUTE - Duration::from_nanos(1));
    assert_eq!(brief.get("a"), Some(1), "it begins at the restore");
    brief.clock.advance(Duration::from_nanos(1));
    assert_eq!(brief.get("a"), None);
    brief.set("a", 2);
    plain.state.restore([&*brief.save(true).1]).expect("it fits");
    assert_eq!(plain.state.column::<ValueCells<i64>>(0).expect("it is one").get(0), Some(&2));

    let mut plain = Brief::plain::<MapCells<String, i64>>(StateKind::Map, clock());
    plain.call("a", |cells: &mut MapCells<String, i64>, at, place| {
        cells.set(at.call, place, "x".to_owned(), Some(1));
    });
    let mut brief = Brief::with::<ExpiringMapCells<String, i64>>(StateKind::Map, ttl, clock());
    brief.state.restore([&*plain.save(true).1]).expect("it fits");
    let now = at(&brief);
    let cells = brief.state.column::<ExpiringMapCells<String, i64>>(0).expect("it is one");
    assert_eq!(cells.get(now, 0, "x"), Some(&1));
    plain.state.restore([&*brief.save(true).1]).expect("it fits");
    let map = plain.state.column::<MapCells<String, i64>>(0).expect("it is one").map(0);
    assert_eq!(map.and_then(|map| map.get("x")), Some(&1));

    let mut plain = Brief::plain::<ListCells<i64>>(StateKind::List, clock());
    plain.call("a", |cells: &mut ListCells<i64>, at, place| cells.set(at.call, place, vec![1, 2]));
    let mut brief = Brief::with::<ExpiringListCells<i64>>(StateKind::List, ttl, clock());
    brief.state.restore([&*plain.save(true).1]).expect("it fits");
    let now = at(&brief);
    let cells = brief.state.column::<ExpiringListCells<i64>>(0).expect("it is one");
    assert_eq!(cells.items(now, 0), [1, 2]);
    plain.state.restore([&*brief.save(true).1]).expect("it fits");
    assert_eq!(plain.state.column::<ListCells<i64>>(0).expect("it is one").items(0), [1, 2]);
}

/// Two looks at a long map are an eighth of the time to live apart, so its length does not count for each entry.
#[test]
fn a_map_is_looked_at_seldom_however_its_entries_expire() {
    let ttl = Ttl::after_write(8 * MINUTE);
    let mut task = Brief::with::<ExpiringMapCells<i64, i64>>(StateKind::Map, ttl, Clock::simulated());
    for n in 0..1_000 {
        task.clock.advance(MINUTE / 10);
        task.call("a", |cells: &mut ExpiringMapCells<i64, i64>, at, place| {
            cells.insert(at, place, n, n);
        });
        task.remove_expired();
        let now = task.clock.now();
        let cells = task.state.column::<ExpiringMapCells<i64, i64>>(0).expect("it is one");
        let expected = (n + 1).min(80) as usize;
        let kept = cells.kept_len(0);
        assert_eq!(cells.len(now, 0), expected);
        assert!(kept <= expected + 10, "{kept} entries are kept, and {expected} have not expired");
        assert!(task.state.next_removal() > now);
    }
}

#[test]
fn a_time_to_live_has_bounds() {
    let registry = StateRegistry::default();
    let register = |period| {
        let ttl = Ttl::after_write(period);
        registry.register_expiring::<ExpiringValueCells<i64>>("counts", StateKind::Value, ttl)
    };
    let text = |period| register(period).map_err(|error| error.to_string());
    assert_eq!(
        text(Duration::ZERO),
        Err("a state cannot have a time to live of 0ns: it must be more than 0 and at most 36500 days".into())
    );
    assert!(text(Duration::from_secs(36_501 * 86_400)).is_err());
    assert_eq!(text(8 * MINUTE), Ok(0));
    assert_eq!(text(8 * MINUTE), Ok(0), "the next instance registers it once more");
    let expected = "state `counts` is value<i64> with a time to live of 8m after write, and is registered once \
                    more as value<i64> with a time to live of 1m after write";
    assert_eq!(text(MINUTE), Err(expected.into()));
    let plain = registry.register::<ValueCells<i64>>("counts", StateKind::Value);
    assert!(plain.is_err_and(|error| error.to_string().ends_with("once more as value<i64>")));
}

/// A checkpoint does not have the time to live, so an entry that has expired is shown until a delta removes it.
#[test]
fn values_are_shown_without_their_dates() {
    let shown = |snapshots: &[&[u8]]| {
        let mut reader = SavedStateReader::default();
        snapshots.iter().try_for_each(|snapshot| reader.read(snapshot)).expect("they are whole");
        let states = reader.finish().expect("they are whole");
        let values = states.iter().flat_map(|state| &state.values).map(|(key, value)| {
            let value = value_in_json(StateKind::Value, value.written()).expect("it has a date");
            format!("{}: {value}", key_in_json(key))
        });
        values.collect::<Vec<_>>()
    };
    let mut counts = Brief::counts();
    counts.set("storm", 17);
    let (_, full) = counts.save(true);
    assert_eq!(shown(&[&full]), [r#"["storm"]: 17"#]);
    counts.clock.advance(8 * MINUTE);
    counts.set("rain", 4);
    let (_, first) = counts.save(false);
    assert_eq!(shown(&[&full, &first]), [r#"["rain"]: 4"#, r#"["storm"]: 17"#]);
    counts.remove_expired();
    let (_, second) = counts.save(false);
    assert_eq!(shown(&[&full, &first, &second]), [r#"["rain"]: 4"#]);
}

/// A snapshot with dates, which this release must read for ever: of value state `counts`, with a time to live of 8
/// minutes, `storm` = 17, written at the begin of 2026, and then a delta with `storm` forgotten and `rain` = 4, a minute later.
#[test]
fn snapshots_with_dates_are_read() {
    let mut counts = Brief::counts();
    counts.set("storm", 17);
    let (_, full) = counts.save(true);
    counts.clock.advance(MINUTE);
    counts.call("storm", |cells: &mut ExpiringValueCells<i64>, at, place| cells.clear_value(at, place));
    counts.set("rain", 4);
    let (_, delta) = counts.save(false);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let written = format!("{}\n{}\n", hex(&full), hex(&delta));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state/2.hex");
    let golden = fs::read_to_string(path).expect("it is in the repository");
    assert_eq!(written, golden, "if the format changes, its version does");
    let bytes = |line: &str| {
        let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("it is hex");
        (0..line.len()).step_by(2).map(byte).collect::<Vec<_>>()
    };
    let golden: Vec<_> = golden.lines().map(bytes).collect();
    let mut restored = Brief::counts();
    restored.state.restore([&*golden[0]]).expect("it is known");
    assert_eq!(restored.get("storm"), Some(17));
    restored.clock.advance(8 * MINUTE);
    restored.state.restore([&*golden[0], &*golden[1]]).expect("it is known");
    assert_eq!((restored.get("storm"), restored.get("rain")), (None, Some(4)));
    restored.clock.advance(MINUTE);
    assert_eq!(restored.get("rain"), None);
}
