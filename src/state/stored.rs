//! What stands in a cell, and its bytes in a snapshot.

use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::state::encoding::{EncodingError, decode, encode};
use crate::state::event_clock::ORIGIN;
use crate::state::value::StateValue;

/// The time of a snapshot or of a restore, by the clock of the task and by the wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SnapshotTime {
    now: Time,
    /// How far dates are ahead of the clock of the task, in nanoseconds.
    ahead: i128,
}

impl SnapshotTime {
    pub(super) fn of(clock: &Clock) -> SnapshotTime {
        let now = clock.now();
        SnapshotTime { now, ahead: i128::from(clock.wall_nanos()) - i128::from(now.0) }
    }

    /// By the event time of the task, whose dates are event time, too.
    pub(super) fn of_event_time(now: Time) -> SnapshotTime {
        SnapshotTime { now, ahead: -i128::from(ORIGIN) }
    }

    /// By the clock of the task.
    pub(super) fn now(self) -> Time {
        self.now
    }

    /// The same, but the date of a time is the one that lies so long before it.
    pub(super) fn dated_before(self, period: Duration) -> SnapshotTime {
        let period = i128::try_from(period.as_nanos()).unwrap_or(i128::MAX);
        SnapshotTime { now: self.now, ahead: self.ahead.saturating_sub(period) }
    }

    /// What the wall clock shows at a time of the task. What it cannot show is the end of time.
    pub(super) fn date(self, time: Time) -> i64 {
        if time == Time::NEVER {
            return i64::MAX;
        }
        let nanos = i128::from(time.0) + self.ahead;
        nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The time of the task at which the wall clock shows this. What was before the task is its start.
    pub(super) fn time(self, date: i64) -> Time {
        if date == i64::MAX {
            return Time::NEVER;
        }
        let nanos = i128::from(date) - self.ahead;
        Time(nanos.clamp(0, i128::from(u64::MAX)) as u64)
    }
}

/// The bytes of what a state has for a key.
#[derive(Clone, Copy)]
pub(crate) enum Written<'b> {
    /// As it is.
    Plain(&'b [u8]),
    /// Each entry with the date from which its time to live counts.
    Dated(&'b [u8]),
}

/// What stands in a cell, and its bytes in a snapshot.
pub(crate) trait Stored: Clone + Sized {
    fn write(&self, time: SnapshotTime, out: &mut Vec<u8>) -> Result<(), EncodingError>;
    /// Whether there is something to write: what has expired by then is not written.
    fn has_something(&self, _now: Time) -> bool {
        true
    }
}

impl<T: StateValue> Stored for T {
    fn write(&self, _: SnapshotTime, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        encode(self, out)
    }
}

/// A timer that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: Time,
    /// How often its call has failed.
    pub(crate) failures: u32,
}

impl Due {
    pub(super) fn read(written: Written<'_>, time: SnapshotTime) -> Result<Due, EncodingError> {
        let Written::Plain(bytes) = written else {
            return Err(EncodingError::new("a timer has no time to live".to_owned()));
        };
        let (date, failures) = decode(bytes)?;
        Ok(Due { at: time.time(date), failures })
    }
}

/// A snapshot has the date instead of the time of the task, because the clock of a task ends with its process.
impl Stored for Due {
    fn write(&self, time: SnapshotTime, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        encode(&(time.date(self.at), self.failures), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time_of(ahead: i128) -> SnapshotTime {
        SnapshotTime { now: Time::ZERO, ahead }
    }

    #[test]
    fn the_wall_clock_decides() {
        let check = |written_at: i128, time: Time, read_at: i128, expected: Time| {
            let due = Due { at: time, failures: 3 };
            let mut bytes = Vec::new();
            due.write(time_of(written_at), &mut bytes).expect("it can be written");
            let read = Due::read(Written::Plain(&bytes), time_of(read_at)).expect("it fits");
            assert_eq!(read, Due { at: expected, failures: 3 }, "{written_at} {time:?} {read_at}");
        };
        check(1_000, Time(70), 1_000, Time(70));
        check(1_000, Time(70), 1_050, Time(20));
        check(1_000, Time(70), 5_000, Time::ZERO); // Before the task began.
        check(1_000, Time(70), -500, Time(1_570)); // The date was set back.
        check(1_000, Time::NEVER, 5_000, Time::NEVER);
        check(1_000, Time(u64::MAX - 1), 5_000, Time::NEVER); // After what a date can be.
        check(i128::from(i64::MIN) - 9, Time(0), i128::from(i64::MIN), Time(0));
    }

    #[test]
    fn a_date_may_lie_before_the_time_that_it_stands_for() {
        let written = time_of(1_000).dated_before(Duration::from_nanos(80)).date(Time(100));
        assert_eq!(written, 1_020);
        // Another time to live, in a process that began 50 ns later.
        assert_eq!(time_of(1_050).dated_before(Duration::from_nanos(90)).time(written), Time(60));
    }
}
