//! Files that grow, are rotated and appear: what `tail -F` does, for patterns.
//!
//! A file is known by device and inode, not by name. Each scan (every `poll`) looks at what the
//! patterns match now:
//!
//! * an unknown file is read from its beginning (at the very first scan: as `start` states), unless
//!   it is a copy of a file that is followed (see `copies`);
//! * a known file under another name was *renamed*: it is read on under its new name;
//! * a known file that is shorter than what was read of it was *truncated*: what is left of its
//!   last line is emitted and it is read from the beginning;
//! * a known file that no pattern matches any more was *rotated away* or deleted. Its writer may
//!   still have it open, so it is read on until it has been silent for [`GONE_SILENCE`].
//!
//! With several tasks a file belongs to one of them by its inode, so that a rename does not move
//! it. A line without newline is not emitted before the newline comes or the file is gone.
//!
//! **One file never holds up the others.** What cannot be opened or read is reported once, counted,
//! and tried again with back-off; what still cannot be read at the end is lost, which makes the exit
//! code 1.
//!
//! **Descriptors are lent.** All tasks together keep at most half of what the process may open
//! (`ulimit -n`). When more files have something to read, they take turns: the one whose turn is
//! furthest away is closed, and opened again later where reading stood.
//!
//! **Exactly once**, a checkpoint has the positions of the files that are followed. After a restore the first scan goes
//! on with them: by another name, too, and in their directory where no pattern matches. What is lost is counted.
//! Files that came since the checkpoint are read from their beginning, whatever `start` is.
//!
//! Not noticed: a file that is truncated and grows past its old length between two scans. Lost, and
//! counted: what a file had left to read that is deleted while it waits for a descriptor.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{Positions, SpoutOutputs, TaskContext, TaskError};
use crate::clock::{Clock, Time};
use crate::components::lines::backoff::Backoff;
use crate::components::lines::copies::{COPY_SILENCE, Origin, Suspects};
use crate::components::lines::counters::LinesCounters;
use crate::components::lines::paths::{self, FileId, is_shortage};
use crate::components::lines::position::{self, Extent, FilePosition, Restored, Resumed};
use crate::components::lines::source::{Opened, Pull, Read1};
use crate::components::lines::tail::Tail;

/// How long a file that is gone is read on without a new byte.
pub(super) const GONE_SILENCE: Duration = Duration::from_secs(5);
/// Files that one task has open at once, even where the process may open more.
const FILES_OPEN_MAX: u64 = 1024;
/// Files that one task follows, open or not.
const FILES_MAX: usize = 16 << 10;
/// Lines of one file before it is the next file's turn.
const TURN_LINES: u32 = 1024;

/// Where following begins in files that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With their first line.
    #[default]
    Beginning,
    /// With what is written from now on.
    End,
}

pub(super) struct Follow {
    patterns: Vec<String>,
    start: Start,
    poll: Duration,
    line_len_max: usize,
    clock: Clock,
    counters: LinesCounters,
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
    /// How many are open, and how many may be.
    open: usize,
    open_max: usize,
    /// Names that lead to no file that can be followed, directories included.
    unreached: HashMap<PathBuf, Backoff>,
    /// Files that were refused for what they hold.
    refused: HashSet<FileId>,
    suspects: Suspects,
    /// Files of the last scan beyond [`FILES_MAX`], and whether that was reported.
    too_many: u64,
    too_many_reported: bool,
    context: TaskContext,
    /// Positions of a checkpoint whose files were not found yet.
    restored: Restored,
}

/// What one scan found. Each task scans for itself, which costs each of them a look at every file. A
/// listing that the tasks of a worker share would be older than what a task has read by then, so that a
/// file looks truncated, or is not found under a name that it had before a rotation; each task would have
/// to look at its own files again, and be right about files that changed their task in between.
#[derive(Default)]
struct Scan {
    there: HashSet<FileId>,
    new: Vec<(PathBuf, FileId, u64)>,
    /// Names that lead to nothing that can be followed, directories included. What was known there,
    /// or below, may still be there.
    hidden: HashSet<PathBuf>,
}

