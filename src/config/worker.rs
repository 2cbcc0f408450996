//! `[worker]`: how the parent of worker processes watches and restarts them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::limits::{self, DURATION_MAX};
use crate::config::problems::{OptionProblem, Problems};

/// `[worker]`. The parent sends it to every worker as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerOptions {
    /// `heartbeat`: how often a worker sends a heartbeat to its parent.
    pub heartbeat: Duration,
    /// `heartbeat_timeout`: a worker that sent nothing for so long is killed and replaced.
    pub heartbeat_timeout: Duration,
    /// `start_timeout`: a worker that is not listening after so long is killed and started again.
    pub start_timeout: Duration,
    /// `restart_min`: a worker that dies for the first time is restarted at once. If it dies again, it is
    /// restarted after this pause, and then each time after twice the pause before.
    pub restart_min: Duration,
    /// `restart_max`: the longest such pause.
    pub restart_max: Duration,
    /// `restart_reset`: a worker that ran for so long is restarted at once when it dies.
    pub restart_reset: Duration,
    /// `stats_interval`: how often a worker reports its counters to its parent.
    pub stats_interval: Duration,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions {
            heartbeat: Duration::from_millis(500),
            // Together with the interval of the check, a stopped worker is detected within 3 s.
            heartbeat_timeout: Duration::from_millis(2500),
            start_timeout: Duration::from_secs(30),
            restart_min: Duration::from_millis(50),
            restart_max: Duration::from_secs(30),
            restart_reset: Duration::from_secs(60),
            stats_interval: Duration::from_millis(250),
        }
    }
}

impl WorkerOptions {
    /// Everything that is wrong with these options.
    pub fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = Problems::default();
        let least = limits::HEARTBEAT_MIN;
        problems.period("worker.heartbeat", self.heartbeat, least, limits::HEARTBEAT_MAX);
        problems.twice(
            ("worker.heartbeat_timeout", self.heartbeat_timeout),
            ("worker.heartbeat", self.heartbeat),
        );
        problems.period("worker.heartbeat_timeout", self.heartbeat_timeout, 2 * least, DURATION_MAX);
        problems.period("worker.start_timeout", self.start_timeout, limits::START_MIN, DURATION_MAX);
        let least = limits::PAUSE_MIN;
        problems.period("worker.restart_min", self.restart_min, least, DURATION_MAX);
        problems.period("worker.restart_max", self.restart_max, least, DURATION_MAX);
        problems.at_least(("worker.restart_max", self.restart_max), ("worker.restart_min", self.restart_min));
        problems.period("worker.restart_reset", self.restart_reset, least, DURATION_MAX);
        problems.period("worker.stats_interval", self.stats_interval, limits::HEARTBEAT_MIN, DURATION_MAX);
        problems.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problems::assert_problems;

    #[track_caller]
    fn check(change: impl Fn(&mut WorkerOptions), expected: &[(&str, &str)]) {
        let mut options = WorkerOptions::default();
        change(&mut options);
        assert_problems(&options.problems(), expected);
    }

    #[test]
    fn times_have_bounds_and_fit_each_other() {
        check(|_| {}, &[]);
        check(|o| o.heartbeat = Duration::ZERO, &[("worker.heartbeat", "at least 10ms, not 0s")]);
        check(
            |o| o.heartbeat_timeout = Duration::from_millis(900),
            &[("worker.heartbeat_timeout", "must be at least twice `worker.heartbeat` (500ms), not 900ms")],
        );
        check(
            |o| o.restart_max = Duration::from_millis(10),
            &[("worker.restart_max", "10ms, less than `worker.restart_min` (50ms)")],
        );
        check(
            |o| o.restart_reset = Duration::from_secs(31 * 24 * 60 * 60),
            &[("worker.restart_reset", "at most 30d, not 31d")],
        );
        check(|o| o.stats_interval = Duration::ZERO, &[("worker.stats_interval", "at least 10ms")]);
        check(|o| o.start_timeout = Duration::ZERO, &[("worker.start_timeout", "at least 1s")]);
    }

    #[test]
    fn options_travel_as_json() {
        let options = WorkerOptions { restart_max: Duration::from_secs(7), ..WorkerOptions::default() };
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<WorkerOptions>(&text).unwrap(), options);
    }
}
