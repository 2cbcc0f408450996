//! Starts of one topology that overlap.

use std::io;
use std::sync::{Arc, Mutex};

use super::{RETAIN, TOPOLOGY, assert_no_leftovers, assert_readable, id, names, open, prepare, take};
use crate::checkpoint::{
    CheckpointError, CheckpointFiles, CheckpointStorage, CheckpointStore, MemoryStorage,
};

/// Lets another process act right before an operation.
struct Interrupted {
    storage: MemoryStorage,
    /// Which operation, by its verb and file: `publish manifest-1-2.json`.
    at: String,
    act: Option<Box<dyn FnOnce() + Send>>,
}

impl Interrupted {
    fn before(&mut self, operation: &str) {
        if operation == self.at
            && let Some(act) = self.act.take()
        {
            act();
        }
    }
}

impl CheckpointStorage for Interrupted {
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.storage.append(name, bytes)
    }

    fn seal(&mut self, name: &str) -> io::Result<()> {
        self.storage.seal(name)
    }

    fn abandon(&mut self, name: &str) {
        self.storage.abandon(name);
    }

    fn publish(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.before(&format!("publish {name}"));
        self.storage.publish(name, bytes)
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        self.storage.read(name, limit)
    }

    fn files(&self) -> Arc<dyn CheckpointFiles> {
        self.storage.files()
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        self.before("list");
        self.storage.list()
    }

    fn delete(&mut self, names: &[String]) -> io::Result<()> {
        self.storage.delete(names)
    }

    fn location(&self) -> String {
        self.storage.location()
    }
}

#[track_caller]
fn assert_fenced(result: Result<impl Sized, CheckpointError>, expected: (u64, u64)) {
    match result.map(|_| ()) {
        Err(CheckpointError::Fenced { epoch, current, .. }) => assert_eq!((epoch, current), expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_epoch_is_higher_than_all_before() {
    let storage = MemoryStorage::new();
    for expected in 1..=3 {
        let mut store = open(&storage).expect("it opens");
        assert_eq!(store.begin_epoch().expect("it begins"), expected);
        storage.crash();
    }
    let mut store = open(&storage).expect("it opens");
    assert_eq!(store.begin_epoch().expect("it begins"), 4);
    take(&mut store, id(4, 1)).expect("it is published");

    // Somebody has removed the file; the manifests still state the epoch.
    storage.clone().delete(&["EPOCH".into()]).expect("it is deleted");
    let mut store = open(&storage).expect("it opens");
    assert_eq!(store.latest().map(|latest| latest.checkpoint), Some(id(4, 1)));
    assert_eq!(store.begin_epoch().expect("it begins"), 5);
}

#[test]
fn an_older_epoch_publishes_and_deletes_nothing() {
    let storage = MemoryStorage::new();
    let mut old = open(&storage).expect("it opens");
    old.begin_epoch().expect("it begins");
    take(&mut old, id(1, 1)).expect("it is published");
    let late = prepare(&mut old, id(1, 2)).expect("it is written");

    let mut new = open(&storage).expect("it opens");
    assert_eq!(new.begin_epoch().expect("it begins"), 2);
    assert_eq!(new.latest().map(|latest| latest.checkpoint), Some(id(1, 1)));
    assert_no_leftovers(&new, names(&storage));

    assert_fenced(old.publish(late), (1, 2));
    old.discard(id(1, 1));
    assert_fenced(old.append(id(2, 1), &super::tasks()[0], b"x"), (2, 1));
    assert_readable(&mut new);
    take(&mut new, id(2, 1)).expect("it is published");
    assert_fenced(take(&mut old, id(1, 3)), (1, 2));
    old.discard(id(1, 3));
    assert_readable(&mut new);

    let mut store = open(&storage).expect("it opens");
    assert_eq!(store.latest().map(|latest| latest.checkpoint), Some(id(2, 1)));
    store.begin_epoch().expect("it begins");
    assert_no_leftovers(&store, names(&storage));
}

/// The old process stops right before the operation, for as long as the new one needs.
fn interrupted(storage: &MemoryStorage, at: &str, act: impl FnOnce() + Send + 'static) -> CheckpointStore {
    let interrupted = Interrupted { storage: storage.clone(), at: at.into(), act: Some(Box::new(act)) };
    CheckpointStore::open(Box::new(interrupted), TOPOLOGY, RETAIN).expect("it opens")
}

#[test]
fn a_publication_that_was_overtaken_does_not_count() {
    let storage = MemoryStorage::new();
    let shared = storage.clone();
    let mut old = interrupted(&storage, "publish manifest-1-2.json", move || {
        let mut new = open(&shared).expect("it opens");
        assert_eq!(new.begin_epoch().expect("it begins"), 2);
        assert_eq!(new.latest().map(|latest| latest.checkpoint), Some(id(1, 1)));
    });
    old.begin_epoch().expect("it begins");
    take(&mut old, id(1, 1)).expect("it is published");
    assert_fenced(take(&mut old, id(1, 2)), (1, 2));
    assert!(names(&storage).contains(&"manifest-1-2.json".to_owned()));

    // Its snapshot files were deleted as the new epoch began, so to read it would be an error.
    let mut store = open(&storage).expect("what does not count is not read");
    assert_eq!(store.latest().map(|latest| latest.checkpoint), Some(id(1, 1)));
    assert_readable(&mut store);
    assert_eq!(store.begin_epoch().expect("it begins"), 3);
    assert_no_leftovers(&store, names(&storage));
}

#[test]
fn a_publication_during_the_claim_is_found_by_the_new_epoch() {
    let storage = MemoryStorage::new();
    // The new process has claimed its epoch when the old one, which checked before, gets its manifest written.
    let (overtaken, old_storage) = (Arc::new(Mutex::new(None)), storage.clone());
    let result = Arc::clone(&overtaken);
    let new_storage = storage.clone();
    let mut old = interrupted(&old_storage, "publish manifest-1-1.json", move || {
        let mut new = interrupted(&new_storage, "publish EPOCH", || {});
        // The claim is written, and then the process waits for a failure of its second step.
        new_storage.fail_from(5, io::ErrorKind::TimedOut);
        new.begin_epoch().expect_err("the second step fails");
        new_storage.heal();
        *result.lock().expect("nobody panicked") = Some(new);
    });
    old.begin_epoch().expect("it begins");
    assert_fenced(take(&mut old, id(1, 1)), (1, 2));
    old.discard(id(1, 1));

    let mut new = overtaken.lock().expect("nobody panicked").take().expect("it has claimed");
    assert_eq!(new.begin_epoch().expect("it begins"), 3);
    assert_eq!(new.latest().map(|latest| latest.checkpoint), Some(id(1, 1)));
    assert_readable(&mut new);
    assert_no_leftovers(&new, names(&storage));
}
