//! Writes that can be taken back, on a real server.

use postgres::types::ToSql;

use super::connection::{AsText, ServerConnection};
use super::journaled_table::{JournaledTable, SEQUENCE, literal};
use crate::components::postgres::claim::shown;
use crate::components::postgres::connection::{DatabaseError, Journals, Peers, Writer};
use crate::components::postgres::values::Parameter;

/// What the comment on the view begins with; the rest tells whether it shows what it should.
const OURS: &str = "squall: rows of complete checkpoints, ";

impl ServerConnection {
    fn table(&self) -> &JournaledTable {
        self.table.as_ref().expect("only a sink with `dirty` asks for it, and its connections have a table")
    }

    /// Writes rows, and keeps what they replace.
    pub(super) fn write_journaled(&mut self, rows: &[Vec<Parameter>]) -> Result<(), DatabaseError> {
        let (kept, written) = (self.table().keep_replaced(rows.len()), self.table().write(rows.len()));
        let places = self.table().places().to_vec();
        let keys: Vec<&Parameter> =
            rows.iter().flat_map(|row| places.iter().map(|place| &row[*place])).collect();
        if let Some(sql) = self.table().entries_of(&self.not_begun, rows.len())
            && self.run(&sql, &keys)?.1 != Some(0)
        {
            return Err(DatabaseError::Busy(
                "rows that another task of the bolt wrote before the last start are still to be taken back"
                    .to_owned(),
            ));
        }
        let mut count = 0;
        if let Some(sql) = kept {
            count = self.run(&sql, &keys)?.0;
        }
        let (_, replaced) = self.run(&written, &rows.iter().flatten().collect::<Vec<_>>())?;
        // Fewer are replaced where a trigger leaves rows as they are.
        if replaced.unwrap_or(0) > i64::try_from(count).unwrap_or(i64::MAX) {
            return Err(DatabaseError::Busy(
                "somebody else has written the same rows at the same time, so they could not be taken back"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Which other tasks have not begun. A task that never wrote has no row of its own, and nothing to take back.
    fn find_not_begun(&mut self, writer: &Writer, among: Peers) -> Result<(), DatabaseError> {
        let sql = "SELECT task, has_entries FROM (SELECT c.task, EXISTS (SELECT 1 FROM squall_undo u \
                   WHERE u.topology = c.topology AND u.component = c.component AND u.task = c.task) AS has_entries \
                   FROM squall_commits c LEFT JOIN squall_begun b USING (topology, component, task) \
                   WHERE c.topology = $1 AND c.component = $2 AND c.task <> $3 AND b.recovery IS DISTINCT FROM $4) x \
                   WHERE has_entries OR task < $5";
        let Writer { topology, component, task } = writer;
        let rows = self.client.query(sql, &[topology, component, task, &among.recovery, &among.tasks])?;
        // A task that has begun stays so: whoever was its instance before cannot write any more.
        self.all_have_begun = rows.is_empty();
        self.not_begun = rows.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
        Ok(())
    }

    /// Executes a statement that stays prepared. Returns how many rows it wrote, and the number that it returned.
    fn run(&mut self, sql: &str, parameters: &[&Parameter]) -> Result<(u64, Option<i64>), DatabaseError> {
        if !self.journaled.contains_key(sql) {
            let prepared = self.client.prepare(sql)?;
            self.journaled.insert(sql.to_owned(), prepared);
        }
        let texts: Vec<AsText<'_>> = parameters.iter().map(|parameter| AsText(parameter)).collect();
        let texts: Vec<&(dyn ToSql + Sync)> = texts.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
        let statement = &self.journaled[sql];
        if statement.columns().is_empty() {
            let count = self.client.execute(statement, &texts)?;
            return Ok((count, None));
        }
        let row = self.client.query_one(statement, &texts)?;
        Ok((0, Some(row.get(0))))
    }
}

impl Journals for ServerConnection {
    fn make_clean_view(&mut self) -> Result<(), DatabaseError> {
        let (view, name, query) = (self.table().view(), self.table().view_name(), self.table().view_query());
        let found = self.client.query_one(
            "SELECT md5($2), c.relkind::text, obj_description(c.oid, 'pg_class') \
             FROM (SELECT 1) one LEFT JOIN pg_class c ON c.oid = to_regclass($1)",
            &[&view, &query],
        );
        let found = found?;
        let comment = format!("{OURS}{}", found.get::<_, String>(0));
        let (kind, is): (Option<String>, Option<String>) = (found.get(1), found.get(2));
        if is.as_ref() == Some(&comment) {
            return Ok(());
        }
        let is_ours = is.is_some_and(|is| is.starts_with(OURS));
        if kind.is_some() && !is_ours {
            return Err(DatabaseError::Permanent(format!(
                "the name `{name}`, which `dirty = true` needs for the view of clean rows, is taken by something else: \
                 rename that"
            )));
        }
        let sql = format!(
            "CREATE OR REPLACE VIEW {view} AS {query}; COMMENT ON VIEW {view} IS {}",
            literal(&comment)
        );
        self.client.batch_execute(&sql).map_err(|error| match DatabaseError::from(error) {
            DatabaseError::Permanent(why) => DatabaseError::Permanent(format!(
                "the view {view} cannot be made: {why}; DROP VIEW {view} if it is there"
            )),
            error => error,
        })
    }

    fn note_begun(&mut self, writer: &Writer, recovery: i64) -> Result<(), DatabaseError> {
        let sql = "INSERT INTO squall_begun (topology, component, task, recovery) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (topology, component, task) DO UPDATE SET recovery = EXCLUDED.recovery";
        let Writer { topology, component, task } = writer;
        let done = self.client.execute(sql, &[topology, component, task, &recovery]);
        done.map(drop).map_err(DatabaseError::from)
    }

    fn begin_journal(&mut self, writer: &Writer, sequence: i64, among: Peers) -> Result<(), DatabaseError> {
        if !self.all_have_begun {
            self.find_not_begun(writer, among)?;
        }
        let sql = format!("SELECT set_config('{SEQUENCE}', '{sequence}', true)");
        self.client.batch_execute(&sql)?;
        self.is_journaled = true;
        Ok(())
    }

    fn take_back(&mut self, writer: &Writer, after: i64) -> Result<(), DatabaseError> {
        let Writer { topology, component, task } = writer;
        let sql = self.table().elsewhere();
        let found = self.client.query_opt(&sql, &[topology, component, task, &after]);
        if let Some(found) = found? {
            let (other, own): (String, String) = (found.get(0), self.table().table());
            return Err(DatabaseError::Permanent(format!(
                "{} left dirty rows in the table {other}, and writes to {own} now, so nobody would take them back: continue \
                 with {other} once (`--resume`) and end that run with a drain (`squall stop`) before you change `table`; or, \
                 if these rows may stay as they are, delete what squall_undo has of them: DELETE FROM squall_undo WHERE \
                 relation = {}",
                shown(writer),
                literal(&other)
            )));
        }
        for sql in self.table().take_back() {
            let done = self.client.execute(&sql, &[topology, component, task, &after]);
            done?;
        }
        Ok(())
    }

    fn forget(&mut self, writer: &Writer, up_to: i64) -> Result<(), DatabaseError> {
        let sql =
            "DELETE FROM squall_undo WHERE topology = $1 AND component = $2 AND task = $3 AND sequence <= $4";
        let Writer { topology, component, task } = writer;
        let done = self.client.execute(sql, &[topology, component, task, &up_to]);
        done.map(drop).map_err(DatabaseError::from)
    }

    fn tasks_in_journal(&mut self, writer: &Writer) -> Result<Vec<i32>, DatabaseError> {
        let sql = "SELECT DISTINCT task FROM squall_undo WHERE topology = $1 AND component = $2";
        let rows = self.client.query(sql, &[&writer.topology, &writer.component]);
        Ok(rows?.iter().map(|row| row.get(0)).collect())
    }
}
