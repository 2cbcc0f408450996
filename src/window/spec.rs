//! What windows there are, and when they tell their results.

use std::time::Duration;

use crate::window::grid::{TimeWindows, greatest_common_divisor};
use crate::window::time_source::WindowTime;

/// Which tuples of a key belong together.
#[derive(Clone, Debug)]
pub enum Windows {
    /// Those of a span of time.
    Time(TimeWindows),
    /// Those between which no gap is longer.
    Session(Gap),
    /// So many.
    Rows(RowWindows),
}

impl Windows {
    /// Whether windows begin or end by time.
    pub(crate) fn follow_time(&self) -> bool {
        match self {
            Windows::Time(_) | Windows::Session(_) => true,
            Windows::Rows(rows) => rows.timeout.is_some(),
        }
    }

    /// Whether a tuple can come when all its windows are over.
    pub(crate) fn can_be_late(&self) -> bool {
        matches!(self, Windows::Time(_) | Windows::Session(_))
    }

    /// Whether a window has tuples that another one has, or may have later.
    pub(crate) fn share_tuples(&self) -> bool {
        match self {
            Windows::Time(windows) => !windows.is_tumbling(),
            Windows::Session(_) => true,
            Windows::Rows(rows) => !rows.is_tumbling(),
        }
    }
}

/// How long a gap ends a session.
#[derive(Clone, Debug)]
pub enum Gap {
    /// This long.
    Fixed(Duration),
    /// As long as a field of the tuple says: a text with a unit, as `"30m"`, or a number of seconds.
    Field(String),
}

/// Windows of so many tuples of a key.
///
/// # Examples
/// ```
/// use squall::window::RowWindows;
///
/// // The last five, each time two have come.
/// let windows = RowWindows::sliding(5, 2)?;
/// # Ok::<(), squall::window::RowsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowWindows {
    pub(super) length: i64,
    pub(super) slide: i64,
    pub(super) timeout: Option<Duration>,
}

/// Why windows cannot have so many tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// None, or too many.
    #[error("a window has at least 1 tuple and at most {}", RowWindows::ROWS_MAX)]
    Length,
    /// None, or more than a window has.
    #[error(
        "the slide is at least 1 tuple and at most as many as a window has: others would belong to no window"
    )]
    Slide,
    /// Windows of too many parts.
    #[error(
        "a window would have {0} parts (the tuples, by the greatest common divisor of both), and may have {max}: choose a slide \
         that divides the length",
        max = TimeWindows::SLICES_MAX
    )]
    Slices(i64),
    /// A time-out of windows that overlap.
    #[error("a time-out goes with windows that do not overlap: leave out the slide")]
    Timeout,
}

impl RowWindows {
    /// How many tuples a window may have.
    pub const ROWS_MAX: i64 = 1_000_000_000;

    /// So many tuples, and then the next ones.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn tumbling(length: i64) -> Result<RowWindows, RowsError> {
        RowWindows::sliding(length, length)
    }

    /// The last `length` tuples, each time `slide` more have come.
    ///
    /// # Errors
    /// When there are none, or too many, or the slide is longer than the window.
    pub fn sliding(length: i64, slide: i64) -> Result<RowWindows, RowsError> {
        if !(1..=RowWindows::ROWS_MAX).contains(&length) {
            return Err(RowsError::Length);
        }
        if !(1..=length).contains(&slide) {
            return Err(RowsError::Slide);
        }
        let windows = RowWindows { length, slide, timeout: None };
        let slices = length / windows.slice();
        if slices > TimeWindows::SLICES_MAX {
            return Err(RowsError::Slices(slices));
        }
        Ok(windows)
    }

    /// All tuples: the result is told when the input has ended, and early.
    pub fn all() -> RowWindows {
        RowWindows { length: i64::MAX, slide: i64::MAX, timeout: None }
    }

    /// The window ends at the latest so long after its first tuple.
    ///
    /// # Errors
    /// When windows overlap.
    pub fn with_timeout(self, timeout: Duration) -> Result<RowWindows, RowsError> {
        if self.slide != self.length {
            return Err(RowsError::Timeout);
        }
        Ok(RowWindows { timeout: Some(timeout), ..self })
    }

    pub(crate) fn is_of_all(&self) -> bool {
        self.length == i64::MAX
    }

    pub(crate) fn is_tumbling(&self) -> bool {
        self.length == self.slide
    }

    /// How many tuples a slice has: the greatest common divisor of length and slide.
    pub(super) fn slice(&self) -> i64 {
        greatest_common_divisor(self.length, self.slide)
    }

    /// The number of the first tuple of the window that has so many tuples of its key before its end, or more.
    pub(super) fn first_row(&self, rows: i64) -> i64 {
        let windows = (rows - 1).div_euclid(self.slide);
        let end = windows.saturating_add(1).saturating_mul(self.slide);
        (end - self.length).max(0)
    }
}

/// When windows tell results before they are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Early {
    /// So long after the first tuple since the last result, by the clock.
    pub every: Option<Duration>,
    /// Each time so many tuples of the key have come.
    pub rows: Option<u64>,
}

/// When windows end, and what becomes of what comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowOptions {
    /// The time that windows follow.
    pub time: WindowTime,
    /// How long a window that is over takes late tuples. With each it tells its result again.
    pub allowed_lateness: Duration,
    /// When results are told early.
    pub early: Early,
    /// Whether a window begins anew with each result that it tells, so that all of them have to be added up.
    pub discard: bool,
}

impl Default for WindowOptions {
    /// Event time, and one result for each window.
    fn default() -> WindowOptions {
        let early = Early::default();
        WindowOptions { time: WindowTime::Event, allowed_lateness: Duration::ZERO, early, discard: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_tuples_have_their_rows() {
        let windows = RowWindows::sliding(5, 2).expect("they are");
        let first: Vec<i64> = (1..=8).map(|rows| windows.first_row(rows)).collect();
        assert_eq!((first, windows.slice()), (vec![0, 0, 0, 0, 1, 1, 3, 3], 1));
        let all = RowWindows::all();
        assert_eq!((all.first_row(7), all.slice()), (0, i64::MAX));
        assert_eq!(RowWindows::tumbling(0), Err(RowsError::Length));
        assert_eq!(RowWindows::sliding(2, 3), Err(RowsError::Slide));
        let overlapping = RowWindows::sliding(4, 2).expect("they are");
        assert_eq!(overlapping.with_timeout(Duration::from_secs(1)), Err(RowsError::Timeout));
    }
}
