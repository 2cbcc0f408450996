//! `squall run --resume=CHECKPOINT`: a run goes back to an earlier checkpoint, on purpose.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;

use std::collections::BTreeMap;
use std::fs;

use checkpoint_kit::Place;
use serde_json::{Value, json};

/// 20,000 numbers, which are published and counted. To the end it takes ten seconds, in which the run is killed.
const NUMBERS: &str = r#"
[topology]
name = "numbers"
delivery = "exactly-once"
checkpoint = { interval = "50ms", storage = "checkpoints", retain = 4 }

[spout.numbers]
type = "generate"
config = { rate = 2_000, count = 20_000, fields = { n = "{seq}", all = "all" } }

[bolt.store]
type = "file"
inputs = ["numbers"]
config = { path = "out/numbers-{task}-{seq}.jsonl" }

[bolt.count]
type = "count"
inputs = [{ from = "numbers", fields = ["all"] }]
config = { by = ["all"], emit = "final" }

[bolt.print]
type = "print"
inputs = ["count"]
"#;

/// A directory with the checkpoints of a run of the numbers that was killed.
fn killed() -> Place {
    let place = Place::new();
    fs::write(place.path("words.toml"), NUMBERS).expect("it can be written");
    let mut child = place.run_until(5);
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    place
}

/// A run goes on without the pauses in which the one before was killed.
const FAST: [&str; 2] = ["--set", "spout.numbers.config.rate=1_000_000"];

/// The checkpoints that are there, oldest first.
fn checkpoints(place: &Place) -> Vec<String> {
    let listed = place.squall(&["checkpoint", "list", "checkpoints", "--json"], 0).json();
    let id = |listed: &Value| listed["checkpoint"].as_str().expect("a text").to_owned();
    listed.as_array().expect("an array").iter().map(id).collect()
}

/// How many numbers were emitted before a checkpoint.
fn position(place: &Place, checkpoint: &str) -> i64 {
    let inspected = place.squall(&["checkpoint", "inspect", "checkpoints", checkpoint, "--json"], 0).json();
    let tasks = inspected["tasks"].as_array().expect("an array");
    let spout = tasks.iter().find(|task| task["component"] == "numbers").expect("it is there");
    spout["positions"]["task 0 of 1"]["made"].as_i64().expect("it notes how many it has made")
}

/// How often each number is in the files that are published.
fn published(place: &Place) -> BTreeMap<i64, u32> {
    let mut numbers = BTreeMap::new();
    for entry in fs::read_dir(place.path("out")).expect("files were written") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            for line in fs::read_to_string(path).expect("it is text").lines() {
                let row: Value = serde_json::from_str(line).expect("it is JSON");
                let n = &row["n"];
                let n = n.as_i64().or_else(|| n.as_str()?.parse().ok()).expect("a number");
                *numbers.entry(n).or_default() += 1;
            }
        }
    }
    numbers
}

/// Goes back to the oldest checkpoint, to the end, and checks what is published and counted.
fn check_goes_back(place: &Place, more: &[&str]) {
    let before = checkpoints(place);
    let (to, given_up) = (&before[0], before[1..].join(", "));
    let (first, latest) = (position(place, to), position(place, &before[before.len() - 1]));
    assert!(first < latest, "{first} {latest}");

    let resume = format!("--resume={to}");
    let printed =
        place.squall(&[&["run", "words.toml", "-q", "--json", &resume], &FAST[..], more].concat(), 0);
    assert!(printed.stderr.contains("went back to an earlier checkpoint"), "{}", printed.stderr);
    assert!(
        printed.stderr.contains("are published again") && printed.stderr.contains(&given_up),
        "{}",
        printed.stderr
    );
    let lines: Vec<Value> =
        printed.stdout.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    assert_eq!(lines[0]["values"], json!({ "all": "all", "count": 20_000 }), "state is exact");
    assert_eq!(lines[1]["summary"]["checkpoints"]["resumed_from"], json!(to));
    assert!(checkpoints(place).iter().all(|id| id == to || id.starts_with("2-")), "later ones are gone");

    // What was published since the checkpoint is there twice, and the rest once.
    let published = published(place);
    assert_eq!(published.len(), 20_000);
    let mut twice = published.iter().filter(|(_, times)| **times == 2).map(|(n, _)| *n);
    let least = twice.next().expect("some were published before");
    let most = twice.next_back().unwrap_or(least);
    assert!(published.values().all(|times| *times <= 2), "{published:?}");
    let from = published.keys().next().expect("there are some") + first;
    assert_eq!(least, from, "the first after the checkpoint");
    assert!(most < from + (latest - first), "{most} of {latest}");
}

#[test]
fn a_run_goes_back_and_publishes_again_what_came_after() {
    check_goes_back(&killed(), &[]);
}

#[test]
fn several_workers_go_back_too() {
    check_goes_back(&killed(), &["--workers", "2"]);
}

#[test]
fn the_latest_checkpoint_gives_nothing_up() {
    let place = killed();
    let latest = checkpoints(&place).pop().expect("there are some");
    let resume = format!("--resume={latest}");
    let printed = place.squall(&[&["run", "words.toml", "-q", &resume], &FAST[..]].concat(), 0);
    assert!(!printed.stderr.contains("went back"), "{}", printed.stderr);
    assert!(published(&place).values().all(|times| *times == 1));
}

