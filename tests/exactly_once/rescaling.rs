//! A start with other numbers of tasks than the checkpoint was taken with.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// Counts by the key of its input, and holds every fifth tuple until a tick.
#[derive(Default)]
struct HoldsAndCounts {
    counts: ValueState<i64>,
    held: Vec<HeldTuple>,
    seen: u64,
}

impl Bolt for HoldsAndCounts {
    fn declare(&self) -> Streams {
        Streams::new(["n", "key", "count"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.seen += 1;
        if self.seen.is_multiple_of(5) {
            self.held.push(out.hold(input));
            return Ok(());
        }
        let (n, key) = (input.i64("n")?, input.i64("key")?);
        let count = self.counts.update(out, |count| {
            *count += 1;
            *count
        })?;
        Ok(out.emit([n, key, count])?)
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for held in self.held.drain(..) {
            let (n, key) = (held.i64("n")?, held.i64("key")?);
            out.set_key([key])?;
            let count = self.counts.update(out, |count| {
                *count += 1;
                *count
            })?;
            out.emit_anchored("default", &[&held], [n, key, count])?;
            out.ack(held);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.tick(out)
    }
}

/// Adds the key by which numbers are counted.
struct Keyed;

impl Bolt for Keyed {
    fn declare(&self) -> Streams {
        Streams::new(["n", "key"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        Ok(out.emit([n, n % 7])?)
    }
}

/// A task and the number of one of its transactions.
type Transaction = (usize, u64);
/// Keys with their counts.
type Rows = Vec<(i64, i64)>;

/// Where sinks publish counts.
#[derive(Clone, Default)]
struct Counted {
    prepared: Arc<Mutex<BTreeMap<Transaction, Rows>>>,
    published: Arc<Mutex<Rows>>,
    /// No sink can commit.
    is_away: Arc<Mutex<bool>>,
}

struct CountSink {
    store: Counted,
    task: usize,
    next: u64,
    open: Rows,
}

impl TwoPhaseSink for CountSink {
    type Transaction = Transaction;

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.task = context.task_index();
        Ok(())
    }

    fn begin(&mut self) -> Result<Transaction, TaskError> {
        self.next += 1;
        Ok((self.task, self.next))
    }

    fn write(&mut self, _: &mut Transaction, input: Input<'_>) -> Result<(), TaskError> {
        self.open.push((input.i64("key")?, input.i64("count")?));
        Ok(())
    }

    fn pre_commit(&mut self, transaction: &mut Transaction) -> Result<(), TaskError> {
        lock(&self.store.prepared).insert(*transaction, std::mem::take(&mut self.open));
        Ok(())
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), TaskError> {
        if *lock(&self.store.is_away) {
            return Err(TaskError::new("the store is away"));
        }
        let rows = lock(&self.store.prepared).remove(transaction);
        lock(&self.store.published).extend(rows.unwrap_or_default());
        Ok(())
    }

    fn abort_others(&mut self, keep: &[Transaction]) -> Result<(), TaskError> {
        let own = self.task;
        let mut prepared = lock(&self.store.prepared);
        let highest =
            prepared.keys().chain(keep).filter(|(task, _)| *task == own).map(|(_, number)| *number).max();
        prepared.retain(|transaction, _| transaction.0 != own || keep.contains(transaction));
        self.next = highest.unwrap_or(self.next);
        Ok(())
    }
}

/// Each life has other numbers of tasks; keys, held tuples and transactions move with them.
#[test]
fn another_parallelism_changes_no_result() {
    for seed in 0..40 {
        let (storage, counted) = (MemoryStorage::seeded(seed), Counted::default());
        let mut random = StdRng::seed_from_u64(seed);
        let mut kills = 0;
        loop {
            *lock(&counted.is_away) = kills < 8 && random.random_bool(0.4);
            let [keyed, counts, sinks] = [(); 3].map(|()| random.random_range(1..=4));
            let mut builder = builder();
            builder.spout("numbers", || Numbers::new(600));
            builder.bolt("keyed", || Keyed).parallelism(keyed).shuffle("numbers");
            let count = builder.bolt("count", HoldsAndCounts::default).parallelism(counts);
            count.tick(Duration::from_millis(25)).fields("keyed", ["key"]);
            let store = counted.clone();
            let sink = move || {
                TwoPhaseBolt::new(CountSink { store: store.clone(), task: 0, next: 0, open: Vec::new() })
            };
            builder.bolt("sink", sink).parallelism(sinks).shuffle("count");
            let options =
                SimulationOptions::seeded(random.random_range(0..1000)).checkpoints(storage.clone());
            let mut running = SimulatedTopology::start(built(builder), options);
            if kills == 8 {
                assert!(!ended(running).cut_short);
                break;
            }
            running.advance(Duration::from_millis(random.random_range(10..150)));
            if running.has_ended() {
                break;
            }
            kills += 1;
            kill(running, &storage);
        }
        let mut rows = lock(&counted.published).clone();
        rows.sort_unstable();
        let expected: Rows =
            (0..7).flat_map(|key| (1..=(600 - key + 6) / 7).map(move |count| (key, count))).collect();
        assert_eq!(rows, expected, "seed {seed}, {kills} kills");
    }
}

/// It was asked to begin at positions that it did not have.
#[test]
fn a_spout_that_is_new_begins_at_the_beginning() {
    struct Strict(Numbers);

    impl Spout for Strict {
        fn declare(&self) -> Streams {
            self.0.declare()
        }

        fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            self.0.next_tuple(out)
        }

        fn is_rewindable(&self) -> bool {
            true
        }

        fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
            self.0.snapshot(positions)
        }

        fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
            match positions.get::<i64>("numbers")? {
                Some(_) => self.0.restore(positions),
                None => Err(TaskError::fatal("it has no position")),
            }
        }
    }

    let (storage, published) = (MemoryStorage::new(), Published::default());
    let topology = |has_more: bool| {
        let mut builder = builder();
        builder.spout("numbers", || Strict(Numbers::new(100)));
        let sink = builder.bolt("sink", published.sink()).shuffle("numbers");
        if has_more {
            sink.shuffle("more");
            builder.spout("more", || Strict(Numbers::new(100)));
        }
        built(builder)
    };
    for has_more in [false, true] {
        let mut running = started(topology(has_more), &storage);
        running.advance(Duration::from_millis(50));
        kill(running, &storage);
    }
    let stats = ended(started(topology(true), &storage));
    assert!(!stats.cut_short && stats.stopped.is_none(), "{:?}", stats.stopped);
    let expected: Vec<i64> = (0..100).flat_map(|n| [n, n]).collect();
    assert_eq!(published.sorted(), expected);
}

/// Nobody knows which task the keys of such a bolt belong to.
#[test]
fn a_bolt_that_names_its_keys_keeps_its_number_of_tasks() {
    struct Names(ValueState<i64>);

    impl Bolt for Names {
        fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
            self.0 = context.value_state("names")?;
            Ok(())
        }

        fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
            out.set_key([input.i64("n")? % 3])?;
            Ok(self.0.set(out, 1)?)
        }
    }

    let directory = tempfile::tempdir().expect("there is room");
    let start = |tasks| {
        let mut builder = builder();
        let storage = directory.path().to_owned();
        builder.options(move |options| options.checkpoint.storage = Some(storage));
        builder.spout("numbers", || Unending(Numbers::new(100)));
        builder.bolt("names", || Names(ValueState::default())).parallelism(tasks).shuffle("numbers");
        let checkpoints = CheckpointBegin::Resume;
        RunningTopology::start(built(builder), LocalOptions { checkpoints, ..LocalOptions::default() })
    };
    let running = start(1).unwrap_or_else(|error| panic!("{error}"));
    wait_until("checkpoints", || running.stats().checkpoints.is_some_and(|it| it.completed > 10));
    running.kill();
    running.join();
    let error = start(2).map(drop).expect_err("it is refused").to_string();
    assert!(error.contains("its keys cannot be moved, because it names them itself"), "{error}");
    let again = start(1).unwrap_or_else(|error| panic!("{error}"));
    again.kill();
    again.join();
    assert!(start(2).is_err(), "also after a restart");
}

