//! The same rows and stages, again and again: at each interval, with other numbers of tasks, other options, in one
//! process and in several workers. What is published must be the same.

use std::time::Duration;

use squall::testing::cluster::{ClusterOptions, SimulatedCluster};
use squall::testing::{SimulatedTopology, SimulationOptions};

use crate::exactly_once::books::{Books, Kind, Published};
use crate::exactly_once::components::topology;
use crate::exactly_once::plan::{NEVER, Setup};
use crate::exactly_once::show;
use crate::kit::{HOUR, lock};
use crate::world::Coverage;
use crate::{again, caught, run_so_many_seeds};

/// Intervals, and workers; 0 is one process without a master.
const VARIANTS: [(Duration, u16); 6] = [
    (NEVER, 0),
    (Duration::from_millis(10), 0),
    (Duration::from_millis(10), 3),
    (Duration::from_millis(35), 1),
    (NEVER, 2),
    (Duration::from_secs(1), 4),
];

/// Each seed is run once for each variant.
const SEEDS: u64 = 25;

const SOMETIMES: &[&str] = &[
    "event time",
    "event time without late rows",
    "grouping All",
    "grouping Direct",
    "grouping Fields",
    "grouping Global",
    "grouping LocalOrShuffle",
    "grouping None",
    "grouping PartialKey",
    "grouping Shuffle",
    "role Copies",
    "role Distinct",
    "role Hold",
    "role Pass",
    "role Poison",
    "role Rekey",
    "role Wait",
    "state on disk",
    "workers: 0",
    "workers: 1",
    "workers: 2",
    "workers: 3",
    "workers: 4",
    "write-ahead log",
];

/// Runs a topology that nothing happens to. Returns what it published, in order.
fn run(setup: &Setup, workers: u16) -> Result<Vec<Published>, String> {
    let books = Books::of(setup);
    let topology = topology(setup, &books, 1);
    let stats = if workers == 0 {
        let mut running = SimulatedTopology::start(topology, SimulationOptions::seeded(setup.seed));
        running.run_to_end(HOUR * 100)
    } else {
        let mut cluster = SimulatedCluster::start(topology, ClusterOptions::seeded(setup.seed, workers));
        cluster.run_to_end(HOUR * 100)
    };
    let stats = stats.map_err(|error| error.to_string())?;
    let completed = stats.checkpoints.map_or(0, |checkpoints| checkpoints.completed);
    if setup.interval == NEVER && completed > 1 {
        return Err(format!("{completed} checkpoints, though only the last was to be taken"));
    }
    books.verdict(setup)?;
    let mut rows = lock(&books.store).visible.clone();
    // How often rows come late for a window depends on the order in which rows come.
    rows.retain(|row| row.kind != Kind::Due);
    rows.sort_unstable();
    Ok(rows)
}

fn compare(seed: u64) -> Result<Coverage, String> {
    let (drawn, mut coverage, mut first) = (Setup::from_seed(seed), Coverage::default(), None);
    show(&format!("{drawn:#?}"));
    for (number, (interval, workers)) in VARIANTS.into_iter().enumerate() {
        let mut setup = drawn.variant(number as u64);
        (setup.interval, setup.faults) = (interval, 0);
        let rows = run(&setup, workers).map_err(|what| format!("{workers} workers, {setup:?}: {what}"))?;
        // Which row of a key is the n-th depends on the order in which rows come.
        let mut nths: Vec<_> = rows.iter().map(|row| (row.kind, row.key, row.nth)).collect();
        let mut ids: Vec<_> = rows.iter().map(|row| (row.kind, row.key, row.id)).collect();
        nths.sort_unstable();
        ids.sort_unstable();
        if first.get_or_insert_with(|| (nths.clone(), ids.clone())) != &(nths, ids) {
            return Err(format!("{workers} workers, {setup:?}: other rows than with the first variant"));
        }
        coverage.add(format!("workers: {workers}"), 1);
        setup.kinds().into_iter().for_each(|kind| coverage.add(kind, 1));
    }
    Ok(coverage)
}

/// If it fails, the interval of checkpoints, the number of tasks or workers, or an option changes what is published.
#[test]
fn any_layout() {
    let test = "exactly_once::layouts::any_layout";
    run_so_many_seeds(SEEDS, "layouts", SOMETIMES, |seed| {
        caught(|| compare(seed)).map_err(|what| format!("seed {seed}: {what}\n  {}", again(seed, test)))
    });
}
