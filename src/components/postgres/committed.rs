//! `postgres` exactly once: the rows of a checkpoint are written when it is complete, in one transaction with a number
//! that says that they are there.
//!
//! ```text
//!   rows ─▶ pre_commit: into the state ─▶ checkpoint is complete ─▶ committed: BEGIN
//!             │                                                       lock the row of the task in squall_commits
//!             └─ crash: gone, and the spouts emit them again          is its number as high? then ROLLBACK
//!                                                                     rows, and those refused to squall_refused
//!                                                                     the number into squall_commits
//!                                                                     COMMIT
//!                                  crash at any point: done again by the next start, or found to be done
//! ```
//!
//! 1. The table has the rows of complete checkpoints, each once. Readers see all rows of a checkpoint of a task at
//!    once.
//! 2. Only the instance that was made last writes. When it begins, it writes its `owner`, a random number, into the row
//!    of the task. Who finds another owner there was replaced while it was cut off or stopped (a *zombie*), and ends its
//!    run.
//! 3. The transactions of a task are numbered, from 1, within a `lineage`: a random number. Both are in every
//!    checkpoint. The numbers of checkpoints would not do, because they begin anew in another directory. A run that
//!    begins anew has a lineage of its own. One that goes back to an earlier checkpoint, or begins with a savepoint,
//!    has the lineage and the number of that checkpoint. What was committed after it is written again then, so the
//!    claim sets the number in the table back.
//! 4. A row that the server refuses is not lost and does not stop the others: it goes to `squall_refused`, in the same
//!    transaction, and counts as a loss, so that the exit code is 1. What can be known before (the types of columns)
//!    fails the tuple in `execute`, so that `on_error` and dead letters are for it.
//! 5. Rows are kept in memory, and in the state, from their checkpoint on until they are committed.
//! 6. If the bolt has fewer tasks after a restore, those that are left have the state of those that are gone. What
//!    these had in the checkpoint is written before anything else, under the numbers of the task that is gone.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::api::{Bolt, Input, OperatorState, Outputs, TaskContext, TaskError};
use crate::clock::Clock;
use crate::components::json;
use crate::components::postgres::acked::Counts;
use crate::components::postgres::connection::{
    Command, Connection, DatabaseError, Progress, RefusedRow, Writer,
};
use crate::components::postgres::kept_rows::KeptRows;
use crate::components::postgres::row::RowTemplate;
use crate::components::postgres::session::{Companion, Refusal, Session};
use crate::ids::CheckpointId;
use crate::tuple::Value;

/// What comes before the first checkpoint.
const NO_CHECKPOINT: CheckpointId = CheckpointId { epoch: 0, number: 0 };

/// Where the task is in its sequence of transactions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sequence {
    /// The task, which may not be there any more.
    task: i32,
    lineage: i64,
    /// The number of the last transaction.
    last: i64,
}

/// The rows of a checkpoint that is not known to be committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Transaction {
    /// Whose it is.
    task: i32,
    sequence: i64,
    checkpoint: CheckpointId,
    rows: KeptRows,
}

/// The bolt `postgres` exactly once. See the [module](self).
pub(super) struct CommittedRows {
    template: RowTemplate,
    session: Session,
    writer: Writer,
    logger: slog::Logger,
    clock: Clock,
    seed: u64,
    counts: Counts,
    /// The rows since the last checkpoint.
    open: KeptRows,
    transactions: OperatorState<Transaction>,
    /// One, once it is begun. After a restore, also those of tasks that are gone.
    sequences: OperatorState<Sequence>,
    lineage: i64,
    owner: i64,
    /// A transaction of which nobody knows whether it was committed, and what was refused in it.
    unsure: Option<(i64, Vec<Refusal>)>,
}

impl CommittedRows {
    pub(super) fn new(template: RowTemplate, session: Session) -> CommittedRows {
        CommittedRows {
            template,
            session,
            writer: Writer { topology: String::new(), component: String::new(), task: 0 },
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            clock: Clock::simulated(),
            seed: 0,
            counts: Counts::default(),
            open: KeptRows::default(),
            transactions: OperatorState::default(),
            sequences: OperatorState::default(),
            lineage: 0,
            owner: 0,
            unsure: None,
        }
    }

    fn writer_of(&self, task: i32) -> Writer {
        Writer { task, ..self.writer.clone() }
    }