impl Follow {
    /// What these patterns lead to, now and later.
    ///
    /// # Errors
    /// When a path is a directory.
    pub(super) fn open(
        patterns: &[String],
        start: Start,
        poll: Duration,
        context: &TaskContext,
        counters: &LinesCounters,
        line_len_max: usize,
    ) -> Result<Follow, TaskError> {
        patterns.iter().try_for_each(|pattern| paths::refuse_directory(pattern))?;
        let tasks = context.parallelism().max(1) as u64;
        Ok(Follow {
            patterns: patterns.to_vec(),
            start,
            poll,
            line_len_max,
            clock: context.clock().clone(),
            counters: counters.clone(),
            task: context.task_index() as u64,
            tasks,
            tails: Vec::new(),
            turn: 0,
            turn_lines: 0,
            silent: 0,
            scanned_before: false,
            next_scan: Time::ZERO,
            open: 0,
            open_max: open_max(tasks),
            unreached: HashMap::new(),
            refused: HashSet::new(),
            suspects: Suspects::default(),
            too_many: 0,
            too_many_reported: false,
            context: context.clone(),
            restored: Restored::default(),
        })
    }

    /// Writes the positions of all files of the task.
    pub(super) fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        let followed = self.tails.iter_mut().map(Tail::position);
        let files = followed.chain(self.restored.files().cloned());
        position::write(positions, &self.context, self.scanned_before || self.restored.has_begun, files)
    }

    /// Goes back to the positions of a checkpoint. Nothing was read.
    pub(super) fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        let (task, tasks) = (self.task, self.tasks);
        self.restored = Restored::read(positions)?;
        self.restored.retain_inodes(|inode| inode % tasks == task);
        Ok(())
    }

    pub(super) fn source(&mut self) -> &mut Opened {
        &mut self.tails[self.turn].opened
    }

    pub(super) fn pull(&mut self, out: &mut SpoutOutputs<'_>) -> Pull {
        loop {
            if self.turn_lines >= TURN_LINES {
                self.next_turn();
            }
            if self.turn_lines == 0 && self.clock.now() >= self.next_scan {
                self.scan(out);
            }
            if self.silent >= self.tails.len() {
                self.silent = 0;
                return Pull::NothingFor(self.poll);
            }
            if self.tails[self.turn].opened.advance() {
                (self.turn_lines, self.silent) = (self.turn_lines + 1, 0);
                return Pull::Line;
            }
            if !self.read(out) {
                self.silent += 1;
                self.next_turn();
            }
        }
    }

    fn next_turn(&mut self) {
        self.turn = (self.turn + 1) % self.tails.len().max(1);
        self.turn_lines = 0;
    }

    /// Reads from the file whose turn it is. Returns whether that brought anything.
    fn read(&mut self, out: &mut SpoutOutputs<'_>) -> bool {
        let now = self.clock.now();
        let tail = &mut self.tails[self.turn];
        if tail.trouble.as_ref().is_some_and(|backoff| !backoff.is_due(now)) {
            return false;
        }
        if !tail.is_open() {
            let is_wanted = tail.has_more() || tail.trouble.is_some();
            if !is_wanted || !self.reopen(self.turn, out) {
                return false;
            }
        }
        let tail = &mut self.tails[self.turn];
        match tail.opened.read() {
            Ok(Read1::Some | Read1::Skipped) => {
                tail.trouble = None;
                if tail.gone_since.is_some() {
                    tail.gone_since = Some(now);
                }
                true
            }
            Ok(Read1::Nothing | Read1::End) => {
                tail.trouble = None;
                false
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                self.refuse(&error, out);
                false
            }
            Err(error) => {
                self.failed(self.turn, &error, out);
                false
            }
        }
    }

    /// The file whose turn it is holds what is not followed.
    fn refuse(&mut self, error: &io::Error, out: &mut SpoutOutputs<'_>) {
        let tail = self.tails.remove(self.turn);
        self.open -= 1;
        self.refused.insert(tail.id);
        self.counters.lost(&tail.opened.name, 0, error, out);
        // `next_turn` steps over the file that took this place, which the round after that serves.
        self.turn = self.turn.min(self.tails.len().saturating_sub(1));
    }

    /// Opens a file that is closed, in the place of another one if need be. Returns whether it is open.
    fn reopen(&mut self, index: usize, out: &mut SpoutOutputs<'_>) -> bool {
        if self.open >= self.open_max && !self.close_one(index) {
            // All others are gone and cannot be opened again: they are read to their ends first.
            return false;
        }
        let mut opened = self.tails[index].open();
        if opened.as_ref().is_err_and(is_shortage) && self.close_one(index) {
            // The process has less to lend than it may open: leave some to its other parts, too.
            self.open_max = self.open.max(1);
            opened = self.tails[index].open();
        }
        match opened {
            Ok(()) => {
                self.open += 1;
                true
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                self.failed(index, &error, out);
                false
            }
        }
    }

    /// Closes the file whose turn is furthest away. Returns whether there was one.
    fn close_one(&mut self, except: usize) -> bool {
        let len = self.tails.len();
        let mut backwards = (1..len).map(|back| (except + len - back) % len);
        let victim = backwards.find(|index| {
            let tail = &mut self.tails[*index];
            tail.is_open() && tail.gone_since.is_none()
        });
        let Some(index) = victim else { return false };
        self.tails[index].close();
        self.open -= 1;
        true
    }

    fn failed(&mut self, index: usize, error: &io::Error, out: &mut SpoutOutputs<'_>) {
        let now = self.clock.now();
        let tail = &mut self.tails[index];
        let is_new = tail.trouble.is_none();
        tail.trouble.get_or_insert_default().next(now);
        self.counters.read_retries.add(1);
        if is_new {
            let (name, position) = (&tail.opened.name, tail.opened.position);
            let why = format!("cannot read `{name}` from byte {position} on: {error}; it is tried again");
            out.report_error(TaskError::new(why));
        }
    }

    fn scan(&mut self, out: &mut SpoutOutputs<'_>) {
        let now = self.clock.now();
        self.next_scan = now.after(self.poll);
        let is_first = !std::mem::replace(&mut self.scanned_before, true);
        let scan = self.look(now, out);
        self.too_many = 0;
        for (path, id, len) in &scan.new {
            match self.restored.take(path, id) {
                Some(position) => self.go_on((path, *id, *len), &position, out),
                None => self.begin((path, *id, *len), is_first && !self.restored.has_begun, out),
            }
        }
        // While something is hidden, nobody knows what is gone.
        if scan.hidden.is_empty() {
            self.look_for_restored(out);
        }
        self.tails.iter_mut().for_each(Tail::rewind);
        for tail in &mut self.tails {
            let is_old = |at: Time| now.since(at) >= COPY_SILENCE;
            tail.before.take_if(|before| is_old(before.at));
        }
        self.unreached.retain(|path, _| scan.hidden.contains(path));
        // While something is hidden, nobody knows what is gone.
        self.refused.retain(|id| !scan.hidden.is_empty() || scan.there.contains(id));
        self.suspects.retain(|id| scan.there.contains(id));
        self.let_go(&scan, now, out);
    }

    /// Finds what is there, and looks at the files that are known.
    fn look(&mut self, now: Time, out: &mut SpoutOutputs<'_>) -> Scan {
        let mut scan = Scan::default();
        let known: HashMap<FileId, usize> =
            self.tails.iter().enumerate().map(|(index, tail)| (tail.id, index)).collect();
        for listing in self.patterns.clone().iter().map(|pattern| paths::list(pattern)) {
            for (directory, error) in listing.unread {
                self.cannot_reach(&directory, &error, now, out);
                scan.hidden.insert(directory);
            }
            for path in listing.files {
                let metadata = match path.metadata() {
                    Ok(metadata) if metadata.is_file() => metadata,
                    Ok(_) => {
                        let why = "only regular files can be followed; read it without `follow`";
                        self.cannot_reach(&path, &io::Error::other(why), now, out);
                        scan.hidden.insert(path);
                        continue;
                    }
                    Err(error) => {
                        // A file that went between the listing and here is not listed again.
                        if path.symlink_metadata().is_ok() {
                            self.cannot_reach(&path, &error, now, out);
                            scan.hidden.insert(path);
                        }
                        continue;
                    }
                };
                let (id, len) = (FileId::of(&metadata), metadata.len());
                if id.inode % self.tasks != self.task || !scan.there.insert(id) {
                    continue;
                }
                match known.get(&id) {
                    Some(index) => self.tails[*index].see(&path, len, now),
                    None if self.refused.contains(&id) => {}
                    None => scan.new.push((path, id, len)),
                }
            }
        }
        scan
    }

    /// Reports a name once that leads to nothing which can be followed. Each scan tries it again.
    fn cannot_reach(&mut self, path: &Path, error: &io::Error, now: Time, out: &mut SpoutOutputs<'_>) {
        if self.task != 0 {
            return;
        }
        let is_new = !self.unreached.contains_key(path);
        let backoff = self.unreached.entry(path.to_owned()).or_default();
        if is_new {
            let why = format!("cannot follow `{}`: {error}; it is tried again", paths::shown(path));
            out.report_error(TaskError::new(why));
        }
        if backoff.is_due(now) {
            backoff.next(now);
            self.counters.read_retries.add(1);
        }
    }

    /// Files that are not where the patterns lead any more: renamed within their directory, or gone.
    fn look_for_restored(&mut self, out: &mut SpoutOutputs<'_>) {
        for position in self.restored.take_all() {
            match position.find_renamed().and_then(|path| path.metadata().ok().zip(Some(path))) {
                Some((metadata, path)) => {
                    self.go_on((&path, FileId::of(&metadata), metadata.len()), &position, out);
                }
                None if position.extent == Extent::All => {}
                None => {
                    let why = "it is not there any more";
                    self.counters.lost(&position.path, position.offset, &why, out);
                }
            }
        }
    }

    /// Goes on with a file from its position, or from its beginning if it is not what it was.
    fn go_on(&mut self, file: (&Path, FileId, u64), position: &FilePosition, out: &mut SpoutOutputs<'_>) {
        let (path, id, len) = file;
        let Resumed { offset, lines, head, lost } = position.resumed(path, len);
        if let Some(why) = lost {
            self.counters.lost(&position.path, position.offset, &why, out);
        }
        let mut tail = Tail::new(id, path, len, offset, self.line_len_max);
        (tail.opened.number, tail.head) = (lines, head);
        self.push(tail, out);
    }

    fn begin(&mut self, new: (&Path, FileId, u64), is_first: bool, out: &mut SpoutOutputs<'_>) {
        let (path, id, len) = new;
        if self.tails.len() >= FILES_MAX {
            self.too_many += 1;
            if !std::mem::replace(&mut self.too_many_reported, true) {
                let why = format!("a task follows at most {FILES_MAX} files; give the spout more tasks");
                out.report_error(TaskError::new(why));
            }
            return;
        }
        let (position, lines) = match (is_first, self.start) {
            (true, Start::End) => (len, 0),
            (true, Start::Beginning) => (0, 0),
            // A file that cannot be opened is no copy that we could know: `reopen` reports it.
            (false, _) => match self.suspects.origin(new, &mut self.tails, self.clock.now()) {
                Ok(Origin::Copy { position, lines }) => (position, lines),
                Ok(Origin::Own) => (0, 0),
                Ok(Origin::Undecided) => return,
                Err(error) if is_shortage(&error) => return,
                Err(_) => (0, 0),
            },
        };
        let mut tail = Tail::new(id, path, len, position, self.line_len_max);
        tail.opened.number = lines;
        self.push(tail, out);
    }

    fn push(&mut self, tail: Tail, out: &mut SpoutOutputs<'_>) {
        self.tails.push(tail);
        // Open already while it has its name: it may be gone before its turn.
        if self.open < self.open_max {
            let _ = self.reopen(self.tails.len() - 1, out);
        }
    }

    /// Ends files that are gone and silent for long, once their last line is out.
    fn let_go(&mut self, scan: &Scan, now: Time, out: &mut SpoutOutputs<'_>) {
        let counters = &self.counters;
        let is_hidden = |path: &Path| scan.hidden.iter().any(|hidden| path.starts_with(hidden));
        self.tails.retain_mut(|tail| {
            if scan.there.contains(&tail.id) || is_hidden(&tail.path) {
                return true;
            }
            let since = *tail.gone_since.get_or_insert(now);
            if !tail.is_open() && tail.has_more() {
                let (name, position) = (&tail.opened.name, tail.opened.position);
                counters.lost(name, position, &"it was removed before it was read", out);
                return false;
            }
            now.since(since) < GONE_SILENCE || tail.opened.finish()
        });
        self.open = self.tails.iter_mut().map(|tail| usize::from(tail.is_open())).sum();
        if self.turn >= self.tails.len() {
            self.turn = 0;
        }
    }

    /// Counts what could not be read until now.
    pub(super) fn close(&mut self) {
        self.counters.files_not_read.add(self.unreached.len() as u64 + self.too_many);
        for tail in self.tails.iter().filter(|tail| tail.trouble.is_some()) {
            match tail.opened.position {
                0 => self.counters.files_not_read.add(1),
                _ => self.counters.files_cut_short.add(1),
            }
        }
    }
}

/// Half of the descriptors that the process may have, shared by the tasks.
fn open_max(tasks: u64) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = limit.map_or(u64::MAX, |limit| limit / 2);
    (half / tasks).clamp(1, FILES_OPEN_MAX) as usize
}
