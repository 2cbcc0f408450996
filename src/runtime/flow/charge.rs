//! How much of a link's credit a batch takes: its tuples and its bytes.
//!
//! The limits of links that lead to another worker are derived here, too, because both halves of such a
//! link, the producer's and the consumer's, must derive the same ones.

/// Between workers, so many times as many tuples may be on their way: they are under way for longer.
const REMOTE_TUPLES_FACTOR: usize = 4;

/// Between workers, credit comes back in such parts of the whole.
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
    /// The credit of a link to another worker, where this is that of a link within one.
    pub fn remote_limit(self) -> Charge {
        Charge { tuples: self.tuples.saturating_mul(REMOTE_TUPLES_FACTOR), bytes: self.bytes }
    }

    /// How much of a link's credit comes back at once from another worker.
    pub fn lot(self) -> Charge {
        Charge { tuples: (self.tuples / LOTS_PER_LIMIT).max(1), bytes: (self.bytes / LOTS_PER_LIMIT).max(1) }
    }
}
