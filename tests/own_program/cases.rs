//! What is expected of the program.

use std::collections::BTreeSet;
use std::env;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::in_a_cluster;

/// All cases by name.
pub const ALL: &[(&str, fn())] = &[
    ("a_registered_topology_runs_in_worker_processes", a_registered_topology_runs_in_worker_processes),
    ("a_registered_topology_runs_in_one_process", a_registered_topology_runs_in_one_process),
    (
        "overrides_reach_the_options_of_a_registered_topology",
        overrides_reach_the_options_of_a_registered_topology,
    ),
    ("what_comes_from_the_program_cannot_be_set", what_comes_from_the_program_cannot_be_set),
    ("a_worker_that_builds_another_topology_is_refused", a_worker_that_builds_another_topology_is_refused),
    ("a_topology_that_cannot_be_built_is_an_error", a_topology_that_cannot_be_built_is_an_error),
    ("registered_topologies_are_listed", registered_topologies_are_listed),
    ("tasks_know_their_worker", tasks_know_their_worker),
    (
        "resources_and_worker_hooks_run_once_in_each_process",
        resources_and_worker_hooks_run_once_in_each_process,
    ),
    ("a_resource_or_worker_hook_that_fails_ends_the_run", a_resource_or_worker_hook_that_fails_ends_the_run),
    (
        "a_worker_hook_that_can_never_start_again_ends_the_run",
        a_worker_hook_that_can_never_start_again_ends_the_run,
    ),
    ("a_worker_hook_that_panics_at_the_end_is_reported", a_worker_hook_that_panics_at_the_end_is_reported),
    (
        "a_checkpoint_that_takes_too_long_is_not_waited_for",
        a_checkpoint_that_takes_too_long_is_not_waited_for,
    ),
    ("hooks_of_a_document_run_in_workers", hooks_of_a_document_run_in_workers),
    ("hooks_are_added_to_a_topology_in_rust", hooks_are_added_to_a_topology_in_rust),
    ("a_custom_grouping_has_its_settings_in_workers", a_custom_grouping_has_its_settings_in_workers),
    ("storm_twenty_four_tuples_cross_workers", storm_twenty_four_tuples_cross_workers),
    ("storm_tuples_of_a_key_cross_workers_in_order", storm_tuples_of_a_key_cross_workers_in_order),
    (
        "a_cluster_that_does_not_have_the_program_runs_it",
        in_a_cluster::a_cluster_that_does_not_have_the_program_runs_it,
    ),
    (
        "another_program_takes_over_and_one_that_does_not_start_is_rolled_back",
        in_a_cluster::another_program_takes_over_and_one_that_does_not_start_is_rolled_back,
    ),
];

