//! Component types by name: what `type = "split"` in a topology document means.
//!
//! A type is registered with a *settings* struct, which `serde` reads from the component's
//! `config` table and `schemars` describes to editors and to `squall components`, and with a
//! function from those settings to an instance. The function runs once when the topology is read
//! (so that wrong settings are errors with a place in the file, and the output streams are
//! known), then once per task and after each panic.

mod component;
mod entries;
mod extensions;
mod state_type;
mod states;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::api::{Bolt, Spout};
use crate::topology::effort::Effort;
use crate::topology::graph::{Constructor, Instance};
use crate::topology::registry::component::{BuildFn, SchemaFn, build_fn};

pub use component::{BuildError, Built, ComponentType, Kind, NoSettings, SettingError};
pub use entries::{GroupingType, Registry};
pub use state_type::StateType;

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

    /// From now on, types that are not compiled in count as if they were, until a task of them is prepared. For tests
    /// that validate documents and do not run them.
    #[doc(hidden)]
    pub fn assume_compiled_in(&mut self) {
        self.components.values_mut().for_each(|component| component.missing_feature = None);
        self.states.values_mut().for_each(|state| state.missing_feature = None);
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
            missing_feature: None,
            schema,
            build,
        };
        self.has_own = true;
        self.components.insert(name.to_owned(), component);
        self.components.get_mut(name).expect("it was inserted a line above")
    }
}
