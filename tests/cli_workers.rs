//! `squall run --workers N`: processes that come and go, and what a user sees of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

/// How long anything here may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where nobody is taken for dead because the machine is busy.
const PATIENT: &str = "tests/fixtures/engine/patient.toml";

/// Endless, over several workers.
const NUMBERS: &str = r#"
topology.name = "numbers"
spout.numbers = { type = "generate", config = { rate = 2000, fields = { n = "{seq}" } } }
bolt.count = { type = "count", parallelism = 3, inputs = [{ from = "numbers", fields = ["n"] }], config = { by = ["n"] } }
bolt.print = { type = "print", inputs = ["count"] }
"#;

/// A program in the environment of a test, in a process group of its own.
fn program(path: &str, args: &[&str]) -> Command {
    // With the signals of a terminal: whoever started the tests may have had some of them ignored.
    let mut command = Command::new("env");
    command.args(["--default-signal", path]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn squall(args: &[&str]) -> Command {
    program(env!("CARGO_BIN_EXE_squall"), args)
}

/// Runs to the end with a text on stdin. Rows are counted in some of these runs, so nobody is to be
/// replaced.
fn run(args: &[&str], stdin: &str) -> Output {
    let patient = ["--config", PATIENT];
    let engine: &[&str] = if args.contains(&"--config") { &[] } else { &patient };
    let mut child = squall(&[&["run"], args, engine].concat()).spawn().unwrap();
    // A program that does not read its stdin closes it early, which is its right.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    within_patience(child)
}

/// Waits for a child, and kills it when it is stuck.
fn within_patience(child: Child) -> Output {
    let pid = child.id();
    let (ended, wait) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        let _ = ended.send(());
        output
    });
    if wait.recv_timeout(PATIENCE).is_err() {
        signal(pid, Signal::KILL);
        let output = waiter.join().unwrap();
        panic!("stuck:\n{}{}", stdout_of(&output), stderr_of(&output));
    }
    waiter.join().unwrap()
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The rows and the summary of a run with `--json`.
fn rows_and_summary(stdout: &str) -> (Vec<Value>, Value) {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:.200}"));
    let mut lines: Vec<Value> = stdout.lines().map(line).collect();
    let last = lines.pop().expect("there is a summary");
    let summary = last.get("summary").unwrap_or_else(|| panic!("no summary: {last}")).clone();
    (lines, summary)
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

fn signal(process: u32, signal: Signal) {
    kill_process(pid(process), signal).unwrap();
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn children(parent: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().filter_map(Result::ok);
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>())
        .collect()
}

fn is_alive(pid: u32) -> bool {
    // A zombie is dead; in a container nobody may reap those whose parent was killed.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

/// A run whose rows and complaints are collected.
struct Running {
    child: Child,
    rows: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
}

fn collected(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).try_for_each(|text| line.send(text))
    });
    lines
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let rows = collected(child.stdout.take().unwrap());
        let stderr = collected(child.stderr.take().unwrap());
        Running { child, rows, stderr }
    }

    /// Starts a document with so many workers, and waits for rows.
    fn document(document: &str, workers: &str) -> Running {
        let args = ["run", document, "--workers", workers, "--json", "--config", PATIENT];
        let running = Running::start(squall(&args));
        running.rows();
        running
    }

    /// Waits until rows come that were not there before. Returns all that came since the last call.
    fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.rows.try_iter().collect();
        rows.extend((0..100).map(|_| self.rows.recv_timeout(PATIENCE).expect("rows come")));
        rows
    }

    fn workers(&self) -> BTreeSet<u32> {
        children(self.child.id())
    }

    fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    /// Waits for the end: the exit code, the text of stderr, and the summary.
    fn end(self) -> (Option<i32>, String, Value) {
        let (code, stderr, mut lines) = self.end_with_rows();
        let last = lines.pop().expect("there is a summary");
        (code, stderr, serde_json::from_str::<Value>(&last).unwrap()["summary"].clone())
    }

    /// Waits for the end: the exit code, the text of stderr, and the lines of stdout that came since the
    /// last call of `rows`.
    fn end_with_rows(mut self) -> (Option<i32>, String, Vec<String>) {
        drop(self.child.stdin.take());
        let workers = self.workers();
        let mut status = None;
        wait_until("the end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(!workers.into_iter().any(is_alive), "nobody is left behind");
        let lines = self.rows.iter().collect();
        let stderr = self.stderr.iter().collect::<Vec<_>>().join("\n");
        (status.unwrap().code(), stderr, lines)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn several_workers_count_what_one_process_counts() {
    let counted = |extra: &[&str]| {
        let args = [&["topologies/word_count.toml", "--json", "--quiet"], extra].concat();
        let output = run(&args, "");
        assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
        let (mut rows, summary) = rows_and_summary(&stdout_of(&output));
        rows.sort_by_key(ToString::to_string);
        (rows, summary["acked"].clone(), summary["workers"]["count"].clone())
    };
    let (rows, acked, _) = counted(&[]);
    assert_eq!((rows.len(), &acked), (20, &Value::from(1367)));
    for workers in ["1", "2", "3"] {
        let count = workers.parse::<u64>().unwrap();
        assert_eq!(counted(&["--workers", workers]), (rows.clone(), acked.clone(), Value::from(count)));
    }
    assert_eq!(counted(&["--set", "topology.workers=2"]), (rows, acked, Value::from(2)));
}

/// The numbers in rows of `NUMBERS`. What a process was writing when it was killed may be cut off, and
/// the next row stands behind it then.
fn numbers_of(rows: &[String]) -> Vec<u64> {
    let row = |row: &String| serde_json::from_str::<Value>(&row[row.rfind(r#"{"component""#)?..]).ok();
    rows.iter().filter_map(row).filter_map(|row| row["values"]["n"].as_u64()).collect()
}

#[test]
fn killed_workers_come_back_and_the_summary_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::document(&write(dir.path(), "numbers.toml", NUMBERS), "3");
    // What reached the output counts: counters of a process that was killed are gone with it.
    let mut arrived = BTreeSet::new();
    for _ in 0..3 {
        let before = running.workers();
        let victim = *before.first().expect("there are workers");
        signal(victim, Signal::KILL);
        wait_until("another in its place", || running.workers().difference(&before).count() == 1);
        arrived.extend(numbers_of(&running.rows()));
    }
    // A spout that was killed begins again from 0: what it took with it comes when it is there again.
    let so_far = arrived.last().copied().expect("rows came");
    while arrived.range(..=so_far).count() as u64 <= so_far {
        arrived.extend(numbers_of(&running.rows()));
    }
    running.signal(Signal::TERM);
    let (code, stderr, mut lines) = running.end_with_rows();
    assert_eq!(code, Some(0), "{stderr}");
    let last = lines.pop().expect("there is a summary");
    let summary = serde_json::from_str::<Value>(&last).unwrap()["summary"].clone();
    arrived.extend(numbers_of(&lines));
    let missing = (0..).zip(&arrived).find(|(n, found)| n != *found);
    assert_eq!(missing, None, "lost: the first that is missing, and the next that is not");
    assert_eq!(summary["workers"], serde_json::json!({"count": 3, "restarts": 3}));
    let by_cause: u64 = summary["replays"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(summary["replayed"], by_cause);
    assert_eq!((&summary["failed"], &summary["pending"]), (&Value::from(0), &Value::from(0)));
    assert!(stderr.contains("signal SIGKILL") && stderr.contains("  workers   3, 3 restarts"), "{stderr}");
}

#[test]
fn nobody_survives_a_parent_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::document(&write(dir.path(), "numbers.toml", NUMBERS), "4");
    let workers = running.workers();
    assert_eq!(workers.len(), 4);
    // Not even one that could not notice.
    signal(*workers.first().unwrap(), Signal::STOP);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    wait_until("all are dead", || !workers.iter().any(|worker| is_alive(*worker)));
}

#[test]
fn a_terminal_interrupts_all_and_the_run_is_drained() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::document(&write(dir.path(), "numbers.toml", NUMBERS), "3");
    kill_process_group(pid(running.child.id()), Signal::INT).unwrap();
    let (code, stderr, summary) = running.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        (&summary["workers"]["restarts"], &summary["cut_short"]),
        (&Value::from(0), &Value::from(false))
    );
}

#[test]
fn the_second_signal_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // What never ends by itself: a worker that is stopped cannot drain.
    let running = Running::document(&write(dir.path(), "numbers.toml", NUMBERS), "3");
    signal(*running.workers().first().unwrap(), Signal::STOP);
    running.signal(Signal::TERM);
    wait_until("the drain", || running.stderr.try_iter().any(|line| line.contains("draining")));
    running.signal(Signal::TERM);
    let (code, _, summary) = running.end();
    assert_eq!((code, &summary["cut_short"]), (Some(1), &Value::from(true)));
}

#[test]
fn a_parent_that_was_stopped_blames_nobody() {
    let dir = tempfile::tempdir().unwrap();
    // Seconds, so that no worker is replaced because the machine is busy.
    let engine = "worker.heartbeat = '50ms'\nworker.heartbeat_timeout = '3s'";
    let engine = write(dir.path(), "squall.toml", engine);
    let numbers = write(dir.path(), "numbers.toml", NUMBERS);
    let running = Running::start(squall(&["run", &numbers, "--workers", "2", "--json", "--config", &engine]));
    running.rows();
    running.signal(Signal::STOP);
    // Rows do not pass through the parent, and come at 2,000 a second: so many take longer than its
    // patience with the workers.
    let mut rows = 0;
    while rows < 8_000 {
        rows += running.rows().len();
    }
    running.signal(Signal::CONT);
    running.rows();
    running.signal(Signal::TERM);
    let (code, stderr, summary) = running.end();
    assert_eq!((code, &summary["workers"]["restarts"]), (Some(0), &Value::from(0)), "{stderr}");
}

#[test]
fn the_document_and_the_program_are_those_of_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = write(dir.path(), "numbers.toml", NUMBERS);
    let copy = dir.path().join("my-squall");
    // By a process of its own: see `binary_for_all` in tests/cases/kit.rs.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_squall")).arg(&copy).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy of the binary");
    let running =
        Running::start(program(copy.to_str().unwrap(), &["run", &numbers, "--workers", "2", "--json"]));
    running.rows();
    fs::remove_file(&copy).unwrap();
    fs::write(&numbers, "not a topology").unwrap();
    let before = running.workers();
    before.iter().for_each(|worker| signal(*worker, Signal::KILL));
    wait_until("others in their place", || running.workers().difference(&before).count() == 2);
    running.rows();
    running.signal(Signal::TERM);
    let (code, stderr, _) = running.end();
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn secrets_stand_in_no_list_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::document(&write(dir.path(), "numbers.toml", NUMBERS), "2");
    for worker in running.workers() {
        let arguments = fs::read(format!("/proc/{worker}/cmdline")).unwrap();
        assert_eq!(String::from_utf8_lossy(&arguments), "squall\0worker\0");
        let variables = fs::read_to_string(format!("/proc/{worker}/environ")).unwrap();
        assert!(!variables.to_lowercase().contains("secret"));
    }
}