/// Why somebody goes back: the latest checkpoint is damaged.
#[test]
fn a_damaged_checkpoint_is_given_up() {
    let place = killed();
    let ids = checkpoints(&place);
    let (last, before) = (&ids[ids.len() - 1], &ids[ids.len() - 2]);
    fs::write(place.path(&format!("checkpoints/manifest-{last}.json")), "{").expect("it can be written");
    let error = place.squall(&["run", "words.toml", "-q", "--resume"], 1).stderr;
    assert!(
        error.contains(&format!("`manifest-{last}.json`")) && error.contains("--resume=CHECKPOINT"),
        "{error}"
    );
    let resume = format!("--resume={before}");
    place.squall(&[&["run", "words.toml", "-q", &resume], &FAST[..]].concat(), 0);
    assert_eq!(published(&place).len(), 20_000);
}

#[test]
fn what_cannot_be_gone_back_to_is_refused_and_nothing_is_changed() {
    let place = killed();
    let (ids, files) = (checkpoints(&place), place.files());
    let error = place.squall(&["run", "words.toml", "-q", "--resume=7-7"], 1).stderr;
    let expected =
        format!("there is no checkpoint 7-7 in the directory `checkpoints`: {} are there", ids.join(", "));
    assert!(error.contains(&expected), "{error}");
    let to = format!("--resume={}", ids[0]);
    let without_count = NUMBERS.replace("bolt.count", "bolt.tally").replace("[\"count\"]", "[\"tally\"]");
    fs::write(place.path("other.toml"), without_count).expect("it can be written");
    let error = place.squall(&["run", "other.toml", "-q", &to], 1).stderr;
    assert!(
        error.contains(&format!("checkpoint {} in the directory `checkpoints` does not fit", ids[0])),
        "{error}"
    );
    let at_least_once = "topology.delivery=at-least-once";
    let error = place.squall(&["run", "words.toml", "-q", &to, "--set", at_least_once], 1).stderr;
    assert!(error.contains("exactly-once"), "{error}");

    let error = place.squall(&["run", "words.toml", "--resume=latest"], 2).stderr;
    assert!(error.contains("`latest` is no checkpoint: write EPOCH-NUMBER"), "{error}");
    place.squall(&["run", "words.toml", "--resume", &ids[0]], 2);
    place.squall(&["run", "words.toml", &to, "--discard-checkpoints"], 2);
    // The lock has another holder each time.
    let without_lock = |mut files: BTreeMap<String, Vec<u8>>| {
        files.remove("LOCK");
        files
    };
    assert!(without_lock(place.files()) == without_lock(files), "something was changed");
}

/// Files are read a piece at a time, and are checked as a whole before anything begins with them.
#[test]
fn a_damaged_file_is_refused_before_anything_is_started() {
    let place = killed();
    let is_snapshot = |name: &&String| name.starts_with("snapshot") && name.contains("count");
    let latest = checkpoints(&place).pop().expect("there are some");
    let inspected = place.squall(&["checkpoint", "inspect", "checkpoints", &latest, "--json"], 0).stdout;
    let before = place.files();
    let name =
        before.keys().filter(is_snapshot).find(|name| inspected.contains(*name)).expect("`count` keeps");
    let whole = &before[name];
    let check = |damaged: Option<Vec<u8>>, flaw: &str| {
        let path = place.path("checkpoints").join(name);
        match &damaged {
            Some(bytes) => fs::write(&path, bytes).expect("it can be written"),
            None => fs::remove_file(&path).expect("it can be deleted"),
        }
        for more in [
            &[][..],
            &["--set", "bolt.count.parallelism=3"],
            &["--workers", "2", "--set", "state.backend=redb"],
        ] {
            let args =
                [&["run", "words.toml", "-q", "--resume", "--set", "state.directory=state"], &FAST[..], more]
                    .concat();
            let error = place.squall(&args, 1).stderr;
            assert!(error.contains(&format!("checkpoint file `{name}`")) && error.contains(flaw), "{error}");
            assert_eq!(checkpoints(&place).last(), Some(&latest), "no other is taken");
            let (files, is_named) = (place.files(), |name: &&String| inspected.contains(&**name));
            let missing: Vec<_> =
                before.keys().filter(is_named).filter(|name| !files.contains_key(*name)).collect();
            assert!(
                missing.iter().all(|other| *other == name && damaged.is_none()),
                "nothing is deleted: {missing:?}"
            );
        }
        fs::write(&path, whole).expect("it can be written");
    };
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        Some(bytes)
    };
    check(flipped(20), "its checksum is wrong");
    check(flipped(whole.len() - 1), "its checksum is wrong");
    check(Some(whole[..whole.len() / 2].to_vec()), &format!("of its {} bytes are there", whole.len()));
    check(Some([&whole[..], b"x"].concat()), &format!("it is longer than the {} bytes", whole.len()));
    check(None, "it is missing");
    place.squall(&[&["run", "words.toml", "-q", "--resume"], &FAST[..]].concat(), 0);
    assert!(published(&place).values().all(|times| *times == 1));
}
