//! Problems with the values of options, from a file or from Rust.
//!
//! All problems of a table are collected and reported at once, each with its key. Checks that several
//! tables make are here, so that their messages are alike.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::units::{show_duration, show_size};

/// Something wrong with one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionProblem {
    /// The option, as the path of its key in the file: `net.silence`.
    pub key: &'static str,
    /// The other option that the problem involves, if there is one.
    pub other: Option<&'static str>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to write instead, if the message does not show it.
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

/// Collects the problems of one table.
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

    /// A single late heartbeat must not count as a death, so the time-out covers at least two.
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

/// These are the problems, each with this key, and with a message that contains this.
#[cfg(test)]
#[track_caller]
pub(super) fn assert_problems(problems: &[OptionProblem], expected: &[(&str, &str)]) {
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, (key, message)) in problems.iter().zip(expected) {
        assert_eq!(problem.key, *key);
        assert!(problem.message.contains(message), "{problem:?}");
    }
}
