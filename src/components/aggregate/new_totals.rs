//! The stream of new totals, exactly once. Trident's `newValuesStream`.
//!
//! 1. They are emitted before the barrier of the checkpoint whose batch makes them. So with that checkpoint they are there
//!    and the batch is, or none of both: then all tasks go back, and both come again.
//! 2. They cannot be emitted when the batch is put. That is after the checkpoint, so those of the last one would belong to
//!    none. They are what the store will have: what it has, and the batches that are not put yet.
//! 3. Nothing is read for nobody: only if the stream is taken, the store is asked.
//! 4. What takes them may act on the end of the input, so they are emitted at the end, too, before the last barrier.

use crate::api::{BackingMap, MapKey, TaskContext, TaskError, Values};
use crate::components::aggregate::function::{Function, Part, adding};
use crate::ids::DEFAULT_STREAM;
use crate::trident::{StateMap, Update};
use crate::tuple::{Value, ValueError};

/// A row: the values of the key, then the total.
pub(super) struct NewTotal<'a> {
    pub(super) key: &'a [Value],
    pub(super) total: Value,
}

impl Values for NewTotal<'_> {
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        row.extend_from_slice(self.key);
        row.push(self.total);
        Ok(())
    }
}

/// Whether a component takes what the task emits.
pub(super) fn is_subscribed(context: &TaskContext) -> bool {
    let mut inputs = context.components().iter().flat_map(|component| &component.inputs);
    inputs.any(|input| input.component == context.component() && input.stream == DEFAULT_STREAM)
}

/// A key, and what the store does not have of it: its batches by their ids, and last what came since the last checkpoint.
pub(super) type Waiting = (MapKey, Vec<(u64, Part)>);

/// What the store will have of these keys.
pub(super) fn totals_after(
    map: &mut StateMap<Box<dyn BackingMap>>,
    function: Function,
    waiting: &[Waiting],
    last: u64,
) -> Result<Vec<Value>, TaskError> {
    let add: Vec<Vec<_>> = waiting
        .iter()
        .map(|(key, parts)| parts.iter().map(|(txid, part)| (*txid, adding(function, key, part))).collect())
        .collect();
    let updates = add.iter().map(|add| add.iter().map(|(txid, add)| (*txid, add as Update<'_>)).collect());
    let updates: Vec<(MapKey, Vec<(u64, Update<'_>)>)> =
        waiting.iter().map(|(key, _)| key.clone()).zip(updates).collect();
    map.multi_preview(&updates, last)
}
