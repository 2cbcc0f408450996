//! A spout behind a write-ahead log (`wal = true`): what it emits is in the log before it is emitted.
//!
//! ```text
//!   source ─▶ group of rows ─▶ log: append, sync ─▶ emitted; messages acked to the source
//!                               │
//!                               └─ after a restore: rows from the position on come from the log, then from the source
//! ```
//!
//! 1. The source is any spout that cannot go back. It emits into stages of its own, whose batches are the records of the
//!    log. A row counts as read when its group is durable, and then its message is acked.
//! 2. A group is emitted in the call that appended it, so between two calls the position is the end of the log, or, while
//!    records of before come again, the next of them.
//! 3. If the log cannot be written, the group waits, nothing more is read, and it is tried again with back-off.
//! 4. When all tasks go back, the source, its log and a group that waits stay ([`Handover`]), so that nothing is lost as long
//!    as the process lives. Only a source that panicked is built again.
//! 5. The log keeps what comes after each checkpoint that is retained.
//! 6. When the task is closed, what the source has at hand is appended, and not emitted: the next run begins with it.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::{
    EmitError, OutputState, Positions, Spout, SpoutOutputs, SpoutStatus, StreamDeclaration, Streams,
    TaskContext, TaskError, task_split,
};
use crate::checkpoint::CheckpointError;
use crate::config::doubled;
use crate::files::cannot_be_made;
use crate::metrics::Counter;
use crate::runtime::executor::logged_source::{LoggedRows, Source};
use crate::runtime::faults::CheckpointDefect;
use crate::topology::graph::{Component, Constructor, SpoutFactory, Topology};
use crate::wal::{LogId, Wal, WalError, WalPlace, WalPosition, log_name};

/// Groups that are read of a source that is closed, at the most: more than it can have at hand, unless it makes its rows
/// itself.
const LAST_GROUPS_MAX: u32 = 64;
/// Pauses before a log that cannot be written is tried again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What the spouts of a component have in common.
#[derive(Clone)]
pub struct LoggedSpouts {
    /// Builds the source.
    pub source: SpoutFactory,
    /// Where the logs are.
    pub place: WalPlace,
    /// The component, and what it emits to.
    pub component: SmolStr,
    pub streams: Vec<StreamDeclaration>,
    /// Limits of a batch: tuples, bytes.
    pub batch_limits: (u32, usize),
    /// Bytes that a tuple may have.
    pub tuple_size_max: usize,
    /// How many checkpoints are retained.
    pub retain: usize,
    /// Whether the source waits in its calls, so that what it has emitted cannot wait for the next call.
    pub source_waits: bool,
    /// A defect that a test has planted.
    pub defect: Option<CheckpointDefect>,
}

impl LoggedSpouts {
    /// Those of a component, if it has `wal`. `batch_bytes`: the limit of a batch. `defect`: what a test has planted.
    pub fn of(
        topology: &Topology,
        component: &Component,
        place: Option<&WalPlace>,
        batch_bytes: usize,
        defect: Option<CheckpointDefect>,
    ) -> Option<Arc<LoggedSpouts>> {
        let place = place.filter(|_| component.options.wal)?.clone();
        let Constructor::Spout(source) = &component.constructor else { return None };
        let options = topology.options();
        Some(Arc::new(LoggedSpouts {
            source: Arc::clone(source),
            place,
            component: component.id.clone(),
            streams: component.all_streams().into_iter().collect(),
            batch_limits: (options.queue.batch, batch_bytes),
            tuple_size_max: usize::try_from(options.queue.tuple_size_max).unwrap_or(usize::MAX),
            retain: options.checkpoint.retain as usize,
            source_waits: component.options.blocking,
            defect,
        }))
    }

    fn has(&self, defect: CheckpointDefect) -> bool {
        self.defect == Some(defect)
    }

    fn new_source(&self, spout: Box<dyn Spout>) -> Source {
        let (component, streams) = (self.component.clone(), self.streams.iter().cloned());
        let outputs = OutputState::new(component, streams, false, self.batch_limits, self.tuple_size_max);
        Source::new(spout, outputs, self.source_waits)
    }

