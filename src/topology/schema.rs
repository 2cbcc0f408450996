//! The JSON schemas of topology documents and of the engine's file, for editors.
//!
//! squall's own keys come from the tables that also read them (`declare::keys`), components'
//! settings from their structs. A component is one of the registered types, selected by the
//! constant in `type`, so that an editor completes the settings of the right one.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::config::StateMode;
use crate::config::limits::{COMPONENTS_MAX, INPUTS_MAX, STATES_MAX};
use crate::topology::declare::DELIVERIES;
use crate::topology::declare::component_keys;
use crate::topology::declare::engine_keys::ENGINE;
use crate::topology::declare::keys::{self, Key, Shape};
use crate::topology::registry::{ComponentType, GroupingType, Kind, Registry, StateType};

/// What names of topologies and components look like; `__` is the system's.
const NAME: &str = "^(?!__)[A-Za-z0-9_.-]{1,64}$";

/// The schema of documents whose components are of these types.
pub fn document_schema(registry: &Registry) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let spouts = components(registry, Kind::Spout, &mut generator);
    let bolts = components(registry, Kind::Bolt, &mut generator);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "squall topology",
        "type": "object",
        "properties": {
            "topology": object(keys::TOPOLOGY.iter(), &["name"], "Options of the whole topology."),
            "state": states(registry, &mut generator),
            "spout": spouts,
            "bolt": bolts,
        },
        "additionalProperties": false,
    });
    let definitions = generator.take_definitions(true);
    if !definitions.is_empty() {
        schema["$defs"] = Value::Object(definitions);
    }
    schema
}

/// The schema of the engine's file, `squall.toml`.
pub fn engine_schema() -> Value {
    let mut schema = object(ENGINE.iter(), &[], "How this installation of squall runs topologies.");
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("squall engine");
    schema
}

/// The options of `[state]`, and stores outside of squall by their names.
fn states(registry: &Registry, generator: &mut SchemaGenerator) -> Value {
    let description = "Where what bolts keep by key is, and stores outside of squall, by name.";
    let mut schema = object(keys::STATE.iter(), &[], description);
    let variants: Vec<Value> = registry.states().map(|known| state(known, generator)).collect();
    if !variants.is_empty() {
        schema["additionalProperties"] = json!({ "oneOf": variants });
        schema["maxProperties"] = json!(keys::STATE.len() + STATES_MAX);
    }
    schema
}

fn state(known: &StateType, generator: &mut SchemaGenerator) -> Value {
    let mut schema = known.schema(generator).to_value();
    let mode = "What is stored beside a value, so that a batch that comes again is counted once. Default: \"opaque\".";
    let own = json!({
        "type": { "const": known.name, "description": known.summary },
        "mode": { "enum": StateMode::NAMES, "description": mode },
    });
    let mut properties = own.as_object().cloned().unwrap_or_default();
    properties.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    schema["properties"] = Value::Object(properties);
    let mut required = vec![json!("type")];
    required.extend(schema["required"].as_array().cloned().unwrap_or_default());
    schema["required"] = Value::Array(required);
    schema["description"] = json!(known.summary);
    schema
}

fn components(registry: &Registry, kind: Kind, generator: &mut SchemaGenerator) -> Value {
    let types = registry.components().filter(|known| known.kind == kind);
    let inputs = inputs(registry, generator);
    let variants: Vec<Value> = types.map(|known| component(known, &inputs, generator)).collect();
    // An empty `oneOf` is no schema; without any type nothing fits.
    let one = if variants.is_empty() { Value::Bool(false) } else { json!({ "oneOf": variants }) };
    json!({
        "type": "object",
        "description": format!("The {kind}s of the topology, by id."),
        "propertyNames": { "pattern": NAME },
        "additionalProperties": one,
        "maxProperties": COMPONENTS_MAX,
    })
}

fn component(known: &ComponentType, inputs: &Value, generator: &mut SchemaGenerator) -> Value {
    let config = known.schema(generator).to_value();
    let needs_config = config["required"].as_array().is_some_and(|required| !required.is_empty());
    let mut required = vec!["type"];
    required.extend((known.kind == Kind::Bolt).then_some("inputs"));
    required.extend(needs_config.then_some("config"));
    let keys = component_keys::component(known.kind).iter().copied();
    let mut schema = object(keys, &required, &known.summary);
    schema["properties"]["type"] = json!({ "const": known.name, "description": known.summary });
    schema["properties"]["config"] = config;
    if known.kind == Kind::Bolt {
        let description = schema["properties"]["inputs"]["description"].take();
        schema["properties"]["inputs"] = inputs.clone();
        schema["properties"]["inputs"]["description"] = description;
    }
    schema
}

