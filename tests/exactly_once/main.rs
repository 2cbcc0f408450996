//! Topologies that are exactly-once: what happens at their begin, at their end, and in between.
//!
//! Random faults are in `tests/simulation/exactly_once.rs`; here each test is one story.

mod accidents;
mod cycles;
mod event_time;
#[path = "../kit/mod.rs"]
mod kit;
mod left_behind;
mod overtaking;
mod reading;
mod rescaling;
mod wal;
mod windows;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{HOUR, lock, wait_until};
use squall::api::{Positions, TwoPhaseBolt, TwoPhaseSink};
use squall::checkpoint::{CheckpointStore, MemoryStorage, RunState};
use squall::config::{AfterRetries, CheckpointMode, OnError};
use squall::prelude::*;
use squall::runtime::{CheckpointBegin, LocalOptions, RunningTopology, TopologyStats};
use squall::testing::{Capture, SimulatedTopology, SimulationOptions};
use squall::topology::Topology;

/// Emits `n` from 0 to `count`, one each millisecond or in bursts.
struct Numbers {
    count: i64,
    next: i64,
    bursts: bool,
    committed: Arc<Mutex<Vec<i64>>>,
}

impl Numbers {
    fn new(count: i64) -> Numbers {
        Numbers { count, next: 0, bursts: false, committed: Arc::default() }
    }
}

impl Spout for Numbers {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.next >= self.count {
            return Ok(SpoutStatus::Exhausted);
        }
        out.emit([self.next])?;
        self.next += 1;
        Ok(match self.bursts && self.next % 16 != 0 {
            true => SpoutStatus::Emitted,
            false => SpoutStatus::IdleFor(Duration::from_millis(1)),
        })
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        positions.set("numbers", &self.next)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.next = positions.get("numbers")?.unwrap_or(0);
        Ok(())
    }

    fn committed(&mut self, positions: &Positions) -> Result<(), TaskError> {
        lock(&self.committed).extend(positions.get::<i64>("numbers")?);
        Ok(())
    }
}

/// What sinks publish: it outlives every run.
#[derive(Clone, Default)]
struct Published {
    /// Nothing can be committed.
    is_away: Arc<Mutex<bool>>,
    prepared: Arc<Mutex<BTreeMap<u64, Vec<i64>>>>,
    rows: Arc<Mutex<Vec<i64>>>,
}

impl Published {
    /// What is visible, in order.
    fn sorted(&self) -> Vec<i64> {
        let mut rows = lock(&self.rows).clone();
        rows.sort_unstable();
        rows
    }

    fn sink(&self) -> impl Fn() -> TwoPhaseBolt<Sink> + Send + Sync + 'static {
        let published = self.clone();
        move || TwoPhaseBolt::new(Sink { published: published.clone(), next: 0, open: Vec::new() })
    }
}

struct Sink {
    published: Published,
    next: u64,
    open: Vec<i64>,
}

impl TwoPhaseSink for Sink {
    type Transaction = u64;

    fn begin(&mut self) -> Result<u64, TaskError> {
        self.next += 1;
        Ok(self.next)
    }

    fn write(&mut self, _: &mut u64, input: Input<'_>) -> Result<(), TaskError> {
        self.open.push(input.i64("n")?);
        Ok(())
    }

    fn pre_commit(&mut self, transaction: &mut u64) -> Result<(), TaskError> {
        lock(&self.published.prepared).insert(*transaction, std::mem::take(&mut self.open));
        Ok(())
    }

    fn commit(&mut self, transaction: &u64) -> Result<(), TaskError> {
        if *lock(&self.published.is_away) {
            return Err(TaskError::new("the store is away"));
        }
        let rows = lock(&self.published.prepared).remove(transaction);
        lock(&self.published.rows).extend(rows.unwrap_or_default());
        Ok(())
    }

    fn abort_others(&mut self, keep: &[u64]) -> Result<(), TaskError> {
        self.next = keep.iter().copied().max().unwrap_or(0);
        lock(&self.published.prepared).retain(|transaction, _| keep.contains(transaction));
        Ok(())
    }
}

/// A builder of an exactly-once topology that takes a checkpoint every 20 ms.
fn builder() -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("once");
    builder.options(|options| {
        options.delivery = Delivery::ExactlyOnce;
        options.checkpoint.interval = Duration::from_millis(20);
    });
    builder
}

