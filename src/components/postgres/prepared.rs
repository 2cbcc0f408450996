//! `postgres` exactly once with `prepare = true`: the rows of a checkpoint are in a transaction of the server's that is
//! prepared at the barrier, and committed when the checkpoint is complete.
//!
//! ```text
//!   rows ─▶ memory ─▶ pre_commit: BEGIN, rows, the mark of the transaction, PREPARE TRANSACTION 'squall/…'
//!                                    │ a lock is held by another transaction, or the server has no room for one more:
//!                                    │ the rows go into the state, as without `prepare`
//!                     commit:     COMMIT PREPARED 'squall/…', then its number into squall_commits
//!                                    │ it is not there: the number or the mark shows that it was committed;
//!                                    │ otherwise somebody rolled it back, and the run ends
//!                     next start: claim the task, ROLLBACK PREPARED of what belongs to no checkpoint
//! ```
//!
//! 1. Who may write, and how transactions are numbered, is in `claim`. A prepared transaction must not hold the row of its
//!    task in `squall_commits`, for which the next instance would wait. So it writes a row of its own into
//!    `squall_prepared`, its *mark*, which is there if it was committed.
//! 2. A zombie prepares nothing once its successor has begun: it *announces* that it prepares (a lock of its session), and
//!    then looks whether it is still the owner; the successor waits for announced transactions before it claims the task.
//!    What was prepared before, the successor rolls back, so a zombie that commits it finds nothing.
//! 3. Names have the topology, the component, the task, the owner and the number: no two instances use one name, and nobody
//!    rolls back a transaction of another task.
//! 4. A prepared transaction keeps its locks until it is decided about, and the decision may wait for the next checkpoint.
//!    So nothing that comes before a barrier may wait for it: after [`LimitLockWait`](Command::LimitLockWait) the rows
//!    go into the state, and are written when the checkpoint is complete. That comes after earlier transactions. Until
//!    then nothing later is prepared, because these rows might wait for its locks, and it is committed after them.
//! 5. If the bolt has another number of tasks after a restore, keys have moved between them. So each task first commits
//!    what it has of the checkpoint, and the older row of a key is written before the newer: no checkpoint with that is
//!    complete before all tasks have begun.
//! 6. If the connection breaks while a transaction is prepared, nobody knows whether it is. The next attempt has the same
//!    name, and first rolls back what is there.
//! 7. While the server is away, the rows of the attempt that broke are in memory, and at most one batch more: then the bolt
//!    waits. It waits for the roll-back of rule 6, because only the next barrier prepares.

use serde::{Deserialize, Serialize};

use crate::api::{Input, TaskContext, TaskError, TwoPhaseSink};
use crate::clock::Clock;
use crate::components::postgres::acked::{Counts, Wait, wait};
use crate::components::postgres::claim::{
    Begun, Commit, Instance, NO_CHECKPOINT, claim, keep_refused, task_error,
};
use crate::components::postgres::connection::{
    Command, Connection, DatabaseError, PreparedMark, Progress, Writer,
};
use crate::components::postgres::kept_rows::KeptRows;
use crate::components::postgres::row::RowTemplate;
use crate::components::postgres::session::{Companion, Refusal, Session};
use crate::components::postgres::settings::PostgresSettings;
use crate::ids::CheckpointId;
use crate::metrics::Counter;
use crate::tuple::Value;

/// The rows of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PreparedRows {
    /// Whose it is.
    task: i32,
    /// How many tasks the bolt had.
    tasks: i32,
    lineage: i64,
    /// The instance that prepared it.
    owner: i64,
    sequence: i64,
    checkpoint: CheckpointId,
    /// The rows, if they could not be prepared.
    rows: KeptRows,
    /// How many rows there are.
    count: u64,
    /// How many of them were refused when they were prepared.
    refused: u64,
}

/// When a transaction was committed.
enum Done {
    Now { refused: u64 },
    Before,
}

