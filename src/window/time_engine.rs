//! Windows of time that are cut from slices: tumbling, sliding, hopping.
//!
//! For each key there is a state for each slice that has tuples, and a timer, which is set to the next moment at which
//! something is to be done: a window with tuples ends, or a slice is not needed any more.
//!
//! 1. When the timer is called for a moment, the window that ends at this moment is told. All that end earlier have been
//!    told: the timer is always set to the first of them.
//! 2. A slice is kept until its last window is over, and `lateness` has passed.
//! 3. Where windows overlap and the aggregate can be inverted, `running` is the sum of all slices that were in the last
//!    window and are still kept. The next window adds what enters and has subtracted what left.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::api::{Outputs, TaskContext, TaskError, ValueState};
use crate::tuple::Timestamp;
use crate::window::aggregate::Aggregate;
use crate::window::firing::{Added, Arrival, Extent, Firing};
use crate::window::grid::TimeWindows;
use crate::window::slice_store::SliceStore;
use crate::window::teller::Teller;
use crate::window::time_source::{TimeSource, is_over, later};

pub(super) struct TimeEngine<A: Aggregate> {
    windows: TimeWindows,
    lateness: Duration,
    discard: bool,
    source: TimeSource,
    slices: SliceStore<A::State>,
    running: ValueState<Running<A::State>>,
    /// Whether there is a running total: if there is something to gain, and what leaves can be subtracted.
    has_running: bool,
    /// The slices of the key, in order. Here, so that its memory is used again.
    kept: Vec<i64>,
}

/// The sum of all slices before one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Running<S> {
    until: i64,
    total: S,
    /// How many they are.
    slices: i64,
}

impl<A: Aggregate> TimeEngine<A> {
    pub(super) fn register(
        aggregate: &A,
        windows: TimeWindows,
        (lateness, discard): (Duration, bool),
        source: TimeSource,
        context: &TaskContext,
    ) -> Result<TimeEngine<A>, TaskError> {
        let has_gain = !windows.is_tumbling() && windows.slices() > 2;
        let has_running = has_gain && lateness.is_zero() && !discard && aggregate.is_invertible();
        let slices =
            SliceStore::register(windows.slices().saturating_add(windows.slices_in(lateness)), context)?;
        Ok(TimeEngine {
            windows,
            lateness,
            discard,
            source,
            slices,
            running: context.value_state("running")?,
            has_running,
            kept: Vec::new(),
        })
    }

    pub(super) fn source(&self) -> &TimeSource {
        &self.source
    }

    pub(super) fn add(
        &mut self,
        Arrival { at, item }: Arrival<'_, A::Item>,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<Added, TaskError> {
        while let Some(due) = self.source.overdue(at, out)? {
            self.due(due, out, teller)?;
        }
        let slice = self.windows.slice_of(at).map_err(|error| TaskError::new(error.to_string()))?;
        let windows = self.windows.windows_of(slice);
        if windows.is_empty() {
            return Ok(Added::InGap);
        }
        let now = self.source.now_for(at, out);
        let gone = later(self.windows.end_of(*windows.end()), self.lateness);
        if is_over(gone, now) {
            return Ok(Added::Late);
        }
        let (added, is_new) = self.slices.update(
            out,
            slice,
            || teller.aggregate.empty(),
            |state| teller.aggregate.add(state, item),
        )?;
        added?;
        // It may be of a slice that the last window had.
        let is_behind = now.is_some_and(|now| at < now);
        if self.has_running {
            let running = self.running.get(out)?.filter(|running| slice < running.until);
            if let Some(mut running) = running.cloned() {
                teller.aggregate.add(&mut running.total, item)?;
                running.slices += i64::from(is_new);
                self.running.set(out, running)?;
            }
        }
        // The timer is set for a slice that is there.
        if !is_new && !is_behind {
            return Ok(Added::Counted);
        }
        let mut next = gone;
        for window in windows {
            let end = self.windows.end_of(window);
            if !is_over(end, now) {
                next = end;
                break;
            }
            if !is_over(later(end, self.lateness), now) {
                self.look(out)?;
                self.tell(window, Firing::Late, out, teller)?;
            }
        }
        self.source.set_earlier(out, next)?;
        Ok(Added::Counted)
    }

