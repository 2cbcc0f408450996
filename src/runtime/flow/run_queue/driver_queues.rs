//! Decides which driver steps which executor: a queue for each driver, stealing, and the rules of waking.
//!
//! An executor is queued for the driver that stepped it last, its *home*, because that driver's core has
//! the executor's data in its caches. An executor that no driver has stepped yet is queued in a shared
//! queue, from which any driver takes.
//!
//! ```text
//!   wake ─▶ queue of the home ─▶ its driver steps it
//!      │          └─ another driver has no work ─▶ steals it, and is its home from then on
//!      └─▶ no home yet: shared queue ─▶ any driver
//! ```
//!
//! Waking a driver costs a system call in the thread that wakes it, and two context switches for the
//! driver. That pays only if the driver then has work for a while. A driver whose last burst of work was
//! shorter than [`PAYS_AFTER`] does not sleep but *naps*: for a short time no other driver wakes it. The
//! nap gets longer after each burst that did not pay. A driver that queues work for a napping driver takes
//! that work over itself after its step. Threads that are no drivers wake a napping driver at once.
//!
//! Work that is handed from core to core may cost more than a second core brings, so a driver can be told to
//! *rest* ([`DriverQueues::set_limit`]): it takes no executor any more, and the others take what waits for it.
//!
//! 1. Each executor is in one of the four states of [`RunQueue`](super::RunQueue), and stands in one queue
//!    at most: only the thread that wakes it while it is idle, or that stepped it, puts it into a queue.
//! 2. A driver first marks itself as sleeping, then looks at the queues once more, then sleeps. A thread
//!    first queues an executor, then looks for sleeping drivers. Both put a sequentially consistent fence
//!    between the two actions. So the driver sees the executor or the thread sees the sleeping driver, and
//!    no executor waits while all drivers that do not rest sleep. A driver that begins to rest wakes another for
//!    what is in its queue.
//! 3. A queue is served in order, and a driver looks at the shared queue after at most [`OWN_IN_A_ROW`]
//!    executors of its own queue, so no executor waits for ever.
//!
//! One file, because pushing, stealing and sleeping are one protocol, and loom tries it as a whole.
//!
//! This file is compiled a second time with the types of loom, which tries all interleavings
//! (`tests/run_queue_models.rs`): hence `super::sync`, and nothing else from the crate.

use std::collections::VecDeque;
use std::time::Duration;

use super::sync::{
    AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering, Parker, PoisonError, fence,
};

/// A burst of work that lasts at least this long is worth waking a driver.
pub const PAYS_AFTER: Duration = Duration::from_micros(50);
/// The first nap after a burst that was too short; each further nap is twice as long.
const NAP_MIN: Duration = Duration::from_micros(50);
/// The longest nap.
pub const NAP_MAX: Duration = Duration::from_millis(1);
/// How long a driver sleeps that rests, unless it is woken before.
const REST_MAX: Duration = Duration::from_secs(3600);
/// After this many executors of its own queue, a driver looks at the shared queue first.
const OWN_IN_A_ROW: u32 = 16;

/// The state of an executor is a set of these bits. No bit: it is idle. `WOKEN` alone: it stands in a
/// queue, or is being put there. `RUNNING` alone: it is being stepped. Both: it was woken while it was
/// stepped, and is queued again afterwards.
///
/// All changes are read-modify-write, so each sees the latest state. Either the next step sees what the
/// waking thread wrote before its wake, or the wake sees `RUNNING`.
const IDLE: u8 = 0;
const WOKEN: u8 = 1;
const RUNNING: u8 = 2;

/// The home of an executor that no driver has stepped yet.
const NO_HOME: u32 = u32::MAX;
/// The home of an executor that has a thread of its own.
const DEDICATED: u32 = u32::MAX - 1;

