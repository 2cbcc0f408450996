//! Who a task is, and what it can look up and register.

use std::sync::Arc;

use ::serde::de::DeserializeOwned;
use smol_str::SmolStr;

use crate::api::error::TaskError;
use crate::api::streams::StreamDeclaration;
use crate::api::worker::{WorkerContext, WorkerResources, setting};
use crate::clock::Clock;
use crate::config::Delivery;
use crate::ids::TaskId;
use crate::metrics::{Counter, Gauge, Histogram, Metric, MetricKey, MetricsRegistry, OTHER_LOSSES};

/// One input of a component, as the topology has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputInfo {
    /// The component it comes from.
    pub component: SmolStr,
    /// Its stream.
    pub stream: SmolStr,
    /// The grouping, as written in TOML.
    pub grouping: String,
}

/// One component, as the topology has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// Its id.
    pub id: SmolStr,
    /// Its tasks, in order.
    pub tasks: Vec<TaskId>,
    /// Where its tuples come from; empty for a spout.
    pub inputs: Vec<InputInfo>,
    /// What it emits to.
    pub streams: Vec<StreamDeclaration>,
}

/// What a [`TaskContext`] is made of; the runtime fills it in.
#[derive(Clone)]
pub struct ContextParts {
    /// The topology.
    pub topology: SmolStr,
    /// The component.
    pub component: SmolStr,
    /// The task.
    pub task: TaskId,
    /// Its place among the component's tasks, from 0.
    pub task_index: usize,
    /// All components of the topology, the system's own included.
    pub components: Arc<Vec<ComponentInfo>>,
    /// The topology's `[settings]`, with those of the component laid over.
    pub settings: Arc<toml::Table>,
    /// How tuples are delivered.
    pub delivery: Delivery,
    /// The worker process that it runs in.
    pub worker: WorkerContext,
    /// Where metrics are registered.
    pub metrics: MetricsRegistry,
    /// The clock that the task lives by; simulated in tests.
    pub clock: Clock,
    /// A seed of the task's own: the same in a repeated simulation, different for each task.
    pub seed: u64,
    /// Logs with component and task attached.
    pub logger: slog::Logger,
}

/// Who a task is. Handed to `open` and `prepare`; clone it to keep it.
#[derive(Clone)]
pub struct TaskContext(Arc<ContextParts>);

impl TaskContext {
    /// For the runtime and for tests of a component by itself.
    pub fn new(parts: ContextParts) -> TaskContext {
        TaskContext(Arc::new(parts))
    }

    /// The topology's name.
    pub fn topology(&self) -> &str {
        &self.0.topology
    }

    /// The id of the task's component.
    pub fn component(&self) -> &str {
        &self.0.component
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.0.task
    }

    /// The task's place among its component's tasks, from 0 to `parallelism() - 1`.
    pub fn task_index(&self) -> usize {
        self.0.task_index
    }

    /// How many tasks the component has.
    pub fn parallelism(&self) -> usize {
        self.tasks_of(self.component()).len()
    }

    /// All components of the topology, by which its graph can be walked.
    pub fn components(&self) -> &[ComponentInfo] {
        &self.0.components
    }

    /// The tasks of a component; empty if there is none of that id.
    pub fn tasks_of(&self, component: &str) -> &[TaskId] {
        self.components().iter().find(|info| info.id == component).map_or(&[], |info| &info.tasks)
    }

    /// One of the topology's `settings`, where the component's own are laid over the topology's.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<T, TaskError> {
        setting(&self.0.settings, key)
    }

    /// How tuples are delivered.
    pub fn delivery(&self) -> Delivery {
        self.0.delivery
    }

    /// The worker process that the task runs in: its id, machine, process and port.
    pub fn worker(&self) -> &WorkerContext {
        &self.0.worker
    }

    /// Objects that all tasks of the worker share.
    pub fn resources(&self) -> &WorkerResources {
        self.0.worker.resources()
    }

    /// The clock to live by: real in production, simulated in tests.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A seed for randomness of the component's own: repeats in a simulation.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Logs with component and task attached.
    pub fn logger(&self) -> &slog::Logger {
        &self.0.logger
    }

    /// Registers a counter, or returns the one the task registered by this name before.
    pub fn counter(&self, name: &str) -> Counter {
        match self.register(name, Metric::Counter(Counter::default())) {
            Metric::Counter(counter) => counter,
            Metric::Loss(_) | Metric::Gauge(_) | Metric::Histogram(_) => self.taken(name, Counter::default()),
        }
    }

    /// Registers a counter of what is lost: input that could not be read, output that could not be
    /// written. The summary shows it like any counter; above 0, the run's exit code is 1.
    pub fn loss_counter(&self, name: &str) -> Counter {
        match self.register(name, Metric::Loss(Counter::default())) {
            Metric::Loss(counter) => counter,
            Metric::Counter(_) | Metric::Gauge(_) | Metric::Histogram(_) => {
                let unread = self.taken(name, Counter::default());
                if name == OTHER_LOSSES { unread } else { self.loss_counter(OTHER_LOSSES) }
            }
        }
    }

    /// Registers a gauge, or returns the one the task registered by this name before.
    pub fn gauge(&self, name: &str) -> Gauge {
        match self.register(name, Metric::Gauge(Gauge::default())) {
            Metric::Gauge(gauge) => gauge,
            Metric::Counter(_) | Metric::Loss(_) | Metric::Histogram(_) => self.taken(name, Gauge::default()),
        }
    }

    /// Registers a histogram, or returns the one the task registered by this name before.
    pub fn histogram(&self, name: &str) -> Histogram {
        match self.register(name, Metric::Histogram(Histogram::default())) {
            Metric::Histogram(histogram) => histogram,
            Metric::Counter(_) | Metric::Loss(_) | Metric::Gauge(_) => self.taken(name, Histogram::default()),
        }
    }

    /// Registers a metric. Beyond the bound on their number, losses share one counter, and other
    /// metrics are read by nobody.
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

    /// Says that a name is taken by a metric of another kind and goes on with one nobody reads.
    fn taken<T>(&self, name: &str, unread: T) -> T {
        slog::warn!(self.0.logger, "a metric of this name has another kind"; "metric" => name);
        unread
    }
}
