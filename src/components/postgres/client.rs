//! A connection to a real server, by the crate `postgres`.
//!
//! 1. No error shows the URL, of which a password may be a part, nor what a library says about it.
//! 2. Everything that waits has a limit, which the server keeps (`statement_timeout`,
//!    `idle_in_transaction_session_timeout`), or the kernel: a server that was cut off is given up when it has not
//!    acknowledged data for `statement_timeout`. A server that is stopped while its kernel lives holds the call.
//! 3. Parameters are sent as text: see `values`.

use std::collections::HashMap;
use std::error::Error as _;
use std::fs;
use std::str::FromStr as _;
use std::time::Duration;

use bytes::BytesMut;
use postgres::config::SslMode;
use postgres::error::SqlState;
use postgres::types::{Format, IsNull, Kind, ToSql, Type};
use postgres::{Client, Config, NoTls};

use crate::api::TaskContext;
use crate::components::postgres::connection::{
    Command, Connect, Connection, DatabaseError, Progress, RefusedRow, Writer,
};
use crate::components::postgres::settings::PostgresSettings;
use crate::components::postgres::statement::Statement;
use crate::components::postgres::values::{ColumnKind, ColumnType, Parameter};
use crate::components::settings::{Period, Secret};
use crate::ids::CheckpointId;
use crate::topology::registry::SettingError;

/// Tells idle connections that the other side is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The server that a URL names.
///
/// # Errors
/// When the URL is none, or asks for what squall does not have.
pub(super) fn server_of(url: &Secret) -> Result<Config, SettingError> {
    let config = Config::from_str(url.reveal()).map_err(|_| {
        SettingError::at(
            "url",
            "is not what a PostgreSQL server is reached by: write postgres://USER@HOST:PORT/DATABASE, or \
             host=HOST user=USER dbname=DATABASE (it is not shown, because it may have a password)",
        )
    })?;
    if config.get_hosts().is_empty() {
        return Err(SettingError::at("url", "names no host"));
    }
    match config.get_ssl_mode() {
        SslMode::Disable | SslMode::Prefer => Ok(config),
        _ => Err(SettingError::at(
            "url",
            "asks for TLS (`sslmode`), which squall does not have for PostgreSQL yet: connect over a Unix socket, a \
             private network or a tunnel, with `sslmode=disable`",
        )),
    }
}

/// How a task reaches its server.
pub(super) struct Reach {
    url: Secret,
    password_file: Option<String>,
    connect_timeout: Duration,
    statement_timeout: Duration,
    /// What the server knows the connection by.
    application: String,
}

impl Reach {
    /// Of these settings: the URL, the file of its password, and the time-outs of connecting and of a statement.
    pub(super) fn new(
        (url, password_file): (&Secret, Option<&String>),
        (connect, statement): (Period, Period),
        context: &TaskContext,
    ) -> Reach {
        let (topology, component, task) = (context.topology(), context.component(), context.task_index());
        Reach {
            url: url.clone(),
            password_file: password_file.cloned(),
            connect_timeout: connect.0,
            statement_timeout: statement.0,
            application: format!("squall {topology}/{component}/{task}"),
        }
    }

    fn config(&self) -> Result<Config, DatabaseError> {
        let config = server_of(&self.url).map_err(|error| DatabaseError::Permanent(error.to_string()));
        let mut config = config?;
        if let Some(file) = &self.password_file {
            let text = fs::read_to_string(file).map_err(|error| {
                DatabaseError::Permanent(format!("the password file `{file}` cannot be read: {error}"))
            })?;
            config.password(text.lines().next().unwrap_or_default());
        }
        if config.get_application_name().is_none() {
            config.application_name(&self.application);
        }
        config.connect_timeout(self.connect_timeout);
        config.tcp_user_timeout(self.statement_timeout);
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(3);
        Ok(config)
    }

    /// Connects, with the limits of the module's second rule.
    pub(super) fn connect(&self) -> Result<Client, DatabaseError> {
        let mut client = self.config()?.connect(NoTls).map_err(|error| error_of(&error))?;
        let timeout = self.statement_timeout.as_millis();
        let session = format!(
            "SET statement_timeout = {timeout}; SET idle_in_transaction_session_timeout = {timeout}; \
             SET client_min_messages = warning"
        );
        client.batch_execute(&session).map_err(|error| error_of(&error))?;
        Ok(client)
    }
}

/// Connects to the server of a task.
pub(super) struct Connector {
    reach: Reach,
    statement: Statement,
}

impl Connector {
    pub(super) fn new(
        settings: &PostgresSettings,
        statement: &Statement,
        context: &TaskContext,
    ) -> Connector {
        let timeouts = (settings.connect_timeout, settings.statement_timeout);
        let reach = Reach::new((&settings.url, settings.password_file.as_ref()), timeouts, context);
        Connector { reach, statement: statement.clone() }
    }
}

impl Connect for Connector {
    fn connect(&mut self) -> Result<Box<dyn Connection>, DatabaseError> {
        let mut client = self.reach.connect()?;
        let one_row = client.prepare(&self.statement.sql(1)).map_err(|error| error_of(&error))?;
        let types = one_row.params().iter().map(column_type).collect();
        let statements = HashMap::from([(1, one_row)]);
        Ok(Box::new(ServerConnection { client, statement: self.statement.clone(), statements, types }))
    }
}

struct ServerConnection {
    client: Client,
    statement: Statement,
    /// Prepared, by the number of rows.
    statements: HashMap<usize, postgres::Statement>,
    types: Vec<ColumnType>,
}

