//! The source of a topology, as the parent sends it to its workers: its document, or the name under which
//! the program builds it.
//!
//! A worker must run exactly what its parent validated, even if it is restarted an hour later and the
//! file was edited meanwhile, or if the document came from stdin. So the parent records every file and
//! variable that it reads, and a worker reads from that record with the same code. Of secrets it has the names:
//! their values are read where components are opened.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::cluster::program::Program;
use crate::secrets::{SecretError, SecretName};
use crate::topology::declare::{self, NamedBy, NoVariable, Source};
use crate::topology::registry::Registry;
use crate::topology::{Topology, TopologyErrors};

/// Everything that a topology was read from.
///
/// # Examples
/// ```
/// use squall::cluster::TopologySource;
/// use squall::prelude::Registry;
/// use squall::topology::declare::MemorySource;
///
/// let text = "topology.name = 'a'\nspout.n = { type = 'generate', config.fields.n = '{seq}' }";
/// let files = MemorySource::new().file("a.toml", text);
/// let registry = Registry::with_standard();
/// let overrides = ["spout.n.parallelism=3".to_owned()];
/// let (source, _) = TopologySource::record(&files, "a.toml", &registry, &overrides)?;
/// let again = source.load(&registry)?;
/// assert_eq!(again.component("n").unwrap().options.parallelism, 3);
/// # Ok::<(), squall::topology::TopologyErrors>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopologySource {
    /// The path by which the document was read, or the name of a topology that the registry builds.
    path: String,
    /// The texts that were read, by path.
    files: BTreeMap<String, String>,
    /// The variables that were read and were set.
    variables: BTreeMap<String, String>,
    /// `KEY=VALUE`, as given to `--set`.
    overrides: Vec<String>,
    /// The fingerprint of the topology. If a worker makes a topology with another fingerprint, loading
    /// fails.
    fingerprint: u64,
    /// The program that has its components, if that is not squall's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<Program>,
}

impl TopologySource {
    /// Reads and validates a topology, and records what it was read from. `path` is that of a
    /// document, or the name of a topology that the registry builds.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn record(
        source: &dyn Source,
        path: &str,
        registry: &Registry,
        overrides: &[String],
    ) -> Result<(TopologySource, Topology), TopologyErrors> {
        let recorder = Recorder { source, read: RefCell::default() };
        let topology = declare::load(&recorder, path, registry, overrides)?;
        let read = recorder.read.into_inner();
        let (path, overrides) = (path.to_owned(), overrides.to_vec());
        Ok((TopologySource { path, overrides, fingerprint: topology.fingerprint(), ..read }, topology))
    }

    /// The same topology with more overrides, which count after those that it has. What it includes and the variables that
    /// it names are those of the record.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn with_overrides(
        &self,
        registry: &Registry,
        more: &[String],
    ) -> Result<(TopologySource, Topology), TopologyErrors> {
        let overrides: Vec<String> = self.overrides.iter().chain(more).cloned().collect();
        TopologySource::record(self, &self.path, registry, &overrides)
    }

    /// The same, with the program that its processes run.
    #[must_use]
    pub fn with_program(self, program: Option<Program>) -> TopologySource {
        TopologySource { program, ..self }
    }

    /// The program that its processes run. `None`: squall's own.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// The topology, for those that place it: from its outline, if its components are in another program.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load_to_place(&self, registry: &Registry) -> Result<Topology, TopologyErrors> {
        let Some(program) = &self.program else { return self.load(registry) };
        program.file.check().map_err(|error| TopologyErrors::of(error.to_string()))?;
        program.outline.to_topology()
    }

    /// Reads the topology again from the record, or builds it again.
    ///
    /// # Errors
    /// When the registry differs from the one it was recorded with, or a topology in Rust is not built
    /// the same each time.
    pub fn load(&self, registry: &Registry) -> Result<Topology, TopologyErrors> {
        let topology = declare::load(self, &self.path, registry, &self.overrides)?;
        if topology.fingerprint() == self.fingerprint {
            return Ok(topology);
        }
        Err(TopologyErrors::of(format!(
            "topology `{}` is not the same in this process as in the one that started it: what registers \
             components and builds topologies must do the same in every process of a run, whatever its \
             arguments are",
            self.path
        )))
    }
}

impl Source for TopologySource {
    fn read(&self, path: &str, _named_by: NamedBy, _at_most: usize) -> io::Result<Vec<u8>> {
        let text = self.files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(text.into_bytes())
    }

    fn variable(&self, name: &str) -> Result<String, NoVariable> {
        self.variables.get(name).cloned().ok_or(NoVariable::Unset)
    }
}

/// Passes requests on to `source`, and records the answers.
struct Recorder<'s> {
    source: &'s dyn Source,
    read: RefCell<TopologySource>,
}

impl Source for Recorder<'_> {
    fn read(&self, path: &str, named_by: NamedBy, at_most: usize) -> io::Result<Vec<u8>> {
        // Stdin can be read only once. And a file that changes while it is read has one content for all.
        if let Some(text) = self.read.borrow().files.get(path) {
            return Ok(text.clone().into_bytes());
        }
        let bytes = self.source.read(path, named_by, at_most)?;
        // A file that is not text is not recorded: the caller refuses it, so no worker reads it.
        if let Ok(text) = str::from_utf8(&bytes) {
            self.read.borrow_mut().files.insert(path.to_owned(), text.to_owned());
        }
        Ok(bytes)
    }

    fn variable(&self, name: &str) -> Result<String, NoVariable> {
        let value = self.source.variable(name)?;
        self.read.borrow_mut().variables.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn secret(&self, name: &SecretName) -> Result<(), SecretError> {
        self.source.secret(name)
    }

    fn takes(&self, path: &str) -> Option<&'static str> {
        self.source.takes(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::declare::MemorySource;

    fn files() -> MemorySource {
        MemorySource::new()
            .file("dir/main.toml", "topology = { name = '${NAME}', include = ['more.toml'] }")
            .file(
                "dir/more.toml",
                "spout.n = { type = 'generate', parallelism = 2, config.fields.n = '{seq}' }",
            )
            .set("NAME", "recorded")
            .set("UNUSED", "secret")
    }

    #[test]
    fn a_record_holds_all_that_was_read_and_nothing_else() {
        let registry = Registry::with_standard();
        let overrides = ["spout.n.parallelism=5".to_owned()];
        let (source, topology) =
            TopologySource::record(&files(), "dir/main.toml", &registry, &overrides).unwrap();
        let text = serde_json::to_string(&source).unwrap();
        assert!(!text.contains("secret"), "{text}");
        let again = serde_json::from_str::<TopologySource>(&text).unwrap().load(&registry).unwrap();
        assert_eq!(again.name(), "recorded");
        assert_eq!(again.component("n").unwrap().options.parallelism, 5);
        assert_eq!(format!("{again:?}"), format!("{topology:?}"));
    }

    #[test]
    fn mistakes_are_reported_as_without_workers() {
        let registry = Registry::with_standard();
        let record = |path: &str, overrides: &[String]| {
            TopologySource::record(&files(), path, &registry, overrides).unwrap_err().render(false)
        };
        assert!(record("none.toml", &[]).contains("none.toml"));
        assert!(record("dir/main.toml", &["spout.x.tasks=1".to_owned()]).contains("there is no spout `x`"));
    }
}
