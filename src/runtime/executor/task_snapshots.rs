//! The snapshots of a task of a bolt, and how the task begins with one.
//!
//! Tuples that the bolt holds when a checkpoint is taken are part of it, as a state of their own. After a restore
//! they come to the bolt once more, before anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::api::{OutputState, Positions, SourceMeta, TaskContext};
use crate::checkpoint::{EventTimeEntry, StoredSnapshots, TaskName};
use crate::ids::{CheckpointId, TaskId};
use crate::logging::panics::guarded;
use crate::runtime::executor::checkpoints::{SNAPSHOT_BYTES_PER_STEP, StorageSender, refuse};
use crate::runtime::executor::restore_error::{ReadError, RestoreError};
use crate::runtime::executor::task_share::TaskShare;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::checkpoint::{Restored, StorageJob, TaskPart};
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::message::TaskBatch;
use crate::state::encoding::encode;
use crate::state::{
    LateRecord, OperatorCells, OperatorSharing, SnapshotKind, StateShare, TakeChunk, Taking, TaskState,
    WriteStep,
};
use crate::text::shown;
use crate::tuple::codec::{decode_value, encode_value};
use crate::tuple::{Fields, TupleBatch, Value};

/// The state in which tuples that the bolt holds are kept.
const HELD_STATE: &str = "__held";

/// The state in which tuples are kept that were on their way when a barrier went on, in front of it on their link.
const IN_FLIGHT_STATE: &str = "__in_flight";

/// A tuple that a bolt held when a checkpoint was taken, or that was on its way.
#[derive(Clone, Serialize, Deserialize)]
pub struct HeldRow {
    component: SmolStr,
    stream: SmolStr,
    stream_index: u16,
    task: u32,
    fields: Vec<SmolStr>,
    /// Each value in the codec of tuples.
    values: Vec<Vec<u8>>,
}

impl HeldRow {
    fn new(values: &[Value], meta: &SourceMeta) -> HeldRow {
        let encoded = |value: &Value| {
            let mut bytes = Vec::new();
            encode_value(value, &mut bytes).expect("what was emitted can be encoded");
            bytes
        };
        HeldRow {
            component: meta.component.clone(),
            stream: meta.stream.clone(),
            stream_index: meta.stream_index,
            task: meta.task.0,
            fields: meta.fields.iter().map(SmolStr::new).collect(),
            values: values.iter().map(encoded).collect(),
        }
    }

    /// The tuples of a batch, from this one on.
    pub fn all_of(batch: &TaskBatch, from: u32) -> impl Iterator<Item = HeldRow> {
        (from..batch.batch.len).map(|tuple| HeldRow::new(batch.batch.row(tuple as usize), &batch.meta))
    }

    /// The value of a field.
    fn value_of(&self, field: &str) -> Option<Value> {
        let at = self.fields.iter().position(|name| name == field)?;
        decode_value(self.values.get(at)?).ok()
    }

    /// The tuple once more, for the task at this place of its executor. `None`: a value does not decode.
    fn to_batch(&self, local_task: u32) -> Option<TaskBatch> {
        let values: Vec<Value> =
            self.values.iter().map(|bytes| decode_value(bytes).ok()).collect::<Option<_>>()?;
        let meta = SourceMeta {
            component: self.component.clone(),
            stream: self.stream.clone(),
            stream_index: self.stream_index,
            task: TaskId(self.task),
            fields: self.fields.iter().cloned().collect::<Fields>(),
        };
        let mut batch = TupleBatch::new(values.len());
        batch.len = 1;
        batch.heap = values.iter().map(Value::heap_size).sum();
        batch.rows.owned().extend(values);
        Some(TaskBatch { batch, meta: Arc::new(meta), local_task })
    }
}

/// A snapshot that is being written.
#[derive(Clone, Copy)]
pub struct Writing {
    checkpoint: CheckpointId,
    kind: SnapshotKind,
    /// Whether the task kept something when the snapshot began. What tuples do to the state afterwards does not count.
    keeps_something: bool,
}

/// The tuples that were on their way when a barrier went on, and that belong to the checkpoint.
#[derive(Default)]
enum InFlight {
    /// There were none.
    #[default]
    None,
    /// More may come.
    Open(Vec<HeldRow>),
    /// These, encoded.
    Known(Vec<u8>),
}