    /// What builds the instances of one task.
    pub fn factory_of_task(self: &Arc<LoggedSpouts>) -> SpoutFactory {
        let (common, handover) = (Arc::clone(self), Arc::new(Handover::default()));
        Arc::new(move || {
            let (common, handover) = (Arc::clone(&common), Arc::clone(&handover));
            Ok(Box::new(LoggedSpout { common, handover, open: None }))
        })
    }
}

/// Where a source and its log wait between two instances of the task.
#[derive(Default)]
struct Handover(Mutex<Option<Kept>>);

impl Handover {
    fn take(&self) -> Option<Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, kept: Kept) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }
}

/// What outlives an instance.
struct Kept {
    log: Wal,
    /// `None`: it panicked.
    source: Option<Source>,
}

/// The spout that a task has.
struct LoggedSpout {
    common: Arc<LoggedSpouts>,
    handover: Arc<Handover>,
    /// `None`: before `open`, and after `close`.
    open: Option<Open>,
}

/// A spout that was opened.
struct Open {
    kept: Kept,
    /// The next record to be emitted, and records from there on that were read from the log.
    next: u64,
    read: VecDeque<Vec<u8>>,
    /// The positions of the last checkpoints that were completed, at most as many as are retained.
    committed: VecDeque<u64>,
    /// How often the log could not be written, one time after the other.
    failures: u32,
    counts: Counts,
    task: usize,
    tasks: usize,
}

#[derive(Clone)]
struct Counts {
    /// How often a group was appended again.
    retries: Counter,
    /// Loss: rows that were read, and could not be appended before the end.
    rows_unlogged: Counter,
}

impl Spout for LoggedSpout {
    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let Some(open) = &mut self.open else { return Ok(SpoutStatus::Idle) };
        if open.next < open.kept.log.next() {
            return open.emit_record(out);
        }
        let acks_early = self.common.has(CheckpointDefect::AckedBeforeLogged);
        open.read_source(out, acks_early)
    }

    fn declare(&self) -> Streams {
        // The topology has asked the source.
        Streams::none()
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let (task, tasks) = (context.task_index(), context.parallelism().max(1));
        let mut kept = match self.handover.take() {
            Some(kept) => kept,
            None => {
                let storage = self.common.place.open(&log_name(&self.common.component, task));
                let storage = storage.map_err(|error| cannot_open(&error))?;
                let log = Wal::open(storage, LogId(context.seed()), self.common.place.segment_len_max());
                let log = log.map_err(task_error)?;
                let records = log.next() - log.begin();
                if records > 0 {
                    slog::info!(context.logger(), "a write-ahead log has records of before";
                        "log" => log.location(), "records" => records);
                }
                Kept { log, source: None }
            }
        };
        if kept.source.is_none() {
            let built = (self.common.source)().and_then(|mut spout| {
                spout.open(context)?;
                Ok(spout)
            });
            match built {
                Ok(spout) => kept.source = Some(self.common.new_source(spout)),
                Err(error) => {
                    self.handover.put(kept);
                    return Err(error);
                }
            }
        }
        let counts = Counts {
            retries: context.counter("log_retries"),
            rows_unlogged: context.loss_counter("rows_unlogged"),
        };
        let (next, read, committed) = (kept.log.begin(), VecDeque::new(), VecDeque::new());
        self.open = Some(Open { kept, next, read, committed, failures: 0, counts, task, tasks });
        Ok(())
    }

    fn is_bounded(&self) -> bool {
        let source = self.open.as_ref().and_then(|open| open.kept.source.as_ref());
        source.is_some_and(|source| source.spout.is_bounded())
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.common.has(CheckpointDefect::LogTruncatedEarly) {
            open.kept.log.truncate(open.next).map_err(task_error)?;
        }
        let position = WalPosition { log: open.kept.log.id(), next: open.next };
        positions.set(&task_split::name(open.task, open.tasks), &position)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let WalPosition { log, next } = task_split::position(positions, open.task, open.tasks)?;
        if log != open.kept.log.id() {
            return Err(TaskError::fatal(format!(
                "the checkpoint goes on in write-ahead log {log}, and in {} is log {}: put back that log, or begin anew by \
                 `--discard-checkpoints`",
                open.kept.log.location(),
                open.kept.log.id()
            )));
        }
        open.next = next;
        // Whether it can be read is found out here, and not at the first tuple.
        open.read = open.kept.log.read(next).map_err(task_error)?;
        Ok(())
    }

    fn committed(&mut self, positions: &Positions) -> Result<(), TaskError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let WalPosition { next, .. } = task_split::position(positions, open.task, open.tasks)?;
        open.committed.push_back(next);
        let retain = self.common.retain.max(1);
        if open.committed.len() > retain {
            open.committed.pop_front();
        }
        match open.committed.front() {
            Some(oldest) if open.committed.len() == retain => {
                open.kept.log.truncate(*oldest).map_err(task_error)
            }
            _ => Ok(()),
        }
    }

    fn activate(&mut self) -> Result<(), TaskError> {
        self.source().map_or(Ok(()), |source| source.spout.activate())
    }

    fn deactivate(&mut self) -> Result<(), TaskError> {
        self.source().map_or(Ok(()), |source| source.spout.deactivate())
    }

    fn close(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        let Some(source) = &mut open.kept.source else { return };
        source.pause();
        for _ in 0..LAST_GROUPS_MAX {
            let is_over = match source.read().map(|()| &source.status) {
                Ok(Ok(SpoutStatus::Emitted)) => false,
                // What is behind a row that was refused is still at hand.
                Ok(Err(error)) if error.is_refused_emit() => {
                    open.counts.rows_unlogged.add(1);
                    false
                }
                Ok(_) | Err(_) => true,
            };
            if append(&mut open.kept.log, source).is_err() {
                open.counts.rows_unlogged.add(source.row_count() as u64);
                break;
            }
            source.collected.take_rows();
            // An error cannot be reported any more, and the message is in the log.
            let _ = source.ack();
            if is_over {
                break;
            }
        }
        source.spout.close();
    }
}

