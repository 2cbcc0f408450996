//! A server in memory: one table, whose first column rows are told apart by, and squall's own tables.
//!
//! It outlives the processes that connect to it. A process may die at any call, before the server does what it was asked
//! to, or after; then none of its connections works any more, until the test starts another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::components::postgres::connection::{
    Command, Connect, Connection, DatabaseError, Journals, Peers, PreparedMark, Prepares, Progress,
    RefusedRow, Writer,
};
use crate::components::postgres::values::{ColumnType, Parameter};

/// What is durable.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) rows: Vec<Vec<Parameter>>,
    pub(super) progress: BTreeMap<Writer, Progress>,
    pub(super) refused: Vec<(Writer, RefusedRow)>,
    pub(super) marks: Vec<(Writer, PreparedMark)>,
    /// Rows that can be taken back, with the task that wrote them and the number of the batch.
    pub(super) journal: Vec<(Writer, i64, Vec<Parameter>)>,
    /// Transactions that are prepared, by their names: what each adds.
    pub(super) prepared: BTreeMap<String, Prepared>,
}

/// What a prepared transaction adds.
#[derive(Clone)]
pub(super) struct Prepared {
    rows: Vec<Vec<Parameter>>,
    refused: Vec<(Writer, RefusedRow)>,
    marks: Vec<(Writer, PreparedMark)>,
}

#[derive(Default)]
pub(super) struct ServerState {
    pub(super) disk: Disk,
    /// Whether rows find locks that other transactions hold, if they do not wait for long.
    pub(super) is_locked: bool,
    /// Prepared transactions are switched off.
    pub(super) prepares_none: bool,
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
        Ok(Box::new(Connected {
            server: self.0.clone(),
            types,
            draft: None,
            marked: None,
            writer: None,
            sequence: None,
            is_hasty: false,
            is_lost: false,
        }))
    }
}

