//! The statements in SQL that rows are written by.
//!
//! Several rows go into one statement, which costs one round trip to the server. A statement has at most
//! [`PARAMETERS_MAX`] parameters, a limit of the protocol, and is prepared for a few numbers of rows only
//! ([`CHUNKS`]), so that each connection keeps few statements.
//!
//! In an upsert no row may be there twice: PostgreSQL refuses a statement that changes a row twice. So of several
//! rows with one key only the last is written, which is what the others would have been replaced by.

use std::collections::HashMap;

use crate::components::postgres::settings::{Columns, PostgresSettings, WriteMode};
use crate::topology::registry::SettingError;
use crate::tuple::Value;

/// The most parameters that a statement may have.
const PARAMETERS_MAX: usize = 65_535;
/// How many rows a statement has: as many as fit of the largest, and so on.
const CHUNKS: [usize; 3] = [256, 16, 1];

/// Where a parameter comes from: the key of the settings, and what is written there.
pub(super) type Source<'a> = (String, &'a str);

/// What is done with rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// Rows of a table.
    Table {
        /// Its name, quoted.
        table: String,
        columns: Vec<String>,
        mode: WriteMode,
        /// The places of the columns of the key.
        key: Vec<usize>,
    },
    /// A statement of the user's own, with so many parameters.
    Own { sql: String, parameters: usize },
}

impl Statement {
    /// The statement of these settings, and where each of its parameters comes from: the key of the settings, and
    /// what is written there.
    ///
    /// # Errors
    /// When settings are missing, or do not go together.
    pub(super) fn new(settings: &PostgresSettings) -> Result<(Statement, Vec<Source<'_>>), SettingError> {
        if let Some(sql) = &settings.statement {
            return own_statement(settings, sql);
        }
        if !settings.parameters.is_empty() {
            return Err(SettingError::at(
                "parameters",
                "goes with a `statement`; for a `table` write `columns`",
            ));
        }
        let table = settings.table.as_deref();
        let table = table.ok_or_else(|| SettingError::new("name a `table`, or write a `statement`"))?;
        let columns = settings.columns.as_ref();
        let columns = columns.ok_or_else(|| SettingError::new("name the `columns` that are written"))?;
        let sources: Vec<(&str, &str)> = match columns {
            Columns::Names(names) => names.iter().map(|name| (name.as_str(), name.as_str())).collect(),
            Columns::Sources(sources) => {
                sources.0.iter().map(|(column, source)| (column.as_str(), source.as_str())).collect()
            }
        };
        let mut names: Vec<String> = sources.iter().map(|(column, _)| (*column).to_owned()).collect();
        if names.is_empty() || names.len() > PARAMETERS_MAX {
            return Err(SettingError::at("columns", "name at least one column"));
        }
        if let Some((_, twice)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(SettingError::at("columns", format!("column `{twice}` stands twice")));
        }
        let key = key_places(settings, &names)?;
        let in_list = matches!(columns, Columns::Names(_));
        let place = |column: &str| if in_list { "columns".to_owned() } else { format!("columns.{column}") };
        let mut parameters: Vec<Source<'_>> =
            sources.iter().map(|(column, source)| (place(column), *source)).collect();
        if settings.mode == WriteMode::Delete {
            // Only the key is of use.
            parameters = key.iter().map(|at| parameters[*at].clone()).collect();
            names = key.iter().map(|at| names[*at].clone()).collect();
        }
        let key = if settings.mode == WriteMode::Delete { (0..names.len()).collect() } else { key };
        let table = quoted_table(table)?;
        Ok((Statement::Table { table, columns: names, mode: settings.mode, key }, parameters))
    }

    /// What the parameters of a row are called in errors.
    pub(super) fn parameter_name(&self, at: usize) -> String {
        match self {
            Statement::Table { columns, .. } => format!("column `{}`", columns[at]),
            Statement::Own { .. } => format!("parameter ${}", at + 1),
        }
    }

    /// How many parameters a row has.
    pub(super) fn parameters(&self) -> usize {
        match self {
            Statement::Table { columns, .. } => columns.len(),
            Statement::Own { parameters, .. } => *parameters,
        }
    }

    /// How many of the `rest` rows that are still to be written go into the next statement.
    pub(super) fn chunk(&self, rest: usize) -> usize {
        let Statement::Table { columns, .. } = self else { return 1 };
        let fits = |rows: &&usize| **rows <= rest && **rows * columns.len() <= PARAMETERS_MAX;
        CHUNKS.iter().find(fits).copied().unwrap_or(1)
    }

