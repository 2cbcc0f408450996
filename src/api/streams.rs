//! The output streams that a component declares.

use smol_str::SmolStr;

use crate::ids::DEFAULT_STREAM;
use crate::tuple::Fields;

/// One declared output stream.
///
/// # Examples
/// ```
/// use squall::api::Streams;
///
/// let streams = Streams::none().direct_stream("sorted", ["n"]);
/// let declared = streams.get("sorted").expect("it is declared");
/// assert_eq!((declared.fields.to_string().as_str(), declared.direct), ("n", true));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDeclaration {
    /// Its name; `default` for the default stream.
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
    ///
    /// # Examples
    /// ```
    /// use squall::api::Streams;
    /// assert_eq!(Streams::none().iter().count(), 0);
    /// ```
    pub fn none() -> Streams {
        Streams::default()
    }

    /// A default stream with these fields.
    ///
    /// # Examples
    /// ```
    /// use squall::api::Streams;
    /// let streams = Streams::new(["word", "count"]);
    /// assert_eq!(streams.get("default").map(|stream| stream.fields.len()), Some(2));
    /// ```
    pub fn new(fields: impl Into<Fields>) -> Streams {
        Streams::none().stream(DEFAULT_STREAM, fields)
    }

    /// Adds a named stream. A stream declared twice is reported when the topology is validated.
    ///
    /// # Examples
    /// ```
    /// use squall::api::Streams;
    /// let streams = Streams::new(["word"]).stream("rejected", ["line", "why"]);
    /// assert_eq!(streams.get("rejected").map(|stream| stream.fields.len()), Some(2));
    /// ```
    #[must_use]
    pub fn stream(mut self, name: impl AsRef<str>, fields: impl Into<Fields>) -> Streams {
        self.0.push(StreamDeclaration { name: SmolStr::new(name), fields: fields.into(), direct: false });
        self
    }

    /// Adds a stream whose tuples go to the task that the emitter names.
    ///
    /// # Examples
    /// A subscriber takes such a stream by direct grouping; the bolt emits to it by
    /// [`Outputs::emit_direct`](crate::api::Outputs::emit_direct).
    /// ```
    /// use squall::api::Streams;
    /// let streams = Streams::none().direct_stream("sorted", ["n"]);
    /// assert!(streams.get("sorted").is_some_and(|stream| stream.direct));
    /// ```
    #[must_use]
    pub fn direct_stream(mut self, name: impl AsRef<str>, fields: impl Into<Fields>) -> Streams {
        self.0.push(StreamDeclaration { name: SmolStr::new(name), fields: fields.into(), direct: true });
        self
    }

    /// The declared streams.
    ///
    /// # Examples
    /// ```
    /// use squall::api::Streams;
    /// let streams = Streams::new(["word"]).stream("rejected", ["line"]);
    /// let names: Vec<_> = streams.iter().map(|stream| stream.name.as_str()).collect();
    /// assert_eq!(names, ["default", "rejected"]);
    /// ```
    pub fn iter(&self) -> std::slice::Iter<'_, StreamDeclaration> {
        self.0.iter()
    }

    /// The stream of that name.
    ///
    /// # Examples
    /// ```
    /// use squall::api::Streams;
    /// let streams = Streams::new(["word"]);
    /// assert!(streams.get("default").is_some() && streams.get("rejected").is_none());
    /// ```
    pub fn get(&self, name: &str) -> Option<&StreamDeclaration> {
        self.0.iter().find(|stream| stream.name == name)
    }
}
