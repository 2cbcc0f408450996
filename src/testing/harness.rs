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

use std::sync::Arc;

use smol_str::SmolStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::api::{
    Bolt, ComponentInfo, ContextParts, Failure, FailureCause, Input, InputInfo, OutputState, Outputs, Route,
    SourceMeta, Spout, SpoutOutputs, SpoutStatus, Stage, Streams, TaskContext, TaskError, Values,
    WorkerResources,
};
use crate::clock::Clock;
use crate::config::{Delivery, QueueOptions};
use crate::ids::{DEFAULT_STREAM, MessageId, RootId, SLOTS_MAX, TaskId};
use crate::metrics::{Metric, MetricsRegistry};
use crate::topology::graph::Constructor;
use crate::topology::registry::Registry;
use crate::tuple::{Anchor, Attempt, Fields, MessageIndex, TupleBatch, Value};

/// A tuple to feed, with Storm's defaults: component `component`, stream `default`, task 1, fields
/// `field1`, `field2` and so on.
///
/// # Examples
/// ```
/// use squall::testing::TestTuple;
/// let plain = TestTuple::new(["storm"]);
/// let named = TestTuple::new(("storm", 7)).fields(["word", "count"]).from("split", "words");
/// ```
#[derive(Clone, Debug)]
pub struct TestTuple {
    values: Vec<Value>,
    meta: Arc<SourceMeta>,
    attempt: Attempt,
}

impl TestTuple {
    /// A tuple of these values.
    pub fn new(values: impl Values) -> TestTuple {
        let mut row = Vec::new();
        values.push_into(&mut row);
        let fields = (1..=row.len()).map(|n| format!("field{n}")).collect();
        let (component, stream) = (SmolStr::new("component"), SmolStr::new(DEFAULT_STREAM));
        let meta = SourceMeta { component, stream, task: TaskId(1), fields };
        TestTuple { values: row, meta: Arc::new(meta), attempt: 0 }
    }

    /// Names its values.
    ///
    /// # Panics
    /// When there are more or fewer names than values.
    #[must_use]
    pub fn fields(mut self, fields: impl Into<Fields>) -> TestTuple {
        let fields = fields.into();
        assert_eq!(fields.len(), self.values.len(), "a tuple has one name per value");
        Arc::make_mut(&mut self.meta).fields = fields;
        self
    }

    /// Says which component and stream it comes from.
    #[must_use]
    pub fn from(mut self, component: &str, stream: &str) -> TestTuple {
        let meta = Arc::make_mut(&mut self.meta);
        meta.component = SmolStr::new(component);
        meta.stream = SmolStr::new(stream);
        self
    }

    /// Says which task it comes from.
    #[must_use]
    pub fn task(mut self, task: TaskId) -> TestTuple {
        Arc::make_mut(&mut self.meta).task = task;
        self
    }

    /// Says how often its message was replayed before.
    #[must_use]
    pub fn attempt(mut self, attempt: u8) -> TestTuple {
        self.attempt = attempt;
        self
    }
}

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
            resources: self.resources.clone(),
            metrics: metrics.clone(),
            clock: self.clock.clone(),
            seed: self.seed,
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
            queue.batch,
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
        (self.begin_tree(), 0, 0)
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
            let metrics = self.metrics.snapshot();
            let sums = metrics.iter().map(|(key, metric)| match metric {
                Metric::Counter(counter) if key.name == name => counter.get(),
                Metric::Counter(_) | Metric::Gauge(_) | Metric::Histogram(_) => 0,
            });
            sums.sum()
        }
    };
}

/// A bolt by itself.
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, TestTuple};
///
/// struct Double;
/// impl Bolt for Double {
///     fn declare(&self) -> Streams {
///         Streams::new(["twice"])
///     }
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         out.emit([input.i64("n")? * 2])?;
///         Ok(())
///     }
/// }
///
/// let mut double = BoltHarness::new(Double);
/// double.execute(TestTuple::new([21]).fields(["n"]));
/// double.execute(TestTuple::new(["x"]).fields(["n"]));
/// assert_eq!(double.take_rows("default"), [[Value::from(42)]]);
/// assert_eq!((double.acked(), double.failed().len()), (&[0][..], 1));
/// ```
pub struct BoltHarness {
    bolt: Box<dyn Bolt>,
    streams: Streams,
    outputs: OutputState,
    record: Record,
    metrics: MetricsRegistry,
    clock: Clock,
    fed: u64,
}

impl BoltHarness {
    /// Prepares a bolt, with the default [`HarnessOptions`].
    ///
    /// # Panics
    /// When `prepare` fails.
    pub fn new(bolt: impl Bolt + 'static) -> BoltHarness {
        let harness = BoltHarness::start(Box::new(bolt), &HarnessOptions::default());
        harness.unwrap_or_else(|error| panic!("the bolt cannot be prepared: {error}"))
    }

