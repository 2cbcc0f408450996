//! `squall run --allow-dropped-state COMPONENT.STATE`: a state that a component does not register any more is left behind.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;
#[path = "kit/mod.rs"]
mod kit;

use std::fs;

use checkpoint_kit::Place;
use kit::wait_until;
use serde_json::Value;

/// Numbers, counted by their last two digits. The bolt `tally` is also one that keeps something else.
const NUMBERS: &str = r#"
[topology]
name = "numbers"
delivery = "exactly-once"
checkpoint = { interval = "50ms", storage = "checkpoints" }

[state]
memory = "64KiB"
directory = "state"

[spout.numbers]
type = "generate"
config = { rate = 4_000, fields = { n = "{seq}" } }

[bolt.modulo]
type = "map"
inputs = ["numbers"]
config = { set = { n = "n % 100" }, keep = [] }

[bolt.tally]
type = "count"
parallelism = 2
inputs = [{ from = "modulo", fields = ["n"] }]
config = { by = ["n"] }

[bolt.again]
type = "count"
inputs = [{ from = "modulo", fields = ["n"] }]
config = { by = ["n"] }
"#;

/// What stands in place of `tally`: it lets each second number pass, and notes how many have come since.
const SAMPLED: &str = r#"
[bolt.tally]
type = "sample"
parallelism = 2
inputs = [{ from = "modulo", fields = ["n"] }]
config = { fields = ["n"], every = 2 }

[bolt.again]"#;

const FLAG: &str = "--allow-dropped-state";

/// A directory with checkpoints, at least two, of a run of the numbers that was killed, and the next version of its topology.
fn killed(args: &[&str]) -> Place {
    let place = Place::new();
    fs::write(place.path("words.toml"), NUMBERS).expect("it can be written");
    kill_after_next(&place, args);
    kill_after_next(&place, &[args, &["--resume"]].concat());
    let (before, rest) = NUMBERS.split_once("[bolt.tally]").expect("it has one");
    let (_, after) = rest.split_once("[bolt.again]").expect("it has one");
    fs::write(place.path("words.toml"), [before, SAMPLED, after].concat()).expect("it can be written");
    place
}

fn kill_after_next(place: &Place, args: &[&str]) {
    let mut child = place.run_until_next(args);
    child.kill().expect("it runs");
    child.wait().expect("it was started");
}

/// The latest checkpoint, as `inspect` shows it.
fn latest(place: &Place) -> Value {
    place.squall(&["checkpoint", "inspect", "checkpoints", "--json"], 0).json()
}

/// The checkpoints that are there, oldest first.
fn checkpoints(place: &Place) -> Vec<String> {
    let listed = place.squall(&["checkpoint", "list", "checkpoints", "--json"], 0).json();
    let id = |listed: &Value| listed["checkpoint"].as_str().expect("a text").to_owned();
    listed.as_array().expect("an array").iter().map(id).collect()
}

/// The names of the files and states of `tally` in a checkpoint.
fn of_tally(inspected: &Value) -> (Vec<String>, Vec<String>) {
    let tasks = inspected["tasks"].as_array().expect("an array");
    let tally = || tasks.iter().filter(|task| task["component"] == "tally");
    let names = |of: &str| {
        let all = tally().flat_map(|task| task[of].as_array().expect("an array").clone());
        all.map(|one| one["name"].as_str().expect("a text").to_owned()).collect()
    };
    (names("files"), names("states"))
}

