//! The types with which driver queues are shared. `tests/run_queue_models.rs` replaces them with loom's.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};

use std::sync::Condvar;
use std::time::Duration;

/// Lets one thread sleep until another thread wakes it. A wake before the sleep ends that sleep at once.
#[derive(Debug, Default)]
pub(super) struct Parker {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    /// Sleeps until it is woken, or for `at_most`.
    pub(super) fn park(&self, at_most: Duration) {
        let woken = self.is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = self.changed.wait_timeout_while(woken, at_most, |woken| !*woken);
        *woken.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Wakes the thread that sleeps, or ends its next sleep at once.
    pub(super) fn unpark(&self) {
        *self.is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}
