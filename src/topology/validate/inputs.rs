//! Subscriptions: do they lead somewhere, and does their grouping fit the stream?

use std::collections::HashMap;

use crate::api::StreamDeclaration;
use crate::config::limits;
use crate::topology::diagnostic::DIAGNOSTICS_MAX;
use crate::topology::draft::{Draft, DraftComponent, DraftInput};
use crate::topology::graph::Grouping;
use crate::topology::implicit;
use crate::topology::registry::Kind;
use crate::topology::suggest::{self, shown};
use crate::topology::validate::problem::{ById, InputPart, Problem, Site, named};
use crate::tuple::Fields;

pub(super) fn problems(draft: &Draft, by_id: &ById<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut total = 0;
    for (at, component) in draft.components.iter().enumerate() {
        problems.extend(presence(draft, at));
        total += component.inputs().len();
        if total > limits::INPUTS_MAX {
            let message = format!("more than {} inputs in the topology", limits::INPUTS_MAX);
            problems.push(Problem::new(Site::Key(at, "inputs"), message));
            break;
        }
        // Each suggestion compares with many names, so wrong inputs are not sought without end.
        if component.kind == Kind::Bolt && problems.len() < DIAGNOSTICS_MAX {
            problems.extend(repeated(draft, at));
            let inputs =
                (0..component.inputs().len()).map(|position| Input { draft, by_id, bolt: at, position });
            problems.extend(inputs.flat_map(|input| input.problems()).take(DIAGNOSTICS_MAX));
        }
    }
    problems
}

/// Spouts have no inputs, bolts have some.
fn presence(draft: &Draft, at: usize) -> Option<Problem> {
    let component = &draft.components[at];
    let who = named(draft, at);
    match (component.kind, component.inputs.as_deref()) {
        (Kind::Spout, Some([_, ..])) => {
            let problem = Problem::new(Site::Key(at, "inputs"), format!("{who} cannot have inputs"));
            Some(
                problem.label("spouts begin streams").help(
                    "a component with inputs is a bolt, declared by `[bolt.ID]` or `TopologyBuilder::bolt`"
                        .to_owned(),
                ),
            )
        }
        (Kind::Bolt, Some([])) => {
            let problem =
                Problem::new(Site::Key(at, "inputs"), format!("{who} has no inputs and would never run"));
            let spout = draft.components.iter().find(|component| component.kind == Kind::Spout);
            Some(problem.help(spout.map(|spout| format!("for example `inputs = [\"{}\"]`", spout.id))))
        }
        _ => None,
    }
}

/// The same stream twice in one bolt: the bolt cannot distinguish their tuples.
fn repeated(draft: &Draft, at: usize) -> Vec<Problem> {
    let mut seen = HashMap::new();
    let mut problems = Vec::new();
    for (position, input) in draft.components[at].inputs().iter().enumerate() {
        if let Some(first) = seen.insert((&input.component, &input.stream), position) {
            let message = format!("{} takes `{}.{}` twice", named(draft, at), input.component, input.stream);
            problems.push(
                Problem::new(Site::Input(at, position, InputPart::Whole), message)
                    .related(Site::Input(at, first, InputPart::Whole), "first taken here".to_owned()),
            );
        }
    }
    problems
}

/// One input of one bolt, in its surroundings.
struct Input<'a> {
    draft: &'a Draft,
    by_id: &'a ById<'a>,
    bolt: usize,
    position: usize,
}

