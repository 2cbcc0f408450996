//! What holds for all components together: documentation, examples, and the topologies shipped.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use schemars::SchemaGenerator;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::test_support::{bolt, spout};
use crate::api::SpoutStatus;
use crate::ids::DEAD_LETTER_STREAM;
use crate::testing::{HarnessOptions, SpoutHarness, TestTuple};
use crate::topology::effort::Effort;
use crate::topology::registry::{ComponentType, Registry};
use crate::tuple::Value;

const DOCUMENT: &str = include_str!("../../docs/components.md");

fn settings_of(component: &ComponentType) -> Vec<String> {
    let schema = component.schema(&mut SchemaGenerator::default());
    let properties = schema.get("properties").and_then(|properties| properties.as_object());
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
}

fn section_of(component: &str) -> &'static str {
    let start = DOCUMENT.find(&format!("\n## `{component}`\n"));
    let start = start.unwrap_or_else(|| panic!("docs/components.md has no section on `{component}`"));
    let section = &DOCUMENT[start + 1..];
    section.find("\n## ").map_or(section, |end| &section[..end])
}

#[test]
fn every_setting_is_documented_and_no_other() {
    for component in Registry::with_standard().components() {
        let settings = settings_of(component);
        let section = section_of(&component.name);
        let rows = section.lines().skip_while(|line| !line.starts_with("| setting "));
        let rows = rows.skip(2).take_while(|line| line.starts_with("| `"));
        let mut documented: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap_or_default()).collect();
        let mut settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        documented.sort_unstable();
        settings.sort_unstable();
        assert_eq!(documented, settings, "docs/components.md on `{}`", component.name);
    }
}

#[test]
fn every_setting_of_a_state_is_documented() {
    let page = include_str!("../../docs/topology.md");
    let section = page.split("\n### Stores outside of squall\n").nth(1).unwrap_or_default();
    let section = section.split("\n#").next().unwrap_or_default();
    for known in Registry::with_standard().states() {
        let schema = known.schema(&mut SchemaGenerator::default());
        let properties = schema.get("properties").and_then(|properties| properties.as_object());
        for (setting, schema) in properties.into_iter().flatten() {
            let row = section.lines().find(|line| line.starts_with(&format!("| `{setting}` | ")));
            let row = row.unwrap_or_else(|| panic!("`{setting}` of `{}` is in no row", known.name));
            assert!(row.contains(&format!("`{}`", known.name)), "{row}");
            let description = schema.get("description").and_then(|text| text.as_str()).unwrap_or_default();
            assert!(!description.is_empty(), "`{}.{setting}`", known.name);
        }
    }
}

#[test]
fn every_setting_says_what_it_is_to_editors() {
    for component in Registry::with_standard().components() {
        let schema = component.schema(&mut SchemaGenerator::default());
        let properties = schema.get("properties").and_then(|properties| properties.as_object());
        for (setting, schema) in properties.into_iter().flatten() {
            let description = schema.get("description").and_then(|text| text.as_str()).unwrap_or_default();
            assert!(!description.is_empty(), "`{}.{setting}`", component.name);
        }
        assert!(!component.summary.is_empty() && !component.output.is_empty(), "{}", component.name);
    }
}

/// A document with the default of each variable in its place.
fn with_defaults(document: &str) -> String {
    let (mut text, mut rest) = (String::new(), document);
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, after) = after.split_once('}').expect("a variable ends");
        let (_, default) = variable.split_once(":-").expect("a variable that is shipped has a default");
        text.extend([before, default]);
        rest = after;
    }
    text + rest
}

