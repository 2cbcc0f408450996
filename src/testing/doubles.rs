//! Replacements for spouts and bolts in tests: [`Feeder`], [`FixedSpout`] and [`Capture`].
//!
//! Both spouts can be rewound, each task by itself, so a test can run them exactly once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol_str::SmolStr;

use crate::api::task_split;
use crate::api::{
    Bolt, Failure, Input, Outputs, Positions, Spout, SpoutOutputs, SpoutStatus, Streams, TaskContext,
    TaskError, Values,
};
use crate::ids::MessageId;
use crate::testing::row::row_of;
use crate::tuple::{Fields, Value};

/// What became of a fed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageState {
    Open,
    Acked,
    Failed,
}

/// What a [`Feeder`] shares with the tasks of its spout. The test writes `waiting` and `closed`; the spout
/// takes from `waiting` and writes `states` and `acks_since` on ack and fail.
#[derive(Debug, Default)]
struct Feed {
    waiting: VecDeque<(MessageId, Vec<Value>)>,
    states: BTreeMap<MessageId, MessageState>,
    next_id: u64,
    acks_since: usize,
    closed: bool,
    /// Exactly once: what each task has emitted.
    emitted: BTreeMap<usize, Emitted>,
}

/// What a task has emitted and no complete checkpoint has.
#[derive(Debug, Default)]
struct Emitted {
    /// How many rows came before these.
    before: u64,
    rows: VecDeque<(MessageId, Vec<Value>)>,
}

impl Emitted {
    /// How many rows the task has emitted in all.
    fn position(&self) -> u64 {
        self.before + self.rows.len() as u64
    }
}

impl Feed {
    /// What the task emitted after this position waits again, before everything else.
    fn go_back(&mut self, task: usize, position: u64) -> Result<(), TaskError> {
        let emitted = self.emitted.entry(task).or_default();
        if !(emitted.before..=emitted.position()).contains(&position) {
            let why = format!("the feed does not have what came after row {position} of task {task}");
            return Err(TaskError::fatal(why));
        }
        while emitted.position() > position {
            emitted.rows.pop_back().into_iter().for_each(|row| self.waiting.push_front(row));
        }
        Ok(())
    }

    /// What the task emitted before this position is not asked for again.
    fn commit(&mut self, task: usize, position: u64) {
        let emitted = self.emitted.entry(task).or_default();
        while emitted.before < position
            && let Some((id, _)) = emitted.rows.pop_front()
        {
            emitted.before += 1;
            self.states.insert(id, MessageState::Acked);
            self.acks_since += 1;
        }
    }
}

/// A spout that emits what the test feeds it, and records which messages were acked or failed (Storm's
/// `FeederSpout` with its `AckTracker`). A failed message is not replayed. All tasks share the feed.
///
/// Exactly once, a message counts as acked when a complete checkpoint has it.
#[derive(Clone, Debug)]
pub struct Feeder {
    fields: Fields,
    feed: Arc<Mutex<Feed>>,
}

impl Feeder {
    /// A feeder of a stream with these fields.
    pub fn new(fields: impl Into<Fields>) -> Feeder {
        Feeder { fields: fields.into(), feed: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The constructor to give to `TopologyBuilder::spout`.
    pub fn spout(&self) -> impl Fn() -> FeederSpout + Send + Sync + 'static {
        let feeder = self.clone();
        move || FeederSpout { feeder: feeder.clone(), task: 0, tasks: 1, keeps: false, begins_anew: false }
    }

    /// Feeds a tuple as a tracked message. The spout emits it when the simulation is next run.
    pub fn feed(&self, values: impl Values) -> MessageId {
        let mut feed = self.lock();
        feed.next_id += 1;
        let id = MessageId(feed.next_id);
        drop(feed);
        self.feed_as(id, values);
        id
    }

    /// Feeds a tuple as a message with this id. If a message with this id failed before, this is a
    /// replay of it, and bolts see a higher [`attempt`](Outputs::attempt).
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::testing::{Feeder, SimulatedTopology, SimulationOptions};
    ///
    /// let feeder = Feeder::new(["n"]);
    /// let mut builder = TopologyBuilder::new("retry");
    /// builder.spout("feeder", feeder.spout());
    /// builder
    ///     .bolt_fn("second-time-lucky", Streams::none(), |_, out| match out.attempt() {
    ///         0 => Err(TaskError::quiet("not yet")),
    ///         _ => Ok(()),
    ///     })
    ///     .shuffle("feeder");
    /// let mut topology = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
    ///
    /// let message = feeder.feed([1]);
    /// topology.settle();
    /// assert!(feeder.has_failed(message));
    /// feeder.feed_as(message, [1]);
    /// topology.settle();
    /// assert!(feeder.is_acked(message));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn feed_as(&self, id: MessageId, values: impl Values) {
        let row = row_of(values);
        let mut feed = self.lock();
        feed.states.insert(id, MessageState::Open);
        feed.waiting.push_back((id, row));
    }