    /// Claims the row of a task, so that no earlier instance can write any more. `begun`: the sequence that the
    /// state has, and whether transactions of it are not known to be committed.
    fn claim(
        &mut self,
        writer: &Writer,
        lineage: i64,
        begun: Option<(Sequence, bool)>,
    ) -> Result<(), DatabaseError> {
        let owner = self.owner;
        self.session.transaction(|connection| {
            connection.command(Command::MakeTables)?;
            let found = connection.lock_progress(writer)?;
            let (sequence, checkpoint) = match (begun, found) {
                (None, _) => (0, NO_CHECKPOINT),
                (Some((begun, _)), Some(found)) if found.lineage == lineage => {
                    (found.sequence.min(begun.last), found.checkpoint)
                }
                (Some((begun, false)), None) => (begun.last, NO_CHECKPOINT),
                (Some(_), Some(_)) => return Err(taken_over(writer)),
                (Some((_, true)), None) => {
                    return Err(DatabaseError::Permanent(format!(
                        "the table squall_commits has nothing of {}, so nobody knows whether the last rows of the \
                         checkpoint are there: is this another database, or was the topology renamed?",
                        shown(writer)
                    )));
                }
            };
            connection.set_progress(writer, Progress { lineage, owner, sequence, checkpoint })
        })
    }

    /// Writes what tasks that are gone had in the checkpoint, which is complete.
    fn write_for_those_gone(
        &mut self,
        sequences: &[Sequence],
        transactions: &[Transaction],
    ) -> Result<(), TaskError> {
        let own_task = self.writer.task;
        for sequence in sequences.iter().filter(|sequence| sequence.task != own_task) {
            let left: Vec<&Transaction> =
                transactions.iter().filter(|transaction| transaction.task == sequence.task).collect();
            let writer = self.writer_of(sequence.task);
            let begun = Some((*sequence, !left.is_empty()));
            self.claim(&writer, sequence.lineage, begun).map_err(|error| task_error(&error))?;
            left.iter().try_for_each(|transaction| self.commit(sequence.lineage, transaction))?;
        }
        Ok(())
    }

    /// Writes the rows of a checkpoint, if they are not there.
    fn commit(&mut self, lineage: i64, transaction: &Transaction) -> Result<(), TaskError> {
        let writer = self.writer_of(transaction.task);
        let rows = transaction.rows.to_rows();
        let rows = rows.ok_or_else(|| TaskError::fatal("rows in the state of `postgres` are damaged"))?;
        let mut commit = Commit {
            writer: &writer,
            progress: Progress {
                lineage,
                owner: self.owner,
                sequence: transaction.sequence,
                checkpoint: transaction.checkpoint,
            },
            rows: &rows,
            is_there: false,
            refused: Vec::new(),
        };
        let earlier = self.unsure.take();
        let mut refused = match self.session.write(&rows, &mut commit) {
            Ok(refused) => refused,
            Err(error) => {
                self.counts.attempts_failed.add(1);
                self.unsure = Some((transaction.sequence, commit.refused));
                return Err(task_error(&error));
            }
        };
        if commit.is_there {
            // By the attempt before, or before the process died.
            match earlier {
                Some((sequence, of_it)) if sequence == transaction.sequence => refused = of_it,
                _ => return Ok(()),
            }
        }
        self.counts.transactions.add(1);
        self.counts.rows_written.add((rows.len() - refused.len()) as u64);
        self.counts.rows_refused.add(refused.len() as u64);
        if let Some(first) = refused.first() {
            slog::error!(self.logger, "rows were refused, and are in the table squall_refused now";
                "checkpoint" => %transaction.checkpoint, "rows" => refused.len(), "first" => &first.why);
        }
        Ok(())
    }
}

fn shown(writer: &Writer) -> String {
    format!("task {} of `{}` in topology `{}`", writer.task, writer.component, writer.topology)
}

fn taken_over(writer: &Writer) -> DatabaseError {
    DatabaseError::Permanent(format!(
        "{} was taken over: a later start of the topology, or one with other checkpoints, writes to this database",
        shown(writer)
    ))
}

fn task_error(error: &DatabaseError) -> TaskError {
    let message = error.to_string();
    let is_permanent = matches!(error, DatabaseError::Permanent(_));
    if is_permanent { TaskError::fatal(message) } else { TaskError::new(message) }
}

