//! When `next_tuple` of a spout that has nothing to emit is called again.

use std::time::Duration;

use crate::api::SpoutStatus;
use crate::clock::Time;

/// The shortest pause between calls. A spout that asks for shorter pauses would send a batch for every
/// tuple and keep all cores busy. With its pauses rounded up, it emits in bursts, and the cores sleep
/// in between.
const PAUSE_MIN: Duration = Duration::from_micros(50);

/// A spout that returns `Idle` is called again after this pause. The pause doubles each time.
const IDLE_PAUSE_MIN: Duration = Duration::from_micros(100);

/// The longest pause after `Idle`.
pub const IDLE_PAUSE_MAX: Duration = Duration::from_millis(10);

/// The pause of a spout that has nothing to emit.
#[derive(Clone, Copy, Debug)]
pub struct IdlePause {
    /// `next_tuple` is not called before this time.
    pub until: Time,
    /// The pause after the next `Idle`.
    next: Duration,
}

impl Default for IdlePause {
    /// Of a spout that was not called yet.
    fn default() -> IdlePause {
        IdlePause { until: Time::ZERO, next: IDLE_PAUSE_MIN }
    }
}

impl IdlePause {
    /// There may be something to emit now.
    pub fn end(&mut self) {
        self.until = Time::ZERO;
    }

    /// Decides from the result of `next_tuple` when to call it again.
    pub fn note(&mut self, status: SpoutStatus, now: Time) {
        match status {
            SpoutStatus::Emitted => self.next = IDLE_PAUSE_MIN,
            SpoutStatus::Idle => {
                self.until = now.after(self.next);
                self.next = (self.next * 2).min(IDLE_PAUSE_MAX);
            }
            SpoutStatus::IdleFor(pause) => {
                self.next = IDLE_PAUSE_MIN;
                self.until = now.after(pause.max(PAUSE_MIN));
            }
            SpoutStatus::Exhausted => {}
        }
    }
}
