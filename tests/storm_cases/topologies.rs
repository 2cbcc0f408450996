//! Whole topologies in simulated time. Each runs under several seeds: Storm sees one order of
//! events, squall shall be right in all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use squall::api::TaskHook;
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::testing::{
    BoltHarness, Capture, CompleteOptions, Feeder, FixedSpout, SimulatedTopology, SimulationOptions,
    TestTuple, complete_topology,
};
use squall::topology::TopologyBuilder;

use crate::in_order::{CheckOrder, InOrder};
use crate::kit::{HOUR, bolt, identity, lock, null, of, seconds};

const SEEDS: std::ops::Range<u64> = 0..8;

fn start(builder: TopologyBuilder, seed: u64) -> SimulatedTopology {
    SimulatedTopology::start(builder.build().expect("a valid topology"), SimulationOptions::seeded(seed))
}

fn timeout_of(builder: &mut TopologyBuilder, timeout: u64) {
    builder.options(|options| options.message_timeout = Some(seconds(timeout)));
}

/// Emits how many tuples it has got (Storm's `TestGlobalCount` and `TestAggregatesCounter`).
struct Counting(i64);

impl Bolt for Counting {
    fn declare(&self) -> Streams {
        Streams::new(["count"])
    }

    fn execute(&mut self, _input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0 += 1;
        Ok(out.emit([self.0])?)
    }
}

/// Emits how often each word came (Storm's `TestWordCounter`).
#[derive(Default)]
struct WordCounting(BTreeMap<String, i64>);

impl Bolt for WordCounting {
    fn declare(&self) -> Streams {
        Streams::new(["word", "count"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let word = input.str("word")?;
        let count = self.0.entry(word.to_owned()).or_default();
        *count += 1;
        Ok(out.emit((word, *count))?)
    }
}

/// Emits so many tuples for each (Storm's `BranchingBolt`).
fn branching(branches: i64) -> impl Fn() -> Branching + Send + Sync + 'static {
    move || Branching(branches)
}

struct Branching(i64);

impl Bolt for Branching {
    fn declare(&self) -> Streams {
        Streams::new(["num"])
    }

    fn execute(&mut self, _input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        (0..self.0).try_for_each(|branch| Ok(out.emit([branch])?))
    }
}

/// Holds so many tuples, then emits one that is anchored to all of them, and acks them (Storm's
/// `AggBolt`).
struct Agg {
    size: usize,
    held: Vec<HeldTuple>,
}

fn agg(size: usize) -> impl Fn() -> Agg + Send + Sync + 'static {
    move || Agg { size, held: Vec::new() }
}

