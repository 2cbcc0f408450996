//! Where documents and environment variables come from.

use std::collections::BTreeMap;
use std::io;

use crate::secrets::{SecretError, SecretName};

/// Who named a file, which decides on what may be read under that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// The caller, as on a command line: a pipe or a terminal is what was meant, and waiting for it
    /// is, too.
    Caller,
    /// A document, by an include: a regular file. Whoever checks a document of somebody else must
    /// not wait for ever for a pipe that it names, nor read a device.
    Document,
}

/// Why a variable has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVariable {
    /// It is not set.
    Unset,
    /// It is set to bytes that are no UTF-8.
    NotText,
}

/// The outside world as far as a document can ask for it: other files, and variables. This layer
/// does no I/O itself; whoever reads documents hands an implementation in.
pub trait Source {
    /// The bytes of a file. The path is the one the caller named, or an include joined to the
    /// directory of the file that includes it. A source need not read on once it has more than
    /// `at_most` bytes: what is longer is refused.
    ///
    /// # Errors
    /// Those of the file system; and what is no regular file, when a document named it.
    fn read(&self, path: &str, named_by: NamedBy, at_most: usize) -> io::Result<Vec<u8>>;

    /// The value of an environment variable.
    ///
    /// # Errors
    /// When it is not set, or is no text.
    fn variable(&self, name: &str) -> Result<String, NoVariable>;

    /// Whether the value of a secret can be read, by whoever wants to know that before anything is started. By default
    /// nobody looks: the topology may run elsewhere.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn secret(&self, _name: &SecretName) -> Result<(), SecretError> {
        Ok(())
    }

    /// The resource of the process that reading this path uses up, if any: `standard input`. No
    /// component of the topology can use it then. By default none.
    fn takes(&self, _path: &str) -> Option<&'static str> {
        None
    }
}

/// Files and variables in memory, for tests and for documents that come over a wire.
///
/// # Examples
/// ```
/// use squall::topology::declare::{MemorySource, NamedBy, Source};
/// let source = MemorySource::new().file("a.toml", "[topology]").set("HOST", "localhost");
/// assert_eq!(source.read("a.toml", NamedBy::Caller, 100).unwrap(), b"[topology]");
/// assert_eq!(source.variable("HOST").as_deref(), Ok("localhost"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    files: BTreeMap<String, Vec<u8>>,
    variables: BTreeMap<String, String>,
}

impl MemorySource {
    /// Without any file or variable.
    pub fn new() -> MemorySource {
        MemorySource::default()
    }

    /// With one more file.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> MemorySource {
        self.files.insert(path.to_owned(), bytes.into());
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> MemorySource {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl Source for MemorySource {
    fn read(&self, path: &str, _named_by: NamedBy, _at_most: usize) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Result<String, NoVariable> {
        self.variables.get(name).cloned().ok_or(NoVariable::Unset)
    }
}
