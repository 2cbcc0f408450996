//! Ready-made spouts and bolts.

use crate::topology::registry::Registry;

/// Registers all of them.
pub fn register(_registry: &mut Registry) {}
