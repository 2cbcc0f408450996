//! The same random topologies in several workers, over a network that misbehaves: two phases per
//! seed, faults first, then everything heals and must end.
//!
//! Beside what `main.rs` asks of a run, every kind of fault and every way back must have been hit
//! over all seeds ([`SOMETIMES`]).

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use squall::api::FailureCause;
use squall::ids::WorkerId;
use squall::prelude::*;
use squall::testing::cluster::{ClusterCounts, ClusterOptions, SimulatedCluster};

use crate::kit::HOUR;
use crate::scenario::{Scenario, mixed};
use crate::world::{Coverage, World};
use crate::{again, caught, is_shown, run_seeds};

/// Everything that must have occurred in the seeds of a test run.
const SOMETIMES: &[&str] = &[
    "bad frame: checksum",
    "bandwidth",
    "clogged",
    "connection cut",
    "connection half open",
    "connection refused",
    "delay",
    "duplicate frame dropped",
    "duplication",
    "failure: lost",
    "flip",
    "frame resent",
    "frames lost with a worker",
    "link resumed",
    "link silent",
    "one-way partition",
    "packet lost",
    "packet reordered",
    "partition",
    "replaced: cut off",
    "replaced: silent",
    "replayed because of a loss",
    "several ackers",
    "truncation",
    "worker killed",
    "worker restarted",
    "worker stopped",
    "workers: 2",
    "workers: 3",
    "workers: 4",
];

/// What may go wrong in a run, a random part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Kill,
    KillAll,
    Stop,
    Cut,
    HalfOpen,
    Partition,
    OneWay,
    Clog,
    Slow,
    Delay,
    Loss,
    Reorder,
    Duplicate,
    Flip,
    Truncate,
}

pub const KINDS: [Kind; 15] = [
    Kind::Kill,
    Kind::KillAll,
    Kind::Stop,
    Kind::Cut,
    Kind::HalfOpen,
    Kind::Partition,
    Kind::OneWay,
    Kind::Clog,
    Kind::Slow,
    Kind::Delay,
    Kind::Loss,
    Kind::Reorder,
    Kind::Duplicate,
    Kind::Flip,
    Kind::Truncate,
];

/// What a run came to.
#[derive(Debug)]
struct Run {
    fingerprint: u64,
    acked: u64,
    coverage: Coverage,
}

fn two(workers: &[WorkerId], random: &mut StdRng) -> (WorkerId, WorkerId) {
    let from = random.random_range(0..workers.len());
    let to = (from + random.random_range(1..workers.len())) % workers.len();
    (workers[from], workers[to])
}

/// Something goes wrong. Returns for how long a worker is stopped by it.
pub fn strike(
    cluster: &mut SimulatedCluster,
    kind: Kind,
    random: &mut StdRng,
    coverage: &mut Coverage,
) -> Duration {
    let workers = cluster.workers();
    let (from, to) = two(&workers, random);
    let both = random.random_bool(0.5);
    if is_shown() {
        eprintln!("{:?}: {kind:?} {from} {to} {both}", cluster.now());
    }
    match kind {
        Kind::Kill => {
            cluster.kill(from);
        }
        Kind::KillAll => {
            for worker in workers {
                cluster.kill(worker);
            }
        }
        Kind::Stop => {
            let pause =
                if both { random.random_range(10..1_000) } else { random.random_range(1_000..12_000) };
            cluster.stop(from, Duration::from_millis(pause));
            return Duration::from_millis(pause);
        }
        Kind::Cut => {
            cluster.cut(from, to, false);
        }
        Kind::HalfOpen => {
            cluster.cut(from, to, true);
        }
        Kind::Partition => {
            let blocked = random.random_bool(0.5);
            coverage.add("partition", 1);
            cluster.trouble(from, to).blocked = blocked;
            cluster.trouble(to, from).blocked = blocked;
        }
        Kind::OneWay => {
            let trouble = cluster.trouble(from, to);
            trouble.blocked = !trouble.blocked;
            coverage.add("one-way partition", 1);
        }
        Kind::Clog => {
            let trouble = cluster.trouble(from, to);
            trouble.clogged = !trouble.clogged;
            coverage.add("clogged", 1);
        }
        Kind::Slow => {
            cluster.trouble(from, to).bandwidth = both.then(|| random.random_range(2_000..200_000));
            coverage.add("bandwidth", 1);
        }
        Kind::Delay => {
            cluster.trouble(from, to).delay = Duration::from_millis(random.random_range(0..200));
            coverage.add("delay", 1);
        }
        Kind::Loss => cluster.trouble(from, to).loss = random.random_range(0.0..0.3),
        Kind::Reorder => cluster.trouble(from, to).reorder = random.random_range(0.0..0.3),
        Kind::Duplicate => cluster.trouble(from, to).duplicate = random.random_range(0.0..0.1),
        Kind::Flip => cluster.trouble(from, to).flip = random.random_range(0.0..0.05),
        Kind::Truncate => cluster.trouble(from, to).truncate = random.random_range(0.0..0.05),
    }
    Duration::ZERO
}

