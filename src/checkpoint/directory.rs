//! A directory in which checkpoints are kept.
//!
//! 1. One start of a topology has the directory: its process, or its master, holds a lock on the file `LOCK`, whose
//!    text states who it is. The kernel releases the lock when the process ends, however it ends. The file stays, so
//!    that two processes never lock two files of this name. Workers hold a shared lock on the file `WORKERS` as long
//!    as they live. The next start waits for these locks, so that nothing of an earlier start writes any more when a
//!    new one begins: a process that was killed may still be in a call of the kernel that writes.
//! 2. A file that is written is always a new one. So nothing that exists is changed, and a symbolic link that
//!    somebody put in place of a file is an error, for reading, too (`entries`). The directory itself may be one.
//! 3. What is durable is synced, and so is the directory that has its name. After a failed sync the file is given
//!    up, because the kernel may forget that it could not write something.
//!
//! The file `RUN` names the run of a cluster that has begun here: its later masters go on from the latest checkpoint.
//!
//! Each file that is appended to has an open descriptor until it is sealed or deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::checkpoint::entries::{
    DirectoryFiles, explain_link, location_of, names, open_directory, read_file,
};
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::storage::{CheckpointFiles, CheckpointStorage, LogStorage};
use crate::clock::Clock;
use crate::files::{create_new, is_regular, publish, read_regular};
use crate::text::shown;

/// The file that is locked.
const LOCK: &str = "LOCK";
/// The file that workers lock.
const WORKERS: &str = "WORKERS";
/// The file that states which run of a cluster has begun here.
const RUN: &str = "RUN";
/// The file of a savepoint that states who wanted it.
const WISH: &str = "WISH";
/// Bytes of the longest name of a run that is read.
const RUN_MAX: u64 = 16 << 10;
/// How long a start waits for the workers of an earlier one, which die with their master.
const WORKERS_WAIT: Duration = Duration::from_secs(10);
const WORKERS_LOOK_PERIOD: Duration = Duration::from_millis(5);
/// Bytes of a holder's text that are read.
const HOLDER_MAX: u64 = 512;
/// Ends the name of a file that will be renamed to what stands before.
const UNFINISHED: &str = ".squall-tmp";
/// How often a directory is made anew because somebody else has just removed it.
const ATTEMPTS_MAX: usize = 100;

/// Keeps checkpoints in a directory, which this process has for itself.
///
/// # Examples
/// ```
/// use squall::checkpoint::{CheckpointError, CheckpointStore, DirectoryStorage};
///
/// # let place = tempfile::tempdir().expect("a directory");
/// # let path = place.path().join("orders");
/// let storage = DirectoryStorage::open(&path, "pid 4711 on host1")?;
/// let refused = DirectoryStorage::open(&path, "pid 4712 on host1");
/// assert!(refused.is_err_and(|error| error.to_string().contains("in use by pid 4711 on host1")));
///
/// let mut store = CheckpointStore::open(Box::new(storage), "orders", 2)?;
/// assert_eq!(store.begin_epoch()?, 1);
/// # Ok::<(), CheckpointError>(())
/// ```
#[derive(Debug)]
pub struct DirectoryStorage {
    path: PathBuf,
    directory: Arc<OwnedFd>,
    /// Files that are appended to.
    begun: HashMap<String, File>,
    /// Those of them whose names are durable.
    named: HashSet<String>,
    /// The directories that were made for it, as long as nothing was written: the outermost first.
    made: Vec<PathBuf>,
    /// The lock is held as long as this is open.
    _lock: File,
}

impl DirectoryStorage {
    /// Opens a directory, and makes it if it is not there, with access for its owner only. `holder` states who has
    /// it, for the message to whoever else wants it. If nothing is written to a directory that was made, it is taken away
    /// again.
    ///
    /// # Errors
    /// [`CheckpointError::Held`] when another process has it, [`CheckpointError::Open`] and [`CheckpointError::Io`]
    /// when it cannot be made, read or locked.
    pub fn open(path: impl AsRef<Path>, holder: &str) -> Result<DirectoryStorage, CheckpointError> {
        DirectoryStorage::open_with(path.as_ref(), holder, true)
    }

