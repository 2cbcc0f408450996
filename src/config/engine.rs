//! What can be set about the engine rather than about one topology: the file `squall.toml`.
//!
//! A topology document says what is computed, and is the same on a laptop and in a cluster; the
//! engine's file says how this installation runs it. How it is written is `topology::declare`'s
//! (`parse_engine`), what is wrong with the values is found here, whoever set them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::limits::{BATCH_HEAP_MAX, FRAME_OVERHEAD_MAX};
use crate::config::units::{show_duration, show_size};
use crate::config::{NetOptions, TopologyOptions, WorkerOptions};

/// All options of an engine. [`Default`] is what an empty file means.
///
/// # Examples
/// ```
/// use squall::config::EngineOptions;
/// assert!(EngineOptions::default().problems().is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineOptions {
    /// `[net]`.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker: WorkerOptions,
}

impl EngineOptions {
    /// Everything that is wrong with these options.
    pub fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = self.net.problems();
        problems.extend(self.worker.problems());
        problems
    }

    /// What is wrong with these options for a topology: whether its largest tuple fits a frame.
    pub fn problems_with(&self, topology: &TopologyOptions) -> Vec<OptionProblem> {
        let mut problems = Problems::default();
        let tuple = topology.queue.tuple_size_max;
        let needed = tuple.saturating_add(FRAME_OVERHEAD_MAX + BATCH_HEAP_MAX as u64);
        if needed > self.net.frame_max as u64 {
            let message = format!(
                "a tuple of `topology.queue.tuple_size_max` ({}) does not fit a frame of `net.frame_max` ({})",
                show_size(tuple),
                show_size(self.net.frame_max as u64)
            );
            let least = show_size(needed.next_multiple_of(1 << 20));
            let help = format!("set `net.frame_max` to {least} or more, or `tuple_size_max` to less");
            problems.add("net.frame_max", None, message, help);
        }
        problems.0
    }
}

/// Something wrong with one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionProblem {
    /// The option, as the path of its key in the file: `net.silence`.
    pub key: &'static str,
    /// The other option that it has to do with, if there is one.
    pub other: Option<&'static str>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to write instead, if that is not plain from the message.
    pub help: Option<String>,
}

impl Display for OptionProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{} ({help})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<OptionProblem>);

impl Problems {
    pub(super) fn add(
        &mut self,
        key: &'static str,
        other: Option<&'static str>,
        message: String,
        help: impl Into<String>,
    ) {
        self.0.push(OptionProblem { key, other, message, help: Some(help.into()) });
    }

    pub(super) fn size(&mut self, key: &'static str, value: usize, range: &RangeInclusive<usize>) {
        self.within(key, value as u64, (*range.start() as u64, *range.end() as u64), show_size);
    }

    pub(super) fn period(&mut self, key: &'static str, value: Duration, min: Duration, max: Duration) {
        self.within(key, value, (min, max), show_duration);
    }

    fn within<T: Ord + Copy>(
        &mut self,
        key: &'static str,
        value: T,
        (min, max): (T, T),
        show: fn(T) -> String,
    ) {
        let bound = match value {
            value if value < min => format!("at least {}", show(min)),
            value if value > max => format!("at most {}", show(max)),
            _ => return,
        };
        let message = format!("`{key}` must be {bound}, not {}", show(value));
        self.0.push(OptionProblem { key, other: None, message, help: None });
    }

    /// One late beat is no death: the time-out covers at least two.
    pub(super) fn twice(&mut self, timeout: (&'static str, Duration), beat: (&'static str, Duration)) {
        let least = beat.1.saturating_mul(2);
        if timeout.1 < least {
            let message = format!(
                "`{}` must be at least twice `{}` ({}), not {}",
                timeout.0,
                beat.0,
                show_duration(beat.1),
                show_duration(timeout.1)
            );
            let help = format!("set it to {} or more, or `{}` to less", show_duration(least), beat.0);
            self.add(timeout.0, Some(beat.0), message, help);
        }
    }

    pub(super) fn at_least(&mut self, more: (&'static str, Duration), less: (&'static str, Duration)) {
        if more.1 < less.1 {
            let (shown, least) = (show_duration(more.1), show_duration(less.1));
            let message = format!("`{}` is {shown}, less than `{}` ({least})", more.0, less.0);
            let help = format!("set it to {least} or more, or `{}` to less", less.0);
            self.add(more.0, Some(less.0), message, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_each_other_and_those_of_topologies() {
        let options = EngineOptions::default();
        assert_eq!(options.problems(), []);
        assert_eq!(options.problems_with(&TopologyOptions::default()), []);
    }

    #[test]
    fn the_largest_tuple_must_fit_a_frame() {
        let options = EngineOptions::default();
        let mut topology = TopologyOptions::default();
        topology.queue.tuple_size_max = 16 << 20;
        let problems = options.problems_with(&topology);
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            "a tuple of `topology.queue.tuple_size_max` (16MiB) does not fit a frame of `net.frame_max` \
             (16MiB) (set `net.frame_max` to 17MiB or more, or `tuple_size_max` to less)"
        );
    }

    #[test]
    fn problems_of_all_tables_are_found() {
        let mut options = EngineOptions::default();
        options.net.heartbeat = Duration::ZERO;
        options.worker.heartbeat = Duration::ZERO;
        let keys: Vec<_> = options.problems().iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["net.heartbeat", "worker.heartbeat"]);
    }
}
