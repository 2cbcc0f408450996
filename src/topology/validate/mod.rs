//! What makes a topology right. One validator for the Rust builder and for documents.
//!
//! Everything wrong is reported at once, each problem with the [`Site`] it is about; where in a
//! file that is, if anywhere, is known to whoever made the draft. What was reported while the
//! draft was read is not reported again, nor is what follows from it: the streams of a component
//! with wrong settings are unknown, so nothing is said about who subscribes to them.
//!
//! * `names`: legal, not reserved, given once.
//! * `inputs`: components, streams, fields and groupings of subscriptions.
//! * `flow`: cycles that nobody marked, bolts that no spout reaches, no spout at all.
//! * `surroundings`: each component's own check of its inputs, tick and parallelism, and resources that
//!   one task alone can use.
//! * `numbers`: everything with a bound in [`limits`](crate::config::limits).

mod flow;
mod inputs;
mod names;
mod numbers;
mod surroundings;

use std::collections::HashMap;

use smol_str::SmolStr;

use crate::topology::draft::Draft;
use crate::topology::graph::Topology;

/// What a problem is about. Finer sites fall back to coarser ones when they have no place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Site {
    /// The document as a whole.
    Document,
    /// The topology's name.
    Name,
    /// An option of the topology, as `queue.batch`.
    Option(&'static str),
    /// The id of the component at this position.
    Component(usize),
    /// A key of a component.
    Key(usize, &'static str),
    /// A key of a component's settings, as `a.b`.
    Setting(usize, SmolStr),
    /// One input of a component.
    Input(usize, usize, InputPart),
}

/// Which part of an input is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum InputPart {
    Whole,
    From,
    Stream,
    Grouping,
    Fields,
    /// The field at this position.
    Field(usize),
    Feedback,
}

impl Site {
    /// The next coarser site.
    pub fn parent(&self) -> Option<Site> {
        match *self {
            Site::Document => None,
            Site::Name | Site::Option(_) | Site::Component(_) => Some(Site::Document),
            Site::Setting(component, _) => Some(Site::Key(component, "config")),
            Site::Key(component, _) => Some(Site::Component(component)),
            Site::Input(component, _, InputPart::Whole) => Some(Site::Component(component)),
            Site::Input(component, input, InputPart::Field(_)) => {
                Some(Site::Input(component, input, InputPart::Fields))
            }
            Site::Input(component, input, InputPart::Stream) => {
                Some(Site::Input(component, input, InputPart::From))
            }
            Site::Input(component, input, _) => Some(Site::Input(component, input, InputPart::Whole)),
        }
    }
}

/// One thing that is wrong with a draft.
#[derive(Debug)]
pub(crate) struct Problem {
    pub site: Site,
    pub message: String,
    pub label: Option<String>,
    pub help: Option<String>,
    pub related: Vec<(Site, String)>,
}

impl Problem {
    fn new(site: Site, message: String) -> Problem {
        Problem { site, message, label: None, help: None, related: Vec::new() }
    }

    fn label(mut self, label: &str) -> Problem {
        self.label = Some(label.to_owned());
        self
    }

    fn help(mut self, help: impl Into<Option<String>>) -> Problem {
        self.help = help.into();
        self
    }

    fn related(mut self, site: Site, label: String) -> Problem {
        self.related.push((site, label));
        self
    }
}

/// Everything that is wrong with a draft.
pub(crate) fn problems(draft: &Draft) -> Vec<Problem> {
    let by_id = first_of_each_id(draft);
    let mut problems = names::problems(draft, &by_id);
    problems.extend(numbers::problems(draft, &by_id));
    problems.extend(inputs::problems(draft, &by_id));
    problems.extend(flow::problems(draft, &by_id));
    problems.extend(surroundings::problems(draft, &by_id));
    problems
}

/// The topology of a draft, or everything that is wrong with it.
pub(crate) fn validate(draft: Draft) -> Result<Topology, Vec<Problem>> {
    let problems = problems(&draft);
    if problems.is_empty() { Ok(draft.into_topology()) } else { Err(problems) }
}

/// Positions of components by id; of several with the same id the first.
type ById<'a> = HashMap<&'a str, usize>;

fn first_of_each_id(draft: &Draft) -> ById<'_> {
    let mut by_id = ById::new();
    for (at, component) in draft.components.iter().enumerate() {
        by_id.entry(component.id.as_str()).or_insert(at);
    }
    by_id
}

/// `spout `lines`` or `bolt `count``, to begin a message with.
fn named(draft: &Draft, at: usize) -> String {
    let component = &draft.components[at];
    format!("{} `{}`", component.kind, crate::topology::suggest::shown(&component.id))
}
