//! `print`: shows rows on standard output, for people as a table or for programs as JSON lines.
//!
//! Where and how is not a setting of the topology but of the worker: the command line puts a
//! [`PrintTarget`] among the worker's resources under [`PRINT_RESOURCE`], so that one topology
//! prints a table on a terminal and JSON under `--json`. Without one, a table on standard output.
//!
//! 1. A row is acked when it was written: rows are held from `execute` to `flush`, at most
//!    1024 of them, and leave in one write, so lines of several tasks never mix.
//! 2. When the reader of a pipe is gone (`| head`), the bolt logs that once, requests an orderly
//!    end, and acks and counts what still comes: nobody is left to print for.
//! 3. Any other write error fails the rows of which nothing was written. A row that was written in
//!    part is completed first. What waiting cannot mend ends the run.
//! 4. Exactly once, rows are shown at once as well: those after the last checkpoint are shown again after a recovery.
//! 5. Control characters in a table are shown escaped: a log line cannot drive the terminal.
//!
//! A JSON line is `{"component": …, "stream": …, "values": {…}}`: the id of the print bolt, the
//! stream that the row came from, and its values by field name.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;
use smol_str::SmolStr;

use crate::api::{Bolt, HeldTuple, Input, Outputs, TaskContext, TaskError};
use crate::components::row_buffer::RowBuffer;
use crate::components::stream::{Stream, Unwritten, is_lost_device, is_permanent, write_counted};
use crate::components::{json, standard};
use crate::metrics::Counter;
use crate::text::escaped_json;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::{Fields, Value};

/// The key of the [`PrintTarget`] among the worker's resources.
pub const PRINT_RESOURCE: &str = "print";
/// Rows held before they are written without waiting for `flush`.
const HELD_MAX: usize = 1024;
/// Columns are padded up to this width; longer texts stick out.
const PADDED_MAX: usize = 40;

/// How rows are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrintStyle {
    /// A table with a header, for people.
    #[default]
    Table,
    /// One JSON object per row.
    JsonLines,
}

/// Where `print` bolts of a worker write, and how. Clones share the writer.
///
/// # Examples
/// ```
/// use squall::api::WorkerResources;
/// use squall::components::print::{PRINT_RESOURCE, PrintStyle, PrintTarget};
/// let resources = WorkerResources::default();
/// resources.set(PRINT_RESOURCE, PrintTarget::stdout(PrintStyle::JsonLines));
/// ```
#[derive(Clone)]
pub struct PrintTarget {
    style: PrintStyle,
    /// Whether it is the standard output of the process and nothing before it.
    is_stdout: bool,
    writer: Arc<Mutex<dyn Write + Send>>,
}

impl PrintTarget {
    /// Rows in this style to a writer. It is handed whole lines, and flushed after each group. What
    /// it took before an error is not written again.
    pub fn new(style: PrintStyle, writer: impl Write + Send + 'static) -> PrintTarget {
        PrintTarget { style, is_stdout: false, writer: Arc::new(Mutex::new(writer)) }
    }

    /// Rows in this style to standard output.
    pub fn stdout(style: PrintStyle) -> PrintTarget {
        PrintTarget { is_stdout: true, ..PrintTarget::new(style, Stream::stdout()) }
    }

    /// The style.
    pub fn style(&self) -> PrintStyle {
        self.style
    }

    fn write(&self, text: &[u8]) -> Result<(), Unwritten> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        write_counted(&mut *writer, text)
    }
}

/// Settings of [`Print`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrintSettings {
    /// Each task shows so many rows; more are counted and acked, not shown. Default: all.
    pub limit: Option<u64>,
    /// Show only every so many-th row, beginning with the first. Default: 1, every row.
    pub every: Option<u64>,
}

/// The bolt `print`.
pub struct Print {
    settings: PrintSettings,
    component: SmolStr,
    /// Whether rows come from several streams, so that each table names its stream.
    several_sources: bool,
    target: PrintTarget,
    table: Table,
    rows: RowBuffer,
    seen: u64,
    shown: u64,
    /// Nobody reads any more: rows are acked and counted.
    closed: bool,
    rows_unread: Counter,
}

