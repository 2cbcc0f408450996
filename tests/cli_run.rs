//! `squall run`: what it prints where, how it ends, and with which exit code.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything here may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// Endless: numbers as fast as they are taken.
const NUMBERS: &str = r#"
topology.name = "numbers"
spout.numbers = { type = "generate", config = { fields = { n = "{seq}" } } }
bolt.print = { type = "print", inputs = ["numbers"] }
"#;

fn squall(args: &[&str]) -> Command {
    // With the signals of a terminal: whoever started the tests may have had some of them ignored.
    let mut command = Command::new("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_squall")]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end with a text on stdin.
fn run(args: &[&str], stdin: &str) -> Output {
    finish(squall(&[&["run"], args].concat()), stdin)
}

fn finish(mut command: Command, stdin: &str) -> Output {
    let mut child = command.spawn().unwrap();
    // A program that does not read its stdin closes it early, which is its right.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    within_patience(child)
}

/// Waits for a child, and kills it when it is stuck.
fn within_patience(child: Child) -> Output {
    let pid = child.id().to_string();
    let (ended, wait) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        let _ = ended.send(());
        output
    });
    if wait.recv_timeout(PATIENCE).is_err() {
        signal("KILL", &pid);
        let output = waiter.join().unwrap();
        panic!("stuck:\n{}{}", stdout_of(&output), stderr_of(&output));
    }
    waiter.join().unwrap()
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", name, pid]).status().unwrap().success());
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The rows and the summary of a run with `--json`.
fn rows_and_summary(stdout: &str) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().expect("there is a summary");
    let summary = last.get("summary").unwrap_or_else(|| panic!("no summary: {last}")).clone();
    (lines, summary)
}

/// A topology that prints its stdin, one row for each line.
fn echo_file(dir: &Path) -> String {
    write(
        dir,
        "echo.toml",
        r#"
        topology.name = "echo"
        spout.lines = { type = "lines", config = { path = "-" } }
        bolt.print = { type = "print", inputs = ["lines"] }
        "#,
    )
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn with_json_each_row_is_a_line_and_the_summary_is_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let output = run(&[&echo_file(dir.path()), "--json"], "a\nb\nc\n");
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let (rows, summary) = rows_and_summary(&stdout_of(&output));
    let expected =
        |line: &str| serde_json::json!({"component": "print", "stream": "default", "values": {"line": line}});
    assert_eq!(rows, [expected("a"), expected("b"), expected("c")]);
    for (key, value) in [("emitted", 3), ("acked", 3), ("failed", 0), ("replayed", 0), ("pending", 0)] {
        assert_eq!(summary[key], value, "{key}: {summary}");
    }
    let seconds = summary["seconds"].as_f64().unwrap();
    assert!((0.0..=took).contains(&seconds), "of {took} s: {summary}");
    assert!(summary["tuples_per_second"].as_f64().unwrap() >= 3.0 / took, "in {took} s: {summary}");
    let latency = |key: &str| summary["complete_latency_ms"][key].as_f64().unwrap();
    assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{summary}");
}

#[test]
fn people_get_a_table_on_stdout_and_a_summary_on_stderr() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&[&echo_file(dir.path())], "a\nb\n");
    assert_eq!(stdout_of(&output), "line\n----\na\nb\n");
    let stderr = stderr_of(&output);
    assert!(stderr.contains("echo ran for ") && stderr.contains("2 emitted, 2 acked, 0 failed"), "{stderr}");
    let quiet = run(&[&echo_file(dir.path()), "--quiet"], "a\nb\n");
    assert_eq!((stdout_of(&quiet).as_str(), stderr_of(&quiet).as_str()), ("line\n----\na\nb\n", ""));
}

