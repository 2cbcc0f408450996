//! What the sequence of checkpoints is made with, asks for, and counts: see `checkpoint_sequence`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::api::CheckpointStats;
use crate::checkpoint::{Manifest, TaskName};
use crate::clock::Time;
use crate::ids::CheckpointId;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::checkpoint::Restored;
use crate::topology::graph::Topology;
use crate::topology::plan::{Part, Plan};

/// What the caller must do next.
pub enum CheckpointAction {
    /// Read the latest checkpoint.
    Load,
    /// Send this to all executors of tasks.
    Restore(Arc<Restored>),
    /// Let all executors of tasks run: all have what was restored.
    Resume,
    /// Send this to all executors of spouts.
    Begin(Barrier),
    /// Publish this checkpoint.
    Publish(Box<Manifest>),
    /// Tell all executors of tasks that it is complete.
    Commit(CheckpointId),
    /// Copy this checkpoint, which is complete, to a directory: it is a savepoint.
    Export(CheckpointId, PathBuf),
    /// Tell whoever wants a savepoint what became of it.
    AnswerSavepoint(Result<CheckpointId, String>),
    /// Tell those who want a checkpoint, up to this question, which one it is, or why there is none.
    AnswerCheckpoint(u64, Result<CheckpointId, String>),
    /// Have all spouts rest, because the run stops with a savepoint; or have them go on, because it does not.
    Rest(bool),
    /// Forget the files of this checkpoint: it was given up, for this reason.
    GiveUp(CheckpointId, String),
    /// Have all executors of tasks halt, for this reason.
    Halt(String),
    /// Show why the latest checkpoint cannot be read. It is tried again.
    Wait(String),
    /// End the run: it has failed for this reason.
    Fail(String),
}

/// How checkpoints have gone so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointCounts {
    /// Without [`CheckpointStats::age`].
    pub stats: CheckpointStats,
    /// When the latest became complete, if one has in this run.
    pub completed_at: Option<Time>,
}

impl CheckpointCounts {
    /// The same at this time.
    pub fn at(&self, now: Time) -> CheckpointStats {
        CheckpointStats { age: self.completed_at.map(|completed| now.since(completed)), ..self.stats }
    }

    /// Counts a checkpoint that is complete. It took so long, and wrote so many bytes.
    pub fn completed(&mut self, checkpoint: CheckpointId, duration: Duration, bytes: u64, now: Time) {
        self.stats.completed += 1;
        (self.stats.latest, self.stats.duration, self.stats.bytes) = (Some(checkpoint), duration, bytes);
        self.completed_at = Some(now);
    }
}

/// Why all tasks go back when a task of this component has lost what no other has.
pub fn loss_of(component: &str, why: &str) -> String {
    format!("`{component}` failed in a way that cannot be taken back: {why}")
}

/// What the topology is made of, as far as checkpoints are concerned.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The topology.
    pub topology: SmolStr,
    /// All tasks of components, with how many tasks the component has.
    pub tasks: BTreeMap<TaskName, u32>,
    /// Into how many groups fields grouping hashes keys.
    pub key_groups: u32,
    /// How many answer for their executors: this process, or each worker.
    pub answerers: usize,
}

impl Parts {
    /// Of a topology with this plan, for whose executors so many answer.
    pub fn new(topology: &Topology, plan: &Plan, answerers: usize) -> Parts {
        let mut tasks = BTreeMap::new();
        for (index, component) in topology.components().iter().enumerate() {
            let count = plan.tasks(Part::Component(index)).len() as u32;
            tasks.extend((0..count).map(|task| (TaskName::new(component.id.clone(), task), count)));
        }
        let key_groups = topology.options().key_groups;
        Parts { topology: topology.name.clone(), tasks, key_groups, answerers }
    }

    /// How many tasks each component has.
    pub fn counts(&self) -> BTreeMap<SmolStr, u32> {
        self.tasks.iter().map(|(task, count)| (task.component.clone(), *count)).collect()
    }
}
