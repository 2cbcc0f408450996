//! Errors of user code: all are counted, and a limited number is logged with component and task.
//!
//! As in Storm, a component may log 5 errors in 10 s (both can be set). Further errors are only counted,
//! and the first log line of the next interval reports how many were not shown.
//!
//! Every error of user code passes through this file. So its text is bounded and escaped here, and a fatal
//! error ends the run from here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slog::Logger;
use smol_str::SmolStr;

use crate::api::{CounterId, StopReason, TaskError};
use crate::clock::Time;
use crate::ids::TaskId;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::message::EndRequest;
use crate::runtime::flow::run_queue::Urgency;
use crate::runtime::lifecycle::Lifecycle;
use crate::text::shown;

/// Limits the log lines per interval. Shared by the tasks of a component.
#[derive(Debug)]
pub struct Throttle {
    limit: u32,
    interval: Duration,
    state: Mutex<ThrottleState>,
}

#[derive(Debug, Default)]
struct ThrottleState {
    interval_start: Option<Time>,
    passed: u32,
    swallowed: u64,
}

impl Throttle {
    /// At most `limit` per `interval`.
    pub fn new(limit: u32, interval: Duration) -> Throttle {
        Throttle { limit, interval, state: Mutex::default() }
    }

    /// If a line may be logged now: how many were suppressed since the last logged line. Otherwise `None`.
    pub fn pass(&self, now: Time) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = state.interval_start.is_none_or(|start| now.since(start) >= self.interval);
        if fresh {
            state.interval_start = Some(now);
            state.passed = 0;
        }
        if state.passed >= self.limit {
            state.swallowed += 1;
            return None;
        }
        state.passed += 1;
        Some(std::mem::take(&mut state.swallowed))
    }
}

/// Where one task reports.
pub struct ErrorReporter {
    /// The component.
    pub component: SmolStr,
    /// The task.
    pub task: TaskId,
    /// Logs with component and task attached.
    pub logger: Logger,
    /// Shared by the component's tasks.
    pub throttle: Arc<Throttle>,
    /// The counters of the task's executor.
    pub gauges: Arc<Gauges>,
    /// Where the first fatal error is kept.
    pub lifecycle: Arc<Lifecycle>,
    /// The executor that ends the topology after a fatal error.
    pub coordinator: InboxSender,
}

impl ErrorReporter {
    /// Reports what user code returned. A fatal error ends the run in order.
    pub fn report(&self, error: &TaskError, now: Time) {
        let text = shown(error);
        self.note(&text);
        if error.is_reported() {
            self.log(&text, now);
        }
        if error.is_fatal() {
            self.stop(&text);
        }
    }

    /// Reports something that went wrong in or around user code.
    pub fn report_text(&self, error: &str, now: Time) {
        let text = shown(error);
        self.note(&text);
        self.log(&text, now);
    }

    /// Ends the run because of an error that has been reported. Only the first reason is kept.
    pub fn stop(&self, error: &str) {
        let reason =
            StopReason { component: self.component.clone(), task: self.task, error: error.to_owned() };
        if self.lifecycle.stop(reason) {
            self.coordinator.send_control(EndRequest::Stop, Urgency::Now);
        }
    }

    fn note(&self, error: &str) {
        self.gauges.count(CounterId::ERRORS, 1);
        self.gauges.set_last_error(format!("task {}: {error}", self.task));
    }

    fn log(&self, error: &str, now: Time) {
        match self.throttle.pass(now) {
            Some(0) => slog::error!(self.logger, "{}", error),
            Some(swallowed) => slog::error!(self.logger, "{}", error; "not_shown_before" => swallowed),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storm_five_errors_in_ten_seconds_pass() {
        let throttle = Throttle::new(5, Duration::from_secs(10));
        let at = |seconds: u64| Time(seconds * 1_000_000_000);
        let passed = (0..20).filter(|_| throttle.pass(at(0)).is_some()).count();
        assert_eq!(passed, 5);
        assert_eq!(throttle.pass(at(9)), None);
        assert_eq!(throttle.pass(at(10)), Some(16), "a new interval, and what was swallowed");
        assert_eq!(throttle.pass(at(10)), Some(0));
    }
}