    /// Prepares a bolt.
    ///
    /// # Errors
    /// What `prepare` returned.
    pub fn start(mut bolt: Box<dyn Bolt>, options: &HarnessOptions) -> Result<BoltHarness, TaskError> {
        let (streams, metrics) = (bolt.declare(), MetricsRegistry::default());
        bolt.prepare(&options.context(&streams, &metrics))?;
        let tracked = options.delivery != Delivery::AtMostOnce;
        let outputs = options.outputs(&streams);
        let record = Record { tracked, ..Record::default() };
        Ok(BoltHarness { bolt, streams, outputs, record, metrics, clock: options.clock.clone(), fed: 0 })
    }

    /// Builds a registered bolt from the text of its `config` table, and prepares it.
    ///
    /// # Errors
    /// When the type is unknown or no bolt, the settings do not fit, or `prepare` fails.
    pub fn registered(
        registry: &Registry,
        type_name: &str,
        config: &str,
        options: &HarnessOptions,
    ) -> Result<BoltHarness, TaskError> {
        match constructor(registry, type_name, config)? {
            Constructor::Bolt(build) => BoltHarness::start(build()?, options),
            Constructor::Spout(_) => Err(TaskError::new(format!("`{type_name}` is a spout"))),
        }
    }

    /// Feeds one tuple and returns its number.
    pub fn execute(&mut self, tuple: TestTuple) -> u64 {
        let TestTuple { mut values, meta, attempt } = tuple;
        let root = self.record.begin_tree();
        let anchor =
            if root.is_tracked() { Anchor { root, edge: 1, message: 0, attempt } } else { Anchor::NONE };
        (self.outputs.anchor, self.outputs.held) = (anchor, false);
        let mut out = Outputs::new(&mut self.outputs, &mut self.record);
        let result = self.bolt.execute(Input::owned(&mut values, &meta), &mut out);
        self.outputs.anchor = Anchor::NONE;
        match result {
            Ok(()) if !self.outputs.held => self.record.ack(&[anchor]),
            Ok(()) => {}
            Err(error) => {
                self.record.report(&error);
                self.record.fail(&[anchor], FailureCause::Failed);
            }
        }
        self.settle();
        self.fed += 1;
        self.fed - 1
    }

    /// Feeds several tuples.
    pub fn execute_all(&mut self, tuples: impl IntoIterator<Item = TestTuple>) {
        for tuple in tuples {
            self.execute(tuple);
        }
    }

    /// Calls `tick`.
    pub fn tick(&mut self) {
        self.call(|bolt, out| bolt.tick(out));
    }

    /// Calls `flush`.
    pub fn flush(&mut self) {
        self.call(|bolt, out| bolt.flush(out));
    }

    /// Calls `finish`, as at the end of bounded input.
    pub fn finish(&mut self) {
        self.call(|bolt, out| bolt.finish(out));
    }

    /// Calls `cleanup`.
    pub fn cleanup(&mut self) {
        self.bolt.cleanup();
        self.settle();
    }

    /// The inputs acked, in the order of acking.
    pub fn acked(&self) -> &[u64] {
        &self.record.acked
    }

    /// The inputs failed, in the order of failing.
    pub fn failed(&self) -> &[(u64, FailureCause)] {
        &self.record.failed
    }

    /// The inputs whose time-out was started anew.
    pub fn timeouts_reset(&self) -> &[u64] {
        &self.record.timeouts_reset
    }

    /// The inputs that are still held.
    pub fn held(&self) -> Vec<u64> {
        let failed = self.record.failed.iter().map(|(number, _)| *number);
        let settled: Vec<u64> = self.record.acked.iter().copied().chain(failed).collect();
        (0..self.record.trees).filter(|number| !settled.contains(number)).collect()
    }

    record_access!();

