//! How a component reads the time of what it emits.

use std::time::Duration;

/// `event_time` of a spout or bolt: where the time stands in the tuples that it emits, and how far its watermark stays
/// behind. Everything behind the component knows from then on how far event time has come.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use squall::config::EventTimeOptions;
///
/// let options = EventTimeOptions {
///     max_out_of_order: Duration::from_secs(5),
///     idle_after: Some(Duration::from_secs(30)),
///     ..EventTimeOptions::of("at")
/// };
/// assert_eq!((options.field.as_str(), options.format), ("at", None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTimeOptions {
    /// `field`: the field that has the time, in each stream that has this field.
    pub field: String,
    /// `format`: how a text or a number is read. `None`: RFC 3339, or a number since 1970 whose magnitude shows its unit.
    /// `unix`, `unix_ms`, `unix_us`, `unix_ns`: a number in that unit. Else a format of strftime.
    pub format: Option<String>,
    /// `time_zone`: the zone of times that name none.
    pub time_zone: Option<String>,
    /// `max_out_of_order`: how much later than a tuple one may come that happened before it. The watermark stays so far
    /// behind the greatest time seen.
    pub max_out_of_order: Duration,
    /// `idle_after`: when a split, or a task, that brings nothing is not waited for any more. `None`: it is waited for
    /// until it ends.
    pub idle_after: Option<Duration>,
}

impl EventTimeOptions {
    /// The time in this field, with nothing else set: tuples come in the order of their times, and each split is waited
    /// for.
    pub fn of(field: impl Into<String>) -> EventTimeOptions {
        EventTimeOptions { field: field.into(), ..EventTimeOptions::default() }
    }
}
