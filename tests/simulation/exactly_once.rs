//! Topologies that are exactly-once, with faults: what their sinks publish equals the reference, whatever was killed.
//!
//! [`plan`] draws a topology and computes what comes of it. Tasks panic, are crashed from outside, fail calls, hold
//! tuples over checkpoints, and lose their checkpoints to a disk that fails, is full or away. The process is killed,
//! with what its disk had not synced, and another continues, with other numbers of tasks. Or it is only believed to be
//! dead, and goes on beside the one that has replaced it (a *zombie*).
//!
//! Afterwards, in what is visible and in files:
//!
//! 1. each key has the counts from 1 to the number of its rows, each once, and the ids of the reference;
//! 2. the list of each account has the same, and at each checkpoint that was committed, accounts add up to 0;
//! 3. each row that cannot be processed is a dead letter once;
//! 4. nothing that was pre-committed is left.
//!
//! 5. the windows of event time have the rows of the reference, each timer is called once, and no watermark goes back;
//! 6. what a queue was told to be kept is in the write-ahead log, and each row of it counts once.
//!
//! One kind of fault is arranged in each seed ([`Arranged`]): it is tried until it has occurred. So all occur in the
//! first seeds, and [`SOMETIMES`] is no matter of luck.

pub mod arranged;
pub mod books;
pub mod components;
mod layouts;
mod mutants;
pub mod plan;
mod queue;
mod windows;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::checkpoint::{CheckpointStorage, MemoryStorage};
use squall::runtime::TopologyStats;
use squall::testing::{FaultPlan, SimulatedTopology, SimulationOptions};

use crate::kit::lock;
use crate::world::Coverage;
use crate::{again, caught, is_shown, run_seeds};
use arranged::Arranged;
use books::Books;
use components::topology;
use plan::{NEVER, Setup};

/// Everything that must have happened over all seeds, in one process or in several workers.
pub const SOMETIMES: &[&str] = &[
    "a cycle",
    "a cycle with another layout",
    "back and forth",
    "back to another stage",
    "back to itself",
    "barriers overtake after 0ns",
    "barriers overtake after 3ms",
    "barriers wait for their turn",
    "checkpoint completed",
    "checkpoint given up",
    "checkpoints at once: 1",
    "checkpoints at once: 2",
    "checkpoints at once: 3",
    "ack of a queue",
    "chained",
    "commit",
    "commit, after it",
    "committed",
    "continued from a checkpoint",
    "continued with another layout",
    "disk: append failed",
    "disk: bit flipped",
    "disk: disk full",
    "disk: publish failed",
    "disk: published all the same",
    "disk: read failed",
    "disk: seal failed",
    "disk: write cut",
    "disk: write kept",
    "disk: write lost",
    "event time",
    "event time of a stage",
    "event time without late rows",
    "event timer",
    "event timer before the end of time",
    "execute",
    "execute of a bolt with state",
    "expired in event time",
    "fence by Name",
    "fence by Owner",
    "files",
    "finish",
    "flush",
    "grouping All",
    "grouping Direct",
    "grouping Fields",
    "grouping Global",
    "grouping LocalOrShuffle",
    "grouping None",
    "grouping PartialKey",
    "grouping Shuffle",
    "interval: 10ms",
    "interval: 20ms",
    "interval: 90ms",
    "interval: never",
    "kilobytes of state on disk",
    "late row",
    "log truncated",
    "log: append failed",
    "log: bit flipped",
    "log: delete failed",
    "log: disk full",
    "log: read failed",
    "log: seal failed",
    "log: write cut",
    "log: write kept",
    "log: write lost",
    "machine crashed",
    "money conserved",
    "next_tuple",
    "next_tuple of a queue",
    "one spout",
    "open",
    "pre_commit",
    "pre_commit of a sink",
    "pre_commit of a sink, after it",
    "prepare of a sink",
    "process killed",
    "restore of a spout",
    "role Copies",
    "role Distinct",
    "role Hold",
    "role Pass",
    "role Poison",
    "role Rekey",
    "role Wait",
    "rows come again of the log",
    "rows lost with a process that had not logged them",
    "several checkpoints completed",
    "snapshot of a spout",
    "splits may be idle",
    "state on disk",
    "state on disk: disk full",
    "state on disk: read failed",
    "state on disk: write failed",
    "state that expires",
    "stopped with a savepoint",
    "tick",
    "timer",
    "transfers",
    "two inputs",
    "two spouts",
    "watermark restored",
    "went back",
    "write",
    "write-ahead log",
    "zombie refused by the store",
    "zombie stopped",
];

