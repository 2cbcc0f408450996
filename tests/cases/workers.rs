//! Losses and ends of runs in several worker processes.

use std::io::Write;
use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::kit::{Place, send_signal, wait, wait_for_file, wait_until};

/// What components count stood nowhere: a run in workers kept it in processes that were gone.
#[test]
fn what_components_count_stands_in_the_summary() {
    let lines = "1 a\nodd\n2 b\nodder\n";
    let document = r#"
        topology.name = "counted"
        spout.lines = { type = "lines", config.path = "in.txt" }
        [bolt.parse]
        type = "parse"
        parallelism = 2
        inputs = ["lines"]
        config = { pattern = '^(?<n>\d+) (?<word>\w+)$', unmatched = "drop" }
    "#;
    let place = Place::with(&[("in.txt", lines), ("t.toml", document)]);
    for run in place.run_both_ways(&["run", "t.toml", "--json"], "3") {
        run.exits(0).says("metrics of parse: unmatched 2\n");
        let components = run.summary()["components"].clone();
        assert_eq!(components[0]["metrics"]["invalid_utf8"], 0, "{components}");
        assert_eq!(components[1]["metrics"]["unmatched"], 2, "{components}");
    }
}

/// A row that always fails: one process exited with 1, two workers said "0 failed, all done".
#[test]
fn what_still_fails_at_the_end_is_seen() {
    let document = r#"
        topology.name = "poison"
        spout.lines = { type = "lines", config.path = "in.txt" }
        [bolt.parse]
        type = "parse"
        inputs = ["lines"]
        config.pattern = '^(?<n>\d+)$'
    "#;
    let place = Place::with(&[("in.txt", "1\n2\nodd\n3\n"), ("t.toml", document)]);
    for run in place.run_both_ways(&["run", "t.toml", "--json", "--for", "1s"], "2") {
        let summary = run.exits(1).summary();
        let count = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("{key} in {summary}"));
        assert_eq!(count("emitted"), 4, "{}", run.all());
        assert_eq!((count("acked"), count("failed") + count("pending")), (3, 1), "{}", run.all());
    }
}

/// A bolt that is stuck in user code: one process showed what was pending, workers showed 0.
#[test]
fn what_a_stuck_worker_has_open_is_shown() {
    let document = r#"
        topology = { name = "stuck", drain_timeout = "300ms" }
        spout.numbers = { type = "generate", config = { count = 100, fields.n = "{seq}" } }
        [bolt.delay]
        type = "delay"
        blocking = true
        inputs = ["numbers"]
        config = { period = "1h", sleep = true, fields = ["n"] }
    "#;
    let place = Place::with(&[("t.toml", document)]);
    for run in place.run_both_ways(&["run", "t.toml", "--json", "--for", "1s"], "2") {
        let summary = run.exits(1).says("cut short").summary();
        assert_eq!((&summary["emitted"], &summary["pending"]), (&100.into(), &100.into()), "{}", run.all());
    }
}

/// Workers that speak TLS with each other, as a user sets them up: files, and a table in `squall.toml`.
#[test]
fn workers_speak_tls_and_refuse_an_authority_that_is_not_theirs() {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
    };
    let (ours, other) = (authority("ours"), authority("another"));
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.signed_by(&key, &ours).expect("a certificate");
    let table = |authority: &str| {
        format!(
            "[net.tls]\ncertificate = 'tls/worker.pem'\nkey = 'tls/worker.key'\nauthority = '{authority}'"
        )
    };
    let document = r#"
        topology.name = "secret"
        spout.numbers = { type = "generate", config = { count = 500, fields.n = "{seq}" } }
        [bolt.count]
        type = "count"
        parallelism = 3
        inputs = [{ from = "numbers", fields = ["n"] }]
        config.by = ["n"]
    "#;
    let place = Place::with(&[
        ("t.toml", document),
        ("squall.toml", &table("tls/ours.pem")),
        ("wrong.toml", &table("tls/another.pem")),
        ("tls/worker.pem", &certificate.pem()),
        ("tls/worker.key", &key.serialize_pem()),
        ("tls/ours.pem", &ours.pem()),
        ("tls/another.pem", &other.pem()),
    ]);
    let run = place.run(&["run", "t.toml", "--workers", "3", "--json", "--config", "squall.toml"]);
    run.exits(1).says("net.tls.key").says("worker.key: cannot be read: others may read it").says("chmod 600");
    place.make_private("tls/worker.key");
    let run = place.run(&["run", "t.toml", "--workers", "3", "--json", "--config", "squall.toml"]);
    assert_eq!(run.exits(0).summary()["acked"], 500);
    let run = place.run(&["run", "t.toml", "--workers", "3", "--config", "wrong.toml"]);
    run.exits(1).says("given up").says("tls/worker.pem");
}

