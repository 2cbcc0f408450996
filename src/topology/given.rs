//! Assignments whose places were chosen elsewhere: by the scheduler of a cluster, which looks at hosts.

use crate::ids::WorkerId;
use crate::topology::assignment::{Assignment, shape};
use crate::topology::chains::Scale;
use crate::topology::graph::Topology;
use crate::topology::plan::{Part, Plan, has_automatic_ackers};

impl Assignment {
    /// The plan and the assignment in which each executor runs in the worker that `homes` has for it, by the ids of a
    /// plan at this scale. Automatic ackers are not in `homes`: each worker with spouts gets one, and they stay where
    /// `previous` has them as far as they can.
    ///
    /// # Panics
    /// When `homes` is too short, has executors of a chain apart, or has a worker that the scale does not have.
    pub fn given(
        topology: &Topology,
        scale: Scale,
        homes: &[WorkerId],
        previous: Option<&Assignment>,
    ) -> (Plan, Assignment) {
        let with_any = Plan::new(topology, scale, 1);
        let mut with_spouts: Vec<WorkerId> = (0..topology.components().len())
            .filter(|at| topology.components()[*at].is_spout())
            .flat_map(|at| with_any.executors_of(Part::Component(at)))
            .map(|spout| homes[spout.id.index()])
            .collect();
        with_spouts.sort_unstable();
        with_spouts.dedup();
        let plan = Plan::new(topology, scale, with_spouts.len() as u32);
        let mut worker_of = homes.to_vec();
        if has_automatic_ackers(topology) {
            worker_of.truncate(plan.executors.len() - with_spouts.len());
            worker_of.extend(ackers(with_spouts, previous));
        }
        let workers = u16::try_from(scale.workers).expect("the limit of workers fits 16 bits");
        let mut assignment = Assignment {
            version: previous.map_or(1, |previous| previous.version + 1),
            workers,
            threads: scale.threads,
            shape: shape(topology, &plan),
            worker_of,
        };
        assert!(assignment.plan(topology).is_some(), "the places fit the plan");
        if let Some(previous) = previous {
            let same = Assignment { version: previous.version, ..assignment.clone() };
            if same == *previous {
                assignment = same;
            }
        }
        (plan, assignment)
    }

    /// The same places with other numbers of workers: `number` has the new one of each worker in use.
    pub fn renumbered(&self, number: impl Fn(WorkerId) -> WorkerId) -> Assignment {
        let worker_of: Vec<WorkerId> = self.worker_of.iter().map(|worker| number(*worker)).collect();
        let highest = worker_of.iter().map(|worker| worker.0).max().unwrap_or(0);
        let version = if worker_of == self.worker_of { self.version } else { self.version + 1 };
        Assignment { version, workers: self.workers.max(highest + 1), worker_of, ..self.clone() }
    }

    /// The worker of each executor of a component, by its number among them; nothing for a component that the assigned
    /// topology did not have. `at` is a position among the components, or their number for the ackers.
    pub fn places_of(&self, at: usize) -> &[WorkerId] {
        let Some(count) = self.shape.get(at) else { return &[] };
        let begin: usize = self.shape[..at].iter().map(|count| *count as usize).sum();
        self.worker_of.get(begin..begin + *count as usize).unwrap_or_default()
    }
}

/// The worker of each automatic acker: the one it had, if that still has spouts.
fn ackers(mut with_spouts: Vec<WorkerId>, previous: Option<&Assignment>) -> Vec<WorkerId> {
    let before =
        previous.map_or(&[][..], |previous| previous.places_of(previous.shape.len().saturating_sub(1)));
    let count = with_spouts.len();
    let mut places: Vec<Option<WorkerId>> = before
        .iter()
        .take(count)
        .map(|home| {
            let at = with_spouts.iter().position(|worker| worker == home)?;
            Some(with_spouts.remove(at))
        })
        .collect();
    places.resize(count, None);
    let mut rest = with_spouts.into_iter();
    places.into_iter().map(|place| place.or_else(|| rest.next()).expect("one for each worker")).collect()
}
