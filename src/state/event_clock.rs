//! Event time as a second clock of a task: the same [`Time`], so that deadlines, timers and their order are the same code
//! for both clocks. Only the two functions here know how one is made of the other.

use crate::clock::Time;
use crate::tuple::Timestamp;

/// The time of 1970-01-01T00:00:00Z.
pub(super) const ORIGIN: u64 = 1 << 63;

/// A point in event time. The end of time is [`Time::NEVER`].
pub(crate) fn event_clock(at: Timestamp) -> Time {
    Time((at.0 as u64) ^ ORIGIN)
}

/// The same the other way round.
pub(crate) fn timestamp_of(at: Time) -> Timestamp {
    Timestamp((at.0 ^ ORIGIN) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays() {
        let times = [i64::MIN, -1, 0, 1, 1_790_000_000_000_000_000, i64::MAX].map(Timestamp);
        let clocks = times.map(event_clock);
        assert!(clocks.is_sorted() && clocks[0] == Time::ZERO && clocks[5] == Time::NEVER);
        assert_eq!(clocks.map(timestamp_of), times);
    }
}
