//! A map in a table of a real server.
//!
//! 1. A batch is one transaction: its rows, and how far the task has come. It locks the row of the task in
//!    `squall_states` first, so nobody can take the task over meanwhile.
//! 2. A server has many names: `localhost`, `127.0.0.1`, `::1`, a socket, a proxy. It is one, so it is asked who else uses
//!    the table: each session holds an advisory lock that has the state, and finds those of other states of the topology.
//! 3. After any error the connection is closed, and made again by the next call, which the runtime makes after a pause.

use postgres::types::ToSql;

use crate::api::{BackingMap, MapKey, MapWriter, Stored, TaskError};
use crate::components::postgres::client::{AsText, Client, Reach, TABLES_LOCK};
use crate::components::postgres::connection::DatabaseError;
use crate::components::postgres::state_table::StateTable;
use crate::components::postgres::statement::quoted;
use crate::components::postgres::values::Parameter;
use crate::ids::CheckpointId;
use crate::tuple::Value;

/// How many keys go into one statement.
const KEYS_MAX: usize = 10_000;

/// Of squall's own: for each table of totals and each task that puts into it, how far it has come.
const STATES: &str = "
CREATE TABLE IF NOT EXISTS squall_states (
    state text NOT NULL,
    task integer NOT NULL,
    lineage bigint NOT NULL,
    owner bigint NOT NULL,
    txid bigint NOT NULL,
    epoch bigint NOT NULL,
    number bigint NOT NULL,
    put_at timestamptz NOT NULL,
    PRIMARY KEY (state, task)
)";

/// Who uses a table.
#[derive(Clone)]
pub(super) struct UsedAs {
    pub(super) topology: String,
    /// The name of the state.
    pub(super) name: String,
}

/// The map of a task.
pub(super) struct ServerMap {
    reach: Reach,
    table: StateTable,
    /// The table with its schema, as it is called in `squall_states`: `totals` and `public.totals` may be one.
    state: String,
    used_as: UsedAs,
    client: Option<Client>,
}

impl ServerMap {
    /// Connects, makes the tables if they are not there, and looks at their columns.
    pub(super) fn open(reach: Reach, table: StateTable, used_as: UsedAs) -> Result<ServerMap, TaskError> {
        let mut map =
            ServerMap { reach, table, state: String::new(), used_as: used_as.clone(), client: None };
        map.state = map.with(|client, table, _| {
            make_tables(client, table)?;
            check_columns(client, table)?;
            let state = name_of(client, table)?;
            refuse_others(client, &state, &used_as)?;
            Ok(state)
        })?;
        Ok(map)
    }

    fn connect(&self) -> Result<Client, DatabaseError> {
        let mut client = self.reach.connect()?;
        if !self.state.is_empty() {
            refuse_others(&mut client, &self.state, &self.used_as)?;
        }
        Ok(client)
    }

    /// Does something over the connection, which is made if there is none.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Client, &StateTable, &str) -> Result<T, DatabaseError>,
    ) -> Result<T, TaskError> {
        let client = match self.client.take() {
            Some(client) => Ok(client),
            None => self.connect(),
        };
        let done = client.and_then(|mut client| {
            let done = work(&mut client, &self.table, &self.state)?;
            Ok((client, done))
        });
        let (client, done) = done.map_err(|error| task_error(&error))?;
        self.client = Some(client);
        Ok(done)
    }
}

/// An error of a row will not go away by waiting either: what is put is the same each time.
fn task_error(error: &DatabaseError) -> TaskError {
    match error {
        DatabaseError::Permanent(_) | DatabaseError::Row(_) => TaskError::fatal(error.to_string()),
        DatabaseError::Away(_) | DatabaseError::Busy(_) => TaskError::new(error.to_string()),
    }
}

/// Does something in a transaction. After an error the connection is not used any more, so the server ends it.
fn in_transaction<T>(
    client: &mut Client,
    work: impl FnOnce(&mut Client) -> Result<T, DatabaseError>,
) -> Result<T, DatabaseError> {
    client.batch_execute("BEGIN")?;
    let done = work(client)?;
    client.batch_execute("COMMIT")?;
    Ok(done)
}

