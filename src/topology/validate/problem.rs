//! What can be wrong with a draft, and what it is about.
//!
//! Every check makes [`Problem`]s, each of a [`Site`]; what it takes to find and to name a component
//! of the draft stands here as well.

use std::collections::HashMap;

use smol_str::SmolStr;

use crate::topology::draft::Draft;
use crate::topology::suggest::shown;

/// What a problem is about. Finer sites fall back to coarser ones when they have no place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Site {
    /// The document as a whole.
    Document,
    /// The topology's name.
    Name,
    /// An option of the topology, as `queue.batch`.
    Option(&'static str),
    /// The name of the state at this position.
    State(usize),
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
            Site::Name | Site::Option(_) | Site::State(_) | Site::Component(_) => Some(Site::Document),
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
    pub(super) fn new(site: Site, message: String) -> Problem {
        Problem { site, message, label: None, help: None, related: Vec::new() }
    }

    pub(super) fn label(mut self, label: &str) -> Problem {
        self.label = Some(label.to_owned());
        self
    }

    pub(super) fn help(mut self, help: impl Into<Option<String>>) -> Problem {
        self.help = help.into();
        self
    }

    pub(super) fn related(mut self, site: Site, label: String) -> Problem {
        self.related.push((site, label));
        self
    }
}

/// Positions of components by id; of several with the same id the first.
pub(super) type ById<'a> = HashMap<&'a str, usize>;

pub(super) fn first_of_each_id(draft: &Draft) -> ById<'_> {
    let mut by_id = ById::new();
    for (at, component) in draft.components.iter().enumerate() {
        by_id.entry(component.id.as_str()).or_insert(at);
    }
    by_id
}

/// `spout `lines`` or `bolt `count``, to begin a message with.
pub(super) fn named(draft: &Draft, at: usize) -> String {
    let component = &draft.components[at];
    format!("{} `{}`", component.kind, shown(&component.id))
}
