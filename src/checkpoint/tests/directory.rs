//! The directory: its lock, its links, its permissions, and what rots in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::thread;

use super::{RETAIN, TOPOLOGY, assert_no_leftovers, assert_readable, id, take, tasks};
use crate::checkpoint::{
    CheckpointError, CheckpointStorage as _, CheckpointStore, DirectoryStorage, SnapshotFile,
};

fn open(path: &Path) -> Result<CheckpointStore, CheckpointError> {
    let storage = DirectoryStorage::open(path, "pid 4711 on host1")?;
    CheckpointStore::open(Box::new(storage), TOPOLOGY, RETAIN)
}

fn text(result: Result<impl Sized, CheckpointError>) -> String {
    result.map(|_| ()).expect_err("it is refused").to_string()
}

/// A directory with checkpoint 1-1.
fn with_checkpoint() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    let mut store = open(place.path()).expect("it opens");
    store.begin_epoch().expect("it begins");
    take(&mut store, id(1, 1)).expect("it is published");
    place
}

#[test]
fn checkpoints_are_found_by_the_next_process() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("a/b/checkpoints");
    for epoch in 1..=3 {
        let mut store = open(&path).expect("it opens");
        assert_eq!(store.latest().map(|latest| latest.checkpoint), (epoch > 1).then(|| id(epoch - 1, 3)));
        assert_readable(&mut store);
        assert_eq!(store.begin_epoch().expect("it begins"), epoch);
        for number in 1..=3 {
            take(&mut store, id(epoch, number)).expect("it is published");
            assert_readable(&mut store);
        }
        store.append(id(epoch, 4), &tasks()[0], b"not published").expect("it is written");
        assert!(store.take_deletion_error().is_none());
    }
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("manifest-3-3.json"))), (0o700, 0o600));
    assert_eq!(mode(&path.join("snapshot-3-3-count-0")), 0o600);

    let mut store = open(&path).expect("it opens");
    store.begin_epoch().expect("it begins");
    drop(store);
    let mut storage = DirectoryStorage::open(&path, "pid 4711 on host1").expect("it opens");
    let again = DirectoryStorage::open(&path, "pid 4712 on host1");
    assert!(matches!(again, Err(CheckpointError::Held { .. })));
    let names = storage.list().expect("it lists");
    assert!(!names.contains(&"snapshot-3-4-count-0".to_owned()), "{names:?}");
    drop(storage);
    let store = open(&path).expect("it opens");
    assert_eq!(store.manifests().len(), RETAIN);
}

#[test]
fn one_process_has_the_directory() {
    let place = tempfile::tempdir().expect("a directory");
    let location = format!("the directory `{}`", place.path().display());
    let first = DirectoryStorage::open(place.path(), "pid 1 on host1").expect("it opens");
    assert_eq!(
        text(DirectoryStorage::open(place.path(), "pid 2 on host1")),
        format!(
            "{location} is in use by pid 1 on host1: end that process, or give each topology a directory of its own"
        )
    );
    drop(first);
    let _second = DirectoryStorage::open(place.path(), "pid 2").expect("the lock was released");
    assert!(text(DirectoryStorage::open(place.path(), "pid 3")).contains("in use by pid 2: "));
}

/// A start that was refused left an empty directory in the home of the user.
#[test]
fn who_writes_nothing_leaves_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("state/squall/words");
    let first = DirectoryStorage::open(&path, "pid 1").expect("it opens");
    assert!(path.join("LOCK").exists());
    assert!(text(DirectoryStorage::open(&path, "pid 2")).contains("in use by pid 1"));
    assert!(path.exists(), "the second has not made it");
    drop(first);
    assert_eq!(fs::read_dir(place.path()).expect("it is there").count(), 0);

    // What somebody else has made, or put there, stays.
    let made = place.path().join("state");
    fs::create_dir(&made).expect("it can be made");
    let storage = DirectoryStorage::open(&path, "pid 1").expect("it opens");
    drop(storage);
    assert!(made.exists() && !made.join("squall").exists());
    let storage = DirectoryStorage::open(&path, "pid 1").expect("it opens");
    fs::write(made.join("squall/note"), "").expect("it can be written");
    drop(storage);
    assert!(made.join("squall/note").exists() && !path.exists());
    let storage = DirectoryStorage::open(&path, "pid 1").expect("it opens");
    fs::write(path.join("note"), "").expect("it can be written");
    drop(storage);
    assert!(path.join("note").exists());
    drop(DirectoryStorage::open(&path, "pid 2").expect("the lock was released"));
    assert!(path.join("LOCK").exists(), "it was not made for this one");

    // What was written stays, also if it was given up.
    let path = place.path().join("written");
    let mut storage = DirectoryStorage::open(&path, "pid 1").expect("it opens");
    storage.append("snapshot-1-1-count-0", b"storm").expect("it can be written");
    drop(storage);
    assert!(path.join("snapshot-1-1-count-0").exists());
    let path = place.path().join("published");
    let mut storage = DirectoryStorage::open(&path, "pid 1").expect("it opens");
    storage.publish("EPOCH", b"1").expect("it can be written");
    storage.delete(&["EPOCH".to_owned()]).expect("it is there");
    drop(storage);
    assert!(path.exists(), "something was written");
}

