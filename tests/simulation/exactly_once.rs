//! Topologies that are exactly-once, with faults: what their sinks publish equals the reference, whatever was killed.
//!
//! ```text
//!   rows, more ──▶ hold ──▶ count (by key) ──▶ sink        two spouts, so that barriers are aligned
//! ```
//!
//! `count` emits each new count of a key. Afterwards the store of the sinks has each count from 1 to the number of rows
//! of the key exactly once. Tasks panic, are crashed from outside, fail calls, hold tuples over checkpoints, and lose
//! their checkpoints to a full disk; the process is killed, with what its disk had not synced, and another continues.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::api::{Positions, TwoPhaseBolt, TwoPhaseSink};
use squall::checkpoint::MemoryStorage;
use squall::clock::Clock;
use squall::config::{ChainMode, OnError};
use squall::prelude::*;
use squall::runtime::TopologyStats;
use squall::testing::{SimulatedTopology, SimulationOptions};
use squall::topology::Topology;

use crate::kit::{HOUR, lock};
use crate::world::Coverage;
use crate::{again, caught, from_environment, is_shown, run_all};

/// Everything that must have happened over all seeds.
const SOMETIMES: &[&str] = &[
    "checkpoint completed",
    "several checkpoints completed",
    "checkpoint given up",
    "went back",
    "continued from a checkpoint",
    "process killed",
    "stopped with a savepoint",
    "crashed from outside",
    "storage failed",
    "open",
    "next_tuple",
    "snapshot of a spout",
    "execute",
    "execute of a bolt with state",
    "pre_commit",
    "prepare of a sink",
    "write",
    "pre_commit of a sink",
    "pre_commit of a sink, after it",
    "commit",
    "commit, after it",
];

/// A topology drawn from a seed.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub rows: u64,
    keys: u64,
    spouts: [u32; 2],
    holders: u32,
    counters: u32,
    sinks: u32,
    batch: u32,
    capacity: u32,
    interval: Duration,
    chained: bool,
    holds: bool,
    /// Panics and errors of user code before it behaves.
    pub faults: u64,
    pub kills: u64,
    pub storage_fails: bool,
}

impl Setup {
    pub fn from_seed(seed: u64) -> Setup {
        let random = &mut StdRng::seed_from_u64(seed);
        Setup {
            seed,
            rows: random.random_range(1..300),
            keys: random.random_range(1..8),
            spouts: [random.random_range(1..=2), random.random_range(0..=2)],
            holders: random.random_range(1..=2),
            counters: random.random_range(1..=3),
            sinks: random.random_range(1..=2),
            batch: [1, 2, 7, 64][random.random_range(0..4)],
            capacity: [64, 256][random.random_range(0..2)],
            interval: Duration::from_millis([10, 20, 90][random.random_range(0..3)]),
            chained: random.random_bool(0.5),
            holds: random.random_bool(0.5),
            faults: [0, 4, 12][random.random_range(0..3)],
            kills: random.random_range(0..4),
            storage_fails: random.random_bool(0.3),
        }
    }

    /// How many rows each key gets, from all tasks of all spouts.
    fn reference(&self) -> BTreeMap<i64, i64> {
        let mut counts = BTreeMap::new();
        for spout in 0..2 {
            for task in 0..u64::from(self.spouts[spout]) {
                for n in 0..self.rows {
                    *counts.entry(self.key(spout as u64, task, n)).or_default() += 1;
                }
            }
        }
        counts
    }

    fn key(&self, spout: u64, task: u64, n: u64) -> i64 {
        (crate::scenario::mixed(spout * 100 + task, n) % self.keys) as i64
    }
}

/// What decides about faults of user code, over all processes of a run.
pub struct Chaos {
    random: Mutex<StdRng>,
    left: AtomicU64,
    happened: Mutex<Coverage>,
}

/// What a call does.
#[derive(PartialEq)]
enum Fault {
    None,
    Error,
    Panic,
}

impl Chaos {
    pub fn of(setup: &Setup) -> Arc<Chaos> {
        Arc::new(Chaos {
            random: Mutex::new(StdRng::seed_from_u64(setup.seed)),
            left: AtomicU64::new(setup.faults),
            happened: Mutex::default(),
        })
    }

    /// What has struck.
    pub fn happened(&self) -> Coverage {
        std::mem::take(&mut *lock(&self.happened))
    }

    /// Decides about a place that is struck once in `one_in` calls.
    fn fault(&self, place: &'static str, one_in: u32) -> Fault {
        if self.left.load(Ordering::SeqCst) == 0 {
            return Fault::None;
        }
        let draw = lock(&self.random).random_range(0..one_in);
        if draw > 1 {
            return Fault::None;
        }
        self.left.fetch_sub(1, Ordering::SeqCst);
        lock(&self.happened).add(place, 1);
        if draw == 0 { Fault::Error } else { Fault::Panic }
    }