/// What a transaction has beside the rows of a checkpoint.
struct Commit<'a> {
    writer: &'a Writer,
    /// What holds when the rows are there.
    progress: Progress,
    rows: &'a [Vec<Value>],
    /// Whether the rows were there already.
    is_there: bool,
    /// The rows that were refused.
    refused: Vec<Refusal>,
}

impl Companion for Commit<'_> {
    fn before(&mut self, connection: &mut dyn Connection) -> Result<bool, DatabaseError> {
        let found = connection.lock_progress(self.writer)?;
        let own = (self.progress.lineage, self.progress.owner);
        let found = found.filter(|found| (found.lineage, found.owner) == own);
        let found = found.ok_or_else(|| taken_over(self.writer))?;
        self.is_there = found.sequence >= self.progress.sequence;
        Ok(!self.is_there)
    }

    fn after(&mut self, connection: &mut dyn Connection, refused: &[Refusal]) -> Result<(), DatabaseError> {
        self.refused = refused.to_vec();
        for Refusal { place, why } in refused {
            let mut row = String::new();
            json::write_value(&mut row, &Value::list(self.rows[*place].iter().cloned()));
            let (checkpoint, place) = (self.progress.checkpoint, *place as i64);
            // Text of the server's has no NUL.
            let why = why.replace('\0', "\u{fffd}");
            connection.keep_refused(self.writer, &RefusedRow { checkpoint, place, why, row })?;
        }
        connection.set_progress(self.writer, self.progress)
    }
}

impl Bolt for CommittedRows {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.writer = Writer {
            topology: context.topology().to_owned(),
            component: context.component().to_owned(),
            task: i32::try_from(context.task_index()).unwrap_or(i32::MAX),
        };
        self.logger = context.logger().clone();
        self.clock = context.clock().clone();
        self.seed = context.seed();
        self.counts = Counts::new(context, context.loss_counter("rows_refused"));
        self.transactions = context.operator_state("transactions")?;
        self.sequences = context.operator_state("sequence")?;
        Ok(())
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let own_task = self.writer.task;
        let (sequences, mut transactions) =
            (self.sequences.items(out)?.to_vec(), self.transactions.items(out)?.to_vec());
        // Two instances of a task do not begin with one seed at one time.
        let seed = self.seed ^ self.clock.wall_nanos().cast_unsigned();
        self.owner = StdRng::seed_from_u64(seed).random();
        self.write_for_those_gone(&sequences, &transactions)?;
        transactions.retain(|transaction| transaction.task == own_task);
        let begun = sequences.iter().copied().find(|sequence| sequence.task == own_task);
        self.lineage = begun.map_or(self.owner, |begun| begun.lineage);
        let (writer, has_open) = (self.writer.clone(), !transactions.is_empty());
        let claimed = self.claim(&writer, self.lineage, begun.map(|begun| (begun, has_open)));
        claimed.map_err(|error| task_error(&error))?;
        let own = begun.unwrap_or(Sequence { task: own_task, lineage: self.lineage, last: 0 });
        self.transactions.set(out, transactions)?;
        Ok(self.sequences.set(out, vec![own])?)
    }

    fn execute(&mut self, input: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        let row = self.template.row(&input)?;
        self.session.check_row(&row).map_err(TaskError::new)?;
        self.open.push(row)
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let last = self.sequences.items(out)?.first().map_or(0, |sequence| sequence.last);
        let (task, sequence) = (self.writer.task, last + 1);
        self.transactions.push(out, Transaction { task, sequence, checkpoint, rows: self.open.clone() })?;
        self.sequences.set(out, vec![Sequence { task, lineage: self.lineage, last: sequence }])?;
        self.open = KeptRows::default();
        Ok(())
    }

    fn committed(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (due, later): (Vec<_>, Vec<_>) = self
            .transactions
            .items(out)?
            .iter()
            .cloned()
            .partition(|transaction| transaction.checkpoint <= checkpoint);
        if due.is_empty() {
            return Ok(());
        }
        due.iter().try_for_each(|transaction| self.commit(self.lineage, transaction))?;
        Ok(self.transactions.set(out, later)?)
    }

    fn keeps_data(&self) -> bool {
        !self.open.is_empty()
    }
}
