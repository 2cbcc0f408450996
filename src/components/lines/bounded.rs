//! Files read one after the other to their ends.
//!
//! A file that cannot be read, or not to its end, is reported and counted as lost, and the next one
//! is read. When the process is short of descriptors, memory or threads, the file is tried again
//! with back-off instead: nothing is wrong with it.
//!
//! Exactly once, a checkpoint has a position of every file, those that were read included, so that they are not read
//! again. After a restore, a file that was renamed is found in its directory. One that is gone, is shorter than its
//! position, or begins with something else is reported and counted as lost, unless it was read to its end.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::{Positions, SpoutOutputs, TaskContext, TaskError};
use crate::components::lines::backoff::Backoff;
use crate::components::lines::counters::LinesCounters;
use crate::components::lines::paths::{self, FileId, is_shortage};
use crate::components::lines::position::{self, Extent, FileHead, FilePosition, Identity, Restored};
use crate::components::lines::source::{Opened, Pull, Read1};
use crate::files::open_regular;

/// Reads that are skipped before other spouts have their turn, about 20 ms of unpacking.
const SKIPS_MAX: u32 = 64;

pub(super) struct Bounded {
    context: TaskContext,
    counters: LinesCounters,
    waiting: VecDeque<Waiting>,
    /// Directories that could not be looked into, to be reported.
    unread: Vec<(PathBuf, io::Error)>,
    /// Exactly once: all files of the patterns, those of other tasks included, until the first one is read.
    listed: Vec<(PathBuf, Option<FileId>)>,
    /// Exactly once: why a pattern leads nowhere. After a restore its files are looked for by their positions.
    missing: Option<TaskError>,
    /// Files that are lost since the checkpoint, to be reported.
    gone: Vec<(FilePosition, String)>,
    /// Exactly once: the positions of files that are not read any further.
    ended: Vec<FilePosition>,
    /// Exactly once: the file that is read, as it was opened.
    began: Option<FilePosition>,
    /// Standard input comes first: it was opened when the task was.
    current: Option<Opened>,
    backoff: Backoff,
    line_len_max: usize,
    /// Exactly once: whether the input comes once, so that the spout is behind a write-ahead log.
    is_logged: bool,
}

/// A file that is to be read.
struct Waiting {
    path: PathBuf,
    /// Where to begin; `None` if it could not be looked at.
    position: Option<FilePosition>,
}

impl Waiting {
    /// A file of which nothing was read.
    fn new(path: PathBuf, id: Option<FileId>) -> Waiting {
        let position = id.map(|id| FilePosition::first(&path, id));
        Waiting { path, position }
    }

    fn offset(&self) -> u64 {
        self.position.as_ref().map_or(0, |position| position.offset)
    }
}

impl Bounded {
    /// The files of these patterns that fall to the task: the n-th to task n, round and round;
    /// standard input to task 0, because only one can read it. A file with several names is read
    /// once, under the first.
    ///
    /// # Errors
    /// When a pattern leads nowhere, or standard input cannot be read.
    pub(super) fn open(
        patterns: &[String],
        context: &TaskContext,
        counters: &LinesCounters,
        line_len_max: usize,
    ) -> Result<Bounded, TaskError> {
        let (task, tasks) = (context.task_index(), context.parallelism().max(1));
        let is_exactly_once = context.delivery().is_exactly_once();
        let is_logged = is_exactly_once && patterns.iter().any(|pattern| paths::is_read_once(pattern));
        let (mut files, mut unread, mut reads_stdin, mut missing) = (Vec::new(), Vec::new(), false, None);
        for pattern in patterns {
            if paths::is_standard_input(pattern) {
                reads_stdin = task == 0;
                continue;
            }
            let listing = match paths::list_existing(pattern) {
                Err(error) if is_exactly_once && error.is_fatal() => {
                    missing.get_or_insert(error);
                    continue;
                }
                listing => listing?,
            };
            files.extend(listing.files);
            unread.extend(listing.unread);
        }
        let (mut ids, mut names) = (HashSet::new(), HashSet::new());
        let with_id = |path: PathBuf| {
            let id = path.metadata().ok().map(|metadata| FileId::of(&metadata));
            (path, id)
        };
        let mut files: Vec<(PathBuf, Option<FileId>)> = files.into_iter().map(with_id).collect();
        files.retain(|(path, id)| match id {
            Some(id) => ids.insert(*id),
            // It will be reported by the task it falls to.
            None => names.insert(path.clone()),
        });
        let listed = if is_exactly_once { files.clone() } else { Vec::new() };
        let mine = files.into_iter().enumerate().filter(|(nth, _)| nth % tasks == task);
        let waiting = mine.map(|(_, (path, id))| Waiting::new(path, id)).collect();
        if task != 0 {
            unread.clear();
        }
        let current = match reads_stdin {
            true => Some(Opened::standard_input(context, line_len_max, is_logged)?),
            false => None,
        };
        let (context, counters, backoff) = (context.clone(), counters.clone(), Backoff::default());
        Ok(Bounded {
            context,
            counters,
            waiting,
            unread,
            listed,
            missing,
            gone: Vec::new(),
            ended: Vec::new(),
            began: None,
            current,
            backoff,
            line_len_max,
            is_logged,
        })
    }