fn run(seed: u64) -> Result<Run, String> {
    let mut scenario = Scenario::from_seed(seed);
    let random = &mut StdRng::seed_from_u64(mixed(seed, 3));
    // Inside the workers all goes well in most runs: what is looked for lies between them.
    let quiet = random.random_bool(0.7);
    if quiet {
        scenario.faults = squall::testing::FaultPlan::new();
    }
    let tracked = scenario.delivery == Delivery::AtLeastOnce;
    let world = World::new(seed, tracked, scenario.payload);
    if quiet {
        world.heal();
    }
    let (spouts, bolts, sinks) = (world.clone(), world.clone(), world.clone());
    let mut builder = scenario.builder(
        move |plan| spouts.spout(plan),
        move |plan| bolts.bolt(plan),
        move |dead| sinks.sink(dead),
    );
    if random.random_bool(0.7) {
        builder.options(|options| options.ackers = squall::config::AutoOr::Auto);
    }
    let topology = builder.build().map_err(|errors| format!("not a valid topology: {errors}"))?;
    let workers = random.random_range(2..=4);
    let mut options = ClusterOptions::seeded(random.next_u64(), workers);
    options.faults = scenario.faults.clone();
    options.worker.restart_max = Duration::from_secs(1);
    if random.random_bool(0.5) {
        options.net.link_lost = Duration::from_secs(random.random_range(3..10));
    }
    let mut cluster = SimulatedCluster::start(topology, options);
    let mut coverage = Coverage::default();
    // Who is killed while all are told to close cannot do it again, and who is stopped then may be too
    // late for it.
    let mut struck_at_the_end = false;
    let mut stopped_until = Duration::ZERO;
    if cluster.workers().len() > 1 {
        let kinds: Vec<Kind> = KINDS.into_iter().filter(|_| random.random_bool(0.35)).collect();
        let share = random.random_range(0.05..0.6);
        for _ in 0..scenario.turns {
            let open_at = cluster.now();
            cluster.run_turns(random.random_range(1..150));
            if cluster.is_closing() {
                struck_at_the_end |= stopped_until > open_at;
                break;
            }
            if !kinds.is_empty() && random.random_bool(share) {
                let kind = kinds[random.random_range(0..kinds.len())];
                let pause = strike(&mut cluster, kind, random, &mut coverage);
                let since = cluster.now();
                if !pause.is_zero() {
                    stopped_until = stopped_until.max(since + pause);
                }
                if matches!(kind, Kind::Kill | Kind::KillAll) {
                    cluster.run_turns(20);
                    struck_at_the_end =
                        cluster.is_closing() && cluster.now() - since < Duration::from_millis(10);
                }
            }
        }
    }
    world.heal();
    cluster.heal();
    let result = cluster.run_to_end(HOUR);
    let shown = || eprintln!("{scenario:#?}\n{:?}\n{}", cluster.now(), cluster.state());
    let show = || is_shown().then(shown);
    if result.is_err() {
        show();
    }
    let stats = result.map_err(|error| error.to_string())?;
    let mut wrong = world.verdict(scenario.max_replays.is_some(), |spout| scenario.leaves_of(spout));
    if stats.pending != 0 || (cluster.is_cut_short() && !struck_at_the_end) {
        wrong.push(format!("{} pending, cut short: {}", stats.pending, cluster.is_cut_short()));
    }
    for component in stats.components.iter().filter(|component| component.queued != 0) {
        wrong.push(format!("{} tuples queued for {}", component.queued, component.id));
    }
    if !wrong.is_empty() {
        show();
        return Err(wrong.join("\n  "));
    }
    coverage.merge(world.coverage());
    coverage.add(format!("workers: {}", cluster.workers().len()), 1);
    coverage.add("several ackers", u64::from(scenario.ackers > 1));
    coverage.add("replayed because of a loss", stats.replays.of(FailureCause::Lost));
    cover(&mut coverage, &cluster.counts());
    Ok(Run { fingerprint: cluster.fingerprint(), acked: stats.acked, coverage })
}

pub fn cover(coverage: &mut Coverage, counts: &ClusterCounts) {
    let (network, net) = (&counts.network, &counts.net);
    let noted = [
        ("packet lost", network.losses),
        ("packet reordered", network.reordered),
        ("duplication", network.duplicated),
        ("flip", network.flips),
        ("truncation", network.truncations),
        ("connection cut", network.cuts),
        ("connection half open", network.half_open),
        ("connection refused", network.refused),
        ("written by a dead worker, and late", network.late),
        ("duplicate frame dropped", net.duplicates),
        ("frame resent", net.resent),
        ("frames lost with a worker", net.lost),
        ("link resumed", net.reconnects),
        ("link silent", net.silences),
        ("worker killed", counts.killed),
        ("worker stopped", counts.stopped),
        ("worker restarted", counts.restarted),
    ];
    noted.into_iter().for_each(|(what, times)| coverage.add(what, times));
    net.bad_frames.iter().for_each(|(reason, times)| coverage.add(format!("bad frame: {reason}"), *times));
    net.refused.iter().for_each(|(reason, times)| coverage.add(format!("refused: {reason}"), *times));
    counts.replaced.iter().for_each(|(why, times)| coverage.add(format!("replaced: {why}"), *times));
}

fn checked(seed: u64) -> Result<Run, String> {
    caught(|| run(seed))
        .map_err(|what| format!("cluster seed {seed}:\n  {what}\n  {}", again(seed, "cluster::seeds")))
}

/// Runs a seed twice; the two must not differ in a turn.
fn repeats(seed: u64) -> Result<Run, String> {
    let (first, second) = (checked(seed)?, checked(seed)?);
    if (first.fingerprint, first.acked) != (second.fingerprint, second.acked) {
        return Err(format!("cluster seed {seed} does not repeat"));
    }
    Ok(first)
}

/// Several workers as the module describes it. If it fails, some order of faults loses a message,
/// acks it too early, hangs, or does not repeat.
#[test]
fn seeds() {
    run_seeds("cluster", SOMETIMES, |seed| {
        let result = if seed % 100 == 0 { repeats(seed) } else { checked(seed) };
        result.map(|run| run.coverage)
    });
}
