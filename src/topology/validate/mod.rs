//! What makes a topology right. One validator for the Rust builder and for documents.
//!
//! Everything wrong is reported at once, each problem with the [`Site`] it is about; where in a
//! file that is, if anywhere, is known to whoever made the draft. What was reported while the
//! draft was read is not reported again, nor is what follows from it: the streams of a component
//! with wrong settings are unknown, so subscriptions to them are not checked.
//!
//! * `names`: legal, not reserved, given once.
//! * `inputs`: components, streams, fields and groupings of subscriptions.
//! * `flow`: cycles that nobody marked, bolts that no spout reaches, no spout at all.
//! * `event_time`: the field that has the time, and how it is read.
//! * `exactly_once`: no cycle; options of checkpoints with no other delivery.
//! * `surroundings`: each component's own check of its inputs, tick and parallelism, and resources that
//!   one task alone can use.
//! * `states`: each store outside of squall is used by one bolt, whose tasks can reach it.
//! * `scheduling`: what is said to a cluster about hosts.
//! * `numbers`: everything with a bound in [`limits`](crate::config::limits).

mod event_time;
mod exactly_once;
mod flow;
mod inputs;
mod names;
mod numbers;
mod problem;
mod scheduling;
mod states;
mod surroundings;

use crate::topology::draft::Draft;
use crate::topology::graph::Topology;
use crate::topology::validate::problem::first_of_each_id;

pub(crate) use problem::{InputPart, Problem, Site};

/// Everything that is wrong with a draft.
pub(crate) fn problems(draft: &Draft) -> Vec<Problem> {
    let by_id = first_of_each_id(draft);
    let mut problems = names::problems(draft, &by_id);
    problems.extend(numbers::problems(draft, &by_id));
    problems.extend(inputs::problems(draft, &by_id));
    problems.extend(flow::problems(draft, &by_id));
    problems.extend(event_time::problems(draft));
    problems.extend(scheduling::problems(draft, &by_id));
    problems.extend(exactly_once::problems(draft));
    problems.extend(surroundings::problems(draft, &by_id));
    problems
}

/// The topology of a draft, or everything that is wrong with it.
pub(crate) fn validate(draft: Draft) -> Result<Topology, Vec<Problem>> {
    let problems = problems(&draft);
    if problems.is_empty() { Ok(draft.into_topology()) } else { Err(problems) }
}
