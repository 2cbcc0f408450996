//! The store in which the checkpoints of a topology are kept.
//!
//! ```text
//!  CheckpointStore                       CheckpointStorage: a directory, or memory in tests
//!    begin_epoch ──── publish ─────────▶ EPOCH                   which start of the topology may publish
//!    append, seal ─── append, seal ────▶ snapshot-2-7-count-0    what a task kept, in chunks
//!    publish ──────── publish ─────────▶ manifest-2-7.json       names the snapshot files of checkpoint 2-7
//!                                        LOCK                    of a directory: which process has it
//! ```
//!
//! 1. A checkpoint exists when its manifest does. The manifest is published in one step, after every file that
//!    it names is durable.
//! 2. A file is deleted only when no retained manifest names it. A manifest is deleted, durably, before the
//!    files that only it named.
//! 3. Each start of a topology begins an *epoch*, higher than any before. `EPOCH` states which checkpoints of
//!    earlier epochs count. What an older epoch publishes later does not count.
//!    A start that goes back to an earlier checkpoint gives up the later ones there, in one write.
//! 4. Everything that is read is checked: a cut, a flipped bit, a file of something else and a file of a newer
//!    squall are errors that name the file, and nothing is deleted because of them. After a crash there are no
//!    such errors, because files that were not durable are not named by a manifest. Snapshot files are read a chunk at
//!    a time (`snapshot_reader`), so what is made of one counts when its end was read.
//! 5. [`CheckpointStore::open`] changes nothing.
//!
//! Nothing here has a thread or a clock: all calls are made by one thread, which may wait for the disk. Why
//! files, epochs and deletions are as they are: `docs/decisions/0015-checkpoint-files.md`.
//!
//! Not here: what is in a chunk, when a checkpoint is taken, and who takes it.

mod catalog;
mod directory;
mod entries;
mod epoch;
mod error;
mod event_time;
mod left_behind;
mod manifest;
mod memory;
mod names;
mod reader;
pub(crate) mod record;
mod savepoint;
mod scratch;
mod snapshot;
mod snapshot_files;
mod snapshot_reader;
mod storage;
mod store;
mod stored;
#[cfg(test)]
mod tests;
mod worker_store;

pub use directory::DirectoryStorage;
pub(crate) use directory::{RunInDirectory, keep_run_in, make_room_for_savepoint, run_in};
pub use error::CheckpointError;
pub(crate) use error::remedy;
pub use event_time::EventTimeEntry;
pub use left_behind::LeftBehind;
pub use manifest::{Manifest, RunState, SnapshotFile, TaskEntry};
pub use memory::{MemoryStorage, StorageOperation};
pub use names::TaskName;
pub(crate) use names::{EPOCH, manifest_of};
pub(crate) use reader::{CheckpointReader, Listed};
pub use scratch::Scratch;
pub(crate) use storage::LogStorage;
pub use storage::{CheckpointFiles, CheckpointStorage, StoredFile};
pub use store::CheckpointStore;
pub use stored::StoredSnapshots;
pub use worker_store::WorkerStore;
