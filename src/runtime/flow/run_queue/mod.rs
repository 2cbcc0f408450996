//! Which executors must be stepped, and when.
//!
//! The run queue is shared by everything that wakes executors, and by everything that steps them: driver
//! threads, dedicated threads of blocking executors, and the simulation. An executor is in one of four
//! states, and only the transitions drawn here exist:
//!
//! ```text
//!            wake                take                  done, nothing came
//!   Idle ──────────▶ Queued ──────────▶ Running ─────────────────────────▶ Idle
//!                      ▲                   │ wake
//!                      │                   ▼
//!                      └──── done ───── Running, dirty
//! ```
//!
//! [`driver_queues`] decides which driver steps an executor. This file has the timers, the dedicated
//! threads, and the loop in which a driver waits.
//!
//! 1. An executor stands in a queue at most once, and is stepped by one thread at a time.
//! 2. A wake is not lost if it happens after the executor looked at its inbox and before it becomes idle:
//!    the wake turns Running into dirty, and a dirty executor is queued again.
//! 3. A thread may be woken without need, but no thread stays asleep that is needed. For that, a thread
//!    that stepped an executor either takes the next one itself, or calls [`RunQueue::hand_over`].
//! 4. An executor with a thread of its own is never in a queue.

mod driver_queues;
mod sync;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::config::limits::THREADS_MAX;
use crate::runtime::flow::run_queue::driver_queues::{Driver, DriverQueues, Queued};
use crate::topology::plan::ExecutorId;

/// A driver without work yields its core this many times before it sleeps. Waking it would cost another
/// thread a system call, and under load new work comes within microseconds.
const YIELDS_BEFORE_SLEEP: u32 = 8;
/// The longest sleep without a timer.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// When a sleeping driver is notified of new work in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At once.
    Now,
    /// At once if a driver is asleep but not napping, otherwise like `WhenDone`. Only within a step.
    Soon,
    /// At the end of the current step. The thread that steps is responsible: a driver looks at the queues
    /// after each step, and every other thread calls [`RunQueue::hand_over`].
    WhenDone,
}

type Timers = BinaryHeap<Reverse<(Time, ExecutorId)>>;

/// The runnable executors, and their timers.
pub struct RunQueue {
    queues: DriverQueues,
    timers: Mutex<Timers>,
    /// When the first timer is due, in nanoseconds. Written under the lock of the timers, read without it.
    next_due: AtomicU64,
    /// The threads of blocking executors.
    dedicated: Box<[OnceLock<Thread>]>,
}

/// A thread that steps executors of the queue. It leaves the queue when it is dropped.
pub struct DriverSeat<'a> {
    run_queue: &'a RunQueue,
    /// `None` only while it is dropped.
    driver: Option<Driver>,
}

impl RunQueue {
    /// A queue for this many executors, all idle.
    pub fn new(executors: usize) -> RunQueue {
        RunQueue {
            queues: DriverQueues::new(executors, THREADS_MAX as usize),
            timers: Mutex::default(),
            next_due: AtomicU64::new(Time::NEVER.0),
            dedicated: (0..executors).map(|_| OnceLock::new()).collect(),
        }
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        // Nothing can panic while the timers are half-changed.
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares that only `thread` steps this executor. The thread is unparked, because the executor may
    /// have been woken before.
    pub fn dedicate(&self, id: ExecutorId, thread: Thread) {
        let _ = self.dedicated[id.index()].set(thread.clone());
        self.queues.dedicate(id.index());
        thread.unpark();
    }

    /// A place for a driver; `None` if there are [`THREADS_MAX`] of them.
    pub fn driver(&self) -> Option<DriverSeat<'_>> {
        let driver = self.queues.register()?;
        Some(DriverSeat { run_queue: self, driver: Some(driver) })
    }

    /// Lets at most so many drivers step executors, but at least one; the others rest.
    pub fn set_driver_limit(&self, limit: usize) {
        self.queues.set_limit(limit);
    }

    /// Makes an executor runnable.
    pub fn wake(&self, id: ExecutorId, urgency: Urgency) {
        if !self.queues.mark(id.index()) {
            return;
        }
        let queued = match urgency {
            Urgency::Now => self.queues.queue_now(id.index()),
            Urgency::Soon => self.queues.queue_soon(id.index()),
            Urgency::WhenDone => self.queues.queue_deferred(id.index()),
        };
        self.unpark_dedicated(id, queued);
    }

    fn unpark_dedicated(&self, id: ExecutorId, queued: Queued) {
        if queued == Queued::Dedicated
            && let Some(thread) = self.dedicated[id.index()].get()
        {
            thread.unpark();
        }
    }

