//! Whole clusters in simulated time: three nimbuses, five hosts, masters and workers, and an operator. The service is the
//! one in memory; nimbuses, leaders, cores of supervisors and of masters are squall's.
//!
//! Topologies take checkpoints, and the operator upgrades them, to bad ones quite often: those are never accepted, no
//! generation is accepted and rolled back, nothing is published of one that is not accepted, and what is published was
//! counted once.
//!
//! Two phases per seed: first faults, then everything heals. Always: no leader writes after its successor has begun, no
//! state leaves `ended`, no number of the catalog is used again, no worker obeys an older master than before or gets an
//! older list of members, a master listens to one process of each worker, a directory has one process, and nobody stops
//! anything while the data of the service are lost. After the healing, within [`SETTLES_IN`]: what is wanted runs, with
//! all workers at one master, nothing else runs, no directory is left, other people's directories are there, and
//! nothing is written any more. Then workers move from hosts that are emptied, and back by a rebalance, which ends none but
//! those that move. At last all masters and supervisors are killed, and that costs no worker.

mod door;
mod hosts;
mod mutants;
mod nimbuses;
mod plan;
mod processes;
mod programs;
mod settled;
mod world;

use std::time::Duration;

use crate::daemons::plan::{Defect, Plan};
use crate::daemons::world::World;
use crate::kit::lock;
use crate::world::Coverage;
use crate::{again, caught, is_shown, run_seeds};

/// Everything that must have occurred in the seeds of a test run.
const SOMETIMES: &[&str] = &[
    "Active was wanted",
    "ClockJump",
    "Cut",
    "DataLost",
    "DiskFull",
    "Drained was wanted",
    "Expired",
    "HostLost",
    "HostsCut",
    "Inactive was wanted",
    "Killed was wanted",
    "Lagging",
    "NimbusEnds",
    "NimbusKilled",
    "NimbusStopped",
    "ProcessKilled",
    "ProcessStopped",
    "ServiceAway",
    "ServiceFull",
    "SupervisorKilled",
    "SupervisorStopped",
    "WriteLost",
    "a child is done",
    "a child is silent",
    "a child is started again",
    "a child leaves",
    "a directory is removed",
    "a leader has begun",
    "a later master",
    "a local record was not saved",
    "a master gives up a worker",
    "a master of another topology is at the address",
    "a nimbus is stopped between two calls",
    "a supervisor adopts",
    "a supervisor died midway",
    "a supervisor sees an end",
    "a checkpoint is published",
    "a checkpoint of an upgrade is published",
    "a master refuses an upgrade",
    "a worker has moved",
    "a worker is adopted",
    "a worker is fenced",
    "a write of a supervisor was refused",
    "an upgrade is accepted",
    "an upgrade to Crashes",
    "an upgrade to Good",
    "an upgrade to NeverOpens",
    "an upgrade to Stops",
    "an upgrade to Unfit",
    "rebalanced",
    "removed",
    "rolled back",
    "submitted",
];

/// By then all must run again.
const SETTLES_IN: Duration = Duration::from_secs(90);
/// For so long nothing may be written then.
const QUIET: Duration = Duration::from_secs(25);

/// Runs a seed. An error says what was wrong.
pub fn run(plan: &Plan, defect: Option<Defect>) -> Result<Coverage, String> {
    if is_shown() {
        eprintln!("{plan:#?}");
    }
    let mut world = World::new(plan.clone(), defect);
    world.warm_up();
    world.run_for(plan.span);
    world.verdict()?;
    world.heal();
    world.settle(SETTLES_IN)?;
    world.survives_rebalances(SETTLES_IN)?;
    world.stays_quiet(QUIET)?;
    world.survives_masters_and_supervisors(SETTLES_IN)?;
    let coverage = std::mem::take(&mut lock(&world.books).coverage);
    Ok(coverage)
}

fn checked(seed: u64) -> Result<Coverage, String> {
    let found = caught(|| run(&Plan::from_seed(seed), None));
    found.map_err(|what| format!("seed {seed}:\n  {what}\n  {}", again(seed, "daemons::seeds")))
}

/// The simulation as the module describes it.
#[test]
fn seeds() {
    run_seeds("daemons", SOMETIMES, checked);
}
