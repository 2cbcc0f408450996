//! `inputs`: what a bolt subscribes to.
//!
//! ```toml
//! # of `[bolt.count]`
//! inputs = ["lines", "split.long", { from = "split", fields = ["word"] }]
//! ```

use std::collections::HashSet;

use smol_str::SmolStr;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::ids::DEFAULT_STREAM;
use crate::topology::declare::keys::{GROUPINGS, INPUT};
use crate::topology::declare::section::{Section, place};
use crate::topology::declare::settings::SettingsMistakes;
use crate::topology::declare::sites::Sites;
use crate::topology::declare::texts::{Finding, Span};
use crate::topology::declare::tree::{Node, empty_table, type_name};
use crate::topology::draft::DraftInput;
use crate::topology::graph::Grouping;
use crate::topology::registry::Registry;
use crate::topology::suggest;
use crate::topology::validate::{InputPart, Site};
use crate::tuple::Fields;

/// Reads the inputs of one component.
pub(super) struct Inputs<'a, 's, 't> {
    pub section: &'a mut Section<'s>,
    pub sites: &'a mut Sites<'t>,
    pub registry: &'a Registry,
    /// The ids of all components, right or wrong.
    pub ids: &'a HashSet<String>,
    /// The position of the component.
    pub at: usize,
}

