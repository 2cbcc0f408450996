//! Writes checkpoints: an executor with a thread of its own, so that no other waits for a disk.
//!
//! Its jobs are done in the order in which they were sent, so what is loaded holds everything that was published
//! before.
//!
//! If it is not certain whether a manifest became durable, nothing is published and nothing loaded before that is
//! decided: a sink could otherwise abort what a later start finds complete.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use slog::Logger;
use smol_str::SmolStr;

use crate::api::Positions;
use crate::checkpoint::{
    CheckpointError, CheckpointStore, LeftBehind, Manifest, Scratch, SnapshotFile, StoredSnapshots,
    TaskEntry, TaskName, WorkerStore,
};
use crate::clock::Time;
use crate::ids::CheckpointId;
use crate::runtime::executor::checkpoints::StorageQueue;
use crate::runtime::executor::dealing::{Recipients, deal};
use crate::runtime::executor::step::{Step, StepContext, StepOutcome};
use crate::runtime::flow::checkpoint::{CheckpointEvent, Loaded, Restored, StorageError, StorageJob};
use crate::runtime::flow::inbox::{Inbox, InboxSender};
use crate::runtime::flow::message::Control;
use crate::runtime::flow::run_queue::Urgency;
use crate::text::shown;

/// Where the executor writes.
pub enum Store {
    /// The store of a topology that is all in this process.
    Whole(Box<CheckpointStore>),
    /// The store of one worker of several. The master publishes.
    Share {
        /// The store.
        store: WorkerStore,
        /// The tasks of this worker.
        tasks: BTreeSet<TaskName>,
    },
}

impl Store {
    fn append(
        &mut self,
        checkpoint: CheckpointId,
        task: &TaskName,
        chunk: &[u8],
    ) -> Result<(), CheckpointError> {
        match self {
            Store::Whole(store) => store.append(checkpoint, task, chunk),
            Store::Share { store, .. } => store.append(checkpoint, task, chunk),
        }
    }

    fn seal(
        &mut self,
        checkpoint: CheckpointId,
        task: &TaskName,
    ) -> Result<Option<SnapshotFile>, CheckpointError> {
        match self {
            Store::Whole(store) => store.seal(checkpoint, task),
            Store::Share { store, .. } => store.seal(checkpoint, task),
        }
    }

    fn discard(&mut self, checkpoint: CheckpointId) {
        match self {
            Store::Whole(store) => store.discard(checkpoint),
            Store::Share { store, .. } => store.forget(checkpoint),
        }
    }

    fn snapshots(&self, files: &[SnapshotFile]) -> StoredSnapshots {
        match self {
            Store::Whole(store) => store.snapshots(files),
            Store::Share { store, .. } => store.snapshots(files),
        }
    }

    fn scratch(&self) -> io::Result<Scratch> {
        match self {
            Store::Whole(store) => store.scratch(),
            Store::Share { store, .. } => store.scratch(),
        }
    }

    /// The indices of the tasks of a component in this process, which has so many in all.
    fn tasks_here(&self, component: &SmolStr, count: u32) -> Vec<u32> {
        match self {
            Store::Whole(_) => (0..count).collect(),
            Store::Share { tasks, .. } => {
                let here = tasks.iter().filter(|task| task.component == *component);
                here.map(|task| task.task_index).collect()
            }
        }
    }

    fn left_behind(&self) -> &LeftBehind {
        match self {
            Store::Whole(store) => store.left_behind(),
            Store::Share { store, .. } => store.left_behind(),
        }
    }

    /// Whether what a task kept is needed in this process: the task is here, or the component has another number of
    /// tasks now, and some of them are here.
    fn is_needed(&self, entry: &TaskEntry, TaskCounts { counts, .. }: &TaskCounts) -> bool {
        match self {
            Store::Whole(_) => true,
            Store::Share { tasks, .. } if counts.get(&entry.component) == Some(&entry.tasks) => {
                tasks.contains(&entry.task())
            }
            Store::Share { tasks, .. } => tasks.iter().any(|task| task.component == entry.component),
        }
    }

