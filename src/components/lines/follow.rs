//! Files that grow, are rotated and appear: what `tail -F` does, for patterns.
//!
//! A file is known by device and inode, not by name. Each scan (every `poll`) looks at what the
//! patterns match now:
//!
//! * an unknown file is opened, from its beginning (at the very first scan: as `start` says);
//! * a known file under another name was *renamed*: it is read on under its new name;
//! * a known file that is shorter than what was read of it was *truncated*: what is left of its
//!   last line is emitted and it is read from the beginning;
//! * a known file that no pattern matches any more was *rotated away* or deleted. Its writer may
//!   still have it open, so it is read on until it has been silent for [`GONE_SILENCE`].
//!
//! With several tasks a file belongs to one of them by its inode, so that a rename does not move
//! it. A line without newline is not emitted before the newline comes or the file is gone.
//!
//! Not noticed: a file that is truncated and grows past its old length between two scans, and a
//! new file that gets the inode of a deleted one within [`GONE_SILENCE`] and is longer.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use crate::api::{TaskContext, TaskError};
use crate::clock::{Clock, Time};
use crate::components::lines::source::{FileId, Opened, Read1};
use crate::components::lines::{Pull, Start, paths};

/// How long a file that is gone is read on without a new byte.
pub(super) const GONE_SILENCE: Duration = Duration::from_secs(5);
/// Files that one task follows at once.
const FILES_MAX: usize = 1024;
/// Lines of one file before it is the next file's turn.
const TURN_LINES: u32 = 1024;

struct Tail {
    id: FileId,
    opened: Opened,
    /// Since when the file is gone and silent; `None` while it is there.
    gone_since: Option<Time>,
}

pub(super) struct Follow {
    patterns: Vec<String>,
    start: Start,
    poll: Duration,
    line_len_max: usize,
    clock: Clock,
    task: u64,
    tasks: u64,
    tails: Vec<Tail>,
    /// Whose turn it is, and who the line in hand is of.
    turn: usize,
    turn_lines: u32,
    /// Files asked in vain since one had a line.
    silent: usize,
    scanned_before: bool,
    next_scan: Time,
    too_many_reported: bool,
}

impl Follow {
    pub(super) fn new(
        patterns: Vec<String>,
        start: Start,
        poll: Duration,
        context: &TaskContext,
        line_len_max: usize,
    ) -> Follow {
        Follow {
            patterns,
            start,
            poll,
            line_len_max,
            clock: context.clock().clone(),
            task: context.task_index() as u64,
            tasks: context.parallelism().max(1) as u64,
            tails: Vec::new(),
            turn: 0,
            turn_lines: 0,
            silent: 0,
            scanned_before: false,
            next_scan: Time::ZERO,
            too_many_reported: false,
        }
    }

    pub(super) fn source(&self) -> &Opened {
        &self.tails[self.turn].opened
    }

    pub(super) fn pull(&mut self) -> Result<Pull, TaskError> {
        loop {
            if self.turn_lines >= TURN_LINES {
                self.next_turn();
            }
            if self.turn_lines == 0 && self.clock.now() >= self.next_scan {
                self.scan()?;
            }
            if self.silent >= self.tails.len() {
                self.silent = 0;
                return Ok(Pull::NothingFor(self.poll));
            }
            let tail = &mut self.tails[self.turn];
            if tail.opened.advance() {
                (self.turn_lines, self.silent) = (self.turn_lines + 1, 0);
                return Ok(Pull::Line);
            }
            let read = tail.opened.read();
            let named = |error| TaskError::new(format!("cannot read `{}`: {error}", tail.opened.name));
            if read.map_err(named)? == Read1::Some {
                if tail.gone_since.is_some() {
                    tail.gone_since = Some(self.clock.now());
                }
            } else {
                self.silent += 1;
                self.next_turn();
            }
        }
    }

    fn next_turn(&mut self) {
        self.turn = (self.turn + 1) % self.tails.len().max(1);
        self.turn_lines = 0;
    }

    fn scan(&mut self) -> Result<(), TaskError> {
        let now = self.clock.now();
        self.next_scan = now.after(self.poll);
        let first = !std::mem::replace(&mut self.scanned_before, true);
        let mut there = HashSet::new();
        let mut result = Ok(());
        for path in paths::expand_existing(&self.patterns) {
            // A file that went between the listing and here is not there.
            let Ok(metadata) = path.metadata() else { continue };
            let id = FileId::of(&metadata);
            if !metadata.is_file() || id.inode % self.tasks != self.task || !there.insert(id) {
                continue;
            }
            let seen = match self.tails.iter_mut().find(|tail| tail.id == id) {
                Some(tail) => tail.see(&path, metadata.len()),
                None => self.begin(&path, first),
            };
            result = result.and(
                seen.map_err(|error| TaskError::new(format!("cannot follow `{}`: {error}", path.display()))),
            );
        }
        self.let_go(&there, now);
        result
    }

    fn begin(&mut self, path: &Path, first_scan: bool) -> io::Result<()> {
        if self.tails.len() >= FILES_MAX {
            let reported = std::mem::replace(&mut self.too_many_reported, true);
            let why = format!("a task follows at most {FILES_MAX} files; give the spout more tasks");
            return if reported { Ok(()) } else { Err(io::Error::other(why)) };
        }
        let mut file = File::open(path)?;
        // The name may lead to another file by now; what is open counts.
        let id = FileId::of(&file.metadata()?);
        let position = if first_scan && self.start == Start::End { file.seek(SeekFrom::End(0))? } else { 0 };
        let mut opened = Opened::file(path.display().to_string(), file, self.line_len_max);
        opened.position = position;
        self.tails.push(Tail { id, opened, gone_since: None });
        Ok(())
    }

    /// Ends files that are gone and silent for long, once their last line is out.
    fn let_go(&mut self, there: &HashSet<FileId>, now: Time) {
        for tail in self.tails.iter_mut().filter(|tail| !there.contains(&tail.id)) {
            tail.gone_since.get_or_insert(now);
        }
        let long_gone = |tail: &Tail| tail.gone_since.is_some_and(|since| now.since(since) >= GONE_SILENCE);
        self.tails.retain_mut(|tail| !long_gone(tail) || tail.opened.lines.finish());
        if self.turn >= self.tails.len() {
            self.turn = 0;
        }
    }
}

impl Tail {
    /// The file is there, under this name and so long.
    fn see(&mut self, path: &Path, len: u64) -> io::Result<()> {
        self.gone_since = None;
        self.opened.name = path.display().to_string().into();
        // A last line without newline goes out first; the next scan rewinds.
        if len < self.opened.position && !self.opened.lines.finish() {
            self.opened.rewind()?;
        }
        Ok(())
    }
}
