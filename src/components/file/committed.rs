//! `file` exactly once: rows become visible when the checkpoint that they belong to is complete.
//!
//! ```text
//!   rows ─▶ NAME.pending ─▶ rotated, or pre_commit: fsync ─▶ checkpoint is complete ─▶ commit: rename to NAME
//!                │                      │                                                │
//!                └─ crash: removed      └─ crash: removed if no checkpoint has it,       └─ crash: done again,
//!                   by the next start      or else published by the next start              which changes nothing
//! ```
//!
//! 1. The rows of the published files are those of the checkpoints that are complete, each once.
//! 2. A transaction is the list of its parts: one, and more if files were rotated since the checkpoint before.
//! 3. Each is durable, with its name and the directories that were made for it, before it is in a transaction.
//! 4. A number that a part of the last checkpoint has is not used again, even if somebody took the published file
//!    away: otherwise a part that belongs to no checkpoint could have the name of one that does.
//! 5. An `fsync` that fails ends the run. What it left out may be gone from memory, so that the next one would
//!    succeed without it (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
//! 6. Memory is bounded: 256 KiB are written without waiting for the checkpoint. A row is either all in the
//!    transaction or fails, also where the disk is full.
//! 7. Sealed parts stay open and locked until they are committed, so that no other run takes them for left behind.

use std::collections::HashMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use crate::api::{Input, TaskContext, TaskError, TwoPhaseSink};
use crate::clock::Clock;
use crate::components::file::layout::Layout;
use crate::components::file::made_directories::MadeDirectories;
use crate::components::file::part::{self, Disk, Part};
use crate::components::file::path::{PENDING, PathTemplate};
use crate::components::file::place::Place;
use crate::components::file::sealed::{Publication, SealedPart, remove_others};
use crate::components::file::settings::FileSettings;
use crate::components::stream::is_permanent;
use crate::metrics::Counter;

/// Bytes that are written without waiting for more.
const BUFFER_MAX: usize = 256 << 10;

/// The sink of `file` exactly once. See the [module](self).
pub(super) struct CommittedFile {
    settings: FileSettings,
    layout: Layout,
    template: PathTemplate,
    clock: Clock,
    logger: slog::Logger,
    rows_unpublished: Counter,
    files_rewritten: Counter,
    pub(super) disk: Disk,
    /// What rows are written to.
    part: Option<Part>,
    /// Directories that were made for this part.
    made: MadeDirectories,
    /// Rows of this part that are not written, and how many.
    text: String,
    rows: u64,
    /// The names and the numbers that the parts of the last checkpoint have.
    kept: Vec<(String, u64)>,
    /// Those of the part before.
    last: Option<(String, u64)>,
    /// Parts that are sealed and not committed, by the path that they wait under.
    locked: HashMap<String, fs::File>,
    /// Why nothing that was written can be trusted.
    broken: Option<String>,
}

/// The parts of a transaction, complete and durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parts(pub(super) Vec<SealedPart>);