impl Bolt for Agg {
    fn declare(&self) -> Streams {
        Streams::new(["num"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.held.push(out.hold(input));
        if self.held.len() == self.size {
            out.emit_anchored("default", &self.held.iter().collect::<Vec<_>>(), [1])?;
            self.held.drain(..).for_each(|held| out.ack(held));
        }
        Ok(())
    }
}

fn words(feeder: &Feeder) {
    ["nathan", "bob", "joey", "nathan"].into_iter().for_each(|word| {
        feeder.feed([word]);
    });
    feeder.close();
}

fn basic_topology(feeder: &Feeder) -> (TopologyBuilder, [Capture; 3]) {
    let captures = [Capture::new(), Capture::new(), Capture::new()];
    let mut builder = TopologyBuilder::new("basic");
    builder.spout("1", feeder.spout()).parallelism(3);
    builder.bolt("2", WordCounting::default).parallelism(4).fields("1", ["word"]);
    builder.bolt("3", || Counting(0)).global("1");
    builder.bolt("4", || Counting(0)).global("2");
    for (capture, source) in captures.iter().zip(["2", "3", "4"]) {
        builder.bolt(format!("capture-{source}"), capture.bolt()).global(source);
    }
    (builder, captures)
}

fn check_basic_topology(captures: &[Capture; 3]) {
    let expected = [("bob", 1), ("joey", 1), ("nathan", 1), ("nathan", 2)];
    let expected = expected.map(|(word, count)| vec![Value::from(word), Value::from(count)]);
    assert_eq!(captures[0].sorted(), expected);
    let in_order: Vec<_> = (1..=4).map(|n| vec![Value::from(n)]).collect();
    assert_eq!(captures[1].rows(), in_order, "the global counter");
    assert_eq!(captures[2].rows(), in_order, "the aggregate");
}

/// `TopologyIntegrationTest.testBasicTopology`: spouts in 3 tasks, a word count in 4 by fields, two
/// global counters. If it fails, groupings or order are broken for everyone.
#[test]
fn basic_topology_counts_words_by_fields_and_globally() {
    for seed in SEEDS {
        let feeder = Feeder::new(["word"]);
        let (builder, captures) = basic_topology(&feeder);
        words(&feeder);
        let stats = start(builder, seed).run_to_end(HOUR).expect("it ends");
        assert_eq!((stats.emitted, stats.acked, stats.failed), (4, 4, 0), "seed {seed}");
        check_basic_topology(&captures);
    }
}

/// The second run of `testBasicTopology`, which Storm makes over TCP: here with the threads of
/// production. If it fails, the scheduler loses or reorders what the simulation does not.
#[test]
fn basic_topology_with_threads() {
    let feeder = Feeder::new(["word"]);
    let (builder, captures) = basic_topology(&feeder);
    words(&feeder);
    let running = RunningTopology::start(builder.build().expect("a valid topology"), LocalOptions::default());
    let stats = running.expect("threads start").join();
    assert_eq!((stats.emitted, stats.acked, stats.failed), (4, 4, 0));
    check_basic_topology(&captures);
}

/// Notes its place among its component's tasks for each tuple it gets.
struct WhoAmI {
    index: usize,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Bolt for WhoAmI {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.index = context.task_index();
        Ok(())
    }

    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        lock(&self.seen).push(self.index);
        Ok(())
    }
}

/// `testMultiTasksPerCluster`: 3 executors with 6 tasks, all grouping, one tuple. If it fails, tasks
/// that share an executor are passed over.
#[test]
fn all_grouping_reaches_each_of_six_tasks_in_three_executors() {
    for seed in SEEDS {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let feeder = Feeder::new(["n"]);
        let mut builder = TopologyBuilder::new("multi-tasks");
        builder.spout("1", feeder.spout());
        let of_tasks = Arc::clone(&seen);
        let who = move || WhoAmI { index: 99, seen: Arc::clone(&of_tasks) };
        builder.bolt("2", who).parallelism(3).tasks(6).all("1");
        feeder.feed([1]);
        feeder.close();
        start(builder, seed).run_to_end(HOUR).expect("it ends");
        lock(&seen).sort_unstable();
        assert_eq!(*lock(&seen), [0, 1, 2, 3, 4, 5], "seed {seed}");
    }
}

/// Acks every other tuple and keeps the rest for ever (Storm's `AckEveryOtherBolt`).
#[derive(Default)]
struct EveryOther {
    count: u64,
    kept: Vec<HeldTuple>,
}

impl Bolt for EveryOther {
    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.count += 1;
        if self.count.is_multiple_of(2) {
            self.kept.push(out.hold(input));
        }
        Ok(())
    }
}

/// Feeds a, b and c so that each has a tree entry of its own. Messages that a spout emits in one step
/// share a block (`runtime::acking::pending`): a neighbour of what is never acked is acked, or times out,
/// with it. Storm tracks each alone.
fn feed_apart(topology: &mut SimulatedTopology, feeder: &Feeder) -> [MessageId; 3] {
    ["a", "b", "c"].map(|letter| {
        let id = feeder.feed([letter]);
        topology.settle();
        id
    })
}

/// `testTimeout`: of three messages the second is never acked; it fails after its 10 seconds, not
/// after 9, and the others are acked. If it fails, time-outs come too early, too late or to the
/// wrong message.
#[test]
fn what_is_not_acked_fails_after_its_timeout() {
    for seed in SEEDS {
        let feeder = Feeder::new(["letter"]);
        let mut builder = TopologyBuilder::new("timeout");
        timeout_of(&mut builder, 10);
        builder.spout("1", feeder.spout());
        builder.bolt("2", EveryOther::default).global("1");
        let mut topology = start(builder, seed);
        topology.advance(seconds(11));
        let ids = feed_apart(&mut topology, &feeder);
        topology.advance(seconds(9));
        assert!(feeder.is_acked(ids[0]) && feeder.is_acked(ids[2]), "seed {seed}");
        assert!(feeder.is_open(ids[1]), "seed {seed}: 9 seconds are no 10");
        topology.advance(seconds(12));
        assert!(feeder.has_failed(ids[1]), "seed {seed}");
    }
}

/// Storm's `ResetTimeoutBolt`: the first tuple is held and has its time-out reset by others.
#[derive(Default)]
struct Resetting {
    count: u64,
    first: Option<HeldTuple>,
    never: Option<HeldTuple>,
}