#[test]
fn rows_of_several_workers_never_mix() {
    let dir = tempfile::tempdir().unwrap();
    // Longer than what a pipe takes in one piece.
    let wide = "x".repeat(6000);
    let document = format!(
        r#"
        topology.name = "wide"
        spout.wide = {{ type = "generate", config = {{ count = 3000, fields = {{ n = "{{seq}}", text = "{wide}" }} }} }}
        bolt.print = {{ type = "print", parallelism = 4, inputs = ["wide"] }}
        "#
    );
    let output =
        run(&[&write(dir.path(), "wide.toml", &document), "--workers", "4", "--json", "--quiet"], "");
    let (rows, _) = rows_and_summary(&stdout_of(&output));
    let numbers: BTreeSet<i64> = rows.iter().map(|row| row["values"]["n"].as_i64().unwrap()).collect();
    assert_eq!((rows.len(), numbers.len()), (3000, 3000));
    assert!(rows.iter().all(|row| row["values"]["text"] == wide.as_str()));
}

#[test]
fn logs_in_json_are_json_to_the_last_line() {
    let args = ["topologies/word_count.toml", "--workers", "2", "--log-format", "json", "--log", "debug"];
    let output = run(&[&args[..], &["--quiet"]].concat(), "");
    let stderr = stderr_of(&output);
    let records: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for worker in [0, 1] {
        assert!(records.iter().any(|record| record["worker"] == worker && record["msg"] == "a worker is up"));
    }
}

