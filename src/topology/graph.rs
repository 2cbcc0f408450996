//! The validated graph: what `TopologyBuilder` and TOML documents both build, and the runtime runs.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::api::{
    Bolt, Check, CustomGrouping, NamedState, Spout, StateStore, Streams, TaskError, TaskHook, WorkerContext,
    WorkerHook,
};
use crate::config::{ComponentOptions, StateMode, TopologyOptions};
use crate::logging::panics::guarded;
use crate::secrets::SecretName;
use crate::tuple::Fields;

/// Builds an instance of a spout, once per task and again after a panic.
pub type SpoutFactory = Arc<dyn Fn() -> Result<Box<dyn Spout>, TaskError> + Send + Sync>;
/// Builds an instance of a bolt, once per task and again after a panic.
pub type BoltFactory = Arc<dyn Fn() -> Result<Box<dyn Bolt>, TaskError> + Send + Sync>;
/// Builds an instance of a custom grouping, once per emitting task.
pub type GroupingFactory = Arc<dyn Fn() -> Box<dyn CustomGrouping> + Send + Sync>;
/// Builds an instance of a task hook, once per task.
pub type HookFactory = Arc<dyn Fn() -> Box<dyn TaskHook> + Send + Sync>;
/// Makes the store of a `[state.NAME]`, once in each process.
pub type StateFactory = Arc<dyn Fn() -> Result<Box<dyn StateStore>, TaskError> + Send + Sync>;

/// Makes an object that all tasks of a worker share.
pub type ResourceFactory =
    Arc<dyn Fn(&WorkerContext) -> Result<Arc<dyn Any + Send + Sync>, TaskError> + Send + Sync>;
/// Builds an instance of a worker hook, once per process.
pub type WorkerHookFactory = Arc<dyn Fn() -> Box<dyn WorkerHook> + Send + Sync>;

/// What a program adds to every process that runs a topology.
#[derive(Clone, Default)]
pub struct ProcessParts {
    /// Objects that tasks share, in the order in which they are made.
    pub resources: Vec<Resource>,
    /// Hooks, in the order in which they start.
    pub hooks: Vec<WorkerHookSpec>,
}

/// A registered resource.
#[derive(Clone)]
pub struct Resource {
    /// Under which key tasks find it.
    pub key: SmolStr,
    /// What makes it.
    pub build: ResourceFactory,
}

/// A registered worker hook.
#[derive(Clone)]
pub struct WorkerHookSpec {
    /// Its type, for people.
    pub name: &'static str,
    /// What builds it.
    pub build: WorkerHookFactory,
}

impl ProcessParts {
    /// Adds a resource.
    pub fn resource<T, E, F>(&mut self, key: &str, build: F)
    where
        T: Any + Send + Sync,
        E: Into<TaskError>,
        F: Fn(&WorkerContext) -> Result<T, E> + Send + Sync + 'static,
    {
        let build: ResourceFactory = Arc::new(move |worker| match build(worker) {
            Ok(object) => Ok(Arc::new(object)),
            Err(error) => Err(error.into()),
        });
        self.resources.push(Resource { key: SmolStr::new(key), build });
    }

    /// Adds a worker hook.
    pub fn worker_hook<H, F>(&mut self, build: F)
    where
        H: WorkerHook + 'static,
        F: Fn() -> H + Send + Sync + 'static,
    {
        let build: WorkerHookFactory = Arc::new(move || Box::new(build()));
        self.hooks.push(WorkerHookSpec { name: std::any::type_name::<H>(), build });
    }

    /// Adds those of another that are not among these already.
    pub fn extend(&mut self, others: &ProcessParts) {
        for other in &others.resources {
            if !self.resources.iter().any(|own| Arc::ptr_eq(&own.build, &other.build)) {
                self.resources.push(other.clone());
            }
        }
        for other in &others.hooks {
            if !self.hooks.iter().any(|own| Arc::ptr_eq(&own.build, &other.build)) {
                self.hooks.push(other.clone());
            }
        }
    }
}

impl fmt::Debug for ProcessParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.resources.iter().map(|resource| resource.key.as_str()).collect();
        let hooks: Vec<&str> = self.hooks.iter().map(|hook| hook.name).collect();
        f.debug_struct("ProcessParts").field("resources", &keys).field("hooks", &hooks).finish()
    }
}

/// A `[state.NAME]`: a store outside of squall.
#[derive(Clone)]
pub struct StateSpec {
    /// Its name.
    pub name: SmolStr,
    /// The registered type it is of, or `rust` for one that was handed to the builder.
    pub type_name: SmolStr,
    /// What is stored beside values.
    pub mode: StateMode,
    /// What makes the store.
    pub factory: StateFactory,
}

impl StateSpec {
    /// What tasks find the store by.
    pub(crate) fn resource(&self) -> Resource {
        let (factory, mode) = (Arc::clone(&self.factory), self.mode);
        let build: ResourceFactory = Arc::new(move |_| Ok(Arc::new(NamedState { mode, store: factory()? })));
        Resource { key: NamedState::resource(&self.name).into(), build }
    }
}

