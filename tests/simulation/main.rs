//! The seeded simulation: random topologies with random faults, in simulated time, and afterwards
//! nothing may be missing.
//!
//! After each run: every message was acked, or failed for good where `max_replays` allows it; every
//! acked message came through every leaf of its graph, or became a dead letter; at most once really
//! is at most once; no tree was acked while a part of it was alive (the audit); nothing is queued,
//! held or open; and it ended within an hour of simulated time. Over the whole set of seeds, each
//! fault and each way back must have occurred, or the test tests less than it says: after the first
//! seeds more are run until it has, which takes the same number on every machine.
//!
//! * `SQUALL_SEEDS` (50, and more while something has not occurred): how many seeds; `SQUALL_SEED`
//!   (0): the first.
//! * `SQUALL_SHOW`: if it is set, each seed prints its scenario and what was done to the topology, with
//!   the simulated time. A seed of several workers prints the scenario only when it fails, with the state
//!   of the master and of each worker. One seed alone:
//!   `SQUALL_SEED=17 SQUALL_SEEDS=1 SQUALL_SHOW=1 cargo test --test simulation -- --exact seeds --nocapture`.
//!   A seed of several workers: `cluster::seeds` in the place of `seeds`. Of topologies that are exactly-once:
//!   `exactly_once::seeds`, `exactly_once_workers::seeds` and `exactly_once::layouts::any_layout`. Of whole
//!   clusters: `daemons::seeds`.
//! * `seeds.txt`: seeds that found something once. They run first, always.
//! * `scripts/simulate.sh`: many more, in release mode.

#[path = "../kit/mod.rs"]
mod kit;

mod calls;
mod chains;
mod cluster;
mod daemons;
mod exactly_once;
mod exactly_once_workers;
mod sabotage;
mod scenario;
mod untouched;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::prelude::*;
use squall::runtime::TopologyStats;
use squall::testing::{SimulatedTopology, SimulationOptions};

use kit::{HOUR, lock};
use scenario::{Role, Scenario, mixed};
use world::{Coverage, World};

/// Seeds that are run if nobody says how many.
const SEEDS: u64 = 50;
/// By so many at a time more are run until everything has occurred,
const MORE: u64 = 50;
/// but not more than these: by then it must have.
const ENOUGH: u64 = 1000;

/// Everything that must have occurred in [`ENOUGH`] runs.
const SOMETIMES: &[&str] = &[
    "a chain of three",
    "acker crashed",
    "acks lost",
    "at most once",
    "automatic window",
    "back-pressure",
    "batch lost",
    "bolt crashed",
    "came twice, as it may",
    "chained behind a bolt",
    "chained behind a spout",
    "deactivated",
    "dead letter",
    "execute failed",
    "execute failed after a hold",
    "execute failed half-way",
    "execute panicked",
    "failed for good",
    "failure: abandoned",
    "failure: failed",
    "failure: lost",
    "failure: panicked",
    "failure: timed out",
    "finished with held tuples",
    "flush panicked",
    "grouping All",
    "grouping Fields",
    "grouping Global",
    "grouping LocalOrShuffle",
    "grouping None",
    "grouping PartialKey",
    "grouping Shuffle",
    "grouping Two",
    "held tuple dropped",
    "held tuple failed",
    "init repeated",
    "joined",
    "next_tuple failed",
    "next_tuple panicked",
    "nobody chained",
    "prepare failed",
    "replayed",
    "restart",
    "several ackers",
    "several tasks in an executor",
    "spout ack failed",
    "spout crashed",
    "spout open failed",
    "stalled",
    "task crashed at a batch",
    "tick panicked",
    "ticked",
    "timeout reset",
    "went round",
];

/// What a run came to.
#[derive(Debug)]
struct Run {
    fingerprint: u64,
    stats: TopologyStats,
    coverage: Coverage,
}

/// Whether each seed prints what it does.
fn is_shown() -> bool {
    std::env::var_os("SQUALL_SHOW").is_some()
}

/// How one seed is run alone, and shows what it does. `test` is the path of the test.
fn again(seed: u64, test: &str) -> String {
    format!(
        "again: SQUALL_SEED={seed} SQUALL_SEEDS=1 SQUALL_SHOW=1 cargo test --test simulation -- --exact {test} --nocapture"
    )
}

