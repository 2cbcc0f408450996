//! The clock by which messages expire.
//!
//! A tuple that waits in a queue has not failed, so its message must not expire because of it. The tree
//! clock of a spout therefore advances only while no consumer downstream keeps tuples waiting for long.
//! One call advances it by at most [`TreeClock::STEP_MAX`]: a process that was suspended for a minute did
//! not process anything in that minute.

use std::time::Duration;

use crate::clock::Time;

/// Tree time, in which deadlines are given. It stands still while a consumer downstream is starved, and
/// does not count the time for which the whole process was suspended.
#[derive(Debug)]
pub struct TreeClock {
    elapsed: Time,
    last: Time,
}

impl TreeClock {
    /// The most that one call of [`TreeClock::advance`] adds.
    pub const STEP_MAX: Duration = Duration::from_millis(250);

    /// Starts at zero.
    pub fn new(now: Time) -> TreeClock {
        TreeClock { elapsed: Time::ZERO, last: now }
    }

    /// Advances unless the path is starved, and returns the tree time. To be called at least every
    /// [`TreeClock::STEP_MAX`] while a message is open, or tree time falls behind.
    pub fn advance(&mut self, now: Time, starved: bool) -> Time {
        let passed = now.since(self.last).min(TreeClock::STEP_MAX);
        self.last = now;
        if !starved {
            self.elapsed = self.elapsed.after(passed);
        }
        self.elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_time_stands_still_while_starved_and_while_the_process_stood_still() {
        let mut clock = TreeClock::new(Time::ZERO);
        let ms = |n: u64| Time(n * 1_000_000);
        assert_eq!(clock.advance(ms(100), false), ms(100));
        assert_eq!(clock.advance(ms(200), true), ms(100));
        assert_eq!(clock.advance(ms(60_000), false), ms(350));
    }
}
