//! User code that goes wrong in every place there is, in runs with real threads (and with simulated
//! time where time is the matter): what it does to the tuple, to the task, to the report, and that it
//! does nothing to the process.
//!
//! Injected panics are raised by `resume_unwind`, which prints nothing.

#[path = "kit/mod.rs"]
mod kit;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall::api::{CounterId, TaskHook};
use squall::config::{AfterRetries, ChainMode, OnError};
use squall::metrics::Metric;
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology, TopologyStats};
use squall::testing::cluster::{ClusterOptions, SimulatedCluster};
use squall::testing::{Capture, Feeder, FixedSpout, SimulatedTopology, SimulationOptions};

use kit::{DEADLINE, HOUR, Log, Numbers, bolt, identity, lock, null, of, seconds, wait_until};

fn running(builder: TopologyBuilder) -> RunningTopology {
    let topology = builder.build().expect("a valid topology");
    RunningTopology::start(topology, LocalOptions::default()).expect("threads start")
}

/// Runs to the end, which must come.
fn run(builder: TopologyBuilder) -> TopologyStats {
    let running = running(builder);
    assert!(running.wait(DEADLINE), "it has not ended: {:#?}", running.stats());
    running.join()
}

/// Runs to the end in simulated time, which must come.
fn simulate(builder: TopologyBuilder) -> TopologyStats {
    let topology = builder.build().expect("a valid topology");
    let mut topology = SimulatedTopology::start(topology, SimulationOptions::default());
    topology.run_to_end(HOUR).expect("it ends")
}

/// A topology whose broken tasks come back soon.
fn builder() -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("delivery");
    builder.options(|options| {
        options.errors.restart_min = Duration::from_millis(1);
        options.errors.restart_max = Duration::from_millis(20);
        options.message_timeout = Some(seconds(30));
    });
    builder
}

/// Where user code goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Open,
    Next,
    Ack,
    Fail,
    Activate,
    Close,
    Prepare,
    Execute,
    Tick,
    Flush,
    Finish,
    Cleanup,
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Error,
    Panic,
    Fatal,
}

/// Goes wrong at one place, so many times over all instances, and then no more.
#[derive(Clone)]
struct Trouble {
    at: Place,
    how: How,
    left: Arc<AtomicU64>,
    struck: Arc<AtomicU64>,
}

impl Trouble {
    fn new(at: Place, how: How, times: u64) -> Trouble {
        Trouble { at, how, left: Arc::new(AtomicU64::new(times)), struck: Arc::default() }
    }

    fn at(&self, place: Place) -> Result<(), TaskError> {
        let strikes = |left: u64| left.checked_sub(1);
        if place != self.at || self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, strikes).is_err() {
            return Ok(());
        }
        self.struck.fetch_add(1, Ordering::SeqCst);
        match self.how {
            How::Error => Err(TaskError::new("trouble")),
            How::Panic => resume_unwind(Box::new("trouble")),
            How::Fatal => Err(TaskError::fatal("trouble")),
        }
    }
}

/// Where the source stands that survives its spout: messages not acked.
type Unacked = Arc<Mutex<BTreeMap<u64, bool>>>;

/// Emits what is not acked; troubled.
struct TroubledSpout {
    trouble: Trouble,
    unacked: Unacked,
    /// How much trouble of a tick is still to come.
    is_waited_for: Arc<AtomicU64>,
}

impl Spout for TroubledSpout {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn open(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        lock(&self.unacked).values_mut().for_each(|waiting| *waiting = true);
        self.trouble.at(Place::Open)
    }

    fn activate(&mut self) -> Result<(), TaskError> {
        self.trouble.at(Place::Activate)
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.trouble.at(Place::Next)?;
        let next = lock(&self.unacked).iter_mut().find(|(_, waiting)| **waiting).map(|(n, waiting)| {
            *waiting = false;
            *n
        });
        // What comes by the clock gets its time: the input does not end before.
        let waits = || self.is_waited_for.load(Ordering::SeqCst) > 0;
        let Some(n) = next else {
            let rests = SpoutStatus::IdleFor(Duration::from_millis(1));
            return Ok(if waits() { rests } else { SpoutStatus::Exhausted });
        };
        out.emit_tracked([n as i64], MessageId(n))?;
        Ok(SpoutStatus::Emitted)
    }

    fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
        lock(&self.unacked).remove(&id.0);
        self.trouble.at(Place::Ack)
    }

    fn fail(&mut self, id: MessageId, _: &Failure, _: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
        lock(&self.unacked).insert(id.0, true);
        self.trouble.at(Place::Fail)
    }

    fn close(&mut self) {
        let _ = self.trouble.at(Place::Close);
    }
}

impl Drop for TroubledSpout {
    fn drop(&mut self) {
        let _ = self.trouble.at(Place::Drop);
    }
}

/// Passes numbers on; troubled.
struct TroubledBolt(Trouble);

impl Bolt for TroubledBolt {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        self.0.at(Place::Prepare)
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        out.emit([input.i64("n")?])?;
        self.0.at(Place::Execute)
    }

    fn tick(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.at(Place::Tick)
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.at(Place::Flush)
    }

    fn finish(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.at(Place::Finish)
    }

    fn cleanup(&mut self) {
        let _ = self.0.at(Place::Cleanup);
    }
}

impl Drop for TroubledBolt {
    fn drop(&mut self) {
        let _ = self.0.at(Place::Drop);
    }
}

/// 200 messages through a troubled spout and a healthy bolt, or the other way round.
fn run_troubled(at: Place, how: How, in_spout: bool) -> (TopologyStats, Trouble, Unacked) {
    let armed = Trouble::new(at, how, 0);
    let unacked: Unacked = Arc::new(Mutex::new((0..200).map(|n| (n, true)).collect()));
    let quiet = Trouble::new(at, how, 0);
    let (for_spout, for_bolt) = if in_spout { (armed.clone(), quiet) } else { (quiet, armed.clone()) };
    let source = Arc::clone(&unacked);
    let ticks = if at == Place::Tick { Arc::clone(&armed.left) } else { Arc::default() };
    let mut builder = builder();
    builder.spout("spout", move || TroubledSpout {
        trouble: for_spout.clone(),
        unacked: Arc::clone(&source),
        is_waited_for: Arc::clone(&ticks),
    });
    let bolt = builder.bolt("bolt", move || TroubledBolt(for_bolt.clone())).shuffle("spout");
    bolt.tick(Duration::from_millis(2));
    let fails = Arc::new(AtomicBool::new(at == Place::Fail));
    let sink = move |_: Input<'_>, _: &mut Outputs<'_>| {
        if fails.swap(false, Ordering::SeqCst) {
            Err(TaskError::quiet("for `fail` to be called"))
        } else {
            Ok(())
        }
    };
    builder.bolt("sink", kit::bolt(Streams::none(), sink)).shuffle("bolt");
    let topology = builder.build().expect("a valid topology");
    // Not before: `build` makes and drops instances of its own.
    armed.left.store(2, Ordering::SeqCst);
    let running = RunningTopology::start(topology, LocalOptions::default()).expect("threads start");
    assert!(running.wait(DEADLINE), "{at:?} {how:?}: it has not ended: {:#?}", running.stats());
    (running.join(), armed, unacked)
}

fn check_troubled(at: Place, how: How, in_spout: bool) {
    let (stats, trouble, unacked) = run_troubled(at, how, in_spout);
    let what = format!("{at:?} {how:?}, spout: {in_spout}");
    assert!(!stats.cut_short, "{what}: {stats:#?}");
    assert!(lock(&unacked).is_empty(), "{what}: {} messages are not acked", lock(&unacked).len());
    let component = of(&stats, if in_spout { "spout" } else { "bolt" });
    let struck = trouble.struck.load(Ordering::SeqCst);
    assert!(struck > 0, "{what} never happened");
    let silent = how == How::Error && matches!(at, Place::Close | Place::Cleanup | Place::Drop);
    if !silent {
        assert!(component.errors >= 1, "{what}: {stats:#?}");
        let last = component.last_error.as_deref().unwrap_or_default();
        assert!(last.contains("trouble") && last.starts_with("task "), "{what}: {last:?}");
    }
}

/// An error or a panic in each method of a bolt: the tuple is replayed, the task rebuilt, the error
/// counted with its task, and the topology ends with everything acked. If it fails, one user's bug
/// takes the process, or a message, with it.
#[test]
fn trouble_in_a_bolt_stays_there() {
    use Place::{Cleanup, Drop, Execute, Finish, Flush, Prepare, Tick};
    for at in [Prepare, Execute, Tick, Flush, Finish, Cleanup, Drop] {
        check_troubled(at, How::Error, false);
        check_troubled(at, How::Panic, false);
    }
}

/// The same for each method of a spout. A rebuilt spout goes on from its source.
#[test]
fn trouble_in_a_spout_stays_there() {
    use Place::{Ack, Activate, Close, Drop, Fail, Next, Open};
    for at in [Open, Activate, Next, Ack, Fail, Close, Drop] {
        check_troubled(at, How::Error, true);
        check_troubled(at, How::Panic, true);
    }
}

