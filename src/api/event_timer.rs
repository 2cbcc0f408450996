//! Timers by key in event time: a call of the bolt when its watermark has come so far, for one key.

use crate::api::outputs::Outputs;
use crate::state::{StateError, event_clock, timestamp_of};
use crate::tuple::Timestamp;

/// A timer in event time for each key. Registered by
/// [`TaskContext::event_timer`](crate::api::TaskContext::event_timer); when the watermark of the task has reached its
/// time, [`Bolt::event_timer`](crate::api::Bolt::event_timer) is called with that key. It is state like any other: what a
/// call that fails has set or cleared is taken back, and after a crash it is set as it was.
///
/// # Examples
/// How often each page was visited in each minute of event time:
/// ```
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
///
/// const MINUTE: i64 = 60_000_000_000;
///
/// #[derive(Default)]
/// struct PerMinute {
///     /// By the end of the minute.
///     visits: MapState<i64, i64>,
///     end: EventTimer,
/// }
///
/// impl Bolt for PerMinute {
///     fn declare(&self) -> Streams {
///         Streams::new(["page", "until", "visits"])
///     }
///
///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
///         self.visits = context.map_state("visits")?;
///         self.end = context.event_timer("end")?;
///         Ok(())
///     }
///
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let until = (input.timestamp("at")?.0.div_euclid(MINUTE) + 1) * MINUTE;
///         let visits = self.visits.get(out, &until)?.copied().unwrap_or(0);
///         self.visits.insert(out, until, visits + 1)?;
///         if self.end.time(out)?.is_none_or(|first| until < first.0) {
///             self.end.set(out, Timestamp(until))?;
///         }
///         Ok(())
///     }
///
///     fn event_timer(&mut self, end: EventTimer, at: Timestamp, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let visits = self.visits.get(out, &at.0)?.copied().unwrap_or(0);
///         self.visits.remove(out, at.0)?;
///         let next = self.visits.entries(out)?.map(|(until, _)| *until).min();
///         if let Some(next) = next {
///             end.set(out, Timestamp(next))?;
///         }
///         let page = out.key()[0].clone();
///         Ok(out.emit((page, at, visits))?)
///     }
/// }
///
/// let options = HarnessOptions { key: Fields::from(["page"]), ..HarnessOptions::default() };
/// let mut visits = BoltHarness::start(Box::new(PerMinute::default()), &options)?;
/// let visit = |page: &str, at: i64| TestTuple::new((page, Timestamp(at * MINUTE / 60))).fields(["page", "at"]);
/// visits.execute_all([visit("/", 10), visit("/", 70), visit("/", 50), visit("/about", 61)]);
/// visits.advance_watermark(Timestamp(MINUTE));
/// assert_eq!(visits.take_rows("default"), [[Value::from("/"), Timestamp(MINUTE).into(), 2.into()]]);
/// visits.advance_watermark(Timestamp(2 * MINUTE));
/// assert_eq!(visits.take_rows("default").len(), 2);
/// # Ok::<(), TaskError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimer {
    state: u32,
}

/// A timer of nothing, to begin with: `prepare` replaces it.
impl Default for EventTimer {
    fn default() -> EventTimer {
        EventTimer { state: u32::MAX }
    }
}

impl EventTimer {
    pub(crate) fn new(state: u32) -> EventTimer {
        EventTimer { state }
    }

    /// Sets the timer of the key to this time. It replaces the time that was set before. If the watermark is there
    /// already, the timer is called soon after this call has succeeded: with the next watermark at the latest.
    ///
    /// At the end of the input all timers are called, those that such calls set included. So a timer that sets itself
    /// again each time must stop when [`Outputs::watermark`] is the end of time, or the run does not end.
    ///
    /// # Errors
    /// When the call has no key, or the timer was not registered.
    pub fn set(&self, out: &mut Outputs<'_>, at: Timestamp) -> Result<(), StateError> {
        out.state().set_timer(self.state, event_clock(at))
    }

    /// Clears the timer of the key.
    ///
    /// # Errors
    /// As [`set`](EventTimer::set).
    pub fn clear(&self, out: &mut Outputs<'_>) -> Result<(), StateError> {
        out.state().clear_timer(self.state)
    }

    /// The time that the timer of the key is set to.
    ///
    /// # Errors
    /// As [`set`](EventTimer::set).
    pub fn time(&self, out: &mut Outputs<'_>) -> Result<Option<Timestamp>, StateError> {
        Ok(out.state().timer(self.state)?.map(timestamp_of))
    }
}

impl Outputs<'_> {
    /// How far event time has come in the task: no tuple is expected any more whose time lies before this. One that
    /// comes all the same is late. `None`: there is no watermark yet, or the topology has no event time. At the end of the
    /// input it is the end of time, `Timestamp(i64::MAX)`.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let at = input.timestamp("at")?;
    ///     let is_late = out.watermark().is_some_and(|watermark| at < watermark);
    ///     Ok(out.emit_to(if is_late { "late" } else { "on_time" }, [at])?)
    /// };
    /// # let streams = Streams::none().stream("late", ["at"]).stream("on_time", ["at"]);
    /// # let mut bolt = BoltHarness::new(bolt_fn(streams, execute));
    /// # let tuple = |at| TestTuple::new([Timestamp(at)]).fields(["at"]);
    /// # bolt.execute(tuple(7));
    /// # bolt.advance_watermark(Timestamp(8));
    /// # bolt.execute_all([tuple(7), tuple(8)]);
    /// # assert_eq!((bolt.take_rows("late").len(), bolt.take_rows("on_time").len()), (1, 2));
    /// ```
    pub fn watermark(&self) -> Option<Timestamp> {
        self.state.store.watermark()
    }
}
