//! Defects that are planted in squall and in a sink: the seeds must find each of them, or they prove nothing.

use std::time::Duration;

use squall::testing::FaultPlan;

use crate::caught;
use crate::exactly_once::arranged::Arranged;
use crate::exactly_once::plan::{Fence, NEVER, Setup};
use crate::exactly_once::run;

/// So many seeds are looked at, and tried if they are fit.
const SEEDS: u64 = 500;

/// Runs the seeds that are fit for a defect until one finds it, which passes without the defect.
///
/// # Panics
/// When none finds it: the defect survives.
fn is_found(defect: &FaultPlan, fit: impl Fn(&Setup) -> bool, change: impl Fn(&mut Setup)) {
    let mut tried = 0;
    for seed in 0..SEEDS {
        let mut setup = Setup::from_seed(seed);
        if !fit(&setup) {
            continue;
        }
        tried += 1;
        let sound = setup.clone();
        change(&mut setup);
        let Err(what) = caught(|| run(&setup, defect)) else { continue };
        println!("found by seed {seed}, the {tried}. that was tried: {}", what.lines().next().unwrap_or(""));
        let passed = caught(|| run(&sound, &FaultPlan::new()));
        assert!(passed.is_ok(), "seed {seed} fails without the defect, too: {passed:?}");
        return;
    }
    panic!("none of {tried} seeds finds it");
}

fn has_two_inputs(setup: &Setup) -> bool {
    setup.shape.stages.iter().any(|stage| stage.inputs.len() > 1)
}

fn is_restored(setup: &Setup) -> bool {
    setup.kills > 0 && setup.interval <= Duration::from_millis(20) && setup.shape.rows > 50
}

fn has_zombies(setup: &Setup) -> bool {
    Arranged::of(setup.seed) == Arranged::Zombie && setup.interval != NEVER
}

/// A bolt whose barrier goes on when it has come over the first of its links: its snapshot lacks what the other links
/// bring before theirs, and that is lost with the first restore.
#[test]
fn a_barrier_that_is_passed_on_early_is_found() {
    let defect = FaultPlan::new().pass_barriers_early();
    is_found(&defect, |setup| has_two_inputs(setup) && is_restored(setup), |_| {});
}

/// What goes round in a cycle when a checkpoint is taken, and is not part of it.
#[test]
fn what_goes_round_and_is_forgotten_is_found() {
    let defect = FaultPlan::new().forget_in_flight();
    let fit = |setup: &Setup| {
        let is_restored = setup.kills > 0 && setup.interval <= Duration::from_millis(20);
        setup.shape.has_cycle() && is_restored && setup.alignment_timeout.is_none()
    };
    is_found(&defect, fit, |_| {});
}

/// A batch that was held during an alignment and is then left out.
#[test]
fn a_held_batch_that_is_skipped_is_found() {
    let defect = FaultPlan::new().skip_held_batch();
    is_found(&defect, |setup| has_two_inputs(setup) && setup.interval != NEVER, |_| {});
}

/// A commit before the manifest is durable: if that is never published, the rows come again.
#[test]
fn a_commit_before_the_checkpoint_is_durable_is_found() {
    let defect = FaultPlan::new().commit_before_durable();
    is_found(&defect, is_restored, |_| {});
}

/// A start that was replaced and publishes checkpoints all the same: its sinks commit, and so do those of the start
/// that has replaced it.
#[test]
fn a_store_that_forgets_its_fence_is_found() {
    let defect = FaultPlan::new().forget_fence();
    is_found(&defect, |setup| setup.fence == Fence::Name && has_zombies(setup), |_| {});
}

/// The same with a store of rows that takes transactions of whoever comes.
#[test]
fn a_sink_that_forgets_its_fence_is_found() {
    let fit = |setup: &Setup| setup.fence == Fence::Owner && has_zombies(setup);
    is_found(&FaultPlan::new(), fit, |setup| setup.fence = Fence::Forgotten);
}

/// A start that goes on from the checkpoint before the latest, whose rows were published.
#[test]
fn a_stale_manifest_that_is_restored_is_found() {
    let defect = FaultPlan::new().restore_stale_manifest();
    is_found(&defect, |setup| is_restored(setup) && setup.retain > 1, |_| {});
}

/// A bolt that begins without a watermark after a restore. Until one comes, nothing is late for it and nothing expires.
#[test]
fn a_watermark_that_is_forgotten_at_a_restore_is_found() {
    let defect = FaultPlan::new().forget_watermarks();
    is_found(&defect, |setup| setup.shape.windows && is_restored(setup), |_| {});
}

fn has_log(setup: &Setup) -> bool {
    setup.shape.logged.is_some() && setup.kills > 0 && setup.interval != NEVER
}

/// A log that is truncated when a checkpoint begins: if that is never complete, the rows before it are gone.
#[test]
fn a_log_that_is_truncated_before_the_checkpoint_is_complete_is_found() {
    let defect = FaultPlan::new().truncate_logs_early();
    is_found(&defect, has_log, |_| {});
}

/// A queue is told that a row is kept before it is in the log: a crash in between loses it.
#[test]
fn a_row_that_is_acknowledged_before_it_is_logged_is_found() {
    let defect = FaultPlan::new().acknowledge_before_logged();
    is_found(&defect, has_log, |_| {});
}

fn is_on_disk(setup: &Setup) -> bool {
    setup.on_disk && setup.interval <= Duration::from_millis(20) && setup.shape.rows > 50
}

/// Keys that leave memory between two checkpoints, and whose changes the second does not have.
#[test]
fn changes_on_disk_that_are_forgotten_are_found() {
    let defect = FaultPlan::new().forget_changes_on_disk();
    is_found(&defect, |setup| is_on_disk(setup) && setup.kills > 0, |_| {});
}

/// A task that goes back, and finds on its disk what it had kept after the checkpoint.
#[test]
fn state_on_disk_that_outlives_a_recovery_is_found() {
    let defect = FaultPlan::new().keep_state_on_disk();
    is_found(&defect, is_on_disk, |_| {});
}
