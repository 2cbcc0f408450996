//! One component by itself: fed by hand, without a runtime, a thread or a real clock.
//!
//! A harness stands where the runtime would: it owns the instance, hands it tuples, and writes
//! down what the instance does with them. So a test of a component reads as *feed this, expect
//! that*, and runs in microseconds.
//!
//! 1. Inputs are numbered from 0 in the order they are fed. Anchors, acks and failures speak of
//!    them by these numbers.
//! 2. Every input is a tracked tuple of a tree of its own (unless the delivery is at most once,
//!    where nothing is tracked).
//! 3. Acking is the runtime's: an input is acked when `execute` returns `Ok` without holding it,
//!    and fails when it returns `Err`. A held tuple that is dropped fails as *abandoned*.
//! 4. Time moves only by `harness.clock().advance(…)`.
//!
//! Not here: groupings, batches, time-outs, the order in which the runtime calls `flush` and
//! `tick`. The caller of the harness decides all of that; a panic of the component is the test's.
//!
//! One file, because the harness of a bolt and that of a spout are the same record of what was
//! emitted, acked and failed, seen from two sides.

mod bolt;
mod spout;
#[cfg(test)]
mod tests;
mod tuple;

use std::sync::{Arc, OnceLock};

use smol_str::SmolStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::api::{
    ComponentInfo, ContextParts, FailureCause, InputInfo, OutputState, Route, Stage, Streams, TaskContext,
    TaskError, WorkerContext, WorkerParts, WorkerResources,
};
use crate::clock::Clock;
use crate::config::limits::BATCH_HEAP_MAX;
use crate::config::{Delivery, QueueOptions};
use crate::ids::{Incarnation, MessageId, RootId, SLOTS_MAX, TaskId, WorkerId};
use crate::metrics::{Metric, MetricsRegistry};
use crate::topology::effort::Effort;
use crate::topology::graph::Constructor;
use crate::topology::registry::Registry;
use crate::tuple::{Anchor, Attempt, MessageIndex, TupleBatch, Value};

pub use bolt::BoltHarness;
pub use spout::SpoutHarness;
pub use tuple::TestTuple;

/// A tuple that a component emitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// The stream.
    pub stream: SmolStr,
    /// The values.
    pub values: Vec<Value>,
    /// Of a bolt: the numbers of the inputs it is anchored to. Of a spout: the message it belongs
    /// to. Empty: not tracked.
    pub anchors: Vec<u64>,
    /// The task it was sent to, on a direct stream.
    pub direct: Option<TaskId>,
}

/// Who the component under test is. [`Default`]: the only task of a component called `component`,
/// at least once, simulated clock, seed 0.
#[derive(Clone)]
pub struct HarnessOptions {
    /// Its id.
    pub component: String,
    /// Its place among the component's tasks, from 0.
    pub task_index: usize,
    /// How many tasks the component has.
    pub parallelism: usize,
    /// Where its tuples come from, as it can look up.
    pub inputs: Vec<InputInfo>,
    /// How tuples are delivered.
    pub delivery: Delivery,
    /// The topology's settings.
    pub settings: toml::Table,
    /// Shared objects.
    pub resources: WorkerResources,
    /// The clock.
    pub clock: Clock,
    /// The seed.
    pub seed: u64,
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
        }
    }
}

impl HarnessOptions {
    /// The context of a task with these options, for tests that call a component by hand.
    pub fn task_context(&self) -> TaskContext {
        self.context(&Streams::none(), &MetricsRegistry::default())
    }