    /// Notifies sleeping drivers of executors that wait. Called by every thread that stepped an executor
    /// and does not take the next one itself: the dedicated thread of a blocking executor after each step.
    pub fn hand_over(&self) {
        self.queues.hand_over();
    }

    /// Wakes sleeping drivers if an executor waits. Called by the watchdog: the driver in whose queue the
    /// executor waits may be in a step that does not end.
    pub fn rescue(&self) {
        self.queues.rescue();
    }

    /// Wakes an executor at a time.
    pub fn wake_at(&self, id: ExecutorId, at: Time) {
        let mut timers = self.timers();
        timers.push(Reverse((at, id)));
        let is_first = at.0 < self.next_due.load(Ordering::SeqCst);
        if is_first {
            self.next_due.store(at.0, Ordering::SeqCst);
        }
        drop(timers);
        if is_first {
            self.queues.wake_for_timer();
        }
    }

    /// Wakes all executors whose timer is due.
    fn fire_due(&self, now: Time) {
        if self.next_due.load(Ordering::SeqCst) > now.0 {
            return;
        }
        let mut timers = self.timers();
        while let Some(Reverse((at, id))) = timers.peek().copied()
            && at <= now
        {
            timers.pop();
            self.wake(id, Urgency::WhenDone);
        }
        let next = timers.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        self.next_due.store(next.0, Ordering::SeqCst);
    }

    /// For the simulation: the runnable executors, of which it picks one with
    /// [`take_chosen`](RunQueue::take_chosen).
    pub fn runnable(&self, now: Time) -> Vec<ExecutorId> {
        self.fire_due(now);
        self.queues.waiting().into_iter().map(|index| ExecutorId(index as u32)).collect()
    }

    /// For the simulation: takes one of the executors that [`runnable`](RunQueue::runnable) returned.
    pub fn take_chosen(&self, id: ExecutorId) {
        self.queues.take_chosen(id.index());
    }

    /// When the next timer fires.
    pub fn next_timer(&self) -> Option<Time> {
        self.timers().peek().map(|Reverse((at, _))| *at)
    }

    /// For a dedicated thread: whether its executor must be stepped now. If so, it counts as running.
    pub fn take_dedicated(&self, id: ExecutorId) -> bool {
        self.queues.take_dedicated(id.index())
    }

    /// For a dedicated thread whose timer fired.
    pub fn queue_dedicated(&self, id: ExecutorId) {
        self.queues.mark(id.index());
    }

    /// After a step that left work to do: puts the executor at the end of a queue.
    pub fn done_with_more(&self, id: ExecutorId) {
        let queued = self.queues.done_with_more(id.index());
        self.unpark_dedicated(id, queued);
    }

    /// After a step that ran out of work: the executor becomes idle, unless it was woken during the step.
    pub fn done(&self, id: ExecutorId) {
        if self.queues.done(id.index()) {
            self.done_with_more(id);
        }
    }

    /// Wakes all threads for good, because the worker ends.
    pub fn stop(&self) {
        self.queues.stop();
        self.dedicated.iter().filter_map(OnceLock::get).for_each(Thread::unpark);
    }

    /// Whether [`stop`](RunQueue::stop) was called.
    pub fn is_stopping(&self) -> bool {
        self.queues.is_stopping()
    }
}

impl DriverSeat<'_> {
    /// Waits for the next executor to step; `None` when the worker stops. A driver that finds none yields
    /// a few times, and then sleeps until it is woken or the first timer is due.
    pub fn take(&mut self, clock: &Clock) -> Option<ExecutorId> {
        let RunQueue { queues, next_due, .. } = self.run_queue;
        let driver = self.driver.as_mut()?;
        let mut yields = 0;
        while !queues.is_stopping() {
            let now = clock.now();
            self.run_queue.fire_due(now);
            if let Some(executor) = queues.next(driver, now.0) {
                return Some(ExecutorId(executor as u32));
            }
            if yields < YIELDS_BEFORE_SLEEP {
                yields += 1;
                std::thread::yield_now();
                continue;
            }
            queues.sleep(driver, now.0, || match Time(next_due.load(Ordering::SeqCst)) {
                Time::NEVER => SLEEP_MAX,
                due => due.since(now),
            });
        }
        None
    }
}