impl Bolt for Resetting {
    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.count += 1;
        match self.count {
            1 => self.first = Some(out.hold(input)),
            2 => self.never = Some(out.hold(input)),
            5 => self.first.take().into_iter().for_each(|first| out.ack(first)),
            _ => {}
        }
        if (2..=4).contains(&self.count)
            && let Some(first) = &self.first
        {
            out.reset_timeout(first);
        }
        Ok(())
    }
}

/// `testResetTimeout`: a message whose time-out is reset three times outlives it, and one that came
/// later and was not reset does not. If it fails, long work cannot be protected from replay.
#[test]
fn a_reset_timeout_starts_anew() {
    for seed in SEEDS {
        let feeder = Feeder::new(["n"]);
        let mut builder = TopologyBuilder::new("reset-timeout");
        timeout_of(&mut builder, 10);
        builder.spout("1", feeder.spout());
        builder.bolt("2", Resetting::default).global("1");
        let mut topology = start(builder, seed);
        let first = feeder.feed([1]);
        topology.settle();
        let second = feeder.feed([2]);
        topology.advance(seconds(9));
        let third = feeder.feed([3]);
        topology.settle();
        assert!(feeder.is_acked(third), "seed {seed}");
        topology.advance(seconds(9));
        let fourth = feeder.feed([4]);
        topology.settle();
        assert!(feeder.is_acked(fourth), "seed {seed}");
        topology.advance(seconds(2));
        assert!(feeder.has_failed(second), "seed {seed}");
        let fifth = feeder.feed([5]);
        topology.settle();
        assert!(feeder.is_acked(fifth), "seed {seed}");
        assert!(feeder.is_acked(first), "seed {seed}: 20 seconds old and never failed");
    }
}

/// `testSystemStream`: a bolt that also subscribes to the spout's `__system` stream gets each of a, b,
/// c once. If it fails, the system's signals double, swallow or fail users' tuples.
#[test]
fn a_subscription_to_the_system_stream_changes_nothing() {
    for seed in SEEDS {
        let (feeder, capture) = (Feeder::new(["word"]), Capture::new());
        ["a", "b", "c"].into_iter().for_each(|word| {
            feeder.feed([word]);
        });
        feeder.close();
        let mut builder = TopologyBuilder::new("system-stream");
        builder.options(|options| options.tick = Some(seconds(1)));
        builder.spout("1", feeder.spout());
        builder.bolt("2", identity(&["word"])).fields("1", ["word"]).global(("1", "__system"));
        builder.bolt("3", capture.bolt()).global("2");
        let stats = start(builder, seed).run_to_end(HOUR).expect("it ends");
        assert_eq!((stats.acked, stats.failed), (3, 0), "seed {seed}");
        assert_eq!(capture.sorted(), ["a", "b", "c"].map(|word| vec![Value::from(word)]));
    }
}

/// `testAcking`: three feeders, branches of 2, 4 and 1, a join of any 3 of them, branches of 2. A
/// message is acked exactly when the last join that it is part of is done. If it fails, a tree with
/// several roots is acked too early (loss) or never (replay for ever).
#[test]
fn joined_trees_are_acked_when_the_last_join_is_done() {
    for seed in SEEDS {
        let feeders = [Feeder::new(["num"]), Feeder::new(["num"]), Feeder::new(["num"])];
        let mut builder = TopologyBuilder::new("acking");
        for (feeder, id) in feeders.iter().zip(["1", "2", "3"]) {
            builder.spout(id, feeder.spout());
        }
        builder.bolt("4", branching(2)).shuffle("1");
        builder.bolt("5", branching(4)).shuffle("2");
        builder.bolt("6", branching(1)).shuffle("3");
        builder.bolt("7", agg(3)).shuffle("4").shuffle("5").shuffle("6");
        builder.bolt("8", branching(2)).shuffle("7");
        builder.bolt("9", null()).shuffle("8");
        let mut topology = start(builder, seed);
        // Which feeder is fed, and the acks that each has got after it.
        let steps =
            [(0, [0, 0, 0]), (1, [1, 1, 0]), (0, [0; 3]), (0, [1, 0, 0]), (2, [0; 3]), (1, [1, 1, 1])];
        for (step, (fed, expected)) in steps.into_iter().enumerate() {
            feeders[fed].feed([1]);
            topology.settle();
            let acks = feeders.each_ref().map(Feeder::take_acks);
            assert_eq!(acks, expected, "seed {seed}, step {step}");
        }
        feeders.iter().for_each(|feeder| {
            feeder.feed([1]);
        });
        topology.settle();
        topology.check().expect("no false ack");
    }
}

