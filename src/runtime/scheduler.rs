//! The threads that step executors.
//!
//! *Drivers*, by default one for each core, take runnable executors from the run queue. A blocking
//! executor has a *dedicated* thread, as every executor has in Storm. The *watchdog* checks the drivers
//! ten times a second. If a step stays too long in user code, the watchdog logs the component and starts
//! another driver in place of the stuck one, so that one component does not stop the others. If the step
//! returns after all, the replaced driver ends.
//!
//! Not all drivers need to work: where one core alone executes more tuples than several, the others rest. The
//! watchdog tries that out (`driver_trial`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::api::CounterId;
use crate::clock::Time;
use crate::config::limits::THREADS_MAX;
use crate::runtime::driver_trial::{DriverTrial, Seen};
use crate::runtime::starvation::{Suspicion, ThreadOfKernel};
use crate::runtime::worker::{ExecutorEntry, HostedExecutor, Worker};
use crate::topology::plan::ExecutorId;

/// Tuples that an executor may process before the next has its turn.
pub const STEP_BUDGET: u32 = 2048;
/// How often the watchdog looks.
const WATCHDOG_PERIOD: Duration = Duration::from_millis(100);
/// While a step takes longer than this, all drivers work.
const STUCK_AFTER: Duration = Duration::from_millis(50);

/// What the watchdog sees of a driver.
#[derive(Debug, Default)]
struct DriverState {
    /// The thread, once it runs.
    thread: OnceLock<ThreadOfKernel>,
    /// The executor being stepped, plus one; 0 between steps.
    stepping: AtomicU32,
    /// When the present step began.
    since: AtomicU64,
    /// Set by the watchdog when another driver took this one's place.
    replaced: AtomicBool,
    /// How long it was in steps that have ended, in nanoseconds.
    busy: AtomicU64,
    /// How long the present step has kept the thread. Only the watchdog uses it.
    suspicion: Mutex<Suspicion>,
}

impl DriverState {
    /// Whether the present step has taken so long already.
    fn has_stepped_for(&self, long: Duration, now: Time) -> bool {
        let is_stepping = self.stepping.load(Ordering::Acquire) != 0;
        is_stepping && now.since(Time(self.since.load(Ordering::Acquire))) > long
    }

    /// The executor that has kept this driver for longer than `limit`, and for how long. `passed` is the
    /// time since the last look of the watchdog.
    fn stuck(&self, passed: Duration, limit: Duration) -> Option<(ExecutorId, Duration)> {
        let stepping = self.stepping.load(Ordering::Acquire);
        if stepping == 0 {
            return None;
        }
        let starved = self.thread.get().map(|thread| thread.starved()).unwrap_or_default();
        let since = self.since.load(Ordering::Acquire);
        let mut suspicion = self.suspicion.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = suspicion.look(since, passed, WATCHDOG_PERIOD * 2, starved);
        (kept > limit).then_some((ExecutorId(stepping - 1), kept))
    }
}

/// What the watchdog knows from its last look, to try how many drivers are best.
struct DriverTrials {
    /// `None` if there is nothing to try.
    trial: Option<DriverTrial>,
    drivers: usize,
    working: usize,
    looked_at: Time,
    tuples: u64,
    busy: u64,
}

impl DriverTrials {
    fn new(worker: &Worker, now: Time) -> DriverTrials {
        let drivers = worker.topology.options().driver_threads() as usize;
        let trial = (drivers > 1).then(|| DriverTrial::new(drivers));
        DriverTrials { trial, drivers, working: drivers, looked_at: now, tuples: 0, busy: 0 }
    }
}

/// How many tuples the executors of a worker have emitted and executed.
fn tuples_of(worker: &Worker) -> u64 {
    let of = |entry: &ExecutorEntry| {
        let counters = entry.address.gauges.counters();
        counters.get(CounterId::EMITTED) + counters.get(CounterId::EXECUTED)
    };
    worker.entries().map(of).sum::<i64>().try_into().unwrap_or(0)
}

