//! Which driver steps which executor: a queue for each driver, stealing, and who wakes whom.
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
//! Waking a driver costs its waker a system call, and the woken driver the way there and back. That pays
//! if the driver then has work for a while. A driver whose work lasted for less than [`PAYS_AFTER`] does
//! not sleep but *naps*: for a short time, longer after each burst that did not pay, no other driver wakes
//! it. Whoever would have woken it takes the work instead. Threads that are no drivers wake it as ever.
//!
//! 1. Each executor is in one of the four states of [`RunQueue`](super::RunQueue), and stands in one queue
//!    at most: only the thread that wakes it while it is idle, or that stepped it, puts it into a queue.
//! 2. A driver announces that it sleeps, then looks at the queues once more, then sleeps. A thread that
//!    queues an executor does so first and looks for sleepers then. Both put a sequentially consistent
//!    fence between the two, so one of them sees the other, and no executor waits while all drivers sleep.
//! 3. A queue is served in order, and the shared queue is looked at after at most [`OWN_IN_A_ROW`]
//!    executors of the driver's own, so none waits for ever.
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

/// Work that lasts for so long is worth the wake of a driver.
pub const PAYS_AFTER: Duration = Duration::from_micros(50);
/// The first nap after work that was not; each further one is twice as long.
const NAP_MIN: Duration = Duration::from_micros(50);
/// The longest nap.
pub const NAP_MAX: Duration = Duration::from_millis(1);
/// After so many executors of its own queue a driver looks at the shared queue first.
const OWN_IN_A_ROW: u32 = 16;

/// The state of an executor is a set of these bits. Neither: it is idle. `WOKEN` alone: it stands in a
/// queue, or is being put there. Both: it was woken while it runs, and is queued again afterwards.
///
/// All changes are read-modify-write, so each sees the latest state: either the step that follows a wake
/// sees what the waker wrote before it, or the wake sees `RUNNING`.
const IDLE: u8 = 0;
const WOKEN: u8 = 1;
const RUNNING: u8 = 2;

/// The home of an executor that no driver has stepped yet.
const NO_HOME: u32 = u32::MAX;
/// The home of an executor that has a thread of its own.
const DEDICATED: u32 = u32::MAX - 1;

/// What a driver does, as others see it.
/// Between two steps.
const AWAKE: u8 = 0;
/// In a step.
const STEPPING: u8 = 1;
/// Sleeps for a short time. Other drivers do not wake it.
const NAPPING: u8 = 2;
/// Sleeps until it is woken or a timer is due.
const ASLEEP: u8 = 3;

/// Where an executor was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// In the queue of a driver, or in the shared one.
    ForDrivers,
    /// Nowhere: its own thread is to be unparked.
    Dedicated,
}

/// A driver's own view. It is kept by the thread.
#[derive(Debug)]
pub struct Driver {
    index: usize,
    /// Executors taken from its own queue since it last looked at the shared one.
    own_in_a_row: u32,
    /// When it last found work after a sleep, in nanoseconds; `None` while it has found none.
    busy_since: Option<u64>,
    /// How long it naps after the next burst that does not pay.
    nap: Duration,
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
    /// Whether a driver serves the queue.
    is_open: bool,
}

/// The queues of all drivers, and the states of all executors.
pub struct DriverQueues {
    states: Box<[AtomicU8]>,
    /// By executor: the driver that stepped it last.
    homes: Box<[AtomicU32]>,
    drivers: Box<[DriverQueue]>,
    /// Drivers that were ever registered: those after them have never been used.
    used: AtomicUsize,
    /// What has no home yet.
    shared: Mutex<VecDeque<usize>>,
    shared_len: AtomicUsize,
    /// Drivers that are [`ASLEEP`].
    sleeping: AtomicUsize,
    /// Whether something was queued since the last [`hand_over`](DriverQueues::hand_over) whose driver was
    /// not woken for it.
    is_deferred: AtomicBool,
    is_stopping: AtomicBool,
}

