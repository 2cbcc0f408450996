//! The settings of a component type as rows of a table, taken from their JSON schema.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::topology::registry::ComponentType;

/// How deep references between definitions are followed; recursive settings end there.
const DEPTH_MAX: usize = 8;

/// One setting of a component.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    /// Its key in the `config` table.
    pub(super) name: String,
    /// The values that it may have, in the terms of TOML.
    pub(super) kind: String,
    /// Whether it must be given.
    pub(super) required: bool,
    /// Its default, if the schema has one.
    pub(super) default: Option<Value>,
    /// Its description.
    pub(super) description: String,
}

/// The JSON schema of the settings, complete with its definitions.
pub(super) fn schema_of(component: &ComponentType) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = component.schema(&mut generator);
    let definitions = generator.take_definitions(true);
    if !definitions.is_empty() {
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema.to_value()
}

/// The settings that a schema describes, in the order of declaration.
pub(super) fn settings_of(schema: &Value) -> Vec<Setting> {
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut reader = Reader { definitions, settings: Vec::new() };
    reader.collect(schema, true, DEPTH_MAX);
    reader.settings
}

struct Reader {
    definitions: Map<String, Value>,
    settings: Vec<Setting>,
}

impl Reader {
    /// Collects the properties of an object schema and of the schemas that it combines. A property of one
    /// of several alternatives is not required.
    fn collect(&mut self, schema: &Value, always: bool, depth: usize) {
        if depth == 0 {
            return;
        }
        let schema = self.resolve(schema).clone();
        let required: BTreeSet<&str> =
            list(&schema, "required").iter().filter_map(Value::as_str).filter(|_| always).collect();
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, property) in properties {
            if !self.settings.iter().any(|known| known.name == *name) {
                let setting = self.setting(name, property, required.contains(name.as_str()));
                self.settings.push(setting);
            }
        }
        for (key, always) in [("allOf", always), ("anyOf", false), ("oneOf", false)] {
            for part in list(&schema, key) {
                self.collect(part, always, depth - 1);
            }
        }
    }

    fn setting(&self, name: &str, property: &Value, required: bool) -> Setting {
        let resolved = self.resolve(property);
        let own_or_resolved = |key| property.get(key).or_else(|| resolved.get(key));
        let description = own_or_resolved("description").and_then(Value::as_str).unwrap_or_default();
        Setting {
            name: name.to_owned(),
            kind: self.kind(property, DEPTH_MAX),
            required,
            default: own_or_resolved("default").filter(|default| !default.is_null()).cloned(),
            description: description.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..DEPTH_MAX {
            let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { break };
            let name = reference.trim_start_matches("#/$defs/");
            let Some(definition) = self.definitions.get(name) else { break };
            schema = definition;
        }
        schema
    }

    /// The values that a schema allows: `string`, `list of integer`, `"a" | "b"`, …; empty for null,
    /// which a TOML document cannot contain.
    fn kind(&self, schema: &Value, depth: usize) -> String {
        let schema = self.resolve(schema);
        if depth == 0 {
            return "any".to_owned();
        }
        if let Some(constant) = schema.get("const") {
            return constant.to_string();
        }
        let alternatives: Vec<String> = list(schema, "enum").iter().map(Value::to_string).collect();
        if !alternatives.is_empty() {
            return alternatives.join(" | ");
        }
        let parts = ["anyOf", "oneOf", "allOf"].into_iter().flat_map(|key| list(schema, key));
        let kinds = unique(parts.map(|part| self.kind(part, depth - 1)));
        if !kinds.is_empty() {
            return kinds.join(" | ");
        }
        let types = match schema.get("type") {
            Some(Value::Array(types)) => types.clone(),
            Some(one) => vec![one.clone()],
            None => Vec::new(),
        };
        if types.is_empty() {
            return "any".to_owned();
        }
        let names = types.iter().filter_map(Value::as_str).map(|name| self.named(name, schema, depth));
        unique(names).join(" | ")
    }

    fn named(&self, type_name: &str, schema: &Value, depth: usize) -> String {
        match (type_name, schema.get("items"), schema.get("format").and_then(Value::as_str)) {
            ("null", _, _) => String::new(),
            ("boolean", _, _) => "bool".to_owned(),
            ("object", _, _) => "table".to_owned(),
            ("array", Some(items), _) => format!("list of {}", self.kind(items, depth - 1)),
            ("array", None, _) => "list".to_owned(),
            ("string", _, Some(format)) => format!("string ({format})"),
            (other, _, _) => other.to_owned(),
        }
    }
}

/// Alternatives without repetition and without empty ones, which stand for null.
fn unique(kinds: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for kind in kinds {
        if !kind.is_empty() && !seen.contains(&kind) {
            seen.push(kind);
        }
    }
    seen
}

fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::api::{Bolt, Input, Outputs, TaskError};
    use crate::topology::registry::Registry;

    #[derive(Clone, Copy, Default, Deserialize, JsonSchema, serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Order {
        #[default]
        First,
        LastOfAll,
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    struct Settings {
        /// Which field,
        /// by name.
        field: String,
        #[serde(default = "ten")]
        limit: u32,
        #[serde(default)]
        order: Order,
        names: Option<Vec<String>>,
        again: Option<Order>,
        #[serde(default)]
        extra: BTreeMap<String, bool>,
    }

    fn ten() -> u32 {
        10
    }

    struct Sink;
    impl Bolt for Sink {
        fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
            Ok(())
        }
    }

    #[test]
    fn a_struct_becomes_rows_in_the_order_of_its_fields() {
        let mut registry = Registry::new();
        registry.bolt("sink", "Drops.", |_: &Settings| Ok(Sink));
        let settings = settings_of(&schema_of(registry.component("sink").unwrap()));
        let rows: Vec<_> = settings
            .iter()
            .map(|s| (s.name.as_str(), s.kind.as_str(), s.required, s.default.clone()))
            .collect();
        assert_eq!(
            rows,
            [
                ("field", "string", true, None),
                ("limit", "integer", false, Some(json!(10))),
                ("order", r#""first" | "last-of-all""#, false, Some(json!("first"))),
                ("names", "list of string", false, None),
                ("again", r#""first" | "last-of-all""#, false, None),
                ("extra", "table", false, Some(json!({}))),
            ]
        );
        assert_eq!(settings[0].description, "Which field, by name.");
    }

    #[test]
    fn alternatives_are_not_required_and_recursion_ends() {
        let schema = json!({
            "$defs": {"Tree": {"properties": {"left": {"$ref": "#/$defs/Tree"}}, "allOf": [{"$ref": "#/$defs/Tree"}]}},
            "oneOf": [{"properties": {"a": {"type": "boolean"}}, "required": ["a"]}, {"$ref": "#/$defs/Tree"}],
        });
        let rows: Vec<_> = settings_of(&schema).into_iter().map(|s| (s.name, s.kind, s.required)).collect();
        let row = |name: &str, kind: &str| (name.to_owned(), kind.to_owned(), false);
        assert_eq!(rows, [row("a", "bool"), row("left", "any")]);
    }
}
