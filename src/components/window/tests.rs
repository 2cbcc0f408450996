use std::time::Duration;

use crate::components::test_support::{bolt, refusal, texts};
use crate::testing::{BoltHarness, TestTuple};
use crate::tuple::{Timestamp, Value};

const SECOND: i64 = 1_000_000_000;

fn click(page: &str, second: i64, bytes: impl Into<Value>) -> TestTuple {
    let values: [Value; 3] = [page.into(), Timestamp(second * SECOND).into(), bytes.into()];
    TestTuple::new(values).fields(["page", "at", "bytes"])
}

fn advance(bolt: &mut BoltHarness, second: i64) {
    bolt.advance_watermark(Timestamp(second * SECOND));
}

/// The rows that were emitted, in order of their windows and keys, with seconds in place of times.
fn rows(bolt: &mut BoltHarness) -> Vec<String> {
    assert_eq!(bolt.errors(), [] as [&str; 0]);
    let mut rows = bolt.take_rows("default");
    let seconds = |value: &mut Value| {
        if let Value::Timestamp(at) = value {
            *value = Value::I64(at.0 / SECOND);
        }
    };
    rows.iter_mut().flatten().for_each(seconds);
    texts(&rows)
}

fn end(bolt: &mut BoltHarness) {
    bolt.advance_watermark(Timestamp(i64::MAX));
    bolt.finish();
}

#[test]
fn each_page_is_counted_in_each_minute() {
    let mut clicks = bolt(
        "window",
        "by = ['page']\ntime = 'at'\nlength = '1m'\naggregate = { clicks = 'count()', bytes = 'sum(bytes)' }",
    );
    let fields = clicks.streams().get("default").map(|stream| stream.fields.to_string());
    assert_eq!(fields.as_deref(), Some("page, window_start, window_end, clicks, bytes"));
    clicks.execute_all([click("/", 1, 10), click("/", 61, 1), click("/a", 59, 2), click("/", 59, 5)]);
    advance(&mut clicks, 59);
    assert!(rows(&mut clicks).is_empty(), "the minute is not over");
    advance(&mut clicks, 60);
    let mut first = rows(&mut clicks);
    first.sort();
    assert_eq!(first, ["/ 0 60 2 15", "/a 0 60 1 2"]);
    clicks.execute(click("/", 119, 2));
    end(&mut clicks);
    assert_eq!(rows(&mut clicks), ["/ 60 120 2 3"]);
    assert_eq!(clicks.acked().len(), 5);
}

#[test]
fn what_is_late_goes_to_its_own_stream() {
    let mut clicks =
        bolt("window", "by = ['page']\ntime = 'at'\nlength = '1m'\naggregate = { clicks = 'count()' }");
    clicks.execute(click("/", 10, 1));
    advance(&mut clicks, 60);
    clicks.execute(click("/", 59, 7));
    assert_eq!(rows(&mut clicks), ["/ 0 60 1"]);
    let late = texts(&clicks.take_rows("late"));
    assert_eq!(
        late,
        [
            "component default 1970-01-01T00:00:59Z 1970-01-01T00:01:00Z {\"at\": 1970-01-01T00:00:59Z, \"bytes\": 7, \"page\": \"/\"}"
        ]
    );
    assert_eq!((clicks.counter("late"), clicks.acked().len()), (1, 2));
    end(&mut clicks);
    assert!(rows(&mut clicks).is_empty());
}

#[test]
fn windows_that_overlap_share_their_slices() {
    for function in ["sum(bytes)", "max(bytes)"] {
        let mut clicks = bolt(
            "window",
            &format!(
                "by = ['page']\ntime = 'at'\nlength = '30s'\nslide = '10s'\naggregate = {{ it = '{function}' }}"
            ),
        );
        clicks.execute_all([click("/", 5, 1), click("/", 12, 2), click("/", 38, 4), click("/", 101, 8)]);
        for second in [10, 20, 35] {
            advance(&mut clicks, second);
        }
        // It belongs to windows that are over, and to others that are not.
        clicks.execute(click("/", 25, 16));
        end(&mut clicks);
        let expected = match function {
            "sum(bytes)" => [
                "-20 10 1",
                "-10 20 3",
                "0 30 3",
                "10 40 22",
                "20 50 20",
                "30 60 4",
                "80 110 8",
                "90 120 8",
                "100 130 8",
            ],
            _ => [
                "-20 10 1",
                "-10 20 2",
                "0 30 2",
                "10 40 16",
                "20 50 16",
                "30 60 4",
                "80 110 8",
                "90 120 8",
                "100 130 8",
            ],
        };
        assert_eq!(rows(&mut clicks), expected.map(|row| format!("/ {row}")), "{function}");
    }
}

