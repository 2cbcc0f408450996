//! A client whose calls block, and end: the server keeps time-outs of its own, but one that is stopped answers nobody. The
//! client of the crate `postgres` would wait for it for ever.

use std::fmt;
use std::time::Duration;

use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Error, NoTls, Row, Statement};
use tokio::runtime::{Builder, Runtime};
use tokio::time;
use tokio_postgres::{Config, ToStatement};

/// Why a call failed.
#[derive(Debug)]
pub(in crate::components::postgres) enum CallError {
    Server(Error),
    /// The server has not answered for so long.
    Silent(Duration),
    /// There is no runtime.
    System(std::io::Error),
}

impl CallError {
    /// The state that the server named.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            CallError::Server(error) => error.code(),
            CallError::Silent(_) | CallError::System(_) => None,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Server(error) => error.fmt(f),
            CallError::Silent(limit) => write!(f, "it has not answered for {limit:?}"),
            CallError::System(error) => error.fmt(f),
        }
    }
}

/// A client. After [`CallError::Silent`] it is of no use any more, because answers that come late would be taken for others.
pub(in crate::components::postgres) struct Client {
    runtime: Runtime,
    client: tokio_postgres::Client,
    /// How long a call may take.
    limit: Duration,
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Client {
    /// Connects within a limit, also if the server accepts the connection and then says nothing.
    pub(super) fn connect(
        config: &Config,
        connect_limit: Duration,
        limit: Duration,
    ) -> Result<Client, CallError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(CallError::System)?;
        let connected = runtime.block_on(async { time::timeout(connect_limit, config.connect(NoTls)).await });
        let (client, connection) =
            connected.map_err(|_| CallError::Silent(connect_limit))?.map_err(CallError::Server)?;
        // What it ends with, the calls see, too.
        runtime.spawn(async { drop(connection.await) });
        Ok(Client { runtime, client, limit })
    }

    fn wait<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, CallError> {
        let done = self.runtime.block_on(async { time::timeout(self.limit, call).await });
        done.map_err(|_| CallError::Silent(self.limit))?.map_err(CallError::Server)
    }

    pub(in crate::components::postgres) fn batch_execute(&mut self, sql: &str) -> Result<(), CallError> {
        self.wait(self.client.batch_execute(sql))
    }

    pub(in crate::components::postgres) fn prepare(&mut self, sql: &str) -> Result<Statement, CallError> {
        self.wait(self.client.prepare(sql))
    }

    pub(in crate::components::postgres) fn execute(
        &mut self,
        sql: &(impl ToStatement + ?Sized),
        parameters: Parameters<'_>,
    ) -> Result<u64, CallError> {
        self.wait(self.client.execute(sql, parameters))
    }

    pub(in crate::components::postgres) fn query(
        &mut self,
        sql: &(impl ToStatement + ?Sized),
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, CallError> {
        self.wait(self.client.query(sql, parameters))
    }

    pub(in crate::components::postgres) fn query_one(
        &mut self,
        sql: &(impl ToStatement + ?Sized),
        parameters: Parameters<'_>,
    ) -> Result<Row, CallError> {
        self.wait(self.client.query_one(sql, parameters))
    }

    pub(in crate::components::postgres) fn query_opt(
        &mut self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, CallError> {
        self.wait(self.client.query_opt(sql, parameters))
    }
}
