//! The harness of a bolt.

use crate::api::{
    Batch, Bolt, EventTimer, FailureCause, Input, OutputCollector as _, OutputState, Outputs, Streams,
    TaskError, Timer,
};
use crate::clock::Clock;
use crate::ids::CheckpointId;
use crate::metrics::MetricsRegistry;
use crate::state::TaskState;
use crate::testing::harness::options::{HarnessOptions, constructor};
use crate::testing::harness::record::{Emitted, Record, record_access};
use crate::testing::harness::tuple::TestTuple;
use crate::topology::graph::Constructor;
use crate::topology::registry::Registry;
use crate::tuple::{Anchor, Fields, Timestamp, Value};

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
    key: Fields,
    fed: u64,
}

/// What a bolt kept at a checkpoint.
#[derive(Clone, Debug)]
pub struct Snapshot(Vec<u8>);

impl Snapshot {
    /// How many bytes the checkpoint has of the bolt.
    pub fn size(&self) -> usize {
        self.0.len()
    }
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
    pub fn start(bolt: Box<dyn Bolt>, options: &HarnessOptions) -> Result<BoltHarness, TaskError> {
        BoltHarness::begin(bolt, options, None)
    }

    /// Prepares a bolt that begins with what another instance kept at a checkpoint, as after a crash.
    ///
    /// # Errors
    /// What `prepare` or `init_state` returned, and when the bolt does not register what the checkpoint has.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
    ///
    /// #[derive(Default)]
    /// struct Sum(OperatorState<i64>);
    /// impl Bolt for Sum {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["sum"])
    ///     }
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.0 = context.operator_state("sum")?;
    ///         Ok(())
    ///     }
    ///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         let sum = self.0.items(out)?.first().unwrap_or(&0) + input.i64("n")?;
    ///         self.0.set(out, vec![sum])?;
    ///         Ok(out.emit([sum])?)
    ///     }
    /// }
    ///
    /// let n = |n: i64| TestTuple::new([n]).fields(["n"]);
    /// let mut before = BoltHarness::new(Sum::default());
    /// before.execute(n(40));
    /// let kept = before.checkpoint(1);
    /// before.execute(n(1000));
    ///
    /// let mut after = BoltHarness::restored(Box::new(Sum::default()), &HarnessOptions::default(), &kept)?;
    /// after.execute(n(2));
    /// assert_eq!(after.take_rows("default"), [[Value::from(42)]]);
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn restored(
        bolt: Box<dyn Bolt>,
        options: &HarnessOptions,
        snapshot: &Snapshot,
    ) -> Result<BoltHarness, TaskError> {
        BoltHarness::begin(bolt, options, Some(snapshot))
    }