/// A fatal error in whichever call of a spout or a bolt drains the topology in order, and the first one
/// is the reason. A task that cannot be built for good is not built again, and the drain does not wait
/// for it. If it fails, a run tries for ever what cannot become right, or hangs as it ends.
#[test]
fn a_fatal_error_ends_the_run_in_order() {
    use Place::{Ack, Activate, Execute, Fail, Finish, Flush, Next, Open, Prepare, Tick};
    let of_spout = [Open, Activate, Next, Ack, Fail].map(|at| (at, true));
    let of_bolt = [Prepare, Execute, Tick, Flush, Finish].map(|at| (at, false));
    for (at, in_spout) in of_spout.into_iter().chain(of_bolt) {
        let (stats, trouble, _) = run_troubled(at, How::Fatal, in_spout);
        let struck = trouble.struck.load(Ordering::SeqCst);
        assert!(!stats.cut_short && stats.pending == 0, "{at:?}: {stats:#?}");
        assert!(struck > 0, "{at:?} never happened");
        let reason = stats.stopped.as_ref().unwrap_or_else(|| panic!("{at:?} gave no reason: {stats:#?}"));
        let component = if in_spout { "spout" } else { "bolt" };
        assert_eq!((&*reason.component, &*reason.error), (component, "trouble"), "{at:?}");
        if matches!(at, Open | Prepare) {
            assert_eq!(struck, 1, "{at:?}: it was built again");
        }
    }
}

/// The same over workers: the worker tells who started it, all workers drain, and the reason is that of
/// the component. If it fails, a run over workers goes on without the part that cannot work.
#[test]
fn a_fatal_error_in_one_worker_ends_all_of_them() {
    for at in [Place::Open, Place::Prepare, Place::Execute] {
        let armed = Trouble::new(at, How::Fatal, 0);
        let source: Unacked = Arc::new(Mutex::new((0..200).map(|n| (n, true)).collect()));
        let (for_spout, for_bolt) = (armed.clone(), armed.clone());
        let mut builder = builder();
        builder.spout("spout", move || TroubledSpout {
            trouble: for_spout.clone(),
            unacked: Arc::clone(&source),
            is_waited_for: Arc::default(),
        });
        builder.bolt("bolt", move || TroubledBolt(for_bolt.clone())).parallelism(3).shuffle("spout");
        let topology = builder.build().expect("a valid topology");
        armed.left.store(1, Ordering::SeqCst);
        let mut cluster = SimulatedCluster::start(topology, ClusterOptions::seeded(11, 3));
        cluster.run_to_end(HOUR).unwrap_or_else(|error| panic!("{at:?}: {error}\n{}", cluster.state()));
        assert!(!cluster.is_cut_short(), "{at:?}");
        let reason = cluster.stopped().expect("a reason");
        let component = if at == Place::Open { "spout" } else { "bolt" };
        assert_eq!((&*reason.component, &*reason.error), (component, "trouble"), "{at:?}");
    }
}

/// Error texts that are made of data are bounded and escaped where they are made. If it fails, a line of
/// megabytes fills the log and breaks the channel between workers, or a line forges a record of the log.
#[test]
fn error_texts_are_bounded_and_escaped() {
    for how in [How::Error, How::Panic] {
        let log = Log::default();
        let feeder = Feeder::new(["line"]);
        let refuse = move |input: Input<'_>, _: &mut Outputs<'_>| {
            let text = format!("\u{1b}[2Jnot a number:\n{}", input.str("line")?);
            match how {
                How::Panic => resume_unwind(Box::new(text)),
                How::Error | How::Fatal => Err(TaskError::new(text)),
            }
        };
        let mut builder = TopologyBuilder::new("texts");
        builder.spout("spout", feeder.spout());
        builder.bolt("bolt", bolt(Streams::none(), refuse)).shuffle("spout");
        let options = SimulationOptions { logger: log.logger(), ..SimulationOptions::default() };
        let mut topology = SimulatedTopology::start(builder.build().expect("valid"), options);
        feeder.feed(["x".repeat(1 << 20)]);
        topology.advance(Duration::from_millis(5));
        let stats = topology.stats();
        let last = of(&stats, "bolt").last_error.clone().expect("an error");
        let lines = log.lines(slog::Level::Error);
        for text in [&last, &lines[0].text] {
            assert!(text.len() < 1200 && text.contains(r"\u{1b}[2Jnot a number:\nxxx"), "{text}");
            assert!(text.contains(" bytes more)") && !text.contains('\n'), "{text}");
        }
    }
}

/// A hook that panics in all of its methods, and as it is dropped.
struct PanickingHook;

impl Drop for PanickingHook {
    fn drop(&mut self) {
        resume_unwind(Box::new("hook"))
    }
}

impl TaskHook for PanickingHook {
    fn prepare(&mut self, _context: &TaskContext) {
        resume_unwind(Box::new("hook"))
    }
    fn emit(&mut self, _stream: &str, _tuple: &[Value], _targets: &[TaskId]) {
        resume_unwind(Box::new("hook"))
    }
    fn spout_fail(&mut self, _id: MessageId) {
        resume_unwind(Box::new("hook"))
    }
    fn bolt_ack(&mut self) {
        resume_unwind(Box::new("hook"))
    }
    fn bolt_fail(&mut self) {
        resume_unwind(Box::new("hook"))
    }
    fn spout_ack(&mut self, _id: MessageId) {
        resume_unwind(Box::new("hook"))
    }
    fn bolt_execute(&mut self, _tuple: &[Value]) {
        resume_unwind(Box::new("hook"))
    }
    fn cleanup(&mut self) {
        resume_unwind(Box::new("hook"))
    }
}

/// Hooks look on; that they panic fails no tuple and breaks no task. If it fails, tracing can take a
/// topology down.
#[test]
fn panics_of_hooks_are_reported_and_nothing_else() {
    let mut builder = builder();
    builder.hook(|| PanickingHook);
    builder.spout("spout", || Numbers::new(100));
    builder.bolt("bolt", identity(&["n"])).shuffle("spout");
    builder.bolt("sink", null()).shuffle("bolt");
    let stats = run(builder);
    assert!(!stats.cut_short);
    assert_eq!((stats.acked, stats.replayed, stats.failed), (100, 0, 0));
    assert!(of(&stats, "spout").errors > 0 && of(&stats, "bolt").errors >= 100, "{stats:#?}");
    assert_eq!(of(&stats, "bolt").restarts, 0);
}

/// Panics before the first tuple, or as it is dropped.
struct Unprepared {
    in_prepare: bool,
}

impl CustomGrouping for Unprepared {
    fn prepare(&mut self, _context: &squall::api::GroupingContext, _targets: &[TaskId]) {
        if self.in_prepare {
            resume_unwind(Box::new("prepare"))
        }
    }
    fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
        chosen.push(targets[0]);
    }
}

impl Drop for Unprepared {
    fn drop(&mut self) {
        if !self.in_prepare {
            resume_unwind(Box::new("drop"))
        }
    }
}

/// Code of the user's that is called before anything runs: the run does not begin, and each fault is
/// named with its component. If it fails, a bug in a factory takes the embedding process down.
#[test]
fn panics_of_factories_are_errors_of_the_start() {
    let mut faulty = builder();
    faulty.hook(|| -> PanickingHook { resume_unwind(Box::new("no hook today")) });
    faulty.spout("spout", || Numbers::new(10));
    let factory = || -> BadGrouping { resume_unwind(Box::new("no grouping today")) };
    faulty.bolt("first", null()).custom("spout", "mine", factory);
    faulty.bolt("second", null()).custom("spout", "own", || Unprepared { in_prepare: true });
    let topology = faulty.build().expect("a valid topology");
    let error = RunningTopology::start(topology, LocalOptions::default()).err().expect("it cannot start");
    let text = TaskError::from(error).to_string();
    for expected in [
        "spout: the factory of a hook panicked: no hook today",
        "first: preparing its grouping `mine` panicked: no grouping today",
        "second: preparing its grouping `own` panicked: prepare",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing in {text}");
    }
    // One that panics as it is dropped does so when the run is over.
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(10));
    builder.bolt("bolt", null()).custom("spout", "own", || Unprepared { in_prepare: false });
    let stats = run(builder);
    assert_eq!((stats.acked, stats.cut_short), (10, false));
}

/// Panics at some tuples, names a stranger at others.
struct BadGrouping(u64);

impl CustomGrouping for BadGrouping {
    fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
        self.0 += 1;
        match self.0 {
            7 => resume_unwind(Box::new("grouping")),
            9 => chosen.extend([targets[0], TaskId(4_000)]),
            _ => chosen.push(targets[0]),
        }
    }
}

/// A grouping that panics fails that message, one that names a task that is no target is reported and
/// the rest of its choice counts. If it fails, a custom grouping can end the run or lose a tuple.
#[test]
fn trouble_of_a_custom_grouping_fails_the_message() {
    let capture = Capture::new();
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(20));
    builder.bolt("bolt", capture.bolt()).custom("spout", "bad", || BadGrouping(0));
    let stats = run(builder);
    assert!(!stats.cut_short);
    assert_eq!((stats.acked, stats.failed, stats.replayed), (20, 0, 1));
    assert_eq!(of(&stats, "spout").errors, 2, "{stats:#?}");
    assert_eq!(capture.sorted(), (0..20).map(|n| vec![Value::from(n)]).collect::<Vec<_>>());
}

/// Refuses 5, always, and notes how often it was tried; passes on the rest.
#[derive(Clone, Default)]
struct Poisoned(Arc<Mutex<Vec<u32>>>);

impl Bolt for Poisoned {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if input.i64("n")? == 5 {
            lock(&self.0).push(out.attempt());
            return Err(TaskError::new("poison"));
        }
        Ok(out.emit(input)?)
    }
}

