//! Names: legal, not reserved, given once.

use std::collections::HashMap;

use crate::api::StreamDeclaration;
use crate::config::limits;
use crate::ids::{is_legal_name, is_reserved_name};
use crate::topology::draft::Draft;
use crate::topology::suggest::shown;
use crate::topology::validate::problem::{ById, Problem, Site, named};

pub(super) fn problems(draft: &Draft, by_id: &ById<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(name) = &draft.name {
        problems.extend(illegal("a topology name", name, Site::Name));
    }
    for (at, state) in draft.states.iter().enumerate() {
        problems.extend(illegal("the name of a state", &state.name, Site::State(at)));
        if draft.states[..at].iter().any(|earlier| earlier.name == state.name) {
            let message = format!("state `{}` is declared twice", shown(&state.name));
            problems.push(Problem::new(Site::State(at), message));
        }
    }
    for (at, component) in draft.components.iter().enumerate() {
        let site = Site::Component(at);
        problems.extend(illegal("a component id", &component.id, site));
        let first = by_id[component.id.as_str()];
        if first != at {
            problems.push(twice(draft, first, at));
        }
        let declared = component.streams().map_or(0, |streams| streams.iter().count());
        if declared > limits::STREAMS_MAX {
            let (who, max) = (named(draft, at), limits::STREAMS_MAX);
            let message = format!("{who} declares {declared} streams; the limit is {max}");
            problems.push(Problem::new(Site::Component(at), message));
            continue;
        }
        let streams = component.streams().into_iter().flat_map(|streams| streams.iter());
        problems.extend(stream_problems(draft, at, streams));
    }
    if draft.components.len() > limits::COMPONENTS_MAX {
        let message =
            format!("{} components; the limit is {}", draft.components.len(), limits::COMPONENTS_MAX);
        problems.push(Problem::new(Site::Component(limits::COMPONENTS_MAX), message));
    }
    problems
}

fn twice(draft: &Draft, first: usize, at: usize) -> Problem {
    let id = shown(&draft.components[at].id);
    Problem::new(Site::Component(at), format!("component `{id}` is defined twice"))
        .label("defined again")
        .help("ids are shared by spouts and bolts; each may be used once".to_owned())
        .related(Site::Component(first), format!("{} is defined here first", named(draft, first)))
}

fn stream_problems<'a>(
    draft: &Draft,
    at: usize,
    streams: impl Iterator<Item = &'a StreamDeclaration>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = HashMap::new();
    let site = Site::Component(at);
    for stream in streams {
        let what = format!("{} declares a stream whose name", named(draft, at));
        problems.extend(illegal(&what, &stream.name, site.clone()));
        if seen.insert(stream.name.as_str(), ()).is_some() {
            let message = format!("{} declares stream `{}` twice", named(draft, at), stream.name);
            problems.push(Problem::new(site.clone(), message));
        }
        problems.extend(field_problems(draft, at, stream));
    }
    problems
}

fn field_problems(draft: &Draft, at: usize, stream: &StreamDeclaration) -> Vec<Problem> {
    let whose = || format!("{} declares stream `{}`", named(draft, at), stream.name);
    let mut problems = Vec::new();
    for (position, field) in stream.fields.iter().enumerate() {
        if field.is_empty() {
            problems.push(Problem::new(
                Site::Component(at),
                format!("{} with a field that has no name", whose()),
            ));
        } else if stream.fields.position(field) != Some(position) {
            let message = format!("{} with two fields called `{}`", whose(), shown(field));
            problems.push(Problem::new(Site::Component(at), message));
        }
    }
    problems
}

/// The problem with a name, if there is one. `what` begins the sentence.
fn illegal(what: &str, name: &str, site: Site) -> Option<Problem> {
    if is_reserved_name(name) {
        let message = format!("{what} must not begin with `__`: `{}` is the system's", shown(name));
        return Some(Problem::new(site, message).label("reserved"));
    }
    if is_legal_name(name) {
        return None;
    }
    let message = match name.len() {
        0 => format!("{what} is empty"),
        1..=64 => {
            format!("{what} may hold only letters, digits, `.`, `_` and `-`, unlike `{}`", shown(name))
        }
        long => format!("{what} has {long} bytes; the limit is 64"),
    };
    Some(Problem::new(site, message).label("not a legal name").help(legal_form(name)))
}

/// A legal name like an illegal one, if there is one.
fn legal_form(name: &str) -> Option<String> {
    let words: Vec<&str> = name
        .split(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c)))
        .filter(|word| !word.is_empty())
        .collect();
    let legal = words.join("-").to_lowercase();
    (is_legal_name(&legal) && !is_reserved_name(&legal)).then(|| format!("for example `{legal}`"))
}