struct Connected {
    server: Server,
    types: Vec<ColumnType>,
    /// What the open transaction would leave.
    draft: Option<Disk>,
    marked: Option<Disk>,
    /// The task whose progress was locked, and the number of the batch if there is a journal.
    writer: Option<Writer>,
    sequence: Option<i64>,
    /// Does not wait for locks.
    is_hasty: bool,
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
                Command::Begin => {
                    connection.draft = Some(state.disk.clone());
                    connection.is_hasty = false;
                    connection.sequence = None;
                }
                Command::LimitLockWait => connection.is_hasty = true,
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
            if connection.is_hasty && state.is_locked {
                return Err(DatabaseError::Busy("a lock is held".to_owned()));
            }
            for row in rows {
                if state.forbidden.contains(first(row)) {
                    return Err(DatabaseError::Row(format!("{} is forbidden", first(row))));
                }
                connection.draft().rows.push(row.clone());
                if let (Some(writer), Some(sequence)) = (connection.writer.clone(), connection.sequence) {
                    connection.draft().journal.push((writer, sequence, row.clone()));
                }
            }
            Ok(())
        })
    }

    fn lock_progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError> {
        self.call(|connection, state| {
            assert!(state.has_tables, "squall's tables are made first");
            connection.writer = Some(writer.clone());
            Ok(connection.draft().progress.get(writer).copied())
        })
    }

    fn progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError> {
        self.lock_progress(writer)
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

/// Calls do not overlap here, so nobody ever waits.
impl Prepares for Connected {
    fn prepares_max(&mut self) -> Result<i64, DatabaseError> {
        self.call(|_, state| Ok(if state.prepares_none { 0 } else { 10 }))
    }

    fn announce_prepare(&mut self, _: &Writer) -> Result<(), DatabaseError> {
        self.call(|_, _| Ok(()))
    }

    fn await_prepares(&mut self, _: &Writer) -> Result<(), DatabaseError> {
        self.call(|_, _| Ok(()))
    }

    fn mark_prepared(&mut self, writer: &Writer, mark: &PreparedMark) -> Result<(), DatabaseError> {
        self.call(|connection, _| {
            connection.draft().marks.push((writer.clone(), mark.clone()));
            Ok(())
        })
    }

    fn prepare(&mut self, name: &str) -> Result<(), DatabaseError> {
        self.call(|connection, state| {
            let draft = connection.draft.take().expect("a transaction was begun");
            let rows = draft.rows[state.disk.rows.len()..].to_vec();
            if let Some(row) = rows.iter().find(|row| state.forbidden_at_commit.contains(first(row))) {
                return Err(DatabaseError::Row(format!("{} at the commit", first(row))));
            }
            let refused = draft.refused[state.disk.refused.len()..].to_vec();
            let marks = draft.marks[state.disk.marks.len()..].to_vec();
            let before = state.disk.prepared.insert(name.to_owned(), Prepared { rows, refused, marks });
            assert!(before.is_none(), "{name} is prepared twice");
            Ok(())
        })
    }

    fn commit_prepared(&mut self, name: &str) -> Result<bool, DatabaseError> {
        self.call(|_, state| {
            let Some(prepared) = state.disk.prepared.remove(name) else { return Ok(false) };
            state.disk.rows.extend(prepared.rows);
            state.disk.refused.extend(prepared.refused);
            state.disk.marks.extend(prepared.marks);
            Ok(true)
        })
    }

    fn roll_back_prepared(&mut self, name: &str) -> Result<bool, DatabaseError> {
        self.call(|_, state| Ok(state.disk.prepared.remove(name).is_some()))
    }

    fn prepared(&mut self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        self.call(|_, state| {
            Ok(state.disk.prepared.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
        })
    }

    fn is_marked(&mut self, name: &str) -> Result<bool, DatabaseError> {
        self.call(|connection, _| Ok(connection.draft().marks.iter().any(|(_, mark)| mark.name == name)))
    }

    fn drop_marks(&mut self, writer: &Writer, lineage: i64, up_to: i64) -> Result<(), DatabaseError> {
        self.call(|connection, _| {
            let is_old = |mark: &PreparedMark| mark.lineage != lineage || mark.sequence <= up_to;
            connection.draft().marks.retain(|(of, mark)| of != writer || !is_old(mark));
            Ok(())
        })
    }
}

/// Refused rows are not in this journal. Rows have no keys here, so tasks need not wait for each other.
impl Journals for Connected {
    fn make_clean_view(&mut self) -> Result<(), DatabaseError> {
        self.call(|_, _| Ok(()))
    }

    fn note_begun(&mut self, _: &Writer, _: i64) -> Result<(), DatabaseError> {
        self.call(|_, _| Ok(()))
    }

    fn begin_journal(&mut self, _: &Writer, sequence: i64, _: Peers) -> Result<(), DatabaseError> {
        self.call(|connection, _| {
            connection.sequence = Some(sequence);
            Ok(())
        })
    }

    fn take_back(&mut self, writer: &Writer, after: i64) -> Result<(), DatabaseError> {
        self.call(|connection, _| {
            let draft = connection.draft();
            let is_later = |(of, sequence, _): &(Writer, i64, _)| of == writer && *sequence > after;
            let (later, kept): (Vec<_>, Vec<_>) = draft.journal.drain(..).partition(is_later);
            draft.journal = kept;
            for (.., row) in later {
                let at = draft.rows.iter().position(|found| *found == row).expect("it was written");
                draft.rows.remove(at);
            }
            draft.refused.retain(|(of, row)| of != writer || row.sequence <= after);
            Ok(())
        })
    }

    fn forget(&mut self, writer: &Writer, up_to: i64) -> Result<(), DatabaseError> {
        self.call(|connection, _| {
            connection.draft().journal.retain(|(of, sequence, _)| of != writer || *sequence > up_to);
            Ok(())
        })
    }

    fn tasks_in_journal(&mut self, writer: &Writer) -> Result<Vec<i32>, DatabaseError> {
        self.call(|connection, _| {
            let is_of = |of: &Writer| (&of.topology, &of.component) == (&writer.topology, &writer.component);
            Ok(connection
                .draft()
                .journal
                .iter()
                .filter(|(of, ..)| is_of(of))
                .map(|(of, ..)| of.task)
                .collect())
        })
    }
}
