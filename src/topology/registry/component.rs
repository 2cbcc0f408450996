//! One registered component type: its settings, how they are read, and what they turn into.

use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::Streams;
use crate::logging::panics::guarded;
use crate::topology::effort::{Effort, EffortSpent};
use crate::topology::graph::{Constructor, Instance};

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

impl From<EffortSpent> for SettingError {
    fn from(spent: EffortSpent) -> SettingError {
        SettingError::new(spent)
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
    /// What holds for all instances that the constructor builds, by this one.
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

/// Makes instances of one type, all by the same settings.
type Factory<T> = Box<dyn Fn() -> Result<T, SettingError> + Send + Sync>;

/// What reads the settings of a type, builds an instance that is asked what it is, and keeps how others
/// are built. Only the first is charged for: the others cost what it cost.
pub(super) fn build_fn<C, T, F>(
    build: F,
    to_ask: fn(T) -> Instance,
    constructor: fn(Factory<T>) -> Constructor,
) -> BuildFn
where
    C: DeserializeOwned + Send + Sync + 'static,
    T: 'static,
    F: Fn(&C, &Effort) -> Result<T, SettingError> + Send + Sync + 'static,
{
    let build = Arc::new(build);
    Arc::new(move |config, effort| {
        let settings = Arc::new(read_settings::<C>(config)?);
        let instance = to_ask(called(|| build(&settings, effort))??);
        let build = Arc::clone(&build);
        let factory: Factory<T> = Box::new(move || build(&settings, &Effort::unlimited()));
        Built::of(constructor(factory), instance).map_err(BuildError::Panicked)
    })
}

/// Reads settings, and refuses keys that nothing reads.
pub(super) fn read_settings<C: DeserializeOwned>(
    config: toml::de::ValueDeserializer<'_>,
) -> Result<C, BuildError> {
    let mut unread = Vec::new();
    let settings = serde_ignored::deserialize(config, |path| unread.push(path.to_string()))?;
    if unread.is_empty() { Ok(settings) } else { Err(BuildError::Unread(unread)) }
}

/// Calls a constructor.
fn called<T>(build: impl FnOnce() -> T) -> Result<T, BuildError> {
    guarded(build).map_err(|panic| BuildError::Panicked(format!("its constructor {panic}")))
}

pub(super) type BuildFn =
    Arc<dyn Fn(toml::de::ValueDeserializer<'_>, &Effort) -> Result<Built, BuildError> + Send + Sync>;
pub(super) type SchemaFn = fn(&mut SchemaGenerator) -> Schema;

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
    /// Its name, the value of `type` in TOML.
    pub name: String,
    /// Spout or bolt.
    pub kind: Kind,
    /// One line on what it does.
    pub summary: String,
    /// What it emits, for people; the fields may depend on settings.
    pub output: String,
    /// A TOML example of a whole component table.
    pub example: String,
    /// Whether its calls wait, so that it needs a thread of its own unless the topology sets
    /// something else.
    pub blocking: bool,
    /// The Cargo feature that the type needs and that this program was built without: a topology with the
    /// type is refused.
    pub missing_feature: Option<&'static str>,
    pub(super) schema: SchemaFn,
    pub(super) build: BuildFn,
}

impl ComponentType {
    /// Builds the component from its `config` table, within what is left of the effort for its
    /// document.
    ///
    /// # Errors
    /// When the table does not fit the settings, or the component refuses them.
    pub fn build(
        &self,
        config: toml::de::ValueDeserializer<'_>,
        effort: &Effort,
    ) -> Result<Built, BuildError> {
        // Beside the constructor, the code that reads the settings is the user's, too.
        let panicked = |panic| Err(BuildError::Panicked(format!("its settings: {panic}")));
        guarded(|| (self.build)(config, effort)).unwrap_or_else(panicked)
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

    /// Declares that it needs a Cargo feature, and whether this program was built with it. Without it the type is
    /// described and its settings are checked, but a topology that has it is refused with an error that names the
    /// feature.
    pub fn needs_feature(&mut self, feature: &'static str, is_compiled_in: bool) -> &mut ComponentType {
        self.missing_feature = (!is_compiled_in).then_some(feature);
        self
    }

    /// Declares that its calls wait.
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