    fn call(&mut self, method: impl FnOnce(&mut dyn Bolt, &mut Outputs<'_>) -> Result<(), TaskError>) {
        let mut out = Outputs::new(&mut self.outputs, &mut self.record);
        if let Err(error) = method(&mut *self.bolt, &mut out) {
            self.record.report(&error);
        }
        self.settle();
    }

    /// Takes what was emitted, and fails what was dropped.
    fn settle(&mut self) {
        self.record.take_all(&mut self.outputs);
        for settled in self.outputs.holds.take_abandoned() {
            self.record.fail(&settled.anchors, FailureCause::Abandoned);
        }
    }
}

/// A spout by itself. Of its messages, nothing is acked or failed until the test says so (but in
/// at-most-once delivery, where each is acked at once).
///
/// # Examples
/// ```
/// use squall::prelude::*;
/// use squall::testing::SpoutHarness;
///
/// struct Once(bool);
/// impl Spout for Once {
///     fn declare(&self) -> Streams {
///         Streams::new(["n"])
///     }
///     fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
///         if std::mem::replace(&mut self.0, true) {
///             return Ok(SpoutStatus::Exhausted);
///         }
///         out.emit_tracked([1], MessageId(7))?;
///         Ok(SpoutStatus::Emitted)
///     }
/// }
///
/// let mut once = SpoutHarness::new(Once(false));
/// assert_eq!(once.next(), Some(SpoutStatus::Emitted));
/// assert_eq!(once.next(), Some(SpoutStatus::Exhausted));
/// assert_eq!(once.take_emitted()[0].anchors, [7]);
/// ```
pub struct SpoutHarness {
    spout: Box<dyn Spout>,
    streams: Streams,
    outputs: OutputState,
    record: Record,
    metrics: MetricsRegistry,
    clock: Clock,
}

impl SpoutHarness {
    /// Opens and activates a spout, with the default [`HarnessOptions`].
    ///
    /// # Panics
    /// When `open` or `activate` fails.
    pub fn new(spout: impl Spout + 'static) -> SpoutHarness {
        let harness = SpoutHarness::start(Box::new(spout), &HarnessOptions::default());
        harness.unwrap_or_else(|error| panic!("the spout cannot be opened: {error}"))
    }

    /// Opens and activates a spout.
    ///
    /// # Errors
    /// What `open` or `activate` returned.
    pub fn start(mut spout: Box<dyn Spout>, options: &HarnessOptions) -> Result<SpoutHarness, TaskError> {
        let (streams, metrics) = (spout.declare(), MetricsRegistry::default());
        spout.open(&options.context(&streams, &metrics))?;
        spout.activate()?;
        let tracked = options.delivery != Delivery::AtMostOnce;
        let outputs = options.outputs(&streams);
        let record = Record { tracked, ..Record::default() };
        Ok(SpoutHarness { spout, streams, outputs, record, metrics, clock: options.clock.clone() })
    }

    /// Builds a registered spout from the text of its `config` table, and opens it.
    ///
    /// # Errors
    /// When the type is unknown or no spout, the settings do not fit, or `open` fails.
    pub fn registered(
        registry: &Registry,
        type_name: &str,
        config: &str,
        options: &HarnessOptions,
    ) -> Result<SpoutHarness, TaskError> {
        match constructor(registry, type_name, config)? {
            Constructor::Spout(build) => SpoutHarness::start(build()?, options),
            Constructor::Bolt(_) => Err(TaskError::new(format!("`{type_name}` is a bolt"))),
        }
    }

    /// Calls `next_tuple`. `None`: it returned an error, which is among [`SpoutHarness::errors`].
    #[allow(clippy::should_implement_trait, reason = "it is the spout's next tuple, not an iterator's")]
    pub fn next(&mut self) -> Option<SpoutStatus> {
        let begun = self.record.messages.len();
        let mut out = SpoutOutputs::new(&mut self.outputs, &mut self.record);
        let status = match self.spout.next_tuple(&mut out) {
            Ok(status) => Some(status),
            Err(error) => {
                self.record.report(&error);
                None
            }
        };
        self.settle();
        if !self.record.tracked {
            for nth in begun..self.record.messages.len() {
                self.ack(self.record.messages[nth]);
            }
        }
        status
    }

    /// Calls `next_tuple` until it has nothing to emit, at most so many times, and returns the
    /// last status. Errors on the way are gathered and do not stop it.
    pub fn run(&mut self, at_most: usize) -> Option<SpoutStatus> {
        let mut last = None;
        for _ in 0..at_most {
            last = self.next();
            if !matches!(last, Some(SpoutStatus::Emitted) | None) {
                break;
            }
        }
        last
    }

    /// Acks a message.
    pub fn ack(&mut self, id: MessageId) {
        if let Err(error) = self.spout.ack(id) {
            self.record.report(&error);
        }
    }

    /// Fails a message, for the first time and not for good.
    pub fn fail(&mut self, id: MessageId) {
        self.fail_with(id, Failure { cause: FailureCause::Failed, failures: 1, is_final: false });
    }

    /// Fails a message.
    pub fn fail_with(&mut self, id: MessageId, failure: Failure) {
        let mut out = SpoutOutputs::new(&mut self.outputs, &mut self.record);
        if let Err(error) = self.spout.fail(id, &failure, &mut out) {
            self.record.report(&error);
        }
        self.settle();
    }

    /// Calls `close`.
    pub fn close(&mut self) {
        self.spout.close();
    }

    record_access!();

    fn settle(&mut self) {
        self.record.take_all(&mut self.outputs);
    }
}

fn constructor(registry: &Registry, type_name: &str, config: &str) -> Result<Constructor, TaskError> {
    let component = registry
        .component(type_name)
        .ok_or_else(|| TaskError::new(format!("no component type `{type_name}`")))?;
    let table = DeTable::parse(config)?;
    let value = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
    Ok(component.build(ValueDeserializer::from(value))?.constructor)
}