#[test]
fn stdin_is_read_where_the_spout_runs() {
    let text = "to be or not to be\n".repeat(500);
    let args = ["topologies/word_count_stdin.toml", "--workers", "3", "--json", "--quiet"];
    let output = run(&args, &text);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let (rows, summary) = rows_and_summary(&stdout_of(&output));
    assert_eq!((rows.len(), &summary["acked"]), (3000, &Value::from(500)));
    let last = |word: &str| {
        rows.iter().rfind(|row| row["values"]["word"] == word).unwrap()["values"]["count"].clone()
    };
    assert_eq!((last("be"), last("not")), (Value::from(1000), Value::from(500)));
}

#[test]
fn a_document_may_come_over_stdin() {
    let document = NUMBERS.replace("rate = 2000", "count = 100");
    let output = run(&["-", "--workers", "2", "--json", "--quiet"], &document);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_eq!(rows_and_summary(&stdout_of(&output)).0.len(), 100);
}

#[test]
fn a_reader_that_goes_away_drains_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = write(dir.path(), "numbers.toml", NUMBERS);
    let mut child = squall(&["run", &numbers, "--workers", "2", "--json"]).spawn().unwrap();
    let mut rows = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    rows.read_line(&mut line).unwrap();
    drop(rows);
    let output = within_patience(child);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
}