/// The pids of the worker processes of a parent.
fn children(parent: u32) -> Vec<String> {
    let tasks =
        std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().filter_map(Result::ok);
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// What a worker has read of standard input is gone when it is killed: its next life goes on behind it.
/// The run said "all done".
#[test]
fn what_a_killed_worker_had_read_of_standard_input_is_lost() {
    let document = r#"
        topology.name = "piped"
        spout.lines = { type = "lines", config.path = "-" }
        [bolt.file]
        type = "file"
        inputs = ["lines"]
        config = { path = "out.txt", format = "text" }
    "#;
    let place = Place::with(&[("t.toml", document)]);
    let mut command = place.squall(&["run", "t.toml", "--workers", "2", "--json"]);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"one\ntwo\n").expect("it reads");
    let parent = child.id();
    let reader = || {
        children(parent).into_iter().find(|pid| {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
            let names =
                threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
            names.into_iter().any(|name| name.starts_with("squall-lines"))
        })
    };
    wait_until("somebody to read", || reader().is_some());
    send_signal("KILL", &reader().expect("it was there"));
    drop(stdin);
    let ended = wait(child);
    assert!(ended.exits(1).says("lost").summary()["lost"].as_u64() > Some(0), "{}", ended.all());
}

/// A file on standard input is read again by the next incarnation, from where the first began. All rows
/// were delivered, and the run ended with "lost" and exit code 1.
#[test]
fn a_file_on_standard_input_is_read_again_after_a_kill() {
    let document = r#"
        topology = { name = "redirected", max_spout_pending = 10 }
        spout.lines = { type = "lines", config.path = "-" }
        [bolt.delay]
        type = "delay"
        blocking = true
        inputs = ["lines"]
        config = { period = "1ms", sleep = true, fields = ["line"] }
        [bolt.file]
        type = "file"
        inputs = ["delay"]
        config = { path = "out.txt", format = "text" }
    "#;
    let rows: Vec<String> = (0..1000).map(|n| format!("row {n}")).collect();
    let place = Place::with(&[("t.toml", document), ("in.txt", &(rows.join("\n") + "\n"))]);
    let mut command = place.squall(&["run", "t.toml", "--workers", "3", "--json"]);
    command.stdin(std::fs::File::open(place.path("in.txt")).expect("it is there"));
    let child = command.spawn().expect("it starts");
    wait_for_file(&place.path("out.txt.inprogress"), 100);
    children(child.id()).iter().for_each(|pid| send_signal("KILL", pid));
    let ended = wait(child);
    let summary = ended.exits(0).summary();
    assert_eq!(summary["lost"], 0, "{}", ended.all());
    assert!(summary["workers"]["restarts"].as_u64() >= Some(3), "{}", ended.all());
    let files = std::fs::read_dir(place.path(".")).expect("it is there").filter_map(Result::ok);
    let written: String = files
        .filter(|file| file.file_name().to_string_lossy().starts_with("out"))
        .map(|file| std::fs::read_to_string(file.path()).expect("text"))
        .collect();
    let written: std::collections::HashSet<&str> = written.lines().collect();
    assert!(rows.iter().all(|row| written.contains(row.as_str())), "each row is there, some twice");
}