/// The activity of a driver, as other threads see it.
/// Between two steps.
const AWAKE: u8 = 0;
/// In a step.
const STEPPING: u8 = 1;
/// Sleeps for a short time. Other drivers do not wake it.
const NAPPING: u8 = 2;
/// Sleeps until it is woken or a timer is due.
const ASLEEP: u8 = 3;
/// Both ways to sleep.
const SLEEPS: &[u8] = &[ASLEEP, NAPPING];

/// Where an executor was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// In the queue of a driver, or in the shared one.
    ForDrivers,
    /// In no queue: the caller must unpark the executor's own thread.
    Dedicated,
}

/// The state of a driver that only its own thread uses.
#[derive(Debug)]
pub struct Driver {
    index: usize,
    /// Executors taken from its own queue since it last looked at the shared one.
    own_in_a_row: u32,
    /// When it last found work after a sleep, in nanoseconds; `None` while it has found none.
    busy_since: Option<u64>,
    /// How long it naps after the next burst that does not pay.
    nap: Duration,
    /// Whether it found that it must rest.
    is_resting: bool,
}

/// One driver's queue. Aligned, so that drivers do not share cache lines.
#[repr(align(128))]
struct DriverQueue {
    waiting: Mutex<Waiting>,
    /// How many wait. Written under the lock, read without it.
    len: AtomicUsize,
    /// One of [`AWAKE`] to [`ASLEEP`].
    activity: AtomicU8,
    parker: Parker,
}

struct Waiting {
    executors: VecDeque<usize>,
    place: Place,
}

/// Who serves a queue. Only in a queue that is served, executors are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No driver has it.
    Vacant,
    Served,
    /// Its driver rests.
    Resting,
}

/// The queues of all drivers, and the states of all executors.
pub struct DriverQueues {
    states: Box<[AtomicU8]>,
    /// By executor: the driver that stepped it last.
    homes: Box<[AtomicU32]>,
    drivers: Box<[DriverQueue]>,
    /// How many places of `drivers` were ever registered. The places after them were never used.
    used: AtomicUsize,
    /// Executors that wait and have no home yet.
    shared: Mutex<VecDeque<usize>>,
    shared_len: AtomicUsize,
    /// How many drivers are [`ASLEEP`] or [`NAPPING`].
    sleeping: AtomicUsize,
    /// The drivers in the places from this one on rest.
    limit: AtomicUsize,
    /// Whether an executor was queued without waking its driver. Set by the thread that queues it; cleared
    /// by the next [`hand_over`](DriverQueues::hand_over) or [`next`](DriverQueues::next).
    is_deferred: AtomicBool,
    is_stopping: AtomicBool,
}

impl DriverQueue {
    /// Whether other drivers may steal from the queue. If the driver is between two steps, they leave it
    /// one executor, because it is about to take that one itself.
    fn has_spare_work(&self) -> bool {
        match self.activity.load(Ordering::Relaxed) {
            AWAKE => self.len.load(Ordering::Acquire) > 1,
            _ => self.has_work(),
        }
    }

    fn is_sleeping(&self) -> bool {
        matches!(self.activity.load(Ordering::Relaxed), ASLEEP | NAPPING)
    }

    fn has_work(&self) -> bool {
        self.len.load(Ordering::Acquire) > 0
    }
}