impl LoggedSpout {
    fn source(&mut self) -> Option<&mut Source> {
        self.open.as_mut()?.kept.source.as_mut()
    }
}

impl Drop for LoggedSpout {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.handover.put(open.kept);
        }
    }
}

impl Open {
    /// Emits the next record of those that come again.
    fn emit_record(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.read.is_empty() {
            self.read = self.kept.log.read(self.next).map_err(task_error)?;
        }
        let Some(record) = self.read.pop_front() else { return Ok(SpoutStatus::Idle) };
        let unfit = |why: String| {
            TaskError::fatal(format!(
                "record {} of the write-ahead log in {} cannot be emitted: {why}; run the topology with which it was \
                 written, or begin anew by `--discard-checkpoints`",
                self.next,
                self.kept.log.location()
            ))
        };
        let rows = LoggedRows::decode(&record).map_err(unfit)?;
        rows.emit(out).map_err(|error| unfit(error.to_string()))?;
        self.next += 1;
        Ok(SpoutStatus::Emitted)
    }

    /// Reads a group from the source, appends it, and emits it.
    fn read_source(
        &mut self,
        out: &mut SpoutOutputs<'_>,
        acks_early: bool,
    ) -> Result<SpoutStatus, TaskError> {
        let Some(source) = &mut self.kept.source else { return Ok(SpoutStatus::Exhausted) };
        let panicked = if self.failures == 0 { source.read().err() } else { None };
        if acks_early {
            source.ack().unwrap_or_else(|error| out.report_error(error));
        }
        for why in source.collected.errors.drain(..) {
            out.report_error(why);
        }
        if std::mem::take(&mut source.collected.drain_requested) {
            out.request_drain();
        }
        let appended = append(&mut self.kept.log, source);
        if let Some(payload) = panicked {
            // What it had emitted comes from the log, if it could be appended.
            if appended.is_err() {
                self.counts.rows_unlogged.add(source.row_count() as u64);
            }
            self.kept.source = None;
            resume_unwind(payload);
        }
        if let Err(error) = appended {
            self.failures += 1;
            self.counts.retries.add(1);
            let pause = doubled(RETRY_MIN, self.failures, RETRY_MAX);
            let error = task_error(error);
            if error.is_fatal() {
                return Err(error);
            }
            out.report_error(TaskError::new(format!(
                "nothing is read until the write-ahead log can be written, and nothing is lost: {error}; it is tried \
                 again in {} ms",
                pause.as_millis()
            )));
            return Ok(SpoutStatus::IdleFor(pause));
        }
        self.failures = 0;
        self.next = self.kept.log.next();
        let rows = source.collected.take_rows();
        let has_rows = !rows.is_empty();
        // The source could emit them, so this cannot fail. If it did, the run would have to end, and read them again.
        let emitted: Result<(), EmitError> = rows.iter().try_for_each(|rows| rows.emit(out));
        emitted.map_err(|error| TaskError::fatal(error.to_string()))?;
        source.ack().unwrap_or_else(|error| out.report_error(error));
        match std::mem::replace(&mut source.status, Ok(SpoutStatus::Emitted)) {
            Ok(SpoutStatus::Exhausted) => {
                source.is_exhausted = true;
                Ok(SpoutStatus::Exhausted)
            }
            // The next pause begins anew.
            Ok(SpoutStatus::Idle) if has_rows => Ok(SpoutStatus::Emitted),
            status => status,
        }
    }
}