/// `testAckBranching`: two branches of each message end in one join of 4. If it fails, a message is
/// acked by its first branch.
#[test]
fn a_message_waits_for_all_of_its_branches() {
    for seed in SEEDS {
        let feeder = Feeder::new(["num"]);
        let mut builder = TopologyBuilder::new("ack-branching");
        builder.spout("1", feeder.spout());
        builder.bolt("2", identity(&["num"])).shuffle("1");
        builder.bolt("3", identity(&["num"])).shuffle("1");
        builder.bolt("4", agg(4)).shuffle("2").shuffle("3");
        let mut topology = start(builder, seed);
        feeder.feed([1]);
        topology.settle();
        assert_eq!(feeder.take_acks(), 0, "seed {seed}");
        feeder.feed([1]);
        topology.settle();
        assert_eq!(feeder.take_acks(), 2, "seed {seed}");
    }
}

/// `testSelfAnchor` (`DupAnchorBolt`): a tuple anchored twice to the same input must still balance.
/// If it fails, two equal edges cancel (a false ack) or one is left over (a hang).
#[test]
fn anchored_twice_to_the_same_input() {
    for seed in SEEDS {
        let feeder = Feeder::new(["num"]);
        let twice = |input: Input<'_>, out: &mut Outputs<'_>| {
            let held = out.hold(input);
            out.emit_anchored("default", &[&held, &held], [1])?;
            out.ack(held);
            Ok(())
        };
        let mut builder = TopologyBuilder::new("self-anchor");
        builder.spout("1", feeder.spout());
        builder.bolt("2", bolt(Streams::new(["num"]), twice)).shuffle("1");
        builder.bolt("3", null()).shuffle("2");
        let mut topology = start(builder, seed);
        feeder.feed([1]);
        topology.settle();
        assert_eq!(feeder.take_acks(), 1, "seed {seed}");
        (0..3).for_each(|_| {
            feeder.feed([1]);
        });
        topology.settle();
        assert_eq!(feeder.take_acks(), 3, "seed {seed}");
        topology.check().expect("no false ack");
    }
}

/// Says when it was opened, prepared or executed.
#[derive(Clone, Default)]
struct Marks {
    opened: Arc<AtomicBool>,
    prepared: Arc<AtomicBool>,
    acked: Arc<AtomicBool>,
    emitted: bool,
}

impl Spout for Marks {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn open(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        self.opened.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if std::mem::replace(&mut self.emitted, true) {
            return Ok(SpoutStatus::Idle);
        }
        out.emit_tracked([1], MessageId(1))?;
        Ok(SpoutStatus::Emitted)
    }

