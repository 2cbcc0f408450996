//! One part file on its way: written beside its final name, published by a rename.
//!
//! 1. While it is written it is called `NAME.inprogress` (exactly once: `NAME.pending`) and locked, so that nobody
//!    takes it for one that was left behind.
//! 2. Its length after a failed write is what it was before: whole rows, all of them acked.
//! 3. It never replaces anything: a name that a file has gets a number. Names are made and renamed
//!    in one step that fails where the name is taken, and symbolic links are never followed.
//! 4. It is found by its directory's descriptor and by its device and inode, and not by its path.
//!    A directory that is renamed meanwhile takes the file with it, and it is published there. A
//!    file that is removed or renamed meanwhile is still open: its rows are copied into a new one.
//! 5. With `dirty`, a file has its final name from the begin, and is gone on with after a restore.
//! 6. What is left behind is published only if squall can have made it: a regular file of the same
//!    user with one name.
//!
//! One file, because how a part is named, locked, written, cut and published is one protocol.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, fstat, statat};
use rustix::io::Errno;

use crate::clock::Time;
use crate::components::file::path::{PathTemplate, with_suffix};
use crate::components::file::rows::{Format, WholeRows};
use crate::files::with_remedy;

/// Bytes that are copied or read in one go.
const PIECE: usize = 64 << 10;
/// How often a directory is made that somebody removes at once.
const DIRECTORY_TRIES: usize = 3;

/// What a part is written to; a trait so that tests can fill the disk.
pub(super) trait PartFile: Send {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl PartFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Wraps an opened file; the identity but in tests.
pub(super) type Disk = fn(File) -> Box<dyn PartFile>;

/// The machine's own.
pub(super) fn disk(file: File) -> Box<dyn PartFile> {
    Box::new(file)
}

/// A name in an open directory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) directory: OwnedFd,
    /// The path of the directory when it was opened.
    path: PathBuf,
    pub(super) name: OsString,
}

impl Entry {
    /// The name that a path ends with, in its directory; `None` if that is not there.
    pub(super) fn of(path: &Path) -> io::Result<Option<Entry>> {
        let (directory, name) = split(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Entry { directory: fd, path: directory.to_owned(), name })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes durable which names the directory has.
    pub(super) fn sync_directory(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::fsync(rustix::fs::openat(&self.directory, ".", flags, Mode::empty())?)?)
    }
}

pub(super) struct Part {
    file: Box<dyn PartFile>,
    /// The same file, to look at and to read.
    own: File,
    /// Where it is now, under the name that it has until it is published.
    place: Entry,
    /// The name that it is to get.
    published: OsString,
    /// Bytes of whole rows.
    pub(super) len: u64,
    /// Rows in it.
    pub(super) rows: u64,
    /// A failed write left bytes beyond `len`, which could not be cut off yet.
    torn: bool,
    pub(super) opened: Time,
    /// The template, filled in when the file was opened.
    pub(super) base: String,
    /// Which of the names of `base` it has.
    pub(super) number: u64,
}

/// Where a part was published.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) path: PathBuf,
    /// Its directory is not any more where it was when the file was begun.
    pub(super) moved: bool,
}

impl Part {
    /// Begins a file under the first free name from number `first` on.
    pub(super) fn create(
        template: &PathTemplate,
        base: String,
        first: u64,
        now: Time,
        disk: Disk,
    ) -> io::Result<Part> {
        let mut number = first;
        loop {
            let path = template.numbered(&base, number);
            let (directory, name) = split(&path);
            let place = Entry {
                directory: make_directory(directory).map_err(|error| explain(error, directory))?,
                path: directory.to_owned(),
                name: unpublished(&name, template.unpublished),
            };
            let is_taken =
                is_taken(&place.directory, &path, &name).map_err(|error| explain(error, directory))?;
            let created = if is_taken { None } else { create_new(&place)? };
            if let Some(own) = created {
                own.lock()?;
                let file = disk(own.try_clone()?);
                return Ok(Part {
                    file,
                    own,
                    place,
                    published: name,
                    len: 0,
                    rows: 0,
                    torn: false,
                    opened: now,
                    base,
                    number,
                });
            }
            number += 1;
        }
    }

    /// Goes on with a file that was cut to so many bytes and rows. `begun`: the template, filled in, which of its names
    /// the file has, and the time.
    pub(super) fn reopen(
        path: &Path,
        (base, number, opened): (String, u64, Time),
        (len, rows): (u64, u64),
        disk: Disk,
    ) -> io::Result<Option<Part>> {
        let Some(place) = Entry::of(path)? else { return Ok(None) };
        let Own::File(own) = open_own(&place)? else { return Ok(None) };
        own.lock()?;
        let (file, published) = (disk(own.try_clone()?), place.name.clone());
        Ok(Some(Part { file, own, place, published, len, rows, torn: false, opened, base, number }))
    }

