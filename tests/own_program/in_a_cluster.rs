//! A program is submitted to a cluster of squall's own daemons, which do not have its components.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::dev_kit::{DevCluster, wait_until};

/// The program itself submits one of its topologies. Returns what it prints on stderr.
#[track_caller]
fn submit(cluster: &DevCluster, args: &[&str]) -> String {
    let mut command = Command::new(env::current_exe().expect("this program has a file"));
    let output = cluster.ask(command.arg("submit").args(args).args(["--timeout", "180s"]));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
    errors
}

fn status(cluster: &DevCluster, name: &str) -> Value {
    serde_json::from_str(&cluster.done(&["status", name, "--output", "json"])).expect("it is JSON")
}

/// The processes whose program is below the directories of the supervisors.
fn processes(cluster: &DevCluster) -> Vec<Pid> {
    let data = cluster.path("data");
    let is_ours = |process: &Path| fs::read_link(process.join("exe")).is_ok_and(|exe| exe.starts_with(&data));
    let processes = fs::read_dir("/proc").expect("it is there").flatten().map(|entry| entry.path());
    let pid = |process: PathBuf| process.file_name()?.to_str()?.parse().ok().and_then(Pid::from_raw);
    processes.filter(|process| is_ours(process)).filter_map(pid).collect()
}

/// How many programs a supervisor has.
fn programs(cluster: &DevCluster, supervisor: u16) -> usize {
    let programs = cluster.path("data").join(format!("supervisor-{supervisor}/programs"));
    fs::read_dir(programs).map_or(0, Iterator::count)
}

/// Three workers and a master are processes of the program. They are killed while spouts rest, and all messages are
/// processed by those that come after them.
pub fn a_cluster_that_does_not_have_the_program_runs_it() {
    let cluster = DevCluster::new();
    let sent = submit(&cluster, &["squares", "--inactive"]);
    assert!(sent.contains("sending it to the cluster"), "{sent}");
    wait_until("its processes", || processes(&cluster).len() == 4);
    let killed = processes(&cluster);
    killed.iter().for_each(|pid| kill_process(*pid, Signal::KILL).expect("it is ours"));
    wait_until("others instead", || {
        let now = processes(&cluster);
        now.len() == 4 && now.iter().all(|pid| !killed.contains(pid))
    });
    wait_until("that they are up", || status(&cluster, "squares")["phase"] == "inactive");
    cluster.done(&["activate", "squares"]);
    wait_until("its end", || status(&cluster, "squares")["phase"] == "ended");
    let outcome = status(&cluster, "squares")["outcome"].clone();
    assert_eq!((&outcome["failure"], &outcome["completed"]), (&Value::Null, &1000.into()), "{outcome}");

    // The cluster has it already.
    let sent = submit(&cluster, &["squares", "--name", "more", "--no-wait"]);
    assert!(!sent.contains("sending"), "{sent}");
    wait_until("its end", || status(&cluster, "more")["phase"] == "ended");

    // What nobody needs any more is removed.
    cluster.done(&["remove", "squares"]);
    cluster.done(&["remove", "more"]);
    wait_until("that the program is removed", || {
        (1..=3).all(|supervisor| programs(&cluster, supervisor) == 0)
    });
}
