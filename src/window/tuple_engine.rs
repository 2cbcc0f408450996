//! Windows that keep their tuples whole. For each key there are the tuples, and a timer for the next window.
//!
//! 1. A tuple is *taken* when its turn has come: in event time, when the watermark is behind its time, in the order of
//!    times; by the clock, at once.
//! 2. A window that ends with a tuple is told when that tuple is taken. A window that ends at a moment is told when time
//!    has come there.
//! 3. Each call of the timer tells one window at most. So if the call fails, it is made again for that window alone.
//! 4. A tuple is dropped when a window was told, or would have been, that it is not in any more.

use serde::{Deserialize, Serialize};

use crate::api::{Input, MapState, Outputs, TaskContext, TaskError, ValueState};
use crate::tuple::Timestamp;
use crate::window::firing::Added;
use crate::window::grid::WindowError;
use crate::window::stored_tuple::{Sources, StoredTuple};
use crate::window::time_source::{TimeSource, WindowTime};
use crate::window::tuple_window::{Measure, TupleWindow};

/// The end of time.
const NEVER: i64 = i64::MAX;

/// Takes a window.
pub(super) type Call<'c> = dyn FnMut(&TupleWindow, &mut Outputs<'_>) -> Result<(), TaskError> + 'c;

pub(super) struct TupleEngine {
    length: Measure,
    slide: Measure,
    source: TimeSource,
    /// By their times, and the order in which they came.
    tuples: MapState<(i64, i64), StoredTuple>,
    progress: ValueState<Progress>,
    sources: Sources,
}

/// How far a key is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// How many tuples have come.
    came: i64,
    /// How many were taken.
    taken: i64,
    /// The last one that was taken.
    last: Option<(i64, i64)>,
    /// When the last window ended that ends at a moment.
    ended: Option<i64>,
}

/// A tuple of the key: when it happened, as the how-manyth it came, and whether a window has had it.
type Known = ((i64, i64), bool);

impl TupleEngine {
    pub(super) fn register(
        (length, slide): (Measure, Measure),
        time: WindowTime,
        context: &TaskContext,
    ) -> Result<TupleEngine, TaskError> {
        Ok(TupleEngine {
            length,
            slide,
            source: TimeSource::register("window-due", time, context)?,
            tuples: context.map_state("window-tuples")?,
            progress: context.value_state("window-progress")?,
            sources: Sources::of(context),
        })
    }

    /// Adds a tuple to the windows of the key of the call.
    pub(super) fn add(
        &mut self,
        at: Timestamp,
        input: &Input<'_>,
        out: &mut Outputs<'_>,
        call: &mut Call<'_>,
    ) -> Result<Added, TaskError> {
        while let Some(due) = self.source.overdue(at, out)? {
            self.due(due, out, call)?;
        }
        let is_event = matches!(self.source, TimeSource::Event(_));
        if is_event && out.watermark().is_some_and(|watermark| at < watermark) {
            return Ok(Added::Late);
        }
        let mut progress = self.progress.get(out)?.cloned().unwrap_or_default();
        let end = match self.slide {
            Measure::Rows(_) => at.0.saturating_add(1),
            Measure::Time(slide) => end_behind(at.0.max(progress.ended.unwrap_or(i64::MIN)), as_nanos(slide)),
        };
        if end == NEVER {
            return Err(TaskError::new(WindowError::OutOfRange(at).to_string()));
        }
        if let (Measure::Time(_), Measure::Time(length)) = (self.slide, self.length)
            && at.0 < end.saturating_sub(as_nanos(length))
        {
            return Ok(Added::InGap);
        }
        self.sources.remember(input);
        progress.came += 1;
        self.tuples.insert(out, (at.0, progress.came), StoredTuple::of(input))?;
        self.progress.set(out, progress)?;
        match self.slide {
            // By the clock, its turn is now.
            Measure::Rows(_) if !is_event => self.take(NEVER, out, call)?,
            Measure::Rows(_) | Measure::Time(_) => self.source.set_earlier(out, Timestamp(end))?,
        }
        Ok(Added::Counted)
    }

