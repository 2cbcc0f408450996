//! Topologies in Rust.
//!
//! The builder collects; nothing is checked before [`TopologyBuilder::build`], which reports all
//! mistakes at once, with the validator that documents go through too. Each constructor is called
//! once by `build`, to ask the instance what it declares and whether it can work in its place, and then
//! once per task.

mod declarers;

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::api::{
    self, Bolt, Input, Outputs, Spout, StateStore, Streams, TaskError, TaskHook, WorkerContext, WorkerHook,
};
use crate::config::{CheckpointOptions, ComponentOptions, StateMode, TopologyOptions};
use crate::secrets::SecretName;
use crate::topology::builder::declarers::Declared;
use crate::topology::diagnostic::{Diagnostic, TopologyErrors};
use crate::topology::draft::{Draft, DraftComponent, DraftState};
use crate::topology::graph::{Constructor, HookFactory, ProcessParts, StateFactory, Topology};
use crate::topology::registry::{Built, Kind};
use crate::topology::validate::{self, Problem};

pub use declarers::{BoltDeclarer, SpoutDeclarer, StreamRef};

/// The type name of components that were handed over in Rust.
pub const RUST_TYPE: &str = "rust";

/// Puts a topology together.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use squall::prelude::*;
/// use squall::topology::TopologyBuilder;
///
/// struct Numbers;
/// impl Spout for Numbers {
///     fn declare(&self) -> Streams {
///         Streams::new(["n"])
///     }
///     fn next_tuple(&mut self, _out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
///         Ok(SpoutStatus::Exhausted)
///     }
/// }
///
/// struct Sum;
/// impl Bolt for Sum {
///     fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         Ok(())
///     }
/// }
///
/// let mut builder = TopologyBuilder::new("sums");
/// builder.options(|options| options.max_replays = Some(3));
/// builder.spout("numbers", || Numbers);
/// builder.bolt("sum", || Sum).parallelism(2).fields("numbers", ["n"]).tick(Duration::from_secs(1));
/// let topology = builder.build()?;
/// assert_eq!(topology.component("sum").unwrap().options.parallelism, 2);
/// # Ok::<(), squall::topology::TopologyErrors>(())
/// ```
/// All mistakes are reported at once:
/// ```
/// # use squall::prelude::*;
/// # use squall::topology::TopologyBuilder;
/// # struct Sum;
/// # impl Bolt for Sum {
/// #     fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
/// # }
/// let mut builder = TopologyBuilder::new("my sums");
/// builder.bolt("sum", || Sum).parallelism(0).shuffle("numbers");
/// let errors = builder.build().unwrap_err();
/// assert_eq!(errors.diagnostics().len(), 4); // name, parallelism, input, no spout
/// ```
pub struct TopologyBuilder {
    name: SmolStr,
    options: TopologyOptions,
    components: Vec<Declared>,
    hooks: Vec<HookFactory>,
    states: Vec<DraftState>,
    secrets: BTreeSet<SecretName>,
    process: ProcessParts,
}

impl TopologyBuilder {
    /// A topology without components and with default options.
    pub fn new(name: impl AsRef<str>) -> TopologyBuilder {
        TopologyBuilder {
            name: SmolStr::new(name),
            options: TopologyOptions::default(),
            components: Vec::new(),
            hooks: Vec::new(),
            states: Vec::new(),
            secrets: BTreeSet::new(),
            process: ProcessParts::default(),
        }
    }

    /// Changes options of the topology.
    pub fn options(&mut self, change: impl FnOnce(&mut TopologyOptions)) -> &mut TopologyBuilder {
        change(&mut self.options);
        self
    }

    /// Sets a free value that tasks read by `TaskContext::setting`.
    pub fn setting(&mut self, key: impl Into<String>, value: impl Into<toml::Value>) -> &mut TopologyBuilder {
        self.options.settings.insert(key.into(), value.into());
        self
    }