/// The sink `postgres` with `prepare`. See the [module](self).
pub(super) struct PreparedSink {
    settings: PostgresSettings,
    template: RowTemplate,
    session: Session,
    instance: Instance,
    counts: Counts,
    clock: Clock,
    wait: Wait,
    /// Transactions whose rows are in the state.
    unprepared: Counter,
    lineage: i64,
    /// The number of the last transaction that was begun.
    last: i64,
    /// The rows since the last checkpoint.
    open: KeptRows,
    /// The checkpoint that is being taken.
    checkpoint: CheckpointId,
    /// The last attempt to prepare the open transaction broke, so nobody knows whether it is prepared.
    is_unsure: bool,
    /// How many rows have come since then, and how much they take.
    more: (usize, usize),
    /// The number of the last transaction of this task whose rows are in the state and are not committed.
    kept: Option<i64>,
    /// A transaction of which nobody knows whether it was committed, and how many of its rows were refused.
    unsure: Option<(String, u64)>,
}

/// What all names of the transactions of a component begin with. Names of topologies and components have at most 64 bytes,
/// so the whole name has at most 184, and the server takes 199.
fn prefix(writer: &Writer) -> String {
    format!("squall/{}/{}/", writer.topology, writer.component)
}

impl PreparedRows {
    fn name(&self, writer: &Writer) -> String {
        format!("{}{}/{:016x}/{}", prefix(writer), self.task, self.owner, self.sequence)
    }
}

/// The task whose transaction has this name.
fn task_of(name: &str, prefix: &str) -> Option<i32> {
    let mut parts = name.strip_prefix(prefix)?.split('/');
    let (task, owner, sequence) = (parts.next()?, parts.next()?, parts.next()?);
    let is_name = owner.len() == 16 && sequence.parse::<i64>().is_ok() && parts.next().is_none();
    task.parse().ok().filter(|_| is_name)
}

/// What a transaction that is prepared has beside its rows.
struct Prepare<'a> {
    instance: &'a Instance,
    /// What holds when it is committed.
    progress: Progress,
    name: String,
    rows: &'a [Vec<Value>],
}

impl Companion for Prepare<'_> {
    fn before(&mut self, connection: &mut dyn Connection) -> Result<bool, DatabaseError> {
        let writer = &self.instance.writer;
        connection.command(Command::LimitLockWait)?;
        connection.announce_prepare(writer)?;
        let found = connection.progress(writer)?;
        self.instance.own(found, writer, self.progress.lineage).map(|_| true)
    }

    fn prepared_as(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn after(&mut self, connection: &mut dyn Connection, refused: &[Refusal]) -> Result<(), DatabaseError> {
        let (writer, Progress { lineage, sequence, .. }) = (&self.instance.writer, self.progress);
        keep_refused(connection, writer, &self.progress, self.rows, refused)?;
        connection.mark_prepared(writer, &PreparedMark { name: self.name.clone(), lineage, sequence })
    }
}

impl PreparedSink {
    pub(super) fn new(settings: PostgresSettings, template: RowTemplate, session: Session) -> PreparedSink {
        PreparedSink {
            settings,
            template,
            session,
            instance: Instance::default(),
            counts: Counts::default(),
            clock: Clock::simulated(),
            wait,
            unprepared: Counter::default(),
            lineage: 0,
            last: 0,
            open: KeptRows::default(),
            checkpoint: NO_CHECKPOINT,
            is_unsure: false,
            more: (0, 0),
            kept: None,
            unsure: None,
        }
    }

    /// Which checkpoint the next `pre_commit` is for.
    pub(super) fn at_checkpoint(&mut self, checkpoint: CheckpointId) {
        self.checkpoint = checkpoint;
    }

    /// If an attempt to prepare the open transaction broke, rolls back what it may have prepared.
    fn settle(&mut self, transaction: &PreparedRows) -> Result<(), DatabaseError> {
        if self.is_unsure {
            let name = transaction.name(&self.instance.writer);
            self.session.call(|connection| connection.roll_back_prepared(&name))?;
            (self.is_unsure, self.more) = (false, (0, 0));
        }
        Ok(())
    }

