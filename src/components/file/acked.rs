//! `file` at least once and at most once: rows are acked when they are written.
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
//!    ends, so readers see whole files only. Nothing that exists is ever replaced.
//! 3. What a killed task left unpublished its successor publishes, without the torn last row.
//! 4. Memory is bounded: 256 KiB or 16,384 rows are written without waiting for
//!    `flush`.
//! 5. An acked row that did not get into a published file is counted as a loss, so that the run
//!    does not exit with 0.
//! 6. What waiting cannot mend (a name that is too long, a directory that cannot be written to) ends
//!    the run; a full disk fails rows, which are replayed later.
//! 7. Streams (see `place`) are written in place, as `print` writes standard output.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::api::{Bolt, Input, Outputs, TaskContext, TaskError};
use crate::clock::Clock;
use crate::components::file::layout::Layout;
use crate::components::file::part::{self, Disk, Part};
use crate::components::file::path::PathTemplate;
use crate::components::file::place::Place;
use crate::components::file::settings::FileSettings;
use crate::components::row_buffer::RowBuffer;
use crate::components::stream::{Stream, Unwritten, is_lost_device, is_permanent, write_counted};
use crate::metrics::Counter;

/// Bytes that are written without waiting for more.
const BUFFER_MAX: usize = 256 << 10;
/// Rows that are written without waiting for more.
pub(super) const HELD_MAX: usize = 16 << 10;

/// The bolt `file` at least once and at most once. See the [module](self).
pub(super) struct AckedFile {
    settings: FileSettings,
    layout: Layout,
    template: PathTemplate,
    /// The path of this task, if it may be that of a stream.
    stream_path: Option<String>,
    clock: Clock,
    logger: slog::Logger,
    counts: Counts,
    pub(super) disk: Disk,
    target: Option<Target>,
    /// The name of the file before, and its number: where to look for the next free one.
    last: (String, u64),
    rows: RowBuffer,
    /// Nobody reads the stream any more: rows are acked and counted.
    closed: bool,
}

/// What rows are written to.
enum Target {
    Part(Part),
    Stream {
        stream: Stream,
        /// A pipe by its name: another reader may open it later.
        is_named: bool,
        /// The header was begun, or there is none.
        begun: bool,
    },
}

/// What the task counts.
#[derive(Clone, Default)]
struct Counts {
    /// Loss: acked rows whose file did not get its name.
    rows_unpublished: Counter,
    /// Files that somebody removed or renamed while they were written, and that were written again.
    files_rewritten: Counter,
    /// Rows acked and not written, because nobody reads the stream any more.
    rows_unread: Counter,
}

