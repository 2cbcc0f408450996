//! The identity of a task, and what it can look up and register.

use std::sync::Arc;

use ::serde::de::DeserializeOwned;
use smol_str::SmolStr;

use crate::api::component_info::{ComponentInfo, InputInfo};
use crate::api::error::TaskError;
use crate::api::resources::WorkerResources;
use crate::api::worker::{WorkerContext, setting};
use crate::clock::Clock;
use crate::config::Delivery;
use crate::ids::TaskId;
use crate::metrics::{Counter, Gauge, Histogram, Metric, MetricKey, MetricsRegistry, OTHER_LOSSES};
use crate::secrets::{Secret, SecretValue};
use crate::state::StateRegistry;

/// What a [`TaskContext`] is made of; the runtime fills it in.
#[derive(Clone)]
pub struct ContextParts {
    /// The topology.
    pub topology: SmolStr,
    /// The component.
    pub component: SmolStr,
    /// The task.
    pub task: TaskId,
    /// Its index among the tasks of the component, from 0.
    pub task_index: usize,
    /// All components of the topology, the system's own included.
    pub components: Arc<Vec<ComponentInfo>>,
    /// The topology's `[settings]`, overridden by those of the component.
    pub settings: Arc<toml::Table>,
    /// How tuples are delivered.
    pub delivery: Delivery,
    /// The worker process that it runs in.
    pub worker: WorkerContext,
    /// The registry of metrics.
    pub metrics: MetricsRegistry,
    /// The clock of the task; simulated in tests.
    pub clock: Clock,
    /// A seed that differs for each task and is the same in a repeated simulation.
    pub seed: u64,
    /// With exactly-once, the number of the start or the recovery of the topology after which the task begins. All tasks of
    /// the topology have the same, and no other run has it.
    pub recovery: u64,
    /// The states that the task registers.
    pub states: StateRegistry,
    /// Logs with component and task attached.
    pub logger: slog::Logger,
}

/// The identity of a task and its surroundings. Passed to `open` and `prepare`; clone it to keep it.
///
/// # Examples
/// A file for each task:
/// ```
/// use squall::prelude::*;
///
/// fn file_of(context: &TaskContext) -> String {
///     format!("{}-{}-{}.log", context.topology(), context.component(), context.task_index())
/// }
/// # let options = squall::testing::HarnessOptions { task_index: 2, parallelism: 3, ..Default::default() };
/// # assert_eq!(file_of(&options.task_context()), "test-component-2.log");
/// ```
#[derive(Clone)]
pub struct TaskContext(Arc<ContextParts>);

impl TaskContext {
    /// For the runtime and for tests of a component by itself.
    ///
    /// # Examples
    /// A test of a component does not need the parts: [`HarnessOptions`](crate::testing::HarnessOptions) fills
    /// them in.
    /// ```
    /// use squall::testing::HarnessOptions;
    ///
    /// let options = HarnessOptions { component: "count".to_owned(), seed: 7, ..HarnessOptions::default() };
    /// let context = options.task_context();
    /// assert_eq!((context.component(), context.seed()), ("count", 7));
    /// ```
    pub fn new(parts: ContextParts) -> TaskContext {
        TaskContext(Arc::new(parts))
    }

    /// The topology's name.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// assert_eq!(context.topology(), "test");
    /// ```
    pub fn topology(&self) -> &str {
        &self.0.topology
    }

    /// The id of the task's component.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// assert_eq!(context.component(), "component");
    /// ```
    pub fn component(&self) -> &str {
        &self.0.component
    }

    /// The task.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// /// A key that no other task of the topology uses.
    /// fn lock_name(context: &TaskContext) -> String {
    ///     format!("{}/{}", context.topology(), context.task())
    /// }
    /// # let context = squall::testing::HarnessOptions::default().task_context();
    /// # assert_eq!(lock_name(&context), format!("test/{}", context.task()));
    /// ```
    pub fn task(&self) -> TaskId {
        self.0.task
    }