/// The dead letter of the number 5.
fn letter_of_five(error: &str, replays: u32) -> Vec<Value> {
    vec![
        Value::from("spout"),
        Value::from("default"),
        Value::map([("n", Value::from(5))]),
        Value::from(error),
        Value::from(replays),
    ]
}

/// A tuple that always fails becomes a dead letter after exactly `max_replays` replays, with where it
/// came from, what it was, why and how often; its message is acked. If it fails, poison circles for
/// ever or is thrown away too soon.
#[test]
fn poison_becomes_a_dead_letter_after_max_replays() {
    for max_replays in [0, 1, 3] {
        let (poisoned, letters) = (Poisoned::default(), Capture::new());
        let attempts = Arc::clone(&poisoned.0);
        let mut builder = builder();
        builder.options(|options| options.max_replays = Some(max_replays));
        builder.spout("spout", || Numbers::new(10));
        builder.bolt("bolt", move || poisoned.clone()).shuffle("spout");
        builder.bolt("sink", null()).shuffle("bolt");
        builder.bolt("letters", letters.bolt()).shuffle(("bolt", "dead-letter"));
        let stats = run(builder);
        assert_eq!(*lock(&attempts), (0..=max_replays).collect::<Vec<_>>());
        assert_eq!((stats.acked, stats.failed, stats.dead_letters), (10, 0, 1), "{stats:#?}");
        assert_eq!(stats.replayed, u64::from(max_replays));
        assert_eq!(letters.rows(), [letter_of_five("poison", max_replays)]);
    }
}

/// Emits each number twice and then refuses 5 the first few times, by an error or a panic, after it has taken
/// the number out of its input.
#[derive(Clone)]
struct Refuses {
    times: u64,
    how: How,
    calls: Arc<AtomicU64>,
}

impl Refuses {
    fn new(times: u64, how: How) -> Refuses {
        Refuses { times, how, calls: Arc::default() }
    }
}

impl Bolt for Refuses {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, mut input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.take(0);
        out.emit([n.clone()])?;
        out.emit([n.clone()])?;
        if n != Value::from(5) || self.calls.fetch_add(1, Ordering::SeqCst) >= self.times {
            return Ok(());
        }
        match self.how {
            How::Error => Err(TaskError::new("refused")),
            How::Panic => resume_unwind(Box::new("refused")),
            How::Fatal => Err(TaskError::fatal("refused")),
        }
    }
}

/// Ten numbers through a bolt that refuses 5 so many times.
fn refused(
    refuses: &Refuses,
    delivery: Delivery,
    on_error: OnError,
) -> (TopologyStats, [Vec<Vec<Value>>; 2]) {
    let (rows, letters) = (Capture::new(), Capture::new());
    let mut builder = builder();
    builder.options(|options| {
        options.delivery = delivery;
        options.queue.batch = 3;
    });
    builder.spout("spout", || Numbers::new(10));
    let refuses = refuses.clone();
    builder.bolt("bolt", move || refuses.clone()).on_error(on_error).shuffle("spout");
    builder.bolt("rows", rows.bolt()).shuffle("bolt");
    builder.bolt("letters", letters.bolt()).shuffle(("bolt", "dead-letter"));
    let stats = simulate(builder);
    (stats, [rows.rows(), letters.rows()])
}

fn twice_each(numbers: impl Iterator<Item = i64>) -> Vec<Vec<Value>> {
    numbers.flat_map(|n| [[Value::from(n)], [Value::from(n)]]).map(Vec::from).collect()
}

/// A call that fails is made again for the same tuple, with all its values, before any other tuple; nothing of
/// the calls that failed is left, and the spout replays nothing. If it fails, `on_error.retry` loses tuples,
/// repeats them or changes their order.
#[test]
fn a_call_that_fails_is_made_again() {
    for delivery in [Delivery::AtLeastOnce, Delivery::AtMostOnce] {
        for how in [How::Error, How::Panic] {
            let refuses = Refuses::new(3, how);
            let on_error = OnError { retry: 3, ..OnError::default() };
            let (stats, [rows, letters]) = refused(&refuses, delivery, on_error);
            assert_eq!(rows, twice_each(0..10), "{delivery} {how:?}");
            assert_eq!((letters.len(), refuses.calls.load(Ordering::SeqCst)), (0, 4));
            let bolt = of(&stats, "bolt");
            let retried = bolt.counters.get(CounterId::CALLS_RETRIED);
            assert_eq!((bolt.errors, retried, bolt.failed, stats.replayed), (3, 3, 0, 0), "{stats:#?}");
            assert_eq!((stats.failed, stats.failed_unanchored), (0, 0));
        }
    }
}

/// The pauses before the calls double, up to the longest.
#[test]
fn calls_that_are_made_again_wait_longer_each_time() {
    let on_error = OnError {
        retry: 4,
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_millis(500),
        ..OnError::default()
    };
    let pauses: Vec<u128> = (1..=5).map(|number| on_error.pause(number).as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400, 500, 500]);
    let refuses = Refuses::new(4, How::Error);
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(10));
    let of_bolt = refuses.clone();
    builder.bolt("bolt", move || of_bolt.clone()).on_error(on_error).shuffle("spout");
    let topology = builder.build().expect("a valid topology");
    let mut topology = SimulatedTopology::start(topology, SimulationOptions::default());
    let calls = || refuses.calls.load(Ordering::SeqCst);
    for (made, pause) in (1..).zip([100, 200, 400, 500]) {
        topology.run_until_idle();
        assert_eq!(calls(), made);
        topology.advance(Duration::from_millis(pause - 1));
        assert_eq!(calls(), made, "it was made again too early");
        topology.advance(Duration::from_millis(1));
    }
    assert_eq!(calls(), 5);
    assert_eq!(topology.run_to_end(HOUR).expect("it ends").acked, 10);
}

/// What cannot be processed becomes a dead letter after the calls that `on_error` asks for, whatever may be
/// replayed, and in every delivery mode. If it fails, one bad tuple is replayed for long, or lost.
#[test]
fn what_is_refused_each_time_becomes_a_dead_letter() {
    for (delivery, how) in [
        (Delivery::AtLeastOnce, How::Error),
        (Delivery::AtLeastOnce, How::Panic),
        (Delivery::AtMostOnce, How::Error),
    ] {
        let refuses = Refuses::new(u64::MAX, how);
        let on_error = OnError { retry: 2, then: AfterRetries::DeadLetter, ..OnError::default() };
        let (stats, [rows, letters]) = refused(&refuses, delivery, on_error);
        assert_eq!(rows, twice_each((0..10).filter(|n| *n != 5)), "{delivery} {how:?}");
        let why = if how == How::Panic { "panicked: refused" } else { "refused" };
        assert_eq!(letters, [letter_of_five(why, 0)]);
        assert_eq!((refuses.calls.load(Ordering::SeqCst), stats.replayed, stats.failed), (3, 0, 0));
    }
}

/// With `then = "stop"` the run ends with the error, and with `"fail"` the message is replayed as often as
/// `max_replays` allows, each time with all its calls.
#[test]
fn after_its_last_call_a_tuple_fails_or_the_run_stops() {
    let refuses = Refuses::new(u64::MAX, How::Error);
    let on_error = OnError { retry: 1, then: AfterRetries::Stop, ..OnError::default() };
    let (stats, _) = refused(&refuses, Delivery::AtLeastOnce, on_error);
    let reason = stats.stopped.as_ref().map(|reason| (reason.component.as_str(), reason.error.as_str()));
    assert_eq!(reason, Some(("bolt", "refused")));
    let refuses = Refuses::new(5, How::Error);
    let on_error = OnError { retry: 1, then: AfterRetries::Fail, ..OnError::default() };
    let (stats, [rows, letters]) = refused(&refuses, Delivery::AtLeastOnce, on_error);
    assert_eq!((stats.replayed, stats.acked, letters.len(), rows.len()), (2, 10, 0, 20), "{stats:#?}");
    assert_eq!(refuses.calls.load(Ordering::SeqCst), 6);
}

/// Adds up numbers in state, and panics at 9 the first time, after it has added it. Emits the sum in the end.
struct Sum {
    sum: ValueState<i64>,
    panics: Trouble,
}

