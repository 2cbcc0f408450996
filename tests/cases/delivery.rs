//! Failures, replays, dead letters and what ends a run.

use serde_json::json;

use crate::kit::Place;

/// Nine numbers and a word, of which a bolt wants numbers only.
const POISONED: &str = r#"
topology.name = "poisoned"
[spout.lines]
type = "lines"
config.path = "lines.txt"
[bolt.doubled]
type = "map"
inputs = ["lines"]
config.set = { twice = "parse_int(line) * 2" }
[bolt.rows]
type = "print"
inputs = ["doubled"]
"#;

const LINES: &str = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n";

/// A line that can never be processed is replayed ten times, longer apart each time, and given up; the
/// others go on. If it fails, it spins a processor for ever.
#[test]
fn one_bad_line_is_given_up_and_the_rest_is_processed() {
    let place = Place::with(&[("t.toml", POISONED), ("lines.txt", LINES)]);
    for ended in place.run_both_ways(&["run", "t.toml", "--json"], "2") {
        ended.exits(1).says("something failed for good");
        let summary = ended.summary();
        let of = |key: &str| summary[key].clone();
        assert_eq!(
            (of("emitted"), of("acked"), of("failed"), of("replayed")),
            (json!(10), json!(9), json!(1), json!(10)),
            "{}",
            ended.all()
        );
        assert_eq!(ended.stdout.lines().count(), 9 + 1, "{}", ended.all());
    }
}

/// A limit of the bolt's own, and who takes what it gives up: counted as processed, exit code 0.
#[test]
fn a_dead_letter_is_no_failure() {
    let letters = "
[bolt.letters]
type = 'print'
inputs = ['doubled.dead-letter']
";
    let document = POISONED.replace("[bolt.doubled]", "[bolt.doubled]\nmax_replays = 1");
    let place = Place::with(&[
        ("with.toml", &format!("{document}{letters}")),
        ("without.toml", &document),
        ("lines.txt", LINES),
    ]);
    let ended = place.run(&["run", "with.toml", "--json"]);
    ended.exits(0);
    let summary = ended.summary();
    let counts = ["acked", "failed", "replayed", "dead_letters"].map(|key| summary[key].clone());
    assert_eq!(counts, [10, 0, 1, 1].map(|n| json!(n)), "{}", ended.all());
    assert!(ended.stdout.contains(r#""line":"five""#), "{}", ended.all());
    place.run(&["run", "without.toml", "--json"]).exits(1).says("no bolt takes `doubled.dead-letter`");
    let valid = place.run(&["validate", "without.toml"]);
    valid
        .exits(0)
        .says("warning: bolt `doubled` sets `max_replays`, but no bolt takes `doubled.dead-letter`");
}

/// What is emitted when the input has ended has no message: when it fails, nothing replays it, and the
/// run says so. If it fails, all counts of a run are lost with exit code 0.
#[test]
fn counts_that_cannot_be_written_fail_the_run() {
    let document = r#"
topology.name = "late"
[spout.lines]
type = "lines"
config.path = "lines.txt"
[bolt.count]
type = "count"
inputs = ["lines"]
config = { by = ["line"], emit = "final" }
[bolt.refuse]
type = "map"
inputs = ["count"]
config.set = { wrong = "parse_int(line) * 2" }
[bolt.rows]
type = "print"
inputs = ["refuse"]
"#;
    let place = Place::with(&[("t.toml", document), ("lines.txt", LINES)]);
    for ended in place.run_both_ways(&["run", "t.toml", "--json"], "2") {
        ended.exits(1).says("1 failed, 0 replayed").says("of these 1 tuples that no message stands for");
        assert_eq!(ended.summary()["failed_unanchored"], json!(1), "{}", ended.all());
    }
}

/// Nothing on the command line would activate it. If it fails, the run hangs without a word.
#[test]
fn a_topology_that_waits_to_be_activated_is_refused() {
    let document = POISONED.replace("topology.name", "topology.start_inactive = true\ntopology.name");
    let place = Place::with(&[("t.toml", &document), ("lines.txt", "1\n")]);
    place.run(&["run", "t.toml"]).exits(1).says("start_inactive").says("--set topology.start_inactive=false");
    place.run(&["run", "t.toml", "--set", "topology.start_inactive=false"]).exits(0);
}

/// The rows that `file` could not write were given up, although a bolt took its dead letters.
#[test]
fn rows_that_cannot_be_written_become_dead_letters() {
    let document = r#"
        topology = { name = "full", max_replays = 1 }
        spout.rows = { type = "generate", config = { count = 3, fields = { n = "{seq}" } } }
        [bolt.store]
        type = "file"
        inputs = ["rows"]
        config = { path = "/dev/full", format = "text" }
        [bolt.print]
        type = "print"
        inputs = ["store.dead-letter"]
    "#;
    let place = Place::with(&[("t.toml", document)]);
    for run in place.run_both_ways(&["run", "t.toml", "--json"], "2") {
        let summary = run.exits(0).says("No space left on device").summary();
        let counts = ["acked", "failed", "replayed", "dead_letters"].map(|key| summary[key].clone());
        assert_eq!(counts, [3, 0, 3, 3], "{}", run.all());
        assert_eq!(run.stdout.matches("it was held, and then failed").count(), 3, "{}", run.all());
    }
}