fn built(builder: TopologyBuilder) -> Topology {
    builder.build().unwrap_or_else(|errors| panic!("{errors}"))
}

/// Numbers straight into a sink.
fn numbers_to_sink(count: i64, published: &Published) -> Topology {
    let mut builder = builder();
    builder.spout("numbers", move || Numbers::new(count));
    builder.bolt("sink", published.sink()).shuffle("numbers");
    built(builder)
}

fn started(topology: Topology, storage: &MemoryStorage) -> SimulatedTopology {
    SimulatedTopology::start(topology, SimulationOptions::seeded(1).checkpoints(storage.clone()))
}

fn ended(mut running: SimulatedTopology) -> TopologyStats {
    running.run_to_end(HOUR).unwrap_or_else(|error| panic!("{error}"))
}

/// Kills a process: what its disk had not synced is lost.
fn kill(running: SimulatedTopology, storage: &MemoryStorage) {
    drop(running);
    storage.crash();
}

/// A run dies after each step in turn, and is continued. `new` makes what starts it and what goes on with it. Returns how
/// often it died, and how often something was published before.
fn dies_after_any_step<S>(expected: &[i64], new: impl Fn() -> S) -> (u32, u32)
where
    S: Fn(&Published, &MemoryStorage) -> SimulatedTopology,
{
    let (mut died, mut had_published) = (0, 0);
    for step in 1.. {
        let (start, published, storage) = (new(), Published::default(), MemoryStorage::seeded(step));
        let mut running = start(&published, &storage);
        running.run_steps(step);
        if running.has_ended() {
            break;
        }
        had_published += u32::from(!published.sorted().is_empty());
        died += 1;
        kill(running, &storage);
        assert!(!ended(start(&published, &storage)).cut_short);
        assert_eq!(published.sorted(), expected, "it died after step {step}");
    }
    (died, had_published)
}

#[test]
fn a_run_that_was_killed_is_continued() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let mut running = started(numbers_to_sink(300, &published), &storage);
    running.advance(Duration::from_millis(110));
    let seen = published.sorted();
    assert!(!seen.is_empty() && seen.len() < 300, "some checkpoints are complete: {}", seen.len());
    kill(running, &storage);
    let stats = ended(started(numbers_to_sink(300, &published), &storage));
    let checkpoints = stats.checkpoints.expect("it takes checkpoints");
    assert!(checkpoints.resumed_from.is_some());
    assert!(stats.emitted < 300, "it did not begin at the beginning");
    assert_eq!(published.sorted(), (0..300).collect::<Vec<_>>());
}

/// The last checkpoint is durable, and the process is killed before its sinks have committed.
#[test]
fn a_run_that_had_ended_only_commits() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let mut running = started(numbers_to_sink(50, &published), &storage);
    let has_ended = || {
        let store = CheckpointStore::open(Box::new(storage.clone()), "once", 1);
        store.is_ok_and(|store| store.latest().is_some_and(|manifest| manifest.run == RunState::Ended))
    };
    while !has_ended() {
        running.run_steps(1);
    }
    assert!(!running.has_ended() && published.sorted().len() < 50, "the last rows are not visible yet");
    kill(running, &storage);
    let stats = ended(started(numbers_to_sink(50, &published), &storage));
    assert_eq!(stats.emitted, 0);
    assert!(!stats.cut_short && stats.stopped.is_none());
    assert_eq!(published.sorted(), (0..50).collect::<Vec<_>>());
}

