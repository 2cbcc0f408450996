//! What is wrong with the `config` table of a component or of a custom grouping, or with the table of a state.
//!
//! `serde` stops at the first mistake. The schema of the settings shows the others that can be
//! found without running the component's code: keys that do not exist, and keys that are missing.

use std::collections::BTreeSet;

use schemars::{Schema, SchemaGenerator};
use toml::de::DeValue;

use crate::topology::declare::texts::{Finding, Report, Span};
use crate::topology::declare::tree::{Node, follow};
use crate::topology::diagnostic::DIAGNOSTICS_MAX;
use crate::topology::registry::BuildError;
use crate::topology::suggest::{self, shown};

/// The scope of wrong settings.
pub(super) struct SettingsMistakes<'a, 't> {
    /// What they are of: `type `count``.
    pub what: &'a str,
    /// The schema of the settings.
    pub schema: &'a dyn Fn(&mut SchemaGenerator) -> Schema,
    /// `config of bolt `count``, or `state `totals``.
    pub subject: &'a str,
    /// The place of the key `config`, or of the component's id when there is none.
    pub key: Span,
    pub node: &'a Node<'t>,
}

impl SettingsMistakes<'_, '_> {
    /// Reports why the settings were refused.
    pub fn report(&self, error: BuildError, report: &mut Report) {
        match error {
            BuildError::Toml(error) => self.misfit(&error, report),
            BuildError::Unread(paths) => {
                let keys = self.schema().keys;
                paths
                    .iter()
                    .take(DIAGNOSTICS_MAX)
                    .for_each(|path| report.push(self.unknown(path, keys.iter())));
            }
            BuildError::Panicked(why) => {
                report.push(Finding::at(self.key.clone(), format!("{}: {why}", self.subject)));
            }
            BuildError::Setting(error) => {
                let span = error.key.as_deref().map_or(self.key.clone(), |key| self.value_span(key));
                report.push(Finding::at(span, format!("{}: {}", self.subject, error.message)));
            }
        }
    }

    /// The table does not fit the settings struct.
    fn misfit(&self, error: &toml::de::Error, report: &mut Report) {
        let message = &in_words_of_toml(error.message());
        let unknown = message.strip_prefix("unknown field `");
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let span = error.span().unwrap_or(self.key.clone());
        let top = span == self.node.span() || span == self.key;
        match (unknown, missing) {
            (Some(rest), _) => {
                let mut names = rest.split('`').step_by(2);
                let name = names.next().unwrap_or_default();
                let expected: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
                report.push(self.unknown_key(name, span, &expected));
            }
            (None, Some(name)) if top => report.push(self.missing(name)),
            (None, Some(name)) => {
                report.push(Finding::at(span, format!("{}: `{name}` is missing here", self.subject)));
            }
            (None, None) => {
                let help = names_secret_at(self.node, &span).then(|| NOT_A_SECRET.to_owned());
                let span = if top { self.key.clone() } else { span };
                report.push(Finding::at(span, format!("{}: {message}", self.subject)).help(help));
            }
        }
        self.more_of_the_same(report);
    }

    /// What else the schema shows. Repetitions are dropped when errors are sorted.
    fn more_of_the_same(&self, report: &mut Report) {
        let schema = self.schema();
        let Some(table) = self.node.get_ref().as_table() else { return };
        if report.is_full() {
            return;
        }
        if schema.is_closed {
            let unknown = table.iter().filter(|(key, _)| !schema.keys.contains(key.get_ref().as_ref()));
            for (key, _) in unknown.take(DIAGNOSTICS_MAX) {
                let expected: Vec<&str> = schema.keys.iter().map(String::as_str).collect();
                report.push(self.unknown_key(key.get_ref(), key.span(), &expected));
            }
        }
        for name in schema.required.iter().filter(|name| !table.contains_key(name.as_str())) {
            report.push(self.missing(name));
        }
    }

    fn missing(&self, name: &str) -> Finding {
        let message = format!("{} ({}) needs `{}`", self.subject, self.what, shown(name));
        Finding::at(self.key.clone(), message).label(Some(format!("`{}` is missing", shown(name)))).absence()
    }

    fn unknown<'n>(&self, path: &str, keys: impl Iterator<Item = &'n String>) -> Finding {
        let name = path.rsplit('.').next().unwrap_or(path);
        let span = follow(self.node, path).key.map_or(self.key.clone(), |key| key.span());
        let keys: Vec<&str> = if name == path { keys.map(String::as_str).collect() } else { Vec::new() };
        self.unknown_key(name, span, &keys)
    }

    fn unknown_key(&self, name: &str, span: Span, expected: &[&str]) -> Finding {
        let message = format!("unknown key `{}` in {} ({})", shown(name), self.subject, self.what);
        let help = match expected {
            [] => None,
            expected => suggest::help(name, expected.iter().copied(), "keys"),
        };
        Finding::at(span, message).label(Some("unknown key".to_owned())).help(help)
    }

    /// The place of the value that a setting error names.
    fn value_span(&self, path: &str) -> Span {
        let followed = follow(self.node, path);
        if followed.key.is_some() { followed.node.span() } else { self.key.clone() }
    }

    fn schema(&self) -> SettingsSchema {
        let schema = (self.schema)(&mut SchemaGenerator::default());
        let names = |value: Option<&serde_json::Value>| -> BTreeSet<String> {
            match value {
                Some(serde_json::Value::Object(map)) => map.keys().cloned().collect(),
                Some(serde_json::Value::Array(list)) => {
                    list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
                }
                _ => BTreeSet::new(),
            }
        };
        SettingsSchema {
            keys: names(schema.get("properties")),
            required: names(schema.get("required")),
            is_closed: schema
                .get("additionalProperties")
                .is_some_and(|open| *open == serde_json::json!(false))
                && schema.get("oneOf").is_none()
                && schema.get("anyOf").is_none(),
        }
    }
}

/// What to do about a `{ secret = "name" }` in another place than that of a secret.
const NOT_A_SECRET: &str = "this setting is no secret, so write its value: `{ secret = \"name\" }` goes where a setting is a \
                            secret, as `squall components TYPE` shows";

/// Whether `{ secret = "name" }` stands at this place, somewhere below a node.
fn names_secret_at(node: &Node<'_>, span: &Span) -> bool {
    match node.get_ref() {
        DeValue::Table(table) if node.span() == *span => {
            table.len() == 1 && table.get("secret").is_some_and(|node| node.get_ref().is_str())
        }
        DeValue::Table(table) => table.iter().any(|(_, node)| names_secret_at(node, span)),
        DeValue::Array(array) => array.iter().any(|node| names_secret_at(node, span)),
        _ => false,
    }
}

/// An error of `serde` without the names that Rust has for types.
fn in_words_of_toml(message: &str) -> String {
    let (before, expected) = match message.split_once(", expected ") {
        Some((before, expected)) => (before.to_owned(), expected),
        None => return message.to_owned(),
    };
    let found = [
        ("invalid type: sequence", "invalid type: an array"),
        ("invalid type: map", "invalid type: a table"),
    ];
    let before = found.iter().fold(before, |before, (rust, ours)| before.replacen(rust, ours, 1));
    let expected = match expected {
        "f32" | "f64" => "a number",
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" | "isize" => "a whole number",
        "a sequence" => "an array",
        "a map" => "a table",
        other => other,
    };
    format!("{before}, expected {expected}")
}

/// What a schema states about the keys of the table itself.
struct SettingsSchema {
    keys: BTreeSet<String>,
    required: BTreeSet<String>,
    /// Whether there can be no other keys.
    is_closed: bool,
}
