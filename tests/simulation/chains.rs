//! Random pipelines, each run with and without chains: nothing that a user sees may differ.
//!
//! ```text
//!   numbers ──▶ stage ──▶ stage ──▶ … ──▶ sink        1 to 6 stages, all with as many tasks as each other
//!                 └─ dead letters ─▶ dead
//! ```
//!
//! What a stage does with a tuple follows from the tuple alone, never from the task that has it or from the
//! order in which tuples come. So the rows that arrive are the same however tuples are handed on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::config::{ChainMode, OnError};
use squall::prelude::*;
use squall::runtime::TopologyStats;
use squall::testing::{SimulatedTopology, SimulationOptions};

use crate::kit::{HOUR, Numbers, lock};
use crate::scenario::mixed;
use crate::world::Coverage;
use crate::{caught, from_environment, is_shown, run_all};

/// What a stage does with its tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Emits each so many times: 0 for those of every third message.
    Copies(u32),
    /// Holds each until the next tick, or `finish`.
    Hold,
    /// Returns an error for these messages the first time.
    FailFirst(u64),
    /// Panics for these messages the first time.
    PanicFirst(u64),
    /// Returns an error for these messages each time.
    Poison(u64),
}

/// A pipeline drawn from a seed.
#[derive(Clone, Debug)]
struct Pipeline {
    delivery: Delivery,
    executors: u32,
    tasks: u32,
    numbers: u64,
    batch: u32,
    max_pending: u32,
    /// How often a call that failed is made again before its message fails.
    retry: u32,
    stages: Vec<(Role, bool)>,
}

/// Rows with how often each came.
type Rows = BTreeMap<(i64, i64), u64>;

/// What a run came to.
#[derive(Debug, Default)]
struct Outcome {
    rows: Rows,
    dead: Rows,
    stats: TopologyStats,
}

