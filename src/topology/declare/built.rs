//! `--set` overrides, laid over a topology that was built in Rust.
//!
//! The options of such a topology and of its components are the same as in a document, under the same
//! keys. What makes a component what it is (its type, its settings, its inputs) comes from the
//! program and cannot be set.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::topology::declare::document::{self, Document};
use crate::topology::declare::overrides;
use crate::topology::declare::reading::Reading;
use crate::topology::declare::source::Source;
use crate::topology::declare::tree::{Shelf, empty_table, key};
use crate::topology::diagnostic::TopologyErrors;
use crate::topology::draft::Draft;
use crate::topology::graph::Topology;
use crate::topology::registry::Registry;
use crate::topology::validate;

/// The topology with the options that the overrides name, and with what the registry adds to every
/// process; validated again.
pub(super) fn override_options(
    mut topology: Topology,
    source: &dyn Source,
    registry: &Registry,
    set: &[String],
) -> Result<Topology, TopologyErrors> {
    topology.process.extend(registry.process_parts());
    if set.is_empty() {
        return Ok(topology);
    }
    let shelf = Shelf::new(document::room(set));
    let document = document::overlay(source, outline(&topology), set, &shelf);
    let Document { mut root, texts, mut report, doubtful, .. } = document;
    let mut reading = overrides::settle(&mut root, doubtful, |root| {
        Reading::over(Draft::from(topology.clone()), root, registry)
    });
    reading.draft.build_instances(None);
    report.append(reading.report);
    for problem in validate::problems(&reading.draft) {
        report.push(reading.sites.finding(problem));
    }
    if report.is_empty() { Ok(reading.draft.into_topology()) } else { Err(report.into_errors(&texts)) }
}

/// An empty table for each component, so that overrides find those that exist.
fn outline(topology: &Topology) -> DeTable<'static> {
    let mut root = DeTable::new();
    for (kind, are_spouts) in [("spout", true), ("bolt", false)] {
        let components = topology.components().iter();
        let ids = components.filter(|component| component.is_spout() == are_spouts);
        let tables: DeTable<'static> =
            ids.map(|component| (key(component.id.to_string(), 0..0), empty_table(0..0))).collect();
        root.insert(key(kind.to_owned(), 0..0), Spanned::new(0..0, DeValue::Table(tables)));
    }
    root
}
