//! Whole topologies: the processes of squall and the server are killed while they run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Server, wait_until};

/// How many rows the topologies make, and how many a second.
pub const COUNT: i64 = 12_000;
const RATE: i64 = 3000;

/// Numbers into the table `numbers`, which takes one twice; and how often each remainder has come, which only the
/// last row of each checkpoint shows.
fn document(directory: &Path, server: &Server, delivery: &str) -> String {
    document_with(directory, server, delivery, "")
}

/// The same with more settings of both sinks.
pub fn document_with(directory: &Path, server: &Server, delivery: &str, config: &str) -> String {
    let (url, directory_shown) = (server.url(), directory.display());
    let checkpoint = match delivery {
        "exactly-once" => {
            format!("checkpoint = {{ interval = '100ms', storage = '{directory_shown}/checkpoints' }}")
        }
        _ => String::new(),
    };
    let text = format!(
        "[topology]\nname = 'numbers'\ndelivery = '{delivery}'\n{checkpoint}\n\
         [spout.numbers]\ntype = 'generate'\n[spout.numbers.config]\nrate = {RATE}\ncount = {COUNT}\n\
         fields = {{ n = '{{seq}}', kind = '{{choice:a|b|c}}' }}\n\
         [bolt.store]\ntype = 'postgres'\nparallelism = 2\ninputs = ['numbers']\n\
         [bolt.store.config]\nurl = '{url}'\ntable = 'numbers'\ncolumns = ['n']\n{config}\n\
         [bolt.count]\ntype = 'count'\ninputs = [{{ from = 'numbers', fields = ['kind'] }}]\n\
         config = {{ by = ['kind'], emit = 'updates' }}\n\
         [bolt.kinds]\ntype = 'postgres'\ninputs = [{{ from = 'count', fields = ['kind'] }}]\n\
         [bolt.kinds.config]\nurl = '{url}'\ntable = 'kinds'\ncolumns = ['kind', 'count']\n\
         mode = 'upsert'\nkey = ['kind']\n{config}\n",
    );
    let path = directory.join("numbers.toml");
    fs::write(&path, text).expect("the directory is the test's");
    path.to_str().expect("it is text").to_owned()
}

pub fn make_tables(server: &Server) {
    server.query("CREATE TABLE numbers (n bigint); CREATE TABLE kinds (kind text PRIMARY KEY, count bigint)");
}