/// It was noted that nothing is left, so the next start deleted the rows that were not published.
#[test]
fn a_run_whose_sink_cannot_begin_stays_to_be_continued() {
    struct NeverBegins(Sink);

    impl TwoPhaseSink for NeverBegins {
        type Transaction = u64;

        fn begin(&mut self) -> Result<u64, TaskError> {
            self.0.begin()
        }

        fn write(&mut self, transaction: &mut u64, input: Input<'_>) -> Result<(), TaskError> {
            self.0.write(transaction, input)
        }

        fn pre_commit(&mut self, transaction: &mut u64) -> Result<(), TaskError> {
            self.0.pre_commit(transaction)
        }

        fn commit(&mut self, transaction: &u64) -> Result<(), TaskError> {
            self.0.commit(transaction)
        }

        fn abort_others(&mut self, _: &[u64]) -> Result<(), TaskError> {
            Err(TaskError::fatal("the password is wrong"))
        }
    }

    let (storage, published) = (MemoryStorage::new(), Published::default());
    let run_state = || {
        let store = CheckpointStore::open(Box::new(storage.clone()), "once", 1);
        store.ok().and_then(|store| store.latest().map(|manifest| manifest.run))
    };
    let mut running = started(numbers_to_sink(50, &published), &storage);
    while run_state() != Some(RunState::Ended) {
        running.run_steps(1);
    }
    kill(running, &storage);
    let mut builder = builder();
    builder.spout("numbers", || Numbers::new(50));
    let store = published.clone();
    let sink = move || NeverBegins(Sink { published: store.clone(), next: 0, open: Vec::new() });
    builder.bolt("sink", move || TwoPhaseBolt::new(sink())).shuffle("numbers");
    let stats = ended(started(built(builder), &storage));
    assert!(stats.stopped.is_some_and(|stopped| format!("{stopped:?}").contains("the password is wrong")));
    assert_eq!(run_state(), Some(RunState::Ended));
    ended(started(numbers_to_sink(50, &published), &storage));
    assert_eq!(published.sorted(), (0..50).collect::<Vec<_>>());
    assert_eq!(run_state(), Some(RunState::Committed));
}

#[test]
fn spouts_hear_which_of_their_positions_are_committed() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let committed = Arc::new(Mutex::new(Vec::new()));
    let mut builder = builder();
    let shared = Arc::clone(&committed);
    builder.spout("numbers", move || Numbers { committed: Arc::clone(&shared), ..Numbers::new(100) });
    builder.bolt("sink", published.sink()).shuffle("numbers");
    ended(started(built(builder), &storage));
    let committed = lock(&committed).clone();
    assert!(committed.len() > 2, "{committed:?}");
    assert!(committed.is_sorted() && committed.last() == Some(&100), "{committed:?}");
}

/// Passes on what it got, all at its first tick after 60 ms.
#[derive(Default)]
struct Late {
    held: Vec<HeldTuple>,
    ticks: u32,
}

impl Bolt for Late {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.held.push(out.hold(input));
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.ticks += 1;
        if self.ticks < 6 {
            return Ok(());
        }
        for held in self.held.drain(..) {
            out.emit([held.i64("n")?])?;
            out.ack(held);
        }
        Ok(())
    }
}

#[test]
fn tuples_that_are_held_at_a_barrier_come_again() {
    for chain in [squall::config::ChainMode::Auto, squall::config::ChainMode::Off] {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let topology = || {
            let mut builder = builder();
            builder.options(|options| options.chain = chain);
            builder.spout("numbers", || Numbers::new(20));
            builder.bolt("late", Late::default).tick(Duration::from_millis(10)).shuffle("numbers");
            builder.bolt("sink", published.sink()).shuffle("late");
            built(builder)
        };
        let mut running = started(topology(), &storage);
        running.advance(Duration::from_millis(50));
        assert_eq!(published.sorted(), [0_i64; 0], "all are held");
        assert!(running.stats().checkpoints.is_some_and(|checkpoints| checkpoints.completed > 0));
        kill(running, &storage);
        ended(started(topology(), &storage));
        assert_eq!(published.sorted(), (0..20).collect::<Vec<_>>(), "{chain:?}");
    }
}

/// Counts, and fails fatally or fails one number for ever.
struct Counts<T> {
    poison: Option<i64>,
    counts: ValueState<T>,
}

impl Bolt for Counts<i64> {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        if self.poison == Some(n) {
            return Err(TaskError::new("this number cannot be counted"));
        }
        self.counts.update(out, |count| *count += 1)?;
        out.emit([n])?;
        Ok(())
    }
}

