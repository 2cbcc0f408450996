//! Where reading stands in files, as checkpoints keep it.
//!
//! A file is found again by device, inode and time of birth, whatever its name is by then, and is the same only if it
//! begins with the same bytes. A position is the beginning of a line: the first one that was not emitted.
//!
//! Each task writes the positions of its files, and a mark that it has written them. A task reads the positions of
//! all tasks, because a file may be another task's than before: a file in between came or went.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirEntryExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::task_split;
use crate::api::{Positions, TaskContext, TaskError};
use crate::components::lines::paths::{self, FileId};

/// Bytes of the beginning of a file that are compared.
const HEAD_LEN_MAX: usize = 1 << 10;
/// What the names of files begin with, among the splits.
const FILE: &str = "file ";
/// The split that has the number of tasks.
const TASKS: &str = "tasks";

/// What a file begins with: as much of it as was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileHead {
    len: usize,
    crc32c: u32,
}

impl FileHead {
    pub(super) fn of(bytes: &[u8]) -> FileHead {
        let bytes = &bytes[..bytes.len().min(HEAD_LEN_MAX)];
        FileHead { len: bytes.len(), crc32c: crc32c::crc32c(bytes) }
    }

    pub(super) fn read(file: &File) -> io::Result<FileHead> {
        Ok(FileHead::of(&first_bytes(file, HEAD_LEN_MAX)?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn first_bytes(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut found = 0;
    while found < len {
        match file.read_at(&mut bytes[found..], found as u64) {
            Ok(0) => break,
            Ok(more) => found += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(found);
    Ok(bytes)
}

/// How far a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Extent {
    /// To the position, and more may come.
    Part,
    /// To its end. Nothing is lost if it is gone.
    All,
    /// It was truncated, and its last lines before that were read and not emitted.
    Truncated,
}

/// Where reading stands in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FilePosition {
    /// Its path when the checkpoint was taken, as it is shown.
    pub(super) path: String,
    pub(super) id: FileId,
    /// Where the next line begins: of a compressed file, in its text.
    pub(super) offset: u64,
    /// How many lines come before.
    pub(super) lines: u64,
    pub(super) head: FileHead,
    pub(super) extent: Extent,
}

/// Where a growing file is read from after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    pub(super) offset: u64,
    pub(super) lines: u64,
    pub(super) head: FileHead,
    /// Why some of it is lost.
    pub(super) lost: Option<&'static str>,
}

/// What a file is that has the device and the inode of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Same,
    /// It has less than it had.
    Shorter,
    /// It begins with something else.
    Another,
}

impl FilePosition {
    /// The position of a file of which nothing was read.
    pub(super) fn first(path: &Path, id: FileId) -> FilePosition {
        let (path, head, extent) = (paths::shown(path), FileHead::default(), Extent::Part);
        FilePosition { path, id, offset: 0, lines: 0, head, extent }
    }

    /// Whether the position is of this file, by what does not change with its name. A device may have another number
    /// after a restart of the machine; then the rest has to agree, and the path.
    fn is_of(&self, path: &Path, id: &FileId) -> bool {
        self.id == *id || (self.id.is_on_renumbered(id) && self.path == paths::shown(path))
    }

    /// Whether the file at this path has the content of the position.
    pub(super) fn identify(&self, path: &Path) -> io::Result<Identity> {
        if self.head.is_empty() {
            return Ok(Identity::Same);
        }
        let bytes = first_bytes(&File::open(path)?, self.head.len)?;
        Ok(match FileHead::of(&bytes) {
            head if head == self.head => Identity::Same,
            head if head.len < self.head.len => Identity::Shorter,
            _ => Identity::Another,
        })
    }

    /// Where this file, which may grow and has so many bytes now, is read from. What is not the same any more is read
    /// from its beginning.
    pub(super) fn resumed(&self, path: &Path, len: u64) -> Resumed {
        // If it cannot be read, whoever opens it reports that.
        let why = match self.identify(path).unwrap_or(Identity::Same) {
            Identity::Same if self.extent == Extent::Truncated => {
                "it was truncated, and its last lines before that were not emitted"
            }
            Identity::Same if len >= self.offset => {
                return Resumed { offset: self.offset, lines: self.lines, head: self.head, lost: None };
            }
            Identity::Same | Identity::Shorter => "it was truncated since the checkpoint",
            Identity::Another => "another file has its place since the checkpoint",
        };
        let lost = (self.extent != Extent::All).then_some(why);
        Resumed { offset: 0, lines: 0, head: FileHead::default(), lost }
    }

    /// Where the file is now, if it is still in its directory: renamed, and not matched by a pattern.
    pub(super) fn find_renamed(&self) -> Option<PathBuf> {
        let parent = Path::new(&self.path).parent()?;
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let entries = fs::read_dir(parent).ok()?.filter_map(Result::ok);
        let mut same = entries.filter(|entry| entry.ino() == self.id.inode).map(|entry| entry.path());
        same.find(|path| path.metadata().is_ok_and(|found| FileId::of(&found) == self.id))
    }
}

/// The positions of all tasks in a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Restored {
    by_inode: BTreeMap<u64, Vec<FilePosition>>,
    /// Whether all tasks had looked for files. If one had not, it has no files, and begins at the beginning.
    pub(super) has_begun: bool,
}

impl Restored {
    /// Takes the position of a file, if there is one.
    pub(super) fn take(&mut self, path: &Path, id: &FileId) -> Option<FilePosition> {
        let same = self.by_inode.get_mut(&id.inode)?;
        let at = same.iter().position(|position| position.is_of(path, id))?;
        let position = same.remove(at);
        if same.is_empty() {
            self.by_inode.remove(&id.inode);
        }
        Some(position)
    }

