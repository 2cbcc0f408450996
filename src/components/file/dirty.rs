//! `file` exactly once with `dirty = true`: rows are visible at once, and are taken back if they belong to no checkpoint.
//!
//! ```text
//!   NAME         │ rows of complete checkpoints │ dirty rows │ ◀─ rows are appended
//!                0                            clean          │
//!   NAME.clean   {"clean_bytes":…,"clean_rows":…}   replaced when a checkpoint is complete
//! ```
//!
//! 1. The first `clean_bytes` of the file stay as they are. What comes behind may be cut off, and be followed by other
//!    rows.
//! 2. `NAME.clean` is there before the first row is. So a file that has one has dirty rows behind its clean length, or none.
//! 3. A mark is the length of the file, which is on the disk, with its name and directories, before the mark is in a
//!    checkpoint.
//! 4. To go back, the file is cut to its mark. A file that no mark names is cut to its clean length, and removed if that
//!    is 0: its run is not continued.
//! 5. An `fsync` that fails ends the run: see `committed`.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::{Input, JournaledSink, TaskContext, TaskError};
use crate::clock::Clock;
use crate::components::file::layout::Layout;
use crate::components::file::made_directories::MadeDirectories;
use crate::components::file::part::{self, Disk, Entry, Own, Part};
use crate::components::file::path::PathTemplate;
use crate::components::file::place::Place;
use crate::components::file::settings::FileSettings;
use crate::components::stream::is_permanent;
use crate::metrics::Counter;

/// Bytes that are written without waiting for more.
const BUFFER_MAX: usize = 256 << 10;
/// What the name of the file ends with that says which rows are clean.
pub(super) const CLEAN: &str = ".clean";
/// What that file ends with until it takes the place of the one before.
const UNFINISHED: &str = ".squall-tmp";

/// The sink of `file` with `dirty`. See the [module](self).
pub(super) struct DirtyFile {
    settings: FileSettings,
    layout: Layout,
    template: PathTemplate,
    clock: Clock,
    logger: slog::Logger,
    rows_unpublished: Counter,
    pub(super) disk: Disk,
    part: Option<Part>,
    /// The number of the first file that is begun.
    first_number: u64,
    /// The mark that this instance began with, if its file is not as the mark says.
    gone: Option<FileMark>,
    made: MadeDirectories,
    /// Rows that are not written, and how many.
    text: String,
    rows: u64,
    /// Why nothing that was written can be trusted.
    broken: Option<String>,
}

/// How much of a file a checkpoint has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileMark {
    path: String,
    /// The template, filled in when the file was begun, and which of its names the file has.
    base: String,
    number: u64,
    bytes: u64,
    rows: u64,
}

/// What `NAME.clean` has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct CleanLength {
    clean_bytes: u64,
    clean_rows: u64,
}

impl CleanLength {
    fn path(file: &Path) -> PathBuf {
        let mut path = file.as_os_str().to_owned();
        path.push(CLEAN);
        path.into()
    }

