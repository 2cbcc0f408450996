//! Defects that are planted in what the daemons and processes of a cluster do: the seeds must find each of them, or they
//! prove nothing.

use crate::caught;
use crate::daemons::plan::{Defect, Fault, Plan};
use crate::daemons::run;

/// So many seeds are tried.
const SEEDS: u64 = 150;

/// Runs seeds with these faults, or with those that they draw, until one finds a defect, which passes without it.
///
/// # Panics
/// When none finds it: the defect survives.
fn is_found(defect: Defect, faults: &[Fault]) {
    is_found_from(0, defect, faults);
}

/// The same, from this seed on: few seeds draw what shows such a defect, and with 150 before them it would take minutes.
fn is_found_from(first: u64, defect: Defect, faults: &[Fault]) {
    for seed in first..first + SEEDS {
        let plan = match faults.is_empty() {
            true => Plan::from_seed(seed),
            false => Plan::with_faults(seed, faults),
        };
        let Err(what) = caught(|| run(&plan, Some(defect))) else { continue };
        println!("{defect:?} is found by seed {seed}: {what}");
        let passed = caught(|| run(&plan, None));
        assert!(passed.is_ok(), "seed {seed} fails without the defect, too: {passed:?}");
        return;
    }
    panic!("none of {SEEDS} seeds from {first} on finds {defect:?}");
}

/// A leader that writes assignments whatever version they have: one that was stopped undoes what its successor did.
#[test]
fn a_leader_that_writes_whatever_version_is_there_is_found() {
    is_found_from(100, Defect::WriteWithoutVersion, &[Fault::NimbusStopped, Fault::HostLost]);
}

/// A leader that begins without writing everything once: what its predecessor had read, that one still writes.
#[test]
fn a_leader_that_does_not_write_everything_once_is_found() {
    is_found_from(750, Defect::NoFirstWrites, &[Fault::NimbusStopped, Fault::HostLost]);
}

/// A supervisor that forgets its children when it is started again: those that left meanwhile run for ever.
#[test]
fn a_supervisor_without_a_local_record_is_found() {
    is_found(Defect::NoLocalRecord, &[Fault::SupervisorKilled, Fault::HostLost]);
}

/// Processes that do not take their directories, and supervisors that do not look who has one.
#[test]
fn a_directory_that_nobody_takes_is_found() {
    is_found(Defect::NoOccupancy, &[Fault::SupervisorKilled]);
}

/// A master that is started though its epoch was not written: two have the same one.
#[test]
fn a_master_without_a_claim_is_found() {
    is_found_from(200, Defect::NoClaim, &[]);
}

/// A supervisor that believes a wiped service that nothing is assigned to it.
#[test]
fn a_supervisor_that_believes_lost_data_is_found() {
    is_found(Defect::BelievesLostData, &[Fault::DataLost]);
}

/// A master that begins as if it were the first: it adopts nobody, and all workers are started again.
#[test]
fn a_master_that_adopts_nobody_is_found() {
    is_found(Defect::NoEpoch, &[Fault::ProcessKilled]);
}

/// A supervisor that does not notice that something is not assigned to it any more.
#[test]
fn a_supervisor_that_leaves_orphans_is_found() {
    is_found(Defect::LeavesOrphans, &[Fault::HostLost]);
}

/// A supervisor that publishes nothing of what its masters report.
#[test]
fn a_supervisor_that_reports_nothing_is_found() {
    is_found(Defect::NoReports, &[Fault::ProcessKilled]);
}

/// A worker that its master does not know any more, and that goes on all the same.
#[test]
fn a_worker_that_ignores_its_fence_is_found() {
    is_found(Defect::IgnoresFence, &[Fault::ProcessStopped, Fault::HostsCut]);
}

/// A master that publishes a checkpoint of an upgrade before that is accepted: it may be rolled back afterwards.
#[test]
fn a_master_that_publishes_on_trial_is_found() {
    is_found(Defect::PublishesOnTrial, &[]);
}

/// A master for which the failure of an upgrade is the end of the topology.
#[test]
fn a_master_that_ends_a_topology_on_trial_is_found() {
    is_found(Defect::EndsOnTrial, &[]);
}
