//! Where a task of a spout stood at checkpoints, and what it begins with.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::api::{Positions, TaskContext};
use crate::checkpoint::TaskName;
use crate::ids::CheckpointId;
use crate::runtime::executor::checkpoints::StorageSender;
use crate::runtime::flow::checkpoint::{CheckpointEvent, Extent, Restored, StorageJob, TaskPart};
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::run_queue::Urgency;

/// So many checkpoints may be under way before the positions of the oldest are forgotten.
const POSITIONS_MAX: usize = 16;

/// What a task of a spout has for checkpoints.
pub struct SpoutCheckpoints {
    name: TaskName,
    /// What the task begins with, until an instance has it.
    restored: Option<Arc<Restored>>,
    /// Where the task stood at checkpoints that are not known to be complete.
    taken: VecDeque<(CheckpointId, Positions)>,
}

impl SpoutCheckpoints {
    /// Of this task.
    pub fn new(context: &TaskContext) -> SpoutCheckpoints {
        let name = TaskName::new(context.component(), context.task_index() as u32);
        SpoutCheckpoints { name, restored: None, taken: VecDeque::new() }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.restored = None;
        self.taken.clear();
    }

    /// The next instance begins with this.
    pub fn restore(&mut self, restored: &Arc<Restored>) {
        self.restored = Some(Arc::clone(restored));
    }

    /// The positions that the next instance begins with; `None` if it begins at the beginning.
    pub fn to_restore(&self) -> Option<Positions> {
        let restored = self.restored.as_ref()?;
        restored.checkpoint?;
        Some(restored.positions.get(&self.name.component).cloned().unwrap_or_default())
    }

    /// An instance has its positions.
    pub fn has_restored(&mut self) {
        self.restored = None;
    }

    /// Sends the position of the task for a checkpoint, or the reason why there is none.
    pub fn take(
        &mut self,
        checkpoint: CheckpointId,
        positions: Result<Positions, String>,
        storage: &StorageSender,
        coordinator: &InboxSender,
    ) {
        let positions = match positions {
            Ok(positions) => positions,
            Err(why) => {
                let why = format!("`{}`, task {}: {why}", self.name.component, self.name.task_index);
                let event = CheckpointEvent::Refused { checkpoint, why };
                coordinator.send_control(event, Urgency::WhenDone);
                return;
            }
        };
        if self.taken.len() == POSITIONS_MAX {
            self.taken.pop_front();
        }
        self.taken.push_back((checkpoint, positions.clone()));
        let (task, states) = (self.name.clone(), Vec::new());
        let part = TaskPart { task, extent: Extent::Full, states, positions };
        storage.send(StorageJob::Seal { checkpoint, part: Box::new(part) });
    }

    /// Where the task stood at a checkpoint that is complete. Those before are forgotten.
    pub fn committed(&mut self, checkpoint: CheckpointId) -> Option<Positions> {
        let mut last = None;
        while self.taken.front().is_some_and(|(of, _)| *of <= checkpoint) {
            last = self.taken.pop_front();
        }
        last.filter(|(of, _)| *of == checkpoint).map(|(_, positions)| positions)
    }
}