impl Print {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When `every` is 0.
    pub fn new(settings: PrintSettings) -> Result<Print, SettingError> {
        if settings.every == Some(0) {
            return Err(SettingError::at("every", "must be at least 1"));
        }
        Ok(Print {
            settings,
            component: SmolStr::default(),
            several_sources: false,
            target: PrintTarget::stdout(PrintStyle::Table),
            table: Table::default(),
            rows: RowBuffer::default(),
            seen: 0,
            shown: 0,
            closed: false,
            rows_unread: Counter::default(),
        })
    }

    /// Whether the next row is one to show; counts it.
    fn wants_next(&mut self) -> bool {
        let nth = self.seen;
        self.seen += 1;
        let due = nth.is_multiple_of(self.settings.every.unwrap_or(1));
        let room = self.settings.limit.is_none_or(|limit| self.shown < limit);
        self.rows_unread.add(u64::from(due && room && self.closed));
        self.shown += u64::from(due && room && !self.closed);
        due && room && !self.closed
    }

    /// The text of the held rows, where each ends, and which of them begin a table.
    fn format_held(&mut self) -> (String, Vec<usize>, Vec<usize>) {
        let (mut text, mut ends, mut begins) = (String::new(), Vec::new(), Vec::new());
        match self.target.style {
            PrintStyle::Table => {
                let rows = self.rows.rows();
                begins = self.table.format(&mut text, &mut ends, rows, self.several_sources);
            }
            PrintStyle::JsonLines => {
                for row in self.rows.rows() {
                    let start = text.len();
                    json_line(&mut text, &self.component, row);
                    // It may be a terminal that reads it.
                    if let Cow::Owned(escaped) = escaped_json(&text[start..]) {
                        text.replace_range(start.., &escaped);
                    }
                    ends.push(text.len());
                }
            }
        }
        (text, ends, begins)
    }

    /// Writes what is held, and acks or fails it. An error that it returns ends the run.
    fn write_held(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.closed {
            self.rows_unread.add(self.rows.ack_unread(out));
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let (text, ends, begins) = self.format_held();
        self.rows.set_text(text, ends);
        let target = &self.target;
        let Err((begun, error)) = self.rows.write(out, |bytes| target.write(bytes)) else { return Ok(()) };
        // The header of a table that was not begun comes with its first row once more.
        if begins.iter().any(|row| *row >= begun) {
            self.table.forget();
        }
        self.after_failed_write(&error, out)
    }

    /// Decides what a failed write means for the run, and for the rows that were not written.
    fn after_failed_write(&mut self, error: &io::Error, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if error.kind() == ErrorKind::BrokenPipe {
            self.closed = true;
            self.rows_unread.add(self.rows.ack_unread(out));
            out.report_error(TaskError::new("nobody reads standard output any more; ending"));
            out.request_drain();
            return Ok(());
        }
        self.rows.fail_unwritten(out);
        let message = format!("cannot write to standard output: {error}");
        if is_permanent(error) || is_lost_device(error) {
            return Err(TaskError::fatal(message));
        }
        out.report_error(TaskError::new(message));
        Ok(())
    }
}

impl Bolt for Print {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.component = SmolStr::new(context.component());
        self.several_sources = context.inputs().len() > 1;
        self.rows_unread = context.counter("rows_unread");
        if let Some(target) = context.resources().get::<PrintTarget>(PRINT_RESOURCE) {
            self.target = (*target).clone();
        }
        if self.target.is_stdout && standard::closed().output {
            return Err(TaskError::fatal(
                "standard output was closed when squall was started; redirect it, to /dev/null if nobody wants the rows",
            ));
        }
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.wants_next() {
            self.rows.hold(out.hold(input));
        }
        if self.rows.rows().len() >= HELD_MAX {
            // Reported and not returned: a call that fails takes back the acks of rows that are written.
            self.write_held(out).unwrap_or_else(|error| out.report_error(error));
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.write_held(out)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let written = self.write_held(out);
        self.rows.fail_torn(out);
        written?;
        let hidden = self.seen - self.shown;
        if hidden > 0 && !self.closed && self.target.style == PrintStyle::Table {
            let note = format!("({hidden} more)\n");
            self.target.write(note.as_bytes()).map_err(|unwritten| unwritten.error)?;
        }
        Ok(())
    }
}

fn json_line(text: &mut String, component: &str, row: &HeldTuple) {
    text.push_str("{\"component\":");
    json::write_str(text, component);
    text.push_str(",\"stream\":");
    json::write_str(text, row.source_stream());
    text.push_str(",\"values\":");
    json::write_row(text, row.fields(), row.values());
    text.push_str("}\n");
}

/// What was printed last, so that the next rows continue its columns.
#[derive(Debug, Default)]
struct Table {
    source: Option<(SmolStr, SmolStr, Fields)>,
    widths: Vec<usize>,
}

impl Table {
    /// Appends rows, and where each ends. Returns which of them begin a table.
    fn format(
        &mut self,
        text: &mut String,
        ends: &mut Vec<usize>,
        rows: &[HeldTuple],
        name_sources: bool,
    ) -> Vec<usize> {
        let mut table_begins = Vec::new();
        let same = |a: &HeldTuple, b: &HeldTuple| {
            (a.source_component(), a.source_stream()) == (b.source_component(), b.source_stream())
        };
        for group in rows.chunk_by(same) {
            let cells: Vec<Vec<String>> =
                group.iter().map(|row| row.values().iter().map(cell).collect()).collect();
            let begins = self.begin(&group[0]);
            for row in &cells {
                for (width, cell) in self.widths.iter_mut().zip(row) {
                    *width = (*width).max(cell.chars().count().min(PADDED_MAX));
                }
            }
            if begins {
                table_begins.push(ends.len());
                self.header(text, &group[0], name_sources);
            }
            for (row, cells) in group.iter().zip(&cells) {
                self.line(
                    text,
                    cells.iter().zip(row.values()).map(|(cell, value)| (cell.as_str(), is_number(value))),
                );
                ends.push(text.len());
            }
        }
        table_begins
    }

