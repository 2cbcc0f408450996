//! Every interleaving of drivers and of those who wake executors, by loom.
//!
//! The source of the driver queues is compiled here a second time, with loom's types in the place of the
//! standard library's, so what is tried is the code itself. `cargo test` runs the models.
//! `LOOM_MAX_PREEMPTIONS` replaces the bound of each; with 2, some take many minutes.
//!
//! Each model ends when everything that was put into an inbox was processed. An executor that is left
//! behind while all drivers sleep is a deadlock, which loom reports. What each model was seen to catch, when
//! the code was broken on purpose, stands with it.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

mod loom_kit;

/// What `src/runtime/flow/run_queue/driver_queues.rs` takes from the standard library in production.
mod sync {
    use std::time::Duration;

    pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
    pub use loom::sync::{Mutex, MutexGuard};
    pub use std::sync::PoisonError;

    use super::driver_queues::NAP_MAX;

    /// A nap always ends by its time here; a longer sleep never does, so a lost wake is a deadlock.
    #[derive(Default)]
    pub struct Parker(super::loom_kit::Waker);

    impl Parker {
        pub fn park(&self, at_most: Duration) {
            if at_most <= NAP_MAX {
                loom::thread::yield_now();
            } else {
                self.0.wait();
            }
        }

        pub fn unpark(&self) {
            self.0.wake();
        }
    }
}

#[allow(dead_code, reason = "what the simulation calls is not modelled")]
#[path = "../src/runtime/flow/run_queue/driver_queues.rs"]
mod driver_queues;

use driver_queues::{Driver, DriverQueues, Queued};
use loom_kit::model_with;

/// Executors that count what is in their inboxes.
struct World {
    queues: DriverQueues,
    inboxes: Vec<AtomicUsize>,
    in_step: Vec<AtomicBool>,
    /// Messages that were not processed yet. The thread that processes the last one ends the run.
    left: AtomicUsize,
}

impl World {
    fn new(executors: usize, messages: usize) -> Arc<World> {
        Arc::new(World {
            queues: DriverQueues::new(executors, 2),
            inboxes: (0..executors).map(|_| AtomicUsize::new(0)).collect(),
            in_step: (0..executors).map(|_| AtomicBool::new(false)).collect(),
            left: AtomicUsize::new(messages),
        })
    }

    fn send(&self, executor: usize) -> bool {
        self.inboxes[executor].fetch_add(1, Ordering::Release);
        self.queues.mark(executor)
    }

    /// A message from a thread that is no driver.
    fn send_now(&self, executor: usize) {
        if self.send(executor) {
            self.queues.queue_now(executor);
        }
    }

    /// A message from a step.
    fn send_deferred(&self, executor: usize) {
        if self.send(executor) {
            self.queues.queue_deferred(executor);
        }
    }

    /// One step, by whoever may: takes what is in the inbox.
    fn step(&self, executor: usize, then: impl Fn(&World)) {
        assert!(!self.in_step[executor].swap(true, Ordering::Relaxed), "two threads step one executor");
        let taken = self.inboxes[executor].swap(0, Ordering::Acquire);
        if taken > 0 {
            then(self);
        }
        self.in_step[executor].store(false, Ordering::Relaxed);
        if self.queues.done(executor) {
            self.queues.done_with_more(executor);
        }
        if taken > 0 && self.left.fetch_sub(taken, Ordering::AcqRel) == taken {
            self.queues.stop();
        }
    }

    /// Steps what comes until the run ends. Its clock moves by a second at each look.
    fn drive(&self, driver: &mut Driver, then: impl Fn(&World, usize)) {
        let mut now = 0;
        while !self.queues.is_stopping() {
            now += 1_000_000_000;
            match self.queues.next(driver, now) {
                Some(executor) => self.step(executor, |world| then(world, executor)),
                None => self.queues.sleep(driver, now, || std::time::Duration::MAX),
            }
        }
    }

    /// A driver has stepped an executor, which is idle now and has that driver as its home.
    fn has_stepped(&self, driver: &mut Driver, executor: usize) {
        self.queues.mark(executor);
        self.queues.queue_now(executor);
        assert_eq!(self.queues.next(driver, 0), Some(executor));
        assert!(!self.queues.done(executor));
    }

    fn driver(&self) -> Driver {
        self.queues.register().expect("there is room for two drivers")
    }
}

/// Caught: a driver that does not look again after it announced its sleep; a waker that looks for sleepers
/// before it queues.
#[test]
fn no_executor_is_left_behind_by_a_sleeping_driver() {
    model_with(2, || {
        let world = World::new(2, 2);
        let mut driver = world.driver();
        let wakers = [0, 1].map(|executor| sends_now(&world, executor));
        world.drive(&mut driver, |_, _| ());
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
    });
}