    /// Waits for a server that is away, if a batch of rows has come since that was found.
    fn wait_for_room(&mut self, transaction: &PreparedRows) -> Result<(), TaskError> {
        let ((rows, bytes), batch) = (self.more, &self.settings.batch);
        if rows < batch.rows && (bytes as u64) < batch.bytes.0 {
            return Ok(());
        }
        let mut failures = 0;
        while let Err(error) = self.settle(transaction) {
            if matches!(error, DatabaseError::Permanent(_)) {
                return Err(task_error(&error));
            }
            failures += 1;
            if failures == 1 {
                slog::warn!(self.instance.logger, "rows cannot be prepared; waiting for the server";
                    "why" => error.to_string());
            }
            (self.wait)(&self.clock, self.settings.reconnect.after(failures));
        }
        Ok(())
    }

    /// Leaves the open rows to the checkpoint.
    fn keep_rows(&mut self, transaction: &mut PreparedRows, why: &str) {
        self.unprepared.add(1);
        slog::warn!(self.instance.logger, "a transaction could not be prepared; its rows wait in the checkpoint";
            "checkpoint" => %self.checkpoint, "rows" => transaction.count, "why" => why);
        transaction.rows = std::mem::take(&mut self.open);
        self.kept = Some(transaction.sequence);
    }

    /// Commits what was prepared.
    fn commit_prepared(&mut self, transaction: &PreparedRows) -> Result<Done, DatabaseError> {
        let (instance, lineage) = (&self.instance, transaction.lineage);
        let writer = instance.writer_of(transaction.task);
        let name = transaction.name(&writer);
        let found = self.session.transaction(|connection| instance.locked(connection, &writer, lineage))?;
        if found.sequence >= transaction.sequence {
            return Ok(Done::Before);
        }
        let is_done = self.session.call(|connection| connection.commit_prepared(&name))?;
        self.session.transaction(|connection| {
            instance.locked(connection, &writer, lineage)?;
            if !is_done && !connection.is_marked(&name)? {
                return Err(rolled_back(&name, transaction));
            }
            let (owner, sequence, checkpoint) =
                (instance.owner, transaction.sequence, transaction.checkpoint);
            connection.set_progress(&writer, Progress { lineage, owner, sequence, checkpoint })?;
            connection.drop_marks(&writer, lineage, sequence)
        })?;
        Ok(if is_done { Done::Now { refused: transaction.refused } } else { Done::Before })
    }

    /// Writes rows that could not be prepared. An error comes with the number of rows that were refused before.
    fn write_kept(&mut self, transaction: &PreparedRows) -> Result<Done, (DatabaseError, u64)> {
        let writer = self.instance.writer_of(transaction.task);
        let name = transaction.name(&writer);
        // One that was prepared under this name by an attempt that seemed to fail.
        let there = self.session.call(|connection| connection.roll_back_prepared(&name));
        let rows = there.and_then(|_| to_rows(&transaction.rows)).map_err(|error| (error, 0))?;
        let progress = Progress {
            lineage: transaction.lineage,
            owner: self.instance.owner,
            sequence: transaction.sequence,
            checkpoint: transaction.checkpoint,
        };
        let mut commit = Commit::new(&self.instance, &writer, progress, &rows);
        match self.session.write(&rows, &mut commit) {
            Ok(_) if commit.is_there => Ok(Done::Before),
            Ok(refused) => Ok(Done::Now { refused: refused.len() as u64 }),
            Err(error) => Err((error, commit.refused.len() as u64)),
        }
    }

    /// Claims a task, with the last of its transactions that the state has.
    fn claim(&mut self, task: i32, lineage: i64, last: Option<&PreparedRows>) -> Result<i64, DatabaseError> {
        let (writer, owner) = (self.instance.writer_of(task), self.instance.owner);
        // Where the table has nothing, a transaction that is to be committed is found to be missing then.
        let begun = last.map(|last| Begun { last: last.sequence, if_nothing: Some(0) });
        self.session.transaction(|connection| {
            connection.command(Command::MakeTables)?;
            connection.await_prepares(&writer)?;
            let sequence = claim(connection, &writer, (lineage, owner), begun)?;
            connection.drop_marks(&writer, lineage, sequence)?;
            Ok(sequence)
        })
    }

