//! `squall ps`, `savepoint` and `stop`, and `squall run --from-savepoint`.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Child, Command};

use checkpoint_kit::{Place, Printed};
use serde_json::Value;

/// Words without end, each count of which is published.
const WORDS: &str = r#"
[topology]
name = "words"
delivery = "exactly-once"
checkpoint = { interval = "50ms", storage = "checkpoints" }

[spout.words]
type = "generate"
config = { rate = 4_000, rows = [{ word = "storm" }, { word = "squall" }] }

[bolt.count]
type = "count"
parallelism = 2
inputs = [{ from = "words", fields = ["word"] }]
config = { by = ["word"], emit = "updates" }

[bolt.store]
type = "file"
parallelism = 2
inputs = ["count"]
config = { path = "out/counts-{task}-{seq}.jsonl" }
"#;

/// Flags by which a run ends when it has emitted so many words, without a pause.
fn until(count: u64) -> [String; 4] {
    let set = |key: &str, value: u64| format!("spout.words.config.{key}={value}");
    ["--set".to_owned(), set("rate", 1_000_000), "--set".to_owned(), set("count", count)]
}

/// These arguments, and more.
fn with<'a>(args: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    args.iter().copied().chain(more.iter().map(String::as_str)).collect()
}

struct Runs {
    place: Place,
    runtime: tempfile::TempDir,
}

impl Runs {
    fn new() -> Runs {
        let place = Place::new();
        fs::write(place.path("words.toml"), WORDS).expect("it can be written");
        Runs { place, runtime: tempfile::tempdir().expect("a directory") }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        command.env("XDG_RUNTIME_DIR", self.runtime.path());
        command
    }