impl Bolt for Sum {
    fn declare(&self) -> Streams {
        Streams::new(["sum"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        context.name_keys();
        self.sum = context.value_state("sum")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        out.set_key(["all"])?;
        self.sum.update(out, |sum| *sum += n)?;
        if n == 9 { self.panics.at(Place::Execute) } else { Ok(()) }
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        out.set_key(["all"])?;
        let sum = self.sum.get(out)?.copied().unwrap_or(0);
        Ok(out.emit([sum])?)
    }
}

/// A task that panicked at its last tuple was not built again before the end, so `finish` was not called, and
/// what the task had kept was lost without a word. State outlives the instance, without what the call that
/// panicked did.
#[test]
fn a_task_that_panics_at_the_end_still_emits_its_state() {
    for (delivery, expected) in [(Delivery::AtMostOnce, 36), (Delivery::AtLeastOnce, 45)] {
        let (panics, sums) = (Trouble::new(Place::Execute, How::Panic, 1), Capture::new());
        let mut builder = builder();
        builder.options(|options| options.delivery = delivery);
        builder.spout("spout", || Numbers::new(10));
        let of_bolt = panics.clone();
        let sum = move || Sum { sum: ValueState::default(), panics: of_bolt.clone() };
        builder.bolt("bolt", sum).shuffle("spout");
        builder.bolt("sums", sums.bolt()).shuffle("bolt");
        let stats = run(builder);
        assert_eq!(sums.rows(), [[Value::from(expected)]], "{stats:#?}");
        assert_eq!((panics.struck.load(Ordering::SeqCst), of(&stats, "bolt").restarts), (1, 1));
    }
}

/// An error that no retry can solve is not retried, and once the run stops, neither are other calls. If it fails,
/// a run that cannot go on makes its users wait for all the pauses.
#[test]
fn no_call_is_made_again_once_the_run_stops() {
    let refuses = Refuses::new(u64::MAX, How::Fatal);
    let on_error = OnError { retry: 100, ..OnError::default() };
    let (stats, _) = refused(&refuses, Delivery::AtLeastOnce, on_error);
    assert_eq!((refuses.calls.load(Ordering::SeqCst), stats.stopped.is_some()), (1, true));
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(1000));
    let refusals = Arc::new(AtomicU64::new(0));
    let of_bolt = Arc::clone(&refusals);
    let execute = move |_: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        of_bolt.fetch_add(1, Ordering::SeqCst);
        Err(TaskError::new("the database is away"))
    };
    let on_error = OnError { retry: 3, then: AfterRetries::Stop, ..OnError::default() };
    builder.bolt("bolt", bolt(Streams::none(), execute)).on_error(on_error).shuffle("spout");
    let topology = builder.build().expect("a valid topology");
    let mut topology = SimulatedTopology::start(topology, SimulationOptions::default());
    let stats = topology.run_to_end(seconds(20)).expect("it ends soon");
    assert_eq!((stats.stopped.is_some(), stats.cut_short), (true, false));
    assert!(refusals.load(Ordering::SeqCst) <= 4 + 999, "the first made all its calls, the others one each");
}

/// Holds what it gets until the end, and panics at 5 the first time.
struct Hoarder {
    held: Vec<HeldTuple>,
    panics: Trouble,
}

impl Bolt for Hoarder {
    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if input.i64("n")? == 5 {
            self.panics.at(Place::Execute)?;
        }
        self.held.push(out.hold(input));
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.held.drain(..).for_each(|held| out.ack(held));
        Ok(())
    }
}

/// Tuples that a bolt held when it panicked at another one are replayed, although what the bolt fails becomes a
/// dead letter at once; without tracking they become letters, too. They were given up at once, or vanished.
#[test]
fn tuples_that_were_held_at_a_panic_are_not_lost() {
    for (delivery, expected) in [(Delivery::AtLeastOnce, 1), (Delivery::AtMostOnce, 6)] {
        let (panics, letters) = (Trouble::new(Place::Execute, How::Panic, 1), Capture::new());
        let mut builder = builder();
        builder.options(|options| {
            options.delivery = delivery;
            options.chain = squall::config::ChainMode::Off;
        });
        builder.spout("spout", || Numbers::new(10));
        let of_bolt = panics.clone();
        let on_error = OnError { then: AfterRetries::DeadLetter, ..OnError::default() };
        let hoarder = move || Hoarder { held: Vec::new(), panics: of_bolt.clone() };
        builder.bolt("bolt", hoarder).on_error(on_error).shuffle("spout");
        builder.bolt("letters", letters.bolt()).shuffle(("bolt", "dead-letter"));
        let stats = simulate(builder);
        assert_eq!((letters.rows().len(), stats.failed, stats.given_up), (expected, 0, 0), "{stats:#?}");
        assert_eq!(stats.failed_unanchored, 0);
        if delivery == Delivery::AtLeastOnce {
            assert_eq!((stats.acked, stats.replayed), (10, 5), "the five that were held before");
        }
    }
}

/// Moves each count to another key, as a window moves to the next hour.
struct Moves(ValueState<i64>);

impl Bolt for Moves {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.update(out, |count| *count += 1)?;
        let counts = self.0;
        counts.for_each(out, |out, key, count| {
            counts.clear(out)?;
            let hour = key[0].as_i64().unwrap_or_default();
            out.set_key([hour + 1_000])?;
            Ok(counts.set(out, count)?)
        })?;
        out.emit([out.key()[0].clone()])?;
        input.i64("n").map(|_| ())
    }
}

/// A walk over all keys that adds keys came to the new ones as well, and never ended; and it left the call
/// without its key.
#[test]
fn a_walk_over_all_keys_ends_and_leaves_the_key_of_the_call() {
    let keys = Capture::new();
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(20));
    builder.bolt("bolt", || Moves(ValueState::default())).fields("spout", ["n"]);
    builder.bolt("keys", keys.bolt()).shuffle("bolt");
    assert_eq!(simulate(builder).acked, 20);
    assert_eq!(keys.rows(), (0..20).map(|n| vec![Value::from(n)]).collect::<Vec<_>>());
}

/// Counts the tuples of each key, and emits the count when nothing has come for 10 s. The call of the timer of
/// key 1 goes wrong the first times, after it has emitted and cleared the count.
struct Idle {
    counts: ValueState<i64>,
    over: Timer,
    trouble: Trouble,
}

impl Bolt for Idle {
    fn declare(&self) -> Streams {
        Streams::new(["key", "count"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        self.over = context.timer("over")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.counts.update(out, |count| *count += 1)?;
        Ok(self.over.set(out, seconds(10))?)
    }

    fn timer(&mut self, timer: Timer, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        assert!(timer == self.over && !timer.is_set(out)?);
        let (key, count) = (out.key()[0].clone(), self.counts.get(out)?.copied());
        self.counts.clear(out)?;
        out.emit((key.clone(), count))?;
        if key == Value::from(1) { self.trouble.at(Place::Tick) } else { Ok(()) }
    }
}

/// A timer is called once, when nothing has come for its time, with the key that it was set for. A call that
/// fails is taken back and made again after a pause; without another call it is a loss, and is counted. If it
/// fails, sessions end early, twice or never, or with other counts.
#[test]
fn timers_are_called_with_their_key_when_they_are_due() {
    for (how, retry) in [(How::Error, 2), (How::Panic, 2), (How::Error, 0)] {
        let (rows, feeder, trouble) =
            (Capture::new(), Feeder::new(["key"]), Trouble::new(Place::Tick, how, 2));
        let mut builder = builder();
        builder.spout("spout", feeder.spout());
        let of_bolt = trouble.clone();
        let idle =
            move || Idle { counts: ValueState::default(), over: Timer::default(), trouble: of_bolt.clone() };
        let on_error = OnError { retry, ..OnError::default() };
        builder.bolt("bolt", idle).on_error(on_error).fields("spout", ["key"]);
        builder.bolt("rows", rows.bolt()).shuffle("bolt");
        let topology = builder.build().expect("a valid topology");
        let mut topology = SimulatedTopology::start(topology, SimulationOptions::default());
        let row = |key: i64, count: i64| vec![Value::from(key), Value::from(count)];
        for key in [0, 1, 0] {
            feeder.feed([key]);
        }
        topology.run_until_idle();
        topology.advance(seconds(6));
        feeder.feed([1]);
        topology.run_until_idle();
        topology.advance(Duration::from_millis(3_999));
        assert_eq!(rows.rows(), [] as [Vec<Value>; 0]);
        topology.advance(Duration::from_millis(2));
        assert_eq!(rows.rows(), [row(0, 2)], "key 1 was set again, so it is due later");
        topology.advance(seconds(30));
        feeder.feed([0]);
        topology.run_until_idle();
        topology.advance(seconds(11));
        feeder.close();
        let stats = topology.run_to_end(HOUR).expect("it ends");
        let bolt = of(&stats, "bolt");
        let (expected, retried, lost) = match retry {
            0 => (vec![row(0, 2), row(0, 1)], 0, 1),
            _ => (vec![row(0, 2), row(1, 2), row(0, 1)], 2, 0),
        };
        assert_eq!(rows.rows(), expected, "{how:?} {retry}");
        assert_eq!(bolt.counters.get(CounterId::CALLS_RETRIED), retried);
        assert_eq!((stats.failed_unanchored, stats.acked), (lost, 5));
    }
}

/// Holds each tuple until `flush`, and fails the number 5 there.
#[derive(Default)]
struct Holding(Vec<HeldTuple>);

impl Bolt for Holding {
    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.push(out.hold(input));
        Ok(())
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for held in self.0.drain(..) {
            if held.i64("n")? == 5 { out.fail(held) } else { out.ack(held) }
        }
        Ok(())
    }
}

/// A tuple that a bolt held and then failed came to no dead-letter stream: the rows that `file` could not
/// write were given up, whoever took its dead letters.
#[test]
fn a_held_tuple_becomes_a_dead_letter_too() {
    for max_replays in [0, 2] {
        let letters = Capture::new();
        let mut builder = builder();
        builder.options(|options| options.max_replays = Some(max_replays));
        builder.spout("spout", || Numbers::new(10));
        builder.bolt("bolt", Holding::default).shuffle("spout");
        builder.bolt("letters", letters.bolt()).shuffle(("bolt", "dead-letter"));
        let stats = run(builder);
        assert_eq!((stats.acked, stats.failed, stats.dead_letters), (10, 0, 1), "{stats:#?}");
        assert_eq!(stats.replayed, u64::from(max_replays));
        assert_eq!(letters.rows(), [letter_of_five("it was held, and then failed", max_replays)]);
    }
}

/// `then = "stop"` of a bolt that holds its tuples and fails one later, as `file` does, did nothing: no call of the
/// bolt had failed.
#[test]
fn a_held_tuple_that_fails_stops_the_run_if_asked() {
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(10));
    let on_error = OnError { then: AfterRetries::Stop, ..OnError::default() };
    builder.bolt("bolt", Holding::default).on_error(on_error).shuffle("spout");
    let stats = run(builder);
    let reason = stats.stopped.as_ref().map(|reason| (reason.component.as_str(), reason.error.as_str()));
    assert_eq!(reason, Some(("bolt", "it was held, and then failed")));
    assert_eq!((stats.acked, stats.failed), (9, 1));
}

