//! Storm's `WindowManagerTest`, `WaterMarkEventGeneratorTest` and `SlidingWindowTest`, with their numbers (in seconds, where
//! Storm has milliseconds).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::prelude::*;
use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
use squall::window::{Measure, TupleWindow, WindowTime, Windowed, WindowedBolt};

const SECOND: i64 = 1_000_000_000;

fn seconds(n: u64) -> Measure {
    Measure::Time(Duration::from_secs(n))
}

/// What a window has: all, new, and expired tuples, by their numbers.
type Told = (Vec<i64>, Vec<i64>, Vec<i64>);

/// Keeps what it is called with.
struct Record(Arc<Mutex<Vec<Told>>>);

impl WindowedBolt for Record {
    fn execute(&mut self, window: &TupleWindow, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        let number = |tuple: Input<'_>| tuple.i64("n").unwrap_or(-1);
        let told = (
            window.all().map(number).collect(),
            window.new_tuples().map(number).collect(),
            window.expired().map(number).collect(),
        );
        self.0.lock().expect("nobody panics").push(told);
        Ok(())
    }
}

/// A bolt with windows, and what they were.
struct Windows {
    bolt: BoltHarness,
    told: Arc<Mutex<Vec<Told>>>,
    next: i64,
}

impl Windows {
    fn new(length: Measure, slide: Measure, time: WindowTime) -> Windows {
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let bolt = Windowed::new(Record(Arc::clone(&told)), length, slide).at("at").time(time);
        let bolt = BoltHarness::start(Box::new(bolt), &HarnessOptions::default());
        Windows { bolt: bolt.unwrap_or_else(|error| panic!("{error}")), told, next: 1 }
    }

    fn event(length: Measure, slide: Measure) -> Windows {
        Windows::new(length, slide, WindowTime::Event)
    }

    /// Tuples that happened at these seconds, numbered from 1.
    fn add(&mut self, ats: &[i64]) {
        for at in ats {
            let tuple = TestTuple::new((self.next, Timestamp(at * SECOND))).fields(["n", "at"]);
            self.bolt.execute(tuple);
            self.next += 1;
        }
    }

    fn watermark(&mut self, second: i64) {
        self.bolt.advance_watermark(Timestamp(second * SECOND));
    }

    fn end(&mut self) {
        self.bolt.advance_watermark(Timestamp(i64::MAX));
        self.bolt.finish();
    }

    fn take(&mut self) -> Vec<Told> {
        assert_eq!(self.bolt.errors(), [] as [&str; 0]);
        std::mem::take(&mut *self.told.lock().expect("nobody panics"))
    }

    fn all(&mut self) -> Vec<Vec<i64>> {
        self.take().into_iter().map(|(all, ..)| all).collect()
    }
}

fn range(first: i64, last: i64) -> Vec<i64> {
    (first..=last).collect()
}

#[test]
fn count_length_5_slide_2() {
    let mut windows = Windows::new(Measure::Rows(5), Measure::Rows(2), WindowTime::Processing);
    windows.add(&[0; 8]);
    assert_eq!(
        windows.take(),
        [
            (range(1, 2), range(1, 2), vec![]),
            (range(1, 4), range(3, 4), vec![]),
            (range(2, 6), range(5, 6), vec![1]),
            (range(4, 8), range(7, 8), vec![2, 3]),
        ]
    );
    let mut windows = Windows::new(Measure::Rows(3), Measure::Rows(3), WindowTime::Processing);
    windows.add(&[0; 7]);
    assert_eq!(windows.all(), [range(1, 3), range(4, 6)]);
    windows.bolt.finish();
    assert_eq!(windows.all(), [range(5, 7)], "the last three, of which one is new");
}

#[test]
fn count_windows_of_event_time() {
    let mut windows = Windows::event(Measure::Rows(5), Measure::Rows(2));
    // They come in another order.
    windows.add(&[610, 601, 603, 602, 606, 605, 604, 609, 608, 607]);
    windows.watermark(611);
    let told = windows.all();
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [2, 4, 5, 5, 5]);
    assert_eq!((told[0].clone(), told[4].clone()), (vec![2, 4], vec![5, 10, 9, 8, 1]));
    // Two at the same time.
    let mut windows = Windows::event(Measure::Rows(2), Measure::Rows(2));
    windows.add(&[600, 600, 601, 601, 602, 602, 603, 603, 604, 604]);
    windows.watermark(605);
    assert_eq!(windows.all(), (0..5).map(|pair| range(2 * pair + 1, 2 * pair + 2)).collect::<Vec<_>>());
}

#[test]
fn event_time_length_20_slide_10() {
    let mut windows = Windows::event(seconds(20), seconds(10));
    windows.add(&[603, 605, 607]);
    windows.watermark(609);
    assert!(windows.take().is_empty());
    windows.add(&[618, 626, 636]);
    windows.watermark(631);
    assert_eq!(
        windows.take(),
        [
            (range(1, 3), range(1, 3), vec![]),
            (range(1, 4), vec![4], vec![]),
            (range(4, 5), vec![5], range(1, 3)),
        ]
    );
    windows.add(&[825, 826, 827, 839]);
    windows.watermark(834);
    // The gap has no windows, and what leaves there is told nobody.
    assert_eq!(
        windows.take(),
        [(range(5, 6), vec![6], vec![4]), (vec![6], vec![], vec![5]), (range(7, 9), range(7, 9), vec![]),]
    );
}

#[test]
fn tuples_that_come_late_by_the_lag_are_in_order() {
    let mut windows = Windows::event(seconds(20), seconds(10));
    windows.add(&[603, 605, 607, 618, 626, 632, 629, 636]);
    windows.watermark(631);
    assert_eq!(windows.all(), [range(1, 3), range(1, 4), vec![4, 5, 7]]);
    let mut windows = Windows::event(seconds(20), seconds(10));
    windows.add(&[603, 605, 607, 618, 626, 629, 636, 637, 638, 639]);
    windows.watermark(631);
    assert_eq!(windows.all(), [range(1, 3), range(1, 4), range(4, 6)]);
}