/// The threads of a worker.
pub struct Scheduler {
    worker: Arc<Worker>,
    drivers: Mutex<Vec<Arc<DriverState>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Scheduler {
    /// Starts all threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(worker: Arc<Worker>) -> std::io::Result<Arc<Scheduler>> {
        let scheduler = Scheduler { worker, drivers: Mutex::default(), threads: Mutex::default() };
        let scheduler = Arc::new(scheduler);
        let blocking: Vec<ExecutorId> =
            scheduler.worker.hosted().filter(|executor| executor.blocking).map(HostedExecutor::id).collect();
        for id in blocking {
            scheduler.start_dedicated(id)?;
        }
        for _ in 0..scheduler.worker.topology.options().driver_threads() {
            scheduler.start_driver()?;
        }
        scheduler.start_watchdog()?;
        Ok(scheduler)
    }

    fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> std::io::Result<thread::Thread> {
        let handle = thread::Builder::new().name(name).spawn(body)?;
        let thread = handle.thread().clone();
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok(thread)
    }

    fn start_driver(self: &Arc<Scheduler>) -> std::io::Result<()> {
        let state = Arc::new(DriverState::default());
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let (worker, shown) = (Arc::clone(&self.worker), Arc::clone(&state));
        self.spawn(format!("squall-driver-{}", drivers.len()), move || drive(&worker, &shown))?;
        drivers.push(state);
        Ok(())
    }

    fn start_dedicated(self: &Arc<Scheduler>, id: ExecutorId) -> std::io::Result<()> {
        let worker = Arc::clone(&self.worker);
        let name = format!("squall-{}", worker.executor(id).components());
        let thread = self.spawn(name, move || drive_one(&worker, id))?;
        self.worker.run_queue.dedicate(id, thread);
        Ok(())
    }

    fn start_watchdog(self: &Arc<Scheduler>) -> std::io::Result<()> {
        let weak = Arc::downgrade(self);
        let worker = Arc::clone(&self.worker);
        self.spawn("squall-watchdog".to_owned(), move || {
            let mut looked_at = worker.clock.now();
            let mut trials = DriverTrials::new(&worker, looked_at);
            let mut look_in = WATCHDOG_PERIOD;
            while !worker.lifecycle.wait(look_in) {
                let Some(scheduler) = weak.upgrade() else { return };
                let now = worker.clock.now();
                let passed = now.since(looked_at);
                if passed >= WATCHDOG_PERIOD {
                    scheduler.look_at_drivers(passed);
                    looked_at = now;
                }
                look_in = scheduler.try_drivers(&mut trials, now);
            }
        })?;
        Ok(())
    }

    /// Lets as many drivers work as executes the most tuples. Returns when to look again.
    fn try_drivers(&self, trials: &mut DriverTrials, now: Time) -> Duration {
        let Some(trial) = &mut trials.trial else { return WATCHDOG_PERIOD };
        let drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if drivers.len() != trials.drivers
            || drivers.iter().any(|driver| driver.replaced.load(Ordering::Acquire))
        {
            // After the first replacement, which drivers must rest cannot be told by their number any more.
            self.worker.run_queue.set_driver_limit(usize::MAX);
            trials.trial = None;
            return WATCHDOG_PERIOD;
        }
        let busy = drivers.iter().map(|driver| driver.busy.load(Ordering::Relaxed)).sum();
        let tuples = tuples_of(&self.worker);
        let advice = trial.look(Seen {
            passed: now.since(trials.looked_at),
            tuples: tuples.saturating_sub(trials.tuples),
            busy: Duration::from_nanos(busy - trials.busy),
            is_stuck: drivers.iter().any(|driver| driver.has_stepped_for(STUCK_AFTER, now)),
        });
        (trials.looked_at, trials.tuples, trials.busy) = (now, tuples, busy);
        if advice.drivers != trials.working {
            trials.working = advice.drivers;
            self.worker.run_queue.set_driver_limit(advice.drivers);
        }
        advice.look_in
    }

