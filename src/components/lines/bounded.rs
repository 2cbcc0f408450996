//! Files read one after the other to their ends.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::api::{TaskContext, TaskError};
use crate::components::lines::Pull;
use crate::components::lines::paths::{self, STDIN};
use crate::components::lines::source::{Opened, Read1};

pub(super) struct Bounded {
    context: TaskContext,
    waiting: VecDeque<PathBuf>,
    current: Option<Opened>,
    line_len_max: usize,
}

impl Bounded {
    /// The files of these patterns that fall to the task: the n-th to task n, round and round;
    /// standard input to task 0, because only one can read it.
    ///
    /// # Errors
    /// When a pattern leads nowhere.
    pub(super) fn open(
        patterns: &[String],
        context: &TaskContext,
        line_len_max: usize,
    ) -> Result<Bounded, TaskError> {
        let (task, tasks) = (context.task_index(), context.parallelism().max(1));
        let all = paths::expand(patterns)?;
        let mine = |nth: usize, path: &PathBuf| {
            if path.as_os_str() == STDIN { task == 0 } else { nth % tasks == task }
        };
        let waiting = all.into_iter().enumerate().filter(|(nth, path)| mine(*nth, path));
        let waiting = waiting.map(|(_, path)| path).collect();
        Ok(Bounded { context: context.clone(), waiting, current: None, line_len_max })
    }

    pub(super) fn source(&self) -> &Opened {
        self.current.as_ref().expect("`source` is asked for only when `pull` found a line")
    }

    pub(super) fn pull(&mut self) -> Result<Pull, TaskError> {
        loop {
            let Some(source) = &mut self.current else {
                match self.waiting.pop_front() {
                    Some(path) => self.current = Some(self.open_path(&path)?),
                    None => return Ok(Pull::End),
                }
                continue;
            };
            if source.advance() {
                return Ok(Pull::Line);
            }
            match source.read() {
                Ok(Read1::Some) => {}
                Ok(Read1::Nothing) => return Ok(Pull::Nothing),
                Ok(Read1::End) => {
                    if !source.lines.finish() {
                        self.current = None;
                    }
                }
                Err(error) => {
                    let name = source.name.clone();
                    self.current = None;
                    return Err(TaskError::new(format!("cannot read `{name}` to its end: {error}")));
                }
            }
        }
    }

    fn open_path(&self, path: &Path) -> Result<Opened, TaskError> {
        let opened = if path.as_os_str() == STDIN {
            Opened::standard_input(&self.context, self.line_len_max)
        } else {
            Opened::path(path, self.line_len_max)
        };
        opened.map_err(|error| TaskError::new(format!("cannot open `{}`: {error}", path.display())))
    }
}