impl DriverQueue {
    /// Whether other drivers may take what waits. A driver between two steps takes the next one itself.
    fn has_prey(&self) -> bool {
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
    /// For so many executors, all idle, and so many drivers at most.
    pub fn new(executors: usize, drivers_max: usize) -> DriverQueues {
        let queue = |_| DriverQueue {
            waiting: Mutex::new(Waiting { executors: VecDeque::new(), is_open: false }),
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
            is_deferred: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        }
    }

    // ---- Drivers come and go ----

    /// A queue for one more driver; `None` if there are as many as there may be.
    pub fn register(&self) -> Option<Driver> {
        let index = self.drivers.iter().position(|driver| {
            let mut waiting = lock(&driver.waiting);
            !std::mem::replace(&mut waiting.is_open, true)
        })?;
        self.drivers[index].activity.store(AWAKE, Ordering::SeqCst);
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        Some(Driver { index, own_in_a_row: 0, busy_since: None, nap: NAP_MIN })
    }

    /// Ends the queue of a driver. What waits in it is left to the others.
    pub fn leave(&self, driver: Driver) {
        let queue = &self.drivers[driver.index];
        let left = {
            let mut waiting = lock(&queue.waiting);
            waiting.is_open = false;
            queue.len.store(0, Ordering::SeqCst);
            std::mem::take(&mut waiting.executors)
        };
        queue.activity.store(AWAKE, Ordering::SeqCst);
        for executor in left {
            self.queue_shared(executor);
        }
        fence(Ordering::SeqCst);
        self.wake_any(&[ASLEEP, NAPPING]);
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

    /// Notes that an executor has something to do; says whether it must be queued for it.
    pub fn mark(&self, executor: usize) -> bool {
        self.states[executor].fetch_or(WOKEN, Ordering::AcqRel) == IDLE
    }

    /// Queues an executor that was marked, and wakes a driver for it at once.
    pub fn queue_now(&self, executor: usize) -> Queued {
        self.queue_and_wake(executor, &[ASLEEP, NAPPING])
    }

    /// Queues an executor that was marked, and wakes a driver for it, unless all that sleep nap. The
    /// caller is a step, so its thread calls [`hand_over`](DriverQueues::hand_over) or
    /// [`next`](DriverQueues::next) when it ends.
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
                if !self.wake_driver(&self.drivers[home as usize], sleeps) {
                    self.wake_any(sleeps);
                }
            }
        }
        Queued::ForDrivers
    }

    /// Notes that something was queued whose driver may sleep.
    fn defer(&self) {
        // If the flag is set still, whoever takes it away sees what was queued before the fence.
        fence(Ordering::SeqCst);
        if !self.is_deferred.load(Ordering::Relaxed) {
            self.is_deferred.store(true, Ordering::Release);
        }
    }

    /// Queues an executor that was marked. The caller calls [`hand_over`](DriverQueues::hand_over) or
    /// [`next`](DriverQueues::next) soon.
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
            if waiting.is_open {
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

    /// Wakes a driver if it sleeps in one of these ways; says whether it did. The caller has put a
    /// sequentially consistent fence before it.
    fn wake_driver(&self, driver: &DriverQueue, sleeps: &[u8]) -> bool {
        let activity = driver.activity.load(Ordering::Relaxed);
        if !sleeps.contains(&activity) {
            return false;
        }
        // If it fails, the driver has woken by itself, and looks at the queues after that.
        let woken = driver.activity.compare_exchange(activity, AWAKE, Ordering::SeqCst, Ordering::Relaxed);
        if woken.is_ok() {
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
            driver.parker.unpark();
        }
        woken.is_ok()
    }

    /// Wakes one driver that sleeps in one of these ways, whichever: it takes what is shared, or steals
    /// what waits. The caller has put a sequentially consistent fence before it.
    fn wake_any(&self, sleeps: &[u8]) {
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            let _ = self.used_drivers().iter().any(|driver| self.wake_driver(driver, sleeps));
        }
    }

    /// Wakes one driver, so that it sees that the first timer is due earlier.
    pub fn wake_for_timer(&self) {
        fence(Ordering::SeqCst);
        self.wake_any(&[ASLEEP, NAPPING]);
    }

    fn used_drivers(&self) -> &[DriverQueue] {
        &self.drivers[..self.used.load(Ordering::Acquire)]
    }

    /// Wakes drivers for what was queued without waking one. Called by threads that are no drivers after
    /// they stepped an executor.
    pub fn hand_over(&self) {
        if !self.is_deferred.load(Ordering::Relaxed) || !self.is_deferred.swap(false, Ordering::AcqRel) {
            return;
        }
        fence(Ordering::SeqCst);
        self.wake_for_all(&[ASLEEP, NAPPING]);
    }

    /// Wakes a driver if something waits and one sleeps: for what waits behind a long step.
    pub fn rescue(&self) {
        fence(Ordering::SeqCst);
        self.wake_for_all(&[ASLEEP, NAPPING]);
    }

    fn wake_for_all(&self, sleeps: &[u8]) {
        if self.sleeping.load(Ordering::SeqCst) == 0 {
            return;
        }
        if self.shared_len.load(Ordering::Acquire) > 0 {
            self.wake_any(sleeps);
        }
        for driver in self.used_drivers().iter().filter(|driver| driver.has_work()) {
            if !self.wake_driver(driver, sleeps) {
                self.wake_any(sleeps);
            }
        }
    }

    // ---- Drivers take executors ----

    /// The next executor for a driver to step. It counts as running from now on, and the driver is its
    /// home. `now` is in nanoseconds.
    pub fn next(&self, driver: &mut Driver, now: u64) -> Option<usize> {
        let own = &self.drivers[driver.index];
        own.activity.store(AWAKE, Ordering::Relaxed);
        if self.is_deferred.load(Ordering::Relaxed) && self.is_deferred.swap(false, Ordering::AcqRel) {
            fence(Ordering::SeqCst);
            self.adopt(driver);
        }
        let executor = self.take_own_or_shared(driver).or_else(|| self.steal(driver))?;
        driver.busy_since.get_or_insert(now);
        self.homes[executor].store(driver.index as u32, Ordering::Relaxed);
        self.states[executor].swap(RUNNING, Ordering::AcqRel);
        own.activity.store(STEPPING, Ordering::Relaxed);
        if own.has_work() || self.shared_len.load(Ordering::Acquire) > 0 {
            fence(Ordering::SeqCst);
            self.wake_any(&[ASLEEP]);
        }
        Some(executor)
    }

    /// Takes over what waits for drivers that sleep.
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

    /// Takes an executor that waits for another driver.
    fn steal(&self, driver: &Driver) -> Option<usize> {
        let used = self.used.load(Ordering::Acquire);
        let others = (1..used).map(|step| (driver.index + step) % used);
        others.filter(|other| self.drivers[*other].has_prey()).find_map(|other| self.take_from(other))
    }

    /// Sleeps, unless something came since the driver found nothing. `at_most` is asked after the sleep is
    /// announced: a timer that is set later wakes the driver, an earlier one is in the answer.
    pub fn sleep(&self, driver: &mut Driver, now: u64, at_most: impl FnOnce() -> Duration) {
        let own = &self.drivers[driver.index];
        let nap = driver.end_burst(now);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        own.activity.store(if nap.is_some() { NAPPING } else { ASLEEP }, Ordering::Release);
        fence(Ordering::SeqCst);
        if !self.is_wanted(driver) {
            let at_most = at_most();
            own.parker.park(nap.map_or(at_most, |nap| nap.min(at_most)));
        }
        if own.activity.swap(AWAKE, Ordering::SeqCst) != AWAKE {
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether a driver must not sleep: its last look, see invariant 2.
    fn is_wanted(&self, driver: &Driver) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
            || self.shared_len.load(Ordering::Acquire) > 0
            || self.drivers[driver.index].has_work()
            || self.used_drivers().iter().any(DriverQueue::has_prey)
    }

    // ---- Steps end ----

    /// After a step that left work to do: back to the end of the queue.
    pub fn done_with_more(&self, executor: usize) -> Queued {
        self.states[executor].swap(WOKEN, Ordering::AcqRel);
        self.queue_deferred(executor)
    }

    /// After a step that ran out of work: idle, unless something came meanwhile. Says whether it must be
    /// queued again.
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

    /// What waits, in the order in which it was queued, while no driver is registered.
    pub fn waiting(&self) -> Vec<usize> {
        lock(&self.shared).iter().copied().collect()
    }

    /// Takes one that [`waiting`](DriverQueues::waiting) named.
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
            self.wake_driver(driver, &[ASLEEP, NAPPING]);
        }
    }

    /// Whether [`stop`](DriverQueues::stop) was called.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }
}
