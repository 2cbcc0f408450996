//! Changes of a topology that runs on a cluster of real processes: what is exactly-once is counted once, whatever is done.

#[path = "dev_kit/mod.rs"]
mod dev_kit;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use dev_kit::{DevCluster, squall, wait_until};

/// Numbers, each of which is stored and counted.
const WORDS: &str = r#"
[topology]
name = "words"
workers = 2
delivery = "exactly-once"
checkpoint = { interval = "100ms", storage = "DIR/checkpoints" }
[spout.numbers]
type = "generate"
config = { rate = 1000, fields = { n = "{seq}" } }
[bolt.keys]
type = "map"
parallelism = 2
inputs = ["numbers"]
config.set = { n = "n", key = "n % 10" }
[bolt.count]
type = "count"
parallelism = 2
inputs = [{ from = "keys", fields = ["key"] }]
config = { by = ["key"], emit = "updates" }
[bolt.counts]
type = "file"
parallelism = 2
inputs = ["count"]
config = { path = "DIR/out/counts-{task}-{seq}.csv", format = "csv" }
[bolt.numbers-of]
type = "file"
parallelism = 2
inputs = ["keys"]
config = { path = "DIR/out/numbers-{task}-{seq}.csv", format = "csv" }
"#;

/// The topology of [`WORDS`] in a cluster.
trait Words {
    fn submit(&self, more: &[&str]);
    fn status(&self) -> Value;
    fn wait_for_more(&self, what: &str);
    /// Kills a process of the topology, and waits until another one has its place.
    fn kill_one(&self, name: &str);
    /// Each number was stored once, without a gap, and counted once.
    fn check_counts(&self);
    /// Ends the topology in order, and checks what it has published.
    fn drain_and_check(&self);
    /// A worker is killed while its log is followed with other levels.
    fn follow_its_logs(&self);
    /// What runs on the host of the master moves to others, and goes on there.
    fn empty_the_host_of_the_master(&self);
    fn spread_over_the_hosts(&self);
}

impl Words for DevCluster {
    fn submit(&self, more: &[&str]) {
        self.done(&[&["submit", &self.document("topology.toml", WORDS), "--timeout", "180s"], more].concat());
    }

    fn status(&self) -> Value {
        let text = self.done(&["status", "words", "--output", "json"]);
        serde_json::from_str(&text).expect("it is JSON")
    }

    #[track_caller]
    fn wait_for_more(&self, what: &str) {
        let before = self.rows("numbers-").len();
        wait_until(what, || self.rows("numbers-").len() > before + 100);
    }

    fn kill_one(&self, name: &str) {
        let pid = self.pid_of(name).expect("it runs");
        self.kill(pid);
        wait_until("another process has its place", || self.pid_of(name).is_some_and(|now| now != pid));
    }

    #[track_caller]
    fn check_counts(&self) {
        let mut numbers: Vec<u64> = self.rows("numbers-").into_iter().map(|row| row[0]).collect();
        numbers.sort_unstable();
        let expected: Vec<u64> = (0..numbers.len() as u64).collect();
        assert!(numbers == expected, "numbers are missing or there twice, of {}", numbers.len());
        let mut counts: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        self.rows("counts-").into_iter().for_each(|row| counts.entry(row[0]).or_default().push(row[1]));
        for (key, mut counts) in counts {
            counts.sort_unstable();
            let of_key = numbers.iter().filter(|number| **number % 10 == key).count() as u64;
            let expected: Vec<u64> = (1..=of_key).collect();
            assert!(counts == expected, "key {key}: {} counts, not {of_key}", counts.len());
        }
    }

    #[track_caller]
    fn drain_and_check(&self) {
        self.done(&["stop", "words", "--cluster", "--timeout", "180s"]);
        self.check_counts();
    }

