//! Groupings through the whole runtime. The pure ones are tested beside `runtime::routing::grouping`.
//!
//! Not here: locality scopes (the cluster's) and `PartialKeyGrouping.testGroupingIsSerializable`
//! (a grouping never travels: each task makes its own).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use squall::prelude::*;
use squall::testing::{Capture, Feeder, SimulatedTopology, SimulationOptions};

use crate::kit::{HOUR, Numbers, bolt, lock, of};

const SEEDS: std::ops::Range<u64> = 0..8;

fn run(builder: TopologyBuilder, seed: u64) -> squall::runtime::TopologyStats {
    let topology = builder.build().expect("a valid topology");
    SimulatedTopology::start(topology, SimulationOptions::seeded(seed)).run_to_end(HOUR).expect("it ends")
}

/// Counts by bytes (Storm's `TestWordBytesCounter`).
#[derive(Default)]
struct BytesCounting(BTreeMap<Vec<u8>, i64>);

impl Bolt for BytesCounting {
    fn declare(&self) -> Streams {
        Streams::new(["word", "count"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let key = input.field("word")?.as_bytes().ok_or_else(|| TaskError::new("not bytes"))?.to_vec();
        let count = self.0.entry(key.clone()).or_default();
        *count += 1;
        let word = String::from_utf8(key)?;
        Ok(out.emit((word, *count))?)
    }
}

/// `GroupingTest.testFieldsGrouping`: keys are byte arrays, 4 spout tasks, 6 counters, 24 times a and
/// 24 times b. If it fails, bytes are hashed by address and a key's state is spread over tasks.
#[test]
fn fields_grouping_takes_bytes_by_content() {
    for seed in SEEDS {
        let (feeder, capture) = (Feeder::new(["word"]), Capture::new());
        for _ in 0..24 {
            feeder.feed([Value::bytes(*b"a")]);
            feeder.feed([Value::bytes(*b"b")]);
        }
        feeder.close();
        let mut builder = TopologyBuilder::new("bytes");
        builder.spout("1", feeder.spout()).parallelism(4);
        builder.bolt("2", BytesCounting::default).parallelism(6).fields("1", ["word"]);
        builder.bolt("3", capture.bolt()).global("2");
        run(builder, seed);
        let row = |word| move |n| vec![Value::from(word), Value::from(n)];
        let expected: Vec<_> = (1..=24).map(row("a")).chain((1..=24).map(row("b"))).collect();
        assert_eq!(capture.sorted(), expected, "seed {seed}");
    }
}

/// The first tasks get everything (Storm's `NGrouping`).
struct First(usize);

impl CustomGrouping for First {
    fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
        chosen.extend_from_slice(&targets[..self.0]);
    }
}

/// `GroupingTest.testCustomGrouping`: `NGrouping` of 2 and of 3; each bolt sees 2 (3) copies of a and
/// of b. If it fails, a grouping that sends copies loses them, or the tree of copies never balances.
#[test]
fn a_custom_grouping_sends_copies() {
    for seed in SEEDS {
        let (feeder, two, three) = (Feeder::new(["word"]), Capture::new(), Capture::new());
        feeder.feed(["a"]);
        feeder.feed(["b"]);
        feeder.close();
        let mut builder = TopologyBuilder::new("custom");
        builder.spout("1", feeder.spout());
        builder.bolt("2", two.bolt()).parallelism(4).custom("1", "first-2", || First(2));
        builder.bolt("3", three.bolt()).parallelism(6).custom("1", "first-3", || First(3));
        let stats = run(builder, seed);
        assert_eq!(stats.acked, 2, "seed {seed}");
        let copies =
            |n| ["a", "b"].iter().flat_map(move |w| vec![vec![Value::from(*w)]; n]).collect::<Vec<_>>();
        assert_eq!(two.sorted(), copies(2), "seed {seed}");
        assert_eq!(three.sorted(), copies(3), "seed {seed}");
    }
}

/// Counts what each task got, by task index and key.
#[derive(Clone, Default)]
struct ByTask(Arc<Mutex<BTreeMap<(usize, i64), u64>>>);

struct ByTaskBolt(ByTask, usize);

impl ByTask {
    fn bolt(&self) -> impl Fn() -> ByTaskBolt + Send + Sync + 'static {
        let shared = self.clone();
        move || ByTaskBolt(shared.clone(), 0)
    }

    fn per_task(&self) -> Vec<u64> {
        let mut counts = BTreeMap::<usize, u64>::new();
        lock(&self.0).iter().for_each(|((task, _), n)| *counts.entry(*task).or_default() += n);
        counts.into_values().collect()
    }
}

impl Bolt for ByTaskBolt {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.1 = context.task_index();
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let key = input.get(0).and_then(Value::as_i64).unwrap_or(-1);
        *lock(&self.0.0).entry((self.1, key)).or_default() += 1;
        Ok(())
    }
}

