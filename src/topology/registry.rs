//! Component types by name: what `type = "split"` in a topology document means.
//!
//! A type is registered with a *settings* struct, which `serde` reads from the component's
//! `config` table and `schemars` describes to editors and to `squall components`, and with a
//! function from those settings to an instance. The function runs once when the topology is read
//! (so that wrong settings are errors with a place in the file, and the output streams are
//! known), then once per task and after each panic.

mod extensions;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::{Bolt, MetricsReporting, Spout, Streams, TaskError};
use crate::logging::panics::guarded;
use crate::topology::graph::{Constructor, GroupingFactory, HookFactory, Instance, ProcessParts, Topology};

/// Why a component cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SettingError {
    /// The key of the settings that is wrong, so that the error can point at it.
    pub key: Option<String>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl SettingError {
    /// An error at one key.
    pub fn at(key: &str, message: impl fmt::Display) -> SettingError {
        SettingError { key: Some(key.to_owned()), message: message.to_string() }
    }

    /// An error of the settings as a whole.
    pub fn new(message: impl fmt::Display) -> SettingError {
        SettingError { key: None, message: message.to_string() }
    }
}

/// The settings of a component without any.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// What settings turn into.
pub struct Built {
    /// What builds the instances.
    pub constructor: Constructor,
    /// The streams they declare.
    pub streams: Streams,
    /// The instance that was built to be asked: it is checked with what surrounds the component.
    /// `None`: it was checked before, or it is a mock.
    pub instance: Option<Instance>,
}

impl Built {
    /// What this instance says of all that the constructor builds.
    ///
    /// # Errors
    /// When its `declare` panics.
    pub fn of(constructor: Constructor, instance: Instance) -> Result<Built, String> {
        let streams = instance.declare()?;
        Ok(Built { constructor, streams, instance: Some(instance) })
    }
}

/// Why [`ComponentType::build`] failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The table does not fit the settings struct; the error knows the place.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// The table has keys that the settings struct does not: their paths, as `a.b`. A struct that
    /// denies unknown fields reports the first of them as [`BuildError::Toml`] instead.
    #[error("unknown settings: {}", .0.join(", "))]
    Unread(Vec<String>),
    /// Its constructor, or the `declare` of what that builds, panicked.
    #[error("{0}")]
    Panicked(String),
    /// The settings were read, but the component refuses them.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// Reads settings, and refuses keys that nothing reads.
fn read_settings<C: DeserializeOwned>(config: toml::de::ValueDeserializer<'_>) -> Result<C, BuildError> {
    let mut unread = Vec::new();
    let settings = serde_ignored::deserialize(config, |path| unread.push(path.to_string()))?;
    if unread.is_empty() { Ok(settings) } else { Err(BuildError::Unread(unread)) }
}

/// Calls a constructor.
fn called<T>(build: impl FnOnce() -> T) -> Result<T, BuildError> {
    guarded(build).map_err(|panic| BuildError::Panicked(format!("its constructor {panic}")))
}

type BuildFn = Arc<dyn Fn(toml::de::ValueDeserializer<'_>) -> Result<Built, BuildError> + Send + Sync>;
type SchemaFn = fn(&mut SchemaGenerator) -> Schema;

/// Spout or bolt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Begins streams.
    Spout,
    /// Processes them.
    Bolt,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Spout => "spout",
            Kind::Bolt => "bolt",
        })
    }
}

/// A registered component type.
#[derive(Clone)]
pub struct ComponentType {
    /// What `type` says in TOML.
    pub name: String,
    /// Spout or bolt.
    pub kind: Kind,
    /// One line on what it does.
    pub summary: String,
    /// What it emits, for people; the fields may depend on settings.
    pub output: String,
    /// A TOML example of a whole component table.
    pub example: String,
    /// Whether its calls wait, so that it needs a thread of its own unless the topology says
    /// otherwise.
    pub blocking: bool,
    schema: SchemaFn,
    build: BuildFn,
}

impl ComponentType {
    /// Builds the component from its `config` table.
    ///
    /// # Errors
    /// When the table does not fit the settings, or the component refuses them.
    pub fn build(&self, config: toml::de::ValueDeserializer<'_>) -> Result<Built, BuildError> {
        // Beside the constructor, the code that reads the settings is the user's, too.
        let panicked = |panic| Err(BuildError::Panicked(format!("its settings: {panic}")));
        guarded(|| (self.build)(config)).unwrap_or_else(panicked)
    }

    /// The JSON schema of its settings.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }

    /// Sets what it emits, for people.
    pub fn output(&mut self, output: &str) -> &mut ComponentType {
        output.clone_into(&mut self.output);
        self
    }

    /// Sets the TOML example.
    pub fn example(&mut self, example: &str) -> &mut ComponentType {
        example.trim().clone_into(&mut self.example);
        self
    }

    /// Says that its calls wait.
    pub fn blocking(&mut self) -> &mut ComponentType {
        self.blocking = true;
        self
    }
}

impl fmt::Debug for ComponentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

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
        let build = Arc::new(build);
        let build_fn: BuildFn = Arc::new(move |config| {
            let settings = Arc::new(read_settings::<C>(config)?);
            let instance = Instance::spout(Box::new(called(|| build(&settings))??));
            let build = Arc::clone(&build);
            let constructor = Constructor::Spout(Arc::new(move || {
                let spout = build(&settings).map_err(TaskError::from)?;
                Ok(Box::new(spout) as Box<dyn Spout>)
            }));
            Built::of(constructor, instance).map_err(BuildError::Panicked)
        });
        self.insert(name, Kind::Spout, summary, C::json_schema, build_fn)
    }

    /// Registers a bolt type. A later registration under the same name replaces the earlier.
    pub fn bolt<C, B, F>(&mut self, name: &str, summary: &str, build: F) -> &mut ComponentType
    where
        C: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        B: Bolt + 'static,
        F: Fn(&C) -> Result<B, SettingError> + Send + Sync + 'static,
    {
        let build = Arc::new(build);
        let build_fn: BuildFn = Arc::new(move |config| {
            let settings = Arc::new(read_settings::<C>(config)?);
            let instance = Instance::bolt(Box::new(called(|| build(&settings))??));
            let build = Arc::clone(&build);
            let constructor = Constructor::Bolt(Arc::new(move || {
                let bolt = build(&settings).map_err(TaskError::from)?;
                Ok(Box::new(bolt) as Box<dyn Bolt>)
            }));
            Built::of(constructor, instance).map_err(BuildError::Panicked)
        });
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
