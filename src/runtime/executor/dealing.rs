//! Reads the files of a component that has another number of tasks now, and deals out what is in them.
//!
//! Each file is read once, and checked by that. If it cannot be dealt out, because there is no room, each task reads all
//! files itself: that takes longer, and no more memory.

use std::io;

use crate::checkpoint::{CheckpointError, Scratch, StoredSnapshots};
use crate::runtime::flow::dealt::Dealt;
use crate::runtime::routing::grouping::KeyGroups;
use crate::state::{Dealing, StateError};
use crate::tuple::Value;
use crate::tuple::hash::stable_hash_all;

/// To whom the state of a component is dealt out.
pub(super) struct Recipients {
    /// The indices of its tasks in this process.
    pub(super) here: Vec<u32>,
    /// How many tasks it has in all.
    pub(super) tasks: u32,
    pub(super) key_groups: u32,
}

impl Recipients {
    /// The place of the owner of a key among the tasks of this process.
    fn owner(&self, key: &[Value]) -> Option<usize> {
        let owner = KeyGroups::owner(stable_hash_all(key), self.key_groups, self.tasks);
        self.here.iter().position(|task| *task == owner)
    }
}

/// Why a file was not dealt out.
enum DealError {
    /// It cannot be read.
    Unread(CheckpointError),
    /// It cannot be written, or is no state. Whoever restores it finds out what is wrong in it.
    Undealt,
}

impl From<CheckpointError> for DealError {
    fn from(error: CheckpointError) -> DealError {
        DealError::Unread(error)
    }
}

impl From<StateError> for DealError {
    fn from(_: StateError) -> DealError {
        DealError::Undealt
    }
}

impl From<io::Error> for DealError {
    fn from(_: io::Error) -> DealError {
        DealError::Undealt
    }
}

/// Checks the files of tasks, each with its index, and deals out what is in them. `None`: that was not possible.
///
/// # Errors
/// As [`StoredSnapshots::check`].
pub(super) fn deal(
    kept: &[(u32, StoredSnapshots)],
    scratch: io::Result<Scratch>,
    recipients: &Recipients,
) -> Result<Option<Dealt>, CheckpointError> {
    // One task reads everything once in any case.
    let mut dealt = scratch.ok().filter(|_| recipients.here.len() > 1).map(Dealt::new);
    for (from, snapshots) in kept {
        if let Some(to) = &mut dealt {
            match deal_one(*from, snapshots, to, recipients) {
                Ok(()) => continue,
                Err(DealError::Unread(error)) => return Err(error),
                Err(DealError::Undealt) => dealt = None,
            }
        }
        snapshots.check()?;
    }
    Ok(dealt)
}

fn deal_one(
    from: u32,
    snapshots: &StoredSnapshots,
    dealt: &mut Dealt,
    recipients: &Recipients,
) -> Result<(), DealError> {
    let owner = |key: &[Value]| recipients.owner(key);
    let mut dealing = Dealing::new(recipients.here.len(), &owner);
    let mut put = |to: usize, chunk: &[u8]| Ok(dealt.add(from, recipients.here[to], chunk)?);
    snapshots.for_each_chunk(|chunk| dealing.read::<DealError>(chunk, &mut put))?;
    dealing.finish(&mut put)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointStore, MemoryStorage, TaskName};
    use crate::ids::CheckpointId;

    /// What cannot be dealt out is read by each task, and what is damaged is refused, whether there is room or not.
    #[test]
    fn files_are_checked_in_any_case() {
        let storage = MemoryStorage::new();
        let mut store = CheckpointStore::open(Box::new(storage.clone()), "words", 1).expect("it opens");
        let checkpoint = CheckpointId { epoch: store.begin_epoch().expect("no fault is set"), number: 1 };
        let task = TaskName::new("count", 0);
        store.append(checkpoint, &task, b"no records").expect("no fault is set");
        let file = store.seal(checkpoint, &task).expect("no fault is set").expect("it was appended to");
        let kept = [(0, store.snapshots(std::slice::from_ref(&file)))];
        let recipients = Recipients { here: vec![0, 1], tasks: 2, key_groups: 64 };
        let no_room = || Err(io::ErrorKind::StorageFull.into());
        assert!(deal(&kept, store.scratch(), &recipients).is_ok_and(|dealt| dealt.is_none()));
        assert!(deal(&kept, no_room(), &recipients).is_ok_and(|dealt| dealt.is_none()));
        storage.tamper(&file.name, |bytes| bytes[20] ^= 1);
        for scratch in [store.scratch(), no_room()] {
            let error = deal(&kept, scratch, &recipients).expect_err("it is damaged").to_string();
            assert!(error.contains("checksum") && error.contains(&file.name), "{error}");
        }
    }
}