pub fn squall(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.args(["run"]).args(args).args(["--json", "--config", "tests/fixtures/engine/patient.toml"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("squall can be started")
}

/// Waits for the end of a run, and shows what it wrote if it failed.
pub fn ended(run: Child) -> Output {
    let output = run.wait_with_output().expect("it is a child");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{error}", output.status);
    output
}

pub fn rows(server: &Server) -> i64 {
    server.number("SELECT count(*) FROM numbers")
}

/// The tables have what a run has that nothing happened to.
pub fn assert_exact(server: &Server) {
    assert_exact_count(server, COUNT);
}

fn assert_exact_count(server: &Server, count: i64) {
    let found = server.query("SELECT count(*), count(DISTINCT n), min(n), max(n) FROM numbers");
    assert_eq!(found, [format!("{count}|{count}|0|{}", count - 1)]);
    assert_eq!(server.number("SELECT sum(count) FROM kinds"), count);
}

pub fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    // It may have ended by itself.
    let _ = kill_process(pid, Signal::KILL);
}

pub fn children(parent: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().filter_map(Result::ok);
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Input that no run comes to the end of: where a run is to be killed in the middle, whatever the machine does.
const ENDLESS: [&str; 2] = ["--set", "spout.numbers.config.count=1_000_000_000"];

/// Starts a run of endless input several times, and kills it each time when it has written more rows.
pub fn kill_lives(server: &Server, document: &str, mut killed: impl FnMut()) {
    let workers: [&[&str]; 4] = [&[], &[], &["--workers", "2"], &[]];
    for workers in workers {
        let mut run = squall(&[&[document, "--resume"], &ENDLESS[..], workers].concat());
        let before = rows(server);
        wait_for_rows(server, &mut run, before + COUNT / 6);
        kill_in_the_middle(run);
        killed();
    }
}

fn kill_in_the_middle(mut run: Child) {
    if run.try_wait().expect("it is a child").is_some() {
        panic!("it has ended: {:?}", run.wait_with_output());
    }
    kill(run.id());
    run.wait().expect("it is a child");
}

/// Flags by which the input of a run ends when there are some more rows than now; and how many there are then.
fn some_more(server: &Server) -> (i64, [String; 2]) {
    let count = rows(server) + COUNT / 3;
    (count, ["--set".to_owned(), format!("spout.numbers.config.count={count}")])
}

/// Continues such a run, and lets its input end. The tables have what a run has that nothing happened to.
pub fn end_of_lives(server: &Server, document: &str) {
    goes_on_to_its_end(server, document, &["--resume"]);
}

fn goes_on_to_its_end(server: &Server, document: &str, from: &[&str]) {
    let (count, [set, flag]) = some_more(server);
    ended(squall(&[&[document], from, &[&set, &flag]].concat()));
    // The spout may have been beyond that already.
    let total = rows(server);
    assert!(total >= count, "{total} rows of {count}");
    assert_exact_count(server, total);
}

/// Waits until so many rows are there, or the run has ended.
pub fn wait_for_rows(server: &Server, run: &mut Child, at_least: i64) {
    wait_until("rows", || rows(server) >= at_least || run.try_wait().expect("it is a child").is_some());
}

#[test]
fn a_server_that_is_killed_loses_no_row_at_least_once() {
    let (mut server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let mut run = squall(&[&document(directory.path(), &server, "at-least-once")]);
    for part in 1..=2 {
        wait_for_rows(&server, &mut run, COUNT * part / 4);
        server.kill();
        server.restart();
    }
    ended(run);
    let found = server.query("SELECT count(DISTINCT n), min(n), max(n) FROM numbers");
    assert_eq!(found, [format!("{COUNT}|0|{}", COUNT - 1)]);
    assert!(rows(&server) < COUNT * 3 / 2, "{} rows: more than batches came again", rows(&server));
}

#[test]
fn a_server_that_is_killed_leaves_each_row_once_exactly_once() {
    let (mut server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let mut run = squall(&[&document(directory.path(), &server, "exactly-once")]);
    for part in 1..=3 {
        wait_for_rows(&server, &mut run, COUNT * part / 5);
        server.kill();
        server.restart();
    }
    ended(run);
    assert_exact(&server);
}

#[test]
fn runs_that_are_killed_and_continued_leave_each_row_once() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let document = document(directory.path(), &server, "exactly-once");
    kill_lives(&server, &document, || {});
    end_of_lives(&server, &document);
}

/// Rows that were committed after that checkpoint are committed again, and no other row is left out.
#[test]
fn a_run_that_goes_back_to_an_earlier_checkpoint_loses_no_row() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let document = document(directory.path(), &server, "exactly-once");
    let mut run = squall(&[&[&*document], &ENDLESS[..]].concat());
    wait_for_rows(&server, &mut run, COUNT / 2);
    kill_in_the_middle(run);
    let checkpoints = directory.path().join("checkpoints");
    let listed =
        Command::new(env!("CARGO_BIN_EXE_squall")).args(["checkpoint", "list"]).arg(checkpoints).output();
    let listed = String::from_utf8(listed.expect("squall can be started").stdout).expect("it is text");
    let oldest = listed.lines().nth(1).and_then(|line| line.split(' ').next()).expect("several are kept");
    let (count, [set, flag]) = some_more(&server);
    ended(squall(&[&document, &format!("--resume={oldest}"), &set, &flag]));
    assert_eq!(server.number("SELECT count(DISTINCT n) FROM numbers"), count, "{listed}");
    assert!(rows(&server) > count, "some were committed again");
    assert_eq!(server.number("SELECT sum(count) FROM kinds"), count);
}

/// Somebody copied the checkpoints of a run that was killed, and both copies go on: they have the same numbers.
#[test]
fn of_two_runs_that_continue_one_only_the_later_goes_on() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let first = document(directory.path(), &server, "exactly-once");
    let mut run = squall(&[&[&*first], &ENDLESS[..]].concat());
    wait_for_rows(&server, &mut run, COUNT / 5);
    kill_in_the_middle(run);
    let other = tempfile::tempdir().expect("a directory");
    let from = directory.path().join("checkpoints");
    let copied = Command::new("cp").arg("-r").args([&from, &other.path().join("checkpoints")]).status();
    assert!(copied.expect("there is `cp`").success());
    let second = document(other.path(), &server, "exactly-once");
    let mut earlier = squall(&[&[&*first, "--resume"], &ENDLESS[..]].concat());
    let rows_before = rows(&server);
    wait_for_rows(&server, &mut earlier, rows_before + COUNT / 10);
    let (count, [set, flag]) = some_more(&server);
    let later = squall(&[&second, "--resume", &set, &flag]);
    let output = earlier.wait_with_output().expect("it is a child");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("was taken over"), "{error}");
    ended(later);
    // The earlier one may have written rows that are beyond the end of the later one.
    let found = server.number(&format!("SELECT count(DISTINCT n) FROM numbers WHERE n < {count}"));
    assert_eq!(found, count);
}

