//! A table whose writes can be taken back, and the statements for that.
//!
//! 1. Rows are found by the primary key of the table. What was there before is kept as JSON with the text of each column,
//!    as the server writes it and reads it again, so that no type loses anything.
//! 2. Of several writes to a row, the first one after a mark has what was there at the mark. So taking back does not depend
//!    on the number of writes.
//! 3. Between the statement that keeps what an upsert replaces and the upsert, somebody else may write the same rows. Then
//!    the numbers of replaced rows differ, and the transaction is not committed.

use postgres::Row;

use super::blocking::Client;
use crate::components::postgres::connection::{DatabaseError, Writer};
use crate::components::postgres::settings::WriteMode;
use crate::components::postgres::statement::{Statement, quoted};

/// Where the number of the batch stands, in a transaction.
pub(super) const SEQUENCE: &str = "squall.sequence";

/// A table, as the server knows it.
pub(super) struct JournaledTable {
    schema: String,
    name: String,
    columns: Vec<Column>,
    /// The columns of its primary key.
    key: Vec<Column>,
    statement: Statement,
    mode: WriteMode,
    /// The columns that squall writes, but those of the primary key.
    written: Vec<String>,
    /// The columns that the server looks for rows by when squall writes, and where they stand in a row: the `key`, or the
    /// primary key if an insert has all of it.
    found_by: Vec<Column>,
    places: Vec<usize>,
    /// The values of the columns that come first in `squall_undo`.
    meta: String,
    writer: Writer,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// Its type, as a cast has it.
    cast: String,
    is_generated: bool,
}

/// What `squall_undo` has of each row, beside what was there before.
const META: &str = "topology, component, task, sequence, relation, row_key, found_by";

/// A text as SQL has it.
pub(super) fn literal(text: &str) -> String {
    let quotes = format!("'{}'", text.replace('\'', "''").replace('\\', "\\\\"));
    if text.contains('\\') { format!("E{quotes}") } else { quotes }
}

fn list(parts: impl IntoIterator<Item = String>, separator: &str) -> String {
    parts.into_iter().collect::<Vec<_>>().join(separator)
}

/// JSON with the text of each column. `of`: what stands before their names.
fn texts(columns: &[Column], of: &str) -> String {
    let names = list(columns.iter().map(|column| literal(&column.name)), ", ");
    let values = list(columns.iter().map(|column| format!("{of}{}::text", quoted(&column.name))), ", ");
    format!("jsonb_object(ARRAY[{names}]::text[], ARRAY[{values}]::text[])")
}

/// Values out of such JSON.
fn values(columns: &[Column], json: &str) -> Vec<String> {
    let value = |column: &Column| format!("({json}->>{})::{}", literal(&column.name), column.cast);
    columns.iter().map(value).collect()
}