/// Tasks that make them at the same time wait for each other, because `IF NOT EXISTS` does not see what another
/// transaction is making.
fn make_tables(client: &mut Client, table: &StateTable) -> Result<(), DatabaseError> {
    in_transaction(client, |client| {
        client.execute("SELECT pg_advisory_xact_lock($1)", &[&TABLES_LOCK])?;
        for (name, create) in [("squall_states", STATES), (&table.table, &table.create())] {
            let there = client.query_one("SELECT to_regclass($1::text) IS NOT NULL", &[&name]);
            if !there?.get::<_, bool>(0) {
                client.batch_execute(create)?;
            }
        }
        Ok(())
    })
}

/// A table that somebody else has made may have other columns.
fn check_columns(client: &mut Client, table: &StateTable) -> Result<(), DatabaseError> {
    let statement = client.prepare(&table.look())?;
    for (column, (name, types)) in statement.columns().iter().zip(table.wanted()) {
        let found = column.type_().name();
        if !types.contains(&found) {
            return Err(DatabaseError::Permanent(format!(
                "the column `{name}` of the table {} is of type {found}, and has to be {}: change `key` or `value` of the \
                 state, or name another `table`",
                table.table,
                types.join(" or ")
            )));
        }
    }
    Ok(())
}

/// The table with its schema.
fn name_of(client: &mut Client, table: &StateTable) -> Result<String, DatabaseError> {
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = to_regclass($1::text)";
    let row = client.query_one(sql, &[&table.table])?;
    Ok([row.get::<_, &str>(0), row.get(1)].map(quoted).join("."))
}

/// Announces, for as long as the session lasts, that this state of the topology uses the table, and refuses to if another
/// one does. Of two that come at the same time, at least one sees the other.
fn refuse_others(client: &mut Client, table: &str, used_as: &UsedAs) -> Result<(), DatabaseError> {
    let UsedAs { topology, name } = used_as;
    let place = format!("squall totals {topology} {table}");
    client.execute("SELECT pg_advisory_lock_shared(hashtext($1), hashtext($2))", &[&place, name])?;
    let others = "SELECT a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
                  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                  AND l.classid = (hashtext($1)::bigint & 4294967295)::oid \
                  AND l.objid <> (hashtext($2)::bigint & 4294967295)::oid LIMIT 1";
    let Some(other) = client.query_opt(others, &[&place, name])? else { return Ok(()) };
    let who =
        other.get::<_, Option<String>>(0).map(|who| format!(", as the session `{who}`")).unwrap_or_default();
    Err(DatabaseError::Permanent(format!(
        "the state `{name}` is in the table {table}, which another state of the topology uses already{who}: their `url`s name \
         one server. Name another `table`"
    )))
}

fn as_text(parameters: &[Parameter]) -> Vec<AsText<'_>> {
    parameters.iter().map(AsText).collect()
}

fn references<'a>(parameters: &'a [AsText<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect()
}

fn put(client: &mut Client, table: &StateTable, entries: &[(MapKey, Stored)]) -> Result<(), DatabaseError> {
    if entries.is_empty() {
        return Ok(());
    }
    let statement = client.prepare(&table.put())?;
    for chunk in entries.chunks(KEYS_MAX) {
        let rows = table.rows(chunk).map_err(DatabaseError::Row)?;
        let rows = as_text(&rows);
        client.execute(&statement, &references(&rows))?;
    }
    Ok(())
}

fn task_of(writer: &MapWriter) -> i32 {
    i32::try_from(writer.task).unwrap_or(i32::MAX)
}

/// The last batch, and its checkpoint, as PostgreSQL has numbers.
fn counts_of(writer: &MapWriter) -> [i64; 3] {
    let CheckpointId { epoch, number } = writer.checkpoint;
    [writer.txid, epoch, number].map(u64::cast_signed)
}

