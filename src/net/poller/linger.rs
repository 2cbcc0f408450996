//! The pause after what executors pushed was taken, in which more of it may gather.
//!
//! A poll waits for whole milliseconds, so its shorter waits are ended by a timer of the system.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::clock::Time;

/// See the [module](self).
pub(super) struct Linger {
    period: Duration,
    until: Time,
    timer: OwnedFd,
    /// The timer will say when `until` is over.
    is_set: bool,
}

impl Linger {
    /// Pauses of this length; 0: none.
    ///
    /// # Errors
    /// When the system has no timer to give.
    pub fn new(period: Duration) -> io::Result<Linger> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Linger { period, until: Time::ZERO, timer, is_set: false })
    }

    /// What is readable when the timer has told.
    pub fn timer(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// Something was taken.
    pub fn begin(&mut self, now: Time) {
        self.until = now.after(self.period);
        self.is_set = false;
    }

    /// Whether there is no reason to wait.
    pub fn is_over(&self, now: Time) -> bool {
        self.until <= now
    }

    /// Sees to it that the end of the pause ends a poll. `false`: that cannot be had.
    pub fn set_timer(&mut self, now: Time) -> bool {
        if self.is_set {
            return true;
        }
        let wait = self.until.since(now);
        let value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: interval, it_value: value };
        self.is_set = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).is_ok();
        self.is_set
    }

    /// The timer has told. Events are told once, and setting it anew clears what it counted.
    pub fn clear_timer(&mut self) {
        self.is_set = false;
    }
}