#[test]
fn what_others_have_in_the_directory_stays() {
    let place = with_checkpoint();
    let others = ["notes.txt", "manifest-1.json", "snapshot-old", "manifest-1-1.json.bak"];
    for name in others {
        fs::write(place.path().join(name), "mine").expect("it is written");
    }
    fs::create_dir(place.path().join("old")).expect("it is made");
    fs::write(place.path().join("EPOCH.squall-tmp"), "torn").expect("it is written");
    fs::write(place.path().join("snapshot-1-2-count-0"), "torn").expect("it is written");

    let mut store = open(place.path()).expect("it opens");
    assert!(!place.path().join("EPOCH.squall-tmp").exists(), "nobody else can be writing it");
    store.begin_epoch().expect("it begins");
    assert!(!place.path().join("snapshot-1-2-count-0").exists());
    store.clear().expect("it is cleared");
    for name in others {
        assert_eq!(fs::read_to_string(place.path().join(name)).expect("it is there"), "mine", "{name}");
    }
    assert!(place.path().join("old").is_dir());
    assert!(!place.path().join("manifest-1-1.json").exists());
}

#[test]
fn no_symbolic_link_is_followed() {
    let place = with_checkpoint();
    let outside = tempfile::tempdir().expect("a directory");
    let target = outside.path().join("target");
    fs::write(&target, "precious").expect("it is written");
    let plant = |name: &str| {
        let _ = fs::remove_file(place.path().join(name));
        symlink(&target, place.path().join(name)).expect("it is linked");
    };
    let mut store = open(place.path()).expect("it opens");
    store.begin_epoch().expect("it begins");

    plant("snapshot-2-1-count-0");
    let error = text(store.append(id(2, 1), &tasks()[0], b"x"));
    assert!(error.starts_with("cannot write `snapshot-2-1-count-0` in the directory `"), "{error}");
    store.discard(id(2, 1));
    plant("manifest-2-2.json.squall-tmp");
    let error = text(take(&mut store, id(2, 2)));
    assert!(error.starts_with("cannot write `manifest-2-2.json` in the directory `"), "{error}");
    store.discard(id(2, 2));
    // A rename puts the file in the place of the link, and not in the place of what the link leads to.
    plant("manifest-2-3.json");
    take(&mut store, id(2, 3)).expect("it is published");
    assert_eq!(fs::read_to_string(&target).expect("it is there"), "precious");
    assert_readable(&mut store);
    drop(store);

    plant("EPOCH");
    let error = text(open(place.path()));
    assert!(error.starts_with("cannot read `EPOCH` in the directory `"), "{error}");
    assert!(error.ends_with("it is a symbolic link; remove it"), "{error}");
    plant("LOCK");
    let error = text(open(place.path()));
    assert!(error.starts_with("cannot lock `LOCK` in the directory `"), "{error}");
    assert!(error.ends_with("it is a symbolic link; remove it"), "{error}");
    assert_eq!(fs::read_to_string(&target).expect("it is there"), "precious");
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let place = with_checkpoint();
    let epoch = place.path().join("EPOCH");
    fs::remove_file(&epoch).expect("it is removed");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &epoch, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    assert!(text(open(place.path())).ends_with("it is not a regular file"));
    fs::remove_file(&epoch).expect("it is removed");
    fs::create_dir(&epoch).expect("it is made");
    assert!(text(open(place.path())).ends_with("it is a directory, not a file"));
    assert!(text(DirectoryStorage::open(place.path().join("LOCK"), "pid 1")).contains("Not a directory"));
}

