//! What the sink asks of a PostgreSQL server, and what may go wrong.
//!
//! The sink is written against these traits. `client` speaks to a server; the tests have a server of their own in
//! memory, which breaks where they want.

use crate::components::postgres::values::{ColumnType, Parameter};
use crate::ids::CheckpointId;

/// Why the server did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DatabaseError {
    /// There is no connection, or it broke: nobody knows whether a commit that was under way was done.
    #[error("PostgreSQL cannot be reached: {0}")]
    Away(String),
    /// The server did not do it, and may do it later: a time-out, a deadlock, a full disk.
    #[error("PostgreSQL cannot write now: {0}")]
    Busy(String),
    /// The server refuses the rows of the statement: a constraint, a value that it cannot read.
    #[error("PostgreSQL refuses the row: {0}")]
    Row(String),
    /// No other attempt can succeed: there is no such table, the password is wrong.
    #[error("PostgreSQL refuses: {0}")]
    Permanent(String),
}

/// Makes connections.
pub(super) trait Connect: Send {
    /// Connects, and prepares the statement.
    fn connect(&mut self) -> Result<Box<dyn Connection>, DatabaseError>;
}

/// What needs no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Begin,
    Commit,
    Rollback,
    /// Sets a mark in the transaction. There is one at a time.
    Mark,
    /// Takes back what came after the mark, and keeps the mark.
    BackToMark,
    /// Forgets the mark, and keeps what came after it.
    DropMark,
    /// Checks constraints now that would be checked at the commit.
    CheckConstraints,
    /// Makes squall's own tables, if they are not there.
    MakeTables,
}

/// The task that writes: what squall's tables know it by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Writer {
    pub(super) topology: String,
    pub(super) component: String,
    pub(super) task: i32,
}

/// What squall's table has of a task: whose rows are in the table, and up to which transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Which sequence of transactions the task writes: a random number that its state has.
    pub(super) lineage: i64,
    /// Which instance of the task may write: a random number.
    pub(super) owner: i64,
    /// The number of the last transaction that is there.
    pub(super) sequence: i64,
    /// The checkpoint that it belongs to, for people.
    pub(super) checkpoint: CheckpointId,
}

/// A row that the server refused, for squall's table of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedRow {
    pub(super) checkpoint: CheckpointId,
    /// Its place among the rows of the checkpoint.
    pub(super) place: i64,
    pub(super) why: String,
    /// The parameters as JSON.
    pub(super) row: String,
}

/// A connection. After [`DatabaseError::Away`] it is of no use any more.
pub(super) trait Connection: Send {
    /// The types of the parameters of a row.
    fn types(&self) -> &[ColumnType];

    fn command(&mut self, command: Command) -> Result<(), DatabaseError>;

    /// Writes rows by one statement. [`chunk`](super::statement::Statement::chunk) limits how many.
    fn write(&mut self, rows: &[Vec<Parameter>]) -> Result<(), DatabaseError>;

    /// What squall's table has of the task. Whoever else wants to change it waits until the transaction ends.
    fn lock_progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError>;

    fn set_progress(&mut self, writer: &Writer, progress: Progress) -> Result<(), DatabaseError>;

    /// Keeps a row that was refused.
    fn keep_refused(&mut self, writer: &Writer, row: &RefusedRow) -> Result<(), DatabaseError>;
}
