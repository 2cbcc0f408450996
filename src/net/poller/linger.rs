//! The pause after the poller has emptied the outbox, in which executors may push more.
//!
//! The time-out of a poll has a resolution of milliseconds. So a timer of the system (timerfd), which
//! the poll watches, ends the pause.

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
    /// The timer is set and will become readable at `until`.
    is_set: bool,
}

impl Linger {
    /// Pauses of this length; 0 means none.
    ///
    /// # Errors
    /// When the system cannot create a timer.
    pub fn new(period: Duration) -> io::Result<Linger> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Linger { period, until: Time::ZERO, timer, is_set: false })
    }

    /// The descriptor that becomes readable when the timer expires.
    pub fn timer(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// The outbox was emptied: a new pause begins.
    pub fn begin(&mut self, now: Time) {
        self.until = now.after(self.period);
        self.is_set = false;
    }

    /// Whether the pause is over.
    pub fn is_over(&self, now: Time) -> bool {
        self.until <= now
    }

    /// Sets the timer, so that the end of the pause ends a poll. `false`: the system refused.
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

    /// The timer expired. Its count is not read: its event is reported once (edge-triggered), and
    /// setting the timer again clears the count.
    pub fn clear_timer(&mut self) {
        self.is_set = false;
    }
}
