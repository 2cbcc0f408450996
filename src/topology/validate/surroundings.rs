//! Each component's own check of what surrounds it, and resources that one task alone can use.
//!
//! A component is checked by the instance that was built to ask for its streams. A component that
//! could not be built has been reported, and is not checked.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::api::{Check, CheckInput, Claim, Refusal};
use crate::topology::diagnostic::DIAGNOSTICS_MAX;
use crate::topology::draft::{Draft, DraftInput};
use crate::topology::graph::Grouping;
use crate::topology::implicit;
use crate::topology::registry::{Built, Kind};
use crate::topology::suggest;
use crate::topology::validate::numbers::capped;
use crate::topology::validate::problem::{ById, Problem, Site, named};
use crate::topology::validate::states::States;

/// For each component, whether something in front of it has event time.
fn inputs_with_time(draft: &Draft, by_id: &ById<'_>) -> Vec<bool> {
    let mut before = vec![false; draft.components.len()];
    let has_own = |at: usize| draft.components[at].options.event_time.is_some();
    // Each round, those that are one step further away; at most as many as there are components.
    loop {
        let found: Vec<usize> = (0..before.len())
            .filter(|at| !before[*at])
            .filter(|at| {
                let mut inputs = draft.components[*at].inputs().iter().filter(|input| !input.feedback);
                inputs.any(|input| {
                    by_id.get(input.component.as_str()).is_some_and(|from| has_own(*from) || before[*from])
                })
            })
            .collect();
        if found.is_empty() {
            return before;
        }
        found.into_iter().for_each(|at| before[at] = true);
    }
}

pub(super) fn problems(draft: &Draft, by_id: &ById<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut claims = Claims { draft, held: BTreeMap::new() };
    let mut states = States::new(draft);
    let with_time = inputs_with_time(draft, by_id);
    for (at, component) in draft.components.iter().enumerate() {
        let Some(Built { instance: Some(instance), .. }) = &component.built else { continue };
        let inputs: Vec<CheckInput> =
            component.inputs().iter().map(|input| check_input(draft, by_id, input)).collect();
        let tick = match component.kind {
            Kind::Spout => None,
            Kind::Bolt => component.options.tick.or(draft.options.tick),
        };
        let tracked = draft.options.delivery.tracks_tuples();
        let timeout = draft.options.message_timeout.filter(|_| tracked);
        let mut check = Check::new(&inputs, tick, capped(draft, at) as usize)
            .with_message_timeout(timeout)
            .with_wal(component.options.wal)
            .with_event_time(with_time[at])
            .with_delivery(draft.options.delivery);
        if let Err(panic) = instance.check(&mut check) {
            problems.push(Problem::new(Site::Component(at), format!("{}: {panic}", named(draft, at))));
            continue;
        }
        if component.kind == Kind::Spout
            && (draft.options.delivery.is_exactly_once() || component.options.wal)
        {
            problems.extend(position_problem(draft, at, instance.can_go_back()));
        }
        for used in check.take_states() {
            problems.extend(states.used(at, used));
        }
        let (refusals, claimed) = check.into_parts();
        // Each suggestion compares with many names, so refusals are not worded without end.
        let room = DIAGNOSTICS_MAX.saturating_sub(problems.len());
        problems.extend(refusals.into_iter().take(room).map(|refusal| refused(draft, at, refusal)));
        problems.extend(claimed.into_iter().filter_map(|claim| claims.claim(at, claim)));
    }
    problems.extend(states.problems());
    problems
}

