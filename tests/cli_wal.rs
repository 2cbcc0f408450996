//! Standard input in a topology that is exactly-once: it comes once, and goes through a write-ahead log.

#[path = "checkpoint_kit/mod.rs"]
mod checkpoint_kit;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use checkpoint_kit::Place;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Counts lines, publishes each count, and shows each line when it has come.
const LINES: &str = r#"
[topology]
name = "lines"
delivery = "exactly-once"
checkpoint = { interval = "50ms", storage = "checkpoints" }

[spout.lines]
type = "lines"
wal = true
config = { path = "-" }

[bolt.count]
type = "count"
parallelism = 2
inputs = [{ from = "lines", fields = ["line"] }]
config = { by = ["line"], emit = "updates" }

[bolt.store]
type = "file"
inputs = ["count"]
config = { path = "out/counts-{task}-{seq}.jsonl" }

[bolt.show]
type = "print"
inputs = ["lines"]
"#;

fn place() -> Place {
    let place = Place::new();
    fs::write(place.path("lines.toml"), LINES).expect("it can be written");
    place
}

/// So many lines, of which some are equal, and a last one that is not.
fn lines(count: usize, last: &str) -> String {
    let line = |n: usize| format!("word {}\n", n * n % 97);
    (0..count).map(line).collect::<String>() + last + "\n"
}