impl Bolt for Counts<String> {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

#[test]
fn a_state_of_another_type_ends_the_run_with_its_name() {
    let storage = MemoryStorage::new();
    let mut first = builder();
    first.spout("numbers", || Numbers::new(1000));
    let counts = || Counts::<i64> { poison: None, counts: ValueState::default() };
    first.bolt("count", counts).fields("numbers", ["n"]);
    let mut running = started(built(first), &storage);
    running.advance(Duration::from_millis(50));
    kill(running, &storage);
    let mut second = builder();
    second.spout("numbers", || Numbers::new(1000));
    let counts = || Counts::<String> { poison: None, counts: ValueState::default() };
    second.bolt("count", counts).fields("numbers", ["n"]);
    let stats = ended(started(built(second), &storage));
    let reason = stats.stopped.expect("the run ends because of it");
    assert_eq!(reason.component, "count");
    for part in ["`counts`", "i64", "String"] {
        assert!(reason.error.contains(part), "{reason}");
    }
}

/// A run that an error has ended has not ended in order: the tuple comes again.
#[test]
fn after_a_stop_by_an_error_no_checkpoint_becomes_complete() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let topology = |poison| {
        let mut builder = builder();
        builder.spout("numbers", || Numbers::new(100));
        let counts = move || Counts::<i64> { poison, counts: ValueState::default() };
        let on_error = OnError { retry: 0, then: AfterRetries::Stop, ..OnError::default() };
        builder.bolt("count", counts).on_error(on_error).fields("numbers", ["n"]);
        builder.bolt("sink", published.sink()).shuffle("count");
        built(builder)
    };
    let stats = ended(started(topology(Some(70)), &storage));
    assert!(stats.stopped.is_some_and(|reason| reason.error.contains("cannot be counted")));
    let seen = published.sorted();
    assert!(!seen.is_empty() && seen.iter().all(|n| *n < 70), "{seen:?}");
    let stats = ended(started(topology(None), &storage));
    assert!(stats.stopped.is_none());
    assert_eq!(published.sorted(), (0..100).collect::<Vec<_>>());
}

/// What fails for good is given up, counted, and holds nothing up; its dead letter is published once.
#[test]
fn what_keeps_failing_becomes_one_dead_letter() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let letters = Published::default();
    let topology = || {
        let mut builder = builder();
        builder.spout("numbers", || Numbers::new(60));
        let counts = || Counts::<i64> { poison: Some(7), counts: ValueState::default() };
        builder.bolt("count", counts).fields("numbers", ["n"]);
        builder.bolt("sink", published.sink()).shuffle("count");
        let letter = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
            out.emit([input.str("error")?.len() as i64])?;
            Ok(())
        };
        builder.bolt("letters", kit::bolt(Streams::new(["n"]), letter)).shuffle(("count", "dead-letter"));
        builder.bolt("shelf", letters.sink()).shuffle("letters");
        built(builder)
    };
    let mut running = started(topology(), &storage);
    running.advance(Duration::from_millis(500));
    kill(running, &storage);
    ended(started(topology(), &storage));
    assert_eq!(published.sorted(), (0..60).filter(|n| *n != 7).collect::<Vec<_>>());
    assert_eq!(letters.sorted().len(), 1);
}

#[test]
fn checkpoints_are_taken_while_the_topology_is_inactive() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let mut running = started(numbers_to_sink(1000, &published), &storage);
    running.advance(Duration::from_millis(30));
    running.deactivate();
    running.advance(Duration::from_millis(100));
    let completed =
        |running: &SimulatedTopology| running.stats().checkpoints.map_or(0, |counts| counts.completed);
    let before = completed(&running);
    running.advance(Duration::from_millis(100));
    assert!(completed(&running) > before);
    let emitted = running.stats().emitted;
    assert_eq!(published.sorted().len() as u64, emitted, "everything that was emitted is published");
}

#[test]
fn a_full_disk_fails_checkpoints_and_nothing_else() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let mut running = started(numbers_to_sink(1000, &published), &storage);
    running.advance(Duration::from_millis(50));
    storage.fail_from(1, ErrorKind::StorageFull);
    let before = published.sorted().len();
    running.advance(Duration::from_millis(2500));
    let checkpoints = running.stats().checkpoints.expect("it takes checkpoints");
    assert!(checkpoints.failed > 0 && checkpoints.age > Some(Duration::from_secs(2)), "{checkpoints:?}");
    assert_eq!(published.sorted().len(), before, "nothing is published without a checkpoint");
    assert_eq!(running.stats().emitted, 1000, "the run goes on");
    storage.heal();
    let stats = ended(running);
    assert!(!stats.cut_short);
    assert_eq!(published.sorted(), (0..1000).collect::<Vec<_>>());
}