    /// Why there is nothing to read, once.
    pub(super) fn take_missing(&mut self) -> Option<TaskError> {
        self.missing.take()
    }

    /// Behind a write-ahead log: whether nothing more is to be read than what is under way.
    pub(super) fn pause(&mut self, is_paused: bool) {
        if let Some(source) = &mut self.current {
            source.pause(is_paused);
        }
    }

    /// Writes the positions of all files of the task.
    pub(super) fn snapshot(&self, positions: &mut Positions) -> Result<(), TaskError> {
        let current = self.current.as_ref().zip(self.began.as_ref()).map(|(opened, began)| FilePosition {
            offset: opened.offset(),
            lines: opened.number,
            ..began.clone()
        });
        let waiting = self.waiting.iter().filter_map(|waiting| waiting.position.clone());
        // What is to be reported as lost comes last: a file in the same place has the same name among the splits.
        let gone = self.gone.iter().map(|(position, _)| position.clone());
        let files = self.ended.iter().cloned().chain(current).chain(waiting).chain(gone);
        position::write(positions, &self.context, true, files)
    }

    /// Goes back to the positions of a checkpoint. Nothing was read.
    pub(super) fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        let mut restored = Restored::read(positions)?;
        let (task, tasks) = (self.context.task_index(), self.context.parallelism().max(1));
        (self.waiting, self.missing) = (VecDeque::new(), None);
        let listed = std::mem::take(&mut self.listed);
        let names: HashSet<String> = listed.iter().map(|(path, _)| paths::shown(path)).collect();
        for (nth, (path, id)) in listed.into_iter().enumerate() {
            let position = id.as_ref().and_then(|id| restored.take(&path, id));
            if nth % tasks != task {
                continue;
            }
            match position {
                Some(position) => self.go_on(path, position)?,
                None => self.waiting.push_back(Waiting::new(path, id)),
            }
        }
        for (nth, position) in restored.take_all().into_iter().enumerate() {
            if nth % tasks != task {
                continue;
            }
            match (position.extent, position.find_renamed()) {
                (Extent::All, _) => self.ended.push(position),
                (_, Some(path)) => self.go_on(path, position)?,
                // Nothing was read of it, and another file has its name.
                (_, None) if position.offset == 0 && names.contains(&position.path) => {}
                (_, None) => self.gone.push((position, "it is not there any more".to_owned())),
            }
        }
        Ok(())
    }

    /// Goes on with a file, which is at this path.
    fn go_on(&mut self, path: PathBuf, mut position: FilePosition) -> Result<(), TaskError> {
        let identity = match position.identify(&path) {
            Ok(identity) => identity,
            Err(error) if is_shortage(&error) => return Err(error.into()),
            // Opening it reports why.
            Err(_) => Identity::Same,
        };
        match identity {
            Identity::Same | Identity::Shorter if position.extent == Extent::All => self.ended.push(position),
            Identity::Same => {
                position.path = paths::shown(&path);
                self.waiting.push_back(Waiting { path, position: Some(position) });
            }
            Identity::Shorter => {
                self.gone.push((position, "it is shorter than it was at the checkpoint".to_owned()));
            }
            Identity::Another => {
                let id = Some(position.id);
                if position.extent != Extent::All {
                    self.gone.push((position, "another file has its place since the checkpoint".to_owned()));
                }
                self.waiting.push_back(Waiting::new(path, id));
            }
        }
        Ok(())
    }

    pub(super) fn source(&mut self) -> &mut Opened {
        self.current.as_mut().expect("`source` is asked for only when `pull` found a line")
    }

    pub(super) fn pull(&mut self, out: &mut SpoutOutputs<'_>) -> Pull {
        for (directory, error) in self.unread.drain(..) {
            self.counters.lost(&paths::shown(&directory), 0, &error, out);
        }
        for (position, why) in self.gone.drain(..) {
            self.counters.lost(&position.path, position.offset, &why, out);
            self.ended.push(position);
        }
        self.listed = Vec::new();
        let mut skips = 0;
        loop {
            let Some(source) = &mut self.current else {
                match self.open_next(out) {
                    Some(pull) => return pull,
                    None => continue,
                }
            };
            if source.advance() {
                return Pull::Line;
            }
            match source.read() {
                Ok(Read1::Some) => {}
                Ok(Read1::Skipped) if skips == SKIPS_MAX => return Pull::NothingFor(Duration::ZERO),
                Ok(Read1::Skipped) => skips += 1,
                Ok(Read1::Nothing) => return Pull::Nothing,
                Ok(Read1::End) => {
                    if !source.finish() {
                        self.end(Extent::All);
                    }
                }
                Err(error) => {
                    self.counters.lost(&source.name, source.position, &error, out);
                    self.end(Extent::Part);
                }
            }
        }
    }

    /// The file in hand is not read any further.
    fn end(&mut self, extent: Extent) {
        let (opened, began) = (self.current.take(), self.began.take());
        let ended = opened.zip(began).map(|(opened, began)| {
            let (offset, lines) = (opened.offset(), opened.number);
            FilePosition { offset, lines, extent, ..began }
        });
        self.ended.extend(ended);
    }

    /// Opens the next file. Returns what the pull came to if there is none to read now.
    fn open_next(&mut self, out: &mut SpoutOutputs<'_>) -> Option<Pull> {
        let Some(waiting) = self.waiting.front() else { return Some(Pull::End) };
        let path = &waiting.path;
        let opened = match self.context.delivery().is_exactly_once() && !self.is_logged {
            true => open_again(waiting, self.line_len_max).map(|(opened, began)| (opened, Some(began))),
            false => Opened::path(path, self.line_len_max, self.is_logged).map(|opened| (opened, None)),
        };
        match opened {
            Ok((opened, began)) => (self.current, self.began) = (Some(opened), began),
            Err(error) if is_shortage(&error) => {
                self.counters.read_retries.add(1);
                let pause = self.backoff.next(self.context.clock().now());
                let name = path.to_string_lossy();
                out.report_error(TaskError::new(format!(
                    "cannot open `{name}` yet: {error}; it is tried again"
                )));
                return Some(Pull::NothingFor(pause));
            }
            Err(error) => {
                self.counters.lost(&path.to_string_lossy(), waiting.offset(), &error, out);
                self.ended.extend(waiting.position.clone().filter(|position| position.offset > 0));
            }
        }
        self.backoff = Backoff::default();
        self.waiting.pop_front();
        None
    }
}

/// Opens a file so that its position can be kept.
fn open_again(waiting: &Waiting, line_len_max: usize) -> io::Result<(Opened, FilePosition)> {
    let file = open_regular(&waiting.path)?;
    let first = FilePosition::first(&waiting.path, FileId::of(&file.metadata()?));
    let began = FilePosition { head: FileHead::read(&file)?, ..first };
    let begin = waiting.position.as_ref().map_or((0, 0), |position| (position.offset, position.lines));
    Ok((Opened::file(&waiting.path, file, begin, line_len_max)?, began))
}
