//! What the driver queues share memory by. `tests/run_queue_models.rs` puts loom's types in this place.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};

use std::sync::Condvar;
use std::time::Duration;

/// Lets one thread sleep until another wakes it. A wake that comes first ends the next sleep at once.
#[derive(Debug, Default)]
pub(super) struct Parker {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    /// Sleeps until it is woken, or for so long at most.
    pub(super) fn park(&self, at_most: Duration) {
        let woken = self.is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = self.changed.wait_timeout_while(woken, at_most, |woken| !*woken);
        *woken.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Wakes the sleeper.
    pub(super) fn unpark(&self) {
        *self.is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}
