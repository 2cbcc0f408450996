//! Random calls of a bolt, some of which fail after they have emitted, acked and changed state: what a call that
//! failed did must leave nothing behind.
//!
//! ```text
//!   numbers ──▶ caller ──▶ sink          by shuffle, by key, to all, to named tasks, and anchored to a held tuple
//! ```
//!
//! What a call does follows from its message and from how many calls there were for that message. The caller
//! notes each call with its last statement, so the note is there exactly if the call succeeded. The rows that
//! arrive must be those of the noted calls, and the state must be what these calls made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::api::CounterId;
use squall::config::OnError;
use squall::prelude::*;
use squall::testing::{SimulatedTopology, SimulationOptions};

use crate::kit::{HOUR, Numbers, lock, of};
use crate::scenario::mixed;
use crate::world::Coverage;
use crate::{again, caught, from_environment, is_shown, run_all};

/// Where a row is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Shuffle,
    Key,
    All,
    /// By `emit_for_targets`, to the stream whose targets are chosen by turns.
    ForTargets,
    Direct,
    /// Anchored to the tuple that an earlier call held.
    Held,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ok,
    Error,
    Panic,
}

/// One call: what it emits, whether it holds its input, and how it ends.
#[derive(Clone, Debug)]
struct Call {
    emits: Vec<Way>,
    holds: bool,
    end: End,
}

/// A topology drawn from a seed.
#[derive(Clone, Copy, Debug)]
struct Setup {
    seed: u64,
    delivery: Delivery,
    callers: u32,
    sinks: u32,
    numbers: u64,
    batch: u32,
    max_emits: usize,
    /// How often a failed call is made again before its message fails.
    retry: u32,
    /// Whether the caller's input is grouped by `n`, which then is the key of each call.
    by_key: bool,
}

impl Setup {
    fn from_seed(seed: u64) -> Setup {
        let random = &mut StdRng::seed_from_u64(seed);
        Setup {
            seed,
            delivery: if random.random_bool(0.3) { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
            callers: random.random_range(1..=2),
            sinks: random.random_range(1..=3),
            numbers: random.random_range(1..60),
            batch: [1, 2, 3, 8, 512][random.random_range(0..5)],
            max_emits: [1, 4, 30][random.random_range(0..3)],
            retry: [0, 1, 5][random.random_range(0..3)],
            by_key: random.random_bool(0.5),
        }
    }

    fn call(&self, n: u64, number: u64) -> Call {
        let random = &mut StdRng::seed_from_u64(mixed(mixed(self.seed, n), number));
        let way = |random: &mut StdRng| {
            [Way::Shuffle, Way::Key, Way::All, Way::ForTargets, Way::Direct, Way::Held]
                [random.random_range(0..6)]
        };
        let emits = (0..random.random_range(0..=self.max_emits)).map(|_| way(random)).collect();
        let end = match random.random_range(0..10) {
            0..3 if number < 3 => End::Error,
            3 if number < 3 => End::Panic,
            _ => End::Ok,
        };
        Call { emits, holds: random.random_bool(0.2), end }
    }
}

/// A row that arrived: stream, message, number of the call for it, and number in that call. With how often it
/// arrived.
type Rows = BTreeMap<(String, i64, i64, i64), u64>;

/// What the bolts of a run note.
#[derive(Default)]
struct Notes {
    /// Calls that succeeded, with the rows that they emitted and to how many tasks each went.
    expected: Rows,
    arrived: Rows,
    /// Where rows were sent by `emit_for_targets`, and where they arrived.
    sent_to: BTreeMap<(i64, i64, i64), Vec<TaskId>>,
    arrived_at: BTreeMap<(i64, i64, i64), Vec<TaskId>>,
    ends: BTreeMap<&'static str, u64>,
    /// Calls for each message.
    calls: BTreeMap<i64, u64>,
    /// By task: the state that the calls which succeeded have made, and the state at the end.
    made: BTreeMap<TaskId, Kept>,
    kept: BTreeMap<TaskId, Kept>,
    /// Calls of timers, and by task and key how often such a call failed.
    timer_calls: u64,
    timer_failures: BTreeMap<(TaskId, Vec<Value>), u32>,
}

/// The state of a caller, by key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    sums: BTreeMap<Vec<Value>, i64>,
    maps: BTreeMap<Vec<Value>, BTreeMap<i64, String>>,
    lists: BTreeMap<Vec<Value>, Vec<i64>>,
    /// Calls that succeeded, by the key of their input.
    seen: BTreeMap<Vec<Value>, i64>,
    all: Vec<i64>,
    /// Keys whose timer is set.
    timers: BTreeSet<Vec<Value>>,
}

