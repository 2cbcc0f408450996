//! Reading topology documents from the file system, with the variables of the environment.
//!
//! `topology` does no I/O of its own; this is the implementation of its
//! [`Source`](crate::topology::declare::Source) that everybody uses who has files: the commands,
//! and the tests of programs that embed squall.

use std::fs::File;
use std::io::{self, Read};
use std::{env, path::Path};

use crate::cluster::TopologySource;
use crate::topology::declare::{self, Source};
use crate::topology::registry::Registry;
use crate::topology::{Topology, TopologyErrors};

/// The path that stands for stdin.
pub(super) const STDIN: &str = "-";

/// Values that are laid over those of the document.
#[derive(clap::Args, Debug, Default)]
pub(super) struct Overrides {
    /// Lay a value over the document's, as in `bolt.count.parallelism=2`; may be repeated
    ///
    /// The key is the dotted path of the value in the document, the value is TOML, or a string
    /// without quotes.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Overrides {
    /// Reads and validates a document with these values, and records what it was read from.
    pub(super) fn record(
        &self,
        path: &str,
        registry: &Registry,
    ) -> Result<(TopologySource, Topology), TopologyErrors> {
        TopologySource::record(&Files, path, registry, &self.set)
    }

    /// Reads and validates a document with these values.
    pub(super) fn load(&self, path: &str, registry: &Registry) -> Result<Topology, TopologyErrors> {
        declare::load(&Files, path, registry, &self.set)
    }
}

/// The file system, stdin under the path `-`, and the environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Source for Files {
    fn read(&self, path: &str, at_most: usize) -> io::Result<String> {
        // One byte more than allowed, so that what is too long is seen to be.
        let limit = u64::try_from(at_most).unwrap_or(u64::MAX).saturating_add(1);
        let mut text = String::new();
        match path {
            STDIN => io::stdin().lock().take(limit).read_to_string(&mut text)?,
            _ => File::open(Path::new(path))?.take(limit).read_to_string(&mut text)?,
        };
        Ok(text)
    }

    fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    fn takes(&self, path: &str) -> Option<&'static str> {
        (path == STDIN).then_some("standard input")
    }
}

/// Reads a topology document and its includes from files, and validates it. `overrides` are
/// `KEY=VALUE`, as given to `--set`.
///
/// # Errors
/// Everything that is wrong with it, at once.
///
/// # Examples
/// In a test of a program that embeds squall:
/// ```no_run
/// use squall::prelude::Registry;
///
/// let registry = Registry::with_standard();
/// let topology = squall::cli::load("topology.toml", &registry, &["bolt.count.parallelism=2"])?;
/// assert_eq!(topology.component("count").unwrap().options.parallelism, 2);
/// # Ok::<(), squall::topology::TopologyErrors>(())
/// ```
pub fn load(path: &str, registry: &Registry, overrides: &[&str]) -> Result<Topology, TopologyErrors> {
    Overrides { set: overrides.iter().map(|&set| set.to_owned()).collect() }.load(path, registry)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_file_is_read_no_further_than_needed_to_refuse_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, "0123456789").unwrap();
        let check = |at_most, expected: &str| {
            assert_eq!(Files.read(path.to_str().unwrap(), at_most).unwrap(), expected);
        };
        check(100, "0123456789");
        check(10, "0123456789");
        check(3, "0123");
    }

    #[test]
    fn errors_are_those_of_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let latin1 = dir.path().join("latin1.toml");
        std::fs::write(&latin1, [b'#', 0xe4]).unwrap();
        let check = |path: &Path, expected: ErrorKind| {
            assert_eq!(Files.read(path.to_str().unwrap(), 100).unwrap_err().kind(), expected);
        };
        check(&latin1, ErrorKind::InvalidData);
        check(&dir.path().join("none.toml"), ErrorKind::NotFound);
        check(dir.path(), ErrorKind::IsADirectory);
    }
}