    /// The task's index among the tasks of its component, from 0 to `parallelism() - 1`.
    ///
    /// # Examples
    /// Tasks that share the partitions of a source:
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn partitions(context: &TaskContext, all: usize) -> Vec<usize> {
    ///     (context.task_index()..all).step_by(context.parallelism()).collect()
    /// }
    /// # let options = squall::testing::HarnessOptions { task_index: 1, parallelism: 2, ..Default::default() };
    /// # assert_eq!(partitions(&options.task_context(), 5), [1, 3]);
    /// ```
    pub fn task_index(&self) -> usize {
        self.0.task_index
    }

    /// How many tasks the component has.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// let options = squall::testing::HarnessOptions { parallelism: 3, ..Default::default() };
    /// assert_eq!(options.task_context().parallelism(), 3);
    /// ```
    pub fn parallelism(&self) -> usize {
        self.tasks_of(self.component()).len()
    }

    /// All components of the topology, with their inputs and streams.
    ///
    /// # Examples
    /// Every component that a tuple of this one may reach:
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn downstream(context: &TaskContext) -> Vec<&str> {
    ///     let mut reached = vec![context.component()];
    ///     let mut next = 0;
    ///     while let Some(from) = reached.get(next).copied() {
    ///         for info in context.components() {
    ///             let takes = info.inputs.iter().any(|input| input.component == from);
    ///             if takes && !reached.contains(&info.id.as_str()) {
    ///                 reached.push(&info.id);
    ///             }
    ///         }
    ///         next += 1;
    ///     }
    ///     reached.split_off(1)
    /// }
    /// # let context = squall::testing::HarnessOptions::default().task_context();
    /// # assert!(downstream(&context).is_empty());
    /// ```
    pub fn components(&self) -> &[ComponentInfo] {
        &self.0.components
    }

    /// The inputs of the task's own component; empty for a spout.
    ///
    /// # Examples
    /// A bolt that shows where a row comes from only if there are several sources:
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn has_several_sources(context: &TaskContext) -> bool {
    ///     context.inputs().len() > 1
    /// }
    /// # assert!(!has_several_sources(&squall::testing::HarnessOptions::default().task_context()));
    /// ```
    pub fn inputs(&self) -> &[InputInfo] {
        self.info_of(self.component()).map_or(&[], |info| &info.inputs)
    }

    fn info_of(&self, component: &str) -> Option<&ComponentInfo> {
        self.components().iter().find(|info| info.id == component)
    }

    /// The tasks of a component; empty if there is none of that id.
    ///
    /// # Examples
    /// The possible targets of a direct stream:
    /// ```
    /// use squall::prelude::*;
    ///
    /// struct Sort {
    ///     targets: Vec<TaskId>,
    /// }
    ///
    /// impl Bolt for Sort {
    ///     fn declare(&self) -> Streams {
    ///         Streams::none().direct_stream("sorted", ["n"])
    ///     }
    ///
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.targets = context.tasks_of("store").to_vec();
    ///         Ok(())
    ///     }
    ///
    ///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         let n = input.i64("n")?;
    ///         let target = self.targets[n as usize % self.targets.len()];
    ///         Ok(out.emit_direct(target, "sorted", [n])?)
    ///     }
    /// }
    /// # use squall::testing::{Capture, FixedSpout, SimulatedTopology, SimulationOptions};
    /// # let capture = Capture::new();
    /// # let mut builder = TopologyBuilder::new("t");
    /// # builder.spout("numbers", || FixedSpout::new(["n"], (0..4).map(|n| vec![Value::from(n)])));
    /// # builder.bolt("sort", || Sort { targets: Vec::new() }).shuffle("numbers");
    /// # builder.bolt("store", capture.bolt()).parallelism(2).direct(("sort", "sorted"));
    /// # SimulatedTopology::start(builder.build()?, SimulationOptions::default())
    /// #     .run_to_end(std::time::Duration::from_secs(60))?;
    /// # assert_eq!(capture.rows().len(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tasks_of(&self, component: &str) -> &[TaskId] {
        self.info_of(component).map_or(&[], |info| &info.tasks)
    }

    /// A value of `settings`: the component's own, or else the topology's.
    ///
    /// # Errors
    /// When it is missing or of another type.
    ///
    /// # Examples
    /// ```
    /// use squall::testing::HarnessOptions;
    ///
    /// let settings = toml::toml! { servers = ["a:9000", "b:9000"] };
    /// let context = HarnessOptions { settings, ..HarnessOptions::default() }.task_context();
    /// assert_eq!(context.setting::<Vec<String>>("servers")?.len(), 2);
    /// let missing = context.setting::<String>("password").unwrap_err();
    /// assert_eq!(missing.to_string(), "there is no setting `password`");
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<T, TaskError> {
        setting(&self.0.settings, key)
    }

    /// How tuples are delivered.
    ///
    /// # Examples
    /// A spout that keeps what it emitted only if it may have to replay it:
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn keeps_messages(context: &TaskContext) -> bool {
    ///     context.delivery() == Delivery::AtLeastOnce
    /// }
    /// # assert!(keeps_messages(&squall::testing::HarnessOptions::default().task_context()));
    /// ```
    pub fn delivery(&self) -> Delivery {
        self.0.delivery
    }

    /// The worker process that the task runs in: its id, machine, process and port.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn client_id(context: &TaskContext) -> String {
    ///     format!("{} of worker {}", context.task(), context.worker().id())
    /// }
    /// # assert!(client_id(&squall::testing::HarnessOptions::default().task_context()).ends_with("of worker 0"));
    /// ```
    pub fn worker(&self) -> &WorkerContext {
        &self.0.worker
    }

    /// Objects that all tasks of the worker share.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// /// An object that all tasks of a worker share, made once by `Registry::resource`.
    /// struct Pool {
    ///     size: usize,
    /// }
    ///
    /// fn pool_size(context: &TaskContext) -> Result<usize, TaskError> {
    ///     let pool = context.resources().get::<Pool>("pool");
    ///     Ok(pool.ok_or_else(|| TaskError::fatal("there is no pool"))?.size)
    /// }
    /// # let options = squall::testing::HarnessOptions::default();
    /// # assert!(pool_size(&options.task_context()).unwrap_err().is_fatal());
    /// # options.resources.set("pool", Pool { size: 8 });
    /// # assert_eq!(pool_size(&options.task_context())?, 8);
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn resources(&self) -> &WorkerResources {
        self.0.worker.resources()
    }

    /// The text of a setting that is a secret, as [`WorkerContext::secret`] reads it. [`Secret`] has a whole component.
    ///
    /// # Errors
    /// When the secret that the setting names cannot be read on this host.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn header(context: &TaskContext, token: &Secret) -> Result<String, TaskError> {
    ///     Ok(format!("Bearer {}", context.secret(token)?.reveal()))
    /// }
    /// # header(&squall::testing::HarnessOptions::default().task_context(), &"hush".to_owned().into()).unwrap();
    /// ```
    pub fn secret(&self, setting: &Secret) -> Result<SecretValue, TaskError> {
        self.0.worker.secret(setting)
    }

    /// The clock of the task: real in production, simulated in tests.
    ///
    /// # Examples
    /// A bolt that reads the time from this clock can be tested without waiting:
    /// ```
    /// use squall::testing::HarnessOptions;
    /// use std::time::Duration;
    ///
    /// let context = HarnessOptions::default().task_context();
    /// let begin = context.clock().now();
    /// context.clock().advance(Duration::from_secs(3600));
    /// assert_eq!(context.clock().now().since(begin), Duration::from_secs(3600));
    /// ```
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A seed for random numbers of the component. It is the same when a simulation is repeated.
    ///
    /// # Examples
    /// ```
    /// use rand::rngs::StdRng;
    /// use rand::{RngExt, SeedableRng};
    /// use squall::prelude::*;
    ///
    /// fn random_of(context: &TaskContext) -> StdRng {
    ///     StdRng::seed_from_u64(context.seed())
    /// }
    /// # let options = squall::testing::HarnessOptions { seed: 7, ..Default::default() };
    /// # let draw = || random_of(&options.task_context()).random::<u64>();
    /// # assert_eq!(draw(), draw());
    /// ```
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// With exactly-once, the start or the recovery after which this instance has begun: a number that all tasks of the
    /// topology have in common then, and that no other start or recovery of any run has. It tells instances that have gone
    /// back together from those before.
    pub(crate) fn recovery(&self) -> u64 {
        self.0.recovery
    }

    /// The same task after this recovery.
    pub(crate) fn after_recovery(&self, recovery: u64) -> TaskContext {
        TaskContext(Arc::new(ContextParts { recovery, ..(*self.0).clone() }))
    }

    /// The states that the task has registered.
    pub(crate) fn states(&self) -> &StateRegistry {
        &self.0.states
    }

    /// Logs with component and task attached.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// fn report_start(context: &TaskContext, path: &str) {
    ///     slog::info!(context.logger(), "reading a file"; "path" => path);
    /// }
    /// # report_start(&squall::testing::HarnessOptions::default().task_context(), "a.log");
    /// ```
    pub fn logger(&self) -> &slog::Logger {
        &self.0.logger
    }

    /// Registers a counter, or returns the one that the task registered under this name before.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// let rejected = context.counter("rejected");
    /// rejected.add(3);
    /// assert_eq!(context.counter("rejected").get(), 3, "the same counter by the same name");
    /// ```
    pub fn counter(&self, name: &str) -> Counter {
        match self.register(name, Metric::Counter(Counter::default())) {
            Metric::Counter(counter) => counter,
            Metric::Loss(_) | Metric::Gauge(_) | Metric::Histogram(_) => self.taken(name, Counter::default()),
        }
    }

    /// Registers a counter of losses: input that could not be read, output that could not be written.
    /// The summary shows it like any counter. If it is above 0, the run's exit code is 1.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// let unread = context.loss_counter("files_not_read");
    /// unread.add(1);
    /// assert_eq!(context.loss_counter("files_not_read").get(), 1);
    /// ```
    pub fn loss_counter(&self, name: &str) -> Counter {
        match self.register(name, Metric::Loss(Counter::default())) {
            Metric::Loss(counter) => counter,
            Metric::Counter(_) | Metric::Gauge(_) | Metric::Histogram(_) => {
                let unread = self.taken(name, Counter::default());
                if name == OTHER_LOSSES { unread } else { self.loss_counter(OTHER_LOSSES) }
            }
        }
    }

    /// Registers a gauge, or returns the one that the task registered under this name before.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// let connections = context.gauge("connections");
    /// connections.set(4);
    /// assert_eq!(context.gauge("connections").get(), 4);
    /// ```
    pub fn gauge(&self, name: &str) -> Gauge {
        match self.register(name, Metric::Gauge(Gauge::default())) {
            Metric::Gauge(gauge) => gauge,
            Metric::Counter(_) | Metric::Loss(_) | Metric::Histogram(_) => self.taken(name, Gauge::default()),
        }
    }

    /// Registers a histogram, or returns the one that the task registered under this name before.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// let sizes = context.histogram("bytes");
    /// sizes.record_all([100, 200, 300]);
    /// assert_eq!(sizes.summary().count, 3);
    /// ```
    pub fn histogram(&self, name: &str) -> Histogram {
        match self.register(name, Metric::Histogram(Histogram::default())) {
            Metric::Histogram(histogram) => histogram,
            Metric::Counter(_) | Metric::Loss(_) | Metric::Gauge(_) => self.taken(name, Histogram::default()),
        }
    }

    /// Registers a metric. When there are too many metrics, further losses share one counter, and other
    /// metrics work but are not shown anywhere.
    fn register(&self, name: &str, metric: Metric) -> Metric {
        let key = |name| MetricKey {
            component: self.0.component.clone(),
            task: self.0.task,
            name: SmolStr::new(name),
        };
        self.0.metrics.register(key(name), metric.clone()).unwrap_or_else(|too_many| {
            slog::warn!(self.0.logger, "a metric is not registered: {too_many}"; "metric" => name);
            match metric {
                Metric::Loss(_) => {
                    self.0.metrics.register(key(OTHER_LOSSES), metric.clone()).unwrap_or(metric)
                }
                Metric::Counter(_) | Metric::Gauge(_) | Metric::Histogram(_) => metric,
            }
        })
    }

    /// Logs that a name is used by a metric of another kind. The caller gets a metric that is not shown.
    fn taken<T>(&self, name: &str, unread: T) -> T {
        slog::warn!(self.0.logger, "a metric of this name has another kind"; "metric" => name);
        unread
    }
}
