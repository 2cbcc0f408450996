//! What every command of the command line is given.

use crate::cli::terminal::{ColorWhen, Stream};
use crate::topology::registry::Registry;

/// What every command is given.
pub(super) struct Context {
    /// The component types that topologies may use.
    pub(super) registry: Registry,
    /// What the program is called; `squall`, unless it is somebody's own.
    pub(super) program: String,
    /// When to colour.
    pub(super) color: ColorWhen,
}

impl Context {
    /// Whether what goes to that stream is coloured.
    pub(super) fn colors(&self, stream: Stream) -> bool {
        self.color.applies_to(stream)
    }
}
