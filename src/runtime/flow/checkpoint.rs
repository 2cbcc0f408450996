//! What executors, the coordinator, the executor that writes checkpoints and the master send each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::api::Positions;
use crate::checkpoint::{CheckpointError, EventTimeEntry, Manifest, SnapshotFile, StoredSnapshots, TaskName};
use crate::ids::CheckpointId;
use crate::runtime::flow::alignment::Barrier;
use crate::runtime::flow::dealt::Dealt;
use crate::state::{SnapshotKind, StateDescription};
use crate::text::shown;

/// What tasks begin with after a start or a recovery.
#[derive(Debug, Default)]
pub struct Restored {
    /// The checkpoint. `None`: there is none, and the topology begins anew.
    pub checkpoint: Option<CheckpointId>,
    /// The state of each task, in files that were checked. Tasks read them.
    pub states: BTreeMap<TaskName, StoredSnapshots>,
    /// The same of components that have another number of tasks now, by what each of these needs of it. If there is none of a
    /// component, its tasks read `states`.
    pub dealt: BTreeMap<SmolStr, Dealt>,
    /// The positions of each spout, those of all its tasks together.
    pub positions: BTreeMap<SmolStr, Positions>,
    /// How many tasks each component had.
    pub tasks: BTreeMap<SmolStr, u32>,
    /// The components that named keys themselves.
    pub names_keys: BTreeSet<SmolStr>,
    /// The states of each component that are left behind.
    pub left_behind: BTreeMap<SmolStr, BTreeSet<SmolStr>>,
    /// How far event time was in each component.
    pub event_times: BTreeMap<SmolStr, EventTimeEntry>,
}

/// What `--allow-dropped-state` and messages call a state of a component. With a dot, as the streams of a component are
/// written. Where one of the names has a dot itself, with a colon.
pub fn named_state(component: &str, state: &str) -> String {
    let separator = if component.contains('.') || state.contains('.') { ':' } else { '.' };
    format!("{component}{separator}{state}")
}

/// What was read from the store.
pub struct Loaded {
    /// The latest checkpoint.
    pub manifest: Option<Manifest>,
    /// What it holds.
    pub restored: Arc<Restored>,
}

/// A task's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskPart {
    /// The task.
    pub task: TaskName,
    /// How much of its state was written.
    pub kind: SnapshotKind,
    /// The states that it has, for people.
    pub states: Vec<StateDescription>,
    /// Of a task of a spout: where it stands in its input.
    pub positions: Positions,
    /// Whether the bolt named keys itself: see `TaskEntry::names_keys`.
    pub names_keys: bool,
    /// Whether tuples were in flight to the task, so that something may come of them.
    pub has_in_flight: bool,
    /// How far event time has come in it.
    #[serde(default)]
    pub event_time: EventTimeEntry,
}

/// Why a checkpoint was not published, or not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageError {
    /// The reason.
    pub why: String,
    /// Whether no other attempt can succeed: a file is damaged, or a later start of the topology has taken over.
    pub is_permanent: bool,
}

impl From<CheckpointError> for StorageError {
    fn from(error: CheckpointError) -> StorageError {
        let may_pass = matches!(
            error,
            CheckpointError::Io { .. } | CheckpointError::Open { .. } | CheckpointError::Undecided { .. }
        );
        StorageError { why: shown(&error), is_permanent: !may_pass }
    }
}