#[test]
fn a_gap_between_windows_is_counted() {
    let mut clicks = bolt(
        "window",
        "time = 'at'\nlength = '10s'\nslide = '30s'\ngaps = true\naggregate = { clicks = 'count()' }",
    );
    clicks.execute_all([click("/", 5, 1), click("/", 12, 2), click("/a", 31, 2)]);
    end(&mut clicks);
    assert_eq!(rows(&mut clicks), ["0 10 1", "30 40 1"]);
    assert_eq!(clicks.counter("in_gaps"), 1);
}

#[test]
fn late_tuples_that_are_allowed_tell_a_window_again() {
    let mut clicks = bolt(
        "window",
        "time = 'at'\nlength = '1m'\nallowed_lateness = '30s'\nfiring = 'why'\naggregate = { clicks = 'count()' }",
    );
    clicks.execute(click("/", 10, 1));
    advance(&mut clicks, 60);
    clicks.execute(click("/", 20, 1));
    advance(&mut clicks, 89);
    clicks.execute(click("/", 30, 1));
    advance(&mut clicks, 90);
    clicks.execute(click("/", 40, 1));
    end(&mut clicks);
    assert_eq!(rows(&mut clicks), ["0 60 on-time 1", "0 60 late 2", "0 60 late 3"]);
    assert_eq!(clicks.counter("late"), 1);
}

#[test]
fn early_results_come_by_the_clock_and_by_number() {
    let config =
        "by = ['page']\ntime = 'at'\nlength = '1m'\nfiring = 'why'\naggregate = { clicks = 'count()' }";
    let mut clicks = bolt("window", &format!("{config}\nearly = {{ every = '5s', rows = 3 }}"));
    clicks.execute(click("/", 1, 1));
    clicks.clock().advance(Duration::from_secs(5));
    assert_eq!(clicks.call_due_timers(), 1);
    assert_eq!(rows(&mut clicks), ["/ 0 60 early 1"]);
    clicks.clock().advance(Duration::from_secs(60));
    assert_eq!(clicks.call_due_timers(), 0, "nothing new has come");
    clicks.execute_all([click("/", 2, 1), click("/", 3, 1)]);
    assert_eq!(rows(&mut clicks), ["/ 0 60 early 3"]);
    end(&mut clicks);
    assert_eq!(rows(&mut clicks), ["/ 0 60 on-time 3"]);

    let mut clicks = bolt("window", &format!("{config}\nearly = {{ rows = 2 }}\nmode = 'discard'"));
    clicks.execute_all((1..=5).map(|second| click("/", second, 1)));
    end(&mut clicks);
    assert_eq!(rows(&mut clicks), ["/ 0 60 early 2", "/ 0 60 early 2", "/ 0 60 on-time 1"]);
}

#[test]
fn windows_by_the_clock_end_without_a_watermark() {
    let mut clicks = bolt(
        "window",
        "by = ['page']\nclock = 'processing'\nlength = '10s'\naggregate = { clicks = 'count()' }",
    );
    let begin = clicks.clock().wall_nanos().rem_euclid(10 * SECOND);
    clicks.clock().advance(Duration::from_nanos((10 * SECOND - begin) as u64));
    clicks.execute_all([click("/", 0, 1), click("/", 0, 1)]);
    clicks.clock().advance(Duration::from_secs(10));
    // The timer was not called yet, and the window is over all the same.
    clicks.execute(click("/", 0, 1));
    let counts = |rows: Vec<String>| -> Vec<String> {
        rows.iter().filter_map(|row| row.rsplit(' ').next().map(str::to_owned)).collect()
    };
    assert_eq!(counts(rows(&mut clicks)), ["2"]);
    clicks.clock().advance(Duration::from_secs(10));
    assert_eq!(clicks.call_due_timers(), 1);
    assert_eq!(counts(rows(&mut clicks)), ["1"]);
    clicks.execute(click("/", 0, 1));
    clicks.finish();
    assert_eq!(counts(rows(&mut clicks)), ["1"], "what is open is told at the end of the input");
    assert!(clicks.streams().get("late").is_none());
}

