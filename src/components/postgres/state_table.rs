//! A table of totals: its columns and types, and its statements in SQL.
//!
//! ```text
//!   customer text  value bigint  prev bigint  txid bigint      prev: with `opaque`; txid: not with `non-transactional`
//!   ─ key ───────
//! ```
//!
//! 1. What tuples bring is kept exactly, or refused. So a key has only values of the type of its column: otherwise the
//!    number 5 and the text "5" would be one row. A sum of whole numbers is rounded if `double precision` has to keep it,
//!    because it is too late to refuse a tuple then.
//! 2. Keys and values go in and come out as text, many at once, in arrays; so one statement serves any number of them.

use schemars::JsonSchema;
use serde::Deserialize;
use smol_str::SmolStr;

use crate::api::{MapKey, Stored};
use crate::components::postgres::statement::quoted;
use crate::components::postgres::values::{ColumnKind, ColumnType, Parameter, shown};
use crate::config::StateMode;
use crate::tuple::Value;

/// The type of a column of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyColumn {
    /// For texts.
    #[default]
    Text,
    /// For whole numbers.
    Bigint,
    /// For bools.
    Boolean,
}

/// The type of the columns `value` and `prev`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ValueColumn {
    /// For whole numbers: counts, and sums of whole numbers.
    #[default]
    #[serde(rename = "bigint")]
    Bigint,
    /// For numbers.
    #[serde(rename = "double precision")]
    DoublePrecision,
    /// For texts, of `min` and `max`.
    #[serde(rename = "text")]
    Text,
}

/// Columns that every table may have.
pub(super) const OWN_COLUMNS: [&str; 3] = ["value", "prev", "txid"];

/// The place of a key in a call, in [`StateTable::get`].
pub(super) const PLACE_COLUMN: &str = "squall_place";

/// The most bytes of a key: the server has no row of an index above 2704 bytes, which is a third of a page.
const KEY_BYTES_MAX: usize = 2_600;

impl KeyColumn {
    fn sql(self) -> &'static str {
        match self {
            KeyColumn::Text => "text",
            KeyColumn::Bigint => "bigint",
            KeyColumn::Boolean => "boolean",
        }
    }

    fn takes(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (KeyColumn::Text, Value::Str(_))
                | (KeyColumn::Bigint, Value::I64(_))
                | (KeyColumn::Boolean, Value::Bool(_))
        )
    }

    fn column_type(self) -> ColumnType {
        ColumnType::named(match self {
            KeyColumn::Text => "text",
            KeyColumn::Bigint => "int8",
            KeyColumn::Boolean => "bool",
        })
    }
}

impl ValueColumn {
    fn sql(self) -> &'static str {
        match self {
            ValueColumn::Bigint => "bigint",
            ValueColumn::DoublePrecision => "double precision",
            ValueColumn::Text => "text",
        }
    }

    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (ValueColumn::Bigint, Value::I64(_))
            | (ValueColumn::DoublePrecision, Value::F64(_))
            | (ValueColumn::Text, Value::Str(_)) => true,
            (ValueColumn::DoublePrecision, Value::I64(_)) => value.as_f64().is_some(),
            _ => false,
        }
    }

    /// A total as the column keeps it: `double precision` rounds a whole number that it does not have.
    #[allow(clippy::cast_precision_loss, reason = "the column has no more digits")]
    fn kept(self, total: &Value) -> Value {
        match (self, total) {
            (ValueColumn::DoublePrecision, Value::I64(total)) => Value::F64(*total as f64),
            _ => total.clone(),
        }
    }

    fn column_type(self) -> ColumnType {
        ColumnType::named(match self {
            ValueColumn::Bigint => "int8",
            ValueColumn::DoublePrecision => "float8",
            ValueColumn::Text => "text",
        })
    }

    /// A value as the server writes it.
    fn read(self, text: &str) -> Option<Value> {
        match self {
            ValueColumn::Bigint => text.parse().ok().map(Value::I64),
            ValueColumn::DoublePrecision => text.parse().ok().map(Value::F64),
            ValueColumn::Text => Some(Value::str(text)),
        }
    }
}

/// A table of totals.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StateTable {
    /// Its name, quoted.
    pub(super) table: String,
    /// The columns of the key, with their types.
    pub(super) key: Vec<(SmolStr, KeyColumn)>,
    pub(super) value: ValueColumn,
    pub(super) mode: StateMode,
}

/// A column that a table has to have: its name, and the names that its type may have in `pg_type`.
pub(super) type Wanted<'a> = (&'a str, &'static [&'static str]);

