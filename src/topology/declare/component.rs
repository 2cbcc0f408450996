//! `[spout.ID]` and `[bolt.ID]`.

use std::collections::HashSet;

use smol_str::SmolStr;
use toml::de::{DeValue, ValueDeserializer};

use crate::config::ComponentOptions;
use crate::topology::declare::component_keys;
use crate::topology::declare::hooks;
use crate::topology::declare::inputs::Inputs;
use crate::topology::declare::named_secrets::named_secrets;
use crate::topology::declare::section::{Section, place};
use crate::topology::declare::settings::SettingsMistakes;
use crate::topology::declare::sites::Sites;
use crate::topology::declare::states::not_compiled_in;
use crate::topology::declare::texts::{Finding, Report, Span};
use crate::topology::declare::tree::{Key, Node, empty_table};
use crate::topology::draft::{DraftComponent, DraftInput};
use crate::topology::effort::Effort;
use crate::topology::graph::HookFactory;
use crate::topology::registry::{Built, ComponentType, Kind, Registry};
use crate::topology::suggest::{self, shown};
use crate::topology::validate::Site;

/// What all components are read with.
pub(super) struct DocumentScope<'a> {
    pub registry: &'a Registry,
    /// The ids of all components, right or wrong.
    pub ids: HashSet<String>,
    /// What all of them together may cost.
    pub effort: &'a Effort,
}

/// Reads the component that will stand at position `at`.
pub(super) fn read<'a>(
    scope: &DocumentScope<'_>,
    (kind, key, node): (Kind, &Key<'a>, &Node<'a>),
    at: usize,
    sites: &mut Sites<'a>,
    report: &mut Report,
) -> DraftComponent {
    sites.set(Site::Component(at), key.span());
    let id = SmolStr::new(key.get_ref());
    let of = format!(" of {kind} `{}`", shown(&id));
    let mut reader = Reader {
        scope,
        section: Section { report, of },
        sites,
        kind,
        at,
        id: key.span(),
        options: ComponentOptions::default(),
        component_type: None,
        config: None,
        inputs: Some(Vec::new()),
        hooks: Vec::new(),
        complete: true,
    };
    reader.table(node);
    let built = if reader.complete { reader.build() } else { None };
    DraftComponent {
        id,
        kind,
        type_name: reader.component_type.map(|known| SmolStr::new(&known.name)).unwrap_or_default(),
        built,
        inputs: reader.inputs,
        options: reader.options,
        hooks: reader.hooks,
    }
}

/// Lays the keys of a table over the options of a component that was built in Rust and stands at
/// position `at`.
pub(super) fn lay_over(
    component: &mut DraftComponent,
    node: &Node<'_>,
    (at, registry): (usize, &Registry),
    sites: &mut Sites,
    report: &mut Report,
) {
    let who = format!("{} `{}`", component.kind, shown(&component.id));
    let mut section = Section { report, of: format!(" of {who}") };
    let Some(table) = node.get_ref().as_table() else {
        return section.report.push(Finding::at(place(node), format!("{who} must be a table")));
    };
    let keys = component_keys::component(component.kind);
    let names: Vec<&'static str> = keys.iter().map(|key| key.name()).collect();
    for (name, span, value) in section.known("", table, &names) {
        sites.set(Site::Key(at, name), place(value));
        if FROM_THE_PROGRAM.contains(&name) {
            let message = format!("`{name}`{} comes from the program and cannot be set", section.of);
            section.report.push(Finding::at(span, message));
        } else if name == "hooks" {
            component.hooks.extend(hooks::read(&mut section, value, registry));
        } else {
            let known = keys.iter().find(|key| key.name() == name).expect("it is a known name");
            section.read(known, value, &mut component.options);
        }
    }
}

/// Keys of a component that is built in Rust that its program decides on.
const FROM_THE_PROGRAM: &[&str] = &["type", "config", "inputs"];

