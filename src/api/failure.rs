//! Why a message failed, and how often, as spouts and counters see it.

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
    /// A bolt dropped a held tuple without acking or failing it.
    Abandoned,
    /// Its tree was not processed within `message_timeout`.
    TimedOut,
    /// Its acker was lost, or a task or worker that may have had tuples of it.
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

    /// Its index in [`FailureCause::ALL`].
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

/// What a spout gets with a failed message.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// /// Whether to replay a message: not if it was given up, and not if a bolt panicked on it.
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
    /// How many times the message has failed, this failure included.
    pub failures: u32,
    /// Whether the message has used up `max_replays`. If the spout emits it again nevertheless, the
    /// runtime accepts it.
    pub is_final: bool,
}