    /// The timer of the key is called for this moment.
    pub(super) fn due(
        &mut self,
        at: Timestamp,
        out: &mut Outputs<'_>,
        call: &mut Call<'_>,
    ) -> Result<(), TaskError> {
        match self.slide {
            // What happened before the watermark has its turn, too.
            Measure::Rows(_) => {
                let watermark = out.watermark().map_or(i64::MIN, |watermark| watermark.0);
                self.take(at.0.max(watermark), out, call)?;
            }
            Measure::Time(_) => self.end_at(at.0, out, call)?,
        }
        self.set_timer(out)
    }

    pub(super) fn source(&self) -> &TimeSource {
        &self.source
    }

    /// A timer by the clock is called, for the moment that it was set to.
    pub(super) fn due_by_clock(
        &mut self,
        out: &mut Outputs<'_>,
        call: &mut Call<'_>,
    ) -> Result<(), TaskError> {
        self.source.called(out)?.map_or(Ok(()), |due| self.due(due, out, call))
    }

    /// The input has ended: tells the windows that have begun.
    pub(super) fn finish(&mut self, out: &mut Outputs<'_>, call: &mut Call<'_>) -> Result<(), TaskError> {
        let progress = self.progress;
        progress.for_each(out, |out, _, progress| match self.slide {
            Measure::Rows(rows) => match (progress.last, progress.taken % as_count(rows)) {
                (_, 0) | (None, _) => Ok(()),
                (Some(last), _) => {
                    let known = self.known(out)?;
                    let taken = known.partition_point(|(key, _)| *key <= last);
                    self.tell_behind(last, &known[..taken], out, call)
                }
            },
            Measure::Time(_) => loop {
                self.set_timer(out)?;
                match self.source.due(out)? {
                    Some(due) => self.end_at(due.0, out, call)?,
                    None => return Ok(()),
                }
            },
        })
    }

    /// The tuples of the key, in the order of their times.
    fn known(&self, out: &mut Outputs<'_>) -> Result<Vec<Known>, TaskError> {
        let mut known: Vec<Known> =
            self.tuples.entries(out)?.map(|(key, tuple)| (*key, tuple.was_told)).collect();
        known.sort_unstable();
        Ok(known)
    }

    /// Takes the tuples that happened before a moment, up to the next one with which a window ends.
    fn take(&mut self, before: i64, out: &mut Outputs<'_>, call: &mut Call<'_>) -> Result<(), TaskError> {
        let Measure::Rows(slide) = self.slide else { return Ok(()) };
        let (known, progress) = (self.known(out)?, self.progress.get(out)?.cloned().unwrap_or_default());
        let first = known.partition_point(|(key, _)| progress.last.is_some_and(|last| *key <= last));
        let mut progress = progress;
        for (nth, (key, _)) in known.iter().enumerate().skip(first).take_while(|(_, (key, _))| key.0 < before)
        {
            progress.taken += 1;
            progress.last = Some(*key);
            if progress.taken % as_count(slide) == 0 {
                self.progress.set(out, progress)?;
                return self.tell_behind(*key, &known[..=nth], out, call);
            }
        }
        Ok(self.progress.set(out, progress)?)
    }

    /// Tells the window that ends with the last of these tuples.
    fn tell_behind(
        &mut self,
        last: (i64, i64),
        taken: &[Known],
        out: &mut Outputs<'_>,
        call: &mut Call<'_>,
    ) -> Result<(), TaskError> {
        let first = match self.length {
            Measure::Rows(rows) => taken.len().saturating_sub(usize::try_from(rows).unwrap_or(usize::MAX)),
            Measure::Time(span) => {
                let begin = last.0.saturating_sub(as_nanos(span));
                taken.partition_point(|((at, _), _)| *at <= begin)
            }
        };
        let (expired, inside) = taken.split_at(first);
        self.tell(Timestamp(last.0), (expired, inside), out, call)?;
        self.drop_all(expired, out)
    }

