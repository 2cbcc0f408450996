//! A topology before it is known to be right: what the builder and the documents hand over to
//! [`validate`](crate::topology::validate).
//!
//! A draft may hold anything: names twice, inputs that lead nowhere, numbers out of bounds. Where
//! a part could not even be read, and that has been reported already, the draft holds `None`,
//! and validation stays silent about everything that rests on it.

use std::collections::BTreeSet;

use smol_str::SmolStr;

use crate::api::{StateStore, Streams};
use crate::config::{CheckpointOptions, ComponentOptions, StateMode, TopologyOptions};
use crate::logging::panics::guarded;
use crate::secrets::SecretName;
use crate::topology::graph::{
    Component, Constructor, Grouping, HookFactory, Hooks, InputSpec, ProcessParts, StateFactory, StateSpec,
    Topology,
};
use crate::topology::registry::{Built, Kind};

/// A topology that may be wrong.
pub(crate) struct Draft {
    /// `None`: missing or unreadable, and reported.
    pub name: Option<SmolStr>,
    pub options: TopologyOptions,
    pub components: Vec<DraftComponent>,
    pub hooks: Vec<HookFactory>,
    pub states: Vec<DraftState>,
    /// Whether options of checkpoints are set: written in a document, even with the values of the defaults, or
    /// changed in Rust. False if `delivery` could not be read, and that has been reported.
    pub sets_checkpoint: bool,
    /// Resources of the process that reading the topology used up, such as standard input.
    pub taken: Vec<&'static str>,
    /// Secrets that components and states name.
    pub secrets: BTreeSet<SecretName>,
    pub process: ProcessParts,
    /// Whether these are all components: false when some could not even be listed, and that has
    /// been reported.
    pub complete: bool,
}

/// A store outside of squall that may be wrong.
pub(crate) struct DraftState {
    pub name: SmolStr,
    pub type_name: SmolStr,
    pub mode: StateMode,
    /// `None`: its type or settings are wrong, and reported.
    pub factory: Option<StateFactory>,
    /// The store that was built to be asked. `None`: it was checked before, or it could not be built.
    pub store: Option<Box<dyn StateStore>>,
}

/// A component that may be wrong.
pub(crate) struct DraftComponent {
    pub id: SmolStr,
    pub kind: Kind,
    pub type_name: SmolStr,
    /// `None`: its type or settings are wrong, and reported, so its streams are not known.
    pub built: Option<Built>,
    /// `None`: unreadable as a whole, and reported.
    pub inputs: Option<Vec<DraftInput>>,
    pub options: ComponentOptions,
    pub hooks: Vec<HookFactory>,
}

/// A subscription that may be wrong.
#[derive(Clone, Debug)]
pub(crate) struct DraftInput {
    pub component: SmolStr,
    pub stream: SmolStr,
    /// `None`: unreadable, and reported.
    pub grouping: Option<Grouping>,
    pub feedback: bool,
}

impl DraftComponent {
    /// Its inputs, as far as they are known.
    pub fn inputs(&self) -> &[DraftInput] {
        self.inputs.as_deref().unwrap_or_default()
    }

    /// Its declared streams, if they are known.
    pub fn streams(&self) -> Option<&Streams> {
        self.built.as_ref().map(|built| &built.streams)
    }
}

impl From<Topology> for Draft {
    fn from(topology: Topology) -> Draft {
        Draft {
            name: Some(topology.name),
            sets_checkpoint: topology.options.checkpoint != CheckpointOptions::default(),
            options: topology.options,
            components: topology.components.into_iter().map(DraftComponent::from).collect(),
            hooks: topology.hooks,
            states: topology.states.into_iter().map(DraftState::from).collect(),
            taken: Vec::new(),
            secrets: topology.secrets,
            process: topology.process,
            complete: true,
        }
    }
}

impl From<StateSpec> for DraftState {
    fn from(StateSpec { name, type_name, mode, factory }: StateSpec) -> DraftState {
        DraftState { name, type_name, mode, factory: Some(factory), store: None }
    }
}

impl From<Component> for DraftComponent {
    fn from(component: Component) -> DraftComponent {
        let input = |input: InputSpec| DraftInput {
            component: input.component,
            stream: input.stream,
            grouping: Some(input.grouping),
            feedback: input.feedback,
        };
        DraftComponent {
            kind: component.kind(),
            id: component.id,
            type_name: component.type_name,
            built: Some(Built {
                constructor: component.constructor,
                streams: component.streams,
                instance: None,
            }),
            inputs: Some(component.inputs.into_iter().map(input).collect()),
            options: component.options,
            hooks: component.hooks.0,
        }
    }
}

impl Draft {
    /// Builds an instance of each component but this one, so that they are checked again with what
    /// surrounds them. One that cannot be built now is not checked: it fails when its tasks are built.
    pub fn build_instances(&mut self, mock: Option<&str>) {
        let components = self.components.iter_mut().filter(|component| mock != Some(component.id.as_str()));
        for built in components.filter_map(|component| component.built.as_mut()) {
            built.instance = built.constructor.build().ok();
        }
        for state in &mut self.states {
            state.build();
        }
    }

    /// The topology of a draft in which validation found nothing.
    ///
    /// # Panics
    /// When a part is missing, which would have been reported.
    pub fn into_topology(self) -> Topology {
        let states: Vec<StateSpec> = self.states.into_iter().map(DraftState::into_spec).collect();
        let mut process = self.process;
        for resource in states.iter().map(StateSpec::resource) {
            process.resources.retain(|known| known.key != resource.key);
            process.resources.push(resource);
        }
        Topology {
            name: self.name.expect("a missing name was reported"),
            options: self.options,
            components: self.components.into_iter().map(DraftComponent::into_component).collect(),
            hooks: self.hooks,
            states,
            secrets: self.secrets,
            process,
        }
    }
}

impl DraftState {
    /// Builds the store that is asked. One that cannot be built now is not checked: it fails when the topology starts.
    pub fn build(&mut self) {
        self.store = self.factory.as_ref().and_then(|factory| guarded(|| factory().ok()).ok().flatten());
    }

    fn into_spec(self) -> StateSpec {
        let factory = self.factory.expect("a state that could not be built was reported");
        StateSpec { name: self.name, type_name: self.type_name, mode: self.mode, factory }
    }
}

impl DraftComponent {
    fn into_component(self) -> Component {
        let built = self.built.expect("a component that could not be built was reported");
        let kind = match built.constructor {
            Constructor::Spout(_) => Kind::Spout,
            Constructor::Bolt(_) => Kind::Bolt,
        };
        assert_eq!(kind, self.kind, "a component is what its constructor builds");
        let input = |input: DraftInput| InputSpec {
            component: input.component,
            stream: input.stream,
            grouping: input.grouping.expect("an unreadable grouping was reported"),
            feedback: input.feedback,
        };
        Component {
            id: self.id,
            type_name: self.type_name,
            constructor: built.constructor,
            streams: built.streams,
            inputs: self.inputs.expect("unreadable inputs were reported").into_iter().map(input).collect(),
            options: self.options,
            hooks: Hooks(self.hooks),
        }
    }
}