#[test]
fn a_session_grows_and_merges() {
    let config = "by = ['page']\ntime = 'at'\nsession = '10s'\naggregate = { clicks = 'count()', bytes = 'sum(bytes)' }";
    let mut visits = bolt("window", config);
    visits.execute_all([click("/", 5, 1), click("/", 30, 2), click("/", 12, 4), click("/a", 6, 8)]);
    advance(&mut visits, 16);
    assert_eq!(rows(&mut visits), ["/a 6 16 1 8"]);
    // It joins both.
    visits.execute(click("/", 21, 16));
    advance(&mut visits, 40);
    assert_eq!(rows(&mut visits), ["/ 5 40 4 23"]);
    visits.execute_all([click("/", 29, 32), click("/", 31, 64)]);
    assert_eq!(visits.counter("late"), 1, "the session until 39 is over, and that until 41 is not");
    end(&mut visits);
    assert_eq!(rows(&mut visits), ["/ 31 41 1 64"]);
}

#[test]
fn a_session_can_have_a_gap_of_its_own() {
    let mut visits =
        bolt("window", "time = 'at'\nsession = { field = 'bytes' }\naggregate = { clicks = 'count()' }");
    visits.execute_all([
        click("/", 0, "30s"),
        click("/", 20, 5),
        click("/", 40, 1.5),
        click("/", 100, "soon"),
    ]);
    assert_eq!(visits.failed().len(), 1);
    assert!(
        visits.errors()[0].contains("the gap in `bytes`, soon, is no span of time"),
        "{:?}",
        visits.errors()
    );
    visits.advance_watermark(Timestamp(i64::MAX));
    let rows = texts(&visits.take_rows("default"));
    assert_eq!(
        rows,
        ["1970-01-01T00:00:00Z 1970-01-01T00:00:30Z 2", "1970-01-01T00:00:40Z 1970-01-01T00:00:41.5Z 1"]
    );
}

#[test]
fn late_tuples_reopen_a_session() {
    let config = "time = 'at'\nsession = '10s'\nallowed_lateness = '1m'\nfiring = 'why'\naggregate = { n = 'count()' }";
    let mut visits = bolt("window", config);
    visits.execute_all([click("/", 0, 1), click("/", 20, 1)]);
    advance(&mut visits, 35);
    visits.execute_all([click("/", 9, 1), click("/", 18, 1)]);
    end(&mut visits);
    assert_eq!(rows(&mut visits), ["0 10 on-time 1", "20 30 on-time 1", "0 19 late 2", "0 30 late 4"]);
}

/// Storm's `WindowManagerTest`: a length of 5 and a slide of 2.
#[test]
fn windows_of_tuples_slide() {
    let mut clicks = bolt("window", "rows = 5\nslide_rows = 2\naggregate = { pages = 'collect(bytes)' }");
    clicks.execute_all((1..=8).map(|n| click("/", 0, n)));
    clicks.finish();
    assert_eq!(
        rows(&mut clicks),
        ["0 2 [1, 2]", "0 4 [1, 2, 3, 4]", "1 6 [2, 3, 4, 5, 6]", "3 8 [4, 5, 6, 7, 8]"]
    );

    let mut clicks = bolt("window", "by = ['page']\nrows = 3\naggregate = { n = 'collect(bytes)' }");
    clicks.execute_all((1..=7).map(|n| click(if n % 7 == 0 { "/b" } else { "/" }, 0, n)));
    clicks.finish();
    assert_eq!(rows(&mut clicks), ["/ 0 3 [1, 2, 3]", "/ 3 6 [4, 5, 6]", "/b 0 1 [7]"]);
}

#[test]
fn a_window_of_tuples_does_not_wait_for_ever() {
    let config =
        "by = ['page']\nclock = 'processing'\nrows = 3\ntimeout = '5s'\naggregate = { n = 'collect(bytes)' }";
    let mut clicks = bolt("window", config);
    clicks.execute_all((1..=4).map(|n| click("/", 0, n)));
    assert_eq!(rows(&mut clicks), ["/ 0 3 [1, 2, 3]"]);
    // Tuples have a nanosecond each, so that they keep their order.
    clicks.clock().advance(Duration::from_secs(5) + Duration::from_nanos(4));
    assert_eq!(clicks.call_due_timers(), 1);
    assert_eq!(rows(&mut clicks), ["/ 3 4 [4]"]);
    clicks.clock().advance(Duration::from_secs(60));
    assert_eq!(clicks.call_due_timers(), 0);
    clicks.execute_all([click("/", 0, 5), click("/", 0, 6)]);
    clicks.finish();
    assert_eq!(rows(&mut clicks), ["/ 6 8 [5, 6]"]);

    // By the time in the tuples.
    let config = "time = 'at'\nrows = 3\ntimeout = '5s'\naggregate = { n = 'count()' }";
    let mut clicks = bolt("window", config);
    clicks.execute_all([click("/", 10, 1), click("/", 11, 1)]);
    advance(&mut clicks, 14);
    assert!(rows(&mut clicks).is_empty());
    advance(&mut clicks, 15);
    assert_eq!(rows(&mut clicks), ["0 2 2"]);
}

