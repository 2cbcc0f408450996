//! Which secrets a document names, and where: each `{ secret = "name" }` in a place of the settings where their schema
//! has a [`Secret`](crate::secrets::Secret).
//!
//! The settings were read already, so what stands in such a place is right. The schema is needed because a table with a
//! key `secret` is something else elsewhere: a column of that name, for example. Settings whose schema was written by
//! hand, without the mark of a secret, name secrets that are not found here. Then nobody looks for them before the
//! component is opened.

use std::collections::HashSet;

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value};
use toml::de::DeValue;

use crate::secrets::{SECRET_MARK, SecretName};
use crate::topology::declare::texts::Span;
use crate::topology::declare::tree::{Node, in_order};

/// The name of a secret in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedSecret {
    pub name: SecretName,
    /// The place of `{ secret = "name" }`.
    pub span: Span,
}

/// The secrets that settings name. `schema`: that of the settings.
pub(super) fn named_secrets(
    settings: &Node<'_>,
    schema: impl Fn(&mut SchemaGenerator) -> Schema,
) -> Vec<NamedSecret> {
    // Most settings name none, and schemas take time.
    if !has_table_with_secret(settings) {
        return Vec::new();
    }
    let mut generator = SchemaGenerator::default();
    let schema = schema(&mut generator).to_value();
    let search = Search { definitions: generator.take_definitions(true) };
    let mut found = Vec::new();
    search.in_node(settings, vec![&schema], &mut found);
    found
}

fn has_table_with_secret(node: &Node<'_>) -> bool {
    match node.get_ref() {
        DeValue::Table(table) => {
            table.contains_key("secret") || table.iter().any(|(_, node)| has_table_with_secret(node))
        }
        DeValue::Array(array) => array.iter().any(has_table_with_secret),
        _ => false,
    }
}

/// Where references of schemas lead.
struct Search {
    definitions: Map<String, Value>,
}

impl Search {
    /// Goes down a tree together with the schemas that it may fit. The depth of the tree is bounded.
    fn in_node<'s>(&'s self, node: &Node<'_>, schemas: Vec<&'s Value>, found: &mut Vec<NamedSecret>) {
        let schemas = self.alternatives(schemas);
        match node.get_ref() {
            DeValue::Table(table) => {
                let is_marked = schemas.iter().any(|schema| schema[SECRET_MARK] == true);
                let name = table.get("secret").and_then(|node| node.get_ref().as_str()?.parse().ok());
                if let (true, Some(name)) = (is_marked, name) {
                    return found.push(NamedSecret { name, span: node.span() });
                }
                for (key, node) in in_order(table) {
                    let of_key = schemas.iter().flat_map(|schema| of_property(schema, key.get_ref()));
                    self.in_node(node, of_key.collect(), found);
                }
            }
            DeValue::Array(array) => {
                for (at, node) in array.iter().enumerate() {
                    let of_item =
                        schemas.iter().flat_map(|schema| [&schema["items"], &schema["prefixItems"][at]]);
                    self.in_node(node, of_item.collect(), found);
                }
            }
            _ => {}
        }
    }

    /// These schemas and all that they are put together of, each once.
    fn alternatives<'s>(&'s self, mut schemas: Vec<&'s Value>) -> Vec<&'s Value> {
        let mut known: HashSet<*const Value> = HashSet::new();
        let mut alternatives = Vec::new();
        while let Some(schema) = schemas.pop() {
            if !schema.is_object() || !known.insert(std::ptr::from_ref(schema)) {
                continue;
            }
            let parts = ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema[*key].as_array());
            schemas.extend(parts.flatten());
            let named = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
            schemas.extend(named.and_then(|name| self.definitions.get(name)));
            alternatives.push(schema);
        }
        alternatives
    }
}

/// The schemas that the value of a key of a table may fit.
fn of_property<'s>(schema: &'s Value, key: &str) -> Vec<&'s Value> {
    match schema["properties"].get(key) {
        Some(property) => vec![property],
        None => {
            let patterns = schema["patternProperties"].as_object().into_iter().flat_map(Map::values);
            patterns.chain([&schema["additionalProperties"]]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use toml::Spanned;
    use toml::de::DeTable;

    use super::*;
    use crate::components::settings::{OneOrMany, Ordered};
    use crate::secrets::Secret;

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Settings {
        url: Secret,
        proxy: Option<Secret>,
        tokens: Vec<Secret>,
        one: OneOrMany<Secret>,
        by_name: BTreeMap<String, Secret>,
        columns: Ordered<String>,
        server: Option<Box<Server>>,
        store: Store,
        #[serde(flatten)]
        more: More,
        pair: (String, Secret),
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Server {
        key: Secret,
        secret: String,
        behind: Option<Box<Server>>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(tag = "type", rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Store {
        InMemory,
        Remote { password: Secret },
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct More {
        extra: Secret,
    }

    fn check(text: &str, expected: &[&str]) {
        let table = DeTable::parse(text).expect(text);
        let node = Spanned::new(0..text.len(), DeValue::Table(table.into_inner()));
        let found = named_secrets(&node, Settings::json_schema);
        let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, expected, "{text}");
        for NamedSecret { name, span } in found {
            assert!(text[span].contains(&format!("secret = '{name}'")), "{text}");
        }
    }

    #[test]
    fn secrets_are_found_wherever_a_setting_may_be_one() {
        check("url = { secret = 'a' }", &["a"]);
        check("proxy = { secret = 'a' }", &["a"]);
        check("url = { secret = 'a' }\nproxy = { secret = 'a' }", &["a", "a"]);
        check("tokens = ['plain', { secret = 'a' }, { secret = 'b' }]", &["a", "b"]);
        check("one = { secret = 'a' }", &["a"]);
        check("one = [{ secret = 'a' }]", &["a"]);
        check("by_name = { x = { secret = 'a' }, secret = { secret = 'b' } }", &["a", "b"]);
        check("server = { key = { secret = 'a' }, behind.key = { secret = 'b' } }", &["a", "b"]);
        check("store = { type = 'remote', password = { secret = 'a' } }", &["a"]);
        check("extra = { secret = 'a' }", &["a"]);
        check("pair = ['x', { secret = 'a' }]", &["a"]);
    }

    #[test]
    fn a_key_of_that_name_elsewhere_is_none() {
        check("columns = { secret = 'a' }", &[]);
        check("server = { secret = 'a' }", &[]);
        check("unknown = { secret = 'a' }", &[]);
        check("secret = 'a'", &[]);
    }
}
