//! What becomes of a message that was not processed, as spouts, bolts and counters name it.

use std::fmt;

/// Why a message failed.
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
    pub const ALL: [FailureCause; 5] = [
        FailureCause::Failed,
        FailureCause::Panicked,
        FailureCause::Abandoned,
        FailureCause::TimedOut,
        FailureCause::Lost,
    ];

    /// Its place in [`FailureCause::ALL`].
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
