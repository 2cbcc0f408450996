//! A program is submitted to a cluster of squall's own daemons, which do not have its components.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
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

/// Keys that are counted by a bolt of the program, exactly once.
const TALLY: &str = r#"
[topology]
name = "tally"
workers = 2
delivery = "exactly-once"
checkpoint = { interval = "100ms", storage = "DIR/checkpoints" }
[spout.numbers]
type = "generate"
config = { rate = 1000, fields = { n = "{seq}" } }
[bolt.keys]
type = "map"
inputs = ["numbers"]
config.set = { key = "n % 10" }
[bolt.tally]
type = "tally"
parallelism = 2
inputs = [{ from = "keys", fields = ["key"] }]
[bolt.counts]
type = "file"
parallelism = 2
inputs = ["tally"]
config = { path = "DIR/out/counts-{task}-{seq}.csv", format = "csv" }
"#;

/// Each count of each key was published once.
#[track_caller]
fn check_counts(cluster: &DevCluster) {
    let mut rows = cluster.rows("counts-");
    rows.sort_unstable();
    let mut before = None;
    for row in &rows {
        let (key, count) = (row[0], row[1]);
        let expected = before.filter(|(last, _)| *last == key).map_or(1, |(_, count)| count + 1);
        assert_eq!(count, expected, "key {key}, of {} counts", rows.len());
        before = Some((key, count));
    }
}

#[track_caller]
fn wait_for_more(cluster: &DevCluster, what: &str) {
    let before = cluster.rows("counts-").len();
    wait_until(what, || cluster.rows("counts-").len() > before + 100);
}

/// The files that the processes of topologies were started from.
fn started_from(cluster: &DevCluster) -> Vec<PathBuf> {
    let exe = |pid: Pid| fs::read_link(format!("/proc/{}/exe", pid.as_raw_pid())).ok();
    let mut files: Vec<PathBuf> = processes(cluster)
        .into_iter()
        .filter_map(exe)
        .filter_map(|exe| Some(exe.parent()?.file_name()?.into()))
        .collect();
    files.sort();
    files.dedup();
    files
}

/// A program that differs in some bytes which nobody reads is another program.
pub fn another_program_takes_over_and_one_that_does_not_start_is_rolled_back() {
    let cluster = DevCluster::new();
    let document = cluster.document("tally.toml", TALLY);
    submit(&cluster, &[&document]);
    wait_for_more(&cluster, "it publishes");
    let first = started_from(&cluster);
    assert_eq!(first.len(), 1, "{first:?}");

    let next = cluster.path("next");
    fs::copy(env::current_exe().expect("this program has a file"), &next).expect("it is copied");
    File::options().append(true).open(&next).and_then(|mut file| file.write_all(b"next")).expect("it grows");
    let upgrade = |more: &[&str]| {
        let mut command = Command::new(env::current_exe().expect("this program has a file"));
        command.args(["upgrade", "tally", &document]).args(more);
        let output = cluster.ask(&mut command);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let program = next.to_str().expect("it is UTF-8");
    let (code, text) = upgrade(&["--program", program, "--timeout", "180s"]);
    assert_eq!(code, Some(0), "{text}");
    let second = started_from(&cluster);
    assert!(second.len() == 1 && second != first, "{first:?}, then {second:?}");
    wait_for_more(&cluster, "it goes on");

    // A program that knows nothing of squall.
    let (code, text) = upgrade(&["--program", "/bin/true", "--timeout", "5s"]);
    assert_eq!(code, Some(5), "{text}");
    wait_for_more(&cluster, "it goes on with the program before");
    assert_eq!(started_from(&cluster), second);
    cluster.done(&["stop", "tally", "--cluster", "--timeout", "180s"]);
    check_counts(&cluster);

    // The same, submitted: it is seen why it does not come up, and it can be killed.
    submit(&cluster, &["squares", "--program", "/bin/true", "--no-wait"]);
    let why = "does not say which protocol it speaks";
    wait_until("why it does not run", || cluster.done(&["status", "squares"]).contains(why));
    let killed = cluster.done(&["kill", "squares", "--timeout", "180s"]);
    assert_eq!(status(&cluster, "squares")["phase"], "ended", "{killed}");
    let failure = status(&cluster, "squares")["outcome"]["failure"].clone();
    assert!(failure.as_str().is_some_and(|failure| failure.contains(why)), "{failure}");
}
