//! `type = "postgres"` of `[state.NAME]`: totals in a table, which other programs read by plain SQL.
//!
//! The table is made if it is not there. Beside it, `squall_states` has what the bolt needs to know of itself: for each
//! table and task the lineage, the owner and the last batch, in the transaction of the batch.

use schemars::JsonSchema;
use serde::Deserialize;
use smol_str::SmolStr;

use crate::api::{BackingMap, MapOpening, StateStore, TaskError};
use crate::components::postgres::settings::{check_timeouts, connect_timeout, statement_timeout};
use crate::components::postgres::state_table::{
    KeyColumn, OWN_COLUMNS, PLACE_COLUMN, StateTable, ValueColumn,
};
use crate::components::postgres::statement::quoted_table;
use crate::components::settings::{Ordered, Period};
use crate::secrets::Secret;
use crate::topology::registry::SettingError;

/// Settings of [`PostgresState`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresStateSettings {
    /// Where the server is: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `host=… user=… dbname=…`. With a password in
    /// it, make it a secret, `{ secret = "totals-db" }`, or name a `password_file`: what stands in the document, also by
    /// `"${TOTALS_DB}"`, goes wherever the document goes. A secret is read at each connect. TLS is not supported. Required.
    pub url: Secret,
    /// A file whose first line is the password. It is read at each connect. Default: the password of `url`.
    #[serde(default)]
    pub password_file: Option<String>,
    /// The table that the totals are in: `"totals"`, or with a schema `"shop.totals"`. It is made if it is not there.
    /// Required.
    pub table: String,
    /// The types of the columns of the key, by the names of the fields: `"text"`, `"bigint"` or `"boolean"`. Default:
    /// `"text"` for each.
    #[serde(default)]
    pub key: Ordered<KeyColumn>,
    /// The type of the columns `value` and `prev`: `"bigint"`, `"double precision"` or `"text"`. Default: `"bigint"`.
    #[serde(default)]
    pub value: ValueColumn,
    /// How long connecting may take. Default: `"10s"`.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Period,
    /// How long the server may take for a statement. Default: `"30s"`.
    #[serde(default = "statement_timeout")]
    pub statement_timeout: Period,
}

/// The store `postgres`: a table. Each task has a connection of its own.
#[derive(Clone, Debug)]
pub struct PostgresState {
    settings: PostgresStateSettings,
    /// The table, quoted.
    table: String,
}

impl PostgresState {
    /// A store with these settings.
    ///
    /// # Errors
    /// When they are not what they should be.
    pub fn new(settings: PostgresStateSettings) -> Result<PostgresState, SettingError> {
        check_timeouts(settings.connect_timeout, settings.statement_timeout)?;
        check_url(&settings)?;
        let table = quoted_table(&settings.table)?;
        Ok(PostgresState { settings, table })
    }

    /// The table for a bolt.
    fn table(&self, opening: &MapOpening<'_>) -> StateTable {
        let of = |name: &SmolStr| {
            let found = self.settings.key.0.iter().find(|(field, _)| field == name.as_str());
            found.map_or_else(KeyColumn::default, |(_, of)| *of)
        };
        StateTable {
            table: self.table.clone(),
            key: opening.key.iter().map(|name| (name.clone(), of(name))).collect(),
            value: self.settings.value,
            mode: opening.mode,
        }
    }
}

#[cfg(feature = "postgres")]
fn check_url(settings: &PostgresStateSettings) -> Result<(), SettingError> {
    crate::components::postgres::client::server_in(&settings.url).map(drop)
}

/// Only the client knows what a URL is.
#[cfg(not(feature = "postgres"))]
fn check_url(_: &PostgresStateSettings) -> Result<(), SettingError> {
    Ok(())
}

