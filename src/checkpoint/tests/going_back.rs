//! A start that goes back to an earlier checkpoint, and what becomes of the later ones.

use std::io::ErrorKind;

use super::{TOPOLOGY, assert_no_leftovers, assert_readable, id, names, take};
use crate::checkpoint::names::manifest_name;
use crate::checkpoint::{CheckpointError, CheckpointStorage as _, CheckpointStore, MemoryStorage};
use crate::ids::CheckpointId;

const RETAIN: usize = 5;

fn open(storage: &MemoryStorage) -> Result<CheckpointStore, CheckpointError> {
    CheckpointStore::open(Box::new(storage.clone()), TOPOLOGY, RETAIN)
}

fn open_at(storage: &MemoryStorage, checkpoint: CheckpointId) -> Result<CheckpointStore, CheckpointError> {
    CheckpointStore::open_at(Box::new(storage.clone()), TOPOLOGY, RETAIN, checkpoint)
}

/// A storage in which two epochs have left checkpoints 1-1, 1-2, 2-1 and 2-2.
fn left(seed: u64) -> MemoryStorage {
    let storage = MemoryStorage::seeded(seed);
    for epoch in 1..=2 {
        let mut store = open(&storage).expect("it opens");
        store.begin_epoch().expect("it begins");
        for number in 1..=2 {
            take(&mut store, id(epoch, number)).expect("it is published");
        }
    }
    storage
}

fn ids(store: &CheckpointStore) -> Vec<CheckpointId> {
    store.manifests().iter().map(|manifest| manifest.checkpoint).collect()
}

#[test]
fn later_checkpoints_are_given_up_and_earlier_ones_stay() {
    let check = |checkpoint: CheckpointId, stay: &[CheckpointId], given_up: &[CheckpointId]| {
        let storage = left(0);
        let before = names(&storage);
        let mut store = open_at(&storage, checkpoint).expect("it opens");
        assert_eq!(ids(&store), stay);
        assert_eq!(names(&storage), before, "to open changes nothing");
        assert_eq!(store.begin_epoch().expect("it begins"), 3);
        assert_eq!((&*ids(&store), store.given_up()), (stay, given_up));
        assert_readable(&mut store);
        assert_no_leftovers(&store, names(&storage));

        // Deltas follow what the checkpoint has, and the next start goes on from there.
        take(&mut store, id(3, 1)).expect("it is published");
        drop(store);
        let mut store = open(&storage).expect("it opens");
        assert_eq!(store.latest().map(|latest| latest.checkpoint), Some(id(3, 1)));
        store.begin_epoch().expect("it begins");
        assert_eq!(store.given_up(), []);
        assert_readable(&mut store);
    };
    let all = [id(1, 1), id(1, 2), id(2, 1), id(2, 2)];
    for at in 0..all.len() {
        check(all[at], &all[..=at], &all[at + 1..]);
    }
}

#[test]
fn what_is_not_there_is_refused_and_what_is_there_is_listed() {
    let storage = left(0);
    let error = open_at(&storage, id(1, 3)).map(|_| ()).expect_err("it is refused");
    assert_eq!(error.to_string(), "there is no checkpoint 1-3 in memory: 1-1, 1-2, 2-1, 2-2 are there");
    open(&storage).and_then(|mut store| store.clear()).expect("it can be given up");
    let error = open_at(&storage, id(1, 1)).map(|_| ()).expect_err("it is refused");
    assert_eq!(error.to_string(), "there is no checkpoint 1-1 in memory: none is there");
}

/// Why somebody goes back: the latest checkpoint cannot be read.
#[test]
fn a_damaged_manifest_is_an_obstacle_only_if_it_is_not_given_up() {
    let mut storage = left(0);
    storage.publish(&manifest_name(id(2, 1)), b"{").expect("it is written");
    assert!(open(&storage).is_err() && open_at(&storage, id(2, 2)).is_err());
    let mut store = open_at(&storage, id(1, 2)).expect("it opens");
    store.begin_epoch().expect("it begins");
    assert_eq!(store.given_up(), [id(2, 1), id(2, 2)]);
    assert_no_leftovers(&store, names(&storage));
    drop(store);
    assert_eq!(ids(&open(&storage).expect("it opens")), [id(1, 1), id(1, 2)]);
}

#[test]
fn an_older_start_cannot_publish_afterwards() {
    let storage = left(0);
    let mut old = open(&storage).expect("it opens");
    old.begin_epoch().expect("it begins");
    let mut store = open_at(&storage, id(1, 1)).expect("it opens");
    assert_eq!(store.begin_epoch().expect("it begins"), 4);
    assert!(matches!(take(&mut old, id(3, 1)), Err(CheckpointError::Fenced { .. })));
    assert_eq!(ids(&open(&storage).expect("it opens")), [id(1, 1)]);
}

/// A crash at any operation leaves all checkpoints, or those up to the one that was gone back to.
#[test]
fn a_crash_gives_up_all_later_checkpoints_or_none() {
    let operations = {
        let storage = left(0);
        let before = storage.operations();
        open_at(&storage, id(1, 2)).and_then(|mut store| store.begin_epoch()).expect("nothing fails");
        storage.operations() - before
    };
    let (all, kept) = ([id(1, 1), id(1, 2), id(2, 1), id(2, 2)], [id(1, 1), id(1, 2)]);
    let mut found = [0, 0];
    for n in 1..=operations {
        for seed in 0..40 {
            let storage = left(seed);
            storage.fail_from(n, ErrorKind::Other);
            let begun = open_at(&storage, id(1, 2)).and_then(|mut store| store.begin_epoch());
            storage.crash();
            storage.heal();

            let mut store = open(&storage).expect("a crash damages nothing that counts");
            let is_back = ids(&store) == kept;
            assert!(is_back || ids(&store) == all, "{n}, seed {seed}: {:?}", ids(&store));
            assert!(is_back || begun.is_err(), "{n}, seed {seed}: it was durable");
            assert_readable(&mut store);
            found[usize::from(is_back)] += 1;

            let mut store = open_at(&storage, id(1, 2)).expect("it is there in both cases");
            store.begin_epoch().expect("nothing fails any more");
            assert_eq!(ids(&store), kept);
            assert_readable(&mut store);
            assert_no_leftovers(&store, names(&storage));
        }
    }
    assert!(found.iter().all(|times| *times > 0), "{found:?}");
}
