//! What becomes of a message that was not processed, as spouts, bolts and counters name it.

use std::fmt;

/// Why a message failed.
///
/// # Examples
/// ```
/// use squall::api::FailureCause;
///
/// assert_eq!(FailureCause::TimedOut.to_string(), "timed out");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureCause {
    /// A bolt failed one of its tuples.
    Failed,
    /// A bolt panicked on one of its tuples.
    Panicked,
    /// A bolt dropped a held tuple without a word.
    Abandoned,
    /// It was not done within `message_timeout`.
    TimedOut,
    /// A task or link that it may have touched was lost.
    Lost,
}

impl FailureCause {
    /// All of them.
    ///
    /// # Examples
    /// ```
    /// use squall::api::{FailureCause, TopologyStats};
    ///
    /// /// The counters of replays, by their cause, for a monitoring system.
    /// fn replays(stats: &TopologyStats) -> Vec<(String, u64)> {
    ///     FailureCause::ALL.map(|cause| (cause.to_string(), stats.replays.of(cause))).to_vec()
    /// }
    /// # assert_eq!(replays(&TopologyStats::default())[4], ("lost".to_owned(), 0));
    /// ```
    pub const ALL: [FailureCause; 5] = [
        FailureCause::Failed,
        FailureCause::Panicked,
        FailureCause::Abandoned,
        FailureCause::TimedOut,
        FailureCause::Lost,
    ];

    /// Its place in [`FailureCause::ALL`].
    ///
    /// # Examples
    /// ```
    /// use squall::api::FailureCause;
    ///
    /// let mut failures = [0; FailureCause::ALL.len()];
    /// failures[FailureCause::Panicked.index()] += 1;
    /// assert_eq!(failures, [0, 1, 0, 0, 0]);
    /// ```
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureCause::Failed => "failed",
            FailureCause::Panicked => "panicked",
            FailureCause::Abandoned => "abandoned",
            FailureCause::TimedOut => "timed out",
            FailureCause::Lost => "lost",
        })
    }
}

/// What a spout is told of a failed message.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// /// Whether a message is worth another attempt: not if it was given up, and not if a bolt panics on it.
/// fn is_to_replay(failure: &Failure) -> bool {
///     !failure.is_final && failure.cause != FailureCause::Panicked
/// }
/// # let failure = Failure { cause: FailureCause::TimedOut, failures: 1, is_final: false };
/// # assert!(is_to_replay(&failure) && !is_to_replay(&Failure { is_final: true, ..failure }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub cause: FailureCause,
    /// How many times the message has failed now, 1 for the first.
    pub failures: u32,
    /// Whether the message has used up `max_replays`. A spout that replays such a message all the
    /// same is taken at its word.
    pub is_final: bool,
}
