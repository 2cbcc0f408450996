//! A server in memory: one table, whose first column rows are told apart by, and squall's own tables.
//!
//! It outlives the processes that connect to it. A process may die at any call, before the server does what it was asked
//! to, or after; then none of its connections works any more, until the test starts another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::components::postgres::connection::{
    Command, Connect, Connection, DatabaseError, Progress, RefusedRow, Writer,
};
use crate::components::postgres::values::{ColumnType, Parameter};

/// What is durable.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) rows: Vec<Vec<Parameter>>,
    pub(super) progress: BTreeMap<Writer, Progress>,
    pub(super) refused: Vec<(Writer, RefusedRow)>,
}

#[derive(Default)]
pub(super) struct ServerState {
    pub(super) disk: Disk,
    pub(super) has_tables: bool,
    /// Values of the first column that no row may have.
    pub(super) forbidden: BTreeSet<String>,
    /// The same, noticed at the commit.
    pub(super) forbidden_at_commit: BTreeSet<String>,
    /// So many attempts to connect fail.
    pub(super) away: usize,
    /// The calls so far.
    pub(super) calls: usize,
    /// At this call the process that made it dies: before the server does anything, or after.
    pub(super) dies_at: Option<(usize, bool)>,
    /// Connections of this process find nobody any more.
    pub(super) is_dead: bool,
    /// What every statement fails with.
    pub(super) broken: Option<DatabaseError>,
}

/// A server that outlives the processes.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<ServerState>>);

impl Server {
    pub(super) fn lock(&self) -> MutexGuard<'_, ServerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first column of all rows, sorted.
    pub(super) fn firsts(&self) -> Vec<String> {
        let mut firsts: Vec<String> =
            self.lock().disk.rows.iter().map(|row| row[0].clone().unwrap_or_default()).collect();
        firsts.sort();
        firsts
    }
}

fn lost() -> DatabaseError {
    DatabaseError::Away("the connection was lost".to_owned())
}

pub(super) struct Connecting(pub(super) Server);

impl Connect for Connecting {
    fn connect(&mut self) -> Result<Box<dyn Connection>, DatabaseError> {
        let mut state = self.0.lock();
        if state.is_dead || state.away > 0 {
            state.away = state.away.saturating_sub(1);
            return Err(lost());
        }
        let types = vec![ColumnType::named("int8"), ColumnType::named("text")];
        Ok(Box::new(Connected { server: self.0.clone(), types, draft: None, marked: None, is_lost: false }))
    }
}

struct Connected {
    server: Server,
    types: Vec<ColumnType>,
    /// What the open transaction would leave.
    draft: Option<Disk>,
    marked: Option<Disk>,
    is_lost: bool,
}

impl Connected {
    /// A call, that may find the process dead, or kill it.
    fn call<T>(
        &mut self,
        does: impl FnOnce(&mut Connected, &mut ServerState) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let server = self.server.clone();
        let state = &mut *server.lock();
        state.calls += 1;
        let dies = state.dies_at.filter(|(at, _)| *at == state.calls);
        if dies.is_some_and(|(_, is_after)| !is_after) {
            state.is_dead = true;
        }
        if self.is_lost || state.is_dead {
            self.is_lost = true;
            return Err(lost());
        }
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        let done = does(self, state);
        if dies.is_some() {
            state.is_dead = true;
            self.is_lost = true;
            return Err(lost());
        }
        done
    }

    fn draft(&mut self) -> &mut Disk {
        self.draft.as_mut().expect("a transaction was begun")
    }
}

fn first(row: &[Parameter]) -> &str {
    row[0].as_deref().unwrap_or_default()
}

impl Connection for Connected {
    fn types(&self) -> &[ColumnType] {
        &self.types
    }

    fn command(&mut self, command: Command) -> Result<(), DatabaseError> {
        self.call(|connection, state| {
            match command {
                Command::Begin => connection.draft = Some(state.disk.clone()),
                Command::Rollback => connection.draft = None,
                Command::Commit => {
                    let draft = connection.draft.take().expect("a transaction was begun");
                    let mut new = draft.rows.iter().skip(state.disk.rows.len());
                    if let Some(row) = new.find(|row| state.forbidden_at_commit.contains(first(row))) {
                        return Err(DatabaseError::Row(format!("{} at the commit", first(row))));
                    }
                    state.disk = draft;
                }
                Command::Mark => connection.marked = connection.draft.clone(),
                Command::BackToMark => connection.draft = connection.marked.clone(),
                Command::DropMark => connection.marked = None,
                Command::CheckConstraints => {
                    let at_commit = state.forbidden_at_commit.clone();
                    let is_forbidden = |row: &Vec<Parameter>| at_commit.contains(first(row));
                    if connection.draft().rows.iter().any(is_forbidden) {
                        return Err(DatabaseError::Row("checked now".to_owned()));
                    }
                }
                Command::MakeTables => state.has_tables = true,
            }
            Ok(())
        })
    }

    fn write(&mut self, rows: &[Vec<Parameter>]) -> Result<(), DatabaseError> {
        self.call(|connection, state| {
            for row in rows {
                if state.forbidden.contains(first(row)) {
                    return Err(DatabaseError::Row(format!("{} is forbidden", first(row))));
                }
                connection.draft().rows.push(row.clone());
            }
            Ok(())
        })
    }

    fn lock_progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError> {
        self.call(|connection, state| {
            assert!(state.has_tables, "squall's tables are made first");
            Ok(connection.draft().progress.get(writer).copied())
        })
    }

    fn set_progress(&mut self, writer: &Writer, progress: Progress) -> Result<(), DatabaseError> {
        self.call(|connection, _| {
            connection.draft().progress.insert(writer.clone(), progress);
            Ok(())
        })
    }

    fn keep_refused(&mut self, writer: &Writer, row: &RefusedRow) -> Result<(), DatabaseError> {
        self.call(|connection, _| {
            connection.draft().refused.push((writer.clone(), row.clone()));
            Ok(())
        })
    }
}