    /// Opens a directory for a master whose workers may live: they were started under the master before it, and go on
    /// under this one. Otherwise as [`open`](DirectoryStorage::open).
    ///
    /// # Errors
    /// As there, but workers that live are none.
    pub fn take_over(path: impl AsRef<Path>, holder: &str) -> Result<DirectoryStorage, CheckpointError> {
        DirectoryStorage::open_with(path.as_ref(), holder, false)
    }

    fn open_with(
        path: &Path,
        holder: &str,
        waits_for_workers: bool,
    ) -> Result<DirectoryStorage, CheckpointError> {
        let location = location_of(path);
        let failed = |action, file: &str| {
            let (file, location) = (file.to_owned(), location.clone());
            move |source| CheckpointError::Io { action, file, location, source }
        };
        let mut attempts = ATTEMPTS_MAX;
        let (made, directory, lock) = loop {
            let opened = make_directory(path).and_then(|made| Ok((made, open_directory(path)?)));
            let (made, directory) = match opened {
                Err(error) if error.kind() == ErrorKind::NotFound && attempts > 0 => {
                    attempts -= 1;
                    continue;
                }
                Err(source) => return Err(CheckpointError::Open { location, source }),
                Ok(opened) => opened,
            };
            match lock(&directory, holder).map_err(failed("lock", LOCK))? {
                Lock::Ours(lock) => break (made, directory, lock),
                Lock::Gone if attempts > 0 => attempts -= 1,
                Lock::Gone => {
                    let holder = "processes that make and remove it".to_owned();
                    return Err(CheckpointError::Held { location, holder });
                }
                Lock::Held { holder } => return Err(CheckpointError::Held { location, holder }),
            }
        };
        if waits_for_workers && !wait_for_workers(&directory).map_err(failed("lock", WORKERS))? {
            let holder = "workers of an earlier run, which have not ended".to_owned();
            return Err(CheckpointError::Held { location, holder });
        }
        remove_unfinished(&directory).map_err(failed("delete", "*.squall-tmp"))?;
        Ok(DirectoryStorage {
            path: path.to_owned(),
            directory: Arc::new(directory),
            begun: HashMap::new(),
            named: HashSet::new(),
            made,
            _lock: lock,
        })
    }

    /// Opens a directory for a worker of a topology whose master has it: it is there, and locked.
    ///
    /// # Errors
    /// [`CheckpointError::Open`] when it cannot be opened, [`CheckpointError::Io`] when it cannot be locked.
    pub fn join(path: impl AsRef<Path>) -> Result<DirectoryStorage, CheckpointError> {
        let path = path.as_ref().to_owned();
        let location = location_of(&path);
        let directory = open_directory(&path)
            .map_err(|source| CheckpointError::Open { location: location.clone(), source })?;
        let locked = open_lock(&directory, WORKERS).and_then(|file| {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)?;
            Ok(file)
        });
        let failed =
            |source| CheckpointError::Io { action: "lock", file: WORKERS.to_owned(), location, source };
        let lock = locked.map_err(failed)?;
        let directory = Arc::new(directory);
        let (begun, named, made) = (HashMap::new(), HashSet::new(), Vec::new());
        Ok(DirectoryStorage { path, directory, begun, named, made, _lock: lock })
    }

    /// Makes the names in the directory durable.
    fn sync_names(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }
}