    fn follow_its_logs(&self) {
        let shown = self.path("followed");
        let lines = || fs::read_to_string(&shown).unwrap_or_default();
        let args = ["logs", "words", "-f", "--lines", "5", "--nimbus", &self.address];
        let stdout = fs::File::create(&shown).expect("it is made");
        let mut follower = squall(&args).stdout(stdout).spawn().expect("it starts");
        wait_until("all are shown", || {
            ["master   | ", "worker-0 | ", "worker-1 | "].iter().all(|name| lines().contains(name))
        });
        let changes = || lines().matches("other records are logged from here on").count();
        self.done(&["log-level", "words", "debug", "--for", "1h"]);
        wait_until("master and workers log more", || changes() == 3);
        assert_eq!(self.status()["log"]["levels"], "debug");
        let connected = || {
            let text = lines();
            let of_worker = text.lines().filter(|line| line.contains("worker-0 | "));
            of_worker.filter(|line| line.contains("connected to the master")).count()
        };
        let before = connected();
        self.kill_one("worker-0");
        self.wait_for_more("it goes on after a worker was killed");
        wait_until("the next process is shown", || connected() > before);
        self.done(&["log-level", "words", "--reset"]);
        wait_until("they log less", || changes() >= 5);
        assert!(self.status()["log"].is_null());
        let (pid, mut ended) = (Pid::from_child(&follower), false);
        kill_process(pid, Signal::TERM).expect("it is ours");
        wait_until("it ends", || {
            ended |= follower.try_wait().expect("it is ours").is_some();
            ended
        });
        let printed = self.done(&["logs", "words", "--output", "--worker", "1"]);
        assert!(!printed.contains("worker-1 | "), "one process needs no name: {printed}");
        let unknown = self.run(&["logs", "words", "--component", "splat"]);
        let text = String::from_utf8_lossy(&unknown.stderr).into_owned();
        assert!(unknown.status.code() == Some(1) && text.contains("no component `splat`"), "{text}");
    }

    fn empty_the_host_of_the_master(&self) {
        let host = self.status()["master"]["host"].as_str().expect("it has one").to_owned();
        let there = |path: &Path| path.starts_with(self.path("data").join(&host));
        let of_others = |processes: Vec<(PathBuf, i32)>| -> Vec<(PathBuf, i32)> {
            processes.into_iter().filter(|(path, _)| !there(path)).collect()
        };
        let before = of_others(self.processes());
        self.done(&["supervisor", "drain", &host, "--timeout", "180s"]);
        wait_until("its processes are gone", || !self.processes().iter().any(|(path, _)| there(path)));
        self.wait_for_more("it goes on elsewhere");
        let after = self.processes();
        assert!(
            before.iter().all(|process| after.contains(process)),
            "the others go on: {before:?} {after:?}"
        );
        assert!(self.done(&["cluster"]).contains("drained"));
        self.done(&["supervisor", "undrain", &host]);
        assert!(!self.done(&["cluster"]).contains("drained"));
        assert_eq!(self.run(&["supervisor", "drain", "nowhere"]).status.code(), Some(3));
    }

    /// Of two workers on one host one moves, and nobody else begins anew.
    fn spread_over_the_hosts(&self) {
        let hosts = |status: &Value| -> Vec<String> {
            let slots = status["workers"].as_array().expect("it has workers").iter();
            slots.map(|worker| worker["host"].as_str().expect("it has one").to_owned()).collect()
        };
        let status = self.status();
        let left = &hosts(&status)[0];
        let names: Vec<String> = (1..=3).map(|number| format!("supervisor-{number}")).collect();
        let others = names.iter().filter(|name| *name != left);
        others.clone().for_each(|name| _ = self.done(&["supervisor", "drain", name, "--timeout", "180s"]));
        assert_eq!(hosts(&self.status()), [left.as_str(); 2]);
        let on_host = |host: &str| -> Vec<(PathBuf, i32)> {
            let place = self.path("data").join(host);
            self.processes().into_iter().filter(|(path, _)| path.starts_with(&place)).collect()
        };
        wait_until("all is on one host", || {
            on_host(left).len() == 3 && others.clone().all(|name| on_host(name).is_empty())
        });
        self.wait_for_more("it goes on there");
        others.clone().for_each(|name| _ = self.done(&["supervisor", "undrain", name]));
        let before = on_host(left);
        let printed = self.done(&["rebalance", "words", "--timeout", "180s"]);
        assert!(printed.contains("rebalance"), "{printed}");
        let status = self.status();
        assert_ne!(hosts(&status)[0], hosts(&status)[1], "{status}");
        assert_eq!(status["generation"], status["runs"]);
        wait_until("one has moved", || on_host(left).len() == 2);
        let after = on_host(left);
        assert!(after.iter().all(|process| before.contains(process)), "{before:?} {after:?}");
        assert!(after.iter().any(|(path, _)| path.ends_with("master")), "{after:?}");
        self.wait_for_more("it goes on after a worker has moved");
    }
}

