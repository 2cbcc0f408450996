//! Connects to the server of a task.

use std::fs;
use std::str::FromStr as _;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::blocking::Client;
use super::connection::ServerConnection;
use super::journaled_table::JournaledTable;
use crate::api::{TaskContext, WorkerContext};
use crate::components::postgres::claim::Instance;
use crate::components::postgres::connection::{Connect, Connection, DatabaseError, Writer};
use crate::components::postgres::settings::PostgresSettings;
use crate::components::postgres::statement::Statement;
use crate::components::settings::Period;
use crate::secrets::Secret;
use crate::topology::registry::SettingError;

/// Tells idle connections that the other side is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The server that the URL of a document names. `None`: the URL is a secret, which is known where a task connects.
///
/// # Errors
/// When the URL is none, or asks for what squall does not have.
pub(in crate::components::postgres) fn server_in(url: &Secret) -> Result<Option<Config>, SettingError> {
    url.text().map(server_of).transpose()
}

/// The server that a URL names.
fn server_of(url: &str) -> Result<Config, SettingError> {
    let config = Config::from_str(url).map_err(|_| {
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
pub(in crate::components::postgres) struct Reach {
    url: Secret,
    /// Where the secret is read, if the URL is one.
    worker: WorkerContext,
    password_file: Option<String>,
    connect_timeout: Duration,
    statement_timeout: Duration,
    /// What the server knows the connection by.
    application: String,
}

impl Reach {
    /// Of these settings: the URL, the file of its password, and the time-outs of connecting and of a statement.
    pub(in crate::components::postgres) fn new(
        (url, password_file): (&Secret, Option<&String>),
        (connect, statement): (Period, Period),
        context: &TaskContext,
    ) -> Reach {
        let Writer { topology, component, task } = Instance::of(context).writer;
        Reach {
            url: url.clone(),
            worker: context.worker().clone(),
            password_file: password_file.cloned(),
            connect_timeout: connect.0,
            statement_timeout: statement.0,
            application: format!("squall {topology}/{component}/{task}"),
        }
    }

    fn config(&self) -> Result<Config, DatabaseError> {
        // It may be there at the next attempt.
        let url = self.worker.secret_value(&self.url);
        let url = url.map_err(|error| DatabaseError::Away(format!("`url`: {}", error.with_remedy())))?;
        let config = server_of(url.reveal());
        let mut config = config.map_err(|error| DatabaseError::Permanent(format!("`url` {error}")))?;
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
    pub(in crate::components::postgres) fn connect(&self) -> Result<Client, DatabaseError> {
        let (connect, statement) = (self.connect_timeout, self.statement_timeout);
        let client = Client::connect(&self.config()?, connect, statement + connect);
        let mut client = client?;
        let timeout = statement.as_millis();
        // With fewer digits, floats that are read as text would be others.
        let session = format!(
            "SET statement_timeout = {timeout}; SET idle_in_transaction_session_timeout = {timeout}; \
             SET client_min_messages = warning; SET extra_float_digits = 1"
        );
        client.batch_execute(&session)?;
        Ok(client)
    }
}

/// Connects to the server of a task.
pub(in crate::components::postgres) struct Connector {
    reach: Reach,
    statement: Statement,
    /// Whether rows are written at once.
    dirty: bool,
    writer: Writer,
}

impl Connector {
    pub(in crate::components::postgres) fn new(
        settings: &PostgresSettings,
        statement: &Statement,
        context: &TaskContext,
    ) -> Connector {
        let timeouts = (settings.connect_timeout, settings.statement_timeout);
        let reach = Reach::new((&settings.url, settings.password_file.as_ref()), timeouts, context);
        let writer = Instance::of(context).writer;
        Connector { reach, statement: statement.clone(), dirty: settings.dirty, writer }
    }
}

impl Connect for Connector {
    fn connect(&mut self) -> Result<Box<dyn Connection>, DatabaseError> {
        let mut client = self.reach.connect()?;
        if self.dirty {
            // What squall_undo has as text must be the same in all sessions.
            let in_texts = "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'";
            client.batch_execute(in_texts)?;
        }
        let one_row = client.prepare(&self.statement.sql(1))?;
        let table = match self.dirty {
            true => Some(JournaledTable::find(&mut client, &self.statement, &self.writer)?),
            false => None,
        };
        Ok(Box::new(ServerConnection::new(client, self.statement.clone(), one_row, table)))
    }
}