impl CheckpointStorage for DirectoryStorage {
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.made.clear();
        let file = match self.begun.get_mut(name) {
            Some(file) => file,
            None => {
                let file = create_new(&self.directory, name)?;
                self.begun.entry(name.to_owned()).or_insert(file)
            }
        };
        let written = file.write_all(bytes);
        if written.is_err() {
            self.abandon(name);
        }
        written
    }

    fn seal(&mut self, name: &str) -> io::Result<()> {
        self.named.remove(name);
        let Some(file) = self.begun.remove(name) else {
            return Err(not_begun());
        };
        file.sync_all()?;
        self.sync_names()
    }

    fn abandon(&mut self, name: &str) {
        self.named.remove(name);
        self.begun.remove(name);
    }

    fn publish(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.made.clear();
        publish(&*self.directory, &format!("{name}{UNFINISHED}"), name, bytes)
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        read_file(&self.directory, name, limit)
    }

    fn files(&self) -> Arc<dyn CheckpointFiles> {
        Arc::new(DirectoryFiles(Arc::clone(&self.directory)))
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let is_ours =
            |name: &String| ![LOCK, WORKERS, RUN, WISH].contains(&&**name) && !name.ends_with(UNFINISHED);
        Ok(names(&self.directory)?.into_iter().filter(is_ours).collect())
    }

    fn delete(&mut self, names: &[String]) -> io::Result<()> {
        let mut first_error = None;
        for name in names {
            self.abandon(name);
            match rustix::fs::unlinkat(&self.directory, &**name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        self.sync_names()?;
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }

    fn location(&self) -> String {
        location_of(&self.path)
    }
}

impl LogStorage for DirectoryStorage {
    fn sync(&mut self, name: &str) -> io::Result<()> {
        let Some(file) = self.begun.get(name) else {
            return Err(not_begun());
        };
        let is_named = self.named.contains(name);
        let synced = file.sync_data().and_then(|()| if is_named { Ok(()) } else { self.sync_names() });
        match &synced {
            Ok(()) if is_named => {}
            Ok(()) => _ = self.named.insert(name.to_owned()),
            Err(_) => self.abandon(name),
        }
        synced
    }
}

/// What was refused before anything was written leaves nothing behind.
impl Drop for DirectoryStorage {
    fn drop(&mut self) {
        let is_lock = |name: &String| name == LOCK || name == WORKERS;
        if self.made.is_empty() || !names(&self.directory).is_ok_and(|names| names.iter().all(is_lock)) {
            return;
        }
        for name in [LOCK, WORKERS] {
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
        // One that somebody has put something into stays, and those above it.
        let _ = self.made.iter().rev().try_for_each(fs::remove_dir);
    }
}

/// The run of a cluster that has begun in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunInDirectory {
    /// Its name.
    pub run: String,
    /// The epoch with which it has begun.
    pub begun: u64,
    /// The generations that leave something behind, each with the epoch with which it has begun.
    pub generations: BTreeMap<u64, u64>,
}

impl RunInDirectory {
    fn parse(text: &str) -> Option<RunInDirectory> {
        let mut lines = text.lines();
        let (run, begun) = lines.next()?.split_once(' ')?;
        let generation = |line: &str| {
            let (generation, epoch) = line.split_once(' ')?;
            Some((generation.parse().ok()?, epoch.parse().ok()?))
        };
        let generations = lines.map(generation).collect::<Option<_>>()?;
        Some(RunInDirectory { run: run.to_owned(), begun: begun.parse().ok()?, generations })
    }
}

impl fmt::Display for RunInDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.run, self.begun)?;
        self.generations.iter().try_for_each(|(generation, epoch)| writeln!(f, "{generation} {epoch}"))
    }
}