    /// Marks the end of the feed, so that the topology can end.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    fn has(&self, id: MessageId, state: MessageState) -> bool {
        self.lock().states.get(&id) == Some(&state)
    }

    /// Whether the message is neither acked nor failed.
    pub fn is_open(&self, id: MessageId) -> bool {
        self.has(id, MessageState::Open)
    }

    /// Whether the message was acked.
    pub fn is_acked(&self, id: MessageId) -> bool {
        self.has(id, MessageState::Acked)
    }

    /// Whether the message failed.
    pub fn has_failed(&self, id: MessageId) -> bool {
        self.has(id, MessageState::Failed)
    }

    /// How many messages were acked since the last call.
    pub fn take_acks(&self) -> usize {
        std::mem::take(&mut self.lock().acks_since)
    }
}

/// The spout of a [`Feeder`].
pub struct FeederSpout {
    feeder: Feeder,
    task: usize,
    tasks: usize,
    /// Exactly once: what is emitted is kept, and not tracked.
    keeps: bool,
    /// What an earlier instance emitted comes again, unless there is a position to go back to.
    begins_anew: bool,
}

impl Spout for FeederSpout {
    fn declare(&self) -> Streams {
        Streams::new(self.feeder.fields.clone())
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        (self.task, self.tasks) = (context.task_index(), context.parallelism());
        self.keeps = context.delivery().is_exactly_once();
        self.begins_anew = self.keeps;
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let mut feed = self.feeder.lock();
        if std::mem::take(&mut self.begins_anew) {
            feed.go_back(self.task, 0)?;
        }
        let Some((id, row)) = feed.waiting.pop_front() else {
            return Ok(if feed.closed { SpoutStatus::Exhausted } else { SpoutStatus::Idle });
        };
        if self.keeps {
            feed.emitted.entry(self.task).or_default().rows.push_back((id, row.clone()));
            drop(feed);
            out.emit(row)?;
        } else {
            drop(feed);
            out.emit_tracked(row, id)?;
        }
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        let mut feed = self.feeder.lock();
        if std::mem::take(&mut self.begins_anew) {
            feed.go_back(self.task, 0)?;
        }
        let position = feed.emitted.get(&self.task).map_or(0, Emitted::position);
        positions.set(&task_split::name(self.task, self.tasks), &position)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        let position = task_split::position(positions, self.task, self.tasks)?;
        self.begins_anew = false;
        self.feeder.lock().go_back(self.task, position)
    }

    fn committed(&mut self, positions: &Positions) -> Result<(), TaskError> {
        let position = task_split::position(positions, self.task, self.tasks)?;
        self.feeder.lock().commit(self.task, position);
        Ok(())
    }

    fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
        let mut feed = self.feeder.lock();
        feed.states.insert(id, MessageState::Acked);
        feed.acks_since += 1;
        Ok(())
    }

    fn fail(
        &mut self,
        id: MessageId,
        _failure: &Failure,
        _out: &mut SpoutOutputs<'_>,
    ) -> Result<(), TaskError> {
        self.feeder.lock().states.insert(id, MessageState::Failed);
        Ok(())
    }
}

/// A spout that emits a fixed list of rows and then ends. A row that fails is emitted again, unless the
/// failure is final. Each task emits the whole list. Exactly once, its position is the number of rows that it has
/// emitted.
#[derive(Clone, Debug)]
pub struct FixedSpout {
    streams: Streams,
    rows: Arc<Vec<(SmolStr, Vec<Value>)>>,
    task: usize,
    tasks: usize,
    is_exactly_once: bool,
    next: usize,
    again: VecDeque<usize>,
}

