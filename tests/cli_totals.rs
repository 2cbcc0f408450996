//! Totals in a file outside of squall: a run is killed and continued, and the file is read by a program.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use checkpoint_kit::Place;
use squall::Value;
use squall::api::BackingMap;
use squall::trident::{RedbFile, RedbFileSettings};

const WORDS: [&str; 8] = ["stream", "tuple", "spout", "bolt", "barrier", "checkpoint", "storm", "squall"];

/// The topology that is shipped, with its checkpoints in the place.
fn place(interval: &str) -> Place {
    let place = Place::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/totals.toml");
    let text = fs::read_to_string(path).expect("it is shipped");
    let checkpoints = format!("interval = \"{interval}\"\nstorage = \"checkpoints\"");
    let own = text.replace("interval = \"200ms\"", &checkpoints);
    assert_ne!(text, own);
    fs::write(place.path("words.toml"), own).expect("it can be written");
    place
}

fn totals(place: &Place) -> Vec<i64> {
    let path = place.path("out/totals.redb").display().to_string();
    let keys = WORDS.map(|word| vec![Value::from(word)]);
    let stored = RedbFile::new(RedbFileSettings { path }).map().multi_get(&keys);
    let stored = stored.unwrap_or_else(|error| panic!("{error}"));
    stored.into_iter().map(|stored| stored.and_then(|stored| stored.value.as_i64()).unwrap_or(0)).collect()
}

/// The new totals that were emitted of each word, in their order.
fn new_totals(place: &Place) -> BTreeMap<String, Vec<i64>> {
    let files =
        fs::read_dir(place.path("out")).expect("it is there").map(|file| file.expect("a file").path());
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    let mut new_totals = BTreeMap::<String, Vec<i64>>::new();
    for file in files {
        for line in fs::read_to_string(file).expect("it can be read").lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
            let word = row["word"].as_str().expect("a word").to_owned();
            new_totals.entry(word).or_default().push(row["total"].as_i64().expect("a number"));
        }
    }
    new_totals.values_mut().for_each(|totals| totals.sort_unstable());
    new_totals
}

/// So few a second that no run comes to its end before it is killed, however long a test waits for a checkpoint: four runs
/// of three minutes make 144,000 of 200,000.
const SLOW: &str = "spout.words.config.rate=200";
const FAST: &str = "spout.words.config.rate=10_000_000";

/// With another number of tasks each time. A run that begins anew counts on.
#[test]
fn a_run_is_killed_and_continued_and_each_word_counts_once() {
    let place = place("50ms");
    for tasks in ["1", "3", "2", "4"] {
        let set = format!("bolt.totals.parallelism={tasks}");
        let mut child = place.run_until_next(&["--resume", "--set", &set, "--set", SLOW]);
        child.kill().expect("it runs");
        child.wait().expect("it was started");
        let sum: i64 = totals(&place).iter().sum();
        assert!(sum < 200_000, "it was killed in the middle");
    }
    place.squall(&["run", "words.toml", "-q", "--resume", "--set", FAST], 0);
    assert_eq!(totals(&place), [25_000; 8]);
    let new_totals = new_totals(&place);
    assert_eq!(new_totals.len(), WORDS.len());
    for (word, totals) in new_totals {
        assert!(totals.is_sorted_by(|a, b| a < b), "{word}: each comes once: {totals:?}");
        assert!(totals.len() > 1 && totals.last() == Some(&25_000), "{word}: {totals:?}");
    }
    place.squall(&["run", "words.toml", "-q", "--set", FAST], 0);
    assert_eq!(totals(&place), [50_000; 8]);
}

#[test]
fn a_run_that_goes_back_behind_the_store_ends_with_the_reason() {
    let place = place("50ms");
    let mut child = place.run_until_next(&["--set", SLOW]);
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    let latest = format!("1-{}", place.latest());
    // It takes no checkpoint before its end, so the one before is kept.
    let rare = "topology.checkpoint.interval=1h";
    place.squall(&["run", "words.toml", "-q", "--resume", "--set", FAST, "--set", rare], 0);
    let printed = place.squall(&["run", "words.toml", "-q", &format!("--resume={latest}")], 1);
    let expected = format!("already, and the run begins with checkpoint {latest}");
    assert!(printed.stderr.contains(&expected), "{}", printed.stderr);
    assert_eq!(totals(&place), [25_000; 8]);
}

/// Tasks in several processes cannot share a file, however many workers the document has.
#[test]
fn several_workers_are_refused() {
    let place = place("50ms");
    let printed = place.squall(&["run", "words.toml", "-q", "--workers", "2"], 1);
    assert!(
        printed.stderr.contains("2 tasks in 2 workers cannot share the state `totals`"),
        "{}",
        printed.stderr
    );
}
