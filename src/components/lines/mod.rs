//! `lines`: the lines of files, of files that grow, or of standard input.
//!
//! * `paths` finds files, `bounded` reads them to their ends;
//! * `follow` watches them grow: `tail` is one file, `growing` its bytes, `copies` distinguishes a
//!   copy from a new file, `backoff` spaces what is tried again;
//! * `source` reads bytes without waiting, `standard_input` as it was inherited, `unpack` makes text
//!   of them by what `head` finds in the first ones, and `buffer` cuts the text into lines.
//!
//! Each line is one tracked message, kept until it is acked and sent again when it fails, unless
//! that was its last failure. At most once, nothing is kept. Exactly once, nothing is kept either: a checkpoint has the
//! `position` in each file, which reading goes back to, and what can be read once only goes through a write-ahead log
//! (`wal = true`, which is the runtime's). Otherwise where reading stands is not stored: a spout that is built anew reads
//! from the start.
//!
//! A text is UTF-8; what is not is replaced by U+FFFD and counted (`invalid_utf8`). A line longer
//! than `max_line` is cut, reported and counted (`lines_cut`), never held in full. Input that is lost
//! is reported by name and counted by loss counters, so that the exit code is 1 (`counters`).

mod backoff;
mod bounded;
mod buffer;
mod copies;
mod counters;
mod follow;
mod growing;
mod head;
mod paths;
mod position;
mod source;
mod standard_input;
mod tail;
#[cfg(test)]
mod tests;
mod unpack;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use smol_str::SmolStr;

use crate::api::{
    Check, Failure, Positions, STANDARD_INPUT, Spout, SpoutOutputs, SpoutStatus, Streams, TaskContext,
    TaskError,
};
use crate::components::lines::bounded::Bounded;
use crate::components::lines::counters::LinesCounters;
use crate::components::lines::follow::Follow;
use crate::components::lines::paths::Descriptor;
use crate::components::lines::source::{Opened, Pull};
use crate::components::replay_buffer::ReplayBuffer;
use crate::components::settings::{ByteSize, OneOrMany, Period};
use crate::config::Delivery;
use crate::ids::MessageId;
use crate::topology::registry::{Registry, SettingError};

pub use follow::Start;
pub use standard_input::{STDIN_RESOURCE, StandardInput};

/// Settings of [`Lines`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinesSettings {
    /// What to read: a path, a pattern (`"logs/*.log"`, `"logs/**/*.log"`), `"-"` for standard
    /// input, or a list of these. Paths are relative to the working directory. Several tasks
    /// share the files. Required.
    pub path: OneOrMany<String>,
    /// Whether to go on reading files that grow, are rotated, and appear later. Default: false:
    /// each file is read to its end, and then the spout is exhausted.
    #[serde(default)]
    pub follow: bool,
    /// With `follow`: where to begin in files that are there at the start, `"beginning"` or
    /// `"end"`. Default: `"beginning"`.
    #[serde(default)]
    pub start: Start,
    /// With `follow`: how often to look for new bytes and new files, as a duration. Default:
    /// `"250ms"`.
    #[serde(default)]
    pub poll: Option<Period>,
    /// A longer line is cut to this many bytes, reported and counted. Default: `"1MiB"`.
    #[serde(default = "max_line")]
    pub max_line: ByteSize,
    /// The field that a line is emitted in. Default: `"line"`.
    #[serde(default = "field")]
    pub field: String,
    /// Whether to emit the fields `file` (its path, `-` for standard input) and `number` (of the
    /// line, from 1) as well. With `start = "end"` numbers count from there. Default: false.
    #[serde(default)]
    pub meta: bool,
}

const POLL_DEFAULT: Period = Period(Duration::from_millis(250));

fn max_line() -> ByteSize {
    ByteSize(1 << 20)
}

fn field() -> String {
    "line".to_owned()
}

enum Reader {
    /// Before `open`.
    Closed,
    Bounded(Bounded),
    Follow(Follow),
}

/// A line as it is kept.
#[derive(Clone, Debug)]
struct Line {
    text: SmolStr,
    /// Empty without `meta`.
    file: SmolStr,
    number: u64,
}

/// The spout `lines`.
pub struct Lines {
    settings: LinesSettings,
    reader: Reader,
    replays: ReplayBuffer<Line>,
    counters: LinesCounters,
}

