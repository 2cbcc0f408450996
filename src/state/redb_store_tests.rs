//! What a store keeps, what its views show, and what is left after a disk was full.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{RedbBackend, RedbStore, Scratch};
use crate::state::key_store::{KeyStore, StateBackend, StoreChange, StoreChanges, StoreView, ViewOf};
use crate::state::state_disk::StateDisk;

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
    let file = tempfile::tempfile().expect("there is room");
    RedbStore::new(Scratch::File(Arc::new(file)), 64 << 10).expect("it can be opened")
}

/// A store on a disk that can be filled.
fn store_on_a_disk() -> (RedbStore, StateDisk) {
    let disk = StateDisk::seeded(7);
    let store = RedbStore::new(Scratch::Simulated(disk.file()), 64 << 10).expect("it can be opened");
    (store, disk)
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
    let (mut store, disk) = store_on_a_disk();
    store.write(0, &changes([("a", Some("1"))])).expect("there is room");
    let large = "x".repeat(1 << 20);
    disk.fill();
    for _ in 0..3 {
        let error = store.write(0, &changes([("a", None), ("b", Some(&*large))])).expect_err("it is full");
        assert!(error.to_string().contains("no storage space"), "{error}");
    }
    disk.heal();
    assert_eq!(store.get(b"a"), Ok(Some(b"1".to_vec())), "none of what has failed is there");
    assert_eq!(store.get(b"b"), Ok(None));
    store.write(0, &changes([("b", Some(&*large))])).expect("there is room again");
    assert_eq!(store.get(b"b"), Ok(Some(large.into_bytes())));
}

/// Whichever write fails, a change is carried out wholly or not at all, and what was written before is there.
#[test]
fn a_write_that_fails_anywhere_changes_nothing() {
    const VALUE: usize = 3_000;
    let text = |n: usize| char::from(b'a' + (n % 26) as u8).to_string().repeat(VALUE);
    let keys: Vec<String> = (0..40).map(|n| format!("key {n}")).collect();
    let mut failed = 0;
    for seed in 0..150 {
        let disk = StateDisk::seeded(seed);
        let mut store = RedbStore::new(Scratch::Simulated(disk.file()), 64 << 10).expect("it opens");
        let mut expected = BTreeMap::new();
        let mut random = StdRng::seed_from_u64(seed);
        for round in 0..12 {
            let text = text(round);
            let mut drawn: Vec<(&str, Option<&str>)> = Vec::new();
            for key in &keys {
                match random.random_range(0..10) {
                    0 => drawn.push((key, None)),
                    1..4 => drawn.push((key, Some(&text))),
                    _ => {}
                }
            }
            match random.random_range(0..4) {
                0 => disk.fail_next_write(),
                1 => disk.fail_next_read(),
                2 => disk.fill(),
                _ => {}
            }
            let is_written = store.write(1, &changes(drawn.clone())).is_ok();
            disk.heal();
            failed += u32::from(!is_written);
            if is_written {
                for (key, entry) in drawn {
                    expected.insert(key.to_owned(), entry.map(str::to_owned));
                }
            }
            let shown = all(store.view(ViewOf::Everything).expect("it can be read"));
            let of_keys = expected.iter().filter(|(_, entry)| entry.is_some());
            assert_eq!(shown, of_keys.map(|(key, entry)| (key.clone(), entry.clone())).collect());
            assert_eq!(all(store.view(ViewOf::ChangesAfter(1)).expect("it can be read")), expected);
        }
    }
    assert!(failed > 300, "{failed}");
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
