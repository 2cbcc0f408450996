//! What a store keeps, what its views show, and what is left after a disk was full.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::{RedbBackend, RedbStore};
use crate::state::key_store::{KeyStore, StateBackend, StoreChange, StoreChanges, StoreView, ViewOf};

fn changes<'c>(of: impl IntoIterator<Item = (&'c str, Option<&'c str>)>) -> StoreChanges {
    let change = |(key, entry): (&str, Option<&str>)| {
        let entry = entry.map(|entry| entry.as_bytes().to_vec());
        (key.as_bytes().to_vec(), StoreChange { entry, is_changed: true })
    };
    of.into_iter().map(change).collect()
}

fn all(mut view: Box<dyn StoreView>) -> BTreeMap<String, Option<String>> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    let mut found = BTreeMap::new();
    while let Some((key, entry)) = view.next().expect("it can be read") {
        found.insert(text(key), entry.map(text));
    }
    found
}

fn expected<'e>(
    of: impl IntoIterator<Item = (&'e str, Option<&'e str>)>,
) -> BTreeMap<String, Option<String>> {
    of.into_iter().map(|(key, entry)| (key.to_owned(), entry.map(str::to_owned))).collect()
}

fn store() -> RedbStore {
    RedbStore::new(tempfile::tempfile().expect("there is room"), 64 << 10).expect("it can be opened")
}

#[test]
fn a_view_stays_as_it_was() {
    let mut store = store();
    assert_eq!(all(store.view(ViewOf::Everything).expect("it can be read")), expected([]), "nothing yet");
    store.write(0, &changes([("a", Some("1")), ("b", Some("2"))])).expect("there is room");
    store.write(1, &changes([("b", Some("3")), ("c", Some("4"))])).expect("there is room");
    store.write(1, &changes([("a", None)])).expect("there is room");
    let everything = store.view(ViewOf::Everything).expect("it can be read");
    let after_a = store.view(ViewOf::KeysAfter(b"b")).expect("it can be read");
    let changed = store.view(ViewOf::ChangesAfter(1)).expect("it can be read");
    store.write(2, &changes([("b", None), ("d", Some("5"))])).expect("there is room");
    assert_eq!(all(everything), expected([("b", Some("3")), ("c", Some("4"))]));
    assert_eq!(all(after_a), expected([("c", Some("4"))]));
    assert_eq!(all(changed), expected([("a", None), ("b", Some("3")), ("c", Some("4"))]));
    let view =
        |store: &mut RedbStore, number| all(store.view(ViewOf::ChangesAfter(number)).expect("it is there"));
    assert_eq!(view(&mut store, 1), expected([]), "forgotten with the first write of the next number");
    assert_eq!(view(&mut store, 2), expected([("b", None), ("d", Some("5"))]));
    store.clear().expect("there is room");
    assert_eq!(store.get(b"c"), Ok(None));
    assert_eq!(view(&mut store, 2), expected([]));
}

#[test]
fn after_a_full_disk_everything_that_was_written_is_there() {
    let mut store = store();
    store.write(0, &changes([("a", Some("1"))])).expect("there is room");
    let large = "x".repeat(1 << 20);
    store.scratch.is_full.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let error = store.write(0, &changes([("a", None), ("b", Some(&*large))])).expect_err("it is full");
        assert!(error.to_string().contains("no storage space"), "{error}");
    }
    store.scratch.is_full.store(false, Ordering::Relaxed);
    assert_eq!(store.get(b"a"), Ok(Some(b"1".to_vec())), "none of what has failed is there");
    assert_eq!(store.get(b"b"), Ok(None));
    store.write(0, &changes([("b", Some(&*large))])).expect("there is room again");
    assert_eq!(store.get(b"b"), Ok(Some(large.into_bytes())));
}

#[test]
fn nothing_of_it_is_seen_in_its_directory() {
    let directory = tempfile::tempdir().expect("there is room");
    let below = directory.path().join("of/its/own");
    let backend = RedbBackend::new(Some(below.clone()));
    let mut store = backend.open(1 << 20).expect("there is room");
    store.write(0, &changes([("a", Some("1"))])).expect("there is room");
    assert_eq!(std::fs::read_dir(&below).expect("it was made").count(), 0);
    let missing = RedbBackend::new(None).open(1 << 20).err().expect("there is no directory");
    assert!(missing.is_permanent && missing.to_string().contains("set `state.directory`"), "{missing}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("there is room");
    let error = RedbBackend::new(Some(file)).open(1 << 20).err().expect("it is no directory");
    assert!(error.is_permanent && error.to_string().contains("there can be no file in"), "{error}");
}