    #[track_caller]
    fn squall(&self, args: &[&str], code: i32) -> Printed {
        let output = self.command(args).output().expect("it can be started");
        let printed = Printed::of(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{}\n{}", printed.stdout, printed.stderr);
        printed
    }

    /// Starts a run, and waits until it has taken a checkpoint.
    fn start(&self, more: &[&str]) -> Child {
        let child = self.command(&[&["run", "words.toml", "--json"], more].concat()).spawn();
        let child = child.expect("it can be started");
        while self.runs().first().is_none_or(|run| run["checkpoint"].is_null()) {
            std::thread::yield_now();
        }
        child
    }

    fn runs(&self) -> Vec<Value> {
        let listed = self.squall(&["ps", "--json"], 0).json();
        listed.as_array().expect("an array").clone()
    }

    /// The counts that are published, for each word.
    fn published(&self) -> BTreeMap<String, Vec<u64>> {
        let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for entry in fs::read_dir(self.place.path("out")).expect("files were written") {
            let path = entry.expect("it can be read").path();
            assert!(path.extension().is_some_and(|ending| ending == "jsonl"), "{} is left", path.display());
            for line in fs::read_to_string(path).expect("it is text").lines() {
                let row: Value = serde_json::from_str(line).expect("it is JSON");
                let (word, count) = (row["word"].as_str(), row["count"].as_u64());
                counts.entry(word.expect("a word").to_owned()).or_default().push(count.expect("a count"));
            }
        }
        counts.values_mut().for_each(|counts| counts.sort_unstable());
        counts
    }

    #[track_caller]
    fn check_counts(&self, upto: impl Fn(&str) -> u64) {
        for (word, counts) in self.published() {
            let expected: Vec<u64> = (1..=upto(&word)).collect();
            assert!(counts == expected, "{word}: {} counts, not {}", counts.len(), expected.len());
        }
    }
}

/// The output of a run that ends.
fn summary(child: Child) -> Value {
    let output = child.wait_with_output().expect("it was started");
    let printed = Printed::of(&output);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", printed.stdout, printed.stderr);
    let last = printed.stdout.lines().last().expect("it has a summary");
    let summary: Value = serde_json::from_str(last).expect("it is JSON");
    summary["summary"].clone()
}

/// A run is stopped with a savepoint, another goes on from it, with the same counts. The savepoint stays as it is.
fn check_stops_and_goes_on(first: &[&str], second: &[&str]) {
    let runs = Runs::new();
    let child = runs.start(first);
    let directory = runs.place.path("saved");
    let flag = format!("--savepoint={}", directory.display());
    let printed = runs.squall(&["stop", "words", &flag], 0);
    assert_eq!(printed.stdout.trim_end(), directory.display().to_string());
    let summary = summary(child);
    let listed = runs.squall(&["checkpoint", "list", "saved", "--json"], 0).json();
    assert_eq!(summary["checkpoints"]["stopped_with"], listed[0]["checkpoint"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "a savepoint is one checkpoint");
    runs.squall(&["checkpoint", "inspect", "saved"], 0);
    let emitted = summary["emitted"].as_u64().expect("a number");
    // Everything that was emitted is counted and published.
    runs.check_counts(|word| if word == "storm" { emitted.div_ceil(2) } else { emitted / 2 });
    assert_eq!(runs.runs().len(), 0);

    // The run has not come to its end, so its checkpoints are not deleted unasked.
    let printed = runs.squall(&["run", "words.toml", "--from-savepoint", "saved"], 1);
    assert!(printed.stderr.contains("--discard-checkpoints"), "{}", printed.stderr);
    let from = ["run", "words.toml", "-q", "--json", "--from-savepoint", "saved", "--discard-checkpoints"];
    let end = 2 * emitted.div_ceil(2) + 2_000;
    let printed = runs.squall(&with(&[&from[..], second].concat(), &until(end)), 0);
    let resumed = format!("\"resumed_from\":{}", listed[0]["checkpoint"]);
    assert!(printed.stdout.contains(&resumed), "{}", printed.stdout);
    runs.check_counts(|_| end / 2);
    runs.squall(&["checkpoint", "inspect", "saved"], 0);
}

#[test]
fn a_run_is_stopped_with_a_savepoint_and_another_goes_on() {
    check_stops_and_goes_on(&[], &[]);
}

#[test]
fn so_is_one_in_workers_and_their_number_may_change() {
    check_stops_and_goes_on(&["--workers", "2"], &["--workers", "3"]);
}

#[test]
fn the_number_of_tasks_may_change() {
    let tasks = ["--set", "bolt.count.parallelism=5", "--set", "bolt.store.parallelism=1", "--workers", "3"];
    check_stops_and_goes_on(&[], &tasks);
}

#[test]
fn a_savepoint_is_taken_while_the_run_goes_on() {
    let runs = Runs::new();
    let mut child = runs.start(&[]);
    let taken = runs.squall(&["savepoint", "create", "words", "--json"], 0).json();
    let directory = taken["directory"].as_str().expect("a text").to_owned();
    assert!(directory.starts_with(&*runs.place.path("savepoints").to_string_lossy()), "{directory}");
    let run = runs.runs()[0].clone();
    let end = run["emitted"].as_u64().expect("a number") + 1_000;
    assert_eq!(run["pid"], child.id());
    let again = runs.squall(&["savepoint", "create", &child.id().to_string(), "--dir", &directory], 1);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    // What was published after the savepoint is there, and comes again: the savepoint is an earlier checkpoint. In
    // another place nothing is.
    let listed = runs.squall(&["checkpoint", "list", &directory, "--json"], 0).json();
    assert_eq!(listed[0]["checkpoint"], taken["checkpoint"]);
    let elsewhere = ["--set", "bolt.store.config.path=\"other/{task}-{seq}.jsonl\""];
    let from = ["run", "words.toml", "-q", "--from-savepoint", &directory, "--discard-checkpoints"];
    runs.squall(&with(&[&from[..], &elsewhere].concat(), &until(end)), 0);
    let rows: usize = fs::read_dir(runs.place.path("other"))
        .expect("files were written")
        .map(|entry| fs::read_to_string(entry.expect("it is there").path()).expect("text").lines().count())
        .sum();
    assert!(rows >= 1_000 && (rows as u64) < end, "only what comes after the savepoint: {rows} of {end}");
}

/// The arguments by which the count of a word is asked for.
const STORM: [&str; 6] = ["--component", "count", "--state", "counts", "--key", "[\"storm\"]"];

fn count_of(printed: &Printed) -> u64 {
    printed.json()["count"].as_u64().expect("a number")
}

/// What was emitted before the question is in the answer, although no checkpoint would be taken for an hour.
fn check_state_of_this_moment(more: &[&str]) {
    let runs = Runs::new();
    let hourly = ["run", "words.toml", "-q", "--set", "topology.checkpoint.interval=1h"];
    let mut child = runs.command(&[&hourly[..], more].concat()).spawn().expect("it can be started");
    let emitted_after = |before: u64| loop {
        let emitted = runs.runs().first().map_or(0, |run| run["emitted"].as_u64().expect("a number"));
        if emitted > before {
            return emitted;
        }
        std::thread::yield_now();
    };
    let get = |more: &[&str], code: i32| {
        runs.squall(&[&["state", "get", "words"], &STORM[..], more].concat(), code)
    };
    let mut emitted = emitted_after(0);
    let missing = get(&["--latest"], 1).stderr;
    assert!(missing.contains("there are no checkpoints"), "{missing}");
    let mut last = 0;
    for number in 1..=3 {
        let printed = get(&[], 0);
        let count = count_of(&printed);
        assert!(count >= emitted / 2 && count > last, "{count} of {emitted}, after {last}");
        let note = format!("checkpoint 1-{number} of `words`, taken 20");
        assert!(
            printed.stderr.starts_with(&note) && printed.stderr.lines().count() == 1,
            "{}",
            printed.stderr
        );
        last = count;
        emitted = emitted_after(2 * last + 1);
    }
    // The run is not asked.
    assert_eq!(count_of(&get(&["--latest"], 0)), last);
    assert!(count_of(&get(&["--checkpoint", "1-1"], 0)) < last);
    let listed = runs.squall(&["checkpoint", "list", "words", "--json"], 0).json();
    let listed: Vec<&Value> =
        listed.as_array().expect("a list").iter().map(|listed| &listed["checkpoint"]).collect();
    assert_eq!(listed, ["1-1", "1-2", "1-3"]);
    child.kill().expect("it runs");
    child.wait().expect("it was started");
}

#[test]
fn the_state_of_a_running_topology_is_that_of_this_moment() {
    check_state_of_this_moment(&[]);
}

#[test]
fn so_is_that_of_one_in_workers() {
    check_state_of_this_moment(&["--workers", "2"]);
}

#[test]
fn a_run_is_found_by_its_name_and_its_checkpoints_by_their_directory() {
    let runs = Runs::new();
    let mut child = runs.start(&[]);
    let pid = child.id().to_string();
    let count = |place: &str| count_of(&runs.squall(&[&["state", "get", place], &STORM[..]].concat(), 0));
    let before = count(&pid);
    let listed = runs.squall(&["checkpoint", "list", &pid, "--json"], 0).json();
    assert!(!listed.as_array().expect("a list").is_empty());
    let missing = runs.squall(&[&["state", "get", "word"], &STORM[..]].concat(), 1).stderr;
    let expected = format!("; and there is no run `word`: words-{pid} run here");
    assert!(missing.contains("cannot open the directory `word`") && missing.contains(&expected), "{missing}");
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    let over = runs.squall(&[&["state", "get", "words"], &STORM[..]].concat(), 1).stderr;
    assert!(over.contains("there is no run `words`: no topology runs here"), "{over}");
    // By the directory it is still there.
    assert!(count("checkpoints") >= before);
}

#[test]
fn a_run_is_drained_by_a_command() {
    let runs = Runs::new();
    let child = runs.start(&["--workers", "2"]);
    let printed = runs.squall(&["stop", "words"], 0);
    assert!(printed.stderr.contains("is draining"), "{}", printed.stderr);
    let summary = summary(child);
    let emitted = summary["emitted"].as_u64().expect("a number");
    assert!(summary["checkpoints"]["stopped_with"].is_null());
    runs.check_counts(|word| if word == "storm" { emitted.div_ceil(2) } else { emitted / 2 });
    // It has come to its end, so another may begin.
    runs.squall(&["run", "words.toml", "-q", "--for", "1s"], 0);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let runs = Runs::new();
    let check = |args: &[&str], code: i32, why: &str| {
        let printed = runs.squall(args, code);
        assert!(printed.stderr.contains(why), "{args:?}: {}", printed.stderr);
    };
    let refused = |args: &[&str], why: &str| check(args, 1, why);
    // Nobody listens there, so it is not known whether a cluster has such a topology.
    let nowhere = ["--nimbus", "127.0.0.1:1"];
    check(
        &["stop", "words", nowhere[0], nowhere[1]],
        4,
        "there is no run `words`: no topology runs here; and in a cluster: no nimbus answers",
    );
    refused(&["stop", "words", "--savepoint"], "there is no run `words`: no topology runs here");
    refused(&["run", "words.toml", "--from-savepoint", "nowhere"], "nowhere");
    fs::create_dir(runs.place.path("empty")).expect("it can be made");
    refused(&["run", "words.toml", "--from-savepoint", "empty"], "there are no checkpoints");
    assert!(!runs.place.path("checkpoints/manifest-1-1.json").exists(), "nothing was started");

    let mut child = runs.start(&[]);
    check(&["stop", "word", nowhere[0], nowhere[1]], 4, "there is no run `word`: words-");
    runs.squall(&["savepoint", "create", "words", "--dir", "saved"], 0);
    // Of another topology.
    let other = WORDS.replacen("\"words\"", "\"others\"", 1).replace("\"checkpoints\"", "\"others\"");
    fs::write(runs.place.path("others.toml"), other).expect("it can be written");
    refused(&["run", "others.toml", "--from-savepoint", "saved"], "belongs to topology `words`");
    // With other tasks.
    let more = ["run", "words.toml", "--from-savepoint", "saved", "--discard-checkpoints"];
    let storage =
        ["--set", "topology.checkpoint.storage=\"elsewhere\"", "--set", "spout.words.parallelism=2"];
    refused(&[&more[..], &storage].concat(), "the checkpoint has no position of task 0 of 2");
    // Without a component that keeps something.
    let less = WORDS.replace("bolt.count", "bolt.tally").replace("[\"count\"]", "[\"tally\"]");
    let less = less.replace("\"checkpoints\"", "\"less\"");
    fs::write(runs.place.path("less.toml"), less).expect("it can be written");
    let from = ["run", "less.toml", "-q", "--from-savepoint", "saved"];
    refused(&from, "it has state `count.counts`, and the topology has no component `count`");
    let allowed = ["--allow-dropped-state", "count", "--for", "1s"];
    runs.squall(&[&from[..], &allowed].concat(), 0);
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    // A file of it is damaged. The checkpoints of the run before are still there.
    let checkpoints = runs.squall(&["checkpoint", "list", "checkpoints"], 0).stdout;
    let files = fs::read_dir(runs.place.path("saved")).expect("it is there");
    let mut paths = files.map(|entry| entry.expect("it is there").path());
    let snapshot = paths.find(|path| path.to_string_lossy().contains("snapshot-"));
    let snapshot = snapshot.expect("`count` keeps something");
    let bytes = fs::read(&snapshot).expect("it can be read");
    fs::write(&snapshot, &bytes[..bytes.len() - 3]).expect("it can be written");
    refused(&more, "cannot be used");
    let listed = runs.squall(&["checkpoint", "list", "checkpoints"], 0).stdout;
    let ids = |listed: &str| -> Vec<String> {
        listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    assert_eq!(ids(&listed), ids(&checkpoints));
    // The socket of the run that was killed is taken away.
    assert_eq!(runs.runs().len(), 0);
    assert_eq!(fs::read_dir(runs.runtime.path().join("squall")).expect("it is there").count(), 0);

    let plain = WORDS.replace("exactly-once", "at-least-once").replace("checkpoint = {", "# checkpoint = {");
    fs::write(runs.place.path("plain.toml"), plain).expect("it can be written");
    let mut child = runs.command(&["run", "plain.toml", "-q"]).spawn().expect("it can be started");
    while runs.runs().is_empty() {
        std::thread::yield_now();
    }
    refused(
        &["savepoint", "create", "words"],
        "only a topology with `delivery = \"exactly-once\"` takes any",
    );
    refused(
        &[&["state", "get", "words"], &STORM[..]].concat(),
        "keeps no checkpoints: only a topology with `delivery = \"exactly-once\"` takes any, and what the bolts of \
         others keep is in their memory alone",
    );
    child.kill().expect("it runs");
    child.wait().expect("it was started");
}

/// Each refusal left a directory in the home of the user.
#[test]
fn a_start_that_is_refused_leaves_nothing() {
    let runs = Runs::new();
    let anywhere = WORDS.replace(", storage = \"checkpoints\"", "");
    assert_ne!(anywhere, WORDS);
    fs::write(runs.place.path("words.toml"), anywhere).expect("it can be written");
    for arg in ["--resume=1-1", "--from-savepoint=nowhere"] {
        runs.squall(&["run", "words.toml", "-q", arg], 1);
        assert!(!runs.place.path("user-state").exists(), "{arg}");
    }
    runs.squall(&["validate", "words.toml"], 0);
    assert!(!runs.place.path("user-state").exists());
    // What was there before stays.
    fs::create_dir_all(runs.place.path("user-state/squall")).expect("it can be made");
    runs.squall(&["run", "words.toml", "-q", "--resume=1-1"], 1);
    let left = fs::read_dir(runs.place.path("user-state/squall")).expect("it was not made for this run");
    assert_eq!(left.count(), 0);
}

/// Whoever can open a socket can stop a run.
#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let runs = Runs::new();
    let sockets = runs.runtime.path().join("squall");
    fs::create_dir(&sockets).expect("it can be made");
    fs::set_permissions(&sockets, fs::Permissions::from_mode(0o755)).expect("it can be changed");
    let printed = runs.squall(&["ps"], 1);
    assert!(printed.stderr.contains("is not a directory of this user alone"), "{}", printed.stderr);
    // A run goes on without a socket, and says so.
    let printed = runs.squall(&with(&["run", "words.toml"], &until(1_000)), 0);
    assert!(printed.stderr.contains("cannot reach this run"), "{}", printed.stderr);
    fs::remove_dir(&sockets).expect("it is empty");
    symlink("/tmp", &sockets).expect("it can be made");
    assert!(runs.squall(&["ps"], 1).stderr.contains("of this user alone"));
}