#[test]
fn one_window_of_all_tuples_is_told_at_the_end() {
    let mut clicks = bolt("window", "by = ['page']\nall = true\naggregate = { clicks = 'count()' }");
    assert_eq!(
        clicks.streams().get("default").map(|it| it.fields.to_string()).as_deref(),
        Some("page, clicks")
    );
    clicks.execute_all((1..=7).map(|n| click(if n % 7 == 0 { "/b" } else { "/" }, 0, n)));
    clicks.finish();
    let mut told = rows(&mut clicks);
    told.sort();
    assert_eq!(told, ["/ 6", "/b 1"]);

    let mut clicks = bolt(
        "window",
        "all = true\nearly = { rows = 2 }\nmode = 'discard'\naggregate = { clicks = 'count()' }",
    );
    clicks.execute_all((1..=5).map(|n| click("/", 0, n)));
    clicks.finish();
    assert_eq!(rows(&mut clicks), ["2", "2", "1"]);
}

#[test]
fn functions_tell_what_they_are_for() {
    let check = |function: &str, expected: &str| {
        let mut all = bolt("window", &format!("all = true\naggregate = {{ it = '{function}' }}"));
        let values: [Value; 6] = [3.into(), Value::Null, 1.into(), 3.into(), 2.into(), 11.into()];
        all.execute_all(values.into_iter().enumerate().map(|(at, value)| click("/", 9 - at as i64, value)));
        all.finish();
        assert_eq!((rows(&mut all), all.failed().len()), (vec![expected.to_owned()], 0), "{function}");
    };
    check("count()", "6");
    check("count(bytes)", "5");
    check("count() where bytes == 3", "2");
    check("count() where page == \"/x\"", "0");
    check("sum(bytes)", "20");
    check("sum(bytes * 2.5) where bytes != ()", "50");
    check("sum(bytes) where bytes > 100", "null");
    check("min(bytes)", "1");
    check("max(bytes)", "11");
    check("avg(bytes)", "4");
    check("any(bytes)", "1");
    check("collect(bytes, 2)", "[3, 1]");
    check("top(bytes, 2)", "[{\"count\": 2, \"value\": 3}, {\"count\": 1, \"value\": 1}]");
    check("distinct(bytes)", "4");
    check("distinct_approx(bytes)", "4");
    check("variance(bytes)", "12.8");
    check("stddev(bytes) where bytes < 3", "0.5");
}

#[test]
fn first_and_last_go_by_the_time_of_tuples() {
    let config = "time = 'at'\nlength = '1m'\naggregate = { first = 'first(bytes)', last = 'last(bytes)', \
                  all = 'collect(bytes)', p = 'percentile(bytes, 50)' }";
    let mut clicks = bolt("window", config);
    clicks.execute_all([
        click("/", 30, 3),
        click("/", 10, 1),
        click("/", 50, 5),
        click("/", 20, 2),
        click("/", 40, 4),
    ]);
    end(&mut clicks);
    let told = rows(&mut clicks);
    let (begin, percentile) = told[0].rsplit_once(' ').expect("it has values");
    assert_eq!(begin, "0 60 1 5 [1, 2, 3, 4, 5]");
    let percentile: f64 = percentile.parse().expect("a number");
    assert!((percentile - 3.0).abs() <= 0.03, "{percentile}");
}

#[test]
fn a_value_that_a_function_does_not_take_fails_the_tuple() {
    let mut clicks = bolt("window", "time = 'at'\nlength = '1m'\naggregate = { bytes = 'sum(bytes)' }");
    clicks.execute_all([click("/", 1, 5), click("/", 1, "many"), click("/", 1, 6)]);
    assert!(clicks.errors()[0].contains("`bytes`: a value is of type string, and has to be a number"));
    assert_eq!(clicks.failed().len(), 1);
    clicks.execute(TestTuple::new(("/", "never", 1)).fields(["page", "at", "bytes"]));
    assert!(clicks.errors()[1].contains("the time in `at`, never,"), "{:?}", clicks.errors());
    clicks.advance_watermark(Timestamp(60 * SECOND));
    let rows = clicks.take_rows("default");
    assert_eq!(rows[0][2], Value::from(11), "the tuple that failed has left nothing");
}

