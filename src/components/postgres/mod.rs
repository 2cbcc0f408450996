//! `postgres`: writes rows to a table of PostgreSQL.
//!
//! At least once and at most once, `acked` acks rows when the transaction that they are in is committed. Exactly once,
//! there are three ways. `committed` writes the rows of a checkpoint in one transaction when the checkpoint is complete.
//! `prepared` prepares that transaction before. `dirty` writes rows at once, and takes back what belongs to no checkpoint.
//! `claim` is what the three have in common. Which way a task takes is decided when it is prepared. All make `row`s of
//! tuples and write them by a `statement` through a `session`, with `values` as the server reads them.
//!
//! `state` is the type `postgres` of `[state.NAME]`: totals in a table, which `state_table` has the statements of.
//!
//! `client` speaks to the server, and `state_client` does so for totals. They alone need the Cargo feature `postgres`;
//! without it the settings are checked, and everything else is tested with a server in memory.

#![cfg_attr(
    not(feature = "postgres"),
    allow(
        dead_code,
        reason = "statements and types of columns are the client's; without it only tests use them"
    )
)]

mod acked;
mod claim;
#[cfg(feature = "postgres")]
mod client;
mod committed;
mod connection;
mod dirty;
mod kept_rows;
mod prepared;
mod row;
mod session;
mod settings;
mod state;
#[cfg(feature = "postgres")]
mod state_client;
mod state_table;
mod statement;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use crate::api::{Bolt, Check, Input, JournaledBolt, Outputs, TaskContext, TaskError, Timer, TwoPhaseBolt};
use crate::components::postgres::acked::AckedRows;
use crate::components::postgres::committed::CommittedRows;
use crate::components::postgres::connection::Connect;
use crate::components::postgres::dirty::DirtySink;
use crate::components::postgres::prepared::PreparedSink;
use crate::components::postgres::row::RowTemplate;
use crate::components::postgres::session::Session;
use crate::components::postgres::statement::Statement;
use crate::ids::CheckpointId;
use crate::topology::registry::{Registry, SettingError};

pub use settings::{BatchSettings, Columns, PostgresSettings, WriteMode};
pub use state::{PostgresState, PostgresStateSettings};
pub use state_table::{KeyColumn, ValueColumn};

/// What makes the connector of a task. The tests have one of their own.
type Connector = Arc<dyn Fn(&PostgresSettings, &Statement, &TaskContext) -> Box<dyn Connect> + Send + Sync>;

/// The bolt `postgres`.
pub struct Postgres {
    settings: PostgresSettings,
    statement: Statement,
    template: RowTemplate,
    connector: Connector,
    /// `None` before `prepare`.
    way: Option<Way>,
}

/// How rows are written.
enum Way {
    Acked(Box<AckedRows>),
    /// Exactly once.
    Committed(Box<CommittedRows>),
    /// Exactly once, with `prepare`.
    Prepared(Box<TwoPhaseBolt<PreparedSink>>),
    /// Exactly once, with `dirty`.
    Dirty(Box<JournaledBolt<DirtySink>>),
}

impl Postgres {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When settings are missing, do not go together, or are not what they should be.
    pub fn new(settings: PostgresSettings) -> Result<Postgres, SettingError> {
        settings.check_limits()?;
        check_url(&settings)?;
        let (statement, sources) = Statement::new(&settings)?;
        let template = RowTemplate::new(sources).map_err(|(key, why)| SettingError::at(&key, why))?;
        Ok(Postgres { settings, statement, template, connector: Arc::new(connector), way: None })
    }

    fn bolt(&mut self) -> &mut dyn Bolt {
        match self.way.as_mut().expect("`prepare` is called first") {
            Way::Acked(bolt) => &mut **bolt,
            Way::Committed(bolt) => &mut **bolt,
            Way::Prepared(bolt) => &mut **bolt,
            Way::Dirty(bolt) => &mut **bolt,
        }
    }
}

#[cfg(feature = "postgres")]
fn check_url(settings: &PostgresSettings) -> Result<(), SettingError> {
    client::server_in(&settings.url).map(drop)
}