/// Runs something as a user who cannot write everywhere.
fn as_nobody(act: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                // Of this thread only.
                let nobody = rustix::process::Uid::from_raw(65_534);
                rustix::thread::set_thread_uid(nobody).expect("root may do that");
            }
            act();
        });
        thread.join().expect("the thread did not panic");
    });
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_with_a_remedy() {
    let place = tempfile::tempdir().expect("a directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o555)).expect("it is ours");
    let shown = place.path().display().to_string();
    as_nobody(|| {
        let expected = format!(
            "cannot lock `LOCK` in the directory `{shown}`: Permission denied (os error 13); let squall write there, \
             or name another place"
        );
        assert_eq!(text(open(place.path())), expected);
        let expected = format!(
            "cannot open the directory `{shown}/checkpoints`: Permission denied (os error 13); let squall write \
             there, or name another place"
        );
        assert_eq!(text(open(&place.path().join("checkpoints"))), expected);
    });
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// Each way in which the bytes of a file may have rotted.
fn rotten(bytes: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let flipped = (0..bytes.len()).map(|at| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << (at % 8);
        (format!("byte {at} flipped"), flipped)
    });
    let cut = (0..bytes.len()).map(|at| (format!("cut at {at}"), bytes[..at].to_vec()));
    let longer = [("longer".to_owned(), [bytes, &b"\n"[..]].concat())];
    flipped.chain(cut).chain(longer)
}

/// Whether an error names a file as damaged or newer.
fn is_about(error: &CheckpointError, name: &str) -> bool {
    match error {
        CheckpointError::Damaged { file, .. } | CheckpointError::Newer { file, .. } => file == name,
        _ => false,
    }
}

#[test]
fn rot_in_a_manifest_or_the_epoch_is_noticed_and_deletes_nothing() {
    let place = with_checkpoint();
    let names = || {
        let entries = fs::read_dir(place.path()).expect("it can be read");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("it can be read").file_name()).collect();
        names.sort();
        names
    };
    let all = names();
    for name in ["manifest-1-1.json", "EPOCH"] {
        let path = place.path().join(name);
        let bytes = fs::read(&path).expect("it is there");
        for (rot, rotten) in rotten(&bytes) {
            fs::write(&path, rotten).expect("it is written");
            match open(place.path()).map(|_| ()) {
                Err(error) => assert!(is_about(&error, name), "{rot}: {error}"),
                Ok(()) => panic!("{name}, {rot}: not noticed"),
            }
        }
        fs::write(&path, bytes).expect("it is written");
    }
    assert_eq!(names(), all);
    assert_readable(&mut open(place.path()).expect("it is whole again"));
}

#[test]
fn rot_in_a_snapshot_file_is_noticed() {
    let place = with_checkpoint();
    let mut store = open(place.path()).expect("it opens");
    let file: SnapshotFile = store.latest().expect("it was published").tasks[0].files[0].clone();
    let path = place.path().join(&file.name);
    let bytes = fs::read(&path).expect("it is there");
    assert_eq!(bytes.len() as u64, file.bytes);
    for (rot, rotten) in rotten(&bytes) {
        fs::write(&path, rotten).expect("it is written");
        let error = store.read(&file).expect_err(&rot);
        assert!(is_about(&error, &file.name), "{rot}: {error}");
    }
    fs::write(&path, bytes).expect("it is written");
    assert_readable(&mut store);
}

#[test]
fn a_manifest_under_another_name_is_refused() {
    let place = with_checkpoint();
    let path = |name: &str| place.path().join(name);
    fs::copy(path("manifest-1-1.json"), path("manifest-1-2.json")).expect("it is copied");
    assert!(text(open(place.path())).contains("it is the manifest of checkpoint 1-1"));
}

#[test]
fn nothing_is_left_over_in_a_directory() {
    let place = tempfile::tempdir().expect("a directory");
    let mut store = open(place.path()).expect("it opens");
    store.begin_epoch().expect("it begins");
    for number in 1..=6 {
        take(&mut store, id(1, number)).expect("it is published");
    }
    let manifests = store.manifests().to_vec();
    drop(store);
    let mut storage = DirectoryStorage::open(place.path(), "pid 1").expect("it opens");
    let names = storage.list().expect("it lists");
    drop(storage);
    let store = open(place.path()).expect("it opens");
    assert_eq!(store.manifests(), manifests);
    assert_no_leftovers(&store, names);
}

/// A worker that was killed may still be in a call that writes. The next start waits until it is gone.
#[test]
fn a_start_waits_for_the_workers_of_the_one_before() {
    let place = tempfile::tempdir().expect("a directory");
    let master = DirectoryStorage::open(place.path(), "the master").expect("it opens");
    let workers = [(); 2].map(|()| DirectoryStorage::join(place.path()).expect("several may"));
    drop(master);
    let (done, wait) = std::sync::mpsc::channel();
    let path = place.path().to_owned();
    let next = thread::spawn(move || {
        let opened = DirectoryStorage::open(path, "the next").map(drop);
        done.send(()).expect("it is waited for");
        opened
    });
    thread::sleep(std::time::Duration::from_millis(50));
    assert!(wait.try_recv().is_err(), "two workers live");
    drop(workers);
    wait.recv().expect("it ends");
    next.join().expect("it does not panic").expect("it opens");
}