/// Something from outside.
fn command(topology: &mut SimulatedTopology, scenario: &Scenario, random: &mut StdRng, world: &World) {
    let components = scenario.components();
    let component = &components[random.random_range(0..components.len())];
    let show = |what: &str, now: Duration| {
        if is_shown() {
            eprintln!("{now:?}: {what}");
        }
    };
    match random.random_range(0..10) {
        0..5 => {
            show(&format!("crash {component}"), topology.now());
            topology.crash(component);
            let kind = component.split('-').next().unwrap_or_default();
            world.note(match kind {
                "spout" => "spout crashed",
                "__acker" => "acker crashed",
                _ => "bolt crashed",
            });
        }
        5..9 => {
            world.note("stalled");
            let pause = Duration::from_millis(random.random_range(1..3_000));
            show(&format!("stall {component} for {pause:?}"), topology.now());
            topology.stall(component, pause);
        }
        _ => {
            world.note("deactivated");
            let pause = Duration::from_millis(random.random_range(1..500));
            show(&format!("deactivate for {pause:?}"), topology.now());
            topology.deactivate();
            topology.advance(pause);
            topology.activate();
        }
    }
}

/// Runs one seed: a troubled part with commands between steps, then one in which all must heal.
fn run(seed: u64) -> Result<Run, String> {
    let scenario = Scenario::from_seed(seed);
    if is_shown() {
        eprintln!("{scenario:#?}");
    }
    let tracked = scenario.delivery == Delivery::AtLeastOnce;
    let world = World::new(seed, tracked, scenario.payload);
    let (spouts, bolts, sinks) = (world.clone(), world.clone(), world.clone());
    let builder = scenario.builder(
        move |plan| spouts.spout(plan),
        move |plan| bolts.bolt(plan),
        move |dead| sinks.sink(dead),
    );
    let topology = builder.build().map_err(|errors| format!("not a valid topology: {errors}"))?;
    let chains = topology.chains();
    let options = SimulationOptions::seeded(seed).faults(scenario.faults.clone());
    let mut topology = SimulatedTopology::start(topology, options);
    let random = &mut StdRng::seed_from_u64(mixed(seed, 2));
    for _ in 0..scenario.turns {
        topology.run_steps(random.random_range(1..60));
        if topology.has_ended() {
            break;
        }
        if random.random_bool(scenario.command_share) {
            command(&mut topology, &scenario, random, &world);
        }
    }
    world.heal();
    let stats = topology.run_to_end(HOUR).map_err(|error| error.to_string())?;
    let leaves = |spout: &str| scenario.leaves_of(spout);
    let mut wrong = world.verdict(scenario.max_replays.is_some(), leaves);
    wrong.extend(leftovers(&stats));
    if !wrong.is_empty() {
        return Err(wrong.join("\n  "));
    }
    let mut coverage = world.coverage();
    cover(&mut coverage, &scenario, &stats, &topology);
    cover_chains(&mut coverage, &scenario, &chains);
    Ok(Run { fingerprint: topology.fingerprint(), stats, coverage })
}

/// What is not at rest at the end.
fn leftovers(stats: &TopologyStats) -> Vec<String> {
    let mut wrong = Vec::new();
    if stats.pending != 0 || stats.cut_short || !stats.ended {
        wrong.push(format!("{} pending, cut short: {}", stats.pending, stats.cut_short));
    }
    for component in stats.components.iter().filter(|component| component.queued != 0) {
        wrong.push(format!("{} tuples queued for {}", component.queued, component.id));
    }
    wrong
}

fn cover(coverage: &mut Coverage, scenario: &Scenario, stats: &TopologyStats, topology: &SimulatedTopology) {
    let struck = topology.fault_counts();
    coverage.add("batch lost", struck.batches_lost);
    coverage.add("task crashed at a batch", struck.tasks_crashed);
    coverage.add("init repeated", struck.inits_repeated);
    coverage.add("acks lost", struck.acks_lost);
    coverage.add("at most once", u64::from(scenario.delivery == Delivery::AtMostOnce));
    coverage.add("several ackers", u64::from(scenario.ackers > 1));
    coverage.add("automatic window", u64::from(scenario.pending == squall::config::AutoOr::Auto));
    coverage.add("restart", stats.components.iter().map(|component| component.restarts).sum());
    let blocked = stats.components.iter().filter(|component| component.blocked > 0.0).count();
    coverage.add("back-pressure", blocked as u64);
    for bolt in &scenario.bolts {
        coverage.add("several tasks in an executor", u64::from(bolt.tasks > bolt.executors));
        coverage.add(if matches!(bolt.role, Role::Join { .. }) { "a join" } else { "no join" }, 1);
        bolt.inputs.iter().for_each(|(_, way)| coverage.add(format!("grouping {way:?}"), 1));
    }
    scenario.sink_ways.iter().for_each(|way| coverage.add(format!("grouping {way:?}"), 1));
}

fn cover_chains(coverage: &mut Coverage, scenario: &Scenario, chains: &BTreeMap<usize, usize>) {
    for producer in chains.values() {
        let behind_a_spout = *producer < scenario.spouts.len();
        coverage.add(if behind_a_spout { "chained behind a spout" } else { "chained behind a bolt" }, 1);
        coverage.add("a chain of three", u64::from(chains.contains_key(producer)));
    }
    coverage.add("nobody chained", u64::from(chains.is_empty()));
}

