//! The topologies of `exactly_once` in several workers, over a network that misbehaves, with workers that are killed and
//! stopped, and with masters that are killed with all of their workers and followed by another.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use squall::checkpoint::MemoryStorage;
use squall::testing::cluster::{ClusterOptions, SimulatedCluster};

use crate::cluster::{KINDS, Kind, cover, strike};
use crate::exactly_once::{Chaos, Setup, Store, check, is_stopped, note, topology};
use crate::kit::{HOUR, lock};
use crate::scenario::mixed;
use crate::world::Coverage;
use crate::{again, caught, is_shown, run_seeds};

/// Everything that must have happened over all seeds.
const SOMETIMES: &[&str] = &[
    "bad frame: checksum",
    "checkpoint completed",
    "checkpoint given up",
    "connection cut",
    "connection half open",
    "continued from a checkpoint",
    "deactivated",
    "duplicate frame dropped",
    "frame resent",
    "frames lost with a worker",
    "master killed",
    "one-way partition",
    "partition",
    "replaced: cut off",
    "replaced: silent",
    "several checkpoints completed",
    "stopped with a savepoint",
    "storage failed",
    "went back",
    "worker killed",
    "worker stopped",
    "workers: 2",
    "workers: 3",
    "workers: 4",
];

fn run(seed: u64) -> Result<Coverage, String> {
    let random = &mut StdRng::seed_from_u64(mixed(seed, 11));
    let mut setup = Setup::from_seed(seed);
    if random.random_bool(0.6) {
        // Inside the workers all goes well in most runs: what is looked for lies between them.
        setup.faults = 0;
    }
    let kinds: Vec<Kind> = KINDS.into_iter().filter(|_| random.random_bool(0.35)).collect();
    let (workers, turns) = (random.random_range(2..=4), random.random_range(5..60));
    let link_lost = Duration::from_secs(random.random_range(3..10));
    let (storage, store) = (MemoryStorage::seeded(seed), Arc::new(Mutex::new(Store::default())));
    let (chaos, mut coverage) = (Chaos::of(&setup), Coverage::default());
    let show = |text: &str| {
        if is_shown() {
            eprintln!("{text}");
        }
    };
    show(&format!("{setup:?}, {workers} workers, {kinds:?}"));
    let savepoints = tempfile::tempdir().expect("there is room");
    let mut masters = (0..=setup.kills).rev();
    let mut next = masters.next();
    while let Some(master) = next {
        let mut options = ClusterOptions::seeded(random.next_u64(), workers);
        options.checkpoints = storage.clone();
        options.worker.restart_max = Duration::from_secs(1);
        options.net.link_lost = link_lost;
        let mut cluster = SimulatedCluster::start(topology(&setup, &chaos, &store), options);
        coverage.add(format!("workers: {}", cluster.workers().len()), 1);
        for _ in 0..turns {
            cluster.run_turns(random.random_range(1..300));
            if cluster.has_ended() {
                break;
            }
            if setup.storage_fails && random.random_bool(0.05) {
                show(&format!("{:?}: the storage fails", cluster.now()));
                storage.fail_operation(random.random_range(1..=5), std::io::ErrorKind::StorageFull);
                coverage.add("storage failed", 1);
            }
            match random.random_range(0..100) {
                0 | 1 => {
                    show(&format!("{:?}: deactivated", cluster.now()));
                    cluster.deactivate();
                    coverage.add("deactivated", 1);
                }
                2..10 => cluster.activate(),
                _ => {}
            }
            if random.random_bool(0.01) {
                let (stops, name) = (random.random_bool(0.5), cluster.now().as_nanos().to_string());
                show(&format!("{:?}: a savepoint, {stops}", cluster.now()));
                cluster.ask_for_savepoint(savepoints.path().join(format!("{master}-{name}")), stops);
            }
            if cluster.workers().len() > 1 && !kinds.is_empty() && random.random_bool(0.3) {
                let kind = kinds[random.random_range(0..kinds.len())];
                strike(&mut cluster, kind, random, &mut coverage);
            }
        }
        if master == 0 {
            cluster.heal();
            cluster.activate();
            storage.heal();
            let ended = cluster.run_to_end(HOUR);
            if let Err(error) = &ended {
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
            if is_stopped(&stats) {
                // Another master continues it.
                coverage.add("stopped with a savepoint", 1);
                drop(cluster);
                storage.crash();
                storage.heal();
                continue;
            }
            break;
        }
        next = masters.next();
        coverage.add("master killed", 1);
        show(&format!("{:?}: killed, {:?}", cluster.now(), stats.checkpoints));
        drop(cluster);
        if random.random_bool(0.5) {
            // The whole machine: what its disk had not synced is lost.
            storage.crash();
        }
        storage.heal();
    }
    check(&setup, &lock(&store));
    coverage.merge(chaos.happened());
    Ok(coverage)
}

/// If it fails, a crash of a worker or a master, or a fault of the network, loses rows or publishes some twice.
#[test]
fn seeds() {
    run_seeds("exactly_once_workers", SOMETIMES, |seed| {
        caught(|| run(seed))
            .map_err(|what| format!("seed {seed}: {what}\n  {}", again(seed, "exactly_once_workers::seeds")))
    });
}
