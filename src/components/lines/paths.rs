//! Paths and patterns to files.
//!
//! * A text that is the name of an existing file means that file, whatever characters it has;
//!   otherwise it is a pattern, if it has one of `*`, `?`, `[`.
//! * Names need not be UTF-8: a pattern is matched against a name with U+FFFD in the place of what
//!   is not, and the name itself stays as it is. (The walk of the `glob` crate skips such names.)
//! * A directory that cannot be read is reported, never skipped silently.
//! * `**` does not descend into symbolic links, so it ends.

use std::fmt;
use std::fs::{self, DirEntry, FileType, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use glob::Pattern;
use serde::{Deserialize, Serialize};

use crate::api::TaskError;

/// Which file it is, whatever its name: device, inode, and where the file system knows it the time
/// of birth, because an inode is used again after its file was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct FileId {
    device: u64,
    pub(super) inode: u64,
    born: Option<SystemTime>,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino(), born: metadata.created().ok() }
    }

    /// Whether it can be the same file on a device that has another number now.
    pub(super) fn is_on_renumbered(&self, other: &FileId) -> bool {
        self.born.is_some() && (self.inode, self.born) == (other.inode, other.born)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)?;
        match self.born.and_then(|born| born.duration_since(UNIX_EPOCH).ok()) {
            Some(born) => write!(f, ":{}", born.as_nanos()),
            None => Ok(()),
        }
    }
}

/// A descriptor of the process that a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    StandardInput,
    Other(u32),
}

/// The descriptor that a path means, if it is a name for one: `-`, `/dev/stdin`, `/dev/fd/3`,
/// `/proc/self/fd/3`.
pub(super) fn descriptor(path: &str) -> Option<Descriptor> {
    if path == "-" {
        return Some(Descriptor::StandardInput);
    }
    // `components` drops repeated slashes and single dots.
    let parts: Vec<&str> = Path::new(path).components().filter_map(text_of).collect();
    let number = match parts.as_slice() {
        ["/", "dev", "stdin"] => "0",
        ["/", "dev", "fd", number] => number,
        ["/", "proc", "self" | "thread-self", "fd", number] => number,
        _ => return None,
    };
    number.parse().ok().map(|number| match number {
        0 => Descriptor::StandardInput,
        _ => Descriptor::Other(number),
    })
}

fn text_of(component: Component<'_>) -> Option<&str> {
    component.as_os_str().to_str()
}

/// Whether a path is of something that can be read once: a descriptor, a pipe, a device.
pub(super) fn is_read_once(path: &str) -> bool {
    descriptor(path).is_some() || fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Whether a path means standard input.
pub(super) fn is_standard_input(path: &str) -> bool {
    descriptor(path) == Some(Descriptor::StandardInput)
}

/// Checks that a text can be a path or a pattern; the error states what is wrong with it.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("is empty".to_owned());
    }
    match Pattern::new(pattern) {
        Ok(_) => Ok(()),
        Err(_) if exists(Path::new(pattern)) => Ok(()),
        Err(error) => Err(format!(
            "`{pattern}` is no file, and no valid pattern: {error}; in a pattern, write a special \
             character in brackets, as in `[[]`"
        )),
    }
}

/// What a pattern came to.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The files by name, directories left out; a link that leads nowhere is one of them.
    pub(super) files: Vec<PathBuf>,
    /// Directories that could not be read; the working directory is the empty path.
    pub(super) unread: Vec<(PathBuf, io::Error)>,
}

/// What a path or a pattern means now.
pub(super) fn list(pattern: &str) -> Listing {
    let mut listing = Listing::default();
    let path = Path::new(pattern);
    if exists(path) {
        listing.add(path);
    } else if is_pattern(pattern) {
        let parts = parts_of(pattern);
        let root = if pattern.starts_with('/') { Path::new("/") } else { Path::new("") };
        walk(root, &parts, &mut listing);
    }
    listing
}

