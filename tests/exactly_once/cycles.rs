//! Topologies with cycles: what goes round when a checkpoint is taken is part of it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// Halves even numbers, and makes `3n + 1` of odd ones: Collatz. A number goes round until it is 1. Which number it was at
/// first is the key for which each round is counted, in state; what is emitted in the end has the number and its rounds.
struct Rounds {
    rounds: ValueState<i64>,
    /// Whether a number goes round over another bolt.
    slow: bool,
}

impl Rounds {
    fn new(slow: bool) -> Rounds {
        Rounds { rounds: ValueState::default(), slow }
    }
}

impl Bolt for Rounds {
    fn declare(&self) -> Streams {
        Streams::new(["n"]).stream("again", ["first", "n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.rounds = context.value_state("rounds")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (first, n) = (input.i64("first")?, input.i64("n")?);
        let rounds = self.rounds.update(out, |rounds| {
            *rounds += 1;
            *rounds
        })?;
        match n {
            1 => Ok(out.emit([shown(first, rounds)])?),
            // If it goes over another bolt, that does the computing.
            n if self.slow => Ok(out.emit_to("again", [first, n])?),
            n => Ok(out.emit_to("again", [first, next(n)])?),
        }
    }
}

/// The other bolt of the cycle.
struct Computes;

impl Bolt for Computes {
    fn declare(&self) -> Streams {
        Streams::new(["first", "n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(out.emit([input.i64("first")?, next(input.i64("n")?)])?)
    }
}

/// Numbers from 1 on, each with itself as the first.
struct Firsts;

impl Bolt for Firsts {
    fn declare(&self) -> Streams {
        Streams::new(["first", "n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")? + 1;
        Ok(out.emit([n, n])?)
    }
}

fn next(n: i64) -> i64 {
    if n % 2 == 0 { n / 2 } else { 3 * n + 1 }
}

fn shown(first: i64, rounds: i64) -> i64 {
    first * 1000 + rounds
}

/// What is published of the numbers 1 to `count`.
fn expected(count: i64) -> Vec<i64> {
    let rounds = |n| std::iter::successors(Some(n), |n| (*n != 1).then(|| next(*n))).count() as i64;
    (1..=count).map(|n| shown(n, rounds(n))).collect()
}

/// How a cycle is laid out, and when its barriers go on.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Tasks of the bolt that counts, and executors for them.
    tasks: u32,
    executors: u32,
    /// Whether another bolt is part of the cycle.
    is_long: bool,
    at_once: u32,
    alignment_timeout: Option<Duration>,
    interval: Duration,
    timeout: Option<Duration>,
    mode: CheckpointMode,
}

const ONE: Layout = Layout {
    tasks: 1,
    executors: 1,
    is_long: false,
    at_once: 1,
    alignment_timeout: None,
    interval: Duration::from_millis(10),
    timeout: None,
    mode: CheckpointMode::ExactlyOnce,
};

impl Layout {
    fn draw(random: &mut StdRng) -> Layout {
        let executors = random.random_range(1..=3);
        let at_once = [1, 1, 2, 4][random.random_range(0..4)];
        let overtakes = at_once == 1 && random.random_bool(0.5);
        Layout {
            tasks: executors * random.random_range(1..=2),
            executors,
            is_long: random.random_bool(0.5),
            at_once,
            alignment_timeout: overtakes.then(|| Duration::from_millis(random.random_range(0..4))),
            ..ONE
        }
    }
}

fn collatz(count: i64, bursts: bool, layout: Layout, published: &Published) -> Topology {
    let mut builder = builder();
    builder.options(|options| {
        options.queue.batch = 4;
        options.queue.capacity = 16;
        options.checkpoint.interval = layout.interval;
        options.checkpoint.max_concurrent = layout.at_once;
        options.checkpoint.alignment_timeout = layout.alignment_timeout;
        options.checkpoint.mode = layout.mode;
        if let Some(timeout) = layout.timeout {
            options.checkpoint.timeout = timeout;
            // So that barriers do not wait for credit of a bolt that stands still.
            options.queue.capacity = 4096;
        }
    });
    builder.spout("numbers", move || Numbers { bursts, ..Numbers::new(count) });
    builder.bolt("firsts", || Firsts).shuffle("numbers");
    let rounds = builder.bolt("rounds", move || Rounds::new(layout.is_long));
    let rounds = rounds.parallelism(layout.executors).tasks(layout.tasks).fields("firsts", ["first"]);
    if layout.is_long {
        rounds.fields("computes", ["first"]).feedback();
        builder.bolt("computes", || Computes).parallelism(2).shuffle(("rounds", "again"));
    } else {
        rounds.fields(("rounds", "again"), ["first"]).feedback();
    }
    builder.bolt("sink", published.sink()).shuffle("rounds");
    built(builder)
}

#[test]
fn a_cycle_that_dies_after_any_step_counts_each_round_once() {
    const COUNT: i64 = 6;
    let at_once = Layout { at_once: 3, ..ONE };
    let overtakes = Layout { alignment_timeout: Some(Duration::ZERO), tasks: 2, ..ONE };
    let long = Layout { is_long: true, tasks: 2, executors: 2, ..ONE };
    for layout in [ONE, at_once, overtakes, long] {
        let (died, had_published) = dies_after_any_step(&expected(COUNT), || {
            move |published: &Published, storage: &MemoryStorage| {
                started(collatz(COUNT, false, layout, published), storage)
            }
        });
        assert!(died > 50 && had_published > 3, "{layout:?}: {died} and {had_published}");
    }
}

/// Each life has other numbers of tasks, cycles of another length, and barriers that go on at other times.
#[test]
fn another_layout_of_a_cycle_changes_no_result() {
    const COUNT: i64 = 700;
    let (mut restored, mut completed) = (0, 0);
    for seed in 0..30 {
        let (storage, published) = (MemoryStorage::seeded(seed), Published::default());
        let random = &mut StdRng::seed_from_u64(seed);
        // What goes round in the long cycle has no place in the short one.
        let is_long = random.random_bool(0.5);
        for life in 0.. {
            let layout = Layout { is_long, ..Layout::draw(random) };
            let topology = collatz(COUNT, true, layout, &published);
            let options =
                SimulationOptions::seeded(random.random_range(0..1000)).checkpoints(storage.clone());
            let mut running = SimulatedTopology::start(topology, options);
            if life == 6 {
                let stats = ended(running);
                assert!(!stats.cut_short && stats.stopped.is_none(), "seed {seed}: {stats:?}");
                break;
            }
            for _ in 0..random.random_range(1..20) {
                running.run_steps(random.random_range(1..60));
                running.advance(Duration::from_millis(random.random_range(0..4)));
                if random.random_bool(0.05) {
                    running.crash(["rounds", "numbers", "sink"][random.random_range(0..3)]);
                }
            }
            // It is killed in the middle of something.
            running.run_steps(random.random_range(1..60));
            let checkpoints = running.stats().checkpoints.expect("it takes checkpoints");
            restored += u32::from(checkpoints.resumed_from.is_some());
            completed += checkpoints.completed;
            if running.has_ended() {
                break;
            }
            kill(running, &storage);
        }
        assert_eq!(published.sorted(), expected(COUNT), "seed {seed}");
    }
    assert!(restored > 30 && completed > 100, "{restored} restored, {completed} completed");
}

/// With several at once, the barrier of each comes round behind tuples of the one before.
#[test]
fn checkpoints_become_complete_while_a_cycle_never_rests() {
    for (at_once, alignment_timeout) in [(1, None), (1, Some(Duration::ZERO)), (3, None), (10, None)] {
        for tasks in [1, 3] {
            let storage = MemoryStorage::new();
            let mut builder = builder();
            builder.options(|options| {
                options.queue.batch = 2;
                options.checkpoint.interval = Duration::from_millis(10);
                options.checkpoint.max_concurrent = at_once;
                options.checkpoint.alignment_timeout = alignment_timeout;
            });
            builder.spout("numbers", || Unending(Numbers::new(40)));
            let first = builder.bolt("first", || Slow::new(Duration::from_micros(10))).parallelism(tasks);
            first.shuffle("numbers").shuffle("second").feedback();
            builder.bolt("second", || Slow::new(Duration::from_micros(10))).parallelism(2).shuffle("first");
            let mut running = started(built(builder), &storage);
            running.run_steps(5_000);
            let checkpoints = running.stats().checkpoints.expect("it takes checkpoints");
            let named = format!("{at_once} at once, {alignment_timeout:?}, {tasks} tasks: {checkpoints:?}");
            assert!(checkpoints.completed > 5 && checkpoints.failed == 0, "{named}");
        }
    }
}

/// A checkpoint that is given up leaves its barriers on their way. The next one waits until they have come round.
#[test]
fn a_checkpoint_that_is_given_up_leaves_a_cycle_as_it_was() {
    const COUNT: i64 = 400;
    for alignment_timeout in [None, Some(Duration::from_millis(1))] {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let layout = Layout { is_long: true, executors: 2, tasks: 2, alignment_timeout, ..ONE };
        let mut topology = collatz(COUNT, false, layout, &published);
        let mut failed = 0;
        for turn in 0..40 {
            let options = SimulationOptions::seeded(turn).checkpoints(storage.clone());
            let mut running = SimulatedTopology::start(topology, options);
            running.advance(Duration::from_millis(15 + turn % 7));
            storage.fail_next(squall::checkpoint::StorageOperation::Append, ErrorKind::StorageFull);
            running.advance(Duration::from_millis(1200));
            failed += running.stats().checkpoints.map_or(0, |checkpoints| checkpoints.failed);
            if running.has_ended() {
                break;
            }
            kill(running, &storage);
            topology = collatz(COUNT, false, layout, &published);
        }
        assert!(failed > 0);
        if published.sorted().len() < COUNT as usize {
            ended(started(collatz(COUNT, false, layout, &published), &storage));
        }
        assert_eq!(published.sorted(), expected(COUNT));
    }
}

/// Without blocking, nothing is lost either: rounds may count twice, but each number comes out.
#[test]
fn without_blocking_nothing_that_goes_round_is_lost() {
    const COUNT: i64 = 100;
    for life in 1..30 {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let layout =
            Layout { mode: CheckpointMode::AtLeastOnce, is_long: true, executors: 2, tasks: 2, ..ONE };
        let mut running = started(collatz(COUNT, true, layout, &published), &storage);
        running.run_steps(life * 37);
        if !running.has_ended() {
            kill(running, &storage);
            ended(started(collatz(COUNT, true, layout, &published), &storage));
        }
        let mut firsts: Vec<i64> = published.sorted().iter().map(|n| n / 1000).collect();
        firsts.dedup();
        assert_eq!(firsts, (1..=COUNT).collect::<Vec<_>>());
    }
}

/// Sends numbers round until they are 0, and notes those that come after it has finished.
struct CountsDown {
    has_finished: bool,
    late: Arc<Mutex<u32>>,
}

impl Bolt for CountsDown {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        *lock(&self.late) += u32::from(self.has_finished);
        match input.i64("n")? {
            n @ 1.. => Ok(out.emit([n - 1])?),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.has_finished = true;
        Ok(())
    }
}

/// A step could end with a tuple that was not sent yet, when the batch that it came of counted as processed. Then nothing
/// was outstanding, and bolts finished while the tuple still went round.
#[test]
fn bolts_finish_when_nothing_goes_round_any_more() {
    let late = Arc::<Mutex<u32>>::default();
    for seed in 0..200 {
        let mut builder = builder();
        builder.spout("numbers", || Numbers { bursts: true, ..Numbers::new(40) });
        let new = {
            let late = Arc::clone(&late);
            move || CountsDown { has_finished: false, late: Arc::clone(&late) }
        };
        builder.bolt("first", new.clone()).parallelism(2).shuffle("numbers").shuffle("second").feedback();
        builder.bolt("second", new).parallelism(2).shuffle("first");
        let options = SimulationOptions::seeded(seed).checkpoints(MemoryStorage::new());
        assert!(!ended(SimulatedTopology::start(built(builder), options)).cut_short);
    }
    assert_eq!(*lock(&late), 0, "numbers that came after `finish`");
}

/// Adds up what comes, and sends the sum round when a checkpoint is taken. Sums that come back go on to the sink.
#[derive(Default)]
struct SumsRound {
    sum: OperatorState<i64>,
}

impl Bolt for SumsRound {
    fn declare(&self) -> Streams {
        Streams::new(["n"]).stream("sum", ["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.sum = context.operator_state("sum")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        if input.source_component() == "sums" {
            return Ok(out.emit([n])?);
        }
        let sum: i64 = self.sum.items(out)?.iter().sum();
        Ok(self.sum.set(out, vec![sum + n])?)
    }

    fn pre_commit(&mut self, _: squall::ids::CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let sum: i64 = self.sum.items(out)?.iter().sum();
        if sum > 0 {
            self.sum.set(out, Vec::new())?;
            out.emit_to("sum", [sum])?;
        }
        Ok(())
    }
}

/// Counts what it passes on, and emits the count in `finish`, beyond all numbers.
#[derive(Default)]
struct CountsAll {
    count: OperatorState<i64>,
}

const COUNTED: i64 = 1_000_000;

impl Bolt for CountsAll {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.count = context.operator_state("count")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let count: i64 = self.count.items(out)?.iter().sum();
        self.count.set(out, vec![count + 1])?;
        Ok(out.emit([input.i64("n")?])?)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let count: i64 = self.count.items(out)?.iter().sum();
        Ok(out.emit([COUNTED + count])?)
    }
}

/// What is sent round when the last checkpoint is taken comes back after it, so another one is the last. If it dies in
/// between, bolts finish once more, and what they emitted before must not be published.
#[test]
fn what_goes_round_at_the_last_checkpoint_is_published() {
    const COUNT: i64 = 20;
    for interval in [Duration::from_millis(10), HOUR] {
        let topology = |published: &Published| {
            let mut builder = builder();
            builder.options(|options| options.checkpoint.interval = interval);
            builder.spout("numbers", || Numbers::new(COUNT));
            builder.bolt("sums", SumsRound::default).shuffle("numbers").shuffle(("sums", "sum")).feedback();
            builder.bolt("count", CountsAll::default).shuffle("numbers");
            builder.bolt("sink", published.sink()).shuffle("sums").shuffle("count");
            built(builder)
        };
        for step in (0..).step_by(3) {
            let (storage, published) = (MemoryStorage::seeded(step), Published::default());
            let mut running = started(topology(&published), &storage);
            running.run_steps(step);
            running.advance(Duration::from_millis(step % 50));
            let has_ended = running.has_ended();
            if !has_ended {
                kill(running, &storage);
                assert!(!ended(started(topology(&published), &storage)).cut_short);
            }
            let (counted, sums): (Vec<i64>, Vec<i64>) =
                published.sorted().into_iter().partition(|n| *n >= COUNTED);
            assert_eq!(counted, [COUNTED + COUNT], "died after step {step}");
            // Each number itself, and once more in a sum that has gone round.
            assert_eq!(sums.iter().sum::<i64>(), (0..COUNT).sum::<i64>() * 2, "died after step {step}");
            if has_ended {
                break;
            }
        }
    }
}

/// Nobody knows which of other tasks such a tuple belongs to.
#[test]
fn what_goes_round_by_partial_key_keeps_its_number_of_tasks() {
    let topology = |tasks: u32, published: &Published| {
        let mut builder = builder();
        builder.options(|options| {
            options.queue.batch = 1;
            options.checkpoint.interval = Duration::from_millis(10);
        });
        builder.spout("numbers", || Numbers::new(200));
        builder.bolt("firsts", || Firsts).shuffle("numbers");
        let rounds = builder.bolt("rounds", || RoundsByKey).parallelism(tasks);
        rounds.fields("firsts", ["first"]).partial_key(("rounds", "again"), ["first"]).feedback();
        builder.bolt("sink", published.sink()).shuffle("rounds");
        built(builder)
    };
    let run = |tasks: u32| {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let mut running = started(topology(2, &published), &storage);
        running.advance(Duration::from_millis(55));
        kill(running, &storage);
        (started(topology(tasks, &published), &storage).run_to_end(HOUR), published)
    };
    let (same, published) = run(2);
    assert!(same.is_ok_and(|stats| stats.stopped.is_none()));
    assert_eq!(published.sorted(), (1..=200).collect::<Vec<_>>());
    let (other, _) = run(3);
    let stopped = other.expect("it ends").stopped.expect("it is refused").to_string();
    assert!(stopped.contains("come by partial-key"), "{stopped}");
}

/// The same without state.
struct RoundsByKey;

impl Bolt for RoundsByKey {
    fn declare(&self) -> Streams {
        Streams::new(["n"]).stream("again", ["first", "n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (first, n) = (input.i64("first")?, input.i64("n")?);
        match n {
            ..=0 => Ok(out.emit([first])?),
            _ => Ok(out.emit_to("again", [first, n - 1])?),
        }
    }
}

/// Emits forty copies of what enters, which go round three times, and passes on what has.
struct Multiplies;

impl Bolt for Multiplies {
    fn declare(&self) -> Streams {
        Streams::new(["n"]).stream("again", ["n", "left"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        let Ok(left) = input.i64("left") else {
            return (0..40).try_for_each(|copy| Ok(out.emit_to("again", [n * 40 + copy, 3])?));
        };
        match left {
            0 => Ok(out.emit([n])?),
            left => Ok(out.emit_to("again", [n, left - 1])?),
        }
    }
}

/// Within the cycle, a bolt holds what comes behind a barrier until that of another input comes. If what is in the cycle
/// needed credit for that, or if the other barrier waited for credit, all would wait for ever.
#[test]
fn a_cycle_that_is_full_takes_checkpoints() {
    const COUNT: i64 = 60;
    for (at_once, alignment_timeout) in [(1, None), (2, None), (1, Some(Duration::from_millis(2)))] {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let mut builder = builder();
        builder.options(|options| {
            options.queue.batch = 8;
            options.queue.capacity = 16;
            options.checkpoint.interval = Duration::from_millis(10);
            options.checkpoint.max_concurrent = at_once;
            options.checkpoint.alignment_timeout = alignment_timeout;
        });
        builder.spout("numbers", || Numbers { bursts: true, ..Numbers::new(COUNT) });
        builder.spout("late", || Numbers::new(2_000));
        let first = builder.bolt("first", || Multiplies).parallelism(2).shuffle("numbers");
        first.shuffle("second").feedback();
        let second = builder.bolt("second", || Passes).parallelism(2);
        second.shuffle(("first", "again")).shuffle("late");
        builder.bolt("sink", published.sink()).shuffle("first");
        let mut running = started(built(builder), &storage);
        for _ in 0..20 {
            running.run_steps(20);
            // Its barriers come late.
            running.stall("late", Duration::from_millis(15));
            running.advance(Duration::from_millis(20));
        }
        let completed = running.stats().checkpoints.map_or(0, |checkpoints| checkpoints.completed);
        assert!(completed > 5, "{completed}");
        assert!(!ended(running).cut_short);
        assert_eq!(
            published.sorted(),
            (0..COUNT * 40).collect::<Vec<_>>(),
            "{at_once}, {alignment_timeout:?}"
        );
    }
}

/// Passes on what is in the cycle, and forgets everything else.
struct Passes;

impl Bolt for Passes {
    fn declare(&self) -> Streams {
        Streams::new(["n", "left"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        match input.i64("left") {
            Ok(left) => Ok(out.emit([input.i64("n")?, left])?),
            Err(_) => Ok(()),
        }
    }
}

/// It is given up because a bolt of the cycle stands still, and its barrier waits in front of that bolt. If the next one
/// did not wait for it, it would take that barrier for its own.
#[test]
fn a_barrier_waits_until_one_that_was_given_up_has_come_round() {
    const COUNT: i64 = 1_600;
    for killed_after in [2, 20, 50] {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let layout = Layout { is_long: true, timeout: Some(Duration::from_millis(400)), ..ONE };
        let mut running = started(collatz(COUNT, false, layout, &published), &storage);
        running.advance(Duration::from_millis(50));
        running.stall("computes", Duration::from_millis(1_450));
        running.advance(Duration::from_millis(1_450));
        let checkpoints = running.stats().checkpoints.expect("it takes checkpoints");
        assert!(checkpoints.failed > 0, "{checkpoints:?}");
        running.advance(Duration::from_millis(killed_after));
        kill(running, &storage);
        assert!(!ended(started(collatz(COUNT, false, layout, &published), &storage)).cut_short);
        assert_eq!(published.sorted(), expected(COUNT), "{killed_after}");
    }
}

/// Makes many large tuples of each that it gets.
struct Inflates;

const COPIES: i64 = 200;

impl Bolt for Inflates {
    fn declare(&self) -> Streams {
        Streams::new(["n", "text"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (n, text) = (input.i64("n")?, "x".repeat(4_000));
        (0..COPIES).try_for_each(|copy| Ok(out.emit([Value::from(n * COPIES + copy), Value::from(&*text)])?))
    }
}

/// Sends numbers to the other bolt of the cycle, and what comes back to the sink.
#[derive(Default)]
struct Splits(Option<squall::clock::Clock>);

impl Bolt for Splits {
    fn declare(&self) -> Streams {
        Streams::new(["n"]).stream("again", ["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = Some(context.clock().clone());
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if let Some(clock) = &self.0 {
            clock.advance(Duration::from_micros(50));
        }
        let stream = if input.source_component() == "second" { "default" } else { "again" };
        Ok(out.emit_to(stream, [input.i64("n")?])?)
    }
}

/// The link that leads back is full beyond its reserve, and the barrier is behind that. If what comes round were not
/// executed while the next barrier waits, all would wait for ever.
#[test]
fn a_barrier_that_waits_leaves_a_full_cycle_its_way_out() {
    const COUNT: i64 = 20;
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let mut builder = builder();
    builder.options(|options| {
        options.queue.batch = 8;
        options.queue.capacity = 32;
        (options.queue.memory, options.queue.tuple_size_max) = (2 << 20, 1 << 20);
        options.checkpoint.interval = Duration::from_millis(10);
        options.checkpoint.max_concurrent = 3;
    });
    builder.spout("numbers", || Numbers { bursts: true, ..Numbers::new(COUNT) });
    let first = builder.bolt("first", Splits::default).shuffle("numbers");
    first.shuffle("second").feedback();
    builder.bolt("second", || Inflates).shuffle(("first", "again"));
    builder.bolt("sink", published.sink()).shuffle("first");
    assert!(!ended(started(built(builder), &storage)).cut_short);
    assert_eq!(published.sorted(), (0..COUNT * COPIES).collect::<Vec<_>>());
}