    /// The rows that are to be written, by their places: of an upsert without those that later ones replace.
    pub(super) fn effective(&self, rows: &[&[Value]]) -> Vec<usize> {
        let Statement::Table { mode: WriteMode::Upsert, key, .. } = self else {
            return (0..rows.len()).collect();
        };
        let key_of = |row: &[Value]| -> Vec<Value> { key.iter().map(|at| row[*at].clone()).collect() };
        let last: HashMap<Vec<Value>, usize> =
            rows.iter().enumerate().map(|(at, row)| (key_of(row), at)).collect();
        let mut effective: Vec<usize> = last.into_values().collect();
        effective.sort_unstable();
        effective
    }

    /// Whether a row that is written may replace one that is there.
    pub(super) fn replaces_rows(&self) -> bool {
        match self {
            Statement::Table { columns, mode, key, .. } => {
                *mode == WriteMode::Upsert && key.len() < columns.len()
            }
            Statement::Own { .. } => true,
        }
    }

    /// The text for so many rows.
    pub(super) fn sql(&self, rows: usize) -> String {
        let (table, columns, mode, key) = match self {
            Statement::Own { sql, .. } => return sql.clone(),
            Statement::Table { table, columns, mode, key } => (table, columns, mode, key),
        };
        let list = |names: &mut dyn Iterator<Item = &String>| -> String {
            names.map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
        };
        let tuples: Vec<String> =
            (0..rows).map(|row| placeholders(row * columns.len(), columns.len())).collect();
        let (names, tuples) = (list(&mut columns.iter()), tuples.join(", "));
        let insert = || format!("INSERT INTO {table} ({names}) VALUES {tuples}");
        match mode {
            WriteMode::Insert => insert(),
            WriteMode::Delete => format!("DELETE FROM {table} WHERE ({names}) IN ({tuples})"),
            WriteMode::Upsert => {
                let keys = list(&mut key.iter().map(|at| &columns[*at]));
                let others = columns.iter().enumerate().filter(|(at, _)| !key.contains(at));
                let set: Vec<String> =
                    others.map(|(_, column)| format!("{0} = EXCLUDED.{0}", quoted(column))).collect();
                let action = match set.is_empty() {
                    true => "NOTHING".to_owned(),
                    false => format!("UPDATE SET {}", set.join(", ")),
                };
                format!("{} ON CONFLICT ({keys}) DO {action}", insert())
            }
        }
    }
}

fn own_statement<'a>(
    settings: &'a PostgresSettings,
    sql: &str,
) -> Result<(Statement, Vec<Source<'a>>), SettingError> {
    let others = [
        ("table", settings.table.is_some()),
        ("columns", settings.columns.is_some()),
        ("mode", settings.mode != WriteMode::default()),
        ("key", !settings.key.is_empty()),
    ];
    if let Some((key, _)) = others.iter().find(|(_, is_set)| *is_set) {
        return Err(SettingError::at(key, "does not go with a `statement`, which has everything in itself"));
    }
    if sql.trim().is_empty() {
        return Err(SettingError::at("statement", "must not be empty"));
    }
    let parameters = settings.parameters.iter().map(|source| ("parameters".to_owned(), source.as_str()));
    let parameters: Vec<_> = parameters.collect();
    Ok((Statement::Own { sql: sql.to_owned(), parameters: parameters.len() }, parameters))
}

/// The places of the columns of the key.
fn key_places(settings: &PostgresSettings, names: &[String]) -> Result<Vec<usize>, SettingError> {
    match settings.mode {
        WriteMode::Insert if !settings.key.is_empty() => {
            return Err(SettingError::at("key", "goes with `mode = \"upsert\"` or `mode = \"delete\"`"));
        }
        WriteMode::Upsert | WriteMode::Delete if settings.key.is_empty() => {
            return Err(SettingError::at("mode", "needs a `key`: the columns that identify a row"));
        }
        _ => {}
    }
    let place = |column: &String| {
        names.iter().position(|name| name == column).ok_or_else(|| {
            SettingError::at("key", format!("`{column}` is not one of the `columns`: {}", names.join(", ")))
        })
    };
    settings.key.iter().map(place).collect()
}

