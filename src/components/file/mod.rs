//! `file`: writes rows to part files, one at a time per task.
//!
//! ```text
//!  execute: format, hold ──> flush: one write() ──> [fsync] ──> ack all of them
//!                                   │
//!                                   └─ fails: cut the file back, fail all of them, report
//! ```
//!
//! 1. A tuple is acked when its bytes are with the operating system, or on the disk (`sync`).
//!    Killed at any point, the file holds every acked row; rows written and not acked come again.
//! 2. A file is written as `NAME.inprogress` and renamed when it is rotated and when the topology
//!    ends, so readers see whole files only. A file that exists is never replaced.
//! 3. What a killed task left unpublished its successor publishes, without the torn last row.
//! 4. Memory is bounded: 256 KiB or 16,384 rows are written without waiting for
//!    `flush`.

mod part;
mod path;
mod rows;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{Bolt, HeldTuple, Input, Outputs, TaskContext, TaskError};
use crate::clock::Clock;
use crate::components::file::part::{Disk, Part};
use crate::components::file::path::PathTemplate;
use crate::components::positions::Positions;
use crate::components::settings::{ByteSize, Period};
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::Fields;

pub use rows::Format;

/// Bytes that are written without waiting for more.
const BUFFER_MAX: usize = 256 << 10;
/// Rows that are written without waiting for more.
const HELD_MAX: usize = 16 << 10;

/// Settings of [`File`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// The file's name, relative to the working directory. `{task}` is the task's index, `{seq}` a
    /// number that makes the name new, and strftime's `%Y-%m-%d` the time the file was begun
    /// (UTC). Directories are made. When the time in the name changes the file is rotated. A
    /// device or pipe is written to as it is. Required.
    pub path: String,
    /// How rows are written: `"text"`, `"csv"` or `"jsonl"`. Default: by the extension of `path`
    /// (`csv`; `jsonl`, `ndjson`, `json`), otherwise text.
    #[serde(default)]
    pub format: Option<Format>,
    /// The fields that are written. Default: all. The rows of one CSV file have the same fields.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
    /// With CSV: whether each file begins with the names of the fields. Default: true.
    #[serde(default = "header")]
    pub header: bool,
    /// With text: what stands between values. Default: a tab.
    #[serde(default = "separator")]
    pub separator: String,
    /// Begin a new file when one has reached this size. Default: never.
    #[serde(default)]
    pub rotate_size: Option<ByteSize>,
    /// Begin a new file when one is this old, as a duration; looked at when rows come and at the
    /// component's `tick`. Default: never.
    #[serde(default)]
    pub rotate_every: Option<Period>,
    /// Whether rows are on the disk (fsync), not only with the operating system, before they are
    /// acked. Default: false.
    #[serde(default)]
    pub sync: bool,
}

fn header() -> bool {
    true
}

fn separator() -> String {
    "\t".to_owned()
}

/// The bolt `file`.
pub struct File {
    settings: FileSettings,
    format: Format,
    /// Of the fields to write, if they are named.
    positions: Option<Positions>,
    /// The columns, which are the first row's if none are named.
    columns: Option<Fields>,
    template: PathTemplate,
    clock: Clock,
    disk: Disk,
    part: Option<Part>,
    /// The name of the file before, and its number: where to look for the next free one.
    last: (String, u64),
    /// The rows of `held`, formatted.
    buffer: String,
    held: Vec<HeldTuple>,
}

impl File {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When the path is no template, or a limit is 0.
    pub fn new(settings: FileSettings) -> Result<File, SettingError> {
        PathTemplate::check(&settings.path).map_err(|why| SettingError::at("path", why))?;
        if settings.rotate_size == Some(ByteSize(0)) {
            return Err(SettingError::at("rotate_size", "must be at least 1B"));
        }
        if settings.rotate_every.is_some_and(|every| every.0.is_zero()) {
            return Err(SettingError::at("rotate_every", "must be more than nothing"));
        }
        let format = settings.format.unwrap_or_else(|| Format::of_path(&settings.path));
        let positions = settings.fields.as_ref().map(Positions::of);
        let columns = settings.fields.as_ref().map(|fields| fields.iter().collect());
        let template = PathTemplate::for_task(&settings.path, 0, 1);
        Ok(File {
            settings,
            format,
            positions,
            columns,
            template,
            clock: Clock::simulated(),
            disk: part::disk,
            part: None,
            last: (String::new(), 0),
            buffer: String::new(),
            held: Vec::new(),
        })
    }

