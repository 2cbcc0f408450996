//! A crash at each operation of a run.

use std::io::ErrorKind;

use super::{RETAIN, assert_no_leftovers, assert_readable, id, names, open, prepare, take};
use crate::checkpoint::{CheckpointError, CheckpointStorage as _, Manifest, MemoryStorage};

const SEEDS: u64 = 40;

/// What a run had done when it ended.
#[derive(Default)]
struct Progress {
    epoch: u64,
    published: Vec<Manifest>,
    /// Its publication had begun, and had not returned.
    in_publication: Option<Manifest>,
}

/// An epoch, and three checkpoints of two tasks.
fn run(storage: &MemoryStorage, progress: &mut Progress) -> Result<(), CheckpointError> {
    let mut store = open(storage)?;
    progress.epoch = store.begin_epoch()?;
    for number in 1..=3 {
        let manifest = prepare(&mut store, id(progress.epoch, number))?;
        progress.in_publication = Some(manifest.clone());
        store.publish(manifest)?;
        progress.published.extend(progress.in_publication.take());
        assert!(store.take_deletion_error().is_none() || storage.clone().list().is_err());
    }
    Ok(())
}

/// Opens what a crash has left, and goes on. Returns the checkpoint that it went on from.
fn recover(storage: &MemoryStorage, progress: &Progress) -> Option<Manifest> {
    let before = names(storage);
    let mut store = open(storage).expect("a crash damages nothing that counts");
    assert_eq!(names(storage), before, "to open changes nothing");
    assert_readable(&mut store);

    let latest = store.latest().cloned();
    let allowed = [progress.published.last(), progress.in_publication.as_ref()];
    let is_allowed = latest.is_none() && progress.published.is_empty()
        || latest.is_some() && allowed.contains(&latest.as_ref());
    assert!(is_allowed, "found {latest:?}, expected one of {allowed:?}");

    let epoch = store.begin_epoch().expect("nothing fails any more");
    assert!(epoch > progress.epoch, "{epoch} after {}", progress.epoch);
    assert_eq!(store.latest(), latest.as_ref());
    assert_readable(&mut store);
    assert_no_leftovers(&store, names(storage));

    for number in 1..=3 {
        take(&mut store, id(epoch, number)).expect("nothing fails any more");
        assert_readable(&mut store);
    }
    assert!(store.take_deletion_error().is_none());
    assert_eq!(store.manifests().len(), RETAIN);
    assert_no_leftovers(&store, names(storage));
    latest
}

/// How many operations a run has, the first and a second one on the same storage.
fn operations() -> u64 {
    let storage = MemoryStorage::new();
    run(&storage, &mut Progress::default()).expect("nothing fails");
    storage.operations()
}

#[test]
fn after_a_crash_the_latest_checkpoint_is_whole() {
    let (mut lost, mut found) = (0, 0);
    for seed in 0..SEEDS {
        for operation in 1..=operations() + 1 {
            let storage = MemoryStorage::seeded(seed);
            let mut progress = Progress::default();
            storage.fail_from(operation, ErrorKind::Other);
            let ended = run(&storage, &mut progress);
            storage.crash();
            storage.heal();
            let latest = recover(&storage, &progress);
            if ended.is_err() && progress.in_publication.is_some() {
                let is_there = latest == progress.in_publication;
                *(if is_there { &mut found } else { &mut lost }) += 1;
            }
        }
    }
    assert!(lost > 20 && found > 20, "both ends of an interrupted publication were tried: {lost}, {found}");
}

#[test]
fn a_crash_after_a_crash_loses_no_more() {
    for seed in 0..SEEDS / 4 {
        for operation in (1..=operations()).step_by(3) {
            let storage = MemoryStorage::seeded(seed);
            let mut first = Progress::default();
            storage.fail_from(operation, ErrorKind::Other);
            // The point of the first crash does not matter here.
            let _ = run(&storage, &mut first);
            storage.crash();
            storage.heal();
            let latest = open(&storage).expect("a crash damages nothing that counts").latest().cloned();
            first.published.extend(latest);

            for second_operation in (1..=operations()).step_by(5) {
                let mut second = Progress { epoch: first.epoch, ..Progress::default() };
                storage.fail_from(second_operation, ErrorKind::Other);
                let _ = run(&storage, &mut second);
                storage.crash();
                storage.heal();
                let mut store = open(&storage).expect("a crash damages nothing that counts");
                assert_readable(&mut store);
                let published = first.published.iter().chain(&second.published);
                let last = published.map(|manifest| manifest.checkpoint).max();
                let latest = store.latest().map(|latest| latest.checkpoint);
                assert!(latest >= last, "found {latest:?}, published {last:?}");
                first.epoch = first.epoch.max(second.epoch);
                first.published.extend(store.latest().cloned());
            }
        }
    }
}
