//! Files read one after the other to their ends.
//!
//! A file that cannot be read, or not to its end, is reported and counted as lost, and the next one
//! is read. When the process is short of descriptors, memory or threads, the file is tried again
//! with back-off instead: nothing is wrong with it.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::PathBuf;

use crate::api::{SpoutOutputs, TaskContext, TaskError};
use crate::components::lines::backoff::Backoff;
use crate::components::lines::counters::LinesCounters;
use crate::components::lines::paths::{self, FileId, is_shortage};
use crate::components::lines::source::{Opened, Pull, Read1};

pub(super) struct Bounded {
    context: TaskContext,
    counters: LinesCounters,
    waiting: VecDeque<PathBuf>,
    /// Directories that could not be looked into, to be reported.
    unread: Vec<(PathBuf, io::Error)>,
    /// Standard input comes first: it was opened when the task was.
    current: Option<Opened>,
    backoff: Backoff,
    line_len_max: usize,
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
        let (mut files, mut unread, mut reads_stdin) = (Vec::new(), Vec::new(), false);
        for pattern in patterns {
            if paths::is_standard_input(pattern) {
                reads_stdin = task == 0;
                continue;
            }
            let listing = paths::list_existing(pattern)?;
            files.extend(listing.files);
            unread.extend(listing.unread);
        }
        let (mut ids, mut names) = (HashSet::new(), HashSet::new());
        files.retain(|path| match path.metadata() {
            Ok(metadata) => ids.insert(FileId::of(&metadata)),
            // It will be reported by the task it falls to.
            Err(_) => names.insert(path.clone()),
        });
        let mine = files.into_iter().enumerate().filter(|(nth, _)| nth % tasks == task);
        let waiting = mine.map(|(_, path)| path).collect();
        if task != 0 {
            unread.clear();
        }
        let current = if reads_stdin { Some(Opened::standard_input(context, line_len_max)?) } else { None };
        let (context, counters, backoff) = (context.clone(), counters.clone(), Backoff::default());
        Ok(Bounded { context, counters, waiting, unread, current, backoff, line_len_max })
    }

    pub(super) fn source(&mut self) -> &mut Opened {
        self.current.as_mut().expect("`source` is asked for only when `pull` found a line")
    }

    pub(super) fn pull(&mut self, out: &mut SpoutOutputs<'_>) -> Pull {
        for (directory, error) in self.unread.drain(..) {
            self.counters.lost(&paths::shown(&directory), 0, &error, out);
        }
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
                Ok(Read1::Nothing) => return Pull::Nothing,
                Ok(Read1::End) => {
                    if !source.finish() {
                        self.current = None;
                    }
                }
                Err(error) => {
                    self.counters.lost(&source.name, source.position, &error, out);
                    self.current = None;
                }
            }
        }
    }

    /// Opens the next file. Returns what the pull came to if there is none to read now.
    fn open_next(&mut self, out: &mut SpoutOutputs<'_>) -> Option<Pull> {
        let Some(path) = self.waiting.front() else { return Some(Pull::End) };
        match Opened::path(path, self.line_len_max) {
            Ok(opened) => self.current = Some(opened),
            Err(error) if is_shortage(&error) => {
                self.counters.read_retries.add(1);
                let pause = self.backoff.next(self.context.clock().now());
                let name = path.to_string_lossy();
                out.report_error(TaskError::new(format!(
                    "cannot open `{name}` yet: {error}; it is tried again"
                )));
                return Some(Pull::NothingFor(pause));
            }
            Err(error) => self.counters.lost(&path.to_string_lossy(), 0, &error, out),
        }
        self.backoff = Backoff::default();
        self.waiting.pop_front();
        None
    }
}