struct Caller {
    setup: Setup,
    notes: Arc<Mutex<Notes>>,
    sinks: Vec<TaskId>,
    held: Option<HeldTuple>,
    task: TaskId,
    sums: ValueState<i64>,
    maps: MapState<i64, String>,
    lists: ListState<i64>,
    seen: ValueState<i64>,
    all: OperatorState<i64>,
    timer: Timer,
}

impl Caller {
    fn new(setup: Setup, notes: &Arc<Mutex<Notes>>) -> Caller {
        Caller {
            setup,
            notes: Arc::clone(notes),
            sinks: Vec::new(),
            held: None,
            task: TaskId(0),
            sums: ValueState::default(),
            maps: MapState::default(),
            lists: ListState::default(),
            seen: ValueState::default(),
            all: OperatorState::default(),
            timer: Timer::default(),
        }
    }

    /// Changes the state of some keys, and the copy of it that counts if the call succeeds.
    fn change_state(
        &self,
        n: i64,
        number: i64,
        made: &mut Kept,
        out: &mut Outputs<'_>,
    ) -> Result<(), TaskError> {
        if self.setup.by_key {
            self.seen.update(out, |seen| *seen += 1)?;
            *made.seen.entry(out.key().to_vec()).or_default() += 1;
        }
        let random = &mut StdRng::seed_from_u64(mixed(mixed(!self.setup.seed, n as u64), number as u64));
        for _ in 0..random.random_range(0..5) {
            let key = vec![Value::from(random.random_range(0..3)), Value::from("key")];
            let entry = random.random_range(0..3);
            out.set_key(&key[..])?;
            match random.random_range(0..10) {
                0 => {
                    self.sums.update(out, |sum| *sum += n)?;
                    *made.sums.entry(key).or_default() += n;
                }
                1 => {
                    self.sums.clear(out)?;
                    made.sums.remove(&key);
                }
                2 => {
                    self.maps.insert(out, entry, number.to_string())?;
                    made.maps.entry(key).or_default().insert(entry, number.to_string());
                }
                3 => {
                    self.maps.remove(out, entry)?;
                    made.maps.entry(key).or_default().remove(&entry);
                }
                4 => {
                    self.maps.clear(out)?;
                    made.maps.remove(&key);
                }
                5 => {
                    self.lists.push(out, n)?;
                    made.lists.entry(key).or_default().push(n);
                }
                6 => {
                    let items = self.lists.items(out)?[..].iter().rev().copied().collect();
                    self.lists.set(out, items)?;
                    made.lists.entry(key).or_default().reverse();
                }
                7 => {
                    self.timer.set(out, Duration::from_millis(20))?;
                    made.timers.insert(key);
                }
                8 => {
                    self.timer.clear(out)?;
                    made.timers.remove(&key);
                }
                _ => {
                    self.all.push(out, n)?;
                    made.all.push(n);
                }
            }
        }
        made.maps.retain(|_, map| !map.is_empty());
        made.lists.retain(|_, list| !list.is_empty());
        Ok(())
    }

    /// All state of the task.
    fn kept(&self, out: &mut Outputs<'_>) -> Result<Kept, TaskError> {
        let mut kept = Kept { all: self.all.items(out)?.to_vec(), ..Kept::default() };
        self.sums.for_each(out, |_, key, sum| {
            kept.sums.insert(key.to_vec(), sum);
            Ok(())
        })?;
        self.seen.for_each(out, |_, key, seen| {
            kept.seen.insert(key.to_vec(), seen);
            Ok(())
        })?;
        for n in 0..3 {
            let key = vec![Value::from(n), Value::from("key")];
            out.set_key(&key[..])?;
            let map: BTreeMap<_, _> = self.maps.entries(out)?.map(|(n, text)| (*n, text.clone())).collect();
            if !map.is_empty() {
                kept.maps.insert(key.clone(), map);
            }
            if self.timer.is_set(out)? {
                kept.timers.insert(key.clone());
            }
            let list = self.lists.items(out)?.to_vec();
            if !list.is_empty() {
                kept.lists.insert(key, list);
            }
        }
        Ok(kept)
    }
}

