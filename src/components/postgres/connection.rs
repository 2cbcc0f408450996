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
    /// Makes squall's own tables, if they are not there: with `dirty`, also the one that only it needs.
    MakeTables,
    /// In this transaction, a statement that waits for a lock of another transaction gives up soon.
    LimitLockWait,
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
    /// The number of the transaction that it is of.
    pub(super) sequence: i64,
    /// Its place among the rows of the transaction.
    pub(super) place: i64,
    pub(super) why: String,
    /// The parameters as JSON.
    pub(super) row: String,
}

/// A connection. After [`DatabaseError::Away`] it is of no use any more.
pub(super) trait Connection: Prepares + Journals + Send {
    /// The types of the parameters of a row.
    fn types(&self) -> &[ColumnType];

    fn command(&mut self, command: Command) -> Result<(), DatabaseError>;

    /// Writes rows by one statement. [`chunk`](super::statement::Statement::chunk) limits how many.
    fn write(&mut self, rows: &[Vec<Parameter>]) -> Result<(), DatabaseError>;

    /// What squall's table has of the task. Whoever else wants to change it waits until the transaction ends.
    fn lock_progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError>;

    /// The same without the lock.
    fn progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError>;

    fn set_progress(&mut self, writer: &Writer, progress: Progress) -> Result<(), DatabaseError>;

    /// Keeps a row that was refused.
    fn keep_refused(&mut self, writer: &Writer, row: &RefusedRow) -> Result<(), DatabaseError>;
}

/// Prepared transactions: they outlive the connection, and are decided about by their names.
pub(super) trait Prepares {
    /// How many the server may have at a time.
    fn prepares_max(&mut self) -> Result<i64, DatabaseError>;

    /// Announces that this transaction is going to be prepared: until then, or until it is rolled back or the connection
    /// breaks, [`await_prepares`](Prepares::await_prepares) of the same task waits.
    fn announce_prepare(&mut self, writer: &Writer) -> Result<(), DatabaseError>;

    /// Waits until no transaction of the task is announced, and lets none be announced until this one ends.
    fn await_prepares(&mut self, writer: &Writer) -> Result<(), DatabaseError>;

    /// Marks in the transaction that it is the one with this name: see [`is_marked`](Prepares::is_marked).
    fn mark_prepared(&mut self, writer: &Writer, mark: &PreparedMark) -> Result<(), DatabaseError>;

    /// Prepares the open transaction, which is not open any more then, also if there is an error.
    fn prepare(&mut self, name: &str) -> Result<(), DatabaseError>;

    /// Commits a prepared transaction. `false`: there is none with this name.
    fn commit_prepared(&mut self, name: &str) -> Result<bool, DatabaseError>;

    /// Takes a prepared transaction back. `false`: there is none with this name.
    fn roll_back_prepared(&mut self, name: &str) -> Result<bool, DatabaseError>;

    /// The names of those that are there and begin so.
    fn prepared(&mut self, prefix: &str) -> Result<Vec<String>, DatabaseError>;

    /// Whether a transaction with this name was committed, unless its mark was dropped.
    fn is_marked(&mut self, name: &str) -> Result<bool, DatabaseError>;

    /// Drops the marks of a task up to this number, and those of other lineages.
    fn drop_marks(&mut self, writer: &Writer, lineage: i64, up_to: i64) -> Result<(), DatabaseError>;
}

/// What a prepared transaction writes about itself: it is there if the transaction was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreparedMark {
    pub(super) name: String,
    pub(super) lineage: i64,
    pub(super) sequence: i64,
}

/// The tasks of a bolt that have gone back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peers {
    /// How many there are.
    pub(super) tasks: i32,
    /// The number of the start or the recovery after which they begin.
    pub(super) recovery: i64,
}

/// With `dirty`: writes that can be taken back, because squall's journal has what they replaced.
pub(super) trait Journals {
    /// Makes the view of what is clean, if it is not there.
    fn make_clean_view(&mut self) -> Result<(), DatabaseError>;

    /// From here on, what this transaction of the task writes goes into the journal, under this number. A row cannot be
    /// written that the journal has an entry of by a task that has not begun: see [`note_begun`](Journals::note_begun).
    fn begin_journal(&mut self, writer: &Writer, sequence: i64, among: Peers) -> Result<(), DatabaseError>;

    /// Notes that the task has begun after this recovery: in the transaction that takes back what it wrote before.
    fn note_begun(&mut self, writer: &Writer, recovery: i64) -> Result<(), DatabaseError>;

    /// Puts back what the task has replaced after this number.
    fn take_back(&mut self, writer: &Writer, after: i64) -> Result<(), DatabaseError>;

    /// Forgets what the task has replaced up to this number: that is clean.
    fn forget(&mut self, writer: &Writer, up_to: i64) -> Result<(), DatabaseError>;

    /// The tasks of this component that the journal has something of.
    fn tasks_in_journal(&mut self, writer: &Writer) -> Result<Vec<i32>, DatabaseError>;
}