#[test]
fn a_result_that_cannot_be_emitted_is_a_loss() {
    let mut clicks =
        bolt("window", "by = ['page']\ntime = 'at'\nlength = '1m'\naggregate = { bytes = 'sum(bytes)' }");
    clicks.execute_all([click("/", 1, i64::MAX), click("/", 1, 1), click("/a", 1, 1)]);
    clicks.advance_watermark(Timestamp(60 * SECOND));
    assert_eq!(texts(&clicks.take_rows("default")).len(), 1);
    assert!(
        clicks.errors()[0].contains("is lost: `bytes`: the sum 9223372036854775808 does not fit an i64"),
        "{:?}",
        clicks.errors()
    );
    assert_eq!(clicks.counter("rows_refused"), 1);
}

#[test]
fn wrong_settings_say_what_to_write() {
    let check = |config: &str, expected: &str| {
        let why = refusal("window", &format!("aggregate = {{ n = 'count()' }}\n{config}"));
        assert!(why.contains(expected), "{config}: {why}");
    };
    check("", "write one of length = \"1m\"");
    check("length = '1m'", "write time = \"FIELD\"");
    check("length = '1m'\ntime = 'at'\nsession = '5m'", "does not go with `length`");
    check("length = '0s'\ntime = 'at'", "at least 1ns");
    check("length = '1m'\nslide = '0s'\ntime = 'at'", "the slide is at least");
    check("length = '1day'\nslide = '1ms'\ntime = 'at'", "would have 86400000 parts");
    check("length = '1month'\ntime = 'at'", "a whole number of days");
    check("length = '1h'\ntime_zone = 'Europe/Berlin'\ntime = 'at'", "whole days");
    check("length = '1day'\ntime_zone = 'Mars/Olympus'\ntime = 'at'", "Olympus");
    check("length = '1m'\noffset = '2m'\ntime = 'at'", "less than the distance");
    check("session = '0s'\ntime = 'at'", "more than 0");
    check(
        "length = '1m'\nslide = '5m'\ntime = 'at'",
        "`length`, 5m and 1m: tuples between windows would belong to none",
    );
    check("rows = 5\ngaps = true", "goes with `length` only");
    check("rows = 0", "at least 1");
    check("rows = 5\nslide_rows = 6", "at most as many");
    check("rows = 1000000\nslide_rows = 7", "1000000 parts");
    check("rows = 4\nslide_rows = 2\ntimeout = '1s'\nclock = 'processing'", "do not overlap");
    check("rows = 4\nslide = '1s'", "goes with `length` only");
    check("all = true\nend = 'e'", "no start and no end");
    check("rows = 4\nallowed_lateness = '1s'", "no tuple is late");
    check("length = '1m'\nclock = 'processing'\ntime = 'at'", "leave out one of both");
    check("length = '1m'\nslide = '10s'\ntime = 'at'\nmode = 'discard'", "do not overlap");
    check("rows = 4\nearly = {}", "says nothing");
    check("rows = 4\nearly = { rows = 0 }", "at least 1");
    check("rows = 4\nby = ['n']", "would be emitted twice");
    check("rows = 4\nby = ['window_end']", "would be emitted twice");
    check("rows = 4\ntime = { field = 'at', zone = 'UTC' }", "expected the name of a field, or a table");
    check("length = '1m'\ntime = { field = 'at', time_zone = 'Nowhere' }", "Nowhere");
    let why = refusal("window", "rows = 4\naggregate = { n = 'summ(bytes)' }");
    assert!(why.contains("did you mean `sum`?"), "{why}");
    let why = refusal("window", "rows = 4\naggregate = { n = 'sum(bytes +)' }");
    assert!(why.contains("`bytes +`"), "{why}");
    assert!(refusal("window", "rows = 4\naggregate = {}").contains("at least one field"));
}

/// A key that does not come again takes no memory.
#[test]
fn nothing_is_left_of_a_key_whose_windows_are_over() {
    let check = |config: &str| {
        let config = format!(
            "by = ['page']\ntime = 'at'\nearly = {{ rows = 3 }}\naggregate = {{ n = 'count()', m = 'max(bytes)' }}\n{config}"
        );
        let mut clicks = bolt("window", &config);
        clicks.execute_all((0..40).map(|n| click(&format!("/{n}"), n, 1)));
        clicks.execute_all((0..40).map(|n| click(&format!("/{n}"), n + 20, 1)));
        assert!(clicks.checkpoint(1).size() > 1000);
        advance(&mut clicks, 10_000);
        let left = clicks.checkpoint(2).size();
        // What the windows are is kept for the task.
        assert!(left < 700, "{config}: {left} bytes are left");
    };
    check("length = '1m'");
    check("length = '1m'\nslide = '10s'");
    check("length = '1m'\nslide = '10s'\nallowed_lateness = '1h'");
    check("session = '30s'\nallowed_lateness = '10s'");
}
