//! `postgres` exactly once with `dirty = true`: rows are written at once, and taken back if they belong to no checkpoint.
//!
//! ```text
//!   rows ─▶ a batch: BEGIN, what is replaced into squall_undo, the rows, the number of the batch into squall_commits, COMMIT
//!   mark   the number of the last batch, which goes into the checkpoint
//!   clean  BEGIN, delete from squall_undo up to the mark, COMMIT: from now on the view shows these rows
//!   undo   BEGIN, claim the task, put back what squall_undo has after the mark, the recovery into squall_begun, COMMIT
//! ```
//!
//! 1. What a row replaced is committed together with it. So whatever is killed, what is dirty can be taken back.
//! 2. Who may write, and how batches are numbered, is in `claim`. A batch that broke in its commit is tried again with the
//!    same rows and the same number, so it is there once. Rows that come meanwhile go into the next.
//! 3. A row waits in a batch that was not tried, until its call has returned. So a call that fails leaves nothing of it.
//! 4. While the server is away, at most one batch is in memory besides the one that is tried: the bolt waits.
//! 5. Tasks begin at different times. A row that another task wrote in its life before, and will take back when it begins,
//!    cannot be written before that: it would be refused as being there already, or be taken back with the other one. So
//!    a batch with a row of an entry of such a task is tried again later. A task has begun when squall_begun has the
//!    recovery of this instance for it. Then its entries are those of a task that lives, which takes nothing back: a row
//!    of them is written, or refused because it is there.
//! 6. Rows that are refused are kept in squall_refused, and are taken back like others.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{Input, JournaledSink, TaskContext, TaskError};
use crate::clock::{Clock, Time};
use crate::components::postgres::acked::{Counts, Wait, wait};
use crate::components::postgres::claim::{Begun, Commit, Instance, NO_CHECKPOINT, claim, shown, task_error};
use crate::components::postgres::connection::{Command, DatabaseError, Progress};
use crate::components::postgres::row::RowTemplate;
use crate::components::postgres::session::Session;
use crate::components::postgres::settings::PostgresSettings;
use crate::ids::CheckpointId;
use crate::tuple::Value;

/// A batch that was tried, and is not known to be written.
struct Tried {
    rows: Vec<Vec<Value>>,
    /// How many rows the last attempt found to be refused.
    refused: usize,
}

/// The sink `postgres` with `dirty`. See the [module](self).
pub(super) struct DirtySink {
    settings: PostgresSettings,
    template: RowTemplate,
    session: Session,
    instance: Instance,
    counts: Counts,
    clock: Clock,
    wait: Wait,
    lineage: i64,
    /// The number of the last batch that is written.
    last: i64,
    tried: Option<Tried>,
    /// Rows of the next batch, and how much they take.
    rows: Vec<Vec<Value>>,
    bytes: u64,
    /// How often in a row a batch could not be written, and when it is tried again if nobody asks for it.
    failures: u32,
    next_attempt: Time,
    /// The checkpoint that is complete, for people.
    checkpoint: CheckpointId,
}

/// Up to which batch a checkpoint has rows of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BatchMark {
    task: i32,
    lineage: i64,
    sequence: i64,
}

impl DirtySink {
    pub(super) fn new(settings: PostgresSettings, template: RowTemplate, session: Session) -> DirtySink {
        DirtySink {
            settings,
            template,
            session,
            instance: Instance::default(),
            counts: Counts::default(),
            clock: Clock::simulated(),
            wait,
            lineage: 0,
            last: 0,
            tried: None,
            rows: Vec::new(),
            bytes: 0,
            failures: 0,
            next_attempt: Time::ZERO,
            checkpoint: NO_CHECKPOINT,
        }
    }

    /// Which checkpoint is complete.
    pub(super) fn completed(&mut self, checkpoint: CheckpointId) {
        self.checkpoint = checkpoint;
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.settings.batch.rows || self.bytes >= self.settings.batch.bytes.0
    }

    /// Tries to write everything that waits.
    fn write_out(&mut self) -> Result<(), DatabaseError> {
        while self.tried.is_some() || !self.rows.is_empty() {
            let rows = &mut self.rows;
            let tried = self.tried.get_or_insert_with(|| Tried { rows: std::mem::take(rows), refused: 0 });
            if self.rows.is_empty() {
                self.bytes = 0;
            }
            let progress = Progress {
                lineage: self.lineage,
                owner: self.instance.owner,
                sequence: self.last + 1,
                checkpoint: self.checkpoint,
            };
            let commit = Commit::new(&self.instance, &self.instance.writer, progress, &tried.rows);
            let mut commit = commit.journaled();
            let written = self.session.write(&tried.rows, &mut commit);
            let refused = if commit.is_there { tried.refused } else { commit.refused.len() };
            if let Err(error) = written {
                tried.refused = refused;
                self.counts.attempts_failed.add(1);
                self.failures += 1;
                self.next_attempt = self.clock.now().after(self.settings.reconnect.after(self.failures));
                return Err(error);
            }
            self.counts.transactions.add(1);
            self.counts.rows_written.add((tried.rows.len() - refused) as u64);
            self.counts.rows_refused.add(refused as u64);
            if refused > 0 {
                slog::error!(self.instance.logger, "rows were refused, and are in the table squall_refused now";
                    "transaction" => progress.sequence, "rows" => refused);
            }
            (self.last, self.tried, self.failures) = (progress.sequence, None, 0);
        }
        Ok(())
    }