impl Inputs<'_, '_, '_> {
    /// Reads the value of `inputs`; `None` when it cannot be judged.
    pub fn read(&mut self, node: &Node<'_>) -> Option<Vec<DraftInput>> {
        let DeValue::Array(items) = node.get_ref() else {
            let found = type_name(node.get_ref());
            let message = format!("`inputs`{} must be an array, not {found}", self.section.of);
            self.section.report.push(
                Finding::at(place(node), message).help(Some("for example `inputs = [\"lines\"]`".to_owned())),
            );
            return None;
        };
        let mut inputs = Vec::new();
        let mut readable = true;
        for item in items.iter() {
            match self.item(item, inputs.len()) {
                Some(input) => inputs.push(input),
                None => readable = false,
            }
        }
        // With nothing readable at all, "no inputs" would be wrong.
        (readable || !inputs.is_empty()).then_some(inputs)
    }

    fn item(&mut self, node: &Node<'_>, position: usize) -> Option<DraftInput> {
        self.site(position, InputPart::Whole, place(node));
        match node.get_ref() {
            DeValue::String(text) => {
                let (component, stream) = self.resolve(text);
                Some(DraftInput { component, stream, grouping: Some(Grouping::Shuffle), feedback: false })
            }
            DeValue::Table(table) => self.table(node, table, position),
            _ => {
                let found = type_name(node.get_ref());
                let message = format!(
                    "an input{} must be \"id\", \"id.stream\" or {{ from = \"id\", … }}, not {found}",
                    self.section.of
                );
                self.section.report.push(Finding::at(place(node), message));
                None
            }
        }
    }

    fn table(&mut self, node: &Node<'_>, table: &DeTable<'_>, position: usize) -> Option<DraftInput> {
        let names: Vec<&'static str> = INPUT.iter().map(|(name, _)| *name).collect();
        let mut parts = Parts::default();
        for (name, _, value) in self.section.known("inputs", table, &names) {
            let part = match name {
                "from" => InputPart::From,
                "stream" => InputPart::Stream,
                "fields" => InputPart::Fields,
                "feedback" => InputPart::Feedback,
                _ => InputPart::Grouping,
            };
            self.site(position, part, place(value));
            match name {
                "from" => parts.from = Some(value),
                "stream" => parts.stream = Some(value),
                "grouping" => parts.grouping = Some(value),
                "fields" => parts.fields = Some(value),
                "custom" => parts.custom = Some(value),
                "config" => parts.config = Some(value),
                _ => parts.feedback = Some(value),
            }
        }
        let feedback = parts.feedback.and_then(|value| self.section.switch("inputs.feedback", value));
        let grouping = self.grouping(&parts, position);
        let Some(from) = parts.from else {
            let message = format!("an input{} names no component", self.section.of);
            self.section.report.push(
                Finding::at(place(node), message)
                    .help(Some("give the id of one by `from`".to_owned()))
                    .absence(),
            );
            return None;
        };
        let (component, stream) = self.source(from, parts.stream)?;
        Some(DraftInput { component, stream, grouping, feedback: feedback.unwrap_or(false) })
    }

    /// The component and stream of `from` and `stream`.
    fn source(&mut self, from: &Node<'_>, stream: Option<&Node<'_>>) -> Option<(SmolStr, SmolStr)> {
        let from = self.section.text("inputs.from", from);
        let Some(stream) = stream else { return from.map(|from| self.resolve(from)) };
        let stream = self.section.text("inputs.stream", stream);
        Some((SmolStr::new(from?), SmolStr::new(stream?)))
    }

    /// `id` or `id.stream`, where ids may hold dots themselves: the longest id there is wins.
    fn resolve(&self, written: &str) -> (SmolStr, SmolStr) {
        let whole = (SmolStr::new(written), SmolStr::new_static(DEFAULT_STREAM));
        if self.ids.contains(written) || written.len() > 200 {
            return whole;
        }
        let dots = written.rmatch_indices('.').map(|(at, _)| (&written[..at], &written[at + 1..]));
        let mut known = dots.filter(|(id, _)| self.ids.contains(*id));
        known.next().map_or(whole, |(id, stream)| (SmolStr::new(id), SmolStr::new(stream)))
    }

    fn grouping(&mut self, parts: &Parts<'_, '_>, position: usize) -> Option<Grouping> {
        let name = match (parts.grouping, parts.fields, parts.custom) {
            (Some(node), fields, _) => match (self.grouping_name(node), fields) {
                (Some(name), _) => name,
                // Whatever it should have been, the fields can be checked all the same.
                (None, Some(_)) => "fields",
                (None, None) => return None,
            },
            (None, Some(_), _) => "fields",
            (None, None, Some(_)) => "custom",
            (None, None, None) => "shuffle",
        };
        if let Some(fields) = parts.fields.filter(|_| !matches!(name, "fields" | "partial-key")) {
            self.misplaced("fields", fields, name);
        }
        for (key, part) in [("custom", parts.custom), ("config", parts.config)] {
            if let Some(part) = part.filter(|_| name != "custom") {
                self.misplaced(key, part, name);
            }
        }
        let fields = |this: &mut Self| match parts.fields {
            Some(node) => this.fields(node, position),
            None => Some(Fields::none()),
        };
        match name {
            "shuffle" => Some(Grouping::Shuffle),
            "fields" => fields(self).map(Grouping::Fields),
            "partial-key" => fields(self).map(Grouping::PartialKey),
            "all" => Some(Grouping::All),
            "global" => Some(Grouping::Global),
            "none" => Some(Grouping::None),
            "local-or-shuffle" => Some(Grouping::LocalOrShuffle),
            "direct" => Some(Grouping::Direct),
            _ => self.custom(parts),
        }
    }

    fn grouping_name(&mut self, node: &Node<'_>) -> Option<&'static str> {
        let written = self.section.text("inputs.grouping", node)?;
        let found = GROUPINGS.iter().find(|name| **name == written).copied();
        if found.is_none() {
            self.section.report.push(
                Finding::at(place(node), format!("there is no grouping `{}`", suggest::shown(written)))
                    .help(suggest::help(written, GROUPINGS.iter().copied(), "groupings")),
            );
        }
        found
    }

    fn misplaced(&mut self, key: &str, node: &Node<'_>, grouping: &str) {
        let message = format!("`{key}` does not go with grouping `{grouping}`");
        self.section.report.push(Finding::at(place(node), message));
    }

    fn fields(&mut self, node: &Node<'_>, position: usize) -> Option<Fields> {
        let expected = "an array of field names, as [\"word\"]";
        let DeValue::Array(items) = node.get_ref() else {
            self.section.wrong_type("inputs.fields", node, expected);
            return None;
        };
        let mut names = Vec::new();
        for (at, item) in items.iter().enumerate() {
            self.site(position, InputPart::Field(at), place(item));
            match item.get_ref() {
                DeValue::String(name) => names.push(name.as_ref()),
                _ => {
                    self.section.wrong_type("inputs.fields", item, "a field name");
                    return None;
                }
            }
        }
        Some(names.into_iter().collect())
    }

    fn custom(&mut self, parts: &Parts<'_, '_>) -> Option<Grouping> {
        let Some(node) = parts.custom else {
            let span = parts.grouping.map(place)?;
            let names = suggest::list(self.names_of_groupings());
            let finding = Finding::at(span, "grouping `custom` needs the name of a registered grouping");
            self.section.report.push(finding.help(Some(match names.as_str() {
                "" => "none is registered; see `Registry::grouping`".to_owned(),
                names => format!("give it by `custom`; registered: {names}"),
            })));
            return None;
        };
        let name = self.section.text("inputs.custom", node)?;
        let Some(known) = self.registry.custom_grouping(name) else {
            let help = suggest::help(name, self.names_of_groupings(), "registered");
            let message = format!("no custom grouping `{}` is registered", suggest::shown(name));
            self.section.report.push(Finding::at(place(node), message).help(help));
            return None;
        };
        let config = match parts.config {
            Some(config) => {
                self.section.table("inputs.config", config)?;
                config.clone()
            }
            None => empty_table(place(node)),
        };
        match known.build(ValueDeserializer::from(config.clone())) {
            Ok(factory) => Some(Grouping::Custom(SmolStr::new(name), factory)),
            Err(error) => {
                let mistakes = SettingsMistakes {
                    what: &format!("grouping `{name}`"),
                    schema: &|generator| known.schema(generator),
                    subject: &format!("config of an input{}", self.section.of),
                    key: place(&config),
                    node: &config,
                };
                mistakes.report(error, self.section.report);
                None
            }
        }
    }

    fn names_of_groupings(&self) -> impl Iterator<Item = &str> + Clone {
        self.registry.custom_groupings().map(|known| known.name.as_str())
    }

    fn site(&mut self, position: usize, part: InputPart, span: Span) {
        self.sites.set(Site::Input(self.at, position, part), span);
    }
}

/// The values of an input that is a table.
#[derive(Default)]
struct Parts<'n, 't> {
    from: Option<&'n Node<'t>>,
    stream: Option<&'n Node<'t>>,
    grouping: Option<&'n Node<'t>>,
    fields: Option<&'n Node<'t>>,
    custom: Option<&'n Node<'t>>,
    config: Option<&'n Node<'t>>,
    feedback: Option<&'n Node<'t>>,
}