    /// If the bolt had another number of tasks before, commits what this task has of the checkpoint that it begins with.
    fn commit_restored(&mut self, own: &[PreparedRows]) -> Result<(), TaskError> {
        // With the same number, the state may be that of an instance that was lost alone, and no checkpoint.
        let mut restored: Vec<_> = own.iter().filter(|kept| kept.tasks != self.instance.tasks).collect();
        restored.sort_by_key(|kept| (kept.task, kept.sequence));
        restored.into_iter().try_for_each(|kept| self.commit(kept))
    }

    /// Rolls back what earlier instances of these tasks have prepared for no checkpoint.
    fn roll_back_others(&mut self, keep: &[PreparedRows]) -> Result<(), DatabaseError> {
        let (instance, prefix) = (&self.instance, prefix(&self.instance.writer));
        let kept: Vec<String> = keep.iter().map(|kept| kept.name(&instance.writer)).collect();
        let found = self.session.call(|connection| connection.prepared(&prefix))?;
        let is_own = |name: &String| task_of(name, &prefix).is_some_and(|task| instance.acts_for(task));
        for name in found.iter().filter(|name| is_own(name) && !kept.contains(name)) {
            self.session.call(|connection| connection.roll_back_prepared(name))?;
            slog::info!(instance.logger, "rolled back a prepared transaction that belongs to no checkpoint";
                "name" => name);
        }
        Ok(())
    }
}

fn to_rows(rows: &KeptRows) -> Result<Vec<Vec<Value>>, DatabaseError> {
    let damaged = || DatabaseError::Permanent("rows in the state of `postgres` are damaged".to_owned());
    rows.to_rows().ok_or_else(damaged)
}

fn rolled_back(name: &str, transaction: &PreparedRows) -> DatabaseError {
    DatabaseError::Permanent(format!(
        "the prepared transaction `{name}` with {} rows of checkpoint {} is gone, and was not committed: somebody rolled it \
         back, or this is another database. Its rows are not in the table. Go back to a checkpoint before it with \
         `--resume=CHECKPOINT` (`squall checkpoint list DIRECTORY` shows them)",
        transaction.count, transaction.checkpoint
    ))
}