    fn begin(
        mut bolt: Box<dyn Bolt>,
        options: &HarnessOptions,
        snapshot: Option<&Snapshot>,
    ) -> Result<BoltHarness, TaskError> {
        let (streams, metrics) = (bolt.declare(), MetricsRegistry::default());
        let context = options.context(&streams, &metrics);
        bolt.prepare(&context)?;
        let tracked = options.delivery.tracks_tuples();
        let mut outputs = options.outputs(&streams);
        outputs.store = TaskState::new(context.states().clone(), options.clock.clone());
        outputs.store.take_registered();
        if let Some(Snapshot(chunk)) = snapshot.filter(|snapshot| !snapshot.0.is_empty()) {
            outputs.store.restore([chunk.as_slice()]).map_err(|error| TaskError::new(error.to_string()))?;
        }
        let record = Record { tracked, ..Record::default() };
        let (clock, key) = (options.clock.clone(), options.key.clone());
        let mut harness = BoltHarness { bolt, streams, outputs, record, metrics, clock, key, fed: 0 };
        harness.outputs.begin_call();
        let result = harness.bolt.init_state(&mut Outputs::new(&mut harness.outputs, &mut harness.record));
        harness.end_call(&result);
        result?;
        harness.settle();
        Ok(harness)
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
        self.outputs.atomic = true;
        self.outputs.begin_call();
        if self.outputs.store.takes_keys() {
            let key: Vec<usize> = self.key.iter().filter_map(|field| meta.fields.position(field)).collect();
            self.outputs.store.set_positions(&key);
            if self.outputs.store.rows_have_key() {
                self.outputs.store.take_key(&values);
            }
        }
        let mut out = Outputs::new(&mut self.outputs, &mut self.record);
        let result = self.bolt.execute(Input::owned(&mut values, &meta), &mut out);
        self.outputs.anchor = Anchor::NONE;
        self.end_call(&result);
        match result {
            Ok(()) if !self.outputs.held => self.record.ack(&[anchor]),
            Ok(()) => {}
            Err(error) => {
                self.record.report(error);
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
        self.call(true, |bolt, out| bolt.tick(out));
    }

    /// Calls the timers that are due by the harness's clock, and returns how many calls there were. A timer
    /// whose call fails is given up.
    pub fn call_due_timers(&mut self) -> usize {
        let mut calls = 0;
        while let Some((timer, place)) = self.outputs.store.due_timer(self.clock.now()) {
            self.call_timer(timer, place, |bolt, out| bolt.timer(Timer::new(timer), out));
            calls += 1;
        }
        calls
    }

    /// Moves event time forward to this watermark, and calls the timers in event time that it reaches, in the order of
    /// their times. Returns how many calls there were. A timer whose call fails is given up.
    pub fn advance_watermark(&mut self, watermark: Timestamp) -> usize {
        self.outputs.store.set_watermark(watermark);
        let mut calls = 0;
        while let Some((timer, place, at)) = self.outputs.store.due_event_timer() {
            self.call_timer(timer, place, |bolt, out| bolt.event_timer(EventTimer::new(timer), at, out));
            calls += 1;
        }
        calls
    }

    /// Makes the call of a timer, which is given up if the call fails.
    fn call_timer(
        &mut self,
        timer: u32,
        place: u32,
        then: impl FnOnce(&mut dyn Bolt, &mut Outputs<'_>) -> Result<(), TaskError>,
    ) {
        let mut failed = true;
        self.call(true, |bolt, out| {
            out.state().begin_timer(timer, place);
            let result = then(bolt, out);
            failed = result.is_err();
            result
        });
        if failed {
            self.outputs.store.set_failed_timer(timer, place, None);
        }
    }

    /// Calls `flush`.
    pub fn flush(&mut self) {
        self.call(false, |bolt, out| bolt.flush(out));
    }

    /// Calls `finish`, as at the end of bounded input.
    pub fn finish(&mut self) {
        self.call(false, |bolt, out| bolt.finish(out));
    }

    /// A checkpoint with this number is taken, with which a batch of this transaction id ends: calls `flush` and
    /// `pre_commit`. Returns what the bolt keeps then, with
    /// which another instance can begin ([`BoltHarness::restored`]); tuples that it holds are not part of it.
    ///
    /// # Panics
    /// When what it keeps cannot be written.
    pub fn checkpoint(&mut self, number: u64) -> Snapshot {
        let checkpoint = CheckpointId { epoch: 1, number };
        self.outputs.batch = Some(Batch { txid: number, attempt: checkpoint });
        self.flush();
        self.call(true, |bolt, out| bolt.pre_commit(checkpoint, out));
        self.outputs.batch = None;
        self.kept()
    }

    /// What the bolt keeps now, which the next instance has if this one is lost alone.
    pub(crate) fn kept(&mut self) -> Snapshot {
        let mut chunk = Vec::new();
        self.outputs.store.begin_snapshot(true);
        loop {
            match self.outputs.store.write_snapshot(usize::MAX, &mut chunk) {
                Ok(true) => return Snapshot(chunk),
                Ok(false) => {}
                Err(error) => panic!("what the bolt keeps cannot be written: {error}"),
            }
        }
    }

    /// The checkpoint with this number is complete: calls `committed`.
    pub fn committed(&mut self, number: u64) {
        self.call(true, |bolt, out| bolt.committed(CheckpointId { epoch: 1, number }, out));
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

    /// The inputs whose time-out was restarted.
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

    fn call(
        &mut self,
        atomic: bool,
        method: impl FnOnce(&mut dyn Bolt, &mut Outputs<'_>) -> Result<(), TaskError>,
    ) {
        self.outputs.atomic = atomic;
        self.outputs.begin_call();
        let mut out = Outputs::new(&mut self.outputs, &mut self.record);
        let result = method(&mut *self.bolt, &mut out);
        self.end_call(&result);
        if let Err(error) = result {
            self.record.report(error);
        }
        self.settle();
    }

    /// As the runtime: what a call that failed did is taken back, if the call is atomic.
    fn end_call(&mut self, result: &Result<(), TaskError>) {
        match result {
            Err(error) if self.outputs.atomic => {
                self.outputs.take_back(&mut self.record, &error.to_string());
            }
            Ok(()) | Err(_) => self.outputs.finish_call(&mut self.record),
        }
    }

    /// Moves what the bolt emitted into the record, fails held tuples that the bolt dropped, and removes state that has
    /// expired.
    fn settle(&mut self) {
        self.outputs.store.remove_expired(self.clock.now());
        self.record.take_all(&mut self.outputs);
        for failed in self.outputs.holds.take_failed() {
            self.record.fail(&failed.anchors, failed.cause);
        }
    }
}
