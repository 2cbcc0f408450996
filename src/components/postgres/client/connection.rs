//! What a connection does: transactions, rows, and squall's tables of who has written what.

use std::collections::HashMap;

use bytes::BytesMut;
use postgres::types::{Format, IsNull, Kind, ToSql, Type};

use super::blocking::Client;
use super::journaled_table::JournaledTable;
use super::tables;
use crate::components::postgres::connection::{
    Command, Connection, DatabaseError, Progress, RefusedRow, Writer,
};
use crate::components::postgres::statement::Statement;
use crate::components::postgres::values::{ColumnKind, ColumnType, Parameter};
use crate::ids::CheckpointId;

/// A connection, which breaks once and for all.
pub(super) struct ServerConnection {
    pub(super) client: Client,
    statement: Statement,
    /// Prepared, by the number of rows.
    statements: HashMap<usize, postgres::Statement>,
    /// With `dirty`: the table, and whether this transaction writes to the journal.
    pub(super) table: Option<JournaledTable>,
    pub(super) is_journaled: bool,
    /// With `dirty`: whether all other tasks of the bolt have begun, and otherwise those whose entries of the journal are
    /// still to be taken back.
    pub(super) all_have_begun: bool,
    pub(super) not_begun: Vec<i32>,
    /// Its statements, prepared, by their text.
    pub(super) journaled: HashMap<String, postgres::Statement>,
    types: Vec<ColumnType>,
    /// Whether the session has announced that it prepares a transaction.
    pub(super) is_announced: bool,
}

impl ServerConnection {
    /// Of a client, with the statement for one row, which is prepared.
    pub(super) fn new(
        client: Client,
        statement: Statement,
        one_row: postgres::Statement,
        table: Option<JournaledTable>,
    ) -> ServerConnection {
        let types = one_row.params().iter().map(column_type).collect();
        let statements = HashMap::from([(1, one_row)]);
        ServerConnection {
            client,
            statement,
            statements,
            table,
            is_journaled: false,
            all_have_begun: false,
            not_begun: Vec::new(),
            journaled: HashMap::new(),
            types,
            is_announced: false,
        }
    }
}

/// A parameter, as text whatever its type is.
#[derive(Debug)]
pub(in crate::components::postgres) struct AsText<'a>(pub(in crate::components::postgres) &'a Parameter);

impl ToSql for AsText<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        column_type: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.to_sql(column_type, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
}

impl Connection for ServerConnection {
    fn types(&self) -> &[ColumnType] {
        &self.types
    }

    fn command(&mut self, command: Command) -> Result<(), DatabaseError> {
        let sql = match command {
            Command::Begin => {
                self.is_journaled = false;
                // Whatever the server has as its default: what others commit is to be seen.
                "BEGIN ISOLATION LEVEL READ COMMITTED"
            }
            Command::Commit => "COMMIT",
            Command::Rollback => return self.roll_back(),
            Command::Mark => "SAVEPOINT squall",
            Command::BackToMark => "ROLLBACK TO SAVEPOINT squall",
            Command::DropMark => "RELEASE SAVEPOINT squall",
            Command::CheckConstraints => "SET CONSTRAINTS ALL IMMEDIATE",
            Command::LimitLockWait => "SET LOCAL lock_timeout = '1s'",
            Command::MakeTables => return tables::make(&mut self.client, self.table.is_some()),
        };
        self.client.batch_execute(sql).map_err(DatabaseError::from)
    }

    fn write(&mut self, rows: &[Vec<Parameter>]) -> Result<(), DatabaseError> {
        if self.is_journaled {
            return self.write_journaled(rows);
        }
        if !self.statements.contains_key(&rows.len()) {
            let sql = self.statement.sql(rows.len());
            let prepared = self.client.prepare(&sql)?;
            self.statements.insert(rows.len(), prepared);
        }
        let parameters: Vec<AsText<'_>> = rows.iter().flatten().map(AsText).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
        let written = self.client.execute(&self.statements[&rows.len()], &parameters);
        written.map(drop).map_err(DatabaseError::from)
    }

    fn lock_progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError> {
        self.find_progress(writer, " FOR UPDATE")
    }

    fn progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError> {
        self.find_progress(writer, "")
    }

    fn set_progress(&mut self, writer: &Writer, progress: Progress) -> Result<(), DatabaseError> {
        let sql = "INSERT INTO squall_commits \
                   (topology, component, task, lineage, owner, sequence, epoch, number, committed_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now()) \
                   ON CONFLICT (topology, component, task) DO UPDATE SET lineage = EXCLUDED.lineage, \
                   owner = EXCLUDED.owner, sequence = EXCLUDED.sequence, epoch = EXCLUDED.epoch, number = EXCLUDED.number, \
                   committed_at = EXCLUDED.committed_at";
        let CheckpointId { epoch, number } = progress.checkpoint;
        let (epoch, number) = (epoch.cast_signed(), number.cast_signed());
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &writer.topology,
            &writer.component,
            &writer.task,
            &progress.lineage,
            &progress.owner,
            &progress.sequence,
            &epoch,
            &number,
        ];
        self.client.execute(sql, &parameters).map(drop).map_err(DatabaseError::from)
    }

    fn keep_refused(&mut self, writer: &Writer, refused: &RefusedRow) -> Result<(), DatabaseError> {
        let insert = "INSERT INTO squall_refused \
                   (topology, component, task, epoch, number, sequence, place, error, row) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let sql = match &self.table {
            Some(table) if self.is_journaled => table.refused(insert),
            _ => insert.to_owned(),
        };
        let CheckpointId { epoch, number } = refused.checkpoint;
        let (epoch, number) = (epoch.cast_signed(), number.cast_signed());
        let parameters: [&(dyn ToSql + Sync); 9] = [
            &writer.topology,
            &writer.component,
            &writer.task,
            &epoch,
            &number,
            &refused.sequence,
            &refused.place,
            &refused.why,
            &refused.row,
        ];
        self.client.execute(&sql, &parameters).map(drop).map_err(DatabaseError::from)
    }
}

impl ServerConnection {
    fn find_progress(&mut self, writer: &Writer, lock: &str) -> Result<Option<Progress>, DatabaseError> {
        let sql = format!(
            "SELECT lineage, owner, sequence, epoch, number FROM squall_commits \
             WHERE topology = $1 AND component = $2 AND task = $3{lock}"
        );
        let row = self.client.query_opt(&sql, &[&writer.topology, &writer.component, &writer.task]);
        let row = row?;
        let number = |row: &postgres::Row, at: usize| row.get::<_, i64>(at).cast_unsigned();
        Ok(row.map(|row| Progress {
            lineage: row.get(0),
            owner: row.get(1),
            sequence: row.get(2),
            checkpoint: CheckpointId { epoch: number(&row, 3), number: number(&row, 4) },
        }))
    }
}

fn column_type(server_type: &Type) -> ColumnType {
    match server_type.kind() {
        Kind::Array(item) => ColumnType {
            name: server_type.name().to_owned(),
            kind: ColumnKind::Array(Box::new(column_type(item))),
        },
        Kind::Domain(base) => {
            ColumnType { name: server_type.name().to_owned(), kind: column_type(base).kind }
        }
        _ => ColumnType::named(server_type.name()),
    }
}