    /// Its path, as long as it is not published.
    pub(super) fn path(&self) -> PathBuf {
        self.place.path.join(&self.place.name)
    }

    /// Whether it is where it was begun. It is not when somebody removed or renamed it.
    pub(super) fn is_in_place(&self) -> bool {
        let found = statat(&self.place.directory, &self.place.name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| is_same(&found, &self.own))
    }

    /// Whether its path leads to it. It does not when somebody moved its directory, either.
    pub(super) fn is_at_its_path(&self) -> bool {
        self.is_in_place() && is_at(&self.place.directory, &self.place.path)
    }

    /// Appends whole rows, all or none.
    pub(super) fn append(&mut self, bytes: &[u8], rows: u64, sync: bool) -> io::Result<()> {
        self.cut_back()?;
        let written = self.file.write_all(bytes);
        let written = if sync && written.is_ok() { self.file.sync() } else { written };
        match &written {
            Ok(()) => (self.len, self.rows) = (self.len + bytes.len() as u64, self.rows + rows),
            Err(_) => {
                self.torn = true;
                // What cannot be cut off now is cut off before the next row.
                let _ = self.cut_back();
            }
        }
        written
    }

    fn cut_back(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Copies its rows into a new file, because somebody removed or renamed this one. Afterwards it
    /// is the new file. After an error it is what it was, and its rows are still there.
    pub(super) fn begin_again(&mut self, template: &PathTemplate, disk: Disk) -> io::Result<()> {
        let mut next = Part::create(template, self.base.clone(), self.number, self.opened, disk)?;
        let copied = copy(&self.own, self.len, &mut *next.file);
        if let Err(error) = copied {
            let _ = next.remove();
            return Err(error);
        }
        (next.len, next.rows) = (self.len, self.rows);
        *self = next;
        Ok(())
    }

    /// The path that it is to get.
    pub(super) fn published_path(&self) -> PathBuf {
        self.place.path.join(&self.published)
    }

    /// Whether it has more than was written here.
    pub(super) fn has_foreign_bytes(&mut self) -> io::Result<bool> {
        self.cut_back()?;
        Ok(self.own.metadata()?.len() > self.len)
    }

    /// Cuts off what a failed write left, and checks that the rest is there.
    fn complete(&mut self) -> io::Result<()> {
        self.cut_back()?;
        let found = self.own.metadata()?.len();
        if found < self.len {
            return Err(io::Error::other(format!(
                "somebody else cut it from {} to {found} bytes while it was written",
                self.len
            )));
        }
        Ok(())
    }

    /// Makes it durable under the name that it has until it is published.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.complete()?;
        self.file.sync()?;
        self.place.sync_directory()
    }

    /// The open file, which is locked as long as it is not dropped.
    pub(super) fn into_file(self) -> File {
        self.own
    }

    /// Gives it its final name, or removes it if it is empty. After an error it is what it was.
    pub(super) fn publish(&mut self, sync: bool) -> io::Result<Option<Published>> {
        self.complete()?;
        if self.len == 0 {
            return self.remove().map(|()| None);
        }
        if sync {
            self.file.sync()?;
        }
        publish(&self.place, &self.published, sync).map(Some)
    }

    /// Removes it, if it is where it was begun.
    pub(super) fn remove(&self) -> io::Result<()> {
        if !self.is_in_place() {
            return Ok(());
        }
        Ok(rustix::fs::unlinkat(&self.place.directory, &self.place.name, AtFlags::empty())?)
    }
}

fn is_same(found: &Stat, file: &File) -> bool {
    fstat(file).is_ok_and(|own| (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino))
}

fn copy(from: &File, len: u64, to: &mut dyn PartFile) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        let wanted = piece.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
        match from.read_at(&mut piece[..wanted], at)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => {
                to.write_all(&piece[..read])?;
                at += read as u64;
            }
        }
    }
    to.sync()
}

/// The directory and the name of a path.
pub(super) fn split(path: &Path) -> (&Path, OsString) {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let name = path.file_name().map_or_else(|| path.as_os_str().to_owned(), ToOwned::to_owned);
    (directory.unwrap_or(Path::new(".")), name)
}

/// Opens a directory, which is made if it is not there.
fn make_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut why_not = io::Error::from(ErrorKind::NotFound);
    for _ in 0..DIRECTORY_TRIES {
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::create_dir_all(path) {
            // It is opened next, unless somebody removes it again.
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {
                why_not = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        format!("the directory `{}` cannot be made: {why_not}", path.display()),
    ))
}

/// Whether a file has this name.
///
/// # Errors
/// When something has it that no number helps against.
fn is_taken(directory: &OwnedFd, path: &Path, name: &OsString) -> io::Result<bool> {
    let refused =
        |what: &str| io::Error::new(ErrorKind::InvalidInput, format!("`{}` {what}", path.display()));
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(found) => match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Err(refused("is a directory; name a file in it, or another one")),
            FileType::Symlink if statat(directory, name, AtFlags::empty()).is_err() => {
                Err(refused("is a symbolic link that leads nowhere; remove it, or name another file"))
            }
            _ => Ok(true),
        },
    }
}

