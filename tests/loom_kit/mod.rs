//! What the loom models have in common: how they are run, what wakes a thread that sleeps, and atomics in
//! the place of the standard library's.
#![allow(dead_code, reason = "each test takes a part of it")]

use loom::sync::{Condvar, Mutex};

/// Tries the interleavings with three preemptions at most.
pub fn model(body: impl Fn() + Send + Sync + 'static) {
    model_with(3, body);
}

/// With so many preemptions at most: more, where a step has few accesses.
pub fn model_with(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(body);
}

/// As an eventfd, or as the run queue for an executor: a wake that comes before the wait ends it, and several count as one.
#[derive(Default)]
pub struct Waker {
    woken: Mutex<(bool, u32)>,
    changed: Condvar,
}

impl Waker {
    pub fn wake(&self) {
        let mut woken = self.woken.lock().unwrap();
        *woken = (true, woken.1 + 1);
        drop(woken);
        self.changed.notify_one();
    }

    pub fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !woken.0 {
            woken = self.changed.wait(woken).unwrap();
        }
        woken.0 = false;
    }

    /// As a wait, but returns at once; says whether a wake had come.
    pub fn has_woken(&self) -> bool {
        std::mem::take(&mut self.woken.lock().unwrap().0)
    }

    pub fn wakes(&self) -> u32 {
        self.woken.lock().unwrap().1
    }
}

/// loom's atomics, with sequentially consistent stores in one order, the first value among them.
///
/// loom knows of such an order only for loads. It takes two stores of different threads as ordered only
/// if one thread has read what the other stored, and lets a load return the first value even after a newer
/// one was stored. No machine does so, and a protocol that relies on the order would seem to be broken.
/// So here a store reads what it replaces. It is thereby also an acquire, which hides nothing from a
/// protocol all of whose accesses are sequentially consistent.
pub mod atomic {
    use std::ops::Deref;

    pub use loom::sync::atomic::Ordering;

    macro_rules! atomics {
        ($($name:ident: $value:ty),*) => {$(
            #[derive(Debug)]
            pub struct $name(loom::sync::atomic::$name);

            impl $name {
                pub fn new(value: $value) -> $name {
                    let atomic = $name(loom::sync::atomic::$name::new(value));
                    atomic.store(value, Ordering::SeqCst);
                    atomic
                }

                pub fn store(&self, value: $value, ordering: Ordering) {
                    if ordering == Ordering::SeqCst {
                        self.0.swap(value, ordering);
                    } else {
                        self.0.store(value, ordering);
                    }
                }
            }

            impl Default for $name {
                fn default() -> $name {
                    $name::new(<$value>::default())
                }
            }

            impl Deref for $name {
                type Target = loom::sync::atomic::$name;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }
        )*};
    }

    atomics!(AtomicBool: bool, AtomicI64: i64, AtomicU64: u64, AtomicUsize: usize);
}
