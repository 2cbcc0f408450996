//! `squall doctor` on this machine. With a real ZooKeeper: tests/zookeeper/commands.rs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// Runs it with a home directory of its own.
fn doctor(home: &TempDir, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("squall").unwrap();
    let place = home.path();
    command
        .env("HOME", place)
        .env("XDG_RUNTIME_DIR", place)
        .env_remove("XDG_STATE_HOME")
        .env_remove("SQUALL_CONFIG");
    let Output { status, stdout, stderr } = command.arg("doctor").args(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The finding of a check, as JSON.
fn finding(text: &str, check: &str) -> Value {
    let findings: Vec<Value> = serde_json::from_str(text).unwrap();
    let found = findings.into_iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no finding of `{check}` in {text}"))
}

#[test]
fn a_machine_that_is_fit_has_no_error_and_is_left_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let (code, text, messages) = doctor(&home, &[]);
    assert_eq!(code, Some(0), "{text}{messages}");
    for check in ["processors", "open files", "state directory", "run directory", "address of workers"] {
        assert!(text.contains(check), "{text}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "it makes nothing");
}

#[test]
fn what_is_wrong_is_named_with_a_remedy_and_reaches_the_exit_code() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(".local"), "a file").unwrap();
    let (code, text, _) = doctor(&home, &["--json"]);
    assert_eq!(code, Some(1), "{text}");
    let found = finding(&text, "state directory");
    assert_eq!(found["state"], "error", "{found}");
    assert!(found["advice"].as_str().unwrap().contains("XDG_STATE_HOME"), "{found}");
}

#[test]
fn the_configuration_is_read_and_its_mistakes_are_shown() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = home.path().join("squall.toml");
    let path = file.to_str().unwrap().to_owned();
    fs::write(&file, format!("net.listen = '{}'", taken.local_addr().unwrap())).unwrap();
    let (code, text, _) = doctor(&home, &["--json", "--config", &path]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(finding(&text, "configuration")["state"], "ok");
    assert_eq!(finding(&text, "address of workers")["state"], "error");
    fs::write(&file, "net.lissen = 1").unwrap();
    let (code, text, messages) = doctor(&home, &["--config", &path]);
    assert_eq!((code, &*text), (Some(1), ""));
    assert!(messages.contains("unknown key `net.lissen`"), "{messages}");
}

#[test]
fn the_files_of_a_cluster_are_read() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let file = home.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    let config = "cluster.key_file = 'key'\nnimbus.users_file = 'users'\n\
                  nimbus.tls = { certificate = 'nimbus.pem', key = 'nimbus.key' }\n";
    write("squall.toml", config, 0o644);
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let config = home.path().join("squall.toml");
    let check = |states: [&str; 3], found: [&str; 3]| {
        let (_, text, _) = doctor(&home, &["--json", "--config", config.to_str().unwrap()]);
        let checks = ["key of the cluster", "TLS of the API", "users of the API"];
        for ((check, state), part) in checks.into_iter().zip(states).zip(found) {
            let finding = finding(&text, check);
            assert_eq!(finding["state"], state, "{finding}");
            assert!(finding["found"].as_str().unwrap().contains(part), "{part}: {finding}");
        }
    };
    check(["error"; 3], ["No such file"; 3]);
    write("key", &"5a".repeat(32), 0o644);
    write("nimbus.pem", &signed.cert.pem(), 0o644);
    write("nimbus.key", &signed.signing_key.serialize_pem(), 0o644);
    write("users", "", 0o644);
    check(["error"; 3], ["others may read it"; 3]);
    ["key", "nimbus.key", "users"].into_iter().for_each(|name| {
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(home.path().join(name), private).unwrap();
    });
    check(["ok", "ok", "warning"], ["fingerprint ", "fit each other", "nobody may do anything"]);
}

#[test]
fn what_limits_the_processes_of_a_host_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("squall.toml");
    let limited_by = |by: &str| {
        fs::write(&file, format!("supervisor.limits.by = '{by}'")).unwrap();
        let (_, text, _) = doctor(&home, &["--json", "--config", file.to_str().unwrap()]);
        text
    };
    let found = finding(&limited_by("rlimit"), "limits of processes");
    assert_eq!(
        (&found["state"], &found["found"]),
        (&"ok".into(), &"each process is limited by itself".into())
    );
    assert_eq!(finding(&limited_by("auto"), "limits of processes")["state"], "ok");
    assert!(!limited_by("nothing").contains("limits of processes"));
}

#[test]
fn a_member_that_is_not_there_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = home.path().join("squall.toml");
    fs::write(&file, format!("zookeeper.servers = ['{nobody}']")).unwrap();
    let config = file.to_str().unwrap();
    let (code, text, _) = doctor(&home, &["--json", "--zookeeper", "--timeout", "200ms", "--config", config]);
    assert_eq!(code, Some(1), "{text}");
    let found = finding(&text, &format!("ZooKeeper {nobody}"));
    assert!(found["found"].as_str().unwrap().contains("Connection refused"), "{found}");
}
