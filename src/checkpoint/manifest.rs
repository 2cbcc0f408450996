//! What a checkpoint consists of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::checkpoint::error::{Flaw, damaged};
use crate::checkpoint::event_time::EventTimeEntry;
use crate::checkpoint::names::{TaskName, snapshot_of};
use crate::checkpoint::record;
use crate::config::limits::KEY_GROUPS_DEFAULT;
use crate::ids::{CheckpointId, is_legal_name};
use crate::state::StateDescription;

const KIND: &str = "manifest";
/// The longest manifest.
pub(super) const MANIFEST_MAX: u64 = 256 << 20;

/// A file of a snapshot. Only [`CheckpointStore::seal`](crate::checkpoint::CheckpointStore::seal) makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Its name in the storage.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// CRC32C of all of it but the last four bytes, which are this number.
    pub crc32c: u32,
}

/// What a checkpoint has of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskEntry {
    /// The component.
    pub component: SmolStr,
    /// The task among the component's, from 0.
    pub task_index: u32,
    /// How many tasks the component has.
    pub tasks: u32,
    /// A file with all of the task's state, then files with what changed since, oldest first. Files of earlier
    /// checkpoints may be named again.
    pub files: Vec<SnapshotFile>,
    /// Of a spout: how far it has read, by split.
    pub positions: BTreeMap<String, serde_json::Value>,
    /// The states that are in the files.
    pub states: Vec<StateDescription>,
    /// Whether the bolt named keys itself, so that nobody knows which of several tasks they belong to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub names_keys: bool,
    /// How far event time had come in it.
    #[serde(default, skip_serializing_if = "EventTimeEntry::is_empty")]
    pub event_time: EventTimeEntry,
}

impl TaskEntry {
    /// The name of the task.
    pub fn task(&self) -> TaskName {
        TaskName::new(self.component.clone(), self.task_index)
    }
}

/// How far a run had come when a checkpoint was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It had not come to its end.
    Running,
    /// All bolts had finished. Nothing is left but to commit what belongs to the checkpoint.
    Ended,
    /// That was done, too.
    Committed,
}

/// What a checkpoint consists of. It is kept as JSON, with a checksum.
///
/// # Examples
/// ```
/// use squall::checkpoint::{CheckpointError, CheckpointStore, Manifest, MemoryStorage, RunState};
/// use squall::ids::CheckpointId;
///
/// let mut store = CheckpointStore::open(Box::new(MemoryStorage::new()), "orders", 2)?;
/// let epoch = store.begin_epoch()?;
/// store.publish(Manifest {
///     checkpoint: CheckpointId { epoch, number: 1 },
///     topology: "orders".into(),
///     key_groups: 1024,
///     taken_at: 1_790_000_000_000_000_000,
///     run: RunState::Running,
///     txid: 1,
///     tasks: Vec::new(),
/// })?;
/// assert_eq!(store.latest().map(|manifest| manifest.checkpoint.number), Some(1));
/// # Ok::<(), CheckpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which checkpoint it is.
    pub checkpoint: CheckpointId,
    /// The topology.
    pub topology: SmolStr,
    /// When it was taken, in nanoseconds since 1970.
    pub taken_at: i64,
    /// How far the run had come.
    pub run: RunState,
    /// Into how many groups fields grouping hashed keys. Written if it is not the default.
    #[serde(default = "key_groups_default", skip_serializing_if = "is_default")]
    pub key_groups: u32,
    /// How many checkpoints became complete on the way to it, with itself: the transaction id of the batch that it ends.
    /// 0 in those of versions that did not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub txid: u64,
    /// Its tasks.
    pub tasks: Vec<TaskEntry>,
}

fn is_zero(txid: &u64) -> bool {
    *txid == 0
}

/// Of manifests that do not say it.
fn key_groups_default() -> u32 {
    KEY_GROUPS_DEFAULT
}

fn is_default(key_groups: &u32) -> bool {
    *key_groups == KEY_GROUPS_DEFAULT
}

impl Manifest {
    /// The names of the files that belong to it.
    pub(super) fn file_names(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().flat_map(|task| &task.files).map(|file| &*file.name)
    }

    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        record::encode(KIND, self)
    }

    /// The manifest of a checkpoint, which these bytes must be.
    pub(super) fn decode_of(checkpoint: CheckpointId, bytes: &[u8]) -> Result<Manifest, Flaw> {
        let manifest = Manifest::decode(bytes)?;
        match manifest.checkpoint == checkpoint {
            true => Ok(manifest),
            false => Err(damaged(format!("it is the manifest of checkpoint {}", manifest.checkpoint))),
        }
    }

    /// The manifest that these bytes are.
    pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, Flaw> {
        let manifest: Manifest = record::decode(KIND, bytes)?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    /// Refuses what no checkpoint can consist of. Names of files are checked above all, because files are read and
    /// deleted by them.
    pub(super) fn check(&self) -> Result<(), String> {
        for task in &self.tasks {
            if !is_legal_name(&task.component) {
                return Err(format!("`{}` is no name for a component", task.component.escape_debug()));
            }
            if task.task_index >= task.tasks {
                let (component, index, tasks) = (&task.component, task.task_index, task.tasks);
                return Err(format!("it names task {index} of `{component}`, which has {tasks} tasks"));
            }
        }
        for name in self.file_names() {
            match snapshot_of(name) {
                None => return Err(format!("`{}` is no name for a snapshot file", name.escape_debug())),
                Some(written) if written > self.checkpoint => {
                    return Err(format!("it names `{name}`, which is of a later checkpoint"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateKind;

    fn manifest(component: &str, task_index: u32, file: &str) -> Manifest {
        let file = SnapshotFile { name: file.into(), bytes: 1, crc32c: 2 };
        let kinds = StateKind::ALL;
        let state = |kind| StateDescription { name: "counts".into(), kind, rust_type: "i64".into() };
        let task = TaskEntry {
            component: component.into(),
            task_index,
            tasks: 2,
            files: vec![file],
            positions: BTreeMap::from([(
                "words.txt".into(),
                serde_json::json!({ "line": u64::MAX, "part": 0.1 }),
            )]),
            states: kinds.map(state).into(),
            names_keys: false,
            event_time: EventTimeEntry::default(),
        };
        let checkpoint = CheckpointId { epoch: 2, number: 3 };
        Manifest {
            checkpoint,
            topology: "words".into(),
            key_groups: 512,
            taken_at: -1,
            run: RunState::Ended,
            txid: 0,
            tasks: vec![task],
        }
    }

    #[test]
    fn a_manifest_comes_back() {
        let written = manifest("count", 1, "snapshot-2-3-count-1");
        let bytes = written.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(written));
        let text = String::from_utf8(bytes).expect("it is JSON");
        assert!(text.contains("\"kind\": \"operator\""), "{text}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |component: &str, task_index: u32, file: &str, expected: &str| {
            let bytes = manifest(component, task_index, file).encode();
            assert_eq!(Manifest::decode(&bytes), Err(damaged(expected)));
        };
        check("a/b", 0, "snapshot-2-3-a-0", "`a/b` is no name for a component");
        check("a", 2, "snapshot-2-3-a-0", "it names task 2 of `a`, which has 2 tasks");
        check("a", 0, "../passwd", "`../passwd` is no name for a snapshot file");
        check("a", 0, "EPOCH", "`EPOCH` is no name for a snapshot file");
        check("a", 0, "snapshot-2-4-a-0", "it names `snapshot-2-4-a-0`, which is of a later checkpoint");
    }
}
