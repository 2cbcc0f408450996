//! Component types by name: what `type = "split"` in a topology document means.
//!
//! A type is registered with a *settings* struct, which `serde` reads from the component's
//! `config` table and `schemars` describes to editors and to `squall components`, and with a
//! function from those settings to an instance. The function runs once when the topology is read
//! (so that wrong settings are errors with a place in the file, and the output streams are
//! known), then once per task and after each panic.

mod component;
mod extensions;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::api::{Bolt, MetricsReporting, Spout};
use crate::topology::effort::Effort;
use crate::topology::graph::{Constructor, GroupingFactory, HookFactory, Instance, ProcessParts, Topology};
use crate::topology::registry::component::{BuildFn, SchemaFn, build_fn, read_settings};

pub use component::{BuildError, Built, ComponentType, Kind, NoSettings, SettingError};

type TopologyFn = Arc<dyn Fn() -> Result<Topology, Box<dyn Error + Send + Sync>> + Send + Sync>;

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
    components: BTreeMap<String, ComponentType>,
    groupings: BTreeMap<String, GroupingType>,
    hooks: BTreeMap<String, NamedHook>,
    topologies: BTreeMap<String, NamedTopology>,
    process: ProcessParts,
    metrics: Option<MetricsReporting>,
}

type BuildGroupingFn =
    Arc<dyn Fn(toml::de::ValueDeserializer<'_>) -> Result<GroupingFactory, BuildError> + Send + Sync>;

/// A registered custom grouping.
#[derive(Clone)]
pub struct GroupingType {
    /// What `custom` says in TOML.
    pub name: String,
    schema: SchemaFn,
    build: BuildGroupingFn,
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
struct NamedHook(HookFactory);

impl fmt::Debug for NamedHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hook")
    }
}

#[derive(Clone)]
struct NamedTopology(TopologyFn);

impl fmt::Debug for NamedTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("topology")
    }
}

impl Registry {
    /// A registry without any type.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Registers a spout type. A later registration under the same name replaces the earlier.
    pub fn spout<C, S, F>(&mut self, name: &str, summary: &str, build: F) -> &mut ComponentType
    where
        C: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        S: Spout + 'static,
        F: Fn(&C) -> Result<S, SettingError> + Send + Sync + 'static,
    {
        self.spout_within(name, summary, move |settings, _| build(settings))
    }

    /// Registers a spout type whose settings may cost much to read, as regular expressions do: the
    /// function spends its steps before it makes them.
    pub fn spout_within<C, S, F>(&mut self, name: &str, summary: &str, build: F) -> &mut ComponentType
    where
        C: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        S: Spout + 'static,
        F: Fn(&C, &Effort) -> Result<S, SettingError> + Send + Sync + 'static,
    {
        let to_ask = |spout: S| Instance::spout(Box::new(spout));
        let build_fn = build_fn(build, to_ask, Constructor::spout);
        self.insert(name, Kind::Spout, summary, C::json_schema, build_fn)
    }

    /// Registers a bolt type. A later registration under the same name replaces the earlier.
    pub fn bolt<C, B, F>(&mut self, name: &str, summary: &str, build: F) -> &mut ComponentType
    where
        C: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        B: Bolt + 'static,
        F: Fn(&C) -> Result<B, SettingError> + Send + Sync + 'static,
    {
        self.bolt_within(name, summary, move |settings, _| build(settings))
    }

    /// Registers a bolt type whose settings may cost much to read, as regular expressions do: the
    /// function spends its steps before it makes them.
    pub fn bolt_within<C, B, F>(&mut self, name: &str, summary: &str, build: F) -> &mut ComponentType
    where
        C: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        B: Bolt + 'static,
        F: Fn(&C, &Effort) -> Result<B, SettingError> + Send + Sync + 'static,
    {
        let to_ask = |bolt: B| Instance::bolt(Box::new(bolt));
        let build_fn = build_fn(build, to_ask, Constructor::bolt);
        self.insert(name, Kind::Bolt, summary, C::json_schema, build_fn)
    }

    /// The component type of that name.
    pub fn component(&self, name: &str) -> Option<&ComponentType> {
        self.components.get(name)
    }

    /// All component types, by name.
    pub fn components(&self) -> impl Iterator<Item = &ComponentType> {
        self.components.values()
    }

    fn insert(
        &mut self,
        name: &str,
        kind: Kind,
        summary: &str,
        schema: SchemaFn,
        build: BuildFn,
    ) -> &mut ComponentType {
        let component = ComponentType {
            name: name.to_owned(),
            kind,
            summary: summary.to_owned(),
            output: String::new(),
            example: String::new(),
            blocking: false,
            schema,
            build,
        };
        self.components.insert(name.to_owned(), component);
        self.components.get_mut(name).expect("it was inserted a line above")
    }
}
