//! One part file on its way: written beside its final name, published by a rename.
//!
//! 1. While it is written it is called `NAME.inprogress` and locked, so that nobody takes it for
//!    one that was left behind.
//! 2. Its length after a failed write is what it was before: whole rows, all of them acked.
//! 3. It never replaces a file: a name that is taken gets a number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::clock::Time;
use crate::components::file::path::{IN_PROGRESS, PathTemplate, with_suffix};
use crate::components::file::rows::{Format, WholeRows};

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

/// Where a part ends up.
enum Fate {
    /// Renamed to the second.
    Publish(PathBuf, PathBuf),
    /// It is a device or a pipe: it stays what it is.
    Stay,
}

pub(super) struct Part {
    file: Box<dyn PartFile>,
    fate: Fate,
    /// Bytes of whole rows.
    pub(super) len: u64,
    pub(super) opened: Time,
    /// What the template said when it was opened.
    pub(super) base: String,
    /// Which of the names of `base` it has.
    pub(super) number: u64,
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
        if template.is_constant()
            && fs::metadata(&base).is_ok_and(|found| !found.is_file() && !found.is_dir())
        {
            let file = OpenOptions::new().append(true).open(&base)?;
            return Ok(Part { file: disk(file), fate: Fate::Stay, len: 0, opened: now, base, number: 0 });
        }
        let mut next = first;
        loop {
            let number = next;
            let published = template.numbered(&base, number);
            let in_progress = in_progress(&published);
            next += 1;
            if published.exists() {
                continue;
            }
            if let Some(directory) = published.parent() {
                fs::create_dir_all(directory)?;
            }
            match OpenOptions::new().append(true).create_new(true).open(&in_progress) {
                Ok(file) => {
                    file.lock()?;
                    let fate = Fate::Publish(in_progress, published);
                    return Ok(Part { file: disk(file), fate, len: 0, opened: now, base, number });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends whole rows, all or none.
    pub(super) fn append(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        let written = if sync && written.is_ok() { self.file.sync() } else { written };
        match written {
            Ok(()) => self.len += bytes.len() as u64,
            // A device has no length; what it took it took.
            Err(_) if matches!(self.fate, Fate::Stay) => {}
            Err(_) => self.file.set_len(self.len)?,
        }
        written
    }

    /// Gives it its final name.
    pub(super) fn publish(mut self, sync: bool) -> io::Result<()> {
        if sync {
            self.file.sync()?;
        }
        match &self.fate {
            Fate::Publish(from, to) => publish(from, to, sync),
            Fate::Stay => Ok(()),
        }
    }
}

/// Publishes what a task left behind when it was killed, without the row that was torn. A file
/// that is locked has a writer and is left alone. Returns the names.
pub(super) fn recover(template: &PathTemplate, format: Format, sync: bool) -> io::Result<Vec<PathBuf>> {
    let mut recovered = Vec::new();
    for leftover in template.leftovers() {
        let mut file = match OpenOptions::new().read(true).append(true).open(&leftover) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if file.try_lock().is_err() {
            continue;
        }
        let whole = whole_rows(&mut file, format)?;
        file.set_len(whole)?;
        if whole == 0 {
            fs::remove_file(&leftover)?;
            continue;
        }
        file.sync_all()?;
        let name = leftover.to_string_lossy();
        let published = PathBuf::from(name.trim_end_matches(IN_PROGRESS));
        publish(&leftover, &published, sync)?;
        recovered.push(published);
    }
    Ok(recovered)
}

fn whole_rows(file: &mut File, format: Format) -> io::Result<u64> {
    let mut rows = WholeRows::new(format);
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(rows.len()),
            len => rows.feed(&piece[..len]),
        }
    }
}

fn publish(from: &Path, to: &Path, sync: bool) -> io::Result<()> {
    let name = to.to_string_lossy();
    let names =
        (0_u64..).map(|n| if n == 0 { to.to_owned() } else { with_suffix(&name, &format!("-{n}")).into() });
    let free = names.into_iter().find(|name| !name.exists()).expect("there are endless names");
    fs::rename(from, &free)?;
    match free.parent() {
        Some(directory) if sync => {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            File::open(directory)?.sync_all()
        }
        _ => Ok(()),
    }
}

fn in_progress(published: &Path) -> PathBuf {
    let mut name = published.as_os_str().to_owned();
    name.push(IN_PROGRESS);
    name.into()
}
