//! The time that windows follow: event time, or that of the clock.
//!
//! Both have a timer for each key, which is set to a moment. In event time that is the timer of the runtime. A timer by
//! the clock counts from now and does not know which moment it was set to, so that is kept beside it. Windows then need
//! not know which of the two they follow.

use std::time::Duration;

use crate::api::{EventTimer, Outputs, TaskContext, TaskError, Timer, ValueState};
use crate::clock::Clock;
use crate::tuple::Timestamp;

/// Which time windows follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowTime {
    /// When tuples happened: windows end by the watermark.
    Event,
    /// When tuples come: windows end by the clock.
    Processing,
}

/// The timer by which windows end.
#[derive(Clone, Debug)]
pub(super) enum TimeSource {
    Event(EventTimer),
    Processing { timer: Timer, at: ValueState<i64>, clock: Clock },
}

impl TimeSource {
    /// A timer with this name.
    pub(super) fn register(
        name: &str,
        time: WindowTime,
        context: &TaskContext,
    ) -> Result<TimeSource, TaskError> {
        Ok(match time {
            WindowTime::Event => TimeSource::Event(context.event_timer(name)?),
            WindowTime::Processing => TimeSource::Processing {
                timer: context.timer(name)?,
                at: context.value_state(&format!("{name}-at"))?,
                clock: context.clock().clone(),
            },
        })
    }

    /// Whether a timer in event time is this one.
    pub(super) fn is_event_timer(&self, timer: EventTimer) -> bool {
        matches!(self, TimeSource::Event(own) if *own == timer)
    }

    /// Whether a timer by the clock is this one.
    pub(super) fn is_timer(&self, timer: Timer) -> bool {
        matches!(self, TimeSource::Processing { timer: own, .. } if *own == timer)
    }

    /// How far time has come: what ends at this moment or before is over.
    #[inline]
    pub(super) fn now(&self, out: &Outputs<'_>) -> Option<Timestamp> {
        match self {
            TimeSource::Event(_) => out.watermark(),
            TimeSource::Processing { clock, .. } => Some(Timestamp(clock.wall_nanos())),
        }
    }

    /// The moment that the timer of the key is set to.
    #[inline]
    pub(super) fn due(&self, out: &mut Outputs<'_>) -> Result<Option<Timestamp>, TaskError> {
        Ok(match self {
            TimeSource::Event(timer) => timer.time(out)?,
            TimeSource::Processing { at, .. } => at.get(out)?.map(|at| Timestamp(*at)),
        })
    }

    /// Sets the timer of the key, or clears it.
    pub(super) fn set(&self, out: &mut Outputs<'_>, moment: Option<Timestamp>) -> Result<(), TaskError> {
        match (self, moment) {
            (TimeSource::Event(timer), Some(moment)) => timer.set(out, moment)?,
            (TimeSource::Event(timer), None) => timer.clear(out)?,
            (TimeSource::Processing { timer, at, clock }, Some(moment)) => {
                let left = moment.0.saturating_sub(clock.wall_nanos()).max(0);
                at.set(out, moment.0)?;
                timer.set(out, Duration::from_nanos(left.unsigned_abs()))?;
            }
            (TimeSource::Processing { timer, at, .. }, None) => {
                at.clear(out)?;
                timer.clear(out)?;
            }
        }
        Ok(())
    }

    /// Sets the timer of the key to a moment, if it is not set to an earlier one.
    #[inline]
    pub(super) fn set_earlier(&self, out: &mut Outputs<'_>, moment: Timestamp) -> Result<(), TaskError> {
        match self.due(out)? {
            Some(due) if due <= moment => Ok(()),
            _ => self.set(out, Some(moment)),
        }
    }

    /// The moment for which a timer by the clock is called now. If the clock was set back meanwhile, the timer waits again.
    pub(super) fn called(&self, out: &mut Outputs<'_>) -> Result<Option<Timestamp>, TaskError> {
        let (Some(due), Some(now)) = (self.due(out)?, self.now(out)) else { return Ok(None) };
        if due > now {
            self.set(out, Some(due))?;
            return Ok(None);
        }
        Ok(Some(due))
    }

    /// How far time has come for a tuple: by the clock, to the moment at which it came.
    #[inline]
    pub(super) fn now_for(&self, came: Timestamp, out: &Outputs<'_>) -> Option<Timestamp> {
        match self {
            TimeSource::Event(_) => out.watermark(),
            TimeSource::Processing { .. } => Some(came),
        }
    }

    /// By the clock, a timer is called a little after its moment. The moment of what was due when a tuple came, and must be
    /// done before the tuple is looked at.
    #[inline]
    pub(super) fn overdue(
        &self,
        came: Timestamp,
        out: &mut Outputs<'_>,
    ) -> Result<Option<Timestamp>, TaskError> {
        match self {
            TimeSource::Event(_) => Ok(None),
            TimeSource::Processing { .. } => Ok(self.due(out)?.filter(|due| *due <= came)),
        }
    }

    /// Calls `each` for every key whose timer is set, if windows follow the clock. In event time, timers have been called
    /// before the input ends.
    pub(super) fn for_each_due(
        &self,
        out: &mut Outputs<'_>,
        mut each: impl FnMut(&mut Outputs<'_>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        match self {
            TimeSource::Event(_) => Ok(()),
            TimeSource::Processing { at, .. } => at.for_each(out, |out, _, _| each(out)),
        }
    }
}

/// A moment later by so much; the end of time, if it would be beyond.
#[inline]
pub(super) fn later(moment: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
    Timestamp(moment.0.saturating_add(by))
}

/// Whether what ends at this moment is over.
#[inline]
pub(super) fn is_over(end: Timestamp, now: Option<Timestamp>) -> bool {
    now.is_some_and(|now| end <= now)
}
