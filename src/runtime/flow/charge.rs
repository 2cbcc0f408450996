//! How much of a link's credit a batch takes: its tuples and its bytes.
//!
//! The limits of links to another worker are derived here, too, because both halves of such a link, the
//! producer's and the consumer's, must derive the same limits.

use crate::ids::LinkId;

/// Between workers this many times as many tuples may be on their way, because they take longer to arrive.
const REMOTE_TUPLES_FACTOR: usize = 4;

/// Between workers, credit is returned in lots; this many lots make the limit.
const LOTS_PER_LIMIT: usize = 4;

/// How much of a link's credit a batch holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Tuples.
    pub tuples: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Charge {
    /// The limit of a link to another worker, if `self` is the limit of a link within a worker.
    pub fn remote_limit(self) -> Charge {
        Charge { tuples: self.tuples.saturating_mul(REMOTE_TUPLES_FACTOR), bytes: self.bytes }
    }

    /// How much credit is returned at once to a producer in another worker, if `self` is the limit.
    pub fn lot(self) -> Charge {
        Charge { tuples: (self.tuples / LOTS_PER_LIMIT).max(1), bytes: (self.bytes / LOTS_PER_LIMIT).max(1) }
    }
}

/// Credit of a link to another worker, as the two workers count it: the charge of one payload, what the
/// peer returns, or a total of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCredit {
    /// The link.
    pub link: LinkId,
    /// Tuples.
    pub tuples: u64,
    /// Bytes.
    pub bytes: u64,
}

impl LinkCredit {
    /// Without its link.
    pub fn charge(self) -> Charge {
        Charge { tuples: self.tuples as usize, bytes: self.bytes as usize }
    }

    /// Whether it is no credit at all.
    pub fn is_zero(self) -> bool {
        (self.tuples, self.bytes) == (0, 0)
    }
}
