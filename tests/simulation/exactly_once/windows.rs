//! What is done by event time: rows are collected by key and window, and a timer emits a window when the watermark has
//! reached its end.
//!
//! 1. A watermark never goes back: not in a task, and not behind what the last committed checkpoint has.
//! 2. A timer is called when the watermark has reached its time, and once: a second call would find no rows.
//! 3. Where nothing delays rows, none comes behind the watermark, and what a timer emits is not late either.
//! 4. State with a time to live in event time is not seen after it. Where there is one task, which begins each time with
//!    the watermark that it had, it is seen until then.

use std::sync::Arc;
use std::time::Duration;

use squall::Timestamp;
use squall::ids::CheckpointId;
use squall::prelude::*;

use crate::exactly_once::books::{Books, Kind};
use crate::exactly_once::components::{PUBLISHED, patient, row_of};
use crate::exactly_once::plan::{SECOND, Setup, Shape};
use crate::kit::lock;

/// How long an entry of [`Windows::recent`] lives.
const RECENT: i64 = 15 * SECOND;

/// No watermark was known when [`Windows::written`] was set, or time was over.
const UNKNOWN: i64 = i64::MIN;

/// Collects rows.
struct Windows {
    books: Books,
    is_timely: bool,
    /// Whether the watermark of a key is always that of its task.
    is_alone: bool,
    task: usize,
    tasks: usize,
    floor: Option<Timestamp>,
    last: Option<Timestamp>,
    /// The ids of rows by the end of their window.
    rows: MapState<i64, Vec<i64>>,
    end: EventTimer,
    /// How many rows were emitted, and how often the timer was called.
    emitted: ValueState<i64>,
    calls: ValueState<i64>,
    /// Expires in event time; and the watermark at which it was set.
    recent: ValueState<bool>,
    written: ValueState<i64>,
}

impl Windows {
    /// Looks how far event time is.
    fn look(&mut self, out: &Outputs<'_>) -> Result<Option<Timestamp>, TaskError> {
        let watermark = out.watermark();
        if watermark < self.floor {
            let what =
                format!("a checkpoint had the watermark {:?}, and now it is {watermark:?}", self.floor);
            return Err(TaskError::fatal(what));
        }
        if watermark < self.last {
            return Err(TaskError::fatal(format!("a watermark goes back from {:?}", self.last)));
        }
        self.last = watermark;
        Ok(watermark)
    }

    fn look_at_recent(&self, watermark: Option<Timestamp>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let now = watermark.map(|watermark| watermark.0).filter(|now| *now != i64::MAX);
        let written = self.written.get(out)?.copied().filter(|written| *written != UNKNOWN);
        let is_seen = self.recent.get(out)?.is_some();
        if let (Some(now), Some(written)) = (now, written) {
            let is_over = now - written >= RECENT;
            if is_over {
                self.books.chaos.note("expired in event time");
            }
            if is_seen && is_over {
                return Err(TaskError::fatal("what has expired in event time is seen"));
            }
            if !is_seen && !is_over && self.is_alone {
                return Err(TaskError::fatal("it has expired in event time before its time"));
            }
        }
        self.recent.set(out, true)?;
        self.written.set(out, now.unwrap_or(UNKNOWN))?;
        Ok(())
    }
}

