//! `squall zk` without a server. With one: tests/zookeeper/commands.rs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use assert_cmd::Command;

fn zk(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::cargo_bin("squall").unwrap();
    let output = command.arg("zk").args(args).env_remove("SQUALL_CONFIG").output().unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_server_that_cannot_be_reached_is_an_error_that_says_why() {
    let server = nobody();
    let (code, message) = zk(&["ls", "--servers", &server, "--timeout", "200ms"]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("the coordination service does not answer"), "{message}");
    assert!(message.contains(&format!("{server}: Connection refused")), "{message}");
}

#[test]
fn what_is_no_path_is_refused() {
    let (code, message) = zk(&["get", "nimbus"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("a path begins with `/`"), "{message}");
}

#[test]
fn mistakes_of_the_configuration_are_shown_with_their_places() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("squall.toml");
    fs::write(&file, "[zookeeper]\nservers = [\"zoo1.example.org:2181\"]\n").unwrap();
    let (code, message) = zk(&["ls", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("squall.toml:2:11") && message.contains("on another machine"), "{message}");
    let (code, message) = zk(&["ls", "--servers", "zoo1.example.org:2181"]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("on another machine") && message.contains("insecure = true"), "{message}");
}

#[test]
fn a_password_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (file, password) = (directory.path().join("squall.toml"), directory.path().join("password"));
    fs::write(&file, "[zookeeper]\nuser = \"squall\"\npassword_file = \"password\"\n").unwrap();
    let look = || zk(&["ls", "--config", file.to_str().unwrap()]);
    let (code, message) = look();
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("password: No such file"), "{message}");
    fs::write(&password, "secret\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, message) = look();
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("others may read it") && message.contains("chmod 600"), "{message}");
    assert!(!message.contains("secret\n"), "{message}");
}