impl StateTable {
    /// What is beside the key.
    fn others(&self) -> &'static [&'static str] {
        match self.mode {
            StateMode::NonTransactional => &OWN_COLUMNS[..1],
            StateMode::Transactional => &["value", "txid"],
            StateMode::Opaque => &OWN_COLUMNS,
        }
    }

    fn sql_of(&self, column: &str) -> &'static str {
        if column == "txid" { "bigint" } else { self.value.sql() }
    }

    fn key_names(&self, before: &str) -> String {
        let names = self.key.iter().map(|(name, _)| format!("{before}{}", quoted(name)));
        names.collect::<Vec<_>>().join(", ")
    }

    /// Makes the table.
    pub(super) fn create(&self) -> String {
        let key = self.key.iter().map(|(name, of)| format!("{} {} NOT NULL", quoted(name), of.sql()));
        let not_null = |column: &str| if column == "txid" { " NOT NULL" } else { "" };
        let others = self
            .others()
            .iter()
            .map(|column| format!("{column} {}{}", self.sql_of(column), not_null(column)));
        let columns = key.chain(others).collect::<Vec<_>>().join(", ");
        format!("CREATE TABLE {} ({columns}, PRIMARY KEY ({}))", self.table, self.key_names(""))
    }

    /// Of no rows, to look at the columns.
    pub(super) fn look(&self) -> String {
        format!("SELECT {}, {} FROM {} LIMIT 0", self.key_names(""), self.others().join(", "), self.table)
    }

    /// The columns of [`look`](StateTable::look).
    pub(super) fn wanted(&self) -> Vec<Wanted<'_>> {
        const TEXT: &[&str] = &["text", "varchar"];
        let key = self.key.iter().map(|(name, of)| {
            let types: &'static [&'static str] = match of {
                KeyColumn::Text => TEXT,
                KeyColumn::Bigint => &["int8"],
                KeyColumn::Boolean => &["bool"],
            };
            (name.as_str(), types)
        });
        let value: &'static [&'static str] = match self.value {
            ValueColumn::Bigint => &["int8"],
            ValueColumn::DoublePrecision => &["float8"],
            ValueColumn::Text => TEXT,
        };
        let others = self.others().iter().map(|column| match *column {
            "txid" => (*column, &["int8"][..]),
            column => (column, value),
        });
        key.chain(others).collect()
    }

    /// The rows of keys: for each that is there its place, from 1, and the value, the previous one and the batch, as text.
    pub(super) fn get(&self) -> String {
        let arrays: Vec<String> =
            self.key.iter().enumerate().map(|(at, (_, of))| format!("${}::{}[]", at + 1, of.sql())).collect();
        let same = self.key.iter().map(|(name, _)| format!("t.{0} = k.{0}", quoted(name)));
        let has = |column: &str| match self.others().contains(&column) {
            true => format!("t.{column}::text"),
            false => "NULL::text".to_owned(),
        };
        format!(
            "SELECT k.{PLACE_COLUMN}, t.value::text, {}, {} FROM unnest({}) WITH ORDINALITY AS k ({}, {PLACE_COLUMN}) \
             JOIN {} t ON {}",
            has("prev"),
            has("txid"),
            arrays.join(", "),
            self.key_names(""),
            self.table,
            same.collect::<Vec<_>>().join(" AND "),
        )
    }

    /// Puts rows.
    pub(super) fn put(&self) -> String {
        let key = self.key.iter().map(|(_, of)| of.sql());
        let types = key.chain(self.others().iter().map(|column| self.sql_of(column)));
        let arrays = types.enumerate().map(|(at, of)| format!("${}::{of}[]", at + 1)).collect::<Vec<_>>();
        let set = self.others().iter().map(|column| format!("{column} = EXCLUDED.{column}"));
        format!(
            "INSERT INTO {} ({}, {}) SELECT * FROM unnest({}) ON CONFLICT ({}) DO UPDATE SET {}",
            self.table,
            self.key_names(""),
            self.others().join(", "),
            arrays.join(", "),
            self.key_names(""),
            set.collect::<Vec<_>>().join(", "),
        )
    }

    /// Refuses what the columns cannot keep exactly.
    pub(super) fn check(&self, key: &[Value], value: &Value) -> Result<(), String> {
        for ((name, of), value) in self.key.iter().zip(key) {
            if !of.takes(value) {
                return Err(misfit(value, name, of.sql(), &format!("`key = {{ {name} = … }}` of the state")));
            }
            no_nul(value)?;
        }
        // A number, and what goes with a text, take no more than 16 bytes.
        let bytes: usize = key.iter().map(|value| value.as_str().map_or(0, str::len) + 16).sum();
        if bytes > KEY_BYTES_MAX {
            return Err(format!(
                "a key of {bytes} bytes is too long for an index of PostgreSQL, which takes {KEY_BYTES_MAX}: group by a \
                 shorter field, such as a hash or a part of this one"
            ));
        }
        if !self.value.takes(value) {
            return Err(misfit(value, "value", self.value.sql(), "`value` of the state"));
        }
        no_nul(value)
    }

    /// The parameters of [`get`](StateTable::get).
    ///
    /// # Errors
    /// As [`check`](StateTable::check).
    pub(super) fn keys(&self, keys: &[MapKey]) -> Result<Vec<Parameter>, String> {
        let column = |at: usize| keys.iter().map(move |key| key[at].clone());
        let arrays = self.key.iter().enumerate().map(|(at, (_, of))| array(of.column_type(), column(at)));
        arrays.collect()
    }

    /// The parameters of [`put`](StateTable::put).
    ///
    /// # Errors
    /// As [`check`](StateTable::check).
    pub(super) fn rows(&self, entries: &[(MapKey, Stored)]) -> Result<Vec<Parameter>, String> {
        let mut arrays = Vec::new();
        for (at, (_, of)) in self.key.iter().enumerate() {
            arrays.push(array(of.column_type(), entries.iter().map(|(key, _)| key[at].clone()))?);
        }
        for column in self.others() {
            let stored = entries.iter().map(|(_, stored)| stored);
            arrays.push(match *column {
                "value" => {
                    array(self.value.column_type(), stored.map(|stored| self.value.kept(&stored.value)))?
                }
                "prev" => {
                    array(self.value.column_type(), stored.map(|stored| self.value.kept(&stored.prev)))?
                }
                _ => array(ColumnType::named("int8"), stored.map(|stored| txid_value(stored.txid)))?,
            });
        }
        Ok(arrays)
    }

    /// What a row of [`get`](StateTable::get) has. `None`: it is not what squall has put.
    pub(super) fn stored(
        &self,
        value: Option<&str>,
        prev: Option<&str>,
        txid: Option<&str>,
    ) -> Option<Stored> {
        let read = |text: Option<&str>| text.map_or(Some(Value::Null), |text| self.value.read(text));
        let txid = txid.map(|text| text.parse::<i64>().ok()).map_or(Some(None), |txid| txid.map(Some))?;
        Some(Stored { value: read(value)?, prev: read(prev)?, txid: txid.map(i64::cast_unsigned) })
    }
}

