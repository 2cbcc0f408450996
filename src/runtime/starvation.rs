//! Measures for how long a thread was ready to run but got no processor.
//!
//! The watchdog measures how long a call into user code takes. On an overloaded machine a thread
//! may wait for a processor for longer than its call takes. Such a call is not stuck. Linux counts that
//! wait per thread, in the second number of `/proc/self/task/TID/schedstat` (see
//! `Documentation/scheduler/sched-stats.rst` of the kernel). If the file is missing, the wait counts as
//! zero, and wall time alone decides.
//!
//! Executors have a limited time to close. [`WithheldTime`] measures how much of that time their threads
//! could not use, so that the limit can be moved by as much.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Time;

/// A thread of this process, by the kernel's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThreadOfKernel(i32);

impl ThreadOfKernel {
    /// The thread that calls this.
    pub fn current() -> ThreadOfKernel {
        ThreadOfKernel(rustix::thread::gettid().as_raw_nonzero().get())
    }

    /// How long it has waited for a processor since it was started.
    pub fn starved(self) -> Duration {
        self.times().waited
    }

    fn times(self) -> ThreadTimes {
        let read =
            |file| fs::read_to_string(format!("/proc/self/task/{}/{file}", self.0)).unwrap_or_default();
        ThreadTimes::of(&read("schedstat"), &read("stat"))
    }
}

/// What the kernel has counted for a thread since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTimes {
    /// How long it ran.
    pub ran: Duration,
    /// How long it was ready to run without a processor. The kernel adds a wait when it ends.
    pub waited: Duration,
    /// Whether it runs or is ready to run.
    pub is_runnable: bool,
}

impl ThreadTimes {
    /// From the contents of the thread's `schedstat` (`RAN WAITED TIMESLICES`, in nanoseconds) and `stat`.
    /// The state stands behind the name, which is in parentheses and may hold any character.
    pub fn of(schedstat: &str, stat: &str) -> ThreadTimes {
        let mut numbers = schedstat.split_whitespace().map_while(|number| number.parse().ok());
        let mut next = || Duration::from_nanos(numbers.next().unwrap_or(0));
        let (ran, waited) = (next(), next());
        let is_runnable = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('R'));
        ThreadTimes { ran, waited, is_runnable }
    }
}

/// The threads that step the executors of a worker.
#[derive(Debug, Default)]
pub struct StepThreads(Mutex<Vec<ThreadOfKernel>>);

impl StepThreads {
    /// Adds the thread that calls this, until the returned guard is dropped.
    pub fn enter(self: &Arc<StepThreads>) -> StepThread {
        let thread = ThreadOfKernel::current();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        StepThread { threads: Arc::clone(self), thread }
    }

    fn times(&self) -> BTreeMap<ThreadOfKernel, ThreadTimes> {
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        threads.into_iter().map(|thread| (thread, thread.times())).collect()
    }
}

/// Removes a thread from its [`StepThreads`] when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct StepThread {
    threads: Arc<StepThreads>,
    thread: ThreadOfKernel,
}

impl Drop for StepThread {
    fn drop(&mut self) {
        let mut threads = self.threads.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| *thread != self.thread);
    }
}

/// Measures how much of the time that passes is withheld from the threads that step executors: because
/// one of them waits for a processor, or because the whole process is suspended.
#[derive(Debug)]
pub struct WithheldTime {
    threads: Arc<StepThreads>,
    looked_at: Time,
    seen: BTreeMap<ThreadOfKernel, ThreadTimes>,
}

impl WithheldTime {
    /// How often to look. A process in which no thread ran for twice as long counts as suspended.
    pub const LOOK_PERIOD: Duration = Duration::from_millis(100);

    /// Measures from now on.
    pub fn new(threads: Arc<StepThreads>, now: Time) -> WithheldTime {
        let seen = threads.times();
        WithheldTime { threads, looked_at: now, seen }
    }

