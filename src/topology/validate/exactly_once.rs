//! What exactly-once asks of a topology, and what only exactly-once uses.
//!
//! The bounds of the options of checkpoints stand in `numbers`.

use crate::config::{CheckpointMode, CheckpointOptions};
use crate::topology::diagnostic::DIAGNOSTICS_MAX;
use crate::topology::draft::Draft;
use crate::topology::validate::problem::{InputPart, Problem, Site, named};

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    match draft.options.delivery.is_exactly_once() {
        true => feedback(draft).into_iter().chain(two_paces(draft)).chain(unaligned(draft)).collect(),
        false => unused_checkpoint(draft).into_iter().chain(unused_batch(draft)).collect(),
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

fn unused_batch(draft: &Draft) -> Option<Problem> {
    draft.options.batch.is_some().then(|| {
        let delivery = draft.options.delivery;
        let message = format!("`batch` is used with `delivery = \"exactly-once\"` only, not with {delivery}");
        let help = "leave it out, or set `delivery = \"exactly-once\"`".to_owned();
        Problem::new(Site::Option("batch"), message).help(help)
    })
}

/// Keys of `checkpoint` that say at what pace checkpoints are taken, where batches do.
fn two_paces(draft: &Draft) -> Vec<Problem> {
    if draft.options.batch.is_none() {
        return Vec::new();
    }
    let (set, unset) = (&draft.options.checkpoint, CheckpointOptions::default());
    let keys = [
        ("checkpoint.interval", set.interval != unset.interval, "batch.interval"),
        ("checkpoint.min_pause", set.min_pause != unset.min_pause, "batch.interval"),
        ("checkpoint.max_concurrent", set.max_concurrent != unset.max_concurrent, "batch.max_pending"),
    ];
    let problem = |(key, _, instead)| {
        let message = format!("`{key}` does not go with `batch`: each batch ends with a checkpoint");
        Problem::new(Site::Option(key), message).help(format!("leave it out, and set `{instead}`"))
    };
    keys.into_iter().filter(|(_, is_set, _)| *is_set).map(problem).collect()
}

/// What does not go with barriers that overtake.
fn unaligned(draft: &Draft) -> Option<Problem> {
    let key = "checkpoint.alignment_timeout";
    let checkpoint = draft.options.checkpoint_at_pace();
    if checkpoint.alignment_timeout? >= checkpoint.timeout {
        let message =
            format!("`{key}` is not shorter than `checkpoint.timeout`, after which a checkpoint is given up");
        return Some(
            Problem::new(Site::Option(key), message).help("make it shorter, or leave it out".to_owned()),
        );
    }
    let (why, help) = match (checkpoint.mode, checkpoint.max_concurrent) {
        (CheckpointMode::AtLeastOnce, _) => (
            "no input waits with `checkpoint.mode = \"at-least-once\"`",
            "leave one of the two out".to_owned(),
        ),
        (CheckpointMode::ExactlyOnce, 1) => return None,
        (CheckpointMode::ExactlyOnce, _) => {
            let pace =
                if draft.options.batch.is_some() { "batch.max_pending" } else { "checkpoint.max_concurrent" };
            ("a barrier cannot overtake another one", format!("leave it out, or set `{pace} = 1`"))
        }
    };
    let message = format!("`{key}` has no place here: {why}");
    Some(Problem::new(Site::Option(key), message).help(help))
}

/// Bolts all of whose inputs lead back. A bolt waits for the barriers of the other inputs only, and here there are none.
/// Which input leads back is marked at the wrong bolt then: the one that takes tuples of this bolt would wait for it.
fn feedback(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, component) in draft.components.iter().enumerate() {
        let inputs = component.inputs();
        if inputs.is_empty() || !inputs.iter().all(|input| input.feedback) {
            continue;
        }
        let message = format!(
            "each input of {} leads back, and exactly-once needs one that does not: with that one the barriers of \
             checkpoints come into the bolt",
            named(draft, at)
        );
        let help = "mark with `feedback = true` (`.feedback()` in Rust) the input by which tuples come back to a bolt \
                    where they have been, and not the one by which they come here first"
            .to_owned();
        let site = Site::Input(at, 0, InputPart::Feedback);
        problems.push(Problem::new(site, message).label("leads back").help(help));
        if problems.len() == DIAGNOSTICS_MAX {
            break;
        }
    }
    problems
}