    /// Writes what waits, as soon as the server is there.
    fn write_out_or_wait(&mut self) -> Result<(), TaskError> {
        loop {
            match self.write_out() {
                Ok(()) => return Ok(()),
                Err(error @ DatabaseError::Permanent(_)) => return Err(task_error(&error)),
                Err(error) => {
                    if self.failures == 1 {
                        slog::warn!(self.instance.logger, "rows cannot be written; waiting for the server";
                            "why" => error.to_string());
                    }
                    let pause: Duration = self.settings.reconnect.after(self.failures);
                    (self.wait)(&self.clock, pause);
                }
            }
        }
    }

    /// Claims a task, and takes back what it wrote after the mark; without one, everything that is not clean. Returns the
    /// lineage and the number to go on with.
    fn take_back(&mut self, task: i32, mark: Option<&BatchMark>) -> Result<(i64, i64), DatabaseError> {
        let (writer, owner) = (self.instance.writer_of(task), self.instance.owner);
        let recovery = self.instance.recovery;
        let lineage = mark.map_or(owner, |mark| mark.lineage);
        let begun = mark.map(|mark| Begun { last: mark.sequence, if_nothing: None });
        let sequence = self.session.transaction(|connection| {
            connection.command(Command::MakeTables)?;
            connection.make_clean_view()?;
            let sequence = claim(connection, &writer, (lineage, owner), begun)?;
            if mark.is_some_and(|mark| sequence < mark.sequence) {
                return Err(DatabaseError::Permanent(format!(
                    "the database lacks rows of the checkpoint that {} begins with: was it restored from a copy? Go back \
                     to an earlier checkpoint with `--resume=CHECKPOINT`",
                    shown(&writer)
                )));
            }
            connection.take_back(&writer, mark.map_or(-1, |_| sequence))?;
            connection.note_begun(&writer, recovery)?;
            Ok(sequence)
        })?;
        Ok((lineage, sequence))
    }

    fn begin(&mut self, mark: Option<&BatchMark>, gone: &[BatchMark]) -> Result<(), DatabaseError> {
        self.instance.begin();
        let own_task = self.instance.writer.task;
        (self.lineage, self.last) = self.take_back(own_task, mark)?;
        for mark in gone {
            self.take_back(mark.task, Some(mark))?;
        }
        // Tasks that are gone, and of which no checkpoint has rows.
        let writer = &self.instance.writer;
        let tasks = self.session.transaction(|connection| connection.tasks_in_journal(writer))?;
        let is_left = |task: &i32| {
            *task != own_task && self.instance.acts_for(*task) && gone.iter().all(|mark| mark.task != *task)
        };
        let left: Vec<i32> = tasks.into_iter().filter(is_left).collect();
        left.into_iter().try_for_each(|task| self.take_back(task, None).map(drop))
    }
}

impl JournaledSink for DirtySink {
    type Mark = BatchMark;

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.instance = Instance::of(context);
        self.clock = context.clock().clone();
        self.counts = Counts::new(context, context.loss_counter("rows_refused"));
        Ok(())
    }

    fn write(&mut self, input: Input<'_>) -> Result<(), TaskError> {
        let row = self.template.row(&input)?;
        self.session.check_row(&row).map_err(TaskError::new)?;
        if self.is_full() {
            self.write_out_or_wait()?;
        }
        self.bytes += row.iter().map(|value| size_of::<Value>() + value.heap_size()).sum::<usize>() as u64;
        self.rows.push(row);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TaskError> {
        if self.failures > 0 && self.clock.now() < self.next_attempt {
            return Ok(()); // It was reported.
        }
        match self.write_out() {
            Err(error) if self.failures == 1 || matches!(error, DatabaseError::Permanent(_)) => {
                Err(task_error(&error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn mark(&mut self) -> Result<BatchMark, TaskError> {
        self.write_out().map_err(|error| task_error(&error))?;
        Ok(BatchMark { task: self.instance.writer.task, lineage: self.lineage, sequence: self.last })
    }

    fn clean(&mut self, mark: &BatchMark) -> Result<(), TaskError> {
        let (instance, checkpoint) = (&self.instance, self.checkpoint);
        let writer = instance.writer_of(mark.task);
        let cleaned = self.session.transaction(|connection| {
            let found = instance.locked(connection, &writer, mark.lineage)?;
            connection.set_progress(&writer, Progress { checkpoint, ..found })?;
            connection.forget(&writer, mark.sequence)
        });
        cleaned.map_err(|error| task_error(&error))
    }

    fn undo(&mut self, mark: Option<&BatchMark>, gone: &[BatchMark]) -> Result<(), TaskError> {
        self.begin(mark, gone).map_err(|error| task_error(&error))
    }
}
