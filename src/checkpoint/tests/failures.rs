//! A failure of the storage at each operation of a run that goes on.

use std::io::ErrorKind;

use super::{RETAIN, assert_no_leftovers, assert_readable, id, names, open, take};
use crate::checkpoint::{CheckpointError, CheckpointStore, Manifest, MemoryStorage};

/// What the storage does.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Once(u64),
    UntilHealed(u64),
    FullAfter(u64),
}

impl Failure {
    fn inject(self, storage: &MemoryStorage) {
        match self {
            Failure::Once(operation) => storage.fail_operation(operation, ErrorKind::StorageFull),
            Failure::UntilHealed(operation) => storage.fail_from(operation, ErrorKind::StorageFull),
            Failure::FullAfter(bytes) => storage.fill_after(bytes),
        }
    }
}

fn assert_names_the_remedy(error: &CheckpointError) {
    let text = error.to_string();
    assert!(text.contains("in memory") && text.ends_with("free some space there"), "{text}");
}

/// Takes five checkpoints, and discards those that fail. Returns how many failed.
fn run(storage: &MemoryStorage, failure: Failure) -> u32 {
    let mut store = open(storage).expect("nothing fails yet");
    failure.inject(storage);
    let mut failed = 0;
    let epoch = store.begin_epoch().unwrap_or_else(|error| {
        assert_names_the_remedy(&error);
        failed += 1;
        storage.heal();
        store.begin_epoch().expect("the storage is healed")
    });
    let mut last: Option<Manifest> = None;
    for number in 1..=5 {
        let checkpoint = id(epoch, number);
        match take(&mut store, checkpoint) {
            Ok(manifest) => {
                last = Some(manifest);
                if store.take_deletion_error().is_some() {
                    storage.heal();
                    assert_readable(&mut store);
                }
            }
            Err(error) => {
                assert_names_the_remedy(&error);
                failed += 1;
                assert_eq!(matches!(error, CheckpointError::Undecided { .. }), store.undecided().is_some());
                assert_eq!(store.latest(), last.as_ref(), "the last good one is kept");
                store.discard(checkpoint);
                check_reopened(&mut store, storage, last.as_ref(), checkpoint.number);
            }
        }
    }
    storage.heal();
    assert_eq!(store.latest(), last.as_ref());
    take(&mut store, id(epoch, 6)).expect("after healing it succeeds");
    assert_readable(&mut store);
    assert_eq!(store.undecided(), None);
    assert_eq!(store.manifests().len(), RETAIN);
    assert_no_leftovers(&store, names(storage));
    assert_eq!(open(storage).expect("all is well").manifests(), store.manifests());
    failed
}

/// What another process would find if this one ended now, with the storage healed.
fn check_reopened(
    store: &mut CheckpointStore,
    storage: &MemoryStorage,
    last: Option<&Manifest>,
    discarded: u64,
) {
    storage.heal();
    assert_readable(store);
    let mut reopened = open(storage).expect("what counts is whole");
    assert_readable(&mut reopened);
    match store.undecided() {
        None => assert_eq!(reopened.latest(), last, "what was discarded is not there"),
        Some(undecided) => {
            assert_eq!(undecided.number, discarded);
            let found = reopened.latest().map(|latest| latest.checkpoint);
            assert!(found == Some(undecided) || found == last.map(|last| last.checkpoint), "{found:?}");
        }
    }
}

#[test]
fn a_failed_operation_fails_one_checkpoint() {
    let whole = MemoryStorage::new();
    assert_eq!(run(&whole, Failure::Once(u64::MAX / 2)), 0);
    let mut failed = 0;
    for seed in 0..6 {
        for operation in 1..=whole.operations() {
            for failure in [Failure::Once(operation), Failure::UntilHealed(operation)] {
                failed += run(&MemoryStorage::seeded(seed), failure);
            }
        }
        for bytes in (0..8_000).step_by(61) {
            failed += run(&MemoryStorage::seeded(seed), Failure::FullAfter(bytes));
        }
    }
    assert!(failed > 500, "{failed} failed");
}

#[test]
fn an_undecided_checkpoint_can_be_published_again() {
    let (mut undecided, mut again) = (0, 0);
    for seed in 0..20 {
        let storage = MemoryStorage::seeded(seed);
        let mut store = open(&storage).expect("nothing fails yet");
        let epoch = store.begin_epoch().expect("nothing fails yet");
        let manifest = super::prepare(&mut store, id(epoch, 1)).expect("nothing fails yet");
        // The publication begins with reading the epoch. Then its write fails, and whatever would take it back.
        storage.fail_from(2, ErrorKind::TimedOut);
        match store.publish(manifest.clone()) {
            Err(CheckpointError::Undecided { checkpoint, .. }) => {
                undecided += 1;
                assert_eq!((checkpoint, store.undecided()), (id(epoch, 1), Some(id(epoch, 1))));
            }
            other => panic!("{other:?}"),
        }
        storage.heal();
        again += u32::from(open(&storage).expect("what counts is whole").latest().is_some());
        store.publish(manifest.clone()).expect("the storage is healed");
        assert_eq!((store.undecided(), store.latest()), (None, Some(&manifest)));
        assert_readable(&mut store);
        storage.crash();
        assert_eq!(open(&storage).expect("what counts is whole").latest(), Some(&manifest));
    }
    assert_eq!(undecided, 20);
    assert!((1..20).contains(&again), "the manifest was there, and was not: {again}");
}

#[test]
fn what_cannot_be_deleted_is_deleted_later() {
    let storage = MemoryStorage::new();
    let mut store = open(&storage).expect("it opens");
    let epoch = store.begin_epoch().expect("it begins");
    for number in 1..=2 {
        take(&mut store, id(epoch, number)).expect("it is published");
    }
    let manifest = super::prepare(&mut store, id(epoch, 3)).expect("it is written");
    // Reads the epoch, publishes, reads the epoch, and once more before it deletes.
    storage.fail_from(5, ErrorKind::PermissionDenied);
    store.publish(manifest).expect("that something cannot be deleted is no failure of the checkpoint");
    let error = store.take_deletion_error().expect("something was not deleted").to_string();
    assert_eq!(
        error,
        "cannot delete `manifest-1-1.json` in memory: permission denied; let squall write there, or name another \
         place"
    );
    assert!(store.take_deletion_error().is_none(), "it is returned once");

    storage.heal();
    assert_readable(&mut open(&storage).expect("what counts is whole"));
    take(&mut store, id(epoch, 4)).expect("it is published");
    assert!(store.take_deletion_error().is_none());
    assert_no_leftovers(&store, names(&storage));
}