#[test]
fn the_readmes_topology_prints_what_the_readme_says() {
    let readme = include_str!("../README.md");
    let block = |fence: &str| {
        let begin = readme.find(fence).unwrap_or_else(|| panic!("README.md has no {fence}")) + fence.len();
        &readme[begin..begin + readme[begin..].find("```").unwrap()]
    };
    let dir = tempfile::tempdir().unwrap();
    let words = write(dir.path(), "words.toml", block("```toml\n"));
    let (command, expected) = block("```console\n").split_once('\n').unwrap();
    assert_eq!(command, "$ yes 'to be or not to be' | head -1000 | squall run words.toml --quiet");
    let output = run(&[&words, "--quiet"], &"to be or not to be\n".repeat(1000));
    assert_eq!(stdout_of(&output), expected, "{}", stderr_of(&output));
}

#[test]
fn every_topology_that_is_shipped_runs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    // What topologies write to files goes to a directory of the test, as do the checkpoints that are for the user's.
    let own = tempfile::tempdir().unwrap();
    let rows = format!("bolt.store.config.path={}/{{task}}-{{seq}}.jsonl", own.path().display());
    let totals = format!("state.totals.path={}/totals.redb", own.path().display());
    let changes = format!("bolt.changes.config.path={}/new-{{task}}-{{seq}}.jsonl", own.path().display());
    // tests/postgres.rs runs it, where there is a server.
    files.retain(|path| !path.ends_with("orders_postgres.toml"));
    for file in files {
        let file = file.to_str().unwrap();
        let mut args = vec!["run", file, "--for", "5s", "--json"];
        if file.ends_with("exactly_once.toml") {
            args.extend(["--set", &rows]);
        } else if file.ends_with("totals.toml") {
            args.extend(["--set", &totals, "--set", &changes]);
        }
        let mut command = squall(&args);
        command.env("XDG_STATE_HOME", own.path());
        let output = finish(command, "the quick brown fox jumps over the lazy dog\n");
        assert_eq!(output.status.code(), Some(0), "{file}: {}", stderr_of(&output));
        let (_, summary) = rows_and_summary(&stdout_of(&output));
        assert!(summary["emitted"].as_u64().unwrap() > 0, "{file}: {summary}");
        assert_eq!((&summary["failed"], &summary["pending"]), (&0.into(), &0.into()), "{file}");
    }
    let mut kept: Vec<_> = std::fs::read_dir(own.path().join("squall"))
        .unwrap()
        .map(|topology| topology.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["exactly-once", "totals"], "they are kept there, and nowhere else");
    assert!(own.path().join("totals.redb").exists());
}

#[test]
fn an_invalid_topology_exits_with_1_and_says_why() {
    let output = run(&["-", "--json"], "[topology]\nname = \"t\"\n[bolt.b]\ntype = \"prnit\"\ninputs = []\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout_of(&output), "");
    let stderr = stderr_of(&output);
    assert!(stderr.contains("-:4:8") && stderr.contains("did you mean `print`?"), "{stderr}");
    let missing = run(&["no/such/file.toml"], "");
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr_of(&missing).contains("no/such/file.toml"), "{}", stderr_of(&missing));
}

#[test]
fn a_value_from_the_command_line_is_laid_over_the_documents() {
    let dir = tempfile::tempdir().unwrap();
    let file = echo_file(dir.path());
    let args = [&file, "--json", "--set", "bolt.print.parallelism=3", "--set", "topology.name=other"];
    let (_, summary) = rows_and_summary(&stdout_of(&run(&args, "a\n")));
    assert_eq!((&summary["topology"], &summary["components"][1]["tasks"]), (&"other".into(), &3.into()));
}

