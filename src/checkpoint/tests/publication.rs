//! What is published, kept and deleted when nothing fails.

use super::{
    RETAIN, TOPOLOGY, assert_no_leftovers, assert_readable, id, manifest, names, open, prepare, take, tasks,
    write,
};
use crate::checkpoint::{
    CheckpointError, CheckpointStorage as _, CheckpointStore, Manifest, MemoryStorage, SnapshotFile,
    TaskName, WorkerStore,
};
use crate::ids::CheckpointId;

fn begun(storage: &MemoryStorage) -> (CheckpointStore, u64) {
    let mut store = open(storage).expect("it opens");
    let epoch = store.begin_epoch().expect("it begins");
    (store, epoch)
}

fn checkpoints(store: &CheckpointStore) -> Vec<CheckpointId> {
    store.manifests().iter().map(|manifest| manifest.checkpoint).collect()
}

fn text(result: Result<impl Sized, CheckpointError>) -> String {
    result.map(|_| ()).expect_err("it is refused").to_string()
}

#[test]
fn the_last_checkpoints_are_retained_with_all_their_files() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    for number in 1..=7 {
        take(&mut store, id(epoch, number)).expect("it is published");
        assert_readable(&mut store);
        assert_no_leftovers(&store, names(&storage));
        storage.crash();
        assert_eq!(open(&storage).expect("it opens").manifests(), store.manifests());
    }
    assert_eq!(checkpoints(&store), [id(epoch, 6), id(epoch, 7)]);
    // The second task's full file is of the first checkpoint, and its deltas begin there.
    let files = names(&storage);
    assert!(files.contains(&"snapshot-1-1-count-1".to_owned()), "{files:?}");
    assert!(!files.contains(&"snapshot-1-1-count-0".to_owned()), "{files:?}");
}

#[test]
fn at_least_one_checkpoint_is_retained() {
    let storage = MemoryStorage::new();
    let mut store = CheckpointStore::open(Box::new(storage), TOPOLOGY, 0).expect("it opens");
    store.begin_epoch().expect("it begins");
    for number in 1..=2 {
        take(&mut store, id(1, number)).expect("it is published");
    }
    assert_eq!(checkpoints(&store), [id(1, 2)]);
    assert_readable(&mut store);
}

#[test]
fn fewer_are_retained_after_the_option_was_changed() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    for number in 1..=2 {
        take(&mut store, id(epoch, number)).expect("it is published");
    }
    let mut store = CheckpointStore::open(Box::new(storage.clone()), TOPOLOGY, 1).expect("it opens");
    assert_eq!(store.begin_epoch().expect("it begins"), 2);
    assert_eq!(checkpoints(&store), [id(1, 1), id(1, 2)], "nothing is deleted before another is published");
    take(&mut store, id(2, 1)).expect("it is published");
    assert_eq!(checkpoints(&store), [id(2, 1)]);
    assert_no_leftovers(&store, names(&storage));
}

#[test]
fn a_discarded_checkpoint_leaves_nothing() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    take(&mut store, id(epoch, 1)).expect("it is published");
    let [first, second] = tasks();
    write(&mut store, id(epoch, 2), &first).expect("it is written");
    store.append(id(epoch, 2), &second, b"begun").expect("it is written");
    store.discard(id(epoch, 2));
    assert_no_leftovers(&store, names(&storage));

    store.discard(id(epoch, 1));
    store.discard(id(epoch, 9));
    assert_readable(&mut store);
    take(&mut store, id(epoch, 3)).expect("it is published");
    assert_readable(&mut store);
    assert_no_leftovers(&store, names(&storage));
}

#[test]
fn a_publication_gives_up_what_came_before_and_not_what_comes_after() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    let [first, second] = tasks();
    store.append(id(epoch, 1), &first, b"never completed").expect("it is written");
    let next = write(&mut store, id(epoch, 3), &second).expect("it is written");
    let unnamed = write(&mut store, id(epoch, 2), &second).expect("it is written");
    let full = write(&mut store, id(epoch, 2), &first).expect("it is written");
    store.publish(manifest(id(epoch, 2), [vec![full], Vec::new()])).expect("it is published");

    let files = names(&storage);
    assert!(
        !files.contains(&unnamed.name) && !files.contains(&"snapshot-1-1-count-0".to_owned()),
        "{files:?}"
    );
    store.publish(manifest(id(epoch, 3), [Vec::new(), vec![next]])).expect("it is published");
    assert_readable(&mut store);
    assert_no_leftovers(&store, names(&storage));
}

