//! Tests of the store, and what they share: a run of three checkpoints, and what must hold after anything.

mod crashes;
mod directory;
mod epochs;
mod failures;
mod going_back;
mod golden;
mod publication;
mod reader;

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::names::{EPOCH, manifest_name};
use crate::checkpoint::{
    CheckpointError, CheckpointStorage, CheckpointStore, Manifest, MemoryStorage, RunState, SnapshotFile,
    TaskEntry, TaskName,
};
use crate::ids::CheckpointId;

const TOPOLOGY: &str = "words";
const RETAIN: usize = 2;

fn open(storage: &MemoryStorage) -> Result<CheckpointStore, CheckpointError> {
    CheckpointStore::open(Box::new(storage.clone()), TOPOLOGY, RETAIN)
}

fn names(storage: &MemoryStorage) -> Vec<String> {
    storage.clone().list().expect("it can be listed")
}

fn id(epoch: u64, number: u64) -> CheckpointId {
    CheckpointId { epoch, number }
}

fn tasks() -> [TaskName; 2] {
    [TaskName::new("count", 0), TaskName::new("count", 1)]
}

/// The chunks that tests write to a file of this name.
fn chunks_of(name: &str) -> [String; 2] {
    [format!("{name} has this"), format!("{name} has this, too")]
}

fn write(
    store: &mut CheckpointStore,
    checkpoint: CheckpointId,
    task: &TaskName,
) -> Result<SnapshotFile, CheckpointError> {
    for chunk in chunks_of(&format!("snapshot-{checkpoint}-{task}")) {
        store.append(checkpoint, task, chunk.as_bytes())?;
    }
    Ok(store.seal(checkpoint, task)?.expect("chunks were appended"))
}

fn manifest(checkpoint: CheckpointId, files: [Vec<SnapshotFile>; 2]) -> Manifest {
    let entry = |(task, files): (TaskName, Vec<SnapshotFile>)| TaskEntry {
        component: task.component,
        task_index: task.task_index,
        tasks: 2,
        files,
        positions: BTreeMap::new(),
        states: Vec::new(),
        names_keys: false,
        event_time: Default::default(),
    };
    let tasks = tasks().into_iter().zip(files).map(entry).collect();
    Manifest {
        checkpoint,
        topology: TOPOLOGY.into(),
        key_groups: 1024,
        taken_at: 17,
        run: RunState::Running,
        txid: 0,
        tasks,
    }
}

/// Writes the files of a checkpoint and makes its manifest. The first task has a full file in each odd checkpoint,
/// and a delta in each even one. The second task changes nothing in even checkpoints, and has deltas in odd ones.
fn prepare(store: &mut CheckpointStore, checkpoint: CheckpointId) -> Result<Manifest, CheckpointError> {
    let [first, second] = tasks();
    let latest = store.latest().map(|latest| latest.tasks.iter().map(|task| task.files.clone()).collect());
    let before: Vec<Vec<SnapshotFile>> = latest.unwrap_or_else(|| vec![Vec::new(), Vec::new()]);
    let is_odd = checkpoint.number % 2 == 1;

    let mut of_first = if is_odd { Vec::new() } else { before[0].clone() };
    of_first.push(write(store, checkpoint, &first)?);
    let mut of_second = before[1].clone();
    if is_odd {
        of_second.push(write(store, checkpoint, &second)?);
    } else {
        assert_eq!(store.seal(checkpoint, &second)?, None, "nothing was appended");
    }
    Ok(manifest(checkpoint, [of_first, of_second]))
}

fn take(store: &mut CheckpointStore, checkpoint: CheckpointId) -> Result<Manifest, CheckpointError> {
    let manifest = prepare(store, checkpoint)?;
    store.publish(manifest.clone())?;
    Ok(manifest)
}

/// Every file of every checkpoint has the chunks that were written to it.
#[track_caller]
fn assert_readable(store: &mut CheckpointStore) {
    for manifest in store.manifests().to_vec() {
        for file in manifest.tasks.iter().flat_map(|task| &task.files) {
            assert_eq!(store.read(file).expect("a named file is whole"), chunks_of(&file.name));
        }
    }
}

/// The storage has what the checkpoints need, and nothing else.
#[track_caller]
fn assert_no_leftovers(store: &CheckpointStore, names: Vec<String>) {
    let mut expected = BTreeSet::from([EPOCH.to_owned()]);
    for manifest in store.manifests() {
        expected.insert(manifest_name(manifest.checkpoint));
        expected.extend(manifest.file_names().map(str::to_owned));
    }
    assert_eq!(names.into_iter().collect::<BTreeSet<String>>(), expected);
}
