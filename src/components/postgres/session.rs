//! Writes rows in transactions, over a connection that is made again when it has broken.
//!
//! ```text
//!   attempt  1: all rows, in as few statements as possible
//!            2: with a mark before each statement; one that is refused is taken back, and its rows are written one by
//!               one, so that those that are refused are known and the others are there
//!            3: the same, and constraints that wait for the commit are checked after each statement
//! ```
//!
//! 1. A refused row costs its neighbours nothing but time.
//! 2. An attempt follows only where one before it was refused because of its rows.
//! 3. After an error nothing of the transaction is there, unless the connection broke in the commit: then nobody
//!    knows. At least once the rows are written again; exactly once `committed` asks squall's table.

use crate::components::postgres::connection::{Command, Connect, Connection, DatabaseError};
use crate::components::postgres::statement::Statement;
use crate::components::postgres::values::{ColumnType, Parameter};
use crate::tuple::Value;

/// A row that was refused: its place, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) place: usize,
    pub(super) why: String,
}

/// How carefully rows are written. See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    None,
    Marks,
    MarksAndChecks,
}

/// What a transaction does beside writing rows.
pub(super) trait Companion {
    /// Called when the transaction has begun. `false`: nothing is to be written.
    fn before(&mut self, _connection: &mut dyn Connection) -> Result<bool, DatabaseError> {
        Ok(true)
    }

    /// The name that the transaction is prepared under, instead of being committed.
    fn prepared_as(&self) -> Option<String> {
        None
    }

    /// Called when the rows are written, with those that were refused.
    fn after(&mut self, _connection: &mut dyn Connection, _refused: &[Refusal]) -> Result<(), DatabaseError> {
        Ok(())
    }
}

/// Nothing.
pub(super) struct Alone;

impl Companion for Alone {}

/// The connection of a task, if there is one, and what it takes to make another.
pub(super) struct Session {
    connector: Box<dyn Connect>,
    connection: Option<Box<dyn Connection>>,
    statement: Statement,
    /// The types of the parameters, once they are known.
    types: Vec<ColumnType>,
}

impl Session {
    pub(super) fn new(connector: Box<dyn Connect>, statement: Statement) -> Session {
        Session { connector, connection: None, statement, types: Vec::new() }
    }

    /// Connects, if there is no connection.
    pub(super) fn connect(&mut self) -> Result<(), DatabaseError> {
        if self.connection.is_none() {
            let connection = self.connector.connect()?;
            let (found, expected) = (connection.types().len(), self.statement.parameters());
            if found != expected {
                let why = format!("the statement has {found} parameters, and {expected} are named");
                return Err(DatabaseError::Permanent(why));
            }
            self.types = connection.types().to_vec();
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// Refuses a row that does not fit the types of its columns, as far as these are known.
    ///
    /// # Errors
    /// The column, and why.
    pub(super) fn check_row(&self, row: &[Value]) -> Result<(), String> {
        if self.types.is_empty() { Ok(()) } else { self.parameters(row).map(drop) }
    }

    fn parameters(&self, row: &[Value]) -> Result<Vec<Parameter>, String> {
        let parameter = |(at, (value, column_type)): (usize, (&Value, &ColumnType))| {
            let parameter = column_type.parameter(value);
            parameter.map_err(|why| format!("{}: {why}", self.statement.parameter_name(at)))
        };
        row.iter().zip(&self.types).enumerate().map(parameter).collect()
    }

    /// Does something in one transaction, without rows.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        self.connect()?;
        let Some(connection) = &mut self.connection else { unreachable!("it was connected a line above") };
        let done = in_transaction(&mut **connection, None, |connection| Ok(Some(work(connection)?)));
        self.after(done).map(|done| done.expect("the work ends in an answer"))
    }

    /// Does something that cannot be part of a transaction.
    pub(super) fn call<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        self.connect()?;
        let Some(connection) = &mut self.connection else { unreachable!("it was connected a line above") };
        let done = work(&mut **connection);
        self.after(done)
    }