/// Without blocking, what is lost and what comes twice after a crash is another matter; without one, nothing is.
#[test]
fn without_blocking_a_run_without_a_crash_is_exact() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let mut builder = builder();
    builder.options(|options| options.checkpoint.mode = CheckpointMode::AtLeastOnce);
    builder.spout("some", || Numbers::new(100));
    builder.spout("more", || Numbers::new(200));
    builder.bolt("sink", published.sink()).shuffle("some").shuffle("more");
    ended(started(built(builder), &storage));
    let mut expected: Vec<i64> = (0..100).chain(0..200).collect();
    expected.sort_unstable();
    assert_eq!(published.sorted(), expected);
}

/// In real threads, with a directory; components with threads of their own take part.
#[test]
fn a_directory_of_checkpoints_is_kept_apart_from_other_runs() {
    let directory = tempfile::tempdir().expect("there is room");
    let topology = |count, tasks| {
        let published = Published::default();
        let mut builder = builder();
        let storage = directory.path().join("checkpoints");
        builder.options(move |options| options.checkpoint.storage = Some(storage));
        builder.spout("numbers", move || Numbers::new(count)).blocking();
        let counts = || Counts::<i64> { poison: None, counts: ValueState::default() };
        builder.bolt("count", counts).parallelism(tasks).blocking().fields("numbers", ["n"]);
        builder.bolt("sink", published.sink()).shuffle("count");
        (built(builder), published)
    };
    let start = |topology, checkpoints| {
        RunningTopology::start(topology, LocalOptions { checkpoints, ..LocalOptions::default() })
    };
    let refused = |topology, begin, expected: &str| match start(topology, begin) {
        Ok(_) => panic!("it is started, and was expected to be refused: {expected}"),
        Err(error) => assert!(error.to_string().contains(expected), "{error}"),
    };
    let (endless, published) = topology(i64::MAX, 2);
    let running = start(endless, CheckpointBegin::New).unwrap_or_else(|error| panic!("{error}"));
    wait_until("rows are published", || published.sorted().len() > 3);
    refused(topology(9, 2).0, CheckpointBegin::Resume, "is in use by process");
    running.kill();
    running.join();
    refused(topology(9, 2).0, CheckpointBegin::New, "write `--resume` to continue that run");
    let (anew, published) = topology(9, 3);
    let stats = start(anew, CheckpointBegin::Discard).unwrap_or_else(|error| panic!("{error}")).join();
    assert_eq!(published.sorted(), (0..9).collect::<Vec<_>>());
    assert_eq!(stats.checkpoints.and_then(|checkpoints| checkpoints.resumed_from), None);
    // That run has come to its end, so another may begin.
    let (after, published) = topology(5, 2);
    start(after, CheckpointBegin::New).unwrap_or_else(|error| panic!("{error}")).join();
    assert_eq!(published.sorted(), (0..5).collect::<Vec<_>>());
}

/// Passes on what it gets, and takes so long for it.
struct Slow {
    takes: Duration,
    clock: Option<squall::clock::Clock>,
}

impl Slow {
    fn new(takes: Duration) -> Slow {
        Slow { takes, clock: None }
    }
}

impl Bolt for Slow {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.clock = Some(context.clock().clone());
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if let Some(clock) = &self.clock {
            clock.advance(self.takes);
        }
        Ok(out.emit([input.i64("n")?])?)
    }
}

/// What a step left behind in a chain belongs to the life that is over. If it stays, all wait for it for ever, or it is
/// executed twice.
#[test]
fn what_a_chain_left_behind_goes_when_all_go_back() {
    for steps in 1..60 {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let mut builder = builder();
        builder.options(|options| options.queue.batch = 4);
        builder.spout("numbers", || Numbers { bursts: true, ..Numbers::new(80) });
        // A step ends before the chain behind it has everything.
        builder.bolt("slow", || Slow::new(Duration::from_millis(2))).shuffle("numbers");
        builder.bolt("sink", published.sink()).shuffle("slow");
        // Lost beside the chain, so that the chain halts between two of its steps.
        builder.spout("other", || Numbers::new(80));
        builder.bolt("null", kit::null()).shuffle("other");
        let mut running = started(built(builder), &storage);
        running.run_steps(steps);
        running.crash("other");
        let stats = ended(running);
        assert!(!stats.cut_short);
        assert_eq!(published.sorted(), (0..80).collect::<Vec<_>>(), "after {steps} steps");
    }
}