    /// Tells the window that ends at a moment, if it has tuples.
    fn end_at(&mut self, end: i64, out: &mut Outputs<'_>, call: &mut Call<'_>) -> Result<(), TaskError> {
        let Measure::Time(slide) = self.slide else { return Ok(()) };
        let known = self.known(out)?;
        let before = &known[..known.partition_point(|((at, _), _)| *at < end)];
        let first = match self.length {
            Measure::Rows(rows) => before.len().saturating_sub(usize::try_from(rows).unwrap_or(usize::MAX)),
            Measure::Time(span) => {
                let begin = end.saturating_sub(as_nanos(span));
                before.partition_point(|((at, _), _)| *at < begin)
            }
        };
        let (gone, inside) = before.split_at(first);
        // Of windows without tuples nothing is told, and so not what leaves them.
        let last_begin = match self.length {
            Measure::Rows(_) => i64::MIN,
            Measure::Time(span) => end.saturating_sub(as_nanos(slide)).saturating_sub(as_nanos(span)),
        };
        let expired = &gone[gone.partition_point(|((at, _), _)| *at < last_begin)..];
        if !inside.is_empty() {
            self.tell(Timestamp(end), (expired, inside), out, call)?;
        }
        self.drop_all(gone, out)?;
        if gone.len() == known.len() {
            // Nothing is left of the key. What comes later is behind this end.
            return Ok(self.progress.clear(out)?);
        }
        Ok(self.progress.update(out, |progress| progress.ended = Some(end))?)
    }

    fn tell(
        &mut self,
        end: Timestamp,
        (expired, inside): (&[Known], &[Known]),
        out: &mut Outputs<'_>,
        call: &mut Call<'_>,
    ) -> Result<(), TaskError> {
        let mut window = TupleWindow { end, expired: Vec::new(), all: Vec::with_capacity(inside.len()) };
        for (key, _) in expired.iter().filter(|(_, was_told)| *was_told) {
            if let Some(tuple) = self.tuples.get(out, key)? {
                window.expired.push(self.sources.row(tuple)?);
            }
        }
        for (key, was_told) in inside {
            if let Some(tuple) = self.tuples.get(out, key)? {
                window.all.push((self.sources.row(tuple)?, !was_told));
            }
        }
        for (key, _) in inside.iter().filter(|(_, was_told)| !was_told) {
            if let Some(mut tuple) = self.tuples.get(out, key)?.cloned() {
                tuple.was_told = true;
                self.tuples.insert(out, *key, tuple)?;
            }
        }
        let key = out.key().to_vec();
        out.unanchored(|out| call(&window, out))?;
        // The bolt may have named others.
        out.set_key(key).map_err(|error| TaskError::new(error.to_string()))
    }

    fn drop_all(&self, gone: &[Known], out: &mut Outputs<'_>) -> Result<(), TaskError> {
        gone.iter().try_for_each(|(key, _)| self.tuples.remove(out, *key).map(drop))?;
        Ok(())
    }

    /// Sets the timer of the key to the next moment at which something is to be done.
    fn set_timer(&self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let known = self.known(out)?;
        let progress = self.progress.get(out)?.cloned().unwrap_or_default();
        let next = match (self.slide, self.length) {
            (Measure::Rows(_), _) => {
                let is_taken = |key: &(i64, i64)| progress.last.is_some_and(|last| *key <= last);
                known.iter().find(|(key, _)| !is_taken(key)).map(|((at, _), _)| at.saturating_add(1))
            }
            (Measure::Time(slide), Measure::Time(length)) => {
                let (ended, slide) = (progress.ended.unwrap_or(i64::MIN), as_nanos(slide));
                let ends = known.iter().map(|((at, _), _)| (*at, end_behind((*at).max(ended), slide)));
                let inside = ends.into_iter().find(|(at, end)| *at >= end.saturating_sub(as_nanos(length)));
                // What is in no further window is dropped when the next one would end.
                let dropped = known.first().map(|((at, _), _)| end_behind((*at).max(ended), slide));
                inside.map(|(_, end)| end).or(dropped)
            }
            // The last tuples are kept for the next window, which is told when there is a new one.
            (Measure::Time(slide), Measure::Rows(_)) => {
                let ended = progress.ended.unwrap_or(i64::MIN);
                let untold = known.iter().find(|(_, was_told)| !was_told);
                untold.map(|((at, _), _)| end_behind((*at).max(ended), as_nanos(slide)))
            }
        };
        self.source.set(out, next.map(Timestamp))
    }
}

/// The first multiple of a slide behind a moment.
fn end_behind(at: i64, slide: i64) -> i64 {
    at.div_euclid(slide).checked_add(1).and_then(|nth| nth.checked_mul(slide)).unwrap_or(NEVER)
}

fn as_nanos(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(NEVER)
}

fn as_count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(NEVER)
}