/// Without anybody to take dead letters the message fails for good after the same replays, and the
/// spout is told that this is final. If it fails, `max_replays` needs a bolt to mean anything.
#[test]
fn poison_without_a_taker_fails_for_good() {
    let poisoned = Poisoned::default();
    let attempts = Arc::clone(&poisoned.0);
    let mut builder = builder();
    builder.options(|options| options.max_replays = Some(2));
    builder.spout("spout", || Numbers::new(10));
    builder.bolt("bolt", move || poisoned.clone()).shuffle("spout");
    let stats = run(builder);
    assert_eq!(*lock(&attempts), [0, 1, 2]);
    assert_eq!((stats.acked, stats.failed, stats.replayed, stats.dead_letters), (9, 1, 2, 0));
}

/// The bolt that fails a tuple has the word on how often its message is replayed, also against the
/// topology's limit and beyond the 255 that fit a byte. If it fails, a message is lost before the bolt
/// that would take care of it is done with it, or it never becomes a dead letter.
#[test]
fn a_bolts_limit_counts_for_what_it_fails() {
    let check = |of_topology: Option<u32>, of_bolt: Option<u32>, expected: u32| {
        let (poisoned, letters) = (Poisoned::default(), Capture::new());
        let attempts = Arc::clone(&poisoned.0);
        let mut builder = builder();
        builder.options(|options| options.max_replays = of_topology);
        builder.spout("spout", || Numbers::new(10));
        let bolt = builder.bolt("bolt", move || poisoned.clone()).shuffle("spout");
        if let Some(max) = of_bolt {
            bolt.max_replays(max);
        }
        builder.bolt("letters", letters.bolt()).shuffle(("bolt", "dead-letter"));
        let stats = simulate(builder);
        let what = format!("topology {of_topology:?}, bolt {of_bolt:?}");
        assert_eq!(*lock(&attempts), (0..=expected).collect::<Vec<_>>(), "{what}");
        assert_eq!((stats.acked, stats.failed, stats.dead_letters), (10, 0, 1), "{what}: {stats:#?}");
        assert_eq!(letters.rows()[0][4], Value::from(expected), "{what}");
    };
    check(Some(2), Some(5), 5);
    check(Some(5), Some(1), 1);
    check(None, Some(3), 3);
    check(Some(300), None, 300);
    // The input ends, so there is a limit although none is set.
    check(None, None, 10);
}

/// The same where nobody takes dead letters: the message fails for good. If it fails, a limit of a bolt
/// alone replays for ever.
#[test]
fn a_bolts_limit_needs_no_taker_of_dead_letters() {
    let check = |of_topology: Option<u32>, of_bolt: Option<u32>, expected: u32| {
        let poisoned = Poisoned::default();
        let attempts = Arc::clone(&poisoned.0);
        let mut builder = builder();
        builder.options(|options| options.max_replays = of_topology);
        builder.spout("spout", || Numbers::new(10));
        let bolt = builder.bolt("bolt", move || poisoned.clone()).shuffle("spout");
        if let Some(max) = of_bolt {
            bolt.max_replays(max);
        }
        let stats = simulate(builder);
        assert_eq!(*lock(&attempts), (0..=expected).collect::<Vec<_>>());
        assert_eq!((stats.acked, stats.failed, stats.given_up), (9, 1, 1), "{stats:#?}");
        assert_eq!((stats.waiting, stats.dead_letters), (0, 0));
    };
    check(None, Some(3), 3);
    check(Some(2), Some(5), 5);
    check(None, None, 10);
}

/// A message that always fails waits longer each time, twice as long up to the longest pause, less a
/// random part; all others go on meanwhile, even where one message may be open at a time. If it fails, a
/// poison spins a processor, or stops the stream.
#[test]
fn poison_waits_longer_each_time_and_the_rest_goes_on() {
    let (poisoned, capture) = (Poisoned::default(), Capture::new());
    let attempts = Arc::clone(&poisoned.0);
    let mut builder = builder();
    builder.options(|options| {
        options.max_replays = Some(12);
        options.max_spout_pending = squall::config::AutoOr::Fixed(1);
    });
    builder.spout("spout", || Numbers::new(100));
    builder.bolt("bolt", move || poisoned.clone()).shuffle("spout");
    builder.bolt("sink", capture.bolt()).shuffle("bolt");
    let mut topology =
        SimulatedTopology::start(builder.build().expect("valid"), SimulationOptions::default());
    let mut at = Vec::new();
    let mut ms = 0;
    while !topology.has_ended() {
        topology.advance(Duration::from_millis(1));
        ms += 1;
        at.resize(lock(&attempts).len(), ms);
        assert!(ms < 120_000, "it does not end");
        if at.len() == 2 {
            assert_eq!(capture.rows().len(), 99, "the others did not go on");
        }
    }
    assert_eq!(at.len(), 13);
    for (replay, pair) in at.windows(2).enumerate() {
        let longest = (10 << replay).min(10_000);
        let pause = pair[1] - pair[0];
        assert!(pause + 1 >= longest / 2 && pause <= longest + 2, "replay {replay} after {pause} ms: {at:?}");
    }
}

/// Numbers of an input that does not end: there may be more at any time.
struct Endless(Numbers);

impl Spout for Endless {
    fn declare(&self) -> Streams {
        self.0.declare()
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let status = self.0.next_tuple(out)?;
        Ok(if status == SpoutStatus::Exhausted { SpoutStatus::IdleFor(HOUR) } else { status })
    }

    fn fail(&mut self, id: MessageId, why: &Failure, out: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
        self.0.fail(id, why, out)
    }
}

/// Of an input that does not end, a message is replayed as often as it fails, at most every few seconds,
/// and shown as waiting. A drain does not wait for it: it has failed then. If it fails, a full disk costs
/// messages, or keeps a run from ending.
#[test]
fn what_waits_is_shown_and_a_drain_does_not_wait_for_it() {
    let poisoned = Poisoned::default();
    let attempts = Arc::clone(&poisoned.0);
    let mut builder = builder();
    builder.spout("spout", || Endless(Numbers::new(10)));
    builder.bolt("bolt", move || poisoned.clone()).shuffle("spout");
    let mut topology =
        SimulatedTopology::start(builder.build().expect("valid"), SimulationOptions::default());
    topology.advance(HOUR);
    let replays = lock(&attempts).len();
    assert!((300..800).contains(&replays), "{replays} replays in an hour");
    let stats = topology.stats();
    assert_eq!((stats.acked, stats.waiting, stats.failed, stats.pending), (9, 1, 0, 0), "{stats:#?}");
    topology.drain();
    topology.advance(Duration::from_millis(5));
    let stats = topology.stats();
    assert!(stats.ended && !stats.cut_short, "{stats:#?}");
    assert_eq!((stats.acked, stats.waiting, stats.failed), (9, 0, 1), "{stats:#?}");
    assert_eq!(lock(&attempts).len(), replays);
}

/// Emits what it has when the input ends, without an anchor; and more than is allowed, if wanted.
struct Late {
    huge: bool,
}

impl Bolt for Late {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for n in 0..7 {
            out.emit([n])?;
        }
        if self.huge {
            out.emit(["x".repeat(9 << 20)])?;
        }
        Ok(())
    }
}

fn late(huge: bool, refuse: bool) -> TopologyBuilder {
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(10));
    builder.bolt("late", move || Late { huge }).shuffle("spout");
    let sink = move |_: Input<'_>, _: &mut Outputs<'_>| {
        if refuse { Err(TaskError::new("disk full")) } else { Ok(()) }
    };
    builder.bolt("sink", bolt(Streams::none(), sink)).shuffle("late");
    builder
}

/// Tuples that no message stands for cannot be replayed: when one fails, or is refused as it is emitted,
/// that is counted, in one process and over workers; unless somebody takes dead letters. If it fails,
/// counts of a whole run are lost at the end with exit code 0.
#[test]
fn failures_of_unanchored_tuples_are_counted() {
    let stats = simulate(late(false, true));
    assert_eq!((stats.acked, stats.failed, stats.failed_unanchored), (10, 0, 7), "{stats:#?}");
    let stats = simulate(late(true, false));
    assert_eq!((stats.failed, stats.failed_unanchored), (0, 1), "{stats:#?}");
    assert_eq!(of(&stats, "sink").executed, 7);

    let topology = late(true, true).build().expect("valid");
    let mut cluster = SimulatedCluster::start(topology, ClusterOptions::seeded(5, 3));
    let stats = cluster.run_to_end(HOUR).expect("it ends");
    assert_eq!((stats.acked, stats.failed, stats.failed_unanchored), (10, 0, 8), "{stats:#?}");

    let letters = Capture::new();
    let mut builder = late(false, true);
    builder.bolt("letters", letters.bolt()).shuffle(("sink", "dead-letter"));
    let stats = simulate(builder);
    assert_eq!((stats.failed_unanchored, stats.dead_letters, letters.rows().len()), (0, 7, 7), "{stats:#?}");
}