/// After so many deltas a full snapshot follows, so that a restore reads a bounded number of files.
const DELTAS_MAX: u32 = 32;

/// What the last full snapshot and the deltas after it take.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    full_bytes: usize,
    delta_bytes: usize,
    deltas: u32,
    /// Whether the last of them has tuples that were on their way: the next one has to replace them.
    has_in_flight: bool,
}

impl Chain {
    /// Whether a full snapshot is to follow: there is no file of one, or the deltas take more than it would.
    fn needs_full(&self) -> bool {
        self.full_bytes == 0 || self.deltas >= DELTAS_MAX || self.delta_bytes > self.full_bytes
    }

    fn begins(&mut self, kind: SnapshotKind) {
        match kind {
            SnapshotKind::Full => *self = Chain::default(),
            SnapshotKind::Delta => self.deltas += 1,
        }
    }

    fn wrote(&mut self, kind: SnapshotKind, bytes: usize) {
        match kind {
            SnapshotKind::Full => self.full_bytes += bytes,
            SnapshotKind::Delta => self.delta_bytes += bytes,
        }
    }
}

/// What a task of a bolt has for checkpoints.
pub struct TaskCheckpoints {
    name: TaskName,
    /// Its place among the tasks of its executor.
    local_task: u32,
    /// The number of the state in which held tuples are kept. `None`: there are no checkpoints.
    held_state: Option<u32>,
    /// The same for tuples that were on their way.
    in_flight_state: Option<u32>,
    in_flight: InFlight,
    writing: Option<Writing>,
    /// How far event time was when it began.
    event_time: EventTimeEntry,
    /// A defect that a test has planted: the watermark is not restored.
    pub forgets_watermark: bool,
    chain: Chain,
    /// What belongs to it of the state of another number of tasks. `None`: there are no checkpoints.
    share: Option<TaskShare>,
    /// What the task begins with, until an instance has it.
    restored: Option<Arc<Restored>>,
    /// Tuples that the bolt held when the checkpoint was taken, the first of them last.
    held: Vec<TaskBatch>,
}

impl TaskCheckpoints {
    /// Of this task, which is at this place of its executor.
    pub fn new(context: &TaskContext, local_task: u32) -> TaskCheckpoints {
        TaskCheckpoints {
            name: TaskName::new(context.component(), context.task_index() as u32),
            local_task,
            held_state: None,
            in_flight_state: None,
            in_flight: InFlight::None,
            share: None,
            writing: None,
            event_time: EventTimeEntry::default(),
            forgets_watermark: false,
            chain: Chain::default(),
            restored: None,
            held: Vec::new(),
        }
    }

    /// There will be checkpoints: registers the state of held tuples.
    pub fn enable(&mut self, context: &TaskContext, key_groups: u32) {
        let states = context.states();
        self.share = Some(TaskShare::new(context, key_groups));
        self.held_state =
            states.register_operator::<OperatorCells<HeldRow>>(HELD_STATE, OperatorSharing::ForAll).ok();
        self.in_flight_state =
            states.register_operator::<OperatorCells<HeldRow>>(IN_FLIGHT_STATE, OperatorSharing::ForAll).ok();
    }

    /// Forgets what was under way.
    pub fn clear(&mut self) {
        self.writing = None;
        self.in_flight = InFlight::None;
        self.chain = Chain::default();
        self.restored = None;
        self.held.clear();
    }

    /// The next instance begins with this.
    pub fn restore(&mut self, restored: &Arc<Restored>) {
        self.restored = Some(Arc::clone(restored));
    }

    /// Gives the state what the checkpoint has of it, once for each restore. The states were registered.
    ///
    /// # Errors
    /// When the checkpoint does not fit what the component registers.
    pub fn restore_state(&mut self, store: &mut TaskState) -> Result<(), RestoreError> {
        let Some(restored) = self.restored.take() else { return Ok(()) };
        let share = self.share.take();
        let given = self.give(&restored, share.as_ref(), store);
        self.share = share;
        if given.as_ref().is_err_and(|error| !error.is_permanent) {
            self.restored = Some(restored);
        }
        given
    }