struct Reader<'a, 't> {
    scope: &'a DocumentScope<'a>,
    section: Section<'a>,
    sites: &'a mut Sites<'t>,
    kind: Kind,
    at: usize,
    /// The place of the id.
    id: Span,
    options: ComponentOptions,
    component_type: Option<&'a ComponentType>,
    /// The `config` table and the place of its key.
    config: Option<(Span, Node<'t>)>,
    inputs: Option<Vec<DraftInput>>,
    hooks: Vec<HookFactory>,
    /// Whether type and config could be read.
    complete: bool,
}

impl<'a, 't> Reader<'a, 't> {
    fn table(&mut self, node: &Node<'t>) {
        let Some(table) = node.get_ref().as_table() else {
            let message = format!("{} must be a table", self.section.of.trim_start_matches(" of "));
            self.section.report.push(Finding::at(place(node), message));
            (self.complete, self.inputs) = (false, None);
            return;
        };
        // The type first: it decides on defaults that other keys override.
        match table.get_key_value("type") {
            Some((_, node)) => self.component_type(node),
            None => self.no_type(),
        }
        let keys = component_keys::component(self.kind);
        let mut names: Vec<&'static str> = keys.iter().map(|key| key.name()).collect();
        // The validator reports that a spout has none; that a key is not for this kind is reported
        // here.
        let foreign = foreign_names(self.kind);
        names.extend(foreign);
        for (name, key, value) in self.section.known("", table, &names) {
            self.sites.set(Site::Key(self.at, name), place(value));
            match name {
                "type" => {}
                "config" => self.config = self.section.table(name, value).map(|_| (key, value.clone())),
                "inputs" => self.inputs = self.inputs(value),
                "hooks" => {
                    self.hooks = hooks::read(&mut self.section, value, self.scope.registry);
                }
                name if foreign.contains(&name) => self.foreign(name, key),
                name => {
                    let known = keys.iter().find(|key| key.name() == name).expect("it is a known name");
                    self.section.read(known, value, &mut self.options);
                }
            }
            self.complete &= name != "config" || self.config.is_some();
        }
    }

    fn component_type(&mut self, node: &Node<'_>) {
        self.complete = false;
        let Some(name) = self.section.text("type", node) else { return };
        let found = self.scope.registry.component(name);
        match found.filter(|known| known.kind == self.kind) {
            Some(known) => {
                self.options.blocking = known.blocking;
                self.component_type = Some(known);
                self.complete = true;
                if let Some(feature) = known.missing_feature {
                    self.section.report.push(not_compiled_in(name, place(node), feature));
                }
            }
            None => self.unknown_type(name, place(node), found),
        }
    }

    fn unknown_type(&mut self, name: &str, span: Span, other: Option<&ComponentType>) {
        let kind = self.kind;
        let finding = match other {
            Some(other) => Finding::at(span, format!("`{name}` is a {} type, not a {kind} type", other.kind))
                .help(Some(format!("declare the component by `[{}.ID]`", other.kind))),
            None => {
                let names: Vec<&str> = self.names_of_types().collect();
                Finding::at(span, format!("no {kind} type `{}` is known", shown(name)))
                    .label(Some("unknown type".to_owned()))
                    .help(suggest::help(name, names, "types"))
            }
        };
        self.section.report.push(finding);
    }

    fn no_type(&mut self) {
        self.complete = false;
        let names = suggest::list(self.names_of_types());
        let message = format!("{} has no `type`", self.section.of.trim_start_matches(" of "));
        let help = (!names.is_empty()).then(|| format!("types: {names}"));
        self.section.report.push(Finding::at(self.id.clone(), message).help(help).absence());
    }

    fn names_of_types(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let kind = self.kind;
        let types = self.scope.registry.components();
        types.filter(move |known| known.kind == kind).map(|known| known.name.as_str())
    }

    fn foreign(&mut self, name: &str, span: Span) {
        let other = match self.kind {
            Kind::Spout => Kind::Bolt,
            Kind::Bolt => Kind::Spout,
        };
        let message = format!("unknown key `{name}`{}: only a {other} has it", self.section.of);
        self.section.report.push(Finding::at(span, message));
    }

    fn inputs(&mut self, node: &Node<'_>) -> Option<Vec<DraftInput>> {
        let mut inputs = Inputs {
            section: &mut self.section,
            sites: self.sites,
            registry: self.scope.registry,
            ids: &self.scope.ids,
            at: self.at,
        };
        inputs.read(node)
    }

    /// Hands the settings to the component type.
    fn build(&mut self) -> Option<Built> {
        let known = self.component_type?;
        let (key, node) = match self.config.take() {
            Some((key, node)) => (key, node),
            None => (self.id.clone(), empty_table(self.id.clone())),
        };
        debug_assert!(matches!(node.get_ref(), DeValue::Table(_)));
        match known.build(ValueDeserializer::from(node.clone()), self.scope.effort) {
            Ok(built) => {
                self.sites.add_secrets(named_secrets(&node, |generator| known.schema(generator)));
                self.sites.set_config(self.at, node);
                Some(built)
            }
            Err(error) => {
                let mistakes = SettingsMistakes {
                    what: &format!("type `{}`", known.name),
                    schema: &|generator| known.schema(generator),
                    subject: &format!("config{}", self.section.of),
                    key,
                    node: &node,
                };
                mistakes.report(error, self.section.report);
                None
            }
        }
    }
}

/// Keys that only the other kind of component has, `inputs` aside.
fn foreign_names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Spout => &["inputs", "tick", "max_replays", "on_error", "state"],
        Kind::Bolt => &["max_spout_pending"],
    }
}
