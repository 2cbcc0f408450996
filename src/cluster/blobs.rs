//! What topologies are made of: a directory of files that are called by the hash of what is in them. All nimbuses and
//! supervisors of a cluster see it.
//!
//! ```text
//!   <cluster.blobs>/e3b0c44298fc1c14…        a blob; never changed
//!   <cluster.blobs>/e3b0c44298fc1c14….new    one that is being written, or was when its writer died
//!   <cluster.blobs>/LOCK                     locked by whoever puts or removes
//! ```
//!
//! 1. What is read has the hash that it was asked for by, or is an error.
//! 2. What was put is durable, and is there as a whole or not at all.
//! 3. A blob that is put or kept has its file time renewed. Only what is not referred to and has an old file time is
//!    removed, and that is decided under the lock. So a nimbus that no longer leads without knowing it removes nothing
//!    that another one has just taken.
//! 4. File times are compared with that of `LOCK`, which is touched before. So the clocks of the hosts do not matter.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, OFlags, Timespec, Timestamps, UTIME_NOW};

use crate::cluster::blob_hash::BlobHash;
use crate::files::{make_private_directory, open_regular, publish, read_regular, with_remedy};

/// Bytes of the largest blob.
pub const BLOB_MAX: u64 = 64 << 20;

/// Reads a blob, for supervisors. The text says why it could not.
pub type ReadBlob = Arc<dyn Fn(&BlobHash) -> Result<Vec<u8>, String> + Send + Sync>;

/// The file that is locked.
const LOCK: &str = "LOCK";
/// Ends the name of a blob that is being written.
const UNFINISHED: &str = ".new";
/// How often a lock is tried before it is an error, and the pause between. Whoever has it writes one blob.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Why a blob was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no such blob.
    #[error(
        "there is no blob `{hash}` in `{}`: all nimbuses and supervisors must see the same `cluster.blobs`",
        directory.display()
    )]
    Missing {
        /// The blob.
        hash: BlobHash,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// It has another content than it should.
    #[error("the blob `{}` is damaged: {flaw}. Put it again; that replaces it", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        flaw: String,
    },
    /// What is to be put has another hash.
    #[error("these bytes have the hash `{found}`, not `{expected}`")]
    OtherHash {
        /// The hash that it was put by.
        expected: BlobHash,
        /// The hash that it has.
        found: BlobHash,
    },
    /// What is to be put is too large.
    #[error("a blob has at most {BLOB_MAX} bytes, not {bytes}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// Another process has the lock for too long.
    #[error("another process has had the lock `{}` for too long: look for a nimbus that is stopped", file.display())]
    Locked {
        /// The file.
        file: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {action} `{}`: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed, and what can be done about it.
        #[source]
        source: io::Error,
    },
}

/// A directory of blobs. Several processes may use one at once, and so may threads.
#[derive(Clone, Debug)]
pub struct BlobStore {
    directory: PathBuf,
}

impl BlobStore {
    /// The store in this directory. The directory is made when something is put.
    pub fn new(directory: impl Into<PathBuf>) -> BlobStore {
        BlobStore { directory: directory.into() }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What reads blobs of this store for a supervisor.
    pub fn reader(self) -> ReadBlob {
        Arc::new(move |hash| self.get(hash).map_err(|error| error.to_string()))
    }

    /// Keeps a blob, for this user alone. If it is there already, it counts as new.
    ///
    /// # Errors
    /// When it has another hash, is too large, or cannot be written, for example because the disk is full.
    pub fn put(&self, hash: &BlobHash, bytes: &[u8]) -> Result<(), BlobError> {
        if bytes.len() as u64 > BLOB_MAX {
            return Err(BlobError::TooLarge { bytes: bytes.len() });
        }
        let found = BlobHash::of(bytes);
        if found != *hash {
            return Err(BlobError::OtherHash { expected: hash.clone(), found });
        }
        let _lock = self.lock()?;
        if self.get(hash).is_ok() {
            return self.renew(hash);
        }
        let unfinished = format!("{hash}{UNFINISHED}");
        let written = File::open(&self.directory)
            .and_then(|directory| publish(&directory, &unfinished, hash.as_str(), bytes));
        written.map_err(self.failed("write", hash.as_str()))
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// When there is none, when it is damaged, or cannot be read.
    pub fn get(&self, hash: &BlobHash) -> Result<Vec<u8>, BlobError> {
        let file = self.directory.join(hash.as_str());
        let damaged = |flaw: String| BlobError::Damaged { file: file.clone(), flaw };
        let bytes = match read_regular(&file, BLOB_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Missing { hash: hash.clone(), directory: self.directory.clone() });
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(damaged(error.to_string()));
            }
            Err(error) => return Err(self.failed("read", hash.as_str())(error)),
        };
        match BlobHash::of(&bytes) {
            found if found == *hash => Ok(bytes),
            found => Err(damaged(format!("its {} bytes have the hash `{found}`", bytes.len()))),
        }
    }

