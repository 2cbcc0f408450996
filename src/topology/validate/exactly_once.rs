//! What exactly-once asks of a topology, and what only exactly-once uses.
//!
//! The bounds of the options of checkpoints stand in `numbers`.

use crate::topology::diagnostic::DIAGNOSTICS_MAX;
use crate::topology::draft::Draft;
use crate::topology::validate::problem::{InputPart, Problem, Site, named};

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    match draft.options.delivery.is_exactly_once() {
        true => feedback(draft),
        false => unused_checkpoint(draft).into_iter().collect(),
    }
}

fn unused_checkpoint(draft: &Draft) -> Option<Problem> {
    draft.sets_checkpoint.then(|| {
        let delivery = draft.options.delivery;
        let message =
            format!("`checkpoint` is used with `delivery = \"exactly-once\"` only, not with {delivery}");
        let help = "leave it out, or set `delivery = \"exactly-once\"`".to_owned();
        Problem::new(Site::Option("checkpoint"), message).help(help)
    })
}

/// Inputs that lead back: a barrier would go round in the cycle, and never arrive from all inputs. A cycle
/// that nobody marked is reported by `flow`.
fn feedback(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, component) in draft.components.iter().enumerate() {
        let marked = component.inputs().iter().enumerate().filter(|(_, input)| input.feedback);
        for (position, _) in marked.take(DIAGNOSTICS_MAX) {
            let message = format!(
                "input of {}: it leads back, and exactly-once does not run in a topology with a cycle so far",
                named(draft, at)
            );
            let help = "leave out the input, or set `delivery = \"at-least-once\"`".to_owned();
            let site = Site::Input(at, position, InputPart::Feedback);
            problems.push(Problem::new(site, message).label("leads back").help(help));
        }
    }
    problems
}
