//! What executors let each other know about event time.

use crate::tuple::Timestamp;

/// Before all time: where nothing is known yet.
pub(crate) const NO_WATERMARK: Timestamp = Timestamp(i64::MIN);

/// After all time: the input has ended.
pub(crate) const END_OF_TIME: Timestamp = Timestamp(i64::MAX);

/// What one executor lets those behind it know about event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeMark {
    /// No tuple follows on this link whose time lies before this.
    Watermark(Timestamp),
    /// Nothing comes for now, so nobody is to wait for this link. The next watermark ends it.
    Idle,
}
