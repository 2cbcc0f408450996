//! Which executors are to be stepped, and when.
//!
//! Shared by everything that wakes executors and by whoever steps them: the driver threads, the
//! dedicated threads of blocking executors, and the simulation. An executor is in one of four
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
//! 1. An executor stands in the queue at most once, and is stepped by one thread at a time.
//! 2. A wake that happens after an executor looked at its inbox and before it went idle is not
//!    lost: it turns Running into dirty, and dirty goes back to the queue.
//! 3. Whoever waits may be woken for nothing; nobody who is needed sleeps: a thread that stepped an
//!    executor either takes the next one from the queue itself, or calls [`RunQueue::hand_over`].
//!    A driver that takes an executor and leaves others in the queue wakes another driver.
//! 4. An executor with a thread of its own is never in the queue.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crate::clock::{Clock, Time};
use crate::topology::plan::ExecutorId;

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const DIRTY: u8 = 3;

/// A driver without work gives way so often before it sleeps: waking it costs its waker a system
/// call, and under load work comes within microseconds.
const YIELDS_BEFORE_SLEEP: u32 = 8;

/// When a sleeping driver is notified of new work in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At once.
    Now,
    /// At the end of the step in which the caller is. The thread that steps sees to it, whatever
    /// kind of thread it is: a driver looks at the queue after each step, every other thread calls
    /// [`RunQueue::hand_over`].
    WhenDone,
}

#[derive(Default)]
struct Ready {
    queue: VecDeque<ExecutorId>,
    timers: BinaryHeap<Reverse<(Time, ExecutorId)>>,
}

/// The queue of runnable executors, and their timers.
pub struct RunQueue {
    ready: Mutex<Ready>,
    sleepers: Condvar,
    sleeping: AtomicUsize,
    states: Box<[AtomicU8]>,
    /// The threads of blocking executors; those never stand in the queue.
    dedicated: Box<[OnceLock<Thread>]>,
    stopping: AtomicBool,
}

impl RunQueue {
    /// A queue for so many executors, all idle.
    pub fn new(executors: usize) -> RunQueue {
        RunQueue {
            ready: Mutex::default(),
            sleepers: Condvar::new(),
            sleeping: AtomicUsize::new(0),
            states: (0..executors).map(|_| AtomicU8::new(IDLE)).collect(),
            dedicated: (0..executors).map(|_| OnceLock::new()).collect(),
            stopping: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ready> {
        // Nothing can panic while the queue is half-changed.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, id: ExecutorId) -> &AtomicU8 {
        &self.states[id.0 as usize]
    }

    /// Says that `thread` steps this executor, and nobody else does. The thread is unparked, because
    /// the executor may have been woken before.
    pub fn dedicate(&self, id: ExecutorId, thread: Thread) {
        // Under the lock, so that no wake puts the executor in the queue afterwards.
        let mut ready = self.lock();
        ready.queue.retain(|queued| *queued != id);
        let _ = self.dedicated[id.0 as usize].set(thread.clone());
        drop(ready);
        thread.unpark();
    }

    /// Makes an executor runnable.
    pub fn wake(&self, id: ExecutorId, urgency: Urgency) {
        let state = self.state(id);
        // AcqRel: what the waker wrote before is seen by the step that follows.
        let before = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| match now {
            IDLE => Some(QUEUED),
            RUNNING => Some(DIRTY),
            _ => None,
        });
        if before == Ok(IDLE) {
            self.enqueue(id, urgency);
        }
    }

    fn enqueue(&self, id: ExecutorId, urgency: Urgency) {
        let mut ready = self.lock();
        if let Some(thread) = self.dedicated[id.0 as usize].get() {
            drop(ready);
            thread.unpark();
            return;
        }
        ready.queue.push_back(id);
        drop(ready);
        if urgency == Urgency::Now && self.sleeping.load(Ordering::SeqCst) > 0 {
            self.sleepers.notify_one();
        }
    }

    /// Notifies a sleeping driver if executors wait in the queue. Called by every thread that stepped
    /// an executor and does not take the next one from the queue: the dedicated thread of a blocking
    /// executor after each step, and a driver that leaves.
    pub fn hand_over(&self) {
        if self.sleeping.load(Ordering::SeqCst) > 0 && !self.lock().queue.is_empty() {
            self.sleepers.notify_one();
        }
    }

    /// Wakes an executor at a time.
    pub fn wake_at(&self, id: ExecutorId, at: Time) {
        self.lock().timers.push(Reverse((at, id)));
        // A sleeping driver may have to sleep less.
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            self.sleepers.notify_one();
        }
    }

