//! The engine's file, `squall.toml`: how this installation runs topologies, whatever they are.
//!
//! It is read as topology documents are: bounded before it is parsed, with `${NAME}` in strings,
//! and every mistake is reported at once, with its place.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use toml::de::DeTable;

use crate::config::{EngineOptions, OptionProblem};
use crate::topology::declare::document::{self, Document};
use crate::topology::declare::engine_keys::ENGINE;
use crate::topology::declare::keys::{Key, Shape};
use crate::topology::declare::section::{Section, place};
use crate::topology::declare::source::{MemorySource, Source};
use crate::topology::declare::texts::{Finding, Report, Span};
use crate::topology::declare::tree::Shelf;
use crate::topology::diagnostic::TopologyErrors;

/// Tables of a topology document.
const OF_TOPOLOGIES: &[&str] = &["topology", "spout", "bolt"];

/// Reads the engine's file. Paths in it are relative to its directory.
///
/// # Errors
/// Everything that is wrong, at once, with places.
///
/// # Examples
/// ```
/// use squall::topology::declare::{MemorySource, load_engine};
///
/// let source = MemorySource::new().file("squall.toml", "[net]\nsilence = '1s'\nlissen = '[::1]:0'");
/// let errors = load_engine(&source, "squall.toml").unwrap_err();
/// assert_eq!(
///     errors.diagnostics()[0].to_string(),
///     "squall.toml:3:1: unknown key `net.lissen` (did you mean `listen`?)"
/// );
/// ```
pub fn load_engine(source: &dyn Source, path: &str) -> Result<EngineOptions, TopologyErrors> {
    let shelf = Shelf::new(document::room(&[]));
    let document = document::read(source, path, &[], &shelf, None);
    let Document { mut root, texts, mut report, complete, .. } = document;
    let mut reading = Reading::default();
    reading.strangers(&mut root);
    reading.table("", &root, ENGINE);
    if !complete {
        report.extend_elsewhere(reading.report, &texts);
        return Err(report.into_errors(&texts));
    }
    reading.check();
    report.append(reading.report);
    if !report.is_empty() {
        return Err(report.into_errors(&texts));
    }
    let mut options = reading.options;
    relative_to_file(&mut options, path);
    Ok(options)
}

/// Reads the text of an engine's file that may use no variables.
///
/// # Errors
/// Everything that is wrong, at once, with places in `name`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use squall::topology::declare::parse_engine;
///
/// let options = parse_engine("squall.toml", "[worker]\nrestart_max = '10s'").unwrap();
/// assert_eq!(options.worker.restart_max, Duration::from_secs(10));
/// ```
pub fn parse_engine(name: &str, text: &str) -> Result<EngineOptions, TopologyErrors> {
    load_engine(&MemorySource::new().file(name, text), name)
}

/// Options on their way from the tree.
#[derive(Default)]
struct Reading {
    options: EngineOptions,
    report: Report,
    /// Where tables and values were written, by the paths of their keys.
    places: HashMap<&'static str, Span>,
    /// Keys whose values were no good, so that their options still have the defaults, which is not
    /// what was meant.
    unread: HashSet<&'static str>,
}

impl Reading {
    /// A topology document handed in by mistake is one mistake, not a hundred.
    fn strangers(&mut self, root: &mut DeTable<'_>) {
        for name in OF_TOPOLOGIES {
            let Some((key, _)) = root.remove_entry(*name) else { continue };
            let message = format!("`[{name}]` belongs in a topology document, not in the engine's file");
            let help = "the engine's file has the tables `[net]`, `[worker]`, `[zookeeper]`, `[cluster]`, `[nimbus]`, `[supervisor]` and `[secrets]`".to_owned();
            self.report.push(Finding::at(key.span(), message).help(Some(help)));
        }
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, keys: &'static [Key<EngineOptions>]) {
        let names: Vec<&'static str> = keys.iter().map(Key::name).collect();
        for (name, span, node) in self.section().known(path, table, &names) {
            let key = keys.iter().find(|key| key.name() == name).expect("it is a known name");
            let Shape::Nested(inner) = key.shape else {
                self.places.insert(key.path, place(node));
                let before = self.report.count();
                let mut section = Section { report: &mut self.report, of: String::new() };
                section.read(key, node, &mut self.options);
                if self.report.count() > before {
                    self.unread.insert(key.path);
                }
                continue;
            };
            self.places.insert(key.path, span);
            if let Some(table) = self.section().table(key.path, node) {
                self.enter(key.path);
                self.table(key.path, table, inner);
            }
        }
    }

    fn section(&mut self) -> Section<'_> {
        Section { report: &mut self.report, of: String::new() }
    }

    /// The presence of the table means something by itself.
    fn enter(&mut self, path: &str) {
        match path {
            "net.tls" => _ = self.options.net.tls.get_or_insert_default(),
            "zookeeper.tls" => _ = self.options.zookeeper.tls.get_or_insert_default(),
            "nimbus.tls" => _ = self.options.nimbus.tls.get_or_insert_default(),
            _ => {}
        }
    }

    /// What is wrong with values that are fine by themselves.
    fn check(&mut self) {
        for problem in self.options.problems() {
            let keys = [Some(problem.key), problem.other];
            if !keys.iter().flatten().any(|key| self.unread.contains(key)) {
                let finding = self.finding(problem);
                self.report.push(finding);
            }
        }
    }

    fn finding(&self, problem: OptionProblem) -> Finding {
        let written = |key: &'static str| self.places.get(key).cloned();
        let other = problem.other.and_then(|other| Some((other, written(other)?)));
        let finding = |span| Finding::at(span, problem.message).help(problem.help);
        match (written(problem.key), other) {
            (Some(span), Some((other, place))) => {
                finding(span).related(place, format!("`{other}` is set here"))
            }
            (Some(span), None) => finding(span),
            // Its default does not fit what was written for the other.
            (None, Some((_, place))) => finding(place),
            (None, None) => {
                let table = problem.key.rsplit_once('.').and_then(|(table, _)| self.places.get(table));
                finding(table.cloned().unwrap_or(0..0))
            }
        }
    }
}

/// Paths in the file are relative to its directory.
fn relative_to_file(options: &mut EngineOptions, file: &str) {
    let directory = Path::new(file).parent().unwrap_or(Path::new(""));
    let net =
        options.net.tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key, &mut tls.authority]);
    let ensemble = &mut options.zookeeper;
    let tls = ensemble.tls.iter_mut().flat_map(|tls| {
        [Some(&mut tls.authority), tls.certificate.as_mut(), tls.key.as_mut()].into_iter().flatten()
    });
    let password = ensemble.password_file.as_mut();
    let api = options.nimbus.tls.iter_mut().flat_map(|tls| {
        [tls.certificate.as_mut(), tls.key.as_mut(), tls.authority.as_mut()].into_iter().flatten()
    });
    let daemons = [
        options.cluster.blobs.as_mut(),
        options.cluster.key_file.as_mut(),
        options.nimbus.directory.as_mut(),
        options.nimbus.users_file.as_mut(),
        options.supervisor.directory.as_mut(),
        options.supervisor.token_file.as_mut(),
        options.secrets.directory.as_mut(),
    ];
    for path in net.chain(tls).chain(password).chain(api).chain(daemons.into_iter().flatten()) {
        *path = directory.join(&*path);
    }
}

#[cfg(test)]
mod tests;