/// Without the flag the run ends, with both sides. With it the run goes on, and its checkpoints do not have the state.
fn check(first: &[&str], begin: impl Fn(&Place) -> String, second: &[&str]) {
    let place = killed(first);
    let begin = begin(&place);
    let checkpoint = begin.strip_prefix("--resume=").unwrap_or_default();
    let inspect = ["checkpoint", "inspect", "checkpoints", "--json", checkpoint];
    let inspect = &inspect[..if checkpoint.is_empty() { 4 } else { 5 }];
    let before = of_tally(&place.squall(inspect, 0).json()).0;
    let args = |more: &[&'static str]| [&[&*begin][..], second, more].concat();
    let listed = checkpoints(&place);
    let refused = |more: &[&'static str]| {
        let error = place.squall(&[&["run", "words.toml", "-q"], &args(more)[..]].concat(), 1).stderr;
        place.squall(inspect, 0);
        assert_eq!(checkpoints(&place), listed, "none is given up");
        error
    };
    let error = refused(&[]);
    assert!(
        error.contains("the checkpoint has `tally.counts` (value<")
            && error.contains("and the topology has `tally.since_passed` (operator<u64>)")
            && error.contains("`--allow-dropped-state tally.counts`"),
        "{error}"
    );
    let error = refused(&[FLAG, "tally.count"]);
    let expected = "`--allow-dropped-state tally.count` names nothing in it that may be left behind: it has `again.counts`";
    assert!(error.contains(expected) && error.contains("`tally.counts`"), "{error}");
    let error = refused(&[FLAG, "tally"]);
    assert!(
        error.contains("names a component that the topology has") && error.contains("`tally.counts`"),
        "{error}"
    );

    kill_after_next(&place, &args(&[FLAG, "tally.counts"]));
    for _ in 0..2 {
        let (files, states) = of_tally(&latest(&place));
        assert!(!states.contains(&"counts".to_owned()), "{states:?}");
        assert!(files.iter().all(|name| !before.contains(name)), "{files:?}");
        let dump = ["state", "get", "checkpoints", "--component", "tally", "--dump"];
        assert!(!place.squall(&dump, 0).stdout.contains("counts"));
        // Those that have only changes do not have it, either. The flag is not needed any more.
        let more = [&["--resume"], second].concat();
        kill_after_next(&place, &more);
    }
    let again = ["state", "get", "checkpoints", "--component", "again", "--state", "counts", "--dump"];
    assert_eq!(place.squall(&again, 0).stdout.lines().count(), 100, "what others keep is restored");
}

fn resume(_: &Place) -> String {
    "--resume".to_owned()
}

#[test]
fn a_run_is_continued_without_a_state() {
    check(&[], resume, &[]);
}

#[test]
fn so_is_one_in_workers_whose_keys_left_memory() {
    let redb = ["--set", "state.backend=redb"];
    check(&redb, resume, &[&redb[..], &["--workers", "2"]].concat());
}

#[test]
fn and_with_another_number_of_tasks() {
    check(&["--set", "state.backend=redb"], resume, &["--set", "bolt.tally.parallelism=3"]);
}

#[test]
fn a_run_goes_back_without_a_state() {
    let oldest = |place: &Place| {
        let listed = place.squall(&["checkpoint", "list", "checkpoints", "--json"], 0).json();
        format!("--resume={}", listed[0]["checkpoint"].as_str().expect("a text"))
    };
    check(&[], oldest, &["--set", "bolt.tally.parallelism=1"]);
}

#[test]
fn a_run_begins_with_a_savepoint_without_a_state() {
    let place = killed(&["--set", "state.backend=redb"]);
    fs::rename(place.path("checkpoints"), place.path("saved")).expect("it can be moved");
    let saved = fs::read_dir(place.path("saved")).expect("it is there").count();
    let from = ["run", "words.toml", "-q", "--from-savepoint", "saved"];
    let error = place.squall(&from, 1).stderr;
    assert!(error.contains("`--allow-dropped-state tally.counts`"), "{error}");
    let error =
        place.squall(&[&from[..], &["--discard-checkpoints", FLAG, "tally:count"]].concat(), 1).stderr;
    assert!(
        error.contains("names nothing in it that may be left behind: it has `again.counts`, `tally.counts`"),
        "{error}"
    );

    assert!(!place.path("checkpoints").exists(), "nothing has begun");
    let before = of_tally(&place.squall(&["checkpoint", "inspect", "saved", "--json"], 0).json()).0;
    let manifests = |files: &str| -> Vec<String> {
        let entries = fs::read_dir(place.path(files)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with("manifest") && name.ends_with("json")).collect()
    };
    let of_savepoint = manifests("saved");
    let more = ["--discard-checkpoints", FLAG, "tally.counts"];
    let mut child = place.command(&[&from[..], &more].concat()).spawn().expect("it can be started");
    wait_until("a checkpoint follows", || {
        manifests("checkpoints").iter().any(|name| !of_savepoint.contains(name))
    });
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    let (written, states) = of_tally(&latest(&place));
    assert!(!states.contains(&"counts".to_owned()), "{states:?}");
    assert!(written.iter().all(|name| !before.contains(name)), "{written:?}");
    assert_eq!(fs::read_dir(place.path("saved")).expect("it is there").count(), saved, "it stays as it is");
}

/// The checkpoints of the run before were deleted before it was found out that the savepoint does not fit.
#[test]
fn a_savepoint_that_does_not_fit_deletes_nothing() {
    for workers in [&[][..], &["--workers", "2"]] {
        let place = killed(&[]);
        fs::create_dir(place.path("saved")).expect("it can be made");
        for (name, bytes) in place.files() {
            fs::write(place.path("saved").join(name), bytes).expect("it can be written");
        }
        let before = place.files();
        let from = ["run", "words.toml", "-q", "--from-savepoint", "saved", "--discard-checkpoints"];
        let error = place.squall(&[&from[..], workers].concat(), 1).stderr;
        assert!(
            error.contains("cannot start") && error.contains("`--allow-dropped-state tally.counts`"),
            "{error}"
        );
        let without_lock = |files: std::collections::BTreeMap<String, Vec<u8>>| -> Vec<(String, Vec<u8>)> {
            files.into_iter().filter(|(name, _)| name != "LOCK").collect()
        };
        assert_eq!(without_lock(place.files()), without_lock(before), "no epoch has begun");
        place.squall(&["run", "words.toml", "-q", "--resume", FLAG, "tally.counts", "--for", "1s"], 0);
    }
}