/// Builds every component of a document from its `config`, and returns the streams by id.
fn build_all(document: &str) -> HashMap<String, Vec<String>> {
    let document = &with_defaults(document);
    let registry = Registry::with_standard();
    let root = DeTable::parse(document).unwrap_or_else(|error| panic!("{error}\n{document}")).into_inner();
    let mut streams = HashMap::new();
    for kind in ["spout", "bolt"] {
        let components = root.get(kind).and_then(|table| table.get_ref().as_table()).into_iter().flatten();
        for (id, table) in components {
            let id = id.get_ref().to_string();
            let type_name = table.get_ref().get("type").and_then(|name| name.get_ref().as_str());
            let type_name = type_name.unwrap_or_else(|| panic!("`{id}` has no type"));
            let component = registry.component(type_name).unwrap_or_else(|| panic!("no type `{type_name}`"));
            assert_eq!(component.kind.to_string(), kind, "{id}");
            let config = table.get_ref().get("config").cloned();
            let config = config.unwrap_or_else(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
            let built = component
                .build(ValueDeserializer::from(config), &Effort::of_document())
                .unwrap_or_else(|error| panic!("{id}: {error}"));
            streams.insert(id, built.streams.iter().map(|stream| stream.name.to_string()).collect());
        }
    }
    streams
}

#[test]
fn the_examples_of_the_registry_and_the_document_can_be_built() {
    for component in Registry::with_standard().components() {
        assert_eq!(build_all(&component.example).len(), 1, "{}", component.name);
    }
    let examples =
        DOCUMENT.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let mut seen = BTreeSet::new();
    for example in examples {
        build_all(example);
        let types = example.lines().filter_map(|line| line.strip_prefix("type = \"")?.strip_suffix('"'));
        seen.extend(types.map(str::to_owned));
    }
    let registry = Registry::with_standard();
    let all: BTreeSet<String> = registry.components().map(|it| it.name.to_string()).collect();
    // Stores outside of squall have types, too.
    assert!(seen.is_superset(&all), "an example for each: {seen:?}");
}

/// The components and streams that a document's inputs name.
fn inputs_of(document: &str) -> Vec<(String, String)> {
    let table: toml::Table = document.parse().expect("it is TOML");
    let bolts = table.get("bolt").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let inputs = bolts.values().flat_map(|bolt| bolt.get("inputs").and_then(toml::Value::as_array).cloned());
    let inputs = inputs.flatten().map(|input| {
        let from =
            input.as_str().or_else(|| input.get("from")?.as_str()).expect("it says where from").to_owned();
        let (id, stream) = from.split_once('.').unwrap_or((&from, "default"));
        let stream = input.get("stream").and_then(toml::Value::as_str).unwrap_or(stream);
        (id.to_owned(), stream.to_owned())
    });
    inputs.collect()
}

#[test]
fn the_topologies_shipped_say_what_they_show_and_fit_together() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    let entries = fs::read_dir(directory).expect("there are topologies");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut seen = 0;
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let document = fs::read_to_string(&path).expect("it is text");
        let name = path.display();
        assert!(document.starts_with("# "), "{name} begins with what it shows");
        let streams = build_all(&document);
        for (id, stream) in inputs_of(&document) {
            let declared = streams.get(&id).unwrap_or_else(|| panic!("{name}: there is no `{id}`"));
            assert!(stream == DEAD_LETTER_STREAM || declared.contains(&stream), "{name}: {id}.{stream}");
        }
        seen += 1;
    }
    assert_eq!(seen, 12);
}

fn data(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/data").join(file).display().to_string()
}

/// Feeds the rows of one component to the next.
fn tuples(rows: Vec<Vec<Value>>, field: &'static str) -> impl Iterator<Item = TestTuple> {
    rows.into_iter().map(move |row| TestTuple::new(row).fields([field]))
}

#[test]
fn the_word_count_counts_as_a_few_lines_of_rust_do() {
    let text = fs::read_to_string(data("founding_documents.txt")).expect("the text is shipped");
    let mut expected: HashMap<&str, i64> = HashMap::new();
    text.split_whitespace().for_each(|word| *expected.entry(word).or_default() += 1);

    let mut lines = spout("lines", &format!("path = '{}'", data("founding_documents.txt")));
    assert_eq!(lines.run(1_000_000), Some(SpoutStatus::Exhausted));
    let mut split = bolt("split", "");
    split.execute_all(tuples(lines.take_rows("default"), "line"));
    let mut count = bolt("count", "by = ['word']\nemit = 'final'");
    count.execute_all(tuples(split.take_rows("default"), "word"));
    count.finish();
    let rows = count.take_rows("default");
    let counted: HashMap<&str, i64> = rows
        .iter()
        .map(|row| (row[0].as_str().expect("a word"), row[1].as_i64().expect("a count")))
        .collect();
    assert_eq!(counted, expected);
}

#[test]
fn all_but_five_lines_of_the_access_log_are_understood() {
    let registry = Registry::with_standard();
    let config = format!("path = '{}'", data("access.log"));
    let log = SpoutHarness::registered(&registry, "lines", &config, &HarnessOptions::default());
    let mut log = log.unwrap_or_else(|error| panic!("{error}"));
    let _ = log.run(1_000_000);
    let mut parse = bolt("parse", "format = 'combined'\nunmatched = 'stream'");
    parse.execute_all(tuples(log.take_rows("default"), "line"));
    let unmatched = parse.take_rows("unmatched");
    assert_eq!((parse.take_rows("default").len(), unmatched.len()), (2002, 5), "{unmatched:#?}");
}
