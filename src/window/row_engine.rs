//! Windows of so many tuples of a key, in the order in which they come; and windows of all of them.
//!
//! Tuples are numbered by key, and slices are ranges of these numbers, as in windows of time: window j ends in front of
//! tuple (j + 1) · `slide` and has the last `length` before that. Like this, the first windows are shorter, as in Storm.
//! A window with a time-out ends at the latest so long after its first tuple; the next one begins behind the numbers that it would have had.

use crate::api::{MapState, Outputs, TaskContext, TaskError, ValueState};
use crate::window::aggregate::Aggregate;
use crate::window::firing::{Added, Arrival, Extent, Fire, Firing};
use crate::window::spec::RowWindows;
use crate::window::time_source::{TimeSource, later};

pub(super) struct RowEngine<A: Aggregate> {
    windows: RowWindows,
    discard: bool,
    /// With a time-out.
    source: Option<TimeSource>,
    slices: MapState<i64, A::State>,
    /// How many tuples the key has had.
    rows: ValueState<i64>,
}

impl<A: Aggregate> RowEngine<A> {
    pub(super) fn register(
        windows: RowWindows,
        discard: bool,
        source: Option<TimeSource>,
        context: &TaskContext,
    ) -> Result<RowEngine<A>, TaskError> {
        let (slices, rows) = (context.map_state("slices")?, context.value_state("rows")?);
        Ok(RowEngine { windows, discard, source, slices, rows })
    }

    pub(super) fn source(&self) -> Option<&TimeSource> {
        self.source.as_ref()
    }

    pub(super) fn add(
        &mut self,
        aggregate: &A,
        Arrival { at, item }: Arrival<'_, A::Item>,
        out: &mut Outputs<'_>,
        fire: &mut Fire<'_, A::Output>,
    ) -> Result<Added, TaskError> {
        if let Some(source) = self.source.clone() {
            while source.overdue(at, out)?.is_some() {
                self.due(aggregate, out, fire)?;
            }
        }
        let rows = self.rows.update(out, |rows| {
            *rows += 1;
            *rows
        })?;
        let slice = (rows - 1) / self.windows.slice();
        self.slices.update(out, slice, || aggregate.empty(), |state| aggregate.add(state, item))??;
        if rows % self.windows.slide == 0 {
            self.tell(aggregate, rows, Firing::OnTime, out, fire)?;
            self.drop_before(rows, out)?;
            if let Some(source) = &self.source {
                source.set(out, None)?;
            }
        } else if let (1, Some(source), Some(timeout)) =
            (rows % self.windows.slide, &self.source, self.windows.timeout)
        {
            source.set(out, Some(later(at, timeout)))?;
        }
        Ok(Added::Counted)
    }

    /// The time-out of the window of the key has passed.
    pub(super) fn due(
        &mut self,
        aggregate: &A,
        out: &mut Outputs<'_>,
        fire: &mut Fire<'_, A::Output>,
    ) -> Result<(), TaskError> {
        self.finish_key(aggregate, out, fire)?;
        if let Some(source) = &self.source {
            source.set(out, None)?;
        }
        // The next window begins behind this one, as if it had been full.
        let slide = self.windows.slide;
        self.rows.update(out, |rows| {
            *rows = (*rows - 1).div_euclid(slide).saturating_add(1).saturating_mul(slide)
        })?;
        self.drop_before(i64::MAX, out)
    }

    /// Tells what the window that is open has so far.
    pub(super) fn early(
        &mut self,
        aggregate: &A,
        out: &mut Outputs<'_>,
        fire: &mut Fire<'_, A::Output>,
    ) -> Result<(), TaskError> {
        self.tell_open(aggregate, Firing::Early, out, fire)
    }

    /// Tells what the keys have that no window has told, when the input has ended.
    pub(super) fn finish(
        &mut self,
        aggregate: &A,
        out: &mut Outputs<'_>,
        fire: &mut Fire<'_, A::Output>,
    ) -> Result<(), TaskError> {
        let rows = self.rows;
        rows.for_each(out, |out, _, _| {
            self.finish_key(aggregate, out, fire)?;
            self.rows.clear(out)?;
            self.drop_before(i64::MAX, out)
        })
    }

    fn finish_key(
        &mut self,
        aggregate: &A,
        out: &mut Outputs<'_>,
        fire: &mut Fire<'_, A::Output>,
    ) -> Result<(), TaskError> {
        self.tell_open(aggregate, Firing::OnTime, out, fire)
    }

    /// Tells the window that has begun and is not complete.
    fn tell_open(
        &mut self,
        aggregate: &A,
        why: Firing,
        out: &mut Outputs<'_>,
        fire: &mut Fire<'_, A::Output>,
    ) -> Result<(), TaskError> {
        let rows = self.rows.get(out)?.copied().unwrap_or(0);
        if rows % self.windows.slide == 0 {
            return Ok(());
        }
        self.tell(aggregate, rows, why, out, fire)
    }

    /// Tells the window that has the tuple before this one as its last, or as the last so far.
    fn tell(
        &mut self,
        aggregate: &A,
        rows: i64,
        why: Firing,
        out: &mut Outputs<'_>,
        fire: &mut Fire<'_, A::Output>,
    ) -> Result<(), TaskError> {
        let first = self.windows.first_row(rows);
        let first_slice = first / self.windows.slice();
        let mut slices: Vec<i64> = self.slices.entries(out)?.map(|(slice, _)| *slice).collect();
        slices.retain(|slice| *slice >= first_slice);
        slices.sort_unstable();
        if slices.is_empty() {
            return Ok(());
        }
        let mut total = aggregate.empty();
        let mut failed = None;
        for slice in &slices {
            let Some(state) = self.slices.get(out, slice)? else { continue };
            if let Err(error) = aggregate.combine(&mut total, state) {
                failed = Some(error);
            }
        }
        let output = failed.map_or_else(|| Ok(aggregate.output(&total)), Err);
        let extent = match self.windows.is_of_all() {
            true => Extent::All,
            false => Extent::Rows { start: first, end: rows },
        };
        fire(out, extent, why, output);
        if self.discard {
            self.drop_before(i64::MAX, out)?;
        }
        Ok(())
    }

    /// Drops the slices that no window needs which ends behind this tuple.
    fn drop_before(&mut self, rows: i64, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let first = match rows {
            i64::MAX => i64::MAX,
            rows => self.windows.first_row(rows.saturating_add(self.windows.slide)) / self.windows.slice(),
        };
        let gone: Vec<i64> =
            self.slices.entries(out)?.map(|(slice, _)| *slice).filter(|slice| *slice < first).collect();
        for slice in gone {
            self.slices.remove(out, slice)?;
        }
        Ok(())
    }
}
