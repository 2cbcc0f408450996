//! Types of `[state.NAME]`: stores outside of squall, by the names that documents use.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::api::{StateStore, TaskError};
use crate::topology::graph::StateFactory;
use crate::topology::registry::component::{SettingError, read_settings};
use crate::topology::registry::entries::Registry;
use crate::topology::registry::state_type::{BuildStateFn, BuiltState, StateType};

impl Registry {
    /// Registers a type of `[state.NAME]`: the keys of that table but `type` and `mode` are its settings. The function runs
    /// once when the topology is read, and once in every process that runs it. A later registration under the same name
    /// replaces the earlier.
    ///
    /// # Examples
    /// See [`StateStore`].
    pub fn state_type<C, S, F>(&mut self, name: &str, summary: &str, build: F) -> &mut StateType
    where
        C: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        S: StateStore + 'static,
        F: Fn(&C) -> Result<S, SettingError> + Send + Sync + 'static,
    {
        let build = Arc::new(build);
        let build_state: BuildStateFn = Arc::new(move |settings| {
            let settings = Arc::new(read_settings::<C>(settings)?);
            let store: Box<dyn StateStore> = Box::new(build(&settings)?);
            let build = Arc::clone(&build);
            let factory: StateFactory =
                Arc::new(move || Ok(Box::new(build(&settings).map_err(TaskError::from)?)));
            Ok(BuiltState { factory, store })
        });
        let state = StateType {
            name: name.to_owned(),
            summary: summary.to_owned(),
            missing_feature: None,
            schema: C::json_schema,
            build: build_state,
        };
        self.has_own = true;
        self.states.insert(name.to_owned(), state);
        self.states.get_mut(name).expect("it was inserted a line above")
    }

    /// The type of that name.
    pub fn state(&self, name: &str) -> Option<&StateType> {
        self.states.get(name)
    }

    /// All types of `[state.NAME]`, by name.
    pub fn states(&self) -> impl Iterator<Item = &StateType> + Clone {
        self.states.values()
    }
}