#[test]
fn count_length_3_slide_10_seconds() {
    let mut windows = Windows::event(Measure::Rows(3), seconds(10));
    windows.add(&[603, 605, 607]);
    windows.watermark(609);
    assert!(windows.take().is_empty());
    windows.add(&[618, 626, 636]);
    windows.watermark(631);
    assert_eq!(windows.all(), [range(1, 3), range(2, 4), range(3, 5)]);
    windows.add(&[665, 666, 667, 679]);
    windows.watermark(674);
    // Storm tells [4, 5, 6] two times more, as often as it takes until the next tuple: squall tells what has something new.
    assert_eq!(windows.all(), [range(4, 6), range(7, 9)]);
    windows.end();
    assert_eq!(windows.all(), [range(8, 10)]);
}

#[test]
fn length_20_seconds_slide_3_tuples() {
    let mut windows = Windows::event(seconds(20), Measure::Rows(3));
    windows.add(&[603, 605, 607]);
    windows.watermark(609);
    assert_eq!(windows.all(), [range(1, 3)]);
    windows.add(&[618, 625, 626, 629, 636]);
    windows.watermark(631);
    assert_eq!(windows.all(), [range(3, 6)]);
    windows.add(&[665, 666, 667, 669, 679]);
    windows.watermark(674);
    assert_eq!(windows.all(), [vec![9], range(9, 12)]);
}

#[test]
fn what_comes_behind_the_watermark_is_late() {
    let mut windows = Windows::event(seconds(10), seconds(10));
    windows.watermark(105);
    windows.add(&[105, 106, 115, 104]);
    assert_eq!(windows.bolt.take_rows("late").len(), 1);
    windows.end();
    assert_eq!(windows.all(), [range(1, 2), vec![3]]);
}

/// The i-th window of so many tuples has those from `max(0, (i + 1) · slide - length)` to before `(i + 1) · slide`.
#[test]
fn sliding_counts_have_the_tuples_before_them() {
    for (length, slide) in
        [(5, 10), (1, 1), (10, 5), (100, 10), (100, 100), (200, 100), (500, 100), (250, 250)]
    {
        let mut windows = Windows::new(Measure::Rows(length), Measure::Rows(slide), WindowTime::Processing);
        windows.add(&[0; 1000]);
        let told = windows.all();
        assert_eq!(told.len(), 1000 / slide as usize);
        for (nth, window) in told.iter().enumerate() {
            let end = (nth as i64 + 1) * slide as i64;
            assert_eq!(*window, range((end - length as i64).max(0) + 1, end), "{length} by {slide}");
        }
    }
}

/// Windows of time end at multiples of the slide, and have what happened in the length before.
#[test]
fn sliding_times_have_the_tuples_before_them() {
    for (length, slide) in [(1, 1), (5, 2), (2, 5), (20, 5), (20, 10), (10, 10)] {
        let mut windows = Windows::event(seconds(length), seconds(slide));
        // Two in a second, of which the n-th is at (n - 1) / 2.
        let ats: Vec<i64> = (0..60).flat_map(|second| [second, second]).collect();
        windows.add(&ats);
        windows.end();
        let expected = (1..).map(|nth| nth * slide as i64).take_while(|end| end - (length as i64) < 60);
        let expected = expected.map(|end| {
            let inside = (0..60).filter(|at| (end - length as i64..end).contains(at));
            inside.flat_map(|at| [2 * at + 1, 2 * at + 2]).collect::<Vec<_>>()
        });
        let expected: Vec<Vec<i64>> = expected.filter(|window| !window.is_empty()).collect();
        assert_eq!(windows.all(), expected, "{length} by {slide}");
    }
}

#[test]
fn by_the_clock_windows_end_with_it() {
    let mut windows = Windows::new(seconds(20), seconds(10), WindowTime::Processing);
    let begin = windows.bolt.clock().wall_nanos().rem_euclid(10 * SECOND);
    windows.bolt.clock().advance(Duration::from_nanos((10 * SECOND - begin) as u64));
    windows.add(&[0, 0]);
    for _ in 0..3 {
        windows.bolt.clock().advance(Duration::from_secs(10));
        windows.bolt.call_due_timers();
        windows.add(&[0]);
    }
    windows.bolt.finish();
    assert_eq!(windows.all(), [vec![1, 2], vec![1, 2, 3], vec![3, 4], vec![4, 5], vec![5]]);
}

#[test]
fn a_call_that_fails_is_taken_back() {
    struct Fails(u32);
    impl WindowedBolt for Fails {
        fn declare(&self) -> Streams {
            Streams::new(["tuples"])
        }
        fn execute(&mut self, window: &TupleWindow, out: &mut Outputs<'_>) -> Result<(), TaskError> {
            out.emit([window.all().len() as i64])?;
            self.0 += 1;
            if self.0 == 1 { Err(TaskError::new("not yet")) } else { Ok(()) }
        }
    }
    let bolt = Windowed::new(Fails(0), Measure::Rows(2), Measure::Rows(2)).time(WindowTime::Processing);
    let mut bolt = BoltHarness::start(Box::new(bolt), &HarnessOptions::default()).expect("it starts");
    bolt.execute_all([1, 2, 3, 4].map(|n| TestTuple::new([n]).fields(["n"])));
    // The second tuple fails with its window, so the third one completes it.
    assert_eq!((bolt.failed().len(), bolt.take_rows("default")), (1, vec![vec![Value::from(2)]]));
}
