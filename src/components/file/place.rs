//! Where the path of a `file` bolt leads: to files of squall's own, or to a stream.
//!
//! A *stream* is written in place and never renamed: a device, a pipe, and a descriptor of this
//! process by one of its names (`/dev/stdout`, `/dev/stderr`, `/dev/fd/N`, `/proc/self/fd/N`, or a
//! symbolic link to one), whatever that leads to. A descriptor is copied and not opened anew: a file
//! that the shell opened goes on where it stands, next to what others write to it.
//!
//! All tasks of a bolt write to the same stream, unless its path has `{task}`.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::api::{TaskContext, TaskError};
use crate::components::file::path::PathTemplate;
use crate::components::stream::Stream;

/// Symbolic links that are followed, as by the kernel.
const LINKS_MAX: usize = 40;
/// The bit of `FD_CLOEXEC` in `/proc/self/fdinfo/N`.
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To files that squall makes.
    Files,
    /// To a descriptor of this process.
    Descriptor(u32),
    /// To a device, a pipe or a socket.
    Special(PathBuf),
}

impl Place {
    /// Where a path without placeholders leads now.
    pub(super) fn of(path: &str) -> Place {
        let path = Path::new(path);
        if let Some(number) = named_descriptor(path).or_else(|| linked_descriptor(path)) {
            return Place::Descriptor(number);
        }
        match fs::metadata(path) {
            Ok(found) if !found.is_file() && !found.is_dir() => Place::Special(path.to_owned()),
            _ => Place::Files,
        }
    }

    /// Exactly once: the names of a task's files, which end in this until they are published.
    ///
    /// # Errors
    /// When the path leads to a stream: fatal.
    pub(super) fn files_of(
        path: &str,
        context: &TaskContext,
        unpublished: &'static str,
    ) -> Result<PathTemplate, TaskError> {
        let (task, tasks) = (context.task_index(), context.parallelism());
        match PathTemplate::of_stream(path, task).as_deref().map_or(Place::Files, Place::of) {
            Place::Files => Ok(PathTemplate::for_task(path, task, tasks).ending_in(unpublished)),
            Place::Descriptor(_) | Place::Special(_) => Err(TaskError::fatal(format!(
                "cannot write `{path}` with `delivery = \"exactly-once\"`: what was written to a stream, a device or a pipe \
                 cannot be taken back; name a file, or use `print`, which may show rows again"
            ))),
        }
    }

    /// Opens the stream; `None` for files.
    ///
    /// # Errors
    /// When it cannot be written to. A pipe that nobody reads is an error, so that its writer does
    /// not wait in a call that nothing ends.
    pub(super) fn open(&self) -> io::Result<Option<Stream>> {
        match self {
            Place::Files => Ok(None),
            Place::Descriptor(1) => Ok(Some(Stream::stdout())),
            Place::Descriptor(2) => Ok(Some(Stream::stderr())),
            Place::Descriptor(number) => inherited(*number).map(Some),
            Place::Special(path) => open_special(path).map(Some),
        }
    }
}

/// The descriptor that a path names by itself.
fn named_descriptor(path: &Path) -> Option<u32> {
    match path.to_str()? {
        "/dev/stdin" => Some(0),
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        path => {
            let number = ["/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"]
                .iter()
                .find_map(|directory| path.strip_prefix(directory))?;
            number.parse().ok()
        }
    }
}

/// The descriptor that a path leads to by symbolic links.
fn linked_descriptor(path: &Path) -> Option<u32> {
    let own = format!("/proc/{}", process::id());
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let parent = match path.parent()? {
            here if here.as_os_str().is_empty() => Path::new("."),
            parent => parent,
        };
        let (parent, name) = (fs::canonicalize(parent).ok()?, path.file_name()?.to_owned());
        // `/proc/self/fd`, or `/proc/self/task/N/fd`.
        if parent.starts_with(&own) && parent.file_name().is_some_and(|directory| directory == "fd") {
            return name.to_str()?.parse().ok();
        }
        let target = fs::read_link(parent.join(&name)).ok()?;
        path = parent.join(target);
        if let Some(number) = named_descriptor(&path) {
            return Some(number);
        }
    }
    None
}

/// A copy of a descriptor that this process was started with. Those that squall opened itself are
/// close-on-exec, and those that it was started with cannot be.
fn inherited(number: u32) -> io::Result<Stream> {
    let refused = |why: &str| io::Error::new(ErrorKind::InvalidInput, why.to_owned());
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))
        .map_err(|_| refused("squall was not started with this descriptor open"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    if flags.is_none_or(|flags| flags & CLOSE_ON_EXEC != 0) {
        return Err(refused("squall was not started with this descriptor open"));
    }
    let number_here = i32::try_from(number).map_err(|_| refused("there is no such descriptor"))?;
    let copy = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|this| pidfd_getfd(this, number_here, PidfdGetfdFlags::empty()));
    match copy {
        Ok(copy) => Ok(Stream::of(copy)),
        // Not allowed, or an old kernel: a descriptor of its own, at the end of the same file.
        Err(_) => open_special(Path::new(&format!("/proc/self/fd/{number}"))),
    }
}

fn open_special(path: &Path) -> io::Result<Stream> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => Ok(Stream::of(descriptor)),
        Err(Errno::NXIO) if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) => {
            Err(io::Error::new(ErrorKind::WouldBlock, "nobody reads this pipe yet"))
        }
        Err(Errno::NXIO) => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is a socket, or a device that is not there; name a file, a pipe or a device",
        )),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn descriptors_go_by_many_names() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let check = |path: &str, expected: Place| assert_eq!(Place::of(path), expected, "{path}");
        check("/dev/stdout", Place::Descriptor(1));
        check("/dev/stderr", Place::Descriptor(2));
        check("/dev/fd/17", Place::Descriptor(17));
        check("/proc/self/fd/2", Place::Descriptor(2));
        check("/dev/../dev/stdout", Place::Descriptor(1));
        check(&format!("/proc/{}/fd/2", process::id()), Place::Descriptor(2));
        check("/dev/null", Place::Special("/dev/null".into()));
        check("/dev/nothing/of/the/kind", Place::Files);
        check("rows.csv", Place::Files);
        let link = dir.path().join("link");
        symlink("/dev/stdout", &link).expect("it can be made");
        check(&link.to_string_lossy(), Place::Descriptor(1));
        let looped = dir.path().join("looped");
        symlink(&looped, &looped).expect("it can be made");
        check(&looped.to_string_lossy(), Place::Files);
    }

    #[test]
    fn only_descriptors_that_squall_was_given_are_written_to() {
        let file = tempfile::tempfile().expect("a file");
        let number = std::os::fd::AsRawFd::as_raw_fd(&file) as u32;
        let refused = Place::Descriptor(number).open().expect_err("it is one of our own");
        assert!(refused.to_string().contains("not started with"), "{refused}");
        assert!(Place::Descriptor(1_000_000).open().is_err());
    }
}