/// A parameter, as text whatever its type is.
#[derive(Debug)]
pub(super) struct AsText<'a>(pub(super) &'a Parameter);

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
            Command::Begin => "BEGIN",
            Command::Commit => "COMMIT",
            Command::Rollback => "ROLLBACK",
            Command::Mark => "SAVEPOINT squall",
            Command::BackToMark => "ROLLBACK TO SAVEPOINT squall",
            Command::DropMark => "RELEASE SAVEPOINT squall",
            Command::CheckConstraints => "SET CONSTRAINTS ALL IMMEDIATE",
            Command::MakeTables => return self.make_tables(),
        };
        self.client.batch_execute(sql).map_err(|error| error_of(&error))
    }

    fn write(&mut self, rows: &[Vec<Parameter>]) -> Result<(), DatabaseError> {
        if !self.statements.contains_key(&rows.len()) {
            let sql = self.statement.sql(rows.len());
            let prepared = self.client.prepare(&sql).map_err(|error| error_of(&error))?;
            self.statements.insert(rows.len(), prepared);
        }
        let parameters: Vec<AsText<'_>> = rows.iter().flatten().map(AsText).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
        let written = self.client.execute(&self.statements[&rows.len()], &parameters);
        written.map(drop).map_err(|error| error_of(&error))
    }

    fn lock_progress(&mut self, writer: &Writer) -> Result<Option<Progress>, DatabaseError> {
        let sql = "SELECT lineage, owner, sequence, epoch, number FROM squall_commits \
                   WHERE topology = $1 AND component = $2 AND task = $3 FOR UPDATE";
        let row = self.client.query_opt(sql, &[&writer.topology, &writer.component, &writer.task]);
        let row = row.map_err(|error| error_of(&error))?;
        let number = |row: &postgres::Row, at: usize| row.get::<_, i64>(at).cast_unsigned();
        Ok(row.map(|row| Progress {
            lineage: row.get(0),
            owner: row.get(1),
            sequence: row.get(2),
            checkpoint: CheckpointId { epoch: number(&row, 3), number: number(&row, 4) },
        }))
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
        self.client.execute(sql, &parameters).map(drop).map_err(|error| error_of(&error))
    }

    fn keep_refused(&mut self, writer: &Writer, refused: &RefusedRow) -> Result<(), DatabaseError> {
        let sql = "INSERT INTO squall_refused (topology, component, task, epoch, number, place, error, row) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let CheckpointId { epoch, number } = refused.checkpoint;
        let (epoch, number) = (epoch.cast_signed(), number.cast_signed());
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &writer.topology,
            &writer.component,
            &writer.task,
            &epoch,
            &number,
            &refused.place,
            &refused.why,
            &refused.row,
        ];
        self.client.execute(sql, &parameters).map(drop).map_err(|error| error_of(&error))
    }
}

/// Of squall's own. Both have the rows of all topologies that write to the database.
const TABLES: &str = "
CREATE TABLE squall_commits (
    topology text NOT NULL,
    component text NOT NULL,
    task integer NOT NULL,
    lineage bigint NOT NULL,
    owner bigint NOT NULL,
    sequence bigint NOT NULL,
    epoch bigint NOT NULL,
    number bigint NOT NULL,
    committed_at timestamptz NOT NULL,
    PRIMARY KEY (topology, component, task)
);
CREATE TABLE squall_refused (
    topology text NOT NULL,
    component text NOT NULL,
    task integer NOT NULL,
    epoch bigint NOT NULL,
    number bigint NOT NULL,
    place bigint NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    error text NOT NULL,
    row text NOT NULL
)";

/// Of the lock under which the tables are made: a number that nobody else has by chance.
pub(super) const TABLES_LOCK: i64 = 0x7371_7561_6c6c;

impl ServerConnection {
    /// Tasks that make them at the same time wait for each other, because `IF NOT EXISTS` does not see what
    /// another transaction is making.
    fn make_tables(&mut self) -> Result<(), DatabaseError> {
        let lock = self.client.execute("SELECT pg_advisory_xact_lock($1)", &[&TABLES_LOCK]);
        lock.map_err(|error| error_of(&error))?;
        let there = self.client.query_one("SELECT to_regclass('squall_commits') IS NOT NULL", &[]);
        let there: bool = there.map_err(|error| error_of(&error))?.get(0);
        if there { Ok(()) } else { self.client.batch_execute(TABLES).map_err(|error| error_of(&error)) }
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

/// What an error of the client means for the rows. Classes of states are those of the appendix "PostgreSQL Error
/// Codes" of the manual.
pub(super) fn error_of(error: &postgres::Error) -> DatabaseError {
    let Some(server) = error.as_db_error() else {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        return DatabaseError::Away(format!("{error}{cause}"));
    };
    let detail = server.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let message = format!("{}{detail}", server.message());
    let code = server.code();
    if [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(code)
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
    {
        return DatabaseError::Away(message);
    }
    match &code.code()[..2] {
        // Data, constraints, `WITH CHECK OPTION`, a row twice in an upsert, errors that functions raise.
        "22" | "23" | "44" | "21" | "P0" => DatabaseError::Row(message),
        // Nobody may connect so, the database or the schema is not there, the statement is wrong.
        "28" | "3D" | "3F" | "42" | "0A" => DatabaseError::Permanent(message),
        "08" => DatabaseError::Away(message),
        _ => DatabaseError::Busy(message),
    }
}