fn object<'a, O: 'static>(
    keys: impl Iterator<Item = &'a Key<O>>,
    required: &[&str],
    description: &str,
) -> Value {
    let properties: Map<String, Value> = keys.map(|key| (key.name().to_owned(), value(key))).collect();
    let mut schema = json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn value<O: 'static>(key: &Key<O>) -> Value {
    let count = |min: u32, max: u32| json!({ "type": "integer", "minimum": min, "maximum": max });
    let mut schema = match &key.shape {
        Shape::Switch(_) => json!({ "type": "boolean" }),
        Shape::Count(min, max, _) => count(*min, *max),
        Shape::CountOrOff(min, max, _) => json!({ "oneOf": [count(*min, *max), { "const": "off" }] }),
        Shape::AutoOrCount(min, max, _) => json!({ "oneOf": [count(*min, *max), { "const": "auto" }] }),
        Shape::Period(_) => json!({ "type": "string", "examples": ["500ms", "30s", "2m"] }),
        Shape::PeriodOrOff(_) => json!({ "type": "string", "examples": ["500ms", "30s", "2m", "off"] }),
        Shape::Size(_) => json!({ "type": "string", "examples": ["512KiB", "64MiB"] }),
        Shape::AutoOrSize(_) => json!({ "type": "string", "examples": ["512KiB", "64MiB", "auto"] }),
        Shape::Text(_, _) => json!({ "type": "string", "minLength": 1 }),
        Shape::OneOf(words, _) => json!({ "enum": words }),
        Shape::Decimal(max, _) => json!({ "type": "number", "minimum": 0, "maximum": max }),
        Shape::Names(_) => names(),
        Shape::Groups(_) => json!({ "type": "array", "items": names() }),
        Shape::Free(_) => json!({ "type": "object" }),
        Shape::Nested(inner) => object(inner.iter(), &[], key.doc),
        Shape::Special => special(key.name()),
    };
    schema["description"] = json!(format!("{} Default: {}.", key.doc, key.default));
    schema
}

fn names() -> Value {
    json!({ "type": "array", "items": { "type": "string", "minLength": 1 } })
}

/// Keys that are read by code of their own.
fn special(name: &str) -> Value {
    match name {
        "name" => json!({ "type": "string", "pattern": format!("{NAME}|\\$") }),
        "delivery" => json!({ "enum": DELIVERIES }),
        "include" => json!({ "type": "array", "items": { "type": "string", "minLength": 1 } }),
        "hooks" => json!({ "type": "array", "items": { "type": "string" } }),
        // `type`, `config` and `inputs` depend on what is registered and are filled in there.
        _ => json!({}),
    }
}

fn inputs(registry: &Registry, generator: &mut SchemaGenerator) -> Value {
    json!({
        "type": "array",
        "minItems": 1,
        "maxItems": INPUTS_MAX,
        "items": { "oneOf": [{ "type": "string" }, input(registry, generator)] },
    })
}

fn input(registry: &Registry, generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": "string" });
    let mut properties = Map::new();
    for (name, doc) in keys::INPUT {
        let mut schema = match *name {
            "grouping" => json!({ "enum": keys::GROUPINGS }),
            "fields" => json!({ "type": "array", "items": text, "minItems": 1 }),
            "feedback" => json!({ "type": "boolean" }),
            "config" => json!({ "type": "object" }),
            _ => text.clone(),
        };
        schema["description"] = json!(doc);
        properties.insert((*name).to_owned(), schema);
    }
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "required": ["from"],
        "additionalProperties": false,
    });
    // The settings are those of the grouping that is named.
    let by_grouping: Vec<Value> =
        registry.custom_groupings().map(|known| settings_of(known, generator)).collect();
    if !by_grouping.is_empty() {
        schema["allOf"] = Value::Array(by_grouping);
    }
    schema
}

fn settings_of(known: &GroupingType, generator: &mut SchemaGenerator) -> Value {
    let config = known.schema(generator).to_value();
    let needs_config = config["required"].as_array().is_some_and(|required| !required.is_empty());
    let mut then = json!({ "properties": { "config": config } });
    if needs_config {
        then["required"] = json!(["config"]);
    }
    json!({
        "if": { "properties": { "custom": { "const": known.name } }, "required": ["custom"] },
        "then": then,
    })
}