#[test]
fn endless_input_ends_when_the_time_is_up() {
    let output = run(&["-", "--for", "300ms", "--json"], NUMBERS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let (rows, summary) = rows_and_summary(&stdout_of(&output));
    assert_eq!(summary["acked"], summary["emitted"], "{summary}");
    assert_eq!(summary["emitted"], rows.len(), "each message is one row");
    assert!(summary["seconds"].as_f64().unwrap() >= 0.3, "{summary}");
}

#[test]
fn the_log_is_json_if_wanted() {
    let output = run(&["-", "--for", "200ms", "--log", "debug", "--log-format", "json"], NUMBERS);
    let stderr = stderr_of(&output);
    let records: Vec<Value> = stderr.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
    let draining = records.iter().find(|record| record["msg"] == "draining").expect(&stderr);
    assert_eq!((&draining["level"], &draining["because"]), (&"INFO".into(), &"the time is up".into()));
}

/// A run whose output is read while it goes on. Both streams are read by threads of their own, so
/// that the run never waits for the test.
struct Running {
    child: Child,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
}

fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (line_read, lines) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| line_read.send(line))
    });
    lines
}

impl Running {
    fn start(document: &str) -> Running {
        let mut child = squall(&["run", "-", "--json"]).spawn().unwrap();
        child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
        let stdout = lines_of(child.stdout.take().unwrap());
        let stderr = lines_of(child.stderr.take().unwrap());
        Running { child, stdout, stderr }
    }

    fn signal(&self, name: &str) {
        signal(name, &self.child.id().to_string());
    }

    fn wait_for_a_row(&self) {
        let line = self.stdout.recv_timeout(PATIENCE).expect("a row is printed");
        assert!(line.starts_with(r#"{"component":"print""#), "{line}");
    }

    fn wait_for_talk(&self, of: &str) {
        while !self.stderr.recv_timeout(PATIENCE).expect(of).contains(of) {}
    }

    /// Its summary and its exit code.
    fn end(self) -> (Value, Option<i32>) {
        let output = within_patience(self.child);
        let last = self.stdout.into_iter().last().expect("there is a summary");
        (rows_and_summary(&last).1, output.status.code())
    }
}

#[test]
fn a_signal_drains() {
    for name in ["INT", "TERM"] {
        let running = Running::start(NUMBERS);
        running.wait_for_a_row();
        running.signal(name);
        let (summary, code) = running.end();
        assert_eq!(code, Some(0), "SIG{name}: {summary}");
        assert_eq!((&summary["pending"], &summary["cut_short"]), (&0.into(), &false.into()), "SIG{name}");
        assert_eq!(summary["acked"], summary["emitted"], "SIG{name}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    // The bolt `wait` sleeps in its call, longer than anybody's patience: it can be neither drained
    // nor stopped, only left behind.
    let document = format!(
        r#"{NUMBERS}
        topology.drain_timeout = "10m"
        topology.message_timeout = "off"
        bolt.wait.type = "delay"
        bolt.wait.inputs = ["numbers"]
        bolt.wait.blocking = true
        bolt.wait.config = {{ period = "10m", fields = ["n"], sleep = true }}
        bolt.end = {{ type = "null", inputs = ["wait"] }}
        "#
    );
    let running = Running::start(&document);
    running.wait_for_a_row();
    running.signal("INT");
    running.wait_for_talk("draining");
    running.signal("INT");
    running.wait_for_talk("a component does not return");
    let (summary, code) = running.end();
    assert_eq!((code, &summary["cut_short"]), (Some(1), &true.into()), "{summary}");
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let mut child = squall(&["run", "-", "--json"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(NUMBERS.as_bytes()).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    let output = within_patience(child);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
}

#[test]
fn what_fails_for_good_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        "fails.toml",
        r#"
        topology = { name = "fails", max_replays = 2 }
        spout.lines = { type = "lines", config = { path = "-" } }
        bolt.filter = { type = "filter", inputs = ["lines"], config = { where = "line > 5", fields = [] } }
        bolt.print = { type = "print", inputs = ["filter"] }
        "#,
    );
    let output = run(&[&file, "--json"], "a b\n");
    let (rows, summary) = rows_and_summary(&stdout_of(&output));
    assert_eq!((output.status.code(), rows.len(), &summary["failed"]), (Some(1), 0, &1.into()), "{summary}");
}