impl Drop for DriverSeat<'_> {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            self.run_queue.queues.leave(driver);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ExecutorId = ExecutorId(0);

    #[test]
    fn a_wake_while_running_is_not_lost() {
        let (queue, clock) = (RunQueue::new(2), Clock::simulated());
        let mut driver = queue.driver().expect("there is room for one");
        queue.wake(A, Urgency::Now);
        queue.wake(A, Urgency::Now);
        assert_eq!(queue.runnable(clock.now()), [A], "it stands in the queue once");
        assert_eq!(driver.take(&clock), Some(A));
        queue.wake(A, Urgency::Now);
        queue.done(A);
        assert_eq!(driver.take(&clock), Some(A), "it was woken while it was stepped");
        queue.done(A);
        queue.wake(ExecutorId(1), Urgency::Now);
        assert_eq!(driver.take(&clock), Some(ExecutorId(1)), "there was nothing more for the first");
    }

    const B: ExecutorId = ExecutorId(1);

    fn drivers<const N: usize>(queue: &RunQueue) -> [Driver; N] {
        std::array::from_fn(|_| queue.queues.register().expect("there is room"))
    }

    /// What a driver takes, if there is anything.
    fn next(queue: &RunQueue, driver: &mut Driver) -> Option<ExecutorId> {
        queue.queues.next(driver, 0).map(|index| ExecutorId(index as u32))
    }

    /// Has a driver step an executor, which then is idle.
    fn step(queue: &RunQueue, driver: &mut Driver, id: ExecutorId) {
        queue.wake(id, Urgency::Now);
        assert_eq!(next(queue, driver), Some(id));
        queue.done(id);
    }

    #[test]
    fn an_executor_waits_for_the_driver_that_stepped_it_last() {
        let queue = RunQueue::new(2);
        let [mut one, mut two] = drivers(&queue);
        step(&queue, &mut one, A);
        assert_eq!(next(&queue, &mut one), None, "it is between two steps now");
        queue.wake(A, Urgency::Now);
        queue.wake(B, Urgency::Now);
        assert_eq!(next(&queue, &mut two), Some(B), "nobody has stepped it, so any driver may");
        assert_eq!(next(&queue, &mut two), None, "the first driver is about to take the other itself");
        assert_eq!(next(&queue, &mut one), Some(A));
    }

    #[test]
    fn a_driver_without_work_takes_what_waits_behind_a_step_of_another() {
        let queue = RunQueue::new(2);
        let [mut one, mut two] = drivers(&queue);
        step(&queue, &mut one, A);
        step(&queue, &mut one, B);
        queue.wake(A, Urgency::Now);
        assert_eq!(next(&queue, &mut one), Some(A));
        queue.wake(B, Urgency::Now);
        assert_eq!(next(&queue, &mut two), Some(B));
        queue.done(B);
        queue.wake(B, Urgency::Now);
        queue.done_with_more(A);
        assert_eq!(next(&queue, &mut two), Some(B), "the second driver is its home now");
        assert_eq!(next(&queue, &mut one), Some(A));
    }

    /// A driver that is started in place of a stuck one must not make others take executors that rest.
    #[test]
    fn a_driver_that_comes_leaves_those_at_rest_that_rest() {
        let queue = RunQueue::new(1);
        let [mut one, mut two] = drivers(&queue);
        step(&queue, &mut two, A);
        queue.set_driver_limit(1);
        assert_eq!(next(&queue, &mut two), None, "it rests");
        let [_three] = drivers(&queue);
        queue.wake(A, Urgency::Now);
        assert_eq!(next(&queue, &mut one), Some(A));
    }

    #[test]
    fn an_executor_that_is_never_done_keeps_no_other_waiting() {
        let queue = RunQueue::new(2);
        let [mut driver] = drivers(&queue);
        step(&queue, &mut driver, A);
        queue.wake(A, Urgency::Now);
        queue.wake(B, Urgency::Now);
        let turns = std::iter::from_fn(|| next(&queue, &mut driver).inspect(|id| queue.done_with_more(*id)));
        assert!(turns.take(100).any(|id| id == B));
    }

    #[test]
    fn timers_fire_in_order_and_not_before_their_time() {
        let (queue, clock) = (RunQueue::new(2), Clock::simulated());
        queue.wake_at(A, Time(2_000));
        queue.wake_at(ExecutorId(1), Time(1_000));
        assert_eq!(queue.runnable(clock.now()), []);
        clock.advance(Duration::from_nanos(1_500));
        assert_eq!(queue.runnable(clock.now()), [ExecutorId(1)]);
        assert_eq!(queue.next_timer(), Some(Time(2_000)));
    }

    #[test]
    fn a_stopped_queue_lets_every_driver_go() {
        let queue = RunQueue::new(1);
        std::thread::scope(|scope| {
            let driver = scope.spawn(|| queue.driver().expect("there is room").take(&Clock::real()));
            queue.stop();
            assert_eq!(driver.join().expect("the driver returns"), None);
        });
    }
}
