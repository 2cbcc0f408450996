//! Which workers read from sources that cannot be read again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::api::{Check, STANDARD_INPUT};
use crate::cluster::master::counts::Sources;
use crate::ids::WorkerId;
use crate::topology::assignment::Assignment;
use crate::topology::graph::{Component, Constructor, Topology};
use crate::topology::plan::{Part, Plan};

/// Where the spouts of each worker read. `has_stdin`: whether workers are given standard input.
pub fn sources(
    topology: &Topology,
    plan: &Plan,
    assignment: &Assignment,
    workers: u16,
    has_stdin: bool,
) -> Vec<Sources> {
    let reads_stdin = |component: &Component| has_stdin && claims_stdin(component);
    let mut once = vec![false; usize::from(workers)];
    for (at, _) in topology.components().iter().enumerate().filter(|(_, component)| reads_stdin(component)) {
        for executor in plan.executors_of(Part::Component(at)) {
            once[assignment.worker_of(executor.id).index()] = true;
        }
    }
    let sources = |(worker, reads_once): (u16, bool)| match reads_once {
        true => Sources::ReadOnce,
        false if assignment.has_spouts(topology, plan, WorkerId(worker)) => Sources::ReadAgain,
        false => Sources::None,
    };
    (0..workers).zip(once).map(sources).collect()
}

/// Whether a component is a spout that claims standard input for itself. As in validation, an instance
/// is made to ask it, and dropped.
fn claims_stdin(component: &Component) -> bool {
    let Constructor::Spout(factory) = &component.constructor else { return false };
    let claims = || {
        let mut check = Check::new(&[], None, component.options.parallelism as usize);
        factory().ok()?.check(&mut check);
        let (_, claims) = check.into_parts();
        Some(claims.iter().any(|claim| claim.resource == STANDARD_INPUT))
    };
    catch_unwind(AssertUnwindSafe(claims)).ok().flatten().unwrap_or(false)
}