    /// Moves everything whose time has come to the queue.
    fn fire_due(&self, ready: &mut Ready, now: Time) {
        while let Some(Reverse((at, id))) = ready.timers.peek().copied() {
            if at > now {
                return;
            }
            ready.timers.pop();
            let before =
                self.state(id).fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
                    IDLE => Some(QUEUED),
                    RUNNING => Some(DIRTY),
                    _ => None,
                });
            if before == Ok(IDLE) {
                ready.queue.push_back(id);
            }
        }
    }

    /// For a driver: the next executor to step, waiting for one; `None` when the worker stops.
    pub fn take(&self, clock: &Clock) -> Option<ExecutorId> {
        let mut yields = 0;
        let mut ready = self.lock();
        loop {
            if self.stopping.load(Ordering::Acquire) {
                return None;
            }
            let now = clock.now();
            self.fire_due(&mut ready, now);
            if let Some(id) = ready.queue.pop_front() {
                let more = !ready.queue.is_empty();
                drop(ready);
                if more && self.sleeping.load(Ordering::SeqCst) > 0 {
                    self.sleepers.notify_one();
                }
                self.state(id).store(RUNNING, Ordering::Release);
                return Some(id);
            }
            if yields < YIELDS_BEFORE_SLEEP {
                yields += 1;
                drop(ready);
                std::thread::yield_now();
                ready = self.lock();
                continue;
            }
            let next_timer = ready.timers.peek().map(|Reverse((at, _))| at.since(now));
            let nap = next_timer.unwrap_or(Duration::from_secs(3600));
            self.sleeping.fetch_add(1, Ordering::SeqCst);
            ready = self.sleepers.wait_timeout(ready, nap).unwrap_or_else(PoisonError::into_inner).0;
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// For the simulation: the runnable executors, of which it picks one with
    /// [`take_chosen`](RunQueue::take_chosen).
    pub fn runnable(&self, now: Time) -> Vec<ExecutorId> {
        let mut ready = self.lock();
        self.fire_due(&mut ready, now);
        ready.queue.iter().copied().collect()
    }

    /// For the simulation: takes one that [`runnable`](RunQueue::runnable) named.
    pub fn take_chosen(&self, id: ExecutorId) {
        self.lock().queue.retain(|queued| *queued != id);
        self.state(id).store(RUNNING, Ordering::Release);
    }

    /// When the next timer fires.
    pub fn next_timer(&self) -> Option<Time> {
        self.lock().timers.peek().map(|Reverse((at, _))| *at)
    }

    /// For a dedicated thread: whether its executor is to be stepped now.
    pub fn take_dedicated(&self, id: ExecutorId) -> bool {
        let queued = |now| if now == QUEUED { Some(RUNNING) } else { None };
        self.state(id).fetch_update(Ordering::AcqRel, Ordering::Acquire, queued).is_ok()
    }

    /// For a dedicated thread: whether something came since its last step.
    pub fn is_queued(&self, id: ExecutorId) -> bool {
        self.state(id).load(Ordering::Acquire) == QUEUED
    }

    /// For a dedicated thread whose timer fired.
    pub fn queue_dedicated(&self, id: ExecutorId) {
        let _ = self.state(id).compare_exchange(IDLE, QUEUED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// After a step that left work to do: back to the end of the queue.
    pub fn done_with_more(&self, id: ExecutorId) {
        self.state(id).store(QUEUED, Ordering::Release);
        self.enqueue(id, Urgency::WhenDone);
    }

    /// After a step that ran out of work: idle, unless something came meanwhile.
    pub fn done(&self, id: ExecutorId) {
        let idle = self.state(id).compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire);
        if idle.is_err() {
            self.done_with_more(id);
        }
    }

    #[cfg(test)]
    /// Executors waiting to be stepped.
    pub fn backlog(&self) -> usize {
        self.lock().queue.len()
    }

    /// Ends all waiting for good.
    pub fn stop(&self) {
        // Under the lock, so that no driver is between its look at the flag and its sleep.
        let ready = self.lock();
        self.stopping.store(true, Ordering::Release);
        drop(ready);
        self.sleepers.notify_all();
        self.dedicated.iter().filter_map(OnceLock::get).for_each(Thread::unpark);
    }

    /// Whether [`stop`](RunQueue::stop) was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ExecutorId = ExecutorId(0);

    #[test]
    fn a_wake_while_running_is_not_lost() {
        let (queue, clock) = (RunQueue::new(1), Clock::simulated());
        queue.wake(A, Urgency::Now);
        queue.wake(A, Urgency::Now);
        assert_eq!(queue.backlog(), 1, "it stands in the queue once");
        assert_eq!(queue.take(&clock), Some(A));
        queue.wake(A, Urgency::Now);
        assert_eq!(queue.backlog(), 0, "it is being stepped");
        queue.done(A);
        assert_eq!(queue.backlog(), 1);
        assert_eq!(queue.take(&clock), Some(A));
        queue.done(A);
        assert_eq!(queue.backlog(), 0);
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
            let driver = scope.spawn(|| queue.take(&Clock::real()));
            queue.stop();
            assert_eq!(driver.join().expect("the driver returns"), None);
        });
    }
}
