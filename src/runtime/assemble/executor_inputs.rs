//! What executors know of their links: the barriers on them, and how far event time is.

use std::time::Duration;

use crate::event_time::SentTimes;
use crate::runtime::assemble::blueprint::Blueprint;
use crate::runtime::assemble::links::Links;
use crate::runtime::executor::aligned_inputs::AlignedInputs;
use crate::runtime::executor::event_times::EventTimes;
use crate::runtime::faults::CheckpointDefect;
use crate::topology::plan::{ExecutorId, ExecutorPlan, Part};

/// The inputs of an executor for checkpoints, if it takes batches from an inbox.
pub fn aligned_inputs(
    blueprint: &Blueprint,
    links: &Links,
    executor: &ExecutorPlan,
    defect: Option<CheckpointDefect>,
) -> Option<AlignedInputs> {
    if executor.behind.is_some() {
        return None;
    }
    let options = &blueprint.topology.options().checkpoint;
    // Tuples that a barrier has overtaken must find their task again, also if there is another number of tasks.
    let timeout = options.alignment_timeout.filter(|_| blueprint.groups_repeatably(executor.part));
    let links = links.of_consumer(executor.id).map(|(.., link)| (link.id, link.kind)).collect();
    Some(AlignedInputs::new(links, options.mode.aligns(), timeout, defect))
}

/// The event time of an executor. `None`: its component has none.
pub fn event_times(blueprint: &Blueprint, links: &Links, executor: &ExecutorPlan) -> Option<EventTimes> {
    let Part::Component(component) = executor.part else { return None };
    if !blueprint.has_time(executor.part) {
        return None;
    }
    let producer_has_time =
        |executor: ExecutorId| blueprint.has_time(blueprint.plan.executors[executor.index()].part);
    let counting =
        links.of_consumer(executor.id).filter(|(from, feedback, _)| !feedback && producer_has_time(*from));
    let counting = counting.map(|(.., link)| link.id).collect();
    let options = blueprint.topology.options();
    let reads = blueprint.topology.components()[component].options.event_time.is_some();
    // What comes from elsewhere is passed on at once.
    let interval = if reads { options.watermark_interval } else { Duration::ZERO };
    let is_behind = executor.behind.is_some_and(producer_has_time);
    let reading = reads.then_some(executor.tasks.len());
    Some(EventTimes::new(counting, is_behind, SentTimes::new(interval), reading))
}