fn txid_value(txid: Option<u64>) -> Value {
    txid.map_or(Value::Null, |txid| Value::I64(txid.cast_signed()))
}

fn array(item: ColumnType, values: impl Iterator<Item = Value>) -> Result<Parameter, String> {
    let of = ColumnType { name: format!("_{}", item.name), kind: ColumnKind::Array(Box::new(item)) };
    of.parameter(&Value::list(values))
}

fn misfit(value: &Value, column: &str, of: &str, setting: &str) -> String {
    let (value_type, value) = (value.value_type(), shown(value));
    format!(
        "a value of type {value_type} cannot be kept in the column `{column}` of type {of}: {value}; {setting} names the type"
    )
}

fn no_nul(value: &Value) -> Result<(), String> {
    match value.as_str().is_some_and(|text| text.contains('\0')) {
        true => Err(format!("PostgreSQL has no text with a NUL character, as in {}", shown(value))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(mode: StateMode) -> StateTable {
        let key = vec![("user".into(), KeyColumn::Text), ("n\"".into(), KeyColumn::Bigint)];
        StateTable { table: "\"totals\"".to_owned(), key, value: ValueColumn::Bigint, mode }
    }

    #[test]
    fn a_mode_decides_on_the_columns() {
        let create = |mode| table(mode).create();
        let key = r#""user" text NOT NULL, "n""" bigint NOT NULL"#;
        let primary = r#"PRIMARY KEY ("user", "n""")"#;
        assert_eq!(
            create(StateMode::Opaque),
            format!(
                "CREATE TABLE \"totals\" ({key}, value bigint, prev bigint, txid bigint NOT NULL, {primary})"
            )
        );
        assert_eq!(
            create(StateMode::Transactional),
            format!("CREATE TABLE \"totals\" ({key}, value bigint, txid bigint NOT NULL, {primary})")
        );
        assert_eq!(
            create(StateMode::NonTransactional),
            format!("CREATE TABLE \"totals\" ({key}, value bigint, {primary})")
        );
        assert_eq!(table(StateMode::Opaque).wanted()[4], ("txid", &["int8"][..]));
    }

    #[test]
    fn one_statement_serves_any_number_of_keys() {
        assert_eq!(
            table(StateMode::Transactional).get(),
            r#"SELECT k.squall_place, t.value::text, NULL::text, t.txid::text FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS k ("user", "n""", squall_place) JOIN "totals" t ON t."user" = k."user" AND t."n""" = k."n""""#
        );
        assert_eq!(
            table(StateMode::Opaque).put(),
            r#"INSERT INTO "totals" ("user", "n""", value, prev, txid) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) ON CONFLICT ("user", "n""") DO UPDATE SET value = EXCLUDED.value, prev = EXCLUDED.prev, txid = EXCLUDED.txid"#
        );
        let stored = Stored { value: Value::from(4), prev: Value::Null, txid: Some(2) };
        let entry = (vec![Value::from("a\"b"), Value::from(7)], stored.clone());
        let expected = [r#"{"a\"b"}"#, r#"{"7"}"#, r#"{"4"}"#, "{NULL}", r#"{"2"}"#];
        let rows = table(StateMode::Opaque).rows(&[entry]);
        assert_eq!(rows, Ok(expected.map(|text| Some(text.to_owned())).to_vec()));
        assert_eq!(table(StateMode::Opaque).stored(Some("4"), None, Some("2")), Some(stored));
        assert_eq!(table(StateMode::Opaque).stored(Some("four"), None, Some("2")), None);
    }

    /// Each tuple was taken, and their sum was refused by the column, again and again.
    #[test]
    fn a_sum_of_whole_numbers_is_rounded_by_double_precision() {
        let table = StateTable { value: ValueColumn::DoublePrecision, ..table(StateMode::Opaque) };
        let stored = Stored { value: Value::from((1_i64 << 53) + 1), prev: Value::from(3), txid: Some(2) };
        let rows = table.rows(&[(vec![Value::from("a"), Value::from(7)], stored)]);
        let rows = rows.unwrap_or_else(|error| panic!("{error}"));
        let read = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default().trim_matches(['{', '}', '"']);
            ValueColumn::DoublePrecision.read(text)
        };
        assert_eq!(
            [&rows[2], &rows[3]].map(read),
            [Some(Value::from(9_007_199_254_740_992.0)), Some(Value::from(3.0))]
        );
    }

    /// The server refused its row of the index, and the batch was put again for ever.
    #[test]
    fn a_key_that_is_too_long_for_an_index_is_refused() {
        let check = |bytes| {
            table(StateMode::Opaque).check(&[Value::from("x".repeat(bytes)), Value::from(7)], &Value::from(1))
        };
        assert_eq!(check(KEY_BYTES_MAX - 32), Ok(()));
        let error = check(KEY_BYTES_MAX - 31).expect_err("it is too long");
        assert!(error.contains("a key of 2601 bytes is too long"), "{error}");
    }

    #[test]
    fn what_a_column_cannot_keep_exactly_is_refused() {
        let table = table(StateMode::Opaque);
        let key = |user: Value, n: Value| table.check(&[user, n], &Value::from(1));
        assert_eq!(key(Value::from("a"), Value::from(7)), Ok(()));
        for (user, n, why) in [
            (Value::from(5), Value::from(7), "in the column `user` of type text"),
            (Value::from("a"), Value::from("7"), "in the column `n\"` of type bigint"),
            (Value::from("a"), Value::Null, "a value of type null cannot be kept"),
            (Value::from("a\0"), Value::from(7), "NUL"),
        ] {
            let error = key(user, n).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        let value = |of, value: Value| {
            StateTable { value: of, ..table.clone() }.check(&[Value::from("a"), Value::from(7)], &value)
        };
        assert!(value(ValueColumn::Bigint, Value::from(1.5)).is_err());
        assert_eq!(value(ValueColumn::DoublePrecision, Value::from(1.5)), Ok(()));
        assert_eq!(value(ValueColumn::DoublePrecision, Value::from(3)), Ok(()));
        assert!(value(ValueColumn::DoublePrecision, Value::from(i64::MAX)).is_err());
        assert_eq!(value(ValueColumn::Text, Value::from("x")), Ok(()));
        assert!(value(ValueColumn::Text, Value::from(1)).is_err());
    }
}
