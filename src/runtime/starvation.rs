//! Measures for how long a thread was ready to run but got no processor.
//!
//! The watchdog measures how long a call into user code takes. On an overloaded machine a thread
//! may wait for a processor for longer than its call takes. Such a call is not stuck. Linux counts that
//! wait per thread, in the second number of `/proc/self/task/TID/schedstat` (see
//! `Documentation/scheduler/sched-stats.rst` of the kernel). If the file is missing, the wait counts as
//! zero, and wall time alone decides.

use std::fs;
use std::time::Duration;

/// A thread of this process, by the kernel's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadOfKernel(i32);

impl ThreadOfKernel {
    /// The thread that calls this.
    pub fn current() -> ThreadOfKernel {
        ThreadOfKernel(rustix::thread::gettid().as_raw_nonzero().get())
    }

    /// How long it has waited for a processor since it was started.
    pub fn starved(self) -> Duration {
        let text = fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.0));
        text.ok().and_then(|text| wait_in(&text)).unwrap_or_default()
    }
}

/// The wait in a line `EXECUTED WAITED TIMESLICES`, in nanoseconds.
fn wait_in(text: &str) -> Option<Duration> {
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// How long a call has kept its thread, summed over the looks of the watchdog.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspicion {
    /// When the call began; two calls are distinguished by this.
    call: u64,
    /// The thread's wait for a processor at the last look.
    starved: Duration,
    /// The time that counts.
    kept: Duration,
}

impl Suspicion {
    /// Adds what passed since the last look, less the wait for a processor, and returns the sum for
    /// this call. `passed` counts as `look_max` at most, because the whole process may have been suspended.
    pub fn look(&mut self, call: u64, passed: Duration, look_max: Duration, starved: Duration) -> Duration {
        if self.call != call {
            *self = Suspicion { call, starved, kept: Duration::ZERO };
            return Duration::ZERO;
        }
        let waited = starved.saturating_sub(self.starved);
        self.starved = starved;
        self.kept += passed.min(look_max).saturating_sub(waited);
        self.kept
    }

    /// Sets the sum for this call to zero.
    pub fn begin_anew(&mut self) {
        self.kept = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(100);

    #[test]
    fn the_wait_is_the_second_number() {
        assert_eq!(wait_in("123 456 7\n"), Some(Duration::from_nanos(456)));
        assert_eq!(wait_in(""), None);
    }

    #[test]
    fn a_thread_without_a_processor_is_not_suspected() {
        let mut suspicion = Suspicion::default();
        let mut starved = Duration::ZERO;
        for _ in 0..100 {
            starved += LOOK;
            assert_eq!(suspicion.look(1, LOOK, LOOK * 2, starved), Duration::ZERO);
        }
    }

    #[test]
    fn a_call_that_waits_adds_up_and_the_next_call_begins_anew() {
        let mut suspicion = Suspicion::default();
        let mut look = |call| suspicion.look(call, LOOK, LOOK * 2, Duration::ZERO);
        assert_eq!([look(1), look(1), look(1)], [Duration::ZERO, LOOK, LOOK * 2]);
        assert_eq!([look(2), look(2)], [Duration::ZERO, LOOK]);
    }

    #[test]
    fn a_process_that_was_stopped_for_an_hour_is_not_stuck_for_an_hour() {
        let mut suspicion = Suspicion::default();
        suspicion.look(1, LOOK, LOOK * 2, Duration::ZERO);
        let kept = suspicion.look(1, Duration::from_secs(3600), LOOK * 2, Duration::ZERO);
        assert_eq!(kept, LOOK * 2);
    }
}
