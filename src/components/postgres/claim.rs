//! Who may write: what the three ways of exactly-once have in common.
//!
//! 1. Only the instance that was made last writes. When it begins, it writes its `owner`, a random number, into the row
//!    of the task in `squall_commits`. Who finds another owner there was replaced while it was cut off or stopped (a
//!    *zombie*), and ends its run.
//! 2. The transactions of a task are numbered, from 1, within a `lineage`: a random number. Both are in every
//!    checkpoint. The numbers of checkpoints would not do, because they begin anew in another directory. A run that
//!    begins anew has a lineage of its own. One that goes back to an earlier checkpoint, or begins with a savepoint,
//!    has the lineage and the number of that checkpoint. What was committed after it is written again then, so the
//!    claim sets the number in the table back.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::api::{TaskContext, TaskError};
use crate::clock::Clock;
use crate::components::json;
use crate::components::postgres::connection::{
    Connection, DatabaseError, Peers, Progress, RefusedRow, Writer,
};
use crate::components::postgres::session::{Companion, Refusal};
use crate::ids::CheckpointId;
use crate::tuple::Value;

/// What comes before the first checkpoint.
pub(super) const NO_CHECKPOINT: CheckpointId = CheckpointId { epoch: 0, number: 0 };

/// An instance of a task.
pub(super) struct Instance {
    pub(super) writer: Writer,
    /// How many tasks the bolt has.
    pub(super) tasks: i32,
    /// The start or the recovery after which all of these begin.
    pub(super) recovery: i64,
    /// What no other instance has, once it has begun.
    pub(super) owner: i64,
    seed: u64,
    clock: Clock,
    pub(super) logger: slog::Logger,
}

impl Default for Instance {
    fn default() -> Instance {
        Instance {
            writer: Writer { topology: String::new(), component: String::new(), task: 0 },
            tasks: 1,
            recovery: 0,
            owner: 0,
            seed: 0,
            clock: Clock::simulated(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
        }
    }
}

impl Instance {
    pub(super) fn of(context: &TaskContext) -> Instance {
        Instance {
            writer: Writer {
                topology: context.topology().to_owned(),
                component: context.component().to_owned(),
                task: i32::try_from(context.task_index()).unwrap_or(i32::MAX),
            },
            tasks: i32::try_from(context.parallelism()).unwrap_or(i32::MAX).max(1),
            recovery: context.recovery().cast_signed(),
            owner: 0,
            seed: context.seed(),
            clock: context.clock().clone(),
            logger: context.logger().clone(),
        }
    }

    /// Chooses the owner.
    pub(super) fn begin(&mut self) {
        // Two instances of a task do not begin with one seed at one time.
        let seed = self.seed ^ self.clock.wall_nanos().cast_unsigned();
        self.owner = StdRng::seed_from_u64(seed).random();
    }

    pub(super) fn writer_of(&self, task: i32) -> Writer {
        Writer { task, ..self.writer.clone() }
    }

    /// The tasks of the bolt.
    fn peers(&self) -> Peers {
        Peers { tasks: self.tasks, recovery: self.recovery }
    }

    /// Whether this instance acts for a task: its own, or one that is gone.
    pub(super) fn acts_for(&self, task: i32) -> bool {
        task % self.tasks == self.writer.task
    }

    /// What squall's table has of a task, which waits for nobody else until the transaction ends.
    ///
    /// # Errors
    /// When another instance has taken over.
    pub(super) fn locked(
        &self,
        connection: &mut dyn Connection,
        writer: &Writer,
        lineage: i64,
    ) -> Result<Progress, DatabaseError> {
        let found = connection.lock_progress(writer)?;
        self.own(found, writer, lineage)
    }

    /// The same of what was found already.
    pub(super) fn own(
        &self,
        found: Option<Progress>,
        writer: &Writer,
        lineage: i64,
    ) -> Result<Progress, DatabaseError> {
        let found = found.filter(|found| (found.lineage, found.owner) == (lineage, self.owner));
        found.ok_or_else(|| taken_over(writer))
    }
}

/// What the state has of the sequence of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// The number of the last transaction.
    pub(super) last: i64,
    /// The number to go on with where squall's table has nothing of the task; `None` refuses that.
    pub(super) if_nothing: Option<i64>,
}