/// Makes a file that nobody else has; `None` if the name is taken, by a symbolic link, too.
fn create_new(place: &Entry) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(&place.directory, &place.name, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(explain(error.into(), &place.path)),
    }
}

/// Adds what the user can do about a directory in which no file can be made.
fn explain(error: io::Error, directory: &Path) -> io::Error {
    with_remedy(error, directory, "set `path` to another directory")
}

/// What was done with the files that a killed task left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leftovers {
    /// These were published.
    pub(super) published: Vec<PathBuf>,
    /// These are none of squall's making, or of another user, and were left alone.
    pub(super) foreign: Vec<PathBuf>,
}

/// Publishes what a task left behind when it was killed, without the row that was torn. A file
/// that is locked has a writer and is left alone.
pub(super) fn recover(template: &PathTemplate, format: Format, sync: bool) -> io::Result<Leftovers> {
    let mut leftovers = Leftovers::default();
    for leftover in template.leftovers() {
        let Some(place) = Entry::of(&leftover)? else { continue };
        match open_own(&place)? {
            Own::Gone => {}
            Own::Foreign => leftovers.foreign.push(leftover),
            Own::File(file) => {
                let name = place.name.to_string_lossy();
                let name = name.strip_suffix(template.unpublished).unwrap_or(&name);
                let published = publish_leftover(&place, file, &OsString::from(name), (format, sync));
                leftovers.published.extend(published.map_err(|error| explain(error, &place.path))?);
            }
        }
    }
    Ok(leftovers)
}

pub(super) enum Own {
    File(File),
    Foreign,
    Gone,
}

/// Opens a leftover if squall can have made it.
pub(super) fn open_own(place: &Entry) -> io::Result<Own> {
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file: File = match rustix::fs::openat(&place.directory, &place.name, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(Errno::NOENT) => return Ok(Own::Gone),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::ACCESS | Errno::PERM) => {
            return Ok(Own::Foreign);
        }
        Err(error) => return Err(error.into()),
    };
    let found = file.metadata()?;
    let is_own = found.is_file() && found.nlink() == 1 && found.uid() == rustix::process::geteuid().as_raw();
    Ok(if is_own { Own::File(file) } else { Own::Foreign })
}

fn publish_leftover(
    place: &Entry,
    mut file: File,
    name: &OsString,
    (format, sync): (Format, bool),
) -> io::Result<Option<PathBuf>> {
    if file.try_lock().is_err() {
        return Ok(None);
    }
    let whole = whole_rows(&mut file, format)?;
    file.set_len(whole)?;
    if whole == 0 {
        rustix::fs::unlinkat(&place.directory, &place.name, AtFlags::empty())?;
        return Ok(None);
    }
    file.sync_all()?;
    publish(place, name, sync).map(|published| Some(published.path))
}

fn whole_rows(file: &mut File, format: Format) -> io::Result<u64> {
    let mut rows = WholeRows::new(format);
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(rows.len()),
            len => rows.feed(&piece[..len]),
        }
    }
}

/// Renames within the directory, to this name or, where it is taken, to one with a number.
pub(super) fn publish(place: &Entry, name: &OsString, sync: bool) -> io::Result<Published> {
    let mut published = name.clone();
    let mut number = 0_u64;
    while let Err(error) = rename_to_free(&place.directory, &place.name, &published) {
        if error != Errno::EXIST {
            return Err(error.into());
        }
        number += 1;
        published = with_suffix(&name.to_string_lossy(), &format!("-{number}")).into();
    }
    if sync {
        place.sync_directory()?;
    }
    let moved = !is_at(&place.directory, &place.path);
    let now_at = moved.then(|| path_of(&place.directory)).flatten();
    Ok(Published { path: now_at.unwrap_or_else(|| place.path.clone()).join(published), moved })
}

/// Whether a path leads to this open directory.
fn is_at(directory: &OwnedFd, path: &Path) -> bool {
    let found = (fstat(directory), statat(CWD, path, AtFlags::empty()));
    matches!(found, (Ok(own), Ok(there)) if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino))
}

/// The present path of an open directory.
fn path_of(directory: &OwnedFd) -> Option<PathBuf> {
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory.as_fd());
    fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

/// Renames in one step that fails with `EXIST` where something has the name.
fn rename_to_free(directory: &OwnedFd, from: &OsString, to: &OsString) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        // The file system cannot do that. A second name, and then one less, comes to the same.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(directory, from, directory, to, AtFlags::empty())?;
            rustix::fs::unlinkat(directory, from, AtFlags::empty())
        }
        result => result,
    }
}

fn unpublished(published: &OsString, ending: &str) -> OsString {
    let mut name = published.clone();
    name.push(ending);
    name
}