impl fmt::Debug for StateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state `{}` of type {} ({})", self.name, self.type_name, self.mode)
    }
}

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

impl Grouping {
    /// Whether it can be found out anew which task gets a tuple, when there is another number of tasks.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Grouping::Shuffle
            | Grouping::Fields(_)
            | Grouping::Global
            | Grouping::None
            | Grouping::LocalOrShuffle => true,
            Grouping::PartialKey(_) | Grouping::All | Grouping::Direct | Grouping::Custom(..) => false,
        }
    }
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
    /// What builds spouts by this function.
    pub fn spout<S, E, F>(factory: F) -> Constructor
    where
        S: Spout + 'static,
        E: Into<TaskError>,
        F: Fn() -> Result<S, E> + Send + Sync + 'static,
    {
        Constructor::Spout(Arc::new(move || match factory() {
            Ok(spout) => Ok(Box::new(spout)),
            Err(error) => Err(error.into()),
        }))
    }

    /// What builds bolts by this function.
    pub fn bolt<B, E, F>(factory: F) -> Constructor
    where
        B: Bolt + 'static,
        E: Into<TaskError>,
        F: Fn() -> Result<B, E> + Send + Sync + 'static,
    {
        Constructor::Bolt(Arc::new(move || match factory() {
            Ok(bolt) => Ok(Box::new(bolt)),
            Err(error) => Err(error.into()),
        }))
    }

    /// Builds one instance.
    ///
    /// # Errors
    /// The error that the constructor returned, or the message of its panic.
    pub fn build(&self) -> Result<Instance, TaskError> {
        let build = || match self {
            Constructor::Spout(factory) => factory().map(Instance::spout),
            Constructor::Bolt(factory) => factory().map(Instance::bolt),
        };
        let panicked = |panic| Err(TaskError::new(format!("its constructor {panic}")));
        guarded(build).unwrap_or_else(panicked)
    }
}

/// An instance that is asked what it is while its topology is validated, and then dropped. It is code
/// of the user's, which may panic in whatever it does.
pub struct Instance(Option<Asked>);

enum Asked {
    Spout(Box<dyn Spout>),
    Bolt(Box<dyn Bolt>),
}

impl Instance {
    /// Of a spout.
    pub fn spout(spout: Box<dyn Spout>) -> Instance {
        Instance(Some(Asked::Spout(spout)))
    }

    /// Of a bolt.
    pub fn bolt(bolt: Box<dyn Bolt>) -> Instance {
        Instance(Some(Asked::Bolt(bolt)))
    }

    /// The streams it emits to.
    ///
    /// # Errors
    /// The message of its panic.
    pub fn declare(&self) -> Result<Streams, String> {
        guarded(|| match &self.0 {
            Some(Asked::Spout(spout)) => spout.declare(),
            Some(Asked::Bolt(bolt)) => bolt.declare(),
            None => Streams::none(),
        })
        .map_err(|panic| format!("its `declare` {panic}"))
    }

    /// Whether it is a bolt, or a spout that can go back to a position in its input.
    ///
    /// # Errors
    /// The message of its panic.
    pub fn can_go_back(&self) -> Result<bool, String> {
        guarded(|| match &self.0 {
            Some(Asked::Spout(spout)) => spout.is_rewindable(),
            Some(Asked::Bolt(_)) | None => true,
        })
        .map_err(|panic| format!("its `is_rewindable` {panic}"))
    }

    /// Looks at what surrounds it.
    ///
    /// # Errors
    /// The message of its panic.
    pub fn check(&self, check: &mut Check<'_>) -> Result<(), String> {
        guarded(|| match &self.0 {
            Some(Asked::Spout(spout)) => spout.check(check),
            Some(Asked::Bolt(bolt)) => bolt.check(check),
            None => {}
        })
        .map_err(|panic| format!("its `check` {panic}"))
    }
}

impl Drop for Instance {
    /// A panic of the drop has no bearing on whether the topology is right; a task that panics so is
    /// reported when it runs.
    fn drop(&mut self) {
        let asked = self.0.take();
        let _ = guarded(|| drop(asked));
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
    pub(crate) states: Vec<StateSpec>,
    pub(crate) secrets: BTreeSet<SecretName>,
    /// The states are among its resources.
    pub(crate) process: ProcessParts,
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

    /// Its stores outside of squall, in the order they were declared.
    pub fn states(&self) -> &[StateSpec] {
        &self.states
    }

    /// The names of the secrets that each process needs that runs any of it, in their order.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.secrets.iter()
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
        let options = TopologyOptions::default();
        Topology {
            name: "test".into(),
            options,
            components,
            hooks: Vec::new(),
            states: Vec::new(),
            secrets: BTreeSet::new(),
            process: ProcessParts::default(),
        }
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