/// Claims the row of a task, so that no earlier instance can write any more. Returns the number of the last transaction
/// that is there. `begun`: what the state has.
pub(super) fn claim(
    connection: &mut dyn Connection,
    writer: &Writer,
    (lineage, owner): (i64, i64),
    begun: Option<Begun>,
) -> Result<i64, DatabaseError> {
    let found = connection.lock_progress(writer)?;
    let (sequence, checkpoint) = match (begun, found) {
        (None, _) => (0, NO_CHECKPOINT),
        (Some(begun), Some(found)) if found.lineage == lineage => {
            (found.sequence.min(begun.last), found.checkpoint)
        }
        (Some(_), Some(_)) => return Err(taken_over(writer)),
        (Some(Begun { if_nothing: Some(sequence), .. }), None) => (sequence, NO_CHECKPOINT),
        (Some(Begun { if_nothing: None, .. }), None) => {
            return Err(DatabaseError::Permanent(format!(
                "the table squall_commits has nothing of {}, so nobody knows whether the last rows of the \
                 checkpoint are there: is this another database, or was the topology renamed?",
                shown(writer)
            )));
        }
    };
    connection.set_progress(writer, Progress { lineage, owner, sequence, checkpoint })?;
    Ok(sequence)
}

/// Rows with the number that says that they are there: what a transaction has beside them.
pub(super) struct Commit<'a> {
    instance: &'a Instance,
    writer: &'a Writer,
    /// What holds when the rows are there.
    progress: Progress,
    rows: &'a [Vec<Value>],
    /// Whether what they replace goes into the journal.
    is_journaled: bool,
    /// Whether the rows were there already.
    pub(super) is_there: bool,
    /// The rows that were refused.
    pub(super) refused: Vec<Refusal>,
}

impl<'a> Commit<'a> {
    /// Rows of a task, and what holds when they are there.
    pub(super) fn new(
        instance: &'a Instance,
        writer: &'a Writer,
        progress: Progress,
        rows: &'a [Vec<Value>],
    ) -> Commit<'a> {
        Commit { instance, writer, progress, rows, is_journaled: false, is_there: false, refused: Vec::new() }
    }

    /// What they replace goes into the journal.
    pub(super) fn journaled(self) -> Commit<'a> {
        Commit { is_journaled: true, ..self }
    }
}

impl Companion for Commit<'_> {
    fn before(&mut self, connection: &mut dyn Connection) -> Result<bool, DatabaseError> {
        let found = self.instance.locked(connection, self.writer, self.progress.lineage)?;
        self.is_there = found.sequence >= self.progress.sequence;
        if self.is_journaled && !self.is_there {
            connection.begin_journal(self.writer, self.progress.sequence, self.instance.peers())?;
        }
        Ok(!self.is_there)
    }

    fn after(&mut self, connection: &mut dyn Connection, refused: &[Refusal]) -> Result<(), DatabaseError> {
        self.refused = refused.to_vec();
        keep_refused(connection, self.writer, &self.progress, self.rows, refused)?;
        connection.set_progress(self.writer, self.progress)
    }
}

/// Keeps rows that were refused in squall's table of them.
pub(super) fn keep_refused(
    connection: &mut dyn Connection,
    writer: &Writer,
    progress: &Progress,
    rows: &[Vec<Value>],
    refused: &[Refusal],
) -> Result<(), DatabaseError> {
    for Refusal { place, why } in refused {
        let mut row = String::new();
        json::write_value(&mut row, &Value::list(rows[*place].iter().cloned()));
        let (checkpoint, sequence, place) = (progress.checkpoint, progress.sequence, *place as i64);
        // Text of the server's has no NUL.
        let why = why.replace('\0', "\u{fffd}");
        connection.keep_refused(writer, &RefusedRow { checkpoint, sequence, place, why, row })?;
    }
    Ok(())
}

pub(super) fn shown(writer: &Writer) -> String {
    format!("task {} of `{}` in topology `{}`", writer.task, writer.component, writer.topology)
}

pub(super) fn taken_over(writer: &Writer) -> DatabaseError {
    DatabaseError::Permanent(format!(
        "{} was taken over: a later start of the topology, or one with other checkpoints, writes to this database",
        shown(writer)
    ))
}

/// The error of a call; one that no other attempt can solve ends the run.
pub(super) fn task_error(error: &DatabaseError) -> TaskError {
    let message = error.to_string();
    let is_permanent = matches!(error, DatabaseError::Permanent(_));
    if is_permanent { TaskError::fatal(message) } else { TaskError::new(message) }
}
