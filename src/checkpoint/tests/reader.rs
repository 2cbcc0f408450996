//! What somebody sees who looks at the directory of a run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use super::{TOPOLOGY, id, take};
use crate::checkpoint::names::{EPOCH, manifest_name};
use crate::checkpoint::{CheckpointError, CheckpointReader, CheckpointStore, DirectoryStorage};
use crate::ids::CheckpointId;

/// A store that keeps so many checkpoints.
fn store(path: &Path, retain: usize) -> CheckpointStore {
    let storage = DirectoryStorage::open(path, "pid 4711 on host1").expect("it opens");
    CheckpointStore::open(Box::new(storage), TOPOLOGY, retain).expect("it opens")
}

/// A directory with checkpoints 1-1, 1-2 and 1-3, whose run holds the lock.
fn running() -> (tempfile::TempDir, CheckpointStore) {
    let place = tempfile::tempdir().expect("a directory");
    let mut store = store(place.path(), 3);
    store.begin_epoch().expect("it begins");
    for number in 1..=3 {
        take(&mut store, id(1, number)).expect("it is published");
    }
    (place, store)
}

fn reader(place: &tempfile::TempDir) -> CheckpointReader {
    CheckpointReader::open(place.path()).expect("it opens")
}

fn text(result: Result<impl Sized, CheckpointError>) -> String {
    result.map(|_| ()).expect_err("it is refused").to_string()
}

#[test]
fn a_run_may_hold_the_directory() {
    let (place, store) = running();
    let reader = reader(&place);
    let listed = reader.list().expect("it can be read");
    let manifests: Vec<_> = listed.into_iter().map(|listed| listed.manifest.expect("it is whole")).collect();
    assert_eq!(manifests, store.manifests());
    assert_eq!(reader.manifest(None).ok().as_ref(), store.latest());
    assert_eq!(reader.manifest(Some(id(1, 2))).ok().as_ref(), Some(&manifests[1]));
    for file in manifests.iter().flat_map(|manifest| &manifest.tasks).flat_map(|task| &task.files) {
        let mut chunks = Vec::new();
        let read = reader.snapshots(std::slice::from_ref(file)).for_each_chunk(|chunk| {
            chunks.push(chunk.to_vec());
            Ok::<(), CheckpointError>(())
        });
        read.expect("it is whole");
        assert_eq!(chunks, super::chunks_of(&file.name).map(String::into_bytes));
    }
    let error = text(reader.manifest(Some(id(1, 9))));
    assert!(error.ends_with("1-1, 1-2, 1-3 are there"), "{error}");
}

#[test]
fn what_was_given_up_does_not_count() {
    let (place, mut store) = running();
    let leftover = fs::read(place.path().join(manifest_name(id(1, 3)))).expect("it is there");
    store.clear().expect("it can be given up");
    fs::write(place.path().join(manifest_name(id(1, 3))), leftover).expect("it can be written");
    assert_eq!(reader(&place).ids().expect("it can be read"), []);
    assert!(text(reader(&place).manifest(None)).starts_with("there are no checkpoints in the directory"));
}

#[test]
fn a_manifest_that_cannot_be_read_hides_no_other() {
    let check = |damage: fn(&Path), expected: &str| {
        let (place, _store) = running();
        damage(place.path());
        let listed = reader(&place).list().expect("it can be read");
        let ids: Vec<CheckpointId> = listed.iter().map(|listed| listed.checkpoint).collect();
        assert_eq!(ids, [id(1, 1), id(1, 2), id(1, 3)]);
        assert_eq!(listed.iter().filter(|listed| listed.manifest.is_err()).count(), 1, "{expected}");
        let error = text(reader(&place).manifest(Some(id(1, 2))));
        assert!(error.contains("`manifest-1-2.json`") && error.contains(expected), "{error}");
        assert!(reader(&place).manifest(None).is_ok());
    };
    check(|at| fs::write(at.join("manifest-1-2.json"), "{").expect("written"), "it does not begin as such");
    check(
        |at| {
            fs::copy(at.join("manifest-1-1.json"), at.join("manifest-1-2.json")).expect("copied");
        },
        "it is the manifest of checkpoint 1-1",
    );
    check(
        |at| {
            fs::rename(at.join("manifest-1-2.json"), at.join("elsewhere")).expect("renamed");
            symlink("elsewhere", at.join("manifest-1-2.json")).expect("linked");
        },
        "it is a symbolic link; remove it",
    );
    check(
        |at| {
            fs::remove_file(at.join("manifest-1-2.json")).expect("deleted");
            fs::create_dir(at.join("manifest-1-2.json")).expect("made");
        },
        "directory",
    );
}

