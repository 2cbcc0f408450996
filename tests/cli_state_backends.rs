//! `[state]`: a run with a backend that puts keys out of memory, killed and continued with another one.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use checkpoint_kit::Place;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

/// 40,000 numbers of which 8,000 are different, so each is counted five times. Memory has a few hundred of them.
const NUMBERS: &str = r#"
[topology]
name = "numbers"
delivery = "exactly-once"
checkpoint = { interval = "50ms", storage = "checkpoints" }

[state]
backend = "redb"
memory = "64KiB"
directory = "state"

[spout.numbers]
type = "generate"
config = { rate = 4_000, count = 40_000, fields = { n = "{seq}" } }

[bolt.modulo]
type = "map"
inputs = ["numbers"]
config = { set = { n = "n % 8000" }, keep = [] }

[bolt.count]
type = "count"
parallelism = 2
inputs = [{ from = "modulo", fields = ["n"] }]
config = { by = ["n"], emit = "final" }

[bolt.print]
type = "print"
inputs = ["count"]
"#;

/// The counts that a run prints, and its summary.
fn counts(printed: &str) -> (BTreeMap<i64, Vec<i64>>, Value) {
    let (mut counts, mut summary) = (BTreeMap::new(), Value::Null);
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).expect("it is JSON");
        if let Some(of_run) = line.get("summary") {
            summary = of_run.clone();
        } else {
            let number = |field: &str| line["values"][field].as_i64().expect("a number");
            counts.entry(number("n")).or_insert_with(Vec::new).push(number("count"));
        }
    }
    (counts, summary)
}

#[test]
fn a_run_is_killed_and_continued_with_one_backend_and_the_other() {
    let place = Place::new();
    fs::write(place.path("words.toml"), NUMBERS).expect("it can be written");
    for backend in ["redb", "memory", "redb"] {
        let set = format!("state.backend={backend}");
        let mut child = place.run_until_next(&["--resume", "--set", &set]);
        child.kill().expect("it runs");
        child.wait().expect("it was started");
        assert_eq!(fs::read_dir(place.path("state")).map_or(0, Iterator::count), 0, "files have no names");
    }
    let args =
        ["run", "words.toml", "-q", "--json", "--resume", "--set", "spout.numbers.config.rate=1_000_000"];
    let printed = place.squall(&args, 0);
    let (counts, summary) = counts(&printed.stdout);
    assert_eq!(counts.len(), 8_000);
    assert!(counts.values().all(|counts| *counts == [5]), "{counts:?}");
    assert!(summary["checkpoints"]["resumed_from"].is_string(), "{summary}");
}

#[test]
fn a_directory_that_cannot_be_one_ends_the_run_with_the_reason() {
    let place = Place::new();
    fs::write(place.path("words.toml"), NUMBERS).expect("it can be written");
    fs::write(place.path("state"), "").expect("it can be written");
    let printed = place.squall(&["run", "words.toml", "-q", "--json"], 1);
    let reason = "the store of its state cannot be opened: there can be no file in `state`";
    assert!(printed.stderr.contains(reason), "{}", printed.stderr);
}

/// Without exactly-once, too, and for one bolt alone.
#[test]
fn one_bolt_has_a_backend_of_its_own() {
    let place = Place::new();
    let own = NUMBERS.replace("backend = \"redb\"\nmemory = \"64KiB\"\n", "");
    let own = own.replace(
        "delivery = \"exactly-once\"\ncheckpoint = { interval = \"50ms\", storage = \"checkpoints\" }\n",
        "",
    );
    let own = own.replace("parallelism = 2", "state = { backend = \"redb\", memory = \"64KiB\" }");
    let own = own.replace("rate = 4_000, ", "");
    fs::write(place.path("words.toml"), own).expect("it can be written");
    let printed = place.squall(&["run", "words.toml", "-q", "--json"], 0);
    let (counts, _) = counts(&printed.stdout);
    assert_eq!(counts.len(), 8_000);
    assert!(counts.values().all(|counts| *counts == [5]));
    assert!(place.path("state").is_dir(), "it was used");
}