    /// Writes rows in one transaction, together with what the companion does. Returns the rows that were refused.
    ///
    /// # Errors
    /// Then nothing was written, or nobody knows. See the [module](self).
    pub(super) fn write(
        &mut self,
        rows: &[Vec<Value>],
        companion: &mut dyn Companion,
    ) -> Result<Vec<Refusal>, DatabaseError> {
        self.connect()?;
        let (mut places, mut parameters, mut misfits) = (Vec::new(), Vec::new(), Vec::new());
        for (place, row) in rows.iter().enumerate() {
            match self.parameters(row) {
                Ok(row) => {
                    places.push(place);
                    parameters.push(row);
                }
                Err(why) => misfits.push(Refusal { place, why }),
            }
        }
        let fit: Vec<&[Value]> = places.iter().map(|place| rows[*place].as_slice()).collect();
        let last = self.statement.effective(&fit);
        // They are copied only if a later row replaces one.
        let last: Option<(Vec<usize>, Vec<_>)> = (last.len() < fit.len())
            .then(|| last.iter().map(|at| (places[*at], parameters[*at].clone())).unzip());
        let all = Rows { statement: &self.statement, places: &places, parameters: &parameters };
        let last = last.as_ref().map_or(all, |(places, parameters)| Rows { places, parameters, ..all });
        let Some(connection) = &mut self.connection else { unreachable!("it was connected above") };
        let name = companion.prepared_as();
        let mut done = Err(DatabaseError::Row(String::new()));
        for care in [Care::None, Care::Marks, Care::MarksAndChecks] {
            done = in_transaction(&mut **connection, name.as_deref(), |connection| {
                if !companion.before(connection)? {
                    return Ok(None);
                }
                let mut refused = misfits.clone();
                // If the last row of a key is refused, the one before counts. A statement with both is refused as a
                // whole, so they go one by one, in their order.
                let rows = if care == Care::None { last } else { all };
                rows.write(connection, care, &mut refused)?;
                companion.after(connection, &refused)?;
                Ok(Some(refused))
            });
            if !matches!(done, Err(DatabaseError::Row(_))) {
                break;
            }
        }
        self.after(done).map(Option::unwrap_or_default)
    }

    /// Forgets a connection that broke. A row that is refused even alone has nobody to blame but squall's tables.
    fn after<T>(&mut self, done: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        match done {
            Err(DatabaseError::Away(why)) => {
                self.connection = None;
                Err(DatabaseError::Away(why))
            }
            Err(DatabaseError::Row(why)) => Err(DatabaseError::Busy(why)),
            done => done,
        }
    }
}

/// Begins a transaction, and commits it, or prepares it under this name, if the work succeeds with something to commit.
fn in_transaction<T>(
    connection: &mut dyn Connection,
    name: Option<&str>,
    work: impl FnOnce(&mut dyn Connection) -> Result<Option<T>, DatabaseError>,
) -> Result<Option<T>, DatabaseError> {
    connection.command(Command::Begin)?;
    let done = work(connection);
    let ended = match &done {
        Ok(Some(_)) => match name {
            Some(name) => connection.prepare(name),
            None => connection.command(Command::Commit),
        },
        Ok(None) => connection.command(Command::Rollback),
        Err(DatabaseError::Away(_)) => return done,
        // What the work met is the error that counts, unless the connection is of no use any more.
        Err(_) => return connection.command(Command::Rollback).and(done),
    };
    ended.and(done)
}

/// Rows as they are sent.
#[derive(Clone, Copy)]
struct Rows<'a> {
    statement: &'a Statement,
    /// Where each stands among all rows.
    places: &'a [usize],
    parameters: &'a [Vec<Parameter>],
}

impl Rows<'_> {
    fn write(
        &self,
        connection: &mut dyn Connection,
        care: Care,
        refused: &mut Vec<Refusal>,
    ) -> Result<(), DatabaseError> {
        let mut begin = 0;
        while begin < self.parameters.len() {
            let end = begin + self.statement.chunk(self.parameters.len() - begin);
            let chunk = &self.parameters[begin..end];
            if care == Care::None {
                connection.write(chunk)?;
            } else if let Some(why) = carefully(connection, care, chunk)? {
                self.one_by_one(connection, care, begin..end, why, refused)?;
            }
            begin = end;
        }
        Ok(())
    }

    /// Writes the rows of a statement that was refused for this reason.
    fn one_by_one(
        &self,
        connection: &mut dyn Connection,
        care: Care,
        rows: std::ops::Range<usize>,
        why: String,
        refused: &mut Vec<Refusal>,
    ) -> Result<(), DatabaseError> {
        if rows.len() == 1 {
            refused.push(Refusal { place: self.places[rows.start], why });
            return Ok(());
        }
        for at in rows {
            if let Some(why) = carefully(connection, care, &self.parameters[at..=at])? {
                refused.push(Refusal { place: self.places[at], why });
            }
        }
        Ok(())
    }
}

/// Writes rows by a statement, or nothing of them and returns why they were refused.
fn carefully(
    connection: &mut dyn Connection,
    care: Care,
    rows: &[Vec<Parameter>],
) -> Result<Option<String>, DatabaseError> {
    connection.command(Command::Mark)?;
    let mut written = connection.write(rows);
    if written.is_ok() && care == Care::MarksAndChecks {
        written = connection.command(Command::CheckConstraints);
    }
    let why = match written {
        Ok(()) => None,
        Err(DatabaseError::Row(why)) => {
            connection.command(Command::BackToMark)?;
            Some(why)
        }
        Err(error) => return Err(error),
    };
    connection.command(Command::DropMark)?;
    Ok(why)
}