    /// The next row begins a table again.
    fn forget(&mut self) {
        self.source = None;
    }

    /// Starts a new table if the row is of another source; returns whether it did.
    fn begin(&mut self, row: &HeldTuple) -> bool {
        let same = |(component, stream, fields): &(SmolStr, SmolStr, Fields)| {
            component == row.source_component() && stream == row.source_stream() && fields == row.fields()
        };
        if self.source.as_ref().is_some_and(same) {
            return false;
        }
        let (component, stream) = (SmolStr::new(row.source_component()), SmolStr::new(row.source_stream()));
        self.source = Some((component, stream, row.fields().clone()));
        self.widths = row.fields().iter().map(|field| field.chars().count()).collect();
        true
    }

    fn header(&self, text: &mut String, first: &HeldTuple, name_source: bool) {
        if name_source {
            let _ = writeln!(text, "{}.{}:", first.source_component(), first.source_stream());
        }
        let numbers = first.values().iter().map(is_number);
        self.line(text, first.fields().iter().map(SmolStr::as_str).zip(numbers));
        let rules: Vec<String> = self.widths.iter().map(|width| "-".repeat(*width)).collect();
        let _ = writeln!(text, "{}", rules.join("  "));
    }

    fn line<'a>(&self, text: &mut String, cells: impl Iterator<Item = (&'a str, bool)>) {
        let start = text.len();
        for (index, (cell, right)) in cells.enumerate() {
            let gap = if index > 0 { "  " } else { "" };
            let width = self.widths[index];
            let _ =
                if right { write!(text, "{gap}{cell:>width$}") } else { write!(text, "{gap}{cell:<width$}") };
        }
        text.truncate(start + text[start..].trim_end_matches(' ').len());
        text.push('\n');
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::I64(_) | Value::F64(_))
}