/// A tuple that was emitted without an anchor belongs to no message: when it fails, the message is acked
/// all the same, nothing is replayed, and the failure is counted. If it fails, a side stream that is
/// nice to have replays what is paid for.
#[test]
fn what_is_emitted_without_an_anchor_costs_no_replay() {
    let seen = Arc::new(AtomicU64::new(0));
    let topology = |anchored: bool| {
        let pay = move |input: Input<'_>, out: &mut Outputs<'_>| {
            let n = input.i64("n")?;
            match anchored {
                true => out.emit_to("statistics", [n])?,
                false => out.emit_unanchored("statistics", [n])?,
            }
            Ok(out.emit([n])?)
        };
        let counted = Arc::clone(&seen);
        let statistics = move |_: Input<'_>, _: &mut Outputs<'_>| match counted.fetch_add(1, Ordering::SeqCst)
        {
            0 => Err(TaskError::quiet("no statistics today")),
            _ => Ok(()),
        };
        let mut builder = builder();
        builder.spout("spout", || Numbers::new(10));
        let streams = Streams::new(["n"]).stream("statistics", ["n"]);
        builder.bolt("pay", bolt(streams, pay)).shuffle("spout");
        builder.bolt("sink", null()).shuffle("pay");
        builder.bolt("statistics", bolt(Streams::none(), statistics)).shuffle(("pay", "statistics"));
        builder
    };
    let stats = simulate(topology(false));
    assert_eq!((stats.acked, stats.replayed, stats.failed_unanchored), (10, 0, 1), "{stats:#?}");
    assert_eq!((of(&stats, "sink").executed, of(&stats, "statistics").executed), (10, 10), "{stats:#?}");
    seen.store(0, Ordering::SeqCst);
    let stats = simulate(topology(true));
    assert_eq!((stats.acked, stats.replayed, stats.failed_unanchored), (10, 1, 0), "{stats:#?}");
    assert_eq!((of(&stats, "sink").executed, of(&stats, "statistics").executed), (11, 11), "{stats:#?}");
}

/// What nests too deep for the wire is refused as it is emitted, in the name of its component, and costs
/// no other tuple, wherever the reader is. If it fails, one value fails its whole batch, again and again.
#[test]
fn what_nests_too_deep_is_refused_alone() {
    let deep = |input: Input<'_>, out: &mut Outputs<'_>| {
        let levels = if input.i64("n")? == 3 { 65 } else { 64 };
        Ok(out.emit([(0..levels).fold(Value::Null, |inner, _| Value::list([inner]))])?)
    };
    let topology = || {
        let mut builder = builder();
        builder.options(|options| options.max_replays = Some(1));
        builder.spout("spout", || Numbers::new(10));
        builder.bolt("deep", bolt(Streams::new(["value"]), deep)).shuffle("spout");
        builder.bolt("sink", null()).parallelism(3).shuffle("deep");
        builder
    };
    let stats = simulate(topology());
    assert_eq!((stats.acked, stats.failed, stats.replayed), (9, 1, 1), "{stats:#?}");
    let error = of(&stats, "deep").last_error.clone().expect("an error");
    assert!(error.contains("component `deep`") && error.contains("nest deeper than 64"), "{error}");
    let topology = topology().build().expect("valid");
    let mut cluster = SimulatedCluster::start(topology, ClusterOptions::seeded(3, 3));
    let stats = cluster.run_to_end(HOUR).expect("it ends");
    assert_eq!((stats.acked, stats.failed, stats.replays.total()), (9, 1, 1), "{stats:#?}");
}

/// A topology that was never activated is drained at once: it has nothing to wait for. If it fails, such
/// a drain waits out `drain_timeout` and calls itself cut short.
#[test]
fn what_never_began_is_drained_at_once() {
    let mut builder = builder();
    builder.options(|options| options.start_inactive = true);
    builder.spout("spout", || Numbers::new(10));
    builder.bolt("bolt", identity(&["n"])).shuffle("spout");
    builder.bolt("sink", null()).shuffle("bolt");
    let mut topology =
        SimulatedTopology::start(builder.build().expect("valid"), SimulationOptions::default());
    topology.advance(seconds(1));
    topology.drain();
    topology.advance(Duration::from_millis(1));
    let stats = topology.stats();
    assert!(stats.ended && !stats.cut_short, "{stats:#?}");
}

/// A spout whose tuple is refused as it is emitted has lost it: nothing acks it or replays it.
#[test]
fn a_tuple_that_its_spout_cannot_emit_is_counted() {
    struct Huge(u64);
    impl Spout for Huge {
        fn declare(&self) -> Streams {
            Streams::new(["n"])
        }
        fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            self.0 += 1;
            match self.0 {
                1 => out.emit_tracked(["x".repeat(9 << 20)], MessageId(1))?,
                2 => out.emit_tracked(["x"], MessageId(2))?,
                _ => return Ok(SpoutStatus::Exhausted),
            }
            Ok(SpoutStatus::Emitted)
        }
    }
    let mut builder = builder();
    builder.spout("spout", || Huge(0));
    builder.bolt("sink", null()).shuffle("spout");
    let stats = simulate(builder);
    assert_eq!((stats.acked, stats.failed, stats.failed_unanchored), (1, 0, 1), "{stats:#?}");
}

/// 20 errors at once, 5 lines in the log, each with component and task; after 10 s the next line says
/// how many were swallowed. Quiet errors are counted and never logged. If it fails, a bad day fills
/// the disk, or nobody hears of it.
#[test]
fn five_errors_in_ten_seconds_are_logged_and_all_are_counted() {
    let log = Log::default();
    let feeder = Feeder::new(["quiet"]);
    let refuse = |input: Input<'_>, _: &mut Outputs<'_>| {
        Err(if input.bool("quiet")? { TaskError::quiet("hush") } else { TaskError::new("too bad") })
    };
    let mut builder = TopologyBuilder::new("throttle");
    builder.spout("spout", feeder.spout());
    builder.bolt("bolt", bolt(Streams::none(), refuse)).parallelism(2).shuffle("spout");
    let options = SimulationOptions { logger: log.logger(), ..SimulationOptions::default() };
    let mut topology = SimulatedTopology::start(builder.build().expect("valid"), options);
    let feed = |count: usize, quiet: bool, topology: &mut SimulatedTopology| {
        for _ in 0..count {
            feeder.feed([quiet]);
        }
        topology.advance(seconds(1));
    };
    let lines = || log.lines(slog::Level::Error);
    feed(20, false, &mut topology);
    assert_eq!(lines().len(), 5);
    for line in lines() {
        assert!(line.text.starts_with("too bad") && line.text.contains("component=bolt"), "{}", line.text);
        assert!(line.text.contains(" task="), "{}", line.text);
    }
    feed(3, true, &mut topology);
    assert_eq!(of(&topology.stats(), "bolt").errors, 23);
    topology.advance(seconds(10));
    feed(3, true, &mut topology);
    assert_eq!(lines().len(), 5, "quiet errors are not logged");
    feed(1, false, &mut topology);
    assert_eq!(lines().len(), 6);
    assert!(lines()[5].text.contains("not_shown_before=15"), "{}", lines()[5].text);
    assert_eq!(of(&topology.stats(), "bolt").errors, 27);
}

/// Notes why messages failed.
struct NotesCauses {
    numbers: Numbers,
    causes: Arc<Mutex<Vec<FailureCause>>>,
}

impl Spout for NotesCauses {
    fn declare(&self) -> Streams {
        self.numbers.declare()
    }
    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.numbers.next_tuple(out)
    }
    fn fail(
        &mut self,
        id: MessageId,
        failure: &Failure,
        out: &mut SpoutOutputs<'_>,
    ) -> Result<(), TaskError> {
        lock(&self.causes).push(failure.cause);
        self.numbers.fail(id, failure, out)
    }
}

fn causes_of<B: Bolt + 'static>(bolt: impl Fn() -> B + Send + Sync + 'static) -> Vec<FailureCause> {
    let causes = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&causes);
    let mut builder = builder();
    builder.spout("spout", move || NotesCauses { numbers: Numbers::new(3), causes: Arc::clone(&noted) });
    builder.bolt("bolt", bolt).shuffle("spout");
    let stats = run(builder);
    assert_eq!((stats.acked, stats.failed), (3, 0));
    std::mem::take(&mut *lock(&causes))
}

/// Each way to fail a tuple reaches the spout under its name. If it fails, nobody can tell a bug from
/// a refusal, and a held tuple that is forgotten waits for its time-out.
#[test]
fn spouts_get_the_cause_of_a_failure() {
    let once = || {
        let left = Arc::new(AtomicU64::new(1));
        move || left.swap(0, Ordering::SeqCst) == 1
    };
    let first = once();
    let drops = move |input: Input<'_>, out: &mut Outputs<'_>| {
        if first() {
            drop(out.hold(input));
        }
        Ok(())
    };
    assert_eq!(causes_of(bolt(Streams::none(), drops)), [FailureCause::Abandoned]);
    let first = once();
    let fails = move |input: Input<'_>, out: &mut Outputs<'_>| {
        let held = out.hold(input);
        if first() {
            out.fail(held)
        } else {
            out.ack(held)
        }
        Ok(())
    };
    assert_eq!(causes_of(bolt(Streams::none(), fails)), [FailureCause::Failed]);
    let first = once();
    let refuses = move |_: Input<'_>, _: &mut Outputs<'_>| {
        if first() { Err(TaskError::quiet("no")) } else { Ok(()) }
    };
    assert_eq!(causes_of(bolt(Streams::none(), refuses)), [FailureCause::Failed]);
    let first = once();
    let panics = move |_: Input<'_>, _: &mut Outputs<'_>| {
        if first() { resume_unwind(Box::new("no")) } else { Ok(()) }
    };
    assert_eq!(causes_of(bolt(Streams::none(), panics)), [FailureCause::Panicked]);
}

