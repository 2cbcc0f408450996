//! What tasks of `aggregate` count.

use crate::api::TaskContext;
use crate::metrics::Counter;

/// What a task counts.
#[derive(Clone, Default)]
pub(super) struct Counts {
    pub(super) batches: Counter,
    pub(super) keys: Counter,
    /// New totals that are too large to be emitted.
    pub(super) refused: Counter,
}

impl Counts {
    pub(super) fn of(context: &TaskContext) -> Counts {
        Counts {
            batches: context.counter("batches"),
            keys: context.counter("keys_put"),
            refused: context.loss_counter("rows_refused"),
        }
    }

    /// A batch with so many keys was put.
    pub(super) fn put(&self, keys: usize) {
        self.batches.add(1);
        self.keys.add(keys as u64);
    }
}
