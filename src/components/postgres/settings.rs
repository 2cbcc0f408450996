//! The settings of `postgres`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::components::settings::{ByteSize, Ordered, Pauses, Period};
use crate::secrets::Secret;
use crate::topology::registry::SettingError;

/// Settings of [`Postgres`](crate::components::postgres::Postgres).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// Where the server is: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `host=… user=… dbname=…`. With a password in
    /// it, make it a secret, `{ secret = "orders-db" }`, or name a `password_file`: what stands in the document, also by
    /// `"${ORDERS_DB}"`, goes wherever the document goes. A secret is read at each connect. TLS is not supported. Required.
    pub url: Secret,
    /// A file whose first line is the password. It is read at each connect. Default: the password of `url`.
    #[serde(default)]
    pub password_file: Option<String>,
    /// The table that is written to: `"orders"`, or with a schema `"shop.orders"`. Required, unless there is a
    /// `statement`.
    #[serde(default)]
    pub table: Option<String>,
    /// The columns: a list of names that fields of the input have, too, or a table of columns to what is written
    /// there: the name of a field, or a text with `{field}` in it. Required, unless there is a `statement`.
    #[serde(default)]
    pub columns: Option<Columns>,
    /// What is done with a row: `"insert"`, `"upsert"` or `"delete"`. Default: `"insert"`.
    #[serde(default)]
    pub mode: WriteMode,
    /// The columns that identify a row, of those in `columns`. Required for `"upsert"`, where the table must have a
    /// unique index of these columns, and for `"delete"`.
    #[serde(default)]
    pub key: Vec<String>,
    /// Instead of `table`, `columns`, `mode` and `key`: a statement in SQL that is executed for each row, with `$1`,
    /// `$2` … where `parameters` go.
    #[serde(default)]
    pub statement: Option<String>,
    /// The parameters of `statement`, in order, each as in `columns`: the name of a field, or a text with `{field}` in
    /// it.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// When a batch of rows is written in one transaction: `rows` when there are so many, `bytes` when they take so
    /// much, `linger` when the first has waited so long. With exactly-once a transaction has the rows of a checkpoint
    /// instead, unless `dirty` is set. With `prepare`, so many rows and bytes are taken while the server is away. Default: `{ rows = 1000, bytes = "1MiB", linger = "10ms" }`.
    #[serde(default)]
    pub batch: BatchSettings,
    /// Exactly once: whether the rows of a checkpoint are kept in a prepared transaction of the server (`PREPARE
    /// TRANSACTION`) until the checkpoint is complete, and not in the checkpoint. The server must allow for that:
    /// `max_prepared_transactions`. Default: false.
    #[serde(default)]
    pub prepare: bool,
    /// Exactly once: whether rows are visible at once, and taken back if all tasks go back to a checkpoint before them.
    /// The view `TABLE_clean` shows the rows of complete checkpoints. The table must have a primary key. Not with
    /// `prepare` or `statement`. Default: false.
    #[serde(default)]
    pub dirty: bool,
    /// How long connecting may take. Default: `"10s"`.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Period,
    /// How long the server may take for a statement, and how long it keeps a transaction open for a task that does
    /// nothing. Default: `"30s"`.
    #[serde(default = "statement_timeout")]
    pub statement_timeout: Period,
    /// The pauses between attempts while the server is away: the first, and the longest. Default: `"100ms..10s"`.
    #[serde(default = "reconnect")]
    pub reconnect: Pauses,
    /// How long rows wait for a server that is away before their tuples fail. With exactly-once they wait for as long
    /// as it takes. Default: `"1m"`.
    #[serde(default = "give_up")]
    pub give_up: Period,
}

/// What is written to which column.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a list of columns, or a table of columns to fields or texts with `{field}`"
)]
pub enum Columns {
    /// Columns with the names of fields.
    Names(Vec<String>),
    /// Columns, and the field or the template of each.
    Sources(Ordered<String>),
}

/// What is done with a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// It is added.
    #[default]
    Insert,
    /// It is added, or replaces the row with the same key.
    Upsert,
    /// The rows with its key are deleted.
    Delete,
}

/// When a batch is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// At so many rows. Default: 1000.
    pub rows: usize,
    /// At so many bytes of values, as a size. Default: `"1MiB"`.
    pub bytes: ByteSize,
    /// When the first row has waited so long, as a duration; `"0s"`: when no more tuples wait. Default: `"10ms"`.
    pub linger: Period,
}

impl Default for BatchSettings {
    fn default() -> BatchSettings {
        BatchSettings { rows: 1000, bytes: ByteSize(1 << 20), linger: Period(Duration::from_millis(10)) }
    }
}

pub(super) fn connect_timeout() -> Period {
    Period(Duration::from_secs(10))
}

pub(super) fn statement_timeout() -> Period {
    Period(Duration::from_secs(30))
}

fn reconnect() -> Pauses {
    Pauses { min: Duration::from_millis(100), max: Duration::from_secs(10) }
}

fn give_up() -> Period {
    Period(Duration::from_secs(60))
}

/// The most rows that a batch may have.
const BATCH_ROWS_MAX: usize = 100_000;
/// The longest time-out that the server takes, in milliseconds.
const TIMEOUT_MS_MAX: u128 = i32::MAX as u128;

impl PostgresSettings {
    /// Refuses limits that cannot work.
    pub(super) fn check_limits(&self) -> Result<(), SettingError> {
        if !(1..=BATCH_ROWS_MAX).contains(&self.batch.rows) {
            return Err(SettingError::at("batch.rows", format!("must be from 1 to {BATCH_ROWS_MAX}")));
        }
        if self.dirty && self.prepare {
            return Err(SettingError::at(
                "prepare",
                "does not go with `dirty = true`: rows are either visible at once or prepared",
            ));
        }
        if self.dirty && self.statement.is_some() {
            return Err(SettingError::at(
                "statement",
                "does not go with `dirty = true`: nobody knows what it changes, so it cannot be taken back; write a \
                 `table`, `columns` and a `mode`",
            ));
        }
        if self.batch.bytes.0 == 0 {
            return Err(SettingError::at("batch.bytes", "must be at least 1B"));
        }
        check_timeouts(self.connect_timeout, self.statement_timeout)?;
        if self.reconnect.min.is_zero() {
            return Err(SettingError::at("reconnect", "must begin with at least 1ms"));
        }
        Ok(())
    }
}

/// Refuses time-outs that the server does not take.
pub(super) fn check_timeouts(connect: Period, statement: Period) -> Result<(), SettingError> {
    for (key, timeout) in [("connect_timeout", connect), ("statement_timeout", statement)] {
        if !(1..=TIMEOUT_MS_MAX).contains(&timeout.0.as_millis()) {
            return Err(SettingError::at(key, "must be from 1ms to 24 days"));
        }
    }
    Ok(())
}
