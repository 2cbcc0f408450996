//! Components to executors and tasks: what one run of a topology consists of.
//!
//! ```text
//!   component   lines      split              count         __acker
//!   tasks       1          2 3 4 5 6          7 8           9
//!   executors   0:[1]      1:[2 3] 2:[4 5] 3:[6]   4:[7] 5:[8]   6:[9]
//! ```
//!
//! 1. Tasks are numbered from 1, without gaps, in the order in which components were declared;
//!    executors from 0 likewise. The same topology always gives the same numbers, so that every
//!    worker can work the plan out for itself.
//! 2. An executor owns a contiguous range of tasks of one component. The ranges of a component
//!    differ by at most one in length, the longer ones first: 5 tasks over 3 executors are 2, 2, 1.
//! 3. No executor is without a task: parallelism beyond the number of tasks is cut, and
//!    `max_task_parallelism` caps the tasks of every component of the user's.
//! 4. The system's own tasks come last, so that they never shift the numbers of the user's.
//!
//! Where executors run is not decided here: a local worker runs them all, a cluster schedules them.

use std::fmt;
use std::ops::Range;

use crate::config::{AutoOr, Delivery};
use crate::ids::TaskId;
use crate::topology::chains::Scale;
use crate::topology::graph::Topology;

/// What the acker tasks are called where components are listed.
pub const ACKER_COMPONENT: &str = "__acker";

/// One executor of a topology, dense from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutorId(pub u32);

impl ExecutorId {
    /// The position in [`Plan::executors`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ExecutorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What the tasks of an executor are instances of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The component at this position of [`Topology::components`].
    Component(usize),
    /// The tracker of tuple trees.
    Acker,
}

/// One executor and its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorPlan {
    /// Its id, which is its position in the plan.
    pub id: ExecutorId,
    /// What its tasks are instances of.
    pub part: Part,
    /// The numbers of its tasks; never empty.
    pub tasks: Range<u32>,
    /// The executor that it is chained behind: that one steps it, and hands it tuples without a queue. See
    /// [`Topology::chains`].
    pub behind: Option<ExecutorId>,
    /// The executor that is chained behind it.
    pub next: Option<ExecutorId>,
}

impl ExecutorPlan {
    /// Its tasks in order.
    pub fn task_ids(&self) -> impl ExactSizeIterator<Item = TaskId> + use<> {
        self.tasks.clone().map(TaskId)
    }
}

/// The executors and tasks of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PartPlan {
    tasks: Range<u32>,
    executors: Range<u32>,
}

/// The executors and tasks of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All executors, by id.
    pub executors: Vec<ExecutorPlan>,
    /// One for each component, then one for the ackers.
    parts: Vec<PartPlan>,
    /// The executor of each task, by the task's index.
    executor_of_task: Vec<ExecutorId>,
}

impl Plan {
    /// The plan of a topology at a scale, whose spouts all run in `workers_with_spouts` workers: as many
    /// ackers as that when `ackers` is automatic. A local run has one.
    pub fn new(topology: &Topology, scale: Scale, workers_with_spouts: u32) -> Plan {
        let cap = topology.options().max_task_parallelism.unwrap_or(u32::MAX);
        let mut plan = Plan { executors: Vec::new(), parts: Vec::new(), executor_of_task: Vec::new() };
        for (index, component) in topology.components().iter().enumerate() {
            let tasks = component.options.task_count().min(cap);
            plan.push(Part::Component(index), tasks, component.options.parallelism);
        }
        let ackers = acker_count(topology, workers_with_spouts);
        plan.push(Part::Acker, ackers, ackers);
        for (consumer, producer) in topology.chains_at(scale) {
            let producers = plan.part(Part::Component(producer)).executors.clone();
            let consumers = plan.part(Part::Component(consumer)).executors.clone();
            for (producer, consumer) in producers.zip(consumers) {
                plan.executors[consumer as usize].behind = Some(ExecutorId(producer));
                plan.executors[producer as usize].next = Some(ExecutorId(consumer));
            }
        }
        plan
    }

    /// The first executor of the chain that an executor is part of: the one that is scheduled. An executor
    /// that is not chained behind another is its own.
    pub fn head_of(&self, executor: ExecutorId) -> ExecutorId {
        let mut head = executor;
        while let Some(before) = self.executors[head.index()].behind {
            head = before;
        }
        head
    }

    /// The plan of a topology that runs in one worker.
    pub fn local(topology: &Topology) -> Plan {
        Plan::new(topology, Scale { workers: 1, ..Scale::of(topology.options()) }, 1)
    }

    /// How many tasks there are, ackers included. The last task has this number.
    pub fn task_count(&self) -> u32 {
        u32::try_from(self.executor_of_task.len()).expect("tasks are numbered by u32")
    }

    /// The numbers of a part's tasks; empty for the ackers when nothing is tracked.
    ///
    /// # Panics
    /// When the topology has no such component.
    pub fn tasks(&self, part: Part) -> Range<u32> {
        self.part(part).tasks.clone()
    }

    /// A part's tasks in order.
    ///
    /// # Panics
    /// When the topology has no such component.
    pub fn task_ids(&self, part: Part) -> impl ExactSizeIterator<Item = TaskId> + use<> {
        self.tasks(part).map(TaskId)
    }

    /// A part's executors in order.
    ///
    /// # Panics
    /// When the topology has no such component.
    pub fn executors_of(&self, part: Part) -> &[ExecutorPlan] {
        let range = &self.part(part).executors;
        &self.executors[range.start as usize..range.end as usize]
    }