    /// Fails or panics, perhaps.
    fn strike(&self, place: &'static str) -> Result<(), TaskError> {
        self.strike_one_in(40, place)
    }

    /// The same for a place that is come to for each checkpoint only.
    fn strike_of_checkpoint(&self, place: &'static str) -> Result<(), TaskError> {
        self.strike_one_in(6, place)
    }

    fn strike_one_in(&self, one_in: u32, place: &'static str) -> Result<(), TaskError> {
        match self.fault(place, one_in) {
            Fault::None => Ok(()),
            Fault::Error => Err(TaskError::new(place)),
            Fault::Panic => panic!("{place}"),
        }
    }
}

struct Rows {
    setup: Setup,
    chaos: Arc<Chaos>,
    spout: u64,
    task: u64,
    next: u64,
}

impl Spout for Rows {
    fn declare(&self) -> Streams {
        Streams::new(["key"])
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.task = context.task_index() as u64;
        self.chaos.strike("open")
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.next == self.setup.rows {
            return Ok(SpoutStatus::Exhausted);
        }
        self.chaos.strike("next_tuple")?;
        out.emit([self.setup.key(self.spout, self.task, self.next)])?;
        self.next += 1;
        match self.next % 4 {
            0 => Ok(SpoutStatus::IdleFor(Duration::from_millis(3))),
            _ => Ok(SpoutStatus::Emitted),
        }
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        self.chaos.strike("snapshot of a spout")?;
        positions.set(&self.task.to_string(), &self.next)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.next = positions.get(&self.task.to_string())?.unwrap_or(0);
        Ok(())
    }
}

/// Passes rows on, some of them at a later tick.
struct Hold {
    setup: Setup,
    chaos: Arc<Chaos>,
    held: Vec<HeldTuple>,
    seen: u64,
}