fn placeholders(before: usize, count: usize) -> String {
    let numbers: Vec<String> = (1..=count).map(|at| format!("${}", before + at)).collect();
    format!("({})", numbers.join(", "))
}

/// A name as SQL has it, with its letters as they are.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn quoted_table(table: &str) -> Result<String, SettingError> {
    let parts: Vec<&str> = table.split('.').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) || table.contains('\0') {
        return Err(SettingError::at("table", "must be the name of a table, or SCHEMA.TABLE"));
    }
    Ok(parts.iter().map(|part| quoted(part)).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Result<Statement, SettingError> {
        let settings: PostgresSettings = toml::from_str(&format!("url = ''\n{text}")).expect("settings");
        Statement::new(&settings).map(|(statement, _)| statement)
    }

    fn check(text: &str, rows: usize, sql: &str) {
        assert_eq!(statement(text).expect(text).sql(rows), sql, "{text}");
    }

    #[test]
    fn a_mode_is_a_statement_for_any_number_of_rows() {
        check("table = 't'\ncolumns = ['a']", 1, r#"INSERT INTO "t" ("a") VALUES ($1)"#);
        check(
            "table = 's.T'\ncolumns = { a = 'x', 'b\"' = '{y}' }",
            2,
            r#"INSERT INTO "s"."T" ("a", "b""") VALUES ($1, $2), ($3, $4)"#,
        );
        check(
            "table = 't'\ncolumns = ['a', 'b', 'c']\nmode = 'upsert'\nkey = ['c', 'a']",
            1,
            r#"INSERT INTO "t" ("a", "b", "c") VALUES ($1, $2, $3) ON CONFLICT ("c", "a") DO UPDATE SET "b" = EXCLUDED."b""#,
        );
        check(
            "table = 't'\ncolumns = ['a']\nmode = 'upsert'\nkey = ['a']",
            1,
            r#"INSERT INTO "t" ("a") VALUES ($1) ON CONFLICT ("a") DO NOTHING"#,
        );
        check(
            "table = 't'\ncolumns = ['a', 'b', 'c']\nmode = 'delete'\nkey = ['c', 'a']",
            2,
            r#"DELETE FROM "t" WHERE ("c", "a") IN (($1, $2), ($3, $4))"#,
        );
        check("statement = 'select f($1)'\nparameters = ['a']", 1, "select f($1)");
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        for (text, key, why) in [
            ("", None, "name a `table`"),
            ("table = 't'", None, "name the `columns`"),
            ("table = 't'\ncolumns = []", Some("columns"), "at least one"),
            ("table = 't'\ncolumns = ['a', 'a']", Some("columns"), "stands twice"),
            ("table = 'a.b.c'\ncolumns = ['a']", Some("table"), "SCHEMA.TABLE"),
            ("table = 't'\ncolumns = ['a']\nkey = ['a']", Some("key"), "goes with"),
            ("table = 't'\ncolumns = ['a']\nmode = 'upsert'", Some("mode"), "needs a `key`"),
            ("table = 't'\ncolumns = ['a']\nmode = 'delete'\nkey = ['b']", Some("key"), "not one of"),
            ("statement = 'x'\ntable = 't'", Some("table"), "does not go with"),
            (
                "table = 't'\ncolumns = ['a']\nparameters = ['a']",
                Some("parameters"),
                "goes with a `statement`",
            ),
        ] {
            let error = statement(text).expect_err(text);
            assert_eq!(error.key.as_deref(), key, "{text}");
            assert!(error.message.contains(why), "{text}: {}", error.message);
        }
    }

    #[test]
    fn of_an_upsert_only_the_last_row_of_a_key_is_written() {
        let rows: Vec<Vec<Value>> = [(1, 1), (2, 1), (1, 2)].map(|(k, v)| vec![k.into(), v.into()]).to_vec();
        let rows: Vec<&[Value]> = rows.iter().map(Vec::as_slice).collect();
        let upsert = statement("table = 't'\ncolumns = ['k', 'v']\nmode = 'upsert'\nkey = ['k']");
        assert_eq!(upsert.expect("a statement").effective(&rows), [1, 2]);
        let insert = statement("table = 't'\ncolumns = ['k', 'v']").expect("a statement");
        assert_eq!(insert.effective(&rows), [0, 1, 2]);
        assert_eq!([insert.chunk(300), insert.chunk(255), insert.chunk(15)], [256, 16, 1]);
    }
}
