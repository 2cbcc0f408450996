//! The context that every command gets.

use crate::cli::terminal::{ColorWhen, Stream};
use crate::topology::registry::Registry;

/// The context of a command.
pub(super) struct Context {
    /// The component types that topologies may use.
    pub(super) registry: Registry,
    /// The name of the program: `squall`, or that of a program that embeds it.
    pub(super) program: String,
    /// When to colour.
    pub(super) color: ColorWhen,
}

impl Context {
    /// Whether output to this stream is coloured.
    pub(super) fn colors(&self, stream: Stream) -> bool {
        self.color.applies_to(stream)
    }
}
