//! How far event time has come, for people.

use std::fmt;

use crate::api::counters::{CounterId, CounterValues};
use crate::tuple::Timestamp;

/// How far event time has come somewhere. Of a component with [`event_time`](crate::config::EventTimeOptions) it is the
/// watermark of what it emits, of others that of what they take.
///
/// # Examples
/// ```
/// use squall::api::EventTime;
/// use squall::Timestamp;
///
/// let noon = Timestamp(1_796_040_000_000_000_000);
/// assert_eq!(EventTime::Watermark(noon).to_string(), "2026-11-30T12:00:00Z");
/// assert!(EventTime::Unknown < EventTime::Watermark(noon) && EventTime::Watermark(noon) < EventTime::Ended);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventTime {
    /// No watermark has come: some input has brought nothing yet.
    Unknown,
    /// The watermark.
    Watermark(Timestamp),
    /// The input has ended, and event time with it.
    Ended,
}

impl EventTime {
    /// What the counter `watermark` says.
    pub(crate) fn of(counters: &CounterValues) -> Option<EventTime> {
        match counters.get(CounterId::WATERMARK) {
            0 => None,
            i64::MIN => Some(EventTime::Unknown),
            i64::MAX => Some(EventTime::Ended),
            watermark => Some(EventTime::Watermark(Timestamp(watermark))),
        }
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventTime::Unknown => f.write_str("not known yet"),
            EventTime::Watermark(watermark) => watermark.fmt(f),
            EventTime::Ended => f.write_str("ended"),
        }
    }
}