    /// The positions that were not taken, in an order that is the same for all tasks.
    pub(super) fn files(&self) -> impl Iterator<Item = &FilePosition> {
        self.by_inode.values().flatten()
    }

    /// Takes all of them.
    pub(super) fn take_all(&mut self) -> Vec<FilePosition> {
        std::mem::take(&mut self.by_inode).into_values().flatten().collect()
    }

    /// Keeps those with these inodes only.
    pub(super) fn retain_inodes(&mut self, mut keep: impl FnMut(u64) -> bool) {
        self.by_inode.retain(|inode, _| keep(*inode));
    }

    /// The positions in a checkpoint.
    ///
    /// # Errors
    /// When they are not those of all tasks: fatal, because files would be read twice.
    pub(super) fn read(positions: &Positions) -> Result<Restored, TaskError> {
        let tasks = positions.get::<usize>(TASKS)?.unwrap_or(0);
        let begun = (0..tasks).map(|task| positions.get::<bool>(&task_split::name(task, tasks)));
        let begun: Option<Vec<bool>> = begun.collect::<Result<_, _>>()?;
        let Some(begun) = begun.filter(|begun| !begun.is_empty()) else {
            return Err(TaskError::fatal(
                "the checkpoint does not have the positions of all tasks; begin anew without the checkpoint",
            ));
        };
        let files = positions.splits().filter(|split| split.starts_with(FILE));
        let mut by_inode = BTreeMap::<u64, Vec<FilePosition>>::new();
        for split in files {
            if let Some(file) = positions.get::<FilePosition>(split)? {
                by_inode.entry(file.id.inode).or_default().push(file);
            }
        }
        Ok(Restored { by_inode, has_begun: begun.into_iter().all(|begun| begun) })
    }
}

/// Writes the positions of a task.
pub(super) fn write(
    positions: &mut Positions,
    context: &TaskContext,
    has_begun: bool,
    files: impl Iterator<Item = FilePosition>,
) -> Result<(), TaskError> {
    let tasks = context.parallelism();
    positions.set(TASKS, &tasks)?;
    positions.set(&task_split::name(context.task_index(), tasks), &has_begun)?;
    for file in files {
        positions.set(&format!("{FILE}{}", file.id), &file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HarnessOptions;

    fn position(path: &Path) -> FilePosition {
        let file = File::open(path).expect("it is there");
        let id = FileId::of(&file.metadata().expect("it is open"));
        let (path, head) = (path.display().to_string(), FileHead::read(&file).expect("it can be read"));
        FilePosition { path, id, offset: 2, lines: 1, head, extent: Extent::Part }
    }

    #[test]
    fn a_file_is_known_by_its_identity_and_by_what_it_begins_with() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, renamed) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&path, "a\nb\n").expect("it can be written");
        let position = position(&path);
        let check = |text: &str, expected: Identity| {
            fs::write(&path, text).expect("it can be written");
            assert_eq!(position.identify(&path).ok(), Some(expected), "{text:?}");
        };
        check("a\nb\nc\n", Identity::Same);
        check("a\nc\n", Identity::Another);
        check("a\n", Identity::Shorter);
        check("a\nb\n", Identity::Same);
        assert_eq!(position.find_renamed().as_deref(), Some(&*path));
        fs::rename(&path, &renamed).expect("it can be renamed");
        fs::write(&path, "a\nb\n").expect("the name is free");
        assert_eq!(position.find_renamed().as_deref(), Some(&*renamed), "the inode decides, not the name");
        fs::remove_file(&renamed).expect("it is there");
        assert_eq!(position.find_renamed(), None);
    }

    #[test]
    fn positions_are_of_all_tasks_or_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut positions = Positions::default();
        let context = |task_index| {
            HarnessOptions { task_index, parallelism: 2, ..HarnessOptions::default() }.task_context()
        };
        assert!(Restored::read(&positions).is_err_and(|error| error.is_fatal()));
        let one = position(file.path());
        write(&mut positions, &context(1), true, [one.clone()].into_iter()).expect("it can be kept");
        assert!(Restored::read(&positions).is_err_and(|error| error.is_fatal()), "one of two is there");
        write(&mut positions, &context(0), true, [].into_iter()).expect("it can be kept");
        let mut restored = Restored::read(&positions).expect("both are there");
        assert!(restored.has_begun);
        assert_eq!(restored.take(Path::new("renamed"), &one.id), Some(one.clone()));
        assert_eq!((restored.take(file.path(), &one.id), restored.take_all()), (None, Vec::new()));
    }
}