impl Bolt for Caller {
    fn declare(&self) -> Streams {
        let fields = ["n", "call", "at"];
        let streams = Streams::none().stream("shuffle", fields).stream("key", fields).stream("all", fields);
        streams.direct_stream("direct", fields)
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.sinks = context.tasks_of("sink").to_vec();
        self.task = context.task();
        self.sums = context.value_state("sums")?;
        self.maps = context.map_state("maps")?;
        self.lists = context.list_state("lists")?;
        self.seen = context.value_state("seen")?;
        self.all = context.operator_state("all")?;
        self.timer = context.timer("timer")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        let number = {
            let mut notes = lock(&self.notes);
            let calls = notes.calls.entry(n).or_default();
            *calls += 1;
            *calls as i64
        };
        let call = self.setup.call(n as u64, number as u64);
        let mut made = lock(&self.notes).made.get(&self.task).cloned().unwrap_or_default();
        self.change_state(n, number, &mut made, out)?;
        let mut rows = Vec::new();
        let mut sent_to = Vec::new();
        for (at, way) in (0..).zip(&call.emits) {
            let row = [n, number, at];
            let stream = match way {
                Way::Shuffle | Way::ForTargets => "shuffle",
                Way::Key | Way::Held => "key",
                Way::All => "all",
                Way::Direct => "direct",
            };
            match way {
                Way::Shuffle | Way::Key | Way::All => out.emit_to(stream, row)?,
                Way::ForTargets => sent_to.push((at, out.emit_for_targets(stream, row)?)),
                Way::Direct => {
                    let sink = self.sinks[at as usize % self.sinks.len()];
                    out.emit_direct(sink, stream, row)?;
                }
                Way::Held => match self.held.take() {
                    Some(held) => {
                        out.emit_anchored(stream, &[&held], row)?;
                        out.ack(held);
                    }
                    None => out.emit_to(stream, row)?,
                },
            }
            rows.push((stream, at));
        }
        if call.holds && self.held.is_none() {
            self.held = Some(out.hold(input));
        }
        let end = match call.end {
            End::Ok => "ok",
            End::Error => "error",
            End::Panic => "panic",
        };
        *lock(&self.notes).ends.entry(end).or_default() += 1;
        match call.end {
            End::Ok => {}
            End::Error => return Err(TaskError::quiet("the call fails")),
            End::Panic => std::panic::resume_unwind(Box::new("the call fails")),
        }
        let mut notes = lock(&self.notes);
        notes.made.insert(self.task, made);
        for (stream, at) in rows {
            let copies = if stream == "all" { self.sinks.len() as u64 } else { 1 };
            *notes.expected.entry((stream.to_owned(), n, number, at)).or_default() += copies;
        }
        for (at, tasks) in sent_to {
            notes.sent_to.entry((n, number, at)).or_default().extend(tasks);
        }
        Ok(())
    }

    fn timer(&mut self, timer: Timer, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let key = out.key().to_vec();
        assert!(timer == self.timer && !timer.is_set(out)?);
        self.sums.update(out, |sum| *sum += 1)?;
        let mut notes = lock(&self.notes);
        notes.timer_calls += 1;
        let random = &mut StdRng::seed_from_u64(mixed(self.setup.seed, notes.timer_calls));
        let failures = notes.timer_failures.entry((self.task, key.clone())).or_default();
        if *failures < self.setup.retry && random.random_bool(0.4) {
            *failures += 1;
            drop(notes);
            match random.random_bool(0.5) {
                true => return Err(TaskError::quiet("the timer fails")),
                false => std::panic::resume_unwind(Box::new("the timer fails")),
            }
        }
        let made = notes.made.entry(self.task).or_default();
        made.timers.remove(&key);
        *made.sums.entry(key).or_default() += 1;
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.held.take().into_iter().for_each(|held| out.ack(held));
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let kept = self.kept(out)?;
        lock(&self.notes).kept.insert(self.task, kept);
        self.tick(out)
    }
}

struct Sink {
    notes: Arc<Mutex<Notes>>,
    task: TaskId,
}

impl Bolt for Sink {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.task = context.task();
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (n, number, at) = (input.i64("n")?, input.i64("call")?, input.i64("at")?);
        let mut notes = lock(&self.notes);
        let stream = input.source_stream().to_owned();
        if stream == "shuffle" {
            notes.arrived_at.entry((n, number, at)).or_default().push(self.task);
        }
        *notes.arrived.entry((stream, n, number, at)).or_default() += 1;
        Ok(())
    }
}

