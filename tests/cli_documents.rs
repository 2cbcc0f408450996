//! The commands that look at documents and components without running anything: `validate`,
//! `graph`, `components`, `schema`.

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;
use snapbox::{assert_data_eq, str};

const GOOD: &str = "\
[topology]
name = \"words\"

[spout.lines]
type = \"lines\"
config = { path = \"words.txt\" }

[bolt.split]
type = \"split\"
inputs = [\"lines\"]
parallelism = 2

[bolt.print]
type = \"print\"
inputs = [{ from = \"split\", grouping = \"global\" }]
";

const BAD: &str = "\
[topology]
name = \"words\"

[spout.lines]
type = \"linse\"
config = { path = \"words.txt\" }

[bolt.split]
type = \"split\"
inputs = [\"line\"]
parallelizm = 2
";

fn squall(args: &[&str], stdin: &str) -> Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.env_remove("SQUALL_COLOR").env_remove("NO_COLOR").args(args).write_stdin(stdin).assert()
}

fn stdout_of(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn stderr_of(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn json_of(assert: &Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

#[test]
fn a_valid_document_is_reported_as_valid() {
    let assert = squall(&["validate", "-"], GOOD).success();
    assert_eq!(stderr_of(&assert), "-: valid: `words`, 1 spout, 2 bolts, 4 tasks\n");
    assert_eq!(stdout_of(&assert), "");
    assert_eq!(json_of(&squall(&["validate", "-", "--json"], GOOD).success()), Value::Array(Vec::new()));
}

#[test]
fn every_mistake_is_shown_with_its_place_and_a_way_out() {
    let assert = squall(&["validate", "-"], BAD).code(1);
    assert_eq!(stdout_of(&assert), "");
    assert_data_eq!(
        stderr_of(&assert),
        str![[r#"
error: no spout type `linse` is known
 --> -:5:8
  |
5 | type = "linse"
  |        ^^^^^^^ unknown type
  |
  = help: did you mean `lines`?

error: input of bolt `split`: there is no component `line`
  --> -:10:11
   |
10 | inputs = ["line"]
   |           ^^^^^^ not defined in this topology
   |
   = help: did you mean `lines`?

error: unknown key `parallelizm` of bolt `split`
  --> -:11:1
   |
11 | parallelizm = 2
   | ^^^^^^^^^^^ unknown key
   |
   = help: did you mean `parallelism`?

"#]]
    );
}

#[test]
fn the_readmes_mistake_looks_as_the_readme_says() {
    let readme = include_str!("../README.md");
    let block =
        |fence: &str| readme.split_once(fence).and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let dir = tempfile::tempdir().unwrap();
    let wrong = block("```toml\n").replacen("\"count\"", "\"cuont\"", 1);
    std::fs::write(dir.path().join("words.toml"), wrong).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    let assert =
        command.current_dir(dir.path()).args(["validate", "words.toml", "--color", "never"]).assert();
    assert_eq!(stderr_of(&assert.code(1)), block("```text\n"));
}

#[test]
fn the_mistake_of_the_page_on_topologies_looks_as_it_says() {
    let page = include_str!("../docs/topology.md");
    let block = |fence: &str| page.split_once(fence).and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let dir = tempfile::tempdir().unwrap();
    let wrong = block("```toml\n").replacen("\"split\"", "\"splt\"", 1);
    std::fs::write(dir.path().join("word_count.toml"), wrong).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    let assert =
        command.current_dir(dir.path()).args(["validate", "word_count.toml", "--color", "never"]).assert();
    assert_eq!(stderr_of(&assert.code(1)), block("```text\n"));
}

#[test]
fn mistakes_come_in_colours_if_wanted() {
    let plain = stderr_of(&squall(&["validate", "-"], BAD).code(1));
    let coloured = stderr_of(&squall(&["validate", "-", "--color", "always"], BAD).code(1));
    assert!(!plain.contains('\u{1b}') && coloured.contains('\u{1b}'));
}

#[test]
fn programs_get_mistakes_as_json() {
    let problems = json_of(&squall(&["validate", "-", "--json"], BAD).code(1));
    let first = &problems[0];
    assert_eq!((&first["file"], &first["line"], &first["column"]), (&"-".into(), &5.into(), &8.into()));
    assert!(first["message"].as_str().unwrap().contains("linse"), "{first}");
    assert!(first["help"].as_str().unwrap().contains("did you mean `lines`?"), "{first}");
    assert_eq!(problems.as_array().unwrap().len(), 3);
}

#[test]
fn all_files_are_checked_even_if_the_first_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let (bad, good) = (file("bad.toml", BAD), file("good.toml", GOOD));
    let stderr = stderr_of(&squall(&["validate", &bad, &good, "none.toml"], "").code(1));
    assert!(stderr.contains("linse") && stderr.contains("good.toml: valid"), "{stderr}");
    assert!(stderr.contains("none.toml"), "{stderr}");
}

#[test]
fn an_override_can_break_and_can_mend() {
    let broken = squall(&["validate", "-", "--set", "bolt.split.parallelism=0"], GOOD).code(1);
    assert!(stderr_of(&broken).contains("parallelism"), "{}", stderr_of(&broken));
    let mended = GOOD.replace("parallelism = 2", "parallelism = 0");
    let _ = squall(&["validate", "-", "--set", "bolt.split.parallelism=1"], &mended).success();
}

#[test]
fn a_graph_is_drawn_three_ways() {
    let check = |format: &str, expected: &[&str]| {
        let drawing = stdout_of(&squall(&["graph", "-", "--format", format], GOOD).success());
        for part in expected {
            assert!(drawing.contains(part), "{format}: no {part:?} in\n{drawing}");
        }
        assert!(drawing.ends_with('\n') && !drawing.ends_with("\n\n"), "{format}");
    };
    check("text", &["lines", "split", "print", "global"]);
    check("mermaid", &["flowchart", "lines", "split", "print", "global"]);
    check("dot", &["digraph", "lines", "split", "print", "global"]);
    let invalid = squall(&["graph", "-"], BAD).code(1);
    assert_eq!(stdout_of(&invalid), "");
    assert!(stderr_of(&invalid).contains("linse"));
}

#[test]
fn components_are_listed_and_described() {
    let list = stdout_of(&squall(&["components"], "").success());
    assert!(list.starts_with("Spouts\n") && list.contains("\nBolts\n"), "{list}");
    let all = json_of(&squall(&["components", "--json"], "").success());
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), squall::topology::registry::Registry::with_standard().components().count());
    for component in all {
        let name = component["name"].as_str().unwrap();
        assert!(list.contains(&format!("  {name} ")), "{name} is not in the list");
        let described = stdout_of(&squall(&["components", name], "").success());
        for key in component["settings"]["properties"].as_object().into_iter().flat_map(|keys| keys.keys()) {
            assert!(described.contains(&format!("  {key}")), "{name} does not describe {key}");
        }
        assert_eq!(&json_of(&squall(&["components", name, "--json"], "").success()), component);
        let example = component["example"].as_str().unwrap();
        assert!(example.contains(&format!("type = \"{name}\"")), "{name} has no example");
    }
    let unknown = squall(&["components", "cuont"], "").code(1);
    assert_eq!(stderr_of(&unknown), "error: there is no component type `cuont` (did you mean `count`?)\n");
}

#[test]
fn the_schema_is_one_and_knows_the_components() {
    let schema = json_of(&squall(&["schema"], "").success());
    assert!(schema["$schema"].is_string(), "{schema:.200}");
    let text = schema.to_string();
    for word in ["topology", "spout", "bolt", "parallelism", "split", "max_spout_pending"] {
        assert!(text.contains(&format!("\"{word}\"")), "the schema does not know {word}");
    }
}

#[cfg(unix)]
#[test]
fn a_listing_ends_quietly_when_nobody_reads_it() {
    use std::process::{Command, Stdio};

    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    let mut child = command.arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}