fn cell(value: &Value) -> String {
    let shown = match value {
        // A float is one at sight: `0.0` and not `0`, also within a list.
        Value::F64(number) => format!("{number:?}"),
        other => other.to_string(),
    };
    if !shown.contains(char::is_control) {
        return shown;
    }
    let mut escaped = String::with_capacity(shown.len());
    for c in shown.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt(
            "print",
            "Shows rows on standard output, as a table or as JSON lines.",
            |settings: &PrintSettings| Print::new(settings.clone()),
        )
        .output("none")
        .example(
            r#"
[bolt.print]
type = "print"
inputs = [{ from = "count", grouping = "global" }]
config = { limit = 100 }
"#,
        )
        .blocking();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::InputInfo;
    use crate::components::test_support::bolt_with;
    use crate::testing::{BoltHarness, HarnessOptions, TestTuple};

    /// Collects what is written, or fails as the test set it.
    #[derive(Clone, Default)]
    struct Paper {
        written: Arc<Mutex<Vec<u8>>>,
        broken: Option<ErrorKind>,
        /// How many bytes fit on it, if they are bounded. Then the disk is full.
        room: Option<Arc<Mutex<usize>>>,
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.written.lock().expect("no test panics while it writes").clone())
                .expect("it is text")
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.room.as_ref().map(|room| room.lock().expect("no test panics while it writes"));
            let fits = room.as_ref().map_or(bytes.len(), |room| bytes.len().min(**room));
            room.into_iter().for_each(|mut room| *room -= fits);
            match self.broken {
                Some(kind) => Err(kind.into()),
                None if fits == 0 => Err(ErrorKind::StorageFull.into()),
                None => self.written.lock().expect("no test panics while it writes").write(&bytes[..fits]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printer(style: PrintStyle, paper: &Paper, config: &str, sources: usize) -> BoltHarness {
        let mut options = HarnessOptions { component: "show".to_owned(), ..HarnessOptions::default() };
        options.resources.set(PRINT_RESOURCE, PrintTarget::new(style, paper.clone()));
        let input = InputInfo {
            component: "a".into(),
            stream: "default".into(),
            grouping: "global".to_owned(),
            key: Fields::default(),
        };
        options.inputs = vec![input; sources];
        bolt_with("print", config, &options)
    }

    fn row(word: &str, n: i64) -> TestTuple {
        TestTuple::new((word, n)).fields(["word", "count"])
    }

    #[test]
    fn a_table_aligns_its_columns() {
        let paper = Paper::default();
        let mut print = printer(PrintStyle::Table, &paper, "", 1);
        print.execute(row("the", 726));
        print.execute(row("people", 7));
        assert_eq!(
            (paper.text().as_str(), print.acked().len()),
            ("", 0),
            "rows are held until they are written"
        );
        print.flush();
        print.execute(row("a\tb", 1));
        print.flush();
        let table = "\
word    count
------  -----
the       726
people      7
a\\tb        1
";
        assert_eq!(paper.text(), table);
        assert_eq!(print.acked(), [0, 1, 2]);
    }

    #[test]
    fn tables_of_several_sources_name_them() {
        let paper = Paper::default();
        let mut print = printer(PrintStyle::Table, &paper, "", 2);
        print.execute(TestTuple::new([1]).fields(["n"]).from("a", "default"));
        print.execute(TestTuple::new(["x"]).fields(["line"]).from("b", "rejected"));
        print.flush();
        assert_eq!(paper.text(), "a.default:\nn\n-\n1\nb.rejected:\nline\n----\nx\n");
    }

    #[test]
    fn json_lines_name_the_print_bolt_and_the_stream() {
        let paper = Paper::default();
        let mut print = printer(PrintStyle::JsonLines, &paper, "", 1);
        print.execute(row("a \"b\"", 1).from("count", "hot"));
        print.flush();
        let line = r#"{"component":"show","stream":"hot","values":{"word":"a \"b\"","count":1}}"#;
        assert_eq!(paper.text(), format!("{line}\n"));
    }

    /// Serde leaves the control characters beyond ASCII as they are; a terminal executes them.
    #[test]
    fn json_lines_hold_no_control_sequences() {
        let paper = Paper::default();
        let mut print = printer(PrintStyle::JsonLines, &paper, "", 1);
        print.execute(row("\u{9b}31m\u{1b}[0m\u{7f}", 1).from("count", "hot"));
        print.flush();
        assert!(paper.text().contains(r#""word":"\u009b31m\u001b[0m\u007f""#), "{}", paper.text());
    }

    #[test]
    fn limit_and_every_hide_rows_but_ack_them() {
        let paper = Paper::default();
        let mut print = printer(PrintStyle::Table, &paper, "limit = 2\nevery = 3", 1);
        for n in 0..10 {
            print.execute(TestTuple::new([n]).fields(["n"]));
        }
        print.finish();
        assert_eq!(paper.text(), "n\n-\n0\n3\n(8 more)\n");
        assert_eq!(print.acked().len(), 10);
    }

    #[test]
    fn a_closed_pipe_ends_the_topology_in_order() {
        let paper = Paper { broken: Some(ErrorKind::BrokenPipe), ..Paper::default() };
        let mut print = printer(PrintStyle::Table, &paper, "", 1);
        print.execute(row("a", 1));
        print.flush();
        print.execute(row("b", 1));
        print.finish();
        assert!(print.drain_requested());
        assert_eq!((print.errors().len(), print.acked()), (1, &[0, 1][..]));
        assert_eq!(print.counter("rows_unread"), 2);
    }

    fn with_room(room: usize) -> (Paper, Arc<Mutex<usize>>) {
        let room = Arc::new(Mutex::new(room));
        (Paper { room: Some(Arc::clone(&room)), ..Paper::default() }, room)
    }

    /// A write that failed in the middle of a row left half a row, and all rows came again.
    #[test]
    fn a_row_that_was_written_in_part_is_completed_and_not_repeated() {
        let (paper, room) = with_room(10);
        let mut print = printer(PrintStyle::Table, &paper, "", 1);
        print.execute_all([1, 22222, 3].map(|n| TestTuple::new([n]).fields(["n"])));
        print.flush();
        assert_eq!(paper.text(), "    n\n----", "the table was begun");
        assert_eq!((print.acked(), print.failed().len(), print.held()), (&[][..], 2, vec![0]));
        *room.lock().expect("no test panics while it writes") = 12;
        print.execute_all([22222, 3].map(|n| TestTuple::new([n]).fields(["n"])));
        print.flush();
        assert_eq!(print.held(), [3], "the first row is complete, and the second was begun");
        *room.lock().expect("no test panics while it writes") = 1000;
        print.execute(TestTuple::new([3]).fields(["n"]));
        print.finish();
        assert_eq!(paper.text(), "    n\n-----\n    1\n22222\n    3\n");
        assert_eq!((print.acked(), print.failed().len()), (&[0, 3, 5][..], 3));
    }

    #[test]
    fn a_table_that_was_not_begun_has_its_header_once_more() {
        let (paper, room) = with_room(0);
        let mut print = printer(PrintStyle::Table, &paper, "", 1);
        print.execute(TestTuple::new([1]).fields(["n"]));
        print.flush();
        *room.lock().expect("no test panics while it writes") = 1000;
        print.execute(TestTuple::new([1]).fields(["n"]));
        print.flush();
        assert_eq!(paper.text(), "n\n-\n1\n");
    }

    #[test]
    fn a_row_that_stays_torn_fails_at_the_end() {
        let (paper, _) = with_room(1);
        let mut print = printer(PrintStyle::JsonLines, &paper, "", 1);
        print.execute(row("a", 1));
        print.finish();
        assert_eq!((print.acked().len(), print.failed().len(), print.held().len()), (0, 1, 0));
    }

    #[test]
    fn floats_differ_from_integers() {
        let paper = Paper::default();
        let mut print = printer(PrintStyle::Table, &paper, "", 1);
        let list = Value::list([Value::from(0), Value::from(0.0)]);
        print.execute(TestTuple::new((0, 0.0, 2.5, list)).fields(["i", "f", "g", "list"]));
        print.flush();
        assert_eq!(paper.text(), "i    f    g  list\n-  ---  ---  --------\n0  0.0  2.5  [0, 0.0]\n");
    }

    #[test]
    fn a_full_disk_fails_the_rows() {
        let paper = Paper { broken: Some(ErrorKind::StorageFull), ..Paper::default() };
        let mut print = printer(PrintStyle::Table, &paper, "", 1);
        print.execute(row("a", 1));
        print.flush();
        assert_eq!((print.failed().len(), print.errors().len(), print.drain_requested()), (1, 1, false));
    }
}
