//! What executors and the coordinator know in common about the end of a topology.
//!
//! 1. `outstanding` counts every data batch, ack record and outcome from before it is sent until
//!    after the step that processed it has sent what came of it. So while anything is under way it
//!    is above zero, and zero is rest.
//! 2. `live_spouts` counts spout executors that may still emit. It and `outstanding` at zero
//!    together mean that only time-outs, replays and the coordinator can bring new tuples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::api::StopReason;

/// Shared by all executors of a worker.
#[derive(Debug, Default)]
pub struct Lifecycle {
    /// Messages under way.
    pub outstanding: Arc<AtomicI64>,
    /// Spout executors that may still emit.
    pub live_spouts: AtomicUsize,
    /// Executors that have answered `Finish` since the coordinator last set it to zero.
    pub finished: AtomicUsize,
    /// Executors that have answered `Close`.
    pub closed: AtomicUsize,
    /// Grows with every step that processed messages: tells a pause from a standstill.
    pub activity: AtomicU64,
    /// Whether the end was cut short.
    pub cut_short: AtomicBool,
    /// The first fatal error. Written by the task that returned it.
    stopped: OnceLock<StopReason>,
    ended: Mutex<bool>,
    on_end: Condvar,
}

impl Lifecycle {
    /// Notes that so many messages are processed; says whether that was the last and no spout can
    /// emit, so that the coordinator should look.
    #[must_use]
    pub fn processed(&self, messages: i64) -> bool {
        // SeqCst, and before the count goes down: who sees rest sees that something came before it.
        self.activity.fetch_add(1, Ordering::SeqCst);
        let left = self.outstanding.fetch_sub(messages, Ordering::SeqCst) - messages;
        debug_assert!(left >= 0, "more messages were processed than sent");
        left == 0 && self.live_spouts.load(Ordering::SeqCst) == 0
    }

    /// Whether nothing is under way and no spout can emit.
    pub fn is_at_rest(&self) -> bool {
        self.live_spouts.load(Ordering::SeqCst) == 0 && self.outstanding.load(Ordering::SeqCst) == 0
    }

    /// Notes why the run is to end; says whether this is the first reason.
    #[must_use]
    pub fn stop(&self, reason: StopReason) -> bool {
        self.stopped.set(reason).is_ok()
    }

    /// Why the run ends, if a component could not go on.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.get()
    }

    /// Ends the topology for whoever waits.
    pub fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.on_end.notify_all();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end, at most so long; says whether it has come.
    pub fn wait(&self, at_most: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.on_end.wait_timeout_while(ended, at_most, |ended| !*ended);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }
}
