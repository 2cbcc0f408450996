//! What programs register beside component types: custom groupings, hooks, resources, topologies, and the
//! reporter of the counters.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::api::{
    CustomGrouping, MetricsReporter, MetricsReporting, TaskError, TaskHook, WorkerContext, WorkerHook,
};
use crate::logging::panics::{catch_unwind, text_of};
use crate::topology::diagnostic::TopologyErrors;
use crate::topology::graph::{GroupingFactory, HookFactory, ProcessParts, Topology};
use crate::topology::registry::component::{NoSettings, SettingError, read_settings};
use crate::topology::registry::entries::{
    BuildGroupingFn, GroupingType, NamedHook, NamedTopology, Registry, TopologyFn,
};

impl Registry {
    /// Registers a custom grouping, named in TOML by `grouping = "custom"` and `custom = "NAME"`.
    pub fn grouping<G, F>(&mut self, name: &str, build: F)
    where
        G: CustomGrouping + 'static,
        F: Fn() -> G + Send + Sync + 'static,
    {
        self.grouping_with(name, move |_: &NoSettings| Ok(build()));
    }

    /// Registers a custom grouping with settings, which an input gives by `config`. The function runs
    /// once when the topology is read, so that wrong settings are errors with a place in the file, then
    /// once per emitting task; what it accepted once it must accept again.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::topology::declare::parse_str;
    ///
    /// /// Where tuples go.
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// #[serde(deny_unknown_fields)]
    /// struct FirstSettings {
    ///     /// How many tasks get every tuple.
    ///     tasks: usize,
    /// }
    ///
    /// struct First(usize);
    /// impl CustomGrouping for First {
    ///     fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
    ///         chosen.extend(targets.iter().take(self.0));
    ///     }
    /// }
    ///
    /// let mut registry = Registry::with_standard();
    /// registry.grouping_with("first", |settings: &FirstSettings| match settings.tasks {
    ///     0 => Err(SettingError::at("tasks", "at least one task must get a tuple")),
    ///     tasks => Ok(First(tasks)),
    /// });
    /// let text = |tasks: u32| format!(r#"
    ///     topology.name = "numbers"
    ///     spout.numbers = {{ type = "generate", config.fields.n = "{{seq}}" }}
    ///     [bolt.print]
    ///     type = "print"
    ///     inputs = [{{ from = "numbers", custom = "first", config = {{ tasks = {tasks} }} }}]
    /// "#);
    /// assert!(parse_str("t.toml", &text(1), &registry).is_ok());
    /// let errors = parse_str("t.toml", &text(0), &registry).unwrap_err();
    /// assert!(errors.render(false).contains("at least one task must get a tuple"));
    /// ```
    pub fn grouping_with<C, G, F>(&mut self, name: &str, build: F)
    where
        C: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        G: CustomGrouping + 'static,
        F: Fn(&C) -> Result<G, SettingError> + Send + Sync + 'static,
    {
        let build = Arc::new(build);
        let named = name.to_owned();
        let build_grouping: BuildGroupingFn = Arc::new(move |config| {
            let settings = Arc::new(read_settings::<C>(config)?);
            drop(build(&settings)?);
            let (build, named) = (Arc::clone(&build), named.clone());
            let factory: GroupingFactory = Arc::new(move || match build(&settings) {
                Ok(grouping) => Box::new(grouping),
                // The runtime reports it as it does any panic of a grouping.
                Err(error) => panic!("grouping `{named}` refuses settings that it accepted before: {error}"),
            });
            Ok(factory)
        });
        let grouping = GroupingType { name: name.to_owned(), schema: C::json_schema, build: build_grouping };
        self.has_own = true;
        self.groupings.insert(name.to_owned(), grouping);
    }

    /// Registers a hook, which topologies ask for by `hooks = ["NAME"]` in `[topology]`, for all
    /// tasks, or in the table of a component. Each task gets an instance of its own.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use squall::api::TaskHook;
    /// use squall::prelude::*;
    /// use squall::topology::declare::parse_str;
    /// use squall::testing::{SimulatedTopology, SimulationOptions};
    ///
    /// struct Executed(Arc<AtomicU64>);
    /// impl TaskHook for Executed {
    ///     fn bolt_execute(&mut self, _tuple: &[Value]) {
    ///         self.0.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// }
    ///
    /// let executed = Arc::new(AtomicU64::new(0));
    /// let counter = Arc::clone(&executed);
    /// let mut registry = Registry::with_standard();
    /// registry.hook("executed", move || Executed(Arc::clone(&counter)));
    /// let text = r#"
    ///     topology.name = "numbers"
    ///     spout.numbers = { type = "generate", config = { count = 5, fields.n = "{seq}" } }
    ///     bolt.count = { type = "count", inputs = ["numbers"], hooks = ["executed"], config.by = ["n"] }
    /// "#;
    /// let topology = parse_str("t.toml", text, &registry)?;
    /// let mut running = SimulatedTopology::start(topology, SimulationOptions::default());
    /// running.run_to_end(std::time::Duration::from_secs(60)).unwrap();
    /// assert_eq!(executed.load(Ordering::Relaxed), 5);
    /// # Ok::<(), squall::topology::TopologyErrors>(())
    /// ```
    pub fn hook<H, F>(&mut self, name: &str, build: F)
    where
        H: TaskHook + 'static,
        F: Fn() -> H + Send + Sync + 'static,
    {
        self.has_own = true;
        self.hooks.insert(name.to_owned(), NamedHook(Arc::new(move || Box::new(build()))));
    }

