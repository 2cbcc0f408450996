//! `[topology.batch]`: a run in micro-batches, killed and continued.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;

use std::collections::BTreeSet;
use std::fs;

use checkpoint_kit::{Place, WORDS};

/// The words of the kit in batches, several of which are under way at once.
fn in_batches() -> Place {
    let place = Place::new();
    let batches = WORDS.replace("interval = \"50ms\", ", "") + "\n[topology.batch]\ninterval = \"20ms\"\n";
    fs::write(place.path("words.toml"), batches).expect("it can be written");
    place
}

/// The transaction ids in the list of checkpoints.
fn txids(place: &Place) -> Vec<u64> {
    let listed = place.squall(&["checkpoint", "list", "checkpoints", "--json"], 0).json();
    let listed = listed.as_array().expect("a list");
    listed.iter().map(|checkpoint| checkpoint["txid"].as_u64().expect("a number")).collect()
}

#[test]
fn transaction_ids_go_on_whatever_is_killed_and_each_row_is_there_once() {
    let place = in_batches();
    let mut last = 0;
    for workers in ["1", "2", "1"] {
        let mut child = place.run_until_next(&["--resume", "--workers", workers]);
        child.kill().expect("it runs");
        child.wait().expect("it was started");
        let ids = txids(&place);
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ids:?}");
        let latest = *ids.last().expect("one is complete");
        assert!(latest > last, "{latest} after {last}");
        last = latest;
    }
    let end = ["--set", "spout.words.config.count=20_000", "--set", "spout.words.config.rate=1_000_000"];
    let args = [&["run", "words.toml", "-q", "--json", "--resume"][..], &end].concat();
    let summary = place.squall(&args, 0).json();
    let txid = summary["summary"]["checkpoints"]["txid"].as_u64().expect("a number");
    assert!(txid > last, "{summary}");
    let inspected = place.squall(&["checkpoint", "inspect", "checkpoints", "--json"], 0).json();
    assert_eq!((&inspected["txid"], &inspected["run"]), (&txid.into(), &"committed".into()));
    let files = fs::read_dir(place.path("out")).expect("rows were stored");
    let text =
        files.map(|file| fs::read_to_string(file.expect("it can be read").path()).expect("it is text"));
    let rows: Vec<String> =
        text.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(rows.len(), 20_000);
    assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), 20_000, "no count of a word is there twice");
}
