//! Pauses between attempts that fail: each twice as long as the one before, up to a limit.

use std::time::Duration;

use crate::clock::Time;

const PAUSE_MIN: Duration = Duration::from_millis(100);
/// So a file that becomes readable is read this much later, at most.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(10);

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    pause: Duration,
    due: Time,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { pause: PAUSE_MIN, due: Time::ZERO }
    }
}

impl Backoff {
    /// An attempt failed: the pause to the next.
    pub(super) fn next(&mut self, now: Time) -> Duration {
        let pause = self.pause;
        self.due = now.after(pause);
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        now >= self.due
    }
}