/// What a run of the program came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Ended {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    #[track_caller]
    fn exits(&self, code: i32) -> &Ended {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn says(&self, text: &str) -> &Ended {
        assert!(self.stderr.contains(text), "`{text}` is missing in\n{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn prints(&self, text: &str) -> &Ended {
        assert!(self.stdout.contains(text), "`{text}` is missing in\n{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs the program with these arguments to its end.
fn program(args: &[&str]) -> Ended {
    program_that_fails("", args)
}

/// The same, where what the program registers fails in this way.
fn program_that_fails(how: &str, args: &[&str]) -> Ended {
    Ended::of(command_that_fails(how, args).output().expect("it runs"))
}

fn command_that_fails(how: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    command.env("OWN_PROGRAM_FAILS", how).args(args).stdin(Stdio::null());
    command
}

/// The squares that were printed, and the processes that made them.
#[track_caller]
fn squares(ended: &Ended) -> (Vec<u64>, BTreeSet<u32>) {
    let mut squares = Vec::new();
    let mut processes = BTreeSet::new();
    for line in ended.stdout.lines().filter(|line| !line.starts_with('{')) {
        let (square, process) = line.split_once(' ').unwrap_or_else(|| panic!("{line}\n{}", ended.stderr));
        squares.push(square.parse().expect("a number"));
        processes.insert(process.parse().expect("a process"));
    }
    squares.sort_unstable();
    (squares, processes)
}

fn expected() -> Vec<u64> {
    (0..1000).map(|n| n * n).collect()
}

fn a_registered_topology_runs_in_worker_processes() {
    // The topology itself says that it wants three.
    let ended = program(&["run", "squares"]);
    ended.exits(0);
    let (found, processes) = squares(&ended);
    assert_eq!(found, expected());
    assert_eq!(processes.len(), 3, "{processes:?}");
    let ended = program(&["run", "squares", "--workers", "2"]);
    ended.exits(0);
    let (found, processes) = squares(&ended);
    assert_eq!(found, expected());
    assert_eq!(processes.len(), 2, "{processes:?}");
}

fn a_registered_topology_runs_in_one_process() {
    let ended = program(&["run", "squares", "--set", "topology.workers=1"]);
    ended.exits(0);
    let (found, processes) = squares(&ended);
    assert_eq!((found, processes.len()), (expected(), 1));
}

fn overrides_reach_the_options_of_a_registered_topology() {
    let ended = program(&["graph", "squares", "--set", "bolt.square.parallelism=7"]);
    ended.exits(0).prints("7");
    // In workers too: every one of them lays the override over what it builds.
    let ended =
        program(&["run", "squares", "--set", "bolt.square.parallelism=2", "--set", "topology.workers=2"]);
    ended.exits(0);
    assert_eq!(squares(&ended).0, expected());
    program(&["validate", "squares", "--set", "bolt.square.parallelism=0"])
        .exits(1)
        .says("`parallelism` of bolt `square` must be at least 1")
        .says("--set bolt.square.parallelism=0");
    program(&["validate", "squares", "--set", "bolt.sqare.parallelism=2"])
        .exits(1)
        .says("there is no bolt `sqare`")
        .says("did you mean `square`?");
}

fn what_comes_from_the_program_cannot_be_set() {
    program(&["validate", "squares", "--set", "bolt.square.inputs=['numbers']"])
        .exits(1)
        .says("`inputs` of bolt `square` comes from the program and cannot be set");
}

fn a_worker_that_builds_another_topology_is_refused() {
    program(&["run", "changing"])
        .exits(1)
        .says("topology `changing` is not the same in this process as in the one that started it");
}

fn a_topology_that_cannot_be_built_is_an_error() {
    program(&["run", "broken"]).exits(1).says("the registered topology `broken` cannot be built: no luck");
    // The panic is said once, by whoever caught it, and with its place.
    let ended = program(&["validate", "panicking"]);
    ended
        .exits(1)
        .says("the registered topology `panicking` cannot be built: panicked at tests/own_program/");
    assert_eq!(ended.stderr.matches("too much").count(), 1, "{}", ended.stderr);
    program(&["run", "wrong"]).exits(1).says("has no spout");
}

fn registered_topologies_are_listed() {
    program(&["components"]).exits(0).prints("Topologies of this program").prints("  squares");
    program(&["run", "square"])
        .exits(1)
        .says("registered topologies: broken, changing, in-order, messaging, messaging-many-tasks, panicking")
        .says("squares, stuck, wrong");
}

/// A document with two tasks of `where`, and a fixed number of tuples by the grouping `pick`.
const WHERE: &str = r#"
topology.name = "where"
spout.numbers = { type = "generate", config = { count = 100, fields = { n = "{seq}" } } }
[bolt.where]
type = "where"
parallelism = 4
hooks = ["watch"]
inputs = [{ from = "numbers", custom = "pick", config = { task = 2 } }]
"#;

/// Runs the document in so many workers; 0 is this process.
fn run_where(how: &str, workers: u16) -> Ended {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("where.toml");
    std::fs::write(&path, WHERE).expect("the document");
    let path = path.to_str().expect("a path");
    let workers = workers.to_string();
    let args: &[&str] = if workers == "0" { &["run", path] } else { &["run", path, "--workers", &workers] };
    program_that_fails(how, args)
}

/// The words of each line that begins with this one.
fn lines<'a>(text: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words[0] == first).collect()
}

fn tasks_know_their_worker() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let ended = run_where("", 2);
    ended.exits(0);
    let found = lines(&ended.stdout, "where");
    assert_eq!(found.len(), 4);
    let distinct = |column: usize| found.iter().map(|words| words[column]).collect::<BTreeSet<_>>();
    assert_eq!(distinct(1), BTreeSet::from(["0", "1"]), "worker");
    assert_eq!(distinct(2), BTreeSet::from(["2"]), "workers");
    assert_eq!(distinct(3), BTreeSet::from([host.trim()]), "host");
    assert_eq!((distinct(4).len(), distinct(5).len()), (2, 2), "processes and ports");
    assert!(!distinct(5).contains("0"), "every worker listens");
    assert_eq!((distinct(6), distinct(7)), (BTreeSet::from(["1"]), BTreeSet::from(["where"])), "first life");
    let ended = run_where("", 0);
    ended.exits(0);
    let found = lines(&ended.stdout, "where");
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|words| words[1..3] == ["0", "1"] && words[5] == "0"), "{found:?}");
}

fn resources_and_worker_hooks_run_once_in_each_process() {
    for (workers, listening) in [(0, "false"), (2, "true")] {
        let ended = run_where("", workers);
        ended.exits(0);
        let processes = usize::from(workers.max(1));
        assert_eq!(lines(&ended.stderr, "resource").len(), processes, "{}", ended.stderr);
        let started: BTreeSet<_> =
            lines(&ended.stderr, "worker").into_iter().filter(|line| line[2] == "started,").collect();
        assert_eq!(started.len(), processes, "{}", ended.stderr);
        for line in &started {
            assert_eq!((line[4].trim_end_matches(','), line[6]), (listening, "true"));
        }
        let ends = ended.stderr.matches("worker hook shut down in").count();
        assert_eq!(ends, processes, "{}", ended.stderr);
        // The tasks have closed by then.
        let closed = ended.stderr.rfind("watched where").expect("it was watched");
        assert!(workers > 0 || closed < ended.stderr.find("worker hook shut down").expect("once"));
    }
}