impl JournaledTable {
    /// Asks the server about the table of a statement.
    ///
    /// # Errors
    /// When its rows could not be found again.
    pub(super) fn find(
        client: &mut Client,
        statement: &Statement,
        writer: &Writer,
    ) -> Result<JournaledTable, DatabaseError> {
        let refused = |why: String| Err(DatabaseError::Permanent(why));
        let Statement::Table { table, columns: written, mode, key: upsert_key } = statement else {
            return refused("`dirty = true` goes with a `table` only".to_owned());
        };
        let rows = |client: &mut Client, sql: &str| client.query(sql, &[table]).map_err(DatabaseError::from);
        let found = rows(
            client,
            "SELECT n.nspname::text, c.relname::text, c.relkind::text FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
        )?;
        let Some(found) = found.first() else { return refused(format!("there is no table {table}")) };
        let (schema, name, kind): (String, String, String) = (found.get(0), found.get(1), found.get(2));
        if kind != "r" {
            return refused(format!(
                "{table} is no ordinary table (a view, a foreign or a partitioned table), so what `dirty = true` writes \
                 there cannot be taken back: write `dirty = false`"
            ));
        }
        let column = |row: &Row| Column { name: row.get(0), cast: row.get(1), is_generated: row.get(2) };
        let columns: Vec<Column> = rows(
            client,
            "SELECT attname::text, format_type(atttypid, atttypmod), attgenerated <> '' FROM pg_attribute \
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        )?
        .iter()
        .map(column)
        .collect();
        let key: Vec<Column> = rows(
            client,
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attgenerated <> '' FROM pg_index i \
             CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
             WHERE i.indrelid = to_regclass($1) AND i.indisprimary ORDER BY k.place",
        )?
        .iter()
        .map(column)
        .collect();
        if key.is_empty() {
            return refused(format!(
                "{table} has no primary key, by which `dirty = true` finds the rows that it takes back: add one, or write \
                 `dirty = false`"
            ));
        }
        let mut places = upsert_key.clone();
        if *mode == WriteMode::Insert {
            let place = |column: &Column| written.iter().position(|name| *name == column.name);
            places = key.iter().map(place).collect::<Option<_>>().unwrap_or_default();
        }
        let found_by =
            places.iter().filter_map(|at| columns.iter().find(|column| column.name == written[*at]));
        let found_by: Vec<Column> = found_by.cloned().collect();
        let is_key = |name: &String| key.iter().any(|column| column.name == *name);
        let replaced =
            written.iter().find(|name| is_key(name) && found_by.iter().all(|column| column.name != **name));
        if let (WriteMode::Upsert, Some(replaced)) = (mode, replaced) {
            return refused(format!(
                "column `{replaced}` is in the primary key of {table} and not in `key`, so an upsert would change what \
                 `dirty = true` finds rows by: leave it out of `columns`, or write `dirty = false`"
            ));
        }
        let written = written.iter().filter(|name| !is_key(name)).cloned().collect();
        let Writer { topology, component, task } = writer;
        let meta = format!(
            "{}, {}, {task}, current_setting('{SEQUENCE}')::bigint",
            literal(topology),
            literal(component)
        );
        Ok(JournaledTable {
            schema,
            name,
            columns,
            key,
            statement: statement.clone(),
            mode: *mode,
            written,
            found_by,
            places,
            meta,
            writer: writer.clone(),
        })
    }

    pub(super) fn table(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// What `squall_undo` calls the table.
    fn relation(&self) -> String {
        literal(&self.table())
    }

    /// Keeps the rows that an upsert of so many rows replaces. `None`: it replaces none. The parameters are those of
    /// [`places`](JournaledTable::places) of each row.
    pub(super) fn keep_replaced(&self, rows: usize) -> Option<String> {
        if self.mode != WriteMode::Upsert || !self.replaces() {
            return None;
        }
        let keys = list(self.found_by.iter().map(|column| quoted(&column.name)), ", ");
        Some(format!(
            "INSERT INTO squall_undo ({META}, before) SELECT {}, {}, {}, {}, {} FROM {} WHERE ({keys}) IN ({}) FOR UPDATE",
            self.meta,
            self.relation(),
            texts(&self.key, ""),
            texts(&self.found_by, ""),
            texts(&self.columns, ""),
            self.table(),
            self.tuples(rows)
        ))
    }

    /// Parameters for the columns that rows are found by.
    fn tuples(&self, rows: usize) -> String {
        let count = self.found_by.len();
        let of_row = |row: usize| list((1..=count).map(|at| format!("${}", row * count + at)), ", ");
        list((0..rows).map(|row| format!("({})", of_row(row))), ", ")
    }

    /// How many of so many rows these other tasks of the component have entries of. The parameters are those of
    /// [`places`](JournaledTable::places) of each row.
    pub(super) fn entries_of(&self, tasks: &[i32], rows: usize) -> Option<String> {
        if self.found_by.is_empty() || tasks.is_empty() {
            return None; // Rows that are added get keys of their own.
        }
        let Writer { topology, component, .. } = &self.writer;
        Some(format!(
            "SELECT count(*) FROM squall_undo u WHERE topology = {} AND component = {} AND task IN ({}) AND relation = {} \
             AND ({}) IN ({})",
            literal(topology),
            literal(component),
            list(tasks.iter().map(i32::to_string), ", "),
            self.relation(),
            list(values(&self.found_by, "u.found_by"), ", "),
            self.tuples(rows)
        ))
    }

    /// Whether an upsert changes rows that are there.
    fn replaces(&self) -> bool {
        self.statement.replaces_rows()
    }

    /// Where the columns that rows are found by stand in a row.
    pub(super) fn places(&self) -> &[usize] {
        &self.places
    }

    /// Writes so many rows, and keeps what that did. Returns, as one row, how many rows it replaced that
    /// [`keep_replaced`](JournaledTable::keep_replaced) must have kept.
    pub(super) fn write(&self, rows: usize) -> String {
        let (sql, meta, relation) = (self.statement.sql(rows), &self.meta, self.relation());
        let (key, found_by) = (texts(&self.key, ""), texts(&self.found_by, ""));
        let (returned, before, condition, count) = match self.mode {
            WriteMode::Insert => ("NULL::jsonb".to_owned(), "before", "", "0"),
            WriteMode::Delete => (texts(&self.columns, ""), "before", "", "0"),
            // A row that was added has nobody who locked it; one that was there was locked by the upsert itself.
            WriteMode::Upsert => (
                "(xmax = 0)".to_owned(),
                "NULL::jsonb",
                " WHERE before",
                "(SELECT count(*) FROM written WHERE NOT before)",
            ),
        };
        format!(
            "WITH written AS ({sql} RETURNING {key} AS row_key, {found_by} AS found_by, {returned} AS before), \
             kept AS (INSERT INTO squall_undo ({META}, before) \
             SELECT {meta}, {relation}, row_key, found_by, {before} FROM written{condition}) SELECT {count}::bigint"
        )
    }

    /// An insert into the table of refused rows, so that it is taken back, too.
    pub(super) fn refused(&self, insert: &str) -> String {
        format!(
            "WITH written AS ({insert} RETURNING id) INSERT INTO squall_undo ({META}) \
             SELECT {}, 'squall_refused', jsonb_build_object('id', id), NULL FROM written",
            self.meta
        )
    }

    /// What was there of each row before this task wrote it after number $4. $1 to $3 are the task.
    fn first_kept(&self) -> String {
        format!(
            "(SELECT DISTINCT ON (row_key) row_key, before FROM squall_undo \
             WHERE topology = $1 AND component = $2 AND task = $3 AND sequence > $4 AND relation = {} \
             ORDER BY row_key, id)",
            self.relation()
        )
    }

    /// Whether a row `t` is the one of an entry `u`.
    fn is_row(&self) -> String {
        let keys = self.key.iter().zip(values(&self.key, "u.row_key"));
        list(keys.map(|(column, value)| format!("t.{} = {value}", quoted(&column.name))), " AND ")
    }

    /// Another table that the task wrote to after a number, if there is one: $1 to $3 are the task, $4 is the number.
    pub(super) fn elsewhere(&self) -> String {
        format!(
            "SELECT relation FROM squall_undo WHERE topology = $1 AND component = $2 AND task = $3 AND sequence > $4 \
             AND relation NOT IN ({}, 'squall_refused') LIMIT 1",
            self.relation()
        )
    }

    /// The statements that take back what a task did after a number: $1 to $3 are the task, $4 is the number.
    pub(super) fn take_back(&self) -> [String; 4] {
        let (table, first) = (self.table(), self.first_kept());
        let plain: Vec<Column> = self.columns.iter().filter(|column| !column.is_generated).cloned().collect();
        let names = list(plain.iter().map(|column| quoted(&column.name)), ", ");
        let keys = list(self.key.iter().map(|column| quoted(&column.name)), ", ");
        // Of a row that is there, only what squall has written is put back.
        let is_plain = |name: &&String| plain.iter().any(|column| column.name == **name);
        let put_back =
            self.written.iter().filter(is_plain).map(|name| format!("{0} = EXCLUDED.{0}", quoted(name)));
        let put_back = list(put_back, ", ");
        let action =
            if put_back.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {put_back}") };
        let of_task = "topology = $1 AND component = $2 AND task = $3 AND sequence > $4";
        [
            format!("DELETE FROM {table} t USING {first} u WHERE u.before IS NULL AND {}", self.is_row()),
            format!(
                "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {} FROM {first} u \
                 WHERE u.before IS NOT NULL ON CONFLICT ({keys}) DO {action}",
                list(values(&plain, "u.before"), ", ")
            ),
            format!(
                "DELETE FROM squall_refused WHERE id IN (SELECT (row_key->>'id')::bigint FROM squall_undo \
                 WHERE {of_task} AND relation = 'squall_refused')"
            ),
            format!("DELETE FROM squall_undo WHERE {of_task}"),
        ]
    }

    /// The name of the view of clean rows, without its schema.
    pub(super) fn view_name(&self) -> String {
        format!("{}_clean", self.name)
    }

    /// The same as SQL has it.
    pub(super) fn view(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.view_name()))
    }

    /// What the view shows: rows that nobody has written since the last complete checkpoint as they are, and the others as
    /// they were before the first such write.
    pub(super) fn view_query(&self) -> String {
        let relation = self.relation();
        let names = list(self.columns.iter().map(|column| format!("t.{}", quoted(&column.name))), ", ");
        let before = self.columns.iter().zip(values(&self.columns, "u.before"));
        let before = list(before.map(|(column, value)| format!("{value} AS {}", quoted(&column.name))), ", ");
        format!(
            "SELECT {names} FROM {} t WHERE NOT EXISTS \
             (SELECT 1 FROM squall_undo u WHERE u.relation = {relation} AND {}) \
             UNION ALL SELECT {before} FROM (SELECT DISTINCT ON (row_key) row_key, before FROM squall_undo \
             WHERE relation = {relation} ORDER BY row_key, id) u WHERE u.before IS NOT NULL",
            self.table(),
            self.is_row()
        )
    }
}