impl Lines {
    /// A spout with these settings.
    ///
    /// # Errors
    /// When a pattern is none, or a setting does not go with `follow`.
    pub fn new(settings: LinesSettings) -> Result<Lines, SettingError> {
        let patterns = settings.path.as_slice();
        if patterns.is_empty() {
            return Err(SettingError::at("path", "name at least one file"));
        }
        for pattern in patterns {
            paths::check(pattern).map_err(|why| SettingError::at("path", why))?;
        }
        if settings.follow && patterns.iter().any(|pattern| paths::is_standard_input(pattern)) {
            let why = "standard input cannot be followed; it is read as it comes without `follow`";
            return Err(SettingError::at("follow", why));
        }
        if !settings.follow && settings.start == Start::End {
            return Err(SettingError::at("start", "goes with follow = true only"));
        }
        if !settings.follow && settings.poll.is_some() {
            return Err(SettingError::at("poll", "goes with follow = true only"));
        }
        if settings.max_line.0 == 0 || usize::try_from(settings.max_line.0).is_err() {
            return Err(SettingError::at("max_line", "must be at least 1B and fit the address space"));
        }
        Ok(Lines {
            settings,
            reader: Reader::Closed,
            replays: ReplayBuffer::new(Delivery::default()),
            counters: LinesCounters::default(),
        })
    }

    fn pause(&mut self, is_paused: bool) {
        if let Reader::Bounded(bounded) = &mut self.reader {
            bounded.pause(is_paused);
        }
    }

    /// The line in hand, as text.
    #[inline]
    fn take_line(&mut self, out: &mut SpoutOutputs<'_>) -> Line {
        let source = match &mut self.reader {
            Reader::Bounded(bounded) => bounded.source(),
            Reader::Follow(follow) => follow.source(),
            Reader::Closed => unreachable!("a line was pulled from an open reader"),
        };
        if source.has_nul {
            note_binary(source, &self.counters, out);
        }
        let (mut bytes, cut) = source.lines.line();
        if cut > 0 {
            self.counters.lines_cut.add(1);
            let (name, number) = (&source.name, source.number);
            let why = format!("line {number} of `{name}` is {cut} bytes too long and was cut; see max_line");
            out.report_error(TaskError::new(why));
            bytes = without_torn_char(bytes);
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => SmolStr::new(text),
            Err(_) => {
                self.counters.invalid_utf8.add(1);
                SmolStr::new(String::from_utf8_lossy(bytes))
            }
        };
        let file = if self.settings.meta { source.name.clone() } else { SmolStr::default() };
        Line { text, file, number: source.number }
    }

    #[inline]
    fn emit(&self, line: Line, id: Option<MessageId>, out: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
        match (self.settings.meta, id) {
            (false, Some(id)) => out.emit_tracked([line.text], id)?,
            (false, None) => out.emit([line.text])?,
            (true, Some(id)) => out.emit_tracked((line.text, line.file, line.number as i64), id)?,
            (true, None) => out.emit((line.text, line.file, line.number as i64))?,
        }
        Ok(())
    }
}

/// Counts a line with a NUL byte, and reports the first one of an input: it may be no text.
#[cold]
fn note_binary(source: &mut Opened, counters: &LinesCounters, out: &mut SpoutOutputs<'_>) {
    if memchr::memchr(0, source.lines.line().0).is_none() {
        return;
    }
    counters.binary_lines.add(1);
    if !std::mem::replace(&mut source.nul_reported, true) {
        let (name, number) = (&source.name, source.number);
        let why = format!("line {number} of `{name}` has a NUL byte: the input may be binary, or damaged");
        out.report_error(TaskError::new(why));
    }
}