fn a_resource_or_worker_hook_that_fails_ends_the_run() {
    for workers in [0, 2] {
        run_where("resource", workers).exits(1).says("resource `maker` cannot be made: the server is away");
        run_where("resource-panics", workers)
            .exits(1)
            .says("resource `maker` cannot be made: panicked")
            .says("the server is on fire");
        run_where("hook", workers)
            .exits(1)
            .says("worker hook `own_program::program::Announce` cannot start: nobody listens");
    }
}

/// A command that waits for ever shows nothing to whoever asked, and holds one of the few places of those that the run
/// answers.
fn a_checkpoint_that_takes_too_long_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let command = |args: &[&str]| {
        let mut command = command_that_fails("", args);
        command.current_dir(directory.path()).env("XDG_RUNTIME_DIR", directory.path());
        command
    };
    let mut run = command(&["run", "stuck", "-q"]).stderr(Stdio::null()).spawn().expect("it can be started");
    while !directory.path().join("entered").exists() {
        std::thread::yield_now();
    }
    let get = ["state", "get", "stuck", "--component", "stuck", "--dump", "--timeout", "1500ms"];
    let ended = Ended::of(command(&get).output().expect("it runs"));
    ended.exits(1).says("waiting for a checkpoint of `stuck-").says(", at most 1.5s");
    ended.says("the checkpoint was not complete after 1.5s: `--timeout` waits longer");
    assert_eq!(ended.stdout, "");
    Ended::of(command(&["ps"]).output().expect("it runs")).exits(0).prints("stuck-");
    run.kill().expect("it runs");
    run.wait().expect("it was started");
}

fn a_worker_hook_that_can_never_start_again_ends_the_run() {
    let ended = run_where("restarted-hook", 2);
    ended.exits(1).says("cannot start: the licence has expired");
    let failures = ended.stderr.matches("a worker cannot go on").count();
    assert_eq!(failures, 1, "it is not tried again\n{}", ended.stderr);
}

fn a_worker_hook_that_panics_at_the_end_is_reported() {
    for workers in [0, 2] {
        run_where("shutdown", workers)
            .exits(0)
            .says("a worker hook did not shut down")
            .says("the door is stuck");
    }
}

fn hooks_of_a_document_run_in_workers() {
    let ended = run_where("", 2);
    ended.exits(0);
    let executed =
        lines(&ended.stderr, "watched").into_iter().map(|words| words[2].parse::<u64>().expect("a count"));
    assert_eq!(executed.sum::<u64>(), 100, "{}", ended.stderr);
}

fn hooks_are_added_to_a_topology_in_rust() {
    let ended = program(&["run", "squares", "--set", "bolt.square.hooks=['watch']"]);
    ended.exits(0);
    let watched = lines(&ended.stderr, "watched");
    assert!(watched.iter().all(|words| words[1] == "square"), "{watched:?}");
    let executed: u64 = watched.iter().map(|words| words[2].parse::<u64>().expect("a count")).sum();
    assert_eq!(executed, 1000);
}

fn a_custom_grouping_has_its_settings_in_workers() {
    let ended = run_where("", 2);
    ended.exits(0);
    let mut executed: Vec<&str> = lines(&ended.stderr, "watched").into_iter().map(|words| words[2]).collect();
    executed.sort_unstable();
    assert_eq!(executed, ["0", "0", "0", "100"], "one task of four gets them all");
}

/// What `--json` says of a run, which must have been in order.
#[track_caller]
fn summary(ended: &Ended) -> Value {
    ended.exits(0);
    let last = ended.stdout.lines().last().unwrap_or_default();
    let line: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("no summary: {last}"));
    line["summary"].clone()
}

/// `MessagingTest.testRemoteTransport` and `testRemoteTransportWithManyTasksInReceivingExecutor`
/// (STORM-3141): 2 workers, 24 tuples in, 24 out, for 6 tasks and for 10 tasks of one executor.
fn storm_twenty_four_tuples_cross_workers() {
    for topology in ["messaging", "messaging-many-tasks"] {
        let ended = program(&["run", topology, "--workers", "2", "--json"]);
        assert_eq!(summary(&ended)["acked"], 24, "{}", ended.stderr);
        let arrived = lines(&ended.stdout, "arrived");
        assert_eq!(arrived.len(), 24, "{}", ended.stdout);
        let crossed = arrived.iter().any(|words| words[1] != words[2]);
        assert!(crossed, "some tuple came from the other worker: {}", ended.stdout);
    }
}

/// `InOrderDeliveryTest`: 8 spouts, fields(index), each index strictly consecutive; over 3 workers.
fn storm_tuples_of_a_key_cross_workers_in_order() {
    let ended = program(&["run", "in-order", "--workers", "3", "--json"]);
    let summary = summary(&ended);
    let check = &summary["components"][1];
    assert_eq!((&check["id"], &check["errors"]), (&"check".into(), &0.into()), "{}", ended.stderr);
    assert_eq!(check["executed"], 8 * crate::storm::IN_ORDER, "{summary}");
    assert_eq!((&summary["replayed"], &summary["failed"]), (&0.into(), &0.into()), "{}", ended.stderr);
}
