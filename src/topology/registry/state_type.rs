//! One registered type of `[state.NAME]`: its settings, how they are read, and what they turn into.

use std::fmt;
use std::sync::Arc;

use schemars::{Schema, SchemaGenerator};

use crate::api::StateStore;
use crate::logging::panics::guarded;
use crate::topology::graph::StateFactory;
use crate::topology::registry::component::{BuildError, SchemaFn};

/// What the settings of a state turn into.
pub(crate) struct BuiltState {
    /// What makes the store of a process.
    pub factory: StateFactory,
    /// A store that is asked what it is, and used for nothing else.
    pub store: Box<dyn StateStore>,
}

pub(super) type BuildStateFn =
    Arc<dyn Fn(toml::de::ValueDeserializer<'_>) -> Result<BuiltState, BuildError> + Send + Sync>;

/// A registered type of `[state.NAME]`.
#[derive(Clone)]
pub struct StateType {
    /// Its name, the value of `type` in TOML.
    pub name: String,
    /// One line on what it is.
    pub summary: String,
    /// The Cargo feature that the type needs and that this program was built without: a topology with the type is refused.
    pub missing_feature: Option<&'static str>,
    pub(super) schema: SchemaFn,
    pub(super) build: BuildStateFn,
}

impl StateType {
    /// The store of a table without `type` and `mode`.
    pub(crate) fn build(&self, settings: toml::de::ValueDeserializer<'_>) -> Result<BuiltState, BuildError> {
        let panicked = |panic| Err(BuildError::Panicked(format!("its settings: {panic}")));
        guarded(|| (self.build)(settings)).unwrap_or_else(panicked)
    }

    /// The JSON schema of its settings.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }

    /// Declares that it needs a Cargo feature, and whether this program was built with it.
    pub fn needs_feature(&mut self, feature: &'static str, is_compiled_in: bool) -> &mut StateType {
        self.missing_feature = (!is_compiled_in).then_some(feature);
        self
    }
}

impl fmt::Debug for StateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state {}", self.name)
    }
}