impl Driver {
    /// Ends a burst of work; returns how long to nap, if the burst did not pay for a wake.
    fn end_burst(&mut self, now: u64) -> Option<Duration> {
        let busy = Duration::from_nanos(now.saturating_sub(self.busy_since.take()?));
        if busy >= PAYS_AFTER {
            self.nap = NAP_MIN;
            return None;
        }
        let nap = self.nap;
        self.nap = (nap * 2).min(NAP_MAX);
        Some(nap)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing can panic while a queue is half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DriverQueues {
    /// For this many executors, all idle, and at most `drivers_max` drivers.
    pub fn new(executors: usize, drivers_max: usize) -> DriverQueues {
        let queue = |_| DriverQueue {
            waiting: Mutex::new(Waiting { executors: VecDeque::new(), place: Place::Vacant }),
            len: AtomicUsize::new(0),
            activity: AtomicU8::new(AWAKE),
            parker: Parker::default(),
        };
        DriverQueues {
            states: (0..executors).map(|_| AtomicU8::new(IDLE)).collect(),
            homes: (0..executors).map(|_| AtomicU32::new(NO_HOME)).collect(),
            drivers: (0..drivers_max).map(queue).collect(),
            used: AtomicUsize::new(0),
            shared: Mutex::new(VecDeque::new()),
            shared_len: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            is_deferred: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        }
    }

    // ---- Drivers come and go ----

    /// Opens a queue for one more driver; `None` if there are `drivers_max` already.
    pub fn register(&self) -> Option<Driver> {
        let index = self.drivers.iter().position(|driver| {
            let mut waiting = lock(&driver.waiting);
            let is_vacant = waiting.place == Place::Vacant;
            if is_vacant {
                waiting.place = Place::Served;
            }
            is_vacant
        })?;
        self.drivers[index].activity.store(AWAKE, Ordering::SeqCst);
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        Some(Driver { index, own_in_a_row: 0, busy_since: None, nap: NAP_MIN, is_resting: false })
    }

    /// Closes the queue of a driver. Executors that wait in it move to the shared queue.
    pub fn leave(&self, driver: Driver) {
        self.close(driver.index, Place::Vacant);
        self.drivers[driver.index].activity.store(AWAKE, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.wake_any(SLEEPS);
    }

    /// Gives an executor a thread of its own: no driver steps it from now on.
    pub fn dedicate(&self, executor: usize) {
        // Under the lock, so that no wake puts the executor into the queue afterwards.
        let mut shared = lock(&self.shared);
        shared.retain(|queued| *queued != executor);
        self.shared_len.store(shared.len(), Ordering::Release);
        self.homes[executor].store(DEDICATED, Ordering::SeqCst);
    }

    // ---- Executors become runnable ----

    /// Marks an executor as woken; returns whether the caller must queue it.
    pub fn mark(&self, executor: usize) -> bool {
        self.states[executor].fetch_or(WOKEN, Ordering::AcqRel) == IDLE
    }

    /// Queues an executor that was marked, and wakes a driver for it at once.
    pub fn queue_now(&self, executor: usize) -> Queued {
        self.queue_and_wake(executor, SLEEPS)
    }

    /// Queues an executor that was marked, and wakes a driver for it, but none that naps. Only for calls
    /// from within a step: the thread must call [`hand_over`](DriverQueues::hand_over) or
    /// [`next`](DriverQueues::next) after the step.
    pub fn queue_soon(&self, executor: usize) -> Queued {
        let queued = self.queue_and_wake(executor, &[ASLEEP]);
        self.defer();
        queued
    }

    fn queue_and_wake(&self, executor: usize, sleeps: &[u8]) -> Queued {
        let home = self.queue(executor);
        fence(Ordering::SeqCst);
        match home {
            DEDICATED => return Queued::Dedicated,
            NO_HOME => self.wake_any(sleeps),
            home => {
                if !self.wake_driver(home as usize, sleeps) {
                    self.wake_any(sleeps);
                }
            }
        }
        Queued::ForDrivers
    }

    /// Notes that an executor was queued whose driver may be asleep.
    fn defer(&self) {
        // If the flag is still set, the thread that clears it sees what was queued before the fence.
        fence(Ordering::SeqCst);
        if !self.is_deferred.load(Ordering::Relaxed) {
            self.is_deferred.store(true, Ordering::Release);
        }
    }

    /// Queues an executor that was marked, and wakes no driver. The caller must call
    /// [`hand_over`](DriverQueues::hand_over) or [`next`](DriverQueues::next) soon.
    pub fn queue_deferred(&self, executor: usize) -> Queued {
        if self.queue(executor) == DEDICATED {
            return Queued::Dedicated;
        }
        self.defer();
        Queued::ForDrivers
    }

    /// Puts an executor into a queue; returns its home.
    fn queue(&self, executor: usize) -> u32 {
        let home = self.homes[executor].load(Ordering::SeqCst);
        if let Some(driver) = self.drivers.get(home as usize) {
            let mut waiting = lock(&driver.waiting);
            if waiting.place == Place::Served {
                waiting.executors.push_back(executor);
                driver.len.store(waiting.executors.len(), Ordering::Release);
                return home;
            }
        }
        if home == DEDICATED || !self.queue_shared(executor) { DEDICATED } else { NO_HOME }
    }

    /// Puts an executor into the shared queue, unless it has a thread of its own.
    fn queue_shared(&self, executor: usize) -> bool {
        let mut shared = lock(&self.shared);
        if self.homes[executor].load(Ordering::SeqCst) == DEDICATED {
            return false;
        }
        shared.push_back(executor);
        self.shared_len.store(shared.len(), Ordering::Release);
        true
    }

    /// Wakes a driver that does not rest, if its activity is one of `sleeps`; returns whether it woke the driver.
    /// The caller must have put a sequentially consistent fence before it.
    fn wake_driver(&self, index: usize, sleeps: &[u8]) -> bool {
        !self.must_rest(index) && self.unpark(&self.drivers[index], sleeps)
    }

    fn unpark(&self, driver: &DriverQueue, sleeps: &[u8]) -> bool {
        let activity = driver.activity.load(Ordering::Relaxed);
        if !sleeps.contains(&activity) {
            return false;
        }
        // If this fails, the driver has woken by itself or by another thread, and will look at the queues.
        let woken = driver.activity.compare_exchange(activity, AWAKE, Ordering::SeqCst, Ordering::Relaxed);
        if woken.is_ok() {
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
            driver.parker.unpark();
        }
        woken.is_ok()
    }

    /// Wakes any one driver whose activity is one of `sleeps`. It will take from the shared queue or steal.
    /// The caller must have put a sequentially consistent fence before it.
    fn wake_any(&self, sleeps: &[u8]) {
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            let _ = (0..self.used_drivers().len()).any(|index| self.wake_driver(index, sleeps));
        }
    }

    /// Wakes one driver, because the first timer is now due earlier.
    pub fn wake_for_timer(&self) {
        fence(Ordering::SeqCst);
        self.wake_any(SLEEPS);
    }

    fn used_drivers(&self) -> &[DriverQueue] {
        &self.drivers[..self.used.load(Ordering::Acquire)]
    }

    /// Wakes drivers for executors that were queued without waking one. Called by dedicated threads, within
    /// and after each step.
    pub fn hand_over(&self) {
        if self.take_deferred() {
            self.wake_for_all();
        }
    }

    /// Takes the mark of [`defer`](DriverQueues::defer) away; returns whether it was set.
    fn take_deferred(&self) -> bool {
        let was_set =
            self.is_deferred.load(Ordering::Relaxed) && self.is_deferred.swap(false, Ordering::AcqRel);
        if was_set {
            fence(Ordering::SeqCst);
        }
        was_set
    }

    /// Wakes drivers for all executors that wait, for example behind a long step of their driver.
    pub fn rescue(&self) {
        fence(Ordering::SeqCst);
        self.wake_for_all();
    }

    /// The caller must have put a sequentially consistent fence before it.
    fn wake_for_all(&self) {
        if self.sleeping.load(Ordering::SeqCst) == 0 {
            return;
        }
        if self.shared_len.load(Ordering::Acquire) > 0 {
            self.wake_any(SLEEPS);
        }
        for (index, driver) in self.used_drivers().iter().enumerate() {
            if driver.has_work() && !self.wake_driver(index, SLEEPS) {
                self.wake_any(SLEEPS);
            }
        }
    }

    // ---- Drivers rest ----

    /// Lets at most so many drivers step executors, but at least one; the others rest.
    pub fn set_limit(&self, limit: usize) {
        let before = self.limit.swap(limit.max(1), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        for index in before..limit.min(self.used_drivers().len()) {
            self.wake_driver(index, SLEEPS);
        }
    }

    fn must_rest(&self, index: usize) -> bool {
        index >= self.limit.load(Ordering::Relaxed)
    }

    /// Has a driver rest: what waits for it, and what its last step woke, is for the others. It may have been
    /// woken in place of another one, so it looks for the others each time.
    fn rest(&self, driver: &mut Driver) {
        driver.is_resting = true;
        self.close(driver.index, Place::Resting);
        self.rescue();
    }

    /// Moves what waits for a driver to the shared queue. Its queue is vacant or resting from now on.
    fn close(&self, index: usize, place: Place) {
        let queue = &self.drivers[index];
        let left = {
            let mut waiting = lock(&queue.waiting);
            waiting.place = place;
            queue.len.store(0, Ordering::SeqCst);
            std::mem::take(&mut waiting.executors)
        };
        for executor in left {
            self.queue_shared(executor);
        }
    }

    // ---- Drivers take executors ----

    /// The next executor for a driver to step. It counts as running from now on, and the driver is its
    /// home. `now` is in nanoseconds.
    pub fn next(&self, driver: &mut Driver, now: u64) -> Option<usize> {
        let own = &self.drivers[driver.index];
        own.activity.store(AWAKE, Ordering::Relaxed);
        if self.must_rest(driver.index) {
            self.rest(driver);
            return None;
        }
        if std::mem::take(&mut driver.is_resting) {
            lock(&own.waiting).place = Place::Served;
        }
        if self.take_deferred() {
            self.adopt(driver);
        }
        let executor = self.take_own_or_shared(driver).or_else(|| self.steal(driver))?;
        driver.busy_since.get_or_insert(now);
        self.homes[executor].store(driver.index as u32, Ordering::Relaxed);
        self.states[executor].swap(RUNNING, Ordering::AcqRel);
        own.activity.store(STEPPING, Ordering::Relaxed);
        // More executors wait while this driver steps one, so another driver is woken for them.
        if own.has_work() || self.shared_len.load(Ordering::Acquire) > 0 {
            fence(Ordering::SeqCst);
            self.wake_any(&[ASLEEP]);
        }
        Some(executor)
    }

    /// Moves executors that wait for sleeping drivers to this driver's own queue, which is cheaper than
    /// waking these drivers. If much was moved, [`next`](DriverQueues::next) wakes one that is [`ASLEEP`].
    fn adopt(&self, driver: &Driver) {
        if self.sleeping.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (index, other) in self.used_drivers().iter().enumerate() {
            if index == driver.index || !other.has_work() || !other.is_sleeping() {
                continue;
            }
            while let Some(executor) = self.take_from(index) {
                let own = &self.drivers[driver.index];
                let mut waiting = lock(&own.waiting);
                waiting.executors.push_back(executor);
                own.len.store(waiting.executors.len(), Ordering::Release);
            }
        }
    }

    fn take_own_or_shared(&self, driver: &mut Driver) -> Option<usize> {
        if driver.own_in_a_row < OWN_IN_A_ROW
            && let Some(executor) = self.take_from(driver.index)
        {
            driver.own_in_a_row += 1;
            return Some(executor);
        }
        driver.own_in_a_row = 0;
        if let Some(executor) = self.take_shared() {
            return Some(executor);
        }
        self.take_from(driver.index)
    }

    fn take_from(&self, index: usize) -> Option<usize> {
        let driver = &self.drivers[index];
        if driver.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut waiting = lock(&driver.waiting);
        let executor = waiting.executors.pop_front();
        driver.len.store(waiting.executors.len(), Ordering::Release);
        executor
    }

    fn take_shared(&self) -> Option<usize> {
        if self.shared_len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut shared = lock(&self.shared);
        let executor = shared.pop_front();
        self.shared_len.store(shared.len(), Ordering::Release);
        executor
    }

    /// Takes an executor from the queue of another driver.
    fn steal(&self, driver: &Driver) -> Option<usize> {
        let used = self.used.load(Ordering::Acquire);
        let others = (1..used).map(|step| (driver.index + step) % used);
        others.filter(|other| self.drivers[*other].has_spare_work()).find_map(|other| self.take_from(other))
    }

    /// Sleeps or naps, unless an executor was queued since the driver found none. `at_most` is called after
    /// the driver is marked as sleeping. So a timer that is set before that is seen by `at_most`, and the
    /// thread that sets one later sees the mark and wakes a driver.
    pub fn sleep(&self, driver: &mut Driver, now: u64, at_most: impl FnOnce() -> Duration) {
        let own = &self.drivers[driver.index];
        let nap = driver.end_burst(now).filter(|_| !driver.is_resting);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        own.activity.store(if nap.is_some() { NAPPING } else { ASLEEP }, Ordering::Release);
        fence(Ordering::SeqCst);
        if !self.is_wanted(driver) {
            let at_most = if driver.is_resting { REST_MAX } else { at_most() };
            own.parker.park(nap.map_or(at_most, |nap| nap.min(at_most)));
        }
        if own.activity.swap(AWAKE, Ordering::SeqCst) != AWAKE {
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether a driver must not sleep: its last look at the queues, see invariant 2.
    fn is_wanted(&self, driver: &Driver) -> bool {
        if self.is_stopping.load(Ordering::SeqCst) {
            return true;
        }
        if driver.is_resting {
            return !self.must_rest(driver.index);
        }
        self.shared_len.load(Ordering::Acquire) > 0
            || self.drivers[driver.index].has_work()
            || self.used_drivers().iter().any(DriverQueue::has_spare_work)
    }

    // ---- Steps end ----

    /// After a step that left work to do: back to the end of the queue. Its home is the driver that stepped
    /// it, which is awake and takes the next executor itself, so nobody is woken.
    pub fn done_with_more(&self, executor: usize) -> Queued {
        self.states[executor].swap(WOKEN, Ordering::AcqRel);
        if self.queue(executor) == DEDICATED { Queued::Dedicated } else { Queued::ForDrivers }
    }

    /// After a step that ran out of work: the executor becomes idle, unless it was woken during the step.
    /// Returns whether the caller must queue it again.
    pub fn done(&self, executor: usize) -> bool {
        let state = &self.states[executor];
        state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err()
    }

    // ---- Dedicated threads ----

    /// For a dedicated thread: whether its executor is to be stepped now.
    pub fn take_dedicated(&self, executor: usize) -> bool {
        let state = &self.states[executor];
        state.compare_exchange(WOKEN, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    // ---- The simulation ----

    /// The executors that wait, in the order in which they were queued, if no driver is registered.
    pub fn waiting(&self) -> Vec<usize> {
        lock(&self.shared).iter().copied().collect()
    }

    /// Takes one of the executors that [`waiting`](DriverQueues::waiting) returned.
    pub fn take_chosen(&self, executor: usize) {
        let mut shared = lock(&self.shared);
        shared.retain(|queued| *queued != executor);
        self.shared_len.store(shared.len(), Ordering::Release);
        self.states[executor].swap(RUNNING, Ordering::AcqRel);
    }

    // ---- The end ----

    /// Wakes all drivers for good.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        for driver in self.used_drivers() {
            self.unpark(driver, SLEEPS);
        }
    }

    /// Whether [`stop`](DriverQueues::stop) was called.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }
}
