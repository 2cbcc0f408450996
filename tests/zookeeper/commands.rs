//! `squall zk` and `squall doctor` with a real server, as a person runs them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use squall::cluster::coordination::{Coordination as _, Version};

use crate::clients::{Client, new_root, options, path, shared};
use crate::rights::{Passwords, options_of};
use crate::server::Servers;

/// Runs squall. Returns its exit code, its output, and its messages.
fn squall(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    let Output { status, stdout, stderr } =
        command.args(args).env_remove("SQUALL_CONFIG").output().expect("it is built");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (status.code(), text(stdout), text(stderr))
}

/// Runs `squall zk` with a server and a root. It must succeed.
fn zk(servers: &Servers, root: &str, args: &[&str]) -> String {
    let address = servers[0].address().to_string();
    let access = ["--servers", &address, "--root", root, "--timeout", "90s"];
    let (code, text, messages) = squall(&[&["zk"], args, &access].concat());
    assert_eq!(code, Some(0), "{messages}");
    text
}

#[test]
fn nodes_are_listed_and_shown() {
    let (servers, root) = (shared(), new_root());
    let client = Client::open(&options(&servers.addresses(), &root));
    client.make("/topologies", b"");
    client.make("/topologies/words-1", br#"{"kind":"topology","version":1}"#);
    client
        .set(&path("/topologies/words-1"), br#"{"kind":"topology","version":1,"workers":3}"#, Version(0))
        .unwrap();
    client.hold(&path("/held"), b"by a test").unwrap();
    client.catch_up().unwrap();
    let expected = "\
NODE                 VERSION  BYTES  HELD
/held                      0      9  held
/topologies                0      0  -
/topologies/words-1        1     43  -
";
    assert_eq!(zk(&servers, &root, &["ls", "-R"]), expected);
    let found: Value = serde_json::from_str(&zk(&servers, &root, &["ls", "--json"])).unwrap();
    let expected = json!([
        {"node": "/held", "version": 0, "bytes": 9, "held": true},
        {"node": "/topologies", "version": 0, "bytes": 0, "held": false},
    ]);
    assert_eq!(found, expected);
    let text = zk(&servers, &root, &["get", "/topologies/words-1"]);
    assert_eq!(text, "{\n  \"kind\": \"topology\",\n  \"version\": 1,\n  \"workers\": 3\n}\n");
    let found: Value = serde_json::from_str(&zk(&servers, &root, &["get", "/held", "--json"])).unwrap();
    let expected =
        json!({"node": "/held", "version": 0, "held": true, "data_is": "text", "data": "by a test"});
    assert_eq!(found, expected);
}

#[test]
fn what_is_not_there_is_an_error_and_nothing_is_made() {
    let (servers, root) = (shared(), new_root());
    let address = servers[0].address().to_string();
    let look = |args: &[&str]| {
        squall(&[args, &["--servers", &address, "--root", &root, "--timeout", "90s"]].concat())
    };
    let (code, text, messages) = look(&["zk", "ls"]);
    assert_eq!((code, &*text), (Some(1), ""), "{messages}");
    assert!(messages.contains(&format!("there is no node `{root}`")), "{messages}");
    assert!(messages.contains("no cluster was started there"), "{messages}");
    let client = Client::open(&options(&servers.addresses(), "/"));
    assert_eq!(client.get(&path(&root)), Ok(None), "looking makes nothing");
    client.make(&root, b"");
    let (code, _, messages) = look(&["zk", "get", "/nimbus"]);
    assert_eq!(code, Some(1), "{messages}");
    assert!(messages.contains(&format!("there is no node `/nimbus` below `{root}`")), "{messages}");
}

/// An engine's file for this root, as the user of this password.
fn configuration(directory: &Path, servers: &Servers, root: &str, password: &Path) -> String {
    let (address, password) = (servers[0].address(), password.display());
    let text = format!(
        "[zookeeper]\nservers = [\"{address}\"]\nroot = \"{root}\"\nuser = \"squall\"\npassword_file = \"{password}\"\n"
    );
    let file = directory.join("squall.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn finding(config: &str) -> (Option<i32>, Value) {
    let (code, text, messages) =
        squall(&["doctor", "--zookeeper", "--json", "--timeout", "90s", "--config", config]);
    let findings: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{messages}"));
    let is_of_member = |finding: &Value| finding["check"].as_str().unwrap().starts_with("ZooKeeper ");
    (code, findings.into_iter().find(is_of_member).expect("the member was tried"))
}

#[test]
fn the_doctor_tries_a_member_as_the_user_and_leaves_nothing() {
    let (servers, root, passwords) = (shared(), new_root(), Passwords::new());
    let directory = tempfile::tempdir().unwrap();
    let configuration_with = |word| configuration(directory.path(), &servers, &root, &passwords.file(word));
    let config = configuration_with("right");
    let (_, found) = finding(&config);
    assert_eq!(found["state"], "ok", "{found}");
    assert!(found["found"].as_str().unwrap().contains("is not there yet"), "{found}");
    let owner = Client::open(&options_of(&servers, &root, "squall", passwords.file("right")));
    owner.make("/a", b"");
    let (_, found) = finding(&config);
    assert_eq!(found["state"], "ok", "{found}");
    assert!(found["found"].as_str().unwrap().contains(&format!("`{root}` is there")), "{found}");
    assert_eq!(owner.children(&path("/")), Ok(Some(vec!["a".to_owned()])), "its node is gone");
    let (code, found) = finding(&configuration_with("wrong"));
    assert_eq!((code, &found["state"]), (Some(1), &json!("error")), "{found}");
    assert!(found["found"].as_str().unwrap().contains("may not do that"), "{found}");
}
