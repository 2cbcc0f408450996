//! Streams that components have without declaring them.
//!
//! Every bolt has a `dead-letter` stream for tuples that it gave up on, unless it declares a
//! stream of that name itself. Every component has a `__system` stream without fields, on which the
//! system may signal; subscribing to it is legal, and harmless to the trees of user tuples.

use crate::api::{StreamDeclaration, Streams};
use crate::ids::DEAD_LETTER_STREAM;
use crate::topology::graph::Component;
use crate::topology::registry::Kind;
use crate::tuple::Fields;

/// The stream that every component has for the system's signals. It has no fields.
pub const SYSTEM_STREAM: &str = "__system";

/// The fields of a bolt's `dead-letter` stream: where the tuple came from (component and stream),
/// its values as a map, the last error, and how often it had been tried.
pub const DEAD_LETTER_FIELDS: [&str; 5] = ["source", "stream", "values", "error", "attempt"];

/// The stream of that name that a component has, declared or not.
pub(crate) fn stream(kind: Kind, declared: &Streams, name: &str) -> Option<StreamDeclaration> {
    let own = declared.get(name).cloned();
    own.or_else(|| implicit(kind).into_iter().find(|stream| stream.name == name))
}

/// The names of all streams that a component has, the declared first. `__system` is left out: it
/// is nothing to be suggested.
pub(crate) fn stream_names(kind: Kind, declared: &Streams) -> Vec<String> {
    let mut names: Vec<String> = declared.iter().map(|stream| stream.name.to_string()).collect();
    if kind == Kind::Bolt && declared.get(DEAD_LETTER_STREAM).is_none() {
        names.push(DEAD_LETTER_STREAM.to_owned());
    }
    names
}

fn implicit(kind: Kind) -> Vec<StreamDeclaration> {
    let of = |name: &str, fields| StreamDeclaration { name: name.into(), fields, direct: false };
    let system = of(SYSTEM_STREAM, Fields::none());
    match kind {
        Kind::Spout => vec![system],
        Kind::Bolt => vec![of(DEAD_LETTER_STREAM, Fields::from(DEAD_LETTER_FIELDS)), system],
    }
}

impl Component {
    /// Spout or bolt.
    pub fn kind(&self) -> Kind {
        if self.is_spout() { Kind::Spout } else { Kind::Bolt }
    }

    /// All streams of the component: those it declares, in order, then those it has anyway
    /// (`dead-letter` of a bolt, `__system`).
    pub fn all_streams(&self) -> Vec<StreamDeclaration> {
        let mut streams: Vec<StreamDeclaration> = self.streams.iter().cloned().collect();
        let implicit = implicit(self.kind());
        streams.extend(implicit.into_iter().filter(|stream| self.streams.get(&stream.name).is_none()));
        streams
    }

    /// The stream of that name, declared or not.
    pub fn stream(&self, name: &str) -> Option<StreamDeclaration> {
        stream(self.kind(), &self.streams, name)
    }
}
