//! Which process has a private directory: at most one at a time.
//!
//! A process that a supervisor starts takes an `fcntl` lock on the file `lock` of its directory before it reads anything
//! there, and keeps it for its life. The kernel knows who holds such a lock and gives it up when the process is gone,
//! however it ends. So a supervisor that was killed between the start of a process and anything that it could have
//! written finds that process again by asking the kernel: no number of a process is kept that could be that of another
//! one by then.
//!
//! 1. Of two processes for one directory, one gets the lock and the other ends at once.
//! 2. A directory is taken before it is removed ([`Occupancy::take`]), so no process gets it meanwhile. A process that
//!    had opened the file before finds out that it is not the one of that path any more, and ends.
//! 3. Such a lock belongs to the process, not to a descriptor: children do not inherit it, and it is lost when the
//!    process closes the file. So each process takes one directory once, and opens `lock` in no other way.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid, PidfdFlags, fcntl_getlk, pidfd_open};

/// The file of a private directory whose lock its process holds. Its number stands in it, for people.
pub const LOCK_FILE: &str = "lock";

/// How often it is asked who holds a lock while that changes.
const ASKS_MAX: usize = 16;

/// Why a directory was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OccupancyError {
    /// Another process has it.
    #[error(
        "another process has the directory `{}`{}: there is nothing to do here",
        directory.display(),
        pid.map(|pid| format!(" (its number is {pid})")).unwrap_or_default()
    )]
    Taken {
        /// The directory.
        directory: PathBuf,
        /// The process, if it was still there when asked.
        pid: Option<u32>,
    },
    /// It was removed, or is not there.
    #[error("the directory `{}` is gone: the supervisor has removed it", .0.display())]
    Gone(PathBuf),
    /// The system refuses.
    #[error("cannot take the directory `{}`", directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// A private directory that this process has. Dropping it gives the directory up.
#[derive(Debug)]
#[must_use]
pub struct Occupancy {
    _file: File,
}

impl Occupancy {
    /// Takes a directory for this process. Does not wait.
    ///
    /// # Errors
    /// When another process has it, it is gone, or the system refuses.
    pub fn take(directory: &Path) -> Result<Occupancy, OccupancyError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(directory.join(LOCK_FILE));
        Occupancy::take_by(file.map_err(|error| refused(directory, error))?, directory)
    }

    /// Takes a directory whose file was opened.
    fn take_by(mut file: File, directory: &Path) -> Result<Occupancy, OccupancyError> {
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let pid = holder(&file).ok().flatten().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
                return Err(OccupancyError::Taken { directory: directory.to_owned(), pid });
            }
            Err(error) => return Err(refused(directory, error.into())),
        }
        let is_that_of_the_path = || {
            let (locked, there) = (file.metadata()?, directory.join(LOCK_FILE).metadata()?);
            Ok((locked.dev(), locked.ino()) == (there.dev(), there.ino()))
        };
        match is_that_of_the_path() {
            Ok(true) => {}
            Ok(false) => return Err(OccupancyError::Gone(directory.to_owned())),
            Err(error) => return Err(refused(directory, error)),
        }
        let number = file.set_len(0).and_then(|()| file.rewind());
        number
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| refused(directory, error))?;
        Ok(Occupancy { _file: file })
    }
}

fn refused(directory: &Path, source: io::Error) -> OccupancyError {
    match source.kind() {
        io::ErrorKind::NotFound => OccupancyError::Gone(directory.to_owned()),
        _ => OccupancyError::Io { directory: directory.to_owned(), source },
    }
}

/// The process that has a directory.
#[derive(Debug)]
pub struct Occupant {
    /// Its number.
    pub pid: u32,
    /// It. Readable once it has ended.
    pub pidfd: OwnedFd,
}

