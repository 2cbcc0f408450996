//! What a bolt sees of a window that keeps its tuples whole.

use std::time::Duration;

use crate::api::Input;
use crate::tuple::Timestamp;
use crate::window::stored_tuple::Row;

/// How long a window is, or how far it is to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// So many tuples.
    Rows(u64),
    /// So long.
    Time(Duration),
}

/// The tuples of a window, in the order in which they happened.
pub struct TupleWindow {
    pub(super) end: Timestamp,
    pub(super) expired: Vec<Row>,
    /// All, each with whether it is new.
    pub(super) all: Vec<(Row, bool)>,
}

impl TupleWindow {
    /// All tuples of the window.
    pub fn all(&self) -> impl ExactSizeIterator<Item = Input<'_>> {
        self.all.iter().map(|(row, _)| row.as_input())
    }

    /// Those that no window before had.
    pub fn new_tuples(&self) -> impl Iterator<Item = Input<'_>> {
        self.all.iter().filter(|(_, is_new)| *is_new).map(|(row, _)| row.as_input())
    }

    /// Those that the window before had, and this one has not.
    pub fn expired(&self) -> impl ExactSizeIterator<Item = Input<'_>> {
        self.expired.iter().map(Row::as_input)
    }

    /// When the window ends. If it ends with a tuple, that is the time of the tuple.
    pub fn end(&self) -> Timestamp {
        self.end
    }
}