/// Appends what a source has emitted.
fn append(log: &mut Wal, source: &mut Source) -> Result<(), WalError> {
    source.collect();
    let records: Vec<Vec<u8>> = source.collected.rows.iter().map(LoggedRows::encode).collect();
    log.append(&records)
}

/// The log cannot be opened. What waiting cannot mend ends the run.
fn cannot_open(error: &CheckpointError) -> TaskError {
    let why = format!("{error} (`wal_storage` in `[topology.checkpoint]`)");
    match error {
        CheckpointError::Open { source, .. } if cannot_be_made(source) => TaskError::fatal(why),
        _ => TaskError::new(why),
    }
}

fn task_error(error: WalError) -> TaskError {
    // Its text has its cause, which a `TaskError` made of it would add once more.
    match error.is_transient() {
        true => TaskError::new(error.to_string()),
        false => TaskError::fatal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::panic::AssertUnwindSafe;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::checkpoint::MemoryStorage;
    use crate::config::Delivery;
    use crate::ids::MessageId;
    use crate::testing::{HarnessOptions, SpoutHarness};

    /// Messages that come once: whoever takes one has it, and nobody else gets it.
    #[derive(Clone, Default)]
    struct Queue(Arc<Mutex<QueueState>>);

    #[derive(Default)]
    struct QueueState {
        next: i64,
        end: i64,
        acked: Vec<u64>,
        has_panic: bool,
        /// Emits to two streams in turn.
        alternates: bool,
        never_pauses: bool,
        /// A row that is emitted with a value too many.
        refused: Option<i64>,
    }

    impl Queue {
        fn of(end: i64) -> Queue {
            Queue(Arc::new(Mutex::new(QueueState { end, ..QueueState::default() })))
        }

        fn state(&self) -> std::sync::MutexGuard<'_, QueueState> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Spout for Queue {
        fn declare(&self) -> Streams {
            Streams::new(["n"]).stream("odd", ["n"])
        }

        fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            let mut state = self.state();
            if state.next == state.end {
                return Ok(SpoutStatus::Idle);
            }
            let n = state.next;
            state.next += 1;
            let id = MessageId(n as u64);
            if state.refused == Some(n) {
                out.emit([n, n])?;
            }
            match state.alternates && n % 2 == 1 {
                true => out.emit_tracked_to("odd", [n], id)?,
                false => out.emit_tracked([n], id)?,
            }
            assert!(!std::mem::take(&mut state.has_panic), "the source panics after it has emitted");
            // Pauses, so that there are groups of several sizes.
            Ok(if n % 5 == 4 && !state.never_pauses {
                SpoutStatus::IdleFor(Duration::ZERO)
            } else {
                SpoutStatus::Emitted
            })
        }

        fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
            self.state().acked.push(id.0);
            Ok(())
        }
    }

    /// The tasks of a process: a new one has nothing but the log.
    fn process(queue: &Queue, storage: &MemoryStorage, retain: usize) -> SpoutFactory {
        let source = queue.clone();
        LoggedSpouts::factory_of_task(&Arc::new(LoggedSpouts {
            source: Arc::new(move || Ok(Box::new(source.clone()))),
            place: WalPlace::Memory(storage.clone()),
            component: "queue".into(),
            streams: queue.declare().iter().cloned().collect(),
            batch_limits: (100, 1 << 20),
            tuple_size_max: 1 << 20,
            retain,
            source_waits: false,
            defect: None,
        }))
    }

    /// The harness asks a spout for its streams, and a task takes them from the topology.
    struct Declared(Box<dyn Spout>, Streams);

    impl Spout for Declared {
        fn declare(&self) -> Streams {
            self.1.clone()
        }
        fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
            self.0.next_tuple(out)
        }
        fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
            self.0.open(context)
        }
        fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
            self.0.snapshot(positions)
        }
        fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
            self.0.restore(positions)
        }
        fn committed(&mut self, positions: &Positions) -> Result<(), TaskError> {
            self.0.committed(positions)
        }
        fn close(&mut self) {
            self.0.close();
        }
    }

    fn begun(factory: &SpoutFactory, restored: Option<&Positions>) -> Result<SpoutHarness, TaskError> {
        let spout = Declared(factory()?, Queue::default().declare());
        let options =
            HarnessOptions { delivery: Delivery::ExactlyOnce, seed: 7, ..HarnessOptions::default() };
        let mut harness = SpoutHarness::start(Box::new(spout), &options)?;
        restored.map_or(Ok(()), |positions| harness.restore(positions))?;
        Ok(harness)
    }

    fn start(factory: &SpoutFactory, restored: Option<&Positions>) -> SpoutHarness {
        begun(factory, restored).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What it emits until the queue is empty.
    fn rest(spout: &mut SpoutHarness) -> Vec<i64> {
        let is_over = (0..1000).any(|_| spout.next() == Some(SpoutStatus::Idle));
        assert!(is_over, "it does not come to an end: {:?}", spout.errors());
        numbers(spout)
    }

    fn numbers(spout: &mut SpoutHarness) -> Vec<i64> {
        let emitted = spout.take_emitted().into_iter();
        emitted.map(|emitted| emitted.values[0].as_i64().expect("a number")).collect()
    }

    fn snapshot(spout: &mut SpoutHarness) -> Positions {
        spout.snapshot().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn rows_come_again_from_the_log_and_then_from_the_source() {
        let (queue, storage) = (Queue::of(30), MemoryStorage::new());
        let mut first = start(&process(&queue, &storage, 1), None);
        let _ = first.run(2);
        let _ = first.next();
        let before = numbers(&mut first);
        let positions = snapshot(&mut first);
        assert_eq!(queue.state().acked.len(), before.len(), "what is in the log was acked");
        let _ = first.next();
        assert!(!numbers(&mut first).is_empty());
        drop(first);
        storage.crash();
        let mut second = start(&process(&queue, &storage, 1), Some(&positions));
        assert_eq!(rest(&mut second), (before.len() as i64..30).collect::<Vec<_>>());
        drop(second);
        storage.crash();
        let mut anew = start(&process(&queue, &storage, 1), None);
        assert_eq!(rest(&mut anew), (0..30).collect::<Vec<_>>(), "without a checkpoint, all of it");
    }

    #[test]
    fn streams_keep_their_rows() {
        let (queue, storage) = (Queue::of(40), MemoryStorage::new());
        queue.state().alternates = true;
        let mut first = start(&process(&queue, &storage, 1), None);
        assert_eq!(rest(&mut first).len(), 40);
        let mut again = start(&process(&queue, &storage, 1), None);
        let _ = again.run(1000);
        let emitted = again.take_emitted();
        let of = |stream: &str| -> Vec<i64> {
            let of_stream = emitted.iter().filter(|emitted| emitted.stream == stream);
            of_stream.filter_map(|emitted| emitted.values[0].as_i64()).collect()
        };
        assert_eq!(of("default"), (0..40).step_by(2).collect::<Vec<_>>());
        assert_eq!(of("odd"), (1..40).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_disk_stops_reading_and_loses_nothing() {
        let (queue, storage) = (Queue::of(30), MemoryStorage::new());
        let factory = process(&queue, &storage, 1);
        let mut spout = start(&factory, None);
        let _ = spout.next();
        let log = storage.log("queue-0");
        log.fill_after(0);
        assert_eq!(spout.next(), Some(SpoutStatus::IdleFor(Duration::from_millis(100))));
        assert_eq!(spout.next(), Some(SpoutStatus::IdleFor(Duration::from_millis(200))));
        assert!(
            spout.errors()[0].contains("nothing is lost") && spout.errors()[0].contains("free some space"),
            "{:?}",
            spout.errors()
        );
        assert_eq!(spout.errors()[0].matches("no storage space").count(), 1, "{:?}", spout.errors());
        let read = queue.state().next;
        assert_eq!((read, queue.state().acked.len()), (10, 5), "it has read one group, and acked none of it");
        assert_eq!(numbers(&mut spout), [0, 1, 2, 3, 4]);
        // All tasks go back, in the running process, before there is room again.
        let positions = snapshot(&mut spout);
        drop(spout);
        let mut next = start(&factory, Some(&positions));
        let _ = next.next();
        assert!(numbers(&mut next).is_empty());
        log.heal();
        assert_eq!(rest(&mut next), (5..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_source_that_panics_leaves_what_it_emitted_in_the_log() {
        let (queue, storage) = (Queue::of(12), MemoryStorage::new());
        let factory = process(&queue, &storage, 1);
        let mut spout = start(&factory, None);
        let _ = spout.next();
        let (before, positions) = (numbers(&mut spout), snapshot(&mut spout));
        queue.state().has_panic = true;
        let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| spout.next()));
        assert!(panicked.is_err());
        drop(spout);
        let mut next = start(&factory, Some(&positions));
        assert_eq!(rest(&mut next), (before.len() as i64..12).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_at_hand_at_the_end_is_kept_for_the_next_run() {
        let (queue, storage) = (Queue::of(20), MemoryStorage::new());
        let mut first = start(&process(&queue, &storage, 1), None);
        let _ = first.next();
        let (emitted, positions) = (numbers(&mut first), snapshot(&mut first));
        first.close();
        drop(first);
        // The queue itself has only what was not at hand: it pauses after five.
        assert_eq!((emitted.len(), queue.state().next), (5, 10));
        let mut next = start(&process(&queue, &storage, 1), Some(&positions));
        assert_eq!(rest(&mut next), (5..20).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_at_hand_behind_a_refused_row_is_kept_too() {
        let (queue, storage) = (Queue::of(20), MemoryStorage::new());
        queue.state().refused = Some(7);
        let mut first = start(&process(&queue, &storage, 1), None);
        let _ = first.next();
        let (emitted, positions) = (numbers(&mut first), snapshot(&mut first));
        first.close();
        assert_eq!(first.counter("rows_unlogged"), 1);
        drop(first);
        assert_eq!((emitted.len(), queue.state().next), (5, 10));
        let mut next = start(&process(&queue, &storage, 1), Some(&positions));
        assert_eq!(rest(&mut next), (5..20).filter(|n| *n != 7).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_at_hand_at_the_end_may_be_many_groups() {
        const ROWS: i64 = 9000;
        let (queue, storage) = (Queue::of(ROWS), MemoryStorage::new());
        queue.state().never_pauses = true;
        let mut first = start(&process(&queue, &storage, 1), None);
        let _ = first.next();
        let (emitted, positions) = (numbers(&mut first).len() as i64, snapshot(&mut first));
        assert!((1..ROWS / 2).contains(&emitted), "a group is bounded: {emitted}");
        first.close();
        assert_eq!(queue.state().next, ROWS);
        assert_eq!(queue.state().acked.len() as i64, ROWS);
        let mut next = start(&process(&queue, &storage, 1), Some(&positions));
        assert_eq!(rest(&mut next), (emitted..ROWS).collect::<Vec<_>>());
    }

    #[test]
    fn another_log_and_one_that_is_gone_are_refused() {
        let (queue, storage) = (Queue::of(20), MemoryStorage::new());
        let mut first = start(&process(&queue, &storage, 1), None);
        let _ = first.next();
        let positions = snapshot(&mut first);
        let refused = |positions: &Positions, storage: &MemoryStorage| {
            let error = begun(&process(&queue, storage, 1), Some(positions)).err().expect("it is refused");
            assert!(error.is_fatal(), "{error}");
            error.to_string()
        };
        let later = {
            let mut positions = positions.clone();
            let of_task = task_split::name(0, 1);
            let position: WalPosition = task_split::position(&positions, 0, 1).expect("it is there");
            positions.set(&of_task, &WalPosition { next: 99, ..position }).expect("it can be kept");
            positions
        };
        assert!(refused(&later, &storage).contains("ends before record 1, and record 99 was asked for"));
        let other = {
            let mut positions = positions.clone();
            let position = WalPosition { log: LogId(8), next: 1 };
            positions.set(&task_split::name(0, 1), &position).expect("it can be kept");
            positions
        };
        assert!(refused(&other, &storage).contains("goes on in write-ahead log 0000000000000008"));
        assert!(refused(&positions, &MemoryStorage::new()).contains("ends before record 0"));
    }

    /// Everything that may happen to a task and its disk, at random, and then the end: each row must come once after the
    /// last checkpoint, and none may be missing but those of a group that was in memory when the process was killed.
    #[test]
    fn whatever_happens_each_row_comes_once_after_the_checkpoint() {
        const ROWS: i64 = 200;
        let (mut crashes, mut faults, mut truncations) = (0, 0, 0);
        for seed in 0..300 {
            let (queue, storage) = (Queue::of(ROWS), MemoryStorage::seeded(seed));
            let mut random = StdRng::seed_from_u64(seed);
            let log = storage.log("queue-0");
            let mut factory = process(&queue, &storage, 2);
            let mut spout = start(&factory, None);
            // The rows of complete checkpoints, and those since; the last checkpoints with what they have.
            let mut seen = Vec::new();
            let mut complete: VecDeque<(Positions, usize)> = VecDeque::new();
            for _ in 0..60 {
                match random.random_range(0..10) {
                    0..5 => {
                        let _ = spout.next();
                        seen.extend(numbers(&mut spout));
                    }
                    5 => {
                        complete.push_back((snapshot(&mut spout), seen.len()));
                        if complete.len() > 2 {
                            complete.pop_front();
                        }
                        let last = complete.back().map(|(positions, _)| positions.clone());
                        truncations += u32::from(spout.committed(&last.expect("it was pushed")).is_ok());
                    }
                    6 => {
                        log.fail_operation(random.random_range(1..4), ErrorKind::StorageFull);
                        faults += 1;
                    }
                    kind @ 7..10 => {
                        drop(spout);
                        log.heal();
                        crashes += 1;
                        if kind > 7 {
                            factory = process(&queue, &storage, 2);
                        }
                        if kind == 9 {
                            storage.crash();
                        }
                        // Now and then it goes back to the checkpoint before.
                        if complete.len() == 2 && random.random_bool(0.2) {
                            complete.pop_back();
                        }
                        let last = complete.back();
                        seen.truncate(last.map_or(0, |(_, rows)| *rows));
                        spout = start(&factory, last.map(|(positions, _)| positions));
                    }
                    _ => unreachable!("the range ends there"),
                }
            }
            log.heal();
            seen.extend(rest(&mut spout));
            assert!(seen.is_sorted_by(|a, b| a < b), "seed {seed}: twice, or out of order: {seen:?}");
            let acked = queue.state().acked.clone();
            let lost: Vec<_> = acked.iter().filter(|row| !seen.contains(&(**row as i64))).collect();
            assert!(lost.is_empty(), "seed {seed}: {lost:?} were acked, and are lost");
            assert_eq!(seen.last(), Some(&(ROWS - 1)), "seed {seed}");
        }
        assert!(crashes > 1000 && faults > 1000 && truncations > 1000, "{crashes} {faults} {truncations}");
    }
}