    /// Reads a blob, and has it count as new, so that it is not removed before it is referred to.
    ///
    /// # Errors
    /// As [`get`](BlobStore::get), and when its file time cannot be written.
    pub fn keep(&self, hash: &BlobHash) -> Result<Vec<u8>, BlobError> {
        let _lock = self.lock()?;
        let bytes = self.get(hash)?;
        self.renew(hash)?;
        Ok(bytes)
    }

    /// The blobs that are there, sorted.
    ///
    /// # Errors
    /// When the directory cannot be read. One that is not there has no blobs.
    pub fn list(&self) -> Result<Vec<BlobHash>, BlobError> {
        let mut blobs: Vec<BlobHash> = self.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        blobs.sort_unstable();
        Ok(blobs)
    }

    /// Removes a blob, whatever refers to it. One that is not there is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, hash: &BlobHash) -> Result<(), BlobError> {
        let _lock = self.lock()?;
        self.delete(hash.as_str())
    }

    /// Removes blobs that are not among `referred` and were neither put nor kept for `age`, and what writers have left
    /// behind. Returns which blobs were removed; none if another process is at the store.
    ///
    /// # Errors
    /// When the directory cannot be read, or something in it cannot be removed.
    pub fn sweep(&self, referred: &BTreeSet<BlobHash>, age: Duration) -> Result<Vec<BlobHash>, BlobError> {
        if !self.directory.exists() {
            return Ok(Vec::new());
        }
        let lock = self.open_lock()?;
        if !try_lock(&lock).map_err(self.failed("lock", LOCK))? {
            return Ok(Vec::new());
        }
        let now =
            touch(&lock).and_then(|()| lock.metadata()?.modified()).map_err(self.failed("touch", LOCK))?;
        let mut removed = Vec::new();
        for name in self.names()? {
            let hash: Option<BlobHash> = name.parse().ok();
            let is_garbage = match &hash {
                Some(hash) => !referred.contains(hash),
                None => is_unfinished(&name),
            };
            if is_garbage && self.is_older(&name, now, age)? {
                self.delete(&name)?;
                removed.extend(hash);
            }
        }
        Ok(removed)
    }

    fn is_older(&self, name: &str, now: SystemTime, age: Duration) -> Result<bool, BlobError> {
        match fs::symlink_metadata(self.directory.join(name)).and_then(|found| found.modified()) {
            Ok(modified) => Ok(now.duration_since(modified).is_ok_and(|passed| passed >= age)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("look at", name)(error)),
        }
    }

    fn names(&self) -> Result<Vec<String>, BlobError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(self.failed("list", ""))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(self.failed("list", ""))?.file_name().into_string());
        }
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("remove", name)(error)),
            _ => Ok(()),
        }
    }

    fn renew(&self, hash: &BlobHash) -> Result<(), BlobError> {
        let touched = open_regular(&self.directory.join(hash.as_str())).and_then(|file| touch(&file));
        touched.map_err(self.failed("touch", hash.as_str()))
    }

    /// Waits for the lock, which is released when the file is closed.
    fn lock(&self) -> Result<File, BlobError> {
        let lock = self.open_lock()?;
        for _ in 0..LOCK_ATTEMPTS {
            if try_lock(&lock).map_err(self.failed("lock", LOCK))? {
                return Ok(lock);
            }
            thread::sleep(LOCK_PAUSE);
        }
        Err(BlobError::Locked { file: self.directory.join(LOCK) })
    }

    fn open_lock(&self) -> Result<File, BlobError> {
        make_private_directory(&self.directory).map_err(self.failed("make", ""))?;
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600).custom_flags(flags);
        options.open(self.directory.join(LOCK)).map_err(self.failed("open", LOCK))
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> BlobError + use<> {
        let (directory, file) = (self.directory.clone(), self.directory.join(name));
        move |error| BlobError::Io { action, file, source: with_room(error, &directory) }
    }
}

/// Adds what can be done about it.
fn with_room(error: io::Error, directory: &Path) -> io::Error {
    const INSTEAD: &str = "name another directory by `cluster.blobs` for all daemons";
    match error.kind() {
        kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            let place = directory.display();
            io::Error::new(kind, format!("{error}; make room on the file system of `{place}`, or {INSTEAD}"))
        }
        _ => with_remedy(error, directory, INSTEAD),
    }
}

fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(UNFINISHED).is_some_and(|hash| hash.parse::<BlobHash>().is_ok())
}

fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sets the file time to the present, by the clock of the file system.
fn touch(file: &File) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now })?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn store() -> (tempfile::TempDir, BlobStore) {
        let place = tempfile::tempdir().expect("a directory");
        let store = BlobStore::new(place.path().join("state/blobs"));
        (place, store)
    }

    fn put(store: &BlobStore, bytes: &[u8]) -> BlobHash {
        let hash = BlobHash::of(bytes);
        store.put(&hash, bytes).expect("it is put");
        hash
    }

    /// Has a file be as old as if it had been written so long ago.
    fn age(store: &BlobStore, name: &str, by: Duration) {
        let file = File::options().write(true).open(store.directory.join(name)).expect("it is there");
        let written = file.metadata().and_then(|found| found.modified()).expect("it has a time");
        file.set_modified(written - by).expect("it is ours");
    }

    #[test]
    fn a_blob_is_read_as_it_was_put_and_is_for_one_user() {
        let (_place, store) = store();
        assert_eq!(store.list().expect("it is empty"), []);
        let (a, b) = (put(&store, b"words"), put(&store, b""));
        assert_eq!(store.get(&a).expect("it is there"), b"words");
        assert_eq!(store.get(&b).expect("it is there"), b"");
        assert_eq!(put(&store, b"words"), a, "it may be put again");
        let mut both = vec![a.clone(), b.clone()];
        both.sort_unstable();
        assert_eq!(store.list().expect("it is read"), both);
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&store.directory.join(a.as_str())), 0o600);
        assert_eq!(mode(&store.directory), 0o700);
        store.remove(&a).expect("it is removed");
        store.remove(&a).expect("it is gone");
        assert!(matches!(store.get(&a), Err(BlobError::Missing { .. })));
    }

    #[test]
    fn bytes_of_another_hash_are_refused() {
        let (_place, store) = store();
        let refused = store.put(&BlobHash::of(b"a"), b"b");
        assert!(matches!(refused, Err(BlobError::OtherHash { .. })), "{refused:?}");
        assert_eq!(store.list().expect("it is empty"), []);
    }

    #[test]
    fn a_damaged_blob_is_an_error_until_it_is_put_again() {
        let (_place, store) = store();
        let hash = put(&store, b"words");
        for damaged in [&b"Words"[..], b"word", b""] {
            fs::write(store.directory.join(hash.as_str()), damaged).expect("it is ours");
            let found = store.get(&hash);
            assert!(matches!(found, Err(BlobError::Damaged { .. })), "{found:?}");
            assert!(store.keep(&hash).is_err());
        }
        File::create(store.directory.join(hash.as_str()))
            .and_then(|file| file.set_len(BLOB_MAX + 1))
            .expect("it is ours");
        assert!(matches!(store.get(&hash), Err(BlobError::Damaged { .. })));
        put(&store, b"words");
        assert_eq!(store.get(&hash).expect("it is replaced"), b"words");
    }

    #[test]
    fn what_a_dead_writer_has_left_is_no_blob_and_does_not_matter() {
        let (_place, store) = store();
        let hash = put(&store, b"words");
        store.remove(&hash).expect("it is removed");
        let unfinished = format!("{hash}{UNFINISHED}");
        fs::write(store.directory.join(&unfinished), "wor").expect("it is written");
        assert_eq!(store.list().expect("it is empty"), []);
        put(&store, b"words");
        assert!(!store.directory.join(&unfinished).exists());
        fs::write(store.directory.join(&unfinished), "wor").expect("it is written");
        store.sweep(&BTreeSet::new(), HOUR).expect("it is swept");
        assert!(store.directory.join(&unfinished).exists(), "its writer may be at it");
        age(&store, &unfinished, HOUR);
        store.sweep(&BTreeSet::new(), HOUR).expect("it is swept");
        assert!(!store.directory.join(&unfinished).exists());
    }

    #[test]
    fn only_what_is_old_and_not_referred_to_is_swept() {
        let (_place, store) = store();
        let blobs: Vec<BlobHash> = ["a", "b", "c", "d", "e"].map(|text| put(&store, text.as_bytes())).into();
        blobs[..4].iter().for_each(|blob| age(&store, blob.as_str(), HOUR));
        fs::write(store.directory.join("README"), "of a person").expect("it is written");
        age(&store, "README", HOUR);
        put(&store, b"b");
        store.keep(&blobs[2]).expect("it is there");
        let referred = BTreeSet::from([blobs[3].clone()]);
        assert_eq!(store.sweep(&referred, HOUR).expect("it is swept"), [blobs[0].clone()]);
        assert!(store.directory.join("README").exists());
        assert_eq!(store.sweep(&referred, HOUR).expect("it is swept"), []);
    }

    #[test]
    fn nothing_is_swept_while_somebody_is_at_it() {
        let (_place, store) = store();
        let blob = put(&store, b"a");
        age(&store, blob.as_str(), HOUR);
        let lock = store.lock().expect("it is free");
        assert_eq!(store.sweep(&BTreeSet::new(), HOUR).expect("it is not there"), []);
        drop(lock);
        assert_eq!(store.sweep(&BTreeSet::new(), HOUR).expect("it is swept"), [blob]);
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let (_place, store) = store();
        let error = store.failed("write", "e3b0")(rustix::io::Errno::NOSPC.into()).to_string();
        assert!(error.contains("No space left on device") && error.contains("make room"), "{error}");
        assert!(error.contains("`cluster.blobs`"), "{error}");
    }

    #[test]
    fn a_place_that_is_no_directory_is_named() {
        let place = tempfile::tempdir().expect("a directory");
        fs::write(place.path().join("blobs"), "").expect("it is written");
        let store = BlobStore::new(place.path().join("blobs"));
        let error = store.put(&BlobHash::of(b""), b"").expect_err("it is a file").to_string();
        assert!(error.contains("blobs`") && error.contains("cluster.blobs"), "{error}");
    }
}