/// It left a directory of the topology behind, with another one in it, both of them empty.
#[test]
fn without_a_directory_of_its_own_a_run_leaves_nothing_behind() {
    let place = Place::new();
    let numbers = NUMBERS.replace("directory = \"state\"\n", "");
    let numbers = numbers.replace("rate = 4_000, count = 40_000", "count = 9_000").replace(
        "delivery = \"exactly-once\"\ncheckpoint = { interval = \"50ms\", storage = \"checkpoints\" }\n",
        "",
    );
    fs::write(place.path("words.toml"), numbers).expect("it can be written");
    let printed = place.squall(&["run", "words.toml", "-q", "--json"], 0);
    assert_eq!(counts(&printed.stdout).0.len(), 8_000);
    let left = fs::read_dir(place.path("user-state/squall")).expect("it was used");
    let left: Vec<_> = left.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    assert_eq!(left, [""; 0]);
}

/// A limit of files stands for a full disk: the task waits, and goes on when the limit is raised.
#[test]
fn a_full_disk_is_waited_for() {
    let place = Place::new();
    let long = "x".repeat(1_500);
    let text = NUMBERS
        .replace(
            "delivery = \"exactly-once\"\ncheckpoint = { interval = \"50ms\", storage = \"checkpoints\" }\n",
            "message_timeout = \"off\"\n",
        )
        .replace("rate = 4_000, count = 40_000", "count = 10_000")
        .replace(
            "set = { n = \"n % 8000\" }, keep = []",
            "set = { n = \"n % 2000\", text = '\"LONG\"' }, keep = []",
        )
        .replace("LONG", &long)
        .replace("fields = [\"n\"]", "fields = [\"n\", \"text\"]")
        .replace("by = [\"n\"]", "by = [\"n\", \"text\"]")
        .replace("parallelism = 2\n", "");
    fs::write(place.path("words.toml"), text).expect("it can be written");
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -S -f 4096; exec \"$0\" run words.toml -q --json");
    command.arg(env!("CARGO_BIN_EXE_squall")).current_dir(place.path("."));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let full =
        stderr.lines().map_while(Result::ok).find(|line| line.contains("the store of the state failed"));
    assert!(full.is_some_and(|line| line.contains("File too large")), "the limit is reached");
    let pid = Pid::from_child(&child);
    let none = Rlimit { current: None, maximum: None };
    prlimit(Some(pid), Resource::Fsize, none).expect("it may be raised");
    let output = child.wait_with_output().expect("it was started");
    let (counts, summary) = counts(&String::from_utf8(output.stdout).expect("it is text"));
    assert_eq!(output.status.code(), Some(0), "{summary}");
    assert_eq!(counts.len(), 2_000);
    assert!(counts.values().all(|counts| *counts == [5]), "{counts:?}");
    assert_eq!(summary["failed"], 0);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let place = Place::new();
    let check = |from: &str, to: &str, expected: &str| {
        fs::write(place.path("words.toml"), NUMBERS.replace(from, to)).expect("it can be written");
        let printed = place.squall(&["validate", "words.toml"], 1);
        assert!(printed.stderr.contains(expected), "{to}:\n{}", printed.stderr);
    };
    check("backend = \"redb\"", "backend = \"rocksdb\"", "must be \"memory\" or \"redb\"");
    check("memory = \"64KiB\"", "memory = \"1KiB\"", "state.memory");
    check("directory = \"state\"", "directory = \"\"", "state.directory");
    check("[state]", "[states]", "state");
    let spout = "type = \"generate\"\nstate = { backend = \"redb\" }";
    check("type = \"generate\"", spout, "`state`");
    let bolt = "type = \"count\"\nstate = { memory = \"1KiB\" }";
    check("type = \"count\"", bolt, "`state.memory` of bolt `count`");
}
