//! The tables of squall's own. They have the rows of all topologies that write to the database.

use super::blocking::{CallError, Client};
use crate::components::postgres::connection::DatabaseError;

/// Each by its name. docs/components.md has them, too, for users who may not make tables.
const TABLES: [(&str, &str); 5] = [
    (
        "squall_commits",
        "CREATE TABLE squall_commits (
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
)",
    ),
    (
        "squall_refused",
        "CREATE TABLE squall_refused (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    topology text NOT NULL,
    component text NOT NULL,
    task integer NOT NULL,
    epoch bigint NOT NULL,
    number bigint NOT NULL,
    sequence bigint NOT NULL,
    place bigint NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    error text NOT NULL,
    row text NOT NULL
)",
    ),
    (
        "squall_prepared",
        "CREATE TABLE squall_prepared (
    name text PRIMARY KEY,
    topology text NOT NULL,
    component text NOT NULL,
    task integer NOT NULL,
    lineage bigint NOT NULL,
    sequence bigint NOT NULL
)",
    ),
    (
        "squall_undo",
        "CREATE TABLE squall_undo (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    topology text NOT NULL,
    component text NOT NULL,
    task integer NOT NULL,
    sequence bigint NOT NULL,
    relation text NOT NULL,
    row_key jsonb NOT NULL,
    found_by jsonb,
    before jsonb
);
CREATE INDEX squall_undo_of_task ON squall_undo (topology, component, task, sequence)",
    ),
    (
        OF_DIRTY,
        "CREATE TABLE squall_begun (
    topology text NOT NULL,
    component text NOT NULL,
    task integer NOT NULL,
    recovery bigint NOT NULL,
    PRIMARY KEY (topology, component, task)
)",
    ),
];

/// The table that only `dirty` needs. It is younger than the others, so who may not make tables lacks it with them.
const OF_DIRTY: &str = "squall_begun";

/// Of the lock under which the tables are made: a number that nobody else has by chance.
pub(in crate::components::postgres) const TABLES_LOCK: i64 = 0x7371_7561_6c6c;

/// Makes those that are not there. Tasks that do so at the same time wait for each other, because `IF NOT EXISTS` does not
/// see what another transaction is making.
pub(super) fn make(client: &mut Client, is_dirty: bool) -> Result<(), DatabaseError> {
    client.execute("SELECT pg_advisory_xact_lock($1)", &[&TABLES_LOCK])?;
    for (name, sql) in TABLES.into_iter().filter(|(name, _)| is_dirty || *name != OF_DIRTY) {
        let there: bool = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name])?.get(0);
        if !there {
            client.batch_execute(sql).map_err(|error| cannot_be_made(name, error))?;
        }
    }
    Ok(())
}

fn cannot_be_made(name: &str, error: CallError) -> DatabaseError {
    match DatabaseError::from(error) {
        DatabaseError::Permanent(why) => DatabaseError::Permanent(format!(
            "the table {name} of squall's own is not there, and cannot be made: {why}. Let somebody make it who may, as \
             docs/components.md says (\"Tables of squall's own\"), and grant this user SELECT, INSERT, UPDATE and DELETE on it"
        )),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_the_same_tables() {
        let manual = include_str!("../../../../docs/components.md");
        for (name, sql) in TABLES {
            assert!(manual.contains(&format!("{sql};\n")), "{name} is another one in docs/components.md");
        }
    }
}
