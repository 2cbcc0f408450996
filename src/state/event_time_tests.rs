//! State that counts event time: what expires, which timers are due, and what snapshots have of both.

use std::time::Duration;

use super::tests::begin_call;
use crate::clock::{Clock, Time};
use crate::state::{
    ExpiringListCells, ExpiringMapCells, ExpiringValueCells, StateKind, StateRegistry, TaskState, TimerCells,
    Ttl, event_clock,
};
use crate::tuple::Timestamp;

const MINUTE: i64 = 60_000_000_000;

/// A task with a value, a map and a list that stay for 10 minutes of event time, and a timer.
struct Task {
    state: TaskState,
    calls: u64,
}

const VALUE: u32 = 0;
const MAP: u32 = 1;
const LIST: u32 = 2;
const TIMER: u32 = 3;

impl Task {
    fn new() -> Task {
        let registry = StateRegistry::default();
        let ttl = Ttl::after_write(Duration::from_secs(600)).in_event_time();
        let registered = [
            registry.register_expiring::<ExpiringValueCells<i64>>("value", StateKind::Value, ttl),
            registry.register_expiring::<ExpiringMapCells<i64, i64>>("map", StateKind::Map, ttl),
            registry.register_expiring::<ExpiringListCells<i64>>("list", StateKind::List, ttl),
            registry.register::<TimerCells>("timer", StateKind::EventTimer),
        ];
        let registered = registered.map(|number| number.expect("a new name"));
        assert_eq!(registered, [VALUE, MAP, LIST, TIMER]);
        let mut state = TaskState::new(registry, Clock::simulated());
        state.take_registered();
        Task { state, calls: 0 }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp(1_796_032_800_000_000_000 + minutes * MINUTE)
    }

    fn advance(&mut self, minutes: i64) {
        self.state.set_watermark(Task::at(minutes));
        self.state.remove_expired(Time::ZERO);
    }

    fn begin(&mut self, key: i64) {
        self.calls += 1;
        begin_call(&mut self.state, self.calls, key);
    }

    fn write(&mut self, key: i64, value: i64) {
        self.begin(key);
        let place = self.state.place_to_change(VALUE).expect("there is a key");
        let (cells, at) = self.state.expiring_column::<ExpiringValueCells<i64>>(VALUE).expect("it is one");
        cells.set(at, place, value);
        let (cells, at) = self.state.expiring_column::<ExpiringMapCells<i64, i64>>(MAP).expect("it is one");
        cells.insert(at, place, 1, value);
        let (cells, at) = self.state.expiring_column::<ExpiringListCells<i64>>(LIST).expect("it is one");
        cells.push(at, place, value);
        self.state.commit();
    }

    /// How many of the three states still have something.
    fn left(&mut self, key: i64) -> usize {
        self.begin(key);
        let Some(place) = self.state.place(VALUE).expect("there is a key") else { return 0 };
        let (cells, at) = self.state.expiring_column::<ExpiringValueCells<i64>>(VALUE).expect("it is one");
        let value = usize::from(cells.get(at, place).is_some());
        let (cells, at) = self.state.expiring_column::<ExpiringMapCells<i64, i64>>(MAP).expect("it is one");
        let map = usize::from(cells.get(at, place, &1).is_some());
        let (cells, at) = self.state.expiring_column::<ExpiringListCells<i64>>(LIST).expect("it is one");
        value + map + cells.items(at, place).len()
    }

    fn set_timer(&mut self, key: i64, minutes: i64) {
        self.begin(key);
        self.state.set_timer(TIMER, event_clock(Task::at(minutes))).expect("there is a key");
        self.state.commit();
    }

    fn save(&mut self) -> Vec<u8> {
        self.state.begin_snapshot(true);
        let mut bytes = Vec::new();
        while !self.state.write_snapshot(1 << 20, &mut bytes).expect("it can be written") {}
        bytes
    }
}

#[test]
fn entries_expire_by_the_watermark() {
    let mut task = Task::new();
    task.advance(0);
    task.write(7, 1);
    task.advance(9);
    assert_eq!(task.left(7), 3);
    task.write(8, 1);
    task.advance(10);
    assert_eq!((task.left(7), task.left(8)), (0, 3), "processing time has not moved at all");
    task.advance(30);
    assert_eq!((task.state.key_count(), task.state.next_removal()), (0, Time::NEVER));
}

#[test]
fn what_was_written_before_the_first_watermark_counts_from_it() {
    let mut task = Task::new();
    task.write(7, 1);
    assert_eq!(task.left(7), 3);
    let before = task.save();
    task.advance(5);
    assert_eq!(task.left(7), 3);
    task.advance(14);
    assert_eq!(task.left(7), 3);
    task.advance(15);
    assert_eq!(task.left(7), 0);
    // A checkpoint from before the first watermark says so, too: it counts from the watermark of the restore.
    let mut restored = Task::new();
    restored.state.set_watermark(Task::at(20));
    restored.state.restore([&*before]).expect("it fits");
    restored.advance(29);
    assert_eq!(restored.left(7), 3);
    restored.advance(30);
    assert_eq!(restored.left(7), 0);
}

#[test]
fn the_end_of_time_calls_all_timers_and_expires_nothing() {
    let mut task = Task::new();
    task.advance(0);
    task.write(7, 1);
    task.set_timer(7, 1_000_000);
    assert_eq!(task.state.due_event_timer(), None);
    task.state.set_watermark(Timestamp(i64::MAX));
    task.state.remove_expired(Time::ZERO);
    assert_eq!(task.left(7), 3);
    let (timer, _, at) = task.state.due_event_timer().expect("all are due");
    assert_eq!((timer, at), (TIMER, Task::at(1_000_000)));
    assert_eq!(task.state.watermark(), Some(Timestamp(i64::MAX)));
}

#[test]
fn timers_are_due_in_the_order_of_their_times_and_never_by_the_clock() {
    let mut task = Task::new();
    for (key, minutes) in [(1, 30), (2, 10), (3, 20)] {
        task.set_timer(key, minutes);
    }
    assert_eq!((task.state.due_event_timer(), task.state.next_due()), (None, Time::NEVER));
    task.advance(20);
    let mut due = Vec::new();
    while let Some((timer, place, at)) = task.state.due_event_timer() {
        task.state.begin_call(99);
        task.state.begin_timer(timer, place);
        due.push((task.state.key()[0].as_i64(), at));
        task.state.commit();
    }
    assert_eq!(due, [(Some(2), Task::at(10)), (Some(3), Task::at(20))]);
    task.state.set_watermark(Task::at(5));
    assert_eq!(task.state.watermark(), Some(Task::at(20)), "it never goes back");
}

/// The process that continues has another clock, which does not matter.
#[test]
fn a_snapshot_has_event_time_as_it_is() {
    let mut task = Task::new();
    task.advance(0);
    task.write(7, 1);
    task.advance(4);
    task.set_timer(7, 12);
    let bytes = task.save();
    let mut later = Task::new();
    later.state.set_watermark(Task::at(4));
    later.state.restore([&*bytes]).expect("it fits");
    later.advance(9);
    assert_eq!((later.left(7), later.state.due_event_timer()), (3, None));
    later.advance(12);
    assert_eq!(later.left(7), 0);
    let (timer, _, at) = later.state.due_event_timer().expect("it is due");
    assert_eq!((timer, at), (TIMER, Task::at(12)));
}
