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
//! 2. Who may write, and how transactions are numbered, is in `claim`.
//! 3. A row that the server refuses is not lost and does not stop the others: it goes to `squall_refused`, in the same
//!    transaction, and counts as a loss, so that the exit code is 1. What can be known before (the types of columns)
//!    fails the tuple in `execute`, so that `on_error` and dead letters are for it.
//! 4. Rows are kept in memory, and in the state, from their checkpoint on until they are committed.
//! 5. If the bolt has another number of tasks after a restore, keys have moved between them. So each task first writes
//!    what it has of the checkpoint, and the older row of a key is written before the newer: no checkpoint with that is
//!    complete before all tasks have begun.
//! 6. If the bolt has fewer tasks after a restore, those that are left have the state of those that are gone, and write
//!    what these had under the numbers of the task that is gone.

use serde::{Deserialize, Serialize};

use crate::api::{Bolt, Input, OperatorState, Outputs, TaskContext, TaskError};
use crate::components::postgres::acked::Counts;
use crate::components::postgres::claim::{Begun, Commit, Instance, claim, task_error};
use crate::components::postgres::connection::{Command, DatabaseError, Progress, Writer};
use crate::components::postgres::kept_rows::KeptRows;
use crate::components::postgres::row::RowTemplate;
use crate::components::postgres::session::{Refusal, Session};
use crate::ids::CheckpointId;

/// Where the task is in its sequence of transactions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Sequence {
    /// The task, which may not be there any more.
    task: i32,
    lineage: i64,
    /// The number of the last transaction.
    last: i64,
    /// How many tasks the bolt had.
    #[serde(default)]
    tasks: i32,
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
    instance: Instance,
    counts: Counts,
    /// The rows since the last checkpoint.
    open: KeptRows,
    transactions: OperatorState<Transaction>,
    /// One, once it is begun. After a restore, also those of tasks that are gone.
    sequences: OperatorState<Sequence>,
    lineage: i64,
    /// A transaction of which nobody knows whether it was committed, and what was refused in it.
    unsure: Option<(i64, Vec<Refusal>)>,
}

impl CommittedRows {
    pub(super) fn new(template: RowTemplate, session: Session) -> CommittedRows {
        CommittedRows {
            template,
            session,
            instance: Instance::default(),
            counts: Counts::default(),
            open: KeptRows::default(),
            transactions: OperatorState::default(),
            sequences: OperatorState::default(),
            lineage: 0,
            unsure: None,
        }
    }

    /// Claims the row of a task. `begun`: the sequence that the state has, and whether transactions of it are not
    /// known to be committed.
    fn claim(
        &mut self,
        writer: &Writer,
        lineage: i64,
        begun: Option<(Sequence, bool)>,
    ) -> Result<(), DatabaseError> {
        let owner = self.instance.owner;
        let begun = begun.map(|(begun, has_open)| Begun {
            last: begun.last,
            if_nothing: if has_open { None } else { Some(begun.last) },
        });
        self.session.transaction(|connection| {
            connection.command(Command::MakeTables)?;
            claim(connection, writer, (lineage, owner), begun).map(drop)
        })
    }

    /// Claims the task of a sequence that was restored. If the bolt had another number of tasks then, writes what the task
    /// had in the checkpoint, which is complete; otherwise returns that. With the same number, the state may be that of
    /// an instance that was lost alone, and no checkpoint.
    fn claim_restored(
        &mut self,
        sequence: Sequence,
        all: &[Transaction],
    ) -> Result<Vec<Transaction>, TaskError> {
        let mut open: Vec<Transaction> = all.to_vec();
        open.retain(|transaction| transaction.task == sequence.task);
        let (writer, begun) = (self.instance.writer_of(sequence.task), Some((sequence, !open.is_empty())));
        self.claim(&writer, sequence.lineage, begun).map_err(|error| task_error(&error))?;
        if sequence.tasks != self.instance.tasks {
            open.drain(..).try_for_each(|transaction| self.commit(sequence.lineage, &transaction))?;
        }
        Ok(open)
    }

    /// Writes the rows of a checkpoint, if they are not there.
    fn commit(&mut self, lineage: i64, transaction: &Transaction) -> Result<(), TaskError> {
        let writer = self.instance.writer_of(transaction.task);
        let rows = transaction.rows.to_rows();
        let rows = rows.ok_or_else(|| TaskError::fatal("rows in the state of `postgres` are damaged"))?;
        let progress = Progress {
            lineage,
            owner: self.instance.owner,
            sequence: transaction.sequence,
            checkpoint: transaction.checkpoint,
        };
        let mut commit = Commit::new(&self.instance, &writer, progress, &rows);
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
            slog::error!(self.instance.logger, "rows were refused, and are in the table squall_refused now";
                "checkpoint" => %transaction.checkpoint, "rows" => refused.len(), "first" => &first.why);
        }
        Ok(())
    }
}

impl Bolt for CommittedRows {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.instance = Instance::of(context);
        self.counts = Counts::new(context, context.loss_counter("rows_refused"));
        self.transactions = context.operator_state_of_task("transactions")?;
        self.sequences = context.operator_state_of_task("sequence")?;
        Ok(())
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (task, tasks) = (self.instance.writer.task, self.instance.tasks);
        let (sequences, transactions) =
            (self.sequences.items(out)?.to_vec(), self.transactions.items(out)?.to_vec());
        self.instance.begin();
        let mut open = Vec::new();
        for sequence in &sequences {
            open.extend(self.claim_restored(*sequence, &transactions)?);
        }
        let own = match sequences.into_iter().find(|sequence| sequence.task == task) {
            Some(own) => Sequence { tasks, ..own },
            None => {
                let (writer, lineage) = (self.instance.writer.clone(), self.instance.owner);
                self.claim(&writer, lineage, None).map_err(|error| task_error(&error))?;
                Sequence { task, lineage, last: 0, tasks }
            }
        };
        self.lineage = own.lineage;
        self.transactions.set(out, open)?;
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
        let (task, tasks, sequence) = (self.instance.writer.task, self.instance.tasks, last + 1);
        self.transactions.push(out, Transaction { task, sequence, checkpoint, rows: self.open.clone() })?;
        self.sequences.set(out, vec![Sequence { task, lineage: self.lineage, last: sequence, tasks }])?;
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
