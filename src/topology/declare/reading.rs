//! The tree to a draft: `[topology]`, and the components in the order of the text.

use std::collections::BTreeSet;

use smol_str::SmolStr;
use toml::de::{DeTable, DeValue};

use crate::config::{Delivery, TopologyOptions, limits};
use crate::topology::declare::component::{self, DocumentScope};
use crate::topology::declare::hooks;
use crate::topology::declare::keys::{self, Shape};
use crate::topology::declare::section::{Section, place};
use crate::topology::declare::sites::Sites;
use crate::topology::declare::states;
use crate::topology::declare::texts::{Finding, Report, Span};
use crate::topology::declare::tree::{Key, Node, in_order};
use crate::topology::draft::Draft;
use crate::topology::effort::Effort;
use crate::topology::registry::{Kind, Registry};
use crate::topology::suggest::{self, shown};
use crate::topology::validate::Site;

/// The tables that a document is made of.
const TABLES: &[&str] = &["topology", "state", "spout", "bolt"];
/// The values of `delivery`.
pub(crate) const DELIVERIES: &[&str] = &["at-most-once", "at-least-once", "exactly-once"];

/// A tree on its way to a draft.
pub(super) struct Reading<'t> {
    pub draft: Draft,
    pub sites: Sites<'t>,
    pub report: Report,
    /// False if `delivery` is written and could not be read.
    knows_delivery: bool,
}

impl<'t> Reading<'t> {
    /// Reads a whole tree.
    pub fn of(root: &DeTable<'t>, registry: &Registry, effort: &Effort) -> Reading<'t> {
        let draft = Draft {
            name: None,
            options: TopologyOptions::default(),
            components: Vec::new(),
            hooks: Vec::new(),
            states: Vec::new(),
            sets_checkpoint: false,
            taken: Vec::new(),
            secrets: BTreeSet::new(),
            process: registry.process_parts().clone(),
            complete: true,
        };
        let mut reading = Reading::new(draft);
        reading.sites.set(Site::Document, 0..0);
        let tables = reading.section().known("", root, TABLES);
        if !root.contains_key("topology") {
            let finding = Finding::at(0..0, "there is no `[topology]` table").absence();
            let help = "begin the file with `[topology]` and `name = \"…\"`".to_owned();
            reading.report.push(finding.help(Some(help)));
        }
        let mut components = Vec::new();
        for (name, key, node) in tables {
            match name {
                "topology" => reading.topology(key, node, registry),
                "state" => {
                    for (at, state) in reading.state(node, registry).into_iter().enumerate() {
                        let (sites, report) = (&mut reading.sites, &mut reading.report);
                        reading.draft.states.push(states::read(state, at, registry, sites, report));
                    }
                }
                "spout" => components.extend(reading.components(Kind::Spout, node)),
                _ => components.extend(reading.components(Kind::Bolt, node)),
            }
        }
        components.sort_by_key(|(_, key, _)| key.span().start);
        if let Some((_, key, _)) = components.get(limits::COMPONENTS_MAX) {
            let message = format!("{} components; the limit is {}", components.len(), limits::COMPONENTS_MAX);
            reading.report.push(Finding::at(key.span(), message));
            reading.draft.complete = false;
            components.truncate(limits::COMPONENTS_MAX);
        }
        let ids = components.iter().map(|(_, key, _)| key.get_ref().to_string()).collect();
        reading.all_components(&DocumentScope { registry, ids, effort }, &components);
        reading.draft.secrets.extend(reading.sites.secrets().iter().map(|named| named.name.clone()));
        reading
    }

    /// Lays a tree over the options of a draft that was made without a document.
    pub fn over(draft: Draft, root: &DeTable<'t>, registry: &Registry) -> Reading<'t> {
        let mut reading = Reading::new(draft);
        for (name, _, node) in reading.section().known("", root, TABLES) {
            let kind = match name {
                "topology" => {
                    if let Some(table) = reading.section().table(name, node) {
                        reading.options(("", keys::TOPOLOGY), table, registry);
                    }
                    continue;
                }
                "state" => {
                    for (key, _) in reading.state(node, registry) {
                        let message = format!(
                            "`state.{}` comes from the program and cannot be set",
                            shown(key.get_ref())
                        );
                        reading.report.push(Finding::at(key.span(), message));
                    }
                    continue;
                }
                "spout" => Kind::Spout,
                _ => Kind::Bolt,
            };
            for (kind, key, node) in reading.components(kind, node) {
                let mut components = reading.draft.components.iter_mut().enumerate();
                // Others were refused where the overrides were put into the tree.
                let found = components.find(|(_, it)| it.kind == kind && it.id == key.get_ref().as_ref());
                if let Some((at, component)) = found {
                    let (sites, report) = (&mut reading.sites, &mut reading.report);
                    component::lay_over(component, node, (at, registry), sites, report);
                }
            }
        }
        reading
    }

    fn new(draft: Draft) -> Reading<'t> {
        Reading { draft, sites: Sites::default(), report: Report::default(), knows_delivery: true }
    }

    fn section(&mut self) -> Section<'_> {
        Section { report: &mut self.report, of: String::new() }
    }

