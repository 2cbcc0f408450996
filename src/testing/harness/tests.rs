use std::time::Duration;

use crate::prelude::*;
use crate::testing::{BoltHarness, HarnessOptions, SpoutHarness, TestTuple};

/// Joins two tuples into one, drops the third, and holds what is odd.
#[derive(Default)]
struct Pairs(Option<HeldTuple>);

impl Bolt for Pairs {
    fn declare(&self) -> Streams {
        Streams::new(["a", "b"]).direct_stream("direct", ["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        context.counter("prepared").add(1);
        if context.parallelism() > 1 { Err(TaskError::new("alone, please")) } else { Ok(()) }
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if input.i64("field1")? < 0 {
            drop(out.hold(input));
            return Ok(());
        }
        let second = out.hold(input);
        match self.0.take() {
            None => self.0 = Some(second),
            Some(first) => {
                let row = [first.values()[0].clone(), second.values()[0].clone()];
                out.emit_anchored("default", &[&first, &second], row)?;
                out.reset_timeout(&second);
                out.ack(first);
                out.fail(second);
            }
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        out.emit_direct(TaskId(9), "direct", [1])?;
        out.request_drain();
        out.report_error(TaskError::new("tick went wrong"));
        Ok(())
    }
}

#[test]
fn what_a_bolt_does_is_written_down() {
    let mut pairs = BoltHarness::new(Pairs::default());
    pairs.execute_all([1, 2, -1, 3].map(|n| TestTuple::new([n])));
    let emitted = pairs.take_emitted();
    assert_eq!((emitted.len(), emitted[0].anchors.as_slice()), (1, &[0, 1][..]));
    assert_eq!(pairs.acked(), [0]);
    assert_eq!(pairs.failed(), [(1, FailureCause::Failed), (2, FailureCause::Abandoned)]);
    assert_eq!((pairs.timeouts_reset(), pairs.held()), (&[1][..], vec![3]));
    assert_eq!(pairs.counter("prepared"), 1);
    pairs.execute(TestTuple::new(["no number"]));
    assert_eq!(pairs.failed().last(), Some(&(4, FailureCause::Failed)));
    pairs.tick();
    let emitted = pairs.take_emitted();
    assert_eq!((emitted[0].direct, emitted[0].anchors.len()), (Some(TaskId(9)), 0));
    assert!(pairs.drain_requested());
    assert_eq!(pairs.errors().last().map(String::as_str), Some("tick went wrong"));
}

/// Holds its first input. From then on emits, acks the held tuple, and goes wrong.
#[derive(Default)]
struct GoesWrong(Option<HeldTuple>);

impl GoesWrong {
    fn emit_and_ack(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        out.emit([1, 2])?;
        out.emit_for_targets("default", [3, 4])?;
        if let Some(held) = self.0.take() {
            out.emit_anchored("default", &[&held], [5, 6])?;
            out.ack(held);
        }
        Err(TaskError::new("it went wrong"))
    }
}

impl Bolt for GoesWrong {
    fn declare(&self) -> Streams {
        Streams::new(["a", "b"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if input.i64("field1")? == 0 {
            out.emit([0, 0])?;
            self.0 = Some(out.hold(input));
            return Ok(());
        }
        self.emit_and_ack(out)
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.emit_and_ack(out)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.emit_and_ack(out)
    }
}

#[test]
fn a_call_that_fails_is_taken_back() {
    let mut bolt = BoltHarness::new(GoesWrong::default());
    bolt.execute_all([0, 1, 0].map(|n| TestTuple::new([n])));
    assert_eq!(bolt.take_emitted().len(), 2, "what the calls emitted that succeeded");
    assert_eq!((bolt.acked(), bolt.failed().len()), (&[] as &[u64], 2), "the tuple, and the held one");
    bolt.tick();
    assert_eq!((bolt.take_emitted().len(), bolt.failed().len()), (0, 3));
    bolt.execute(TestTuple::new([0]));
    bolt.finish();
    assert_eq!((bolt.take_emitted().len(), bolt.acked()), (4, &[3][..]), "`finish` is not taken back");
}

#[test]
fn at_most_once_tracks_nothing() {
    let options = HarnessOptions { delivery: Delivery::AtMostOnce, ..HarnessOptions::default() };
    let pairs = BoltHarness::start(Box::<Pairs>::default(), &options);
    let mut pairs = pairs.unwrap_or_else(|error| panic!("{error}"));
    pairs.execute_all([1, 2].map(|n| TestTuple::new([n])));
    assert!(pairs.take_emitted()[0].anchors.is_empty());
    assert!(pairs.acked().is_empty() && pairs.failed().is_empty());
}

#[test]
fn what_cannot_be_started_says_why() {
    let options = HarnessOptions { parallelism: 2, ..HarnessOptions::default() };
    let started = BoltHarness::start(Box::<Pairs>::default(), &options);
    assert_eq!(started.err().map(|error| error.to_string()).as_deref(), Some("alone, please"));
    let registry = Registry::with_standard();
    let why = |type_name: &str, config: &str| {
        let options = HarnessOptions::default();
        let bolt = BoltHarness::registered(&registry, type_name, config, &options);
        bolt.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(why("nothing", "").contains("no component type `nothing`"));
    assert!(why("lines", "path = '-'").contains("is a spout"));
    assert!(why("split", "field = ").contains("TOML parse error"));
}

#[test]
fn many_tuples_of_one_call_come_in_order() {
    struct Burst;
    impl Spout for Burst {
        fn declare(&self) -> Streams {
            Streams::new(["n"])
        }

        fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            for n in 0..2000_u32 {
                out.emit_tracked([n], MessageId(u64::from(n) + 7))?;
            }
            out.emit([0])?;
            Ok(SpoutStatus::Idle)
        }
    }
    let mut burst = SpoutHarness::new(Burst);
    assert_eq!(burst.next(), Some(SpoutStatus::Idle));
    let emitted = burst.take_emitted();
    assert_eq!(emitted.len(), 2001, "stages that are full are routed on the way");
    assert!(
        (0..2000)
            .all(|n| emitted[n].anchors == [n as u64 + 7] && emitted[n].values == [Value::from(n as i64)])
    );
    assert!(emitted[2000].anchors.is_empty());
}

/// What each kind of state has, after a write that fails if it is asked to.
#[derive(Default)]
struct Brief {
    value: ValueState<i64>,
    map: MapState<i64, i64>,
    list: ListState<i64>,
}

impl Bolt for Brief {
    fn declare(&self) -> Streams {
        Streams::new(["value", "map", "list"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let ttl = Duration::from_secs(10);
        let kept = match context.setting::<bool>("reads-refresh")? {
            true => context.expiring(Ttl::after_access(ttl)),
            false => context.expiring(Ttl::after_write(ttl)),
        };
        self.value = kept.value_state("value")?;
        self.map = kept.map_state("map")?;
        self.list = kept.list_state("list")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        if n > 0 {
            self.value.update(out, |value| *value += n)?;
            self.map.insert(out, n, n)?;
            self.list.push(out, n)?;
        }
        let value = self.value.get(out)?.copied();
        let map = self.map.entries(out)?.map(|(_, n)| *n).sum::<i64>();
        let list = self.list.items(out)?.iter().sum::<i64>();
        match input.str("then")? {
            "fail" => Err(TaskError::new("asked to")),
            _ => Ok(out.emit((value, map, list))?),
        }
    }
}

fn brief(reads_refresh: bool) -> (BoltHarness, impl Fn(&mut BoltHarness, i64, &str) -> Vec<Option<i64>>) {
    let settings = toml::Table::from_iter([("reads-refresh".to_owned(), reads_refresh.into())]);
    let options = HarnessOptions { key: Fields::from(["key"]), settings, ..HarnessOptions::default() };
    let harness = BoltHarness::start(Box::new(Brief::default()), &options).expect("it can be prepared");
    let call = |brief: &mut BoltHarness, n: i64, then: &str| {
        brief.execute(TestTuple::new(("a", n, then)).fields(["key", "n", "then"]));
        let rows = brief.take_rows("default");
        rows.iter().flatten().map(Value::as_i64).collect()
    };
    (harness, call)
}

#[test]
fn state_expires_by_the_clock_of_the_harness() {
    let (mut brief, call) = brief(false);
    assert_eq!(call(&mut brief, 1, ""), [Some(1); 3]);
    brief.clock().advance(Duration::from_secs(6));
    assert_eq!(call(&mut brief, 2, ""), [Some(3); 3]);
    brief.clock().advance(Duration::from_secs(4));
    assert_eq!(
        call(&mut brief, 0, ""),
        [Some(3), Some(2), Some(2)],
        "of map and list each entry expires by itself"
    );
    brief.clock().advance(Duration::from_secs(6));
    assert_eq!(call(&mut brief, 0, ""), [None, Some(0), Some(0)]);
}

/// A call that failed after it had read or written kept the state alive, although it had changed nothing.
#[test]
fn a_failed_call_takes_back_deadlines() {
    for reads_refresh in [false, true] {
        let (mut brief, call) = brief(reads_refresh);
        call(&mut brief, 1, "");
        brief.clock().advance(Duration::from_secs(6));
        let reads = [0, 0, 2, 2];
        assert!(reads.iter().all(|n| call(&mut brief, *n, "fail").is_empty()));
        brief.clock().advance(Duration::from_secs(4));
        assert_eq!(call(&mut brief, 0, ""), [None, Some(0), Some(0)], "{reads_refresh}");
    }
}

#[test]
fn a_read_begins_a_time_to_live_after_access_anew() {
    let (mut brief, call) = brief(true);
    call(&mut brief, 1, "");
    for _ in 0..5 {
        brief.clock().advance(Duration::from_secs(6));
        assert_eq!(call(&mut brief, 0, ""), [Some(1); 3]);
    }
    brief.clock().advance(Duration::from_secs(10));
    assert_eq!(call(&mut brief, 0, ""), [None, Some(0), Some(0)]);
}
