//! The validated graph: what `TopologyBuilder` and TOML documents both build, and the runtime runs.

use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::api::{Bolt, Check, CustomGrouping, Spout, Streams, TaskError, TaskHook};
use crate::config::{ComponentOptions, TopologyOptions};
use crate::tuple::Fields;

/// Builds an instance of a spout, once per task and again after a panic.
pub type SpoutFactory = Arc<dyn Fn() -> Result<Box<dyn Spout>, TaskError> + Send + Sync>;
/// Builds an instance of a bolt, once per task and again after a panic.
pub type BoltFactory = Arc<dyn Fn() -> Result<Box<dyn Bolt>, TaskError> + Send + Sync>;
/// Builds an instance of a custom grouping, once per emitting task.
pub type GroupingFactory = Arc<dyn Fn() -> Box<dyn CustomGrouping> + Send + Sync>;
/// Builds an instance of a task hook, once per task.
pub type HookFactory = Arc<dyn Fn() -> Box<dyn TaskHook> + Send + Sync>;

/// How the tuples of a stream are spread over the tasks of a subscriber.
#[derive(Clone)]
pub enum Grouping {
    /// To targets with credit and short queues first, evenly among equals.
    Shuffle,
    /// Equal values of these fields to the same task.
    Fields(Fields),
    /// Equal values of these fields to one of two tasks, the one that got fewer so far.
    PartialKey(Fields),
    /// To every task.
    All,
    /// To the task with the lowest id.
    Global,
    /// The emitter does not care; at present a random task.
    None,
    /// Like shuffle, among the tasks of the same worker if there are any.
    LocalOrShuffle,
    /// The emitter names the task.
    Direct,
    /// The user's own; the name is for people.
    Custom(SmolStr, GroupingFactory),
}

impl fmt::Display for Grouping {
    /// As written in TOML, fields in parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grouping::Shuffle => f.write_str("shuffle"),
            Grouping::Fields(fields) => write!(f, "fields({fields})"),
            Grouping::PartialKey(fields) => write!(f, "partial-key({fields})"),
            Grouping::All => f.write_str("all"),
            Grouping::Global => f.write_str("global"),
            Grouping::None => f.write_str("none"),
            Grouping::LocalOrShuffle => f.write_str("local-or-shuffle"),
            Grouping::Direct => f.write_str("direct"),
            Grouping::Custom(name, _) => write!(f, "custom({name})"),
        }
    }
}

impl fmt::Debug for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A subscription of a bolt.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// The component it takes tuples from.
    pub component: SmolStr,
    /// The stream of that component.
    pub stream: SmolStr,
    /// How tuples are spread over the bolt's tasks.
    pub grouping: Grouping,
    /// Whether the edge is meant to close a cycle. Without the mark a cycle is an error.
    pub feedback: bool,
}

/// What a component is built by.
#[derive(Clone)]
pub enum Constructor {
    /// It is a spout.
    Spout(SpoutFactory),
    /// It is a bolt.
    Bolt(BoltFactory),
}

impl fmt::Debug for Constructor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Constructor::Spout(_) => "spout",
            Constructor::Bolt(_) => "bolt",
        })
    }
}

impl Constructor {
    /// Builds one instance.
    ///
    /// # Errors
    /// What the constructor returned.
    pub fn build(&self) -> Result<Instance, TaskError> {
        Ok(match self {
            Constructor::Spout(factory) => Instance::Spout(factory()?),
            Constructor::Bolt(factory) => Instance::Bolt(factory()?),
        })
    }
}

/// An instance that is asked what it is while its topology is validated, and then dropped.
pub enum Instance {
    /// Of a spout.
    Spout(Box<dyn Spout>),
    /// Of a bolt.
    Bolt(Box<dyn Bolt>),
}

impl Instance {
    /// The streams it emits to.
    pub fn declare(&self) -> Streams {
        match self {
            Instance::Spout(spout) => spout.declare(),
            Instance::Bolt(bolt) => bolt.declare(),
        }
    }

    /// Looks at what surrounds it.
    pub fn check(&self, check: &mut Check<'_>) {
        match self {
            Instance::Spout(spout) => spout.check(check),
            Instance::Bolt(bolt) => bolt.check(check),
        }
    }
}

/// One component of a topology.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its id, unique in the topology.
    pub id: SmolStr,
    /// The registered type it is of, or `rust` for one that was handed to the builder.
    pub type_name: SmolStr,
    /// What builds its instances.
    pub constructor: Constructor,
    /// What it declares to emit. The dead-letter stream of bolts is not among them.
    pub streams: Streams,
    /// Its subscriptions; none for a spout.
    pub inputs: Vec<InputSpec>,
    /// Its options.
    pub options: ComponentOptions,
    /// Hooks of its tasks, beside those of the topology.
    pub hooks: Hooks,
}

/// Hooks in the order in which they are called.
#[derive(Clone, Default)]
pub struct Hooks(pub Vec<HookFactory>);

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hooks", self.0.len())
    }
}

impl Component {
    /// Whether it is a spout.
    pub fn is_spout(&self) -> bool {
        matches!(self.constructor, Constructor::Spout(_))
    }
}

/// A topology that passed validation: names are unique and legal, inputs lead somewhere, numbers
/// are within the limits. Only `topology::validate` makes one.
#[derive(Clone)]
pub struct Topology {
    pub(crate) name: SmolStr,
    pub(crate) options: TopologyOptions,
    pub(crate) components: Vec<Component>,
    pub(crate) hooks: Vec<HookFactory>,
}

impl Topology {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its options.
    pub fn options(&self) -> &TopologyOptions {
        &self.options
    }

    /// Its components, spouts and bolts in the order they were declared.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The component of that id.
    pub fn component(&self, id: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.id == id)
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("components", &self.components)
            .finish_non_exhaustive()
    }
}

/// Graphs for the tests of this layer, which look at shapes only.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::api::{Input, Outputs, SpoutOutputs, SpoutStatus};
    use crate::ids::DEFAULT_STREAM;

    struct Inert;

    impl Spout for Inert {
        fn next_tuple(&mut self, _out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            Ok(SpoutStatus::Exhausted)
        }
    }

    impl Bolt for Inert {
        fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
            Ok(())
        }
    }

    /// Components with the ids they take tuples from by shuffle; those without any are spouts.
    pub(crate) fn topology(components: &[(&str, &[&str])]) -> Topology {
        let components = components.iter().map(|(id, inputs)| component(id, inputs)).collect();
        Topology { name: "test".into(), options: TopologyOptions::default(), components, hooks: Vec::new() }
    }

    fn component(id: &str, inputs: &[&str]) -> Component {
        let constructor = if inputs.is_empty() {
            Constructor::Spout(Arc::new(|| Ok(Box::new(Inert))))
        } else {
            Constructor::Bolt(Arc::new(|| Ok(Box::new(Inert))))
        };
        let input = |from: &&str| InputSpec {
            component: SmolStr::new(from),
            stream: SmolStr::new(DEFAULT_STREAM),
            grouping: Grouping::Shuffle,
            feedback: false,
        };
        Component {
            id: SmolStr::new(id),
            type_name: "rust".into(),
            constructor,
            streams: Streams::new(["value"]),
            inputs: inputs.iter().map(input).collect(),
            options: ComponentOptions::default(),
            hooks: Hooks::default(),
        }
    }
}