/// The process that has a directory; `None`: no other process than this one.
///
/// # Errors
/// When the system refuses.
pub fn occupant_of(directory: &Path) -> io::Result<Option<Occupant>> {
    let file = match File::open(directory.join(LOCK_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    for _ in 0..ASKS_MAX {
        let Some(pid) = holder(&file)? else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            // It has just ended.
            Err(Errno::SRCH) => continue,
            pidfd => pidfd?,
        };
        // Still the holder, so the number belongs to it, and to no later process of that number.
        if holder(&file)? == Some(pid) {
            return Ok(Some(Occupant { pid: pid.as_raw_nonzero().get().unsigned_abs(), pidfd }));
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "processes take it and give it up again and again"))
}

/// Which other process holds the lock of this file.
fn holder(file: &File) -> io::Result<Option<Pid>> {
    match fcntl_getlk(file, &Flock::from(FlockType::WriteLock))? {
        None => Ok(None),
        Some(Flock { pid: Some(pid), .. }) => Ok(Some(pid)),
        Some(_) => Err(io::Error::other("a process of another process namespace holds its lock")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// The directory that [`a_process_for_other_tests`] takes.
    const DIRECTORY: &str = "SQUALL_TEST_OCCUPIES";

    /// Does nothing by itself. Others start this test in a process of its own, because a lock does not stand between a
    /// process and itself.
    #[test]
    fn a_process_for_other_tests() {
        let Some(directory) = std::env::var_os(DIRECTORY) else { return };
        let occupancy = Occupancy::take(Path::new(&directory));
        println!("\ntaken: {}", occupancy.is_ok());
        // Until the other side is gone.
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    /// A process that tries to take a directory, and whether it has.
    fn start(directory: &Path) -> (Child, bool) {
        let mut command = Command::new(std::env::current_exe().expect("it runs"));
        let name = "cluster::topologies::occupancy::tests::a_process_for_other_tests";
        command.args(["--exact", name, "--nocapture"]).env(DIRECTORY, directory);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let said = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("taken: ")? == "true"));
        (child, said.expect("it says so"))
    }

    fn end(mut child: Child) {
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    #[test]
    fn one_process_has_a_directory_until_it_is_killed() {
        let directory = tempfile::tempdir().expect("a directory");
        let occupant = || occupant_of(directory.path()).expect("it can be asked");
        assert!(occupant().is_none(), "nobody was there");
        let (first, has_it) = start(directory.path());
        assert!(has_it);
        let (second, has_it) = start(directory.path());
        assert!(!has_it);
        assert_eq!(occupant().expect("it lives").pid, first.id());
        let refused = Occupancy::take(directory.path()).expect_err("it is taken").to_string();
        assert!(refused.contains(&format!("its number is {}", first.id())), "{refused}");
        end(second);
        assert!(occupant().is_some(), "what failed to take it has changed nothing");
        end(first);
        assert!(occupant().is_none(), "it was given up");
        let (third, has_it) = start(directory.path());
        assert!(has_it);
        end(third);
    }

    #[test]
    fn a_directory_that_is_taken_here_is_taken_for_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let occupancy = Occupancy::take(directory.path()).expect("nobody has it");
        let (child, has_it) = start(directory.path());
        assert!(!has_it);
        end(child);
        drop(occupancy);
        let (child, has_it) = start(directory.path());
        assert!(has_it);
        end(child);
    }

    #[test]
    fn a_directory_that_was_removed_and_made_again_is_not_taken_by_its_old_file() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join("worker-0");
        std::fs::create_dir(&directory).expect("it can be made");
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).open(directory.join(LOCK_FILE))
        };
        let (first, second) = (open().expect("it is made"), open().expect("it is there"));
        std::fs::remove_dir_all(&directory).expect("it can be removed");
        assert!(matches!(Occupancy::take_by(first, &directory), Err(OccupancyError::Gone(_))));
        std::fs::create_dir(&directory).expect("it can be made");
        let occupancy = Occupancy::take(&directory).expect("nobody has it");
        assert!(matches!(Occupancy::take_by(second, &directory), Err(OccupancyError::Gone(_))));
        drop(occupancy);
    }

    #[test]
    fn a_directory_that_is_not_there_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let there = directory.path().join("not-there");
        assert!(matches!(Occupancy::take(&there), Err(OccupancyError::Gone(_))));
        assert!(occupant_of(&there).expect("it can be asked").is_none());
    }
}