#[test]
fn the_manifest_of_another_topology_is_named() {
    let (place, _store) = running();
    let (other, mut bills) = (tempfile::tempdir().expect("a directory"), None);
    let storage = DirectoryStorage::open(other.path(), "pid 1").expect("it opens");
    let store = bills.insert(CheckpointStore::open(Box::new(storage), "bills", 1).expect("it opens"));
    let checkpoint = CheckpointId { epoch: store.begin_epoch().expect("it begins"), number: 2 };
    let manifest = super::manifest(checkpoint, [Vec::new(), Vec::new()]);
    store.publish(crate::checkpoint::Manifest { topology: "bills".into(), ..manifest }).expect("published");
    fs::copy(other.path().join("manifest-1-2.json"), place.path().join("manifest-1-2.json")).expect("copied");
    let error = text(reader(&place).manifest(Some(id(1, 2))));
    assert!(error.contains("belongs to topology `bills`, and not to `words`"), "{error}");
}

#[test]
fn without_the_record_of_epochs_every_checkpoint_counts() {
    let (place, store) = running();
    drop(store);
    fs::write(place.path().join(EPOCH), "{").expect("it can be written");
    assert!(text(reader(&place).list()).contains("`EPOCH`"));
    fs::remove_file(place.path().join(EPOCH)).expect("it can be deleted");
    assert_eq!(reader(&place).ids().expect("it can be read").len(), 3);
}

/// A file that is missing is a flaw, unless the run has deleted the whole checkpoint.
#[test]
fn a_checkpoint_that_is_deleted_meanwhile_is_no_flaw() {
    let (place, mut store) = running();
    let reader = reader(&place);
    let manifest = reader.manifest(Some(id(1, 1))).expect("it is whole");
    let file = &manifest.tasks[0].files[0];
    let missing = || reader.snapshots(std::slice::from_ref(file)).check().expect_err("it is not there");

    fs::rename(place.path().join(&file.name), place.path().join("elsewhere")).expect("renamed");
    assert!(text(Err::<(), _>(reader.explain(id(1, 1), missing()))).contains("it is missing"));
    fs::rename(place.path().join("elsewhere"), place.path().join(&file.name)).expect("renamed");

    take(&mut store, id(1, 4)).expect("it is published");
    take(&mut store, id(1, 5)).expect("it is published");
    assert!(!place.path().join(&file.name).exists(), "the run needs it no more");
    let error = text(Err::<(), _>(reader.explain(id(1, 1), missing())));
    assert!(
        error.contains("was deleted while it was read") && error.contains("1-3, 1-4, 1-5 are there"),
        "{error}"
    );
}

#[test]
fn a_list_is_right_while_a_run_publishes_and_deletes() {
    let place = tempfile::tempdir().expect("a directory");
    let mut store = store(place.path(), 1);
    store.begin_epoch().expect("it begins");
    take(&mut store, id(1, 1)).expect("it is published");
    let run = thread::spawn(move || {
        for number in 2..=200 {
            take(&mut store, id(1, number)).expect("it is published");
        }
    });
    let (reader, mut last) = (reader(&place), id(1, 1));
    while !run.is_finished() {
        for listed in reader.list().expect("it can be read") {
            last = listed.manifest.expect("it is whole, or not listed").checkpoint.max(last);
        }
    }
    run.join().expect("it does not panic");
    assert!(last >= id(1, 1));
    assert_eq!(reader.manifest(None).expect("it is whole").checkpoint, id(1, 200));
}

#[test]
fn what_is_no_directory_is_refused_with_a_remedy() {
    let place = tempfile::tempdir().expect("a directory");
    let error = text(CheckpointReader::open(&place.path().join("nowhere")));
    assert!(error.contains("No such file") && error.contains("[topology.checkpoint]"), "{error}");
    fs::write(place.path().join("a\nfile"), "").expect("it can be written");
    let error = text(CheckpointReader::open(&place.path().join("a\nfile")));
    assert!(error.contains(r"a\nfile`: Not a directory"), "{error}");
}