#[cfg(feature = "postgres")]
fn connector(settings: &PostgresSettings, statement: &Statement, context: &TaskContext) -> Box<dyn Connect> {
    Box::new(client::Connector::new(settings, statement, context))
}

/// Only the client knows what a URL is.
#[cfg(not(feature = "postgres"))]
fn check_url(_: &PostgresSettings) -> Result<(), SettingError> {
    Ok(())
}

#[cfg(not(feature = "postgres"))]
fn connector(_: &PostgresSettings, _: &Statement, _: &TaskContext) -> Box<dyn Connect> {
    struct Missing;

    impl Connect for Missing {
        fn connect(&mut self) -> Result<Box<dyn connection::Connection>, connection::DatabaseError> {
            Err(connection::DatabaseError::Permanent(
                "squall was built without the Cargo feature `postgres`: build it by `cargo build --release \
                 --features postgres`"
                    .to_owned(),
            ))
        }
    }

    Box::new(Missing)
}

impl Bolt for Postgres {
    fn check(&self, check: &mut Check<'_>) {
        self.template.check(check);
        if check.delivery().is_exactly_once() {
            return;
        }
        if self.settings.prepare {
            check.refuse(
                "prepare",
                "goes with `delivery = \"exactly-once\"` only; without it, rows are committed at once",
            );
        }
        if self.settings.dirty {
            check.refuse(
                "dirty",
                "goes with `delivery = \"exactly-once\"` only; without it, rows stay as they are written",
            );
        }
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let connector = (self.connector)(&self.settings, &self.statement, context);
        let session = Session::new(connector, self.statement.clone());
        let template = self.template.clone();
        let settings = || self.settings.clone();
        self.way = Some(if !context.delivery().is_exactly_once() {
            Way::Acked(Box::new(AckedRows::new(settings(), template, session)))
        } else if self.settings.prepare {
            Way::Prepared(Box::new(TwoPhaseBolt::new(PreparedSink::new(settings(), template, session))))
        } else if self.settings.dirty {
            Way::Dirty(Box::new(JournaledBolt::new(DirtySink::new(settings(), template, session))))
        } else {
            Way::Committed(Box::new(CommittedRows::new(template, session)))
        });
        self.bolt().prepare(context)
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().init_state(out)
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().execute(input, out)
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().flush(out)
    }

    fn timer(&mut self, timer: Timer, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().timer(timer, out)
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if let Some(Way::Prepared(bolt)) = &mut self.way {
            bolt.sink_mut().at_checkpoint(checkpoint);
        }
        self.bolt().pre_commit(checkpoint, out)
    }

    fn committed(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if let Some(Way::Dirty(bolt)) = &mut self.way {
            bolt.sink_mut().completed(checkpoint);
        }
        self.bolt().committed(checkpoint, out)
    }

    fn keeps_data(&self) -> bool {
        match &self.way {
            Some(Way::Acked(bolt)) => bolt.keeps_data(),
            Some(Way::Committed(bolt)) => bolt.keeps_data(),
            Some(Way::Prepared(bolt)) => bolt.keeps_data(),
            Some(Way::Dirty(bolt)) => bolt.keeps_data(),
            None => false,
        }
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.bolt().finish(out)
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt("postgres", "Writes rows to a table of PostgreSQL.", |settings: &PostgresSettings| {
            Postgres::new(settings.clone())
        })
        .output("none")
        .example(
            r#"
[bolt.store]
type = "postgres"
parallelism = 2
inputs = [{ from = "orders", fields = ["id"] }]

[bolt.store.config]
url = { secret = "orders-db" }
table = "orders"
columns = ["id", "item", "amount"]
mode = "upsert"
key = ["id"]
"#,
        )
        .blocking()
        .needs_feature("postgres", cfg!(feature = "postgres"));
    registry
        .state_type("postgres", "A table of PostgreSQL.", |settings: &PostgresStateSettings| {
            PostgresState::new(settings.clone())
        })
        .needs_feature("postgres", cfg!(feature = "postgres"));
}