/// Without the password. A table without a schema is looked for in `public`, unless the server is set up otherwise.
#[cfg(feature = "postgres")]
fn place(settings: &PostgresStateSettings, table: &str) -> Option<String> {
    use postgres::config::Host;

    let schema = if settings.table.contains('.') { "" } else { "\"public\"." };
    if let Some(name) = settings.url.name() {
        return Some(format!("the table {schema}{table} of the database that the secret `{name}` names"));
    }
    let server = crate::components::postgres::client::server_in(&settings.url).ok()??;
    let database = server.get_dbname().or(server.get_user()).unwrap_or_default();
    let host = |host: &Host| match host {
        Host::Tcp(host) => host.clone(),
        #[cfg(unix)]
        Host::Unix(directory) => directory.display().to_string(),
    };
    let hosts: Vec<String> = server.get_hosts().iter().map(host).collect();
    let ports: Vec<String> = server.get_ports().iter().map(u16::to_string).collect();
    let ports = if ports.is_empty() { "5432".to_owned() } else { ports.join(",") };
    Some(format!("the table {schema}{table} of the database {database} at {} port {ports}", hosts.join(",")))
}

/// Only the client knows what a URL is.
#[cfg(not(feature = "postgres"))]
fn place(_: &PostgresStateSettings, _: &str) -> Option<String> {
    None
}

#[cfg(feature = "postgres")]
fn open(
    settings: &PostgresStateSettings,
    table: StateTable,
    opening: &MapOpening<'_>,
) -> Result<Box<dyn BackingMap>, TaskError> {
    use crate::components::postgres::client::Reach;
    use crate::components::postgres::state_client::{ServerMap, UsedAs};

    let timeouts = (settings.connect_timeout, settings.statement_timeout);
    let reach = Reach::new((&settings.url, settings.password_file.as_ref()), timeouts, opening.task);
    let used_as = UsedAs { topology: opening.task.topology().to_owned(), name: opening.name.to_owned() };
    ServerMap::open(reach, table, used_as).map(|map| Box::new(map) as Box<dyn BackingMap>)
}

#[cfg(not(feature = "postgres"))]
fn open(
    _: &PostgresStateSettings,
    _: StateTable,
    _: &MapOpening<'_>,
) -> Result<Box<dyn BackingMap>, TaskError> {
    Err(TaskError::fatal(
        "squall was built without the Cargo feature `postgres`: build it by `cargo build --release --features postgres`",
    ))
}

impl StateStore for PostgresState {
    fn open(&self, opening: &MapOpening<'_>) -> Result<Box<dyn BackingMap>, TaskError> {
        open(&self.settings, self.table(opening), opening)
    }

    fn place(&self) -> Option<String> {
        place(&self.settings, &self.table)
    }