#[test]
fn time_can_be_up() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = write(dir.path(), "numbers.toml", NUMBERS);
    let output = run(&[&numbers, "--workers", "2", "--for", "300ms", "--json", "--quiet"], "");
    let (_, summary) = rows_and_summary(&stdout_of(&output));
    assert_eq!((output.status.code(), &summary["cut_short"]), (Some(0), &Value::from(false)));
}

#[test]
fn wrong_numbers_of_workers_are_refused() {
    let check = |args: &[&str], code: i32, expected: &str| {
        let output = run(&[&["topologies/word_count.toml"], args].concat(), "");
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    };
    check(&["--workers", "0"], 2, "1..=64");
    check(&["--workers", "65"], 2, "1..=64");
    check(&["--set", "topology.workers=0"], 1, "`workers` must be");
    check(&["--set", "topology.workers=65"], 1, "at most 64 run on one machine");
}

#[test]
fn the_engines_file_is_read_and_held_against_the_topology() {
    let dir = tempfile::tempdir().unwrap();
    let check = |config: &str, args: &[&str], expected: &str| {
        let args = [&["topologies/word_count.toml", "--workers", "2", "--config", config], args].concat();
        let output = run(&args, "");
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    let engine = |text: &str| write(dir.path(), "squall.toml", text);
    check("/no/such/file", &[], "/no/such/file");
    check(&engine("worker.hartbeat = '1s'"), &[], "did you mean `heartbeat`?");
    check(&engine(""), &["--set", "topology.queue.tuple_size_max=32MiB"], "does not fit a frame");
    check(&engine("net.listen = '0.0.0.0:0'"), &[], "`[net.tls]`");
}

#[test]
fn nobody_starts_a_worker_by_hand() {
    let mut child = squall(&["worker"]).spawn().unwrap();
    drop(child.stdin.take());
    let output = within_patience(child);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr_of(&output).contains("`squall run --workers N`"), "{}", stderr_of(&output));
    let help = within_patience(squall(&["--help"]).spawn().unwrap());
    assert!(!stdout_of(&help).lines().any(|line| line.trim_start().starts_with("worker ")));
}
