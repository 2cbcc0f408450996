//! Snapshots of the state of a task, and how it is restored from them.

use std::collections::BTreeSet;

use crate::state::error::StateError;
use crate::state::parts::Parts;
use crate::state::registry::{OperatorSharing, StateKind};
use crate::state::restore::{Restore, Taking};
use crate::state::snapshots::{Kept, LateRecord, SnapshotKind, Snapshots, WriteStep};
use crate::state::task_state::TaskState;

/// Takes a chunk of a snapshot: whole records.
pub(crate) type TakeChunk<'t> = dyn FnMut(&[u8]) -> Result<(), StateError> + 't;

impl TaskState {
    /// Begins a snapshot of everything (`full`) or of what changed since the snapshot before was begun, and
    /// returns which it is. It is a full one, too, if there is none before, or that one was not completed: a
    /// snapshot that is not complete is given up now. Between calls only. Nothing is written yet, so
    /// it costs nearly the same, however much is kept.
    pub(crate) fn begin_snapshot(&mut self, full: bool) -> SnapshotKind {
        let (snapshots, kept) = self.kept();
        snapshots.begin(full, kept)
    }

    fn kept(&mut self) -> (&mut Snapshots, Kept<'_>) {
        let times = self.times();
        let TaskState { snapshots, columns, states, keys, spill, .. } = self;
        (snapshots, Kept { parts: Parts { columns, states, keys, times }, spill: spill.as_deref_mut() })
    }

    /// Appends records of the snapshot that has begun until they take about `budget` bytes, and returns whether it
    /// is complete. Between calls only. The chunks of a snapshot have what was kept when it began, whatever calls
    /// have changed since; one value is never cut, so a long one makes a long chunk.
    ///
    /// # Errors
    /// When a value cannot be written. The snapshot is then given up, and the next one is full.
    pub(crate) fn write_snapshot(&mut self, budget: usize, out: &mut Vec<u8>) -> Result<bool, StateError> {
        Ok(self.write_snapshot_with(LateRecord::None, budget, out)? == WriteStep::Complete)
    }

    /// The same for a snapshot that ends with what is known late.
    ///
    /// # Errors
    /// As [`write_snapshot`](Self::write_snapshot).
    pub(crate) fn write_snapshot_with(
        &mut self,
        late: LateRecord<'_>,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Result<WriteStep, StateError> {
        let (snapshots, kept) = self.kept();
        snapshots.write(budget, late, out, kept)
    }

    /// Replaces what is kept by what the snapshots of these tasks have: those of this task, or those of all tasks of its
    /// component if it had another number of them, as [`Taking::share`] says. The columns must have been made. `read`
    /// passes on the chunks of a task in the order in which they were written: those of a full snapshot, then those of
    /// the deltas that followed.
    ///
    /// # Errors
    /// When `read` fails, and when the snapshots do not fit the states of the component, or are not whole. Nothing is
    /// kept then.
    pub(crate) fn restore_tasks<E: From<StateError>>(
        &mut self,
        tasks: impl IntoIterator<Item = u32>,
        taking: Taking<'_>,
        mut read: impl FnMut(u32, &mut TakeChunk<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.clear();
        let restored = tasks.into_iter().try_for_each(|task| {
            let mut restore = Restore::new(self.kept().1, taking, task);
            read(task, &mut |chunk| restore.read(chunk))?;
            Ok(restore.finish()?)
        });
        if let Some(share) = taking.share {
            for (column, state) in self.columns.iter_mut().zip(&self.states) {
                if state.kind == StateKind::Operator && state.sharing == OperatorSharing::Dealt {
                    column.keep_items(&|nth| share.has_item(nth));
                }
            }
        }
        restored.inspect_err(|_| self.clear())
    }

    /// The same for chunks that are in memory, of a task whose component has as many tasks as before.
    ///
    /// # Errors
    /// As [`restore_tasks`](Self::restore_tasks).
    pub(crate) fn restore<'c>(
        &mut self,
        chunks: impl IntoIterator<Item = &'c [u8]>,
    ) -> Result<(), StateError> {
        let taking = Taking { share: None, left_behind: &BTreeSet::new() };
        let mut chunks = chunks.into_iter();
        self.restore_tasks([0], taking, |_, take| chunks.try_for_each(&mut *take))
    }

    /// Whether the bolt has named keys itself: see [`note_named`](Self::note_named).
    pub(crate) fn names_keys(&self) -> bool {
        self.names_keys
    }

    /// The bolt has named keys before the checkpoint that was restored.
    pub(crate) fn has_named_keys(&mut self) {
        self.names_keys = true;
    }

    /// The key of the present call is named by the bolt. If it is a new one, it belongs to this task by what the bolt
    /// knows, and not by what its input is grouped by.
    #[inline]
    pub(crate) fn note_named(&mut self) {
        self.is_named = true;
    }
}