    /// What the tasks of this process keep in a checkpoint, and the positions of all spouts. Files are read and checked
    /// here, so that no task begins with a checkpoint that is damaged. Tasks read them once more, a chunk at a time, so
    /// that no more than that is in memory. What was kept by another number of tasks is dealt out here.
    fn restored(
        &self,
        manifest: Option<&Manifest>,
        counts: &TaskCounts,
    ) -> Result<Arc<Restored>, StorageError> {
        let mut moved: BTreeMap<(SmolStr, u32), Vec<(u32, StoredSnapshots)>> = BTreeMap::new();
        let checkpoint = manifest.map(|manifest| manifest.checkpoint);
        let mut restored = Restored { checkpoint, ..Restored::default() };
        for entry in manifest.iter().flat_map(|manifest| &manifest.tasks) {
            let positions: &mut Positions = restored.positions.entry(entry.component.clone()).or_default();
            positions.extend(entry.positions.clone());
            let times = restored.event_times.entry(entry.component.clone());
            times.and_modify(|of_all| of_all.add(&entry.event_time)).or_insert(entry.event_time.clone());
            restored.tasks.insert(entry.component.clone(), entry.tasks);
            let left_behind = self.left_behind().states_of(checkpoint, &entry.component);
            restored.left_behind.insert(entry.component.clone(), left_behind);
            if entry.names_keys {
                restored.names_keys.insert(entry.component.clone());
            }
            if self.is_needed(entry, counts) {
                let snapshots = self.snapshots(&entry.files);
                let count = counts.counts.get(&entry.component).copied();
                match count.filter(|count| *count != entry.tasks) {
                    Some(count) if !snapshots.is_empty() => {
                        let of_component = moved.entry((entry.component.clone(), count)).or_default();
                        of_component.push((entry.task_index, snapshots.clone()));
                    }
                    Some(_) | None => snapshots.check()?,
                }
                restored.states.insert(entry.task(), snapshots);
            }
        }
        for ((component, tasks), kept) in moved {
            let (here, key_groups) = (self.tasks_here(&component, tasks), counts.key_groups);
            if let Some(dealt) = deal(&kept, self.scratch(), &Recipients { here, tasks, key_groups })? {
                restored.dealt.insert(component, dealt);
            }
        }
        Ok(Arc::new(restored))
    }
}

/// How the components of the topology are shared out.
pub struct TaskCounts {
    /// How many tasks each component has.
    pub counts: BTreeMap<SmolStr, u32>,
    /// Into how many groups fields grouping hashes keys.
    pub key_groups: u32,
}

/// The executor that writes checkpoints.
pub struct StorageExecutor {
    inbox: Inbox,
    coordinator: InboxSender,
    /// `None` once it was closed.
    store: Option<Store>,
    counts: TaskCounts,
    queue: Arc<StorageQueue>,
    /// The last checkpoint that was given up. What still comes for it, or for one before, is dropped.
    discarded: CheckpointId,
    /// For each task that could not be written: for which checkpoint, and why.
    broken: BTreeMap<TaskName, (CheckpointId, String)>,
    logger: Logger,
}

impl StorageExecutor {
    /// Writes to this store, and reports to the coordinator. With the store comes how components are shared out.
    pub fn new(
        inbox: Inbox,
        coordinator: InboxSender,
        (store, counts): (Store, TaskCounts),
        queue: Arc<StorageQueue>,
        logger: Logger,
    ) -> StorageExecutor {
        let (discarded, broken) = (CheckpointId::default(), BTreeMap::new());
        StorageExecutor { inbox, coordinator, store: Some(store), counts, queue, discarded, broken, logger }
    }

    /// Gives up the storage, so that another process may have it.
    pub fn close(&mut self) {
        self.store = None;
    }