    /// What builds the hook of that name.
    pub fn task_hook(&self, name: &str) -> Option<HookFactory> {
        self.hooks.get(name).map(|named| Arc::clone(&named.0))
    }

    /// The names of all hooks.
    pub fn task_hooks(&self) -> impl Iterator<Item = &str> {
        self.hooks.keys().map(String::as_str)
    }

    /// Registers an object that all tasks of a worker process share: a connection pool, a model, a
    /// cache. `build` runs once in every worker process of every topology that is run with this
    /// registry (and once where a topology runs in one process), before any task is prepared. Tasks
    /// find the object by `TaskContext::resources`, under this key and by its type.
    ///
    /// When `build` fails or panics, the run ends with this reason. A worker that is started again
    /// later is tried again after a pause, up to ten times, unless `build` returns [`TaskError::fatal`]. A key that has an object already keeps it: one
    /// of `LocalOptions::resources`, of a test, or of the topology itself.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct Blocked(Vec<String>);
    ///
    /// let mut registry = Registry::with_standard();
    /// registry.resource("blocked", |worker| {
    ///     let path: String = worker.setting("blocked_words")?;
    ///     let text = std::fs::read_to_string(&path)?;
    ///     Ok::<_, TaskError>(Blocked(text.lines().map(str::to_owned).collect()))
    /// });
    /// // In `prepare` of a bolt:
    /// // self.blocked = context.resources().get::<Blocked>("blocked").ok_or_else(…)?;
    /// ```
    pub fn resource<T, E, F>(&mut self, key: &str, build: F)
    where
        T: Any + Send + Sync,
        E: Into<TaskError>,
        F: Fn(&WorkerContext) -> Result<T, E> + Send + Sync + 'static,
    {
        self.has_own = true;
        self.process.resource(key, build);
    }

    /// Registers a hook that runs once in every worker process of every topology that is run with
    /// this registry; see [`WorkerHook`].
    pub fn worker_hook<H, F>(&mut self, build: F)
    where
        H: WorkerHook + 'static,
        F: Fn() -> H + Send + Sync + 'static,
    {
        self.has_own = true;
        self.process.worker_hook(build);
    }

    /// What it adds to every process.
    pub fn process_parts(&self) -> &ProcessParts {
        &self.process
    }

    /// Registers a topology that is built in Rust. Every command takes its name where it takes the
    /// path of a document, so `my-program run NAME --workers 3` runs it in three worker processes.
    ///
    /// A worker process is the same program started again, and calls `build` for itself. So `build`
    /// must make the same topology in every process: it may read the environment, which workers
    /// inherit, but neither the arguments of the command line nor anything that changes. A worker
    /// whose topology differs from that of its parent is refused.
    ///
    /// A name that is also the path of a document means the registered topology; `./NAME` means the
    /// document. A later registration under the same name replaces the earlier.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::testing::FixedSpout;
    ///
    /// fn words() -> TopologyBuilder {
    ///     let mut builder = TopologyBuilder::new("words");
    ///     builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
    ///     builder
    /// }
    ///
    /// let mut registry = Registry::with_standard();
    /// registry.topology("words", || words().build());
    /// let topology = squall::cli::load("words", &registry, &["spout.words.parallelism=2"])?;
    /// assert_eq!(topology.component("words").unwrap().options.parallelism, 2);
    /// # Ok::<(), squall::topology::TopologyErrors>(())
    /// ```
    pub fn topology<E, F>(&mut self, name: &str, build: F)
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Fn() -> Result<Topology, E> + Send + Sync + 'static,
    {
        let build: TopologyFn = Arc::new(move || build().map_err(Into::into));
        self.has_own = true;
        self.topologies.insert(name.to_owned(), NamedTopology(build));
    }

    /// The names of all registered topologies.
    pub fn topologies(&self) -> impl Iterator<Item = &str> {
        self.topologies.keys().map(String::as_str)
    }

    /// Builds the registered topology of that name; `None` if there is none.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why its function failed.
    pub fn build_topology(&self, name: &str) -> Option<Result<Topology, TopologyErrors>> {
        let build = &self.topologies.get(name)?.0;
        let failed = |why: &dyn fmt::Display| {
            TopologyErrors::of(format!("the registered topology `{name}` cannot be built: {why}"))
        };
        Some(match catch_unwind(AssertUnwindSafe(|| build())) {
            Ok(Ok(topology)) => Ok(topology),
            Ok(Err(error)) => {
                Err(error.downcast::<TopologyErrors>().map_or_else(|error| failed(&error), |errors| *errors))
            }
            Err(panic) => Err(failed(&text_of(&*panic))),
        })
    }

    /// Registers what receives the counters of a topology that the command line runs, and how often;
    /// replaces the one registered before.
    pub fn metrics_reporter(&mut self, interval: Duration, reporter: impl MetricsReporter + 'static) {
        self.has_own = true;
        self.metrics = Some(MetricsReporting::new(interval, reporter));
    }

    /// What receives the counters of a topology.
    pub fn metrics(&self) -> Option<&MetricsReporting> {
        self.metrics.as_ref()
    }

    /// The custom grouping of that name.
    pub fn custom_grouping(&self, name: &str) -> Option<&GroupingType> {
        self.groupings.get(name)
    }

    /// All custom groupings, by name.
    pub fn custom_groupings(&self) -> impl Iterator<Item = &GroupingType> + Clone {
        self.groupings.values()
    }
}