/// The same, for files that must be there at the start.
///
/// # Errors
/// When there is no such file, or when it is a directory: fatal. When the process lacks what a look
/// takes: to be tried again.
pub(super) fn list_existing(pattern: &str) -> Result<Listing, TaskError> {
    refuse_directory(pattern)?;
    let listing = list(pattern);
    if !listing.files.is_empty() {
        return Ok(listing);
    }
    match listing.unread.first() {
        Some((_, error)) if is_shortage(error) => {
            Err(TaskError::new(format!("cannot look for `{pattern}`: {error}")))
        }
        Some((directory, error)) => Err(TaskError::fatal(format!(
            "no file matches `{pattern}`: cannot read the directory `{}`: {error}",
            shown(directory)
        ))),
        None if is_pattern(pattern) => Err(TaskError::fatal(format!(
            "no file matches `{pattern}`; to wait for files that come later, set follow = true"
        ))),
        None => Err(TaskError::fatal(format!(
            "there is no file `{pattern}`; to wait for a file that comes later, set follow = true"
        ))),
    }
}

/// A path as errors and the field `file` show it.
pub(super) fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.to_string_lossy().into_owned() }
}

/// Refuses a path that is a directory.
///
/// # Errors
/// Fatal: nothing can be read from it.
pub(super) fn refuse_directory(pattern: &str) -> Result<(), TaskError> {
    if Path::new(pattern).is_dir() {
        let why = format!("`{pattern}` is a directory; write `{pattern}/*` for the files in it");
        return Err(TaskError::fatal(why));
    }
    Ok(())
}

/// Whether an error means that the process or the machine is short of something now: waiting helps.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS];
    error.raw_os_error().is_some_and(|code| shortages.iter().any(|errno| errno.raw_os_error() == code))
}

/// Also true for a link that leads nowhere.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[']) && Pattern::new(text).is_ok()
}

/// One part of a pattern between slashes.
enum Part {
    Name(String),
    Matching(Pattern),
    /// `**`: this directory and all below it.
    Below,
}

fn parts_of(pattern: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = pattern.split('/').filter(|part| !part.is_empty()).map(part_of).collect();
    // Directories are not read, so `logs/**` can only mean the files below.
    if let Some(Part::Below) = parts.last() {
        parts.push(part_of("*"));
    }
    parts
}

fn part_of(text: &str) -> Part {
    if text == "**" {
        return Part::Below;
    }
    match Pattern::new(text) {
        Ok(pattern) if text.contains(['*', '?', '[']) => Part::Matching(pattern),
        _ => Part::Name(text.to_owned()),
    }
}

fn walk(at: &Path, parts: &[Part], listing: &mut Listing) {
    let Some((part, rest)) = parts.split_first() else { return listing.add(at) };
    match part {
        Part::Name(name) => {
            let path = at.join(name);
            if exists(&path) {
                step_into(&path, rest, listing);
            }
        }
        Part::Matching(pattern) => {
            for entry in listing.entries(at) {
                let name = entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                match pattern.matches(&name) {
                    // The entry has the kind of the file, so the file itself is not examined.
                    true if rest.is_empty() && entry.is_file() => listing.files.push(entry.path),
                    true => step_into(&entry.path, rest, listing),
                    false => {}
                }
            }
        }
        Part::Below => {
            walk(at, rest, listing);
            for entry in listing.entries(at).into_iter().filter(Entry::is_directory) {
                walk(&entry.path, parts, listing);
            }
        }
    }
}

fn step_into(path: &Path, rest: &[Part], listing: &mut Listing) {
    if rest.is_empty() || path.is_dir() {
        walk(path, rest, listing);
    }
}

/// An entry of a directory.
struct Entry {
    path: PathBuf,
    /// The kind of the entry itself, also for a symbolic link; `None` if it cannot be known.
    kind: Option<FileType>,
}

impl Entry {
    fn of(directory: &Path, entry: &DirEntry) -> Entry {
        // Most file systems write the kind into the directory; for the others it is a look at the file.
        Entry { path: directory.join(entry.file_name()), kind: entry.file_type().ok() }
    }

    fn is_file(&self) -> bool {
        self.kind.is_some_and(|kind| kind.is_file())
    }

    fn is_directory(&self) -> bool {
        self.kind.is_some_and(|kind| kind.is_dir())
    }
}

impl Listing {
    fn add(&mut self, path: &Path) {
        if !path.is_dir() {
            self.files.push(path.to_owned());
        }
    }