    /// The timer of the key is called for this moment.
    pub(super) fn due(
        &mut self,
        at: Timestamp,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<(), TaskError> {
        let ended = self.windows.last_ended(at);
        // Where a time zone skips a day, two windows end at once.
        let is_ending = |window: &i64| self.windows.end_of(*window) == at;
        let ending = ended.filter(is_ending).map_or(0..0, |last| {
            let first = (0..).map(|back| last - back).take_while(is_ending).last();
            first.unwrap_or(last)..last + 1
        });
        if self.has_running && !ending.is_empty() {
            let mut next = None;
            for window in ending {
                next = self.tell_running(window, out, teller)?;
            }
            if let Some(next) = next {
                return self.source.set(out, Some(next));
            }
            self.look(out)?;
        } else {
            self.look(out)?;
            for window in ending {
                self.tell(window, Firing::OnTime, out, teller)?;
            }
        }
        let mut next: Option<Timestamp> = None;
        for slice in self.kept.iter().copied() {
            let windows = self.windows.windows_of(slice);
            let gone = later(self.windows.end_of(*windows.end()), self.lateness);
            if gone <= at {
                self.slices.remove(out, slice)?;
                continue;
            }
            let window = ended.map_or(*windows.start(), |ended| (*windows.start()).max(ended + 1));
            let first = if windows.contains(&window) { self.windows.end_of(window) } else { gone };
            next = Some(next.map_or(first, |next| next.min(first)));
            // What comes in later slices ends later.
            if self.lateness.is_zero() {
                break;
            }
        }
        self.source.set(out, next)
    }

    /// Tells what open windows have so far.
    pub(super) fn early(&mut self, out: &mut Outputs<'_>, teller: &mut Teller<A>) -> Result<(), TaskError> {
        self.look(out)?;
        let now = self.source.now(out);
        let windows = self.kept.iter().flat_map(|slice| self.windows.windows_of(*slice));
        let mut open: Vec<i64> =
            windows.filter(|window| !is_over(self.windows.end_of(*window), now)).collect();
        open.sort_unstable();
        open.dedup();
        open.into_iter().try_for_each(|window| self.tell(window, Firing::Early, out, teller))
    }

    /// Notes which slices the key has.
    fn look(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.slices.list(out, &mut self.kept)
    }

    /// Tells what a window has, if there is anything.
    fn tell(
        &mut self,
        window: i64,
        why: Firing,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<(), TaskError> {
        let Some(span) = self.windows.span(window) else { return Ok(()) };
        let (first, behind) = self.windows.slices_of(window);
        let inside = self.kept.iter().copied().filter(|slice| (first..behind).contains(slice));
        let inside: SmallVec<[i64; 8]> = inside.collect();
        let output = match inside.as_slice() {
            [] => return Ok(()),
            [slice] => self.slices.get(out, *slice)?.map(|state| Ok(teller.aggregate.output(state))),
            slices => Some(
                self.slices.sum(&teller.aggregate, slices, out)?.map(|total| teller.aggregate.output(&total)),
            ),
        };
        if let Some(output) = output {
            teller.tell(out, Extent::Time(span), why, output);
        }
        if self.discard {
            for slice in inside {
                self.slices.remove(out, slice)?;
            }
            self.kept.retain(|slice| !(first..behind).contains(slice));
        }
        Ok(())
    }

    /// Slices of a range that may be there: all of them, if they are few.
    fn present(&mut self, range: Range<i64>, out: &mut Outputs<'_>) -> Result<SmallVec<[i64; 8]>, TaskError> {
        if range.end - range.start <= 8 {
            return Ok(range.collect());
        }
        self.look(out)?;
        Ok(self.kept.iter().copied().filter(|slice| range.contains(slice)).collect())
    }

    /// Tells what a window has, from the total of the one before, and removes the slices that no other needs. Returns when
    /// the next window ends, if it has tuples already.
    fn tell_running(
        &mut self,
        window: i64,
        out: &mut Outputs<'_>,
        teller: &mut Teller<A>,
    ) -> Result<Option<Timestamp>, TaskError> {
        let Some(span) = self.windows.span(window) else { return Ok(None) };
        let (first, behind) = self.windows.slices_of(window);
        let (leave_before, _) = self.windows.slices_of(window + 1);
        let before = self.running.get(out)?.cloned();
        let mut running =
            before.unwrap_or_else(|| Running { until: first, total: teller.aggregate.empty(), slices: 0 });
        for slice in self.present(running.until.max(first)..behind, out)? {
            let Some(state) = self.slices.get(out, slice)? else { continue };
            if let Err(error) = teller.aggregate.combine(&mut running.total, state) {
                self.running.clear(out)?;
                teller.tell(out, Extent::Time(span), Firing::OnTime, Err(error));
                return Ok(None);
            }
            running.slices += 1;
        }
        teller.tell(out, Extent::Time(span), Firing::OnTime, Ok(teller.aggregate.output(&running.total)));
        let mut is_kept = true;
        for slice in self.present(first..leave_before.min(behind), out)? {
            let Some(state) = self.slices.get(out, slice)? else { continue };
            // Without a total, the next window is the sum of all its slices.
            is_kept &= teller.aggregate.invert(&mut running.total, state).is_ok();
            self.slices.remove(out, slice)?;
            running.slices -= 1;
        }
        if !is_kept || running.slices == 0 {
            self.running.clear(out)?;
            return Ok(None);
        }
        running.until = behind;
        self.running.set(out, running)?;
        Ok(Some(self.windows.end_of(window + 1)))
    }
}