/// `PartialKeyGroupingTest`: each key goes to two of 6 tasks, half to each. If it fails, a hot key
/// is not split, or is spread over more tasks than its two partial sums allow.
#[test]
fn partial_key_spreads_a_key_over_two_tasks_evenly() {
    for seed in SEEDS {
        let feeder = Feeder::new(["key"]);
        (0..400).for_each(|n| {
            feeder.feed([n % 4]);
        });
        feeder.close();
        let counts = ByTask::default();
        let mut builder = TopologyBuilder::new("partial-key");
        builder.spout("1", feeder.spout());
        builder.bolt("2", counts.bolt()).parallelism(6).partial_key("1", ["key"]);
        run(builder, seed);
        let counts = lock(&counts.0);
        for key in 0..4 {
            let tasks = counts.iter().filter(|((_, of), _)| *of == key).map(|(_, n)| *n).collect::<Vec<_>>();
            assert!(tasks.len() <= 2, "seed {seed}: key {key} went to {} tasks", tasks.len());
            assert_eq!(tasks.iter().sum::<u64>(), 100, "seed {seed}");
        }
        assert!(counts.len() > 4, "seed {seed}: some key has two tasks");
    }
}

/// `ShuffleGroupingTest`: 6 tasks, 30,000 tuples, exactly 5,000 each, and 2 tasks with half each. If
/// it fails, shuffle is not even and one task becomes the bottleneck.
#[test]
fn shuffle_is_exactly_even() {
    for (tasks, tuples) in [(6_u32, 30_000_u64), (2, 100_000)] {
        let counts = ByTask::default();
        let mut builder = TopologyBuilder::new("shuffle");
        builder.options(|options| options.load_aware = false);
        builder.spout("1", move || Numbers::new(tuples));
        builder.bolt("2", counts.bolt()).parallelism(tasks).shuffle("1");
        run(builder, 1);
        assert_eq!(counts.per_task(), vec![tuples / u64::from(tasks); tasks as usize]);
    }
}

/// `GroupingTest.testShuffle` with load awareness on, as it is by default: consumers that are never
/// full get equal shares within 2 %. If it fails, load awareness makes load.
#[test]
fn load_aware_shuffle_is_even_while_nobody_is_slow() {
    for seed in SEEDS {
        let counts = ByTask::default();
        let mut builder = TopologyBuilder::new("shuffle");
        builder.spout("1", || Numbers::new(20_000)).max_spout_pending(256);
        builder.bolt("2", counts.bolt()).parallelism(2).shuffle("1");
        run(builder, seed);
        let shares = counts.per_task();
        assert_eq!(shares.len(), 2, "seed {seed}: {shares:?}");
        assert!(shares.iter().all(|n| (9_500..=10_500).contains(n)), "seed {seed}: {shares:?}");
    }
}

/// Direct grouping (`GroupingTest` has none; the rule is `TaskOutputs`'): the emitter names the task,
/// and only that one gets the tuple. If it fails, request and answer go to strangers.
#[test]
fn a_direct_stream_reaches_the_task_named() {
    struct Sorter(Vec<TaskId>);
    impl Bolt for Sorter {
        fn declare(&self) -> Streams {
            Streams::none().direct_stream("sorted", ["n"])
        }
        fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
            self.0 = context.tasks_of("2").to_vec();
            Ok(())
        }
        fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
            let n = input.i64("n")?;
            Ok(out.emit_direct(self.0[n as usize % self.0.len()], "sorted", [n])?)
        }
    }
    for seed in SEEDS {
        let counts = ByTask::default();
        let mut builder = TopologyBuilder::new("direct");
        builder.spout("0", || Numbers::new(100));
        builder.bolt("1", || Sorter(Vec::new())).shuffle("0");
        builder.bolt("2", counts.bolt()).parallelism(5).direct(("1", "sorted"));
        assert_eq!(run(builder, seed).acked, 100);
        let counts = lock(&counts.0);
        assert_eq!(counts.len(), 100, "each n went to one task");
        assert!(counts.keys().all(|(task, n)| *n as usize % 5 == *task), "seed {seed}");
    }
}

/// All, global and none (`GroupingTest` and `testMultiTasks`): n copies, the lowest task only, one
/// copy somewhere; and `emit_for_targets` names just those tasks. If it fails, what a bolt learns
/// about the way of its tuples is not the way they go.
#[test]
fn emit_names_the_tasks_that_a_tuple_goes_to() {
    for seed in SEEDS {
        let named: Arc<Mutex<Vec<BTreeSet<TaskId>>>> = Arc::default();
        let noted = Arc::clone(&named);
        let note_targets = move |input: Input<'_>, out: &mut Outputs<'_>| {
            let targets = out.emit_for_targets("default", input)?;
            lock(&noted).push(targets.into_iter().collect());
            Ok(())
        };
        let captures = [ByTask::default(), ByTask::default(), ByTask::default()];
        let mut builder = TopologyBuilder::new("targets");
        builder.spout("1", || Numbers::new(50));
        builder.bolt("2", bolt(Streams::new(["n"]), note_targets)).shuffle("1");
        builder.bolt("all", captures[0].bolt()).parallelism(3).all("2");
        builder.bolt("global", captures[1].bolt()).parallelism(3).global("2");
        builder.bolt("none", captures[2].bolt()).parallelism(3).none("2");
        let stats = run(builder, seed);
        assert_eq!(stats.acked, 50);
        assert_eq!(captures[0].per_task(), [50, 50, 50]);
        assert_eq!(captures[1].per_task(), [50]);
        assert_eq!(captures[2].per_task().iter().sum::<u64>(), 50);
        assert_eq!(lock(&named).len(), 50, "seed {seed}: each emit names its targets");
        assert!(lock(&named).iter().all(|targets| targets.len() == 5), "3 of all, 1 global, 1 of none");
        assert_eq!(of(&stats, "2").transferred, 5 * 50);
    }
}