    fn format_row(&mut self, input: &Input<'_>) -> Result<(), TaskError> {
        let (format, separator, text) = (self.format, &self.settings.separator, &mut self.buffer);
        if let Some(positions) = &mut self.positions {
            let positions = positions.resolve(input)?;
            let row = positions.iter().map(|position| &input.values()[*position]);
            let columns = self.columns.as_ref().expect("named fields are the columns");
            rows::write_row(text, format, separator, columns, row);
            return Ok(());
        }
        let columns = self.columns.get_or_insert_with(|| input.fields().clone());
        if format == Format::Csv && columns != input.fields() {
            let found = input.fields();
            return Err(TaskError::new(format!(
                "the columns of the file are {columns}; the row has {found}"
            )));
        }
        rows::write_row(text, format, separator, input.fields(), input.values().iter());
        Ok(())
    }

    /// Writes what is held, and acks or fails it.
    fn write_held(&mut self, out: &mut Outputs<'_>) {
        if !self.held.is_empty() {
            match self.try_write() {
                Ok(()) => self.held.drain(..).for_each(|row| out.ack(row)),
                Err(error) => {
                    out.report_error(error);
                    self.held.drain(..).for_each(|row| out.fail(row));
                }
            }
            self.buffer.clear();
        }
        let full = |part: &Part| self.settings.rotate_size.is_some_and(|size| part.len >= size.0);
        if self.part.as_ref().is_some_and(full) {
            self.publish_or_report(out);
        }
    }

    fn try_write(&mut self) -> Result<(), TaskError> {
        let base = self.template.at(self.clock.wall_nanos()).map_err(TaskError::new)?;
        self.rotate_if_old(&base)?;
        let named = |error| TaskError::new(format!("cannot write `{}`: {error}", self.settings.path));
        let part = match &mut self.part {
            Some(part) => part,
            None => {
                let first = if self.last.0 == base { self.last.1 + 1 } else { 0 };
                let now = self.clock.now();
                let part = Part::create(&self.template, base, first, now, self.disk).map_err(named)?;
                self.part.insert(part)
            }
        };
        if part.len == 0 && self.format == Format::Csv && self.settings.header {
            let mut header = String::new();
            rows::write_header(&mut header, self.columns.as_ref().expect("a row was formatted"));
            self.buffer.insert_str(0, &header);
        }
        part.append(self.buffer.as_bytes(), self.settings.sync).map_err(named)
    }

    fn rotate_if_old(&mut self, base: &str) -> Result<(), TaskError> {
        let now = self.clock.now();
        let every = self.settings.rotate_every;
        let is_old =
            |part: &Part| part.base != base || every.is_some_and(|every| now.since(part.opened) >= every.0);
        if self.part.as_ref().is_some_and(is_old) { self.publish() } else { Ok(()) }
    }

    fn publish(&mut self) -> Result<(), TaskError> {
        let Some(part) = self.part.take() else { return Ok(()) };
        self.last = (part.base.clone(), part.number);
        let named = |error| TaskError::new(format!("cannot publish `{}`: {error}", self.settings.path));
        part.publish(self.settings.sync).map_err(named)
    }

    fn publish_or_report(&mut self, out: &mut Outputs<'_>) {
        if let Err(error) = self.publish() {
            out.report_error(error);
        }
    }
}

impl Bolt for File {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.clock = context.clock().clone();
        self.template =
            PathTemplate::for_task(&self.settings.path, context.task_index(), context.parallelism());
        for path in part::recover(&self.template, self.format, self.settings.sync)? {
            let path = path.display().to_string();
            slog::warn!(context.logger(), "published a file that was left unfinished"; "path" => path);
        }
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.format_row(&input)?;
        self.held.push(out.hold(input));
        if self.buffer.len() >= BUFFER_MAX || self.held.len() >= HELD_MAX {
            self.write_held(out);
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.write_held(out);
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.write_held(out);
        let base = self.template.at(self.clock.wall_nanos()).map_err(TaskError::new)?;
        self.rotate_if_old(&base)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.write_held(out);
        self.publish()
    }

    /// Rows that are still held were not acked and are not written.
    fn cleanup(&mut self) {
        // An unpublished file is found by the next start.
        let _ = self.publish();
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt("file", "Writes rows to files as text, CSV or JSON lines.", |settings: &FileSettings| {
            File::new(settings.clone())
        })
        .output("none")
        .example(
            r#"
[bolt.store]
type = "file"
parallelism = 2
inputs = ["parse"]
config = { path = "out/%Y-%m-%d/hits-{task}.csv", rotate_size = "64MiB", sync = true }
"#,
        )
        .blocking();
}
