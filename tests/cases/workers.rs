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