impl Pipeline {
    fn from_seed(seed: u64) -> Pipeline {
        let random = &mut StdRng::seed_from_u64(seed);
        let executors = random.random_range(1..=2);
        let role = |random: &mut StdRng| match random.random_range(0..10) {
            0..5 => Role::Copies(random.random_range(0..=3)),
            5..7 => Role::Hold,
            7 => Role::FailFirst(random.random_range(2..9)),
            8 => Role::PanicFirst(random.random_range(7..30)),
            _ => Role::Poison(random.random_range(5..20)),
        };
        Pipeline {
            delivery: if random.random_bool(0.2) { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
            executors,
            tasks: executors * random.random_range(1..=2),
            numbers: random.random_range(1..120),
            batch: [1, 3, 16, 512][random.random_range(0..4)],
            max_pending: [1, 7, 1000][random.random_range(0..3)],
            retry: [0, 0, 2][random.random_range(0..3)],
            stages: (0..random.random_range(1..=6))
                .map(|_| (role(random), random.random_bool(0.2)))
                .collect(),
        }
    }

    fn can_fail(&self) -> bool {
        self.stages.iter().any(|(role, _)| !matches!(role, Role::Copies(_) | Role::Hold))
    }

    /// The topology, and what its sinks note: rows, and dead letters.
    fn topology(&self, mode: ChainMode) -> (squall::topology::Topology, [Arc<Mutex<Rows>>; 2]) {
        let notes: [Arc<Mutex<Rows>>; 2] = Default::default();
        let mut builder = TopologyBuilder::new("pipeline");
        builder.options(|options| {
            options.chain = mode;
            options.delivery = self.delivery;
            options.max_replays = Some(1);
            options.max_spout_pending = squall::config::AutoOr::Fixed(self.max_pending);
            options.queue.batch = self.batch;
            options.tick = Some(Duration::from_millis(40));
            options.errors.restart_min = Duration::from_millis(5);
            options.errors.restart_max = Duration::from_millis(40);
        });
        let numbers = self.numbers;
        builder.spout("stage-0", move || Numbers::new(numbers)).parallelism(self.executors).tasks(self.tasks);
        for (at, (role, by_key)) in (1..).zip(self.stages.iter().copied()) {
            let before = format!("stage-{}", at - 1);
            let stage = move || Stage { at, role, held: Vec::new() };
            let mut declared = builder.bolt(format!("stage-{at}"), stage);
            if self.retry > 0 {
                declared = declared.on_error(OnError { retry: self.retry, ..OnError::default() });
            }
            let declared = declared.parallelism(self.executors).tasks(self.tasks);
            let _ = if by_key { declared.fields(&before, ["n"]) } else { declared.shuffle(&before) };
        }
        let last = format!("stage-{}", self.stages.len());
        let rows = Arc::clone(&notes[0]);
        let sink = builder.bolt("sink", move || Noting { rows: Arc::clone(&rows), is_dead: false });
        let _ = sink.parallelism(self.executors).tasks(self.tasks).shuffle(&last);
        let poisoned: Vec<String> = (1..)
            .zip(&self.stages)
            .filter(|(_, (role, _))| matches!(role, Role::Poison(_)))
            .map(|(at, _)| format!("stage-{at}"))
            .collect();
        if !poisoned.is_empty() {
            let rows = Arc::clone(&notes[1]);
            let mut dead = builder.bolt("dead", move || Noting { rows: Arc::clone(&rows), is_dead: true });
            for stage in &poisoned {
                dead = dead.shuffle((stage.as_str(), "dead-letter"));
            }
        }
        (builder.build().expect("a valid topology"), notes)
    }

    fn run(&self, seed: u64, mode: ChainMode) -> Result<(Outcome, usize), String> {
        let (topology, [rows, dead]) = self.topology(mode);
        let chained = topology.chains().len();
        let mut topology = SimulatedTopology::start(topology, SimulationOptions::seeded(seed));
        let stats = topology.run_to_end(HOUR).map_err(|error| format!("{mode:?}: {error}"))?;
        let outcome = Outcome { rows: lock(&rows).clone(), dead: lock(&dead).clone(), stats };
        Ok((outcome, chained))
    }
}

struct Stage {
    at: u64,
    role: Role,
    held: Vec<HeldTuple>,
}

impl Stage {
    fn path(&self, n: i64, path: i64, copy: u32) -> i64 {
        mixed(mixed(path as u64, n as u64), self.at << 8 | u64::from(copy)) as i64
    }