impl FixedSpout {
    /// Rows for a default stream with these fields.
    pub fn new(fields: impl Into<Fields>, rows: impl IntoIterator<Item = Vec<Value>>) -> FixedSpout {
        let rows = rows.into_iter().map(|row| (SmolStr::new_static(crate::ids::DEFAULT_STREAM), row));
        FixedSpout::with_streams(Streams::new(fields), rows)
    }

    /// Rows for several streams: each row comes with the name of its stream.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::testing::{FixedSpout, SpoutHarness};
    ///
    /// let streams = Streams::new(["line"]).stream("rejected", ["line"]);
    /// let rows = [("default", "good"), ("rejected", "bad")];
    /// let rows = rows.map(|(stream, line)| (stream.into(), vec![line.into()]));
    /// let mut fixed = SpoutHarness::new(FixedSpout::with_streams(streams, rows));
    /// assert_eq!(fixed.run(9), Some(SpoutStatus::Exhausted));
    /// assert_eq!(fixed.take_rows("rejected"), [[Value::from("bad")]]);
    /// ```
    pub fn with_streams(
        streams: Streams,
        rows: impl IntoIterator<Item = (SmolStr, Vec<Value>)>,
    ) -> FixedSpout {
        FixedSpout {
            streams,
            rows: Arc::new(rows.into_iter().collect()),
            task: 0,
            tasks: 1,
            is_exactly_once: false,
            next: 0,
            again: VecDeque::new(),
        }
    }
}

impl Spout for FixedSpout {
    fn declare(&self) -> Streams {
        self.streams.clone()
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        (self.task, self.tasks) = (context.task_index(), context.parallelism());
        self.is_exactly_once = context.delivery().is_exactly_once();
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let index = match self.again.pop_front() {
            Some(index) => index,
            None if self.next < self.rows.len() => {
                self.next += 1;
                self.next - 1
            }
            None => return Ok(SpoutStatus::Exhausted),
        };
        let (stream, row) = &self.rows[index];
        if self.is_exactly_once {
            out.emit_to(stream, row.as_slice())?;
        } else {
            out.emit_tracked_to(stream, row.as_slice(), MessageId(index as u64))?;
        }
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        positions.set(&task_split::name(self.task, self.tasks), &self.next)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.next = task_split::position(positions, self.task, self.tasks)?;
        Ok(())
    }

    fn fail(
        &mut self,
        id: MessageId,
        failure: &Failure,
        _out: &mut SpoutOutputs<'_>,
    ) -> Result<(), TaskError> {
        if !failure.is_final {
            self.again.push_back(id.0 as usize);
        }
        Ok(())
    }
}

/// A tuple that a [`Capture`] bolt received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedTuple {
    /// The component it came from.
    pub component: SmolStr,
    /// The stream.
    pub stream: SmolStr,
    /// Its values.
    pub values: Vec<Value>,
}

/// A bolt that keeps every tuple it receives, over all its tasks, in the order of execution. Exactly once, it is no
/// sink that commits: what comes again after a recovery is captured again.
#[derive(Clone, Debug, Default)]
pub struct Capture(Arc<Mutex<Vec<CapturedTuple>>>);

impl Capture {
    /// Nothing captured yet.
    pub fn new() -> Capture {
        Capture::default()
    }

    /// The constructor to give to `TopologyBuilder::bolt`.
    pub fn bolt(&self) -> impl Fn() -> CaptureBolt + Send + Sync + 'static {
        let capture = self.clone();
        move || CaptureBolt(capture.clone())
    }

    /// Everything captured so far.
    pub fn tuples(&self) -> Vec<CapturedTuple> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The values of everything captured so far.
    pub fn rows(&self) -> Vec<Vec<Value>> {
        self.tuples().into_iter().map(|tuple| tuple.values).collect()
    }

    /// The values, sorted: for comparisons in which order does not count.
    pub fn sorted(&self) -> Vec<Vec<Value>> {
        let mut rows = self.rows();
        rows.sort();
        rows
    }
}

/// The bolt of a [`Capture`].
pub struct CaptureBolt(Capture);

impl Bolt for CaptureBolt {
    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (component, stream) =
            (SmolStr::new(input.source_component()), SmolStr::new(input.source_stream()));
        let tuple = CapturedTuple { component, stream, values: input.into_values() };
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(tuple);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
