//! Where a task of a spout stood at checkpoints, and what it begins with.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::api::{Positions, TaskContext};
use crate::checkpoint::{EventTimeEntry, TaskName};
use crate::ids::CheckpointId;
use crate::runtime::executor::checkpoints::{StorageSender, refuse};
use crate::runtime::flow::checkpoint::{Restored, StorageJob, TaskPart};
use crate::runtime::flow::inbox::InboxSender;
use crate::state::SnapshotKind;

/// So many checkpoints may be under way before the positions of the oldest are forgotten.
const POSITIONS_MAX: usize = 16;

/// What a task of a spout has for checkpoints.
pub struct SpoutCheckpoints {
    name: TaskName,
    /// What the task begins with, until an instance has it.
    restored: Option<Arc<Restored>>,
    /// Where the task stood at checkpoints that are not known to be complete.
    positions: VecDeque<(CheckpointId, Positions)>,
}

impl SpoutCheckpoints {
    /// Of this task.
    pub fn new(context: &TaskContext) -> SpoutCheckpoints {
        let name = TaskName::new(context.component(), context.task_index() as u32);
        SpoutCheckpoints { name, restored: None, positions: VecDeque::new() }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.restored = None;
        self.positions.clear();
    }

    /// The next instance begins with this.
    pub fn restore(&mut self, restored: &Arc<Restored>) {
        self.restored = Some(Arc::clone(restored));
    }

    /// The positions that the next instance begins with; `None` if it begins at the beginning, as a spout does that the
    /// checkpoint does not have.
    pub fn to_restore(&self) -> Option<Positions> {
        let restored = self.restored.as_ref()?;
        restored.checkpoint?;
        restored.positions.get(&self.name.component).cloned()
    }

    /// An instance has its positions.
    pub fn end_restore(&mut self) {
        self.restored = None;
    }

    /// Sends the position of the task for a checkpoint and how far event time is, or the reason why there is none.
    pub fn take(
        &mut self,
        checkpoint: CheckpointId,
        taken: Result<(Positions, EventTimeEntry), String>,
        storage: &StorageSender,
        coordinator: &InboxSender,
    ) {
        let (positions, event_time) = match taken {
            Ok(taken) => taken,
            Err(why) => {
                refuse(&self.name, checkpoint, &why, coordinator);
                return;
            }
        };
        if self.positions.len() == POSITIONS_MAX {
            self.positions.pop_front();
        }
        self.positions.push_back((checkpoint, positions.clone()));
        let (task, states) = (self.name.clone(), Vec::new());
        let part = TaskPart {
            task,
            kind: SnapshotKind::Full,
            states,
            positions,
            names_keys: false,
            has_in_flight: false,
            event_time,
        };
        storage.send(StorageJob::Seal { checkpoint, part: Box::new(part) });
    }

    /// Where the task stood at a checkpoint that is complete. Those before are forgotten.
    pub fn committed(&mut self, checkpoint: CheckpointId) -> Option<Positions> {
        let mut last = None;
        while self.positions.front().is_some_and(|(of, _)| *of <= checkpoint) {
            last = self.positions.pop_front();
        }
        last.filter(|(of, _)| *of == checkpoint).map(|(_, positions)| positions)
    }
}