impl TwoPhaseSink for PreparedSink {
    type Transaction = PreparedRows;

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.instance = Instance::of(context);
        self.clock = context.clock().clone();
        self.counts = Counts::new(context, context.loss_counter("rows_refused"));
        self.unprepared = context.counter("transactions_unprepared");
        Ok(())
    }

    fn begin(&mut self) -> Result<PreparedRows, TaskError> {
        self.last += 1;
        Ok(PreparedRows {
            task: self.instance.writer.task,
            tasks: self.instance.tasks,
            lineage: self.lineage,
            owner: self.instance.owner,
            sequence: self.last,
            checkpoint: NO_CHECKPOINT,
            rows: KeptRows::default(),
            count: 0,
            refused: 0,
        })
    }

    fn write(&mut self, transaction: &mut PreparedRows, input: Input<'_>) -> Result<(), TaskError> {
        let row = self.template.row(&input)?;
        self.session.check_row(&row).map_err(TaskError::new)?;
        self.wait_for_room(transaction)?;
        let before = self.open.size();
        self.open.push(row)?;
        if self.is_unsure {
            let (rows, bytes) = self.more;
            self.more = (rows + 1, bytes + self.open.size() - before);
        }
        Ok(())
    }

    fn pre_commit(&mut self, transaction: &mut PreparedRows) -> Result<(), TaskError> {
        let name = transaction.name(&self.instance.writer);
        transaction.checkpoint = self.checkpoint;
        self.settle(transaction).map_err(|error| task_error(&error))?;
        let rows = to_rows(&self.open).map_err(|error| task_error(&error))?;
        transaction.count = rows.len() as u64;
        if let Some(kept) = self.kept {
            self.keep_rows(transaction, &format!("transaction {kept} waits there, too"));
            return Ok(());
        }
        let progress = Progress {
            lineage: transaction.lineage,
            owner: transaction.owner,
            sequence: transaction.sequence,
            checkpoint: self.checkpoint,
        };
        let mut prepare = Prepare { instance: &self.instance, progress, name, rows: &rows };
        match self.session.write(&rows, &mut prepare) {
            Ok(refused) => {
                transaction.refused = refused.len() as u64;
                self.open = KeptRows::default();
                Ok(())
            }
            Err(DatabaseError::Busy(why)) => {
                self.keep_rows(transaction, &why);
                Ok(())
            }
            Err(error) => {
                self.counts.attempts_failed.add(1);
                self.is_unsure = true;
                Err(task_error(&error))
            }
        }
    }

    fn commit(&mut self, transaction: &PreparedRows) -> Result<(), TaskError> {
        let name = transaction.name(&self.instance.writer);
        let before = self.unsure.take().filter(|(unsure, _)| *unsure == name);
        let done = match transaction.rows.is_empty() {
            true => self.commit_prepared(transaction).map_err(|error| (error, transaction.refused)),
            false => self.write_kept(transaction),
        };
        let refused = match done {
            Ok(Done::Now { refused }) => Some(refused),
            // By the attempt before, or before the process died.
            Ok(Done::Before) => before.map(|(_, refused)| refused),
            Err((error, refused)) => {
                self.counts.attempts_failed.add(1);
                self.unsure = Some((name, refused));
                return Err(task_error(&error));
            }
        };
        if transaction.task == self.instance.writer.task {
            self.kept = self.kept.filter(|kept| *kept > transaction.sequence);
        }
        let Some(refused) = refused else { return Ok(()) };
        self.counts.transactions.add(1);
        self.counts.rows_written.add(transaction.count - refused);
        self.counts.rows_refused.add(refused);
        if refused > 0 {
            slog::error!(self.instance.logger, "rows were refused, and are in the table squall_refused now";
                "checkpoint" => %transaction.checkpoint, "rows" => refused);
        }
        Ok(())
    }

    fn abort_others(&mut self, keep: &[PreparedRows]) -> Result<(), TaskError> {
        self.instance.begin();
        let own: Vec<PreparedRows> =
            keep.iter().filter(|kept| self.instance.acts_for(kept.task)).cloned().collect();
        let last_of =
            |task: i32| own.iter().filter(|kept| kept.task == task).max_by_key(|kept| kept.sequence);
        let mut tasks: Vec<i32> = own.iter().map(|kept| kept.task).collect();
        tasks.push(self.instance.writer.task);
        tasks.sort_unstable();
        tasks.dedup();
        let begin = |sink: &mut PreparedSink| {
            if sink.session.call(|connection| connection.prepares_max())? == 0 {
                return Err(DatabaseError::Permanent(
                    "`prepare = true` needs prepared transactions, which this server has none of: set \
                     `max_prepared_transactions` in its postgresql.conf to at least twice the number of tasks that \
                     prepare (`max_concurrent` + 1 times, where that is above 1), and restart it; or write `prepare = false`"
                        .to_owned(),
                ));
            }
            for task in tasks {
                let last = last_of(task);
                let lineage = last.map_or(sink.instance.owner, |last| last.lineage);
                let committed = sink.claim(task, lineage, last)?;
                if task == sink.instance.writer.task {
                    let is_kept = |kept: &&PreparedRows| kept.task == task && !kept.rows.is_empty();
                    let kept = own.iter().filter(is_kept).map(|kept| kept.sequence).max();
                    sink.kept = kept.filter(|kept| *kept > committed);
                    (sink.lineage, sink.last) = (lineage, last.map_or(0, |last| last.sequence));
                }
            }
            sink.roll_back_others(keep)
        };
        begin(self).map_err(|error| task_error(&error))?;
        self.commit_restored(&own)
    }
}