fn run(seed: u64) -> Result<Coverage, String> {
    let setup = Setup::from_seed(seed);
    if is_shown() {
        eprintln!("seed {seed}: {setup:#?}");
    }
    let notes: Arc<Mutex<Notes>> = Arc::default();
    let mut builder = TopologyBuilder::new("calls");
    builder.options(|options| {
        options.delivery = setup.delivery;
        options.max_replays = Some(u32::MAX);
        options.queue.batch = setup.batch;
        options.tick = Some(Duration::from_millis(500));
        options.errors.restart_min = Duration::from_millis(5);
    });
    builder.spout("numbers", move || Numbers::new(setup.numbers));
    let of_caller = Arc::clone(&notes);
    let caller = move || Caller::new(setup, &of_caller);
    let mut caller = builder.bolt("caller", caller).parallelism(setup.callers);
    if setup.retry > 0 {
        caller = caller.on_error(OnError { retry: setup.retry, ..OnError::default() });
    }
    let _ = if setup.by_key { caller.fields("numbers", ["n"]) } else { caller.shuffle("numbers") };
    let of_sink = Arc::clone(&notes);
    let sink = builder.bolt("sink", move || Sink { notes: Arc::clone(&of_sink), task: TaskId(0) });
    let sink = sink.parallelism(setup.sinks).shuffle(("caller", "shuffle"));
    let _ = sink.fields(("caller", "key"), ["n"]).all(("caller", "all")).direct(("caller", "direct"));
    let topology = builder.build().map_err(|error| error.to_string())?;
    let mut topology = SimulatedTopology::start(topology, SimulationOptions::seeded(seed));
    let stats = topology.run_to_end(HOUR).map_err(|error| error.to_string())?;
    let notes = lock(&notes);
    if notes.arrived != notes.expected {
        return Err(format!("{setup:#?}\nexpected: {:?}\narrived: {:?}", notes.expected, notes.arrived));
    }
    for (row, tasks) in &notes.sent_to {
        if notes.arrived_at.get(row) != Some(tasks) {
            return Err(format!(
                "row {row:?} was sent to {tasks:?}, and came to {:?}",
                notes.arrived_at.get(row)
            ));
        }
    }
    for (task, made) in &notes.made {
        // A task that keeps nothing need not be built again for its `finish`.
        let kept = notes.kept.get(task).cloned().unwrap_or_default();
        if kept != *made {
            return Err(format!("{setup:#?}\ntask {task} made {made:?}, and has {kept:?}"));
        }
    }
    let tracked = setup.delivery == Delivery::AtLeastOnce;
    if tracked && (stats.acked, stats.given_up) != (setup.numbers, 0) {
        return Err(format!("{setup:#?}\nof {} messages {} were acked", setup.numbers, stats.acked));
    }
    let mut coverage = Coverage::default();
    for (end, count) in &notes.ends {
        coverage.add(*end, *count);
    }
    coverage.add("at most once", u64::from(!tracked));
    coverage.add(
        "state",
        notes.made.values().filter(|made| made.sums.len() + made.lists.len() > 0).count() as u64,
    );
    coverage
        .add("state by the input", notes.made.values().filter(|made| !made.seen.is_empty()).count() as u64);
    coverage.add("timers", notes.timer_calls);
    coverage.add("timers that failed", u64::from(notes.timer_failures.values().sum::<u32>()));
    coverage.add("made again", of(&stats, "caller").counters.get(CounterId::CALLS_RETRIED) as u64);
    coverage.add("chosen before", notes.sent_to.len() as u64);
    Ok(coverage)
}

/// If it fails, a call that failed has left something behind, or one that succeeded has lost something.
#[test]
fn a_call_that_fails_leaves_nothing() {
    let (first, count) = (from_environment("SQUALL_SEED", 0), from_environment("SQUALL_SEEDS", 300));
    let seeds: Vec<u64> = (first..first + count).collect();
    let check = |seed| {
        let test = "calls::a_call_that_fails_leaves_nothing";
        caught(|| run(seed)).map_err(|what| format!("seed {seed}: {what}\n  {}", again(seed, test)))
    };
    let (coverage, failures) = run_all(&seeds, check);
    assert!(failures.is_empty(), "{} failed, the first:\n{}", failures.len(), failures[0]);
    if count > 1 {
        for what in [
            "ok",
            "error",
            "panic",
            "at most once",
            "chosen before",
            "made again",
            "state",
            "timers",
            "timers that failed",
            "state by the input",
        ] {
            assert!(coverage.0.get(what).is_some_and(|count| *count > 0), "never happened: {what}");
        }
    }
}