/// Notes the order of its acks.
struct NotesAcks {
    numbers: Numbers,
    acks: Arc<Mutex<Vec<u64>>>,
}

impl Spout for NotesAcks {
    fn declare(&self) -> Streams {
        self.numbers.declare()
    }
    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.numbers.next_tuple(out)
    }
    fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
        lock(&self.acks).push(id.0);
        Ok(())
    }
}

/// Each message is acked exactly once, at most once in the order of the emits. With tracking, order is
/// promised within a block only, as in Storm within nothing: trees end when they end. If it fails, a
/// source that counts its acks is wrong about what it may forget.
#[test]
fn each_message_is_acked_once() {
    for delivery in [Delivery::AtLeastOnce, Delivery::AtMostOnce] {
        let acks = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&acks);
        let mut builder = builder();
        builder.options(|options| options.delivery = delivery);
        builder.spout("spout", move || NotesAcks { numbers: Numbers::new(5_000), acks: Arc::clone(&noted) });
        builder.bolt("middle", identity(&["n"])).shuffle("spout");
        builder.bolt("sink", null()).shuffle("middle");
        run(builder);
        let mut acks = lock(&acks);
        if delivery == Delivery::AtLeastOnce {
            acks.sort_unstable();
        }
        assert!(acks.iter().copied().eq(0..5_000), "{delivery}");
    }
}

#[derive(Serialize)]
struct Point {
    x: i64,
}