/// Two drivers, and messages that come while their executor is stepped. Caught: `done` that goes idle
/// although the executor is dirty; a steal that leaves the executor in the queue it was taken from.
#[test]
fn what_comes_during_a_step_is_processed_by_one_driver_at_a_time() {
    model_with(1, || {
        let world = World::new(1, 2);
        let mut driver = world.driver();
        let other = {
            let world = Arc::clone(&world);
            let mut driver = world.driver();
            thread::spawn(move || world.drive(&mut driver, |_, _| ()))
        };
        let waker = sends_now(&world, 0);
        world.send_now(0);
        world.drive(&mut driver, |_, _| ());
        other.join().unwrap();
        waker.join().unwrap();
    });
}

/// A thread that is no driver, and sends a message.
fn sends_now(world: &Arc<World>, executor: usize) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || world.send_now(executor))
}

fn send_on(world: &World, executor: usize) {
    if executor == 0 {
        world.send_deferred(1);
    }
}

/// A step queues an executor whose home sleeps, and wakes nobody itself. Caught: `next` that neither adopts
/// nor steals from drivers that sleep.
#[test]
fn what_a_step_leaves_for_a_sleeping_driver_is_stepped() {
    model_with(1, || {
        let world = World::new(2, 2);
        let (mut one, mut two) = (world.driver(), world.driver());
        // Executor 1 was stepped by the second driver before.
        world.has_stepped(&mut two, 1);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.drive(&mut two, send_on))
        };
        world.send_now(0);
        world.drive(&mut one, send_on);
        other.join().unwrap();
    });
}

/// Caught: `leave` that does not move what waits; `queue` that does not ask under the lock whether the
/// queue is open.
#[test]
fn what_waits_for_a_driver_that_leaves_is_stepped() {
    model_with(2, || {
        let world = World::new(1, 1);
        let (mut one, mut two) = (world.driver(), world.driver());
        world.has_stepped(&mut two, 0);
        let leaver = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.queues.leave(two))
        };
        let waker = sends_now(&world, 0);
        world.drive(&mut one, |_, _| ());
        leaver.join().unwrap();
        waker.join().unwrap();
    });
}

/// A driver is told to rest while something is queued for it, which only it could take. Caught: a driver that
/// rests and leaves what waits in its queue; one that wakes nobody for that; a `stop` that wakes no driver that
/// rests.
#[test]
fn what_waits_for_a_driver_that_is_to_rest_is_stepped() {
    model_with(1, || {
        let world = World::new(1, 1);
        let (mut one, mut two) = (world.driver(), world.driver());
        world.has_stepped(&mut two, 0);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.drive(&mut two, |_, _| ()))
        };
        let waker = sends_now(&world, 0);
        world.queues.set_limit(1);
        world.drive(&mut one, |_, _| ());
        other.join().unwrap();
        waker.join().unwrap();
    });
}

/// The driver that does not rest is in a step until the other one, which need not rest any more, has stepped
/// something. Caught: a `set_limit` that wakes nobody; a driver that looks at the limit before it announces its
/// sleep.
#[test]
fn a_driver_that_need_not_rest_any_more_steps_executors() {
    model_with(2, || {
        let world = World::new(2, 2);
        let (mut one, mut two) = (world.driver(), world.driver());
        world.queues.set_limit(1);
        world.queues.mark(0);
        world.queues.queue_now(0);
        world.inboxes[0].fetch_add(1, Ordering::Release);
        assert_eq!(world.queues.next(&mut one, 0), Some(0), "its step begins");
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.drive(&mut two, |_, _| ()))
        };
        world.send_now(1);
        world.queues.set_limit(2);
        while world.inboxes[1].load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        world.step(0, |_| ());
        world.drive(&mut one, |_, _| ());
        other.join().unwrap();
    });
}

/// Caught: `dedicate` that sets the home outside the lock of the shared queue.
#[test]
fn an_executor_with_a_thread_of_its_own_is_stepped_by_nobody_else() {
    model_with(2, || {
        let world = World::new(1, 1);
        let waker = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.inboxes[0].fetch_add(1, Ordering::Release);
                world.queues.mark(0) && world.queues.queue_now(0) == Queued::Dedicated
            })
        };
        world.queues.dedicate(0);
        let unparked = waker.join().unwrap();
        assert_eq!(world.queues.waiting(), [0; 0], "no driver may find it");
        // The thread was not unparked for it, but looks once when it starts.
        assert!(world.queues.take_dedicated(0), "unparked: {unparked}");
    });
}