/// What only happens in one process.
const SOMETIMES_ALONE: &[&str] =
    &["crashed from outside", "deactivated", "stalled", "task crashed at a batch"];

/// Shows what happens, if it is wanted.
pub fn show(text: &str) {
    if is_shown() {
        eprintln!("{text}");
    }
}

/// Starts that were replaced, and go on all the same.
#[derive(Default)]
struct Zombies(Vec<(SimulatedTopology, u32)>);

impl Zombies {
    /// Each goes on for a while, until it has ended or has had enough turns.
    fn go_on(&mut self, random: &mut StdRng, coverage: &mut Coverage) {
        self.0.retain_mut(|(zombie, turns)| {
            zombie.run_steps(random.random_range(1..60));
            zombie.advance(Duration::from_millis(random.random_range(0..8)));
            *turns -= 1;
            if zombie.stats().stopped.is_some() {
                coverage.add("zombie stopped", 1);
            }
            *turns > 0 && !zombie.has_ended()
        });
    }
}

/// Runs a topology to its end, over all its processes, with these defects of squall. Returns what happened.
fn run(setup: &Setup, defects: &FaultPlan) -> Result<Coverage, String> {
    let mut setup = setup.clone();
    let random = &mut StdRng::seed_from_u64(!setup.seed);
    let (books, storage) = (Books::of(&setup), MemoryStorage::seeded(setup.seed));
    let (mut coverage, mut kills, mut zombies) = (Coverage::default(), setup.kills, Zombies::default());
    let arranged = Arranged::of(setup.seed);
    if matches!(arranged, Arranged::Zombie) {
        // Files are fenced by a lock on the directory, which is not there in memory.
        setup.files = false;
        kills = kills.max(1);
    }
    let crash_share = if setup.interval == NEVER || random.random_bool(0.7) { 0.0 } else { 0.01 };
    let (mut crashes, mut stops) = (setup.crashes, u32::from(arranged == Arranged::Stops));
    let savepoints = tempfile::tempdir().expect("there is room");
    setup.kinds().into_iter().for_each(|kind| coverage.add(kind, 1));
    show(&format!("{setup:#?}, {arranged:?}"));
    for start in 1.. {
        if start > 1 && setup.rescales {
            setup.rescale(random);
            coverage.add("continued with another layout", 1);
        }
        let faults = defects.clone().crash_tasks(crash_share).heal_after(60);
        let options =
            SimulationOptions::seeded(setup.seed ^ start).checkpoints(storage.clone()).faults(faults);
        let mut running = SimulatedTopology::start(topology(&setup, &books, start), options);
        let lifetime = random.random_range(1..25);
        let mut asked = false;
        for turn in 0.. {
            running.run_steps(random.random_range(1..40));
            running.advance(Duration::from_millis(random.random_range(0..8)));
            zombies.go_on(random, &mut coverage);
            if running.has_ended() || turn > 20_000 || (turn > lifetime && kills > 0) {
                break;
            }
            match random.random_range(0..80) {
                0 | 1 if crashes > 0 => {
                    crashes -= 1;
                    let component = ["rows", "stage-0", "count", "sink"][random.random_range(0..4)];
                    show(&format!("{:?}: crash {component}", running.now()));
                    running.crash(component);
                    coverage.add("crashed from outside", 1);
                }
                2 => {
                    running.deactivate();
                    coverage.add("deactivated", 1);
                }
                3 => {
                    running.stall("count", Duration::from_millis(40));
                    coverage.add("stalled", 1);
                }
                4..8 => {
                    show(&format!("{:?}: {arranged:?}", running.now()));
                    arranged.prepare(&storage, random);
                }
                8 => storage.heal(),
                9 | 10 if !asked => {
                    let ends = stops > 0 || random.random_bool(0.2);
                    stops = 0;
                    show(&format!("{:?}: a savepoint, {ends}", running.now()));
                    running.ask_for_savepoint(savepoints.path().join(start.to_string()), ends);
                    asked = true;
                }
                11..20 => running.activate(),
                _ => {}
            }
        }
        coverage.add("task crashed at a batch", running.fault_counts().tasks_crashed);
        let stats = running.stats();
        note(&stats, &mut coverage);
        if running.has_ended() {
            show(&format!("{:?}: ended, {:?}", running.now(), stats.checkpoints));
            if stats.cut_short || stats.stopped.is_some() || stats.failed_unanchored > 0 {
                return Err(format!("{:?}, {} given up", stats.stopped, stats.failed_unanchored));
            }
            if !is_stopped(&stats) {
                break;
            }
            // It is continued, as if the process had been killed after everything was done.
            coverage.add("stopped with a savepoint", 1);
        } else if kills > 0 {
            kills -= 1;
            coverage.add("process killed", 1);
            coverage.add("rows come again of the log", books.only_in_log() as u64);
            show(&format!("{:?}: killed, {:?}", running.now(), stats.checkpoints));
        } else {
            return Err(format!("it does not come to its end: {stats:?}"));
        }
        storage.heal();
        if arranged == Arranged::Zombie && !running.has_ended() {
            show("it goes on");
            zombies.0.push((running, random.random_range(10..60)));
        } else {
            drop(running);
            // A process that is replaced by a zombie's successor shares its machine with it.
            if zombies.0.is_empty() && random.random_bool(0.7) {
                storage.crash();
                coverage.add("machine crashed", 1);
            }
        }
    }
    finish(&setup, &books, &storage, &mut coverage)?;
    Ok(coverage)
}