    fn context(&self, streams: &Streams, metrics: &MetricsRegistry) -> TaskContext {
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

    fn outputs(&self, streams: &Streams) -> OutputState {
        let tracked = self.delivery != Delivery::AtMostOnce;
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

/// What a component did, and the runtime as it sees it.
#[derive(Default)]
struct Record {
    tracked: bool,
    emitted: Vec<Emitted>,
    acked: Vec<u64>,
    failed: Vec<(u64, FailureCause)>,
    timeouts_reset: Vec<u64>,
    errors: Vec<String>,
    drain_requested: bool,
    edges_drawn: u64,
    /// Of a spout: what each tree stands for, by its number.
    messages: Vec<MessageId>,
    /// Trees begun so far.
    trees: u64,
}

impl Record {
    fn begin_tree(&mut self) -> RootId {
        if !self.tracked {
            return RootId::NONE;
        }
        let number = self.trees;
        self.trees += 1;
        let (slot, generation) = (number % u64::from(SLOTS_MAX), number / u64::from(SLOTS_MAX) + 1);
        RootId::new(TaskId(1), slot as u32, generation as u32)
    }

    fn tree_number(root: RootId) -> u64 {
        u64::from(root.generation() - 1) * u64::from(SLOTS_MAX) + u64::from(root.slot())
    }

    /// What an anchor is called in the record.
    fn name(&self, root: RootId) -> u64 {
        let number = Record::tree_number(root);
        self.messages.get(number as usize).map_or(number, |message| message.0)
    }

    fn names(&self, anchors: &[Anchor]) -> Vec<u64> {
        anchors
            .iter()
            .filter(|anchor| anchor.root.is_tracked())
            .map(|anchor| self.name(anchor.root))
            .collect()
    }

    fn take_stage(&mut self, stage: &mut Stage) {
        let arity = stage.batch.arity as usize;
        let batch = std::mem::replace(&mut stage.batch, TupleBatch::new(arity));
        let mut roots = batch.runs.iter().flat_map(|run| std::iter::repeat_n(run.root, run.len as usize));
        let mut direct = stage.direct.drain(..);
        for index in 0..batch.len() {
            let first = roots.next().filter(|root| root.is_tracked());
            let extras = batch.extras.iter().filter(|(tuple, _)| *tuple as usize == index);
            let anchors = first.into_iter().chain(extras.map(|(_, anchor)| anchor.root));
            let anchors = anchors.map(|root| self.name(root)).collect();
            let (stream, values) = (stage.stream.name.clone(), batch.row(index).to_vec());
            self.emitted.push(Emitted { stream, values, anchors, direct: direct.next() });
        }
    }

    fn take_all(&mut self, outputs: &mut OutputState) {
        for stage in &mut outputs.stages {
            self.take_stage(stage);
        }
    }
}

impl Route for Record {
    fn route(&mut self, _index: usize, stage: &mut Stage) {
        self.take_stage(stage);
    }

    fn route_one(&mut self, _index: usize, stage: &mut Stage, targets: &mut Vec<TaskId>) {
        self.take_stage(stage);
        targets.push(TaskId(1));
    }

    fn is_direct_target(&self, _index: usize, _task: TaskId) -> bool {
        true
    }

    fn keep_edge(&mut self, _root: RootId) -> u64 {
        self.edges_drawn += 1;
        self.edges_drawn
    }

    fn renew_edge(&mut self, _anchor: &mut Anchor) {}

    fn ack(&mut self, anchors: &[Anchor]) {
        let names = self.names(anchors);
        self.acked.extend(names);
    }

    fn fail(&mut self, anchors: &[Anchor], cause: FailureCause) {
        let names = self.names(anchors);
        self.failed.extend(names.into_iter().map(|name| (name, cause)));
    }

    fn reset_timeout(&mut self, anchors: &[Anchor]) {
        let names = self.names(anchors);
        self.timeouts_reset.extend(names);
    }

    fn open_message(&mut self, id: MessageId) -> (RootId, MessageIndex, Attempt) {
        self.messages.push(id);
        (self.begin_tree(), 0, Attempt::FIRST)
    }

    fn withdraw_message(&mut self, _root: RootId, _id: MessageId) {
        self.messages.pop();
    }

    fn report(&mut self, error: &TaskError) {
        self.errors.push(error.to_string());
    }

    fn request_drain(&mut self) {
        self.drain_requested = true;
    }
}

/// What a harness of either kind shows of its record.
macro_rules! record_access {
    () => {
        /// Everything emitted since the last call, over all streams, each stream in its order.
        pub fn take_emitted(&mut self) -> Vec<Emitted> {
            std::mem::take(&mut self.record.emitted)
        }

        /// Takes out the rows emitted to one stream since the last call.
        pub fn take_rows(&mut self, stream: &str) -> Vec<Vec<Value>> {
            let (taken, kept) =
                self.take_emitted().into_iter().partition(|emitted: &Emitted| emitted.stream == stream);
            self.record.emitted = kept;
            let taken: Vec<Emitted> = taken;
            taken.into_iter().map(|emitted| emitted.values).collect()
        }

        /// The streams it declares.
        pub fn streams(&self) -> &Streams {
            &self.streams
        }

        /// Every error that it returned or reported, as a person reads it.
        pub fn errors(&self) -> &[String] {
            &self.record.errors
        }

        /// Whether it asked for an orderly end of the topology.
        pub fn drain_requested(&self) -> bool {
            self.record.drain_requested
        }

        /// Its clock, which moves by `advance` only.
        pub fn clock(&self) -> &Clock {
            &self.clock
        }

        /// What a counter that it registered has come to; 0 if there is none of that name.
        pub fn counter(&self, name: &str) -> u64 {
            crate::testing::harness::counted(&self.metrics, name)
        }
    };
}

use record_access;

/// The sum of the counters of a name.
fn counted(metrics: &MetricsRegistry, name: &str) -> u64 {
    let metrics = metrics.snapshot();
    let of_name = metrics.iter().filter(|(key, _)| key.name == name);
    of_name
        .map(|(_, metric)| match metric {
            Metric::Counter(counter) | Metric::Loss(counter) => counter.get(),
            Metric::Gauge(_) | Metric::Histogram(_) => 0,
        })
        .sum()
}

fn constructor(registry: &Registry, type_name: &str, config: &str) -> Result<Constructor, TaskError> {
    let component = registry
        .component(type_name)
        .ok_or_else(|| TaskError::new(format!("no component type `{type_name}`")))?;
    let table = DeTable::parse(config)?;
    let value = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
    Ok(component.build(ValueDeserializer::from(value), &Effort::unlimited())?.constructor)
}
