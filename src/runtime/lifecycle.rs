//! What the executors and the coordinator of a worker share about the end of a topology.
//!
//! The file `rest` counts what is outstanding, and decides who wakes the coordinator when nothing is. This
//! file has the answers of executors to the coordinator, why the run ends, and whether it has ended.

pub mod rest;
mod sync;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rest::Rest;

use crate::api::StopReason;
use crate::runtime::starvation::StepThreads;

/// Shared by all executors of a worker.
#[derive(Debug, Default)]
pub struct Lifecycle {
    /// Counts what is outstanding. Shared with everything that sends.
    pub rest: Arc<Rest>,
    /// Executors that have answered `Finish` since the coordinator last set it to zero.
    pub finished: AtomicUsize,
    /// Executors that have answered `Close`.
    pub closed: AtomicUsize,
    /// Tasks that were never built. Each task adds itself when it is made, and leaves when it is first built.
    pub unopened: AtomicUsize,
    /// Whether the end was cut short.
    pub cut_short: AtomicBool,
    /// The threads that step the executors. Each adds itself when it starts; read while executors close.
    pub threads: Arc<StepThreads>,
    /// The first fatal error. Written by the task that returned it.
    stopped: OnceLock<StopReason>,
    ended: Mutex<bool>,
    on_end: Condvar,
}

impl Lifecycle {
    /// Notes why the run must end; returns whether this is the first reason.
    #[must_use]
    pub fn stop(&self, reason: StopReason) -> bool {
        self.stopped.set(reason).is_ok()
    }

    /// Why the run ends, if a component could not continue.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.get()
    }

    /// Notes that the topology has ended, and wakes all threads that wait for that.
    pub fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.on_end.notify_all();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end, at most for `at_most`; returns whether the topology has ended.
    pub fn wait(&self, at_most: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.on_end.wait_timeout_while(ended, at_most, |ended| !*ended);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }
}