#[test]
fn a_cleared_store_has_no_checkpoints_and_higher_epochs() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    take(&mut store, id(epoch, 1)).expect("it is published");
    store.clear().expect("it is cleared");
    assert!(store.latest().is_none());
    assert_no_leftovers(&store, names(&storage));
    assert!(matches!(take(&mut store, id(epoch, 2)), Err(CheckpointError::NoEpoch { .. })));

    storage.crash();
    let (mut store, next) = begun(&storage);
    assert!(next > epoch && store.latest().is_none());
    take(&mut store, id(next, 1)).expect("it is published");
    assert_readable(&mut store);
}

#[test]
fn cleared_checkpoints_do_not_count_even_if_they_cannot_be_deleted() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    take(&mut store, id(epoch, 1)).expect("it is published");
    let before = storage.operations();
    store.clear().expect("it is cleared");
    let operations = storage.operations() - before;

    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    take(&mut store, id(epoch, 1)).expect("it is published");
    // Its last two operations delete manifests, then files.
    storage.fail_from(operations - 1, std::io::ErrorKind::PermissionDenied);
    store.clear().expect("it is cleared");
    assert!(store.take_deletion_error().is_some());
    storage.crash();
    storage.heal();
    let (store, _) = begun(&storage);
    assert!(store.latest().is_none());
    assert_no_leftovers(&store, names(&storage));
}

#[test]
fn what_cannot_be_right_is_refused() {
    let storage = MemoryStorage::new();
    let mut store = open(&storage).expect("it opens");
    let [task, _] = tasks();
    assert_eq!(
        text(store.append(id(1, 1), &task, b"x")),
        "no epoch of the checkpoints in memory was begun by this process"
    );
    store.begin_epoch().expect("it begins");
    take(&mut store, id(1, 2)).expect("it is published");
    assert_eq!(
        text(take(&mut store, id(2, 3))),
        "epoch 2 of the checkpoints in memory is over, because epoch 1 has begun: a later start of the topology \
         took over"
    );
    for number in [1, 2] {
        let again = manifest(id(1, number), [Vec::new(), Vec::new()]);
        let expected =
            format!("checkpoint 1-{number} cannot follow checkpoint 1-2 in memory: numbers must rise");
        assert_eq!(text(store.publish(again)), expected);
    }
    let other = Manifest { topology: "bills".into(), ..manifest(id(1, 3), [Vec::new(), Vec::new()]) };
    assert_eq!(
        text(store.publish(other)),
        "`manifest-1-3.json` in memory belongs to topology `bills`, and not to `words`: give each topology a place \
         of its own"
    );
    let file = SnapshotFile { name: "EPOCH".into(), bytes: 1, crc32c: 1 };
    assert_eq!(
        text(store.publish(manifest(id(1, 3), [vec![file.clone()], Vec::new()]))),
        "checkpoint 1-3 cannot be written: `EPOCH` is no name for a snapshot file"
    );
    assert!(text(store.read(&file)).contains("it has not the name of a snapshot file"));
    let bad = TaskName::new("a/b", 0);
    assert_eq!(
        text(store.append(id(1, 3), &bad, b"x")),
        "checkpoint 1-3 cannot be written: `a/b` is no name for a component"
    );
    assert_eq!(checkpoints(&store), [id(1, 2)]);
    assert_readable(&mut store);
}

#[test]
fn nothing_is_appended_to_a_sealed_file() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    let [task, _] = tasks();
    let file = write(&mut store, id(epoch, 1), &task).expect("it is written");
    text(store.append(id(epoch, 1), &task, b"more"));
    store.publish(manifest(id(epoch, 1), [vec![file], Vec::new()])).expect("it is published");
    assert_readable(&mut store);
}

