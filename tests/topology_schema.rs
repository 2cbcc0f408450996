//! The JSON schema: it accepts what the reader accepts, points at what it does not, and every key
//! in it is documented.

mod topology_kit;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use squall::prelude::Registry;
use squall::topology::declare::{MemorySource, load};
use squall::topology::schema::{document_schema, engine_schema};

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The documents of a directory.
fn documents(name: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory(name)).expect("the directory is part of the repository");
    let paths = entries.map(|entry| entry.expect("its entries can be listed").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("documents are UTF-8");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// What the schema has against a document.
fn refusals(schema: &Value, document: &str) -> Vec<String> {
    let value: toml::Table = document.parse().expect("it is TOML");
    let value = serde_json::to_value(value).expect("TOML is JSON but for dates");
    let validator = jsonschema::validator_for(schema).expect("the schema is a schema");
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_accepts_a_document_with_every_key_and_so_does_the_reader() {
    let registry = topology_kit::registry();
    let schema = document_schema(&registry);
    let documents = documents("tests/fixtures");
    assert!(!documents.is_empty());
    for (path, text) in documents {
        assert_eq!(refusals(&schema, &text), [""; 0], "{}", path.display());
        let source = MemorySource::new().file("fixture", text);
        load(&source, "fixture", &registry, &[]).unwrap();
    }
}

#[test]
fn the_schema_accepts_every_topology_that_is_shipped() {
    let registry = Registry::with_standard();
    let schema = document_schema(&registry);
    let documents = documents("topologies");
    let components = registry.components().count();
    assert_eq!(documents.is_empty(), components == 0, "ready-made components are shown in topologies/");
    for (path, text) in documents {
        assert_eq!(refusals(&schema, &text), [""; 0], "{}", path.display());
    }
}

#[test]
fn the_fixtures_have_every_key_of_the_schema() {
    let schema = document_schema(&topology_kit::registry());
    let text: String = documents("tests/fixtures").into_iter().map(|(_, text)| text).collect();
    let keys = keys(&schema);
    assert!(keys.len() > 40, "only {} keys were found in the schema", keys.len());
    for key in keys {
        assert!(text.contains(&key), "`{key}` is in no fixture");
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = document_schema(&topology_kit::registry());
    let check_in = |fixture: &str, from: &str, to: &str| {
        let text = fs::read_to_string(directory("tests/fixtures").join(fixture)).expect("it is there");
        assert!(text.contains(from), "{from}");
        assert_ne!(refusals(&schema, &text.replacen(from, to, 1)), [""; 0], "{to}");
    };
    let check = |from: &str, to: &str| check_in("every_key.toml", from, to);
    check("name = \"every-key\"", "");
    check("name = \"every-key\"", "name = \"every key\"");
    check("batch = 100", "bach = 100");
    check("batch = 100", "batch = 0");
    check("at-least-once", "exactly-twice");
    check("workers = 3", "workers = 0");
    check("ackers = 2", "ackers = \"many\"");
    check("type = \"print\"", "type = \"prnit\"");
    check("[bolt.sink]", "[bolt.\"a sink\"]");
    check("[bolt.sink]", "[bolts.sink]");
    check("follow = true", "folow = true");
    check("path = ", "pth = ");
    check("grouping = \"all\"", "grouping = \"every\"");
    check("inputs = [\"lines\"]", "inputs = []");
    check("type = \"shelf\"", "type = \"shelves\"");
    check("mode = \"transactional\"", "mode = \"exact\"");
    check("room = ", "rom = ");
    check("room = \"3.14\"", "");
    check("hooks = [\"audit\"]", "hooks = \"audit\"");
    check("config = { tasks = 2 }", "config = { tsaks = 2 }");
    check("cpu = 0.5", "cpu = 100");
    check("spread = [\"sink\"]", "spread = \"sink\"");
    check("exclusive = [[\"split\", \"sink\"]", "exclusive = [\"split\"");
    check("strategy = \"resource-aware\"", "strategy = \"fair\"");
    check(", config = { tasks = 2 }", "");
    let check = |from: &str, to: &str| check_in("exactly_once.toml", from, to);
    check("retain = 5", "retain = 0");
    check("retain = 5", "retain = 101");
    check("retain = 5", "retian = 5");
    check("interval = \"1s\"", "interval = 1");
    check("mode = \"at-least-once\"", "mode = \"at-most-once\"");
    check("storage = \"checkpoints\"", "storage = \"\"");
    check("wal_storage = \"logs\"", "wal_storage = 1");
}

#[test]
fn the_schema_of_the_engine_accepts_what_is_shipped_and_refuses_what_the_reader_refuses() {
    let schema = engine_schema();
    let file = fs::read_to_string(directory("config/squall.toml")).expect("it is shipped");
    // What is commented out there: `#key = value`, without a space.
    let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let all: String = file
        .lines()
        .map(|line| line.strip_prefix('#').filter(|_| is_setting(line)).unwrap_or(line))
        .map(|line| line.to_owned() + "\n")
        .collect();
    assert_eq!(refusals(&schema, &file), [""; 0]);
    assert_eq!(refusals(&schema, &all), [""; 0]);
    let check = |from: &str, to: &str| {
        assert!(all.contains(from), "{from}");
        assert_ne!(refusals(&schema, &all.replacen(from, to, 1)), [""; 0], "{to}");
    };
    check("silence = ", "silense = ");
    check("insecure = false", "insecure = 'no'");
    check("frame_max = \"16MiB\"", "frame_max = 16");
    check("listen = \"127.0.0.1:0\"", "listen = \"\"");
    check("[worker]", "[workers]");
    check("certificate = ", "cert = ");
}

#[test]
fn every_key_of_the_schema_is_documented() {
    let page = fs::read_to_string(directory("docs/topology.md")).expect("the page is there");
    let keys = keys(&document_schema(&Registry::new()));
    assert!(keys.len() > 30, "only {} keys were found in the schema", keys.len());
    for key in keys {
        assert!(page.contains(&format!("`{key}`")), "`{key}` is not in docs/topology.md");
    }
    for grouping in
        ["shuffle", "partial-key", "local-or-shuffle", "direct", "custom", "global", "none", "all"]
    {
        assert!(page.contains(&format!("`{grouping}`")), "grouping `{grouping}` is not in docs/topology.md");
    }
}

#[test]
fn the_examples_of_the_page_are_read_as_it_says() {
    let page = fs::read_to_string(directory("docs/topology.md")).expect("the page is there");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let source = MemorySource::new().file("page", example.expect("the page begins with an example"));
    load(&source, "page", &Registry::with_standard(), &[]).unwrap();
}

/// The names of all properties, settings of component types left out.
fn keys(schema: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    collect(schema, &mut keys);
    keys.sort();
    keys.dedup();
    keys
}

fn collect(schema: &Value, keys: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for (name, inner) in map {
                if let ("properties", Value::Object(properties)) = (name.as_str(), inner) {
                    for (key, property) in properties {
                        keys.push(key.clone());
                        if key != "config" {
                            collect(property, keys);
                        }
                    }
                } else if name != "$defs" {
                    collect(inner, keys);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        _ => {}
    }
}