    fn ack(&mut self, _id: MessageId) -> Result<(), TaskError> {
        self.acked.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Bolt for Marks {
    fn prepare(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        self.prepared.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

/// `testSubmitInactiveTopology`: nothing is opened before the first activate. If it fails, a
/// topology submitted to be started later takes ports, files or offsets at once.
#[test]
fn an_inactive_topology_opens_nothing() {
    for seed in SEEDS {
        let marks = Marks::default();
        let (spout, sink) = (marks.clone(), marks.clone());
        let mut builder = TopologyBuilder::new("inactive");
        builder.options(|options| options.start_inactive = true);
        builder.spout("1", move || spout.clone());
        builder.bolt("2", move || sink.clone()).shuffle("1");
        let mut topology = start(builder, seed);
        topology.advance(seconds(20));
        let is = |mark: &AtomicBool| mark.load(Ordering::SeqCst);
        assert!(!is(&marks.opened) && !is(&marks.prepared) && !is(&marks.acked), "seed {seed}");
        topology.activate();
        topology.advance(seconds(12));
        assert!(is(&marks.opened) && is(&marks.prepared) && is(&marks.acked), "seed {seed}");
    }
}

/// Emits the settings it sees.
#[derive(Default)]
struct Settings(Vec<i64>);

impl Bolt for Settings {
    fn declare(&self) -> Streams {
        Streams::new(["a", "b", "c"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = ["a", "b", "c"].map(|key| context.setting(key).unwrap_or(-1)).to_vec();
        Ok(())
    }

    fn execute(&mut self, _input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(out.emit((self.0[0], self.0[1], self.0[2]))?)
    }
}

/// `testComponentSpecificConfig`: what a component sets lies over what the topology sets, for that
/// component only. If it fails, one bolt's setting leaks into another.
#[test]
fn settings_of_a_component_lie_over_those_of_the_topology() {
    let mut builder = TopologyBuilder::new("settings");
    builder.setting("a", 1_i64).setting("b", 2_i64);
    builder.spout("1", Feeder::new(["n"]).spout());
    builder.bolt("own", Settings::default).shuffle("1").setting("b", 3_i64).setting("c", 4_i64);
    builder.bolt("plain", Settings::default).shuffle("1");
    let options = CompleteOptions::default().mock("1", [[1]]);
    let completed = complete_topology(builder.build().expect("valid"), options).expect("it ends");
    assert_eq!(completed.rows("own"), [[1, 3, 4].map(Value::from)]);
    assert_eq!(completed.rows("plain"), [[1, 2, -1].map(Value::from)]);
}

#[derive(Clone, Copy, Debug, Default)]
struct Hooked {
    emitted: i64,
    acked: i64,
    failed: i64,
    executed: i64,
}

/// Counts the calls for the tasks of component `2`.
struct CountingHook {
    counts: Arc<Mutex<Hooked>>,
    mine: bool,
}

impl CountingHook {
    fn count(&self, which: impl FnOnce(&mut Hooked) -> &mut i64) {
        if self.mine {
            *which(&mut lock(&self.counts)) += 1;
        }
    }
}

impl TaskHook for CountingHook {
    fn prepare(&mut self, context: &TaskContext) {
        self.mine = context.component() == "2";
    }

    fn emit(&mut self, _stream: &str, _tuple: &[Value], _targets: &[TaskId]) {
        self.count(|counts| &mut counts.emitted);
    }

    fn bolt_execute(&mut self, _tuple: &[Value]) {
        self.count(|counts| &mut counts.executed);
    }

    fn bolt_ack(&mut self) {
        self.count(|counts| &mut counts.acked);
    }

    fn bolt_fail(&mut self) {
        self.count(|counts| &mut counts.failed);
    }
}

/// Emits what the hook has counted, then acks if there were as many acks as failures, else fails.
struct HookReader(Arc<Mutex<Hooked>>);

impl Bolt for HookReader {
    fn declare(&self) -> Streams {
        Streams::new(["emitted", "acked", "failed", "executed"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let Hooked { emitted, acked, failed, executed } = *lock(&self.0);
        out.emit((emitted, acked, failed, executed))?;
        // As in Storm, where a bolt acks or fails its input by a call. An error would take back what was emitted.
        let held = out.hold(input);
        if acked == failed {
            out.ack(held)
        } else {
            out.fail(held)
        }
        Ok(())
    }
}

/// `testHooks`: 4 inputs. Storm's emit hook also sees the internal ack message of each input, so it
/// counts 0, 2, 4, 6; squall's sees tuples only, 0, 1, 2, 3. If it fails, whoever bills or traces
/// through hooks counts wrong.
#[test]
fn hooks_see_each_emit_ack_fail_and_execute() {
    for seed in SEEDS {
        let counts = Arc::new(Mutex::new(Hooked::default()));
        let capture = Capture::new();
        let feeder = Feeder::new(["n"]);
        let mut builder = TopologyBuilder::new("hooks");
        let hooked = Arc::clone(&counts);
        builder.hook(move || CountingHook { counts: Arc::clone(&hooked), mine: false });
        builder.spout("1", feeder.spout());
        let read = Arc::clone(&counts);
        builder.bolt("2", move || HookReader(Arc::clone(&read))).shuffle("1");
        builder.bolt("3", capture.bolt()).global("2");
        let mut topology = start(builder, seed);
        (0..4).for_each(|n| {
            feeder.feed([n]);
        });
        topology.settle();
        let expected = [[0, 0, 0, 0], [1, 1, 0, 1], [2, 1, 1, 2], [3, 2, 1, 3]];
        assert_eq!(capture.rows(), expected.map(|row| row.map(Value::from).to_vec()), "seed {seed}");
    }
}

/// Emits what it finds under the key.
struct FindsResource(Option<Arc<String>>);

impl Bolt for FindsResource {
    fn declare(&self) -> Streams {
        Streams::new(["resource"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = context.resources().get("greeting");
        Ok(())
    }

    fn execute(&mut self, _input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(out.emit([self.0.as_ref().map_or("none", |found| found.as_str())])?)
    }
}

/// The resource of a `WorkerHook` (`testWorkerHook` and `WorkerUserContext.setResource`): set when
/// the worker starts, seen by every task under its key. If it fails, tasks cannot share a pool.
#[test]
fn a_resource_of_the_worker_is_seen_by_its_tasks() {
    let capture = Capture::new();
    let feeder = Feeder::new(["n"]);
    let mut builder = TopologyBuilder::new("resources");
    builder.spout("1", feeder.spout());
    builder.bolt("2", || FindsResource(None)).parallelism(2).all("1");
    builder.bolt("3", capture.bolt()).global("2");
    let options = SimulationOptions::default();
    options.resources.set("greeting", "hello".to_owned());
    let mut topology = SimulatedTopology::start(builder.build().expect("valid"), options);
    feeder.feed([1]);
    feeder.close();
    topology.run_to_end(HOUR).expect("it ends");
    assert_eq!(capture.rows(), [[Value::from("hello")], [Value::from("hello")]]);
}

/// `TestingTest.testCompleteTopology`, with its mocked sources and its multisets. If it fails, users
/// cannot test topologies.
#[test]
fn complete_topology_returns_what_everyone_emitted() {
    for seed in SEEDS {
        let mut builder = TopologyBuilder::new("complete");
        builder.spout("1", Feeder::new(["word"]).spout());
        builder.bolt("2", WordCounting::default).parallelism(4).fields("1", ["word"]);
        builder.bolt("3", || Counting(0)).global("1");
        builder.bolt("4", || Counting(0)).global("2");
        let mock = [["nathan"], ["bob"], ["joey"], ["nathan"]];
        let options = CompleteOptions::default().mock("1", mock).seed(seed);
        let completed = complete_topology(builder.build().expect("valid"), options).expect("it ends");
        assert_eq!(completed.rows("1"), mock.map(|row| row.map(Value::from)));
        let counts = [("bob", 1), ("joey", 1), ("nathan", 1), ("nathan", 2)];
        assert_eq!(completed.sorted("2"), counts.map(|(word, n)| [Value::from(word), Value::from(n)]));
        assert_eq!(completed.rows("3"), [1, 2, 3, 4].map(|n| [Value::from(n)]));
        assert_eq!(completed.rows("4"), [1, 2, 3, 4].map(|n| [Value::from(n)]));
    }
}

/// A spout with several streams is mocked stream by stream, and each row comes by the stream that it was
/// mocked for. If it fails, users test a branch of their topology with the rows of another.
#[test]
fn each_stream_of_a_spout_is_mocked_by_itself() {
    for seed in SEEDS {
        let streams = Streams::new(["word"]).stream("rejected", ["line", "why"]);
        let mut builder = TopologyBuilder::new("streams");
        builder.spout("1", move || FixedSpout::with_streams(streams.clone(), []));
        builder.bolt("2", || Counting(0)).global("1");
        builder.bolt("3", || Counting(0)).global(("1", "rejected"));
        let options = CompleteOptions::default()
            .mock("1", [["a"], ["b"]])
            .mock_stream("1", "rejected", [("c", "odd")])
            .mock_stream("1", "rejected", [("d", "odder")])
            .seed(seed);
        let completed = complete_topology(builder.build().expect("valid"), options).expect("it ends");
        assert_eq!(completed.rows("1"), [["a"], ["b"]].map(|row| row.map(Value::from)));
        let rejected = [("c", "odd"), ("d", "odder")].map(|(line, why)| [line, why].map(Value::from));
        assert_eq!(completed.stream("1", "rejected"), rejected);
        assert_eq!((completed.rows("2").len(), completed.rows("3").len()), (2, 2), "seed {seed}");
        assert_eq!(completed.stats.acked, 4, "seed {seed}");
    }
}

/// A message that failed and is fed again under its id is a replay, and no other message. If it fails,
/// users cannot test what a bolt does at the second attempt.
#[test]
fn a_message_that_is_fed_again_is_a_replay() {
    for seed in SEEDS {
        let attempts: Arc<Mutex<Vec<(i64, u32)>>> = Arc::default();
        let noted = Arc::clone(&attempts);
        let second_time = move |input: Input<'_>, out: &mut Outputs<'_>| {
            lock(&noted).push((input.i64("n")?, out.attempt()));
            if out.attempt() == 0 { Err(TaskError::quiet("not at once")) } else { Ok(()) }
        };
        let feeder = Feeder::new(["n"]);
        let mut builder = TopologyBuilder::new("again");
        builder.spout("1", feeder.spout());
        builder.bolt("2", bolt(Streams::none(), second_time)).shuffle("1");
        let mut topology = start(builder, seed);
        let message = feeder.feed([1]);
        topology.settle();
        assert!(feeder.has_failed(message), "seed {seed}");
        feeder.feed_as(message, [1]);
        assert!(feeder.is_open(message), "seed {seed}");
        topology.settle();
        assert!(feeder.is_acked(message), "seed {seed}");
        assert_eq!(*lock(&attempts), [(1, 0), (1, 1)], "seed {seed}");
        let stats = topology.stats();
        assert_eq!((stats.emitted, stats.replayed), (1, 1), "seed {seed}");
    }
}

/// `TestingTest.testTrackedTopology` and `testAdvanceClusterTime`: one fed tuple is one emit of the
/// spout and one ack; time moves as far as it is told. If it fails, the kit cannot be trusted.
#[test]
fn a_tracked_topology_counts_and_its_time_moves_as_the_test_moves_it() {
    let feeder = Feeder::new(["n"]);
    let mut builder = TopologyBuilder::new("tracked");
    builder.spout("1", feeder.spout());
    builder.bolt("2", identity(&["n"])).shuffle("1");
    builder.bolt("3", null()).shuffle("2");
    let mut topology = start(builder, 1);
    let message = feeder.feed([1]);
    topology.settle();
    assert!(feeder.is_acked(message));
    let stats = topology.stats();
    assert_eq!((of(&stats, "1").emitted, stats.acked, stats.pending), (1, 1, 0));
    let before = topology.now();
    for passed in 1..=3 {
        topology.advance(seconds(1));
        assert_eq!(topology.now() - before, seconds(passed));
    }
}

/// `TestingTest.testDisableTupleTimeout`: with time-outs off, what nobody acks stays open, however
/// long. If it fails, "off" is only "long".
#[test]
fn without_timeouts_nothing_fails_by_time() {
    let feeder = Feeder::new(["letter"]);
    let mut builder = TopologyBuilder::new("no-timeout");
    builder.options(|options| options.message_timeout = None);
    builder.spout("1", feeder.spout());
    builder.bolt("2", EveryOther::default).global("1");
    let mut topology = start(builder, 1);
    let ids = feed_apart(&mut topology, &feeder);
    topology.advance(HOUR);
    assert!(feeder.is_acked(ids[0]) && feeder.is_acked(ids[2]));
    assert!(feeder.is_open(ids[1]));
}

/// `TestingTest.testTestTuple`: what a test tuple is when nothing is said about it. If it fails, unit
/// tests of users' bolts break.
#[test]
fn a_test_tuple_has_storms_defaults() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let note = move |input: Input<'_>, _: &mut Outputs<'_>| {
        let (component, stream) = (input.source_component(), input.source_stream());
        lock(&noted).push(format!("{component}.{stream}: {}", input.fields()));
        Ok(())
    };
    let mut harness = BoltHarness::new(bolt(Streams::none(), note)());
    harness.execute(TestTuple::new(("john", "smith")));
    harness.execute(TestTuple::new(["john"]).fields(["first"]).from("1", "names"));
    assert_eq!(*lock(&seen), ["component.default: field1, field2", "1.names: first"]);
}

/// Counts its ticks by task.
struct Ticking {
    index: usize,
    ticks: Arc<Mutex<BTreeMap<usize, u64>>>,
}

impl Bolt for Ticking {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.index = context.task_index();
        Ok(())
    }

    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    fn tick(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        *lock(&self.ticks).entry(self.index).or_default() += 1;
        Ok(())
    }
}

fn ticking() -> (Arc<Mutex<BTreeMap<usize, u64>>>, impl Fn() -> Ticking + Send + Sync + 'static) {
    let ticks = Arc::new(Mutex::new(BTreeMap::new()));
    let shared = Arc::clone(&ticks);
    (ticks, move || Ticking { index: 0, ticks: Arc::clone(&shared) })
}

/// `TickTupleTest`: ticks of 30 s for the whole topology, one more after each 30 s and no more than
/// that. If it fails, everything done by tick (flushes, windows, top lists) drifts.
#[test]
fn ticks_come_once_per_period() {
    for seed in SEEDS {
        let feeder = Feeder::new(["n"]);
        let (ticks, bolt) = ticking();
        let mut builder = TopologyBuilder::new("ticks");
        builder.options(|options| options.tick = Some(seconds(30)));
        builder.spout("1", feeder.spout());
        builder.bolt("2", bolt).shuffle("1");
        let mut topology = start(builder, seed);
        let bootstrap = feeder.feed([1]);
        topology.advance(seconds(1));
        assert!(feeder.is_acked(bootstrap), "seed {seed}");
        assert!(lock(&ticks).is_empty(), "seed {seed}: the first tick is due after a period");
        for expected in 1..=3 {
            topology.advance(seconds(30));
            assert_eq!(lock(&ticks)[&0], expected, "seed {seed}");
        }
    }
}

/// `SpoutExecutorTest` (one rotation per executor and tick, not one per task), as far as it has a
/// counterpart: time-outs here need no tick, but a tick must still reach each of 5 tasks of one
/// executor exactly once. If it fails, tasks that share an executor tick too often or never.
#[test]
fn each_task_of_an_executor_ticks_once_per_period() {
    for seed in SEEDS {
        let (ticks, bolt) = ticking();
        let mut builder = TopologyBuilder::new("ticks");
        builder.spout("1", Feeder::new(["n"]).spout());
        builder.bolt("2", bolt).tasks(5).shuffle("1").tick(seconds(10));
        let mut topology = start(builder, seed);
        topology.advance(seconds(1));
        for expected in 1..=4 {
            topology.advance(seconds(10));
            let all = (0..5).map(|task| (task, expected)).collect::<BTreeMap<_, _>>();
            assert_eq!(*lock(&ticks), all, "seed {seed}");
        }
    }
}

/// `MessagingTest.testLocalTransport`, and `testRemoteTransportWithManyTasksInReceivingExecutor`
/// (STORM-3141) for 10 tasks in one executor: 24 tuples in, 24 out. Transport between workers is
/// the cluster's. If it fails, tuples for some tasks of an executor are lost.
#[test]
fn twenty_four_tuples_arrive_whatever_the_layout() {
    for (executors, tasks) in [(6, 6), (1, 10), (3, 10)] {
        for seed in SEEDS {
            let feeder = Feeder::new(["n"]);
            (0..24).for_each(|n| {
                feeder.feed([n]);
            });
            feeder.close();
            let capture = Capture::new();
            let mut builder = TopologyBuilder::new("messaging");
            builder.spout("1", feeder.spout()).parallelism(2);
            builder.bolt("2", || Counting(0)).parallelism(executors).tasks(tasks).shuffle("1");
            builder.bolt("3", capture.bolt()).global("2");
            let stats = start(builder, seed).run_to_end(HOUR).expect("it ends");
            assert_eq!(capture.rows().len(), 24, "seed {seed}");
            assert_eq!(stats.acked, 24, "seed {seed}");
        }
    }
}

fn in_order(count: u64, batch: u32, capacity: u32) -> (TopologyBuilder, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&seen);
    let mut builder = TopologyBuilder::new("in-order");
    builder.options(|options| (options.queue.batch, options.queue.capacity) = (batch, capacity));
    builder.spout("1", move || InOrder::up_to(count)).parallelism(8);
    let check = move || CheckOrder::new(Arc::clone(&shared));
    builder.bolt("2", check).parallelism(8).fields("1", ["index"]);
    (builder, seen)
}

/// `MessagingTest.testInOrderDelivery`: 8 spouts, fields(index), every index strictly consecutive,
/// for batches and links small and large. If it fails, per-key order, on which keyed state rests,
/// is gone.
#[test]
fn tuples_of_a_key_come_in_the_order_of_their_emit() {
    for (seed, (batch, capacity)) in (0..).zip([(1, 1), (1, 64), (7, 8), (64, 64), (512, 4096)]) {
        let (builder, seen) = in_order(300, batch, capacity);
        let stats = start(builder, seed).run_to_end(HOUR).expect("it ends");
        assert_eq!((stats.failed, stats.replayed), (0, 0), "{:?}", of(&stats, "2").last_error);
        assert_eq!(seen.load(Ordering::Relaxed), 8 * 300);
    }
}

/// The same with the threads of production.
#[test]
fn tuples_of_a_key_come_in_order_with_threads() {
    let (builder, seen) = in_order(20_000, 32, 64);
    let running = RunningTopology::start(builder.build().expect("valid"), LocalOptions::default());
    let stats = running.expect("threads start").join();
    assert_eq!((stats.failed, stats.replayed), (0, 0), "{:?}", of(&stats, "2").last_error);
    assert_eq!(seen.load(Ordering::Relaxed), 8 * 20_000);
}
