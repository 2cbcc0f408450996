//! What stands in a cell, and its bytes in a snapshot.

use crate::clock::{Clock, Time};
use crate::state::encoding::{EncodingError, decode, encode};
use crate::state::value::StateValue;

/// How far the wall clock is ahead of the clock of the task, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WallOffset(i128);

impl WallOffset {
    pub(super) fn of(clock: &Clock) -> WallOffset {
        WallOffset(i128::from(clock.wall_nanos()) - i128::from(clock.now().0))
    }

    /// What the wall clock shows at a time of the task. What it cannot show is the end of time.
    fn wall_nanos(self, time: Time) -> i64 {
        if time == Time::NEVER {
            return i64::MAX;
        }
        let nanos = i128::from(time.0) + self.0;
        nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The time of the task at which the wall clock shows this. What was before the task is its start.
    fn time(self, wall_nanos: i64) -> Time {
        if wall_nanos == i64::MAX {
            return Time::NEVER;
        }
        let nanos = i128::from(wall_nanos) - self.0;
        Time(nanos.clamp(0, i128::from(u64::MAX)) as u64)
    }
}

/// What stands in a cell, and its bytes in a snapshot.
pub(crate) trait Stored: Clone + Sized {
    fn write(&self, wall: WallOffset, out: &mut Vec<u8>) -> Result<(), EncodingError>;
    fn read(input: &[u8], wall: WallOffset) -> Result<Self, EncodingError>;
}

impl<T: StateValue> Stored for T {
    fn write(&self, _: WallOffset, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        encode(self, out)
    }

    fn read(input: &[u8], _: WallOffset) -> Result<T, EncodingError> {
        decode(input)
    }
}

/// A timer that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: Time,
    /// How often its call has failed.
    pub(crate) failures: u32,
}

/// A snapshot has the date instead of the time of the task, because the clock of a task ends with its process.
impl Stored for Due {
    fn write(&self, wall: WallOffset, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        encode(&(wall.wall_nanos(self.at), self.failures), out)
    }

    fn read(input: &[u8], wall: WallOffset) -> Result<Due, EncodingError> {
        let (at, failures) = decode(input)?;
        Ok(Due { at: wall.time(at), failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_decides() {
        let check = |written_at: i128, time: Time, read_at: i128, expected: Time| {
            let due = Due { at: time, failures: 3 };
            let mut bytes = Vec::new();
            due.write(WallOffset(written_at), &mut bytes).expect("it can be written");
            let read = Due::read(&bytes, WallOffset(read_at)).expect("it fits");
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
}
