//! The times of a snapshot or of a restore, by both clocks of a task.

use crate::state::registry::Registration;
use crate::state::stored::SnapshotTime;

/// The times of a snapshot or of a restore, by both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SnapshotTimes {
    /// Processing time.
    pub(super) processing: SnapshotTime,
    /// Event time.
    pub(super) event: SnapshotTime,
}

impl SnapshotTimes {
    /// By the clock that a state counts in.
    pub(super) fn of(&self, state: &Registration) -> SnapshotTime {
        if state.is_in_event_time() { self.event } else { self.processing }
    }
}
