//! What a registry holds: the maps from names to what programs registered under them.
//!
//! They are filled and read in two files, by component type in [`registry`](super), everything else in
//! `extensions`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use schemars::{Schema, SchemaGenerator};

use crate::api::MetricsReporting;
use crate::topology::graph::{GroupingFactory, HookFactory, ProcessParts, Topology};
use crate::topology::registry::component::{BuildError, ComponentType, SchemaFn};
use crate::topology::registry::state_type::StateType;

pub(super) type TopologyFn = Arc<dyn Fn() -> Result<Topology, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// Component types, custom groupings and whole topologies by name.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// #[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct ShoutSettings {
///     /// What is put behind each word.
///     mark: String,
/// }
///
/// struct Shout(ShoutSettings);
/// impl Bolt for Shout {
///     fn declare(&self) -> Streams {
///         Streams::new(["word"])
///     }
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let loud = format!("{}{}", input.str("word")?.to_uppercase(), self.0.mark);
///         out.emit([loud])?;
///         Ok(())
///     }
/// }
///
/// let mut registry = Registry::with_standard();
/// registry
///     .bolt("shout", "Makes words loud.", |settings: &ShoutSettings| Ok(Shout(settings.clone())))
///     .output("word");
/// assert!(registry.component("shout").is_some());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Registry {
    pub(super) components: BTreeMap<String, ComponentType>,
    pub(super) states: BTreeMap<String, StateType>,
    pub(super) groupings: BTreeMap<String, GroupingType>,
    pub(super) hooks: BTreeMap<String, NamedHook>,
    pub(super) topologies: BTreeMap<String, NamedTopology>,
    pub(super) process: ProcessParts,
    pub(super) metrics: Option<MetricsReporting>,
    /// Whether something was registered that squall's own program does not have.
    pub(super) has_own: bool,
}

impl Registry {
    /// Whether something was registered that squall's own program does not have: a component, a grouping, a hook, a
    /// resource, a topology. A topology of such a program runs in a cluster with that program.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// let mut registry = Registry::with_standard();
    /// assert!(!registry.has_own());
    /// registry.resource("model", |_| Ok::<_, TaskError>(7_u32));
    /// assert!(registry.has_own());
    /// ```
    pub fn has_own(&self) -> bool {
        self.has_own
    }

    /// Takes what is there as that of squall's own program.
    pub(crate) fn without_own(self) -> Registry {
        Registry { has_own: false, ..self }
    }
}

pub(super) type BuildGroupingFn =
    Arc<dyn Fn(toml::de::ValueDeserializer<'_>) -> Result<GroupingFactory, BuildError> + Send + Sync>;

/// A registered custom grouping.
#[derive(Clone)]
pub struct GroupingType {
    /// Its name, the value of `custom` in TOML.
    pub name: String,
    pub(super) schema: SchemaFn,
    pub(super) build: BuildGroupingFn,
}

impl GroupingType {
    /// What builds the grouping, with the settings of this `config` table.
    ///
    /// # Errors
    /// When the table does not fit the settings, or the grouping refuses them.
    pub fn build(&self, config: toml::de::ValueDeserializer<'_>) -> Result<GroupingFactory, BuildError> {
        (self.build)(config)
    }

    /// The JSON schema of its settings.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

impl fmt::Debug for GroupingType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grouping {}", self.name)
    }
}

#[derive(Clone)]
pub(super) struct NamedHook(pub(super) HookFactory);

impl fmt::Debug for NamedHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hook")
    }
}

#[derive(Clone)]
pub(super) struct NamedTopology(pub(super) TopologyFn);

impl fmt::Debug for NamedTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("topology")
    }
}