#[test]
fn a_topology_is_stopped_with_a_savepoint_and_submitted_again() {
    let mut cluster = DevCluster::new();
    cluster.submit(&[]);
    cluster.wait_for_more("it publishes");
    cluster.kill_one("worker-1");
    cluster.wait_for_more("it publishes after a worker was killed");
    // A savepoint of a topology that goes on, in a directory of its own.
    let side = cluster.path("side");
    let side = side.to_str().expect("it is UTF-8");
    let printed =
        cluster.done(&["savepoint", "create", "words", "--cluster", "--dir", side, "--timeout", "180s"]);
    assert_eq!(printed.trim_end(), side);
    let refused =
        cluster.run(&["savepoint", "create", "words", "--cluster", "--dir", side, "--timeout", "180s"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && text.contains("is not empty"), "{text}");
    cluster.wait_for_more("it goes on after a savepoint that was refused");
    let printed = cluster.done(&["stop", "words", "--cluster", "--savepoint", "--timeout", "180s"]);
    let directory = printed.trim_end().to_owned();
    let beside = cluster.path("savepoints").join("words-1-3");
    assert_eq!(Path::new(&directory), beside, "the third one, beside the checkpoints");
    assert_eq!(cluster.status()["phase"], "ended");
    cluster.check_counts();
    // Its checkpoints are left, so another one does not begin unless it is said how.
    let refused = cluster.run(&["submit", &cluster.document("topology.toml", WORDS), "--timeout", "180s"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("--resume") && text.contains("--discard-checkpoints"), "{text}");
    cluster.submit(&["--from-savepoint", &directory, "--discard-checkpoints"]);
    cluster.wait_for_more("it goes on from the savepoint");
    // Killed, and gone on from the latest checkpoint.
    cluster.done(&["kill", "words", "--timeout", "180s"]);
    cluster.submit(&["--resume"]);
    cluster.kill_one("master");
    cluster.wait_for_more("it goes on from the latest checkpoint");
    cluster.drain_and_check();
    cluster.interrupt();
}

#[test]
fn all_workers_begin_anew_and_nothing_is_counted_twice() {
    let mut cluster = DevCluster::new();
    cluster.submit(&[]);
    cluster.wait_for_more("it publishes");
    let before = cluster.processes();
    cluster.done(&["restart", "words", "--timeout", "180s"]);
    let after = cluster.processes();
    let names = |of: &[(PathBuf, i32)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "they are where they were");
    assert!(before.iter().zip(&after).all(|(before, after)| before.1 != after.1), "each is another process");
    cluster.wait_for_more("it goes on");
    cluster.follow_its_logs();
    cluster.empty_the_host_of_the_master();
    cluster.spread_over_the_hosts();
    cluster.drain_and_check();
    let refused = cluster.run(&["restart", "words"]);
    assert_eq!(refused.status.code(), Some(1), "it has ended");
    cluster.interrupt();
}

#[test]
fn a_topology_gets_more_workers_and_fewer_and_counts_on() {
    let mut cluster = DevCluster::new();
    cluster.submit(&[]);
    cluster.wait_for_more("it publishes");
    let up = ["rebalance", "words", "--workers", "4", "--set", "bolt.count.parallelism=4"];
    let before = cluster.status();
    let planned = cluster.done(&[&up[..], &["--dry-run"]].concat());
    assert!(planned.contains("EXECUTORS") && planned.contains("new"), "{planned}");
    assert_eq!(cluster.status()["generation"], before["generation"], "it was only planned");
    let many = ["rebalance", "words", "--workers", "20", "--set", "bolt.count.parallelism=30"];
    let refused = cluster.run(&many);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && text.contains("does not fit so"), "{text}");
    cluster.done(&[&up[..], &["--timeout", "180s"]].concat());
    assert_eq!(cluster.status()["workers"].as_array().map(Vec::len), Some(4));
    cluster.wait_for_more("it goes on with more workers");
    cluster.kill_one("worker-3");
    cluster.wait_for_more("it goes on after a worker was killed");
    let down = ["rebalance", "words", "--workers", "1", "--set", "bolt.count.parallelism=1"];
    cluster.done(&[&down[..], &["--timeout", "180s"]].concat());
    assert_eq!(cluster.status()["workers"].as_array().map(Vec::len), Some(1));
    cluster.wait_for_more("it goes on with one worker");
    cluster.drain_and_check();
    cluster.interrupt();
}

/// Stores each number once more.
const MORE: &str = r#"
[bolt.more]
type = "file"
parallelism = 2
inputs = ["keys"]
config = { path = "DIR/out/more-{task}-{seq}.csv", format = "csv" }
"#;

/// Its files are below a file, so it cannot be opened.
const BROKEN: &str = r#"
[bolt.broken]
type = "file"
inputs = ["keys"]
config = { path = "DIR/broken.toml/out/{task}-{seq}.csv", format = "csv" }
"#;

#[test]
fn a_topology_is_upgraded_and_what_does_not_come_up_is_rolled_back() {
    let mut cluster = DevCluster::new();
    cluster.submit(&[]);
    cluster.wait_for_more("it publishes");
    let more = cluster.document("more.toml", &format!("{WORDS}{MORE}"));
    let planned = cluster.done(&["upgrade", "words", &more, "--dry-run"]);
    assert!(planned.contains("bolt `more` is new"), "{planned}");
    assert_eq!(cluster.status()["generation"], 1, "it was only planned");
    let output = cluster.run(&["upgrade", "words", &more, "--timeout", "180s"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let savepoint = cluster.path("savepoints").join("words-1-1");
    assert!(text.contains(savepoint.to_str().expect("it is UTF-8")), "{text}");
    assert_eq!(cluster.status()["upgrade"]["outcome"], "accepted");
    cluster.wait_for_more("the new one publishes");
    wait_until("the new bolt publishes", || !cluster.rows("more-").is_empty());
    cluster.kill_one("master");
    cluster.wait_for_more("it publishes after its master was killed");

    let rolled_back = |args: &[&str], why: &str| {
        let before = cluster.status()["generation"].as_u64().expect("a number");
        let output = cluster.run(&[&["upgrade", "words", "--no-savepoint"], args].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{text}\n{}", cluster.logs());
        assert!(text.contains("rolled back") && text.contains(why), "{text}");
        assert_eq!(cluster.status()["generation"], before + 2);
        cluster.wait_for_more("the one before goes on");
    };
    // A task cannot be opened.
    let broken = cluster.document("broken.toml", &format!("{WORDS}{MORE}{BROKEN}"));
    rolled_back(&[&broken, "--timeout", "5s"], "broken");
    // What a component has kept has no place any more.
    let other = format!("{WORDS}{MORE}")
        .replace("bolt.count]", "bolt.counter]")
        .replace("[\"count\"]", "[\"counter\"]");
    let other = cluster.document("other.toml", &other);
    rolled_back(&[&other, "--timeout", "180s"], "--allow-dropped-state count");
    cluster.kill_one("worker-0");
    cluster.wait_for_more("it goes on after a worker was killed");
    cluster.drain_and_check();
    let numbers = |name: &str| {
        let mut numbers: Vec<u64> = cluster.rows(name).into_iter().map(|row| row[0]).collect();
        numbers.sort_unstable();
        numbers
    };
    let (all, more) = (numbers("numbers-"), numbers("more-"));
    assert_eq!(all[all.len() - more.len()..], more, "the new bolt has each number since the upgrade once");
    cluster.interrupt();
}