    fn give(
        &mut self,
        restored: &Restored,
        share: Option<&TaskShare>,
        store: &mut TaskState,
    ) -> Result<(), RestoreError> {
        if restored.names_keys.contains(&self.name.component) {
            store.has_named_keys();
        }
        let times = restored.event_times.get(&self.name.component).filter(|_| !self.forgets_watermark);
        if let Some(watermark) = times.and_then(|times| times.watermark) {
            // Before the state is read, some of which counts from it.
            store.set_watermark(watermark);
        }
        let tasks_before = restored.tasks.get(&self.name.component).copied();
        let share = share.filter(|share| tasks_before.is_some_and(|before| before != share.tasks()));
        let is_read = |task: &TaskName| match share {
            Some(_) => task.component == self.name.component,
            None => *task == self.name,
        };
        let kept = restored.states.iter().filter(|(task, kept)| is_read(task) && !kept.is_empty());
        let kept: BTreeMap<u32, &StoredSnapshots> =
            kept.map(|(task, kept)| (task.task_index, kept)).collect();
        if kept.is_empty() && share.is_none() {
            return Ok(());
        }
        let nothing = BTreeSet::new();
        let left_behind = restored.left_behind.get(&self.name.component).unwrap_or(&nothing);
        let taking = Taking { share: share.map(|share| share as &dyn StateShare), left_behind };
        let dealt = restored.dealt.get(&self.name.component).filter(|_| share.is_some());
        let read = |task: u32, take: &mut TakeChunk<'_>| {
            let take = |chunk: &[u8]| Ok::<(), ReadError>(take(chunk)?);
            match (dealt, kept.get(&task)) {
                (Some(dealt), _) => dealt.for_each_chunk(task, self.name.task_index, take),
                (None, Some(kept)) => kept.for_each_chunk(take),
                (None, None) => Ok(()),
            }
        };
        // Reading a value calls code of its type.
        guarded(|| store.restore_tasks(kept.keys().copied(), taking, read))
            .map_err(RestoreError::permanent)?
            .map_err(|error| error.of(&self.name.component))?;
        self.held = self.kept_rows(store, share).map_err(RestoreError::permanent)?;
        Ok(())
    }

    /// The tuples that the bolt held, and then those that were on their way to it, the first of them last.
    fn kept_rows(&self, store: &mut TaskState, share: Option<&TaskShare>) -> Result<Vec<TaskBatch>, String> {
        let mut rows = self.rows_of(self.in_flight_state, store, share)?;
        rows.extend(self.rows_of(self.held_state, store, share)?);
        Ok(rows)
    }

    /// The tuples in one of these states.
    fn rows_of(
        &self,
        state: Option<u32>,
        store: &mut TaskState,
        share: Option<&TaskShare>,
    ) -> Result<Vec<TaskBatch>, String> {
        let Some(held) = state else { return Ok(Vec::new()) };
        let place = store.operator_place();
        let cells = store.column::<OperatorCells<HeldRow>>(held).map_err(|error| error.to_string())?;
        let mut batches = Vec::new();
        for (nth, row) in cells.list().items(place).iter().enumerate().rev() {
            let is_ours = share.map_or(Ok(true), |share| {
                share.has_held(nth, (&row.component, &row.stream), |field| row.value_of(field))
            });
            if is_ours? {
                let batch = row.to_batch(self.local_task);
                batches.push(batch.ok_or("a tuple that the bolt held cannot be read")?);
            }
        }
        Ok(batches)
    }

    /// A tuple that the bolt held, or that was on its way to it, when the checkpoint was taken that the task began with.
    pub fn take_held(&mut self) -> Option<TaskBatch> {
        self.held.pop()
    }

    /// Whether there are such tuples.
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Tells the coordinator that the task cannot take its part of a checkpoint.
    pub fn refuse(&self, checkpoint: CheckpointId, why: &str, coordinator: &InboxSender) {
        refuse(&self.name, checkpoint, why, coordinator);
    }

    /// Notes in the state which tuples are held, and that none is on its way, as far as is known now.
    fn note_held(&self, state: &mut OutputState) {
        let held = state.holds.copies(HeldRow::new);
        state.begin_call();
        for (number, rows) in [(self.held_state, held), (self.in_flight_state, Vec::new())] {
            let store = &mut state.store;
            let (call, place) = (store.call(), store.operator_place());
            let column = number.and_then(|number| store.column::<OperatorCells<HeldRow>>(number).ok());
            let Some(cells) = column else { continue };
            if !(rows.is_empty() && cells.list().items(place).is_empty()) {
                cells.list().set(call, place, rows);
            }
        }
        state.store.commit();
    }

    /// Begins a snapshot of the state as it is now.
    pub fn begin_snapshot(&mut self, barrier: Barrier, event_time: EventTimeEntry, state: &mut OutputState) {
        self.event_time = event_time;
        self.note_held(state);
        let kind = state.store.begin_snapshot(barrier.full || self.chain.needs_full());
        self.chain.begins(kind);
        let keeps_something = state.store.keeps_something();
        self.writing = Some(Writing { checkpoint: barrier.checkpoint, kind, keeps_something });
        self.know_in_flight(&[]);
    }

    /// The barrier of the snapshot that has begun has gone on, and these tuples are on their way. More may come.
    pub fn open_in_flight(&mut self, rows: Vec<HeldRow>) {
        if let Some(writing) = &mut self.writing {
            // Whether the file is needed is known only when the first chunks are written already.
            writing.keeps_something = true;
            // What the snapshot before had is replaced by whatever is known in the end.
            self.chain.has_in_flight |= matches!(self.in_flight, InFlight::Known(_));
            self.in_flight = InFlight::Open(rows);
        }
    }

    /// More tuples that were on their way.
    pub fn add_in_flight(&mut self, rows: impl IntoIterator<Item = HeldRow>) {
        if let InFlight::Open(known) = &mut self.in_flight {
            known.extend(rows);
        }
    }

    /// There are no others.
    pub fn close_in_flight(&mut self) {
        if let InFlight::Open(rows) = std::mem::take(&mut self.in_flight) {
            self.know_in_flight(&rows);
        }
    }

    /// Notes which tuples were on their way. If none was, that has to be written only where some were before.
    fn know_in_flight(&mut self, rows: &[HeldRow]) {
        let mut bytes = Vec::new();
        // A row has bytes and names, which always can be encoded.
        let is_written = encode(rows, &mut bytes).is_ok();
        let had_some = std::mem::replace(&mut self.chain.has_in_flight, !rows.is_empty());
        let changes = is_written && (had_some || !rows.is_empty());
        self.in_flight = if changes { InFlight::Known(bytes) } else { InFlight::None };
    }

    /// Copies of the tuples that the bolt held, or that were on their way, and that it did not get yet after a restore.
    pub fn copies_of_held(&self) -> Vec<HeldRow> {
        self.held.iter().rev().flat_map(|held| HeldRow::all_of(held, 0)).collect()
    }

    /// Whether a snapshot is being written.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Writes a part of the snapshot. Returns whether there is more to do now: another part, or what has waited for the
    /// last one.
    pub fn write_snapshot(
        &mut self,
        store: &mut TaskState,
        storage: &StorageSender,
        coordinator: &InboxSender,
    ) -> bool {
        let Some(writing) = self.writing.take() else { return false };
        let Writing { checkpoint, kind, keeps_something } = writing;
        let mut chunk = Vec::new();
        // Writing a value calls code of its type.
        let late = match (&self.in_flight, self.in_flight_state) {
            (InFlight::Known(bytes), Some(state)) => LateRecord::Value { state, bytes },
            (InFlight::Open(_), _) => LateRecord::Unknown,
            (InFlight::None | InFlight::Known(_), _) => LateRecord::None,
        };
        let written = guarded(|| store.write_snapshot_with(late, SNAPSHOT_BYTES_PER_STEP, &mut chunk));
        let step = match written.and_then(|written| written.map_err(|error| shown(&error))) {
            Ok(step) => step,
            Err(why) => {
                self.refuse(checkpoint, &why, coordinator);
                return true;
            }
        };
        // A full snapshot of nothing needs no file.
        if !chunk.is_empty() && (kind == SnapshotKind::Delta || keeps_something) {
            self.chain.wrote(kind, chunk.len());
            storage.send(StorageJob::Append { checkpoint, task: self.name.clone(), chunk });
        }
        if step != WriteStep::Complete {
            self.writing = Some(writing);
            return step == WriteStep::More;
        }
        self.in_flight = InFlight::None;
        let (task, states, positions) = (self.name.clone(), store.described(), Positions::default());
        let (names_keys, has_in_flight) = (store.names_keys(), self.chain.has_in_flight);
        let event_time = self.event_time.clone();
        let part = TaskPart { task, kind, states, positions, names_keys, has_in_flight, event_time };
        storage.send(StorageJob::Seal { checkpoint, part: Box::new(part) });
        true
    }
}