    /// The executor that steps a task, if there is such a task.
    pub fn executor_of(&self, task: TaskId) -> Option<&ExecutorPlan> {
        let index = task.0.checked_sub(1)? as usize;
        self.executor_of_task.get(index).map(|id| &self.executors[id.index()])
    }

    /// What a task is an instance of, if there is such a task.
    pub fn part_of(&self, task: TaskId) -> Option<Part> {
        self.executor_of(task).map(|executor| executor.part)
    }

    fn part(&self, part: Part) -> &PartPlan {
        match part {
            Part::Component(index) => {
                assert!(index + 1 < self.parts.len(), "the topology has no component {index}");
                &self.parts[index]
            }
            Part::Acker => self.parts.last().expect("the ackers' part is always there"),
        }
    }

    fn push(&mut self, part: Part, tasks: u32, parallelism: u32) {
        let first_executor = self.executors.len() as u32;
        let first_task = self.task_count() + 1;
        let mut next = first_task;
        for share in shares(tasks, parallelism) {
            let id = ExecutorId(self.executors.len() as u32);
            self.executors.push(ExecutorPlan {
                id,
                part,
                tasks: next..next + share,
                behind: None,
                next: None,
            });
            self.executor_of_task.extend((0..share).map(|_| id));
            next += share;
        }
        let executors = first_executor..self.executors.len() as u32;
        self.parts.push(PartPlan { tasks: first_task..next, executors });
    }
}

/// `tasks` cut into at most `parts` shares that differ by at most one, the larger first.
fn shares(tasks: u32, parts: u32) -> impl Iterator<Item = u32> {
    let parts = parts.min(tasks);
    (0..parts).map(move |i| tasks / parts + u32::from(i < tasks % parts))
}

/// Whether each worker with spouts gets an acker of its own.
pub(crate) fn has_automatic_ackers(topology: &Topology) -> bool {
    topology.options().delivery.tracks_tuples() && topology.options().ackers == AutoOr::Auto
}

fn acker_count(topology: &Topology, workers_with_spouts: u32) -> u32 {
    match (topology.options().delivery, topology.options().ackers) {
        (Delivery::AtMostOnce | Delivery::ExactlyOnce, _) => 0,
        (Delivery::AtLeastOnce, AutoOr::Auto) => workers_with_spouts.max(1),
        (Delivery::AtLeastOnce, AutoOr::Fixed(count)) => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::graph::testing::topology;

    fn ranges(executors: &[ExecutorPlan]) -> Vec<Range<u32>> {
        executors.iter().map(|executor| executor.tasks.clone()).collect()
    }

    #[test]
    fn tasks_are_cut_as_evenly_as_possible() {
        let check = |tasks, parallelism, expected: &[u32]| {
            assert_eq!(shares(tasks, parallelism).collect::<Vec<_>>(), expected);
        };
        check(5, 3, &[2, 2, 1]);
        check(6, 3, &[2, 2, 2]);
        check(1, 1, &[1]);
        check(2, 4, &[1, 1]);
        check(7, 2, &[4, 3]);
        check(0, 0, &[]);
        check(0, 3, &[]);
    }

    #[test]
    fn tasks_are_dense_in_the_order_of_declaration_and_ackers_come_last() {
        let mut topology = topology(&[("lines", &[]), ("split", &["lines"]), ("count", &["split"])]);
        topology.components[1].options.tasks = Some(5);
        topology.components[1].options.parallelism = 3;
        topology.components[2].options.parallelism = 2;
        let plan = Plan::local(&topology);

        assert_eq!(plan.tasks(Part::Component(0)), 1..2);
        assert_eq!(ranges(plan.executors_of(Part::Component(1))), [2..4, 4..6, 6..7]);
        assert_eq!(ranges(plan.executors_of(Part::Component(2))), [7..8, 8..9]);
        assert_eq!(plan.tasks(Part::Acker), 9..10);
        assert_eq!(plan.task_count(), 9);
        for (index, executor) in plan.executors.iter().enumerate() {
            assert_eq!(executor.id.index(), index);
            for task in executor.task_ids() {
                assert_eq!(plan.executor_of(task), Some(executor));
                assert_eq!(plan.part_of(task), Some(executor.part));
            }
        }
        assert_eq!(plan.executor_of(TaskId(0)), None);
        assert_eq!(plan.executor_of(TaskId(10)), None);
    }

    #[test]
    fn a_cap_on_tasks_holds_for_components_and_their_executors() {
        let mut topology = topology(&[("lines", &[]), ("count", &["lines"])]);
        topology.options.max_task_parallelism = Some(2);
        topology.components[1].options.parallelism = 8;
        topology.components[1].options.tasks = Some(16);
        let plan = Plan::local(&topology);
        assert_eq!(ranges(plan.executors_of(Part::Component(1))), [2..3, 3..4]);
    }

    #[test]
    fn ackers_follow_delivery_and_workers() {
        let check = |delivery, ackers, workers, expected| {
            let mut topology = topology(&[("lines", &[])]);
            topology.options.delivery = delivery;
            topology.options.ackers = ackers;
            assert_eq!(
                Plan::new(&topology, Scale { workers, threads: 1 }, workers).task_ids(Part::Acker).len(),
                expected
            );
        };
        check(Delivery::AtLeastOnce, AutoOr::Auto, 1, 1);
        check(Delivery::AtLeastOnce, AutoOr::Auto, 3, 3);
        check(Delivery::AtLeastOnce, AutoOr::Fixed(2), 1, 2);
        check(Delivery::AtMostOnce, AutoOr::Auto, 1, 0);
        check(Delivery::AtMostOnce, AutoOr::Fixed(2), 1, 0);
        check(Delivery::ExactlyOnce, AutoOr::Fixed(2), 1, 0);
    }
}
