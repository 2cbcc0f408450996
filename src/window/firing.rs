//! What windows tell, and why.

use crate::tuple::Timestamp;
use crate::window::grid::Window;

/// What a window is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// A span of time.
    Time(Window),
    /// Tuples of a key, by their numbers: from the first, to before the last.
    Rows {
        /// The number of the first, from 0.
        start: i64,
        /// The number of the one behind the last.
        end: i64,
    },
    /// All tuples of a key.
    All,
}

/// Why a window tells its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Firing {
    /// It is not over: an early result.
    Early,
    /// It is over.
    OnTime,
    /// It was over, and a late tuple has come.
    Late,
}

impl Firing {
    /// As rows have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Firing::Early => "early",
            Firing::OnTime => "on-time",
            Firing::Late => "late",
        }
    }
}

/// What became of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It counts.
    Counted,
    /// All its windows were over.
    Late,
    /// It lies between windows.
    InGap,
}

/// A moment of a tuple, and what it brings.
pub(super) struct Arrival<'i, I> {
    pub(super) at: Timestamp,
    pub(super) item: &'i I,
}