impl AckedFile {
    /// A bolt with these settings, which were checked.
    pub(super) fn new(settings: FileSettings) -> AckedFile {
        let template = PathTemplate::for_task(&settings.path, 0, 1);
        let stream_path = PathTemplate::of_stream(&settings.path, 0);
        AckedFile {
            layout: Layout::new(&settings),
            settings,
            template,
            stream_path,
            clock: Clock::simulated(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            counts: Counts::default(),
            disk: part::disk,
            target: None,
            last: (String::new(), 0),
            rows: RowBuffer::default(),
            closed: false,
        }
    }

    /// Writes what is held, and acks or fails it. An error that it returns ends the run.
    fn write_held(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.closed {
            self.counts.rows_unread.add(self.rows.ack_unread(out));
        }
        if !self.rows.is_empty() {
            // The rows go to the next file, whatever became of the one before.
            self.rotate_if_old().unwrap_or_else(|error| out.report_error(error));
            let written = match self.make_ready() {
                Ok(()) => self.write_ready(out),
                Err(error) => {
                    let mut error = Some(error);
                    self.rows.write(out, |_| {
                        let error = error.take().unwrap_or_else(|| ErrorKind::Other.into());
                        Err(Unwritten { written: 0, error })
                    })
                }
            };
            if let Err((_, error)) = written {
                self.after_failed_write(&error, out)?;
            }
        }
        let full = |part: &Part| self.settings.rotate_size.is_some_and(|size| part.len >= size.0);
        if matches!(&self.target, Some(Target::Part(part)) if full(part)) {
            self.publish_or_report(out);
        }
        Ok(())
    }

    /// Opens what is written to, if it is not open, and puts the header before the first row.
    fn make_ready(&mut self) -> io::Result<()> {
        match &mut self.target {
            Some(Target::Part(part)) if !part.is_in_place() => self.write_again()?,
            Some(_) => {}
            None => self.target = Some(self.open()?),
        }
        let is_begun = match &self.target {
            Some(Target::Part(part)) => part.len > 0,
            Some(Target::Stream { begun, .. }) => *begun,
            None => true,
        };
        if !is_begun
            && !self.rows.rows().is_empty()
            && let Some(header) = self.layout.header()
        {
            self.rows.put_before(&header);
        }
        Ok(())
    }

    fn open(&self) -> io::Result<Target> {
        let place = self.stream_path.as_deref().map_or(Place::Files, Place::of);
        if let Some(stream) = place.open()? {
            let is_named = matches!(place, Place::Special(_));
            return Ok(Target::Stream { stream, is_named, begun: false });
        }
        let base = self.template.at(self.clock.wall_nanos()).map_err(io::Error::other)?;
        let first = if self.last.0 == base { self.last.1 + 1 } else { 0 };
        Part::create(&self.template, base, first, self.clock.now(), self.disk).map(Target::Part)
    }

    fn write_ready(&mut self, out: &mut Outputs<'_>) -> Result<(), (usize, io::Error)> {
        let (count, sync) = (self.rows.rows().len() as u64, self.settings.sync);
        match self.target.as_mut().expect("it was made ready") {
            Target::Part(part) => self.rows.write(out, |bytes| {
                part.append(bytes, count, sync).map_err(|error| Unwritten { written: 0, error })
            }),
            Target::Stream { stream, begun, .. } => {
                let written = self.rows.write(out, |bytes| {
                    write_counted(stream, bytes)?;
                    let synced = if sync { stream.sync() } else { Ok(()) };
                    // What is written may not come again, whether it is on the disk or not.
                    synced.map_err(|error| Unwritten { written: bytes.len(), error })
                });
                *begun |= written.as_ref().map_or_else(|(rows, _)| *rows, |()| 1) > 0;
                written
            }
        }
    }

    /// Decides what a failed write means for the run, and for the rows that were not written.
    fn after_failed_write(&mut self, error: &io::Error, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let message = format!("cannot write `{}`: {error}", self.settings.path);
        let Some(Target::Stream { is_named, .. }) = self.target else {
            self.rows.fail_unwritten(out);
            return if is_permanent(error) { Err(TaskError::fatal(message)) } else { report(out, message) };
        };
        match error.kind() {
            ErrorKind::BrokenPipe if is_named => {
                // The next reader begins with a whole row.
                self.rows.fail_all(out);
                self.target = None;
                report(out, message)
            }
            ErrorKind::BrokenPipe => {
                self.closed = true;
                out.request_drain();
                self.counts.rows_unread.add(self.rows.ack_unread(out));
                report(out, format!("nobody reads `{}` any more; ending", self.settings.path))
            }
            _ => {
                self.rows.fail_unwritten(out);
                let ends_run = is_permanent(error) || is_lost_device(error);
                if ends_run { Err(TaskError::fatal(message)) } else { report(out, message) }
            }
        }
    }

    /// Copies the rows of a part that somebody removed or renamed into a new file.
    fn write_again(&mut self) -> io::Result<()> {
        let Some(Target::Part(part)) = &mut self.target else { return Ok(()) };
        let before = part.path().display().to_string();
        // Never a permanent error: with the end of the run the rows in the open file would be lost,
        // and whoever removed it may make room for the new one.
        part.begin_again(&self.template, self.disk).map_err(|error| {
            io::Error::other(format!("`{before}` was removed or renamed, and a new file fails: {error}"))
        })?;
        self.counts.files_rewritten.add(1);
        slog::warn!(self.logger, "a file was removed or renamed while it was written; its rows were written again";
            "before" => before, "now" => part.path().display().to_string(), "rows" => part.rows);
        Ok(())
    }

    fn rotate_if_old(&mut self) -> Result<(), TaskError> {
        let base = self.template.at(self.clock.wall_nanos()).map_err(TaskError::new)?;
        let now = self.clock.now();
        let every = self.settings.rotate_every;
        let is_old =
            |part: &Part| part.base != base || every.is_some_and(|every| now.since(part.opened) >= every.0);
        let is_due = matches!(&self.target, Some(Target::Part(part)) if is_old(part));
        if is_due { self.publish() } else { Ok(()) }
    }

    /// Gives the file its name, if there is one. What that fails for is counted as lost, and is
    /// published by the next start if it can be.
    fn publish(&mut self) -> Result<(), TaskError> {
        let in_place = match &self.target {
            None | Some(Target::Stream { .. }) => return Ok(()),
            Some(Target::Part(part)) => part.len == 0 || part.is_in_place(),
        };
        let written_again = if in_place { Ok(()) } else { self.write_again() };
        let Some(Target::Part(mut part)) = self.target.take() else { return Ok(()) };
        self.last = (part.base.clone(), part.number);
        let published = written_again.and_then(|()| part.publish(self.settings.sync));
        match published {
            Ok(Some(published)) if published.moved => {
                let path = published.path.display().to_string();
                slog::warn!(self.logger, "the directory was moved while a file was written; it was published there";
                    "path" => path);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.unpublished(&part, &error)),
        }
    }

    fn unpublished(&self, part: &Part, error: &io::Error) -> TaskError {
        self.counts.rows_unpublished.add(part.rows);
        let (rows, path) = (part.rows, part.path());
        let whereabouts = if part.is_in_place() {
            format!("its {rows} rows are in `{}`", path.display())
        } else {
            format!("its {rows} rows are lost")
        };
        TaskError::new(format!("cannot publish `{}`: {error}; {whereabouts}", self.settings.path))
    }

    fn publish_or_report(&mut self, out: &mut Outputs<'_>) {
        if let Err(error) = self.publish() {
            out.report_error(error);
        }
    }
}

/// Reports an error that waiting may mend.
fn report(out: &mut Outputs<'_>, message: String) -> Result<(), TaskError> {
    out.report_error(TaskError::new(message));
    Ok(())
}

impl Bolt for AckedFile {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.clock = context.clock().clone();
        self.logger = context.logger().clone();
        self.counts = Counts {
            rows_unpublished: context.loss_counter("rows_unpublished"),
            files_rewritten: context.counter("files_rewritten"),
            rows_unread: context.counter("rows_unread"),
        };
        let (task, tasks) = (context.task_index(), context.parallelism());
        self.template = PathTemplate::for_task(&self.settings.path, task, tasks);
        self.stream_path = PathTemplate::of_stream(&self.settings.path, task);
        match self.stream_path.as_deref().map_or(Place::Files, Place::of) {
            Place::Files => self.publish_leftovers(),
            place @ Place::Descriptor(_) => match place.open() {
                Ok(Some(stream)) if stream.was_closed() => Err(TaskError::fatal(format!(
                    "cannot write `{}`: it was closed when squall was started",
                    self.settings.path
                ))),
                Ok(_) => Ok(()),
                Err(error) => {
                    Err(TaskError::fatal(format!("cannot write `{}`: {error}", self.settings.path)))
                }
            },
            Place::Special(_) => Ok(()),
        }
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.closed {
            self.counts.rows_unread.add(1);
            return Ok(());
        }
        self.layout.write_row(&mut self.rows.text, &input)?;
        self.rows.hold(out.hold(input));
        self.rows.end_row();
        if self.rows.text.len() >= BUFFER_MAX || self.rows.rows().len() >= HELD_MAX {
            // Reported and not returned: a call that fails takes back the acks of rows that are written.
            self.write_held(out).unwrap_or_else(|error| out.report_error(error));
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.write_held(out)
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.write_held(out).unwrap_or_else(|error| out.report_error(error));
        self.rotate_if_old().unwrap_or_else(|error| out.report_error(error));
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let written = self.write_held(out);
        self.rows.fail_torn(out);
        self.publish()?;
        written
    }

    /// Rows that are still held were not acked and are not written.
    fn cleanup(&mut self) {
        if let Err(error) = self.publish() {
            slog::error!(self.logger, "{}", error);
        }
    }
}

impl AckedFile {
    fn publish_leftovers(&self) -> Result<(), TaskError> {
        let leftovers =
            part::recover(&self.template, self.settings.format(), self.settings.sync).map_err(|error| {
                let message = format!("cannot publish what was left of `{}`: {error}", self.settings.path);
                if is_permanent(&error) { TaskError::fatal(message) } else { TaskError::new(message) }
            })?;
        let shown = |path: &PathBuf| path.display().to_string();
        for path in leftovers.published.iter().map(shown) {
            slog::warn!(self.logger, "published a file that was left unfinished"; "path" => path);
        }
        for path in leftovers.foreign.iter().map(shown) {
            slog::warn!(self.logger, "left a file alone that squall did not make, or another user"; "path" => path);
        }
        Ok(())
    }
}
