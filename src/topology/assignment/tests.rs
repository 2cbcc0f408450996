//! Placement: Storm's cases, and properties over topologies of any shape.

use super::*;
use crate::config::Delivery;
use crate::topology::graph::testing::topology;

/// A topology without ackers: spouts and bolts with so many executors.
fn shaped(spouts: &[u32], bolts: &[u32]) -> Topology {
    let names: Vec<String> = (0..spouts.len() + bolts.len()).map(|at| format!("c{at}")).collect();
    let inputs: [&str; 1] = [&names[0]];
    let component = |at: usize| (&*names[at], if at < spouts.len() { &[][..] } else { &inputs[..] });
    let mut topology = topology(&(0..names.len()).map(component).collect::<Vec<_>>());
    for (component, executors) in topology.components.iter_mut().zip(spouts.iter().chain(bolts)) {
        component.options.parallelism = *executors;
    }
    topology
}

fn untracked(mut topology: Topology) -> Topology {
    topology.options.delivery = Delivery::AtMostOnce;
    topology
}

/// Executors of each worker.
fn loads(assignment: &Assignment) -> Vec<usize> {
    (0..assignment.workers()).map(|worker| assignment.executors_on(WorkerId(worker)).count()).collect()
}

fn sorted(mut numbers: Vec<usize>) -> Vec<usize> {
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_word_count_on_three_workers() {
    let topology = shaped(&[1], &[3, 2]);
    let (plan, assignment) = place(&topology, 3, None);
    assert_eq!(loads(&assignment), [3, 2, 2]);
    assert_eq!(ackers_for(&plan, &assignment, ExecutorId(0)), [0]);
    let acker = plan.executors_of(Part::Acker)[0].id;
    assert_eq!(assignment.worker_of(acker), assignment.worker_of(ExecutorId(0)));
}