    /// How much of the time since the last look was withheld. To be called every
    /// [`WithheldTime::LOOK_PERIOD`]; a call that comes sooner looks at nothing.
    pub fn look(&mut self, now: Time) -> Duration {
        if now.since(self.looked_at) < WithheldTime::LOOK_PERIOD {
            return Duration::ZERO;
        }
        let times = self.threads.times();
        self.look_at(now, times)
    }

    fn look_at(&mut self, now: Time, times: BTreeMap<ThreadOfKernel, ThreadTimes>) -> Duration {
        let passed = now.since(self.looked_at);
        let (mut ran_most, mut waited_most) = (Duration::ZERO, Duration::ZERO);
        for (thread, times) in &times {
            let before = self.seen.get(thread).copied().unwrap_or_default();
            let ran = times.ran.saturating_sub(before.ran);
            // The wait that has not ended is not counted yet.
            let waits = times.is_runnable && ran.is_zero();
            let waited = if waits { passed } else { times.waited.saturating_sub(before.waited) };
            (ran_most, waited_most) = (ran_most.max(ran), waited_most.max(waited));
        }
        // A simulated worker has no threads, so nothing is withheld from them.
        let has_threads = !times.is_empty();
        (self.looked_at, self.seen) = (now, times);
        let used_max = ran_most.max(WithheldTime::LOOK_PERIOD * 2);
        if has_threads { passed - passed.min(used_max).saturating_sub(waited_most) } else { Duration::ZERO }
    }
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
    fn the_times_stand_in_schedstat_and_the_state_behind_the_name() {
        let check = |schedstat, stat, (ran, waited, is_runnable)| {
            let (ran, waited) = (Duration::from_nanos(ran), Duration::from_nanos(waited));
            assert_eq!(ThreadTimes::of(schedstat, stat), ThreadTimes { ran, waited, is_runnable });
        };
        check("123 456 7\n", "17 (squall-control) R 1 17", (123, 456, true));
        check("123 456 7\n", "17 (squall-control) S 1 17", (123, 456, false));
        check("123", "17 (a) R (b) T 1 17", (123, 0, false));
        check("", "", (0, 0, false));
    }

    /// What a look finds that comes `passed` after the one before, when the only thread has run and waited
    /// for so long since then.
    fn withheld(passed: Duration, ran: Duration, waited: Duration, is_runnable: bool) -> Duration {
        let mut withheld = WithheldTime::new(Arc::default(), Time::ZERO);
        let thread = ThreadOfKernel::current();
        withheld.look_at(Time::ZERO, [(thread, ThreadTimes::default())].into());
        let times = ThreadTimes { ran, waited, is_runnable };
        withheld.look_at(Time::ZERO.after(passed), [(thread, times)].into())
    }

    #[test]
    fn time_is_withheld_while_a_thread_waits_or_the_process_is_suspended() {
        let zero = Duration::ZERO;
        assert_eq!(withheld(LOOK, zero, zero, false), zero, "it sleeps");
        assert_eq!(withheld(LOOK, LOOK, zero, true), zero, "it runs");
        assert_eq!(withheld(LOOK, LOOK / 4, LOOK / 2, true), LOOK / 2);
        assert_eq!(withheld(LOOK, LOOK / 4, LOOK * 30, true), LOOK, "of a wait that began before");
        assert_eq!(withheld(LOOK, zero, zero, true), LOOK, "it still waits");
        assert_eq!(withheld(LOOK * 50, zero, zero, false), LOOK * 48, "the process was suspended");
        assert_eq!(withheld(LOOK * 50, LOOK * 50, zero, true), zero, "one long call");
    }

    #[test]
    fn a_worker_without_threads_has_all_its_time() {
        let mut withheld = WithheldTime::new(Arc::default(), Time::ZERO);
        assert_eq!(withheld.look(Time::ZERO.after(LOOK * 50)), Duration::ZERO);
    }

    #[test]
    fn a_thread_is_looked_at_until_it_ends() {
        let threads = Arc::new(StepThreads::default());
        let entered = threads.enter();
        assert_eq!(threads.times().len(), 1);
        drop(entered);
        assert_eq!(threads.times().len(), 0);
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