impl Input<'_> {
    fn problems(&self) -> Vec<Problem> {
        let input = self.input();
        let Some(&source) = self.by_id.get(input.component.as_str()) else {
            return vec![self.unknown_component()];
        };
        let source = &self.draft.components[source];
        let mut problems: Vec<Problem> = self.repeated_fields();
        // The streams are unknown when the component's settings are wrong.
        let Some(streams) = source.streams() else { return problems };
        match implicit::stream(source.kind, streams, &input.stream) {
            None => problems.push(self.unknown_stream(source)),
            Some(stream) => problems.extend(self.unfit_grouping(source, &stream)),
        }
        problems
    }

    fn input(&self) -> &DraftInput {
        &self.draft.components[self.bolt].inputs()[self.position]
    }

    fn site(&self, part: InputPart) -> Site {
        Site::Input(self.bolt, self.position, part)
    }

    fn problem(&self, part: InputPart, message: String) -> Problem {
        Problem::new(self.site(part), format!("input of {}: {message}", named(self.draft, self.bolt)))
    }

    fn unknown_component(&self) -> Problem {
        let id = &self.input().component;
        let others = self.draft.components.iter().map(|component| component.id.as_str());
        let own = self.draft.components[self.bolt].id.as_str();
        let candidates = others.filter(move |other| *other != own);
        self.problem(InputPart::From, format!("there is no component `{}`", shown(id)))
            .label("not defined in this topology")
            .help(self.dotted(id).or_else(|| suggest::help(id, candidates, "components")))
    }

    /// A suggestion for `id.stream` when the stream exists and the id is nearly right.
    fn dotted(&self, written: &str) -> Option<String> {
        let (id, stream) = written.rsplit_once('.')?;
        let having = self.draft.components.iter().filter(|component| {
            component
                .streams()
                .is_some_and(|streams| implicit::stream(component.kind, streams, stream).is_some())
        });
        let closest = suggest::closest(id, having.map(|component| component.id.as_str()))?;
        Some(format!("did you mean `{closest}.{stream}`?"))
    }

    fn unknown_stream(&self, source: &DraftComponent) -> Problem {
        let stream = &self.input().stream;
        let names = source.streams().map(|streams| implicit::stream_names(source.kind, streams));
        let names = names.unwrap_or_default();
        let message = if names.is_empty() {
            format!("{} `{}` emits nothing", source.kind, source.id)
        } else {
            format!("{} `{}` has no stream `{}`", source.kind, source.id, shown(stream))
        };
        self.problem(InputPart::Stream, message).label("no such stream").help(suggest::help(
            stream,
            names.iter().map(String::as_str),
            "streams",
        ))
    }

    fn unfit_grouping(&self, source: &DraftComponent, stream: &StreamDeclaration) -> Vec<Problem> {
        let whole = || format!("`{}.{}`", source.id, stream.name);
        match (&self.input().grouping, stream.direct) {
            (None, _) => Vec::new(),
            (Some(Grouping::Direct), false) => {
                let message = format!("{} is not a direct stream, so it has no direct grouping", whole());
                vec![
                    self.problem(InputPart::Grouping, message).help(
                        "the component would have to declare it by `Streams::direct_stream`".to_owned(),
                    ),
                ]
            }
            (Some(Grouping::Direct), true) => Vec::new(),
            (Some(other), true) => {
                let message = format!("{} is a direct stream; grouping {other} does not fit", whole());
                vec![self.problem(InputPart::Grouping, message).help("use grouping direct".to_owned())]
            }
            (Some(Grouping::Fields(fields) | Grouping::PartialKey(fields)), false) => {
                self.unknown_fields(&whole(), stream, fields)
            }
            (Some(_), false) => Vec::new(),
        }
    }

    fn unknown_fields(&self, whole: &str, stream: &StreamDeclaration, fields: &Fields) -> Vec<Problem> {
        let unknown = fields.iter().enumerate().filter(|(_, field)| stream.fields.position(field).is_none());
        let problem = |(position, field): (usize, &smol_str::SmolStr)| {
            let names = || stream.fields.iter().map(|name| name.as_str());
            let help = match suggest::closest(field, names()) {
                Some(name) => format!("did you mean `{name}`?"),
                None if stream.fields.is_empty() => "the stream has no fields".to_owned(),
                None => format!("fields: {}", suggest::list(names())),
            };
            self.problem(InputPart::Field(position), format!("{whole} has no field `{}`", shown(field)))
                .label("no such field")
                .help(help)
        };
        unknown.map(problem).collect()
    }

    /// No field at all, or one named twice.
    fn repeated_fields(&self) -> Vec<Problem> {
        let (name, fields) = match &self.input().grouping {
            Some(Grouping::Fields(fields)) => ("fields", fields),
            Some(Grouping::PartialKey(fields)) => ("partial-key", fields),
            _ => return Vec::new(),
        };
        if fields.is_empty() {
            let message = format!("grouping `{name}` needs the fields to group by");
            let help = "for example `fields = [\"word\"]`".to_owned();
            return vec![self.problem(InputPart::Fields, message).help(help)];
        }
        let again = fields.iter().enumerate().filter(|(at, field)| fields.position(field) != Some(*at));
        let problem = |(at, field): (usize, &smol_str::SmolStr)| {
            self.problem(InputPart::Field(at), format!("field `{}` is named twice", shown(field)))
        };
        again.map(problem).collect()
    }
}