/// Emits wrongly in every way, and sends what it was told to the default stream.
fn emits_wrongly(out: &mut Outputs<'_>, strangers: TaskId) -> Vec<EmitError> {
    let too_large = "x".repeat(2_000);
    [
        out.emit_to("nowhere", [1]),
        out.emit((1, 2)),
        out.emit([too_large.as_str()]),
        out.emit_to("direct", [1]),
        out.emit_direct(strangers, "default", [1]),
        out.emit_direct(strangers, "direct", [1]),
        out.emit_struct(&Point { x: 1 }),
        out.emit_for_targets("direct", [1]).map(drop),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect()
}

/// Every misuse of emit is an error that names component and stream, sends nothing, and leaves the
/// bolt able to go on. If it fails, a typo loses tuples in silence.
#[test]
fn emit_errors_name_component_and_stream() {
    let capture = Capture::new();
    let wrong = |_: Input<'_>, out: &mut Outputs<'_>| {
        for error in emits_wrongly(out, TaskId(1)) {
            out.emit([error.to_string()])?;
        }
        Ok(())
    };
    let streams = || Streams::new(["text"]).direct_stream("direct", ["n"]);
    let mut builder = builder();
    builder.options(|options| options.queue.tuple_size_max = 1_000);
    builder.spout("spout", || Numbers::new(1));
    builder.bolt("bolt", bolt(streams(), wrong)).shuffle("spout");
    builder.bolt("sink", capture.bolt()).global("bolt");
    builder.bolt("other", null()).direct(("bolt", "direct"));
    let stats = run(builder);
    let expected = [
        "component `bolt` declares no stream `nowhere` (it declares: default, direct",
        "component `bolt` emitted 2 values to stream `default`, which has 1 fields (text)",
        "component `bolt` emitted a tuple of 2000 bytes to stream `default`; the limit is 1000",
        "component `bolt`: stream `direct` is direct, so use `emit_direct`",
        "component `bolt`: stream `default` is not direct, so use `emit`",
        "component `bolt`: task 1 does not take stream `direct` by direct grouping",
        "component `bolt`, stream `default`: ",
        "component `bolt`: stream `direct` is direct, so use `emit_direct`",
    ];
    let rows = capture.rows();
    assert_eq!(rows.len(), expected.len(), "{rows:?}");
    for (row, expected) in rows.iter().zip(expected) {
        let text = row[0].as_str().unwrap_or_default();
        assert!(text.starts_with(expected), "{text}");
    }
    assert_eq!((stats.acked, of(&stats, "other").executed), (1, 0));
    assert_eq!(of(&stats, "bolt").emitted, expected.len() as u64, "what is refused is not counted");
}

/// Tracked tuples that are refused, in each way a spout can emit.
struct WrongSpout {
    turn: u64,
    acked: Arc<Mutex<Vec<u64>>>,
}

impl Spout for WrongSpout {
    fn declare(&self) -> Streams {
        Streams::new(["n"]).direct_stream("direct", ["n"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.turn += 1;
        let id = MessageId(self.turn);
        let refused = match self.turn {
            1 => out.emit_tracked((1, 2), id),
            2 => out.emit_tracked_to("nowhere", [1], id),
            3 => out.emit_tracked(["x".repeat(2_000)], id),
            4 => out.emit_struct_tracked(&Point { x: 1 }, id),
            5 => out.emit_for_targets("default", (1, 2), Some(id)).map(drop),
            6 => out.emit_direct(TaskId(1), "direct", [1], Some(id)),
            7 => out.emit_tracked_to("direct", [1], id),
            8 => {
                out.emit_tracked([1], id)?;
                return Ok(SpoutStatus::Emitted);
            }
            _ => return Ok(SpoutStatus::Exhausted),
        };
        assert!(refused.is_err(), "turn {}", self.turn);
        Ok(SpoutStatus::Emitted)
    }

    fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
        lock(&self.acked).push(id.0);
        Ok(())
    }
}

/// A tracked tuple that was refused used to leave its message behind: with nothing sent, its tree was
/// empty, and the spout was told that it was processed. A source that commits by acks lost it.
#[test]
fn what_was_refused_is_never_acked() {
    for delivery in [Delivery::AtLeastOnce, Delivery::AtMostOnce] {
        let acked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&acked);
        let mut builder = builder();
        builder.options(|options| {
            options.delivery = delivery;
            options.queue.tuple_size_max = 1_000;
        });
        builder.spout("spout", move || WrongSpout { turn: 0, acked: Arc::clone(&noted) });
        builder.bolt("sink", null()).shuffle("spout");
        let stats = run(builder);
        assert_eq!(*lock(&acked), [8], "{delivery}");
        assert_eq!((stats.emitted, stats.acked, stats.pending), (1, 1, 0), "{delivery}");
    }
}

/// Looks around, measures, and emits what it found.
#[derive(Default)]
struct Curious(Vec<String>);

impl Bolt for Curious {
    fn declare(&self) -> Streams {
        Streams::new(["text"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let counter = context.counter("seen");
        counter.add(40);
        context.counter("seen").add(2);
        context.gauge("level").set(-7);
        context.histogram("sizes").record(100);
        // A name has one kind; whoever asks for another gets one that nobody reads.
        context.gauge("seen").set(1);
        let inputs = context.components().iter().find(|info| info.id == context.component());
        let from = inputs.map(|info| format!("{}.{}", info.inputs[0].component, info.inputs[0].stream));
        self.0 = vec![
            context.topology().to_owned(),
            context.component().to_owned(),
            format!("{} of {}", context.task_index(), context.parallelism()),
            from.unwrap_or_default(),
            context.tasks_of("sink").len().to_string(),
            context.tasks_of("nobody").len().to_string(),
            context.delivery().to_string(),
            context.setting::<i64>("missing").unwrap_err().to_string(),
            context.setting::<i64>("word").unwrap_err().to_string().lines().next().unwrap_or("").to_owned(),
        ];
        Ok(())
    }

    fn execute(&mut self, _input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.iter().try_for_each(|text| Ok(out.emit([text.as_str()])?))
    }
}

/// What a task can look up about itself and the topology, and the metrics it registers. If it fails,
/// bolts that shard by task index or report metrics do so wrongly.
#[test]
fn tasks_look_up_who_they_are_and_register_metrics() {
    let capture = Capture::new();
    let mut builder = builder();
    builder.setting("word", "storm");
    builder.spout("spout", || Numbers::new(1));
    builder.bolt("curious", Curious::default).parallelism(2).global("spout");
    builder.bolt("sink", capture.bolt()).parallelism(3).global("curious");
    let running = running(builder);
    assert!(running.wait(DEADLINE));
    let metrics = running.metrics().clone();
    running.join();
    let texts: Vec<_> = capture.rows().iter().map(|row| row[0].to_string()).collect();
    let expected = ["delivery", "curious", "0 of 2", "spout.default", "3", "0", "at-least-once"];
    assert_eq!(texts[..7], expected);
    assert_eq!(texts[7], "there is no setting `missing`");
    assert!(texts[8].starts_with("setting `word`: "), "{}", texts[8]);
    let found = |name: &str| {
        let all = metrics.snapshot();
        all.into_iter().filter(|(key, _)| key.component == "curious" && key.name == name).collect::<Vec<_>>()
    };
    assert_eq!(found("seen").len(), 2, "one per task");
    for (_, metric) in found("seen") {
        assert!(matches!(&metric, Metric::Counter(counter) if counter.get() == 42), "{metric:?}");
    }
    assert!(matches!(&found("level")[0].1, Metric::Gauge(gauge) if gauge.get() == -7));
    assert!(matches!(&found("sizes")[0].1, Metric::Histogram(sizes) if sizes.summary().count == 1));
}

/// A bolt asks for the end: spouts stop, what is in flight is processed, and everything is acked. If
/// it fails, `run --for` and signals lose what is under way.
#[test]
fn a_requested_drain_processes_what_is_in_flight() {
    let ask = |input: Input<'_>, out: &mut Outputs<'_>| {
        if input.i64("n")? == 1_000 {
            out.request_drain();
        }
        Ok(())
    };
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(u64::MAX));
    builder.bolt("middle", identity(&["n"])).parallelism(2).shuffle("spout");
    builder.bolt("sink", bolt(Streams::none(), ask)).shuffle("middle");
    let stats = run(builder);
    assert!(!stats.cut_short && stats.ended);
    assert!(stats.acked > 1_000);
    assert_eq!((stats.acked, stats.pending, stats.failed), (stats.emitted, 0, 0));
}

/// A kill ends at once, says that it was cut short, and still closes what answers. If it fails, an
/// operator's last resort hangs.
#[test]
fn a_kill_ends_at_once() {
    let mut builder = builder();
    builder.spout("spout", || Numbers::new(u64::MAX));
    builder.bolt("sink", null()).shuffle("spout");
    let running = running(builder);
    wait_until("a thousand acks", || running.stats().acked > 1_000);
    running.kill();
    assert!(running.wait(DEADLINE));
    let stats = running.join();
    assert!(stats.cut_short && stats.ended);
}

/// Counts the calls that tell it whether the topology is active.
#[derive(Clone, Default)]
struct Switched {
    activated: Arc<AtomicU64>,
    deactivated: Arc<AtomicU64>,
    next: u64,
}

impl Spout for Switched {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }
    fn activate(&mut self) -> Result<(), TaskError> {
        self.activated.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn deactivate(&mut self) -> Result<(), TaskError> {
        self.deactivated.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.next += 1;
        out.emit_tracked([self.next as i64], MessageId(self.next))?;
        Ok(SpoutStatus::Emitted)
    }
}

/// Deactivated, a spout is told, rests, and what is in flight is finished; activated again it goes on
/// where it was. If it fails, nobody can pause a topology for an upgrade of what it reads.
#[test]
fn a_topology_rests_and_goes_on() {
    let spout = Switched::default();
    let made = spout.clone();
    let mut builder = builder();
    builder.spout("spout", move || made.clone());
    builder.bolt("sink", null()).shuffle("spout");
    let running = running(builder);
    wait_until("acks", || running.stats().acked > 100);
    running.deactivate();
    wait_until("the spout to know", || spout.deactivated.load(Ordering::SeqCst) == 1);
    wait_until("the rest", || {
        let stats = running.stats();
        stats.pending == 0 && stats.emitted == stats.acked
    });
    let rested = running.stats();
    running.activate();
    wait_until("more", || running.stats().acked > rested.acked + 100);
    assert!(running.stats().emitted > rested.emitted);
    assert_eq!(spout.activated.load(Ordering::SeqCst), 2);
    running.drain();
    let stats = running.join();
    assert_eq!((stats.acked, stats.failed), (stats.emitted, 0));
}

/// Holds everything until it is asked to finish, then emits its sum and acks.
#[derive(Default)]
struct Hoard(Vec<HeldTuple>);

impl Bolt for Hoard {
    fn declare(&self) -> Streams {
        Streams::new(["sum"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.push(out.hold(input));
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let mut sum = 0;
        for held in &self.0 {
            sum += held.get(0).and_then(Value::as_i64).unwrap_or(0);
        }
        if !self.0.is_empty() {
            out.emit_anchored("default", &self.0.iter().collect::<Vec<_>>(), [sum])?;
        }
        self.0.drain(..).for_each(|held| out.ack(held));
        Ok(())
    }
}

/// A diamond with a fan-out, a join that holds everything to the end on each side, and one after them
/// that holds the sums.
fn diamond(capture: &Capture) -> TopologyBuilder {
    let rows = || (0..100).map(|n| vec![Value::from(n)]);
    let thrice =
        |input: Input<'_>, out: &mut Outputs<'_>| (0..3).try_for_each(|_| Ok(out.emit([input.i64("n")?])?));
    let mut builder = builder();
    builder.spout("spout", move || FixedSpout::new(["n"], rows()));
    builder.bolt("left", Hoard::default).parallelism(2).fields("spout", ["n"]);
    builder.bolt("thrice", bolt(Streams::new(["n"]), thrice)).parallelism(2).shuffle("spout");
    builder.bolt("right", Hoard::default).parallelism(3).tasks(5).shuffle("thrice");
    builder.bolt("all", Hoard::default).shuffle("left").shuffle("right");
    builder.bolt("sink", capture.bolt()).shuffle("all");
    builder
}

fn check_diamond(stats: &TopologyStats, capture: &Capture) {
    assert!(!stats.cut_short);
    assert_eq!((stats.acked, stats.failed, stats.replayed), (100, 0, 0));
    let sums = capture.rows().iter().filter_map(|row| row[0].as_i64()).sum::<i64>();
    assert_eq!(sums, 4 * 4_950, "each number once by the left and thrice by the right");
}

/// Bounded input ends a topology in order although everything is held until `finish`, through a
/// diamond with a fan-out: no time-out, no replay, nothing twice. If it fails, batch jobs hang at
/// their end or sum up twice.
#[test]
fn bounded_input_ends_across_a_diamond_that_holds_everything() {
    for seed in 0..30 {
        let capture = Capture::new();
        let topology = diamond(&capture).build().expect("a valid topology");
        let mut topology = SimulatedTopology::start(topology, SimulationOptions::seeded(seed));
        let stats = topology.run_to_end(HOUR).expect("it ends");
        check_diamond(&stats, &capture);
        assert!(topology.now() < seconds(30), "seed {seed}: it ended by finish and not by time-out");
    }
    for _ in 0..5 {
        let capture = Capture::new();
        check_diamond(&run(diamond(&capture)), &capture);
    }
}

/// Only the first of the tasks of an executor holds anything. What an executor showed the coordinator
/// was what its last task held, so nobody asked it to let go, and the input ended by a time-out and a
/// replay that were held just as well.
#[test]
fn what_the_first_task_of_an_executor_holds_is_let_go_at_the_end() {
    for seed in 0..10 {
        let mut builder = builder();
        builder.spout("spout", || Numbers::new(10));
        builder.bolt("held", Hoard::default).tasks(4).global("spout");
        builder.bolt("sink", null()).shuffle("held");
        let topology = builder.build().expect("a valid topology");
        let mut topology = SimulatedTopology::start(topology, SimulationOptions::seeded(seed));
        let stats = topology.run_to_end(seconds(20)).expect("it ends before its time-out");
        assert_eq!((stats.acked, stats.replayed), (10, 0), "seed {seed}");
    }
}

/// Two spouts, one of which ends at once, a topology without any message, and one whose sink is told
/// nothing: all end by themselves. If it fails, an empty file hangs `squall run`.
#[test]
fn empty_input_ends_too() {
    for (first, second) in [(0, 0), (0, 10), (10, 0)] {
        let mut builder = builder();
        builder.spout("first", move || Numbers::new(first));
        builder.spout("second", move || Numbers::new(second));
        builder.bolt("held", Hoard::default).shuffle("first").shuffle("second");
        builder.bolt("sink", null()).shuffle("held");
        let stats = run(builder);
        assert_eq!((stats.acked, stats.cut_short), (first + second, false));
    }
}

/// How many of [`Live`] there are.
static LIVE: AtomicU64 = AtomicU64::new(0);

/// A value that counts itself.
#[derive(Serialize, Deserialize)]
struct Live(i64);

impl Live {
    fn new(n: i64) -> Live {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Live(n)
    }
}

impl Clone for Live {
    fn clone(&self) -> Live {
        Live::new(self.0)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keys that came once stayed in memory for ever. Nothing wakes the task here but what expires.
#[test]
fn state_that_has_expired_is_removed_from_a_task_without_input() {
    #[derive(Default)]
    struct Keep(ValueState<Live>);

    impl Bolt for Keep {
        fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
            self.0 = context.expiring(Ttl::after_write(seconds(80))).value_state("live")?;
            Ok(())
        }

        fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
            Ok(self.0.set(out, Live::new(input.i64("n")?))?)
        }
    }

    let feeder = Feeder::new(["n"]);
    let mut builder = TopologyBuilder::new("brief");
    // The steps of a spout, which looks for input all the time, must not be those of the bolt.
    builder.options(|options| options.chain = ChainMode::Off);
    builder.spout("numbers", feeder.spout());
    builder.bolt("keep", Keep::default).fields("numbers", ["n"]);
    let topology = builder.build().expect("valid");
    let mut topology = SimulatedTopology::start(topology, SimulationOptions::default());
    for n in 0..2_000 {
        feeder.feed([n]);
    }
    topology.advance(seconds(79));
    assert_eq!(LIVE.load(Ordering::Relaxed), 2_000);
    // They are removed when at most a quarter of their time to live has passed once more.
    topology.advance(seconds(21));
    assert_eq!(LIVE.load(Ordering::Relaxed), 0);
}