/// A spout that comes late sends each barrier all the same. If it left one out, the other inputs would wait for it.
#[test]
fn a_spout_that_misses_a_checkpoint_takes_part_in_the_next() {
    let (storage, published) = (MemoryStorage::new(), Published::default());
    let mut builder = builder();
    builder.options(|options| options.checkpoint.timeout = Duration::from_millis(30));
    builder.spout("some", || Numbers::new(5000));
    builder.spout("late", || Numbers::new(5000));
    builder.bolt("sink", published.sink()).shuffle("some").shuffle("late");
    let mut running = started(built(builder), &storage);
    running.advance(Duration::from_millis(50));
    running.stall("late", Duration::from_millis(3500));
    running.advance(Duration::from_millis(3600));
    let given_up = running.stats().checkpoints.map_or(0, |checkpoints| checkpoints.failed);
    assert!(given_up >= 2, "several checkpoints were given up: {given_up}");
    running.advance(Duration::from_millis(1500));
    let checkpoints = running.stats().checkpoints.expect("it takes checkpoints");
    assert_eq!(checkpoints.failed, given_up, "no other was given up");
    assert!(checkpoints.age < Some(Duration::from_millis(100)), "{checkpoints:?}");
}

/// A value whose code panics when it is written.
#[derive(Clone, serde::Deserialize)]
struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("this value cannot be written")
    }
}

struct KeepsUnwritable(ValueState<Unwritable>);

impl Bolt for KeepsUnwritable {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = context.value_state("unwritable")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(self.0.set(out, Unwritable)?)
    }
}

#[test]
fn a_panic_while_state_is_written_fails_the_checkpoint_and_nothing_else() {
    let storage = MemoryStorage::new();
    let mut builder = builder();
    builder.spout("numbers", || Numbers::new(1000));
    builder.bolt("keep", || KeepsUnwritable(ValueState::default())).fields("numbers", ["n"]);
    let mut running = started(built(builder), &storage);
    running.advance(Duration::from_millis(1500));
    let stats = running.stats();
    assert!(
        stats.checkpoints.is_some_and(|checkpoints| checkpoints.failed > 0 && checkpoints.completed == 0)
    );
    assert!(stats.emitted > 900, "{}", stats.emitted);
}

/// Fills its state at some numbers, and empties it at others.
struct Tides(ValueState<String>);

impl Bolt for Tides {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = context.value_state("texts")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        for key in 0..300 {
            match n % 10 {
                0 => {
                    out.set_key([key])?;
                    self.0.set(out, "x".repeat(1000))?;
                }
                5 => {
                    out.set_key([key])?;
                    self.0.clear(out)?;
                }
                _ => {}
            }
        }
        Ok(out.emit([n])?)
    }
}

/// A snapshot is as the state was at the barrier, also if nothing is kept any more when its last part is written.
#[test]
fn a_state_may_become_empty_while_its_snapshot_is_written() {
    for after in [61, 67, 73, 79, 83] {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let mut builder = builder();
        builder.spout("numbers", || Numbers::new(1000));
        builder.bolt("tides", || Tides(ValueState::default())).global("numbers");
        builder.bolt("sink", published.sink()).shuffle("tides");
        let mut running = started(built(builder), &storage);
        for crashes in 1..10 {
            running.advance(Duration::from_millis(after));
            running.crash("numbers");
            assert!(!running.has_ended(), "{crashes} crashes: {:?}", running.stats());
        }
        let stats = ended(running);
        assert!(!stats.cut_short, "{:?}", stats.stopped);
        assert_eq!(published.sorted(), (0..1000).collect::<Vec<_>>());
    }
}

/// Counts everything in one value, which is forgotten when nothing came for half a second.
#[derive(Default)]
struct Streak(ValueState<i64>);

