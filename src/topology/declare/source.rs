//! Where documents and environment variables come from.

use std::collections::BTreeMap;
use std::io;

/// The outside world as far as a document can ask for it: other files, and variables. This layer
/// does no I/O itself; whoever reads documents hands an implementation in.
pub trait Source {
    /// The text of a file. The path is the one the caller named, or an include joined to the
    /// directory of the file that includes it. A source need not read on once it has more than
    /// `at_most` bytes: what is longer is refused.
    ///
    /// # Errors
    /// As the file system says; text that is not UTF-8 is `InvalidData`.
    fn read(&self, path: &str, at_most: usize) -> io::Result<String>;

    /// The value of an environment variable, if it is set.
    fn variable(&self, name: &str) -> Option<String>;

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
/// use squall::topology::declare::{MemorySource, Source};
/// let source = MemorySource::new().file("a.toml", "[topology]").set("HOST", "localhost");
/// assert_eq!(source.read("a.toml", 100).unwrap(), "[topology]");
/// assert_eq!(source.variable("HOST").as_deref(), Some("localhost"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    files: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
}

impl MemorySource {
    /// Without any file or variable.
    pub fn new() -> MemorySource {
        MemorySource::default()
    }

    /// With one more file.
    #[must_use]
    pub fn file(mut self, path: &str, text: impl Into<String>) -> MemorySource {
        self.files.insert(path.to_owned(), text.into());
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
    fn read(&self, path: &str, _at_most: usize) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}