    /// Replaces drivers that are stuck in user code. `passed` is the time since the last look.
    fn look_at_drivers(self: &Arc<Scheduler>, passed: Duration) {
        let limit = self.worker.topology.options().watchdog.step;
        let drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for driver in drivers.iter().filter(|driver| !driver.replaced.load(Ordering::Acquire)) {
            if let Some((executor, kept)) = driver.stuck(passed, limit) {
                self.replace(driver, executor, kept);
                driver.suspicion.lock().unwrap_or_else(PoisonError::into_inner).begin_anew();
            }
        }
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner).retain(|driver| {
            !(driver.replaced.load(Ordering::Acquire) && driver.stepping.load(Ordering::Acquire) == 0)
        });
        // A driver in a long step looks at its queue only after the step; so wake sleeping drivers for it.
        self.worker.run_queue.rescue();
    }

    /// Starts a driver in place of a stuck one. If no thread can be started, the stuck driver is not marked
    /// as replaced and continues when its call returns; the watchdog tries again after the same time.
    fn replace(self: &Arc<Scheduler>, driver: &DriverState, executor: ExecutorId, kept: Duration) {
        let (worker, component) = (&self.worker, self.worker.executor(executor).components());
        let count = self.drivers.lock().unwrap_or_else(PoisonError::into_inner).len();
        if count >= THREADS_MAX as usize {
            return;
        }
        if let Err(error) = self.start_driver() {
            slog::error!(worker.logger, "cannot start another driver thread"; "error" => %error);
            return;
        }
        driver.replaced.store(true, Ordering::Release);
        slog::warn!(worker.logger, "a call into a component does not return; declare it `blocking` if it has to wait";
            "component" => %component, "for" => ?kept);
    }

    /// Waits for all threads that are not stuck in user code. The topology must have ended.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let stuck = self.worker.lifecycle.cut_short.load(Ordering::SeqCst);
        for thread in threads {
            // After an end that was cut short, a thread may never return; it is not waited for.
            if thread.thread().id() != thread::current().id() && (!stuck || thread.is_finished()) {
                let _ = thread.join();
            }
        }
    }
}

/// The loop of a driver.
fn drive(worker: &Worker, state: &DriverState) {
    let _ = state.thread.set(ThreadOfKernel::current());
    let _entered = worker.lifecycle.threads.enter();
    let Some(mut seat) = worker.run_queue.driver() else { return };
    while let Some(id) = seat.take(&worker.clock) {
        let began = worker.clock.now();
        state.since.store(began.0, Ordering::Release);
        state.stepping.store(id.0 + 1, Ordering::Release);
        let step = catch_unwind(AssertUnwindSafe(|| worker.step(id, STEP_BUDGET)));
        state.stepping.store(0, Ordering::Release);
        // Relaxed: statistics order nothing.
        state.busy.fetch_add(worker.clock.now().since(began).as_nanos() as u64, Ordering::Relaxed);
        if step.is_err() {
            give_up(worker, id);
            return;
        }
        if state.replaced.load(Ordering::Acquire) {
            // Executors that wait for this driver, including the one just stepped, go to the other drivers.
            return;
        }
    }
}

/// The loop of a dedicated thread. `park` may return early, because an unpark during the last step left a
/// token. So the time of the next step is kept until it is reached or another step was made.
fn drive_one(worker: &Worker, id: ExecutorId) {
    let _entered = worker.lifecycle.threads.enter();
    let mut wake_at = Time::NEVER;
    while !worker.run_queue.is_stopping() {
        if worker.run_queue.take_dedicated(id) {
            let step = catch_unwind(AssertUnwindSafe(|| worker.step(id, STEP_BUDGET)));
            let Ok(next) = step else { return give_up(worker, id) };
            wake_at = next;
            worker.run_queue.hand_over();
            continue;
        }
        let now = worker.clock.now();
        if wake_at <= now {
            wake_at = Time::NEVER;
            worker.run_queue.queue_dedicated(id);
        } else if wake_at == Time::NEVER {
            thread::park();
        } else {
            thread::park_timeout(wake_at.since(now));
        }
    }
}

/// The runtime itself panicked, which is a bug of squall. Its state cannot be trusted any more, so the run
/// ends with an error in the log.
fn give_up(worker: &Worker, id: ExecutorId) {
    let component = worker.executor(id).components();
    slog::crit!(worker.logger, "squall itself panicked; the run ends here. Please report this"; "component" => %component);
    worker.lifecycle.cut_short.store(true, Ordering::SeqCst);
    worker.lifecycle.end();
    worker.run_queue.stop();
}