impl Bolt for Windows {
    fn declare(&self) -> Streams {
        Streams::new(["kind", "key", "nth", "id", "until"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        (self.task, self.tasks) = (context.task_index(), context.parallelism());
        self.is_alone &= self.tasks == 1;
        self.floor = lock(&self.books.watermarks).floor();
        if self.floor.is_some() {
            self.books.chaos.note("watermark restored");
        }
        self.rows = context.map_state("rows")?;
        self.end = context.event_timer("end")?;
        self.emitted = context.value_state("emitted")?;
        self.calls = context.value_state("calls")?;
        let ttl = Ttl::after_write(Duration::from_nanos(RECENT as u64)).in_event_time();
        self.recent = context.expiring(ttl).value_state("recent")?;
        self.written = context.value_state("written")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let watermark = self.look(out)?;
        let row = row_of(&input)?;
        if watermark.is_some_and(|watermark| row.at < watermark.0) {
            if self.is_timely {
                return Err(TaskError::fatal(format!("{row:?} is late: {watermark:?}")));
            }
            self.books.chaos.note("late row");
        }
        self.look_at_recent(watermark, out)?;
        let until = row.until();
        let mut ids = self.rows.get(out, &until)?.cloned().unwrap_or_default();
        ids.push(row.id);
        self.rows.insert(out, until, ids)?;
        if self.end.time(out)?.is_none_or(|first| until < first.0) {
            self.end.set(out, Timestamp(until))?;
        }
        self.books.chaos.strike("execute of a bolt with state")
    }

    fn event_timer(
        &mut self,
        end: EventTimer,
        until: Timestamp,
        out: &mut Outputs<'_>,
    ) -> Result<(), TaskError> {
        let watermark = self.look(out)?;
        if watermark < Some(until) {
            return Err(TaskError::fatal(format!("a timer for {until:?} is called at {watermark:?}")));
        }
        if watermark < Some(Timestamp(i64::MAX)) {
            self.books.chaos.note("event timer before the end of time");
        }
        let ids = self.rows.get(out, &until.0)?.cloned().unwrap_or_default();
        if ids.is_empty() {
            return Err(TaskError::fatal(format!("the timer for {until:?} was called before")));
        }
        self.rows.remove(out, until.0)?;
        let next = self.rows.entries(out)?.map(|(until, _)| *until).min();
        if let Some(next) = next {
            end.set(out, Timestamp(next))?;
        }
        let key = out.key()[0].as_i64().unwrap_or_default();
        let count = |count: &mut i64| {
            *count += 1;
            *count
        };
        let call = self.calls.update(out, count)?;
        out.emit((Kind::Due as i64, key, call, until.0, until))?;
        for id in ids {
            let nth = self.emitted.update(out, count)?;
            out.emit((Kind::Windowed as i64, key, nth, id, until))?;
        }
        self.books.chaos.strike("event timer")
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let watermark = self.look(out)?;
        lock(&self.books.watermarks).note(checkpoint, self.task, self.tasks, watermark);
        Ok(())
    }

    fn committed(&mut self, checkpoint: CheckpointId, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        lock(&self.books.watermarks).commits(checkpoint);
        Ok(())
    }
}

/// Passes on what windows have, and looks whether it is late.
struct InOrder {
    is_timely: bool,
}

impl Bolt for InOrder {
    fn declare(&self) -> Streams {
        Streams::new(PUBLISHED)
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (until, watermark) = (input.timestamp("until")?, out.watermark());
        if self.is_timely && watermark.is_some_and(|watermark| watermark >= until) {
            return Err(TaskError::fatal(format!("what ends at {until:?} comes at {watermark:?}")));
        }
        Ok(out.emit([input.i64("kind")?, input.i64("key")?, input.i64("nth")?, input.i64("id")?])?)
    }
}

/// Adds both behind the leaves.
pub fn add(builder: &mut TopologyBuilder, setup: &Setup, books: &Books, shape: &Arc<Shape>) {
    let (books, layout, is_timely) = (books.clone(), setup.layout.credit, setup.is_timely());
    let is_alone = !setup.rescales;
    let new = move || Windows {
        books: books.clone(),
        is_timely,
        is_alone,
        task: 0,
        tasks: 1,
        floor: None,
        last: None,
        rows: MapState::default(),
        end: EventTimer::default(),
        emitted: ValueState::default(),
        calls: ValueState::default(),
        recent: ValueState::default(),
        written: ValueState::default(),
    };
    let mut windows = builder.bolt("windows", new).parallelism(layout.0).tasks(layout.1);
    for leaf in shape.leaves() {
        windows = windows.fields(&leaf.id(), ["key"]);
    }
    windows.on_error(patient());
    let in_order = builder.bolt("in-order", move || InOrder { is_timely }).parallelism(2);
    in_order.shuffle("windows").on_error(patient());
}