/// What has happened, for the coordinator.
pub enum CheckpointEvent {
    /// The topology was activated for the first time: from now on checkpoints are taken.
    Activated,
    /// The part of a task is durable, in this file if it has any state.
    Taken {
        /// Of this checkpoint.
        checkpoint: CheckpointId,
        /// The part.
        part: Box<TaskPart>,
        /// The file.
        file: Option<SnapshotFile>,
    },
    /// A task could not take its part.
    Refused {
        /// Of this checkpoint.
        checkpoint: CheckpointId,
        /// Why not.
        why: String,
    },
    /// The manifest is durable, or could not be written.
    Published(CheckpointId, Result<(), StorageError>),
    /// The latest checkpoint was read, or could not be.
    Loaded(Result<Box<Loaded>, StorageError>),
    /// In one worker of several: what the tasks of this worker keep in a checkpoint was read, or could not be.
    ShareLoaded {
        /// For this recovery.
        recovery: u64,
        /// What was read.
        result: Result<Arc<Restored>, StorageError>,
    },
    /// Somebody wants a savepoint.
    SavepointWanted {
        /// The directory to which it is copied.
        directory: PathBuf,
        /// Whether the run ends with it.
        stops: bool,
    },
    /// Somebody wants a checkpoint now: the question of this number.
    CheckpointWanted(u64),
    /// This checkpoint was copied as a savepoint, or could not be.
    Exported(CheckpointId, Result<(), String>),
    /// An executor has halted.
    Halted,
    /// An executor has taken what was restored.
    Restored,
    /// All tasks of an executor have committed this checkpoint.
    Committed(CheckpointId),
    /// A task has lost what no other has: all tasks go back to the latest checkpoint.
    Lost {
        /// Its component.
        component: SmolStr,
        /// What happened.
        why: String,
    },
}

/// Work for the executor that writes checkpoints. It is done in the order in which it was sent.
pub enum StorageJob {
    /// Append to the file of a task.
    Append {
        /// For this checkpoint.
        checkpoint: CheckpointId,
        /// The task.
        task: TaskName,
        /// The bytes.
        chunk: Vec<u8>,
    },
    /// The part of a task is complete: make it durable.
    Seal {
        /// For this checkpoint.
        checkpoint: CheckpointId,
        /// The part.
        part: Box<TaskPart>,
    },
    /// All parts are durable: publish the checkpoint.
    Publish(Box<Manifest>),
    /// The checkpoint was given up.
    Discard(CheckpointId),
    /// Copy a checkpoint that is complete to a directory.
    Export {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The directory.
        directory: PathBuf,
    },
    /// Read the latest checkpoint.
    Load,
    /// In one worker of several: read what the tasks of this worker keep in a checkpoint.
    LoadShare {
        /// For this recovery.
        recovery: u64,
        /// The checkpoint. `None`: the topology begins at its beginning.
        checkpoint: Option<CheckpointId>,
    },
}

/// What the master has a worker do about checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointOrder {
    /// All its executors halt. The number is higher than that of any recovery before.
    Halt {
        /// The recovery that begins.
        recovery: u64,
    },
    /// Its tasks begin with this checkpoint, and wait.
    Restore {
        /// The recovery.
        recovery: u64,
        /// The checkpoint. `None`: they begin anew.
        checkpoint: Option<CheckpointId>,
    },
    /// All workers have what was restored: run.
    Resume,
    /// Its spouts take part in a checkpoint, and send its barrier.
    Begin(Barrier),
    /// The checkpoint is complete: commit it.
    Commit(CheckpointId),
    /// The checkpoint was given up: write nothing more for it.
    Discard(CheckpointId),
}

/// What a worker reports to the master about checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CheckpointReport {
    /// All its executors have halted.
    Halted,
    /// All its executors have what was restored.
    Restored,
    /// What is to be restored could not be read.
    NotRestored(StorageError),
    /// All its tasks have committed this checkpoint.
    Committed(CheckpointId),
    /// The part of a task is durable.
    Taken {
        /// Of this checkpoint.
        checkpoint: CheckpointId,
        /// The part.
        part: Box<TaskPart>,
        /// Its file, if the task keeps anything.
        file: Option<SnapshotFile>,
    },
    /// A task could not take its part.
    Refused {
        /// Of this checkpoint.
        checkpoint: CheckpointId,
        /// Why not.
        why: String,
    },
    /// A task has lost what no other has.
    Lost {
        /// Its component.
        component: SmolStr,
        /// What happened.
        why: String,
    },
}