    /// Declares a secret that the topology needs. Before it starts, squall looks whether the secret is there, and a cluster
    /// runs the topology on hosts that have it. In a document, the settings of components do this.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::secrets::SecretName;
    /// # use squall::testing::FixedSpout;
    ///
    /// let name: SecretName = "orders-db".parse()?;
    /// let url = Secret::named(name.clone());
    /// let mut builder = TopologyBuilder::new("orders");
    /// builder.secret(name);
    /// # builder.spout("orders", || FixedSpout::new(["id"], Vec::new()));
    /// // … components that read `url` by `TaskContext::secret` …
    /// # drop(url);
    /// assert_eq!(builder.build()?.secrets().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn secret(&mut self, name: SecretName) -> &mut TopologyBuilder {
        self.secrets.insert(name);
        self
    }

    /// Adds a hook to all tasks; each gets an instance of its own. A hook of one component is added
    /// where the component is declared.
    pub fn hook<H, F>(&mut self, factory: F) -> &mut TopologyBuilder
    where
        H: TaskHook + 'static,
        F: Fn() -> H + Send + Sync + 'static,
    {
        self.hooks.push(Arc::new(move || Box::new(factory())));
        self
    }

    /// Adds an object that all tasks of a worker process share: `build` runs once in each, before any
    /// task is prepared, and tasks find the object by `TaskContext::resources`. See
    /// [`Registry::resource`](crate::topology::registry::Registry::resource), whose objects come after
    /// these and do not replace them.
    ///
    /// # Examples
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use squall::prelude::*;
    /// use squall::testing::{CompleteOptions, FixedSpout, complete_topology};
    ///
    /// struct Seen(Arc<Mutex<u64>>);
    /// impl Bolt for Seen {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["n"])
    ///     }
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.0 = context.resources().get("seen").ok_or_else(|| TaskError::fatal("nothing is shared"))?;
    ///         Ok(())
    ///     }
    ///     fn execute(&mut self, _input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         let mut seen = self.0.lock().unwrap();
    ///         *seen += 1;
    ///         out.emit([*seen])?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut builder = TopologyBuilder::new("shared");
    /// builder.resource("seen", |_| Ok::<_, TaskError>(Mutex::new(41_u64)));
    /// builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
    /// builder.bolt("seen", || Seen(Arc::default())).shuffle("words");
    /// let completed = complete_topology(builder.build()?, CompleteOptions::default())?;
    /// assert_eq!(completed.rows("seen"), [[Value::from(42)]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resource<T, E, F>(&mut self, key: &str, build: F) -> &mut TopologyBuilder
    where
        T: Any + Send + Sync,
        E: Into<TaskError>,
        F: Fn(&WorkerContext) -> Result<T, E> + Send + Sync + 'static,
    {
        self.process.resource(key, build);
        self
    }

    /// Adds a hook that runs once in every worker process; see [`WorkerHook`].
    pub fn worker_hook<H, F>(&mut self, factory: F) -> &mut TopologyBuilder
    where
        H: WorkerHook + 'static,
        F: Fn() -> H + Send + Sync + 'static,
    {
        self.process.worker_hook(factory);
        self
    }

    /// Adds a store outside of squall, which a bolt uses by its name: `[state.NAME]` of a document. `store` runs once when
    /// the topology is built, and once in each process.
    ///
    /// # Examples
    /// How often each word has come, in a map that the test looks into:
    /// ```
    /// use squall::components::aggregate::{Aggregate, AggregateSettings, Function};
    /// use squall::config::StateMode;
    /// use squall::prelude::*;
    /// use squall::testing::{FixedSpout, SimulatedTopology, SimulationOptions};
    /// use squall::trident::{MemoryMap, MemoryStore};
    ///
    /// let totals = MemoryMap::default();
    /// let store = MemoryStore(totals.clone());
    /// let mut builder = TopologyBuilder::new("words");
    /// builder.options(|options| options.delivery = Delivery::ExactlyOnce);
    /// builder.state("totals", StateMode::Opaque, move || Ok::<_, TaskError>(store.clone()));
    /// builder.spout("words", || FixedSpout::new(["word"], ["a", "b", "a"].map(|word| vec![Value::from(word)])));
    /// let settings = AggregateSettings {
    ///     state: "totals".to_owned(),
    ///     by: vec!["word".to_owned()],
    ///     function: Function::Count,
    ///     field: None,
    ///     emit: "total".to_owned(),
    /// };
    /// builder.bolt_with("count", move || Aggregate::new(settings.clone())).fields("words", ["word"]);
    /// let mut run = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
    /// run.run_to_end(std::time::Duration::from_secs(60))?;
    /// assert_eq!(totals.entries()[&vec![Value::from("a")]].value, Value::from(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state<S, E, F>(&mut self, name: impl AsRef<str>, mode: StateMode, store: F) -> &mut TopologyBuilder
    where
        S: StateStore + 'static,
        E: Into<TaskError>,
        F: Fn() -> Result<S, E> + Send + Sync + 'static,
    {
        let factory: StateFactory = Arc::new(move || match store() {
            Ok(store) => Ok(Box::new(store)),
            Err(error) => Err(error.into()),
        });
        let (name, type_name) = (SmolStr::new(name), SmolStr::new_static(RUST_TYPE));
        let mut state = DraftState { name, type_name, mode, factory: Some(factory), store: None };
        state.build();
        self.states.push(state);
        self
    }

    /// Adds a spout.
    pub fn spout<S, F>(&mut self, id: impl AsRef<str>, factory: F) -> SpoutDeclarer<'_>
    where
        S: Spout + 'static,
        F: Fn() -> S + Send + Sync + 'static,
    {
        self.spout_with(id, move || Ok::<S, TaskError>(factory()))
    }

    /// Adds a spout whose construction may fail.
    pub fn spout_with<S, E, F>(&mut self, id: impl AsRef<str>, factory: F) -> SpoutDeclarer<'_>
    where
        S: Spout + 'static,
        E: Into<TaskError>,
        F: Fn() -> Result<S, E> + Send + Sync + 'static,
    {
        SpoutDeclarer(self.declare(id.as_ref(), Constructor::spout(factory)))
    }

    /// Adds a bolt.
    pub fn bolt<B, F>(&mut self, id: impl AsRef<str>, factory: F) -> BoltDeclarer<'_>
    where
        B: Bolt + 'static,
        F: Fn() -> B + Send + Sync + 'static,
    {
        self.bolt_with(id, move || Ok::<B, TaskError>(factory()))
    }

    /// Adds a bolt whose construction may fail.
    pub fn bolt_with<B, E, F>(&mut self, id: impl AsRef<str>, factory: F) -> BoltDeclarer<'_>
    where
        B: Bolt + 'static,
        E: Into<TaskError>,
        F: Fn() -> Result<B, E> + Send + Sync + 'static,
    {
        BoltDeclarer(self.declare(id.as_ref(), Constructor::bolt(factory)))
    }

    /// Adds a bolt that is one function. Each task has a clone of it, with a state of its own.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::testing::{CompleteOptions, FixedSpout, complete_topology};
    ///
    /// let mut builder = TopologyBuilder::new("numbered");
    /// builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
    /// let mut count = 0_u64;
    /// builder
    ///     .bolt_fn("number", Streams::new(["word", "n"]), move |input, out| {
    ///         count += 1;
    ///         out.emit((input.str("word")?, count))?;
    ///         Ok(())
    ///     })
    ///     .parallelism(2)
    ///     .shuffle("words");
    /// let completed = complete_topology(builder.build()?, CompleteOptions::default())?;
    /// assert_eq!(completed.rows("number"), [[Value::from("storm"), Value::from(1)]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bolt_fn<F>(&mut self, id: impl AsRef<str>, streams: Streams, execute: F) -> BoltDeclarer<'_>
    where
        F: FnMut(Input<'_>, &mut Outputs<'_>) -> Result<(), TaskError> + Clone + Send + Sync + 'static,
    {
        self.bolt(id, move || api::bolt_fn(streams.clone(), execute.clone()))
    }

    fn declare(&mut self, id: &str, constructor: Constructor) -> &mut Declared {
        let declared = Declared {
            id: SmolStr::new(id),
            constructor,
            inputs: Vec::new(),
            options: ComponentOptions::default(),
            hooks: Vec::new(),
            feedback_of_nothing: false,
        };
        self.components.push(declared);
        self.components.last_mut().expect("one was pushed a line above")
    }

    /// Calls each constructor once for what it declares, and checks everything.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn build(self) -> Result<Topology, TopologyErrors> {
        let mut diagnostics = Vec::new();
        let components = self.components.into_iter().map(|declared| {
            let instance = declared.constructor.build().map_err(|error| error.to_string());
            let built = instance.and_then(|instance| Built::of(declared.constructor.clone(), instance));
            let built = built.map_err(|error| diagnostics.push(cannot_build(&declared, &error))).ok();
            if declared.feedback_of_nothing {
                diagnostics.push(feedback_of_nothing(&declared));
            }
            DraftComponent {
                id: declared.id,
                kind: kind(&declared.constructor),
                type_name: SmolStr::new_static(RUST_TYPE),
                built,
                inputs: Some(declared.inputs),
                options: declared.options,
                hooks: declared.hooks,
            }
        });
        let components = components.collect();
        let draft = Draft {
            name: Some(self.name),
            sets_checkpoint: self.options.checkpoint != CheckpointOptions::default(),
            options: self.options,
            components,
            hooks: self.hooks,
            states: self.states,
            taken: Vec::new(),
            secrets: self.secrets,
            process: self.process,
            complete: true,
        };
        diagnostics.extend(validate::problems(&draft).into_iter().map(diagnostic));
        if diagnostics.is_empty() { Ok(draft.into_topology()) } else { Err(TopologyErrors::new(diagnostics)) }
    }
}

impl fmt::Debug for TopologyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.components.iter().map(|declared| declared.id.as_str()).collect();
        f.debug_struct("TopologyBuilder").field("name", &self.name).field("components", &ids).finish()
    }
}

pub(super) fn kind(constructor: &Constructor) -> Kind {
    match constructor {
        Constructor::Spout(_) => Kind::Spout,
        Constructor::Bolt(_) => Kind::Bolt,
    }
}

fn cannot_build(declared: &Declared, error: &str) -> Diagnostic {
    Diagnostic::new(format!("{} `{}` cannot be built: {error}", kind(&declared.constructor), declared.id))
}

fn feedback_of_nothing(declared: &Declared) -> Diagnostic {
    let message = format!(
        "bolt `{}`: `feedback()` marks the input that was declared before it, and there is none",
        declared.id
    );
    let help = "call it after the input, as in `.shuffle(\"other\").feedback()`".to_owned();
    Diagnostic { help: Some(help), ..Diagnostic::new(message) }
}

/// A problem of a topology that has no text.
pub(super) fn diagnostic(problem: Problem) -> Diagnostic {
    Diagnostic { help: problem.help, ..Diagnostic::new(problem.message) }
}
