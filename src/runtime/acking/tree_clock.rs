//! The clock by which messages expire.
//!
//! A tuple that waits in a queue has not failed, so its message must not time out because of it. The
//! tree clock of a spout therefore advances only while no consumer downstream keeps tuples waiting for
//! long, and by at most [`TreeClock::STEP_MAX`] at a time, because a process that was suspended for a
//! minute did not process anything in that minute.

use std::time::Duration;

use crate::clock::Time;

/// The time that time-outs go by: it stands still while the path of the spout's trees waits for a
/// stalled or full consumer, and for as long as the whole process stood still.
#[derive(Debug)]
pub struct TreeClock {
    elapsed: Time,
    last: Time,
}

impl TreeClock {
    /// The most that one look adds: whoever was stopped for a minute lets no tree age by it.
    pub const STEP_MAX: Duration = Duration::from_millis(250);

    /// Starts at zero.
    pub fn new(now: Time) -> TreeClock {
        TreeClock { elapsed: Time::ZERO, last: now }
    }

    /// Moves on, unless the path is starved. Look at least every [`TreeClock::STEP_MAX`] while
    /// anything is pending.
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