/// In another directory of checkpoints, whose numbers begin anew.
#[test]
fn a_run_that_goes_on_from_a_savepoint_leaves_each_row_once() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let first = document(directory.path(), &server, "exactly-once");
    let mut run = squall(&[&[&*first], &ENDLESS[..]].concat());
    wait_for_rows(&server, &mut run, COUNT / 3);
    let savepoint = directory.path().join("savepoint").display().to_string();
    let stopped = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["stop", &run.id().to_string(), &format!("--savepoint={savepoint}")])
        .output();
    let stopped = stopped.expect("squall can be started");
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    ended(run);
    let other = tempfile::tempdir().expect("a directory");
    let document = document(other.path(), &server, "exactly-once");
    goes_on_to_its_end(&server, &document, &["--from-savepoint", &savepoint]);
}

#[test]
fn workers_that_are_killed_leave_each_row_once() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    make_tables(&server);
    let document = document(directory.path(), &server, "exactly-once");
    let mut run = squall(&[&document, "--workers", "2"]);
    for part in 1..=3 {
        wait_for_rows(&server, &mut run, COUNT * part / 5);
        let workers = children(run.id());
        let nth = part as usize % workers.len().max(1);
        workers.into_iter().nth(nth).into_iter().for_each(kill);
    }
    ended(run);
    assert_exact(&server);
}

#[test]
fn the_topology_that_is_shipped_runs() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    let shipped = fs::read_to_string("topologies/orders_postgres.toml").expect("it is shipped");
    // The statements that its comment has.
    let tables: Vec<&str> =
        shipped.lines().filter_map(|line| line.split("-c '").nth(1)?.split('\'').next()).collect();
    let tables: Vec<&str> = tables.into_iter().filter(|sql| sql.starts_with("CREATE")).collect();
    assert_eq!(tables.len(), 2);
    tables.iter().for_each(|sql| drop(server.query(sql)));
    let storage = format!("topology.checkpoint.storage={}", directory.path().display());
    let urls = ["store", "counts"].map(|bolt| format!("bolt.{bolt}.config.url={}", server.url()));
    let few = "spout.orders.config.count=20000";
    ended(squall(&[
        "topologies/orders_postgres.toml",
        "--set",
        &storage,
        "--set",
        &urls[0],
        "--set",
        &urls[1],
        "--set",
        few,
    ]));
    assert_eq!(server.query("SELECT count(*), count(DISTINCT id) FROM orders"), ["20000|20000"]);
    assert_eq!(server.number("SELECT sum(orders) FROM customers"), 20_000);
}
