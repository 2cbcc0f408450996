//! The identity of the component under test, and how it is built.

use std::sync::{Arc, OnceLock};

use smol_str::SmolStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::api::{
    ComponentInfo, ContextParts, InputInfo, OutputState, Streams, TaskContext, TaskError, WorkerContext,
    WorkerParts, WorkerResources,
};
use crate::clock::Clock;
use crate::config::limits::BATCH_HEAP_MAX;
use crate::config::{Delivery, QueueOptions};
use crate::ids::{Incarnation, TaskId, WorkerId};
use crate::metrics::MetricsRegistry;
use crate::state::StateRegistry;
use crate::topology::effort::Effort;
use crate::topology::graph::Constructor;
use crate::topology::registry::Registry;
use crate::tuple::Fields;

/// The identity and the surroundings of the component under test. [`Default`]: the only task of a
/// component called `component`, delivery at least once, a simulated clock, seed 0.
#[derive(Clone)]
pub struct HarnessOptions {
    /// Its id.
    pub component: String,
    /// The index of its task among the tasks of the component, from 0.
    pub task_index: usize,
    /// How many tasks the component has.
    pub parallelism: usize,
    /// The streams it takes, as `TaskContext` shows them.
    pub inputs: Vec<InputInfo>,
    /// How tuples are delivered.
    pub delivery: Delivery,
    /// The topology's settings.
    pub settings: toml::Table,
    /// Shared objects.
    pub resources: WorkerResources,
    /// The clock.
    pub clock: Clock,
    /// The seed. Tasks with one seed have begun after the same start or recovery.
    pub seed: u64,
    /// The fields that all its input is grouped by: the key of its state. By default none.
    pub key: Fields,
}

impl Default for HarnessOptions {
    fn default() -> HarnessOptions {
        HarnessOptions {
            component: "component".to_owned(),
            task_index: 0,
            parallelism: 1,
            inputs: Vec::new(),
            delivery: Delivery::default(),
            settings: toml::Table::new(),
            resources: WorkerResources::default(),
            clock: Clock::simulated(),
            seed: 0,
            key: Fields::default(),
        }
    }
}

impl HarnessOptions {
    /// The context of a task with these options, for tests that call a component by hand.
    pub fn task_context(&self) -> TaskContext {
        self.context(&Streams::none(), &MetricsRegistry::default())
    }

    pub(super) fn context(&self, streams: &Streams, metrics: &MetricsRegistry) -> TaskContext {
        let tasks: Vec<TaskId> = (0..self.parallelism).map(TaskId::from_index).collect();
        let task = tasks.get(self.task_index).copied().expect("task_index is less than parallelism");
        let id = SmolStr::new(&self.component);
        let streams = streams.iter().cloned().collect();
        let info = ComponentInfo { id: id.clone(), tasks, inputs: self.inputs.clone(), streams };
        TaskContext::new(ContextParts {
            topology: SmolStr::new("test"),
            component: id,
            task,
            task_index: self.task_index,
            components: Arc::new(vec![info]),
            settings: Arc::new(self.settings.clone()),
            delivery: self.delivery,
            worker: self.worker(),
            metrics: metrics.clone(),
            clock: self.clock.clone(),
            seed: self.seed,
            recovery: self.seed,
            states: StateRegistry::default(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
        })
    }

    fn worker(&self) -> WorkerContext {
        WorkerContext::new(WorkerParts {
            topology: SmolStr::new("test"),
            worker: WorkerId(0),
            incarnation: Incarnation::default(),
            workers: 1,
            host: SmolStr::new("localhost"),
            address: OnceLock::new(),
            settings: self.settings.clone(),
            resources: self.resources.clone(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
        })
    }

    pub(super) fn outputs(&self, streams: &Streams) -> OutputState {
        let tracked = self.delivery.tracks_tuples();
        let queue = QueueOptions::default();
        let component = SmolStr::new(&self.component);
        OutputState::new(
            component,
            streams.iter().cloned(),
            tracked,
            (queue.batch, BATCH_HEAP_MAX),
            queue.tuple_size_max as usize,
        )
    }
}

/// The constructor of a registered type, with these settings.
pub(crate) fn constructor(
    registry: &Registry,
    type_name: &str,
    config: &str,
) -> Result<Constructor, TaskError> {
    let component = registry
        .component(type_name)
        .ok_or_else(|| TaskError::new(format!("no component type `{type_name}`")))?;
    let table = DeTable::parse(config)?;
    let value = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
    Ok(component.build(ValueDeserializer::from(value), &Effort::unlimited())?.constructor)
}
