//! The output streams that a component declares.

use smol_str::SmolStr;

use crate::ids::DEFAULT_STREAM;
use crate::tuple::Fields;

/// One declared output stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDeclaration {
    /// Its name; `default` unless said otherwise.
    pub name: SmolStr,
    /// The names of its tuples' values.
    pub fields: Fields,
    /// Whether the emitter names the target task of each tuple.
    pub direct: bool,
}

/// The output streams of a component, in the order of declaration.
///
/// # Examples
/// ```
/// use squall::api::Streams;
/// let streams = Streams::new(["word"]).stream("rejected", ["line", "why"]);
/// assert_eq!(streams.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["default", "rejected"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams(Vec<StreamDeclaration>);

impl Streams {
    /// No output: a sink.
    pub fn none() -> Streams {
        Streams::default()
    }

    /// A default stream with these fields.
    pub fn new(fields: impl Into<Fields>) -> Streams {
        Streams::none().stream(DEFAULT_STREAM, fields)
    }

    /// Adds a named stream. A stream declared twice is reported when the topology is validated.
    #[must_use]
    pub fn stream(mut self, name: impl AsRef<str>, fields: impl Into<Fields>) -> Streams {
        self.0.push(StreamDeclaration { name: SmolStr::new(name), fields: fields.into(), direct: false });
        self
    }

    /// Adds a stream whose tuples go to the task that the emitter names.
    #[must_use]
    pub fn direct_stream(mut self, name: impl AsRef<str>, fields: impl Into<Fields>) -> Streams {
        self.0.push(StreamDeclaration { name: SmolStr::new(name), fields: fields.into(), direct: true });
        self
    }

    /// The declared streams.
    pub fn iter(&self) -> std::slice::Iter<'_, StreamDeclaration> {
        self.0.iter()
    }

    /// The stream of that name.
    pub fn get(&self, name: &str) -> Option<&StreamDeclaration> {
        self.0.iter().find(|stream| stream.name == name)
    }
}
