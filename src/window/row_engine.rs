//! Windows of so many tuples of a key, in the order in which they come; and windows of all of them.
//!
//! Tuples are numbered by key, and slices are ranges of these numbers, as in windows of time: window j ends in front of
//! tuple (j + 1) · `slide` and has the last `length` before that. Like this, the first windows are shorter, as in Storm.
//! A window with a time-out ends at the latest so long after its first tuple; the next one begins behind the numbers that
//! it would have had.

use crate::api::{Outputs, TaskContext, TaskError, ValueState};
use crate::window::aggregate::Aggregate;
use crate::window::firing::{Added, Arrival, Extent, Firing};
use crate::window::slice_store::SliceStore;
use crate::window::spec::RowWindows;
use crate::window::teller::Teller;
use crate::window::time_source::{TimeSource, later};

pub(super) struct RowEngine<A: Aggregate> {
    windows: RowWindows,
    discard: bool,
    /// With a time-out.
    source: Option<TimeSource>,
    slices: SliceStore<A::State>,
    /// The slices of the key, in order. Here, so that its memory is used again.
    kept: Vec<i64>,
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
        let slices = SliceStore::register(windows.length / windows.slice(), context)?;
        let rows = context.value_state("rows")?;
        Ok(RowEngine { windows, discard, source, slices, kept: Vec::new(), rows })
    }

    pub(super) fn source(&self) -> Option<&TimeSource> {
        self.source.as_ref()
    }

    pub(super) fn add(
        &mut self,
        Arrival { at, item }: Arrival<'_, A::Item>,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<Added, TaskError> {
        if let Some(source) = self.source.clone() {
            while source.overdue(at, out)?.is_some() {
                self.due(out, teller)?;
            }
        }
        let rows = self.rows.update(out, |rows| {
            *rows += 1;
            *rows
        })?;
        let slice = (rows - 1) / self.windows.slice();
        let (added, _) = self.slices.update(
            out,
            slice,
            || teller.aggregate.empty(),
            |state| teller.aggregate.add(state, item),
        )?;
        added?;
        if rows % self.windows.slide == 0 {
            self.tell(rows, Firing::OnTime, out, teller)?;
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
    pub(super) fn due(&mut self, out: &mut Outputs<'_>, teller: &mut Teller<A>) -> Result<(), TaskError> {
        self.tell_open(Firing::OnTime, out, teller)?;
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
    pub(super) fn early(&mut self, out: &mut Outputs<'_>, teller: &mut Teller<A>) -> Result<(), TaskError> {
        self.tell_open(Firing::Early, out, teller)
    }

    /// Tells what the keys have that no window has told, when the input has ended.
    pub(super) fn finish(&mut self, out: &mut Outputs<'_>, teller: &mut Teller<A>) -> Result<(), TaskError> {
        let rows = self.rows;
        rows.for_each(out, |out, _, _| {
            self.tell_open(Firing::OnTime, out, teller)?;
            self.rows.clear(out)?;
            self.drop_before(i64::MAX, out)
        })
    }

    /// Tells the window that has begun and is not complete.
    fn tell_open(
        &mut self,
        why: Firing,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<(), TaskError> {
        let rows = self.rows.get(out)?.copied().unwrap_or(0);
        if rows % self.windows.slide == 0 {
            return Ok(());
        }
        self.tell(rows, why, out, teller)
    }

    /// Tells the window that has the tuple before this one as its last, or as the last so far.
    fn tell(
        &mut self,
        rows: i64,
        why: Firing,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<(), TaskError> {
        let first = self.windows.first_row(rows);
        self.slices.list(out, &mut self.kept)?;
        let inside = self.kept.partition_point(|slice| *slice < first / self.windows.slice());
        let inside = &self.kept[inside..];
        if inside.is_empty() {
            return Ok(());
        }
        let total = self.slices.sum(&teller.aggregate, inside, out)?;
        let output = total.map(|total| teller.aggregate.output(&total));
        let extent = match self.windows.is_of_all() {
            true => Extent::All,
            false => Extent::Rows { start: first, end: rows },
        };
        teller.tell(out, extent, why, output);
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
        self.slices.list(out, &mut self.kept)?;
        for slice in self.kept.iter().take_while(|slice| **slice < first) {
            self.slices.remove(out, *slice)?;
        }
        Ok(())
    }
}
