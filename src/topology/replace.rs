//! A valid topology with something in it exchanged: mocks in the place of components, other
//! options for a test. What comes out was validated again.

use crate::api::{Bolt, Spout, Streams, TaskError};
use crate::config::TopologyOptions;
use crate::topology::builder::{diagnostic, kind};
use crate::topology::diagnostic::{Diagnostic, TopologyErrors};
use crate::topology::draft::Draft;
use crate::topology::graph::{Constructor, HookFactory, Topology};
use crate::topology::validate;

impl Topology {
    /// The same topology with other options.
    ///
    /// # Errors
    /// When the changed options are not valid.
    pub fn with_options(
        mut self,
        change: impl FnOnce(&mut TopologyOptions),
    ) -> Result<Topology, TopologyErrors> {
        change(&mut self.options);
        let mut draft = Draft::from(self);
        draft.build_instances(None);
        revalidated(draft)
    }

    /// The same topology with another hook.
    #[must_use]
    pub fn with_hook(mut self, factory: HookFactory) -> Topology {
        self.hooks.push(factory);
        self
    }

    /// The same topology in which a spout is built by another function: a mock in its place, with
    /// the streams that the original declares.
    ///
    /// # Errors
    /// When there is no such spout.
    pub fn with_spout<S, F>(self, id: &str, factory: F) -> Result<Topology, TopologyErrors>
    where
        S: Spout + 'static,
        F: Fn() -> S + Send + Sync + 'static,
    {
        self.with_component(id, Constructor::spout(move || Ok::<S, TaskError>(factory())), None)
    }

    /// The same topology in which a bolt is built by another function, with the streams that the
    /// original declares.
    ///
    /// # Errors
    /// When there is no such bolt.
    pub fn with_bolt<B, F>(self, id: &str, factory: F) -> Result<Topology, TopologyErrors>
    where
        B: Bolt + 'static,
        F: Fn() -> B + Send + Sync + 'static,
    {
        self.with_component(id, Constructor::bolt(move || Ok::<B, TaskError>(factory())), None)
    }

    /// The same topology in which a component is built by something else of its kind. Without
    /// `streams` it keeps those of the original.
    ///
    /// # Errors
    /// When there is no such component of that kind, or others subscribe to what it no longer has.
    pub fn with_component(
        mut self,
        id: &str,
        constructor: Constructor,
        streams: Option<Streams>,
    ) -> Result<Topology, TopologyErrors> {
        let wanted = kind(&constructor);
        let found = self.components.iter_mut().find(|component| component.id == id);
        let Some(component) = found.filter(|component| component.kind() == wanted) else {
            let message = format!("topology `{}` has no {wanted} `{id}` to replace", self.name);
            return Err(TopologyErrors::new(vec![Diagnostic::new(message)]));
        };
        component.constructor = constructor;
        let Some(streams) = streams else { return revalidated(self.into()) };
        component.streams = streams;
        let mut draft = Draft::from(self);
        draft.build_instances(Some(id));
        revalidated(draft)
    }
}

fn revalidated(draft: Draft) -> Result<Topology, TopologyErrors> {
    validate::validate(draft)
        .map_err(|problems| TopologyErrors::new(problems.into_iter().map(diagnostic).collect()))
}