impl Bolt for Hold {
    fn declare(&self) -> Streams {
        Streams::new(["key"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.seen += 1;
        if self.setup.holds && self.seen.is_multiple_of(5) {
            self.held.push(out.hold(input));
            return Ok(());
        }
        out.emit([input.i64("key")?])?;
        self.chaos.strike("execute")
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for held in self.held.drain(..) {
            out.emit_anchored("default", &[&held], [held.i64("key")?])?;
            out.ack(held);
        }
        Ok(())
    }

    /// In half of the runs, what is held at the end waits for the tick.
    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.setup.seed.is_multiple_of(2) { self.tick(out) } else { Ok(()) }
    }
}

/// Counts by key. With `expires`, the counts have a time to live that none reaches, and the dates of the last rows
/// of the key one that most reach: none may be seen that has.
struct Count {
    chaos: Arc<Chaos>,
    expires: bool,
    counts: ValueState<i64>,
    recent: Option<(ListState<i64>, Clock)>,
}

/// How long the date of a row is kept.
const RECENT: Duration = Duration::from_millis(20);

impl Count {
    fn look_at_recent(&self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let Some((recent, clock)) = &self.recent else { return Ok(()) };
        let now = clock.wall_nanos();
        let is_old = |date: &i64| now - date >= RECENT.as_nanos() as i64;
        if recent.items(out)?.iter().any(is_old) {
            return Err(TaskError::fatal("a date has expired and is seen"));
        }
        Ok(recent.push(out, now)?)
    }
}

impl Bolt for Count {
    fn declare(&self) -> Streams {
        Streams::new(["key", "count"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        if self.expires {
            self.counts = context.expiring(Ttl::after_access(HOUR)).value_state("counts")?;
            let recent = context.expiring(Ttl::after_write(RECENT)).list_state("recent")?;
            self.recent = Some((recent, context.clock().clone()));
        } else {
            self.counts = context.value_state("counts")?;
        }
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let count = self.counts.update(out, |count| {
            *count += 1;
            *count
        })?;
        self.look_at_recent(out)?;
        out.emit([input.i64("key")?, count])?;
        self.chaos.strike("execute of a bolt with state")
    }

    fn pre_commit(&mut self, _: squall::ids::CheckpointId, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.chaos.strike("pre_commit")
    }
}

/// What the sinks write to: it outlives every process.
#[derive(Default)]
pub struct Store {
    /// Transactions that are pre-committed: task, number, rows.
    prepared: BTreeMap<(usize, u64), Vec<(i64, i64)>>,
    visible: Vec<(i64, i64)>,
}

struct Sink {
    chaos: Arc<Chaos>,
    store: Arc<Mutex<Store>>,
    task: usize,
    next: u64,
    open: Vec<(i64, i64)>,
}

impl TwoPhaseSink for Sink {
    type Transaction = (usize, u64);

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.task = context.task_index();
        self.chaos.strike("prepare of a sink")
    }

    fn begin(&mut self) -> Result<(usize, u64), TaskError> {
        self.next += 1;
        Ok((self.task, self.next))
    }

    fn write(&mut self, _: &mut (usize, u64), input: Input<'_>) -> Result<(), TaskError> {
        self.chaos.strike("write")?;
        self.open.push((input.i64("key")?, input.i64("count")?));
        Ok(())
    }

    fn pre_commit(&mut self, transaction: &mut (usize, u64)) -> Result<(), TaskError> {
        self.chaos.strike_of_checkpoint("pre_commit of a sink")?;
        let rows = std::mem::take(&mut self.open);
        lock(&self.store).prepared.insert(*transaction, rows);
        self.chaos.strike_of_checkpoint("pre_commit of a sink, after it").inspect_err(|_| {
            self.open = lock(&self.store).prepared.remove(transaction).unwrap_or_default();
        })
    }

    fn commit(&mut self, transaction: &(usize, u64)) -> Result<(), TaskError> {
        self.chaos.strike_of_checkpoint("commit")?;
        {
            let mut store = lock(&self.store);
            let rows = store.prepared.remove(transaction).unwrap_or_default();
            store.visible.extend(rows);
        }
        self.chaos.strike_of_checkpoint("commit, after it")
    }

    fn abort_others(&mut self, keep: &[(usize, u64)]) -> Result<(), TaskError> {
        let mut store = lock(&self.store);
        let own = self.task;
        store.prepared.retain(|transaction, _| transaction.0 != own || keep.contains(transaction));
        self.next = keep.iter().map(|(_, number)| *number).max().unwrap_or(0);
        Ok(())
    }
}

pub fn topology(setup: &Setup, chaos: &Arc<Chaos>, store: &Arc<Mutex<Store>>) -> Topology {
    let mut builder = TopologyBuilder::new("exactly-once");
    let names = ["rows", "more"];
    let spouts: Vec<usize> = (0..2).filter(|spout| setup.spouts[*spout] > 0).collect();
    for spout in &spouts {
        let (setup, chaos, number) = (setup.clone(), Arc::clone(chaos), *spout as u64);
        let tasks = setup.spouts[*spout];
        let new =
            move || Rows { setup: setup.clone(), chaos: Arc::clone(&chaos), spout: number, task: 0, next: 0 };
        builder.spout(names[*spout], new).parallelism(tasks);
    }
    let (own, strikes) = (setup.clone(), Arc::clone(chaos));
    let new = move || Hold { setup: own.clone(), chaos: Arc::clone(&strikes), held: Vec::new(), seen: 0 };
    let mut hold = builder.bolt("hold", new).parallelism(setup.holders).tick(Duration::from_millis(25));
    for spout in spouts {
        hold = hold.shuffle(names[spout]);
    }
    let retry = OnError { retry: 50, backoff_min: Duration::from_millis(1), ..OnError::default() };
    hold.on_error(retry);
    let strikes = Arc::clone(chaos);
    let expires = setup.seed.is_multiple_of(3);
    let new =
        move || Count { chaos: Arc::clone(&strikes), expires, counts: ValueState::default(), recent: None };
    let count = builder.bolt("count", new).parallelism(setup.counters).fields("hold", ["key"]);
    count.on_error(retry);
    let (strikes, store) = (Arc::clone(chaos), Arc::clone(store));
    let new = move || {
        let (chaos, store) = (Arc::clone(&strikes), Arc::clone(&store));
        TwoPhaseBolt::new(Sink { chaos, store, task: 0, next: 0, open: Vec::new() })
    };
    let sink = builder.bolt("sink", new).parallelism(setup.sinks).shuffle("count");
    sink.on_error(retry);
    builder.options(|options| {
        options.delivery = Delivery::ExactlyOnce;
        options.queue.batch = setup.batch;
        options.queue.capacity = setup.capacity;
        options.checkpoint.interval = setup.interval;
        options.chain = if setup.chained { ChainMode::Auto } else { ChainMode::Off };
    });
    builder.build().unwrap_or_else(|errors| panic!("{errors}"))
}

/// Runs a seed to its end, over all its processes.
fn run(setup: &Setup) -> (Coverage, Arc<Mutex<Store>>) {
    let random = &mut StdRng::seed_from_u64(!setup.seed);
    let store = Arc::new(Mutex::new(Store::default()));
    let storage = MemoryStorage::seeded(setup.seed);
    let chaos = Chaos::of(setup);
    let mut coverage = Coverage::default();
    let mut kills = setup.kills;
    let savepoints = tempfile::tempdir().expect("there is room");
    let show = |text: &str| {
        if is_shown() {
            eprintln!("{text}");
        }
    };
    show(&format!("{setup:?}"));
    for process in 0.. {
        let options = SimulationOptions::seeded(setup.seed ^ process).checkpoints(storage.clone());
        let mut running = SimulatedTopology::start(topology(setup, &chaos, &store), options);
        let lifetime = random.random_range(1..25);
        let mut asked = false;
        for turn in 0.. {
            running.run_steps(random.random_range(1..40));
            running.advance(Duration::from_millis(random.random_range(0..8)));
            if running.has_ended() || turn > 200_000 {
                break;
            }
            if turn > lifetime && kills > 0 {
                break;
            }
            match random.random_range(0..80) {
                0 => {
                    let component = ["rows", "hold", "count", "sink"][random.random_range(0..4)];
                    show(&format!("{:?}: crash {component}", running.now()));
                    running.crash(component);
                    coverage.add("crashed from outside", 1);
                }
                1 => running.deactivate(),
                2 => running.stall("count", Duration::from_millis(40)),
                3 if setup.storage_fails => {
                    show(&format!("{:?}: the storage fails", running.now()));
                    storage.fail_operation(random.random_range(1..=3), std::io::ErrorKind::StorageFull);
                    coverage.add("storage failed", 1);
                }
                4 if !asked => {
                    let stops = random.random_bool(0.5);
                    show(&format!("{:?}: a savepoint, {stops}", running.now()));
                    running.ask_for_savepoint(savepoints.path().join(process.to_string()), stops);
                    asked = true;
                }
                5..13 => running.activate(),
                _ => {}
            }
        }
        let stats = running.stats();
        note(&stats, &mut coverage);
        if running.has_ended() {
            show(&format!("{:?}: ended, {:?}", running.now(), stats.checkpoints));
            assert!(!stats.cut_short && stats.stopped.is_none(), "{:?}", stats.stopped);
            assert_eq!(stats.failed_unanchored, 0, "no tuple was given up");
            if is_stopped(&stats) {
                // It is continued, as if the process had been killed after everything was done.
                coverage.add("stopped with a savepoint", 1);
                drop(running);
                storage.crash();
                storage.heal();
                continue;
            }
            break;
        }
        assert!(kills > 0, "it does not come to its end: {stats:?}");
        kills -= 1;
        coverage.add("process killed", 1);
        show(&format!("{:?}: killed, {:?}", running.now(), stats.checkpoints));
        drop(running);
        storage.crash();
        storage.heal();
    }
    coverage.merge(chaos.happened());
    (coverage, store)
}

pub fn note(stats: &TopologyStats, coverage: &mut Coverage) {
    let checkpoints = stats.checkpoints.expect("it takes checkpoints");
    let mut note = |holds: bool, what: &'static str| {
        if holds {
            coverage.add(what, 1);
        }
    };
    note(checkpoints.completed > 0, "checkpoint completed");
    note(checkpoints.completed > 3, "several checkpoints completed");
    note(checkpoints.failed > 0, "checkpoint given up");
    note(checkpoints.recoveries > 0, "went back");
    note(checkpoints.resumed_from.is_some(), "continued from a checkpoint");
}

/// Whether a run was stopped with a savepoint.
pub fn is_stopped(stats: &TopologyStats) -> bool {
    stats.checkpoints.is_some_and(|checkpoints| checkpoints.stopped_with.is_some())
}

pub fn check(setup: &Setup, store: &Store) {
    let mut counts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (key, count) in &store.visible {
        counts.entry(*key).or_default().push(*count);
    }
    for (key, total) in setup.reference() {
        let mut found = counts.remove(&key).unwrap_or_default();
        found.sort_unstable();
        let expected: Vec<i64> = (1..=total).collect();
        assert_eq!(found, expected, "key {key}");
    }
    assert!(counts.is_empty(), "keys that nobody emitted: {counts:?}");
    assert!(store.prepared.is_empty(), "everything was committed: {:?}", store.prepared);
}

/// If it fails, a crash loses rows or publishes some twice.
#[test]
fn seeds() {
    let (first, count) = (from_environment("SQUALL_SEED", 0), from_environment("SQUALL_SEEDS", 150));
    let seeds: Vec<u64> = (first..first + count).collect();
    let check = |seed| {
        let test = "exactly_once::seeds";
        let checked = || {
            let setup = Setup::from_seed(seed);
            let (coverage, store) = run(&setup);
            check(&setup, &lock(&store));
            Ok(coverage)
        };
        caught(checked).map_err(|what| format!("seed {seed}: {what}\n  {}", again(seed, test)))
    };
    let begin = Instant::now();
    let (coverage, failures) = run_all(&seeds, check);
    println!("{count} seeds in {:.1?}: {:?}", begin.elapsed(), coverage.0);
    assert!(failures.is_empty(), "{} failed, the first:\n{}", failures.len(), failures[0]);
    if count > 1 {
        for what in SOMETIMES {
            assert!(coverage.0.contains_key(*what), "never happened: {what}");
        }
    }
}