impl Bolt for Streak {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        context.name_keys();
        self.0 = context.expiring(Ttl::after_write(Duration::from_millis(500))).value_state("streak")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        out.set_key(["all"])?;
        let count = self.0.update(out, |count| {
            *count += 1;
            *count
        })?;
        Ok(out.emit([count])?)
    }
}

/// The process is killed and started again, first at once, then after ten seconds, and once more at once.
#[test]
fn the_time_to_live_of_state_goes_on_while_nothing_runs() {
    let storage = MemoryStorage::new();
    let mut first_counts = Vec::new();
    for started_after in [0, 300, 10_500, 10_900] {
        let capture = Capture::new();
        let mut builder = builder();
        builder.spout("numbers", || Numbers::new(10_000));
        builder.bolt("streak", Streak::default).shuffle("numbers");
        builder.bolt("capture", capture.bolt()).shuffle("streak");
        let options = SimulationOptions::seeded(1).checkpoints(storage.clone());
        let options = options.starts_after(Duration::from_millis(started_after));
        let mut running = SimulatedTopology::start(built(builder), options);
        running.advance(Duration::from_millis(200));
        let counts: Vec<i64> = capture.rows().iter().filter_map(|row| row[0].as_i64()).collect();
        assert!(counts.len() > 100 && counts.windows(2).all(|two| two[1] == two[0] + 1), "{counts:?}");
        first_counts.push(counts[0]);
        kill(running, &storage);
    }
    let [at_first, at_once, later, and_at_once] = first_counts[..] else { panic!("{first_counts:?}") };
    assert_eq!((at_first, later), (1, 1), "after ten seconds the streak is over");
    assert!(at_once > 100 && and_at_once > 100, "{first_counts:?}");
}

/// Keys that came once stayed in memory, and in each full snapshot, for ever.
#[test]
fn state_that_has_expired_is_given_back_while_nothing_comes() {
    struct Once(ValueState<i64>);

    impl Bolt for Once {
        fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
            self.0 = context.expiring(Ttl::after_write(Duration::from_millis(400))).value_state("once")?;
            Ok(())
        }

        fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
            Ok(self.0.set(out, input.i64("n")?)?)
        }
    }

    let storage = MemoryStorage::new();
    let mut builder = builder();
    builder.spout("numbers", || Unending(Numbers::new(2_000)));
    builder.bolt("once", || Once(ValueState::default())).fields("numbers", ["n"]);
    let mut running = started(built(builder), &storage);
    // A task that keeps nothing has no file, from its next full snapshot on.
    let bytes = || {
        let store = CheckpointStore::open(Box::new(storage.clone()), "once", 1).expect("it can be read");
        let manifest = store.latest().expect("a checkpoint is complete");
        let once = manifest.tasks.iter().find(|task| task.component == "once").expect("it takes part");
        once.files.iter().map(|file| file.bytes).sum::<u64>()
    };
    running.advance(Duration::from_secs(1));
    assert!(bytes() > 4_000, "{} bytes of about 400 keys that are alive", bytes());
    running.advance(Duration::from_secs(3));
    assert_eq!(bytes(), 0);
    assert!(!running.has_ended(), "it waits for more");
}

/// A spout that waits for more when it has no more.
struct Unending(Numbers);

impl Spout for Unending {
    fn declare(&self) -> Streams {
        self.0.declare()
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        Ok(match self.0.next_tuple(out)? {
            SpoutStatus::Exhausted => SpoutStatus::IdleFor(HOUR),
            status => status,
        })
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        self.0.snapshot(positions)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.0.restore(positions)
    }
}

/// What a sink cannot commit waits in memory: so a barrier waits, and then the input.
#[test]
fn what_waits_for_a_store_that_is_away_is_bounded() {
    const COUNT: i64 = 30_000;
    let published = Published::default();
    let mut running = started(numbers_to_sink(COUNT, &published), &MemoryStorage::new());
    running.advance(Duration::from_millis(100));
    *lock(&published.is_away) = true;
    running.advance(Duration::from_secs(20));
    let waiting: usize = lock(&published.prepared).values().map(Vec::len).sum();
    assert!((100..2_000).contains(&waiting), "{waiting} rows wait, of 20,000");
    *lock(&published.is_away) = false;
    assert!(!ended(running).cut_short);
    assert_eq!(published.sorted(), (0..COUNT).collect::<Vec<_>>());
}