    fn check_key(&self, fields: &[SmolStr]) -> Result<(), String> {
        if let Some(own) = OWN_COLUMNS.iter().find(|own| fields.iter().any(|field| field == *own)) {
            return Err(format!(
                "a field of the key cannot be called `{own}`, because the table has a column of that name: give it another \
                 name by `project`"
            ));
        }
        if fields.iter().any(|field| field == PLACE_COLUMN) {
            return Err(format!(
                "a field of the key cannot be called `{PLACE_COLUMN}`, which squall's own statements use: give it another name \
                 by `project`"
            ));
        }
        if fields.iter().any(|field| field.contains('\0')) {
            return Err("PostgreSQL has no column whose name has a NUL character".to_owned());
        }
        match self.settings.key.keys().find(|name| !fields.iter().any(|field| field == name)) {
            Some(name) => Err(format!(
                "`key` has `{name}`, which is none of the fields of the key: {}",
                fields.join(", ")
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::declare::parse_str;
    use crate::topology::registry::Registry;

    /// What is wrong with a document, in which `from` is replaced.
    fn errors(from: &str, to: &str) -> String {
        let document = "[topology]\nname = 'shop'\ndelivery = 'exactly-once'\n\
             [state.paid]\ntype = 'postgres'\nurl = 'postgres://me:hush@localhost/db'\ntable = 'paid'\n\
             key = { customer = 'bigint' }\n\
             [spout.orders]\ntype = 'generate'\nconfig.fields = { customer = '{seq}', value = '1' }\n\
             [bolt.paid]\ntype = 'aggregate'\nparallelism = 2\n\
             inputs = [{ from = 'orders', fields = ['customer'] }]\n\
             config = { state = 'paid', by = ['customer'], function = 'count' }\n";
        assert!(document.contains(from), "{from}");
        let mut registry = Registry::with_standard();
        registry.assume_compiled_in();
        let errors = parse_str("shop.toml", &document.replacen(from, to, 1), &registry).err();
        let errors = errors.map(|errors| errors.render(false)).unwrap_or_default();
        assert!(!errors.contains("hush"), "{errors}");
        errors
    }

    #[test]
    fn wrong_settings_are_refused_and_no_password_is_shown() {
        assert_eq!(errors("", ""), "");
        for (from, to, expected) in [
            (
                "table = 'paid'",
                "table = 'a.b.c'",
                "state `paid`: must be the name of a table, or SCHEMA.TABLE",
            ),
            ("table = 'paid'\n", "", "state `paid` (type `postgres`) needs `table`"),
            ("'bigint'", "'numeric'", "`numeric`"),
            ("key = { customer =", "key = { custmer =", "`key` has `custmer`, which is none of the fields"),
            ("by = ['customer']", "by = ['customer', 'value']", "cannot be called `value`"),
            ("key = ", "connect_timeout = '0s'\nkey = ", "must be from 1ms"),
            ("table = 'paid'", "tabel = 'paid'", "did you mean `table`?"),
            ("by = ['customer']", "by = ['customer', 'squall_place']", "cannot be called `squall_place`"),
        ] {
            let errors = errors(from, to);
            assert!(errors.contains(expected), "{to}: no {expected:?} in\n{errors}");
        }
    }

    /// Two totals in one table overwrote each other.
    #[cfg(feature = "postgres")]
    #[test]
    fn two_states_in_one_table_are_refused() {
        let two = |url: &str, table: &str| {
            let second =
                format!("[state.again]\ntype = 'postgres'\nurl = '{url}'\ntable = '{table}'\n[spout.orders]");
            errors("[spout.orders]", &second)
        };
        for (url, table) in [
            ("postgres://me:hush@localhost/db", "paid"),
            ("postgres://other@localhost:5432/db", "public.paid"),
            ("host=localhost user=me dbname=db", "paid"),
        ] {
            let errors = two(url, table);
            let expected =
                "state `again` is in the table \"public\".\"paid\" of the database db at localhost port 5432";
            assert!(errors.contains(expected), "{errors}");
        }
        for (url, table) in [
            ("postgres://me@localhost/other", "paid"),
            ("postgres://me@localhost:5433/db", "paid"),
            ("postgres://me@localhost/db", "shop.paid"),
        ] {
            assert!(!two(url, table).contains("is in the table"), "{url} {table}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_url_that_is_a_secret_is_known_by_its_name() {
        let named = "[state.paid]\ntype = 'postgres'\nurl = { secret = 'shop' }\n";
        let plain = "[state.paid]\ntype = 'postgres'\nurl = 'postgres://me:hush@localhost/db'\n";
        assert_eq!(errors(plain, named), "");
        let two = |secret: &str, table: &str| {
            let second = format!(
                "[state.again]\ntype = 'postgres'\nurl = {{ secret = '{secret}' }}\ntable = '{table}'\n{named}"
            );
            errors(plain, &second)
        };
        let expected = "is in the table \"public\".\"paid\" of the database that the secret `shop` names";
        assert!(two("shop", "paid").contains(expected), "{}", two("shop", "paid"));
        assert!(!two("other", "paid").contains("is in the table"));
        assert!(!two("shop", "other").contains("is in the table"));
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn urls_that_cannot_work_are_refused() {
        let url = "postgres://me:hush@localhost/db";
        assert!(errors(url, &format!("{url}?sslmode=require")).contains("asks for TLS"));
        assert!(errors(url, "user=me").contains("names no host"));
    }

    #[cfg(not(feature = "postgres"))]
    #[test]
    fn a_program_without_the_feature_says_how_to_build_it() {
        let document =
            "[topology]\nname = 'shop'\n[state.paid]\ntype = 'postgres'\nurl = ''\ntable = 'paid'\n";
        let errors = parse_str("shop.toml", document, &Registry::with_standard()).err();
        let errors = errors.map(|errors| errors.render(false)).unwrap_or_default();
        assert!(errors.contains("build squall by `cargo build --release --features postgres`"), "{errors}");
    }
}
