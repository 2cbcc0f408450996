//! Secrets of hosts. The program is submitted to a cluster of squall's own daemons, which do not have its bolt, so nimbus
//! knows of secrets what the outline has.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::canary::{canary, check_output, check_process, files_with, mark, shows_a_value};
use crate::cases::proofs_in;
use crate::dev_kit::{DevCluster, squall, wait_until};
use crate::program::proof_of;

/// Stands in the document, so it is in what the cluster keeps. It is in no program.
fn found() -> String {
    proof_of("what the search finds")
}

const ORDERS: &str = r#"
[topology]
name = "orders"
workers = 2
chain = "off"
settings = { note = "FOUND" }

[spout.orders]
type = "generate"
config = { rate = 100, fields = { id = "{seq}" } }

[bolt.login]
type = "login"
parallelism = 2
inputs = ["orders"]
config = { user = "squall", proofs = "DIR/proofs", password = { secret = "orders-db" } }
"#;

struct Orders {
    cluster: DevCluster,
    document: String,
}

impl Orders {
    fn new() -> Orders {
        let cluster = DevCluster::new();
        fs::create_dir(cluster.path("proofs")).expect("it is made");
        let document = cluster.document("orders.toml", &ORDERS.replace("FOUND", &found()));
        Orders { cluster, document }
    }

    /// A command of the program, which shows no value.
    #[track_caller]
    fn program(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env::current_exe().expect("this program has a file"));
        command.env_remove("SQUALL_CONFIG");
        let output = self.cluster.ask(command.args(args));
        check_output(&args.join(" "), &output);
        output
    }

    /// Sets or removes the secret of all hosts, which share a directory.
    #[track_caller]
    fn secret(&self, args: &[&str], value: &str) {
        let file = self.cluster.path("value");
        fs::write(&file, value).expect("it is written");
        let mut command = squall(&[&["secret"], args].concat());
        if args[0] == "set" {
            command.arg("--from-file").arg(&file);
        }
        let output = command.arg("--config").arg(self.cluster.path("engine.toml")).output().expect("it runs");
        fs::remove_file(&file).expect("it is there");
        check_output("squall secret", &output);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn submit(&self) -> (Option<i32>, String) {
        let output = self.program(&["submit", &self.document, "--timeout", "180s"]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn status(&self) -> Value {
        let text = self.cluster.done(&["status", "orders", "--output", "json"]);
        serde_json::from_str(&text).expect("it is JSON")
    }

    fn proofs(&self, value: &str) -> usize {
        proofs_in(&self.cluster.path("proofs"), value)
    }

    fn data(&self) -> PathBuf {
        self.cluster.path("data")
    }

    /// Looks for values in all that the cluster keeps, prints and runs.
    #[track_caller]
    fn check_nothing_shows_a_value(&self) {
        let secrets = self.cluster.path("secrets");
        assert_ne!(
            files_with(&self.data(), &found(), &secrets),
            Vec::<PathBuf>::new(),
            "the search finds what is there"
        );
        let root = self.data().parent().expect("it is in a directory").to_owned();
        assert_eq!(files_with(&root, &mark(), &secrets), Vec::<PathBuf>::new());
        let processes = self.cluster.processes();
        assert!(processes.len() >= 3, "a master and two workers: {processes:?}");
        processes.into_iter().for_each(|(_, pid)| check_process(pid));
        let daemons = self.cluster.process.as_ref().expect("it runs").id();
        check_process(i32::try_from(daemons).expect("a pid"));
        for args in [
            &["status", "orders", "--output", "json"][..],
            &["list", "--output", "json"],
            &["cluster", "--json"],
            &["errors", "orders"],
            &["logs", "orders", "--lines", "1000"],
        ] {
            let output = self.cluster.run(args);
            check_output(&args.join(" "), &output);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        assert!(!shows_a_value(self.cluster.logs().as_bytes()));
    }

    /// Submits it as soon as hosts have reported the secret.
    #[track_caller]
    fn submit_when_hosts_have_it(&self) {
        wait_until("that it is taken", || {
            let (code, errors) = self.submit();
            assert!(code == Some(0) || errors.contains("`orders-db`"), "{errors}");
            code == Some(0)
        });
    }
}

pub fn a_value_never_leaves_its_host() {
    let orders = Orders::new();
    let (code, errors) = orders.submit();
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("no host has the secret `orders-db`"), "{errors}");
    assert!(errors.contains("run `squall secret set orders-db` on the hosts"), "{errors}");
    let planned = orders.program(&["submit", &orders.document, "--dry-run"]);
    assert_eq!(planned.status.code(), Some(1), "{}", String::from_utf8_lossy(&planned.stderr));
    assert_eq!(orders.cluster.processes(), [], "nothing was started");

    orders.secret(&["set", "orders-db"], &canary(20));
    orders.submit_when_hosts_have_it();
    wait_until("both tasks have the value", || orders.proofs(&canary(20)) >= 2);
    orders.check_nothing_shows_a_value();

    // A value that is replaced is read by what is opened after that.
    orders.secret(&["set", "orders-db"], &canary(21));
    assert_eq!(orders.proofs(&canary(21)), 0);
    orders.cluster.done(&["restart", "orders"]);
    wait_until("both tasks have the new value", || orders.proofs(&canary(21)) >= 2);
    orders.check_nothing_shows_a_value();
}

pub fn a_secret_that_is_gone_is_reported_and_waited_for() {
    let orders = Orders::new();
    orders.secret(&["set", "orders-db"], &canary(30));
    orders.submit_when_hosts_have_it();
    wait_until("both tasks have the value", || orders.proofs(&canary(30)) >= 2);
    let before = orders.proofs(&canary(30));

    // What runs goes on. What begins anew would have no host.
    orders.secret(&["remove", "orders-db"], "");
    wait_until("that hosts have reported it", || {
        let planned = orders.program(&["submit", &orders.document, "--name", "other", "--dry-run"]);
        planned.status.code() == Some(1)
    });
    let restarted = orders.cluster.run(&["restart", "orders"]);
    let errors = String::from_utf8_lossy(&restarted.stderr).into_owned();
    assert_eq!(restarted.status.code(), Some(1), "{errors}");
    assert!(errors.contains("no host has the secret `orders-db`"), "{errors}");
    assert_eq!(orders.status()["phase"], "active", "{}", orders.status());
    assert_eq!(orders.proofs(&canary(30)), before, "nothing was begun anew");

    // A worker that is started again on its host reports what it looks for, and goes on when that is there.
    let processes = orders.cluster.processes();
    let workers = processes.iter().filter(|(directory, _)| !directory.ends_with("master"));
    workers.for_each(|(_, pid)| orders.cluster.kill(*pid));
    let file = orders.cluster.path("secrets/orders-db").display().to_string();
    wait_until("that the error is reported", || {
        let errors = orders.cluster.done(&["errors", "orders", "--output", "json"]);
        ["login", "there is no secret `orders-db`", &file, "squall secret set orders-db"]
            .iter()
            .all(|part| errors.contains(part))
    });
    orders.secret(&["set", "orders-db"], &canary(31));
    wait_until("both tasks have the value", || orders.proofs(&canary(31)) >= 2);
    assert_eq!(orders.status()["phase"], "active", "{}", orders.status());
    orders.check_nothing_shows_a_value();
}