/// What is looked at when a run has come to its end.
pub fn finish(
    setup: &Setup,
    books: &Books,
    storage: &MemoryStorage,
    coverage: &mut Coverage,
) -> Result<(), String> {
    books.verdict(setup)?;
    coverage.merge(books.chaos.happened());
    coverage.add("money conserved", lock(&books.ledger).checked);
    coverage.add("zombie refused by the store", lock(&books.store).refused);
    coverage.add("rows lost with a process that had not logged them", books.lost_before_log() as u64);
    for (fault, times) in storage.faults() {
        coverage.add(format!("disk: {fault}"), times);
    }
    for name in storage.logs() {
        let mut log = storage.log(&name);
        for (fault, times) in log.faults() {
            coverage.add(format!("log: {fault}"), times);
        }
        let segments = log.list().map_err(|error| error.to_string())?;
        // The first segment has the number 0.
        let has_first = segments.iter().any(|segment| segment.starts_with("segment-00000000-"));
        coverage.add("log truncated", u64::from(!has_first));
    }
    let disk = storage.state_disk();
    coverage.add("kilobytes of state on disk", disk.written() >> 10);
    for (fault, times) in disk.faults() {
        coverage.add(format!("state on disk: {fault}"), times);
    }
    Ok(())
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

/// If it fails, a crash loses rows or publishes some twice.
#[test]
fn seeds() {
    let sometimes = [SOMETIMES, SOMETIMES_ALONE].concat();
    run_seeds("exactly_once", &sometimes, |seed| {
        caught(|| run(&Setup::from_seed(seed), &FaultPlan::new()))
            .map_err(|what| format!("seed {seed}: {what}\n  {}", again(seed, "exactly_once::seeds")))
    });
}
