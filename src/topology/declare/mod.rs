//! Topologies in TOML: documents to the same graph that the Rust builder makes.
//!
//! ```text
//!   file ─► bounds ─► parse ─► variables ─┐
//!   includes, the same ───────────────────┼─► one tree ─► draft ─► validate ─► Topology
//!   --set arguments ──────────────────────┘     (every value knows its place)
//! ```
//!
//! * `source`: where texts and variables come from. `encoding`: bytes to text. `document`: files,
//!   includes, overrides, one tree. `texts`: places over several texts.
//! * `key`, `keys`, `component_keys`, `scheduling_keys`: every key there is. `reading`, `section`, `component`, `inputs`, `hooks`,
//!   `settings`, `states`: the tree to a draft.
//! * `named_secrets`: which secrets settings name.
//! * `built`: overrides laid over a topology that was built in Rust.
//! * `engine`, `engine_keys`: the engine's own file, `squall.toml`, read by the same means.
//! * `hosts`: the hosts of a cluster, read by the same means.
//!
//! 1. Every mistake is reported, with its place, in one run; nothing is guessed.
//! 2. Whatever the text, reading ends soon: its size and depth are bounded before it is parsed,
//!    and the number of findings while it is read.
//! 3. An unknown key is an error everywhere. The error of a key of a later version states that.

mod bounds;
mod built;
mod component;
pub(crate) mod component_keys;
mod document;
mod encoding;
mod engine;
pub(crate) mod engine_keys;
mod hooks;
mod hosts;
mod inputs;
mod key;
pub(crate) mod keys;
mod named_secrets;
mod overrides;
mod reading;
mod scheduling_keys;
mod section;
mod settings;
mod sites;
mod source;
mod states;
mod texts;
mod tree;
mod variables;

use crate::topology::declare::document::Document;
use crate::topology::declare::named_secrets::NamedSecret;
use crate::topology::declare::reading::Reading;
use crate::topology::declare::texts::Finding;
use crate::topology::declare::tree::Shelf;
use crate::topology::diagnostic::{Diagnostic, TopologyErrors};
use crate::topology::effort::Effort;
use crate::topology::graph::Topology;
use crate::topology::registry::Registry;
use crate::topology::suggest;
use crate::topology::validate;

pub use engine::{load_engine, parse_engine};
pub use hosts::load_hosts;
pub(crate) use reading::DELIVERIES;
pub use source::{MemorySource, NamedBy, NoVariable, Source};

/// Reads the topology of a file, with what it includes and with `KEY=VALUE` overrides. If `path` is
/// the name of a topology that the registry builds, nothing is read but the overrides.
///
/// # Errors
/// Everything that is wrong, at once, with places.
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::topology::declare::{MemorySource, load};
///
/// let source = MemorySource::new().file("a.toml", "[topology]\nnmae = 'a'\n[bolt.b]\ntype = 'split'");
/// let errors = load(&source, "a.toml", &Registry::new(), &["bolt.b.tasks=0".to_owned()]).unwrap_err();
/// let first = &errors.diagnostics()[0];
/// assert_eq!(first.place.as_ref().unwrap().to_string(), "a.toml:1:2");
/// assert!(errors.render(false).contains("did you mean `name`?"));
/// ```
pub fn load(
    source: &dyn Source,
    path: &str,
    registry: &Registry,
    set: &[String],
) -> Result<Topology, TopologyErrors> {
    load_within(source, path, registry, set, &Effort::of_document())
}

/// As [`load`], with what the settings of its components may cost.
///
/// # Errors
/// Everything that is wrong, at once, with places.
pub fn load_within(
    source: &dyn Source,
    path: &str,
    registry: &Registry,
    set: &[String],
    effort: &Effort,
) -> Result<Topology, TopologyErrors> {
    if let Some(topology) = registry.build_topology(path) {
        let topology = built::override_options(topology?, source, registry, set)?;
        return with_its_secrets(topology, source);
    }
    let shelf = Shelf::new(document::room(set));
    let others = registered(registry);
    let Document { mut root, texts, mut report, complete, taken, doubtful } =
        document::read(source, path, set, &shelf, others);
    let mut reading = overrides::settle(&mut root, doubtful, |root| {
        // The tree is read once more for each `--set` whose value may be meant as text.
        effort.restart();
        Reading::of(root, registry, effort)
    });
    reading.draft.taken = taken;
    if !complete {
        report.extend_elsewhere(reading.report, &texts);
        return Err(report.into_errors(&texts));
    }
    report.append(reading.report);
    for NamedSecret { name, span } in reading.sites.secrets() {
        if let Err(error) = source.secret(name) {
            report.push(Finding::at(span.clone(), error.to_string()).help(error.remedy()));
        }
    }
    for problem in validate::problems(&reading.draft) {
        report.push(reading.sites.finding(problem));
    }
    if report.is_empty() { Ok(reading.draft.into_topology()) } else { Err(report.into_errors(&texts)) }
}

/// A topology whose secrets are there, as far as the source looks for them.
fn with_its_secrets(topology: Topology, source: &dyn Source) -> Result<Topology, TopologyErrors> {
    let missing = topology.secrets().filter_map(|name| source.secret(name).err());
    let missing: Vec<Diagnostic> = missing
        .map(|error| Diagnostic { help: error.remedy(), ..Diagnostic::new(error.to_string()) })
        .collect();
    if missing.is_empty() { Ok(topology) } else { Err(TopologyErrors::new(missing)) }
}

/// What could be run instead of a document that is not there.
fn registered(registry: &Registry) -> Option<String> {
    let names = suggest::list(registry.topologies());
    (!names.is_empty()).then(|| format!("registered topologies: {names}"))
}

/// Reads the topology of a text that includes no other and may use no variables.
///
/// # Errors
/// Everything that is wrong, at once, with places in `name`.
pub fn parse_str(name: &str, text: &str, registry: &Registry) -> Result<Topology, TopologyErrors> {
    load(&MemorySource::new().file(name, text), name, registry, &[])
}
