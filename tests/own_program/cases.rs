//! What is expected of the program.

use std::collections::BTreeSet;
use std::env;
use std::process::{Command, Output, Stdio};

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
];

/// What a run of the program came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
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
    let mut command = Command::new(env::current_exe().expect("this program"));
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("SQUALL_")) {
        command.env_remove(name);
    }
    let output: Output = command.args(args).stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
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
    program(&["validate", "panicking"])
        .exits(1)
        .says("the registered topology `panicking` cannot be built: panicked: too much");
    program(&["run", "wrong"]).exits(1).says("has no spout");
}

fn registered_topologies_are_listed() {
    program(&["components"]).exits(0).prints("Topologies of this program").prints("  squares");
    program(&["run", "square"])
        .exits(1)
        .says("registered topologies: broken, changing, panicking, squares, wrong");
}