    /// That of a file; `None` if it has none, or not one of squall's making.
    fn of(file: &Path) -> io::Result<Option<CleanLength>> {
        match fs::read(CleanLength::path(file)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces that of a file, durably: after a crash it is this one or the one before.
    fn write(self, file: &Path) -> io::Result<()> {
        let path = CleanLength::path(file);
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        remove(Path::new(&unfinished))?;
        let mut text = serde_json::to_string(&self).expect("it is two numbers");
        text.push('\n');
        let mut written = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        written.write_all(text.as_bytes())?;
        written.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_directory_of(&path)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    fs::File::open(part::split(path).0)?.sync_all()
}

/// What became of a file that was to be cut.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    Done,
    /// It is shorter than it was, or gone.
    Short(u64),
    /// It has a writer, or is none of squall's making.
    Foreign,
}

/// Cuts a file to a length, durably.
fn cut(path: &Path, bytes: u64) -> io::Result<Cut> {
    let Some(place) = Entry::of(path)? else { return Ok(Cut::Short(0)) };
    let file = match part::open_own(&place)? {
        Own::Gone => return Ok(Cut::Short(0)),
        Own::Foreign => return Ok(Cut::Foreign),
        Own::File(file) if file.try_lock().is_err() => return Ok(Cut::Foreign),
        Own::File(file) => file,
    };
    let found = file.metadata()?.len();
    if found < bytes {
        return Ok(Cut::Short(found));
    }
    if found > bytes {
        file.set_len(bytes)?;
        file.sync_all()?;
    }
    Ok(Cut::Done)
}

impl DirtyFile {
    /// A sink with these settings, which were checked.
    pub(super) fn new(settings: FileSettings) -> DirtyFile {
        DirtyFile {
            layout: Layout::new(&settings),
            template: PathTemplate::for_task(&settings.path, 0, 1).ending_in(""),
            settings,
            clock: Clock::simulated(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            rows_unpublished: Counter::default(),
            disk: part::disk,
            part: None,
            first_number: 0,
            gone: None,
            made: MadeDirectories::default(),
            text: String::new(),
            rows: 0,
            broken: None,
        }
    }

    /// An error of the operating system: one that no retry can solve ends the run.
    fn error(&self, doing: &str, error: &io::Error) -> TaskError {
        let message = format!("cannot {doing} `{}`: {error}", self.settings.path);
        if is_permanent(error) { TaskError::fatal(message) } else { TaskError::new(message) }
    }

    fn check_whole(&self) -> Result<(), TaskError> {
        match &self.broken {
            Some(why) => Err(TaskError::fatal(why.clone())),
            None => Ok(()),
        }
    }

    /// Begins a file, and beside it the one that says that nothing of it is clean.
    fn open_part(&mut self) -> Result<(), TaskError> {
        if self.part.is_some() {
            return Ok(());
        }
        let base = self.template.at(self.clock.wall_nanos()).map_err(TaskError::new)?;
        self.made.note_missing(&self.template.numbered(&base, 0));
        let part = Part::create(&self.template, base, self.first_number, self.clock.now(), self.disk);
        let part = part.map_err(|error| self.error("write", &error))?;
        if let Err(error) = CleanLength::default().write(&part.path()) {
            let _ = part.remove();
            return Err(self.error("write the clean length of", &error));
        }
        self.part = Some(part);
        Ok(())
    }

    /// Writes the rows that wait, all or none, and the header before the first.
    fn write_out(&mut self) -> Result<(), TaskError> {
        self.check_whole()?;
        let Some(part) = &mut self.part else { return Ok(()) };
        if !part.is_at_its_path() {
            let why = format!(
                "`{}` was removed, renamed or moved while it was written; put it back, and continue with `--resume`",
                part.path().display()
            );
            return Err(TaskError::fatal(why));
        }
        if self.rows > 0 {
            let header = if part.len == 0 { self.layout.header() } else { None };
            let text = header.map(|header| header + &self.text);
            let written = part.append(text.as_ref().unwrap_or(&self.text).as_bytes(), self.rows, false);
            written.map_err(|error| self.error("write", &error))?;
            self.text.clear();
            self.rows = 0;
        }
        Ok(())
    }

    /// Cuts a file to a mark. Returns whether it has what the mark says.
    fn cut_to(&self, mark: &FileMark) -> Result<bool, TaskError> {
        let path = Path::new(&mark.path);
        let failed = |error: io::Error| self.error("take back rows of", &error);
        // An earlier checkpoint than the last one was gone back to.
        if CleanLength::of(path).map_err(failed)?.is_some_and(|clean| clean.clean_bytes > mark.bytes) {
            let clean = CleanLength { clean_bytes: mark.bytes, clean_rows: mark.rows };
            clean.write(path).map_err(failed)?;
        }
        match cut(path, mark.bytes).map_err(failed)? {
            Cut::Done => Ok(true),
            Cut::Foreign => Err(TaskError::fatal(format!(
                "cannot go on with `{}`: another process writes to it, or it is not a regular file of this user with one \
                 name",
                mark.path
            ))),
            Cut::Short(found) => {
                self.rows_unpublished.add(mark.rows);
                slog::error!(self.logger, "rows of a complete checkpoint are lost, because their file is not as it was \
                    left; if it was taken away on purpose, nothing is lost";
                    "file" => &mark.path, "rows" => mark.rows, "bytes" => mark.bytes, "found" => found);
                Ok(false)
            }
        }
    }

    /// Cuts the files of this task that no mark names to their clean lengths.
    fn cut_others(&self, kept: &[&FileMark]) -> io::Result<()> {
        for path in self.template.leftovers() {
            let is_kept = |mark: &&&FileMark| plain(Path::new(&mark.path)) == plain(&path);
            if kept.iter().any(|mark| is_kept(&mark)) {
                continue;
            }
            let Some(clean) = CleanLength::of(&path)? else { continue };
            match cut(&path, clean.clean_bytes)? {
                Cut::Done if clean.clean_bytes == 0 => {
                    remove(&path)?;
                    remove(&CleanLength::path(&path))?;
                    sync_directory_of(&path)?;
                }
                Cut::Done | Cut::Short(_) => {}
                Cut::Foreign => {
                    slog::warn!(self.logger, "left a file alone that has a writer, or that squall did not make";
                        "path" => path.display().to_string());
                }
            }
        }
        Ok(())
    }
}

fn plain(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}

impl JournaledSink for DirtyFile {
    type Mark = FileMark;

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.clock = context.clock().clone();
        self.logger = context.logger().clone();
        self.rows_unpublished = context.loss_counter("rows_unpublished");
        self.template = Place::files_of(&self.settings.path, context, "")?;
        Ok(())
    }

    fn write(&mut self, input: Input<'_>) -> Result<(), TaskError> {
        self.check_whole()?;
        let row = self.text.len();
        self.layout.write_row(&mut self.text, &input)?;
        self.rows += 1;
        let written = self.open_part().and_then(|()| match self.text.len() >= BUFFER_MAX {
            true => self.write_out(),
            false => Ok(()),
        });
        if written.is_err() {
            self.text.truncate(row);
            self.rows -= 1;
        }
        written
    }

    fn flush(&mut self) -> Result<(), TaskError> {
        self.write_out()
    }

    fn mark(&mut self) -> Result<FileMark, TaskError> {
        self.write_out()?;
        let Some(part) = &mut self.part else { return Err(TaskError::new("no row was written")) };
        if part.has_foreign_bytes().map_err(|error| TaskError::new(error.to_string()))? {
            let why = format!(
                "somebody else wrote to `{}`, so its rows cannot be taken back: only squall may write to it",
                part.path().display()
            );
            self.broken = Some(why.clone());
            return Err(TaskError::fatal(why));
        }
        if let Err(error) = part.sync().and_then(|()| self.made.sync()) {
            let why = format!("rows of `{}` may not be on the disk: {error}", self.settings.path);
            self.broken = Some(why.clone());
            return Err(TaskError::fatal(why));
        }
        let (path, base) = (part.path().to_string_lossy().into_owned(), part.base.clone());
        Ok(FileMark { path, base, number: part.number, bytes: part.len, rows: part.rows })
    }

    fn clean(&mut self, mark: &FileMark) -> Result<(), TaskError> {
        if self.gone.as_ref() == Some(mark) {
            return Ok(()); // Another file may have its name by now.
        }
        let clean = CleanLength { clean_bytes: mark.bytes, clean_rows: mark.rows };
        clean.write(Path::new(&mark.path)).map_err(|error| self.error("write the clean length of", &error))
    }

    fn undo(&mut self, mark: Option<&FileMark>, gone: &[FileMark]) -> Result<(), TaskError> {
        let kept: Vec<&FileMark> = mark.into_iter().chain(gone).collect();
        self.cut_others(&kept).map_err(|error| self.error("take back rows of", &error))?;
        for mark in gone {
            self.cut_to(mark)?;
        }
        let Some(mark) = mark else { return Ok(()) };
        if !self.cut_to(mark)? {
            // The next file gets another name: this mark may be gone back to once more, and must find nothing.
            self.first_number = mark.number + 1;
            self.gone = Some(mark.clone());
            return Ok(());
        }
        let (path, base) = (Path::new(&mark.path), mark.base.clone());
        let begun = (base, mark.number, self.clock.now());
        let part = Part::reopen(path, begun, (mark.bytes, mark.rows), self.disk);
        self.part = part.map_err(|error| self.error("write", &error))?;
        Ok(())
    }
}