/// The problem of a spout that can or cannot go back in its input: in a topology that is exactly-once it needs a
/// write-ahead log if it cannot, and none otherwise.
fn position_problem(draft: &Draft, at: usize, can_go_back: Result<bool, String>) -> Option<Problem> {
    let (name, options) = (named(draft, at), &draft.components[at].options);
    let delivery = draft.options.delivery;
    let key = Site::Key(at, "wal");
    match (can_go_back, options.wal) {
        (Err(panic), _) => Some(Problem::new(Site::Component(at), format!("{name}: {panic}"))),
        (Ok(_), true) if !delivery.is_exactly_once() => {
            let text =
                format!("{name}: `wal` is used with `delivery = \"exactly-once\"` only, not with {delivery}");
            let help = "leave it out, or set `delivery = \"exactly-once\"`".to_owned();
            Some(Problem::new(key, text).help(Some(help)))
        }
        (Ok(true), true) => {
            let text = format!("{name} can go back to a position in its input by itself, and needs no `wal`");
            Some(Problem::new(key, text).help(Some("leave `wal` out".to_owned())))
        }
        (Ok(false), true) => direct_stream(draft, at).map(|stream| {
            let text = format!(
                "{name} has the direct stream `{stream}`, and the tasks that its tuples go to may be other ones when they \
                 come again from the write-ahead log"
            );
            let help = "declare the stream as one that is grouped, and let a bolt behind it choose the tasks";
            Problem::new(key, text).help(Some(help.to_owned()))
        }),
        (Ok(true), false) => None,
        (Ok(false), false) => {
            let text = format!(
                "{name} cannot go back to a position in its input, which every spout of a topology with `delivery = \
                 \"exactly-once\"` has to after a crash"
            );
            let help = "set `wal = true` on it, so that what it reads goes through a write-ahead log; or read from a source \
                        that can be read again, as files, or set `delivery = \"at-least-once\"`";
            Some(Problem::new(Site::Component(at), text).help(Some(help.to_owned())))
        }
    }
}

/// A direct stream of a component, if it has one.
fn direct_stream(draft: &Draft, at: usize) -> Option<SmolStr> {
    let streams = draft.components[at].streams()?;
    streams.iter().find(|stream| stream.direct).map(|stream| stream.name.clone())
}

fn check_input(draft: &Draft, by_id: &ById<'_>, input: &DraftInput) -> CheckInput {
    let source = by_id.get(input.component.as_str()).map(|source| &draft.components[*source]);
    let stream = source.and_then(|source| implicit::stream(source.kind, source.streams()?, &input.stream));
    CheckInput {
        component: input.component.clone(),
        stream: input.stream.clone(),
        fields: stream.map(|stream| stream.fields),
        key: match &input.grouping {
            Some(Grouping::Fields(key)) => Some(key.clone()),
            _ => None,
        },
    }
}

fn refused(draft: &Draft, at: usize, refusal: Refusal) -> Problem {
    let site = match &refusal.key {
        Some(key) => Site::Setting(at, SmolStr::new(key)),
        None => Site::Key(at, "config"),
    };
    let key = refusal.key.map(|key| format!("`{}` ", suggest::shown(&key))).unwrap_or_default();
    let help = refusal.choice.and_then(|choice| {
        let names: Vec<&str> = choice.names.iter().map(SmolStr::as_str).collect();
        suggest::help(&choice.written, names, "fields")
    });
    Problem::new(site, format!("config {key}of {}: {}", named(draft, at), refusal.message)).help(help)
}

/// Who holds what.
struct Claims<'a> {
    draft: &'a Draft,
    /// The component and the key that claimed each resource first.
    held: BTreeMap<String, (usize, String)>,
}

impl Claims<'_> {
    fn claim(&mut self, at: usize, claim: Claim) -> Option<Problem> {
        let Claim { key, resource } = claim;
        let who = named(self.draft, at);
        let site = Site::Setting(at, SmolStr::new(&key));
        if self.draft.taken.iter().any(|taken| *taken == resource) {
            let message = format!("{who} uses {resource}, from which the topology itself is read");
            return Some(Problem::new(site, message).help("read the topology from a file".to_owned()));
        }
        if let Some((first, first_key)) = self.held.get(&resource) {
            let message = format!("{who} uses {resource}, which {} uses already", named(self.draft, *first));
            let first_site = Site::Setting(*first, SmolStr::new(first_key));
            return Some(
                Problem::new(site, message)
                    .help(format!("only one task of a topology can use {resource}"))
                    .related(first_site, format!("{} uses it here", named(self.draft, *first))),
            );
        }
        let tasks = capped(self.draft, at);
        self.held.insert(resource.clone(), (at, key));
        (tasks > 1).then(|| {
            let message = format!("{who} has {tasks} tasks, and only one task can use {resource}");
            Problem::new(site, message)
                .help("set `parallelism` to 1".to_owned())
                .related(Site::Key(at, "parallelism"), format!("{tasks} tasks"))
        })
    }
}