impl CommittedFile {
    /// A sink with these settings, which were checked.
    pub(super) fn new(settings: FileSettings) -> CommittedFile {
        let template = PathTemplate::for_task(&settings.path, 0, 1).ending_in(PENDING);
        CommittedFile {
            layout: Layout::new(&settings),
            settings,
            template,
            clock: Clock::simulated(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            rows_unpublished: Counter::default(),
            files_rewritten: Counter::default(),
            disk: part::disk,
            part: None,
            made: MadeDirectories::default(),
            text: String::new(),
            rows: 0,
            kept: Vec::new(),
            last: None,
            locked: HashMap::new(),
            broken: None,
        }
    }

    /// An error of the operating system: one that no retry can solve ends the run.
    fn error(&self, doing: &str, error: &io::Error) -> TaskError {
        let message = format!("cannot {doing} `{}`: {error}", self.settings.path);
        let is_fatal = self.broken.is_some() || is_permanent(error);
        if is_fatal { TaskError::fatal(message) } else { TaskError::new(message) }
    }

    fn check_whole(&self) -> Result<(), TaskError> {
        match &self.broken {
            Some(why) => Err(TaskError::fatal(why.clone())),
            None => Ok(()),
        }
    }

    /// The name of a part that is begun now, with its number still open.
    fn base(&self) -> Result<String, TaskError> {
        self.template.at(self.clock.wall_nanos()).map_err(TaskError::new)
    }

    /// Seals a part that is full, or old, or whose name has another time by now.
    fn rotate(&mut self, transaction: &mut Parts) -> Result<(), TaskError> {
        let base = self.base()?;
        let Some(part) = &self.part else { return Ok(()) };
        let (size, every) = (self.settings.rotate_size, self.settings.rotate_every);
        let is_full = size.is_some_and(|size| part.len + self.text.len() as u64 >= size.0);
        let is_old = every.is_some_and(|every| self.clock.now().since(part.opened) >= every.0);
        if is_full || is_old || part.base != base { self.seal(transaction) } else { Ok(()) }
    }

    fn open_part(&mut self) -> Result<(), TaskError> {
        if self.part.is_some() {
            return Ok(());
        }
        let base = self.base()?;
        let used = self.kept.iter().chain(&self.last).filter(|(of, _)| *of == base);
        let first = used.map(|(_, number)| number + 1).max().unwrap_or(0);
        self.made.note_missing(&self.template.numbered(&base, first));
        let part = Part::create(&self.template, base, first, self.clock.now(), self.disk);
        self.part = Some(part.map_err(|error| self.error("write", &error))?);
        Ok(())
    }

    /// Writes the rows that wait, all or none, and the header before the first. After an error nothing of them is
    /// in the part.
    fn write_out(&mut self) -> io::Result<()> {
        let Some(part) = &mut self.part else { return Ok(()) };
        // It is found by its path when it is published, so its directory must not have moved either.
        if !part.is_at_its_path() {
            let before = part.path().display().to_string();
            self.made.note_missing(&part.published_path());
            part.begin_again(&self.template, self.disk)?;
            self.files_rewritten.add(1);
            slog::warn!(self.logger, "a file was removed or renamed while it was written; its rows were written again";
                "before" => before, "now" => part.path().display().to_string(), "rows" => part.rows);
        }
        if self.rows > 0 {
            let header = if part.len == 0 { self.layout.header() } else { None };
            let text = header.map(|header| header + &self.text);
            part.append(text.as_ref().unwrap_or(&self.text).as_bytes(), self.rows, false)?;
            self.text.clear();
            self.rows = 0;
        }
        Ok(())
    }

    /// Makes the part complete and durable, and puts it into the transaction.
    fn seal(&mut self, transaction: &mut Parts) -> Result<(), TaskError> {
        self.write_out().map_err(|error| self.error("write", &error))?;
        let Some(mut part) = self.part.take() else { return Ok(()) };
        if part.len == 0 {
            return part.remove().map_err(|error| self.error("remove an empty part of", &error));
        }
        let synced = part.sync().and_then(|()| self.made.sync());
        if let Err(error) = synced {
            self.broken = Some(format!("rows of `{}` may not be on the disk: {error}", self.settings.path));
            return self.check_whole();
        }
        let pending = part.path().to_string_lossy().into_owned();
        let sealed = SealedPart {
            pending: pending.clone(),
            published: part.published_path().to_string_lossy().into_owned(),
            base: part.base.clone(),
            number: part.number,
            bytes: part.len,
            rows: part.rows,
        };
        self.last = Some((part.base.clone(), part.number));
        self.locked.insert(pending, part.into_file());
        transaction.0.push(sealed);
        Ok(())
    }

    /// Counts and reports rows of a checkpoint that cannot be published.
    fn lost(&self, part: &SealedPart, why: &str) {
        self.rows_unpublished.add(part.rows);
        slog::error!(self.logger, "rows of a complete checkpoint are lost, because their file is not as it was \
            left; if it was taken away after it got its name, nothing is lost";
            "file" => &part.published, "rows" => part.rows, "why" => why);
    }
}

impl TwoPhaseSink for CommittedFile {
    type Transaction = Parts;

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.clock = context.clock().clone();
        self.logger = context.logger().clone();
        self.rows_unpublished = context.loss_counter("rows_unpublished");
        self.files_rewritten = context.counter("files_rewritten");
        self.template = Place::files_of(&self.settings.path, context, PENDING)?;
        Ok(())
    }

    /// Parts are begun with their first rows.
    fn begin(&mut self) -> Result<Parts, TaskError> {
        Ok(Parts::default())
    }

    fn write(&mut self, transaction: &mut Parts, input: Input<'_>) -> Result<(), TaskError> {
        self.check_whole()?;
        self.rotate(transaction)?;
        let row = self.text.len();
        self.layout.write_row(&mut self.text, &input)?;
        self.rows += 1;
        let written = self.open_part().and_then(|()| match self.text.len() >= BUFFER_MAX {
            true => self.write_out().map_err(|error| self.error("write", &error)),
            false => Ok(()),
        });
        if written.is_err() {
            // The rows before it are in the transaction already, and stay.
            self.text.truncate(row);
            self.rows -= 1;
        }
        written
    }

    fn pre_commit(&mut self, transaction: &mut Parts) -> Result<(), TaskError> {
        self.check_whole()?;
        self.seal(transaction)
    }

    fn commit(&mut self, transaction: &Parts) -> Result<(), TaskError> {
        let publish = |part: &SealedPart| Ok((part.clone(), part.publish()?));
        let published: io::Result<Vec<(SealedPart, Publication)>> =
            transaction.0.iter().map(publish).collect();
        // Counted when the call succeeds, because one that fails is made again.
        for (part, publication) in published.map_err(|error| self.error("publish a part of", &error))? {
            self.locked.remove(&part.pending);
            match publication {
                Publication::Done => {}
                Publication::Renamed(path) => {
                    slog::warn!(self.logger, "somebody else has the name of a file; it was published beside it";
                        "name" => &part.published, "path" => path.display().to_string());
                }
                Publication::Lost(why) => self.lost(&part, &why),
            }
        }
        Ok(())
    }

    fn abort_others(&mut self, keep: &[Parts]) -> Result<(), TaskError> {
        let keep: Vec<&SealedPart> = keep.iter().flat_map(|parts| &parts.0).collect();
        self.kept = keep.iter().map(|part| (part.base.clone(), part.number)).collect();
        let removal = remove_others(&self.template, &keep);
        let removal = removal.map_err(|error| self.error("remove what was left of", &error))?;
        for path in removal.removed {
            slog::info!(self.logger, "removed a file that belongs to no checkpoint"; "path" => path.display().to_string());
        }
        for path in removal.foreign {
            slog::warn!(self.logger, "left a file alone that has a writer, or that squall did not make";
                "path" => path.display().to_string());
        }
        Ok(())
    }
}