/// A panic of the runtime is a finding like any other.
fn caught<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("panicked, see above".to_owned()))
}

fn checked(seed: u64) -> Result<Run, String> {
    caught(|| run(seed)).map_err(|what| format!("seed {seed}:\n  {what}\n  {}", again(seed, "seeds")))
}

/// Runs a seed twice; the two must not differ in a step or in a number.
fn repeats(seed: u64) -> Result<Run, String> {
    let (first, second) = (checked(seed)?, checked(seed)?);
    if first.fingerprint != second.fingerprint || first.stats != second.stats {
        return Err(format!("seed {seed} does not repeat:\n{:#?}\n{:#?}", first.stats, second.stats));
    }
    Ok(first)
}

fn from_environment(key: &str, otherwise: u64) -> u64 {
    let given = std::env::var(key).ok();
    given.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{key}={text} is no number")))
}

/// Runs seeds on all cores by `check`, which says what a run covered; gives up after a handful of
/// failures.
fn run_all(seeds: &[u64], check: impl Fn(u64) -> Result<Coverage, String> + Sync) -> (Coverage, Vec<String>) {
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let results = Mutex::new((Coverage::default(), Vec::new()));
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if enough.load(Ordering::Relaxed) {
                return;
            }
            let result = check(*seed);
            let mut results = lock(&results);
            match result {
                Ok(coverage) => results.0.merge(coverage),
                Err(what) => {
                    eprintln!("{what}");
                    results.1.push(what);
                    enough.store(results.1.len() >= 5, Ordering::Relaxed);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    results.into_inner().expect("no thread panicked")
}

/// The kinds of seeds that are named in `seeds.txt`. All others are of one worker ("alone").
const KINDS_OF_SEEDS: [&str; 4] = ["cluster", "daemons", "exactly_once", "exactly_once_workers"];

/// Seeds of this kind that found something once.
fn known_seeds(kind: &str) -> Vec<u64> {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let of_kind = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let seed = words.next()?.parse().ok()?;
        let of = words.next().filter(|word| KINDS_OF_SEEDS.contains(word)).unwrap_or("alone");
        (of == kind).then_some(seed)
    });
    of_kind.collect()
}

/// Runs the seeds that the environment asks for, and those that found something once. If it asks for
/// none or for many, everything of `sometimes` must have come about.
fn run_seeds(kind: &str, sometimes: &[&str], check: impl Fn(u64) -> Result<Coverage, String> + Sync) {
    run_so_many_seeds(SEEDS, kind, sometimes, check);
}

/// The same, with so many seeds if the environment asks for none.
fn run_so_many_seeds(
    otherwise: u64,
    kind: &str,
    sometimes: &[&str],
    check: impl Fn(u64) -> Result<Coverage, String> + Sync,
) {
    let (first, asked) = (from_environment("SQUALL_SEED", 0), from_environment("SQUALL_SEEDS", 0));
    let count = if asked == 0 { otherwise } else { asked };
    let mut seeds = if count > 1 { known_seeds(kind) } else { Vec::new() };
    seeds.extend(first..first + count);
    let begin = Instant::now();
    let (mut coverage, mut failures) = run_all(&seeds, &check);
    let missing = |coverage: &Coverage| -> Vec<&str> {
        sometimes.iter().copied().filter(|what| !coverage.0.contains_key(*what)).collect()
    };
    while asked == 0 && failures.is_empty() && !missing(&coverage).is_empty() && (seeds.len() as u64) < ENOUGH
    {
        let next = seeds.last().map_or(first, |last| last + 1);
        let more: Vec<u64> = (next..next + MORE).collect();
        let (covered, failed) = run_all(&more, &check);
        coverage.merge(covered);
        failures.extend(failed);
        seeds.extend(more);
    }
    let took = begin.elapsed().as_secs_f64();
    println!("{} {kind} seeds in {took:.1} s, {:.0} per second", seeds.len(), seeds.len() as f64 / took);
    coverage.0.iter().for_each(|(what, times)| println!("{times:>9} {what}"));
    assert!(
        failures.is_empty(),
        "{} of {} seeds failed; the first:\n{}",
        failures.len(),
        seeds.len(),
        failures[0]
    );
    if asked == 0 || asked >= ENOUGH {
        let missing = missing(&coverage);
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

/// The simulation as the module describes it. If it fails, some order of events loses a message,
/// acks it too early, hangs, or does not repeat.
#[test]
fn seeds() {
    run_seeds("alone", SOMETIMES, |seed| {
        let result = if seed % 100 == 0 { repeats(seed) } else { checked(seed) };
        result.map(|run| run.coverage)
    });
}