    /// Does one job.
    pub fn step(&mut self, _cx: &StepContext<'_>) -> Step {
        let Ok(control) = self.inbox.control.try_recv() else {
            return Step { outcome: StepOutcome::Idle, wake_at: Time::NEVER };
        };
        match control {
            Control::Storage(job) => {
                if let Some(mut store) = self.store.take() {
                    let event = self.carry_out(job, &mut store);
                    self.store = Some(store);
                    if let Some(event) = event {
                        self.coordinator.send_control(event, Urgency::WhenDone);
                    }
                }
            }
            Control::Tree(_)
            | Control::Command(_)
            | Control::Loss(_)
            | Control::End(_)
            | Control::Checkpoint(_)
            | Control::CheckpointEvent(_)
            | Control::CheckpointOrder(_) => {
                debug_assert!(false, "for other executors, not for the one that writes checkpoints");
            }
        }
        Step { outcome: StepOutcome::Worked, wake_at: Time::NEVER }
    }

    fn carry_out(&mut self, job: StorageJob, store: &mut Store) -> Option<CheckpointEvent> {
        match job {
            StorageJob::Append { checkpoint, task, chunk } => {
                self.queue.took(chunk.len());
                if self.is_wanted(checkpoint, &task)
                    && let Err(error) = store.append(checkpoint, &task, &chunk)
                {
                    self.broken.insert(task, (checkpoint, shown(&error)));
                }
                None
            }
            StorageJob::Seal { checkpoint, part } => {
                if checkpoint <= self.discarded {
                    return None;
                }
                let failure = self.broken.remove(&part.task).filter(|(of, _)| *of == checkpoint);
                let sealed = match failure {
                    Some((_, why)) => Err(why),
                    None => store.seal(checkpoint, &part.task).map_err(|error| shown(&error)),
                };
                Some(match sealed {
                    Ok(file) => CheckpointEvent::Taken { checkpoint, part, file },
                    Err(why) => CheckpointEvent::Refused { checkpoint, why },
                })
            }
            StorageJob::Publish(manifest) => {
                let Store::Whole(store) = store else { return None };
                let checkpoint = manifest.checkpoint;
                let result = store.publish(*manifest);
                if let Some(error) = store.take_deletion_error() {
                    slog::warn!(self.logger, "files of old checkpoints are left: {}", shown(&error));
                }
                Some(CheckpointEvent::Published(checkpoint, result.map_err(StorageError::from)))
            }
            StorageJob::Discard(checkpoint) => {
                self.discarded = self.discarded.max(checkpoint);
                store.discard(checkpoint);
                None
            }
            StorageJob::Export { checkpoint, directory } => {
                let Store::Whole(store) = store else { return None };
                let exported = store.export(checkpoint, &directory).map_err(|error| shown(&error));
                Some(CheckpointEvent::Exported(checkpoint, exported))
            }
            StorageJob::Load => Some(CheckpointEvent::Loaded(load(store, &self.counts).map(Box::new))),
            StorageJob::LoadShare { recovery, checkpoint } => {
                let result = load_share(store, checkpoint, &self.counts);
                Some(CheckpointEvent::ShareLoaded { recovery, result })
            }
        }
    }

    /// Whether what comes for a task of this checkpoint is still written.
    fn is_wanted(&self, checkpoint: CheckpointId, task: &TaskName) -> bool {
        checkpoint > self.discarded && self.broken.get(task).is_none_or(|(of, _)| *of != checkpoint)
    }
}

/// Reads the latest checkpoint.
fn load(store: &mut Store, counts: &TaskCounts) -> Result<Loaded, StorageError> {
    let manifest = match store {
        Store::Whole(store) => store.settle()?.cloned(),
        Store::Share { .. } => None,
    };
    let restored = store.restored(manifest.as_ref(), counts)?;
    Ok(Loaded { manifest, restored })
}

/// Reads what the tasks of this worker keep in a checkpoint.
fn load_share(
    store: &mut Store,
    checkpoint: Option<CheckpointId>,
    counts: &TaskCounts,
) -> Result<Arc<Restored>, StorageError> {
    let manifest = match (&mut *store, checkpoint) {
        (Store::Share { store, .. }, Some(checkpoint)) => Some(store.manifest(checkpoint)?),
        _ => None,
    };
    store.restored(manifest.as_ref(), counts)
}