/// Without the bytes of a character that a cut went through.
fn without_torn_char(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

impl Spout for Lines {
    fn declare(&self) -> Streams {
        let field = self.settings.field.as_str();
        if self.settings.meta { Streams::new([field, "file", "number"]) } else { Streams::new([field]) }
    }

    fn check(&self, check: &mut Check<'_>) {
        let patterns = self.settings.path.as_slice();
        if check.is_logged()
            && patterns.iter().any(|path| paths::is_read_once(path))
            && let Some(file) = patterns.iter().find(|path| !paths::is_read_once(path))
        {
            let why = format!(
                "`{file}` can be read again, and would be after a failure although its rows are in the write-ahead log; \
                 read it in a spout of its own, without `wal`"
            );
            check.refuse("path", why);
        }
        let mut claimed = Vec::new();
        for descriptor in self.settings.path.as_slice().iter().filter_map(|path| paths::descriptor(path)) {
            if claimed.contains(&descriptor) {
                continue;
            }
            claimed.push(descriptor);
            match descriptor {
                Descriptor::StandardInput => check.claim("path", STANDARD_INPUT),
                Descriptor::Other(number) => check.claim("path", &format!("file descriptor {number}")),
            }
        }
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.replays = ReplayBuffer::new(context.delivery());
        self.counters = LinesCounters::new(context);
        let patterns = self.settings.path.as_slice();
        let line_len_max = self.settings.max_line.0 as usize;
        self.reader = if self.settings.follow {
            let poll = self.settings.poll.unwrap_or(POLL_DEFAULT).0;
            let start = self.settings.start;
            Reader::Follow(Follow::open(patterns, start, poll, context, &self.counters, line_len_max)?)
        } else {
            Reader::Bounded(Bounded::open(patterns, context, &self.counters, line_len_max)?)
        };
        Ok(())
    }

    /// Files have an end; standard input and other descriptors may go on for ever.
    fn is_bounded(&self) -> bool {
        let is_descriptor = |path: &String| paths::descriptor(path).is_some();
        !self.settings.follow && !self.settings.path.as_slice().iter().any(is_descriptor)
    }

    /// Files can be read again; what comes from a descriptor, a pipe or a device comes once.
    fn is_rewindable(&self) -> bool {
        !self.settings.path.as_slice().iter().any(|path| paths::is_read_once(path))
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        match &mut self.reader {
            Reader::Bounded(bounded) => bounded.snapshot(positions),
            Reader::Follow(follow) => follow.snapshot(positions),
            Reader::Closed => Ok(()),
        }
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        match &mut self.reader {
            Reader::Bounded(bounded) => bounded.restore(positions),
            Reader::Follow(follow) => follow.restore(positions),
            Reader::Closed => Ok(()),
        }
    }

    fn activate(&mut self) -> Result<(), TaskError> {
        self.pause(false);
        Ok(())
    }

    fn deactivate(&mut self) -> Result<(), TaskError> {
        self.pause(true);
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if let Reader::Bounded(bounded) = &mut self.reader
            && let Some(error) = bounded.take_missing()
        {
            return Err(error);
        }
        if let Some((id, line)) = self.replays.next_replay() {
            self.emit(line, Some(id), out)?;
            return Ok(SpoutStatus::Emitted);
        }
        let pull = match &mut self.reader {
            Reader::Bounded(bounded) => bounded.pull(out),
            Reader::Follow(follow) => follow.pull(out),
            Reader::Closed => Pull::End,
        };
        match pull {
            Pull::Line => {}
            Pull::Nothing => return Ok(SpoutStatus::Idle),
            Pull::NothingFor(pause) => return Ok(SpoutStatus::IdleFor(pause)),
            Pull::End => return Ok(SpoutStatus::Exhausted),
        }
        let line = self.take_line(out);
        let id = self.replays.keep(&line);
        if let Err(error) = self.emit(line, id, out) {
            // What cannot be emitted now never can: it is too large.
            self.counters.lines_dropped.add(1);
            id.into_iter().for_each(|id| self.replays.ack(id));
            return Err(error);
        }
        Ok(SpoutStatus::Emitted)
    }

    fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
        self.replays.ack(id);
        Ok(())
    }

    fn fail(
        &mut self,
        id: MessageId,
        failure: &Failure,
        _out: &mut SpoutOutputs<'_>,
    ) -> Result<(), TaskError> {
        self.replays.fail(id, failure);
        Ok(())
    }

    fn close(&mut self) {
        if let Reader::Follow(follow) = &mut self.reader {
            follow.close();
        }
        self.reader = Reader::Closed;
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .spout(
            "lines",
            "Reads lines from files, growing files or standard input.",
            |settings: &LinesSettings| Lines::new(settings.clone()),
        )
        .output("default: the line (`line`); with `meta` also `file` and `number`")
        .example(
            r#"
[spout.lines]
type = "lines"
config = { path = "logs/*.log", follow = true, start = "end" }
"#,
        );
}
