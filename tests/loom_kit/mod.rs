//! What the loom models have in common: how they are run, and what wakes a thread that sleeps.

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

/// As an eventfd: a wake that comes before the wait ends it, and several count as one.
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

    pub fn wakes(&self) -> u32 {
        self.woken.lock().unwrap().1
    }
}
