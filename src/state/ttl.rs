//! How long what is kept stays.

use std::fmt;
use std::time::Duration;

use crate::config::units::show_duration;

/// The longest time to live. A date that far from now fits into what a snapshot has for it.
const PERIOD_MAX: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// How long an entry of a state stays: the *time to live*. From then on no call sees the entry, and it is removed soon
/// after. [`TaskContext::expiring`](crate::api::TaskContext::expiring) has an example.
///
/// Time is the processing time of the task: its [clock](crate::api::TaskContext::clock), which tests simulate. Across
/// a restart it is the wall clock, so the time for which nothing ran counts. With [`in_event_time`](Ttl::in_event_time)
/// it is the event time of the task: its [watermark](crate::api::Outputs::watermark).
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use squall::state::Ttl;
///
/// let session = Ttl::after_access(Duration::from_secs(30 * 60));
/// assert_eq!(session.period(), Duration::from_secs(1800));
/// assert_eq!(session.to_string(), "a time to live of 30m after access");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    period: Duration,
    refreshed_by_reads: bool,
    in_event_time: bool,
}

impl Ttl {
    /// An entry stays for this long after it was written last.
    pub const fn after_write(period: Duration) -> Ttl {
        Ttl { period, refreshed_by_reads: false, in_event_time: false }
    }

    /// An entry stays for this long after it was read or written last. A read that moves the deadline costs as much as
    /// a write, and the next checkpoint has the entry again.
    pub const fn after_access(period: Duration) -> Ttl {
        Ttl { period, refreshed_by_reads: true, in_event_time: false }
    }

    /// Counts event time: an entry that is written, or read, when the [watermark](crate::api::Outputs::watermark) of the
    /// task is at 10:00 has expired when it is at 10:00 and the period. So old input that is processed again, in minutes
    /// instead of days, keeps what it kept the first time. The end of the input is no time: it expires nothing.
    ///
    /// What is written before the task has a watermark counts from the first one. In a topology without event time
    /// nothing ever expires.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use squall::state::Ttl;
    ///
    /// let hour = Ttl::after_write(Duration::from_secs(3600)).in_event_time();
    /// assert_eq!(hour.to_string(), "a time to live of 1h of event time after write");
    /// ```
    pub const fn in_event_time(self) -> Ttl {
        Ttl { in_event_time: true, ..self }
    }

    /// Whether it counts event time.
    pub(crate) const fn counts_event_time(&self) -> bool {
        self.in_event_time
    }

    /// How long it is.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Whether a read begins it anew.
    pub(super) const fn is_refreshed_by_reads(&self) -> bool {
        self.refreshed_by_reads
    }

    /// Whether a state can have it.
    pub(crate) fn is_valid(&self) -> bool {
        !self.period.is_zero() && self.period <= PERIOD_MAX
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = if self.refreshed_by_reads { "access" } else { "write" };
        let time = if self.in_event_time { " of event time" } else { "" };
        write!(f, "a time to live of {}{time} after {after}", show_duration(self.period))
    }
}
