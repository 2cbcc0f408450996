//! Losses and ends of runs in several worker processes.

use crate::kit::Place;

/// What components count stood nowhere: a run in workers kept it in processes that were gone.
#[test]
fn what_components_count_stands_in_the_summary() {
    let lines = "1 a\nodd\n2 b\nodder\n";
    let document = r#"
        topology.name = "counted"
        spout.lines = { type = "lines", config.path = "in.txt" }
        [bolt.parse]
        type = "parse"
        parallelism = 2
        inputs = ["lines"]
        config = { pattern = '^(?<n>\d+) (?<word>\w+)$', unmatched = "drop" }
    "#;
    let place = Place::with(&[("in.txt", lines), ("t.toml", document)]);
    for workers in [&[][..], &["--workers", "3"]] {
        let run = place.run(&[&["run", "t.toml", "--json"], workers].concat());
        run.exits(0).says("metrics of parse: unmatched 2\n");
        let components = run.summary()["components"].clone();
        assert_eq!(components[0]["metrics"]["invalid_utf8"], 0, "{components}");
        assert_eq!(components[1]["metrics"]["unmatched"], 2, "{components}");
    }
}

/// A row that always fails: one process exited with 1, two workers said "0 failed, all done".
#[test]
fn what_still_fails_at_the_end_is_seen() {
    let document = r#"
        topology.name = "poison"
        spout.lines = { type = "lines", config.path = "in.txt" }
        [bolt.parse]
        type = "parse"
        inputs = ["lines"]
        config.pattern = '^(?<n>\d+)$'
    "#;
    let place = Place::with(&[("in.txt", "1\n2\nodd\n3\n"), ("t.toml", document)]);
    for workers in [&[][..], &["--workers", "2"]] {
        let run = place.run(&[&["run", "t.toml", "--json", "--for", "1s"], workers].concat());
        let summary = run.exits(1).summary();
        let count = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("{key} in {summary}"));
        assert_eq!(count("emitted"), 4, "{}", run.all());
        assert_eq!((count("acked"), count("failed") + count("pending")), (3, 1), "{}", run.all());
    }
}

/// A bolt that is stuck in user code: one process showed what was pending, workers showed 0.
#[test]
fn what_a_stuck_worker_has_open_is_shown() {
    let document = r#"
        topology = { name = "stuck", drain_timeout = "300ms" }
        spout.numbers = { type = "generate", config = { count = 100, fields.n = "{seq}" } }
        [bolt.delay]
        type = "delay"
        blocking = true
        inputs = ["numbers"]
        config = { period = "1h", sleep = true, fields = ["n"] }
    "#;
    let place = Place::with(&[("t.toml", document)]);
    for workers in [&[][..], &["--workers", "2"]] {
        let run = place.run(&[&["run", "t.toml", "--json", "--for", "1s"], workers].concat());
        let summary = run.exits(1).says("cut short").summary();
        assert_eq!((&summary["emitted"], &summary["pending"]), (&100.into(), &100.into()), "{}", run.all());
    }
}
