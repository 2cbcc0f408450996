//! The topologies of `exactly_once` in several workers, over a network that misbehaves, with workers that are killed and
//! stopped, and with masters that are killed with all of their workers and followed by another. Or a master is only
//! believed to be dead, and goes on with its workers beside the one that has replaced it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use squall::checkpoint::MemoryStorage;
use squall::testing::cluster::{ClusterOptions, SimulatedCluster};

use crate::cluster::{KINDS, Kind, cover, strike};
use crate::exactly_once::arranged::Arranged;
use crate::exactly_once::books::Books;
use crate::exactly_once::components::topology;
use crate::exactly_once::plan::Setup;
use crate::exactly_once::{SOMETIMES, finish, is_stopped, note, show};
use crate::kit::HOUR;
use crate::scenario::mixed;
use crate::world::Coverage;
use crate::{again, caught, run_seeds};

/// What only happens in several workers.
const SOMETIMES_IN_WORKERS: &[&str] = &[
    "bad frame: checksum",
    "bandwidth",
    "clogged",
    "connection cut",
    "connection half open",
    "connection refused",
    "deactivated",
    "delay",
    "duplicate frame dropped",
    "duplication",
    "flip",
    "frame resent",
    "frames lost with a worker",
    "link resumed",
    "link silent",
    "master killed",
    "one-way partition",
    "packet lost",
    "packet reordered",
    "partition",
    "replaced: cut off",
    "replaced: silent",
    "truncation",
    "worker killed",
    "worker restarted",
    "worker stopped",
    "workers: 1",
    "workers: 2",
    "workers: 3",
    "workers: 4",
    "written by a dead worker, and late",
];

/// A master that was replaced, and its workers go on for so many turns.
type Zombie = (SimulatedCluster, u32);

fn go_on(zombies: &mut Vec<Zombie>, random: &mut StdRng, coverage: &mut Coverage) {
    zombies.retain_mut(|(zombie, turns)| {
        zombie.run_turns(random.random_range(1..200));
        *turns -= 1;
        let is_over = zombie.failure().is_some() || zombie.stopped().is_some();
        coverage.add("zombie stopped", u64::from(is_over));
        *turns > 0 && !is_over && !zombie.has_ended()
    });
}

fn run(seed: u64) -> Result<Coverage, String> {
    let random = &mut StdRng::seed_from_u64(mixed(seed, 11));
    let mut setup = Setup::from_seed(seed);
    if random.random_bool(0.6) {
        // Inside the workers all goes well in most runs: what is looked for lies between them.
        setup.faults = 0;
    }
    let arranged = Arranged::of(seed);
    if arranged == Arranged::Zombie {
        // Files are fenced by a lock on the directory, which is not there in memory.
        setup.files = false;
        setup.kills = setup.kills.max(1);
    }
    let kinds: Vec<Kind> = KINDS.into_iter().filter(|_| random.random_bool(0.35)).collect();
    let turns = random.random_range(5..60);
    let link_lost = Duration::from_secs(random.random_range(3..10));
    let (storage, books) = (MemoryStorage::seeded(seed), Books::of(&setup));
    let (mut coverage, mut zombies) = (Coverage::default(), Vec::<Zombie>::new());
    setup.kinds().into_iter().for_each(|kind| coverage.add(kind, 1));
    show(&format!("{setup:#?}, {kinds:?}, {arranged:?}"));
    let savepoints = tempfile::tempdir().expect("there is room");
    let (mut kills, mut stops) = (setup.kills, u32::from(arranged == Arranged::Stops));
    for start in 1.. {
        if start > 1 && setup.rescales {
            setup.rescale(random);
            coverage.add("continued with another layout", 1);
        }
        let mut options = ClusterOptions::seeded(random.next_u64(), random.random_range(1..=4));
        options.checkpoints = storage.clone();
        options.worker.restart_max = Duration::from_secs(1);
        options.net.link_lost = link_lost;
        let mut cluster = SimulatedCluster::start(topology(&setup, &books, start), options);
        coverage.add(format!("workers: {}", cluster.workers().len()), 1);
        for _ in 0..turns {
            cluster.run_turns(random.random_range(1..300));
            go_on(&mut zombies, random, &mut coverage);
            if cluster.has_ended() {
                break;
            }
            match random.random_range(0..100) {
                0 | 1 => {
                    show(&format!("{:?}: deactivated", cluster.now()));
                    cluster.deactivate();
                    coverage.add("deactivated", 1);
                }
                2..10 => cluster.activate(),
                10..18 => {
                    show(&format!("{:?}: {arranged:?}", cluster.now()));
                    arranged.prepare(&storage, random);
                }
                18 | 19 => storage.heal(),
                20 | 21 => {
                    let ends = stops > 0 || random.random_bool(0.3);
                    let name = format!("{start}-{}", cluster.now().as_nanos());
                    stops = 0;
                    show(&format!("{:?}: a savepoint, {ends}", cluster.now()));
                    cluster.ask_for_savepoint(savepoints.path().join(name), ends);
                }
                _ => {}
            }
            if cluster.workers().len() > 1 && !kinds.is_empty() && random.random_bool(0.3) {
                let kind = kinds[random.random_range(0..kinds.len())];
                strike(&mut cluster, kind, random, &mut coverage);
            }
        }
        if kills == 0 {
            cluster.heal();
            cluster.activate();
            storage.heal();
            if let Err(error) = cluster.run_to_end(HOUR) {
                show(&cluster.state());
                return Err(format!("{error}, {:?}", cluster.failure()));
            }
        }
        let stats = cluster.stats();
        note(&stats, &mut coverage);
        cover(&mut coverage, &cluster.counts());
        if let Some(failure) = cluster.failure() {
            return Err(format!("the run was given up: {failure}"));
        }
        if cluster.has_ended() {
            show(&format!("{:?}: ended, {:?}", cluster.now(), stats.checkpoints));
            if stats.failed_unanchored > 0 || stats.lost > 0 || stats.stopped.is_some() {
                return Err(format!("{stats:?}"));
            }
            if !is_stopped(&stats) {
                break;
            }
            // Another master continues it.
            coverage.add("stopped with a savepoint", 1);
        } else {
            kills -= 1;
            coverage.add("master killed", 1);
            coverage.add("process killed", 1);
            coverage.add("rows come again of the log", books.only_in_log() as u64);
            show(&format!("{:?}: killed, {:?}", cluster.now(), stats.checkpoints));
        }
        storage.heal();
        if arranged == Arranged::Zombie && !cluster.has_ended() {
            show("it goes on");
            zombies.push((cluster, random.random_range(10..60)));
        } else {
            drop(cluster);
            // Others of its workers live on, on the same machine, where a zombie does.
            if zombies.is_empty() && random.random_bool(0.5) {
                // The whole machine: what its disk had not synced is lost.
                storage.crash();
                coverage.add("machine crashed", 1);
            }
        }
    }
    finish(&setup, &books, &storage, &mut coverage)?;
    Ok(coverage)
}

/// If it fails, a crash of a worker or a master, or a fault of the network, loses rows or publishes some twice.
#[test]
fn seeds() {
    let sometimes = [SOMETIMES, SOMETIMES_IN_WORKERS].concat();
    run_seeds("exactly_once_workers", &sometimes, |seed| {
        caught(|| run(seed))
            .map_err(|what| format!("seed {seed}: {what}\n  {}", again(seed, "exactly_once_workers::seeds")))
    });
}
