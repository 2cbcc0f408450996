//! `[state.NAME]`: each is used by one bolt, whose tasks can reach it.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::api::StateUse;
use crate::config::StateMode;
use crate::config::limits::STATES_MAX;
use crate::topology::draft::{Draft, DraftComponent};
use crate::topology::suggest::{self, shown};
use crate::topology::validate::numbers::capped;
use crate::topology::validate::problem::{Problem, Site, named};

/// Who uses what.
pub(super) struct States<'a> {
    draft: &'a Draft,
    /// For each state the component that uses it, and by which key.
    users: Vec<Option<(usize, String)>>,
}

impl<'a> States<'a> {
    pub(super) fn new(draft: &'a Draft) -> States<'a> {
        States { draft, users: vec![None; draft.states.len()] }
    }

    /// A component asks for a state.
    pub(super) fn used(&mut self, component: usize, used: StateUse) -> Vec<Problem> {
        let draft = self.draft;
        let site = Site::Setting(component, SmolStr::new(&used.key));
        let who = named(draft, component);
        let Some(at) = draft.states.iter().position(|state| state.name == used.name) else {
            let message = format!("{who} uses the state `{}`, which there is not", shown(&used.name));
            let names: Vec<&str> = draft.states.iter().map(|state| state.name.as_str()).collect();
            let help = suggest::help(&used.name, names, "states").unwrap_or_else(|| {
                format!("add `[state.{}]` with `type = \"redb\"` and a `path`", shown(&used.name))
            });
            return vec![Problem::new(site, message).help(help)];
        };
        let state = &draft.states[at];
        let mut problems = Vec::new();
        if let Some((first, first_key)) = &self.users[at] {
            let message =
                format!("{who} uses the state `{}`, which {} uses already", state.name, named(draft, *first));
            problems.push(
                Problem::new(site.clone(), message)
                    .help("give each bolt a state of its own, in another table or file".to_owned())
                    .related(Site::Setting(*first, SmolStr::new(first_key)), "it is used here".to_owned()),
            );
        } else {
            self.users[at] = Some((component, used.key));
        }
        let delivery = draft.options.delivery;
        if used.in_batches && state.mode != StateMode::NonTransactional && !delivery.is_exactly_once() {
            let message = format!(
                "{who} and the state `{}`: the mode `{}` needs `delivery = \"exactly-once\"`, because it tells by batches what \
                 was added, which are checkpoints, and with {delivery} there are none",
                state.name, state.mode
            );
            let help = format!(
                "set `delivery = \"exactly-once\"`; or write `mode = \"non-transactional\"` in `[state.{}]`, with which a tuple \
                 that comes again counts again",
                state.name
            );
            problems.push(Problem::new(site.clone(), message).help(help));
        }
        let Some(store) = &state.store else { return problems };
        if let Err(why) = store.check_key(&used.fields) {
            problems.push(Problem::new(site.clone(), format!("{who} and the state `{}`: {why}", state.name)));
        }
        let (tasks, workers) = (capped(draft, component), draft.options.workers);
        if store.is_local() && tasks > 1 && workers > 1 {
            let message = format!(
                "{who} has {tasks} tasks in {workers} workers, and only one process can use the state `{}` of type `{}`",
                state.name, state.type_name
            );
            let help =
                "set `workers = 1` or the bolt's `parallelism = 1`, or use the type `postgres`".to_owned();
            problems.push(Problem::new(site, message).help(help));
        }
        problems
    }

    /// What is wrong with the states themselves, when all uses are known.
    pub(super) fn problems(self) -> Vec<Problem> {
        let draft = self.draft;
        let mut problems = Vec::new();
        if draft.states.len() > STATES_MAX {
            let message = format!("{} states; the limit is {STATES_MAX}", draft.states.len());
            problems.push(Problem::new(Site::State(STATES_MAX), message));
        }
        // A component that is not known, or that stands in for another, may use any of them.
        let is_known = |component: &DraftComponent| {
            component.built.as_ref().is_some_and(|built| built.instance.is_some())
        };
        let knows_uses = draft.complete && draft.components.iter().all(is_known);
        for (at, (state, user)) in draft.states.iter().zip(&self.users).enumerate() {
            if user.is_none() && knows_uses && state.factory.is_some() {
                let message = format!("no bolt uses the state `{}`", shown(&state.name));
                let help = "name it by `state` of a bolt of type `aggregate`, or leave it out".to_owned();
                problems.push(Problem::new(Site::State(at), message).help(help));
            }
        }
        problems.extend(self.places_twice());
        problems
    }

    /// Totals of two states in one place would overwrite each other, or wait for each other for ever.
    fn places_twice(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (at, state) in self.draft.states.iter().enumerate() {
            let Some(place) = state.store.as_ref().and_then(|store| store.place()) else { continue };
            let first = *places.entry(place.clone()).or_insert(at);
            if first != at {
                let other = shown(&self.draft.states[first].name);
                let (name, place) = (shown(&state.name), shown(&place));
                let message =
                    format!("state `{name}` is in {place}, in which the state `{other}` is already");
                problems.push(
                    Problem::new(Site::State(at), message)
                        .help("name another `path` or `table`".to_owned())
                        .related(Site::State(first), "it is used here".to_owned()),
                );
            }
        }
        problems
    }
}