    /// What is in a directory, by name.
    fn entries(&mut self, directory: &Path) -> Vec<Entry> {
        let entries = fs::read_dir(if directory.as_os_str().is_empty() { Path::new(".") } else { directory })
            .and_then(|entries| {
                entries.map(|entry| Ok(Entry::of(directory, &entry?))).collect::<io::Result<Vec<_>>>()
            });
        match entries {
            Ok(mut entries) => {
                entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
                entries
            }
            // It went away, or never was one.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Vec::new()
            }
            Err(error) => {
                if !self.unread.iter().any(|(path, _)| path == directory) {
                    self.unread.push((directory.to_owned(), error));
                }
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn tree(files: &[&[u8]]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        for file in files {
            let path = dir.path().join(OsStr::from_bytes(file));
            fs::create_dir_all(path.parent().expect("it is in the directory")).expect("the folder");
            fs::write(path, "").expect("the file");
        }
        dir
    }

    fn listed(dir: &tempfile::TempDir, pattern: &str) -> Vec<Vec<u8>> {
        let listing = list(&format!("{}/{pattern}", dir.path().display()));
        assert!(listing.unread.is_empty(), "{:?}", listing.unread);
        let names = listing.files.iter().map(|path| path.strip_prefix(dir.path()).expect("it is inside"));
        names.map(|name| name.as_os_str().as_bytes().to_vec()).collect()
    }

    #[test]
    fn patterns_find_files_in_order_whatever_bytes_their_names_have() {
        let dir = tree(&[b"b.log", b"a.log", b"caf\xE9.log", b"no.txt", b"sub/c.log", b"sub/deep/d.log"]);
        let check = |pattern: &str, expected: &[&[u8]]| {
            assert_eq!(listed(&dir, pattern), expected.iter().map(|name| name.to_vec()).collect::<Vec<_>>())
        };
        check("*.log", &[b"a.log", b"b.log", b"caf\xE9.log"]);
        check("caf?.log", &[b"caf\xE9.log"]);
        check("[ab].log", &[b"a.log", b"b.log"]);
        check("sub/*", &[b"sub/c.log"]);
        check("*/*.log", &[b"sub/c.log"]);
        check("**/d.log", &[b"sub/deep/d.log"]);
        check("sub/**", &[b"sub/c.log", b"sub/deep/d.log"]);
        check("**/*.txt", &[b"no.txt"]);
        check("none/*", &[]);
        check("a.log/*", &[]);
    }

    #[test]
    fn an_existing_file_is_meant_whatever_its_name() {
        let dir = tree(&[b"log[1].txt", b"log1.txt", b"weird[1.log", b"a***b"]);
        for name in ["log[1].txt", "weird[1.log", "a***b"] {
            let path = format!("{}/{name}", dir.path().display());
            assert_eq!(check(&path), Ok(()));
            assert_eq!(listed(&dir, name), [name.as_bytes()]);
        }
        let absent = format!("{}/other[1.log", dir.path().display());
        assert!(check(&absent).is_err_and(|why| why.contains("no valid pattern")));
    }

    #[test]
    fn links_that_lead_nowhere_are_listed_and_circles_end() {
        let dir = tree(&[b"sub/a.log"]);
        std::os::unix::fs::symlink("/nonexistent/target", dir.path().join("sub/b.log")).expect("a link");
        std::os::unix::fs::symlink("..", dir.path().join("sub/up")).expect("a link");
        assert_eq!(listed(&dir, "sub/*.log"), [b"sub/a.log", b"sub/b.log"]);
        assert_eq!(listed(&dir, "**/*.log"), [b"sub/a.log", b"sub/b.log"]);
    }

    #[test]
    fn all_names_of_a_descriptor_mean_it() {
        for name in ["-", "/dev/stdin", "/dev//fd/0", "/proc/self/fd/0", "/proc/thread-self/./fd/0"] {
            assert_eq!(descriptor(name), Some(Descriptor::StandardInput), "{name}");
        }
        assert_eq!(descriptor("/dev/fd/63"), Some(Descriptor::Other(63)));
        assert_eq!(descriptor("dev/stdin"), None);
        assert_eq!(descriptor("/dev/fd/x"), None);
    }
}