    fn topology(&mut self, key: Span, node: &Node<'_>, registry: &Registry) {
        self.sites.set(Site::Document, key.clone());
        let Some(table) = self.section().table("topology", node) else { return };
        self.options(("", keys::TOPOLOGY), table, registry);
        if !table.contains_key("name") {
            let finding = Finding::at(key, "the topology has no `name`").absence();
            self.report.push(finding.help(Some("for example `name = \"word-count\"`".to_owned())));
        }
    }

    /// Reads the options of `[state]`, and returns the tables in it: stores outside of squall, by name.
    fn state<'n>(&mut self, node: &'n Node<'t>, registry: &Registry) -> Vec<(&'n Key<'t>, &'n Node<'t>)> {
        let Some(table) = self.section().table("state", node) else { return Vec::new() };
        let is_option = |name: &str| keys::STATE.iter().any(|key| key.name() == name);
        let is_store = |key: &Key<'t>, node: &Node<'t>| {
            !is_option(key.get_ref()) && matches!(node.get_ref(), DeValue::Table(_))
        };
        let options = table.iter().filter(|(key, node)| !is_store(key, node));
        let options = options.map(|(key, node)| (key.clone(), node.clone())).collect();
        self.options(("state", keys::STATE), &options, registry);
        let stores = in_order(table).into_iter().filter(|(key, node)| is_store(key, node));
        stores.take(limits::STATES_MAX + 1).collect()
    }

    /// The options of `[topology]`, of a table in it, or of `[state]`.
    fn options(
        &mut self,
        (prefix, keys): (&str, &'static [keys::Key<TopologyOptions>]),
        table: &DeTable<'_>,
        registry: &Registry,
    ) {
        let names: Vec<&'static str> = keys.iter().map(keys::Key::name).collect();
        for (name, _, node) in self.section().known(prefix, table, &names) {
            let key = keys.iter().find(|key| key.name() == name).expect("it is a known name");
            self.sites.set(Site::Option(key.path), place(node));
            match (&key.shape, name) {
                (Shape::Nested(inner), _) => {
                    self.draft.sets_checkpoint |= name == "checkpoint";
                    if let Some(table) = self.section().table(key.path, node) {
                        if name == "batch" {
                            // An empty table asks for batches, too.
                            self.draft.options.batch.get_or_insert_default();
                        }
                        self.options((key.path, inner), table, registry);
                    }
                }
                (Shape::Special, "name") => self.name(node),
                (Shape::Special, "delivery") => self.delivery(node),
                (Shape::Special, "hooks") => {
                    let mut section = Section { report: &mut self.report, of: String::new() };
                    self.draft.hooks.extend(hooks::read(&mut section, node, registry));
                }
                _ => {
                    let mut section = Section { report: &mut self.report, of: String::new() };
                    section.read(key, node, &mut self.draft.options);
                }
            }
        }
        // Whether a delivery that could not be read uses checkpoints is not known.
        self.draft.sets_checkpoint &= self.knows_delivery;
    }

    fn name(&mut self, node: &Node<'_>) {
        self.sites.set(Site::Name, place(node));
        self.draft.name = self.section().text("name", node).map(SmolStr::new);
    }

    fn delivery(&mut self, node: &Node<'_>) {
        let delivery =
            self.section().text("delivery", node).and_then(|written| self.delivery_named(written, node));
        match delivery {
            Some(delivery) => self.draft.options.delivery = delivery,
            None => self.knows_delivery = false,
        }
    }

    fn delivery_named(&mut self, written: &str, node: &Node<'_>) -> Option<Delivery> {
        match written {
            "at-least-once" => Some(Delivery::AtLeastOnce),
            "at-most-once" => Some(Delivery::AtMostOnce),
            "exactly-once" => Some(Delivery::ExactlyOnce),
            other => {
                let finding = Finding::at(place(node), format!("there is no delivery `{}`", shown(other)))
                    .help(suggest::help(other, DELIVERIES.iter().copied(), "deliveries"));
                self.report.push(finding);
                None
            }
        }
    }

    fn components<'n>(&mut self, kind: Kind, node: &'n Node<'t>) -> Vec<(Kind, &'n Key<'t>, &'n Node<'t>)> {
        let path = kind.to_string();
        let Some(table) = self.section().table(&path, node) else {
            self.draft.complete = false;
            return Vec::new();
        };
        in_order(table).into_iter().map(|(key, node)| (kind, key, node)).collect()
    }

    fn all_components(&mut self, scope: &DocumentScope<'_>, components: &[(Kind, &Key<'t>, &Node<'t>)]) {
        for (at, component) in components.iter().enumerate() {
            let read = component::read(scope, *component, at, &mut self.sites, &mut self.report);
            self.draft.components.push(read);
        }
    }
}