impl BackingMap for ServerMap {
    fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Option<Stored>>, TaskError> {
        self.with(|client, table, _| {
            let statement = client.prepare(&table.get())?;
            let mut found: Vec<Option<Stored>> = Vec::with_capacity(keys.len());
            for chunk in keys.chunks(KEYS_MAX) {
                let begin = found.len();
                found.resize(begin + chunk.len(), None);
                let parameters = table.keys(chunk).map_err(DatabaseError::Row)?;
                let parameters = as_text(&parameters);
                for row in client.query(&statement, &references(&parameters))? {
                    // The place is from 1.
                    let place = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
                    let stored = table.stored(row.get(1), row.get(2), row.get(3));
                    let entry = found.get_mut(begin.saturating_add(place));
                    match (entry, stored) {
                        (Some(entry), Some(stored)) => *entry = Some(stored),
                        _ => {
                            let key = Value::list(chunk.get(place).cloned().unwrap_or_default());
                            let why =
                                format!("the row of {key} in {} is not what squall has put", table.table);
                            return Err(DatabaseError::Permanent(why));
                        }
                    }
                }
            }
            Ok(found)
        })
    }

    fn multi_put(&mut self, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        self.with(|client, table, _| in_transaction(client, |client| put(client, table, entries)))
    }

    fn check(&self, key: &[Value], value: &Value) -> Result<(), String> {
        self.table.check(key, value)
    }

    fn writers(&mut self) -> Result<Option<Vec<MapWriter>>, TaskError> {
        self.with(|client, _, state| {
            let sql = "SELECT task, lineage, owner, txid, epoch, number FROM squall_states WHERE state = $1 ORDER BY task";
            let rows = client.query(sql, &[&state])?;
            let writer = |row: &postgres::Row| MapWriter {
                task: row.get::<_, i32>(0).unsigned_abs(),
                lineage: row.get(1),
                owner: row.get(2),
                txid: row.get::<_, i64>(3).cast_unsigned(),
                checkpoint: CheckpointId {
                    epoch: row.get::<_, i64>(4).cast_unsigned(),
                    number: row.get::<_, i64>(5).cast_unsigned(),
                },
            };
            Ok(Some(rows.iter().map(writer).collect()))
        })
    }

    fn claim(&mut self, found: Option<&MapWriter>, writer: &MapWriter) -> Result<bool, TaskError> {
        self.with(|client, _, state| {
            let insert = "INSERT INTO squall_states (state, task, lineage, owner, txid, epoch, number, put_at) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, now()) ON CONFLICT (state, task) DO NOTHING";
            // It waits for a transaction that has the row, and compares then.
            let update = "UPDATE squall_states SET lineage = $3, owner = $4, txid = $5, epoch = $6, number = $7 \
                          WHERE state = $1 AND task = $2 AND lineage = $8 AND owner = $9 AND txid = $10 \
                          AND epoch = $11 AND number = $12";
            let (task, [txid, epoch, number]) = (task_of(writer), counts_of(writer));
            let mut parameters: Vec<&(dyn ToSql + Sync)> =
                vec![&state, &task, &writer.lineage, &writer.owner, &txid, &epoch, &number];
            let before = found.map(|found| (found.lineage, found.owner, counts_of(found)));
            let sql = match &before {
                None => insert,
                Some((lineage, owner, [txid, epoch, number])) => {
                    let before: [&(dyn ToSql + Sync); 5] = [lineage, owner, txid, epoch, number];
                    parameters.extend(before);
                    update
                }
            };
            client.execute(sql, &parameters).map(|rows| rows > 0).map_err(DatabaseError::from)
        })
    }

    fn put_as(&mut self, writer: &MapWriter, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        let is_own = self.with(|client, table, state| {
            let sql = "UPDATE squall_states SET txid = $5, epoch = $6, number = $7, put_at = now() \
                       WHERE state = $1 AND task = $2 AND lineage = $3 AND owner = $4";
            let (task, [txid, epoch, number]) = (task_of(writer), counts_of(writer));
            let parameters: [&(dyn ToSql + Sync); 7] =
                [&state, &task, &writer.lineage, &writer.owner, &txid, &epoch, &number];
            in_transaction(client, |client| {
                // It locks the row until the transaction ends.
                let is_own = client.execute(sql, &parameters)? > 0;
                if is_own {
                    put(client, table, entries)?;
                }
                Ok(is_own)
            })
        })?;
        if is_own { Ok(()) } else { Err(writer.taken_over()) }
    }
}