/// A run with a pipe as its standard input.
struct Fed {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Fed {
    fn start(place: &Place, args: &[&str]) -> Fed {
        let mut command = place.command(&[&["run", "lines.toml", "-q"], args].concat());
        command.stdin(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("it can be started");
        let stdin = child.stdin.take().expect("it is a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Fed { child, stdin, stdout }
    }

    /// Writes a text, and waits until its last line was shown: then everything before it was read, too.
    fn feed(&mut self, text: &str) {
        let last = text.lines().last().expect("it has lines").to_owned();
        std::thread::scope(|scope| {
            let stdin = &mut self.stdin;
            scope.spawn(move || stdin.write_all(text.as_bytes()).expect("the run reads it"));
            let mut line = String::new();
            while !line.contains(&last) {
                line.clear();
                let len = self.stdout.read_line(&mut line).expect("it is text");
                assert!(len > 0, "the run has ended before it has shown `{last}`");
            }
        });
    }

    /// Kills it as `kill -9` does.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started");
    }

    /// Its input has ended. Waits until it has, too, and returns its exit code.
    fn end(self) -> Option<i32> {
        let Fed { mut child, stdin, mut stdout } = self;
        drop(stdin);
        std::io::copy(&mut stdout, &mut std::io::sink()).expect("it can be read");
        child.wait().expect("it was started").code()
    }

    /// Kills all its worker processes, and waits until they are gone.
    fn kill_workers(&self) {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let mut killed = Vec::new();
        for task in tasks {
            let children = task.expect("it can be read").path().join("children");
            for pid in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
                let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a process");
                kill_process(pid, Signal::KILL).expect("it lives");
                killed.push(pid);
            }
        }
        assert_eq!(killed.len(), 2, "it has two workers");
        // A process that is being killed may still take what comes in the pipe, as long as it is in a read.
        for pid in killed {
            while Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists() {
                std::thread::yield_now();
            }
        }
    }
}

/// Each count of each line must have been published once.
fn check_counts(place: &Place, input: &str) {
    let mut expected = BTreeMap::<String, u64>::new();
    input.lines().for_each(|line| *expected.entry(line.to_owned()).or_default() += 1);
    let mut found = BTreeMap::<String, Vec<u64>>::new();
    for entry in fs::read_dir(place.path("out")).expect("files were written") {
        let path = entry.expect("it can be read").path();
        assert!(path.extension().is_some_and(|ending| ending == "jsonl"), "left over: {}", path.display());
        for row in fs::read_to_string(path).expect("it is text").lines() {
            let row: Value = serde_json::from_str(row).expect("it is JSON");
            let (line, count) = (row["line"].as_str(), row["count"].as_u64());
            let counts = found.entry(line.expect("a text").to_owned()).or_default();
            counts.push(count.expect("a number"));
        }
    }
    found.values_mut().for_each(|counts| counts.sort_unstable());
    let expected: BTreeMap<String, Vec<u64>> =
        expected.into_iter().map(|(line, count)| (line, (1..=count).collect())).collect();
    assert!(found == expected, "the counts are {found:?}");
}

/// The run is killed twice, and continued with what comes next in the pipe.
fn check_kills(workers: &[&str]) {
    let place = place();
    let (first, second, third) =
        (lines(3000, "end of the first"), lines(2000, "end of the second"), lines(999, "the end"));
    let mut run = Fed::start(&place, workers);
    run.feed(&first);
    while place.latest() == 0 {
        std::thread::yield_now();
    }
    run.kill();
    let resume = [&["--resume"], workers].concat();
    let mut run = Fed::start(&place, &resume);
    run.feed(&second);
    run.kill();
    let mut run = Fed::start(&place, &resume);
    run.feed(&third);
    assert_eq!(run.end(), Some(0));
    check_counts(&place, &(first + &second + &third));
}

#[test]
fn what_a_killed_run_had_read_is_not_lost() {
    check_kills(&[]);
}

#[test]
fn several_workers_lose_nothing_either() {
    check_kills(&["--workers", "2"]);
}

/// There is no checkpoint yet: the next run begins with the log, without being asked to.
#[test]
fn what_was_read_before_the_first_checkpoint_is_not_lost() {
    let place = place();
    let (first, second) = (lines(3000, "end of the first"), lines(100, "the end"));
    let mut run = Fed::start(&place, &["--set", "topology.checkpoint.interval=1h"]);
    run.feed(&first);
    run.kill();
    assert_eq!(place.latest(), 0);
    let mut run = Fed::start(&place, &[]);
    run.feed(&second);
    assert_eq!(run.end(), Some(0));
    check_counts(&place, &(first + &second));
}

/// The process that reads the pipe dies, and the one that takes its place goes on.
#[test]
fn a_worker_that_is_killed_loses_nothing_that_it_had_read() {
    let place = place();
    let (first, second) = (lines(3000, "end of the first"), lines(2000, "the end"));
    let mut run = Fed::start(&place, &["--workers", "2"]);
    run.feed(&first);
    run.kill_workers();
    run.feed(&second);
    assert_eq!(run.end(), Some(0));
    check_counts(&place, &(first + &second));
}

#[test]
fn a_run_that_has_ended_leaves_an_empty_log_and_discarding_empties_it() {
    let place = place();
    let (first, second) = (lines(50, "end of the first"), lines(70, "the end"));
    let mut run = Fed::start(&place, &[]);
    run.feed(&first);
    assert_eq!(run.end(), Some(0));
    // A new run counts from 1 again, and nothing of the first comes again.
    fs::remove_dir_all(place.path("out")).expect("it is there");
    let mut run = Fed::start(&place, &[]);
    run.feed(&second);
    run.kill();
    let _ = fs::remove_dir_all(place.path("out"));
    let mut run = Fed::start(&place, &["--discard-checkpoints"]);
    run.feed(&first);
    assert_eq!(run.end(), Some(0));
    check_counts(&place, &first);
}

#[test]
fn a_place_that_cannot_have_a_log_ends_the_run() {
    let place = place();
    fs::write(place.path("taken"), "").expect("it can be written");
    for storage in ["taken", "/proc/none"] {
        let storage_key = format!("topology.checkpoint.wal_storage={storage}");
        let text = place.squall(&["run", "lines.toml", "-q", "--set", &storage_key], 1).stderr;
        let remedy =
            "name a directory that is there or can be made (`wal_storage` in `[topology.checkpoint]`)";
        assert!(text.contains(storage) && text.contains(remedy), "{text}");
    }
}

/// A line that is larger than a tuple may be is lost, and the lines behind it are not.
#[test]
fn a_line_that_is_refused_reaches_the_exit_code() {
    let place = place();
    let mut run = Fed::start(&place, &["--set", "topology.queue.tuple_size_max=2KiB"]);
    let long = "x".repeat(4096);
    run.feed(&format!("before\n{long}\nafter\n"));
    assert_eq!(run.end(), Some(1));
    check_counts(&place, "before\nafter\n");
}

#[test]
fn a_file_as_standard_input_is_refused() {
    let place = place();
    let mut command = place.command(&["run", "lines.toml", "-q"]);
    command.stdin(fs::File::open(place.path("lines.toml")).expect("it is there"));
    let output = command.output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("standard input is a file") && text.contains("name the file by `path`"), "{text}");
}

#[test]
fn the_error_about_standard_input_names_the_log() {
    let place = place();
    fs::write(place.path("without.toml"), LINES.replace("wal = true", "")).expect("it can be written");
    let printed = place.squall(&["validate", "without.toml"], 1);
    let text = printed.stdout + &printed.stderr;
    assert!(text.contains("cannot go back to a position") && text.contains("set `wal = true`"), "{text}");
}