#[test]
fn after_a_failed_chunk_a_file_is_never_sealed() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    let [task, _] = tasks();
    storage.fail_operation(2, std::io::ErrorKind::StorageFull);
    store.append(id(epoch, 1), &task, b"first").expect("it is written");
    text(store.append(id(epoch, 1), &task, b"lost"));
    for _ in 0..2 {
        assert!(text(store.append(id(epoch, 1), &task, b"third")).contains("an earlier write to it failed"));
        assert!(text(store.seal(id(epoch, 1), &task)).contains("an earlier write to it failed"));
    }
}

#[test]
fn a_checkpoint_of_another_topology_is_refused_before_there_is_a_manifest() {
    let storage = MemoryStorage::new();
    begun(&storage);
    assert_eq!(
        text(CheckpointStore::open(Box::new(storage), "bills", RETAIN)),
        "`EPOCH` in memory belongs to topology `words`, and not to `bills`: give each topology a place of its own"
    );
}

#[test]
fn a_file_that_is_missing_or_exchanged_is_noticed() {
    let storage = MemoryStorage::new();
    let (mut store, epoch) = begun(&storage);
    let manifest = prepare(&mut store, id(epoch, 1)).expect("it is written");
    let [first, second] = [&manifest.tasks[0].files[0], &manifest.tasks[1].files[0]];
    let mut disk = storage.clone();
    let other = disk.read(&second.name, u64::MAX).expect("it is there");
    disk.publish(&first.name, &other).expect("it is exchanged");
    assert!(text(store.read(first)).contains("its checksum is not the one that was noted for it"));
    disk.publish(&first.name, &[&other[..], b"x"].concat()).expect("it is exchanged");
    assert!(text(store.read(first)).contains(&format!("it is longer than the {} bytes", first.bytes)));
    disk.delete(std::slice::from_ref(&first.name)).expect("it is deleted");
    let expected = "checkpoint file `snapshot-1-1-count-0` in memory cannot be used: it is missing; put back a copy \
                    of it, continue from another checkpoint by `--resume=CHECKPOINT`, or begin without checkpoints in an \
                    empty place";
    assert_eq!(text(store.read(first)), expected);
    assert_eq!(store.read(second).expect("it is whole").len(), 2);
}

/// Nobody says which files a worker had begun that died, so they are found by their names.
#[test]
fn files_of_workers_are_deleted_when_no_checkpoint_needs_them() {
    let storage = MemoryStorage::new();
    let mut master = open(&storage).expect("it opens").with_workers();
    let epoch = master.begin_epoch().expect("it begins");
    let [first, second] = tasks();
    let mut complete = |number| {
        let mut workers = [(); 2].map(|()| WorkerStore::new(Box::new(storage.clone()), TOPOLOGY));
        let files = [(0, &first), (1, &second)].map(|(worker, task)| {
            workers[worker].append(id(epoch, number), task, b"state").expect("it is written");
            let file = workers[worker].seal(id(epoch, number), task).expect("it is sealed");
            vec![file.expect("it has a file")]
        });
        master.publish(manifest(id(epoch, number), files)).expect("it is published");
        names(&storage)
    };
    let _ = complete(1);
    let mut died = WorkerStore::new(Box::new(storage.clone()), TOPOLOGY);
    died.append(id(epoch, 2), &first, b"half of its state").expect("it is written");
    let files = complete(3);
    let left = |files: &[String], number| {
        files.iter().filter(|name| name.starts_with(&format!("snapshot-{epoch}-{number}-"))).count()
    };
    assert_eq!([1, 2, 3].map(|number| left(&files, number)), [2, 0, 2], "{files:?}");

    // One that was given up, while the file of a worker is still open.
    let mut slow = WorkerStore::new(Box::new(storage.clone()), TOPOLOGY);
    slow.append(id(epoch, 4), &first, b"state").expect("it is written");
    master.discard(id(epoch, 4));
    assert_eq!(left(&names(&storage), 4), 0);
    slow.forget(id(epoch, 4));
    assert_eq!(slow.seal(id(epoch, 4), &first).expect("there is nothing to seal"), None);
    assert!(master.take_deletion_error().is_none());
}