/// The run of a cluster that has begun in a directory, if one has.
///
/// # Errors
/// When that cannot be read.
pub(crate) fn run_in(path: &Path) -> Result<Option<RunInDirectory>, CheckpointError> {
    match read_regular(&path.join(RUN), RUN_MAX) {
        Ok(bytes) => {
            let run = RunInDirectory::parse(&String::from_utf8_lossy(&bytes));
            let damaged = || io::Error::new(ErrorKind::InvalidData, "it is no name of a run with epochs");
            run.map(Some).ok_or_else(|| run_failed("read", path, damaged()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(run_failed("read", path, source)),
    }
}

/// Makes room for a savepoint in a directory, for a wish of this name. If an earlier attempt at the same wish has written
/// there, that is deleted: whoever made it did not report it.
///
/// # Errors
/// When something else is there, or it cannot be written.
pub(crate) fn make_room_for_savepoint(path: &Path, wish: &str) -> Result<(), CheckpointError> {
    let mut target = DirectoryStorage::open(path, "a topology that takes a savepoint")?;
    let location = target.location();
    let failed = |action, file: &str| {
        let (file, location) = (file.to_owned(), location.clone());
        move |source| CheckpointError::Io { action, file, location, source }
    };
    let names = target.list().map_err(failed("list", "*"))?;
    let is_ours = match read_regular(&path.join(WISH), RUN_MAX) {
        Ok(bytes) => bytes == wish.as_bytes(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(source) => return Err(failed("read", WISH)(source)),
    };
    match (names.is_empty(), is_ours) {
        (true, true) => Ok(()),
        (true, false) => {
            CheckpointStorage::publish(&mut target, WISH, wish.as_bytes()).map_err(failed("write", WISH))
        }
        (false, true) => CheckpointStorage::delete(&mut target, &names).map_err(failed("delete", "*")),
        (false, false) => Err(CheckpointError::NotEmpty { location }),
    }
}

/// Keeps which run of a cluster has begun in a directory, with which epoch. Whoever calls this has the directory.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn keep_run_in(path: &Path, run: &RunInDirectory) -> Result<(), CheckpointError> {
    let text = run.to_string();
    let written = open_directory(path)
        .and_then(|directory| publish(&directory, &format!("{RUN}{UNFINISHED}"), RUN, text.as_bytes()));
    written.map_err(|source| run_failed("write", path, source))
}

fn run_failed(action: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { action, file: RUN.to_owned(), location: location_of(path), source }
}

/// Makes a directory and those above it, and makes it durable that they are there. Returns those that it made, the
/// outermost first.
fn make_directory(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    let missing: Vec<&Path> =
        path.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.exists()).collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
            Ok(()) => made.push(directory.to_owned()),
        }
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(made)
}

fn not_begun() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "it was not begun, or an earlier call failed")
}

/// What became of the attempt to lock a directory.
enum Lock {
    Ours(File),
    Held {
        holder: String,
    },
    /// Whoever had it has removed the directory, into which nothing was written.
    Gone,
}

/// Opens a file to be locked, and makes it if it is not there.
fn open_lock(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600));
    let file: File = opened.map_err(explain_link)?.into();
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Waits until no worker of an earlier start lives. Returns whether none does.
fn wait_for_workers(directory: &OwnedFd) -> io::Result<bool> {
    let file = open_lock(directory, WORKERS)?;
    let clock = Clock::real();
    let deadline = clock.now().after(WORKERS_WAIT);
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if clock.now() < deadline => thread::sleep(WORKERS_LOOK_PERIOD),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn lock(directory: &OwnedFd, holder: &str) -> io::Result<Lock> {
    let mut file = match open_lock(directory, LOCK) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Lock::Gone),
        opened => opened?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Somebody else would make another file of this name, and lock that.
        Ok(()) if file.metadata()?.nlink() == 0 => Ok(Lock::Gone),
        Ok(()) => {
            file.set_len(0)?;
            file.write_all(holder.as_bytes())?;
            Ok(Lock::Ours(file))
        }
        Err(Errno::WOULDBLOCK) => {
            let mut text = Vec::new();
            file.take(HOLDER_MAX).read_to_end(&mut text)?;
            let text = shown(String::from_utf8_lossy(&text).trim());
            // The holder locks first, and writes then.
            let holder = if text.is_empty() { "another process".to_owned() } else { text };
            Ok(Lock::Held { holder })
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes publications that were not finished. Nobody else can be at them, because of the lock.
fn remove_unfinished(directory: &OwnedFd) -> io::Result<()> {
    for name in names(directory)?.iter().filter(|name| name.ends_with(UNFINISHED)) {
        if is_regular(directory, name)? {
            rustix::fs::unlinkat(directory, &**name, AtFlags::empty())?;
        }
    }
    Ok(())
}