/// Collects numbers in operator state, and emits them at the end, each with its task.
#[derive(Default)]
struct Collects {
    numbers: OperatorState<i64>,
    task: i64,
    /// How many numbers each task began with.
    begun: Arc<Mutex<BTreeMap<i64, usize>>>,
}

impl Bolt for Collects {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.numbers = context.operator_state("numbers")?;
        self.task = context.task_index() as i64;
        Ok(())
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        lock(&self.begun).insert(self.task, self.numbers.items(out)?.len());
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(self.numbers.push(out, input.i64("n")?)?)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let numbers = self.numbers.items(out)?.to_vec();
        numbers.into_iter().try_for_each(|n| Ok(out.emit([n])?))
    }
}

#[test]
fn operator_state_is_dealt_out_among_more_or_fewer_tasks() {
    const COUNT: i64 = 400;
    let (storage, published) = (MemoryStorage::new(), Published::default());
    for (life, tasks) in [1, 4, 2, 3].into_iter().enumerate() {
        let begun: Arc<Mutex<BTreeMap<i64, usize>>> = Arc::default();
        let mut builder = builder();
        builder.spout("numbers", || Numbers::new(COUNT));
        let kept = Arc::clone(&begun);
        let collects = move || Collects { begun: Arc::clone(&kept), ..Collects::default() };
        builder.bolt("collects", collects).parallelism(tasks).shuffle("numbers");
        builder.bolt("sink", published.sink()).global("collects");
        let mut running = started(built(builder), &storage);
        if life < 3 {
            running.advance(Duration::from_millis(90));
            kill(running, &storage);
        } else {
            running.run_to_end(HOUR).unwrap_or_else(|error| panic!("{error}"));
        }
        let begun: Vec<usize> = lock(&begun).values().copied().collect();
        let (least, most) = (begun.iter().min(), begun.iter().max());
        let (least, most) = (*least.expect("a task began"), *most.expect("a task began"));
        assert_eq!(begun.len(), tasks as usize);
        assert!(most - least <= 1 && (life == 0) == (most == 0), "{begun:?} with {tasks} tasks");
    }
    assert_eq!(published.sorted(), (0..COUNT).collect::<Vec<_>>());
}