    fn release(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for held in std::mem::take(&mut self.held) {
            let n = held.i64("n")?;
            let path = held.i64("path").unwrap_or(n);
            out.emit_anchored("default", &[&held], [n, self.path(n, path, 0)])?;
            out.ack(held);
        }
        Ok(())
    }
}

impl Bolt for Stage {
    fn declare(&self) -> Streams {
        Streams::new(["n", "path"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        let path = input.i64("path").unwrap_or(n);
        let (is_first, number) = (out.attempt() == 0, n as u64);
        let mut copies = 1;
        match self.role {
            Role::Copies(count) => copies = if n % 3 == 0 { 0 } else { count },
            Role::Hold => {
                self.held.push(out.hold(input));
                return Ok(());
            }
            Role::FailFirst(every) if is_first && number % every == 1 => {
                return Err(TaskError::quiet("the first time"));
            }
            Role::PanicFirst(every) if is_first && number % every == 1 => {
                std::panic::resume_unwind(Box::new("the first time"));
            }
            Role::Poison(every) if number % every == 1 => return Err(TaskError::quiet("each time")),
            Role::FailFirst(_) | Role::PanicFirst(_) | Role::Poison(_) => {}
        }
        (0..copies).try_for_each(|copy| Ok(out.emit([n, self.path(n, path, copy)])?))
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.release(out)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.release(out)
    }
}

/// Notes the rows that come.
struct Noting {
    rows: Arc<Mutex<Rows>>,
    is_dead: bool,
}

impl Bolt for Noting {
    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let row = if self.is_dead {
            let of = |key: &str| input.field("values").ok()?.as_map()?.get(key)?.as_i64();
            let n = of("n").unwrap_or_default();
            (n, of("path").unwrap_or(n))
        } else {
            (input.i64("n")?, input.i64("path").or_else(|_| input.i64("n"))?)
        };
        *lock(&self.rows).entry(row).or_default() += 1;
        Ok(())
    }
}

/// What a user sees of a run, as far as it must be the same.
fn visible(pipeline: &Pipeline, outcome: &Outcome) -> String {
    let stats = &outcome.stats;
    let whole = format!(
        "emitted {} acked {} failed {} given up {} dead {} replays {:?} unanchored {}",
        stats.emitted,
        stats.acked,
        stats.failed,
        stats.given_up,
        stats.dead_letters,
        stats.replays,
        stats.failed_unanchored
    );
    if pipeline.can_fail() {
        // A message that fails at one stage may or may not have passed others before it is replayed.
        let distinct = |rows: &Rows| digest(rows.keys().copied());
        return format!("{whole}\nrows {}\ndead {}", distinct(&outcome.rows), distinct(&outcome.dead));
    }
    let of_components: Vec<String> = stats
        .components
        .iter()
        .filter(|component| component.id != "__acker")
        .map(|c| {
            format!(
                "{}: emitted {} transferred {} executed {} acked {} failed {} errors {} queued {}",
                c.id, c.emitted, c.transferred, c.executed, c.acked, c.failed, c.errors, c.queued
            )
        })
        .collect();
    let times = outcome.rows.iter().flat_map(|(row, times)| std::iter::repeat_n(*row, *times as usize));
    format!("{whole}\nrows {}\n{}", digest(times), of_components.join("\n"))
}

/// How many rows, and a number that other rows would hardly give.
fn digest(rows: impl Iterator<Item = (i64, i64)>) -> String {
    let fold = |(count, hash), (n, path)| (count + 1, mixed(mixed(hash, n as u64), path as u64));
    let (count, hash) = rows.fold((0_u64, 0), fold);
    format!("{count} ({hash:016x})")
}

fn compare(seed: u64) -> Result<Coverage, String> {
    let pipeline = Pipeline::from_seed(seed);
    if is_shown() {
        eprintln!("seed {seed}: {pipeline:#?}");
    }
    let (with, chained) = pipeline.run(seed, ChainMode::Auto)?;
    let (without, none) = pipeline.run(seed, ChainMode::Off)?;
    let (with, without) = (visible(&pipeline, &with), visible(&pipeline, &without));
    if none != 0 || with != without {
        return Err(format!("{pipeline:#?}\nwith chains:\n{with}\nwithout:\n{without}"));
    }
    let mut coverage = Coverage::default();
    coverage.add("chained", chained as u64);
    coverage.add("without failures", u64::from(!pipeline.can_fail()));
    for (role, _) in &pipeline.stages {
        let name = format!("{role:?}");
        coverage.add(name.split('(').next().unwrap_or_default(), 1);
    }
    coverage.add("at most once", u64::from(pipeline.delivery == Delivery::AtMostOnce));
    coverage.add("several tasks", u64::from(pipeline.tasks > 1));
    coverage.add("calls made again", u64::from(pipeline.retry > 0 && pipeline.can_fail()));
    Ok(coverage)
}

/// If it fails, a topology gives other results with `chain = "auto"` than with `chain = "off"`.
#[test]
fn a_topology_does_the_same_with_and_without_chains() {
    let (first, count) = (from_environment("SQUALL_SEED", 0), from_environment("SQUALL_SEEDS", 150));
    let seeds: Vec<u64> = (first..first + count).collect();
    let check = |seed| caught(|| compare(seed)).map_err(|what| format!("seed {seed}: {what}"));
    let (coverage, failures) = run_all(&seeds, check);
    assert!(failures.is_empty(), "{} failed, the first:\n{}", failures.len(), failures[0]);
    for what in [
        "chained",
        "without failures",
        "Copies",
        "Hold",
        "FailFirst",
        "PanicFirst",
        "Poison",
        "at most once",
        "several tasks",
        "calls made again",
    ] {
        assert!(coverage.0.contains_key(what), "never happened: {what}");
    }
}
