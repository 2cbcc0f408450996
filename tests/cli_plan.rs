//! `squall plan`: where topologies would run on the hosts of a file, and what is short.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;
use snapbox::{assert_data_eq, str};

const WORDS: &str = "\
[topology]
name = \"words\"
workers = 3

[spout.lines]
type = \"lines\"
config = { path = \"words.txt\" }

[bolt.split]
type = \"split\"
inputs = [\"lines\"]
parallelism = 3

[bolt.print]
type = \"print\"
inputs = [{ from = \"split\", grouping = \"global\" }]
resources = { cpu = 0.5, memory = \"1GiB\" }
";

const HOSTS: &str = "\
[defaults]
cpu = 1
memory = \"1GiB\"
[host.node]
count = 3
slots = 2
[host.large]
rack = \"r2\"
slots = 1
";

fn plan(dir: &Path, args: &[&str]) -> Assert {
    fs::write(dir.join("words.toml"), WORDS).unwrap();
    fs::write(dir.join("hosts.toml"), HOSTS).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.env_remove("SQUALL_COLOR").env_remove("NO_COLOR").current_dir(dir);
    command.arg("plan").args(args).args(["--hosts", "hosts.toml"]).assert()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn workers_get_slots_and_hosts_show_their_load() {
    let dir = tempfile::tempdir().unwrap();
    let assert = plan(dir.path(), &["words.toml", "--set", "bolt.print.resources.memory=512MiB"]).success();
    assert_data_eq!(
        text(&assert.get_output().stdout),
        str![[r#"
TOPOLOGY  WORKER  SLOT      CPU  MEMORY  EXECUTORS
words          0  node-1:0  0.2  256MiB  lines 1, __acker 1
words          1  node-2:0  0.2  256MiB  split 2
words          2  node-3:0  0.6  640MiB  split 1, print 1

HOST    RACK           SLOTS       CPU          MEMORY  TOPOLOGIES
node-1  default-rack  1 of 2  0.2 of 1  256MiB of 1GiB  words
node-2  default-rack  1 of 2  0.2 of 1  256MiB of 1GiB  words
node-3  default-rack  1 of 2  0.6 of 1  640MiB of 1GiB  words
large   r2            0 of 1    0 of 1      0B of 1GiB

"#]]
    );
    assert_eq!(text(&assert.get_output().stderr), "");
}

#[test]
fn what_is_short_is_named_and_the_exit_code_is_1() {
    let dir = tempfile::tempdir().unwrap();
    // The even strategy counts slots only, so the host says it.
    let assert = plan(dir.path(), &["words.toml"]).code(1);
    assert_data_eq!(
        text(&assert.get_output().stderr),
        str![[r#"
short: host node-3 lacks 128MiB of memory (needed 1152MiB, free 1GiB), with the workers of `words`: `even` counts slots only

"#]]
    );
    let aware = ["words.toml", "--set", "topology.scheduling.strategy=resource-aware"];
    let assert = plan(dir.path(), &[&aware[..], &["--set", "bolt.split.resources.cpu=2"]].concat()).code(1);
    assert_data_eq!(
        text(&assert.get_output().stderr),
        str![[r#"
short: `words`: no host has room for an executor of `split`, which needs 2 cores and 128MiB: node-1 lacks 1 of cpu (needed 2, free 1); node-2 lacks 1 of cpu (needed 2, free 1); node-3 lacks 1 of cpu (needed 2, free 1); 1 more hosts have too little

"#]]
    );
    let assert = plan(
        dir.path(),
        &["words.toml", "--set", "topology.workers=9", "--set", "bolt.split.parallelism=20"],
    );
    let stderr = text(&assert.code(1).get_output().stderr);
    assert!(stderr.contains("short: `words`: 2 slots short: it asks for 9 workers and gets 7"), "{stderr}");
}

#[test]
fn without_a_host_what_ran_there_moves() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["words.toml", "--set", "bolt.print.resources.memory=1MiB", "--without", "node-2"];
    let assert = plan(dir.path(), &args).success();
    assert_data_eq!(
        text(&assert.get_output().stdout),
        str![[r#"
TOPOLOGY  WORKER  SLOT      CPU  MEMORY  EXECUTORS
words          0  node-1:0  0.2  256MiB  lines 1, __acker 1
words          1  large:0   0.2  256MiB  split 2
words          2  node-3:0  0.6  129MiB  split 1, print 1

HOST    RACK           SLOTS       CPU          MEMORY  TOPOLOGIES
node-1  default-rack  1 of 2  0.2 of 1  256MiB of 1GiB  words
node-3  default-rack  1 of 2  0.6 of 1  129MiB of 1GiB  words
large   r2            1 of 1  0.2 of 1  256MiB of 1GiB  words

MOVES  EXECUTORS  FROM      TO       WHY
words          2  node-2:0  large:0  the host is gone

"#]]
    );
    let assert = plan(dir.path(), &["words.toml", "--without", "node-9"]).code(1);
    let stderr = text(&assert.get_output().stderr);
    assert_eq!(stderr, "error: there is no host `node-9` in hosts.toml\n");
}

#[test]
fn json_has_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let assert = plan(dir.path(), &["words.toml", "--json"]).code(1);
    let json: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(json["fits"], false);
    let worker = &json["topologies"][0]["workers"][2];
    assert_eq!((&worker["host"], &worker["slot"]), (&"node-3".into(), &0.into()));
    assert_eq!(worker["executors"], serde_json::json!({ "split": 1, "print": 1 }));
    let host = &json["hosts"][2];
    assert_eq!((host["cpu"].as_f64(), host["cpu_promised"].as_f64()), (Some(1.0), Some(0.6)));
    assert_eq!(host["short"][0]["resource"], "memory");
    assert_eq!(host["short"][0]["needed"], (1152_u64 << 20));
}

#[test]
fn mistakes_in_either_file_are_reported_together() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), "[host.a]\nslot = 4").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.env_remove("SQUALL_COLOR").current_dir(dir.path());
    let assert = command.args(["plan", "none.toml", "--hosts", "bad.toml"]).assert().code(1);
    let stderr = text(&assert.get_output().stderr);
    assert!(stderr.contains("unknown key `slot` of host `a`"), "{stderr}");
    assert!(stderr.contains("none.toml"), "{stderr}");
    let assert = plan(dir.path(), &["words.toml", "words.toml"]).code(1);
    let stderr = text(&assert.get_output().stderr);
    assert_eq!(stderr, "error: there are two topologies `words`: names are unique in a cluster\n");
}
