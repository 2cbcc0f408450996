//! `squall dev`: a whole cluster of real processes, as a user has it on one machine.

#[path = "dev_kit/mod.rs"]
mod dev_kit;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use dev_kit::{DevCluster, squall, wait_until};

/// Numbers to a file, until it is stopped.
const NUMBERS: &str = r#"
[topology]
name = "numbers"
workers = 3
message_timeout = "180s"
[spout.numbers]
type = "generate"
config = { rate = 1000, fields = { n = "{seq}" } }
[bolt.same]
type = "map"
parallelism = 3
inputs = ["numbers"]
config.set = { n = "n" }
[bolt.store]
type = "file"
parallelism = 2
inputs = [{ from = "same", fields = ["n"] }]
config = { path = "DIR/out-{task}", format = "text" }
"#;

/// The topology of [`NUMBERS`] in a cluster.
trait Numbers {
    fn submit(&self);
    fn status(&self) -> Value;
    /// The numbers in the files, and how many lines there are.
    fn written(&self) -> (BTreeSet<u64>, usize);
    fn wait_for_more(&self, what: &str);
}

impl Numbers for DevCluster {
    fn submit(&self) {
        let file = self.document("topology.toml", NUMBERS);
        self.done(&["submit", &file, "--timeout", "180s"]);
    }

    fn status(&self) -> Value {
        let text = self.done(&["status", "numbers", "--output", "json"]);
        serde_json::from_str(&text).expect("it is JSON")
    }

    fn written(&self) -> (BTreeSet<u64>, usize) {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.path("")).expect("it is there").flatten() {
            if entry.file_name().to_string_lossy().starts_with("out-") {
                let text = fs::read_to_string(entry.path()).expect("it is text");
                let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
                lines.extend(whole.filter_map(|line| line.parse::<u64>().ok()));
            }
        }
        (lines.iter().copied().collect(), lines.len())
    }

    #[track_caller]
    fn wait_for_more(&self, what: &str) {
        let before = self.written().1;
        wait_until(what, || self.written().1 > before + 100);
    }
}

/// Nothing of what was emitted is missing.
#[track_caller]
fn nothing_is_missing(cluster: &DevCluster) {
    let (numbers, _) = cluster.written();
    let last = *numbers.last().expect("something was written");
    let missing: Vec<u64> = (0..last).filter(|number| !numbers.contains(number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_topology_is_submitted_watched_stopped_and_removed() {
    let mut cluster = DevCluster::new();
    cluster.submit();
    let status = cluster.status();
    assert_eq!((&status["phase"], &status["wanted"]), (&"active".into(), &"active".into()), "{status}");
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(3), "{status}");
    assert_eq!(cluster.processes().len(), 4, "three workers and a master");
    cluster.wait_for_more("it writes");
    cluster.done(&["deactivate", "numbers", "--timeout", "180s"]);
    cluster.done(&["activate", "numbers", "--timeout", "180s"]);
    let hosts: Value = serde_json::from_str(&cluster.done(&["cluster", "--json"])).expect("it is JSON");
    let used = hosts["supervisors"]
        .as_array()
        .map(|hosts| hosts.iter().filter_map(|host| host["used"].as_u64()).sum());
    assert_eq!(used, Some(3_u64), "{hosts}");
    let listed = cluster.done(&["list"]);
    assert!(listed.contains("numbers"), "{listed}");
    cluster.done(&["stop", "numbers", "--cluster", "--timeout", "180s"]);
    let status = cluster.status();
    assert_eq!(status["phase"], "ended", "{status}");
    let (numbers, lines) = cluster.written();
    assert_eq!(status["outcome"]["completed"], lines, "{status}");
    assert_eq!(numbers.len(), lines, "each once");
    nothing_is_missing(&cluster);
    wait_until("its processes are gone", || cluster.processes().is_empty());
    // What was printed and logged is there until the topology is removed.
    let host = status["master"]["host"].as_str().unwrap_or("supervisor-1").to_owned();
    let log = cluster.path("data").join(format!("{host}/topologies/numbers-1/master/worker.log"));
    let text = fs::read_to_string(&log).expect("it stays");
    assert!(text.contains("the topology has ended"), "{text}");
    cluster.done(&["remove", "numbers"]);
    assert_eq!(cluster.run(&["status", "numbers"]).status.code(), Some(3));
    let left = |supervisor: u16| cluster.path("data").join(format!("supervisor-{supervisor}/topologies"));
    wait_until("its directories are gone", || {
        (1..=3).all(|supervisor| fs::read_dir(left(supervisor)).map_or(true, |left| left.count() == 0))
    });
    cluster.interrupt();
}

#[test]
fn whatever_is_killed_nothing_is_lost() {
    let mut cluster = DevCluster::new();
    cluster.submit();
    let names: Vec<PathBuf> = cluster.processes().into_iter().map(|(directory, _)| directory).collect();
    assert_eq!(names.len(), 4);
    for name in names {
        cluster.wait_for_more("it writes");
        let (_, pid) = cluster.processes().into_iter().find(|(of, _)| *of == name).expect("it runs");
        cluster.kill(pid);
        wait_until("another process has its place", || {
            cluster.processes().iter().any(|(of, now)| *of == name && *now != pid)
        });
    }
    cluster.wait_for_more("it writes after all were killed");
    // A spout whose process was killed has begun again, and what it had open is written when it has come so far.
    let last = *cluster.written().0.last().expect("something was written");
    wait_until("what was open is written", || {
        let (numbers, _) = cluster.written();
        (0..last).all(|number| numbers.contains(&number))
    });
    cluster.done(&["stop", "numbers", "--cluster", "--timeout", "180s"]);
    nothing_is_missing(&cluster);
    cluster.interrupt();
    assert_eq!(cluster.processes(), []);
}

/// Nimbus, supervisors and the coordination die at once, and topologies do not notice.
#[test]
fn the_daemons_are_killed_and_the_topology_goes_on() {
    let mut cluster = DevCluster::new();
    cluster.submit();
    let before = cluster.processes();
    let mut process = cluster.process.take().expect("it runs");
    process.kill().expect("it is ours");
    process.wait().expect("it is ours");
    cluster.wait_for_more("it writes without daemons");
    cluster.start();
    wait_until("the next nimbus leads", || cluster.run(&["status", "numbers"]).status.code() == Some(0));
    cluster.wait_for_more("it writes");
    assert_eq!(cluster.processes(), before, "the same processes");
    cluster.done(&["stop", "numbers", "--cluster", "--timeout", "180s"]);
    let (numbers, lines) = cluster.written();
    assert_eq!(numbers.len(), lines, "each once");
    nothing_is_missing(&cluster);
    cluster.interrupt();
}

#[test]
fn an_ended_cluster_goes_on_where_it_was() {
    let mut cluster = DevCluster::new();
    cluster.submit();
    cluster.wait_for_more("it writes");
    cluster.interrupt();
    assert_eq!(cluster.processes(), [], "nothing is left behind");
    cluster.start();
    wait_until("it runs again", || {
        cluster.run(&["status", "numbers"]).status.code() == Some(0) && cluster.status()["phase"] == "active"
    });
    cluster.wait_for_more("it writes again");
    cluster.done(&["kill", "numbers", "--timeout", "180s"]);
    cluster.interrupt();
}

#[test]
fn one_directory_has_one_cluster() {
    let mut cluster = DevCluster::new();
    let data = cluster.path("data");
    let second =
        squall(&["dev", "--listen", "127.0.0.1:0", "--directory"]).arg(&data).output().expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("another `squall dev`"), "{text}");
    cluster.interrupt();
}
